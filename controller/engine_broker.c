/* What the broker says unasked, handed to the attempt that it is about. */
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/diag.h"
#include "controller/engine_internal.h"
#include "controller/redact.h"

#define OVER_MS (3ull * 24 * 3600 * 1000) /* longer than any attempt's tokens live */

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

/* What ended while no broker heard of it: between a lease and its envelope, or in a crash. Their tokens must not
 * live on. Told again to each new process: to one that knows it is nothing. */
static void on_anew(void *arg)
{
    struct engine *e = arg;
    struct err err = ERR_INIT;
    struct strv over = {0};
    if (store_attempts_over(e->store, clock_wall_ms() - OVER_MS, &over, &err) < 0)
        diag(DIAG_ERROR, "store: %s", err.msg);
    for (size_t i = 0; i < over.n; i++)
        broker_attempt_end(e->broker, over.v[i]);
    strv_done(&over);
    engine_scan_soon(e); /* tasks may have waited for it */
}

void engine_listen_broker(struct engine *e)
{
    static const struct broker_events events = {
        .note = on_note,
        .stop = on_stop,
        .repo_token = on_repo_token,
        .needles = on_needles,
        .anew = on_anew,
    };
    broker_on(e->broker, &events, e);
    on_anew(e);
}
