/* An attempt's calls: connections from its jail to the broker, each one channel of the host's session.
 *
 * The runner says how many it wants; what the attempt's policy and the session have room for is opened,
 * the rest when there is room again. A channel may wait long for a connection, so the broker hears of
 * it with its first byte: then it gets one end of a socketpair, and bytes pass both ways at the pace of
 * the slower side. Nothing of them is read here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/file.h"
#include "controller/engine_internal.h"

#define CALL_CHUNK (32u << 10)
#define CALL_READS 4 /* chunks a turn, so that no call starves the loop */
/* Channels of a session that calls leave for sources, logs and results. */
#define CALLS_LEAVE 6

struct call {
    struct attempt *a;
    struct call *next, **link; /* attempt::calls */
    struct host_stream *stream;
    int fd; /* our end of the broker's socketpair; -1 until the first byte */
    uv_poll_t poll;
    int want;
    struct buf pend; /* from the broker, not yet taken by the stream */
    bool said_all;   /* the broker did */
    bool deaf;       /* and hears no more */
};

static void call_freed(uv_handle_t *handle)
{
    free(handle->data);
}

static void call_end(struct call *c)
{
    *c->link = c->next;
    if (c->next != NULL)
        c->next->link = c->link;
    c->a->ncalls--;
    if (c->stream != NULL)
        host_stream_close(c->stream);
    buf_done(&c->pend);
    if (c->fd < 0) {
        free(c);
        return;
    }
    uv_close((uv_handle_t *)&c->poll, call_freed);
    fd_close(&c->fd);
}

static void on_broker(uv_poll_t *poll, int status, int events);

static void call_watch(struct call *c, int want)
{
    if (want == c->want)
        return;
    c->want = want;
    if (want != 0)
        uv_poll_start(&c->poll, want, on_broker);
    else
        uv_poll_stop(&c->poll);
}

/* The first byte: the broker is told. */
static int call_begin(struct call *c)
{
    int pair[2] = {-1, -1};
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0 ||
        uv_poll_init(&c->a->e->loop, &c->poll, pair[0]) < 0) {
        fd_close(&pair[0]);
        fd_close(&pair[1]);
        diag(DIAG_ERROR, "task %s: a call cannot be passed to the broker: %s", c->a->row.id,
             strerror(errno));
        return -1;
    }
    c->fd = pair[0];
    c->poll.data = c;
    broker_call(c->a->e->broker, c->a->id, pair[1]);
    call_watch(c, UV_READABLE);
    return 0;
}

/* ---- from the jail ---- */

static size_t on_call_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct call *c = arg;
    ssize_t w;
    /* A runner that has no such jail says so in a frame, whose first byte no HTTP begins with. */
    if (c->fd < 0 && (bytes[0] == 0 || call_begin(c) < 0)) {
        call_end(c);
        return n;
    }
    if (c->deaf)
        return n;
    do
        w = send(c->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (w < 0 && errno == EINTR);
    if (w < 0 && errno != EAGAIN) {
        /* It has closed its end; what it said before is still to be passed on. */
        c->deaf = true;
        return n;
    }
    if (w < (ssize_t)n)
        call_watch(c, c->want | UV_WRITABLE);
    return w > 0 ? (size_t)w : 0;
}

static void on_call_eof(void *arg)
{
    struct call *c = arg;
    if (c->fd < 0)
        call_end(c); /* nobody ever spoke on it */
    else
        shutdown(c->fd, SHUT_WR);
}

static void on_call_end(void *arg, const struct err *err)
{
    struct call *c = arg;
    struct engine_host *h = c->a->host;
    (void)err; /* whether the session is gone, the host's own callback says */
    c->stream = NULL;
    call_end(c);
    calls_continue(h);
}

/* ---- from the broker ---- */

static void pass_end(struct call *c)
{
    if (c->said_all && c->pend.len == 0)
        host_stream_eof(c->stream);
}

static void on_call_writable(void *arg)
{
    struct call *c = arg;
    if (c->pend.len > 0)
        buf_drop(&c->pend, host_stream_write(c->stream, c->pend.data, c->pend.len));
    if (c->pend.len > 0)
        return;
    pass_end(c);
    if (!c->said_all && c->fd >= 0)
        call_watch(c, c->want | UV_READABLE);
}

/* One piece. False: nothing more now. */
static bool from_broker(struct call *c)
{
    uint8_t chunk[CALL_CHUNK];
    ssize_t n = recv(c->fd, chunk, sizeof(chunk), MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
        return true;
    if (n < 0 && errno == EAGAIN)
        return false;
    if (n <= 0) { /* an error is an end, too: what it had said came before */
        c->said_all = true;
        call_watch(c, c->want & ~UV_READABLE);
        pass_end(c);
        return false;
    }
    size_t took = host_stream_write(c->stream, chunk, (size_t)n);
    if (took == (size_t)n)
        return true;
    if (buf_add(&c->pend, chunk + took, (size_t)n - took) < 0) {
        call_end(c);
        return false;
    }
    call_watch(c, c->want & ~UV_READABLE);
    return false;
}

static void on_broker(uv_poll_t *poll, int status, int events)
{
    struct call *c = poll->data;
    if (status < 0) {
        call_end(c);
        return;
    }
    if (events & UV_WRITABLE) {
        call_watch(c, c->want & ~UV_WRITABLE);
        host_stream_resume(c->stream);
    }
    if (c->want & UV_READABLE) {
        int left = CALL_READS;
        while (left-- > 0 && from_broker(c)) {
        }
    }
}

/* ---- how many ---- */

static int call_open(struct attempt *a, struct err *err)
{
    static const struct stream_callbacks callbacks = {
        .data = on_call_data, .writable = on_call_writable, .eof = on_call_eof, .end = on_call_end};
    struct msg_hello hello = {.version = PROTO_VERSION, .channel = CHANNEL_CALL};
    struct call *c = calloc(1, sizeof(*c));
    if (c == NULL)
        return err_set(err, ERR_FAIL, "out of memory");
    c->a = a;
    c->fd = -1;
    buf_init(&c->pend, CALL_CHUNK);
    snprintf(hello.program, sizeof(hello.program), "creel");
    snprintf(hello.attempt, sizeof(hello.attempt), "%s", a->id);
    proof_make(PROOF_CALL, a->envelope.data, a->envelope.len, hello.proof);
    int r = host_stream_open(a->host->link, &hello, &callbacks, c, &c->stream, err);
    if (r < 0) {
        free(c);
        return r;
    }
    c->next = a->calls;
    c->link = &a->calls;
    if (c->next != NULL)
        c->next->link = &c->next;
    a->calls = c;
    a->ncalls++;
    return 0;
}

static void open_wanted(struct attempt *a)
{
    struct err err = ERR_INIT;
    while (a->calls_wanted > 0 && a->ncalls < a->calls_max &&
           host_streams_room(a->host->link) > CALLS_LEAVE) {
        if (call_open(a, &err) < 0) {
            diag(DIAG_WARN, "task %s: %s", a->row.id, err.msg);
            return;
        }
        a->calls_wanted--;
    }
}

void calls_continue(struct engine_host *h)
{
    for (struct attempt *a = h->e->attempts; a != NULL && h->state == HOST_READY; a = a->next)
        if (a->host == h && !a->dead && a->calls_wanted > 0)
            open_wanted(a);
}

void calls_want(struct attempt *a, unsigned wanted)
{
    a->calls_max = policy_calls(&a->row.policy);
    if (a->calls_max == 0) {
        diag(DIAG_WARN, "task %s: host %s asks for calls that its policy does not have", a->row.id,
             a->host->name);
        engine_host_reset(a->host, "it asked for calls that a task's policy does not have");
        return;
    }
    a->calls_max++; /* the one that is open ahead of need */
    a->calls_wanted += wanted;
    if (a->calls_wanted > a->calls_max)
        a->calls_wanted = a->calls_max;
    open_wanted(a);
}

void calls_stop(struct attempt *a)
{
    a->calls_wanted = 0;
    for (struct call *c = a->calls, *next; c != NULL; c = next) {
        next = c->next;
        call_end(c);
    }
}
