/* What the broker says unasked, handed to the attempt that it is about. */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "controller/engine_internal.h"
#include "controller/redact.h"

static struct attempt *about(struct engine *e, const char *attempt, const char *what)
{
    struct attempt *a = attempt_find(e, attempt);
    if (a == NULL)
        diag(DIAG_INFO, "broker: %s for an attempt that is over", what);
    return a;
}

static void on_note(void *arg, const char *attempt, const char *text)
{
    struct attempt *a = about(arg, attempt, "a note");
    if (a != NULL)
        attempt_note(a, "%s", text);
}

static void on_stop(void *arg, const char *attempt, const char *reason)
{
    struct attempt *a = about(arg, attempt, "the end");
    if (a != NULL)
        attempt_stop(a, reason);
}

static void on_repo_token(void *arg, const char *attempt, const char *sealed_b64)
{
    struct attempt *a = about(arg, attempt, "a repository token");
    if (a != NULL)
        attempt_repo_token(a, sealed_b64);
}

static void on_needles(void *arg, struct needles *set)
{
    struct engine *e = arg;
    for (struct attempt *a = e->attempts; a != NULL; a = a->next)
        for (int s = 0; s < LOG_STREAM_COUNT; s++)
            if (a->log.redactor[s] != NULL)
                redactor_set(a->log.redactor[s], set);
    needles_free(e->needles);
    e->needles = set;
}

void engine_listen_broker(struct engine *e)
{
    static const struct broker_events events = {
        .note = on_note,
        .stop = on_stop,
        .repo_token = on_repo_token,
        .needles = on_needles,
    };
    broker_on(e->broker, &events, e);
}
