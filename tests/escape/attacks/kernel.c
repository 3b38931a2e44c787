/* The kernel's surface: one attack for each family of system calls that a job has no use for. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fanotify.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/reboot.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/timex.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/bpf.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/kcmp.h>
#include <linux/keyctl.h>
#include <linux/perf_event.h>
#include <linux/sched.h>
#include <linux/seccomp.h>

#include "tests/escape/attacks/attack.h"

#define FILTER   "system call filter"
#define FILTER_2 "system call filter and no capability"

static void io_uring(char **args)
{
    struct io_uring_params p = {0};
    filtered(syscall(SYS_io_uring_setup, 4, &p), "io_uring_setup");
    blocked("io_uring_setup: %s", strerror(errno));
}

static void bpf_map(char **args)
{
    union bpf_attr a = {.map_type = BPF_MAP_TYPE_ARRAY};
    a.key_size = a.value_size = 4;
    a.max_entries = 1;
    filtered(syscall(SYS_bpf, BPF_MAP_CREATE, &a, sizeof a), "bpf map");
    blocked("bpf: %s", strerror(errno));
}

static void perf(char **args)
{
    struct perf_event_attr a = {.type = PERF_TYPE_SOFTWARE, .size = sizeof a};
    a.config = PERF_COUNT_SW_CPU_CLOCK;
    filtered(syscall(SYS_perf_event_open, &a, 0, -1, -1, 0), "perf_event_open");
    blocked("perf_event_open: %s", strerror(errno));
}

static void user_fault(char **args)
{
    filtered(syscall(SYS_userfaultfd, O_CLOEXEC), "userfaultfd");
    filtered(syscall(SYS_userfaultfd, O_CLOEXEC | 1), "userfaultfd of user mode");
    int fd = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    refused(fd, "/dev/userfaultfd");
    blocked("userfaultfd: Operation not permitted; its device: %s", strerror(errno));
}

static void key_read(char **args)
{
    char text[256];
    filtered(syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0), "keyctl");
    int fd = open("/proc/keys", O_RDONLY | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text) > 0)
        got("/proc/keys lists keys");
    blocked("keyctl: Operation not permitted; /proc/keys is empty");
}

static void key_add(char **args)
{
    filtered(syscall(SYS_add_key, "user", MARK, "x", 1, KEY_SPEC_USER_KEYRING), "add_key");
    blocked("add_key: %s", strerror(errno));
}

static void key_request(char **args)
{
    filtered(syscall(SYS_request_key, "user", MARK "-none", "x", 0), "request_key");
    blocked("request_key: %s", strerror(errno));
}

static void kexec(char **args)
{
    filtered(syscall(SYS_kexec_load, 0, 0, NULL, 0), "kexec_load");
    filtered(syscall(SYS_kexec_file_load, -1, -1, 0, NULL, 0), "kexec_file_load");
    blocked("kexec_load, kexec_file_load: %s", strerror(errno));
}

/* Garbage, so that nothing is loaded anywhere: the kernel would say that it is no module. */
static void module(char **args)
{
    int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    filtered(syscall(SYS_init_module, "garbage", 7, ""), "init_module");
    filtered(syscall(SYS_finit_module, fd, "", 0), "finit_module");
    filtered(syscall(SYS_delete_module, MARK, O_NONBLOCK), "delete_module");
    blocked("init_module, finit_module, delete_module: %s", strerror(errno));
}

static void fanotify(char **args)
{
    filtered(syscall(SYS_fanotify_init, FAN_CLASS_NOTIF | FAN_REPORT_FID, O_RDONLY), "fanotify");
    blocked("fanotify_init: %s", strerror(errno));
}

static void ptrace_child(char **args)
{
    pid_t pid = bystander();
    filtered(ptrace(PTRACE_ATTACH, pid, NULL, NULL), "ptrace of a child");
    filtered(ptrace(PTRACE_SEIZE, 1, NULL, NULL), "ptrace of pid 1");
    filtered(ptrace(PTRACE_TRACEME, 0, NULL, NULL), "ptrace of oneself");
    blocked("ptrace: %s", strerror(errno));
}

static void process_vm(char **args)
{
    static char secret[16] = "another process";
    char here[16];
    struct iovec to = {here, 16}, from = {secret, 16};
    pid_t pid = bystander();
    filtered(process_vm_readv(pid, &to, 1, &from, 1, 0), "process_vm_readv");
    filtered(process_vm_writev(pid, &to, 1, &from, 1, 0), "process_vm_writev");
    blocked("process_vm_readv, process_vm_writev: %s", strerror(errno));
}

static void steal_fd(char **args)
{
    pid_t pid = bystander();
    long pidfd = syscall(SYS_pidfd_open, pid, 0);
    filtered(syscall(SYS_pidfd_getfd, pidfd, 1, 0), "pidfd_getfd of a child");
    pidfd = syscall(SYS_pidfd_open, 1, 0);
    filtered(syscall(SYS_pidfd_getfd, pidfd, 3, 0), "pidfd_getfd of pid 1");
    blocked("pidfd_getfd: %s", strerror(errno));
}

static void compare(char **args)
{
    filtered(syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, 0, 1), "kcmp");
    blocked("kcmp: %s", strerror(errno));
}

static void advise(char **args)
{
    struct iovec v = {NULL, 0};
    long pidfd = syscall(SYS_pidfd_open, bystander(), 0);
    filtered(syscall(SYS_process_madvise, pidfd, &v, 0, MADV_COLD, 0), "process_madvise");
    filtered(syscall(448 /* process_mrelease */, pidfd, 0), "process_mrelease");
    blocked("process_madvise, process_mrelease: %s", strerror(errno));
}

static void unshare_all(char **args)
{
    static const int flags[] = {CLONE_NEWUSER, CLONE_NEWNS,  CLONE_NEWPID,   CLONE_NEWNET,
                                CLONE_NEWIPC,  CLONE_NEWUTS, CLONE_NEWCGROUP};
    for (size_t i = 0; i < sizeof flags / sizeof *flags; i++)
        filtered(unshare(flags[i]), "unshare");
    filtered(unshare(0x80 /* CLONE_NEWTIME */), "unshare of time");
    blocked("unshare of 8 kinds: %s", strerror(errno));
}

static void clone_user(char **args)
{
    long pid = syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    filtered(pid, "clone with a user namespace");
    pid = syscall(SYS_clone, (1ul << 32) | CLONE_NEWNET | SIGCHLD, NULL, NULL, NULL, NULL);
    if (pid == 0)
        _exit(0);
    filtered(pid, "clone with high bits and a network namespace");
    blocked("clone: %s", strerror(errno));
}

static void clone3_user(char **args)
{
    struct clone_args a = {.flags = CLONE_NEWUSER, .exit_signal = SIGCHLD};
    long pid = syscall(SYS_clone3, &a, sizeof a);
    if (pid == 0)
        _exit(0);
    filtered(pid, "clone3 with a user namespace");
    pid_t wanted = 4242;
    a = (struct clone_args){
        .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&wanted, .set_tid_size = 1};
    pid = syscall(SYS_clone3, &a, sizeof a);
    if (pid == 0)
        _exit(0);
    filtered(pid, "clone3 with a chosen pid");
    blocked("clone3: %s", strerror(errno));
}

static void enter(char **args)
{
    static const char *const names[] = {"mnt", "net", "pid", "ipc", "uts", "user", "cgroup"};
    char path[64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "/proc/self/ns/%s", names[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        filtered(syscall(SYS_setns, fd, 0), "setns of one's own");
        snprintf(path, sizeof path, "/proc/1/ns/%s", names[i]);
        if (open(path, O_RDONLY | O_CLOEXEC) >= 0)
            got("%s could be opened", path);
    }
    filtered(syscall(SYS_setns, syscall(SYS_pidfd_open, 1, 0), CLONE_NEWNS), "setns by pidfd");
    blocked("setns: %s; /proc/1/ns cannot be opened", strerror(errno));
}

/* getpid by the 32-bit gate: a filter for 64-bit numbers alone would take 20 for writev. */
static void gate32(char **args)
{
#ifdef __x86_64__
    long r;
    __asm__ volatile("int $0x80" : "=a"(r) : "a"(20) : "memory", "r8", "r9", "r10", "r11");
    if (r == getpid())
        got("int 0x80 answered");
#endif
    blocked("no 32-bit call came through");
}

static void x32(char **args)
{
    long r = syscall(0x40000000 | 39);
    if (r == getpid())
        got("an x32 call answered");
    filtered(syscall(0x40000000 | SYS_mount, "none", "/mnt", "tmpfs", 0, NULL), "x32 mount");
    blocked("x32 calls: %s", strerror(errno));
}

static void persona(char **args)
{
    filtered(personality(READ_IMPLIES_EXEC), "personality READ_IMPLIES_EXEC");
    filtered(personality(PER_LINUX32 | ADDR_COMPAT_LAYOUT), "personality PER_LINUX32");
    filtered(syscall(SYS_personality, 0x0008 | MMAP_PAGE_ZERO), "personality MMAP_PAGE_ZERO");
    blocked("personality: %s", strerror(errno));
}

/* Types into a terminal of one's own: what a terminal passed in would get, were there one. */
static void terminal(char **args)
{
    int master = posix_openpt(O_RDWR | O_NOCTTY), zero = 0, discipline = 2;
    if (master < 0 || unlockpt(master) < 0)
        blocked("there is no terminal to be had: %s", strerror(errno));
    setsid();
    int slave = open(ptsname(master), O_RDWR);
    ioctl(slave, TIOCSCTTY, 0);
    filtered(syscall(SYS_ioctl, slave, TIOCSTI, "x"), "TIOCSTI");
    filtered(syscall(SYS_ioctl, slave, (1ul << 32) | TIOCSTI, "x"), "TIOCSTI with a high bit");
    filtered(syscall(SYS_ioctl, slave, 0xffffffff00000000ul | TIOCSTI, "x"),
             "TIOCSTI, all high bits");
    filtered(syscall(SYS_ioctl, slave, 0x541C /* TIOCLINUX */, &zero), "TIOCLINUX");
    filtered(syscall(SYS_ioctl, slave, TIOCSETD, &discipline), "TIOCSETD");
    if (open("/dev/tty0", O_RDWR | O_CLOEXEC) >= 0 || open("/dev/console", O_RDWR | O_CLOEXEC) >= 0)
        got("a console could be opened");
    blocked("TIOCSTI, TIOCLINUX, TIOCSETD, with and without high bits: Operation not permitted");
}

static void ldt(char **args)
{
    char entry[64];
    filtered(syscall(SYS_modify_ldt, 0, entry, sizeof entry), "modify_ldt");
    blocked("modify_ldt: %s", strerror(errno));
}

static void quota(char **args)
{
    filtered(syscall(SYS_quotactl, 0x80000100 /* Q_SYNC, users */, NULL, 0, NULL), "quotactl");
    blocked("quotactl: %s", strerror(errno));
}

static void swap(char **args)
{
    filtered(swapon("/tmp/" MARK, 0), "swapon");
    filtered(swapoff("/tmp/" MARK), "swapoff");
    blocked("swapon, swapoff: %s", strerror(errno));
}

/* To the very time that it is. */
static void clock_set(char **args)
{
    struct timeval now;
    struct timespec ts;
    gettimeofday(&now, NULL);
    filtered(syscall(SYS_settimeofday, &now, NULL), "settimeofday");
    clock_gettime(CLOCK_REALTIME, &ts);
    filtered(syscall(SYS_clock_settime, CLOCK_REALTIME, &ts), "clock_settime");
    struct timex t = {.modes = 0};
    filtered(adjtimex(&t), "adjtimex");
    filtered(syscall(SYS_clock_adjtime, CLOCK_REALTIME, &t), "clock_adjtime");
    blocked("settimeofday, clock_settime, adjtimex, clock_adjtime: %s", strerror(errno));
}

static void host_name(char **args)
{
    filtered(sethostname(MARK, strlen(MARK)), "sethostname");
    filtered(setdomainname(MARK, strlen(MARK)), "setdomainname");
    blocked("sethostname, setdomainname: %s", strerror(errno));
}

static void restart(char **args)
{
    filtered(reboot(RB_AUTOBOOT), "reboot");
    blocked("reboot: %s", strerror(errno));
}

static void accounting(char **args)
{
    int fd = open("/tmp/" MARK "-acct", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    close(fd);
    filtered(acct("/tmp/" MARK "-acct"), "acct");
    blocked("acct: %s", strerror(errno));
}

static void kernel_log(char **args)
{
    static char text[4096];
    filtered(syscall(SYS_syslog, 3, text, sizeof text), "syslog");
    if (open("/dev/kmsg", O_RDONLY | O_CLOEXEC) >= 0)
        got("/dev/kmsg could be opened");
    int fd = open("/proc/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (fd >= 0 && read(fd, text, sizeof text) > 0)
        got("/proc/kmsg could be read");
    blocked("syslog: Operation not permitted; no kmsg");
}

static void ports(char **args)
{
    filtered(syscall(SYS_iopl, 3), "iopl");
    filtered(syscall(SYS_ioperm, 0x80, 1, 1), "ioperm");
    blocked("iopl, ioperm: %s", strerror(errno));
}

static void pages(char **args)
{
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int node = 0, status;
    unsigned long mask = 1;
    memset(page, 1, 4096);
    filtered(syscall(SYS_move_pages, 0, 1, &page, &node, &status, 0), "move_pages");
    filtered(syscall(SYS_migrate_pages, 0, 8, &mask, &mask), "migrate_pages");
    filtered(syscall(SYS_mbind, page, 4096, 0, NULL, 0, 0), "mbind");
    filtered(syscall(SYS_remap_file_pages, page, 4096, 0, 0, 0), "remap_file_pages");
    blocked("move_pages, migrate_pages, mbind, remap_file_pages: %s", strerror(errno));
}

/* Long out of use, still there. */
static void old_calls(char **args)
{
    char text[256];
    filtered(syscall(SYS_uselib, "/lib/" MARK), "uselib");
    filtered(syscall(SYS_sysfs, 3), "sysfs");
    filtered(syscall(SYS_ustat, 0, text), "ustat");
    filtered(syscall(SYS_lookup_dcookie, 0, text, sizeof text), "lookup_dcookie");
    filtered(syscall(SYS_vhangup), "vhangup");
    filtered(syscall(SYS_io_setup, 1, &(unsigned long){0}), "io_setup");
    blocked("uselib, sysfs, ustat, lookup_dcookie, vhangup, io_setup: %s", strerror(errno));
}

/* Every number that the kernel may know and no list of ours names: with arguments that can do nothing. */
static void unknown_calls(char **args)
{
    static const short strange[] = {134, 156, 177, 178, 180, 181, 182, 183, 184, 185, 236};
    for (size_t i = 0; i < sizeof strange / sizeof *strange; i++) {
        filtered(syscall(strange[i], -1, -1, -1, -1, -1, -1), "a call without a name");
    }
    for (long nr = 450; nr < 1024; nr++) {
        if (nr == 452 /* fchmodat2 */ || nr == 462 /* mseal */)
            continue;
        long r = syscall(nr, -1, -1, -1, -1, -1, -1);
        if (r >= 0 || (errno != ENOSYS && errno != EPERM))
            got("call %ld came through: %s", nr, r >= 0 ? "done" : strerror(errno));
    }
    blocked("calls 450 to 1023: %s", strerror(errno));
}

/* A filter of one's own that allows everything changes nothing about the one before. */
static void own_filter(char **args)
{
    struct sock_filter allow = {BPF_RET | BPF_K, 0, 0, SECCOMP_RET_ALLOW};
    struct sock_fprog program = {1, &allow};
    syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &program);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
    prctl(PR_SET_SECCOMP, 0, 0, 0, 0);
    filtered(unshare(CLONE_NEWUSER), "unshare under an own filter");
    blocked("a filter that allows everything was put on top; unshare: %s", strerror(errno));
}

static void capabilities(char **args)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct all[2] = {{~0u, ~0u, ~0u}, {0x1ff, 0x1ff, 0x1ff}};
    refused(syscall(SYS_capset, &head, all), "capset to everything");
    refused(prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, CAP_SYS_ADMIN, 0, 0),
            "an ambient capability");
    refused(prctl(PR_SET_SECUREBITS, 0, 0, 0, 0), "securebits cleared");
    refused(prctl(PR_SET_MM, PR_SET_MM_EXE_FILE, -1, 0, 0), "PR_SET_MM");
    if (prctl(PR_SET_NO_NEW_PRIVS, 0, 0, 0, 0) == 0)
        got("no_new_privs was cleared");
    blocked(
        "capset, ambient set, securebits, PR_SET_MM, no_new_privs off: Operation not permitted");
}

const struct attack attacks_kernel[] = {
    {"io-uring", "make an io_uring", FILTER, ANYWHERE, "", io_uring},
    {"bpf", "make a BPF map", FILTER, ANYWHERE, "", bpf_map},
    {"perf", "count with perf_event_open", FILTER, ANYWHERE, "", perf},
    {"userfaultfd", "catch page faults", FILTER, ANYWHERE, "", user_fault},
    {"keyring-read", "read kernel keyrings", FILTER, ANYWHERE, "", key_read},
    {"keyring-add", "add a key", FILTER, ANYWHERE, "", key_add},
    {"keyring-request", "have the kernel call request-key", FILTER, ANYWHERE, "", key_request},
    {"kexec", "load another kernel", FILTER_2, ANYWHERE, "", kexec},
    {"module", "load and remove kernel modules", FILTER_2, ANYWHERE, "", module},
    {"fanotify", "watch whole file systems", FILTER, ANYWHERE, "", fanotify},
    {"ptrace", "trace a child, pid 1, oneself", FILTER, ANYWHERE, "", ptrace_child},
    {"process-vm", "read and write another process's memory", FILTER, ANYWHERE, "", process_vm},
    {"pidfd-getfd", "take descriptors of others, pid 1's too", FILTER, ANYWHERE, "", steal_fd},
    {"kcmp", "compare kernel pointers", FILTER, ANYWHERE, "", compare},
    {"process-madvise", "act on another process's memory", FILTER, ANYWHERE, "", advise},
    {"unshare", "new namespaces by unshare", FILTER, ANYWHERE, "", unshare_all},
    {"clone-namespaces", "new namespaces by clone", FILTER, ANYWHERE, "", clone_user},
    {"clone3-namespaces", "new namespaces and a chosen pid by clone3", FILTER, ANYWHERE, "",
     clone3_user},
    {"setns", "enter namespaces by file and by pidfd", FILTER, ANYWHERE, "", enter},
    {"int-0x80", "32-bit system calls", "filter kills other architectures", ANYWHERE, "", gate32},
    {"x32", "x32 system calls", "filter kills other architectures", ANYWHERE,
     "kernels of today have no x32", x32},
    {"personality", "READ_IMPLIES_EXEC and other personalities", FILTER, ANYWHERE, "", persona},
    {"terminal-input", "type into a terminal, also with high bits", FILTER, ANYWHERE, "", terminal},
    {"modify-ldt", "touch the local descriptor table", FILTER, ANYWHERE, "", ldt},
    {"quotactl", "disk quotas", FILTER, ANYWHERE, "", quota},
    {"swap", "swap to a file", FILTER_2, ANYWHERE, "", swap},
    {"clock", "set the clock", FILTER_2, ANYWHERE, "", clock_set},
    {"host-name", "rename the machine", FILTER_2, ANYWHERE, "", host_name},
    {"reboot", "restart the machine", FILTER_2, THROWAWAY, "would end it", restart},
    {"acct", "have all processes accounted into a file", FILTER_2, THROWAWAY, "", accounting},
    {"kernel-log", "read the kernel's log", FILTER_2, ANYWHERE, "", kernel_log},
    {"io-ports", "talk to hardware ports", FILTER_2, ANYWHERE, "", ports},
    {"page-moves", "move pages between nodes", FILTER, ANYWHERE, "", pages},
    {"old-calls", "calls that nobody uses any more", FILTER, ANYWHERE, "", old_calls},
    {"unknown-calls", "each call that no list names", FILTER, ANYWHERE,
     "an old kernel knows none of them", unknown_calls},
    {"own-filter", "take the filter off by one of one's own", "filters only add up", ANYWHERE, "",
     own_filter},
    {"capabilities", "raise capabilities, clear securebits", "no capability, securebits locked",
     ANYWHERE, "", capabilities},
    {NULL, NULL, NULL, ANYWHERE, NULL, NULL},
};
