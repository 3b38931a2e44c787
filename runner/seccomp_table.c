/* Which system calls a jail has: the policy as tables, one group or rule a reason. No code here. A name
 * that this architecture or an older libseccomp does not know is skipped: it is then not allowed.
 *
 * What stands in no table is answered ENOSYS. Of that, on purpose: io_setup and its like, whose requests
 * are counted for the whole host, so that a jail could use all (databases fall back to threads);
 * vmsplice, which no build needs and several exploits did; clone3, whose flags a filter cannot read
 * (every libc falls back to clone); memfd_secret, whose pages no wipe and no dump of ours can see;
 * futex_wake and its like, which nothing needs yet. */
#include "runner/seccomp.h"

#include <errno.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>

#define NAMES(...)        \
    (const char *const[]) \
    {                     \
        __VA_ARGS__, NULL \
    }

const struct seccomp_group seccomp_allowed[] = {
    {"open, read and write files and pipes",
     NAMES("read", "write", "open", "openat", "openat2", "creat", "close", "close_range", "lseek",
           "pread64", "pwrite64", "readv", "writev", "preadv", "pwritev", "preadv2", "pwritev2",
           "pipe", "pipe2", "dup", "dup2", "dup3", "sendfile", "splice", "tee", "copy_file_range",
           "readahead", "fadvise64", "fallocate", "ftruncate", "truncate", "fsync", "fdatasync",
           "sync", "syncfs", "sync_file_range", "flock", "fcntl")},
    {"names, attributes and directories of files",
     NAMES("stat", "fstat", "lstat", "newfstatat", "statx", "statfs", "fstatfs", "access",
           "faccessat", "faccessat2", "readlink", "readlinkat", "getdents", "getdents64", "mkdir",
           "mkdirat", "rmdir", "rename", "renameat", "renameat2", "link", "linkat", "symlink",
           "symlinkat", "unlink", "unlinkat", "chmod", "fchmod", "fchmodat", "fchmodat2", "chown",
           "fchown", "lchown", "fchownat", "umask", "utime", "utimes", "futimesat", "utimensat",
           "getcwd", "chdir", "fchdir", "mknod", "mknodat", "getxattr", "lgetxattr", "fgetxattr",
           "setxattr", "lsetxattr", "fsetxattr", "listxattr", "llistxattr", "flistxattr",
           "removexattr", "lremovexattr", "fremovexattr")},
    {"memory of one's own",
     NAMES("brk", "mmap", "munmap", "mprotect", "mremap", "madvise", "msync", "mincore", "mlock",
           "mlock2", "munlock", "mlockall", "munlockall", "memfd_create", "membarrier",
           "pkey_alloc", "pkey_free", "pkey_mprotect", "get_mempolicy", "set_mempolicy", "mseal")},
    {"processes and threads (flags of clone, options of prctl: below)",
     NAMES("clone", "fork", "vfork", "execve", "execveat", "exit", "exit_group", "wait4", "waitid",
           "kill", "tkill", "tgkill", "getpid", "gettid", "getppid", "getpgid", "getpgrp",
           "setpgid", "getsid", "setsid", "set_tid_address", "set_robust_list", "get_robust_list",
           "futex", "futex_waitv", "rseq", "arch_prctl", "prctl", "capget", "capset", "getpriority",
           "setpriority", "ioprio_get", "ioprio_set", "pidfd_open", "pidfd_send_signal",
           "set_thread_area", "get_thread_area", "restart_syscall")},
    {"who one is: reading it, and setting it to what it is already",
     NAMES("getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups",
           "setuid", "setgid", "setreuid", "setregid", "setresuid", "setresgid", "setgroups",
           "setfsuid", "setfsgid")},
    {"signals", NAMES("rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending",
                      "rt_sigsuspend", "rt_sigtimedwait", "rt_sigqueueinfo", "rt_tgsigqueueinfo",
                      "sigaltstack", "pause", "signalfd", "signalfd4")},
    {"time: read, wait, own timers",
     NAMES("clock_gettime", "clock_getres", "clock_nanosleep", "gettimeofday", "time", "nanosleep",
           "alarm", "getitimer", "setitimer", "times", "timer_create", "timer_settime",
           "timer_gettime", "timer_getoverrun", "timer_delete", "timerfd_create", "timerfd_settime",
           "timerfd_gettime")},
    {"waiting for many things",
     NAMES("poll", "ppoll", "select", "pselect6", "epoll_create", "epoll_create1", "epoll_ctl",
           "epoll_wait", "epoll_pwait", "epoll_pwait2", "eventfd", "eventfd2", "inotify_init",
           "inotify_init1", "inotify_add_watch", "inotify_rm_watch")},
    {"sockets (socket itself: by family and protocol, below; the only interface is lo)",
     NAMES("socketpair", "bind", "listen", "accept", "accept4", "connect", "getsockname",
           "getpeername", "getsockopt", "setsockopt", "sendto", "recvfrom", "sendmsg", "recvmsg",
           "sendmmsg", "recvmmsg", "shutdown")},
    {"System V and POSIX message passing, in the jail's own namespace",
     NAMES("shmget", "shmat", "shmdt", "shmctl", "semget", "semop", "semtimedop", "semctl",
           "msgget", "msgsnd", "msgrcv", "msgctl", "mq_open", "mq_unlink", "mq_timedsend",
           "mq_timedreceive", "mq_notify", "mq_getsetattr")},
    {"the machine: reading, and scheduling of oneself",
     NAMES("uname", "sysinfo", "getrandom", "getcpu", "getrlimit", "setrlimit", "prlimit64",
           "getrusage", "sched_yield", "sched_getaffinity", "sched_setaffinity", "sched_getparam",
           "sched_setparam", "sched_getscheduler", "sched_setscheduler", "sched_get_priority_max",
           "sched_get_priority_min", "sched_rr_get_interval", "sched_getattr", "sched_setattr")},
    {"fences that a program puts around itself",
     NAMES("seccomp", "landlock_create_ruleset", "landlock_add_rule", "landlock_restrict_self")},
    {"device control (what acts on terminals: below)", NAMES("ioctl")},
    {NULL, NULL},
};

const struct seccomp_group seccomp_denied[] = {
    {"mounts and roots: the file tree is built before the job and stays",
     NAMES("mount", "umount2", "pivot_root", "chroot", "fsopen", "fsconfig", "fsmount", "fspick",
           "open_tree", "move_mount", "mount_setattr", "swapon", "swapoff", "quotactl",
           "quotactl_fd")},
    {"new or other namespaces: every one is new kernel surface", NAMES("unshare", "setns")},
    {"other processes' memory and descriptors",
     NAMES("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease",
           "pidfd_getfd", "kcmp", "move_pages", "migrate_pages", "mbind")},
    {"large kernel surface with a history of escapes",
     NAMES("bpf", "userfaultfd", "perf_event_open", "io_uring_setup", "io_uring_enter",
           "io_uring_register", "fanotify_init", "fanotify_mark", "lookup_dcookie", "uselib",
           "modify_ldt", "vhangup", "acct", "nfsservctl", "remap_file_pages")},
    {"files by handle leave any root (Shocker)", NAMES("open_by_handle_at", "name_to_handle_at")},
    {"keyrings are not namespaced", NAMES("keyctl", "add_key", "request_key")},
    {"the kernel itself and the machine",
     NAMES("init_module", "finit_module", "delete_module", "kexec_load", "kexec_file_load",
           "reboot", "syslog", "iopl", "ioperm", "settimeofday", "clock_settime", "clock_adjtime",
           "adjtimex", "sethostname", "setdomainname", "sysfs", "ustat")},
    {NULL, NULL},
};

/* For agents that bring a sandbox of their own (bubblewrap, and what is built on it). The price, as a
 * whole: inside a namespace of its own the job is root, so kernel code that otherwise only root reaches
 * is in its reach. Landlock's rules about files, the covers over /proc and the ceiling on user namespaces
 * go as well, since each of them makes such a sandbox fail. All other fences stay: no name of a file is
 * in reach that was not, no device, no module, no new network. */
const struct seccomp_group seccomp_nested[] = {
    {"user namespaces and what hangs on them: packet and traffic control of an empty network, "
     "and whatever else asks for a capability of the caller's own namespace",
     NAMES("unshare")},
    {"a file tree of one's own, from mounts that are there: file systems that a user namespace may "
     "mount (proc, tmpfs, devpts, overlay, mqueue, sysfs), by the old calls only",
     NAMES("mount", "umount2", "pivot_root")},
    {NULL, NULL},
};

#define LOW32 0xffffffffull
#define INT(n, x)                             \
    {                                         \
        (n), SECCOMP_IS, (uint32_t)(x), LOW32 \
    }
#define HAS(n, x)                \
    {                            \
        (n), SECCOMP_HAS, (x), 0 \
    }
#define WHOLE(n, x)                 \
    {                               \
        (n), SECCOMP_IS, (x), ~0ull \
    }
#define NOT(n, x)                   \
    {                               \
        (n), SECCOMP_IS_NOT, (x), 0 \
    }
#define ABOVE(n, x)                \
    {                              \
        (n), SECCOMP_ABOVE, (x), 0 \
    }
/* The kind of socket, without the flags that stand in the same argument. */
#define KIND(x)                 \
    {                           \
        1, SECCOMP_IS, (x), 0xf \
    }
#define DENY(name, ...)  .call = (name), .answer = EPERM, .tests = {__VA_ARGS__}
#define GRANT(name, ...) .call = (name), .answer = SECCOMP_GRANT, .tests = {__VA_ARGS__}
#define DONE(name, ...)  .call = (name), .answer = 0, .tests = {__VA_ARGS__}
#define NEW_SPACE(flag)  .plain_only = true, DENY("clone", HAS(0, flag))

/* Only what programs speak: each further protocol is a module that the kernel would load from disk for
 * whoever asks. */
#define INTERNET(family, protocol) GRANT("socket", INT(0, family), INT(2, protocol))

#define NEW_TIME         0x80   /* CLONE_NEWTIME; in clone the bit belongs to the signal */
#define IOPRIO_WHO_USER_ 3      /* linux/ioprio.h, absent from older headers */
#define TIOCLINUX_       0x541C /* no header that goes with sys/ioctl.h */
#define MPTCP            262    /* IPPROTO_MPTCP, not in the headers of our oldest hosts */
#define SCHED_CORE       62     /* PR_SCHED_CORE, likewise */
#define REPLACE_TABLE    64     /* IPT_SO_SET_REPLACE, IP6T_SO_SET_REPLACE */
#define ADD_COUNTERS     65     /* IPT_SO_SET_ADD_COUNTERS, IP6T_SO_SET_ADD_COUNTERS */
#define ARP_REPLACE      96     /* ARPT_SO_SET_REPLACE */
#define BRIDGE_REPLACE   128    /* EBT_SO_SET_ENTRIES */

/* Calls of seccomp_allowed that are denied by argument, and calls that only arguments allow. */
const struct seccomp_rule seccomp_rules[] = {
    {NEW_SPACE(CLONE_NEWUSER), .why = "namespaces: every one is new kernel surface"},
    {NEW_SPACE(CLONE_NEWNS)},
    {NEW_SPACE(CLONE_NEWPID)},
    {NEW_SPACE(CLONE_NEWNET)},
    {NEW_SPACE(CLONE_NEWIPC)},
    {NEW_SPACE(CLONE_NEWUTS)},
    {NEW_SPACE(CLONE_NEWCGROUP)},
    {DENY("unshare", HAS(0, NEW_TIME)), .why = "no sandbox needs another clock"},

    /* The kernel looks at the low 32 bits of a request only; a filter that compares all 64 is passed by
     * setting a high one (CVE-2019-10063). */
    {DENY("ioctl", INT(1, TIOCSTI)), .why = "types into a terminal, or changes what one is"},
    {DENY("ioctl", INT(1, TIOCLINUX_))},
    {DENY("ioctl", INT(1, TIOCSETD))},
    {DENY("ioctl", INT(1, TIOCCONS)), .why = "takes the kernel's console messages"},

    {DENY("prctl", INT(0, PR_SET_MM)), .why = "moves a process's own layout: for checkpoints only"},
    {DENY("prctl", INT(0, PR_MCE_KILL)), .why = "what a memory fault of the machine kills"},
    {DENY("prctl", INT(0, SCHED_CORE)), .why = "which processors' siblings run what"},

    {DENY("setsockopt", INT(1, IPPROTO_IP), INT(2, REPLACE_TABLE)),
     .why = "packet filters of old: reachable by root of any network namespace (CVE-2021-22555)"},
    {DENY("setsockopt", INT(1, IPPROTO_IP), INT(2, ADD_COUNTERS))},
    {DENY("setsockopt", INT(1, IPPROTO_IP), INT(2, ARP_REPLACE))},
    {DENY("setsockopt", INT(1, IPPROTO_IP), INT(2, ARP_REPLACE + 1))},
    {DENY("setsockopt", INT(1, IPPROTO_IP), INT(2, BRIDGE_REPLACE))},
    {DENY("setsockopt", INT(1, IPPROTO_IP), INT(2, BRIDGE_REPLACE + 1))},
    {DENY("setsockopt", INT(1, IPPROTO_IPV6), INT(2, REPLACE_TABLE))},
    {DENY("setsockopt", INT(1, IPPROTO_IPV6), INT(2, ADD_COUNTERS))},

    /* Pid 1 of the jail has the job's user id: the job could bend the tests by limits that they
     * inherit. Junk in the upper half only denies more. */
    {DENY("prlimit64", NOT(0, 0)), .why = "limits of others: pid 1 has the job's user id"},
    {DENY("setpriority", INT(1, 1)), .why = "slowing pid 1, and with it the steps that it starts"},
    {DENY("setpriority", INT(0, PRIO_USER))},
    {DENY("ioprio_set", INT(1, 1))},
    {DENY("ioprio_set", INT(0, IOPRIO_WHO_USER_))},
    {DENY("sched_setaffinity", INT(0, 1))},
    {DENY("sched_setscheduler", INT(0, 1))},
    {DENY("sched_setparam", INT(0, 1))},
    {DENY("sched_setattr", INT(0, 1))},
    /* Lowered to 0 the limit would start the program that the host's core_pattern names. Programs that
     * turn their dumps off get what they want, so they are told that it worked; some end when it does
     * not. */
    {DONE("setrlimit", INT(0, RLIMIT_CORE)), .why = "the limit on core dumps stays as it is"},
    {DONE("prlimit64", WHOLE(0, 0), INT(1, RLIMIT_CORE), NOT(2, 0))},

    {GRANT("personality", WHOLE(0, PER_LINUX)), .why = "asked, or without random addresses"},
    {GRANT("personality", WHOLE(0, ADDR_NO_RANDOMIZE))},
    {GRANT("personality", WHOLE(0, 0xffffffff))},

    {GRANT("socket", INT(0, AF_UNIX)), .why = "within the jail"},
    {GRANT("socket", INT(0, AF_NETLINK)), .why = "how libc lists interfaces; only NETLINK_ROUTE"},
    {INTERNET(AF_INET, 0), .why = "TCP and UDP"},
    {INTERNET(AF_INET, IPPROTO_TCP)},
    {INTERNET(AF_INET, IPPROTO_UDP)},
    {INTERNET(AF_INET, MPTCP)},
    {INTERNET(AF_INET6, 0)},
    {INTERNET(AF_INET6, IPPROTO_TCP)},
    {INTERNET(AF_INET6, IPPROTO_UDP)},
    {INTERNET(AF_INET6, MPTCP)},
    {DENY("socket", WHOLE(0, AF_NETLINK), NOT(2, 0)),
     .why = "netfilter, audit, crypto and the like"},
    /* The kernel makes an AF_PACKET socket of the second, whatever the family says. Root of a nested
     * namespace has the capability for all three. */
    {DENY("socket", INT(0, AF_INET), KIND(SOCK_RAW)), .why = "raw packets"},
    {DENY("socket", INT(0, AF_INET), KIND(SOCK_PACKET))},
    {DENY("socket", INT(0, AF_INET6), KIND(SOCK_RAW))},
    {DENY("socket", WHOLE(0, AF_UNSPEC)), .why = "other families: large kernel surface"},
    {DENY("socket", WHOLE(0, AF_AX25))},
    {DENY("socket", WHOLE(0, AF_IPX))},
    {DENY("socket", WHOLE(0, AF_APPLETALK))},
    {DENY("socket", WHOLE(0, AF_NETROM))},
    {DENY("socket", WHOLE(0, AF_BRIDGE))},
    {DENY("socket", WHOLE(0, AF_ATMPVC))},
    {DENY("socket", WHOLE(0, AF_X25))},
    {DENY("socket", WHOLE(0, AF_ROSE))},
    {DENY("socket", WHOLE(0, AF_DECnet))},
    {DENY("socket", WHOLE(0, AF_NETBEUI))},
    {DENY("socket", WHOLE(0, AF_SECURITY))},
    {DENY("socket", WHOLE(0, AF_KEY))},
    {DENY("socket", ABOVE(0, AF_NETLINK)),
     .why = "likewise, packet, VSOCK, ALG and XDP among them"},
    {DENY("socketpair", NOT(0, AF_UNIX)), .why = "pairs are of AF_UNIX"},
    {.call = NULL},
};
