/* The warden's side of an attempt's cell: makes the keeper, maps its ids, passes orders, and at the
 * end makes sure that everything is gone by asking the kernel, not the keeper. */
#include "runner/cell.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/cache_mount.h"
#include "runner/disk.h"
#include "runner/gate.h"
#include "runner/sys.h"

#define ANSWER_MS 20000 /* a keeper that does not answer a request by then is taken for dead */
#define CLOSE_MS  1000
#define EMPTY_MS  10000
/* The kernel frees the files of a tmpfs one by one, as its last user exits: a job's million of empty ones
 * takes seconds, and many where processors are few. */
#define GONE_MS 45000

static int await(const struct cell *c, uint32_t op, struct cell_msg *msg,
                 int fds[static FDPASS_MAX], size_t *ret_nfds, struct err *err)
{
    struct pollfd p = {.fd = c->ctl, .events = POLLIN};
    int n;
    do
        n = poll(&p, 1, ANSWER_MS);
    while (n < 0 && errno == EINTR);
    if (n <= 0)
        return err_set(err, ERR_FAIL, "the attempt's keeper does not answer");
    int rc = fdpass_recv(c->ctl, msg, sizeof *msg, fds, ret_nfds, err);
    if (rc != 1)
        return rc < 0 ? err_wrap(err, "the attempt's keeper") : -ERR_FAIL;
    msg->detail[sizeof msg->detail - 1] = 0;
    if (msg->op != op || msg->status != 0) {
        fds_close(fds, *ret_nfds);
        if (msg->op != op)
            return err_set(err, ERR_FAIL, "the attempt's keeper gave an answer out of turn");
        return err_set(err, ERR_FAIL, "%s", msg->detail);
    }
    return 0;
}

static int send_op(const struct cell *c, uint32_t op, uint32_t phase, struct err *err)
{
    struct cell_msg msg = {.op = op, .phase = phase};
    return fdpass_send(c->ctl, &msg, sizeof msg, NULL, 0, err);
}

static int write_of(pid_t pid, const char *name, const char *text)
{
    char path[64];
    snprintf(path, sizeof path, "/proc/%d/%s", (int)pid, name);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = write_all(fd, text, strlen(text));
    fd_close(&fd);
    return rc;
}

static int write_map(pid_t pid, const char *name, unsigned first)
{
    char map[64];
    snprintf(map, sizeof map, "0 %u %u\n", first, CELL_UID_COUNT);
    return write_of(pid, name, map);
}

static int map_range(pid_t pid, unsigned slot)
{
    unsigned first = CELL_UID_BASE + slot * CELL_UID_COUNT;
    return write_map(pid, "gid_map", first) < 0 ? -1 : write_map(pid, "uid_map", first);
}

static pid_t clone_keeper(const struct cgroup *cgroup, int *ret_pidfd)
{
    struct clone_args args = {
        .flags = CLONE_PIDFD | CLONE_CLEAR_SIGHAND | CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID,
        .pidfd = (uintptr_t)ret_pidfd,
        .exit_signal = SIGCHLD,
    };
    if (cgroup->keeper >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = (uint64_t)cgroup->keeper;
    }
    return sys_clone3(&args);
}

static int make_keeper(const struct cell_setup *setup, struct cell *c, struct err *err)
{
    int ends[2];
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
        return err_errno(err, ERR_FAIL, "no socket for an attempt");
    c->ctl = ends[0];
    struct keeper_setup keeper = {
        .cell = setup,
        .ctl = ends[1],
        .cgroup = {c->cgroup.jail[CGROUP_RUN], c->cgroup.jail[CGROUP_TOOL]},
        .order = c->page.fd,
        .uid = geteuid(),
        .gid = getegid(),
    };
    c->pid = clone_keeper(&c->cgroup, &c->pidfd);
    if (c->pid == 0)
        keeper_main(&keeper);
    int rc = c->pid < 0 ? err_errno(err, ERR_FAIL, "the kernel forbids user namespaces here") : 0;
    close(ends[1]);
    if (rc == 0 && setup->rooted && map_range(c->pid, setup->slot) < 0)
        rc = err_errno(err, ERR_FAIL, "the attempt's user ids cannot be mapped");
    /* Written with CAP_SYS_RESOURCE the score is also the least that the attempt can go back to. */
    if (rc == 0 && setup->rooted && write_of(c->pid, "oom_score_adj", CELL_OOM_SCORE) < 0)
        rc = err_errno(err, ERR_FAIL, "the attempt's oom_score_adj cannot be set");
    return rc;
}

/* A disk that memory cannot hold is an image where the host can make one; so is one over which a cache is
 * laid, where a tmpfs would not let a job remove the cache's directories. */
static bool wants_image(const struct cell_setup *setup)
{
    const uint64_t *limits = setup->task->policy.limits;
    return setup->disks && setup->disks->dir >= 0 &&
           (!disk_fits_memory(limits[LIMIT_DISK], limits[LIMIT_MEM]) ||
            (setup->kind.cache && !cache_mount_on_tmpfs()));
}

static int make_image(const struct cell_setup *setup, uid_t owner, struct cell *c, struct err *err)
{
    if (!wants_image(setup))
        return 0;
    int rc = disk_image_make(setup->disks, setup->task->policy.limits[LIMIT_DISK], owner, owner,
                             &c->image, err);
    c->on_image = rc == 0;
    return rc;
}

/* Only root can map ids of a mount; without it the keeper opens its caches by itself. */
static int open_caches(const struct cell_setup *setup, const struct cell *c,
                       int mounts[static CELL_MOUNTS], struct err *err)
{
    int rc = 0;
    if (setup->rooted && setup->kind.cache)
        rc = mounts[1] = cache_mount_open(setup->kind.cache, false, c->pid, err);
    if (rc >= 0 && setup->rooted && setup->kind.keep)
        rc = mounts[2] = cache_mount_open(setup->kind.keep, true, c->pid, err);
    return rc < 0 ? rc : 0;
}

/* Orders the room to be made, and gives the keeper its mounts for its own: with the keeper they go. */
static int send_go(const struct cell_setup *setup, struct cell *c, struct err *err)
{
    struct cell_msg msg = {.op = CELL_GO};
    int mounts[CELL_MOUNTS] = {c->on_image ? c->image.mount : -1, -1, -1}, fds[CELL_MOUNTS];
    size_t n = 0;
    int rc = open_caches(setup, c, mounts, err);
    for (int i = 0; i < CELL_MOUNTS; i++)
        if (mounts[i] >= 0) {
            msg.brings |= 1u << i;
            fds[n++] = mounts[i];
        }
    if (rc == 0)
        rc = fdpass_send(c->ctl, &msg, sizeof msg, fds, n, err);
    fd_close(&c->image.mount);
    fds_close(mounts + 1, CELL_MOUNTS - 1);
    return rc;
}

int cell_make(const struct cell_setup *setup, struct cell *out, struct err *err)
{
    struct cell c = CELL_NONE;
    uid_t owner = setup->rooted ? CELL_UID_BASE + setup->slot * CELL_UID_COUNT : geteuid();
    int rc = cell_order_page_new(&c.page, err);
    if (rc == 0)
        rc = cgroup_open(setup->cgroups, setup->slot, setup->task->policy.limits, owner, &c.cgroup,
                         err);
    if (rc == 0)
        rc = make_image(setup, owner, &c, err);
    if (rc == 0)
        rc = make_keeper(setup, &c, err);
    if (rc == 0)
        rc = send_go(setup, &c, err);
    fd_close(&c.page.fd);
    if (rc < 0)
        cell_close(&c);
    else
        *out = c;
    return rc;
}

void cell_prepare(struct cell *c, enum warden_phase phase)
{
    struct err ignored = ERR_INIT;
    send_op(c, CELL_PREPARE, phase, &ignored);
}

int cell_ready(struct cell *c, struct err *err)
{
    struct cell_msg msg;
    int fds[FDPASS_MAX];
    size_t nfds = 0;
    if (c->ready)
        return 0;
    int rc = await(c, CELL_READY, &msg, fds, &nfds, err);
    if (rc < 0)
        return rc;
    if (nfds != (c->on_image ? 1 : 2)) {
        fds_close(fds, nfds);
        return err_set(err, ERR_FAIL, "the attempt's keeper sent %zu descriptors", nfds);
    }
    c->pack = fds[0];
    c->watch = c->on_image ? -1 : fds[1];
    c->ready = true;
    return 0;
}

bool cell_fits(const struct cell_setup *made, const struct cell_setup *wanted)
{
    const struct policy *a = &made->task->policy, *b = &wanted->task->policy;
    return strcmp(a->image, b->image) == 0 && strcmp(a->cache, b->cache) == 0 &&
           a->cache_keep == b->cache_keep && a->nested_userns == b->nested_userns &&
           (a->repo.mode == REPO_TOKEN) == (b->repo.mode == REPO_TOKEN) &&
           wants_image(made) == wants_image(wanted) &&
           (!wants_image(made) || a->limits[LIMIT_DISK] == b->limits[LIMIT_DISK]);
}

/* The order is whole before the keeper hears of it; the keeper takes its orders in turn. */
static int give_order(struct cell *c, const struct task *task, const uint8_t *token, int *ret_pack,
                      struct err *err)
{
    int rc = cell_order_write(&c->page, task, token, err);
    if (rc == 0)
        rc = send_op(c, CELL_BIND, 0, err);
    if (rc == 0)
        rc = cell_ready(c, err);
    if (rc < 0) {
        cell_close(c);
        return rc;
    }
    *ret_pack = c->pack;
    c->pack = -1;
    return 0;
}

int cell_bind(struct cell *c, const struct task *task, const uint8_t *token, int *ret_pack,
              struct err *err)
{
    int rc = cgroup_limit(&c->cgroup, task->policy.limits, err);
    if (rc < 0) {
        cell_close(c);
        return rc;
    }
    return give_order(c, task, token, ret_pack, err);
}

int cell_open(const struct cell_setup *setup, struct cell *out, int *ret_pack, struct err *err)
{
    int rc = cell_make(setup, out, err);
    return rc < 0 ? rc : give_order(out, setup->task, setup->token, ret_pack, err);
}

static enum cgroup_jail cgroup_of(enum warden_phase phase)
{
    return phase == WARDEN_RUN ? CGROUP_RUN : CGROUP_TOOL;
}

static bool reap(struct cell *c, int wait_ms)
{
    struct pollfd p = {.fd = c->pidfd, .events = POLLIN};
    if (poll(&p, 1, wait_ms) <= 0)
        return false;
    return waitpid(c->pid, NULL, WNOHANG) == c->pid;
}

/* The kernel lets go of a pid namespace's first process only when every other process in it is
 * reaped; so the keeper reaped means that nothing of the attempt lives. */
static bool end_keeper(struct cell *c)
{
    struct err ignored = ERR_INIT;
    if (c->pid < 0)
        return true;
    if (c->ctl >= 0)
        send_op(c, CELL_CLOSE, 0, &ignored);
    fd_close(&c->ctl);
    bool gone = reap(c, CLOSE_MS);
    if (!gone) {
        sys_pidfd_send_signal(c->pidfd, SIGKILL);
        gone = reap(c, GONE_MS);
    }
    if (gone) {
        fd_close(&c->pidfd);
        c->pid = -1; /* and is not looked for again, when it died before its cell was closed */
    }
    return gone;
}

int cell_start(struct cell *c, enum warden_phase phase, int ret_fds[static FDPASS_MAX],
               size_t *ret_n, struct err *err)
{
    struct cell_msg msg = {0};
    size_t nfds = 0, least = phase == WARDEN_RUN ? JAIL_PIPES + GATE_PORTS : JAIL_STATUS;
    cgroup_begin(&c->cgroup, cgroup_of(phase));
    int rc = send_op(c, CELL_START, phase, err);
    if (rc == 0)
        rc = await(c, CELL_STARTED, &msg, ret_fds, &nfds, err);
    if (rc == 0 && nfds < least) {
        fds_close(ret_fds, nfds);
        msg.op = 0;
        rc = err_set(err, ERR_FAIL, "the attempt's keeper sent %zu descriptors", nfds);
    }
    /* Without its word the jail may begin all the same, later: nobody would wait for its end. */
    if (rc < 0 && msg.op != CELL_STARTED)
        end_keeper(c);
    if (rc < 0)
        return rc;
    *ret_n = nfds;
    c->busy = true;
    c->phase = phase;
    return 0;
}

void cell_kill(struct cell *c)
{
    struct err ignored = ERR_INIT;
    if (!c->busy)
        return;
    cgroup_kill(&c->cgroup, cgroup_of(c->phase));
    /* A keeper that cannot be told is dead or dying, and its jail with it. */
    send_op(c, CELL_KILL, 0, &ignored);
}

int cell_ended(struct cell *c, struct cell_end *ret, struct err *err)
{
    struct cell_msg msg = {0};
    int fds[FDPASS_MAX];
    size_t nfds = 0;
    *ret = (struct cell_end){.exit = -1, .patch = -1};
    int rc = await(c, CELL_ENDED, &msg, fds, &nfds, err);
    /* Without its word the jail may live on: then the keeper dies, and takes the jail along. */
    if (rc < 0 && msg.op != CELL_ENDED)
        end_keeper(c);
    c->busy = false;
    ret->usage = (struct warden_usage){.cpu_ms = msg.cpu_ms};
    cgroup_usage(&c->cgroup, cgroup_of(c->phase), &ret->usage);
    ret->usage.wall_ms = msg.wall_ms;
    ret->usage.disk_peak = msg.disk_used;
    ret->exit = msg.exit;
    ret->signal = msg.signal;
    if (rc < 0)
        return rc;
    if (nfds == 1 && c->phase == WARDEN_COLLECT)
        ret->patch = fds[0];
    else
        fds_close(fds, nfds);
    if (c->phase == WARDEN_COLLECT)
        memcpy(ret->cache, msg.cache, sizeof ret->cache - 1);
    if (!cgroup_empty(&c->cgroup, cgroup_of(c->phase), EMPTY_MS)) {
        ret->cache[0] = 0;
        fd_close(&ret->patch);
        return err_set(err, ERR_FAIL, "processes of the attempt do not die");
    }
    return 0;
}

struct warden_wiped cell_close(struct cell *c)
{
    struct warden_wiped w = {0};
    cell_kill(c);
    fd_close(&c->pack);
    w.processes = end_keeper(c) && cgroup_empty(&c->cgroup, CGROUP_RUN, GONE_MS) &&
                  cgroup_empty(&c->cgroup, CGROUP_TOOL, GONE_MS);
    /* Here nothing but processes holds a jail's network namespace: it is mounted nowhere, and no
     * descriptor of it leaves the keeper. Sockets of it do: whoever took them answers for them
     * (warden.h). To look for its number is no check: the kernel gives a freed one to the next
     * namespace of anybody. */
    w.network = w.processes;
    /* No watch: the disk was never handed over, and died with the keeper's namespace. */
    w.encrypted = c->on_image;
    if (c->on_image)
        w.disk = disk_image_destroy(&c->image, GONE_MS);
    else
        w.disk = c->watch < 0 ? w.processes : disk_gone(c->watch, GONE_MS);
    w.cgroup = cgroup_remove(&c->cgroup);
    cell_order_page_done(&c->page);
    fd_close(&c->watch);
    fd_close(&c->pidfd);
    *c = CELL_NONE;
    return w;
}

static bool sysctl_is(const char *path, char value)
{
    char c = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    bool is = fd >= 0 && read(fd, &c, 1) == 1 && c == value;
    fd_close(&fd);
    return is;
}

static int forbidden(bool rooted, struct err *err)
{
    if (rooted)
        return err_set(err, ERR_FAIL, "this kernel or container forbids namespaces even to root");
    /* The sysctl would open user namespaces to every program; a profile opens them to one. */
    if (sysctl_is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", '1'))
        return err_set(err, ERR_FAIL,
                       "AppArmor forbids user namespaces to unprivileged programs here "
                       "(kernel.apparmor_restrict_unprivileged_userns): install the profile in "
                       "deploy/apparmor, or run the runner as root");
    return err_set(err, ERR_FAIL,
                   "the kernel forbids user namespaces to this user "
                   "(user.max_user_namespaces, kernel.unprivileged_userns_clone): allow them, or "
                   "run the runner as root");
}

int cell_probe(bool rooted, struct err *err)
{
    struct clone_args args = {
        .flags = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET,
        .exit_signal = SIGCHLD,
    };
    int status = 0;
    pid_t pid = sys_clone3(&args);
    /* Some kernels make the namespace and forbid its use: try the first thing a keeper does. */
    if (pid == 0)
        _exit(sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0);
    if (pid > 0)
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
            ;
    if (pid > 0 && status == 0)
        return 0;
    return forbidden(rooted, err);
}
