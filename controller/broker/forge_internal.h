/* What the files of the forge queue share: a token's row and its exchanges. */
#ifndef CONTROLLER_BROKER_FORGE_INTERNAL_H
#define CONTROLLER_BROKER_FORGE_INTERNAL_H

#include <sqlite3.h>

#include "controller/broker/forge_minted.h"
#include "controller/broker/forge_queue.h"

enum minted_state {
    MINTED_MINTING,
    MINTED_LIVE,
    MINTED_REVOKING,
    MINTED_REVOKED,
    MINTED_EXPIRED,
    MINTED_UNBORN,
};

struct minted;
/* `sent` false: certainly no byte of the request left this machine. */
typedef void minted_done_cb(struct minted *m, bool sent, const struct err *err);

struct minted {
    struct minted *next; /* forge_queue::first */
    struct forge_queue *q;
    /* the row */
    int64_t id;
    struct forge_want want;
    struct forge forge; /* as it was when asked */
    enum minted_state state;
    struct forge_token token; /* value NULL: not known (yet) */
    uint64_t asked, due;      /* Unix seconds; due: when to look at it again */
    unsigned tries;           /* of revoking */
    /* not in the row */
    struct forge_repo repo;
    char label[FORGE_LABEL_SIZE];
    struct minted *renews;   /* the one that it takes the place of */
    struct http_exchange *x; /* under way */
    enum forge_call call;    /* which */
    bool asking_secret;      /* a secrets_get is under way */
    bool over;               /* its attempt ended meanwhile */
    bool untold;             /* live, and use->token was not called */
    bool dropped;            /* ended while it was being worked on: freed later */
    int status;              /* of the answer */
    struct buf url, body, answer;
    minted_done_cb *done; /* of the call under way */
    forge_minted_cb *cb;
    void *cb_arg;
};

struct forge_queue {
    sqlite3 *db;
    uint8_t *seal; /* crypto_secretbox key, guarded */
    struct forge_use use;
    uv_timer_t *timer; /* NULL before start */
    struct minted *first;
    bool ending; /* live tokens are left as they are */
};

/* forge_db.c: each function durable when it returns. */
int forge_db_open(struct forge_queue *q, const char *dir, struct err *err);
void forge_db_close(struct forge_queue *q);
int forge_db_add(struct forge_queue *q, struct minted *m, struct err *err); /* gives m->id */
int forge_db_update(struct forge_queue *q, const struct minted *m, struct err *err);
/* Every row that has not ended, as struct minted in q->first. */
int forge_db_load(struct forge_queue *q, struct err *err);

struct minted *minted_new(struct forge_queue *q, const struct forge_want *want,
                          const struct forge *forge);
void minted_free(struct minted *m); /* wipes; out of no list */
/* The repository and the label, from the row. */
int minted_fill(struct minted *m, struct err *err);

/* forge_calls.c: sends a call; `done` comes once, later or at once, with what was answered in m->status (0: nothing
 * whole) and m->answer. */
void minted_call(struct minted *m, enum forge_call call, minted_done_cb *done);
void minted_cancel(struct minted *m);

#endif
