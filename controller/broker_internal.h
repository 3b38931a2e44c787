/* What broker.c (its life, requests) and broker_io.c (frames to and from the process) share: the engine's
 * end of one broker process after another. */
#ifndef CONTROLLER_BROKER_INTERNAL_H
#define CONTROLLER_BROKER_INTERNAL_H

#include "controller/broker.h"
#include "controller/broker_wire.h"

#define RESTARTS 3 /* within RESTART_US */
#define IN_MAX   (2 * (FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX))
#define OUT_MAX  (64u << 20) /* requests not yet taken: the broker reads as fast as it signs */

struct pending {
    struct pending *next;
    enum broker_type
        want; /* BROKER_ENVELOPE (then BROKER_SSHSIG), BROKER_ORDERED, ..._TOKEN_STATE */
    broker_signed_cb *on_signed;
    broker_ordered_cb *on_ordered;
    broker_token_cb *on_token;
    void *arg;
    struct err unasked; /* code != 0: no answer will come; it is told in its turn */
    enum broker_gone gone;
};

/* A descriptor that goes with the first byte of its frame. */
struct passing {
    struct passing *next;
    uint64_t at; /* where that byte stands in all that was ever queued for the process */
    int fd;
};

struct broker {
    uv_loop_t *loop;
    const struct broker_events *events;
    void *events_arg;
    char *self, *key_path, *dir;
    uint8_t pub[KEY_PUB_BYTES];
    uv_idle_t *kick; /* not a timer of 0 ms, which could run for ever within one turn of the loop */
    uv_timer_t *deadline; /* for a new process's hello */
    uv_timer_t *later;    /* for the next process */
    unsigned later_ms;
    /* one process's, and gone with it */
    int fd;
    uv_poll_t *poll;
    uv_process_t *process;
    bool greeted; /* it said hello */
    struct buf in, out, envelope;
    struct needles *early;                   /* came before anybody was there to be told */
    struct passing *passing, **last_passing; /* in the order of their frames */
    unsigned npassing;
    uint64_t sent; /* bytes that went to the process */
    struct pending *first, **last;
    size_t npending;
    struct err why; /* code != 0: there is no process, and why */
    uint64_t restarted_us[RESTARTS];
    unsigned nrestarts;
    bool busy;             /* callbacks run */
    enum broker_gone gone; /* of the callback that runs */
    bool barred;  /* the last one to come up held another key: nobody is to wait for the next */
    bool closing; /* broker_close was called from one of them */
};

/* broker.c: a new process in the place of one that died (why.code != 0): at once, or later when they die again
 * and again. */
void broker_again(struct broker *b);
/* A new process after a pause; the pause under way counts. */
void broker_later(struct broker *b);
/* The process said hello. */
void broker_came_up(struct broker *b);

/* broker_io.c */
void broker_handle_free(uv_handle_t *handle);
/* Records why there is no process; the first reason counts. Always -ERR_FAIL. */
int broker_lost(struct broker *b, const char *why);
int broker_hello_read(const struct frame *f, uint8_t pub[static KEY_PUB_BYTES], struct err *err);
/* Which events of the socket wake the loop. */
void broker_watch(struct broker *b);
/* Ends the process and its socket; who waits is told in the next turn. */
void broker_hang_up(struct broker *b);
/* Frees all but handles that the loop still closes. */
void broker_let_go(struct broker *b);
void broker_on_kick(uv_idle_t *idle);
void broker_on_late(uv_timer_t *timer);

#endif
