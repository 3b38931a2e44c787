/* Holds made durable: by a thread, so that a slow disk does not stop answers under way. Meanwhile more calls
 * are held, and then all of them wait for the next sync together. */
#include "controller/broker/model_call.h"

#include <stdlib.h>

#include "common/diag.h"

static void in_thread(uv_work_t *work)
{
    struct process *p = work->data;
    p->sync_rc = ledger_sync(p->ledger);
    uv_sem_post(&p->synced);
}

static void on_synced(uv_work_t *work, int status)
{
    struct process *p = work->data;
    struct err err = ERR_INIT;
    struct model_call *list = p->syncing;
    if (!p->sync_busy) /* it was waited for at the process's end */
        return;
    uv_sem_wait(&p->synced);
    p->sync_busy = false;
    p->syncing = NULL;
    int rc = ledger_synced(p->ledger, p->sync_rc, &err);
    model_calls_leave(p, list, rc, &err);
}

static int sync_begin(struct process *p, struct err *err)
{
    int rc = ledger_commit(p->ledger, err);
    if (rc < 0)
        return rc;
    p->sync.data = p;
    if (uv_queue_work(&p->loop, &p->sync, in_thread, on_synced) < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    p->sync_busy = true;
    return 0;
}

void model_calls_turn(struct process *p)
{
    struct err err = ERR_INIT;
    struct model_call *list = p->waiting;
    if (!list || p->sync_busy)
        return;
    p->waiting = NULL;
    /* When nobody else is served, the way to a thread and back would only be added. */
    bool alone = p->calls == 1;
    int rc = alone ? ledger_flush(p->ledger, &err) : sync_begin(p, &err);
    if (rc == 0 && !alone)
        p->syncing = list;
    else
        model_calls_leave(p, list, rc, &err);
}

void model_calls_tick(struct process *p)
{
    struct err err = ERR_INIT;
    if (!p->waiting && !p->sync_busy && ledger_dirty(p->ledger) && sync_begin(p, &err) < 0)
        diag(DIAG_ERROR, "broker: %s", err.msg);
}

int model_calls_open(struct process *p, struct err *err)
{
    /* Of libuv's pool, of which the broker uses nothing else. */
    if (setenv("UV_THREADPOOL_SIZE", "1", 1) < 0 || uv_sem_init(&p->synced, 0) < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    return 0;
}

void model_calls_close(struct process *p)
{
    if (p->sync_busy)
        uv_sem_wait(&p->synced);
    p->sync_busy = false;
}
