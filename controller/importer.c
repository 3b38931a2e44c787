/* The engine's side of an import: starts the child, bounds it, reads its one line, takes over what
 * it wrote. Nothing of the agent's is parsed here but that line, strictly.
 *
 * A child that dies by a signal was stopped by a limit or a filter while it read hostile bytes:
 * that is a finding about them ("refused"), recorded like any other. A child that says it failed is
 * a failure of ours (disk full, no Landlock): the callback gets an error and the patch stays as it
 * is. */
#include "controller/importer.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "controller/redact.h"

#define DEADLINE_MS (10u * 60 * 1000)
#define LINE_MAX_   65536
#define DIR_FLAGS   (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define OUT_PREFIX  "import-"

struct import_run {
    uv_process_t process;
    uv_pipe_t out, errors;
    uv_timer_t deadline;
    unsigned open_handles, running; /* running: the process and the two pipes */
    bool late, stopped;             /* killed by us: out of time; import_stop */
    int64_t status;
    int signal;
    int dirfd; /* the task's directory */
    /* The child's, in it. Each has its own: an engine that was killed may have left one that still writes. */
    char out_name[32];
    struct buf line, complaint;
    import_done_cb *cb;
    void *arg;
};

static void run_free(struct import_run *r)
{
    fd_close(&r->dirfd);
    buf_done(&r->line);
    buf_done(&r->complaint);
    free(r);
}

/* Takes over one file of the child's: a regular file, under its name in the task's directory. */
static int take_file(struct import_run *r, int outfd, const char *name, struct err *err)
{
    struct stat st;
    if (fstatat(outfd, name, &st, AT_SYMLINK_NOFOLLOW) < 0 || !S_ISREG(st.st_mode)) {
        return err_set(err, ERR_FAIL, "the importer did not write %s", name);
    }
    return renameat(outfd, name, r->dirfd, name) < 0
               ? err_errno(err, ERR_FAIL, "cannot keep %s", name)
               : 0;
}

static int take_files(struct import_run *r, const struct import_result *sum, struct err *err)
{
    struct stat st;
    int outfd = openat(r->dirfd, r->out_name, DIR_FLAGS);
    int rc = outfd < 0 ? err_errno(err, ERR_FAIL, "cannot open the importer's directory") : 0;
    if (rc == 0 && !sum->refused) {
        rc = take_file(r, outfd, "clean.pack", err);
    }
    if (rc == 0 && (!sum->refused || fstatat(outfd, "patch.diff", &st, AT_SYMLINK_NOFOLLOW) == 0)) {
        rc = take_file(r, outfd, "patch.diff", err);
    }
    if (rc == 0) {
        rc = take_file(r, outfd, "review.json", err);
    }
    if (rc == 0 && fsync(r->dirfd) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot keep what the importer wrote");
    }
    fd_close(&outfd);
    return rc;
}

/* The child's line says what it found; it must be consistent in itself. */
static int read_line(struct import_run *r, struct import_result *ret, struct err *err)
{
    if (r->line.failed || r->line.len < 2 || r->line.data[r->line.len - 1] != '\n') {
        return err_set(err, ERR_FAIL, "the importer said nothing that can be read");
    }
    int rc = json_decode(&import_result_shape, r->line.data, r->line.len - 1, ret, err);
    if (rc < 0) {
        return err_wrap(err, "the importer's answer");
    }
    if (!ret->refused && !oid_valid(ret->commit)) {
        return err_set(err, ERR_FAIL, "the importer named no commit");
    }
    return 0;
}

/* Writes the finding that stopped the child, where a review looks for it. */
static int killed(struct import_run *r, struct import_result *ret, struct err *err)
{
    struct review_record record = {0};
    struct buf text;
    record.summary.refused = true;
    snprintf(record.summary.reason, sizeof(record.summary.reason),
             "reading what came back %s, so the importer was stopped (signal %d)",
             r->late ? "took longer than 10 minutes" : "went over a limit", r->signal);
    buf_init(&text, 4096);
    int rc = json_encode(&review_record_shape, &record, &text, err);
    if (rc == 0) {
        rc = file_replace(r->dirfd, "review.json", text.data, text.len, 0600, err);
    }
    buf_done(&text);
    *ret = record.summary;
    return rc;
}

static int conclude(struct import_run *r, struct import_result *ret, struct err *err)
{
    if (r->stopped) { /* says nothing about what it read */
        return err_set(err, ERR_FAIL, "the import was stopped");
    }
    if (r->signal != 0) {
        return killed(r, ret, err);
    }
    if (r->status != 0) {
        buf_addc(&r->complaint, '\0');
        char *text = (char *)r->complaint.data;
        text[strcspn(text, "\n")] = '\0';
        return err_set(err, ERR_FAIL, "importer: %s", text[0] != '\0' ? text : "failed");
    }
    int rc = read_line(r, ret, err);
    return rc < 0 ? rc : take_files(r, ret, err);
}

static void finish(struct import_run *r)
{
    struct import_result result = {0};
    struct err err = ERR_INIT, ignored = ERR_INIT;
    int rc = conclude(r, &result, &err);
    tree_remove(r->dirfd, r->out_name, &ignored);
    r->cb(r->arg, rc < 0 ? NULL : &result, rc < 0 ? &err : NULL);
    run_free(r);
}

static void on_closed(uv_handle_t *h)
{
    struct import_run *r = h->data;
    if (--r->open_handles == 0) {
        finish(r);
    }
}

/* The process is gone and both pipes are at their end, in any order: only then is it over. */
static void one_less(struct import_run *r)
{
    if (--r->running > 0) {
        return;
    }
    uv_close((uv_handle_t *)&r->process, on_closed);
    uv_close((uv_handle_t *)&r->out, on_closed);
    uv_close((uv_handle_t *)&r->errors, on_closed);
    uv_close((uv_handle_t *)&r->deadline, on_closed);
}

/* A child that is reaped already is left alone: its number may be somebody else's by now. */
static void kill_child(struct import_run *r)
{
    if (uv_is_active((uv_handle_t *)&r->process)) {
        uv_process_kill(&r->process, SIGKILL);
    }
}

static void on_exit_(uv_process_t *p, int64_t status, int signal)
{
    struct import_run *r = p->data;
    r->status = status;
    r->signal = signal;
    one_less(r);
}

static void on_alloc(uv_handle_t *h, size_t suggested, uv_buf_t *ret)
{
    struct import_run *r = h->data;
    struct buf *to = h == (uv_handle_t *)&r->out ? &r->line : &r->complaint;
    uint8_t *room = buf_room(to, 4096);
    *ret = uv_buf_init((char *)room, room == NULL ? 0 : 4096);
}

static void on_read(uv_stream_t *s, ssize_t n, const uv_buf_t *bytes)
{
    struct import_run *r = s->data;
    if (n > 0) {
        buf_wrote(s == (uv_stream_t *)&r->out ? &r->line : &r->complaint, (size_t)n);
        return;
    }
    if (n == 0) {
        return;
    }
    if (n == UV_ENOBUFS) { /* it talks more than it may */
        kill_child(r);
    }
    uv_read_stop(s);
    one_less(r);
}

static void on_deadline(uv_timer_t *t)
{
    struct import_run *r = t->data;
    r->late = true;
    kill_child(r);
}

static void stop_one(uv_handle_t *h, void *arg)
{
    uv_process_t *p = (uv_process_t *)h;
    if (h->type != UV_PROCESS || p->exit_cb != on_exit_ || uv_is_closing(h)) {
        return;
    }
    struct import_run *r = h->data;
    r->stopped = true;
    kill_child(r);
}

void import_stop(uv_loop_t *loop)
{
    uv_walk(loop, stop_one, NULL);
}

/* What children of engines that were killed left. One that is still at it makes this fail, and the next import
 * removes it. */
static void remove_stale(int dirfd)
{
    struct err ignored = ERR_INIT;
    const struct dirent *e;
    int fd = openat(dirfd, ".", DIR_FLAGS);
    DIR *d = fd < 0 ? NULL : fdopendir(fd);
    if (d == NULL) {
        fd_close(&fd);
        return;
    }
    while ((e = readdir(d)) != NULL) {
        if (strncmp(e->d_name, OUT_PREFIX, strlen(OUT_PREFIX)) == 0) {
            tree_remove(dirfd, e->d_name, &ignored);
        }
    }
    closedir(d);
}

static int prepare(struct import_run *r, const char *task_dir, struct err *err)
{
    static const char *const stale[] = {"clean.pack", "patch.diff", "review.json"};
    r->dirfd = open(task_dir, DIR_FLAGS);
    if (r->dirfd < 0) {
        return err_errno(err, ERR_FAIL, "cannot open %s", task_dir);
    }
    for (size_t i = 0; i < sizeof(stale) / sizeof(stale[0]); i++) {
        unlinkat(r->dirfd, stale[i], 0);
    }
    remove_stale(r->dirfd);
    snprintf(r->out_name, sizeof(r->out_name), OUT_PREFIX "%08x", randombytes_random());
    return mkdirat(r->dirfd, r->out_name, 0700) < 0
               ? err_errno(err, ERR_FAIL, "cannot make %s/%s", task_dir, r->out_name)
               : 0;
}

/* What to look for goes into the child's directory, and away with it. */
static int hand_over(struct import_run *r, const struct needles *needles, struct err *err)
{
    struct buf text;
    int outfd = -1;
    if (needles_count(needles) == 0) {
        return 0;
    }
    buf_init(&text, JSON_BYTES_MAX);
    int rc = needles_encode(needles, &text, err);
    if (rc == 0 && (outfd = openat(r->dirfd, r->out_name, DIR_FLAGS)) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot open the importer's directory");
    }
    if (rc == 0) {
        rc = file_replace(outfd, IMPORT_NEEDLES, text.data, text.len, 0600, err);
    }
    fd_close(&outfd);
    buf_wipe(&text);
    return rc;
}

static void on_abandoned(uv_handle_t *h)
{
    struct import_run *r = h->data;
    if (--r->open_handles == 0) {
        run_free(r);
    }
}

static int spawn(uv_loop_t *loop, struct import_run *r, char **args, struct err *err)
{
    uv_stdio_container_t stdio[3] = {
        {.flags = UV_IGNORE},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&r->out},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&r->errors},
    };
    const char *weak = getenv("CREEL_ALLOW_UNCONFINED_IMPORT");
    char allow[] = "CREEL_ALLOW_UNCONFINED_IMPORT=1";
    char *env[] = {weak != NULL && strcmp(weak, "1") == 0 ? allow : NULL, NULL};
    uv_process_options_t opts = {
        .file = args[0],
        .args = args,
        .env = env,
        .exit_cb = on_exit_,
        .stdio = stdio,
        .stdio_count = 3,
        .cwd = "/",
    };
    int e = uv_spawn(loop, &r->process, &opts);
    return e < 0 ? err_set(err, ERR_FAIL, "cannot start the importer: %s", uv_strerror(e)) : 0;
}

int import_start(uv_loop_t *loop, const char *self, const char *task_dir, const char *base,
                 const char *root, const char *commit, const char *branch, const char *title,
                 const struct needles *needles, import_done_cb *cb, void *arg, struct err *err)
{
    if (!oid_valid(base) || !oid_valid(root) || !oid_valid(commit)) {
        return err_set(err, ERR_FAIL, "nothing to import: no commit");
    }
    struct import_run *r = calloc(1, sizeof(*r));
    if (r == NULL) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    r->cb = cb;
    r->arg = arg;
    buf_init(&r->line, LINE_MAX_);
    buf_init(&r->complaint, LINE_MAX_);
    int rc = prepare(r, task_dir, err);
    if (rc == 0) {
        rc = hand_over(r, needles, err);
    }
    if (rc < 0) {
        run_free(r);
        return rc;
    }
    const char *const words[] = {self, "importer", task_dir, r->out_name, base,
                                 root, commit,     branch,   title};
    char *args[sizeof(words) / sizeof(words[0]) + 1] = {NULL};
    for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
        args[i] = (char *)(uintptr_t)words[i]; /* uv_spawn only reads them */
    }
    uv_pipe_init(loop, &r->out, 0);
    uv_pipe_init(loop, &r->errors, 0);
    uv_timer_init(loop, &r->deadline);
    r->process.data = r->out.data = r->errors.data = r->deadline.data = r;
    r->open_handles = 4;
    r->running = 3;
    rc = spawn(loop, r, args, err);
    if (rc < 0) {
        uv_close((uv_handle_t *)&r->process, on_abandoned);
        uv_close((uv_handle_t *)&r->out, on_abandoned);
        uv_close((uv_handle_t *)&r->errors, on_abandoned);
        uv_close((uv_handle_t *)&r->deadline, on_abandoned);
        return rc;
    }
    uv_timer_start(&r->deadline, on_deadline, DEADLINE_MS, 0);
    uv_read_start((uv_stream_t *)&r->out, on_alloc, on_read);
    uv_read_start((uv_stream_t *)&r->errors, on_alloc, on_read);
    return 0;
}
