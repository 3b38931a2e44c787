/* Walks a list of jail operations. Mounts go by descriptor: a source is opened first, given its
 * attributes while it is attached nowhere, and only then moved over its target. Runs before any job
 * has written anything that these paths pass through. */
#include "runner/jail_ops.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <linux/openat2.h>

#include "common/file.h"
#include "runner/sys.h"

#define CLONE_TREE (OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC)
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000
#endif

/* No link leads a mount astray: all targets are our own, and should one turn out to be a link all the
 * same, or to lie behind one, nothing is mounted. */
static int attach(int mount, int dir, const char *to)
{
    const struct open_how how = {
        .flags = O_PATH | O_NOFOLLOW | O_CLOEXEC,
        .resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS,
    };
    const unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
    int target = (int)syscall(SYS_openat2, dir, *to ? to : ".", &how, sizeof how);
    int rc = target < 0 ? -1 : sys_move_mount(mount, "", target, "", flags);
    fd_close(&target);
    return rc;
}

static int make_file(int dir, const char *path, const char *text, mode_t mode)
{
    int fd = openat(dir, path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return -1;
    int rc = text ? write_all(fd, text, strlen(text)) : 0;
    fd_close(&fd);
    return rc;
}

/* A bind needs a target of the same kind. Targets of optional binds are made here, so that a jail on
 * a host without the source has no empty file in its place. */
static int make_target(int dir, const char *to, int source)
{
    struct stat st;
    if (fstat(source, &st) < 0)
        return -1;
    int rc = S_ISDIR(st.st_mode) ? mkdirat(dir, to, 0755) : make_file(dir, to, NULL, 0644);
    return rc < 0 && errno != EEXIST ? -1 : 0;
}

static int bind_at(const struct jail_op *op, const struct jail_roots *at, const char *from)
{
    int dir = op->source == JAIL_SELF ? at->jail : at->source[op->source];
    int mount = sys_open_tree(dir, from, CLONE_TREE | AT_RECURSIVE);
    if (mount < 0)
        return op->optional && errno == ENOENT ? 0 : -1;
    struct mount_attr attr = {.attr_set = op->attr};
    int rc = -1;
    if (sys_mount_setattr(mount, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr) == 0 &&
        (!op->optional || make_target(at->jail, op->to, mount) == 0))
        rc = attach(mount, at->jail, op->to);
    fd_close(&mount);
    return rc;
}

static int as_host(const struct jail_op *op, const struct jail_roots *at)
{
    char target[256];
    ssize_t n = readlinkat(at->source[JAIL_HOST], op->from, target, sizeof target - 1);
    if (n >= 0) {
        target[n] = 0;
        return symlinkat(target, at->jail, op->to);
    }
    if (errno == ENOENT)
        return 0;
    if (errno != EINVAL)
        return -1;
    if (mkdirat(at->jail, op->to, 0755) < 0)
        return -1;
    return bind_at(op, at, op->from);
}

static int new_mount(const struct jail_op *op, const struct jail_roots *at, const char *type,
                     const char *const (*options)[2], unsigned attr)
{
    int rc = -1, mount = -1, fs = sys_fsopen(type);
    if (fs < 0)
        return -1;
    for (; options && (*options)[0]; options++) {
        unsigned cmd = (*options)[1] ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;
        if (sys_fsconfig(fs, cmd, (*options)[0], (*options)[1]) < 0)
            goto out;
    }
    if (sys_fsconfig(fs, FSCONFIG_CMD_CREATE, NULL, NULL) < 0)
        goto out;
    mount = sys_fsmount(fs, attr);
    if (mount >= 0)
        rc = attach(mount, at->jail, op->to);
out:
    fd_close(&mount);
    fd_close(&fs);
    return rc;
}

/* A covered file reads as empty, a covered directory as empty; both come from our own tree, which is
 * read-only, and so is what is bound of it. There are many of these: one call each, from the tree's root. */
static int hide(const struct jail_op *op, const struct jail_roots *at)
{
    struct stat st;
    if (fstatat(at->jail, op->to, &st, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : -1;
    if (fchdir(at->jail) < 0)
        return -1;
    return sys_mount(S_ISDIR(st.st_mode) ? "var/empty" : "dev/null", op->to, NULL, MS_BIND, NULL);
}

static int apply_one(const struct jail_op *op, const struct jail_roots *at)
{
    /* All jails of a host draw terminals from one pool, so each gets a small share of it. */
    static const char *const pts_options[][2] = {{"newinstance", NULL},
                                                 {"ptmxmode", "0666"},
                                                 {"mode", "0620"},
                                                 {"max", "256"},
                                                 {NULL, NULL}};
    struct mount_attr attr = {.attr_set = op->attr};
    switch (op->kind) {
    case JAIL_DIR:
        return mkdirat(at->jail, op->to, op->mode);
    case JAIL_LINK:
        return symlinkat(op->from, at->jail, op->to);
    case JAIL_FILE:
        return make_file(at->jail, op->to, op->from, op->mode);
    case JAIL_AS_HOST:
        return as_host(op, at);
    case JAIL_BIND:
        return bind_at(op, at, op->from);
    case JAIL_PROC:
        return new_mount(op, at, "proc", NULL,
                         MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
    case JAIL_PTS:
        return new_mount(op, at, "devpts", pts_options, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
    case JAIL_HIDE:
        return hide(op, at);
    case JAIL_ATTR:
        return sys_mount_setattr(at->jail, op->to, *op->to ? 0 : AT_EMPTY_PATH, &attr);
    }
    errno = EINVAL;
    return -1;
}

int jail_apply(const struct jail_op *ops, size_t n, const struct jail_roots *at, struct err *err)
{
    for (size_t i = 0; i < n; i++)
        if (apply_one(&ops[i], at) < 0)
            return err_errno(err, ERR_FAIL, "the jail's /%s cannot be made", ops[i].to);
    return 0;
}
