/* The engine's life: lock, loop, one look at the store whenever something says so, orderly end.
 *
 * What waits is dispatched here; what runs is driven by attempt.c; hosts are engine_host.c's. Nothing
 * a follower sends is parsed: any byte means "look at the store again".
 */
#include "controller/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/file.h"
#include "controller/engine_internal.h"
#include "controller/plan.h"
#include "controller/redact.h"

#define HEARTBEAT_MS   2000
#define CALL_AHEAD_MAX 2 /* hosts */
#define FILES_WANTED   65536
#define SCANS_A_TURN   8

struct follower {
    uv_pipe_t pipe;
    struct follower *next;
    struct engine *e;
    bool closing;
};

void engine_scan_soon(struct engine *e)
{
    e->scan_wanted = true;
}

void engine_notify(struct engine *e)
{
    e->notify_wanted = true;
}

void engine_store_failed(struct engine *e, const char *what, const struct err *err)
{
    e->rescan = true;
    diag(DIAG_ERROR, "store: %s: %s", what, err->msg);
}

/* ---- followers: commands that want to be told when to look again ---- */

static void follower_closed(uv_handle_t *handle)
{
    struct follower *f = handle->data;
    struct follower **at = &f->e->followers;
    while (*at != NULL && *at != f)
        at = &(*at)->next;
    if (*at == f)
        *at = f->next;
    f->e->nfollowers--;
    free(f);
}

static void follower_close(struct follower *f)
{
    if (!f->closing) {
        f->closing = true;
        uv_close((uv_handle_t *)&f->pipe, follower_closed);
    }
}

/* The bytes mean nothing but "look": a small buffer on the follower's own stack would do, but libuv
 * wants memory that outlives this call. */
static void follower_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    (void)suggested;
    ret->base = malloc(64);
    ret->len = ret->base != NULL ? 64 : 0;
    (void)handle;
}

static void follower_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct follower *f = stream->data;
    free(buf->base);
    if (n > 0)
        engine_scan_soon(f->e);
    else if (n < 0)
        follower_close(f);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct engine *e = listener->data;
    struct follower *f = status == 0 ? calloc(1, sizeof(*f)) : NULL;
    if (f == NULL)
        return;
    f->e = e;
    uv_pipe_init(&e->loop, &f->pipe, 0);
    f->pipe.data = f;
    f->next = e->followers;
    e->followers = f;
    e->nfollowers++;
    if (uv_accept(listener, (uv_stream_t *)&f->pipe) != 0 || e->nfollowers > ENGINE_FOLLOWERS_MAX ||
        uv_read_start((uv_stream_t *)&f->pipe, follower_room, follower_read) != 0)
        follower_close(f);
    e->idle_since_ms = 0;
}

static void notify_followers(struct engine *e)
{
    for (struct follower *f = e->followers; f != NULL; f = f->next) {
        char byte = '.';
        uv_buf_t buf = uv_buf_init(&byte, 1);
        /* A full socket already holds a byte that says the same. */
        if (!f->closing)
            uv_try_write((uv_stream_t *)&f->pipe, &buf, 1);
    }
}

/* ---- dispatch ---- */

static void wait_because(struct engine *e, struct task_row *row, const char *reason)
{
    struct err err = ERR_INIT;
    if (strcmp(row->reason, reason) == 0)
        return;
    if (store_task_reason(e->store, row->id, reason, &err) < 0)
        engine_store_failed(e, "reason", &err);
    engine_notify(e);
}

static void end_queued(struct engine *e, struct task_row *row, enum task_state state,
                       enum err_code code, const char *reason)
{
    struct err err = ERR_INIT;
    if (store_task_end(e->store, row->id, state, code, reason, &err) < 0)
        engine_store_failed(e, "end", &err);
    engine_notify(e);
}

/* A host for a task that named none: enrolled, able to enforce its limits, least busy. */
static int pick_host(struct engine *e, const struct task_row *row, char out[static HOST_NAME_SIZE],
                     struct err *err)
{
    struct host_row *hosts = NULL;
    size_t n = 0;
    unsigned best = UINT32_MAX;
    int r = store_host_list(e->store, &hosts, &n, err);
    if (r < 0)
        return r;
    for (size_t i = 0; i < n; i++) {
        struct engine_host *h = engine_host_get(e, hosts[i].name, err);
        if (h == NULL || !plan_host_fits(&hosts[i], &row->policy))
            continue;
        /* Not what it needs: it may be in the image, or the host's own. */
        unsigned lacks = row->tool[0] && !store_host_tool(&hosts[i], row->tool) ? 1u << 16 : 0;
        unsigned load = lacks + h->slots_used * 4 + (h->state == HOST_READY ? 0 : 1) + h->tries;
        if (load < best) {
            best = load;
            memcpy(out, hosts[i].name, HOST_NAME_SIZE);
        }
    }
    free(hosts);
    if (n == 0)
        return err_set(err, ERR_USAGE, "no host is enrolled: creel host add");
    if (best == UINT32_MAX)
        return err_set(err, ERR_REFUSED,
                       "no host has all that this task needs: its limits enforced, its image, its "
                       "presets; see creel doctor");
    return 0;
}

/* A host that cannot be reached: tell the task why it waits, or end it when nothing of it ever left. */
static void dispatch_unreachable(struct engine *e, struct engine_host *h, struct task_row *row)
{
    char why[301];
    if (h->last.code == ERR_TRUST) {
        end_queued(e, row, TASK_REFUSED, ERR_TRUST, h->last.msg);
        return;
    }
    if (h->tries >= HOST_TRIES_MAX) {
        snprintf(why, sizeof(why), "%.240s (%u tries)", h->last.msg, h->tries);
        end_queued(e, row, TASK_FAILED, ERR_HOST, why);
        return;
    }
    uint64_t in_s = (uv_timer_get_due_in(&h->retry) + 999) / 1000;
    snprintf(why, sizeof(why), "%.200s; next try in %llu s", h->last.msg, (unsigned long long)in_s);
    wait_because(e, row, why);
}

static void dispatch(struct engine *e, struct task_row *row)
{
    struct err err = ERR_INIT;
    char name[HOST_NAME_SIZE], why[160];
    const char *gone;
    memcpy(name, row->host, sizeof(name));
    if (row->cancel) {
        end_queued(e, row, TASK_CANCELLED, ERR_CANCELLED, "cancelled before it began");
        return;
    }
    if (name[0] == 0 && pick_host(e, row, name, &err) < 0) {
        end_queued(e, row, TASK_REFUSED, err.code, err.msg);
        return;
    }
    struct engine_host *h = engine_host_get(e, name, &err);
    if (h == NULL) {
        end_queued(e, row, TASK_REFUSED, err.code, err.msg);
        return;
    }
    if (h->state == HOST_BACKOFF) {
        dispatch_unreachable(e, h, row);
        return;
    }
    engine_host_need(h);
    if (h->state != HOST_READY) {
        snprintf(why, sizeof(why), "connecting to host %s", name);
        wait_because(e, row, why);
    } else if (h->slots_used >= h->row.slots) {
        snprintf(why, sizeof(why), "host %s is busy: %u of %u slots in use", name, h->slots_used,
                 h->row.slots);
        wait_because(e, row, why);
    } else if (uv_now(&e->loop) < h->full_until_ms) {
        snprintf(why, sizeof(why), "host %s has no free slot; asked again soon", name);
        wait_because(e, row, why);
    } else if ((gone = broker_down(e->broker)) != NULL) {
        snprintf(why, sizeof(why), "%.120s; another is started soon", gone);
        wait_because(e, row, why);
    } else {
        h->full_until_ms = 0;
        attempt_begin(h, row);
    }
}

static struct attempt *attempt_of_task(struct engine *e, const char *task)
{
    for (struct attempt *a = e->attempts; a != NULL; a = a->next)
        if (!a->dead && strcmp(a->row.id, task) == 0)
            return a;
    return NULL;
}

/* True when the row needs an engine. */
static bool scan_row(struct engine *e, struct task_row *row)
{
    struct err err = ERR_INIT;
    char attempt[ATTEMPT_ID_SIZE];
    struct attempt *a = attempt_of_task(e, row->id);
    if (a != NULL) {
        if (row->cancel || a->row.cancel) /* the engine's own, when no broker could sign it */
            attempt_cancel(a);
        return a->phase != PHASE_DONE;
    }
    if (task_state_final((enum task_state)row->state)) {
        /* Only the wipe may still be owed, by a host that is still enrolled. */
        if (!row->result_stored || row->wiped ||
            engine_host_get(e, row->attempt_host, &err) == NULL)
            return false;
        attempt_resume(e, row);
        return true;
    }
    if (row->state == TASK_LEASED) {
        /* `sending` is written before anything is sent: a lease alone left nothing at the host. */
        if (attempt_id_make(row->id, row->attempt_n, attempt), attempt[0] != 0)
            broker_attempt_end(e->broker, attempt);
        if (store_task_state(e->store, row->id, TASK_QUEUED, "", &err) < 0) {
            engine_store_failed(e, "give lease back", &err);
            return true;
        }
        row->state = TASK_QUEUED;
    }
    if (row->state == TASK_QUEUED)
        dispatch(e, row);
    else
        attempt_resume(e, row);
    return true;
}

/* Hosts that the operator has removed although something of ours was there. */
static void scan_hosts(struct engine *e)
{
    struct host_row row;
    for (struct engine_host *h = e->hosts; h != NULL; h = h->next) {
        struct err err = ERR_INIT;
        if (h->attempts > 0 && store_host_get(e->store, h->name, &row, &err) == -ERR_USAGE)
            engine_host_forgotten(h);
    }
}

static void scan(struct engine *e)
{
    struct err err = ERR_INIT;
    struct task_row *rows = NULL;
    size_t n = 0;
    bool busy = false;
    scan_hosts(e);
    if (store_task_list(e->store, true, &rows, &n, &err) < 0) {
        engine_store_failed(e, "list", &err);
        return;
    }
    for (size_t i = n; i-- > 0;) /* oldest first */
        busy |= scan_row(e, &rows[i]);
    task_rows_free(rows, n);
    if (busy)
        e->idle_since_ms = 0;
    else if (e->idle_since_ms == 0)
        e->idle_since_ms = uv_now(&e->loop);
}

/* ---- the loop ---- */

static void on_settle(uv_prepare_t *handle)
{
    struct engine *e = handle->data;
    /* What a scan ends makes room for another. One that ends the same again and again, since the store does not
     * take it, must not keep the loop. */
    for (int n = 0; e->scan_wanted && !e->stopping && n < SCANS_A_TURN; n++) {
        e->scan_wanted = false;
        scan(e);
    }
    if (e->notify_wanted) {
        e->notify_wanted = false;
        notify_followers(e);
    }
}

static void handle_closed(uv_handle_t *handle)
{
    (void)handle;
}

static void stop(struct engine *e)
{
    if (e->stopping)
        return;
    e->stopping = true;
    uv_close((uv_handle_t *)&e->listener, handle_closed);
    uv_close((uv_handle_t *)&e->settle, handle_closed);
    uv_close((uv_handle_t *)&e->beat, handle_closed);
    uv_close((uv_handle_t *)&e->sigterm, handle_closed);
    uv_close((uv_handle_t *)&e->sigint, handle_closed);
    for (struct follower *f = e->followers; f != NULL; f = f->next)
        follower_close(f);
    import_stop(&e->loop);
    attempt_free_all(e);
    engine_hosts_close(e);
    if (e->broker != NULL)
        broker_close(e->broker);
    e->broker = NULL;
}

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    stop(handle->data);
}

static bool engine_busy(const struct engine *e)
{
    for (const struct attempt *a = e->attempts; a != NULL; a = a->next)
        if (a->phase != PHASE_DONE)
            return true;
    return false;
}

static void on_beat(uv_timer_t *timer)
{
    struct engine *e = timer->data;
    struct err err = ERR_INIT;
    char now[32];
    snprintf(now, sizeof(now), "%llu", (unsigned long long)clock_wall_ms());
    if (store_meta_set(e->store, "heartbeat_ms", now, &err) < 0)
        engine_store_failed(e, "heartbeat", &err);
    if (e->rescan) {
        e->rescan = false;
        engine_scan_soon(e);
    }
    for (const struct engine_host *h = e->hosts; h != NULL; h = h->next)
        if (h->full_until_ms != 0 && uv_now(&e->loop) >= h->full_until_ms)
            engine_scan_soon(e);
    if (e->idle_exit_s == 0 || engine_busy(e) || e->nfollowers > 0 || e->idle_since_ms == 0)
        return;
    if (uv_now(&e->loop) - e->idle_since_ms >= (uint64_t)e->idle_exit_s * 1000)
        stop(e);
}

/* ---- start ---- */

static int take_lock(struct engine *e, struct err *err)
{
    char text[32] = "";
    e->lockfd =
        openat(e->paths->rootfd, "engine.lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (e->lockfd < 0)
        return err_errno(err, ERR_FAIL, "%s/engine.lock", e->paths->root);
    if (flock(e->lockfd, LOCK_EX | LOCK_NB) < 0) {
        ssize_t n = pread(e->lockfd, text, sizeof(text) - 1, 0);
        text[n > 0 ? strcspn(text, "\n") : 0] = 0;
        return err_set(err, ERR_FAIL, "an engine is already running (pid %s)", text);
    }
    int n = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(e->lockfd, 0) < 0 || pwrite(e->lockfd, text, (size_t)n, 0) != n)
        return err_errno(err, ERR_FAIL, "%s/engine.lock", e->paths->root);
    return 0;
}

/* The path goes through our own descriptor table: sun_path holds 108 bytes, a state directory's
 * path may be longer. */
static int listen_followers(struct engine *e, struct err *err)
{
    char path[64];
    snprintf(path, sizeof(path), "/proc/self/fd/%d/engine.sock", e->paths->rootfd);
    unlinkat(e->paths->rootfd, "engine.sock", 0);
    mode_t mask = umask(0177);
    int r = uv_pipe_bind(&e->listener, path);
    umask(mask);
    if (r == 0)
        r = uv_listen((uv_stream_t *)&e->listener, 64, on_connection);
    return r == 0 ? 0
                  : err_set(err, ERR_FAIL, "%s/engine.sock: %s", e->paths->root, uv_strerror(r));
}

/* Tells the command that started us (engine_poke) that engine.sock takes connections. */
static void say_ready(void)
{
    const char *text = getenv("CREEL_ENGINE_READY_FD");
    if (text == NULL)
        return;
    int fd = (int)strtol(text, NULL, 10);
    if (fd > 2) {
        (void)!write(fd, "r", 1);
        close(fd);
    }
    unsetenv("CREEL_ENGINE_READY_FD");
}

/* An engine that a command has just started is about to get work, while that command still packs the
 * source: a small fleet is called at once, so that the session stands when the task is queued. */
static void call_ahead(struct engine *e)
{
    struct err err = ERR_INIT;
    struct host_row *hosts = NULL;
    size_t n = 0;
    if (e->idle_exit_s == 0 || store_host_list(e->store, &hosts, &n, &err) < 0)
        return;
    for (size_t i = 0; i < n && n <= CALL_AHEAD_MAX; i++) {
        struct engine_host *h =
            hosts[i].last_seen > 0 ? engine_host_get(e, hosts[i].name, &err) : NULL;
        if (h != NULL)
            engine_host_need(h);
    }
    free(hosts);
}

static int start(struct engine *e, struct err *err)
{
    char db[PATH_MAX], key[PATH_MAX], dir[PATH_MAX], pid[32];
    int r = paths_at(e->paths, "creel.db", db, err);
    if (r == 0)
        r = paths_signing_key(e->paths, key, err);
    if (r == 0)
        r = paths_broker(e->paths, dir, err);
    if (r == 0)
        r = store_open(db, false, &e->store, err);
    if (r == 0)
        r = listen_followers(e, err);
    if (r < 0)
        return r;
    call_ahead(e);
    if ((r = broker_start(&e->loop, e->self, key, dir, &e->broker, err)) < 0)
        return r;
    engine_listen_broker(e);
    say_ready();
    snprintf(pid, sizeof(pid), "%ld", (long)getpid());
    if ((r = store_meta_set(e->store, "engine_pid", pid, err)) < 0)
        return r;
    uv_prepare_start(&e->settle, on_settle);
    uv_timer_start(&e->beat, on_beat, 0, HEARTBEAT_MS);
    uv_signal_start(&e->sigterm, on_signal, SIGTERM);
    uv_signal_start(&e->sigint, on_signal, SIGINT);
    engine_scan_soon(e);
    return 0;
}

static int init_handles(struct engine *e, struct err *err)
{
    ssize_t n = readlink("/proc/self/exe", e->self, sizeof(e->self) - 1);
    if (n <= 0 || uv_loop_init(&e->loop) != 0)
        return err_set(err, ERR_FAIL, "cannot start the engine's loop");
    e->self[n] = 0;
    uv_pipe_init(&e->loop, &e->listener, 0);
    uv_prepare_init(&e->loop, &e->settle);
    uv_timer_init(&e->loop, &e->beat);
    uv_signal_init(&e->loop, &e->sigterm);
    uv_signal_init(&e->loop, &e->sigint);
    e->listener.data = e->settle.data = e->beat.data = e->sigterm.data = e->sigint.data = e;
    return 0;
}

int engine_run(const struct paths *paths, unsigned idle_exit_s, struct err *err)
{
    struct engine e = {.paths = paths, .lockfd = -1, .idle_exit_s = idle_exit_s};
    int r = take_lock(&e, err);
    (void)files_raise(FILES_WANTED); /* the broker's, too: a call of a jail is three between us */
    if (r == 0 && (r = init_handles(&e, err)) == 0) {
        r = start(&e, err);
        if (r == 0)
            diag(DIAG_INFO, "engine ready (pid %ld)", (long)getpid());
        else
            stop(&e);
        uv_run(&e.loop, UV_RUN_DEFAULT);
        if (uv_loop_close(&e.loop) != 0)
            diag(DIAG_WARN, "engine: handles left open at the end");
    }
    if (e.store != NULL)
        store_close(e.store);
    needles_free(e.needles);
    fd_close(&e.lockfd);
    return r;
}
