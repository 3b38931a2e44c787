/* The life of serve: start as whoever we are, become nobody, listen, end in order. It parses nothing
 * from the network and knows no message: channels.c and control.c do that.
 *
 * Memory when idle is bounded by the libraries' own data; a stream costs about 2 KiB until it carries
 * a frame, an attempt 64 KiB for its log buffer, a control channel at most two frames, and all their
 * unfinished frames together at most STREAM_INPUT_MAX. */
#include "runner/serve.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/file.h"
#include "common/secret.h"
#include "runner/channels.h"
#include "runner/listener.h"
#include "runner/privileges.h"
#include "runner/text.h"

#define STOP_MS        15000 /* for wiping what runs; with the next, within systemd's 30 s */
#define WARDEN_END_MS  10000
#define FILES_WANTED   65536
#define FILES_OURS     2048 /* streams, spools, pipes; the rest is for the gates' connections */
#define ACCEPTS_A_TURN 16

/* ---- end ---- */

static void on_stop_timer(uv_timer_t *t);

static bool all_over(const struct serve *sv)
{
    for (unsigned i = 0; i < sv->cfg->slots; i++)
        if (sv->attempts[i].at != AT_FREE && sv->attempts[i].at != AT_TAINTED)
            return false;
    return true;
}

/* Closes everything that keeps the loop alive. The warden, its socket gone, wipes what is left. */
static void close_all(struct serve *sv)
{
    if (sv->closed)
        return;
    sv->closed = true;
    while (sv->streams.streams)
        stream_close(sv->streams.streams);
    for (unsigned i = 0; sv->attempts && i < sv->cfg->slots; i++)
        attempt_close(&sv->attempts[i]);
    warden_client_close(&sv->warden);
    if (sv->listening)
        uv_close((uv_handle_t *)&sv->listener, NULL);
    uv_close((uv_handle_t *)&sv->sigterm, NULL);
    uv_close((uv_handle_t *)&sv->sigint, NULL);
    uv_close((uv_handle_t *)&sv->stop_timer, NULL);
}

static void stop(struct serve *sv)
{
    if (sv->stopping)
        return;
    sv->stopping = true;
    listener_notify("STOPPING=1");
    if (sv->listening)
        uv_poll_stop(&sv->listener);
    uv_timer_start(&sv->stop_timer, on_stop_timer, STOP_MS, 0);
    for (unsigned i = 0; i < sv->cfg->slots; i++)
        if (attempt_busy(&sv->attempts[i]))
            attempt_event(&sv->attempts[i], EV_STOP);
    if (all_over(sv))
        close_all(sv);
}

static void on_stop_timer(uv_timer_t *t)
{
    struct serve *sv = t->data;
    diag(DIAG_ERROR, "not everything was wiped in %d s; the warden goes on with it",
         STOP_MS / 1000);
    sv->exit_code = ERR_FAIL;
    close_all(sv);
}

static void on_over(uv_timer_t *t)
{
    close_all(t->data);
}

/* Ends the loop, but not from inside a handler. */
static void close_soon(struct serve *sv)
{
    if (!sv->closed)
        uv_timer_start(&sv->stop_timer, on_over, 0, 0);
}

static void on_signal(uv_signal_t *s, int signum)
{
    stop(s->data);
}

/* ---- what the parts call back ---- */

static void on_fatal(void *arg, const struct err *err)
{
    struct serve *sv = arg;
    diag(DIAG_ERROR, "%s; stopping", err->msg);
    sv->exit_code = ERR_FAIL;
    sv->stopping = true;
    close_soon(sv);
}

static void on_warden_reply(void *arg, const struct warden_reply *r, int *fds, size_t nfds)
{
    struct serve *sv = arg;
    attempt_reply(&sv->attempts[r->slot], r, fds, nfds);
}

static void on_tell(void *arg, const struct msg *m)
{
    control_tell(arg, m);
}

static void on_drop_streams(void *arg, const struct attempt *a)
{
    struct serve *sv = arg;
    for (struct stream *s = sv->streams.streams, *next; s; s = next) {
        next = s->next;
        if (s->attempt == a && s->channel != CHANNEL_PACK)
            stream_close(s);
    }
}

static void on_slot_over(void *arg, const struct attempt *a)
{
    struct serve *sv = arg;
    if (sv->stopping && all_over(sv))
        close_soon(sv);
}

struct attempt *serve_attempt(struct serve *sv, const char *id)
{
    for (unsigned i = 0; i < sv->cfg->slots; i++) {
        struct attempt *a = &sv->attempts[i];
        if (a->at != AT_FREE && a->at != AT_TAINTED && strcmp(a->task.attempt, id) == 0)
            return a;
    }
    return NULL;
}

struct attempt *serve_free_slot(struct serve *sv)
{
    for (unsigned i = 0; i < sv->cfg->slots; i++)
        if (sv->attempts[i].at == AT_FREE)
            return &sv->attempts[i];
    return NULL;
}

/* ---- start ---- */

static void on_listener(uv_poll_t *p, int status, int events)
{
    struct serve *sv = p->data;
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        struct err err = ERR_INIT;
        int fd = listener_accept(sv->listen_fd);
        if (fd < 0)
            return;
        if (stream_new(&sv->streams, fd, &err) < 0)
            diag(DIAG_WARN, "%s", err.msg);
    }
}

static void kernel_name(char *out, size_t size)
{
    struct utsname u;
    if (uname(&u) == 0)
        text_linef(out, size, "%s %s %s", u.sysname, u.release, u.machine);
}

/* What a jail cannot see to by itself, the operator should know. */
static void warn_of_cores(void)
{
    if (core_dumps_piped())
        diag(DIAG_WARN,
             "kernel.core_pattern hands core dumps to a program that runs as root: jails "
             "keep theirs from it, but a host for tasks is better without");
}

/* Two descriptors a connection of a gate: what jails may hold open at once is what is left. */
static void raise_files(struct serve *sv)
{
    unsigned long files = files_raise(FILES_WANTED);
    unsigned long each = files > FILES_OURS ? (files - FILES_OURS) / sv->cfg->slots / 2 : 0;
    sv->owner.gate_host.conns_max = each > GATE_CONNS_MAX ? GATE_CONNS_MAX : each > 8 ? each : 8;
}

/* The gate's look-ups wait in libuv's threads, at most GATE_LOOKUPS_MAX for each attempt, and libuv gives
 * them half of its threads: no slow name server holds up another attempt, or a file. Names are looked
 * up as they are, never with this host's search domains behind them. */
static void tune_resolver(const struct serve *sv)
{
    char threads[16];
    snprintf(threads, sizeof threads, "%u", 4 + 2 * GATE_LOOKUPS_MAX * sv->cfg->slots);
    setenv("UV_THREADPOOL_SIZE", threads, 1);
    setenv("LOCALDOMAIN", ".", 1);
    setenv("RES_OPTIONS", "timeout:3 attempts:2", 1);
}

static int load_presets(struct serve *sv, struct err *err)
{
    sv->presets = malloc(sizeof *sv->presets);
    if (!sv->presets)
        return err_set(err, ERR_FAIL, "out of memory");
    presets_load(sv->presets, PRESETS_PATH);
    return 0;
}

static int parse_reach(struct serve *sv, struct err *err)
{
    const struct strv *texts = &sv->cfg->reach;
    int r = texts->n > WELCOME_NAMES_MAX
                ? err_set(err, ERR_USAGE, "at most %d networks", WELCOME_NAMES_MAX)
                : 0;
    sv->reach = calloc(texts->n ? texts->n : 1, sizeof *sv->reach);
    if (!sv->reach)
        return err_set(err, ERR_FAIL, "out of memory");
    for (size_t i = 0; r == 0 && i < texts->n; i++)
        r = addr_net_parse(texts->v[i], &sv->reach[i], err);
    if (r < 0)
        err_wrap(err, "--reach");
    return r;
}

static int lock_dir(int fd, const char *path, struct err *err)
{
    if (flock(fd, LOCK_EX | LOCK_NB) == 0)
        return 0;
    return errno == EWOULDBLOCK ? err_set(err, ERR_FAIL, "another runner uses %s", path)
                                : err_errno(err, ERR_FAIL, "lock %s", path);
}

static int open_dirs(struct serve *sv, const struct privileges *p, struct err *err)
{
    int r = sv->state_fd = privileges_dir(p, sv->cfg->state_dir, err);
    if (r >= 0)
        r = sv->run_fd = privileges_dir(p, sv->cfg->run_dir, err);
    if (r >= 0)
        r = lock_dir(sv->state_fd, sv->cfg->state_dir, err);
    if (r >= 0)
        r = lock_dir(sv->run_fd, sv->cfg->run_dir, err);
    return r < 0 ? r : 0;
}

/* What a runner that died left behind goes first: its logs are nobody's any more. */
static int open_spool(struct serve *sv, struct err *err)
{
    int r = tree_remove(sv->run_fd, SERVE_SPOOL_DIR, err);
    if (r < 0)
        return r;
    if (mkdirat(sv->run_fd, SERVE_SPOOL_DIR, 0700) < 0)
        return err_errno(err, ERR_FAIL, "%s/%s", sv->cfg->run_dir, SERVE_SPOOL_DIR);
    sv->spool_fd =
        openat(sv->run_fd, SERVE_SPOOL_DIR, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    return sv->spool_fd < 0 ? err_errno(err, ERR_FAIL, "%s/%s", sv->cfg->run_dir, SERVE_SPOOL_DIR)
                            : 0;
}

static void init_handles(struct serve *sv)
{
    uv_loop_t *loop = &sv->loop;
    sv->owner = (struct attempt_owner){
        .loop = loop,
        .warden = &sv->warden,
        .identity = &sv->identity,
        .spool_dir = sv->spool_fd,
        .presets = sv->presets,
        .gate_host = {.reach = sv->reach,
                      .nreach = sv->cfg->reach.n,
                      .conns_max = sv->owner.gate_host.conns_max},
        .arg = sv,
        .tell = on_tell,
        .drop_streams = on_drop_streams,
        .slot_over = on_slot_over,
        .fatal = on_fatal,
    };
    sv->streams.loop = loop;
    sv->streams.arg = sv;
    sv->streams.times = stream_times_default;
    sv->streams.hello = channel_hello;
    sv->listener.data = sv->sigterm.data = sv->sigint.data = sv->stop_timer.data = sv;
    uv_signal_init(loop, &sv->sigterm);
    uv_signal_init(loop, &sv->sigint);
    uv_timer_init(loop, &sv->stop_timer);
    for (unsigned i = 0; i < sv->cfg->slots; i++)
        attempt_init(&sv->attempts[i], &sv->owner, i);
}

static int start_loop(struct serve *sv, struct err *err)
{
    sv->attempts = calloc(sv->cfg->slots, sizeof *sv->attempts);
    sv->streams.scratch = malloc(STREAM_CHUNK);
    if (!sv->attempts || !sv->streams.scratch || uv_loop_init(&sv->loop) != 0) {
        free(sv->attempts);
        sv->attempts = NULL;
        return err_set(err, ERR_FAIL, "out of memory");
    }
    init_handles(sv);
    int r = warden_client_watch(&sv->warden, &sv->loop, err);
    if (r == 0)
        r = sv->listen_fd = listener_open(sv->run_fd, sv->cfg->run_dir, err);
    if (r >= 0 && uv_poll_init(&sv->loop, &sv->listener, sv->listen_fd) == 0)
        sv->listening = true;
    else if (r >= 0)
        r = err_set(err, ERR_FAIL, "cannot watch the socket");
    if (r < 0) {
        close_all(sv);
        uv_run(&sv->loop, UV_RUN_DEFAULT);
        return r;
    }
    uv_poll_start(&sv->listener, UV_READABLE, on_listener);
    uv_signal_start(&sv->sigterm, on_signal, SIGTERM);
    uv_signal_start(&sv->sigint, on_signal, SIGINT);
    return 0;
}

/* Everything that needs root, or must come before the first thread, in its order; then root is gone. */
static int start(struct serve *sv, struct err *err)
{
    struct privileges p;
    int fd = -1;
    pid_t pid = -1;
    int r = privileges_find(sv->cfg->user, &p, err);
    if (r == 0)
        r = parse_reach(sv, err);
    if (r == 0)
        r = identity_load_pinned(&sv->identity, sv->cfg, err);
    if (r == 0)
        r = warden_start(sv->cfg, &fd, &pid, err);
    if (r < 0)
        return r;
    sv->warden.fd = fd;
    sv->warden.pid = pid;
    sv->warden.slots = sv->cfg->slots;
    sv->warden.arg = sv;
    sv->warden.reply = on_warden_reply;
    sv->warden.gone = on_fatal;
    r = open_dirs(sv, &p, err);
    if (r == 0)
        r = privileges_drop(&p, err);
    if (r == 0)
        r = identity_load_key(&sv->identity, sv->state_fd, err);
    if (r == 0)
        r = seen_open(sv->state_fd, clock_wall_s(), &sv->seen, err);
    if (r == 0)
        r = open_spool(sv, err);
    if (r == 0)
        r = load_presets(sv, err);
    if (r == 0)
        r = privileges_fence(err);
    if (r == 0)
        r = warden_client_init(&sv->warden, fd, pid, err);
    if (r < 0)
        return r;
    kernel_name(sv->kernel, sizeof sv->kernel);
    raise_files(sv);
    tune_resolver(sv);
    warn_of_cores();
    return start_loop(sv, err);
}

static void await_warden(pid_t pid)
{
    const struct timespec nap = {.tv_nsec = 20 * 1000 * 1000};
    for (int waited = 0; pid > 0 && waited < WARDEN_END_MS; waited += 20) {
        pid_t r = waitpid(pid, NULL, WNOHANG);
        if (r == pid || (r < 0 && errno != EINTR))
            return;
        nanosleep(&nap, NULL);
    }
    if (pid > 0)
        diag(DIAG_WARN, "the warden (pid %ld) has not ended yet", (long)pid);
}

static void done(struct serve *sv)
{
    if (sv->attempts && uv_loop_close(&sv->loop) != 0)
        diag(DIAG_WARN, "handles left open at the end");
    free(sv->attempts);
    free(sv->streams.scratch);
    free(sv->reach);
    if (sv->presets)
        presets_done(sv->presets);
    free(sv->presets);
    receipts_done(&sv->owner.receipts);
    seen_free(sv->seen);
    identity_done(&sv->identity);
    fd_close(&sv->warden.fd);
    fd_close(&sv->listen_fd);
    fd_close(&sv->spool_fd);
    if (sv->run_fd >= 0 && sv->listening)
        unlinkat(sv->run_fd, RUNNER_SOCKET, 0);
    fd_close(&sv->run_fd);
    fd_close(&sv->state_fd);
    await_warden(sv->warden.pid);
}

int serve_run(const struct runner_config *cfg, struct err *err)
{
    struct serve sv = {.cfg = cfg, .state_fd = -1, .run_fd = -1, .spool_fd = -1, .listen_fd = -1};
    sv.warden.fd = -1;
    int r = start(&sv, err);
    if (r == 0) {
        diag(DIAG_INFO, "ready: %s, key %s, host key %s, %u slot%s", cfg->run_dir, sv.identity.fpr,
             sv.identity.host_key, cfg->slots, cfg->slots == 1 ? "" : "s");
        listener_notify("READY=1");
        uv_run(&sv.loop, UV_RUN_DEFAULT);
        r = sv.exit_code ? err_set(err, ERR_FAIL, "stopped by a failure") : 0;
    }
    done(&sv);
    return r;
}
