/* The system call filter, tried by real calls in a forked child that has loaded it. */
#include "tests/unit/cm.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <seccomp.h>

#include "runner/seccomp.h"

#define NO_ERROR (-1) /* must succeed */

struct probe {
    const char *what;
    long nr, args[4];
    int due; /* errno, 0: must not be EPERM or ENOSYS */
};

static const struct probe probes[] = {
    {"getpid", SYS_getpid, {0}, 0},
    {"openat", SYS_openat, {AT_FDCWD, 0, 0, 0}, EFAULT},
    {"AF_UNIX", SYS_socket, {AF_UNIX, SOCK_STREAM, 0}, 0},
    {"AF_INET", SYS_socket, {AF_INET, SOCK_STREAM, 0}, 0},
    {"NETLINK_ROUTE", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}, 0},
    {"NETLINK_AUDIT", SYS_socket, {AF_NETLINK, SOCK_RAW, 9}, EPERM},
    {"AF_PACKET", SYS_socket, {AF_PACKET, SOCK_RAW, 0}, EPERM},
    {"AF_VSOCK", SYS_socket, {AF_VSOCK, SOCK_STREAM, 0}, EPERM},
    {"AF_ALG", SYS_socket, {AF_ALG, SOCK_SEQPACKET, 0}, EPERM},
    {"AF_KEY", SYS_socket, {AF_KEY, SOCK_RAW, 2}, EPERM},
    {"AF_VSOCK, high bits", SYS_socket, {(1l << 32) | AF_VSOCK, SOCK_STREAM, 0}, EPERM},
    {"TCP by name", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_TCP}, 0},
    {"UDP by name", SYS_socket, {AF_INET, SOCK_DGRAM, IPPROTO_UDP}, 0},
    {"UDP, high bits", SYS_socket, {AF_INET, SOCK_DGRAM, (1l << 32) | IPPROTO_UDP}, 0},
    {"MPTCP", SYS_socket, {AF_INET, SOCK_STREAM, 262}, 0},
    {"ICMP", SYS_socket, {AF_INET, SOCK_DGRAM, IPPROTO_ICMP}, ENOSYS},
    {"ICMPv6", SYS_socket, {AF_INET6, SOCK_DGRAM, IPPROTO_ICMPV6}, ENOSYS},
    {"SCTP", SYS_socket, {AF_INET, SOCK_STREAM, IPPROTO_SCTP}, ENOSYS},
    {"UDP-Lite", SYS_socket, {AF_INET6, SOCK_DGRAM, IPPROTO_UDPLITE}, ENOSYS},
    {"SCTP, high bits", SYS_socket, {AF_INET, SOCK_STREAM, (1l << 32) | IPPROTO_SCTP}, ENOSYS},
    {"raw", SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_RAW}, EPERM},
    {"raw TCP", SYS_socket, {AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP}, EPERM},
    {"raw UDP over IPv6", SYS_socket, {AF_INET6, SOCK_RAW, IPPROTO_UDP}, EPERM},
    {"SOCK_PACKET", SYS_socket, {AF_INET, SOCK_PACKET | SOCK_NONBLOCK, 0}, EPERM},
    {"socketpair AF_UNIX", SYS_socketpair, {AF_UNIX, SOCK_STREAM, 0, 0}, EFAULT},
    {"socketpair AF_TIPC", SYS_socketpair, {AF_TIPC, SOCK_STREAM, 0, 0}, EPERM},
    {"mount", SYS_mount, {0}, EPERM},
    {"umount2", SYS_umount2, {0}, EPERM},
    {"unshare", SYS_unshare, {CLONE_NEWUSER}, EPERM},
    {"setns", SYS_setns, {-1, 0}, EPERM},
    {"clone NEWUSER", SYS_clone, {CLONE_NEWUSER | SIGCHLD, 0}, EPERM},
    {"clone NEWNET", SYS_clone, {CLONE_NEWNET | SIGCHLD, 0}, EPERM},
    {"clone3", SYS_clone3, {0, 0}, ENOSYS},
    {"ptrace", SYS_ptrace, {0, 0, 0, 0}, EPERM},
    {"process_vm_readv", SYS_process_vm_readv, {0}, EPERM},
    {"pidfd_getfd", SYS_pidfd_getfd, {-1, 0, 0}, EPERM},
    {"bpf", SYS_bpf, {0}, EPERM},
    {"userfaultfd", SYS_userfaultfd, {0}, EPERM},
    {"perf_event_open", SYS_perf_event_open, {0}, EPERM},
    {"io_uring_setup", SYS_io_uring_setup, {1, 0}, EPERM},
    {"keyctl", SYS_keyctl, {0}, EPERM},
    {"add_key", SYS_add_key, {0}, EPERM},
    {"request_key", SYS_request_key, {0}, EPERM},
    {"open_by_handle_at", SYS_open_by_handle_at, {-1, 0, 0}, EPERM},
    {"init_module", SYS_init_module, {0}, EPERM},
    {"kexec_load", SYS_kexec_load, {0}, EPERM},
    {"reboot", SYS_reboot, {0}, EPERM},
    {"settimeofday", SYS_settimeofday, {0}, EPERM},
    {"chroot", SYS_chroot, {0}, EPERM},
    {"personality, asked", SYS_personality, {0xffffffff}, 0},
    {"personality, no randomisation", SYS_personality, {ADDR_NO_RANDOMIZE}, 0},
    {"personality, exec", SYS_personality, {READ_IMPLIES_EXEC}, ENOSYS},
    {"TIOCSTI", SYS_ioctl, {-1, TIOCSTI, 0}, EPERM},
    {"TIOCSTI, high bits", SYS_ioctl, {-1, (1l << 32) | TIOCSTI, 0}, EPERM},
    {"TIOCLINUX", SYS_ioctl, {-1, 0x541C, 0}, EPERM},
    {"TIOCGWINSZ", SYS_ioctl, {-1, TIOCGWINSZ, 0}, EBADF},
    {"prlimit64 of oneself", SYS_prlimit64, {0, RLIMIT_CORE, 0, 0}, 0},
    {"prlimit64 of pid 1", SYS_prlimit64, {1, RLIMIT_CORE, 0, 0}, EPERM},
    {"prlimit64 of a child", SYS_prlimit64, {-1, RLIMIT_CORE, 0, 0}, EPERM},
    {"a core limit", SYS_prlimit64, {0, RLIMIT_CORE, 1, 0}, NO_ERROR},
    {"a core limit, high bits", SYS_prlimit64, {0, (1l << 32) | RLIMIT_CORE, 1, 0}, NO_ERROR},
    {"another limit", SYS_prlimit64, {0, RLIMIT_DATA, 1, 0}, EFAULT},
    {"io_setup", SYS_io_setup, {1, 0}, ENOSYS},
    {"io_submit", SYS_io_submit, {0, 0, 0}, ENOSYS},
    {"vmsplice", SYS_vmsplice, {-1, 0, 0, 0}, ENOSYS},
    {"splice", SYS_splice, {-1, 0, -1, 0}, 0},
    {"memfd_secret", 447, {0}, ENOSYS},
    {"TIOCLINUX, high bits", SYS_ioctl, {-1, (1l << 32) | 0x541C, 0}, EPERM},
    {"TIOCSETD", SYS_ioctl, {-1, TIOCSETD, 0}, EPERM},
    {"TIOCCONS, high bits", SYS_ioctl, {-1, (1l << 40) | TIOCCONS, 0}, EPERM},
    {"prctl, a name", SYS_prctl, {PR_GET_DUMPABLE}, 0},
    {"PR_SET_MM", SYS_prctl, {PR_SET_MM, 0, 0, 0}, EPERM},
    {"PR_SET_MM, high bits", SYS_prctl, {(1l << 32) | PR_SET_MM, 0, 0, 0}, EPERM},
    {"PR_MCE_KILL", SYS_prctl, {PR_MCE_KILL, 0, 0, 0}, EPERM},
    {"PR_SCHED_CORE", SYS_prctl, {62, 0, 0, 0}, EPERM},
    {"iptables of old", SYS_setsockopt, {-1, IPPROTO_IP, 64, 0}, EPERM},
    {"iptables of old, high bits", SYS_setsockopt, {-1, 1l << 32, (1l << 33) | 64, 0}, EPERM},
    {"ip6tables of old", SYS_setsockopt, {-1, IPPROTO_IPV6, 64, 0}, EPERM},
    {"arptables", SYS_setsockopt, {-1, IPPROTO_IP, 96, 0}, EPERM},
    {"ebtables", SYS_setsockopt, {-1, IPPROTO_IP, 128, 0}, EPERM},
    {"IP_TTL", SYS_setsockopt, {-1, IPPROTO_IP, IP_TTL, 0}, EBADF},
    {"SO_REUSEADDR", SYS_setsockopt, {-1, SOL_SOCKET, SO_REUSEADDR, 0}, EBADF},
    {"rt_sigqueueinfo", SYS_rt_sigqueueinfo, {0, 0, 0}, EFAULT},
    {"modify_ldt", 154, {0}, EPERM},
    {"mbind", SYS_mbind, {0}, EPERM},
    {"move_mount", SYS_move_mount, {-1, 0, -1, 0}, EPERM},
    {"fsopen", SYS_fsopen, {0}, EPERM},
    {"memfd_create", SYS_memfd_create, {0, 0}, EFAULT},
    {"an unknown call", SYS_getpid + 5000, {0}, ENOSYS},
};

/* What differs for a job with a sandbox of its own; all that stands in neither list stays denied. */
static const struct probe nested_probes[] = {
    {"mount", SYS_mount, {0}, EFAULT},
    {"umount2", SYS_umount2, {0}, EFAULT},
    {"pivot_root", SYS_pivot_root, {0}, EFAULT},
    {"unshare nothing", SYS_unshare, {0}, NO_ERROR},
    {"unshare, a new clock", SYS_unshare, {0x80}, EPERM},
    {"unshare, user and clock", SYS_unshare, {CLONE_NEWUSER | 0x80}, EPERM},
    {"clone3", SYS_clone3, {0, 0}, ENOSYS},
    {"setns", SYS_setns, {-1, 0}, EPERM},
    {"fsopen", SYS_fsopen, {0}, EPERM},
    {"fsconfig", SYS_fsconfig, {-1, 0, 0, 0}, EPERM},
    {"open_tree", SYS_open_tree, {-1, 0, 0}, EPERM},
    {"mount_setattr", SYS_mount_setattr, {-1, 0, 0, 0}, EPERM},
    {"chroot", SYS_chroot, {0}, EPERM},
    {"NETLINK_ROUTE", SYS_socket, {AF_NETLINK, SOCK_RAW, 0}, 0},
    {"NETLINK_NETFILTER", SYS_socket, {AF_NETLINK, SOCK_RAW, 12}, EPERM},
    {"AF_PACKET", SYS_socket, {AF_PACKET, SOCK_RAW, 0}, EPERM},
    {"raw", SYS_socket, {AF_INET, SOCK_RAW, IPPROTO_RAW}, EPERM},
    {"raw TCP", SYS_socket, {AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP}, EPERM},
    {"raw UDP over IPv6", SYS_socket, {AF_INET6, SOCK_RAW, IPPROTO_UDP}, EPERM},
    {"SOCK_PACKET", SYS_socket, {AF_INET, SOCK_PACKET | SOCK_NONBLOCK, 0}, EPERM},
    {"iptables of old", SYS_setsockopt, {-1, IPPROTO_IP, 64, 0}, EPERM},
    {"ptrace", SYS_ptrace, {0, 0, 0, 0}, EPERM},
    {"bpf", SYS_bpf, {0}, EPERM},
    {"keyctl", SYS_keyctl, {0}, EPERM},
    {"io_uring_setup", SYS_io_uring_setup, {1, 0}, EPERM},
    {"TIOCSTI, high bits", SYS_ioctl, {-1, (1l << 32) | TIOCSTI, 0}, EPERM},
    {"open_by_handle_at", SYS_open_by_handle_at, {-1, 0, 0}, EPERM},
};

static bool held(const struct probe *p)
{
    errno = 0;
    syscall(p->nr, p->args[0], p->args[1], p->args[2], p->args[3]);
    if (p->due == NO_ERROR)
        return errno == 0;
    if (p->due)
        return errno == p->due;
    return errno != EPERM && errno != ENOSYS;
}

/* Runs `body` fenced in a child; returns its wait status. */
static int fenced(enum seccomp_variant variant, int (*body)(void))
{
    struct err err = ERR_INIT;
    struct seccomp_filter f;
    int status = 0;
    assert_ok(seccomp_compile(&f, &err));
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_apply(&f, variant, &err) < 0)
            _exit(255);
        _exit(body());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    seccomp_done(&f);
    return status;
}

static int try_all(const struct probe *p, size_t n)
{
    int wrong = 0;
    for (; n > 0; n--, p++)
        if (!held(p)) {
            dprintf(2, "%s: errno %d, not %d\n", p->what, errno, p->due);
            wrong = 1;
        }
    return wrong;
}

static int all_probes(void)
{
    return try_all(probes, sizeof probes / sizeof *probes);
}

static int all_nested_probes(void)
{
    int wrong = try_all(nested_probes, sizeof nested_probes / sizeof *nested_probes);
    /* Last: the process has another identity then. */
    return wrong || unshare(CLONE_NEWUSER | CLONE_NEWNET | CLONE_NEWNS) < 0;
}

static void calls(void **state)
{
    int status = fenced(SECCOMP_PLAIN, all_probes);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void nested_calls(void **state)
{
    int status = fenced(SECCOMP_NESTED, all_nested_probes);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

#ifdef __x86_64__
static int x32_call(void)
{
    syscall(0x40000000 | SYS_getpid);
    return 0;
}

static int i386_call(void)
{
    int rc = 20; /* getpid of the 32-bit table */
    __asm__ volatile("int $0x80" : "+a"(rc) : : "memory", "r8", "r9", "r10", "r11");
    return 0;
}

static void foreign_calls_die(void **state)
{
    int status = fenced(SECCOMP_PLAIN, x32_call);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS);
    status = fenced(SECCOMP_NESTED, i386_call);
    assert_true(WIFSIGNALED(status));
}
#endif

static bool named(const struct seccomp_group *groups, const char *name, size_t *ret_times)
{
    size_t times = 0;
    for (const struct seccomp_group *g = groups; g->names; g++)
        for (const char *const *n = g->names; *n; n++)
            times += strcmp(*n, name) == 0;
    *ret_times = times;
    return times > 0;
}

/* No name stands twice or on both sides, and none is a typing error. */
static void tables(void **state)
{
    static const char *const new_ones[] = {"fchmodat2", "mseal"}; /* newer than libseccomp 2.5 */
    const struct seccomp_group *both[] = {seccomp_allowed, seccomp_denied};
    for (int side = 0; side < 2; side++)
        for (const struct seccomp_group *g = both[side]; g->names; g++)
            for (const char *const *n = g->names; *n; n++) {
                size_t here, there;
                bool is_new = false;
                assert_true(strlen(g->why) > 0);
                named(both[side], *n, &here);
                if (here != 1 || named(both[!side], *n, &there))
                    fail_msg("%s stands twice", *n);
                for (size_t i = 0; i < sizeof new_ones / sizeof *new_ones; i++)
                    is_new |= strcmp(new_ones[i], *n) == 0;
                if (!is_new && seccomp_syscall_resolve_name(*n) == __NR_SCMP_ERROR)
                    fail_msg("%s is no system call", *n);
            }
}

static bool has_rule(const char *call)
{
    for (const struct seccomp_rule *r = seccomp_rules; r->call; r++)
        if (strcmp(r->call, call) == 0)
            return true;
    return false;
}

/* What nesting allows is denied otherwise, each rule is about a call that exists and is not already
 * decided by name, and all of it is explained. */
static void rules(void **state)
{
    struct buf b;
    size_t times;
    for (const struct seccomp_group *g = seccomp_nested; g->names; g++)
        for (const char *const *n = g->names; *n; n++)
            assert_true(named(seccomp_denied, *n, &times));
    assert_non_null(seccomp_rules[0].why);
    for (const struct seccomp_rule *r = seccomp_rules; r->call; r++) {
        if (seccomp_syscall_resolve_name(r->call) == __NR_SCMP_ERROR)
            fail_msg("%s is no system call", r->call);
        assert_true(r->tests[0].op != 0);
        bool allowed = named(seccomp_allowed, r->call, &times);
        if (r->answer == SECCOMP_GRANT)
            assert_false(allowed);
        else
            assert_true(allowed || has_rule(r->call));
    }
    buf_init(&b, 64u << 10);
    assert_int_equal(seccomp_explain(&b), 0);
    for (const struct seccomp_group *g = seccomp_allowed; g->names; g++)
        assert_non_null(strstr(buf_str(&b), g->why));
    assert_non_null(strstr(buf_str(&b), "deny ioctl when argument 2 is 0x5412\n"));
    assert_non_null(strstr(buf_str(&b), "deny clone when argument 1 has 0x10000000; not with"));
    buf_done(&b);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(calls),
#ifdef __x86_64__
        cmocka_unit_test(foreign_calls_die),
#endif
        cmocka_unit_test(nested_calls),
        cmocka_unit_test(tables),
        cmocka_unit_test(rules),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
