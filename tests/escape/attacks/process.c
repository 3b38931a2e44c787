/* Processes: reach the host's, the runner's, the jail's first one; outlive the task. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/escape/attacks/attack.h"

#define PIDS_MAX 70000

/* Of what can be seen: is pid one of /proc's? */
static int seen_processes(bool *seen)
{
    int n = 0;
    DIR *proc = opendir("/proc");
    for (struct dirent *e; proc && (e = readdir(proc));) {
        long pid = strtol(e->d_name, NULL, 10);
        if (pid > 0 && pid < PIDS_MAX) {
            if (seen)
                seen[pid] = true;
            n++;
        }
    }
    if (proc)
        closedir(proc);
    return n;
}

/* A host has many more, and the one that has pid 1 is not the jail's. */
static void list_others(char **args)
{
    char name[64] = "";
    int fd = open("/proc/1/comm", O_RDONLY | O_CLOEXEC), n = seen_processes(NULL);
    ssize_t len = fd < 0 ? -1 : read(fd, name, sizeof name - 1);
    name[len > 0 ? len - 1 : 0] = 0;
    if (n > 8 || strcmp(name, "creel-init") != 0)
        got("%d processes, the first is %s", n, name);
    blocked("%d processes, all of this task; the first is %s", n, name);
}

/* Every number that a process of the host may have. */
static void kill_guessed(char **args)
{
    static bool ours[PIDS_MAX];
    int hits = 0;
    seen_processes(ours);
    for (pid_t pid = 2; pid < PIDS_MAX; pid++)
        if (!ours[pid] && pid != getpid() && kill(pid, args[0] ? 0 : SIGCONT) == 0)
            hits++;
    seen_processes(ours);
    if (hits > 2)
        got("%d processes that /proc does not show took a signal", hits);
    blocked("pids 2 to %d: No such process", PIDS_MAX - 1);
}

static void kill_all(char **args)
{
    kill(-1, SIGKILL);
    blocked("kill(-1, SIGKILL) was done; pid 1 lives on and there is nobody else");
}

static void kill_first(char **args)
{
    union sigval v = {0};
    for (int sig = 1; sig < 65; sig++) {
        kill(1, sig);
        sigqueue(1, sig, v);
        syscall(SYS_tgkill, 1, 1, sig);
        syscall(424 /* pidfd_send_signal */, syscall(SYS_pidfd_open, 1, 0), sig, NULL, 0);
    }
    fcntl(0, F_SETOWN, 1);
    if (kill(1, 0) < 0 && errno == ESRCH)
        got("pid 1 is gone");
    blocked("64 signals four ways; it is still there");
}

static void first_files(char **args)
{
    static const char *const names[] = {
        "root", "cwd",     "exe",     "environ", "mem",    "maps",      "fd", "fdinfo",
        "auxv", "syscall", "pagemap", "stack",   "ns/mnt", "map_files", "io", "personality"};
    char path[64], text[64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "/proc/1/%s", names[i]);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        struct stat st;
        /* environ opens, and then reads as nothing. */
        if (fd >= 0 &&
            (fstat(fd, &st) < 0 || S_ISDIR(st.st_mode) || read(fd, text, sizeof text) > 0))
            got("%s could be opened", path);
        if (fd >= 0)
            close(fd);
        if (i < 3 && readlink(path, text, sizeof text) >= 0)
            got("%s could be followed", path);
    }
    blocked("%zu files of /proc/1: %s", sizeof names / sizeof *names, strerror(errno));
}

static void first_writes(char **args)
{
    static const char *const names[] = {
        "mem",       "oom_score_adj", "attr/current",    "comm",
        "setgroups", "uid_map",       "coredump_filter", "timerslack_ns"};
    char path[64];
    struct rlimit none = {0, 0};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(path, sizeof path, "/proc/1/%s", names[i]);
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        refused(fd < 0 ? fd : write(fd, "1", 1), path);
    }
    refused(prlimit(1, RLIMIT_NOFILE, &none, NULL), "the limits of pid 1");
    blocked("%zu files of /proc/1 and its limits: %s", sizeof names / sizeof *names,
            strerror(errno));
}

/* What pid 1 has, the later steps inherit: the tests that judge the work. */
static void slow_first(char **args)
{
    struct sched_param p = {0};
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(0, &one);
    refused(setpriority(PRIO_PROCESS, 1, 19), "the priority of pid 1");
    refused(syscall(SYS_setpriority, (1ul << 32) | PRIO_PROCESS, (1ul << 32) | 1, 19),
            "the priority of pid 1, high bits");
    refused(setpriority(PRIO_PGRP, 1, 19), "the priority of pid 1's group");
    refused(setpriority(PRIO_USER, getuid(), 19), "the priority of all of the user's");
    refused(sched_setscheduler(1, SCHED_IDLE, &p), "the scheduling of pid 1");
    refused(sched_setaffinity(1, sizeof one, &one), "the processors of pid 1");
    refused(syscall(SYS_ioprio_set, 1, 1, 3 << 13), "the disk priority of pid 1");
    blocked("nice, group, user, SCHED_IDLE, affinity, ioprio of pid 1: %s", strerror(errno));
}

/* Its arguments say where the runner's state and keys are. */
static void arguments(char **args)
{
    char text[512] = "";
    int fd = open("/proc/1/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    for (ssize_t i = 0; i + 1 < n; i++)
        text[i] = text[i] ? text[i] : ' ';
    if (strchr(text, '/') || strstr(text, "--"))
        got("it tells: %s", text);
    fd = open("/proc/1/environ", O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text + 256, 100);
    if (n > 0)
        got("its environment could be read");
    blocked("it says \"%.40s\" and its environment nothing", text);
}

static void inherited(char **args)
{
    char path[300], target[300];
    DIR *dir = opendir("/proc/self/fd");
    for (struct dirent *e; dir && (e = readdir(dir));) {
        int fd = (int)strtol(e->d_name, NULL, 10);
        if (e->d_name[0] == '.' || fd == dirfd(dir))
            continue;
        snprintf(path, sizeof path, "/proc/self/fd/%s", e->d_name);
        ssize_t n = readlink(path, target, sizeof target - 1);
        target[n > 0 ? n : 0] = 0;
        if (fd > 2)
            got("descriptor %d is %s", fd, target);
        if (fd == 0 ? strcmp(target, "/dev/null") != 0 : strncmp(target, "pipe:", 5) != 0)
            got("descriptor %d is no pipe of the task's but %s", fd, target);
    }
    if (getppid() > 1 && !dir)
        got("there is no /proc/self/fd");
    blocked("0 is /dev/null, 1 and 2 are pipes, there is no other");
}

static void become_root(char **args)
{
    gid_t none = 0;
    refused(setuid(0), "setuid(0)");
    refused(setresuid(0, 0, 0), "setresuid(0, 0, 0)");
    refused(setresgid(0, 0, 0), "setresgid(0, 0, 0)");
    refused(setgroups(1, &none), "setgroups");
    if (syscall(SYS_setfsuid, 0) == 0 && syscall(SYS_setfsuid, -1) == 0)
        got("setfsuid(0)");
    blocked("setuid, setresuid, setresgid, setgroups, setfsuid: %s", strerror(errno));
}

static void priority(char **args)
{
    struct sched_param p = {.sched_priority = 1};
    struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
    refused(sched_setscheduler(0, SCHED_FIFO, &p), "SCHED_FIFO");
    refused(sched_setscheduler(0, SCHED_RR, &p), "SCHED_RR");
    refused(setpriority(PRIO_PROCESS, 0, -20), "nice -20");
    refused(syscall(SYS_ioprio_set, 1, 0, 1 << 13), "realtime disk priority");
    refused(setrlimit(RLIMIT_RTPRIO, &more), "RLIMIT_RTPRIO");
    int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "-1000", 5) > 0)
        got("oom_score_adj was lowered");
    blocked("FIFO, RR, nice, ioprio, RLIMIT_RTPRIO, oom_score_adj: %s", strerror(errno));
}

static void raise_limits(char **args)
{
    static const int which[] = {RLIMIT_NPROC,    RLIMIT_FSIZE,      RLIMIT_NOFILE, RLIMIT_MEMLOCK,
                                RLIMIT_MSGQUEUE, RLIMIT_SIGPENDING, RLIMIT_NICE};
    struct rlimit r, more = {RLIM_INFINITY, RLIM_INFINITY};
    for (size_t i = 0; i < sizeof which / sizeof *which; i++) {
        getrlimit(which[i], &r);
        if (r.rlim_max == RLIM_INFINITY)
            got("limit %d is none", which[i]);
        refused(setrlimit(which[i], &more), "a limit");
        refused(prlimit(getpid(), which[i], &more, NULL), "a limit by pid");
    }
    blocked("7 limits raised by setrlimit and prlimit: %s", strerror(errno));
}

/* With its dump allowed again, as far as that goes. A dump of the host's would hold a file, or be fed to
 * a program there. */
static void dump_core(char **args)
{
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit more = {RLIM_INFINITY, RLIM_INFINITY};
        prctl(PR_SET_NAME, MARK);
        prctl(PR_SET_DUMPABLE, 1);
        setrlimit(RLIMIT_CORE, &more);
        chdir("/tmp");
        raise(SIGSEGV);
        _exit(0);
    }
    waitpid(pid, &status, 0);
    if (WCOREDUMP(status))
        got("the kernel says that core was dumped");
    blocked("killed by signal %d, no core dumped", WTERMSIG(status));
}

static void owner_signal(char **args)
{
    int ends[2], hits = 0;
    if (pipe(ends) < 0)
        blocked("no pipe: %s", strerror(errno));
    for (pid_t pid = 300; pid < 5000; pid++)
        hits += fcntl(ends[0], F_SETOWN, pid) == 0 && fcntl(ends[0], F_GETOWN) == pid &&
                kill(pid, 0) == 0;
    if (hits > 2)
        got("%d foreign processes would get SIGIO", hits);
    blocked("SIGIO to pids 300 to 4999: No such process");
}

static void next_pid(char **args)
{
    int fd = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    if (fd >= 0 && write(fd, "300", 3) > 0)
        got("the next pid can be chosen");
    refused(open("/proc/sys/kernel/pid_max", O_WRONLY | O_CLOEXEC), "pid_max");
    blocked("ns_last_pid, pid_max: %s", strerror(errno));
}

/* Stays when the command has ended: no terminal, no session, no signal that it heeds, output held open. */
static void __attribute__((noreturn)) remain(void)
{
    for (int sig = 1; sig < 65; sig++)
        signal(sig, SIG_IGN);
    prctl(PR_SET_NAME, MARK);
    for (;;)
        sleep(1000);
}

static void daemonise(char **args)
{
    for (int i = 0; i < 3; i++)
        if (fork() == 0) {
            setsid();
            if (fork() > 0)
                _exit(0);
            setsid();
            chdir("/");
            remain();
        }
    usleep(100000);
    blocked("3 daemons stayed behind, holding the log open");
}

/* Never the same process for long: whoever kills by pid comes too late. */
static void hop(char **args)
{
    if (fork() == 0) {
        setsid();
        prctl(PR_SET_NAME, MARK);
        for (;;) {
            pid_t pid = fork();
            if (pid > 0)
                _exit(0);
            if (pid < 0)
                usleep(1000);
        }
    }
    usleep(100000);
    blocked("one stayed behind that is another process every moment");
}

static void bomb(char **args)
{
    signal(SIGTERM, SIG_IGN);
    prctl(PR_SET_NAME, MARK);
    for (;;)
        if (fork() >= 0)
            setsid();
}

/* Counted: how many it takes, then waits for them to be killed with it. */
static void fork_count(char **args)
{
    int n = 0;
    prctl(PR_SET_NAME, MARK);
    for (; n < PIDS_MAX; n++) {
        pid_t pid = fork();
        if (pid < 0)
            break;
        if (pid == 0)
            remain();
    }
    if (n >= 4096)
        got("%d processes were made", n);
    blocked("stopped at %d processes: %s", n, strerror(errno));
}

const struct attack attacks_process[] = {
    {"list-processes", "see the host's processes", "pid namespace", ANYWHERE, "", list_others},
    {"kill-guessed", "signal every pid that a process of the host may have", "pid namespace",
     ANYWHERE, "it would signal the host's processes", kill_guessed},
    {"kill-all", "kill(-1, SIGKILL)", "pid namespace", ALONE, "it would end the host", kill_all},
    {"kill-first", "every signal to pid 1, four ways", "the kernel keeps a first process", ALONE,
     "it would restart the host", kill_first},
    {"proc-first", "open /proc/1/root, cwd, exe, environ, mem, fd ...", "pid 1 is not dumpable",
     ANYWHERE, "", first_files},
    {"proc-first-write", "write to /proc/1/mem, set pid 1's limits", "pid 1 is not dumpable",
     ANYWHERE, "", first_writes},
    {"slow-first", "slow pid 1, and by it the tests", "system call filter, by pid", ANYWHERE,
     "it would slow the host", slow_first},
    {"arguments", "read what pid 1 was started with", "wiped by the keeper", ANYWHERE, "",
     arguments},
    {"inherited-fds", "find descriptors of the runner", "close_range before exec", ANYWHERE, "",
     inherited},
    {"become-root", "setuid and its like to root", "no capability", ANYWHERE, "", become_root},
    {"priority", "realtime, nice -20, out of reach of the OOM killer", "no capability, rlimits",
     ANYWHERE, "", priority},
    {"raise-limits", "raise one's own resource limits", "hard limits", ANYWHERE, "", raise_limits},
    {"core-dump", "dump core outside of the jail", "core limit, kept by the filter", ANYWHERE,
     "depends on the host's core_pattern", dump_core},
    {"sigio", "have SIGIO sent to foreign processes", "pid namespace", ANYWHERE,
     "it would signal the host's processes", owner_signal},
    {"pid-reuse", "choose the next pid", "/proc/sys is read-only", ANYWHERE, "", next_pid},
    {"daemon", "leave daemons that ignore every signal", "the jail's processes are killed as one",
     ALONE, "they would stay", daemonise},
    {"pid-hop", "fork and exit without end, never the same pid",
     "the jail's processes are killed as one", ALONE, "it would stay", hop},
    {"fork-count", "fork without end, count how far", "limit of processes", THROWAWAY,
     "it would fill the host", fork_count},
    {"fork-bomb", "a bomb of sessions that ignore SIGTERM", "limit of processes", THROWAWAY,
     "it would fill the host", bomb},
    {NULL, NULL, NULL, ANYWHERE, NULL, NULL},
};
