/* One connection; see stream.h. It moves bytes and bounds them. It knows nothing of attempts or
 * envelopes, and trusts no length a peer names. */
#include "runner/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/attach.h"
#include "runner/text.h"

#define STREAM_READS    4  /* chunks taken a turn: nobody starves the others */
#define STREAM_WRITES   16 /* calls of more() a turn */
#define STREAM_SEND_MAX (256u << 10)
#define STREAM_KEEP     (16u << 10) /* an empty buffer larger than this is given back */

const struct stream_times stream_times_default = {
    .hello_ms = 30000,
    .frame_ms = 30000,
    .silence_ms = 60000, /* four pings of a controller */
    .flush_ms = 10000,
};

/* ---- closing ---- */

static void on_closed(uv_handle_t *h)
{
    struct stream *s = h->data;
    if (--s->handles > 0)
        return;
    buf_done(&s->in);
    buf_done(&s->out);
    free(s);
}

static void unlink_stream(struct stream *s)
{
    *s->link = s->next;
    if (s->next)
        s->next->link = s->link;
    s->owner->n--;
    s->owner->classes[s->class]--;
    s->owner->held -= s->held;
    s->held = 0;
}

void stream_close(struct stream *s)
{
    if (s->closed)
        return;
    s->closed = true;
    unlink_stream(s);
    if (s->kind && s->kind->gone)
        s->kind->gone(s);
    uv_close((uv_handle_t *)&s->attach, on_closed);
    uv_close((uv_handle_t *)&s->deadline, on_closed);
    if (s->polling) {
        uv_close((uv_handle_t *)&s->rd, on_closed);
        if (!s->shut)
            uv_close((uv_handle_t *)&s->wr, on_closed);
    }
    /* attach still holds the same socket: without the shutdown its peer would see the end only when
     * attach has ended too. On a pipe this fails, and closing is enough. */
    if (s->wfd >= 0)
        (void)shutdown(s->wfd, SHUT_WR);
    fd_close(&s->rfd);
    fd_close(&s->wfd);
    fd_close(&s->attach_fd);
}

static void on_deadline(uv_timer_t *t)
{
    stream_close(t->data);
}

void stream_finish(struct stream *s)
{
    if (s->closed || s->flushing)
        return;
    s->flushing = true;
    if (s->polling)
        uv_poll_stop(&s->rd);
    uv_timer_start(&s->deadline, on_deadline, s->owner->times.flush_ms, 0);
    stream_pump(s);
}

bool stream_hung_up(const struct stream *s)
{
    struct pollfd p = {.fd = s->wfd};
    return s->wfd < 0 || s->hung || (poll(&p, 1, 0) == 1 && (p.revents & (POLLHUP | POLLERR)));
}

/* ---- writing ---- */

static ssize_t write_fd(struct stream *s, const void *bytes, size_t n)
{
    ssize_t w;
    do
        w = write(s->wfd, bytes, n);
    while (w < 0 && errno == EINTR);
    if (w < 0 && errno == EAGAIN)
        return 0;
    if (w < 0)
        s->hung = true;
    return w;
}

ssize_t stream_write(struct stream *s, const void *bytes, size_t n)
{
    return s->closed || s->wfd < 0 ? -1 : write_fd(s, bytes, n);
}

/* A socket has two halves. A pipe (sshd gives two) has not: there both we and attach let go of it. */
void stream_shut(struct stream *s)
{
    if (s->closed || s->wfd < 0 || shutdown(s->wfd, SHUT_WR) == 0)
        return;
    (void)send(s->attach_fd, ATTACH_LET_GO, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    s->shut = true;
    uv_close((uv_handle_t *)&s->wr, on_closed);
    fd_close(&s->wfd);
}

enum stream_more stream_sendfile(struct stream *s, int fd, uint64_t *offset, uint64_t n)
{
    off_t at = (off_t)*offset;
    ssize_t w;
    do
        w = sendfile(s->wfd, fd, &at, n < STREAM_SEND_MAX ? (size_t)n : STREAM_SEND_MAX);
    while (w < 0 && errno == EINTR);
    if (w > 0)
        *offset += (uint64_t)w;
    if (w < 0 && errno == EAGAIN)
        return STREAM_BLOCKED;
    if (w <= 0)
        s->hung = true; /* the peer is gone, or the file is shorter than it was */
    return w > 0 ? STREAM_AGAIN : STREAM_END;
}

/* Empties the queue. 1 when empty, 0 when blocked, -1 when the peer is gone. */
static int flush_queue(struct stream *s)
{
    while (s->out.len > 0) {
        ssize_t w = write_fd(s, s->out.data, s->out.len);
        if (w <= 0)
            return (int)w;
        buf_drop(&s->out, (size_t)w);
    }
    if (s->out.cap > STREAM_KEEP) {
        buf_done(&s->out);
        buf_init(&s->out, STREAM_QUEUE_MAX);
    }
    return 1;
}

static enum stream_more write_some(struct stream *s)
{
    int r = flush_queue(s);
    if (r <= 0)
        return r < 0 ? STREAM_END : STREAM_BLOCKED;
    if (s->flushing)
        return STREAM_END;
    enum stream_more m = s->kind && s->kind->more ? STREAM_AGAIN : STREAM_IDLE;
    for (int i = 0; m == STREAM_AGAIN && i < STREAM_WRITES && !s->closed && !s->flushing; i++)
        m = s->kind->more(s);
    return s->hung ? STREAM_END : m;
}

static void on_writable(uv_poll_t *p, int status, int events)
{
    struct stream *s = p->data;
    if (status < 0)
        stream_close(s);
    else
        stream_pump(s);
}

void stream_pump(struct stream *s)
{
    if (s->closed || !s->polling || s->shut)
        return;
    enum stream_more m = write_some(s);
    if (s->closed || s->shut)
        return;
    if (m == STREAM_END)
        stream_close(s);
    else if (s->writing != (m != STREAM_IDLE))
        m == STREAM_IDLE ? uv_poll_stop(&s->wr) : uv_poll_start(&s->wr, UV_WRITABLE, on_writable);
    s->writing = !s->closed && m != STREAM_IDLE;
}

void stream_send(struct stream *s, const struct msg *m)
{
    struct err err = ERR_INIT;
    if (s->closed || s->flushing)
        return;
    if (msg_put(&s->out, m, &err) < 0)
        stream_close(
            s); /* over the queue's ceiling: it does not read, and learns all when it is back */
    else
        stream_pump(s);
}

void stream_say_refused(struct stream *s, const char *attempt, enum refusal reason,
                        const char *detail)
{
    struct msg m = {.type = MSG_REFUSED};
    snprintf(m.u.refused.attempt, sizeof m.u.refused.attempt, "%s", attempt);
    m.u.refused.reason = reason;
    text_line(m.u.refused.detail, sizeof m.u.refused.detail, detail, strlen(detail));
    stream_send(s, &m);
}

void stream_refuse(struct stream *s, const char *attempt, enum refusal reason, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    stream_say_refused(s, attempt, reason, text);
    stream_finish(s);
}

/* ---- reading ---- */

static enum stream_class class_of(int channel)
{
    return channel == CHANNEL_CONTROL ? STREAM_CONTROL
           : channel == CHANNEL_CALL  ? STREAM_CALL
                                      : STREAM_BULK;
}

static bool class_full(const struct stream_owner *o, enum stream_class class)
{
    static const size_t max[STREAM_CLASS_COUNT] = {
        [STREAM_MUTE] = STREAMS_MUTE_MAX,
        [STREAM_CONTROL] = STREAMS_CONTROL_MAX,
        [STREAM_CALL] = STREAMS_CALL_MAX,
        [STREAM_BULK] = STREAMS_BULK_MAX,
    };
    return o->classes[class] >= max[class];
}

static void first_frame(struct stream *s, const struct frame *f)
{
    struct msg m = {0};
    struct err err = ERR_INIT;
    if (msg_decode(f, &m, &err) < 0)
        stream_refuse(s, "", REFUSED_PROTOCOL, "no valid hello: %s", err.msg);
    else if (m.type != MSG_HELLO)
        stream_refuse(s, "", REFUSED_PROTOCOL, "'%s' before hello", msg_name(m.type));
    else if (m.u.hello.version != PROTO_VERSION)
        stream_refuse(s, m.u.hello.attempt, REFUSED_PROTOCOL,
                      "protocol version %d; this runner speaks %d", m.u.hello.version,
                      PROTO_VERSION);
    else if (class_full(s->owner, class_of(m.u.hello.channel)))
        stream_refuse(s, m.u.hello.attempt, REFUSED_BUSY,
                      "too many channels of this kind are open");
    else
        s->owner->hello(s, &m.u.hello);
    msg_done(&m);
}

static void bad_frame(struct stream *s, const struct err *err)
{
    bool envelope = s->channel == CHANNEL_CONTROL && s->kind && s->in.len >= FRAME_HEAD_BYTES &&
                    s->in.data[4] == MSG_ENVELOPE;
    stream_refuse(s, "", envelope ? REFUSED_SIZE : REFUSED_PROTOCOL, "%s", err->msg);
}

static bool raw(const struct stream *s)
{
    return s->kind && !s->kind->frame;
}

/* Consumes what stands in `in`: frames while frames are wanted, then the rest as raw bytes. True when
 * some was consumed. */
static bool consume(struct stream *s)
{
    struct err err = ERR_INIT;
    size_t at = 0;
    while (!s->closed && !s->flushing && !raw(s)) {
        struct frame f;
        size_t used;
        int r = frame_get(s->in.data + at, s->in.len - at, &f, &used, &err);
        if (r < 0) {
            buf_drop(&s->in, at);
            bad_frame(s, &err);
            return false;
        }
        if (r == 0 && !s->kind && s->in.len > STREAM_HELLO_BYTES) {
            stream_refuse(s, "", REFUSED_PROTOCOL, "a hello longer than %u bytes",
                          STREAM_HELLO_BYTES);
            return false;
        }
        if (r == 0)
            break;
        at += used;
        if (s->kind)
            s->kind->frame(s, &f);
        else
            first_frame(s, &f);
    }
    if (s->closed || s->flushing)
        return false;
    if (raw(s) && s->in.len > at && s->kind->bytes) {
        s->kind->bytes(s, s->in.data + at, s->in.len - at);
        at = s->in.len;
    }
    if (s->closed)
        return false;
    buf_drop(&s->in, at);
    if (s->in.len == 0 && s->in.cap > STREAM_KEEP) {
        buf_done(&s->in);
        buf_init(&s->in, FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX + STREAM_CHUNK);
    }
    return at > 0;
}

/* Between frames a peer may be silent for so long, within one for so long. */
static void watch(struct stream *s, bool frame_began)
{
    const struct stream_times *t = &s->owner->times;
    if (!s->kind || raw(s))
        return;
    if (s->in.len == 0)
        uv_timer_start(&s->deadline, on_deadline, t->silence_ms, 0);
    else if (frame_began)
        uv_timer_start(&s->deadline, on_deadline, t->frame_ms, 0);
}

/* Counts what the stream's input takes; when all take too much, those that hold most go. */
static void bound_input(struct stream *s)
{
    struct stream_owner *o = s->owner;
    o->held += s->in.cap - s->held;
    s->held = s->in.cap;
    while (o->held > STREAM_INPUT_MAX) {
        struct stream *most = s;
        for (struct stream *other = o->streams; other; other = other->next)
            if (other->in.len > most->in.len)
                most = other;
        stream_close(most);
        if (most == s)
            return;
    }
}

static void take(struct stream *s, size_t n)
{
    uint8_t *bytes = s->owner->scratch;
    if (raw(s) && s->in.len == 0) {
        if (s->kind->bytes)
            s->kind->bytes(s, bytes, n);
        return;
    }
    size_t before = s->in.len;
    if (buf_add(&s->in, bytes, n) < 0) {
        stream_close(s);
        return;
    }
    bool whole = consume(s);
    if (s->closed)
        return;
    if (!s->flushing)
        watch(s, whole || before == 0);
    bound_input(s);
}

static void peer_eof(struct stream *s)
{
    s->eof = true;
    uv_poll_stop(&s->rd);
    if (s->kind && s->kind->eof)
        s->kind->eof(s);
    else
        stream_close(s);
}

static void on_readable(uv_poll_t *p, int status, int events)
{
    struct stream *s = p->data;
    if (status < 0) {
        stream_close(s);
        return;
    }
    for (int i = 0; i < STREAM_READS && !s->closed && !s->flushing && !s->held_back; i++) {
        ssize_t n = read(s->rfd, s->owner->scratch, STREAM_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            stream_close(s);
            return;
        }
        if (n == 0) {
            peer_eof(s);
            return;
        }
        take(s, (size_t)n);
        if ((size_t)n < STREAM_CHUNK)
            return;
    }
}

void stream_hold_back(struct stream *s, bool hold)
{
    if (s->closed || s->held_back == hold)
        return;
    s->held_back = hold;
    if (hold)
        uv_poll_stop(&s->rd);
    else if (!s->eof)
        uv_poll_start(&s->rd, UV_READABLE, on_readable);
}

/* ---- descriptors from attach ---- */

/* Collects the descriptors of one message; more than two, or fewer, is an error. */
static int take_fds(struct stream *s)
{
    char byte;
    union {
        char space[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec iov = {&byte, 1};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    int fds[8];
    size_t n = 0;
    ssize_t got = recvmsg(s->attach_fd, &m, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return 0;
    for (struct cmsghdr *c = got < 0 ? NULL : CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t more = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < more && n < 8; i++)
            memcpy(&fds[n++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    if (got == 1 && n == 2 && !(m.msg_flags & (MSG_CTRUNC | MSG_TRUNC)) && s->rfd < 0) {
        s->rfd = fds[0];
        s->wfd = fds[1];
        return 1;
    }
    while (n > 0)
        close(fds[--n]);
    return -1;
}

static int nonblocking(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    return flags < 0 ? -1 : fcntl(fd, F_SETFL, flags | O_NONBLOCK);
}

static int start_polling(struct stream *s)
{
    if (nonblocking(s->rfd) < 0 || nonblocking(s->wfd) < 0)
        return -1;
    if (uv_poll_init(s->owner->loop, &s->rd, s->rfd) < 0)
        return -1;
    if (uv_poll_init(s->owner->loop, &s->wr, s->wfd) < 0) {
        uv_close((uv_handle_t *)&s->rd, on_closed);
        s->handles++;
        return -1;
    }
    s->handles += 2;
    s->polling = true;
    return uv_poll_start(&s->rd, UV_READABLE, on_readable);
}

/* attach says one thing, its descriptors; afterwards its end of the connection is the sign that the
 * SSH channel is gone. */
static void on_attach(uv_poll_t *p, int status, int events)
{
    struct stream *s = p->data;
    if (s->kind && s->kind->outlives_attach) {
        uv_poll_stop(p);
        return;
    }
    int r = status < 0 ? -1 : take_fds(s);
    if (r < 0) {
        s->hung = true;
        stream_close(s);
    } else if (r > 0 && start_polling(s) < 0) {
        stream_close(s);
    }
}

static void end_oldest_mute(struct stream_owner *owner)
{
    struct stream *oldest = NULL;
    for (struct stream *s = owner->streams; s; s = s->next)
        if (s->class == STREAM_MUTE)
            oldest = s;
    if (oldest)
        stream_close(oldest);
}

int stream_new(struct stream_owner *owner, int attach_fd, struct err *err)
{
    if (class_full(owner, STREAM_MUTE))
        end_oldest_mute(owner);
    struct stream *s = owner->n < STREAMS_MAX ? calloc(1, sizeof *s) : NULL;
    if (!s || uv_poll_init(owner->loop, &s->attach, attach_fd) < 0) {
        free(s);
        close(attach_fd);
        return err_set(err, ERR_FAIL, "no room for another stream (%zu of %d)", owner->n,
                       STREAMS_MAX);
    }
    uv_timer_init(owner->loop, &s->deadline);
    s->owner = owner;
    s->attach_fd = attach_fd;
    s->rfd = s->wfd = -1;
    s->handles = 2;
    s->attach.data = s->rd.data = s->wr.data = s->deadline.data = s;
    buf_init(&s->in, FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX + STREAM_CHUNK);
    buf_init(&s->out, STREAM_QUEUE_MAX);
    s->next = owner->streams;
    s->link = &owner->streams;
    if (s->next)
        s->next->link = &s->next;
    owner->streams = s;
    owner->n++;
    owner->classes[STREAM_MUTE]++;
    uv_timer_start(&s->deadline, on_deadline, owner->times.hello_ms, 0);
    if (uv_poll_start(&s->attach, UV_READABLE | UV_DISCONNECT, on_attach) < 0)
        stream_close(s);
    return 0;
}

void stream_open(struct stream *s, enum channel channel, const struct stream_kind *kind)
{
    uv_timer_stop(&s->deadline);
    s->owner->classes[s->class]--;
    s->class = class_of((int)channel);
    s->owner->classes[s->class]++;
    s->channel = channel;
    s->kind = kind;
}
