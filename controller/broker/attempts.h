/* The attempts that are alive, as the broker process keeps them beside the ledger: who may knock, and what
 * their calls were like so far. Loaded from the ledger when first wanted, so that a new process goes on
 * where the old one died. */
#ifndef CONTROLLER_BROKER_ATTEMPTS_H
#define CONTROLLER_BROKER_ATTEMPTS_H

#include "controller/broker/process.h"

/* The same thing again and again: what it was last, and how often in a row. */
struct repeats {
    uint8_t last[32];
    uint64_t n;
};

struct live_attempt {
    struct live_attempt *next;
    struct ledger_attempt a;
    unsigned doors;     /* connections open now */
    size_t buffered;    /* its part of process::buffered */
    unsigned strangers; /* requests with a wrong token so far */
    bool stop_told;     /* by this process */
    bool left_out_told; /* of a member of its requests that is not known here */
    struct repeats asked, answered;
    char git_tip
        [65]; /* where its branch stands at the forge, as it found or left it; "": not known */
    unsigned git_notes; /* lines about git in its log so far */
    unsigned unheard;   /* its pushes in process::unheard */
};

/* -ERR_REFUSED: not signed here, or over. Borrowed until attempts_end. */
int attempts_get(struct process *p, const char *attempt, struct live_attempt **ret,
                 struct err *err);
/* Is it this attempt's token, and its time not over? Constant time in the token. */
bool attempt_token_is(const struct live_attempt *l, const char *token, size_t n);
/* Over for good: its doors are closed, its token is dead. Unknown is fine. */
void attempts_end(struct process *p, const char *attempt);
void attempts_free(struct process *p); /* all, at the process's end */
/* May n bytes more of, or for, this attempt's jail wait here? One attempt has at most half of what the
 * others leave, so that none can take the room of all; and a little always, however many they are. `spare`: what
 * an answer has besides, so that bodies of requests do not leave it without room. */
#define ATTEMPT_ROOM_MIN (4u << 20)
#define ANSWERS_SPARE    (4u << 20)
bool attempt_room(const struct process *p, const struct live_attempt *l, size_t n, size_t spare);
/* What waits here was `from` bytes and is `to` now. */
void attempt_holds(struct process *p, struct live_attempt *l, size_t from, size_t to);
/* Counts one more; how often the same came in a row by now. */
uint64_t repeats_count(struct repeats *r, const uint8_t fingerprint[static 32]);

#endif
