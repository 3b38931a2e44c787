/* The states' names and the one table of which may follow which. Data only. */
#include "proto/state.h"

#include <stddef.h>
#include <string.h>

const char *const task_state_names[TASK_STATE_COUNT + 1] = {
    [TASK_QUEUED] = "queued",
    [TASK_LEASED] = "leased",
    [TASK_SENDING] = "sending",
    [TASK_RUNNING] = "running",
    [TASK_COLLECTING] = "collecting",
    [TASK_IMPORTED] = "imported",
    [TASK_SUCCEEDED] = "succeeded",
    [TASK_FAILED] = "failed",
    [TASK_TIMED_OUT] = "timed-out",
    [TASK_STUCK] = "stuck",
    [TASK_CANCELLED] = "cancelled",
    [TASK_REFUSED] = "refused",
    [TASK_LOST] = "lost",
    [TASK_STATE_COUNT] = NULL,
};

const char *const review_state_names[REVIEW_STATE_COUNT + 1] = {
    [REVIEW_NONE] = "none",         [REVIEW_PENDING] = "pending", [REVIEW_APPROVED] = "approved",
    [REVIEW_REJECTED] = "rejected", [REVIEW_STATE_COUNT] = NULL,
};

const char *const outcome_names[OUTCOME_COUNT + 1] = {
    [OUTCOME_SUCCEEDED] = "succeeded",
    [OUTCOME_FAILED] = "failed",
    [OUTCOME_TIMED_OUT] = "timed-out",
    [OUTCOME_CANCELLED] = "cancelled",
    [OUTCOME_LIMIT] = "limit",
    [OUTCOME_ERROR] = "error",
    [OUTCOME_COUNT] = NULL,
};

const char *const attempt_state_names[ATTEMPT_STATE_COUNT + 1] = {
    [ATTEMPT_ACCEPTED] = "accepted", [ATTEMPT_CHECKOUT] = "checkout",
    [ATTEMPT_RUNNING] = "running",   [ATTEMPT_COLLECTING] = "collecting",
    [ATTEMPT_ENDED] = "ended",       [ATTEMPT_WIPED] = "wiped",
    [ATTEMPT_STATE_COUNT] = NULL,
};

/* An empty cell is "not legal". Final states have no row. `timed-out` is only ever what a result
 * says: a host that merely stays silent is `stuck`, because unreachable is not gone. */
static const bool may[TASK_STATE_COUNT][TASK_STATE_COUNT] = {
    [TASK_QUEUED] =
        {
            [TASK_LEASED] = true,
            [TASK_FAILED] = true, /* its own source pack is gone from our disk */
            [TASK_CANCELLED] = true,
            [TASK_REFUSED] = true, /* no host can enforce its limits */
        },
    [TASK_LEASED] =
        {
            [TASK_QUEUED] = true, /* lease given back: nothing was signed, so nothing can run */
            [TASK_SENDING] = true,
            [TASK_FAILED] = true,
            [TASK_CANCELLED] = true,
            [TASK_REFUSED] = true,
        },
    [TASK_SENDING] =
        {
            [TASK_QUEUED] = true, /* only on the runner's word that it was busy or knows nothing */
            [TASK_RUNNING] = true,
            [TASK_COLLECTING] = true, /* we come back and the runner is through already */
            [TASK_FAILED] = true,     /* the source could not be read here */
            [TASK_STUCK] = true,
            [TASK_CANCELLED] = true,
            [TASK_REFUSED] = true,
            [TASK_LOST] = true, /* evidence that the host or the attempt is gone */
        },
    [TASK_RUNNING] =
        {
            [TASK_COLLECTING] = true,
            [TASK_FAILED] = true,
            [TASK_STUCK] = true,
            [TASK_CANCELLED] = true,
            [TASK_REFUSED] = true, /* after acceptance: the pack's digest, the tree */
            [TASK_LOST] = true,
        },
    [TASK_COLLECTING] =
        {
            /* Not `cancelled`: the work is done and paid for; what there is comes home. */
            [TASK_IMPORTED] = true,
            [TASK_FAILED] = true, /* what came is not a result: bad signature, not importable */
            [TASK_STUCK] = true,
            [TASK_REFUSED] = true, /* the runner could not make a result: its disk is full */
            [TASK_LOST] = true,
        },
    [TASK_IMPORTED] =
        {
            /* The result is on our disk: only its own outcome may follow, or that the broker had
             * stopped it (its budget). */
            [TASK_SUCCEEDED] = true,
            [TASK_FAILED] = true,
            [TASK_TIMED_OUT] = true,
            [TASK_CANCELLED] = true,
            [TASK_REFUSED] = true,
        },
};

bool task_state_final(enum task_state s)
{
    return s >= TASK_SUCCEEDED;
}

bool task_state_may(enum task_state from, enum task_state to)
{
    if ((unsigned)from >= TASK_STATE_COUNT || (unsigned)to >= TASK_STATE_COUNT)
        return false;
    return from == to || may[from][to];
}

int task_state_parse(const char *name)
{
    for (int i = 0; i < TASK_STATE_COUNT; i++) {
        if (strcmp(name, task_state_names[i]) == 0)
            return i;
    }
    return -1;
}

enum task_state outcome_state(enum outcome o)
{
    switch (o) {
    case OUTCOME_SUCCEEDED:
        return TASK_SUCCEEDED;
    case OUTCOME_TIMED_OUT:
        return TASK_TIMED_OUT;
    case OUTCOME_CANCELLED:
        return TASK_CANCELLED;
    case OUTCOME_FAILED:
    case OUTCOME_LIMIT:
    case OUTCOME_ERROR:
    case OUTCOME_COUNT:
        break;
    }
    return TASK_FAILED;
}
