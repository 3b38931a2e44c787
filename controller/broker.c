/* The engine's end of the broker: starts the process, asks, and hands answers to whoever waits, in
 * order. Holds no secret. When the broker dies, everybody who waits is told, and another is started:
 * a few times a minute at once, then after a pause, in which whoever asks gets the error. */
#include "controller/broker_internal.h"

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
#include "controller/redact.h"

#define HELLO_MS    10000
#define PENDING_MAX 8192
#define CALLS_MAX   1024 /* descriptors queued at once */
#define RESTART_US  60000000ull
#define LATER_MS    5000 /* doubled while none comes up */
#define LATER_MAX   60000

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
    struct broker *b = process->data;
    if (b)
        b->process = NULL; /* the socket's end of file says the rest */
    uv_close((uv_handle_t *)process, broker_handle_free);
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
        uv_close((uv_handle_t *)process, broker_handle_free);
    return err_set(err, ERR_FAIL, "cannot start the broker (%s): %s", b->self, uv_strerror(rc));
}

/* The needles that it has from earlier come before its hello. */
static int hear_needles(struct broker *b, struct frame *f, size_t *used, struct err *err)
{
    int rc = frame_get(b->in.data, b->in.len, f, used, err);
    if (rc <= 0 || f->type != BROKER_NEEDLES || b->early)
        return rc;
    rc = needles_decode(f->payload, f->len, &b->early, err);
    buf_drop(&b->in, *used);
    return rc < 0 ? rc : frame_get(b->in.data, b->in.len, f, used, err);
}

/* Waits until the broker has said hello: once, at the engine's start. */
static int hear_hello(struct broker *b, struct err *err)
{
    struct frame f;
    size_t used;
    int rc;
    uint64_t end = clock_mono_us() + HELLO_MS * 1000ull;
    while ((rc = hear_needles(b, &f, &used, err)) == 0) {
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
        rc = broker_hello_read(&f, b->pub, err);
    if (rc < 0)
        return rc;
    buf_drop(&b->in, used);
    broker_came_up(b);
    uv_idle_start(b->kick, broker_on_kick); /* it may have said more already */
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
    broker_watch(b);
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
    if ((b->later = malloc(sizeof *b->later))) {
        uv_timer_init(loop, b->later);
        b->later->data = b;
    }
    b->later_ms = LATER_MS;
    if (b->self && b->key_path && b->dir && b->kick && b->deadline && b->later)
        return b;
    broker_let_go(b);
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
        broker_let_go(b);
        return rc;
    }
    *ret = b;
    return 0;
}

static void start_another(struct broker *b);

static void on_later(uv_timer_t *timer)
{
    struct broker *b = timer->data;
    if (b->why.code)
        start_another(b);
}

void broker_later(struct broker *b)
{
    if (uv_is_active((uv_handle_t *)b->later))
        return;
    uv_timer_start(b->later, on_later, b->later_ms, 0);
    b->later_ms = b->later_ms < LATER_MAX / 2 ? 2 * b->later_ms : LATER_MAX;
}

/* Its hello is awaited by the loop, not here: the engine goes on. */
static void start_another(struct broker *b)
{
    struct err err = ERR_INIT;
    b->restarted_us[b->nrestarts++ % RESTARTS] = clock_mono_us();
    uv_timer_stop(b->later);
    diag(DIAG_WARN, "%s; starting another", b->why.msg);
    if (process_start(b, &err) == 0 && watch_start(b, &err) == 0) {
        b->why = ERR_INIT;
        uv_timer_start(b->deadline, broker_on_late, HELLO_MS, 0);
        return;
    }
    b->why = ERR_INIT;
    broker_lost(b, err.msg);
    broker_hang_up(b);
    broker_later(b);
}

void broker_came_up(struct broker *b)
{
    b->greeted = true;
    b->barred = false;
    b->later_ms = LATER_MS;
}

void broker_again(struct broker *b)
{
    if (b->nrestarts >= RESTARTS &&
        clock_mono_us() - b->restarted_us[b->nrestarts % RESTARTS] < RESTART_US)
        broker_later(b);
    else
        start_another(b);
}

void broker_close(struct broker *b)
{
    if (!b)
        return;
    b->closing = true;
    if (!b->busy)
        broker_let_go(b);
}

const char *broker_down(const struct broker *b)
{
    return b->why.code && !b->barred ? b->why.msg : NULL;
}

enum broker_gone broker_gone(const struct broker *b)
{
    return b->gone;
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
    if (b->why.code && !b->closing)
        broker_again(b);
    if (b->why.code) {
        err = b->why;
    } else if (broker_put(&b->out, type, shape, request, &err) < 0) {
        b->out.failed = false;
    }
    if (p) {
        p->unasked = err;
        p->gone = b->why.code && !b->barred ? BROKER_WAS_GONE : BROKER_THERE;
    }
    uv_idle_start(b->kick, broker_on_kick);
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
    if (b->early)
        ev->needles(arg, b->early);
    b->early = NULL;
}

void broker_call(struct broker *b, const char *attempt, int fd)
{
    struct broker_call q = {0};
    struct err err = ERR_INIT;
    if (b->why.code && !b->closing)
        broker_again(b);
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
    uv_idle_start(b->kick, broker_on_kick);
}
