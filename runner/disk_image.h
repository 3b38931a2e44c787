/* Disks that are larger than an attempt's memory: ext4 on dm-crypt on a loop device on a file, with a
 * random key that exists only in the kernel. To destroy one is to remove the mapping: its key is gone,
 * and with it the data, whatever the size. Used by the warden, as root; needs loop and dm-crypt in the
 * kernel, and mkfs.ext4.
 *
 * The file never has a name, and its blocks are reserved but not written: the host's full disk cannot
 * break into a promise once made, and the host never runs full by what a job writes. As soon as the
 * image is mounted its mapping is the mount's alone (the kernel removes it with the last user), the loop
 * device the mapping's, the file the loop device's: a crash or a reboot leaves none of them. */
#ifndef RUNNER_DISK_IMAGE_H
#define RUNNER_DISK_IMAGE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "runner/crypt_map.h"
#include "runner/loop.h"

struct disk_store {
    int dir;       /* owned; where the files are; -1: no images here, `why` says why, one line */
    uint64_t made; /* how many: each has a name of its own */
    char prefix[32];
    char why[161];
};

#define DISK_STORE_NONE ((struct disk_store){.dir = -1})

/* Opens (makes, 0700, root's) the directory, removes what a crash left half made, and makes and
 * destroys one image, to know whether the host can. */
void disk_store_open(struct disk_store *s, const char *dir);
void disk_store_done(struct disk_store *s);

struct disk_image {
    int mount; /* owned; a detached mount (fsmount(2)), for move_mount(2) by whoever gets it */
    struct loop loop;
    char name[CRYPT_NAME_SIZE]; /* of the mapping */
    uint64_t bytes;             /* for the job */
};

#define DISK_IMAGE_NONE ((struct disk_image){.mount = -1})

/* Makes, formats and mounts (nosuid, nodev) an image with room for `bytes` of the job's and for the
 * patch of all of them (disk.h keeps the two apart), whose root belongs to owner:group, ids of the
 * host. Inodes: disk_inodes(). */
int disk_image_make(struct disk_store *s, uint64_t bytes, uid_t owner, gid_t group,
                    struct disk_image *out, struct err *err);
/* Closes what is held and removes the mapping, waiting up to wait_ms for others to let go of the mount.
 * True when the mapping and the loop device are gone; *i is DISK_IMAGE_NONE after it. */
bool disk_image_destroy(struct disk_image *i, unsigned wait_ms);

/* Does a disk of `disk` bytes fit an attempt with `mem` bytes? Then it is a tmpfs, whose pages count as
 * the attempt's memory: at least half of that must be left to its programs when the disk is full. */
bool disk_fits_memory(uint64_t disk, uint64_t mem);

#endif
