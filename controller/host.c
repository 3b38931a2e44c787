/* One SSH session, driven: its states and their deadlines, the control channel's messages,
 * keepalive.
 *
 * host_drive is the only place from which libssh is called once a session stands, and it never
 * calls itself: whatever happens in a callback is noted and done before it returns to the loop.
 * Nothing here reads a task or trusts a message beyond its form. */
#include "controller/host_internal.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "config.h"

/* What one session may take of one turn of the loop, for the other hosts' sake. */
#define PUMP_BUDGET    64 /* reads of the socket, a few kB each */
#define FRAME_BUDGET   64
#define PARSE_BUDGET   (256u << 10) /* bytes of frames: one may be 1 MiB, many such may not */
#define LOOK_BUDGET    4
#define ASK_AGAIN_MS   100
#define CONTROL_IN_MAX (FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX + (64u << 10))

const struct host_times host_times_default = {
    .connect_ms = 15000,
    .login_ms = 15000,
    .open_ms = 10000,
    .welcome_ms = 10000,
    .ping_ms = 15000,
    .silence_ms = 45000,
};

static void handle_free(uv_handle_t *handle)
{
    free(handle);
}

void host_handle_close(uv_handle_t *handle)
{
    if (handle)
        uv_close(handle, handle_free);
}

int host_fail(struct host_link *h, enum err_code code, const char *fmt, ...)
{
    char text[ERR_MSG_MAX];
    va_list ap;
    if (h->why.code)
        return -(int)h->why.code;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    h->active = true;
    return err_set(&h->why, code, "%s", text);
}

/* Control. */

static int hello_put(struct host_link *h)
{
    struct msg m = {.type = MSG_HELLO};
    struct err err = ERR_INIT;
    m.u.hello.version = PROTO_VERSION;
    m.u.hello.channel = CHANNEL_CONTROL;
    snprintf(m.u.hello.program, sizeof m.u.hello.program, "creel %s", CREEL_VERSION);
    if (msg_put(&h->control->out, &m, &err) < 0)
        return host_fail(h, err.code, "%s", err.msg);
    return 0;
}

static size_t control_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct host_link *h = arg;
    size_t room = CONTROL_IN_MAX - h->in.len;
    size_t take = n < room ? n : room;
    h->heard_ms = uv_now(h->loop);
    return buf_add(&h->in, bytes, take) < 0 ? 0 : take;
}

static void control_writable(void *arg)
{
}

static void control_end(void *arg, const struct err *err)
{
    struct host_link *h = arg;
    host_fail(h, ERR_HOST, "%s", err ? err->msg : "control ended");
}

static const struct stream_callbacks control_callbacks = {
    .data = control_data,
    .writable = control_writable,
    .end = control_end,
};

static void welcomed(struct host_link *h, const struct msg_welcome *w)
{
    if (w->version != PROTO_VERSION) {
        host_fail(h, ERR_HOST, "host %s: its runner (%s) speaks protocol %d, this creel %d",
                  h->target.name, w->program, w->version, PROTO_VERSION);
        return;
    }
    h->long_line = host_rtt_us(h) >= HOST_WIDE_RTT_US;
    host_enter(h, HOST_READY);
    h->cb.ready(h->arg, w, h->key_line);
}

static void control_message(struct host_link *h, const struct frame *f)
{
    struct msg m;
    struct err err = ERR_INIT;
    bool welcome = f->type == MSG_WELCOME;
    if (!msg_legal(SIDE_RUNNER, CHANNEL_CONTROL, f->type) || welcome != (h->state == HOST_HELLO)) {
        host_fail(h, ERR_HOST, "host %s: its runner sent a message (%u) that is not legal here",
                  h->target.name, f->type);
        return;
    }
    if (msg_decode(f, &m, &err) < 0)
        host_fail(h, ERR_HOST, "host %s: its runner sent a malformed message: %s", h->target.name,
                  err.msg);
    else if (welcome)
        welcomed(h, &m.u.welcome);
    else if (f->type != MSG_PONG) /* a pong has done its work: something was heard */
        h->cb.message(h->arg, &m);
    msg_done(&m);
}

static void control_parse(struct host_link *h)
{
    size_t at = 0, used;
    struct frame f;
    struct err err = ERR_INIT;
    int rc = 0;
    while (!h->why.code && !h->closing && h->frames_left > 0 &&
           (rc = frame_get(h->in.data + at, h->in.len - at, &f, &used, &err)) > 0) {
        control_message(h, &f);
        at += used;
        h->frames_left--;
        h->parsed += used;
        if (h->parsed >= PARSE_BUDGET)
            h->frames_left = 0;
    }
    if (h->frames_left == 0) /* the rest is the next turn's */
        host_kick(h);
    if (rc < 0)
        host_fail(h, ERR_HOST, "host %s: its runner sent a malformed frame: %s", h->target.name,
                  err.msg);
    buf_drop(&h->in, at);
    if (at && h->control && h->control->paused)
        h->control->resume = h->active = true;
}

/* Steps. */

static void pump(struct host_link *h)
{
    for (; h->pumps_left > 0 && !h->why.code && !h->closing; h->pumps_left--) {
        int rc = ssh_event_dopoll(h->event, 0);
        if (rc == SSH_AGAIN)
            return;
        if (rc != SSH_OK)
            host_fail(h, ERR_HOST, "host %s: connection lost: %s", h->target.name,
                      ssh_get_error(h->session));
    }
}

static int open_control(struct host_link *h)
{
    struct err err = ERR_INIT;
    h->max_channels = HOST_CHANNELS_MAX;
    h->refill = true;
    if (host_control_open(h, &control_callbacks, &err) < 0)
        return host_fail(h, err.code, "%s", err.msg);
    return hello_put(h);
}

static enum host_step step_run(struct host_link *h)
{
    if (!h->control && open_control(h) < 0)
        return HOST_WAIT;
    /* A call made for one stream may bring in bytes for another, so: until nothing is new. */
    for (int i = 0; i < LOOK_BUDGET && !h->why.code && !h->closing; i++) {
        h->active = false;
        pump(h);
        host_streams_step(h);
        if (h->state == HOST_OPENING && h->control && h->control->state == STREAM_OPEN)
            host_enter(h, HOST_HELLO);
        control_parse(h);
        if (!h->active)
            return HOST_WAIT;
    }
    host_kick(h);
    return HOST_WAIT;
}

static const struct {
    const char *doing;                           /* for the error text when time is up */
    size_t limit;                                /* its deadline in struct host_times */
    enum host_step (*step)(struct host_link *h); /* NULL: the loop's callbacks move it on */
} steps[HOST_STATE_COUNT] = {
    [HOST_RESOLVING] = {"finding its address", offsetof(struct host_times, connect_ms), NULL},
    [HOST_DIALLING] = {"connecting", offsetof(struct host_times, connect_ms), NULL},
    [HOST_KEYS] = {"exchanging keys", offsetof(struct host_times, connect_ms), host_step_keys},
    [HOST_LOGIN] = {"logging in", offsetof(struct host_times, login_ms), host_step_login},
    [HOST_OPENING] = {"opening a channel", offsetof(struct host_times, open_ms), step_run},
    [HOST_HELLO] = {"waiting for its runner's welcome", offsetof(struct host_times, welcome_ms),
                    step_run},
    [HOST_READY] = {"", offsetof(struct host_times, ping_ms), step_run},
    [HOST_GONE] = {"", offsetof(struct host_times, ping_ms), NULL},
};

static unsigned state_ms(const struct host_link *h)
{
    return *(const unsigned *)((const char *)&h->times + steps[h->state].limit);
}

static void keep_alive(struct host_link *h)
{
    struct msg m = {.type = MSG_PING, .u.ping.seq = ++h->ping_seq};
    uint64_t silent = uv_now(h->loop) - h->heard_ms;
    struct err err = ERR_INIT;
    if (silent >= h->times.silence_ms)
        host_fail(h, ERR_HOST, "host %s: silent for %u s", h->target.name,
                  (unsigned)(silent / 1000));
    else if (host_send(h, &m, &err) < 0)
        host_fail(h, err.code, "%s", err.msg);
    /* What the server refused before it may grant now. */
    h->max_channels += h->max_channels < HOST_CHANNELS_MAX;
}

static void on_deadline(uv_timer_t *timer)
{
    struct host_link *h = timer->data;
    char excuse[400] = "";
    if (h->state == HOST_DIALLING && h->next_addr) {
        host_dial_next(h);
    } else if (h->state == HOST_READY) {
        uv_timer_start(h->deadline, on_deadline, h->times.ping_ms, 0);
        keep_alive(h);
    } else {
        if (h->control)
            stream_excuse(h->control, excuse);
        host_fail(h, ERR_HOST, "host %s: gave up after %u s of %s%s", h->target.name,
                  (state_ms(h) + 999) / 1000, steps[h->state].doing, excuse);
    }
    host_drive(h);
}

void host_ask_again(struct host_link *h)
{
    if (h->state == HOST_READY)
        uv_timer_start(h->deadline, on_deadline, ASK_AGAIN_MS, 0);
}

void host_enter(struct host_link *h, enum host_state state)
{
    h->state = state;
    h->heard_ms = uv_now(h->loop);
    uv_timer_start(h->deadline, on_deadline, state_ms(h), 0);
}

/* An idle handle, not a timer of 0 ms: libuv runs a timer that is set anew from its own callback in
 * the same pass over the timers, so one host that has always more would stop the whole loop. What
 * is started here waits for the loop's next turn, with timers, signals and sockets in between. */
static void on_kick(uv_idle_t *idle)
{
    uv_idle_stop(idle);
    host_drive(idle->data);
}

void host_kick(struct host_link *h)
{
    if (h->kick && !h->closing)
        uv_idle_start(h->kick, on_kick);
}

/* The end. */

static void let_go(struct host_link *h)
{
    host_streams_detach(h);
    if (h->poll) { /* before libssh and we close the socket */
        uv_poll_stop(h->poll);
        h->polled = 0;
    }
    host_session_end(h);
    host_dial_done(h);
}

static void destroy(struct host_link *h)
{
    let_go(h);
    host_streams_end(h, NULL);
    host_handle_close((uv_handle_t *)h->deadline);
    host_handle_close((uv_handle_t *)h->kick);
    h->deadline = NULL;
    h->kick = NULL;
    ssh_key_free(h->login);
    buf_done(&h->in);
    free(h->scratch);
    free(h);
}

static void tell_gone(struct host_link *h)
{
    h->state = HOST_GONE;
    let_go(h);
    uv_timer_stop(h->deadline);
    host_streams_end(h, &h->why);
    if (!h->closing)
        h->cb.gone(h->arg, &h->why);
}

/* Waits on the socket for what libssh waits for, and for nothing else: a writable socket with
 * nothing to write would spin the loop. */
static void arm(struct host_link *h)
{
    if (!h->session || !h->poll)
        return;
    int flags = ssh_get_poll_flags(h->session);
    int want = (flags & SSH_READ_PENDING ? UV_READABLE : 0) |
               (flags & SSH_WRITE_PENDING ? UV_WRITABLE : 0);
    host_watch(h, want);
    if (h->state < HOST_READY)
        host_quick_ack(h);
}

void host_drive(struct host_link *h)
{
    if (h->driving)
        return;
    h->driving = true;
    h->pumps_left = PUMP_BUDGET;
    h->frames_left = FRAME_BUDGET;
    h->parsed = 0;
    while (!h->why.code && !h->closing && steps[h->state].step &&
           steps[h->state].step(h) == HOST_ON) {
    }
    if (h->why.code && h->state != HOST_GONE && !h->closing)
        tell_gone(h);
    h->driving = false;
    if (h->closing)
        destroy(h);
    else if (h->state != HOST_GONE)
        arm(h);
}

static void on_start(uv_idle_t *idle)
{
    struct host_link *h = idle->data;
    uv_idle_stop(idle);
    host_dial_next(h);
    host_drive(h);
}

static uv_timer_t *timer_new(struct host_link *h)
{
    uv_timer_t *t = malloc(sizeof *t);
    if (!t || uv_timer_init(h->loop, t) < 0) {
        free(t);
        return NULL;
    }
    t->data = h;
    return t;
}

static uv_idle_t *idle_new(struct host_link *h)
{
    uv_idle_t *i = malloc(sizeof *i);
    if (!i || uv_idle_init(h->loop, i) < 0) {
        free(i);
        return NULL;
    }
    i->data = h;
    return i;
}

int host_open(uv_loop_t *loop, const struct host_target *t, const struct host_callbacks *cb,
              void *arg, struct host_link **ret, struct err *err)
{
    struct host_link *h = calloc(1, sizeof *h);
    if (!h)
        return err_set(err, ERR_FAIL, "out of memory");
    h->loop = loop;
    h->target = *t;
    h->cb = *cb;
    h->arg = arg;
    h->times = host_times_default;
    h->fd = -1;
    buf_init(&h->in, CONTROL_IN_MAX);
    h->deadline = timer_new(h);
    h->kick = idle_new(h);
    int rc = h->deadline && h->kick ? 0 : err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0)
        rc = host_login_key(h, err);
    if (rc == 0)
        rc = host_lookup(h, err);
    if (rc < 0) {
        destroy(h);
        return rc;
    }
    host_enter(h, HOST_RESOLVING);
    if (h->addrs)
        uv_idle_start(h->kick, on_start);
    *ret = h;
    return 0;
}

void host_set_times(struct host_link *h, const struct host_times *t)
{
    h->times = *t;
    host_enter(h, h->state);
}

void host_close(struct host_link *h)
{
    if (!h)
        return;
    h->closing = true;
    if (!h->driving)
        destroy(h);
}

int host_send(struct host_link *h, const struct msg *m, struct err *err)
{
    if (h->state != HOST_READY || h->why.code || h->closing || !h->control)
        return err_set(err, ERR_HOST, "host %s: not connected", h->target.name);
    if (msg_put(&h->control->out, m, err) < 0) {
        h->control->out.failed = false;
        return err_set(err, ERR_HOST, "host %s: does not take its messages", h->target.name);
    }
    host_kick(h);
    return 0;
}
