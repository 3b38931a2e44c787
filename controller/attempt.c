/* One attempt driven from here: from the lease to the receipt.
 *
 * The store's state is written before the act it names, so an engine that starts anew knows what may
 * have happened: `leased` left nothing behind, from `sending` on the same envelope is offered again
 * and the runner's own memory decides (it admits an envelope once). What a host says is checked
 * against `legal` below; anything else resets the session, never the task.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/file.h"
#include "common/term.h"
#include "controller/engine_internal.h"

#define OFFER_S 60
#define SEND_S  900
#define DRAIN_S 120
#define GRACE_S (30 * 60) /* over the wall limit: checkout and collection have times of their own */

/* ---- life ---- */

static void attempt_unlink(struct attempt *a)
{
    struct attempt **at = &a->e->attempts;
    while (*at != NULL && *at != a)
        at = &(*at)->next;
    if (*at == a)
        *at = a->next;
}

static void attempt_release(struct attempt *a)
{
    if (a->holds > 0)
        return;
    attempt_unlink(a);
    task_row_done(&a->row);
    buf_done(&a->envelope);
    buf_done(&a->fetch.head);
    free(a->repo_token);
    free(a);
}

bool attempt_unhold(struct attempt *a)
{
    bool dead = a->dead;
    a->holds--;
    if (dead)
        attempt_release(a);
    return !dead;
}

static void timer_closed(uv_handle_t *handle)
{
    attempt_unhold(handle->data);
}

static void detach(struct attempt *a)
{
    if (a->slot)
        a->host->slots_used--;
    if (a->attached)
        a->host->attempts--;
    a->slot = a->attached = false;
}

/* Lets go of host, streams and files. The struct itself goes when nothing points at it any more. */
void attempt_drop(struct attempt *a)
{
    if (a->dead)
        return;
    a->dead = true;
    a->phase = PHASE_DONE;
    calls_stop(a);
    pack_stop(a);
    log_close(a);
    result_stop(a);
    notes_close(a);
    detach(a);
    uv_close((uv_handle_t *)&a->deadline, timer_closed);
    uv_close((uv_handle_t *)&a->grace, timer_closed);
    engine_scan_soon(a->e);
    engine_notify(a->e);
}

struct attempt *attempt_new(struct engine *e, struct engine_host *h)
{
    struct attempt *a = calloc(1, sizeof(*a));
    if (a == NULL)
        return NULL;
    a->e = e;
    a->host = h;
    a->log.fd = a->notes.fd = a->pack.fd = a->fetch.fd = -1;
    buf_init(&a->envelope, DSSE_BYTES_MAX);
    buf_init(&a->fetch.head, ANSWER_MAX);
    uv_timer_init(&e->loop, &a->deadline);
    uv_timer_init(&e->loop, &a->grace);
    a->deadline.data = a->grace.data = a;
    a->holds = 2; /* the timers', until they closed */
    a->next = e->attempts;
    e->attempts = a;
    h->attempts++;
    a->attached = a->slot = true;
    h->slots_used++;
    return a;
}

void attempt_free_all(struct engine *e)
{
    for (struct attempt *a = e->attempts; a != NULL; a = a->next)
        attempt_drop(a);
}

struct attempt *attempt_find(struct engine *e, const char *attempt_id)
{
    for (struct attempt *a = e->attempts; a != NULL; a = a->next)
        if (!a->dead && strcmp(a->id, attempt_id) == 0)
            return a;
    return NULL;
}

static const char *const phase_waits[PHASE_COUNT] = {
    [PHASE_OFFERED] = "it did not answer an envelope",
    [PHASE_SENDING] = "it did not take the source in time",
    [PHASE_RUNNING] = "it is over its time",
    [PHASE_DRAINING] = "the log stopped short of its end",
    [PHASE_FETCHING] = "the result stopped coming",
    [PHASE_STORED] = "it did not confirm the wipe",
};

/* Connected, answering pings, and silent about a task that must long be over: told to cancel it, then
 * given up. */
static void overdue(struct attempt *a)
{
    if (a->cancel_sent) {
        attempt_end(a, TASK_STUCK, ERR_CANCELLED,
                    "host %s does not end it; look there, or remove it", a->host->name);
        return;
    }
    a->row.cancel = true;
    attempt_send_cancel(a);
}

/* Nothing more can be done with it in this engine's life. It stands in the list so that no scan takes
 * it up again; the next engine does. It holds neither its host's session nor a slot. */
static void park(struct attempt *a, const char *why)
{
    diag(DIAG_WARN, "task %s: %s", a->row.id, why);
    attempt_phase(a, PHASE_DONE, 0);
    detach(a);
}

static void on_deadline(uv_timer_t *timer)
{
    struct attempt *a = timer->data;
    if (a->dead || phase_waits[a->phase] == NULL)
        return;
    bool unsigned_wipe = a->phase == PHASE_STORED && a->wipe_unsigned;
    if (unsigned_wipe)
        attempt_send_wipe(a);
    if (a->row.result_stored && !task_state_final((enum task_state)a->row.state)) {
        attempt_phase(a, PHASE_STORED, ATTEMPT_AGAIN_S);
        result_resume(a);
        return;
    }
    if (a->phase == PHASE_RUNNING) {
        overdue(a);
        return;
    }
    if (unsigned_wipe)
        return;
    if (a->phase == PHASE_STORED && a->host->state != HOST_READY)
        return;
    if (a->phase == PHASE_STORED) {
        /* The work is safe and decided; the wipe is asked for again by the next engine. */
        park(a, phase_waits[PHASE_STORED]);
        return;
    }
    engine_host_reset(a->host, phase_waits[a->phase]);
}

void attempt_phase(struct attempt *a, enum phase phase, unsigned deadline_s)
{
    if (a->dead)
        return;
    a->phase = phase;
    a->e->scan_wanted |= phase == PHASE_DONE; /* it may be the last that kept the engine */
    if (deadline_s > 0)
        uv_timer_start(&a->deadline, on_deadline, (uint64_t)deadline_s * 1000, 0);
    else
        uv_timer_stop(&a->deadline);
}

/* ---- states in the store ---- */

int attempt_set_state(struct attempt *a, enum task_state state, const char *reason)
{
    struct err err = ERR_INIT;
    if (a->row.state == (int)state && (reason == NULL || strcmp(reason, a->row.reason) == 0))
        return 0;
    if (store_task_state(a->e->store, a->row.id, state, reason, &err) < 0) {
        engine_store_failed(a->e, "state", &err);
        return -1;
    }
    a->row.state = state;
    if (reason != NULL)
        snprintf(a->row.reason, sizeof(a->row.reason), "%s", reason);
    engine_notify(a->e);
    return 0;
}

static void end_task(struct attempt *a, enum task_state state, enum err_code code, const char *why)
{
    struct err err = ERR_INIT;
    struct buf line;
    buf_init(&line, 4096);
    term_line(why, &line); /* a host's words may be in it */
    broker_attempt_end(a->e->broker, a->id);
    if (store_task_end(a->e->store, a->row.id, state, code, buf_str(&line), &err) < 0)
        engine_store_failed(a->e, "end", &err);
    else
        a->row.state = state;
    buf_done(&line);
    engine_notify(a->e);
}

void attempt_end(struct attempt *a, enum task_state state, enum err_code code, const char *fmt, ...)
{
    char reason[301];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(reason, sizeof(reason), fmt, ap);
    va_end(ap);
    end_task(a, state, code, reason);
    /* With a result stored, the wipe's receipt is still to come. */
    if (!a->row.result_stored || a->row.wiped)
        attempt_drop(a);
    else if (a->phase == PHASE_STORED && a->host->state == HOST_READY)
        attempt_phase(a, PHASE_STORED, a->wipe_unsigned ? ATTEMPT_AGAIN_S : ATTEMPT_WIPE_S);
    else if (a->phase == PHASE_STORED) /* it is asked for when the host is back */
        attempt_phase(a, PHASE_STORED, 0);
}

void attempt_distrust(struct attempt *a, const struct err *err)
{
    diag(DIAG_ERROR, "task %s: %s", a->row.id, err->msg);
    end_task(a, TASK_REFUSED, ERR_TRUST, err->msg);
    /* What is there is evidence, so no wipe is asked for and the slot stays taken; the streams and the
     * session's other tasks go on without it. */
    calls_stop(a);
    pack_stop(a);
    log_close(a);
    result_stop(a);
    attempt_phase(a, PHASE_DONE, 0);
}

/* ---- what we send ---- */

void attempt_send(struct attempt *a, const struct msg *m)
{
    struct err err = ERR_INIT;
    if (a->host->state == HOST_READY && host_send(a->host->link, m, &err) < 0)
        engine_host_reset(a->host, err.msg);
}

void attempt_send_document(struct attempt *a, enum msg_type type, const struct buf *doc)
{
    struct msg m = {.type = type};
    m.u.doc.bytes = doc->data;
    m.u.doc.len = doc->len;
    attempt_send(a, &m);
}

void attempt_offer(struct attempt *a)
{
    attempt_phase(a, PHASE_OFFERED, OFFER_S);
    attempt_send_document(a, MSG_ENVELOPE, &a->envelope);
}

static void fetch(struct attempt *a)
{
    struct err err = ERR_INIT;
    if (a->host->state == HOST_READY && result_start(a, &err) < 0)
        engine_host_reset(a->host, err.msg);
}

/* ---- resume ---- */

static int load_envelope(struct attempt *a, struct err *err)
{
    int dir = paths_task_dir(a->e->paths, a->row.id, false, err);
    if (dir < 0)
        return dir;
    int r = file_read(dir, "envelope.json", &a->envelope, err);
    close(dir);
    return r;
}

void attempt_resume(struct engine *e, struct task_row *row)
{
    struct err err = ERR_INIT;
    struct engine_host *h = engine_host_any(e, row->attempt_host, &err);
    struct attempt *a = h != NULL ? attempt_new(e, h) : NULL;
    if (a == NULL)
        return;
    attempt_id_make(row->id, row->attempt_n, a->id);
    int r = store_task_get(e->store, row->id, &a->row, &err);
    if (r == 0)
        r = store_task_runner_key(e->store, row->id, a->runner_key, &err);
    if (r == 0)
        r = load_envelope(a, &err);
    if (r == 0) /* a log whose result is stored is not touched any more */
        r = a->row.result_stored ? result_load(a, &err) : log_open(a, &err);
    if (r < 0) {
        /* A task whose result is stored is never lost: it stays as it is until an engine can read
         * its files. */
        if (a->row.result_stored)
            park(a, err.msg);
        else
            attempt_end(a, TASK_LOST, ERR_FAIL, "%.290s", err.msg);
        return;
    }
    stop_resume(a);
    attempt_phase(a, a->row.result_stored ? PHASE_STORED : PHASE_DETACHED, 0);
    if (a->row.result_stored && !task_state_final((enum task_state)a->row.state))
        result_resume(a);
    if (h->state == HOST_READY)
        engine_host_reset(h, "reconnecting to learn what it still has");
    else
        engine_host_need(h);
}

/* ---- the host came back: compare what it has with what we know ---- */

static const struct msg_attempt *listed(const struct attempt *a, const struct msg_welcome *w)
{
    const struct msg_attempt *items = w->attempts.items;
    for (size_t i = 0; i < w->attempts.n; i++)
        if (strcmp(items[i].attempt, a->id) == 0)
            return &items[i];
    return NULL;
}

void attempt_follow_log(struct attempt *a)
{
    struct err err = ERR_INIT;
    /* Ours or the network's fault: the runner keeps the log, so coming back loses nothing. */
    if (log_follow(a, &err) < 0)
        engine_host_reset(a->host, err.msg);
}

void attempt_send_pack(struct attempt *a)
{
    struct err err = ERR_INIT;
    if (attempt_set_state(a, TASK_RUNNING, "sending the source") < 0)
        return;
    attempt_phase(a, PHASE_SENDING, SEND_S);
    if (pack_start(a, &err) == 0)
        return;
    if (err.code == ERR_HOST)
        engine_host_reset(a->host, err.msg);
    else
        attempt_source_lost(a, &err);
}

void attempt_source_lost(struct attempt *a, const struct err *err)
{
    diag(DIAG_ERROR, "task %s: the source pack on this machine: %s", a->row.id, err->msg);
    a->row.cancel = true;
    attempt_set_state(a, TASK_RUNNING, "the source pack cannot be read here; cancelling");
    attempt_send_cancel(a);
}

void attempt_ended(struct attempt *a, uint64_t log_bytes)
{
    struct err err = ERR_INIT;
    a->ended_log_bytes = log_bytes;
    calls_stop(a);
    broker_attempt_end(a->e->broker, a->id);
    attempt_phase(a, PHASE_DRAINING, DRAIN_S);
    if (log_open(a, &err) < 0) {
        engine_host_reset(a->host, err.msg);
        return;
    }
    if (attempt_set_state(a, TASK_COLLECTING, "fetching the result") == 0)
        attempt_log_complete(a);
}

void attempt_running(struct attempt *a)
{
    uint64_t wall_s = a->row.policy.limits[LIMIT_WALL] / 1000;
    attempt_phase(a, PHASE_RUNNING, (unsigned)wall_s + GRACE_S);
    /* One that was minted before the envelope left is here since then; the runner takes none before its run. */
    attempt_send_repo_token(a);
}

static void reattach(struct attempt *a, const struct msg_attempt *there)
{
    switch ((enum attempt_state)there->state) {
    case ATTEMPT_ACCEPTED:
        attempt_send_pack(a);
        break;
    case ATTEMPT_CHECKOUT:
    case ATTEMPT_RUNNING:
    case ATTEMPT_COLLECTING:
        if (a->row.state == TASK_SENDING && attempt_set_state(a, TASK_RUNNING, "") < 0)
            break;
        attempt_running(a);
        attempt_follow_log(a);
        break;
    case ATTEMPT_ENDED:
        if (a->row.state == TASK_SENDING && attempt_set_state(a, TASK_RUNNING, "") < 0)
            break;
        attempt_ended(a, there->log_bytes);
        break;
    case ATTEMPT_WIPED:
    case ATTEMPT_STATE_COUNT:
        attempt_end(a, TASK_LOST, ERR_HOST, "host %s has wiped it before its result was fetched",
                    a->host->name);
        break;
    }
    if (!a->dead && a->row.cancel)
        attempt_send_cancel(a);
    if (!a->dead)
        attempt_send_repo_token(a);
}

void attempt_welcome(struct attempt *a, const struct msg_welcome *w)
{
    struct err err = ERR_INIT;
    const struct msg_attempt *there = listed(a, w);
    a->cancel_sent = false;
    if (a->phase == PHASE_SIGNING || a->phase == PHASE_DONE)
        return;
    if (a->row.result_stored) {
        if (there != NULL) {
            attempt_send_wipe(a);
            return;
        }
        /* The runner has forgotten it: a restart wipes, and no receipt will ever come. */
        if (store_task_wiped(a->e->store, a->row.id, &err) < 0)
            engine_store_failed(a->e, "wiped", &err);
        a->row.wiped = true;
        if (a->row.imported)
            attempt_drop(a);
    } else if (there != NULL) {
        reattach(a, there);
    } else if (a->row.state != TASK_SENDING) {
        attempt_end(a, TASK_LOST, ERR_HOST, "host %s no longer has it: its runner was restarted",
                    a->host->name);
    } else if (a->row.cancel) {
        attempt_end(a, TASK_CANCELLED, ERR_CANCELLED, "cancelled before it began");
    } else {
        a->offered_again = true;
        attempt_offer(a); /* the same envelope: a runner that has seen it says so */
    }
}

void attempt_host_forgotten(struct attempt *a)
{
    if (a->phase == PHASE_SIGNING || a->phase == PHASE_DONE)
        return;
    calls_stop(a);
    pack_stop(a);
    log_stop(a);
    if (!a->row.result_stored) {
        attempt_end(a, TASK_LOST, ERR_HOST, "host %s was removed while it was there",
                    a->host->name);
        return;
    }
    /* Nobody is left to be told to wipe; the stored result is imported all the same. */
    a->row.wiped = true;
    if (task_state_final((enum task_state)a->row.state))
        attempt_drop(a);
}

void attempt_host_gone(struct attempt *a, const struct err *err)
{
    char reason[301];
    if (a->phase == PHASE_SIGNING || a->phase == PHASE_DONE)
        return;
    calls_stop(a);
    pack_stop(a);
    log_stop(a);
    if (a->row.result_stored) {
        attempt_phase(a, PHASE_STORED, 0);
        return;
    }
    result_stop(a);
    /* A wrong key or a refused login is somebody in between, or a host that is being rebuilt: it says
     * nothing about the task. Only the pinned host's own word ends it. */
    attempt_phase(a, PHASE_DETACHED, 0);
    snprintf(reason, sizeof(reason), "%.220s%s", err->msg,
             a->row.state == TASK_SENDING ? "" : "; the work goes on there");
    attempt_set_state(a, (enum task_state)a->row.state, reason);
}

/* ---- steps that the streams report ---- */

void attempt_log_complete(struct attempt *a)
{
    if (a->phase != PHASE_DRAINING)
        return; /* ENDED has not come yet */
    if (a->log.bytes == a->ended_log_bytes) {
        struct err err = ERR_INIT;
        log_stop(a);
        if (log_finish(a, &err) < 0)
            engine_host_reset(a->host, err.msg); /* the next welcome tries again */
        else
            fetch(a);
    } else if (a->log.bytes > a->ended_log_bytes) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_TRUST, "host %s: the log is longer than it says", a->host->name);
        attempt_distrust(a, &err);
    } else if (a->log_stream == NULL) {
        attempt_follow_log(a); /* the rest of it */
    }
}

void attempt_stored(struct attempt *a)
{
    broker_attempt_end(a->e->broker, a->id);
    attempt_phase(a, PHASE_STORED, ATTEMPT_WIPE_S);
    attempt_send_wipe(a);
    result_import(a);
}

void attempt_cancel(struct attempt *a)
{
    a->row.cancel = true;
    if (a->phase >= PHASE_SENDING && a->phase <= PHASE_RUNNING)
        attempt_send_cancel(a);
}
