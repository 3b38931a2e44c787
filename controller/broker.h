/* The broker process: holds the signing key and every task token, and never sees a host.
 *
 * The engine starts it (fork + exec of `creel broker`, a socketpair on descriptor 3) and asks by
 * few, typed, fixed-order requests; it decides. From the engine it takes these alone, strictly.
 *
 * When the process dies, every request and every call under way fails, and a new one is started with the
 * same key, which goes on from what is on disk: at once, but after 3 times in a minute following a pause
 * of 5 s, in which whoever asks gets the error; the pause grows to a minute while none comes up. */
#ifndef CONTROLLER_BROKER_H
#define CONTROLLER_BROKER_H

#include <uv.h>

#include "proto/dsse.h"
#include "proto/order.h"
#include "proto/task.h"

struct needles; /* controller/redact.h */
struct broker;  /* the engine's end: one process, one socket in the loop */

/* Starts the process. `self` is our own executable's path, `key_path` the signing key, `dir` the broker's
 * directory (paths_broker). */
int broker_start(uv_loop_t *loop, const char *self, const char *key_path, const char *dir,
                 struct broker **ret, struct err *err);
/* Ends the process; frees when its handles are closed. No callback comes after this returns. */
void broker_close(struct broker *b);
/* NULL: there is a process, though perhaps one that comes up only now, or there will be none before somebody has
 * done something about it, so that waiting is no use. Else why there is none, b's own; another comes by itself:
 * `anew`. */
const char *broker_down(const struct broker *b);
/* The controller key's public half, as the broker said at start (blocking until it did). */
const uint8_t *broker_pub(const struct broker *b);

/* Makes the attempt's token, seals it to `runner_key`, fills iss, iat, nbf, exp, nonce and the
 * token members of `t`, signs. cb gets the DSSE document and the SSHSIG over the same payload, or
 * an error. */
typedef void broker_signed_cb(void *arg, const struct buf *envelope, const struct buf *sshsig,
                              const struct err *err);
void broker_sign(struct broker *b, const struct task *t,
                 const uint8_t runner_key[static KEY_PUB_BYTES], uint64_t life_s,
                 broker_signed_cb *cb, void *arg);
/* Within a callback with an error: whether that says nothing of what was asked, only that there is no process to
 * answer; asked again it may be answered. */
enum broker_gone {
    BROKER_THERE,      /* the error is about what was asked */
    BROKER_WAS_GONE,   /* nobody ever heard it */
    BROKER_DIED_OF_IT, /* or of something else meanwhile: it may have been done, or not */
};
enum broker_gone broker_gone(const struct broker *b);
/* Signs an order, whose iss is empty: the broker fills it. cb gets the DSSE document, or an error. */
typedef void broker_ordered_cb(void *arg, const struct buf *order, const struct err *err);
void broker_order(struct broker *b, const struct order *o, broker_ordered_cb *cb, void *arg);
/* Is `token` this attempt's, and the attempt not over? Fails closed: alive is false with an error.
 */
typedef void broker_token_cb(void *arg, bool alive, const struct err *err);
void broker_token_check(struct broker *b, const char *attempt,
                        const uint8_t token[static TASK_TOKEN_BYTES], broker_token_cb *cb,
                        void *arg);
/* The attempt is over: its token is dead from now on. No reply is awaited. */
void broker_attempt_end(struct broker *b, const char *attempt);

/* What the broker says unasked, from the loop. Texts are the broker's own words, but may quote names that
 * came from jails: neutralise before printing. */
struct broker_events {
    void (*note)(void *arg, const char *attempt, const char *text);
    void (*stop)(void *arg, const char *attempt, const char *reason);
    void (*repo_token)(void *arg, const char *attempt, const char *sealed_b64);
    void (*needles)(void *arg, struct needles *set); /* the owner's from now on */
    void (*anew)(void *arg); /* another process than before: what had been said may not be known */
};
void broker_on(struct broker *b, const struct broker_events *ev, void *arg);
/* A connection from the attempt's jail: one end of a socketpair, which the broker then owns; fd is closed
 * here in any case. Without a broker the other end sees EOF. */
void broker_call(struct broker *b, const char *attempt, int fd);

/* The process itself: main of `creel broker`. Ends the process, confined by then, with its status.
 */
int broker_main(const char *key_path, const char *dir);

#endif
