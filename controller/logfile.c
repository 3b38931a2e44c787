/* Reading a growing file of frames, and what of it is shown to whom.
 *
 * Reads in large pieces by position, so that a file which grows under the reader costs nothing but
 * the next read. A frame that is not whole yet waits for its end; one that cannot be is an error.
 */
#include "controller/logfile.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/events/event_stream.h"
#include "common/sha256.h"

#define READ_BYTES (256u << 10)
#define HOLD_BYTES (READ_BYTES + LOG_FRAME_HEAD_BYTES + LOG_PAYLOAD_MAX)

/* One of the two files. */
struct source {
    int dirfd, fd;     /* fd -1: not there yet */
    const char *name;  /* NULL: there is none */
    uint64_t at;       /* file position of the next read */
    uint64_t done;     /* bytes of whole frames given out */
    size_t start, end; /* unread bytes in `bytes` */
    uint8_t bytes[HOLD_BYTES];
};

struct logfile {
    int dirfd;
    struct source log, notes;
    bool dry; /* no more notes when last looked; looked at again when the log has no more either */
};

static struct logfile *logfile_new(int dirfd, const char *name, const char *notes)
{
    struct logfile *l = calloc(1, sizeof(*l));

    if (l) {
        l->dirfd = l->log.dirfd = l->notes.dirfd = dirfd;
        l->log.fd = l->notes.fd = -1;
        l->log.name = name;
        l->notes.name = notes;
    }
    return l;
}

int logfile_open(const struct paths *p, const char *id, struct logfile **ret, struct err *err)
{
    struct logfile *l;
    int dirfd = paths_task_dir(p, id, false, err);

    if (dirfd < 0)
        return dirfd;
    l = logfile_new(dirfd, "log", "notes");
    if (!l) {
        fd_close(&dirfd);
        return err_set(err, ERR_FAIL, "out of memory");
    }
    *ret = l;
    return 0;
}

int logfile_open_file(const char *path, struct logfile **ret, struct err *err)
{
    struct logfile *l = logfile_new(AT_FDCWD, path, NULL);

    if (!l)
        return err_set(err, ERR_FAIL, "out of memory");
    if (access(path, R_OK) < 0) {
        logfile_close(l);
        return err_errno(err, ERR_USAGE, "%s", path);
    }
    *ret = l;
    return 0;
}

void logfile_close(struct logfile *l)
{
    if (!l)
        return;
    fd_close(&l->log.fd);
    fd_close(&l->notes.fd);
    fd_close(&l->dirfd);
    free(l);
}

static int find(struct source *l, struct err *err)
{
    struct stat st;
    int fd = openat(l->dirfd, l->name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return errno == ENOENT ? 0 : err_errno(err, ERR_FAIL, "cannot open the log");
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
        close(fd);
        return err_set(err, ERR_FAIL, "the log is not a regular file");
    }
    l->fd = fd;
    return 1;
}

/* 1: more bytes came, 0: none now. */
static int fill(struct source *l, struct err *err)
{
    ssize_t n;

    if (l->fd < 0) {
        int rc = find(l, err);

        if (rc <= 0)
            return rc;
    }
    if (l->start > 0) {
        memmove(l->bytes, l->bytes + l->start, l->end - l->start);
        l->end -= l->start;
        l->start = 0;
    }
    do
        n = pread(l->fd, l->bytes + l->end, sizeof(l->bytes) - l->end, (off_t)l->at);
    while (n < 0 && errno == EINTR);
    if (n < 0)
        return err_errno(err, ERR_FAIL, "cannot read the log");
    l->at += (uint64_t)n;
    l->end += (size_t)n;
    return n > 0;
}

/* As logfile_next of one file, but the frame is left there; *ret_used takes it. */
static int peek(struct source *l, struct log_frame *ret, size_t *ret_used, struct err *err)
{
    int rc;

    if (!l->name)
        return 0;
    for (;;) {
        rc = log_frame_get(l->bytes + l->start, l->end - l->start, ret, ret_used, err);
        if (rc != 0)
            break;
        rc = fill(l, err);
        if (rc <= 0)
            return rc;
    }
    return rc < 0 ? err_wrap(err, "%s, byte %llu", l->name, (unsigned long long)l->done) : rc;
}

static void take(struct source *l, size_t used)
{
    l->start += used;
    l->done += used;
}

/* What came first; of two at one time the log's. A note that is here does not wait for the log. */
int logfile_next(struct logfile *l, struct log_frame *ret, struct err *err)
{
    struct log_frame log, note;
    size_t log_used = 0, note_used = 0;
    int have_log = peek(&l->log, &log, &log_used, err);
    int have_note = have_log < 0 ? have_log : 0;

    if (have_log == 0 || (have_log == 1 && !l->dry)) {
        have_note = peek(&l->notes, &note, &note_used, err);
        l->dry = have_note == 0;
    }

    if (have_log < 0 || have_note < 0)
        return -ERR_FAIL;
    if (have_log && (!have_note || log.at_us <= note.at_us)) {
        *ret = log;
        take(&l->log, log_used);
        return 1;
    }
    if (have_note) {
        *ret = note;
        take(&l->notes, note_used);
    }
    return have_note;
}

uint64_t logfile_offset(const struct logfile *l)
{
    return l->log.done;
}

int logfile_digest(struct logfile *l, uint8_t ret_chain[static 32], struct err *err)
{
    uint8_t chain[SHA256_BYTES] = {0};
    struct log_frame f;
    size_t used;
    int rc;

    while ((rc = peek(&l->log, &f, &used, err)) == 1) {
        sha256_link(chain, f.payload - LOG_FRAME_HEAD_BYTES, LOG_FRAME_HEAD_BYTES + f.len);
        take(&l->log, used);
    }
    if (rc == 0 && l->log.start != l->log.end)
        rc = err_set(err, ERR_FAIL, "the log ends within a frame, at byte %llu",
                     (unsigned long long)l->log.done);
    if (rc == 0)
        memcpy(ret_chain, chain, SHA256_BYTES);
    return rc;
}

void log_view_init(struct log_view *v, bool notes, bool neutral_out, bool neutral_err)
{
    *v = (struct log_view){.notes = notes};
    v->neutral[LOG_OUT] = neutral_out;
    v->neutral[LOG_ERR] = neutral_err;
    for (int i = 0; i < LOG_STREAM_COUNT; i++)
        v->at_start[i] = true;
}

/* A note never continues a half line, and its text is a host's: always neutral, always one line. */
static int note(struct log_view *v, const struct log_frame *f, struct buf *to)
{
    struct term_filter filter = {0};
    size_t n = 0;

    if (!v->notes)
        return 0;
    if (!v->at_start[LOG_OUT] || !v->at_start[LOG_ERR])
        buf_addc(to, '\n');
    v->at_start[LOG_OUT] = v->at_start[LOG_ERR] = true;
    buf_adds(to, "creel: ");
    while (n < f->len && f->payload[n] != '\n')
        n++;
    term_neutral(&filter, f->payload, n, to);
    term_neutral_end(&filter, to);
    buf_addc(to, '\n');
    return to->failed ? -1 : 0;
}

int log_view_frame(struct log_view *v, const struct log_frame *f, struct buf *out,
                   struct buf *other)
{
    struct buf *to = f->stream == LOG_OUT ? out : other;

    if (f->stream == LOG_NOTE)
        return note(v, f, other);
    if (f->len == 0)
        return 0;
    if (v->events && f->stream == LOG_OUT)
        return event_stream_feed(v->events, f->payload, f->len, to);
    v->at_start[f->stream] = f->payload[f->len - 1] == '\n';
    if (v->neutral[f->stream])
        return term_neutral(&v->filter[f->stream], f->payload, f->len, to);
    return buf_add(to, f->payload, f->len);
}

static void stream_end(struct log_view *v, enum log_stream stream, struct buf *to)
{
    if (!v->neutral[stream])
        return;
    term_neutral_end(&v->filter[stream], to);
    if (!v->at_start[stream])
        buf_addc(to, '\n');
    v->at_start[stream] = true;
}

int log_view_end(struct log_view *v, struct buf *out, struct buf *other)
{
    if (v->events)
        event_stream_end(v->events, out);
    stream_end(v, LOG_OUT, out);
    stream_end(v, LOG_ERR, other);
    return out->failed || other->failed ? -1 : 0;
}
