/* Confinement of a short-lived child: descriptors, limits, namespaces, capabilities, Landlock,
 * seccomp, in this order, since each step needs what the next takes away. */
#include "controller/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/landlock.h>
#include <seccomp.h>

#include "common/file.h"
#include "common/secret.h"

/* AddressSanitizer reserves terabytes of addresses it never uses. */
#ifdef __SANITIZE_ADDRESS__
#define MEMORY_MAX ((uint64_t)RLIM_INFINITY)
#else
#define MEMORY_MAX (4ull << 30)
#endif
#define CPU_MAX_S 240
#define FILE_MAX  (9ull << 30)
#define FDS_MAX   64

/* Newer than the headers of the oldest system we build on. */
#define FS_REFER     (1ull << 13) /* ABI 2 */
#define FS_TRUNCATE  (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV (1ull << 15) /* ABI 5 */
#define NET_TCP      3ull         /* ABI 4: bind, connect */
#define SCOPE_ALL    3ull         /* ABI 6: abstract sockets, signals */

struct ruleset {
    uint64_t fs, net, scoped;
};

static int limit(int what, uint64_t value, struct err *err)
{
    struct rlimit r = {.rlim_cur = value, .rlim_max = value};
    struct rlimit now;
    if (getrlimit((__rlimit_resource_t)what, &now) == 0 && now.rlim_max < value) {
        r.rlim_cur = r.rlim_max = now.rlim_max;
    }
    return setrlimit((__rlimit_resource_t)what, &r) < 0
               ? err_errno(err, ERR_FAIL, "cannot set limits")
               : 0;
}

static int set_limits(struct err *err)
{
    int rc = limit(RLIMIT_AS, MEMORY_MAX, err);
    if (rc == 0) {
        rc = limit(RLIMIT_CPU, CPU_MAX_S, err);
    }
    if (rc == 0) {
        rc = limit(RLIMIT_FSIZE, FILE_MAX, err);
    }
    if (rc == 0) {
        rc = limit(RLIMIT_NOFILE, FDS_MAX, err);
    }
    if (rc == 0) {
        rc = limit(RLIMIT_NPROC, 0, err);
    }
    if (rc == 0 && core_dumps_off() < 0)
        rc = err_errno(err, ERR_FAIL, "core dumps cannot be turned off");
    return rc;
}

/* No capability in any set; root keeps only what it owns. */
static int drop_caps(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    if (syscall(SYS_capset, &head, none) < 0) {
        return err_errno(err, ERR_FAIL, "cannot drop capabilities");
    }
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0
               ? err_errno(err, ERR_FAIL, "cannot set no_new_privs")
               : 0;
}

static int add_path(int ruleset, const struct confine_path *p, uint64_t handled, struct err *err)
{
    static const uint64_t file_read = LANDLOCK_ACCESS_FS_READ_FILE;
    static const uint64_t file_write = LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
    static const uint64_t dir_write = LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_REMOVE_FILE;
    struct landlock_path_beneath_attr rule = {.allowed_access = file_read};
    int rc = 0;
    if (p->dir) {
        rule.allowed_access |= LANDLOCK_ACCESS_FS_READ_DIR | (p->write ? dir_write : 0);
    }
    if (p->write) {
        rule.allowed_access |= file_write;
    }
    rule.allowed_access &= handled;
    rule.parent_fd = open(p->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (rule.parent_fd < 0) {
        return err_errno(err, ERR_FAIL, "cannot open %s", p->path);
    }
    if (syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0) < 0) {
        rc = err_errno(err, ERR_FAIL, "Landlock rule for %s", p->path);
    }
    close(rule.parent_fd);
    return rc;
}

/* Everything that this kernel's Landlock can refuse is refused, but for `paths`. */
static int landlock(const struct confine_path *paths, size_t n, bool weak_ok, struct err *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1) {
        return weak_ok ? 0
                       : err_set(err, ERR_REFUSED,
                                 "this kernel has no Landlock to confine the importer "
                                 "(CREEL_ALLOW_UNCONFINED_IMPORT=1 goes on without)");
    }
    struct ruleset r = {.fs = (1ull << 13) - 1};
    r.fs |=
        (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
    r.net = abi >= 4 ? NET_TCP : 0;
    r.scoped = abi >= 6 ? SCOPE_ALL : 0;
    size_t size = abi >= 6 ? 24 : abi >= 4 ? 16 : 8;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &r, size, 0);
    int rc = fd < 0 ? err_errno(err, ERR_FAIL, "cannot make Landlock rules") : 0;
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = add_path(fd, &paths[i], r.fs, err);
    }
    if (rc == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot restrict by Landlock");
    }
    fd_close(&fd);
    return rc;
}

/* What reading packs, comparing trees and writing a few files takes. Everything else answers EPERM:
 * no process, no thread, no socket, no signal to others, no mount, no ioctl. */
static const int allowed[] = {
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(lseek),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close),
    SCMP_SYS(fstat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(brk),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(futex),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
    SCMP_SYS(getrandom),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(getdents64),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(chmod),
    SCMP_SYS(fchmod),
    SCMP_SYS(fchmodat),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(fcntl),
    SCMP_SYS(getcwd),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(umask),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(sysinfo),
    SCMP_SYS(sched_yield),
    SCMP_SYS(restart_syscall),
};

static int filter_load(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]) && rc == 0; i++) {
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    }
    static const struct scmp_arg_cmp not_exec[] = {{2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}};
    if (rc == 0) {
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mmap), 1, not_exec);
    }
    if (rc == 0) {
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(mprotect), 1, not_exec);
    }
    return rc < 0 ? rc : seccomp_load(ctx);
}

static int filter(bool weak_ok, struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    int rc = ctx == NULL ? -ENOMEM : filter_load(ctx);
    if (ctx != NULL) {
        seccomp_release(ctx);
    }
    if (rc < 0 && !weak_ok) {
        return err_set(err, ERR_REFUSED, "cannot filter the importer's system calls: %s",
                       strerror(-rc));
    }
    return 0;
}

int confine_self(const struct confine_path *paths, size_t n, bool weak_ok, struct err *err)
{
    syscall(SYS_close_range, 3u, ~0u, 0);
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    /* Either may be forbidden here; the filter below refuses sockets all the same. */
    if (unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWIPC) < 0) {
        (void)!unshare(CLONE_NEWNET | CLONE_NEWIPC);
    }
    int rc = drop_caps(err);
    if (rc == 0) {
        rc = landlock(paths, n, weak_ok, err);
    }
    if (rc == 0) {
        rc = set_limits(err);
    }
    return rc < 0 ? rc : filter(weak_ok, err);
}
