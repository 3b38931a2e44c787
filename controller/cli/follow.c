/* Following a task by waiting in poll(), never by sleeping: the engine's socket for states, inotify
 * on the task's directory for its log. A row is read before the log, so that a final row means that
 * the log read after it is whole.
 */
#include "controller/cli/follow.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/term.h"
#include "controller/engine.h"

#define QUIET_MS     3000 /* the store is looked at again without being told */
#define BATCH_FRAMES 4096
#define RETRY_MS     500  /* between attempts to bring the engine back */
#define QUICK_MS     5000 /* an engine that lived shorter than that did not really start */
#define QUICK_MAX    3
#define LOG_TAIL     4096

/* The one thing a signal handler may touch. */
static volatile sig_atomic_t interrupted;

static void on_interrupt(int signo)
{
    (void)signo;
    interrupted = 1;
}

/* Without SA_RESTART: whatever blocks comes back and looks. A program started from here gets the
 * default again, so Ctrl-C ends a git that packs. */
void follow_catch_interrupt(void)
{
    struct sigaction sa = {.sa_handler = on_interrupt};

    sigaction(SIGINT, &sa, NULL);
}

bool follow_interrupted(void)
{
    return interrupted != 0;
}

struct eyes {
    struct follow *f;
    struct logfile *log;
    struct task_row row;
    bool have_row, look, more; /* more: log was left unread to look around */
    int inotify;
    uint64_t poked_us, began_us; /* began: the engine was first heard of */
    unsigned quick;              /* engines in a row that ended at once or did not start */
};

static int watch(struct eyes *e, struct err *err)
{
    char dir[PATH_MAX];
    int rc = paths_task(e->f->paths, e->f->id, "", dir, err);

    if (rc < 0)
        return rc;
    e->inotify = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    /* Out of watches is no reason to fail: the engine's socket and the clock remain. */
    if (e->inotify >= 0 && inotify_add_watch(e->inotify, dir, IN_MODIFY | IN_CREATE) < 0)
        fd_close(&e->inotify);
    return logfile_open(e->f->paths, e->f->id, &e->log, err);
}

static int row_read(struct eyes *e, struct err *err)
{
    struct task_row row;
    int rc = store_task_get(e->f->store, e->f->id, &row, err);

    if (rc < 0)
        return rc;
    if (!e->have_row || row.state != e->row.state || strcmp(row.reason, e->row.reason) != 0)
        rc = e->f->state(e->f->arg, &row, err);
    if (e->have_row)
        task_row_done(&e->row);
    e->row = row;
    e->have_row = true;
    e->look = false;
    return rc;
}

/* At most a batch at a time, so that a log which grows as fast as it is read starves nothing. */
static int log_read(struct eyes *e, struct err *err)
{
    struct log_frame f;
    int rc = 1;

    for (int i = 0; i < BATCH_FRAMES && rc == 1; i++) {
        rc = logfile_next(e->log, &f, err);
        if (rc == 1 && e->f->frame(e->f->arg, &f, err) < 0)
            rc = -ERR_FAIL;
    }
    e->more = rc == 1;
    return rc < 0 ? rc : e->f->flush(e->f->arg, err);
}

/* SIGINT is blocked but here and in ppoll: a Ctrl-C between a look and the wait is not lost. */
static void interrupt_now(void)
{
    sigset_t sigint;

    sigemptyset(&sigint);
    sigaddset(&sigint, SIGINT);
    sigprocmask(SIG_UNBLOCK, &sigint, NULL);
    sigprocmask(SIG_BLOCK, &sigint, NULL);
}

/* The last line of engine.log, made harmless; "" when there is none. */
static void last_words(const struct paths *paths, struct buf *line)
{
    char text[LOG_TAIL + 1], *at;
    int fd = openat(paths->rootfd, "engine.log", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    ssize_t n = size <= 0 ? 0 : pread(fd, text, LOG_TAIL, size > LOG_TAIL ? size - LOG_TAIL : 0);

    fd_close(&fd);
    n = n < 0 ? 0 : n;
    while (n > 0 && text[n - 1] == '\n')
        n--;
    text[n] = 0;
    at = strrchr(text, '\n');
    term_line(at ? at + 1 : text, line);
}

static int give_up(struct eyes *e, struct err *err)
{
    struct buf line;

    buf_init(&line, 4 * LOG_TAIL);
    last_words(e->f->paths, &line);
    err_set(err, ERR_FAIL,
            "the engine ended %d times within seconds of its start; the task stays %s. The last "
            "line of engine.log: %s",
            QUICK_MAX, task_state_names[e->row.state], line.len ? buf_str(&line) : "(empty)");
    buf_done(&line);
    return -ERR_FAIL;
}

/* An engine that went away is brought back while the task needs one; at most one try per RETRY_MS,
 * and one that dies at once again and again is not started in a circle. */
static int engine_back(struct eyes *e, struct err *err)
{
    uint64_t now = clock_mono_us();

    if (e->f->engine >= 0 || (e->poked_us && now - e->poked_us < RETRY_MS * 1000ull))
        return 0;
    if (e->quick >= QUICK_MAX)
        return give_up(e, err);
    e->poked_us = e->began_us = now;
    e->f->engine = engine_poke(e->f->paths, true, NULL);
    e->quick += e->f->engine < 0;
    return 0;
}

static void engine_heard(struct eyes *e)
{
    char bytes[256];
    ssize_t n = recv(e->f->engine, bytes, sizeof(bytes), MSG_DONTWAIT);

    if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR)) {
        bool quick = clock_mono_us() - e->began_us < QUICK_MS * 1000ull;
        e->quick = quick ? e->quick + 1 : 0;
        fd_close(&e->f->engine);
    }
    e->look = true;
}

static void inotify_heard(struct eyes *e)
{
    char events[4096];

    (void)!read(e->inotify, events, sizeof(events));
}

static int await(struct eyes *e, struct err *err)
{
    struct pollfd p[2] = {{.fd = e->f->engine, .events = POLLIN},
                          {.fd = e->inotify, .events = POLLIN}};
    int timeout = e->more ? 0 : e->f->engine < 0 ? RETRY_MS : QUIET_MS;
    struct timespec ts = {timeout / 1000, (timeout % 1000) * 1000000};
    sigset_t none;
    int n;

    sigemptyset(&none);
    n = ppoll(p, 2, &ts, &none);
    if (n < 0 && errno != EINTR)
        return err_errno(err, ERR_FAIL, "poll");
    if (n > 0 && p[0].revents)
        engine_heard(e);
    if (n > 0 && p[1].revents)
        inotify_heard(e);
    if (n == 0 && !e->more)
        e->look = true;
    return 0;
}

static int turn(struct eyes *e, struct err *err)
{
    int rc = e->look ? row_read(e, err) : 0;

    rc = rc < 0 ? rc : log_read(e, err);
    if (rc < 0)
        return rc;
    interrupt_now();
    if (task_state_final((enum task_state)e->row.state))
        return e->more ? 0 : 1;
    rc = engine_back(e, err);
    return rc < 0 || interrupted ? rc : await(e, err);
}

int follow_task(struct follow *f, struct task_row *ret, struct err *err)
{
    struct eyes e = {.f = f, .look = true, .inotify = -1, .began_us = clock_mono_us()};
    sigset_t before;
    int rc;

    sigprocmask(SIG_BLOCK, NULL, &before);
    interrupt_now();
    rc = watch(&e, err);
    while (rc == 0 && !(f->detachable && interrupted))
        rc = turn(&e, err);
    sigprocmask(SIG_SETMASK, &before, NULL);
    logfile_close(e.log);
    fd_close(&e.inotify);
    if (rc < 0) {
        if (e.have_row)
            task_row_done(&e.row);
        return rc;
    }
    *ret = e.row;
    return rc == 1 ? 0 : 1;
}
