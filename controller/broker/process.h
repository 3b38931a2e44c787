/* The broker process as its files see it. One owner: struct process, on broker_main()'s stack. */
#ifndef CONTROLLER_BROKER_PROCESS_H
#define CONTROLLER_BROKER_PROCESS_H

#include <uv.h>

#include "controller/broker/http_client.h"
#include "controller/broker/ledger.h"
#include "controller/broker/secrets.h"
#include "controller/broker_wire.h"

struct door;
struct service;      /* door.h */
struct http_head;    /* common/http_head.h */
struct live_attempt; /* attempts.h */
struct model_call;   /* model_call.c */
struct books;        /* books.h: the operator's files as loaded */
struct forge_queue;  /* forge_queue.c: minted tokens and their revocation */
struct needles;      /* controller/redact.h */

struct process {
    uv_loop_t loop;
    uv_pipe_t engine; /* ipc: descriptors of calls come with their frames */
    int dirfd;        /* the broker's directory: providers.json, prices.json, secrets.json, *.db */
    uint8_t *sec;     /* KEY_SEC_BYTES, guarded */
    char iss[KEY_FPR_SIZE];
    struct ledger *ledger;
    struct secrets *secrets;
    struct http_client *http;
    struct door *doors;            /* list */
    struct live_attempt *attempts; /* list */
    struct model_call *waiting;    /* calls whose hold is not durable yet */
    struct call_sync *syncs;       /* threads that make holds durable now */
    unsigned calls;                /* model calls under way, in all */
    struct git_call *unheard;      /* pushes whose client went before the forge had answered */
    unsigned nsyncs;               /* each posts `synced` when it has the ledger's log no more */
    uv_sem_t synced;
    struct books *books;
    struct forge_queue *forge;
    struct needles *needles;
    struct buf in, out;      /* of and for the engine */
    struct signing *signing; /* sign.c: an envelope that waits for its repository's token */
    struct buf deferred;     /* requests that wait behind it, as they came */
    size_t queued;           /* bytes that its socket has not taken yet */
    bool over;               /* it hung up */
    unsigned refused_doors;
    /* Who serves this request; NULL: nobody (404). */
    const struct service *(*route)(const struct http_head *head);
    uint8_t chunk[65536]; /* what was just read from a jail */
    size_t buffered;      /* bytes of jails and for jails that wait here, all together */
    uv_prepare_t
        before;        /* the ends of a turn of the loop: what was held is made durable, what was */
    uv_check_t after;  /* answered is sent */
    uv_timer_t tick;   /* a second */
    struct err broken; /* code != 0: the engine's socket is of no use any more */
};

#define PROCESS_BUFFERED_MAX (256u << 20) /* and a little of each attempt: see attempt_room */

/* Begins to serve the engine on its socket. */
int process_watch(struct process *p, int engine_fd, struct err *err);
/* An answer that says why not. */
int process_refuse(struct process *p, const struct err *why, struct err *err);
/* p->signing is answered: what waited behind it is served. */
void process_resume(struct process *p);
/* What logs and patches must not hold, to the engine; nothing when nothing is known yet. */
int process_tell_needles(struct process *p, struct err *err);
/* The process cannot go on: what was told so far is told, then it ends. */
void process_fail(struct process *p, const char *what, const struct err *err);

/* To the engine, unasked. */
/* A line for the attempt's log: "budget: 80 % of $2.50 spent". */
void process_note(struct process *p, const char *attempt, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Everything of the attempt is refused from now on (recorded in the ledger), and after a grace period the
 * engine ends it as `refused: reason`. The first one counts. */
void process_stop(struct process *p, const char *attempt, const char *reason);
/* A repository token for a running attempt, sealed to its runner. */
void process_repo_token(struct process *p, const char *attempt, const char *sealed_b64);

#endif
