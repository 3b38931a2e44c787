/* The engine's end of the broker: starts the process, asks, and hands answers to whoever waits, in
 * order. Holds no secret. When the broker dies, everybody who waits is told, and whoever asks next
 * gets a new one: a few times a minute, then the error. */
#include "controller/broker.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/file.h"
#include "controller/broker_wire.h"
#include "controller/redact.h"

#define HELLO_MS    10000
#define IN_MAX      (2 * (FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX))
#define OUT_MAX     (64u << 20) /* requests not yet taken: the broker reads as fast as it signs */
#define READ_CHUNK  65536
#define PENDING_MAX 8192
#define CALLS_MAX   1024 /* descriptors queued at once */
#define RESTARTS    3    /* within RESTART_US */
#define RESTART_US  60000000ull

struct pending {
    struct pending *next;
    enum broker_type
        want; /* BROKER_ENVELOPE (then BROKER_SSHSIG), BROKER_ORDERED, ..._TOKEN_STATE */
    broker_signed_cb *on_signed;
    broker_ordered_cb *on_ordered;
    broker_token_cb *on_token;
    void *arg;
    struct err unasked; /* code != 0: no answer will come; it is told in its turn */
};

/* A descriptor that goes with the first byte of its frame. */
struct passing {
    struct passing *next;
    uint64_t at; /* where that byte stands in all that was ever queued for the process */
    int fd;
};

struct broker {
    uv_loop_t *loop;
    const struct broker_events *events;
    void *events_arg;
    char *self, *key_path, *dir;
    uint8_t pub[KEY_PUB_BYTES];
    uv_idle_t *kick; /* not a timer of 0 ms, which could run for ever within one turn of the loop */
    uv_timer_t *deadline; /* for a new process's hello */
    /* one process's, and gone with it */
    int fd;
    uv_poll_t *poll;
    uv_process_t *process;
    bool greeted; /* it said hello */
    struct buf in, out, envelope;
    struct passing *passing, **last_passing; /* in the order of their frames */
    unsigned npassing;
    uint64_t sent; /* bytes that went to the process */
    struct pending *first, **last;
    size_t npending;
    struct err why; /* code != 0: there is no process, and why */
    uint64_t restarted_us[RESTARTS];
    unsigned nrestarts;
    bool busy;    /* callbacks run */
    bool closing; /* broker_close was called from one of them */
};

static void handle_free(uv_handle_t *handle)
{
    free(handle);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
    struct broker *b = process->data;
    if (b)
        b->process = NULL; /* the socket's end of file says the rest */
    uv_close((uv_handle_t *)process, handle_free);
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

static int lost(struct broker *b, const char *why)
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
        return lost(b, err.msg);
    bool known = e.code > ERR_NONE && e.code <= ERR_REFUSED;
    err_set(&err, known ? (enum err_code)e.code : ERR_FAIL, "%s", e.message);
    answer(b, NULL, false, &err);
    return 0;
}

static int hello_read(const struct frame *f, uint8_t pub[static KEY_PUB_BYTES], struct err *err)
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
    if (hello_read(f, pub, &err) < 0)
        return lost(b, err.msg);
    if (memcmp(pub, b->pub, KEY_PUB_BYTES) != 0)
        return lost(b, "the signing key is another one now; start the engine anew");
    b->greeted = true;
    uv_timer_stop(b->deadline);
    return 0;
}

/* What it says unasked. */

static int on_needles(struct broker *b, const struct frame *f)
{
    struct needles *set = NULL;
    struct err err = ERR_INIT;
    if (needles_decode(f->payload, f->len, &set, &err) < 0)
        return lost(b, err.msg);
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
        return lost(b, err.msg);
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
    if (!b->greeted)
        return on_hello(b, f);
    if (f->type == BROKER_NEEDLES)
        return on_needles(b, f);
    if (unasked(f->type))
        return on_tell(b, f);
    bool enveloped = b->envelope.len > 0;
    if (!b->first)
        return lost(b, "it answered what was not asked");
    if (f->type == BROKER_ERROR && !enveloped)
        return on_error(b, f);
    if (f->type == BROKER_TOKEN_STATE && b->first->want == BROKER_TOKEN_STATE) {
        struct broker_token_state s;
        if (json_decode(&broker_token_state_shape, f->payload, f->len, &s, &err) < 0)
            return lost(b, err.msg);
        answer(b, NULL, s.alive, NULL);
        return 0;
    }
    if (f->type == BROKER_ENVELOPE && b->first->want == BROKER_ENVELOPE && !enveloped)
        return buf_add(&b->envelope, f->payload, f->len) < 0 ? lost(b, "out of memory") : 0;
    if ((f->type == BROKER_SSHSIG && b->first->want == BROKER_ENVELOPE && enveloped) ||
        (f->type == BROKER_ORDERED && b->first->want == BROKER_ORDERED)) {
        struct buf doc;
        buf_init(&doc, FRAME_PAYLOAD_MAX);
        if (buf_add(&doc, f->payload, f->len) == 0)
            answer(b, &doc, false, NULL);
        else
            lost(b, "out of memory");
        buf_done(&doc);
        buf_clear(&b->envelope);
        return 0;
    }
    return lost(b, "it answered something else");
}

static void receive(struct broker *b)
{
    uint8_t *to = buf_room(&b->in, READ_CHUNK);
    ssize_t n = to ? read(b->fd, to, READ_CHUNK) : -1;
    if (n == 0)
        lost(b, "it ended");
    else if (n < 0 && to && (errno == EAGAIN || errno == EINTR))
        return;
    else if (n < 0)
        lost(b, to ? strerror(errno) : "out of memory");
    else
        buf_wrote(&b->in, (size_t)n);
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
        on_frame(b, &f);
    }
    if (rc < 0)
        lost(b, err.msg);
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
            lost(b, strerror(errno));
            return;
        }
        buf_drop(&b->out, (size_t)n);
        b->sent += (uint64_t)n;
        if (now)
            passing_pop(b);
    }
}

static void on_poll(uv_poll_t *poll, int status, int events);

static void watch(struct broker *b)
{
    if (b->poll)
        uv_poll_start(b->poll, UV_READABLE | (b->out.len ? UV_WRITABLE : 0), on_poll);
}

/* Lets go of the process and of what was under way with it; whoever waits hears why in his turn. */
static void hang_up(struct broker *b)
{
    if (b->poll) {
        uv_poll_stop(b->poll);
        uv_close((uv_handle_t *)b->poll, handle_free);
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
        if (!p->unasked.code)
            p->unasked = b->why;
}

static void let_go(struct broker *b)
{
    hang_up(b);
    if (b->kick)
        uv_close((uv_handle_t *)b->kick, handle_free);
    if (b->deadline)
        uv_close((uv_handle_t *)b->deadline, handle_free);
    while (b->first) {
        struct pending *p = b->first;
        b->first = p->next;
        free(p);
    }
    buf_done(&b->in);
    buf_done(&b->envelope);
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
        hang_up(b);
    while (b->first && !b->closing && b->first->unasked.code) {
        /* A copy: the callback may end b, or ask again and so start the process anew. */
        struct err err = b->first->unasked;
        answer(b, NULL, false, &err);
    }
    b->busy = false;
    if (b->closing)
        let_go(b);
    else
        watch(b);
}

static void on_poll(uv_poll_t *poll, int status, int events)
{
    drive(poll->data, status < 0 || (events & UV_READABLE));
}

static void on_kick(uv_idle_t *idle)
{
    uv_idle_stop(idle);
    drive(idle->data, false);
}

static void on_late(uv_timer_t *timer)
{
    struct broker *b = timer->data;
    lost(b, "it did not come up");
    drive(b, false);
}

/* Starting. */

static int spawn(struct broker *b, int theirs, struct err *err)
{
    char name[] = "creel", verb[] = "broker";
    char *args[] = {name, verb, b->key_path, b->dir, NULL};
    uv_stdio_container_t stdio[4] = {
        {.flags = UV_IGNORE},
        {.flags = UV_IGNORE},
        {.flags = UV_INHERIT_FD, .data.fd = STDERR_FILENO},
        {.flags = UV_INHERIT_FD, .data.fd = theirs},
    };
    uv_process_options_t o = {
        .exit_cb = on_process_exit,
        .file = b->self,
        .args = args,
        .env = NULL, /* ours: `env:` secrets are in it; the broker wipes its copy */
        .stdio_count = 4,
        .stdio = stdio,
        .flags = UV_PROCESS_DETACHED, /* Ctrl-C is for the engine to judge */
    };
    uv_process_t *process = calloc(1, sizeof *process);
    int rc = process ? uv_spawn(b->loop, process, &o) : UV_ENOMEM;
    if (rc == 0) {
        process->data = b;
        b->process = process;
        return 0;
    }
    if (process) /* uv_spawn made it a handle before it failed */
        uv_close((uv_handle_t *)process, handle_free);
    return err_set(err, ERR_FAIL, "cannot start the broker (%s): %s", b->self, uv_strerror(rc));
}

/* Waits until the broker has said hello: once, at the engine's start. */
static int hear_hello(struct broker *b, struct err *err)
{
    struct frame f;
    size_t used;
    int rc;
    uint64_t end = clock_mono_us() + HELLO_MS * 1000ull;
    while ((rc = frame_get(b->in.data, b->in.len, &f, &used, err)) == 0) {
        uint64_t now = clock_mono_us();
        struct pollfd p = {.fd = b->fd, .events = POLLIN};
        int ready = now < end ? poll(&p, 1, (int)((end - now) / 1000) + 1) : 0;
        if (ready == 0 || (ready < 0 && errno != EINTR))
            return err_set(err, ERR_FAIL, "the broker did not come up");
        uint8_t *to = buf_room(&b->in, 4096);
        ssize_t n = to ? recv(b->fd, to, 4096, MSG_DONTWAIT) : -1;
        if (n == 0)
            return err_set(err, ERR_FAIL, "the broker ended at once; it said why on stderr");
        if (n > 0)
            buf_wrote(&b->in, (size_t)n);
    }
    if (rc > 0)
        rc = hello_read(&f, b->pub, err);
    if (rc < 0)
        return rc;
    buf_drop(&b->in, used);
    b->greeted = true;
    uv_idle_start(b->kick, on_kick); /* it may have said more already */
    return 0;
}

static int watch_start(struct broker *b, struct err *err)
{
    b->poll = malloc(sizeof *b->poll);
    if (!b->poll || uv_poll_init(b->loop, b->poll, b->fd) < 0) {
        free(b->poll);
        b->poll = NULL;
        return err_set(err, ERR_FAIL, "cannot watch the broker");
    }
    b->poll->data = b;
    watch(b);
    return 0;
}

/* A new process on a new socket; it has not said hello yet. */
static int process_start(struct broker *b, struct err *err)
{
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return err_errno(err, ERR_FAIL, "socketpair");
    b->greeted = false;
    b->fd = pair[0];
    int rc = spawn(b, pair[1], err);
    close(pair[1]);
    return rc;
}

static struct broker *broker_new(uv_loop_t *loop, const char *self, const char *key_path,
                                 const char *dir)
{
    struct broker *b = calloc(1, sizeof *b);
    if (!b)
        return NULL;
    b->loop = loop;
    b->last = &b->first;
    b->last_passing = &b->passing;
    b->fd = -1;
    buf_init(&b->in, IN_MAX);
    buf_init(&b->out, OUT_MAX);
    buf_init(&b->envelope, FRAME_PAYLOAD_MAX);
    b->self = strdup(self);
    b->key_path = strdup(key_path);
    b->dir = strdup(dir);
    if ((b->kick = malloc(sizeof *b->kick))) {
        uv_idle_init(loop, b->kick);
        b->kick->data = b;
    }
    if ((b->deadline = malloc(sizeof *b->deadline))) {
        uv_timer_init(loop, b->deadline);
        b->deadline->data = b;
    }
    if (b->self && b->key_path && b->dir && b->kick && b->deadline)
        return b;
    let_go(b);
    return NULL;
}

int broker_start(uv_loop_t *loop, const char *self, const char *key_path, const char *dir,
                 struct broker **ret, struct err *err)
{
    struct broker *b = broker_new(loop, self, key_path, dir);
    if (!b)
        return err_set(err, ERR_FAIL, "out of memory");
    int rc = process_start(b, err);
    if (rc == 0)
        rc = hear_hello(b, err);
    if (rc == 0)
        rc = watch_start(b, err);
    if (rc < 0) {
        let_go(b);
        return rc;
    }
    *ret = b;
    return 0;
}

/* In the place of a process that died. Its hello is awaited by the loop, not here: the engine goes
 * on. One that dies again and again is left dead. */
static void restart(struct broker *b)
{
    struct err err = ERR_INIT;
    uint64_t now = clock_mono_us(), *slot = &b->restarted_us[b->nrestarts % RESTARTS];
    if (b->nrestarts >= RESTARTS && now - *slot < RESTART_US)
        return;
    *slot = now;
    b->nrestarts++;
    diag(DIAG_WARN, "%s; starting another", b->why.msg);
    if (process_start(b, &err) == 0 && watch_start(b, &err) == 0) {
        b->why = ERR_INIT;
        uv_timer_start(b->deadline, on_late, HELLO_MS, 0);
        return;
    }
    b->why = ERR_INIT;
    lost(b, err.msg);
    hang_up(b);
}

void broker_close(struct broker *b)
{
    if (!b)
        return;
    b->closing = true;
    if (!b->busy)
        let_go(b);
}

const uint8_t *broker_pub(const struct broker *b)
{
    return b->pub;
}

/* Asking. */

static struct pending *expect(struct broker *b, enum broker_type want, void *arg)
{
    struct pending *p = b->npending < PENDING_MAX ? calloc(1, sizeof *p) : NULL;
    if (!p)
        return NULL;
    p->want = want;
    p->arg = arg;
    *b->last = p;
    b->last = &p->next;
    b->npending++;
    return p;
}

/* Queues the request; `p` (NULL: nobody waits) hears of it in its turn when that cannot be done. */
static void ask(struct broker *b, enum broker_type type, const struct json_shape *shape,
                const void *request, struct pending *p)
{
    struct err err = ERR_INIT;
    if (b->why.code && p && !b->closing)
        restart(b);
    if (b->why.code) {
        err = b->why;
    } else if (broker_put(&b->out, type, shape, request, &err) < 0) {
        b->out.failed = false;
    }
    if (p)
        p->unasked = err;
    uv_idle_start(b->kick, on_kick);
}

static int too_many(struct err *err)
{
    return err_set(err, ERR_FAIL, "too many requests wait for the broker");
}

void broker_sign(struct broker *b, const struct task *t,
                 const uint8_t runner_key[static KEY_PUB_BYTES], uint64_t life_s,
                 broker_signed_cb *cb, void *arg)
{
    struct broker_sign q = {.task = *t, .life_s = life_s}; /* lists stay the caller's */
    struct pending *p = expect(b, BROKER_ENVELOPE, arg);
    if (!p) {
        struct err err = ERR_INIT;
        too_many(&err);
        cb(arg, NULL, NULL, &err);
        return;
    }
    p->on_signed = cb;
    memcpy(q.runner_key, runner_key, KEY_PUB_BYTES);
    ask(b, BROKER_SIGN, &broker_sign_shape, &q, p);
}

void broker_order(struct broker *b, const struct order *o, broker_ordered_cb *cb, void *arg)
{
    struct broker_order q = {.order = *o};
    struct pending *p = expect(b, BROKER_ORDERED, arg);
    if (!p) {
        struct err err = ERR_INIT;
        too_many(&err);
        cb(arg, NULL, &err);
        return;
    }
    p->on_ordered = cb;
    ask(b, BROKER_ORDER, &broker_order_shape, &q, p);
}

void broker_token_check(struct broker *b, const char *attempt,
                        const uint8_t token[static TASK_TOKEN_BYTES], broker_token_cb *cb,
                        void *arg)
{
    struct broker_token_check q = {0};
    struct pending *p = expect(b, BROKER_TOKEN_STATE, arg);
    if (!p) {
        struct err err = ERR_INIT;
        too_many(&err);
        cb(arg, false, &err);
        return;
    }
    p->on_token = cb;
    snprintf(q.attempt, sizeof q.attempt, "%s", attempt);
    memcpy(q.token, token, TASK_TOKEN_BYTES);
    ask(b, BROKER_TOKEN_CHECK, &broker_token_check_shape, &q, p);
    sodium_memzero(&q, sizeof q);
}

void broker_attempt_end(struct broker *b, const char *attempt)
{
    struct broker_attempt_end q = {0};
    snprintf(q.attempt, sizeof q.attempt, "%s", attempt);
    ask(b, BROKER_ATTEMPT_END, &broker_attempt_end_shape, &q, NULL);
}

void broker_on(struct broker *b, const struct broker_events *ev, void *arg)
{
    b->events = ev;
    b->events_arg = arg;
}

/* Never starts a process: one that died took the attempt's token with it, so the call is lost anyway. */
void broker_call(struct broker *b, const char *attempt, int fd)
{
    struct broker_call q = {0};
    struct err err = ERR_INIT;
    struct passing *p = b->why.code || b->npassing >= CALLS_MAX ? NULL : calloc(1, sizeof *p);
    snprintf(q.attempt, sizeof q.attempt, "%s", attempt);
    uint64_t at = b->sent + b->out.len;
    if (!p || broker_put(&b->out, BROKER_CALL, &broker_call_shape, &q, &err) < 0) {
        b->out.failed = false;
        fd_close(&fd);
        free(p);
        return;
    }
    p->at = at;
    p->fd = fd;
    *b->last_passing = p;
    b->last_passing = &p->next;
    b->npassing++;
    uv_idle_start(b->kick, on_kick);
}
