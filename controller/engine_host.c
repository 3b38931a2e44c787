/* One host as the engine sees it: one session, reconnected for as long as something there is ours.
 *
 * Unreachable is not gone: attempts on a host stay what they are while the session comes and goes, and
 * are reconciled against what the runner says it still has. Nothing here judges a task.
 */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "controller/engine_internal.h"

#define BACKOFF_FIRST_MS 500
#define BACKOFF_MAX_MS   30000
#define STEADY_MS        30000
#define FULL_FIRST_MS    500
#define FULL_MAX_MS      30000
#define LINGER_MS        (10 * 60 * 1000) /* an idle session is kept this long */

static void connect_host(struct engine_host *h);

static void on_linger(uv_timer_t *timer)
{
    struct engine_host *h = timer->data;
    if (h->attempts == 0 && h->state == HOST_READY) {
        host_close(h->link);
        h->link = NULL;
        h->state = HOST_IDLE;
    }
}

static void on_retry(uv_timer_t *timer)
{
    struct engine_host *h = timer->data;
    h->state = HOST_IDLE;
    if (h->attempts > 0)
        connect_host(h);
    engine_scan_soon(h->e);
}

/* Doubles from half a second to half a minute, with a third of jitter: after a laptop's sleep not
 * every host is called in the same instant. */
static void back_off(struct engine_host *h)
{
    uint64_t ms = BACKOFF_FIRST_MS;
    for (unsigned i = 1; i < h->tries && ms < BACKOFF_MAX_MS; i++)
        ms *= 2;
    if (ms > BACKOFF_MAX_MS)
        ms = BACKOFF_MAX_MS;
    uint32_t jitter = 0;
    uv_random(NULL, NULL, &jitter, sizeof(jitter), 0, NULL);
    ms += jitter % (ms / 3);
    h->state = HOST_BACKOFF;
    uv_timer_start(&h->retry, on_retry, ms, 0);
}

void engine_host_full(struct engine_host *h)
{
    uint64_t ms = FULL_FIRST_MS;
    for (unsigned i = 0; i < h->full_tries && ms < FULL_MAX_MS; i++)
        ms *= 2;
    h->full_tries++;
    h->full_until_ms = uv_now(&h->e->loop) + (ms < FULL_MAX_MS ? ms : FULL_MAX_MS);
}

/* Attempts may end while they are told, so the list is walked with care: none is freed before the
 * loop's next turn, and `next` of a dead one stays valid until then. */
static void tell_attempts_gone(struct engine_host *h, const struct err *err)
{
    for (struct attempt *a = h->e->attempts; a != NULL; a = a->next)
        if (a->host == h && !a->dead)
            attempt_host_gone(a, err);
}

static void session_lost(struct engine_host *h, const struct err *err)
{
    struct host_link *link = h->link;
    /* Only a session that stood for a while, or brought a task on, ends a row of failures: a host that
     * breaks the protocol after every welcome is called more and more seldom. */
    if (h->state == HOST_READY && uv_now(&h->e->loop) - h->ready_ms >= STEADY_MS)
        h->tries = 0;
    h->tries++;
    h->last = *err;
    h->link = NULL;
    diag(DIAG_WARN, "%s", err->msg);
    back_off(h);
    /* They close their streams, which live in the session, before it goes. */
    tell_attempts_gone(h, err);
    if (link != NULL)
        host_close(link);
    engine_scan_soon(h->e);
    engine_notify(h->e);
}

static void tell_attempts_lost(struct engine_host *h, const struct err *err)
{
    for (struct attempt *a = h->e->attempts; a != NULL; a = a->next)
        if (a->host == h && !a->dead && a->phase != PHASE_DONE && !a->row.result_stored)
            attempt_end(a, TASK_LOST, ERR_TRUST, "%.290s", err->msg);
}

/* What the store keeps of a host is refreshed; a runner key other than the pinned one ends it. */
static int record_welcome(struct engine_host *h, const struct msg_welcome *w,
                          const char *host_key_line, struct err *err)
{
    struct store *s = h->e->store;
    bool known = h->row.runner_key_known;
    int r = store_host_seen(s, h->name, w, !known, err);
    if (r == -ERR_TRUST && known)
        tell_attempts_lost(h, err); /* the pinned host says so itself: its runner was made anew */
    if (r == 0 && h->row.host_key[0] == 0 && host_key_line != NULL)
        r = store_host_key(s, h->name, host_key_line, err);
    if (r == 0)
        r = store_host_get(s, h->name, &h->row, err);
    if (r == 0 && strcmp(w->host_key, h->row.host_key_fpr) != 0)
        r = err_set(err, ERR_TRUST,
                    "host %s: its runner takes %s for the host's SSH key, pinned is %s; "
                    "fix --host-key of creel-runner serve there",
                    h->name, w->host_key, h->row.host_key_fpr);
    return r;
}

static void on_ready(void *arg, const struct msg_welcome *w, const char *host_key_line)
{
    struct engine_host *h = arg;
    struct err err = ERR_INIT;
    if (record_welcome(h, w, host_key_line, &err) < 0) {
        session_lost(h, &err);
        return;
    }
    diag(DIAG_INFO, "host %s: connected (%s)", h->name, h->row.program);
    h->state = HOST_READY;
    h->ready_ms = uv_now(&h->e->loop);
    for (struct attempt *a = h->e->attempts; a != NULL; a = a->next)
        if (a->host == h && !a->dead)
            attempt_welcome(a, w);
    if (h->attempts == 0)
        uv_timer_start(&h->retry, on_linger, LINGER_MS, 0);
    engine_scan_soon(h->e);
}

/* The attempt a message is about; documents name theirs inside and are routed after they verified. */
static const char *message_attempt(const struct msg *m)
{
    switch ((int)m->type) {
    case MSG_ACCEPTED:
        return m->u.accepted.attempt;
    case MSG_REFUSED:
        return m->u.refused.attempt;
    case MSG_STATE:
        return m->u.state.attempt;
    case MSG_CALLS:
        return m->u.calls.attempt;
    case MSG_ENDED:
        return m->u.ended.attempt;
    default:
        return "";
    }
}

/* A receipt names its attempt inside what is signed: verified once, then handed over. */
static void on_receipt(struct engine_host *h, const struct msg *m)
{
    struct err err = ERR_INIT;
    struct dsse d = {0};
    struct receipt rc = {0};
    int r = dsse_parse(m->u.doc.bytes, m->u.doc.len, &d, &err);
    if (r == 0 && strcmp(d.type, DSSE_TYPE_RECEIPT) != 0)
        r = err_set(&err, ERR_TRUST, "its type is not a receipt's");
    if (r == 0)
        r = dsse_verify(&d, (const uint8_t(*)[KEY_PUB_BYTES]) & h->row.runner_key, 1, &(size_t){0},
                        &err);
    if (r == 0)
        r = receipt_decode(d.body.data, d.body.len, &rc, &err);
    dsse_done(&d);
    struct attempt *a = r == 0 ? attempt_find(h->e, rc.attempt) : NULL;
    if (a != NULL && a->host == h)
        attempt_receipt(a, &rc, m);
    receipt_done(&rc);
    if (r < 0)
        engine_host_reset(h, err.msg);
}

static void on_message(void *arg, const struct msg *m)
{
    struct engine_host *h = arg;
    const char *id = message_attempt(m);
    if (m->type == MSG_RECEIPT) {
        on_receipt(h, m);
        return;
    }
    for (struct attempt *a = h->e->attempts; a != NULL; a = a->next) {
        /* A refusal without an attempt is about an envelope that never verified: the one offered. */
        bool offered = m->type == MSG_REFUSED && id[0] == 0 && a->phase == PHASE_OFFERED;
        if (a->host != h || a->dead)
            continue;
        if (offered || strcmp(a->id, id) == 0)
            attempt_message(a, m);
    }
}

static void on_gone(void *arg, const struct err *err)
{
    session_lost(arg, err);
}

static void connect_host(struct engine_host *h)
{
    static const struct host_callbacks callbacks = {
        .ready = on_ready, .message = on_message, .gone = on_gone};
    struct host_target t = {0};
    struct err err = ERR_INIT;
    uv_timer_stop(&h->retry);
    int r = store_host_get(h->e->store, h->name, &h->row, &err);
    if (r == -ERR_USAGE) {
        engine_host_forgotten(h);
        return;
    }
    if (r == 0)
        r = paths_ssh_key(h->e->paths, t.ssh_key, &err);
    if (r == 0) {
        memcpy(t.name, h->row.name, sizeof(t.name));
        memcpy(t.user, h->row.user, sizeof(t.user));
        memcpy(t.addr, h->row.addr, sizeof(t.addr));
        memcpy(t.host_key_fpr, h->row.host_key_fpr, sizeof(t.host_key_fpr));
        t.port = h->row.port;
        r = host_open(&h->e->loop, &t, &callbacks, h, &h->link, &err);
    }
    h->state = HOST_CONNECTING;
    if (r < 0)
        session_lost(h, &err);
}

static struct engine_host *host_new(struct engine *e, const char *name, struct err *err)
{
    struct engine_host *h = calloc(1, sizeof(*h));
    if (h == NULL) {
        err_set(err, ERR_FAIL, "out of memory");
        return NULL;
    }
    h->e = e;
    snprintf(h->name, sizeof(h->name), "%s", name);
    uv_timer_init(&e->loop, &h->retry);
    h->retry.data = h;
    h->next = e->hosts;
    e->hosts = h;
    return h;
}

struct engine_host *engine_host_any(struct engine *e, const char *name, struct err *err)
{
    for (struct engine_host *h = e->hosts; h != NULL; h = h->next)
        if (strcmp(h->name, name) == 0)
            return h;
    return host_new(e, name, err);
}

struct engine_host *engine_host_get(struct engine *e, const char *name, struct err *err)
{
    struct host_row row;
    if (store_host_get(e->store, name, &row, err) < 0)
        return NULL;
    struct engine_host *h = engine_host_any(e, name, err);
    if (h != NULL && h->state != HOST_READY)
        h->row = row;
    return h;
}

void engine_host_forgotten(struct engine_host *h)
{
    struct host_link *link = h->link;
    h->link = NULL;
    h->state = HOST_IDLE;
    uv_timer_stop(&h->retry);
    for (struct attempt *a = h->e->attempts; a != NULL; a = a->next)
        if (a->host == h && !a->dead)
            attempt_host_forgotten(a);
    if (link != NULL)
        host_close(link);
}

void engine_host_need(struct engine_host *h)
{
    if (h->state == HOST_IDLE)
        connect_host(h);
    else if (h->state == HOST_READY)
        uv_timer_start(&h->retry, on_linger, LINGER_MS, 0);
}

void engine_host_reset(struct engine_host *h, const char *why)
{
    struct err err = ERR_INIT;
    if (h->state != HOST_READY)
        return;
    if (strncmp(why, "host ", 5) == 0) /* it is named already */
        err_set(&err, ERR_HOST, "%s", why);
    else
        err_set(&err, ERR_HOST, "host %s: %s", h->name, why);
    session_lost(h, &err);
}

static void host_freed(uv_handle_t *handle)
{
    free(handle->data);
}

void engine_hosts_close(struct engine *e)
{
    for (struct engine_host *h = e->hosts, *next; h != NULL; h = next) {
        next = h->next;
        if (h->link != NULL)
            host_close(h->link);
        h->link = NULL;
        uv_close((uv_handle_t *)&h->retry, host_freed);
    }
    e->hosts = NULL;
}
