/* The attempt's file system. Names in it that are ours (pack, reserve, out/patch.pack) are opened
 * without following links, and what a jail could have put there is checked before use. */
#include "runner/disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "proto/task.h"
#include "runner/sys.h"

#define BYTES_PER_INODE 4096u
#define INODES_MAX      (4u << 20)
#define INODES_FULL     8 /* fewer left than this: none, but for what we remove ourselves */
#define SYSTEMS         2 /* tmpfs of one attempt: the job's, and the patch's */
#define PATCH_MORE      (4u << 20) /* what a pack needs beside the bytes of its files */
#define RESERVE         "reserve" /* a file without content that holds the patch's room in an image */

static const struct {
    const char *name;
    mode_t mode;
} layout[] = {
    {"task", 0755},     {"home", 0700}, {"tmp", 01777}, {"vartmp", 01777},
    {"base.git", 0755}, {"out", 0700},  {"shm", 01777},
};

/* Many small files should run out of bytes first, within what a host's memory or disk can carry. */
uint64_t disk_inodes(uint64_t bytes)
{
    uint64_t n = bytes / BYTES_PER_INODE + 1024;
    return n > INODES_MAX ? INODES_MAX : n;
}

/* As much as there can be, since whatever a job wrote may be its work. */
uint64_t disk_patch_room(uint64_t bytes)
{
    uint64_t files = bytes > TASK_PACK_MAX ? TASK_PACK_MAX : bytes;
    return files + files / 16 + PATCH_MORE;
}

static int mount_new(const char *path, uint64_t bytes)
{
    char size[24], inodes[24];
    int rc = -1, mount = -1, fs = sys_fsopen("tmpfs");
    if (fs < 0)
        return -1;
    snprintf(size, sizeof size, "%" PRIu64, bytes);
    snprintf(inodes, sizeof inodes, "%" PRIu64, disk_inodes(bytes));
    if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "size", size) < 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes) < 0 ||
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "mode", "0755") < 0 ||
        sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        goto out;
    mount = sys_fsmount(fs, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV);
    if (mount >= 0)
        rc = sys_move_mount(mount, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH);
out:
    fd_close(&mount);
    fd_close(&fs);
    return rc;
}

static int make_layout(int root, uid_t owner, gid_t group)
{
    for (size_t i = 0; i < sizeof layout / sizeof *layout; i++) {
        /* The mode again by chmod: mkdir's is cut by the umask. */
        if (mkdirat(root, layout[i].name, 0700) < 0 ||
            fchmodat(root, layout[i].name, layout[i].mode, 0) < 0 ||
            fchownat(root, layout[i].name, owner, group, AT_SYMLINK_NOFOLLOW) < 0)
            return -1;
    }
    return 0;
}

/* A disk without an inode left is as full as one without a byte, whatever its blocks say. */
static uint64_t bytes_used(int root)
{
    struct statfs st;
    if (fstatfs(root, &st) < 0)
        return 0;
    if (st.f_files > 0 && st.f_ffree < INODES_FULL)
        return (uint64_t)(st.f_blocks - st.f_bfree + st.f_bavail) * (uint64_t)st.f_bsize;
    return (uint64_t)(st.f_blocks - st.f_bfree) * (uint64_t)st.f_bsize;
}

/* The patch's own tmpfs is empty until then. */
static int make_out(const char *path, uint64_t bytes, uid_t owner, gid_t group, int watch)
{
    char out[64];
    snprintf(out, sizeof out, "%s/out", path);
    if (mount_new(out, disk_patch_room(bytes)) < 0 || chmod(out, 0700) < 0 ||
        chown(out, owner, group) < 0)
        return -1;
    return inotify_add_watch(watch, out, IN_DELETE_SELF) < 0 ? -1 : 0;
}

static int mount_tmpfs(const char *path, uint64_t bytes, uid_t owner, gid_t group, struct disk *d)
{
    if (mount_new(path, bytes) < 0)
        return -1;
    d->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    d->watch = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (d->root < 0 || d->watch < 0 || inotify_add_watch(d->watch, path, IN_DELETE_SELF) < 0 ||
        make_layout(d->root, owner, group) < 0)
        return -1;
    return make_out(path, bytes, owner, group, d->watch);
}

/* What is free over `bytes` is taken by a file that no job sees: so the limit is exact whatever the
 * file system needs for itself, and the patch's room, with an inode, is there when the file goes. */
static int reserve(int root, uint64_t bytes)
{
    struct statfs st;
    int rc = -1, fd = openat(root, RESERVE, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0 || fstatfs(root, &st) < 0)
        goto out;
    uint64_t avail = (uint64_t)st.f_bavail * (uint64_t)st.f_bsize;
    if (avail < bytes + disk_patch_room(bytes))
        errno = ENOSPC;
    else
        rc = fallocate(fd, 0, 0, (off_t)(avail - bytes));
out:
    fd_close(&fd);
    return rc;
}

static int mount_image(const char *path, uint64_t bytes, int image, uid_t owner, gid_t group,
                       struct disk *d)
{
    if (sys_move_mount(image, "", AT_FDCWD, path, MOVE_MOUNT_F_EMPTY_PATH) < 0)
        return -1;
    d->root = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->root < 0 || make_layout(d->root, owner, group) < 0)
        return -1;
    return reserve(d->root, bytes);
}

int disk_make(const char *path, uint64_t bytes, int image, uid_t owner, gid_t group,
              struct disk *out, struct err *err)
{
    struct disk d = DISK_NONE;
    int rc = image >= 0 ? mount_image(path, bytes, image, owner, group, &d)
                        : mount_tmpfs(path, bytes, owner, group, &d);
    if (rc < 0) {
        rc = err_errno(err, ERR_FAIL, "the attempt's disk cannot be made");
        disk_done(&d);
        return rc;
    }
    d.unused = bytes_used(d.root);
    *out = d;
    return 0;
}

void disk_yield(const struct disk *d)
{
    unlinkat(d->root, RESERVE, 0);
    /* The job owns it, and may have shut it: the collector sees it through a read-only mount. */
    if (fchmodat(d->root, "task", 0755, 0) < 0)
        return; /* it tells what it cannot read */
}

static int remount(int root, const char *path, uint64_t bytes)
{
    char size[24], inodes[24];
    int rc = -1, fs = sys_fspick(root, path);
    if (fs < 0)
        return -1;
    snprintf(size, sizeof size, "%" PRIu64, bytes);
    snprintf(inodes, sizeof inodes, "%" PRIu64, disk_inodes(bytes));
    if (sys_fsconfig(fs, FSCONFIG_SET_STRING, "size", size) == 0 &&
        sys_fsconfig(fs, FSCONFIG_SET_STRING, "nr_inodes", inodes) == 0)
        rc = sys_fsconfig(fs, FSCONFIG_CMD_RECONFIGURE, NULL, NULL);
    fd_close(&fs);
    return rc;
}

int disk_resize(const struct disk *d, uint64_t bytes, struct err *err)
{
    if (d->watch < 0)
        return err_set(err, ERR_FAIL, "the attempt's disk is an image, whose size is fixed");
    if (remount(d->root, "", bytes) < 0 || remount(d->root, "out", disk_patch_room(bytes)) < 0)
        return err_errno(err, ERR_FAIL, "the attempt's disk cannot be given its size");
    return 0;
}

void disk_done(struct disk *d)
{
    fd_close(&d->root);
    fd_close(&d->watch);
}

int disk_pack_create(const struct disk *d, struct err *err)
{
    int fd = openat(d->root, "pack", O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return fd >= 0 ? fd : err_errno(err, ERR_FAIL, "the source pack's file cannot be made");
}

int disk_pack_open(const struct disk *d, struct err *err)
{
    int fd = openat(d->root, "pack", O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    return fd >= 0 ? fd : err_errno(err, ERR_FAIL, "the source pack cannot be opened");
}

void disk_pack_drop(const struct disk *d)
{
    unlinkat(d->root, "pack", 0);
}

int disk_patch_open(const struct disk *d, int *ret_fd, struct err *err)
{
    struct stat st;
    int rc, fd = -1, out = openat(d->root, "out", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (out >= 0)
        fd = openat(out, "patch.pack", O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (out >= 0 && fd < 0 && errno == ENOENT) {
        *ret_fd = -1;
        rc = 0;
        goto done;
    }
    if (fd < 0 || fstat(fd, &st) < 0) {
        rc = err_errno(err, ERR_FAIL, "the patch pack cannot be opened");
        goto done;
    }
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size > TASK_PACK_MAX) {
        rc = err_set(err, ERR_FAIL, "the patch pack is not a regular file of usable size");
        goto done;
    }
    *ret_fd = fd;
    fd = -1;
    rc = 0;
done:
    fd_close(&fd);
    fd_close(&out);
    return rc;
}

uint64_t disk_used(const struct disk *d)
{
    uint64_t used = bytes_used(d->root);
    return used > d->unused ? used - d->unused : 0;
}

/* How many of the watched file systems are newly gone: each says so once. */
static unsigned saw_unmounts(int watch)
{
    unsigned seen = 0;
    char bytes[1024] __attribute__((aligned(__alignof__(struct inotify_event))));
    ssize_t n = read(watch, bytes, sizeof bytes);
    for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
        const struct inotify_event *e = (const void *)(bytes + at);
        seen += (e->mask & IN_UNMOUNT) != 0;
        at += (ssize_t)(sizeof *e + e->len);
    }
    return seen;
}

bool disk_gone(int watch, unsigned wait_ms)
{
    unsigned left = SYSTEMS;
    uint64_t now = clock_mono_us(), until = now + wait_ms * 1000ull;
    for (; now <= until; now = clock_mono_us()) {
        struct pollfd p = {.fd = watch, .events = POLLIN};
        if (poll(&p, 1, (int)((until - now + 999) / 1000)) <= 0)
            continue;
        unsigned seen = saw_unmounts(watch);
        if (seen >= left)
            return true;
        left -= seen;
    }
    return false;
}
