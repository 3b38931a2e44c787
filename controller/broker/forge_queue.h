/* Minted repository tokens, from the intent to their revocation, and across crashes of anything.
 *
 * One row a token in forge.db, in the broker's directory. The row is durable before the forge is asked, so that
 * no token can exist that no row knows of; the token itself is in the row only sealed, under a key that is derived
 * from the signing key: with the database alone nobody can use it, and a broker that starts after a crash can still
 * revoke it (GitHub's API revokes a token only by the token). A row ends as revoked (the forge said so) or expired
 * (its time is over); until then revocation is tried again and again, ever more seldom.
 *
 *   minting  the forge is being asked. A crash here: tokens with names are found by name and revoked; one of GitHub's
 *            was never given to anybody and ends after its hour
 *   live     an attempt has it; renewed at three quarters of its life
 *   revoking its attempt is over, or a newer one took its place
 *   revoked, expired, unborn (the forge did not make it) */
#ifndef CONTROLLER_BROKER_FORGE_QUEUE_H
#define CONTROLLER_BROKER_FORGE_QUEUE_H

#include "controller/broker/forge.h"
#include "controller/broker/http_client.h"
#include "controller/broker/secrets.h"
#include "proto/id.h"
#include "proto/key.h"

struct forge_queue;

/* Opens or makes forge.db below `dir`; before the process closes its fences. `sec` is the signing key. */
int forge_queue_open(const char *dir, const uint8_t sec[static KEY_SEC_BYTES],
                     struct forge_queue **ret, struct err *err);

/* What it works with; all borrowed, all there until forge_queue_close. */
struct forge_use {
    uv_loop_t *loop;
    int dirfd; /* the broker's directory: forges.json */
    struct http_client *http;
    struct secrets *secrets;
    /* Is the attempt signed for and not over? */
    bool (*alive)(void *arg, const char *attempt);
    /* A token for it, sealed to its runner. */
    void (*token)(void *arg, const char *attempt, const char *sealed_b64);
    /* A line for its log. */
    void (*note)(void *arg, const char *attempt, const char *text);
    void *arg;
};
/* Takes up what an earlier process left: revokes, and goes on for attempts that are alive. */
int forge_queue_start(struct forge_queue *q, const struct forge_use *use, struct err *err);

struct forge_want {
    char attempt[ATTEMPT_ID_SIZE];
    char url[REPO_URL_SIZE];
    uint8_t runner_key[KEY_PUB_BYTES];
    uint64_t until; /* Unix seconds: no token for it after that */
};
/* Asks the forge for a token. cb once, maybe at once: NULL, and then use->token was not called yet but will be
 * in the next turns of the loop; or why there is none. */
typedef void forge_minted_cb(void *arg, const struct err *err);
void forge_queue_mint(struct forge_queue *q, const struct forge_want *want, forge_minted_cb *cb,
                      void *arg);
/* The attempt is over: its tokens are revoked from now on. Unknown is fine. */
void forge_queue_over(struct forge_queue *q, const char *attempt);
/* Is something being revoked that was not tried yet? A process that ends waits for that, briefly. */
bool forge_queue_busy(const struct forge_queue *q);
/* Nothing is minted or renewed any more; what is to be revoked is. */
void forge_queue_ending(struct forge_queue *q);
/* No callback comes after; what is not revoked the next process revokes. Frees when its handles closed. NULL is
 * fine. */
void forge_queue_close(struct forge_queue *q);

#endif
