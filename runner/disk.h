/* An attempt's own file system, bounded in bytes and inodes, and beside it a second one for the patch
 * alone, so that a job's full disk leaves room to collect. Everything the job writes is there.
 *
 * It is a tmpfs, made by the attempt's keeper, when it fits in the attempt's memory (tmpfs pages count
 * towards memory.max) or when no other can be made; else an encrypted image (disk_image.h) that the
 * warden made and handed to the keeper as a mount. Dropping the last mount frees either at once,
 * whatever its size. Not secret from the kernel: see memory_cleared in warden_facts. */
#ifndef RUNNER_DISK_H
#define RUNNER_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"

struct disk {
    int root;  /* owned; the file system's root directory */
    int watch; /* owned; says when both file systems are gone, and does not keep it: disk_gone */
};

#define DISK_NONE ((struct disk){.root = -1, .watch = -1})

/* Mounts new file systems at directory `path`, the job's of `bytes`, and makes its directories, which
 * belong to `owner`. */
int disk_make(const char *path, uint64_t bytes, uid_t owner, gid_t group, struct disk *out,
              struct err *err);
void disk_done(struct disk *d);

/* The source pack: made once for writing, opened for reading, dropped when it has been used. Return
 * a descriptor, or -code. */
int disk_pack_create(const struct disk *d, struct err *err);
int disk_pack_open(const struct disk *d, struct err *err);
void disk_pack_drop(const struct disk *d);
/* The patch pack that the collector left, or -1 in *ret_fd when there is none. Links, special files
 * and oversized ones are errors. */
int disk_patch_open(const struct disk *d, int *ret_fd, struct err *err);
/* Bytes of the job in use now. */
uint64_t disk_used(const struct disk *d);

/* True once the kernel has destroyed the file systems that `watch` (above) was made for; waits up to
 * wait_ms. */
bool disk_gone(int watch, unsigned wait_ms);

#endif
