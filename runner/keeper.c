/* The keeper of one attempt: makes the room that its jails are built in, prepares them, starts them one
 * after the other, and holds the attempt's disk between them. It takes orders only from the warden and reads
 * nothing that a job wrote; as first process of its pid namespace its death is the death of all. */
#include "runner/cell.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/cache_keep.h"
#include "runner/cache_mount.h"
#include "runner/disk.h"
#include "runner/fdpass.h"
#include "runner/jail_base.h"
#include "runner/jail_ops.h"
#include "runner/net.h"
#include "runner/repo_token.h"
#include "runner/sys.h"

#define STAGE             "/tmp" /* where the room is put together before it becomes our root */
#define ROOM_OPTS         JAIL_BASE_OPTS
#define INOTIFY_INSTANCES 64
#define INOTIFY_WATCHES   65536
#define NESTED_NAMESPACES 64 /* of a kind */

#define PHASES   (WARDEN_COLLECT + 1)
#define NO_PHASE (-1)

struct keeper {
    const struct keeper_setup *setup;
    const struct cell_order *order;
    struct disk disk;
    int room; /* our own mount namespace */
    uint64_t disk_bytes;
    bool bound;                  /* the order is there */
    struct err wrong;            /* what is wrong with it */
    struct jail jails[PHASES];   /* pid -1: none. Prepared, but for `running` */
    int running;                 /* a phase or NO_PHASE */
    int net;                     /* whose network namespace we are in, likewise */
    int doors[GATE_SOCKETS_MAX]; /* the gate's, in the prepared run's network namespace */
    size_t ndoors;
    uint16_t ports[EGRESS_PORTS_MAX]; /* what `doors` were made for */
    size_t nports;
};

static int write_text(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, text, strlen(text));
    int saved = errno;
    fd_close(&fd);
    errno = saved;
    return n == (ssize_t)strlen(text) ? 0 : -1;
}

/* The `n` numbers from field `from` on of /proc/self/stat, proc(5). Fields are counted after the
 * command's name, which may hold blanks. */
static int read_stat(unsigned from, unsigned n, unsigned long *out)
{
    char text[2048], *end;
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    fd_close(&fd);
    if (len <= 0)
        return -1;
    text[len] = 0;
    char *field = strrchr(text, ')');
    for (unsigned i = 2; field && i < from; i++) {
        field = strchr(field, ' ');
        field += field != NULL;
    }
    for (unsigned i = 0; field && i < n; i++, field = end) {
        errno = 0;
        out[i] = strtoul(field, &end, 10);
        if (end == field || errno != 0)
            return -1;
    }
    return field ? 0 : -1;
}

/* A jail's first process is a copy of this one, and every process may read its command line: the
 * runner's own arguments and environment are wiped from the copy. Their place is in fields 48 to 51. */
static int forget_arguments(void)
{
    unsigned long at[4];
    if (read_stat(48, 4, at) < 0 || at[0] == 0 || at[1] < at[0] || at[2] == 0 || at[3] < at[2])
        return -1;
    clearenv();
    memset((void *)at[2], 0, at[3] - at[2]);
    memset((void *)at[0], 0, at[1] - at[0]);
    snprintf((char *)at[0], at[1] - at[0], "creel-init");
    return 0;
}

/* Without root only the own id can be mapped. The files under /proc/self belong to root as long as
 * the process may not be dumped, so it may be for these few writes; nothing else is in reach yet. */
static int map_own_ids(uid_t uid, gid_t gid)
{
    char map[64];
    int rc = -1;
    prctl(PR_SET_DUMPABLE, 1);
    if (write_text("/proc/self/setgroups", "deny") < 0)
        goto out;
    snprintf(map, sizeof map, "%d %u 1\n", JAIL_UID, (unsigned)uid);
    if (write_text("/proc/self/uid_map", map) < 0)
        goto out;
    snprintf(map, sizeof map, "%d %u 1\n", JAIL_GID, (unsigned)gid);
    rc = write_text("/proc/self/gid_map", map);
out:
    prctl(PR_SET_DUMPABLE, 0);
    return rc;
}

/* This cell's part of one of the host's ceilings: half stays the host's, the slots share the rest. */
static uint64_t share(const char *path, unsigned slots, uint64_t most)
{
    char text[32];
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    fd_close(&fd);
    text[n > 0 ? n : 0] = 0;
    uint64_t part = strtoull(text, NULL, 10) / 2 / (slots ? slots : 1);
    return part > most ? most : part > 0 ? part : 1;
}

static int set_ceiling(const char *path, uint64_t value, struct err *err)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRIu64, value);
    return write_text(path, text) < 0 && errno != ENOENT
               ? err_errno(err, ERR_FAIL, "the jail's ceiling %s cannot be set", path)
               : 0;
}

/* What the kernel counts for whoever made the namespace, root that is: without ceilings of its own a
 * jail could use up the host's. Most of all no user namespaces, but by policy: a second bar beside the
 * system call filter. Where a job has those it has the others too, whose memory (of a network most of
 * all) the kernel does not count as the job's. */
static int set_ceilings(unsigned slots, bool nested, struct err *err)
{
    static const char *const others[] = {
        "/proc/sys/user/max_net_namespaces", "/proc/sys/user/max_mnt_namespaces",
        "/proc/sys/user/max_pid_namespaces", "/proc/sys/user/max_ipc_namespaces",
        "/proc/sys/user/max_uts_namespaces", "/proc/sys/user/max_cgroup_namespaces",
    };
    int rc = set_ceiling("/proc/sys/user/max_user_namespaces", nested ? NESTED_NAMESPACES : 0, err);
    for (size_t i = 0; nested && rc == 0 && i < sizeof others / sizeof *others; i++)
        rc = set_ceiling(others[i], NESTED_NAMESPACES, err);
    if (rc == 0)
        rc = set_ceiling("/proc/sys/user/max_inotify_instances",
                         share("/proc/sys/fs/inotify/max_user_instances", slots, INOTIFY_INSTANCES),
                         err);
    if (rc == 0)
        rc = set_ceiling("/proc/sys/user/max_inotify_watches",
                         share("/proc/sys/fs/inotify/max_user_watches", slots, INOTIFY_WATCHES),
                         err);
    return rc;
}

static int take_identity(const struct keeper_setup *s, struct err *err)
{
    if (s->cell->rooted) {
        if (setgroups(0, NULL) < 0 || setresgid(0, 0, 0) < 0 || setresuid(0, 0, 0) < 0)
            return err_errno(err, ERR_FAIL, "the keeper cannot take its mapped ids");
    } else if (map_own_ids(s->uid, s->gid) < 0) {
        return err_errno(err, ERR_FAIL, "the keeper cannot map its ids");
    }
    prctl(PR_SET_DUMPABLE, 1);
    /* Where the warden is root, it has done that. */
    write_text("/proc/self/oom_score_adj", CELL_OOM_SCORE);
    int rc = set_ceilings(s->cell->slots, s->cell->kind.nested, err);
    prctl(PR_SET_DUMPABLE, 0);
    return rc;
}

/* A procfs of the host stays in the room (never in a jail): the kernel lets a user namespace mount a
 * new one only while it can see one. */
static int bring_proc(void)
{
    int rc = -1,
        proc = sys_open_tree(AT_FDCWD, "/proc",
                             OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | 0x8000 /* AT_RECURSIVE */);
    if (proc >= 0 && mkdir(STAGE "/proc", 0755) == 0)
        rc = sys_move_mount(proc, "", AT_FDCWD, STAGE "/proc", MOVE_MOUNT_F_EMPTY_PATH);
    fd_close(&proc);
    return rc;
}

/* What comes from outside the room: opened before anything covers it, placed when it is there. */
struct bringing {
    int image, tools, disk, cache, keep; /* or -1 */
};

static int bring(const struct keeper_setup *s, const struct cell_msg *go, int *fds, size_t nfds,
                 struct bringing *b, struct err *err)
{
    const struct jail_kind *kind = &s->cell->kind;
    int *const given[CELL_MOUNTS] = {&b->disk, &b->cache, &b->keep};
    size_t at = 0;
    int rc = 0;
    for (int i = 0; i < CELL_MOUNTS; i++)
        if (go->brings & (1u << i) && at < nfds)
            *given[i] = fds[at++];
    fds_close(fds + at, nfds - at);
    rc = jail_base_open("image", kind->image, &b->image, err);
    if (rc == 0)
        rc = jail_base_open("tools in", kind->tools, &b->tools, err);
    if (rc == 0 && kind->cache && b->cache < 0)
        rc = b->cache = cache_mount_open(kind->cache, false, 0, err);
    if (rc >= 0 && kind->keep && b->keep < 0)
        rc = b->keep = cache_mount_open(kind->keep, true, 0, err);
    return rc < 0 ? rc : 0;
}

/* From here on nothing of the host is mounted but what the base list took, and that procfs. */
static int make_room(const struct keeper_setup *s, const struct bringing *b, struct disk *disk,
                     struct err *err)
{
    umask(022);
    if (sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        sys_mount("room", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, ROOM_OPTS) < 0)
        return err_errno(err, ERR_FAIL, "the kernel lets this user mount nothing");
    int rc = jail_base_make(STAGE, b->image, b->tools, err);
    if (rc < 0)
        return rc;
    if (bring_proc() < 0 || mkdir(STAGE JAIL_DISK_PATH, 0700) < 0 || chdir(STAGE) < 0 ||
        sys_pivot_root(".", ".") < 0 || sys_umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return err_errno(err, ERR_FAIL, "the keeper cannot leave the host's file tree");
    rc = disk_make(JAIL_DISK_PATH, s->cell->task->policy.limits[LIMIT_DISK], b->disk, JAIL_UID,
                   JAIL_GID, disk, err);
    if (rc == 0 && jail_caches(&s->cell->kind))
        rc = cache_mount_place(JAIL_DISK_PATH, b->cache, b->keep, JAIL_UID, JAIL_GID, err);
    if (rc == 0 && s->cell->kind.repo_token)
        rc = repo_token_make(err);
    return rc;
}

/* 0 when the warden was told of a success with all that belongs to it. */
static int answer(const struct keeper *k, struct cell_msg *msg, int rc, const struct err *err,
                  const int *fds, size_t nfds)
{
    struct err unsent = ERR_INIT;
    if (rc >= 0 && fdpass_send(k->setup->ctl, msg, sizeof *msg, fds, nfds, &unsent) == 0)
        return 0;
    msg->status = rc < 0 ? -rc : ERR_FAIL;
    snprintf(msg->detail, sizeof msg->detail, "%.300s", rc < 0 ? err->msg : unsent.msg);
    /* The warden gone is seen by the loop's next read. */
    fdpass_send(k->setup->ctl, msg, sizeof *msg, NULL, 0, &unsent);
    return -1;
}

static void close_doors(struct keeper *k)
{
    fds_close(k->doors, k->ndoors);
    k->ndoors = k->nports = 0;
}

/* Kills a prepared jail, or reaps one that died by itself. */
static void drop_jail(struct keeper *k, enum warden_phase phase)
{
    struct jail_end end;
    if (k->jails[phase].pid < 0)
        return;
    jail_kill(&k->jails[phase]);
    jail_reap(&k->jails[phase], &end);
    jail_done(&k->jails[phase]);
    if (phase == WARDEN_RUN)
        close_doors(k);
}

/* Doors for the ports of the order, or while there is none for those that every policy has. We must be
 * in the run's network namespace. */
static int make_doors(struct keeper *k, struct err *err)
{
    static const uint16_t usual[] = {80, 443};
    const uint16_t *ports = k->bound ? k->order->ports : usual;
    size_t n = k->bound ? k->order->nports : sizeof usual / sizeof *usual;
    if (k->ndoors > 0 && n == k->nports && memcmp(ports, k->ports, n * sizeof *ports) == 0)
        return 0;
    int rc = net_doors(k->ports, k->nports, ports, n, k->doors, &k->ndoors, err);
    k->nports = rc < 0 ? 0 : n;
    memcpy(k->ports, ports, k->nports * sizeof *ports);
    return rc;
}

static int prepare(struct keeper *k, enum warden_phase phase, struct err *err)
{
    const struct keeper_setup *s = k->setup;
    struct jail_spec spec = {
        .phase = phase,
        .order = k->order,
        .filter = s->cell->filter,
        .tool = s->cell->tool,
        .room = k->room,
        .cgroup = s->cgroup[phase == WARDEN_RUN ? CGROUP_RUN : CGROUP_TOOL],
        .input = -1,
        .rooted = s->cell->rooted,
        .kind = &s->cell->kind,
    };
    int rc = 0;
    k->net = phase;
    if (phase == WARDEN_CHECKOUT)
        rc = spec.input = disk_pack_open(&k->disk, err);
    if (rc >= 0)
        rc = jail_prepare(&spec, &k->jails[phase], err);
    fd_close(&spec.input);
    if (rc < 0)
        return rc;
    rc = net_enter(err);
    if (rc >= 0 && phase == WARDEN_RUN)
        rc = make_doors(k, err);
    if (rc >= 0)
        rc = jail_enter(&k->jails[phase], err);
    if (rc < 0)
        drop_jail(k, phase);
    return rc;
}

static bool died(const struct jail *j)
{
    struct pollfd p = {.fd = j->pidfd, .events = POLLIN};
    return j->pid > 0 && poll(&p, 1, 0) > 0;
}

/* The jail of a phase as the order wants it, prepared before or now. */
static int have_jail(struct keeper *k, enum warden_phase phase, struct err *err)
{
    struct err changed = ERR_INIT;
    if (k->running != NO_PHASE)
        return err_set(err, ERR_FAIL, "a phase is running");
    if (!k->bound || k->wrong.code != ERR_NONE)
        return err_set(err, ERR_FAIL, "%s", k->bound ? k->wrong.msg : "the cell has no task");
    if (died(&k->jails[phase]) || (phase == WARDEN_RUN && k->jails[phase].pid > 0 &&
                                   (k->net != WARDEN_RUN || make_doors(k, &changed) < 0)))
        drop_jail(k, phase);
    return k->jails[phase].pid > 0 ? 0 : prepare(k, phase, err);
}

static void start_phase(struct keeper *k, enum warden_phase phase)
{
    struct err err = ERR_INIT;
    struct cell_msg msg = {.op = CELL_STARTED, .phase = phase};
    /* Pipes, the place of a repository's token, the gate's sockets: what the warden is sent. */
    int fds[JAIL_PIPES + 1 + GATE_SOCKETS_MAX] = {-1, -1, -1};
    size_t n = JAIL_STATUS;
    int token = -1, rc = have_jail(k, phase, &err);
    if (rc >= 0 && phase == WARDEN_RUN && k->setup->cell->kind.repo_token)
        rc = token = repo_token_dir(&err);
    if (rc >= 0 && phase == WARDEN_COLLECT)
        disk_yield(&k->disk);
    if (rc >= 0) {
        jail_go(&k->jails[phase], fds);
        k->running = (int)phase;
    }
    if (rc >= 0 && phase == WARDEN_RUN) {
        n = JAIL_PIPES;
        if (token >= 0)
            fds[n++] = token;
        memcpy(fds + n, k->doors, k->ndoors * sizeof *fds);
        n += k->ndoors;
        k->ndoors = k->nports = 0;
    }
    if (answer(k, &msg, rc, &err, fds, n) < 0 && rc >= 0) {
        k->running = NO_PHASE;
        drop_jail(k, phase);
    }
    fds_close(fds, n > JAIL_PIPES ? n : JAIL_PIPES);
}

/* The digest of a cache that was kept; empty when none was, or it is no digest. */
static void read_kept(int disk, char out[static CACHE_DIGEST_SIZE])
{
    int fd = openat(disk, "out/" CACHE_KEPT_NAME, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, out, CACHE_DIGEST_SIZE);
    fd_close(&fd);
    out[n == CACHE_DIGEST_SIZE - 1 ? n : 0] = 0;
    if (!cache_digest_valid(out))
        out[0] = 0;
}

static void end_phase(struct keeper *k)
{
    struct err err = ERR_INIT;
    struct jail_end end;
    int phase = k->running, patch = -1, rc = 0;
    jail_reap(&k->jails[phase], &end);
    k->running = NO_PHASE;
    struct cell_msg msg = {
        .op = CELL_ENDED,
        .phase = (uint32_t)phase,
        .exit = end.report.exit,
        .signal = end.report.signal,
        .wall_ms = end.wall_ms,
        .cpu_ms = end.cpu_ms,
        .disk_used = disk_used(&k->disk),
    };
    if (end.report.code != 0)
        rc = err_set(&err, ERR_FAIL, "%s", end.report.detail);
    else if (phase == WARDEN_CHECKOUT && msg.exit == 0)
        disk_pack_drop(&k->disk);
    else if (phase == WARDEN_COLLECT && msg.exit == 0)
        rc = disk_patch_open(&k->disk, &patch, &err);
    if (rc == 0 && phase == WARDEN_COLLECT && msg.exit == 0 && k->setup->cell->kind.keep)
        read_kept(k->disk.root, msg.cache);
    answer(k, &msg, rc, &err, &patch, patch >= 0);
    jail_done(&k->jails[phase]);
    fd_close(&patch);
}

static void take_task(struct keeper *k)
{
    /* NOLINTNEXTLINE(clang-analyzer-core.NullDereference): settle() mapped it */
    uint64_t bytes = k->order->limits[LIMIT_DISK];
    k->bound = true;
    if (bytes != k->disk_bytes)
        disk_resize(&k->disk, bytes, &k->wrong);
}

/* False when it is time to go. */
static bool take_order(struct keeper *k)
{
    struct cell_msg msg;
    struct err err = ERR_INIT;
    int fds[FDPASS_MAX];
    size_t nfds = 0;
    if (fdpass_recv(k->setup->ctl, &msg, sizeof msg, fds, &nfds, &err) != 1)
        return false;
    fds_close(fds, nfds);
    switch (msg.op) {
    case CELL_BIND:
        if (k->bound)
            return false;
        take_task(k);
        return true;
    case CELL_PREPARE:
        if (msg.phase >= PHASES)
            return false;
        if (k->jails[msg.phase].pid < 0)
            prepare(k, msg.phase, &err);
        return true;
    case CELL_START:
        if (msg.phase >= PHASES)
            return false;
        start_phase(k, msg.phase);
        return true;
    case CELL_KILL:
        if (k->running != NO_PHASE)
            jail_kill(&k->jails[k->running]);
        return true;
    default:
        return false;
    }
}

static void keeper_loop(struct keeper *k)
{
    for (;;) {
        struct pollfd p[1 + PHASES] = {{.fd = k->setup->ctl, .events = POLLIN}};
        for (int i = 0; i < PHASES; i++)
            p[1 + i] = (struct pollfd){.fd = k->jails[i].pidfd, .events = POLLIN};
        if (poll(p, 1 + PHASES, -1) < 0) {
            if (errno != EINTR)
                return;
            continue;
        }
        for (int i = 0; i < PHASES; i++) {
            if (p[1 + i].revents && i == k->running)
                end_phase(k);
            else if (p[1 + i].revents)
                drop_jail(k, (enum warden_phase)i); /* it is made anew when it is started */
        }
        if (p[0].revents && !take_order(k))
            return;
    }
}

static int settle(struct keeper *k, struct err *err)
{
    const struct keeper_setup *s = k->setup;
    struct cell_msg go;
    struct bringing b = {-1, -1, -1, -1, -1};
    int fds[FDPASS_MAX], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    size_t nfds = 0;
    int order = s->order;
    const int keep[] = {s->ctl, s->cell->tool, s->cgroup[CGROUP_RUN], s->cgroup[CGROUP_TOOL],
                        order};
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 ||
        fds_keep_only(keep, sizeof keep / sizeof *keep) < 0)
        return err_errno(err, ERR_FAIL, "the keeper's descriptors cannot be set");
    k->order = cell_order_map(order, err);
    fd_close(&order);
    if (!k->order)
        return -ERR_FAIL;
    if (forget_arguments() < 0)
        return err_set(err, ERR_FAIL, "the keeper cannot wipe its command line");
    /* The warden maps ids before it says go. */
    int rc = fdpass_recv(s->ctl, &go, sizeof go, fds, &nfds, err);
    if (rc != 1 || go.op != CELL_GO)
        return rc < 0 ? rc : err_set(err, ERR_FAIL, "the warden did not say go");
    rc = bring(s, &go, fds, nfds, &b, err);
    if (rc == 0)
        rc = take_identity(s, err);
    if (rc == 0)
        rc = make_room(s, &b, &k->disk, err);
    if (rc == 0 && (k->room = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)) < 0)
        rc = err_errno(err, ERR_FAIL, "the keeper cannot hold its mounts");
    fd_close(&b.image);
    fd_close(&b.tools);
    fd_close(&b.disk);
    fd_close(&b.cache);
    fd_close(&b.keep);
    /* Set after the change of ids, which clears it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return rc;
}

void keeper_main(const struct keeper_setup *setup)
{
    struct err err = ERR_INIT;
    struct keeper k = {
        .setup = setup,
        .disk = DISK_NONE,
        .disk_bytes = setup->cell->task->policy.limits[LIMIT_DISK],
        .jails = {JAIL_NONE, JAIL_NONE, JAIL_NONE},
        .room = -1,
        .running = NO_PHASE,
        .net = NO_PHASE,
    };
    struct cell_msg ready = {.op = CELL_READY};
    int fds[2] = {-1, -1};
    prctl(PR_SET_NAME, "creel-keeper");
    setsid();
    int rc = settle(&k, &err);
    if (rc == 0)
        rc = fds[0] = disk_pack_create(&k.disk, &err);
    fds[1] = k.disk.watch;
    answer(&k, &ready, rc, &err, fds, fds[1] >= 0 ? 2 : 1);
    fd_close(&fds[0]);
    if (rc >= 0)
        keeper_loop(&k);
    _exit(rc < 0);
}
