/* Frames between the engine and the broker process: requests out, with the descriptors that go along;
 * answers and news in, handed to whoever waits. */
#include "controller/broker_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/file.h"
#include "controller/redact.h"

#define READ_CHUNK 65536

void broker_handle_free(uv_handle_t *handle)
{
    free(handle);
}

/* `doc`: the SSHSIG of an envelope that came before it, or an order. */
static void answer(struct broker *b, const struct buf *doc, bool alive, const struct err *err)
{
    struct pending *p = b->first;
    b->first = p->next;
    if (!b->first)
        b->last = &b->first;
    b->npending--;
    if (p->want == BROKER_TOKEN_STATE)
        p->on_token(p->arg, alive, err);
    else if (p->want == BROKER_ORDERED)
        p->on_ordered(p->arg, err ? NULL : doc, err);
    else
        p->on_signed(p->arg, err ? NULL : &b->envelope, err ? NULL : doc, err);
    free(p);
}

int broker_lost(struct broker *b, const char *why)
{
    if (!b->why.code)
        err_set(&b->why, ERR_FAIL, "the broker process is gone: %s", why);
    return -ERR_FAIL;
}

static int on_error(struct broker *b, const struct frame *f)
{
    struct broker_error e;
    struct err err = ERR_INIT;
    if (json_decode(&broker_error_shape, f->payload, f->len, &e, &err) < 0)
        return broker_lost(b, err.msg);
    bool known = e.code > ERR_NONE && e.code <= ERR_REFUSED;
    err_set(&err, known ? (enum err_code)e.code : ERR_FAIL, "%s", e.message);
    answer(b, NULL, false, &err);
    return 0;
}

int broker_hello_read(const struct frame *f, uint8_t pub[static KEY_PUB_BYTES], struct err *err)
{
    struct broker_hello hello;
    if (f->type != BROKER_HELLO)
        return err_set(err, ERR_FAIL, "the broker did not say hello");
    int rc = json_decode(&broker_hello_shape, f->payload, f->len, &hello, err);
    if (rc == 0)
        memcpy(pub, hello.key, KEY_PUB_BYTES);
    return rc;
}

/* A process started later must hold the same key: what the first one signed is still out there. */
static int on_hello(struct broker *b, const struct frame *f)
{
    struct err err = ERR_INIT;
    uint8_t pub[KEY_PUB_BYTES];
    if (broker_hello_read(f, pub, &err) < 0)
        return broker_lost(b, err.msg);
    if (memcmp(pub, b->pub, KEY_PUB_BYTES) != 0) {
        b->barred = true;
        return broker_lost(b, "the signing key is another one now; start the engine anew");
    }
    broker_came_up(b);
    uv_timer_stop(b->deadline);
    if (b->events && b->events->anew)
        b->events->anew(b->events_arg);
    return 0;
}

/* What it says unasked. */

static int on_needles(struct broker *b, const struct frame *f)
{
    struct needles *set = NULL;
    struct err err = ERR_INIT;
    if (needles_decode(f->payload, f->len, &set, &err) < 0)
        return broker_lost(b, err.msg);
    if (b->events && b->events->needles)
        b->events->needles(b->events_arg, set);
    else
        needles_free(set);
    return 0;
}

static int on_tell(struct broker *b, const struct frame *f)
{
    struct broker_tell t;
    struct err err = ERR_INIT;
    const struct broker_events *ev = b->events;
    if (json_decode(&broker_tell_shape, f->payload, f->len, &t, &err) < 0)
        return broker_lost(b, err.msg);
    if (ev && f->type == BROKER_NOTE)
        ev->note(b->events_arg, t.attempt, t.text);
    else if (ev && f->type == BROKER_STOP)
        ev->stop(b->events_arg, t.attempt, t.text);
    else if (ev)
        ev->repo_token(b->events_arg, t.attempt, t.text);
    return 0;
}

static bool unasked(uint8_t type)
{
    return type == BROKER_NOTE || type == BROKER_STOP || type == BROKER_REPO_TOKEN;
}

static int on_frame(struct broker *b, const struct frame *f)
{
    struct err err = ERR_INIT;
    if (f->type == BROKER_NEEDLES)
        return on_needles(b, f);
    if (!b->greeted)
        return on_hello(b, f);
    if (unasked(f->type))
        return on_tell(b, f);
    bool enveloped = b->envelope.len > 0;
    if (!b->first)
        return broker_lost(b, "it answered what was not asked");
    if (f->type == BROKER_ERROR && !enveloped)
        return on_error(b, f);
    if (f->type == BROKER_TOKEN_STATE && b->first->want == BROKER_TOKEN_STATE) {
        struct broker_token_state s;
        if (json_decode(&broker_token_state_shape, f->payload, f->len, &s, &err) < 0)
            return broker_lost(b, err.msg);
        answer(b, NULL, s.alive, NULL);
        return 0;
    }
    if (f->type == BROKER_ENVELOPE && b->first->want == BROKER_ENVELOPE && !enveloped)
        return buf_add(&b->envelope, f->payload, f->len) < 0 ? broker_lost(b, "out of memory") : 0;
    if ((f->type == BROKER_SSHSIG && b->first->want == BROKER_ENVELOPE && enveloped) ||
        (f->type == BROKER_ORDERED && b->first->want == BROKER_ORDERED)) {
        struct buf doc;
        buf_init(&doc, FRAME_PAYLOAD_MAX);
        if (buf_add(&doc, f->payload, f->len) == 0)
            answer(b, &doc, false, NULL);
        else
            broker_lost(b, "out of memory");
        buf_done(&doc);
        buf_clear(&b->envelope);
        return 0;
    }
    return broker_lost(b, "it answered something else");
}

static void receive(struct broker *b)
{
    uint8_t *to = buf_room(&b->in, READ_CHUNK);
    ssize_t n = to ? read(b->fd, to, READ_CHUNK) : -1;
    if (n == 0)
        broker_lost(b, "it ended");
    else if (n < 0 && to && (errno == EAGAIN || errno == EINTR))
        return;
    else if (n < 0)
        broker_lost(b, to ? strerror(errno) : "out of memory");
    else
        buf_wrote(&b->in, (size_t)n);
}

/* Those whose turn it is and whom no answer will come for. */
static void tell_unasked(struct broker *b)
{
    while (b->first && !b->closing && b->first->unasked.code) {
        /* A copy: the callback may end b, or ask again and so start the process anew. */
        struct err err = b->first->unasked;
        b->gone = b->first->gone;
        answer(b, NULL, false, &err);
        b->gone = BROKER_THERE;
    }
}

static void take_frames(struct broker *b)
{
    struct frame f;
    size_t used, at = 0;
    int rc = 0;
    struct err err = ERR_INIT;
    while (!b->closing && !b->why.code &&
           (rc = frame_get(b->in.data + at, b->in.len - at, &f, &used, &err)) > 0) {
        at += used;
        tell_unasked(b); /* else the next in turn would take another's answer */
        if (!b->closing)
            on_frame(b, &f);
    }
    if (rc < 0)
        broker_lost(b, err.msg);
    buf_drop(&b->in, at);
}

/* Sends up to n bytes from the front of the queue, and `fd` (or none, -1) with the first of them. */
static ssize_t send_with(struct broker *b, size_t n, int fd)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } control = {0};
    struct iovec iov = {b->out.data, n};
    struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
    if (fd >= 0) {
        m.msg_control = &control;
        m.msg_controllen = sizeof control;
        struct cmsghdr *c = CMSG_FIRSTHDR(&m);
        c->cmsg_level = SOL_SOCKET;
        c->cmsg_type = SCM_RIGHTS;
        c->cmsg_len = CMSG_LEN(sizeof fd);
        memcpy(CMSG_DATA(c), &fd, sizeof fd);
    }
    return sendmsg(b->fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void passing_pop(struct broker *b)
{
    struct passing *p = b->passing;
    b->passing = p->next;
    if (!b->passing)
        b->last_passing = &b->passing;
    b->npassing--;
    fd_close(&p->fd);
    free(p);
}

static void transmit(struct broker *b)
{
    while (b->out.len && !b->why.code) {
        struct passing *p = b->passing;
        bool now = p && p->at == b->sent;
        const struct passing *stop = now ? p->next : p; /* up to where the next descriptor goes */
        size_t most = b->out.len;
        if (stop && stop->at - b->sent < most)
            most = (size_t)(stop->at - b->sent);
        ssize_t n = send_with(b, most, now ? p->fd : -1);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return;
        if (n < 0) {
            broker_lost(b, strerror(errno));
            return;
        }
        buf_drop(&b->out, (size_t)n);
        b->sent += (uint64_t)n;
        if (now)
            passing_pop(b);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events);

void broker_watch(struct broker *b)
{
    if (b->poll)
        uv_poll_start(b->poll, UV_READABLE | (b->out.len ? UV_WRITABLE : 0), on_poll);
}

/* Lets go of the process and of what was under way with it; whoever waits hears why in his turn. */
void broker_hang_up(struct broker *b)
{
    if (b->poll) {
        uv_poll_stop(b->poll);
        uv_close((uv_handle_t *)b->poll, broker_handle_free);
        b->poll = NULL;
    }
    if (b->process) {
        b->process->data = NULL;
        /* A broker that is let go in peace may have tokens to revoke, and ends soon by itself. */
        if (!b->closing)
            uv_process_kill(b->process, SIGTERM);
        b->process = NULL;
    }
    fd_close(&b->fd); /* to the broker an engine that hung up is the end, too */
    if (b->deadline)
        uv_timer_stop(b->deadline);
    buf_clear(&b->in);
    buf_wipe(&b->out);
    buf_init(&b->out, OUT_MAX);
    while (b->passing)
        passing_pop(b);
    b->sent = 0;
    buf_clear(&b->envelope);
    for (struct pending *p = b->first; p; p = p->next)
        if (!p->unasked.code) {
            p->unasked = b->why;
            p->gone = b->barred ? BROKER_THERE : BROKER_DIED_OF_IT;
        }
}

void broker_let_go(struct broker *b)
{
    broker_hang_up(b);
    if (b->kick)
        uv_close((uv_handle_t *)b->kick, broker_handle_free);
    if (b->deadline)
        uv_close((uv_handle_t *)b->deadline, broker_handle_free);
    if (b->later)
        uv_close((uv_handle_t *)b->later, broker_handle_free);
    while (b->first) {
        struct pending *p = b->first;
        b->first = p->next;
        free(p);
    }
    buf_done(&b->in);
    buf_done(&b->envelope);
    needles_free(b->early);
    free(b->self);
    free(b->key_path);
    free(b->dir);
    free(b);
}

/* Whatever can be done now; the only place that calls back. */
static void drive(struct broker *b, bool readable)
{
    b->busy = true;
    if (readable && !b->why.code)
        receive(b);
    take_frames(b);
    if (!b->closing)
        transmit(b);
    if (b->why.code)
        broker_hang_up(b);
    tell_unasked(b);
    b->busy = false;
    if (b->closing) {
        broker_let_go(b);
        return;
    }
    /* Not only when somebody asks: there may be tokens to renew or to revoke. One that did not even come up
     * will hardly do so now. */
    if (b->why.code && b->greeted)
        broker_again(b);
    else if (b->why.code)
        broker_later(b);
    broker_watch(b);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    drive(poll->data, status < 0 || (events & UV_READABLE));
}

void broker_on_kick(uv_idle_t *idle)
{
    uv_idle_stop(idle);
    drive(idle->data, false);
}

void broker_on_late(uv_timer_t *timer)
{
    struct broker *b = timer->data;
    broker_lost(b, "it did not come up");
    drive(b, false);
}
