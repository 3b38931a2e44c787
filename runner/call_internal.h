/* What call.c (the door: who waits, which channels there are) and call_conn.c (one connection) share. */
#ifndef RUNNER_CALL_INTERNAL_H
#define RUNNER_CALL_INTERNAL_H

#include "runner/call.h"

#define CALL_TICK_MS   1000
#define CALL_ASK_MS    10000
#define CALL_HALF_MS   60000 /* idle, when the controller's side has said all */
#define CALL_LINGER_MS 2000

enum call_phase {
    CALL_WAITS,  /* for a channel */
    CALL_OPEN,   /* bytes go both ways */
    CALL_LEAVES, /* it was told why not; what it still says is dropped */
};

struct call {
    struct calls *calls;
    struct call *next, **link; /* calls::list, oldest first */
    enum call_phase phase;
    struct stream *stream; /* while open */
    uv_poll_t poll;
    int fd; /* the jail's side; -1 when ended */
    int want;
    bool jail_eof, jail_shut; /* it says no more; it is told no more */
    bool ctl_eof, ctl_shut;   /* likewise the channel */
    bool ended;
    struct buf to_jail, to_ctl; /* not yet taken, at most a chunk each */
    uint64_t deadline;          /* loop time; 0: none */
    size_t untaken;             /* bytes of an answer that its client has not taken, */
    uint64_t untaken_since;     /* and since when it is as many */
};

struct calls {
    struct calls_setup setup;
    struct call *list, **list_end;
    unsigned nwaiting, nopen, nleaving;
    struct stream *idle; /* by next_idle, oldest first */
    unsigned nidle, asked;
    uint64_t asked_ms; /* loop time of the last asking */
    uv_timer_t tick;
    unsigned handles;
    bool ticking, closing;
    uint8_t *scratch; /* STREAM_CHUNK */
};

/* call_conn.c */
/* Takes fd. NULL: it is closed. */
struct call *call_new(struct calls *cs, int fd, enum call_phase phase);
/* From here on its bytes go over `s`. */
void call_begin(struct call *c, struct stream *s);
/* Says why not, in HTTP, and lets it go. */
void call_dismiss(struct call *c, const char *status, const char *why);
/* Ends it at once; its client is told by a reset unless all was said. */
void call_end(struct call *c, bool clean);
void call_late(struct call *c, uint64_t now);
extern const struct stream_kind call_kind;

/* call.c */
void calls_handle_gone(struct calls *cs);
void calls_count(struct calls *cs, enum call_phase phase, int by);
void calls_forget_idle(struct calls *cs, struct stream *s);

#endif
