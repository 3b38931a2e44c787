/* System calls that the C libraries of our oldest hosts have no wrapper for (glibc 2.35), and whose
 * kernel headers clash with libc's. Thin: the kernel's own arguments, -1 and errno. */
#ifndef RUNNER_SYS_H
#define RUNNER_SYS_H

#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/mount.h>
#include <linux/sched.h>

#ifndef MNT_DETACH
#define MNT_DETACH 2
#endif

static inline int sys_mount(const char *from, const char *to, const char *type, unsigned long flags,
                            const char *data)
{
    return (int)syscall(SYS_mount, from, to, type, flags, data);
}

static inline int sys_umount2(const char *path, int flags)
{
    return (int)syscall(SYS_umount2, path, flags);
}

static inline int sys_pivot_root(const char *to, const char *old)
{
    return (int)syscall(SYS_pivot_root, to, old);
}

static inline int sys_open_tree(int dir, const char *path, unsigned flags)
{
    return (int)syscall(SYS_open_tree, dir, path, flags);
}

static inline int sys_move_mount(int from_dir, const char *from, int to_dir, const char *to,
                                 unsigned flags)
{
    return (int)syscall(SYS_move_mount, from_dir, from, to_dir, to, flags);
}

static inline int sys_mount_setattr(int dir, const char *path, unsigned flags,
                                    struct mount_attr *attr)
{
    return (int)syscall(SYS_mount_setattr, dir, path, flags, attr, sizeof *attr);
}

static inline int sys_fsopen(const char *type)
{
    return (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
}

/* Of the file system whose root is `path`, or `dir` itself when that is empty. */
static inline int sys_fspick(int dir, const char *path)
{
    return (int)syscall(SYS_fspick, dir, path,
                        FSPICK_CLOEXEC | FSPICK_NO_AUTOMOUNT | (*path ? 0 : FSPICK_EMPTY_PATH));
}

static inline int sys_fsconfig(int fd, unsigned cmd, const char *key, const char *value)
{
    return (int)syscall(SYS_fsconfig, fd, cmd, key, value, 0);
}

static inline int sys_fsmount(int fd, unsigned attr)
{
    return (int)syscall(SYS_fsmount, fd, FSMOUNT_CLOEXEC, attr);
}

/* As fork(): returns twice, with the new namespaces that `args` asks for. */
static inline pid_t sys_clone3(struct clone_args *args)
{
    return (pid_t)syscall(SYS_clone3, args, sizeof *args);
}

static inline int sys_pidfd_send_signal(int pidfd, int sig)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0);
}

#endif
