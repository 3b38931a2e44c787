/* The log of one attempt: an append-only file of log frames, bounded, hash-chained, read from any
 * offset by any number of followers while it grows.
 *
 * Payload over the limit is counted, not kept; one NOTE frame at the cut says so. Notes are always
 * kept (their number is bounded by the task's steps and the entries of the gate's account). A file
 * that cannot grow (disk full) is a cut like the limit. Frames are whole in the file at all times.
 */
#ifndef RUNNER_SPOOL_H
#define RUNNER_SPOOL_H

#include <sys/types.h>

#include "common/sha256.h"
#include "proto/frame.h"
#include "proto/id.h"

#define SPOOL_NOTE_MAX 512 /* bytes of one note */

struct spool;

/* Someone who wants to know that the log grew or is complete. Owned by the follower. */
struct spool_follower {
    void (*wake)(struct spool_follower *f); /* may unfollow itself, nobody else */
    struct spool_follower *next, **link;    /* spool::followers; link NULL: not following */
};

/* Makes dirfd/ATTEMPT.log (0600; must not exist). `limit` bytes of payload are kept. */
int spool_open(int dirfd, const char *attempt, uint64_t limit, struct spool **ret, struct err *err);
/* Where to put up to LOG_PAYLOAD_MAX bytes of payload before spool_put(); valid until then. */
uint8_t *spool_room(struct spool *s);
/* Appends what stands in the room as one frame. Wakes nobody: call spool_wake() after a burst. */
void spool_put(struct spool *s, enum log_stream stream, uint64_t at_us, size_t len);
/* Appends one line of ours, made neutral. */
void spool_note(struct spool *s, uint64_t at_us, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
void spool_wake(struct spool *s);
/* The log is complete: followers are told, nothing may be added. */
void spool_finish(struct spool *s);

/* pread of the file: bytes read, 0 at its present end, -1 with errno. */
ssize_t spool_read(const struct spool *s, uint64_t offset, void *to, size_t n);
int spool_fd(const struct spool *s);           /* borrowed, for sendfile */
uint64_t spool_bytes(const struct spool *s);   /* frames, heads included */
uint64_t spool_dropped(const struct spool *s); /* payload bytes not kept */
bool spool_complete(const struct spool *s);
void spool_chain(const struct spool *s, uint8_t out[static SHA256_BYTES]);
bool spool_in_memory(const struct spool *s); /* the file system is a tmpfs */

void spool_follow(struct spool *s, struct spool_follower *f);
void spool_unfollow(struct spool_follower *f); /* safe when not following */
/* Removes the file, checks that it is gone, frees. NULL is fine. */
int spool_remove(struct spool *s, struct err *err);

#endif
