/* One connection from a jail to the broker's door: bytes both ways between its socket and a `call`
 * channel, at the pace of the slower side. What cannot be written waits here, at most a chunk for each
 * way, and while it waits the other side is not read. */
#include "runner/call_internal.h"

#include <errno.h>
#include <linux/sockios.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"

#define PEND_MAX (2 * STREAM_CHUNK) /* a piece read, behind one that a stream had in hand */
#define READS    8                  /* of a client that leaves, a turn */

static uint64_t now_ms(const struct call *c)
{
    return uv_now(c->calls->setup.loop);
}

/* ---- which events matter now ---- */

static void on_jail(uv_poll_t *p, int status, int events);

static void watch(struct call *c)
{
    int want = 0;
    if (c->ended)
        return;
    if (c->phase == CALL_OPEN && !c->jail_eof && c->to_ctl.len == 0)
        want |= UV_READABLE;
    if (c->phase == CALL_LEAVES && !c->jail_eof)
        want |= UV_READABLE;
    if (c->to_jail.len > 0)
        want |= UV_WRITABLE;
    if (want == c->want)
        return;
    c->want = want;
    if (want)
        uv_poll_start(&c->poll, want, on_jail);
    else
        uv_poll_stop(&c->poll);
}

/* ---- life ---- */

static void on_poll_closed(uv_handle_t *h)
{
    struct call *c = h->data;
    struct calls *cs = c->calls;
    free(c);
    calls_handle_gone(cs);
}

struct call *call_new(struct calls *cs, int fd, enum call_phase phase)
{
    struct call *c = calloc(1, sizeof *c);
    if (!c || uv_poll_init(cs->setup.loop, &c->poll, fd) < 0) {
        free(c);
        fd_close(&fd);
        return NULL;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    c->calls = cs;
    c->phase = phase;
    c->fd = fd;
    c->poll.data = c;
    buf_init(&c->to_jail, PEND_MAX);
    buf_init(&c->to_ctl, PEND_MAX);
    cs->handles++;
    calls_count(cs, phase, 1);
    c->deadline = now_ms(c) + (phase == CALL_WAITS ? cs->setup.wait_ms : CALL_LINGER_MS);
    c->link = cs->list_end;
    *cs->list_end = c;
    cs->list_end = &c->next;
    return c;
}

static void enter(struct call *c, enum call_phase phase)
{
    calls_count(c->calls, c->phase, -1);
    c->phase = phase;
    calls_count(c->calls, c->phase, 1);
}

static void unlink_call(struct call *c)
{
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    else
        c->calls->list_end = c->link;
    calls_count(c->calls, c->phase, -1);
}

void call_end(struct call *c, bool clean)
{
    const struct linger now = {.l_onoff = 1};
    struct stream *s = c->stream;
    if (c->ended)
        return;
    c->ended = true;
    unlink_call(c);
    c->stream = NULL;
    if (s) {
        s->call = NULL;
        stream_close(s);
    }
    if (!clean)
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    uv_close((uv_handle_t *)&c->poll, on_poll_closed);
    fd_close(&c->fd);
    buf_done(&c->to_jail);
    buf_done(&c->to_ctl);
}

/* ---- towards the jail ---- */

static ssize_t send_jail(struct call *c, const void *bytes, size_t n)
{
    ssize_t w;
    do
        w = send(c->fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
    while (w < 0 && errno == EINTR);
    return w < 0 && errno == EAGAIN ? 0 : w;
}

/* The one side said all and the other has it: it is told so. False: that was the end. */
static bool pass_ends(struct call *c)
{
    if (c->phase == CALL_OPEN && c->jail_eof && !c->ctl_shut && c->to_ctl.len == 0) {
        stream_shut(c->stream);
        c->ctl_shut = true;
    }
    bool said = c->phase == CALL_LEAVES || c->ctl_eof;
    if (said && !c->jail_shut && c->to_jail.len == 0) {
        shutdown(c->fd, SHUT_WR);
        c->jail_shut = true;
        c->deadline = now_ms(c) + (c->phase == CALL_LEAVES ? CALL_LINGER_MS : CALL_HALF_MS);
    }
    if (c->jail_shut && c->jail_eof && (c->phase == CALL_LEAVES || c->ctl_shut)) {
        call_end(c, true);
        return false;
    }
    return true;
}

/* What waits for the jail goes. False: the connection ended. */
static bool flush_jail(struct call *c)
{
    while (c->to_jail.len > 0) {
        ssize_t w = send_jail(c, c->to_jail.data, c->to_jail.len);
        if (w < 0) {
            call_end(c, false);
            return false;
        }
        if (w == 0)
            return true;
        buf_drop(&c->to_jail, (size_t)w);
    }
    buf_done(&c->to_jail); /* nothing is kept of a burst */
    buf_init(&c->to_jail, PEND_MAX);
    if (c->stream)
        stream_hold_back(c->stream, false);
    return pass_ends(c);
}

static void from_channel(struct stream *s, const uint8_t *bytes, size_t n)
{
    struct call *c = s->call;
    if (!c) { /* nobody spoke yet: it has nothing to answer */
        stream_close(s);
        return;
    }
    ssize_t w = c->to_jail.len > 0 ? 0 : send_jail(c, bytes, n);
    if (w < 0 || ((size_t)w < n && buf_add(&c->to_jail, bytes + w, n - (size_t)w) < 0)) {
        call_end(c, false);
        return;
    }
    if (c->to_jail.len > 0)
        stream_hold_back(s, true);
    watch(c);
}

/* A channel that is lost ends both ways at once: then what the client has is not all. */
static void channel_eof(struct stream *s)
{
    struct call *c = s->call;
    if (!c) {
        stream_close(s);
        return;
    }
    if (!c->ctl_shut && stream_hung_up(s)) {
        call_end(c, false);
        return;
    }
    c->ctl_eof = true;
    if (pass_ends(c))
        watch(c);
}

/* ---- towards the controller ---- */

/* What waits for the channel goes. 1: nothing waits; 0: it takes no more; -1: it is gone. */
static int flush_channel(struct call *c)
{
    while (c->to_ctl.len > 0) {
        ssize_t w = stream_write(c->stream, c->to_ctl.data, c->to_ctl.len);
        if (w <= 0)
            return (int)w;
        buf_drop(&c->to_ctl, (size_t)w);
    }
    buf_done(&c->to_ctl);
    buf_init(&c->to_ctl, PEND_MAX);
    return 1;
}

static enum stream_more keep_rest(struct call *c, const uint8_t *bytes, size_t n)
{
    if (buf_add(&c->to_ctl, bytes, n) < 0)
        return STREAM_END;
    watch(c);
    return STREAM_BLOCKED;
}

/* A piece of what the jail says. STREAM_END lets the stream go, and with it, by gone(), the call. */
static enum stream_more to_channel(struct stream *s)
{
    struct call *c = s->call;
    if (!c || c->jail_eof)
        return STREAM_IDLE;
    int r = flush_channel(c);
    if (r <= 0)
        return r < 0 ? STREAM_END : STREAM_BLOCKED;
    uint8_t *scratch = c->calls->scratch;
    ssize_t n = recv(c->fd, scratch, STREAM_CHUNK, MSG_DONTWAIT);
    if (n < 0 && errno == EINTR)
        return STREAM_AGAIN;
    if (n < 0 && errno == EAGAIN) {
        watch(c);
        return STREAM_IDLE;
    }
    if (n < 0)
        return STREAM_END;
    if (n == 0) {
        c->jail_eof = true;
        if (pass_ends(c))
            watch(c);
        return STREAM_IDLE;
    }
    ssize_t w = stream_write(s, scratch, (size_t)n);
    if (w < 0)
        return STREAM_END;
    return w < n ? keep_rest(c, scratch + w, (size_t)(n - w)) : STREAM_AGAIN;
}

static void channel_gone(struct stream *s)
{
    struct call *c = s->call;
    calls_forget_idle(s->calls, s);
    s->call = NULL;
    if (c) {
        c->stream = NULL;
        call_end(c, false);
    }
}

const struct stream_kind call_kind = {
    .bytes = from_channel,
    .eof = channel_eof,
    .more = to_channel,
    .gone = channel_gone,
    .outlives_attach = true,
};

void call_begin(struct call *c, struct stream *s)
{
    enter(c, CALL_OPEN);
    c->deadline = 0;
    c->stream = s;
    s->call = c;
    watch(c);
    stream_pump(s);
}

/* ---- refused ---- */

static void drop_words(struct call *c)
{
    for (int i = 0; i < READS && !c->jail_eof; i++) {
        ssize_t n = recv(c->fd, c->calls->scratch, STREAM_CHUNK, MSG_DONTWAIT);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        c->jail_eof = n <= 0;
    }
}

void call_dismiss(struct call *c, const char *status, const char *why)
{
    struct buf body;
    buf_init(&body, 1024);
    buf_addf(&body,
             "{\"type\":\"error\",\"error\":{\"type\":\"creel\",\"message\":\"creel: %s\"}}\n",
             why);
    buf_addf(&c->to_jail,
             "HTTP/1.1 %s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n"
             "Retry-After: 5\r\nConnection: close\r\n\r\n%s",
             status, body.len, buf_str(&body));
    buf_done(&body);
    if (c->phase != CALL_LEAVES)
        enter(c, CALL_LEAVES);
    c->deadline = now_ms(c) + CALL_LINGER_MS;
    if (flush_jail(c))
        watch(c);
}

/* Its time is over, but it still takes what was said to it: it is slow, not gone. */
static bool still_taking(struct call *c, uint64_t now)
{
    int queued = 0;
    if (ioctl(c->fd, SIOCOUTQ, &queued) < 0 || queued <= 0)
        return false;
    if ((size_t)queued != c->untaken)
        c->untaken_since = now;
    c->untaken = (size_t)queued;
    if (now - c->untaken_since >= CALL_HALF_MS)
        return false;
    c->deadline = now + CALL_LINGER_MS;
    return true;
}

void call_late(struct call *c, uint64_t now)
{
    if (c->phase == CALL_WAITS)
        call_dismiss(c, "503 Service Unavailable",
                     "the controller of this task is not connected; try again later");
    else if (!still_taking(c, now))
        call_end(c, c->jail_shut);
}

static void on_jail(uv_poll_t *p, int status, int events)
{
    struct call *c = p->data;
    if (status < 0) { /* libuv stopped it: the socket has an error */
        call_end(c, false);
        return;
    }
    if (c->to_jail.len > 0 && !flush_jail(c))
        return;
    if (c->phase == CALL_LEAVES) {
        drop_words(c);
        if (pass_ends(c))
            watch(c);
        return;
    }
    if ((events & UV_READABLE) && c->stream && !c->stream->writing)
        stream_pump(c->stream);
    watch(c);
}
