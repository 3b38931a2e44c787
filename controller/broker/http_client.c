/* libcurl's multi handle in a libuv loop: its sockets are polled, its timer is ours, and what it hands
 * back is told. Memory that libcurl frees is wiped: it composes heads, with keys in them, in buffers of
 * its own. */
#include "controller/broker/http_internal.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#define TICK_MS         100
#define CONNECTIONS_MAX 256L

/* One socket of libcurl's. Kept by its number when libcurl needs it no more, stopped, for libuv looks at a
 * descriptor anew with each handle made for it; the next socket of that number takes it. */
struct watch {
    uv_poll_t poll;
    struct http_client *client;
    curl_socket_t fd;
};

static void *wiping_realloc(void *p, size_t n);

static void wiping_free(void *p)
{
    if (p)
        sodium_memzero(p, malloc_usable_size(p));
    free(p);
}

static void *wiping_realloc(void *p, size_t n)
{
    size_t had = p ? malloc_usable_size(p) : 0;
    if (n <= had && n > 0)
        return p;
    void *q = malloc(n > 0 ? n : 1);
    if (q && p) {
        memcpy(q, p, had < n ? had : n);
        wiping_free(p);
    }
    return q;
}

static void unlink_exchange(struct http_exchange *x)
{
    if (x->next)
        x->next->prev = x->prev;
    if (x->prev)
        x->prev->next = x->next;
    else
        x->client->first = x->next;
}

/* Out of libcurl's hands; it must not be at work. */
static void take_out(struct http_exchange *x)
{
    struct http_client *c = x->client;
    unlink_exchange(x);
    curl_multi_remove_handle(c->multi, x->easy);
    if (!c->first)
        uv_timer_stop(&c->tick);
}

/* What curl finished, and what was cancelled or ended while it was at work. */
static void settle(struct http_client *c)
{
    CURLMsg *m;
    int left;
    while (c->depth == 0 && (m = curl_multi_info_read(c->multi, &left))) {
        struct http_exchange *x = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&x);
        take_out(x);
        exchange_end(x, code);
        if (c->closing)
            return;
    }
    while (c->depth == 0 && c->reap) {
        c->reap = false;
        for (struct http_exchange *x = c->first, *next; x && !c->reap; x = next) {
            next = x->next;
            if (x->cancelled || x->why.code) {
                take_out(x);
                c->reap = true; /* its end may have changed the list: from the front again */
                exchange_end(x, CURLE_ABORTED_BY_CALLBACK);
            }
        }
    }
}

static void act(struct http_client *c, curl_socket_t fd, int events)
{
    int running;
    c->depth++;
    curl_multi_socket_action(c->multi, fd, events, &running);
    c->depth--;
    settle(c);
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct watch *w = poll->data;
    int flags = status < 0 ? CURL_CSELECT_ERR : 0;
    if (events & UV_READABLE)
        flags |= CURL_CSELECT_IN;
    if (events & UV_WRITABLE)
        flags |= CURL_CSELECT_OUT;
    act(w->client, w->fd, flags);
}

static struct watch *watch_new(struct http_client *c, curl_socket_t fd)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w || uv_poll_init_socket(c->loop, &w->poll, fd) < 0) {
        free(w);
        return NULL;
    }
    w->client = c;
    w->fd = fd;
    w->poll.data = w;
    return w;
}

static struct watch *watch_of(struct http_client *c, curl_socket_t fd)
{
    size_t at = (size_t)fd;
    if (at >= c->nwatches) {
        struct watch **more = reallocarray(c->watches, at + 64, sizeof *more);
        if (!more)
            return NULL;
        memset(more + c->nwatches, 0, (at + 64 - c->nwatches) * sizeof *more);
        c->watches = more;
        c->nwatches = at + 64;
    }
    if (!c->watches[at])
        c->watches[at] = watch_new(c, fd);
    curl_multi_assign(c->multi, fd, c->watches[at]);
    return c->watches[at];
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *per_socket)
{
    struct http_client *c = arg;
    struct watch *w = per_socket;
    if (what == CURL_POLL_REMOVE) {
        if (w) {
            uv_poll_stop(&w->poll);
            curl_multi_assign(c->multi, fd, NULL);
        }
        return 0;
    }
    if (!w && !(w = watch_of(c, fd)))
        return 0; /* out of memory: its limit of time ends it; -1 would end all, for good */
    int events = (what & CURL_POLL_IN ? UV_READABLE : 0) | (what & CURL_POLL_OUT ? UV_WRITABLE : 0);
    uv_poll_start(&w->poll, events, on_ready);
    return 0;
}

static void on_timer(uv_timer_t *timer)
{
    act(timer->data, CURL_SOCKET_TIMEOUT, 0);
}

static int on_curl_timer(CURLM *multi, long ms, void *arg)
{
    struct http_client *c = arg;
    if (ms < 0)
        uv_timer_stop(&c->timer);
    else
        uv_timer_start(&c->timer, on_timer, (uint64_t)ms, 0);
    return 0;
}

static void on_tick(uv_timer_t *timer)
{
    struct http_client *c = timer->data;
    uint64_t now = uv_now(c->loop);
    for (struct http_exchange *x = c->first; x; x = x->next)
        if (!x->why.code && exchange_late(x, now, &x->why))
            c->reap = true;
    settle(c);
}

static int set_up(struct http_client *c, struct err *err)
{
    /* Only here is libcurl started, before any other use of it in this process. */
    if (curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup,
                             calloc) != CURLE_OK ||
        !(c->multi = curl_multi_init()) || !(c->share = curl_share_init()))
        return err_set(err, ERR_FAIL, "libcurl cannot start");
    curl_share_setopt(c->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(c->multi, CURLMOPT_SOCKETDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERFUNCTION, on_curl_timer);
    curl_multi_setopt(c->multi, CURLMOPT_TIMERDATA, c);
    curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, CONNECTIONS_MAX);
    curl_multi_setopt(c->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING);
    return 0;
}

int http_client_new(uv_loop_t *loop, struct http_client **ret, struct err *err)
{
    struct http_client *c = calloc(1, sizeof *c);
    if (!c)
        return err_set(err, ERR_FAIL, "out of memory");
    c->loop = loop;
    int rc = set_up(c, err);
    if (rc < 0) {
        curl_multi_cleanup(c->multi);
        curl_share_cleanup(c->share);
        free(c);
        return rc;
    }
    uv_timer_init(loop, &c->timer);
    uv_timer_init(loop, &c->tick);
    c->timer.data = c->tick.data = c;
    c->open_handles = 2;
    *ret = c;
    return 0;
}

static void on_client_closed(uv_handle_t *handle)
{
    struct http_client *c = handle->data;
    if (--c->open_handles == 0)
        free(c);
}

void http_client_close(struct http_client *c)
{
    if (!c)
        return;
    c->closing = true;
    while (c->first) {
        struct http_exchange *x = c->first;
        take_out(x);
        exchange_free(x);
    }
    curl_multi_cleanup(c->multi);
    curl_share_cleanup(c->share);
    for (size_t i = 0; i < c->nwatches; i++)
        if (c->watches[i])
            uv_close((uv_handle_t *)&c->watches[i]->poll, on_watch_closed);
    free(c->watches);
    uv_close((uv_handle_t *)&c->timer, on_client_closed);
    uv_close((uv_handle_t *)&c->tick, on_client_closed);
}

int http_send(struct http_client *c, const struct http_ask *ask, const struct http_callbacks *cb,
              void *arg, struct http_exchange **ret, struct err *err)
{
    struct http_exchange *x;
    int rc = exchange_new(c, ask, cb, arg, &x, err);
    if (rc < 0)
        return rc;
    CURLMcode added = curl_multi_add_handle(c->multi, x->easy);
    if (added != CURLM_OK) {
        exchange_free(x);
        return err_set(err, ERR_FAIL, "libcurl: %s", curl_multi_strerror(added));
    }
    x->next = c->first;
    if (c->first)
        c->first->prev = x;
    c->first = x;
    if (!uv_is_active((uv_handle_t *)&c->tick))
        uv_timer_start(&c->tick, on_tick, TICK_MS, TICK_MS);
    *ret = x;
    return 0;
}

void http_resume(struct http_exchange *x)
{
    struct http_client *c = x->client;
    if (!x->paused)
        return;
    x->heard_ms = uv_now(c->loop);
    c->depth++;
    curl_easy_pause(x->easy, CURLPAUSE_CONT);
    c->depth--;
    settle(c);
}

void http_cancel(struct http_exchange *x)
{
    struct http_client *c = x->client;
    x->cancelled = true;
    if (c->depth > 0) {
        c->reap = true;
        return;
    }
    take_out(x);
    exchange_free(x);
}
