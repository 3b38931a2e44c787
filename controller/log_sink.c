/* From the runner's frames to the file. The one order that matters: log.json says where to go on before
 * the first byte that differs is written, and again after each write; what the file has beyond what the
 * record says is cut off and comes again. */
#include "controller/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

#define SCAN_BYTES   (256u << 10)
#define RECORD_BYTES 4096 /* one page, written at once: whole or not at all, whoever is killed */
#define PEND_BYTES   (1u << 20)
/* Of one frame: its payload as marks, as many as fit, in frames of its own, and what was held. */
#define FRAME_GROWTH (8u * LOG_PAYLOAD_MAX)

static int no_memory(struct err *err)
{
    return err_set(err, ERR_FAIL, "log: out of memory");
}

/* ---- the file ---- */

static int write_at(int fd, const void *bytes, size_t n, uint64_t at)
{
    const uint8_t *p = bytes;
    while (n > 0) {
        ssize_t k = pwrite(fd, p, n, (off_t)at);
        if (k < 0 && errno == EINTR)
            continue;
        if (k <= 0) {
            errno = k == 0 ? EIO : errno;
            return -1;
        }
        p += k;
        n -= (size_t)k;
        at += (uint64_t)k;
    }
    return 0;
}

static int write_pend(struct log_sink *l, struct err *err)
{
    if (l->pend.failed)
        return no_memory(err);
    if (write_at(l->fd, l->pend.data, l->pend.len, l->stored - l->pend.len) < 0)
        return err_errno(err, ERR_FAIL, "log");
    buf_clear(&l->pend);
    return 0;
}

static void store(struct log_sink *l, enum log_stream stream, uint64_t at_us, const uint8_t *bytes,
                  size_t n)
{
    size_t before = l->pend.len;
    if (log_frame_put(&l->pend, stream, at_us, bytes, n) < 0)
        return; /* pend.failed: write_pend tells */
    sha256_link(l->stored_chain, l->pend.data + before, l->pend.len - before);
    l->stored += l->pend.len - before;
}

/* ---- the record ---- */

static uint64_t places(const struct log_sink *l)
{
    uint64_t n = l->places;
    for (int s = 0; s < LOG_STREAM_COUNT; s++)
        n += redactor_hits(l->redactor[s]);
    return n;
}

/* The state before the first frame of which something is held. */
static const struct log_mark *oldest(const struct log_sink *l)
{
    const struct log_mark *m = &l->now;
    for (int s = 0; s < LOG_STREAM_COUNT; s++) {
        if (redactor_held(l->redactor[s]) > 0 && l->from[s].raw < m->raw)
            m = &l->from[s];
    }
    return m;
}

static void record_make(const struct log_sink *l, struct log_record *ret)
{
    struct log_stream_record *streams[] = {&ret->note, &ret->out, &ret->err};
    const struct log_mark *m = oldest(l);
    *ret = (struct log_record){.complete = l->complete,
                               .raw = l->complete ? l->whole : m->raw,
                               .stored = l->stored,
                               .places = places(l)};
    memcpy(ret->chain, l->complete ? l->chain : m->chain, SHA256_BYTES);
    memcpy(ret->stored_chain, l->stored_chain, SHA256_BYTES);
    for (int s = 0; s < LOG_STREAM_COUNT && !l->complete; s++) {
        streams[s]->skip = l->now.fed[s] + l->skip[s] - redactor_held(l->redactor[s]) - m->fed[s];
        streams[s]->cover = redactor_covered(l->redactor[s], streams[s]->name);
    }
}

/* Durable when it is new: without it, what differs would be taken for the runner's own bytes. */
static int record_open(struct log_sink *l, struct err *err)
{
    if (l->recordfd >= 0)
        return 0;
    l->recordfd =
        openat(l->dirfd, LOG_RECORD_FILE, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    return l->recordfd < 0 ? err_errno(err, ERR_FAIL, LOG_RECORD_FILE) : 1;
}

static int record_put(struct log_sink *l, const struct log_record *record, struct err *err)
{
    struct buf text;
    int fresh = record_open(l, err);
    if (fresh < 0)
        return fresh;
    buf_init(&text, RECORD_BYTES);
    int rc = json_encode(&log_record_shape, record, &text, err);
    size_t blank = RECORD_BYTES - text.len;
    uint8_t *rest = rc == 0 ? buf_room(&text, blank) : NULL;
    if (rest) {
        memset(rest, ' ', blank - 1);
        rest[blank - 1] = '\n';
        buf_wrote(&text, blank);
    }
    if (rc == 0 && !rest)
        rc = no_memory(err);
    if (rc == 0 && write_at(l->recordfd, text.data, text.len, 0) < 0)
        rc = err_errno(err, ERR_FAIL, LOG_RECORD_FILE);
    if (rc == 0 && fresh && (fsync(l->recordfd) < 0 || fsync(l->dirfd) < 0))
        rc = err_errno(err, ERR_FAIL, LOG_RECORD_FILE);
    buf_done(&text);
    return rc;
}

static int record_write(struct log_sink *l, struct err *err)
{
    struct log_record record;
    record_make(l, &record);
    return record_put(l, &record, err);
}

/* ---- frames ---- */

/* This frame, which begins at `before`, will be stored otherwise than it came; up to it all was stored, and
 * nothing is held: that is put on record first. */
static int begin_to_differ(struct log_sink *l, const struct log_mark *before, struct err *err)
{
    int rc = write_pend(l, err);
    struct log_record record = {.raw = before->raw, .stored = l->stored};
    memcpy(record.chain, before->chain, SHA256_BYTES);
    memcpy(record.stored_chain, l->stored_chain, SHA256_BYTES);
    if (rc == 0)
        rc = record_put(l, &record, err);
    l->differs = rc == 0;
    return rc;
}

/* What of the payload has not been dealt with before a crash. */
static void drop_known(struct log_sink *l, struct log_frame *f)
{
    uint64_t known = l->skip[f->stream] < f->len ? l->skip[f->stream] : f->len;
    l->skip[f->stream] -= known;
    l->now.fed[f->stream] += known;
    f->payload += known;
    f->len -= (size_t)known;
}

/* l->out becomes what is certain by now of the frame's stream. */
static int redact(struct log_sink *l, const struct needles *set, const struct log_frame *f,
                  const struct log_mark *before, struct err *err)
{
    struct redactor *r = l->redactor[f->stream];
    size_t held = redactor_held(r);
    buf_clear(&l->out);
    redactor_set(r, set);
    if (redactor_feed(r, f->payload, f->len, &l->out) < 0 ||
        /* A note is a line of its own. */
        (f->stream == LOG_NOTE && redactor_end(r, &l->out) < 0))
        return no_memory(err);
    if (redactor_held(r) > 0 && (held == 0 || redactor_held(r) <= f->len))
        l->from[f->stream] = *before;
    return 0;
}

static int store_redacted(struct log_sink *l, const struct log_frame *f,
                          const struct log_mark *before, struct err *err)
{
    const struct buf *out = &l->out;
    bool same = out->len == f->len && memcmp(out->data, f->payload, f->len) == 0;
    int rc = l->differs || same ? 0 : begin_to_differ(l, before, err);
    if (same && f->len == 0 && !l->differs)
        store(l, f->stream, f->at_us, out->data, 0); /* as it came */
    for (size_t at = 0, n; rc == 0 && at < out->len; at += n) {
        n = out->len - at < LOG_PAYLOAD_MAX ? out->len - at : LOG_PAYLOAD_MAX;
        store(l, f->stream, f->at_us, out->data + at, n);
    }
    return rc;
}

/* One whole frame, `raw` as it came. */
static int take(struct log_sink *l, const struct needles *set, struct log_frame f,
                const uint8_t *raw, size_t used, struct err *err)
{
    const struct log_mark before = l->now;
    int rc = 0;
    drop_known(l, &f);
    l->at_us[f.stream] = f.at_us;
    if (!l->differs && needles_count(set) == 0) {
        store(l, f.stream, f.at_us, f.payload, f.len);
    } else {
        rc = redact(l, set, &f, &before, err);
        if (rc == 0)
            rc = store_redacted(l, &f, &before, err);
    }
    if (rc < 0)
        return rc;
    l->now.fed[f.stream] += f.len;
    sha256_link(l->chain, raw, used);
    l->whole += used;
    l->now.raw = l->whole;
    memcpy(l->now.chain, l->chain, SHA256_BYTES);
    return l->pend.len > PEND_BYTES ? write_pend(l, err) : 0;
}

/* The frame reader judges the host's bytes; all other failures are ours. */
static int no_log(struct err *err)
{
    err->code = ERR_TRUST;
    return err_wrap(err, "log");
}

static int take_all(struct log_sink *l, const struct needles *set, const uint8_t *bytes, size_t n,
                    struct err *err)
{
    struct log_frame f;
    size_t used, at = 0;
    int rc = 0;
    if (l->tail.len > 0) { /* at most one frame is ever in the tail */
        if (buf_add(&l->tail, bytes, n) < 0)
            return no_memory(err);
        bytes = l->tail.data;
        n = l->tail.len;
    }
    while ((rc = log_frame_get(bytes + at, n - at, &f, &used, err)) == 1) {
        if ((rc = take(l, set, f, bytes + at, used, err)) < 0)
            return rc;
        at += used;
    }
    if (rc < 0)
        return no_log(err);
    if (l->tail.len > 0)
        buf_drop(&l->tail, at);
    else if (buf_add(&l->tail, bytes + at, n - at) < 0)
        return no_memory(err);
    return 0;
}

static int feed(struct log_sink *l, const struct needles *set, const void *bytes, size_t n,
                struct err *err)
{
    if (l->complete || n > l->max || l->bytes > l->max - n)
        return err_set(err, ERR_TRUST, "more log than the policy's limit allows");
    l->bytes += n;
    for (size_t at = 0, part; at < n; at += part) {
        part = n - at < SCAN_BYTES ? n - at : SCAN_BYTES;
        int taken = take_all(l, set, (const uint8_t *)bytes + at, part, err);
        if (taken < 0)
            return taken;
    }
    int rc = write_pend(l, err);
    return rc == 0 && l->differs ? record_write(l, err) : rc;
}

int log_sink_feed(struct log_sink *l, const struct needles *set, const void *bytes, size_t n,
                  struct err *err)
{
    int rc = feed(l, set, bytes, n, err);
    if (rc < 0)
        log_sink_close(l);
    return rc;
}

int log_sink_finish(struct log_sink *l, struct err *err)
{
    struct buf out;
    int rc = 0;
    if (l->complete || !l->differs)
        return 0;
    buf_init(&out, LOG_PAYLOAD_MAX);
    for (int s = 0; s < LOG_STREAM_COUNT && rc == 0; s++) {
        if (redactor_end(l->redactor[s], &out) < 0)
            rc = no_memory(err);
        if (rc == 0 && out.len > 0)
            store(l, (enum log_stream)s, l->at_us[s], out.data, out.len);
        buf_clear(&out);
    }
    buf_wipe(&out);
    if (rc == 0 && (rc = write_pend(l, err)) == 0 && fsync(l->fd) < 0)
        rc = err_errno(err, ERR_FAIL, "log");
    l->complete = rc == 0;
    if (rc == 0 && (rc = record_write(l, err)) == 0 && fsync(l->recordfd) < 0)
        rc = err_errno(err, ERR_FAIL, LOG_RECORD_FILE);
    if (rc < 0)
        log_sink_close(l);
    return rc;
}

/* ---- opening ---- */

/* Chains the stored frames up to `end`; stops before one that is not whole, or is none. */
static int scan(struct log_sink *l, uint64_t end, struct err *err)
{
    struct buf b;
    struct log_frame f;
    struct err bad = ERR_INIT;
    uint64_t read_to = 0;
    size_t used;
    ssize_t n = 1;
    buf_init(&b, SCAN_BYTES + LOG_FRAME_HEAD_BYTES + LOG_PAYLOAD_MAX);
    while (n > 0 && read_to < end) {
        uint64_t want = end - read_to < SCAN_BYTES ? end - read_to : SCAN_BYTES;
        uint8_t *to = buf_room(&b, SCAN_BYTES);
        n = to ? pread(l->fd, to, want, (off_t)read_to) : -1;
        if (n <= 0)
            break;
        buf_wrote(&b, (size_t)n);
        read_to += (uint64_t)n;
        size_t at = 0;
        int got;
        while ((got = log_frame_get(b.data + at, b.len - at, &f, &used, &bad)) == 1) {
            sha256_link(l->stored_chain, b.data + at, used);
            l->at_us[f.stream] = f.at_us;
            l->stored += used;
            at += used;
        }
        if (got < 0)
            break; /* what the disk made of it: it comes again */
        buf_drop(&b, at);
    }
    bool failed = n < 0;
    buf_done(&b);
    return failed ? err_errno(err, ERR_FAIL, "log") : 0;
}

/* Goes on from the record; false: the files do not go together, as after a power cut. */
static bool resume(struct log_sink *l, const struct log_record *r)
{
    const struct log_stream_record *streams[] = {&r->note, &r->out, &r->err};
    if (l->stored != r->stored || memcmp(l->stored_chain, r->stored_chain, SHA256_BYTES) != 0)
        return false;
    l->differs = true;
    l->places = r->places;
    l->whole = r->raw;
    memcpy(l->chain, r->chain, SHA256_BYTES);
    for (int s = 0; s < LOG_STREAM_COUNT; s++) {
        l->skip[s] = streams[s]->skip;
        if (streams[s]->cover > NEEDLE_MAX)
            return false;
        redactor_resume(l->redactor[s], (size_t)streams[s]->cover, streams[s]->name);
    }
    return true;
}

static int from_nothing(struct log_sink *l, struct err *err)
{
    l->stored = l->whole = l->places = 0;
    l->differs = l->complete = false;
    memset(l->stored_chain, 0, SHA256_BYTES);
    memset(l->chain, 0, SHA256_BYTES);
    memset(l->skip, 0, sizeof l->skip);
    for (int s = 0; s < LOG_STREAM_COUNT; s++)
        redactor_resume(l->redactor[s], 0, "");
    if (ftruncate(l->fd, 0) < 0 || fsync(l->fd) < 0 ||
        (unlinkat(l->dirfd, LOG_RECORD_FILE, 0) < 0 && errno != ENOENT))
        return err_errno(err, ERR_FAIL, "log");
    return 0;
}

/* Nothing more comes; what became of the file since is not ours to mend, but `creel verify`'s to say. */
static void take_complete(struct log_sink *l, const struct log_record *r)
{
    l->differs = l->complete = true;
    l->places = r->places;
    l->bytes = l->whole = r->raw;
    memcpy(l->chain, r->chain, SHA256_BYTES);
    l->stored = r->stored;
    memcpy(l->stored_chain, r->stored_chain, SHA256_BYTES);
}

static int look(struct log_sink *l, struct err *err)
{
    struct log_record record;
    struct err bad = ERR_INIT;
    struct stat st;
    int recorded = log_record_load(l->dirfd, LOG_RECORD_FILE, &record, &bad);
    if (recorded == 1 && record.complete) {
        take_complete(l, &record);
        return 0;
    }
    if (fstat(l->fd, &st) < 0)
        return err_errno(err, ERR_FAIL, "log");
    int rc = scan(l, recorded == 1 ? record.stored : (uint64_t)st.st_size, err);
    if (rc < 0)
        return rc;
    if (recorded < 0 || (recorded == 1 && !resume(l, &record)))
        rc = from_nothing(l, err);
    if (recorded == 0) {
        l->whole = l->stored;
        memcpy(l->chain, l->stored_chain, SHA256_BYTES);
    }
    if (rc == 0 && (uint64_t)st.st_size > l->stored && ftruncate(l->fd, (off_t)l->stored) < 0)
        rc = err_errno(err, ERR_FAIL, "log");
    l->bytes = l->now.raw = l->whole;
    memcpy(l->now.chain, l->chain, SHA256_BYTES);
    return rc;
}

int log_sink_open(struct log_sink *l, int dirfd, uint64_t max, struct err *err)
{
    int rc = 0;
    *l = (struct log_sink){.dirfd = dirfd, .fd = -1, .recordfd = -1, .max = max};
    buf_init(&l->tail, LOG_FRAME_HEAD_BYTES + LOG_PAYLOAD_MAX + 2 * SCAN_BYTES);
    buf_init(&l->pend, PEND_BYTES + 2 * FRAME_GROWTH);
    buf_init(&l->out, FRAME_GROWTH);
    for (int s = 0; s < LOG_STREAM_COUNT; s++) {
        if (!(l->redactor[s] = redactor_new(NULL)))
            rc = no_memory(err);
    }
    if (rc == 0)
        l->fd = openat(dirfd, LOG_FILE, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (rc == 0)
        rc = l->fd < 0 ? err_errno(err, ERR_FAIL, "log") : look(l, err);
    if (rc < 0)
        log_sink_close(l);
    return rc;
}

void log_sink_close(struct log_sink *l)
{
    if (l->dirfd <= 0 && l->fd < 0)
        return; /* closed already, or never opened */
    fd_close(&l->fd);
    fd_close(&l->recordfd);
    fd_close(&l->dirfd);
    buf_done(&l->tail);
    buf_done(&l->pend);
    buf_wipe(&l->out);
    for (int s = 0; s < LOG_STREAM_COUNT; s++) {
        redactor_free(l->redactor[s]);
        l->redactor[s] = NULL;
    }
}
