/* What a phase's processes say: stdout and stderr of a run go to the spool, those of a tool are kept
 * as one line each, and the status pipe tells the steps. Everything read here is hostile but the
 * status records, and those are checked too. */
#include "runner/attempt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/text.h"

#define READS_A_TURN  8
#define READS_A_DRAIN 64 /* 4 MiB: more than a pipe holds */
#define PIPE_BYTES    (512 << 10)
#define STATUS_BATCH  16

struct attempt_pipe {
    uv_poll_t poll;
    int fd; /* owned */
    enum pipe_role role;
    struct attempt *attempt;
};

/* ---- steps ---- */

static void step_name(struct step_result *s, enum step_kind kind, const char *text)
{
    s->kind = (int)kind;
    text_line(s->name, sizeof s->name, text, strlen(text));
}

static void command_name(const struct task *t, char *out, size_t size)
{
    size_t n = 0;
    out[0] = 0;
    for (size_t i = 0; i < t->command.n && n + 1 < size; i++) {
        int w = snprintf(out + n, size - n, "%s%s", i ? " " : "", t->command.v[i]);
        n = w < 0 || (size_t)w >= size - n ? size - 1 : n + (size_t)w;
    }
}

int attempt_steps_init(struct attempt *a, struct err *err)
{
    const struct task *t = &a->task;
    size_t n = 0, want = t->setup.n + t->tests.n + 3;
    char command[512];
    if (want > RESULT_STEPS_MAX)
        return err_set(err, ERR_REFUSED, "%zu steps; at most %d", want, RESULT_STEPS_MAX);
    a->steps = calloc(want, sizeof *a->steps);
    if (!a->steps)
        return err_set(err, ERR_FAIL, "out of memory");
    command_name(t, command, sizeof command);
    step_name(&a->steps[n++], STEP_CHECKOUT, "checkout");
    for (size_t i = 0; i < t->setup.n; i++)
        step_name(&a->steps[n++], STEP_SETUP, t->setup.v[i]);
    step_name(&a->steps[n++], STEP_COMMAND, command);
    for (size_t i = 0; i < t->tests.n; i++)
        step_name(&a->steps[n++], STEP_TEST, t->tests.v[i]);
    step_name(&a->steps[n++], STEP_COLLECT, "collect");
    a->nsteps = n;
    a->nsetup = t->setup.n;
    return 0;
}

struct step_result *attempt_step(struct attempt *a, enum step_kind kind, unsigned index)
{
    size_t first = 0, count = 1;
    switch (kind) {
    case STEP_CHECKOUT:
        break;
    case STEP_SETUP:
        first = 1;
        count = a->nsetup;
        break;
    case STEP_COMMAND:
        first = 1 + a->nsetup;
        break;
    case STEP_TEST:
        first = 2 + a->nsetup;
        count = a->nsteps - 3 - a->nsetup;
        break;
    case STEP_COLLECT:
        first = a->nsteps - 1;
        break;
    case STEP_KIND_COUNT:
    default:
        return NULL;
    }
    return index < count ? &a->steps[first + index] : NULL;
}

static void step_title(const struct warden_step *w, char *out, size_t size)
{
    if (w->kind == STEP_COMMAND)
        snprintf(out, size, "command");
    else
        snprintf(out, size, "%s %u", step_kind_names[w->kind], w->index + 1);
}

static void step_begins(struct attempt *a, const struct warden_step *w, struct step_result *s)
{
    char title[64];
    s->ran = true;
    a->step_now = (int)(s - a->steps);
    a->step_began_us = attempt_now_us(a);
    spool_note(a->spool, a->step_began_us, "$ %s", s->name);
    step_title(w, title, sizeof title);
    attempt_tell_state(a, title);
}

static void step_ends(struct attempt *a, const struct warden_step *w, struct step_result *s)
{
    a->step_now = -1;
    s->signal = w->signal;
    s->exit = w->signal ? -1 : w->exit;
    s->ms = w->ms;
    if (s->signal)
        spool_note(a->spool, attempt_now_us(a), "ended by signal %d in %.1f s", s->signal,
                   (double)s->ms / 1000);
    else
        spool_note(a->spool, attempt_now_us(a), "exit %d in %.1f s", s->exit, (double)s->ms / 1000);
}

/* Setup, command and tests come once each and in their order; anything else is not our pid 1. */
static bool step_legal(const struct attempt *a, const struct warden_step *w,
                       const struct step_result *s)
{
    if (w->ended > 1)
        return false;
    int index = (int)(s - a->steps);
    if (w->ended)
        return a->step_now == index;
    if (a->step_now >= 0 || s->ran)
        return false;
    for (size_t later = (size_t)index + 1; later < a->nsteps; later++)
        if (a->steps[later].ran)
            return false;
    return true;
}

void attempt_steps_end(struct attempt *a)
{
    if (a->step_now < 0)
        return;
    struct step_result *s = &a->steps[a->step_now];
    s->exit = -1;
    s->signal = 9;
    s->ms = (attempt_now_us(a) - a->step_began_us) / 1000;
    a->step_now = -1;
}

/* ---- pipes ---- */

static void on_pipe_closed(uv_handle_t *h)
{
    free(h->data);
}

static void pipe_close(struct attempt *a, enum pipe_role role)
{
    struct attempt_pipe *p = a->pipes[role];
    if (!p)
        return;
    a->pipes[role] = NULL;
    uv_close((uv_handle_t *)&p->poll, on_pipe_closed);
    fd_close(&p->fd);
}

void attempt_pipes_close(struct attempt *a)
{
    for (int role = 0; role < PIPE_COUNT; role++)
        pipe_close(a, (enum pipe_role)role);
}

static ssize_t read_fd(int fd, void *to, size_t n)
{
    ssize_t r;
    do
        r = read(fd, to, n);
    while (r < 0 && errno == EINTR);
    return r;
}

/* Up to `reads` pieces into the log. False when the pipe is at its end. */
static bool read_log(struct attempt *a, enum pipe_role role, int reads)
{
    struct attempt_pipe *p = a->pipes[role];
    enum log_stream stream = role == PIPE_OUT ? LOG_OUT : LOG_ERR;
    while (reads-- > 0) {
        ssize_t n = read_fd(p->fd, spool_room(a->spool), LOG_PAYLOAD_MAX);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        spool_put(a->spool, stream, attempt_now_us(a), (size_t)n);
    }
    return true;
}

/* The first bytes that a tool prints; the rest is read and dropped. */
static bool read_words(struct attempt *a, enum pipe_role role, int reads)
{
    struct buf *to = role == PIPE_OUT ? &a->said : &a->complaint;
    char bytes[4096];
    while (reads-- > 0) {
        ssize_t n = read_fd(a->pipes[role]->fd, bytes, sizeof bytes);
        if (n <= 0)
            return n < 0 && errno == EAGAIN;
        size_t room = to->max - to->len;
        buf_add(to, bytes, (size_t)n < room ? (size_t)n : room);
    }
    return true;
}

static void read_out(struct attempt *a, enum pipe_role role, int reads)
{
    if (!a->pipes[role])
        return;
    bool open = a->at == AT_RUNNING ? read_log(a, role, reads) : read_words(a, role, reads);
    if (!open)
        pipe_close(a, role);
}

/* One record. Before a step's end is noted, what it printed is taken. False when it is not ours. */
static bool take_record(struct attempt *a, const struct warden_step *w)
{
    bool kind = w->kind == STEP_SETUP || w->kind == STEP_COMMAND || w->kind == STEP_TEST;
    struct step_result *s = kind ? attempt_step(a, (enum step_kind)w->kind, w->index) : NULL;
    if (!s || !step_legal(a, w, s))
        return false;
    if (!w->ended) {
        step_begins(a, w, s);
        return true;
    }
    read_out(a, PIPE_OUT, READS_A_DRAIN);
    read_out(a, PIPE_ERR, READS_A_DRAIN);
    step_ends(a, w, s);
    return true;
}

/* A batch of records, as they are whole. True when some were taken and more may follow at once. */
static bool read_status(struct attempt *a)
{
    struct warden_step steps[STATUS_BATCH];
    struct attempt_pipe *p = a->pipes[PIPE_STATUS];
    ssize_t n = p ? read_fd(p->fd, steps, sizeof steps) : -1;
    if (!p || (n < 0 && errno == EAGAIN))
        return false;
    if (n <= 0 || n % (ssize_t)sizeof *steps != 0) {
        if (n > 0)
            attempt_set_error(a, "a torn record from the jail's first process");
        pipe_close(a, PIPE_STATUS);
        return false;
    }
    for (size_t i = 0; i < (size_t)n / sizeof *steps; i++) {
        if (!take_record(a, &steps[i])) {
            attempt_set_error(a, "a wrong record from the jail's first process");
            pipe_close(a, PIPE_STATUS);
            return false;
        }
    }
    return true;
}

static void on_pipe(uv_poll_t *poll, int status, int events)
{
    struct attempt_pipe *p = poll->data;
    struct attempt *a = p->attempt;
    enum pipe_role role = p->role;
    (void)read_status(a);
    if (role != PIPE_STATUS)
        read_out(a, role, READS_A_TURN);
    if (a->spool && a->at == AT_RUNNING)
        spool_wake(a->spool);
}

static int pipe_open(struct attempt *a, enum pipe_role role, int fd, struct err *err)
{
    struct attempt_pipe *p = calloc(1, sizeof *p);
    int flags = fcntl(fd, F_GETFL);
    if (!p || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        uv_poll_init(a->owner->loop, &p->poll, fd) < 0) {
        free(p);
        return err_set(err, ERR_FAIL, "not a pipe");
    }
    p->poll.data = p;
    p->fd = fd;
    p->role = role;
    p->attempt = a;
    a->pipes[role] = p;
    if (role != PIPE_STATUS)
        (void)fcntl(fd, F_SETPIPE_SZ, PIPE_BYTES); /* fewer wake-ups; may be refused */
    uv_poll_start(&p->poll, UV_READABLE | UV_DISCONNECT, on_pipe);
    return 0;
}

int attempt_pipes_open(struct attempt *a, int *fds, size_t nfds, struct err *err)
{
    for (size_t i = 0; i < nfds && i < PIPE_COUNT; i++) {
        int r = pipe_open(a, (enum pipe_role)i, fds[i], err);
        if (r < 0)
            return r;
        fds[i] = -1;
    }
    return 0;
}

void attempt_pipes_drain(struct attempt *a)
{
    while (a->at == AT_RUNNING && read_status(a))
        ;
    read_out(a, PIPE_OUT, READS_A_DRAIN * 16);
    read_out(a, PIPE_ERR, READS_A_DRAIN * 16);
    attempt_pipes_close(a);
    if (a->spool && a->at == AT_RUNNING)
        spool_wake(a->spool);
}
