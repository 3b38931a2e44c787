/* Makes ext4 on a device by the distribution's mkfs.ext4, run as a child without capabilities,
 * environment or descriptors but its own three. */
#ifndef RUNNER_MKFS_H
#define RUNNER_MKFS_H

#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"

#define MKFS_BLOCK_BYTES 4096u
#define MKFS_INODE_BYTES 256u

/* A file system of `inodes` inodes, whose root belongs to owner:group. It has no journal and no
 * reserved blocks: it does not outlive its mount. Fails when mkfs.ext4 is missing, fails or hangs, with
 * its own words. */
int mkfs_ext4(const char *device, uint64_t inodes, uid_t owner, gid_t group, struct err *err);

#endif
