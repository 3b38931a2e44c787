/* Files by Landlock, system calls by seccomp. What is not on the list answers EPERM, for libraries probe;
 * what only an attacker would call ends the process. */
#include "controller/broker/confine.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <seccomp.h>
#include <sodium.h>

/* Newer than the headers of the oldest system we build on. */
#define FS_REFER     (1ull << 13) /* ABI 2 */
#define FS_TRUNCATE  (1ull << 14) /* ABI 3 */
#define FS_IOCTL_DEV (1ull << 15) /* ABI 5 */
#define SCOPE_ALL    3ull         /* ABI 6: abstract sockets, signals */

#define CLONE_THREAD_FLAG 0x10000 /* CLONE_THREAD */

extern char **environ;

/* Names. */

/* The modules that nsswitch.conf names for hosts. Loaded once, libc finds them in memory. */
static void load_modules(char *line)
{
    char *save, *word, name[64];
    for (word = strtok_r(line, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save)) {
        if (word[0] == '[' || word[strlen(word) - 1] == ']' || strlen(word) > 32 ||
            strspn(word, "abcdefghijklmnopqrstuvwxyz0123456789_") != strlen(word))
            continue;
        snprintf(name, sizeof name, "libnss_%s.so.2", word);
        (void)dlopen(name, RTLD_NOW);
    }
}

void broker_preload(void)
{
    char line[1024];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *list = NULL;
    FILE *f = fopen("/etc/nsswitch.conf", "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, "hosts:", 6) == 0)
            load_modules(line + 6);
    if (f)
        fclose(f);
    if (getaddrinfo("localhost", "80", &hints, &list) == 0)
        freeaddrinfo(list);
}

void broker_forget_environment(void)
{
    static const char *const kept[] = {"https_proxy", "HTTPS_PROXY", "all_proxy",
                                       "ALL_PROXY",   "no_proxy",    "NO_PROXY"};
    enum { N = sizeof kept / sizeof *kept };
    char *values[N];
    for (size_t i = 0; i < N; i++) {
        const char *value = getenv(kept[i]);
        values[i] = value ? strdup(value) : NULL;
    }
    for (char **at = environ; at && *at; at++)
        sodium_memzero(*at, strlen(*at));
    clearenv();
    for (size_t i = 0; i < N; i++) {
        if (values[i])
            setenv(kept[i], values[i], 1);
        free(values[i]);
    }
    setenv("UV_USE_IO_URING", "0", 1);
}

/* Files. */

struct ruleset { /* struct landlock_ruleset_attr of ABI 6 */
    uint64_t fs, net, scoped;
};

/* A path that is not there is no rule. */
static int allow(int ruleset, const char *path, uint64_t access, struct err *err)
{
    struct stat st;
    struct landlock_path_beneath_attr rule = {.allowed_access = access};
    rule.parent_fd = open(path, O_PATH | O_CLOEXEC);
    if (rule.parent_fd < 0)
        return 0;
    if (fstat(rule.parent_fd, &st) == 0 && !S_ISDIR(st.st_mode))
        rule.allowed_access &=
            LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_WRITE_FILE | FS_TRUNCATE;
    int rc = (int)syscall(SYS_landlock_add_rule, ruleset, LANDLOCK_RULE_PATH_BENEATH, &rule, 0);
    if (rc < 0)
        rc = err_errno(err, ERR_FAIL, "broker: Landlock rule for %s", path);
    close(rule.parent_fd);
    return rc;
}

static int allow_all(int ruleset, uint64_t handled, const char *dir, const struct strv *readable,
                     struct err *err)
{
    static const char *const seen[] = {
        "/etc",
        "/usr",
        "/lib",
        "/lib64",
        "/run/systemd/resolve",
        "/run/resolvconf",
        "/run/NetworkManager",
        "/run/nscd",
        "/var/lib/ca-certificates",
        "/dev/urandom",
        "/dev/null",
    };
    const uint64_t look = LANDLOCK_ACCESS_FS_READ_FILE | LANDLOCK_ACCESS_FS_READ_DIR;
    const uint64_t work = look | LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_MAKE_REG |
                          LANDLOCK_ACCESS_FS_REMOVE_FILE | FS_TRUNCATE;
    int rc = allow(ruleset, dir, work & handled, err);
    for (size_t i = 0; i < sizeof seen / sizeof *seen && rc == 0; i++)
        rc = allow(ruleset, seen[i], look, err);
    for (size_t i = 0; readable && i < readable->n && rc == 0; i++)
        rc = allow(ruleset, readable->v[i], look, err);
    return rc;
}

static int close_files(const char *dir, const struct strv *readable, struct err *err)
{
    long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    if (abi < 1)
        return 0; /* an old kernel: modes of files and the system calls below are what is left */
    struct ruleset r = {.fs = (1ull << 13) - 1};
    r.fs |=
        (abi >= 2 ? FS_REFER : 0) | (abi >= 3 ? FS_TRUNCATE : 0) | (abi >= 5 ? FS_IOCTL_DEV : 0);
    r.scoped = abi >= 6 ? SCOPE_ALL : 0;
    int fd = (int)syscall(SYS_landlock_create_ruleset, &r, abi >= 6 ? 24 : abi >= 4 ? 16 : 8, 0);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "broker: Landlock");
    int rc = allow_all(fd, r.fs, dir, readable, err);
    if (rc == 0 && syscall(SYS_landlock_restrict_self, fd, 0) < 0)
        rc = err_errno(err, ERR_FAIL, "broker: Landlock");
    close(fd);
    return rc;
}

/* System calls. */

static const int allowed[] = {
    /* descriptors and files */
    SCMP_SYS(read),
    SCMP_SYS(write),
    SCMP_SYS(readv),
    SCMP_SYS(writev),
    SCMP_SYS(pread64),
    SCMP_SYS(pwrite64),
    SCMP_SYS(open),
    SCMP_SYS(openat),
    SCMP_SYS(close),
    SCMP_SYS(lseek),
    SCMP_SYS(fstat),
    SCMP_SYS(stat),
    SCMP_SYS(lstat),
    SCMP_SYS(newfstatat),
    SCMP_SYS(statx),
    SCMP_SYS(access),
    SCMP_SYS(faccessat),
    SCMP_SYS(faccessat2),
    SCMP_SYS(readlink),
    SCMP_SYS(readlinkat),
    SCMP_SYS(getdents64),
    SCMP_SYS(getcwd),
    SCMP_SYS(fcntl),
    SCMP_SYS(flock),
    SCMP_SYS(ftruncate),
    SCMP_SYS(fallocate),
    SCMP_SYS(fadvise64),
    SCMP_SYS(fsync),
    SCMP_SYS(fdatasync),
    SCMP_SYS(unlink),
    SCMP_SYS(unlinkat),
    SCMP_SYS(rename),
    SCMP_SYS(renameat),
    SCMP_SYS(renameat2),
    SCMP_SYS(fchmod),
    SCMP_SYS(umask),
    SCMP_SYS(dup),
    SCMP_SYS(dup2),
    SCMP_SYS(dup3),
    SCMP_SYS(pipe),
    SCMP_SYS(pipe2),
    SCMP_SYS(eventfd2),
    SCMP_SYS(statfs),
    SCMP_SYS(fstatfs),
    /* waiting and time */
    SCMP_SYS(poll),
    SCMP_SYS(ppoll),
    SCMP_SYS(select),
    SCMP_SYS(pselect6),
    SCMP_SYS(epoll_create1),
    SCMP_SYS(epoll_ctl),
    SCMP_SYS(epoll_wait),
    SCMP_SYS(epoll_pwait),
    SCMP_SYS(nanosleep),
    SCMP_SYS(clock_nanosleep),
    SCMP_SYS(clock_gettime),
    SCMP_SYS(clock_getres),
    SCMP_SYS(gettimeofday),
    SCMP_SYS(time),
    SCMP_SYS(sched_yield),
    /* sockets that are there, and outgoing ones: no listen, no accept */
    SCMP_SYS(connect),
    SCMP_SYS(bind),
    SCMP_SYS(getsockname),
    SCMP_SYS(getpeername),
    SCMP_SYS(getsockopt),
    SCMP_SYS(setsockopt),
    SCMP_SYS(sendto),
    SCMP_SYS(sendmsg),
    SCMP_SYS(sendmmsg),
    SCMP_SYS(recvfrom),
    SCMP_SYS(recvmsg),
    SCMP_SYS(recvmmsg),
    SCMP_SYS(shutdown),
    /* memory, threads, signals to itself */
    SCMP_SYS(brk),
    SCMP_SYS(munmap),
    SCMP_SYS(mremap),
    SCMP_SYS(madvise),
    SCMP_SYS(mlock),
    SCMP_SYS(mlock2),
    SCMP_SYS(munlock),
    SCMP_SYS(futex),
    SCMP_SYS(set_robust_list),
    SCMP_SYS(rseq),
    SCMP_SYS(sched_getaffinity),
    SCMP_SYS(membarrier),
    SCMP_SYS(rt_sigaction),
    SCMP_SYS(rt_sigprocmask),
    SCMP_SYS(rt_sigreturn),
    SCMP_SYS(sigaltstack),
    SCMP_SYS(restart_syscall),
    SCMP_SYS(getpid),
    SCMP_SYS(gettid),
    SCMP_SYS(getuid),
    SCMP_SYS(geteuid),
    SCMP_SYS(getgid),
    SCMP_SYS(getegid),
    SCMP_SYS(uname),
    SCMP_SYS(sysinfo),
    SCMP_SYS(getrandom),
    SCMP_SYS(exit),
    SCMP_SYS(exit_group),
};

/* No library of ours calls these: whoever does runs code that is not ours. */
static const int deadly[] = {
    SCMP_SYS(execve),
    SCMP_SYS(execveat),
    SCMP_SYS(fork),
    SCMP_SYS(vfork),
    SCMP_SYS(ptrace),
    SCMP_SYS(process_vm_readv),
    SCMP_SYS(process_vm_writev),
    SCMP_SYS(pidfd_getfd),
    SCMP_SYS(listen),
    SCMP_SYS(bpf),
    SCMP_SYS(init_module),
    SCMP_SYS(finit_module),
    SCMP_SYS(mount),
    SCMP_SYS(setns),
    SCMP_SYS(unshare),
    SCMP_SYS(userfaultfd),
    SCMP_SYS(keyctl),
};

struct judged {
    uint32_t action;
    int call;
    struct scmp_arg_cmp arg;
};

static const struct judged by_argument[] = {
    {SCMP_ACT_ALLOW, SCMP_SYS(mmap), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(mprotect), {2, SCMP_CMP_MASKED_EQ, PROT_EXEC, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_UNIX, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_INET, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(socket), {0, SCMP_CMP_EQ, AF_INET6, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(socketpair), {0, SCMP_CMP_EQ, AF_UNIX, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIONBIO, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIONREAD, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(ioctl), {1, SCMP_CMP_EQ, FIOCLEX, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(prctl), {0, SCMP_CMP_EQ, PR_SET_NAME, 0}},
    {SCMP_ACT_ALLOW, SCMP_SYS(prlimit64), {2, SCMP_CMP_EQ, 0, 0}},
    {SCMP_ACT_ALLOW,
     SCMP_SYS(clone),
     {0, SCMP_CMP_MASKED_EQ, CLONE_THREAD_FLAG, CLONE_THREAD_FLAG}},
    {SCMP_ACT_KILL_PROCESS, SCMP_SYS(clone), {0, SCMP_CMP_MASKED_EQ, CLONE_THREAD_FLAG, 0}},
};

static int filter_load(scmp_filter_ctx ctx)
{
    int rc = 0;
    for (size_t i = 0; i < sizeof allowed / sizeof *allowed && rc == 0; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ALLOW, allowed[i], 0);
    for (size_t i = 0; i < sizeof deadly / sizeof *deadly && rc == 0; i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_KILL_PROCESS, deadly[i], 0);
    for (size_t i = 0; i < sizeof by_argument / sizeof *by_argument && rc == 0; i++)
        rc = seccomp_rule_add_array(ctx, by_argument[i].action, by_argument[i].call, 1,
                                    &by_argument[i].arg);
    /* Its flags stand in memory, where no filter sees them: libc falls back to clone. */
    if (rc == 0)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    /* abort() */
    const struct scmp_arg_cmp self = {0, SCMP_CMP_EQ, (scmp_datum_t)getpid(), 0};
    if (rc == 0)
        rc = seccomp_rule_add_array(ctx, SCMP_ACT_ALLOW, SCMP_SYS(tgkill), 1, &self);
    return rc < 0 ? rc : seccomp_load(ctx);
}

static int filter(struct err *err)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ERRNO(EPERM));
    if (!ctx)
        return err_set(err, ERR_FAIL, "broker: out of memory");
    int rc = filter_load(ctx);
    seccomp_release(ctx);
    return rc < 0 ? err_set(err, ERR_FAIL, "broker: this kernel takes no seccomp filter: %s",
                            strerror(-rc))
                  : 0;
}

/* None is needed: root keeps what it owns. */
static int drop_caps(struct err *err)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    return syscall(SYS_capset, &head, none) < 0
               ? err_errno(err, ERR_FAIL, "broker: cannot drop capabilities")
               : 0;
}

int broker_confine(const char *dir, const struct strv *readable, struct err *err)
{
    int rc = drop_caps(err);
    if (rc == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        rc = err_errno(err, ERR_FAIL, "broker: no_new_privs");
    if (rc == 0)
        rc = close_files(dir, readable, err);
    return rc < 0 ? rc : filter(err);
}
