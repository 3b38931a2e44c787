/* Disks that are larger than an attempt's memory: ext4 on dm-crypt on a loop device on a sparse file, with
 * a random key that exists only in the kernel (dm-crypt, aes-xts-plain64). To destroy one is to remove the
 * mapping: its key is gone, and with it the data, whatever the size. Used by the warden, as root; needs
 * loop and dm-crypt in the kernel, and mkfs.ext4.
 *
 * A file is deleted as soon as its loop device is attached, so that nothing of it has a name; what a
 * crashed predecessor left (mappings and loop devices named "creel-*") is removed by disk_store_open. */
#ifndef RUNNER_DISK_IMAGE_H
#define RUNNER_DISK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"

struct disk_store {
    int dir; /* owned; where image files are made; -1: no images here, `why` says why, one line */
    char why[160];
};

/* Opens (makes, 0700) the directory, cleans up after a crash, and tries once whether images can be made. */
void disk_store_open(struct disk_store *s, const char *dir);
void disk_store_done(struct disk_store *s);

struct disk_image {
    int mount;     /* owned; a detached mount (fsmount(2)), for move_mount(2) by whoever gets it */
    int loop;      /* owned; the loop device, which autoclears */
    char name[32]; /* of the mapping: "creel-<slot>-<n>" */
    uint64_t bytes;
};

#define DISK_IMAGE_NONE ((struct disk_image){.mount = -1, .loop = -1})

/* Makes, formats and mounts (nosuid, nodev) an image of `bytes` whose root belongs to owner:group, ids
 * of the host. Inodes: one for every 16 KiB, at least 1024. No journal, no reserved blocks. */
int disk_image_make(const struct disk_store *s, unsigned slot, uint64_t bytes, uid_t owner,
                    gid_t group, struct disk_image *out, struct err *err);
/* Closes what is held and removes the mapping, waiting up to wait_ms for others to let go of the mount.
 * True when the mapping and the loop device are gone; *i is DISK_IMAGE_NONE after it. */
bool disk_image_destroy(struct disk_image *i, unsigned wait_ms);

/* Does a disk of `disk` bytes fit an attempt with `mem` bytes? Then it is a tmpfs. */
bool disk_fits_memory(uint64_t disk, uint64_t mem);

#endif
