/* Prepares one phase's jail from the keeper, and builds it from inside: mounts, pivot, drop. Its
 * network is made by the keeper at the same time (net.c).
 * Everything up to jail_init happens before any program of a task runs in it. */
#include "runner/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/futex.h>

#include "common/clock.h"
#include "common/file.h"
#include "runner/cache_mount.h"
#include "runner/fdpass.h"
#include "runner/jail_ops.h"
#include "runner/repo_token.h"
#include "runner/sys.h"

#define EXIT_NOT_MADE 125
#define OWN_MOUNTS    "/proc/self/ns/mnt"
#define OWN_NETWORK   "/proc/self/ns/net"
#define PIPE_BYTES    (256 << 10) /* fewer turns of the loop at a flood of output */

static int build_tree(enum warden_phase phase, const struct jail_kind *kind, struct err *err)
{
    struct jail_op ops[JAIL_OPS_MAX];
    size_t n = jail_ops_phase(phase, kind, ops);
    struct jail_roots at = {.source = {-1, -1, -1, -1, -1, -1, -1}};
    at.jail = open(jail_base_root(kind, phase), O_PATH | O_DIRECTORY | O_CLOEXEC);
    at.source[JAIL_DISK] = open(JAIL_DISK_PATH, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (jail_caches(kind))
        at.source[JAIL_CACHE] = open(CACHE_MERGED_PATH, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (kind->repo_token)
        at.source[JAIL_TOKEN] = open(REPO_TOKEN_PLACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (kind->keep)
        at.source[JAIL_KEEP] = open(CACHE_KEEP_PATH, O_PATH | O_DIRECTORY | O_CLOEXEC);
    int rc = 0;
    if (at.jail < 0 || at.source[JAIL_DISK] < 0)
        rc = err_errno(err, ERR_FAIL, "the jail's trees cannot be opened");
    else
        rc = jail_apply(ops, n, &at, err);
    /* The old root, with the keeper's view of the disk, goes away whole. */
    if (rc == 0 && (fchdir(at.jail) < 0 || sys_pivot_root(".", ".") < 0 ||
                    sys_umount2(".", MNT_DETACH) < 0 || chdir("/") < 0))
        rc = err_errno(err, ERR_FAIL, "the jail cannot change its root");
    fd_close(&at.jail);
    fds_close(at.source, JAIL_SOURCE_COUNT);
    return rc;
}

/* The network namespace comes from the keeper, who made it meanwhile. */
static int join_network(int from, struct err *err)
{
    char byte;
    int fds[FDPASS_MAX], rc;
    size_t n = 0;
    rc = fdpass_recv(from, &byte, sizeof byte, fds, &n, err);
    if (rc < 0)
        return rc;
    rc = n == 1 && setns(fds[0], CLONE_NEWNET) == 0
             ? 0
             : err_errno(err, ERR_FAIL, "the jail cannot enter its network");
    fds_close(fds, n);
    return rc;
}

/* 0, 1, 2 are the phase's own; nothing else but what `keep` names survives. */
static int take_stdio(int input, const int pipes[static JAIL_PIPES], int tool, struct err *err)
{
    int in = input >= 0 ? input : open("/dev/null", O_RDONLY | O_CLOEXEC);
    const int keep[] = {pipes[JAIL_STATUS], tool};
    if (in < 0 || dup2(in, 0) < 0 || dup2(pipes[JAIL_OUT], 1) < 0 || dup2(pipes[JAIL_ERR], 2) < 0 ||
        fds_keep_only(keep, 2) < 0)
        return err_errno(err, ERR_FAIL, "the jail's descriptors cannot be set");
    return 0;
}

static int build(const struct jail_spec *spec, const int pipes[static JAIL_PIPES], int net,
                 struct err *err)
{
    /* Should the keeper die, the pid namespace they both are in dies; this is a second string. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setsid();
    umask(022);
    if (unshare(CLONE_NEWCGROUP) < 0 && errno != EINVAL)
        return err_errno(err, ERR_FAIL, "no cgroup namespace");
    int rc = build_tree(spec->phase, spec->kind, err);
    if (rc == 0)
        rc = join_network(net, err);
    if (rc == 0)
        rc = take_stdio(spec->input, pipes, spec->tool, err);
    if (rc < 0)
        return rc;
    if (sethostname("jail", 4) < 0)
        return err_errno(err, ERR_FAIL, "the jail's name cannot be set");
    return jail_drop(spec, err);
}

static void __attribute__((noreturn))
jail_main(const struct jail_spec *spec, const int pipes[static JAIL_PIPES], int net,
          struct jail_report *report)
{
    struct err err = ERR_INIT;
    int rc = build(spec, pipes, net, &err);
    if (rc < 0) {
        report->code = -rc;
        memcpy(report->detail, err.msg, sizeof report->detail - 1);
        _exit(EXIT_NOT_MADE);
    }
    _exit(jail_init(spec, pipes[JAIL_STATUS], report));
}

/* The write ends belong to the jail's user, so that programs may open /dev/stdout again. */
static int make_pipe(int *ret_read, int *ret_write)
{
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) < 0)
        return -1;
    *ret_read = ends[0];
    *ret_write = ends[1];
    fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES);
    return fchown(ends[1], JAIL_UID, JAIL_GID);
}

static pid_t clone_jail(const struct jail_spec *spec, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS,
        .pidfd = (uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    if (spec->cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)spec->cgroup;
    }
    return sys_clone3(&args);
}

/* The first process begins in a mount namespace that the caller makes, holds and leaves again. What the
 * process does to its root in the meantime (pivot_root moves everybody's) is undone by going back. */
static int clone_in_mounts(const struct jail_spec *spec, struct jail *j,
                           const int pipes[static JAIL_PIPES], int net, struct err *err)
{
    if (unshare(CLONE_NEWNS) < 0)
        return err_errno(err, ERR_FAIL, "the jail's mounts cannot be made");
    j->mounts = open(OWN_MOUNTS, O_RDONLY | O_CLOEXEC);
    if (j->mounts >= 0)
        j->pid = clone_jail(spec, &j->pidfd);
    if (j->pid == 0)
        jail_main(spec, pipes, net, j->report);
    int rc = j->pid < 0 ? err_errno(err, ERR_FAIL, "the jail's namespaces cannot be made") : 0;
    if (setns(spec->room, CLONE_NEWNS) < 0) /* nothing of ours can be found any more */
        _exit(ERR_FAIL);
    return rc;
}

int jail_prepare(const struct jail_spec *spec, struct jail *out, struct err *err)
{
    int rc = 0, writes[JAIL_PIPES] = {-1, -1, -1}, net[2] = {-1, -1};
    struct jail j = JAIL_NONE;
    int npipes = spec->phase == WARDEN_RUN ? JAIL_PIPES : JAIL_STATUS;
    j.report =
        mmap(NULL, sizeof *j.report, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (j.report == MAP_FAILED)
        return err_errno(err, ERR_FAIL, "no memory for a jail");
    for (int i = 0; rc == 0 && i < npipes; i++)
        rc = make_pipe(&j.pipes[i], &writes[i]);
    if (rc < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, net) < 0)
        rc = err_errno(err, ERR_FAIL, "the jail's pipes cannot be made");
    else
        rc = clone_in_mounts(spec, &j, writes, net[1], err);
    j.net = net[0];
    fd_close(&net[1]);
    fds_close(writes, JAIL_PIPES);
    if (rc < 0) {
        fds_close(j.pipes, JAIL_PIPES);
        fd_close(&j.net);
        fd_close(&j.mounts);
        munmap(j.report, sizeof *j.report);
        return rc;
    }
    *out = j;
    return 0;
}

int jail_enter(struct jail *j, struct err *err)
{
    int rc, net = open(OWN_NETWORK, O_RDONLY | O_CLOEXEC);
    if (net < 0)
        rc = err_errno(err, ERR_FAIL, "the jail's network cannot be opened");
    else
        rc = fdpass_send(j->net, "", 1, &net, 1, err);
    fd_close(&net);
    fd_close(&j->net);
    return rc;
}

void jail_go(struct jail *j, int ret_pipes[static JAIL_PIPES])
{
    memcpy(ret_pipes, j->pipes, sizeof j->pipes);
    for (int i = 0; i < JAIL_PIPES; i++)
        j->pipes[i] = -1;
    j->started_us = clock_mono_us();
    atomic_store(&j->report->go, 1);
    syscall(SYS_futex, &j->report->go, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void jail_kill(const struct jail *j)
{
    if (j->pidfd >= 0)
        sys_pidfd_send_signal(j->pidfd, SIGKILL);
}

static uint64_t cpu_ms(const struct rusage *ru)
{
    return (uint64_t)(ru->ru_utime.tv_sec + ru->ru_stime.tv_sec) * 1000 +
           (uint64_t)(ru->ru_utime.tv_usec + ru->ru_stime.tv_usec) / 1000;
}

void jail_reap(struct jail *j, struct jail_end *ret)
{
    int status = 0;
    struct rusage ru = {0};
    while (wait4(j->pid, &status, 0, &ru) < 0 && errno == EINTR)
        ;
    uint64_t cpu = cpu_ms(&ru);
    *ret = (struct jail_end){
        .report = {.code = j->report->code, .exit = j->report->exit, .signal = j->report->signal},
        .cpu_ms = cpu > j->report->ready_ms ? cpu - j->report->ready_ms : 0,
    };
    memcpy(ret->report.detail, j->report->detail, sizeof ret->report.detail);
    ret->report.detail[sizeof ret->report.detail - 1] = 0;
    ret->wall_ms = j->started_us ? (clock_mono_us() - j->started_us) / 1000 : 0;
    if (WIFSIGNALED(status)) {
        ret->report.exit = -1;
        ret->report.signal = WTERMSIG(status);
    } else if (ret->report.signal == 0) {
        ret->report.exit = WEXITSTATUS(status);
    }
    munmap(j->report, sizeof *j->report);
    fds_close(j->pipes, JAIL_PIPES);
    fd_close(&j->net);
    fd_close(&j->pidfd);
    int mounts = j->mounts;
    *j = JAIL_NONE;
    j->mounts = mounts;
}

void jail_done(struct jail *j)
{
    fd_close(&j->mounts);
}
