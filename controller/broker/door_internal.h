/* The two halves of a door: its connection (door.c), and the requests on it (door_http.c). */
#ifndef CONTROLLER_BROKER_DOOR_INTERNAL_H
#define CONTROLLER_BROKER_DOOR_INTERNAL_H

#include "controller/broker/attempts.h"
#include "controller/broker/door.h"

struct request {
    struct door *door;
    const struct service *service; /* NULL with no state */
    void *state;
    bool active;  /* a head was read, its answer not all given */
    bool headed;  /* request_head was called */
    bool chunked; /* the answer's framing */
    bool bare;    /* answer to HEAD: no body */
    bool ended;
    bool old;   /* HTTP/1.0 */
    bool full;  /* request_write said so */
    bool close; /* no request after this one */
};

enum door_phase {
    DOOR_HEAD, /* a request's head is read */
    DOOR_BODY, /* its body */
    DOOR_WAIT, /* nothing: its answer is awaited */
};

#define DOOR_KEPT_MAX \
    (HTTP_HEAD_BYTES + (64u << 10)) /* of door::in: a head, and a read beyond it */

struct door {
    struct door *next, *prev;
    struct process *p;
    struct live_attempt *live;
    uv_pipe_t pipe;
    struct buf in;  /* part of a head, or what came after a request that is not answered yet */
    struct buf out; /* answered in this turn of the loop */
    size_t queued;  /* bytes that the socket has not taken yet */
    struct request rq;
    enum door_phase phase;
    bool length_known;
    uint64_t left; /* of the body */
    struct http_chunks chunks;
    uint64_t skipped;    /* of a body that nobody wants */
    uint64_t since_ms;   /* this phase; in the body: the last bytes */
    uint64_t begun_ms;   /* when the head of this request was whole */
    uint64_t written_ms; /* when the socket last took something */
    bool reading, closing;
    bool woken;  /* the socket took something */
    bool broken; /* of no use any more: closed at the turn's end */
    bool cut;    /* likewise, when all is sent */
};

/* door_http.c */
/* Takes what came. Never closes the door itself: it marks it broken or cut. */
void door_feed(struct door *d, const uint8_t *bytes, size_t n);
/* Lets go of what was kept in door::in. */
void door_kept_done(struct door *d);
/* The request was answered: its service hears so, and the next may come. */
void request_finish(struct door *d);
/* door.c */
/* Adds bytes to what goes out at the end of the turn. */
void door_put(struct door *d, const void *bytes, size_t n);
size_t door_pending(const struct door *d);

#endif
