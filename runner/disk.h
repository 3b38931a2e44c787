/* An attempt's own file system, bounded in bytes and inodes. Everything the job writes is there, and in
 * the end the patch, for which there is room of its own: what a job filled to the last byte or inode is
 * collected all the same.
 *
 * It is a tmpfs, made by the attempt's keeper, when it fits in the attempt's memory (tmpfs pages count
 * towards memory.max) or when no other can be made, with a second tmpfs for the patch; else an encrypted
 * image (disk_image.h) that the warden made and handed to the keeper as a mount. Dropping the last mount
 * frees either at once, whatever its size. Not secret from the kernel: see memory_cleared in
 * warden_facts. */
#ifndef RUNNER_DISK_H
#define RUNNER_DISK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"

struct disk {
    int root; /* owned; the file system's root directory */
    int watch; /* owned; tmpfs: says when both are gone, and does not keep them: disk_gone. Else -1 */
    uint64_t unused; /* bytes that the file system counts as used before the job has written any */
};

#define DISK_NONE ((struct disk){.root = -1, .watch = -1})

/* Mounts the job's file system at directory `path`, and makes its directories, which belong to `owner`.
 * `image` is the detached mount of an image of `bytes`, borrowed, or -1 for new tmpfs. */
int disk_make(const char *path, uint64_t bytes, int image, uid_t owner, gid_t group,
              struct disk *out, struct err *err);
void disk_done(struct disk *d);
/* Gives a tmpfs disk another size, as if it had been made with it. */
int disk_resize(const struct disk *d, uint64_t bytes, struct err *err);

/* Of a disk of `bytes`: how many files may be on it, and how much its patch may take at most. */
uint64_t disk_inodes(uint64_t bytes);
uint64_t disk_patch_room(uint64_t bytes);
/* Before collect, when nothing of the job lives: gives the collector the room that the job never had,
 * and the work tree's root the mode that it had. */
void disk_yield(const struct disk *d);

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
