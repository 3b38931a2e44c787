/* Holds made durable: by threads, so that a slow disk does not stop answers under way. Calls that come
 * meanwhile are held and go to another one; while all are at it, the rest wait and share the next sync. */
#include "controller/broker/model_call.h"

#include <stdlib.h>

#include "common/diag.h"

struct call_sync {
    struct call_sync *next; /* process::syncs */
    struct process *p;
    struct model_call *list; /* whose holds they are */
    unsigned by;             /* ledger_sync's number of the thread: no two at once have the same */
    uv_work_t work;
    int rc;
};

static void in_thread(uv_work_t *work)
{
    struct call_sync *s = work->data;
    s->rc = ledger_sync(s->p->ledger, s->by);
    uv_sem_post(&s->p->synced);
}

static void on_synced(uv_work_t *work, int status)
{
    struct call_sync *s = work->data, **at = &s->p->syncs;
    struct process *p = s->p;
    struct err err = ERR_INIT;
    if (p->nsyncs > 0) { /* else it was waited for at the process's end */
        uv_sem_wait(&p->synced);
        p->nsyncs--;
        while (*at != s)
            at = &(*at)->next;
        *at = s->next;
        int rc = ledger_synced(p->ledger, s->rc, &err);
        model_calls_leave(p, s->list, rc, &err);
    }
    free(s);
}

static unsigned number_free(const struct process *p)
{
    unsigned by = 0;
    for (const struct call_sync *s = p->syncs; s;) {
        bool taken = s->by == by;
        by += taken;
        s = taken ? p->syncs : s->next;
    }
    return by;
}

/* Negative: the holds of `list` are void. */
static int sync_begin(struct process *p, struct model_call *list, struct err *err)
{
    struct call_sync *s = calloc(1, sizeof *s);
    int rc = ledger_commit(p->ledger, err);
    if (rc == 0 && !s)
        rc = err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0) {
        s->p = p;
        s->list = list;
        s->by = number_free(p);
        s->work.data = s;
        if (uv_queue_work(&p->loop, &s->work, in_thread, on_synced) < 0)
            rc = err_set(err, ERR_FAIL, "no thread is to be had");
    }
    if (rc < 0) {
        free(s);
        return rc;
    }
    s->next = p->syncs;
    p->syncs = s;
    p->nsyncs++;
    return 0;
}

bool model_calls_full(const struct process *p)
{
    return p->nsyncs >= LEDGER_SYNCS;
}

struct model_call **model_calls_waiting(struct process *p, unsigned i)
{
    struct call_sync *s = p->syncs;
    if (i == 0)
        return &p->waiting;
    while (s && --i > 0)
        s = s->next;
    return s ? &s->list : NULL;
}

void model_calls_turn(struct process *p)
{
    struct err err = ERR_INIT;
    struct model_call *list = p->waiting;
    if (!list || model_calls_full(p))
        return;
    p->waiting = NULL;
    /* When nobody else is served, the way to a thread and back would only be added. */
    bool alone = p->calls == 1;
    int rc = alone ? ledger_flush(p->ledger, &err) : sync_begin(p, list, &err);
    if (rc < 0 || alone)
        model_calls_leave(p, list, rc, &err);
}

void model_calls_tick(struct process *p)
{
    struct err err = ERR_INIT;
    if (!p->waiting && p->nsyncs == 0 && ledger_dirty(p->ledger) && sync_begin(p, NULL, &err) < 0)
        diag(DIAG_ERROR, "broker: %s", err.msg);
}

int model_calls_open(struct process *p, struct err *err)
{
    /* Of libuv's pool, of which the broker uses nothing else. */
    static const char threads[] = {'0' + LEDGER_SYNCS, 0};
    if (setenv("UV_THREADPOOL_SIZE", threads, 1) < 0 || uv_sem_init(&p->synced, 0) < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    return 0;
}

void model_calls_close(struct process *p)
{
    for (; p->nsyncs > 0; p->nsyncs--)
        uv_sem_wait(&p->synced);
}
