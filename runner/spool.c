/* The log spool; see spool.h. One buffer holds head and payload side by side, so that a frame is one
 * write and one hash; it never reads what it wrote, and never parses what an agent printed. */
#include "runner/spool.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/text.h"

#define SPOOL_NAME_SIZE (ATTEMPT_ID_SIZE + 4)

struct spool {
    int dir, fd; /* dir borrowed */
    char name[SPOOL_NAME_SIZE];
    uint64_t limit, kept, bytes, dropped;
    bool cut, complete, in_memory;
    bool dead; /* its end is unknown: never written again */
    uint8_t chain[SHA256_BYTES];
    struct spool_follower *followers;
    uint8_t *frame; /* owned: LOG_FRAME_HEAD_BYTES + LOG_PAYLOAD_MAX, until complete */
};

int spool_open(int dirfd, const char *attempt, uint64_t limit, struct spool **ret, struct err *err)
{
    struct statfs fs;
    struct spool *s = calloc(1, sizeof *s);
    uint8_t *frame = malloc(LOG_FRAME_HEAD_BYTES + LOG_PAYLOAD_MAX);
    if (!s || !frame) {
        free(s);
        free(frame);
        return err_set(err, ERR_FAIL, "log spool: out of memory");
    }
    s->dir = dirfd;
    s->frame = frame;
    s->limit = limit;
    snprintf(s->name, sizeof s->name, "%s.log", attempt);
    s->fd =
        openat(dirfd, s->name, O_RDWR | O_APPEND | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (s->fd < 0) {
        int r = err_errno(err, ERR_FAIL, "log spool %s", s->name);
        free(frame);
        free(s);
        return r;
    }
    s->in_memory =
        fstatfs(s->fd, &fs) == 0 && (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
    *ret = s;
    return 0;
}

uint8_t *spool_room(struct spool *s)
{
    return s->frame + LOG_FRAME_HEAD_BYTES;
}

/* Writes the frame whose payload stands in the room. What cannot be written whole is cut off again. */
static bool frame_write(struct spool *s, enum log_stream stream, uint64_t at_us, size_t len)
{
    size_t n = LOG_FRAME_HEAD_BYTES + len;
    log_frame_head(s->frame, stream, at_us, (uint32_t)len);
    if (s->dead)
        return false;
    if (write_all(s->fd, s->frame, n) < 0) {
        s->dead = ftruncate(s->fd, (off_t)s->bytes) < 0;
        return false;
    }
    s->bytes += n;
    sha256_link(s->chain, s->frame, n);
    return true;
}

static void cut_note(struct spool *s, uint64_t at_us, bool full)
{
    if (s->cut)
        return;
    s->cut = true;
    if (full)
        spool_note(s, at_us,
                   "log cut: the runner's disk is full; what follows is counted, not kept");
    else
        spool_note(s, at_us,
                   "log limit of %" PRIu64 " bytes reached; what follows is counted, not kept",
                   s->limit);
}

/* One-byte frames would make the file 14 times the limit, so heads are bounded too. */
static bool heads_over(const struct spool *s)
{
    return s->bytes - s->kept > s->limit + LOG_PAYLOAD_MAX;
}

void spool_put(struct spool *s, enum log_stream stream, uint64_t at_us, size_t len)
{
    size_t keep = len;
    if (s->complete || len == 0)
        return;
    if (s->cut || heads_over(s))
        keep = 0;
    else if (len > s->limit - s->kept)
        keep = (size_t)(s->limit - s->kept);
    bool written = keep == 0 || frame_write(s, stream, at_us, keep);
    if (!written)
        keep = 0;
    s->kept += keep;
    s->dropped += len - keep;
    if (keep < len)
        cut_note(s, at_us, !written);
}

void spool_note(struct spool *s, uint64_t at_us, const char *fmt, ...)
{
    char text[2 * SPOOL_NOTE_MAX];
    va_list ap;
    if (s->complete)
        return;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    size_t len = n < 0 ? 0 : (size_t)n < sizeof text ? (size_t)n : sizeof text - 1;
    text_line((char *)spool_room(s), SPOOL_NOTE_MAX, text, len);
    frame_write(s, LOG_NOTE, at_us, strlen((char *)spool_room(s)));
}

void spool_wake(struct spool *s)
{
    for (struct spool_follower *f = s->followers, *next; f; f = next) {
        next = f->next;
        f->wake(f);
    }
}

void spool_finish(struct spool *s)
{
    s->complete = true;
    free(s->frame);
    s->frame = NULL;
    spool_wake(s);
}

ssize_t spool_read(const struct spool *s, uint64_t offset, void *to, size_t n)
{
    if (offset >= s->bytes)
        return 0;
    if (n > s->bytes - offset)
        n = (size_t)(s->bytes - offset);
    return pread(s->fd, to, n, (off_t)offset);
}

int spool_fd(const struct spool *s)
{
    return s->fd;
}

uint64_t spool_bytes(const struct spool *s)
{
    return s->bytes;
}

uint64_t spool_dropped(const struct spool *s)
{
    return s->dropped;
}

bool spool_complete(const struct spool *s)
{
    return s->complete;
}

void spool_chain(const struct spool *s, uint8_t out[static SHA256_BYTES])
{
    memcpy(out, s->chain, SHA256_BYTES);
}

bool spool_in_memory(const struct spool *s)
{
    return s->in_memory;
}

void spool_follow(struct spool *s, struct spool_follower *f)
{
    f->next = s->followers;
    f->link = &s->followers;
    if (f->next)
        f->next->link = &f->next;
    s->followers = f;
}

void spool_unfollow(struct spool_follower *f)
{
    if (!f->link)
        return;
    *f->link = f->next;
    if (f->next)
        f->next->link = f->link;
    f->link = NULL;
    f->next = NULL;
}

int spool_remove(struct spool *s, struct err *err)
{
    struct stat st;
    int r = 0;
    if (!s)
        return 0;
    while (s->followers)
        spool_unfollow(s->followers);
    if (unlinkat(s->dir, s->name, 0) < 0)
        r = err_errno(err, ERR_FAIL, "remove log spool %s", s->name);
    else if (fstat(s->fd, &st) < 0 || st.st_nlink != 0)
        r = err_set(err, ERR_FAIL, "log spool %s still has a name", s->name);
    fd_close(&s->fd);
    free(s->frame);
    free(s);
    return r;
}
