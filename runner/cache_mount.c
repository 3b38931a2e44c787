/* Mounts of dependency caches; see cache_mount.h. */
#include "runner/cache_mount.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <linux/mount.h>
#include <linux/openat2.h>

#include "common/file.h"
#include "runner/sys.h"

#define LOWER_PATH "/lower"

bool cache_mount_on_tmpfs(void)
{
    int fd = memfd_create("tmpfs", MFD_CLOEXEC); /* a file of a tmpfs, as any */
    bool can = fd >= 0 && fsetxattr(fd, "user.creel", "y", 1, 0) == 0;
    fd_close(&fd);
    return can;
}

static int user_namespace(pid_t pid)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/ns/user", (int)pid);
    return open(path, O_RDONLY | O_CLOEXEC);
}

int cache_mount_open(const char *path, bool writable, pid_t pid, struct err *err)
{
    const struct open_how how = {
        .flags = O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS,
    };
    struct mount_attr attr = {
        .attr_set = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | (writable ? 0 : MOUNT_ATTR_RDONLY),
        .propagation = MS_PRIVATE,
    };
    int rc = -1, mount = -1, users = -1,
        dir = (int)syscall(SYS_openat2, AT_FDCWD, path, &how, sizeof how);
    if (dir < 0)
        goto out;
    mount = sys_open_tree(dir, "", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH);
    if (mount < 0)
        goto out;
    if (pid > 0) {
        users = user_namespace(pid);
        if (users < 0)
            goto out;
        attr.attr_set |= MOUNT_ATTR_IDMAP;
        attr.userns_fd = (uint64_t)users;
    }
    rc = sys_mount_setattr(mount, "", AT_EMPTY_PATH, &attr);
out:
    if (rc < 0) {
        rc = err_errno(err, ERR_FAIL,
                       "the dependency cache cannot be mounted (its file system must "
                       "take id-mapped mounts)");
        fd_close(&mount);
    }
    fd_close(&users);
    fd_close(&dir);
    return rc < 0 ? rc : mount;
}

/* userxattr: without root's own marks on files, which a user namespace cannot make. */
static int mount_layers(const char *disk, int lower)
{
    char options[256];
    snprintf(options, sizeof options,
             "lowerdir=" LOWER_PATH ",upperdir=%s/cache/up,workdir=%s/cache/work,userxattr", disk,
             disk);
    if (mkdir(LOWER_PATH, 0755) < 0 ||
        sys_move_mount(lower, "", AT_FDCWD, LOWER_PATH, MOVE_MOUNT_F_EMPTY_PATH) < 0 ||
        sys_mount("cache", CACHE_MERGED_PATH, "overlay", MS_NOSUID | MS_NODEV, options) < 0)
        return -1;
    return sys_umount2(LOWER_PATH, MNT_DETACH);
}

int cache_mount_place(const char *disk, int lower, int keep, uid_t owner, gid_t group,
                      struct err *err)
{
    const struct {
        const char *name;
        bool jobs;
    } dirs[] = {{"cache", false}, {"cache/up", true}, {"cache/work", false}, {"home/.cache", true}};
    char path[64];
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++) {
        snprintf(path, sizeof path, "%s/%s", disk, dirs[i].name);
        if (mkdir(path, 0755) < 0 || (dirs[i].jobs && lchown(path, owner, group) < 0))
            return err_errno(err, ERR_FAIL, "the dependency cache's directories cannot be made");
    }
    snprintf(path, sizeof path, "%s/cache/up", disk);
    if (mkdir(CACHE_MERGED_PATH, 0755) < 0 ||
        (lower >= 0 ? mount_layers(disk, lower)
                    : sys_mount(path, CACHE_MERGED_PATH, NULL, MS_BIND, NULL)) < 0)
        return err_errno(err, ERR_FAIL,
                         "the dependency cache cannot be laid under the attempt's disk "
                         "(with a runner that is root this takes Linux 5.19)");
    if (keep >= 0 &&
        (mkdir(CACHE_KEEP_PATH, 0755) < 0 ||
         sys_move_mount(keep, "", AT_FDCWD, CACHE_KEEP_PATH, MOVE_MOUNT_F_EMPTY_PATH) < 0))
        return err_errno(err, ERR_FAIL,
                         "the place for a dependency cache to keep cannot be mounted");
    return 0;
}
