/* The broker process and its engine: requests and descriptors in, answers and news out, each written at
 * the end of the turn of the loop that made it, in order. It ends on a request it cannot read, for then the
 * other side is not the engine we know. */
#include "controller/broker/process.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/file.h"
#include "controller/broker/attempts.h"
#include "controller/broker/door.h"
#include "controller/broker/forge_queue.h"
#include "controller/broker/model_call.h"
#include "controller/broker/sign.h"
#include "controller/redact.h"

#define READ_BYTES 65536
#define OUT_MAX    (64u << 20)

void process_fail(struct process *p, const char *what, const struct err *err)
{
    if (!p->broken.code)
        err_set(&p->broken, ERR_FAIL, "%s%s%s", what, err ? ": " : "", err ? err->msg : "");
    uv_stop(&p->loop);
}

/* News. */

static void tell(struct process *p, enum broker_type type, const char *attempt, const char *text)
{
    struct broker_tell t = {0};
    struct err err = ERR_INIT;
    snprintf(t.attempt, sizeof t.attempt, "%s", attempt);
    snprintf(t.text, sizeof t.text, "%s", text);
    if (broker_put(&p->out, type, &broker_tell_shape, &t, &err) < 0)
        process_fail(p, "cannot tell the engine", &err);
}

void process_note(struct process *p, const char *attempt, const char *fmt, ...)
{
    struct err line = ERR_INIT; /* its text is made safe for one line */
    char text[ERR_MSG_MAX];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    err_set(&line, ERR_FAIL, "%s", text);
    tell(p, BROKER_NOTE, attempt, line.msg);
}

void process_stop(struct process *p, const char *attempt, const char *reason)
{
    struct live_attempt *l;
    struct err err = ERR_INIT;
    if (attempts_get(p, attempt, &l, &err) < 0 || l->stop_told)
        return;
    l->stop_told = true;
    if (!l->a.stopped[0]) { /* else an earlier process stopped it, whose word may have been lost */
        snprintf(l->a.stopped, sizeof l->a.stopped, "%s", reason);
        if (ledger_stop(p->ledger, attempt, l->a.stopped, &err) < 0)
            diag(DIAG_ERROR, "broker: %s", err.msg);
    }
    tell(p, BROKER_STOP, attempt, l->a.stopped);
}

void process_repo_token(struct process *p, const char *attempt, const char *sealed_b64)
{
    tell(p, BROKER_REPO_TOKEN, attempt, sealed_b64);
}

int process_tell_needles(struct process *p, struct err *err)
{
    struct buf set;
    if (needles_count(p->needles) == 0)
        return 0;
    buf_init(&set, FRAME_PAYLOAD_MAX);
    int rc = needles_encode(p->needles, &set, err);
    if (rc == 0 && frame_put(&p->out, BROKER_NEEDLES, set.data, set.len) < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    buf_done(&set);
    return rc;
}

/* A secret is known by now: logs and patches must not hold it. */
static int on_secret(void *arg, const char *name, const char *value, size_t len, struct err *err)
{
    struct process *p = arg;
    int rc = needles_add(p->needles, name, value, len, err);
    if (rc == 0)
        rc = needles_save(p->dirfd, p->needles, err);
    return rc < 0 ? rc : process_tell_needles(p, err);
}

/* Requests. */

static int on_token_check(struct process *p, const struct frame *f, struct err *err)
{
    struct broker_token_check q;
    struct broker_token_state s = {0};
    struct err unknown = ERR_INIT;
    struct live_attempt *l;
    char hex[BROKER_TOKEN_HEX + 1];
    int rc = json_decode(&broker_token_check_shape, f->payload, f->len, &q, err);
    if (rc < 0)
        return rc;
    sodium_bin2hex(hex, sizeof hex, q.token, sizeof q.token);
    s.alive =
        attempts_get(p, q.attempt, &l, &unknown) == 0 && attempt_token_is(l, hex, BROKER_TOKEN_HEX);
    sodium_memzero(hex, sizeof hex);
    sodium_memzero(&q, sizeof q);
    return broker_put(&p->out, BROKER_TOKEN_STATE, &broker_token_state_shape, &s, err);
}

static int on_attempt_end(struct process *p, const struct frame *f, struct err *err)
{
    struct broker_attempt_end q;
    int rc = json_decode(&broker_attempt_end_shape, f->payload, f->len, &q, err);
    if (rc == 0)
        attempts_end(p, q.attempt);
    if (rc == 0 && p->forge)
        forge_queue_over(p->forge, q.attempt);
    return rc;
}

static void on_passed_closed(uv_handle_t *handle)
{
    free(handle);
}

/* The descriptor that came with the frame; -1: none did. */
static int take_descriptor(struct process *p)
{
    uv_pipe_t *passed;
    uv_os_fd_t fd = -1;
    if (uv_pipe_pending_count(&p->engine) < 1 || !(passed = malloc(sizeof *passed)))
        return -1;
    uv_pipe_init(&p->loop, passed, 0);
    if (uv_accept((uv_stream_t *)&p->engine, (uv_stream_t *)passed) == 0 &&
        uv_fileno((uv_handle_t *)passed, &fd) == 0)
        fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    uv_close((uv_handle_t *)passed, on_passed_closed);
    return fd;
}

static int on_call(struct process *p, const struct frame *f, struct err *err)
{
    struct broker_call q;
    struct err why = ERR_INIT;
    int fd = take_descriptor(p);
    int rc = json_decode(&broker_call_shape, f->payload, f->len, &q, err);
    if (rc < 0) {
        fd_close(&fd);
        return rc;
    }
    /* The kernel closes what a full table has no place for; the jail then sees an end. */
    rc = fd < 0 ? err_set(&why, ERR_FAIL, "too many files are open here")
                : door_open(p, q.attempt, fd, &why);
    if (rc < 0 && p->refused_doors++ < 100)
        diag(DIAG_WARN, "broker: a connection of %.60s was refused: %s", q.attempt, why.msg);
    return 0;
}

static const struct {
    enum broker_type type;
    bool answered;
    int (*handle)(struct process *p, const struct frame *f, struct err *err);
} requests[] = {
    {BROKER_SIGN, true, sign_task},
    {BROKER_ORDER, true, sign_order},
    {BROKER_TOKEN_CHECK, true, on_token_check},
    {BROKER_ATTEMPT_END, false, on_attempt_end},
    {BROKER_CALL, false, on_call},
};

int process_refuse(struct process *p, const struct err *why, struct err *err)
{
    struct broker_error e = {.code = (int)why->code};
    memcpy(e.message, why->msg, sizeof e.message);
    return broker_put(&p->out, BROKER_ERROR, &broker_error_shape, &e, err);
}

/* Does one request; what went wrong with it is its answer. Negative: not a request. */
static int serve_one(struct process *p, const struct frame *f, struct err *err)
{
    struct err bad = ERR_INIT;
    size_t i = 0, n = sizeof requests / sizeof requests[0];
    while (i < n && requests[i].type != (enum broker_type)f->type)
        i++;
    if (i == n)
        return err_set(err, ERR_FAIL, "request of unknown type %u", f->type);
    size_t before = p->out.len;
    if (requests[i].handle(p, f, &bad) == 0)
        return 0;
    if (!requests[i].answered)
        return err_set(err, bad.code, "%s", bad.msg);
    p->out.len = before; /* half an answer is none */
    p->out.failed = false;
    return process_refuse(p, &bad, err);
}

/* Requests are answered in their order, so they wait for a signing that waits for its forge; calls of jails, which
 * nobody answers, do not. */
static bool must_wait(const struct process *p, const struct frame *f)
{
    return p->signing && f->type != BROKER_CALL;
}

void process_resume(struct process *p)
{
    struct err err = ERR_INIT;
    struct buf from = p->deferred;
    struct frame f;
    size_t used, at = 0;
    int rc = 0;
    buf_init(&p->deferred, OUT_MAX);
    while (!p->broken.code && !p->signing &&
           (rc = frame_get(from.data + at, from.len - at, &f, &used, &err)) > 0) {
        at += used;
        if ((rc = serve_one(p, &f, &err)) < 0)
            break;
    }
    /* None came in meanwhile: this is all within one turn. */
    if (rc >= 0 && buf_add(&p->deferred, from.data + at, from.len - at) < 0)
        rc = err_set(&err, ERR_FAIL, "out of memory");
    buf_wipe(&from);
    if (rc < 0)
        process_fail(p, "a request", &err);
}

static void serve_all(struct process *p)
{
    struct err err = ERR_INIT;
    struct frame f;
    size_t used, at = 0;
    int rc = 0;
    while (!p->broken.code &&
           (rc = frame_get(p->in.data + at, p->in.len - at, &f, &used, &err)) > 0) {
        bool wait = must_wait(p, &f);
        if (wait && buf_add(&p->deferred, p->in.data + at, used) < 0)
            rc = err_set(&err, ERR_FAIL, "too many wait");
        at += used;
        if (rc < 0 || (!wait && (rc = serve_one(p, &f, &err)) < 0))
            break;
    }
    buf_drop(&p->in, at);
    if (rc < 0)
        process_fail(p, "a request", &err);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    struct process *p = handle->data;
    uint8_t *room = buf_room(&p->in, READ_BYTES);
    *buf = uv_buf_init((char *)room, room ? READ_BYTES : 0);
}

static void on_engine(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct process *p = stream->data;
    if (n == UV_EOF || n == UV_ECONNRESET) {
        p->over = true;
        uv_stop(&p->loop);
    } else if (n < 0) {
        process_fail(p, uv_strerror((int)n), NULL);
    } else if (n > 0) {
        buf_wrote(&p->in, (size_t)n);
        serve_all(p);
    }
}

/* Answers. */

struct piece {
    uv_write_t write;
    struct process *p;
    uint8_t *bytes;
    size_t n;
};

static void on_written(uv_write_t *write, int status)
{
    struct piece *piece = write->data;
    piece->p->queued -= piece->n;
    if (status < 0 && status != UV_ECANCELED)
        process_fail(piece->p, "cannot answer", NULL);
    free(piece->bytes);
    free(piece);
}

static int queue_rest(struct process *p, size_t from)
{
    struct piece *piece = calloc(1, sizeof *piece);
    if (!piece || p->queued > OUT_MAX) {
        free(piece);
        return -1;
    }
    buf_drop(&p->out, from);
    piece->n = p->out.len;
    piece->p = p;
    piece->write.data = piece;
    piece->bytes = (uint8_t *)buf_steal(&p->out);
    uv_buf_t buf = uv_buf_init((char *)piece->bytes, (unsigned)piece->n);
    p->queued += piece->n;
    return uv_write(&piece->write, (uv_stream_t *)&p->engine, &buf, 1, on_written);
}

static void answer(struct process *p)
{
    size_t from = 0;
    if (p->out.len == 0)
        return;
    if (p->queued == 0) {
        uv_buf_t buf = uv_buf_init((char *)p->out.data, (unsigned)p->out.len);
        int n = uv_try_write((uv_stream_t *)&p->engine, &buf, 1);
        from = n > 0 ? (size_t)n : 0;
    }
    if (from == p->out.len)
        buf_clear(&p->out);
    else if (queue_rest(p, from) < 0)
        process_fail(p, "cannot answer", NULL);
}

/* The turn's end: holds are made durable and their calls leave, answers go to jails and engine. */
static void turn(struct process *p)
{
    do {
        model_calls_turn(p);
        doors_turn(p);
    } while (p->waiting && !model_calls_full(p));
    answer(p);
}

static void on_before(uv_prepare_t *prepare)
{
    turn(prepare->data);
}

static void on_after(uv_check_t *check)
{
    turn(check->data);
}

static void on_tick(uv_timer_t *timer)
{
    struct process *p = timer->data;
    doors_tick(p);
    model_calls_tick(p);
}

int process_watch(struct process *p, int engine_fd, struct err *err)
{
    buf_init(&p->out, OUT_MAX);
    buf_init(&p->deferred, OUT_MAX);
    buf_init(&p->in, 2 * (FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX));
    uv_prepare_init(&p->loop, &p->before);
    uv_check_init(&p->loop, &p->after);
    uv_timer_init(&p->loop, &p->tick);
    uv_pipe_init(&p->loop, &p->engine, 1);
    p->before.data = p->after.data = p->tick.data = p->engine.data = p;
    if (p->secrets)
        secrets_on_new(p->secrets, on_secret, p);
    int rc = uv_pipe_open(&p->engine, engine_fd);
    if (rc == 0)
        rc = uv_read_start((uv_stream_t *)&p->engine, on_alloc, on_engine);
    if (rc == 0)
        rc = uv_prepare_start(&p->before, on_before);
    if (rc == 0)
        rc = uv_check_start(&p->after, on_after);
    if (rc == 0)
        rc = uv_timer_start(&p->tick, on_tick, 1000, 1000);
    return rc == 0 ? 0 : err_set(err, ERR_FAIL, "the engine's socket: %s", uv_strerror(rc));
}
