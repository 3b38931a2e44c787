/* Encrypted disks; see disk_image.h. */
#include "runner/disk_image.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <linux/magic.h>

#include "common/clock.h"
#include "common/file.h"
#include "runner/disk.h"
#include "runner/mkfs.h"
#include "runner/sys.h"
#include "runner/text.h"

#define LOOP_MAJOR  7
#define TRIAL_BYTES (1u << 20)
#define TRIAL_MS    5000
#define LOOK_MS     2
#define GROUP_BYTES (128ull << 20) /* of ext4, with 4 KiB blocks */
#define GROUP_COST  (4 * MKFS_BLOCK_BYTES)
#define KERNEL_KEEP (16ull << 20) /* ext4 keeps 2 %, at most this, for its own late needs */
#define SLACK       (2ull << 20)

/* What the file system takes for itself comes on top. */
static uint64_t device_bytes(uint64_t bytes)
{
    uint64_t n = bytes + disk_patch_room(bytes) + disk_inodes(bytes) * MKFS_INODE_BYTES + SLACK;
    n += n / 48 < KERNEL_KEEP ? n / 48 : KERNEL_KEEP;
    n += (n / GROUP_BYTES + 1) * GROUP_COST;
    return (n + MKFS_BLOCK_BYTES - 1) / MKFS_BLOCK_BYTES * MKFS_BLOCK_BYTES;
}

static int make_file(const struct disk_store *s, uint64_t bytes, struct err *err)
{
    int fd = openat(s->dir, ".", O_TMPFILE | O_EXCL | O_RDWR | O_CLOEXEC, 0600);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "no file for a disk can be made");
    if (fallocate(fd, 0, 0, (off_t)bytes) == 0)
        return fd;
    int rc = err_errno(err, errno == ENOSPC ? ERR_REFUSED : ERR_FAIL,
                       "limit disk: no %" PRIu64 " MiB are free on this host for the disk and a "
                       "patch of all of it; ask for less by --limit disk=",
                       bytes >> 20);
    fd_close(&fd);
    return rc;
}

/* Nothing of it is needed after a crash, so nothing waits for the host's disk: no barriers. */
static int mount_ext4(const char *device, struct err *err)
{
    int rc = -1, fs = sys_fsopen("ext4");
    if (fs >= 0 && sys_fsconfig(fs, FSCONFIG_SET_STRING, "source", device) == 0 &&
        sys_fsconfig(fs, FSCONFIG_SET_FLAG, "nobarrier", NULL) == 0 &&
        sys_fsconfig(fs, FSCONFIG_SET_FLAG, "noinit_itable", NULL) == 0 &&
        sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) == 0)
        rc = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOATIME);
    if (rc < 0)
        rc = err_errno(err, ERR_FAIL, "a new disk cannot be mounted (ext4)");
    fd_close(&fs);
    return rc;
}

int disk_image_make(struct disk_store *s, uint64_t bytes, uid_t owner, gid_t group,
                    struct disk_image *out, struct err *err)
{
    struct disk_image i = {.mount = -1, .bytes = bytes};
    char device[CRYPT_PATH_SIZE];
    uint64_t size = device_bytes(bytes);
    bool mapped = false;
    int loop = -1, file = make_file(s, size, err), rc = file < 0 ? file : 0;
    if (rc == 0)
        rc = loop_attach(file, &i.loop, &loop, err);
    if (rc == 0) {
        snprintf(i.name, sizeof i.name, "%s%" PRIu64, s->prefix, s->made++);
        rc = crypt_map_make(i.name, LOOP_MAJOR, i.loop.number, size, device, err);
        mapped = rc == 0;
    }
    if (rc == 0)
        rc = mkfs_ext4(device, disk_inodes(bytes), owner, group, err);
    if (rc == 0)
        rc = i.mount = mount_ext4(device, err);
    /* From here the kernel removes it all by itself, whatever becomes of us. */
    if (rc >= 0)
        rc = crypt_map_remove_later(i.name, err);
    fd_close(&loop);
    fd_close(&file);
    if (rc < 0) {
        fd_close(&i.mount);
        if (mapped)
            crypt_map_remove(i.name);
        return rc;
    }
    *out = i;
    return 0;
}

bool disk_image_destroy(struct disk_image *i, unsigned wait_ms)
{
    const struct timespec pause = {.tv_nsec = LOOK_MS * 1000000l};
    uint64_t until = clock_mono_us() + wait_ms * 1000ull;
    bool mapping = false, loop = false;
    fd_close(&i->mount);
    for (;;) {
        mapping = mapping || crypt_map_remove(i->name);
        loop = loop || (mapping && loop_gone(&i->loop));
        if ((mapping && loop) || clock_mono_us() > until)
            break;
        nanosleep(&pause, NULL);
    }
    *i = DISK_IMAGE_NONE;
    return mapping && loop;
}

bool disk_fits_memory(uint64_t disk, uint64_t mem)
{
    return disk <= mem / 2;
}

/* serve owns the directory above and could have put anything there: only a directory that root made
 * is taken, and only on a disk. */
static int open_dir(struct disk_store *s, const char *path, struct stat *st, struct err *err)
{
    struct statfs fs;
    if (mkdir(path, 0700) < 0 && errno != EEXIST)
        return err_errno(err, ERR_FAIL, "%s cannot be made", path);
    s->dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (s->dir < 0 || fstat(s->dir, st) < 0 || fstatfs(s->dir, &fs) < 0)
        return err_errno(err, ERR_FAIL, "%s cannot be opened", path);
    if (st->st_uid != 0 || (st->st_mode & 0777) != 0700)
        return err_set(err, ERR_FAIL, "%s is not root's alone", path);
    if (fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC)
        return err_set(err, ERR_FAIL, "%s is in memory", path);
    return 0;
}

static int try_one(struct disk_store *s, struct err *err)
{
    struct disk_image i = DISK_IMAGE_NONE;
    int rc = disk_image_make(s, TRIAL_BYTES, 0, 0, &i, err);
    if (rc == 0 && !disk_image_destroy(&i, TRIAL_MS))
        rc = err_set(err, ERR_FAIL, "an encrypted disk could not be removed again");
    return rc;
}

void disk_store_open(struct disk_store *s, const char *dir)
{
    struct err err = ERR_INIT;
    struct stat st = {0};
    *s = DISK_STORE_NONE;
    int rc = geteuid() == 0 ? open_dir(s, dir, &st, &err)
                            : err_set(&err, ERR_FAIL, "only root can make encrypted disks");
    if (rc == 0) {
        /* Ours, and not those of another runner's store on this host. */
        snprintf(s->prefix, sizeof s->prefix, "creel-%x-%" PRIx64 "-",
                 (unsigned)(major(st.st_dev) << 8 | minor(st.st_dev)), (uint64_t)st.st_ino);
        crypt_map_remove_all(s->prefix);
        rc = try_one(s, &err);
    }
    if (rc < 0) {
        disk_store_done(s);
        text_linef(s->why, sizeof s->why, "%s", err.msg);
    }
}

void disk_store_done(struct disk_store *s)
{
    fd_close(&s->dir);
}
