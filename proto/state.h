/* States, and which may follow which: one table for both sides, the store and the tests. */
#ifndef PROTO_STATE_H
#define PROTO_STATE_H

#include <stdbool.h>

enum task_state {
    TASK_QUEUED,
    TASK_LEASED,     /* a host and a fencing token are recorded */
    TASK_SENDING,    /* the envelope is signed and may have reached the runner */
    TASK_RUNNING,    /* the runner accepted it */
    TASK_COLLECTING, /* the jail is empty; result being made or fetched */
    TASK_IMPORTED,   /* result verified, fsynced, imported; wipe may be pending */
    TASK_SUCCEEDED,  /* from here on: final */
    TASK_FAILED,
    TASK_TIMED_OUT,
    TASK_STUCK,
    TASK_CANCELLED,
    TASK_REFUSED,
    TASK_LOST,
    TASK_STATE_COUNT,
};

extern const char *const task_state_names[TASK_STATE_COUNT + 1]; /* "queued" ... NULL */

bool task_state_final(enum task_state s);
/* May a task go from `from` to `to`? Staying is allowed. Final states lead nowhere. */
bool task_state_may(enum task_state from, enum task_state to);
/* Index of `name`, or -1. */
int task_state_parse(const char *name);

enum review_state {
    REVIEW_NONE, /* no result yet, or nothing to decide */
    REVIEW_PENDING,
    REVIEW_APPROVED,
    REVIEW_REJECTED,
    REVIEW_STATE_COUNT,
};
extern const char *const review_state_names[REVIEW_STATE_COUNT + 1];

/* How an attempt ended, in the runner's words (result) and the controller's. */
enum outcome {
    OUTCOME_SUCCEEDED, /* command and every test exited 0 */
    OUTCOME_FAILED,    /* one did not; `reason` says which */
    OUTCOME_TIMED_OUT, /* wall limit */
    OUTCOME_CANCELLED,
    OUTCOME_LIMIT, /* memory or disk limit hit and that ended it; counts as failed */
    OUTCOME_ERROR, /* the runner itself could not go on; counts as failed */
    OUTCOME_COUNT,
};
extern const char *const outcome_names[OUTCOME_COUNT + 1];
enum task_state outcome_state(enum outcome o);

/* Where an attempt is at the runner. */
enum attempt_state {
    ATTEMPT_ACCEPTED, /* envelope admitted; waits for the pack */
    ATTEMPT_CHECKOUT,
    ATTEMPT_RUNNING,
    ATTEMPT_COLLECTING,
    ATTEMPT_ENDED, /* result signed and ready to fetch */
    ATTEMPT_WIPED, /* receipt ready */
    ATTEMPT_STATE_COUNT,
};
extern const char *const attempt_state_names[ATTEMPT_STATE_COUNT + 1];

#endif
