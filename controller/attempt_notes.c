/* What the controller itself has to say about an attempt, for people: lines in tasks/ID/notes, frames as a
 * log's and on the log's clock, so that readers show them in their place. The runner's log stays as the
 * runner signed it. And the broker's word that an attempt is to end.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/file.h"
#include "common/term.h"
#include "controller/engine_internal.h"
#include "proto/frame.h"

#define NOTES_MAX  (1u << 20) /* bytes of the file */
#define STOP_GRACE 20         /* seconds for the job to end by itself, once everything is refused */
#define STOP_FILE  "stop"

/* ---- the log's clock ---- */

static uint64_t last_frame(const struct attempt *a)
{
    uint64_t last = 0;
    for (int s = 0; s < LOG_STREAM_COUNT; s++)
        last = a->log.at_us[s] > last ? a->log.at_us[s] : last;
    return last;
}

/* A frame cannot have come before it was made: the least difference seen is the best guess. */
void notes_clock(struct attempt *a)
{
    uint64_t now = clock_mono_us();
    uint64_t last = last_frame(a), t0 = now > last ? now - last : 0;
    if (a->notes.t0_us == 0 || t0 < a->notes.t0_us)
        a->notes.t0_us = t0;
}

static uint64_t log_time(const struct attempt *a)
{
    uint64_t now = clock_mono_us(), last = last_frame(a);
    uint64_t at = a->notes.t0_us > 0 && now > a->notes.t0_us ? now - a->notes.t0_us : 0;
    at = at > last ? at : last;
    return at > a->notes.last_us ? at : a->notes.last_us;
}

/* ---- the file ---- */

/* Goes on behind the last whole frame: an engine may have died while it wrote one. */
static int notes_scan(struct notes_sink *n, struct err *err)
{
    struct buf all;
    struct log_frame f;
    size_t used, at = 0;
    uint8_t *to = NULL;
    buf_init(&all, NOTES_MAX + LOG_PAYLOAD_MAX);
    ssize_t got = 1;
    while (got > 0 && (to = buf_room(&all, 65536)) != NULL) {
        got = pread(n->fd, to, 65536, (off_t)all.len);
        if (got > 0)
            buf_wrote(&all, (size_t)got);
    }
    int r = got < 0 || to == NULL ? err_set(err, ERR_FAIL, "notes cannot be read") : 1;
    while (r == 1 && (r = log_frame_get(all.data + at, all.len - at, &f, &used, err)) == 1) {
        at += used;
        n->last_us = f.at_us;
    }
    buf_done(&all);
    n->bytes = at;
    if (r >= 0 && ftruncate(n->fd, (off_t)at) < 0)
        r = err_errno(err, ERR_FAIL, "notes");
    return r < 0 ? r : 0;
}

static int notes_open(struct attempt *a, struct err *err)
{
    struct notes_sink *n = &a->notes;
    if (n->fd >= 0)
        return 0;
    int dir = paths_task_dir(a->e->paths, a->row.id, true, err);
    if (dir < 0)
        return dir;
    n->fd = openat(dir, "notes", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    close(dir);
    if (n->fd < 0)
        return err_errno(err, ERR_FAIL, "task %s: notes", a->row.id);
    int r = notes_scan(n, err);
    if (r < 0)
        fd_close(&n->fd);
    return r;
}

void notes_close(struct attempt *a)
{
    fd_close(&a->notes.fd);
}

static int notes_write(struct attempt *a, const char *line, struct err *err)
{
    struct notes_sink *n = &a->notes;
    struct buf b;
    uint64_t at = log_time(a);
    size_t len = strlen(line);
    buf_init(&b, LOG_FRAME_HEAD_BYTES + LOG_PAYLOAD_MAX);
    int r = log_frame_put(&b, LOG_NOTE, at, line, len);
    if (r < 0)
        r = err_set(err, ERR_FAIL, "a note of %zu bytes", len);
    else if (n->bytes + b.len > NOTES_MAX)
        r = err_set(err, ERR_FAIL, "there are too many notes");
    if (r == 0 && pwrite(n->fd, b.data, b.len, (off_t)n->bytes) != (ssize_t)b.len) {
        r = err_set(err, ERR_FAIL, "notes cannot be written; is the disk full?");
        (void)!ftruncate(n->fd, (off_t)n->bytes);
    }
    if (r == 0) {
        n->bytes += b.len;
        n->last_us = at;
    }
    buf_done(&b);
    return r;
}

/* One harmless line: names in it may come from a jail, and what a jail says may be a secret of ours. */
static void note_line(const struct attempt *a, const char *text, struct buf *line)
{
    struct buf clear;
    struct redactor *r = redactor_new(a->e->needles);
    buf_init(&clear, LOG_PAYLOAD_MAX);
    if (r == NULL || redactor_feed(r, text, strlen(text), &clear) < 0 ||
        redactor_end(r, &clear) < 0 || term_line(buf_str(&clear), line) < 0) {
        buf_clear(line);
        buf_adds(line, "(a note that cannot be shown)");
    }
    redactor_free(r);
    buf_wipe(&clear);
}

/* A note that cannot be kept is still said, in the engine's own log. */
void attempt_note(struct attempt *a, const char *fmt, ...)
{
    char text[8193];
    struct buf line;
    struct err err = ERR_INIT;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    buf_init(&line, LOG_PAYLOAD_MAX);
    note_line(a, text, &line);
    if (notes_open(a, &err) < 0 || notes_write(a, buf_str(&line), &err) < 0)
        diag(DIAG_WARN, "task %s: %s; not in its log: %s", a->row.id, err.msg, buf_str(&line));
    buf_done(&line);
    engine_notify(a->e);
}

/* ---- to be ended ---- */

static void stop_now(struct attempt *a)
{
    a->row.cancel = true; /* a host that is away is told when it is back */
    if (a->phase >= PHASE_SENDING && a->phase <= PHASE_RUNNING)
        attempt_send_cancel(a);
}

static void on_grace(uv_timer_t *timer)
{
    struct attempt *a = timer->data;
    if (!a->dead)
        stop_now(a);
}

/* On disk, so that an engine that comes after this one knows why it ends. */
static int keep_stop(struct attempt *a, struct err *err)
{
    int dir = paths_task_dir(a->e->paths, a->row.id, true, err);
    if (dir < 0)
        return dir;
    int r = file_replace(dir, STOP_FILE, a->stopped, strlen(a->stopped), 0600, err);
    close(dir);
    return r;
}

void attempt_stop(struct attempt *a, const char *reason)
{
    struct err err = ERR_INIT;
    struct buf line;
    if (a->stopped[0] || a->row.result_stored)
        return;
    buf_init(&line, sizeof(a->stopped));
    term_line(reason, &line);
    snprintf(a->stopped, sizeof(a->stopped), "%s", line.len ? buf_str(&line) : "stopped");
    buf_done(&line);
    if (keep_stop(a, &err) < 0)
        diag(DIAG_ERROR, "task %s: %s", a->row.id, err.msg);
    attempt_note(a, "%s; its calls are refused from here on, and it is ended in %d s", a->stopped,
                 STOP_GRACE);
    uv_timer_start(&a->grace, on_grace, STOP_GRACE * 1000, 0);
}

/* An earlier engine's: its grace is over. */
void stop_resume(struct attempt *a)
{
    struct err err = ERR_INIT;
    struct buf text;
    int dir = paths_task_dir(a->e->paths, a->row.id, false, &err);
    if (dir < 0)
        return;
    buf_init(&text, sizeof(a->stopped));
    if (faccessat(dir, STOP_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0) {
        if (file_read(dir, STOP_FILE, &text, &err) < 0)
            diag(DIAG_ERROR, "task %s: %s", a->row.id, err.msg);
        snprintf(a->stopped, sizeof(a->stopped), "%s", text.len ? buf_str(&text) : "stopped");
        a->row.cancel = true;
    }
    buf_done(&text);
    close(dir);
}
