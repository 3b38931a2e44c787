/* What an attempt tells its controllers while it lives, and the words it keeps for its end. */
#include "runner/attempt_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "common/diag.h"
#include "runner/text.h"

static enum attempt_state wire_state(enum attempt_at at)
{
    static const enum attempt_state states[AT_COUNT] = {
        [AT_FREE] = ATTEMPT_WIPED,         [AT_OPENING] = ATTEMPT_ACCEPTED,
        [AT_PACK] = ATTEMPT_ACCEPTED,      [AT_CHECKOUT] = ATTEMPT_CHECKOUT,
        [AT_RUNNING] = ATTEMPT_RUNNING,    [AT_COLLECTING] = ATTEMPT_COLLECTING,
        [AT_HASHING] = ATTEMPT_COLLECTING, [AT_ENDED] = ATTEMPT_ENDED,
        [AT_WIPING] = ATTEMPT_WIPED,       [AT_TAINTED] = ATTEMPT_WIPED,
    };
    return states[at];
}

enum attempt_state attempt_state(const struct attempt *a)
{
    return wire_state(a->at);
}

void attempt_tell_state(struct attempt *a, const char *step)
{
    struct msg m = {.type = MSG_STATE};
    memcpy(m.u.state.attempt, a->task.attempt, sizeof m.u.state.attempt);
    m.u.state.state = attempt_state(a);
    snprintf(m.u.state.step, sizeof m.u.state.step, "%s", step);
    a->owner->tell(a->owner->arg, &m);
}

void attempt_tell_refused(struct attempt *a)
{
    struct msg m = {.type = MSG_REFUSED};
    memcpy(m.u.refused.attempt, a->task.attempt, sizeof m.u.refused.attempt);
    m.u.refused.reason = a->refusal;
    memcpy(m.u.refused.detail, a->why, sizeof m.u.refused.detail);
    diag(DIAG_WARN, "attempt %s: refused (%s): %s", a->task.attempt, refusal_names[a->refusal],
         a->why);
    a->owner->tell(a->owner->arg, &m);
}

void attempt_set_refusal(struct attempt *a, enum refusal why, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    a->refused = true;
    a->refusal = why;
    text_line(a->why, sizeof a->why, text, strlen(text));
}

void attempt_set_error(struct attempt *a, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    if (a->error[0])
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    text_line(a->error, sizeof a->error, text, strlen(text));
}
