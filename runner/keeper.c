/* The keeper of one attempt: makes the room that its jails are built in, starts them one after the
 * other, and holds the attempt's disk between them. It takes orders only from the warden and reads
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

#include <sodium.h>

#include "common/file.h"
#include "runner/disk.h"
#include "runner/fdpass.h"
#include "runner/jail_base.h"
#include "runner/net.h"
#include "runner/sys.h"

#define STAGE             "/tmp" /* where the room is put together before it becomes our root */
#define ROOM_OPTS         JAIL_BASE_OPTS
#define INOTIFY_INSTANCES 64
#define INOTIFY_WATCHES   65536
#define NESTED_NAMESPACES 64

struct keeper {
    const struct keeper_setup *setup;
    struct disk disk;
    struct jail jail; /* pid -1: none */
    enum warden_phase phase;
    uint8_t token[TASK_TOKEN_BYTES];
    struct egress_rule *rules; /* of the policy, for the gate's doors; never NULL after settle */
    size_t nrules;
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

/* A jail's first process is a copy of this one, and every process may read its command line: the
 * runner's own arguments and environment are wiped from the copy. Their place is in /proc/self/stat,
 * fields 48 to 51, counted after the command's name, which may hold blanks. */
static int forget_arguments(void)
{
    char text[2048];
    unsigned long at[4];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    fd_close(&fd);
    if (n <= 0)
        return -1;
    text[n] = 0;
    char *field = strrchr(text, ')');
    for (int i = 2; field && i < 48; i++) {
        field = strchr(field, ' ');
        field += field != NULL;
    }
    if (!field || sscanf(field, "%lu %lu %lu %lu", &at[0], &at[1], &at[2], &at[3]) != 4 ||
        at[0] == 0 || at[1] < at[0] || at[2] == 0 || at[3] < at[2])
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

/* What the kernel counts for whoever made the namespace, root that is: without ceilings of its own a
 * jail could use up the host's. Most of all no user namespaces, but by policy: a second bar beside the
 * system call filter. */
static int set_ceilings(unsigned slots, const struct policy *policy, struct err *err)
{
    const struct {
        const char *path;
        uint64_t value;
    } rows[] = {
        {"/proc/sys/user/max_user_namespaces", policy->nested_userns ? NESTED_NAMESPACES : 0},
        {"/proc/sys/user/max_inotify_instances",
         share("/proc/sys/fs/inotify/max_user_instances", slots, INOTIFY_INSTANCES)},
        {"/proc/sys/user/max_inotify_watches",
         share("/proc/sys/fs/inotify/max_user_watches", slots, INOTIFY_WATCHES)},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[24];
        snprintf(text, sizeof text, "%" PRIu64, rows[i].value);
        if (write_text(rows[i].path, text) < 0 && errno != ENOENT)
            return err_errno(err, ERR_FAIL, "the jail's ceiling %s cannot be set", rows[i].path);
    }
    return 0;
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
    int rc = set_ceilings(s->cell->slots, &s->cell->task->policy, err);
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

/* From here on nothing of the host is mounted but what the base list took, and that procfs. */
static int make_room(const struct keeper_setup *s, int image, struct disk *disk, struct err *err)
{
    umask(022);
    if (sys_mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        sys_mount("room", STAGE, "tmpfs", MS_NOSUID | MS_NODEV, ROOM_OPTS) < 0)
        return err_errno(err, ERR_FAIL, "the kernel lets this user mount nothing");
    int rc = jail_base_make(STAGE, s->cell->task, err);
    if (rc < 0)
        return rc;
    if (bring_proc() < 0 || mkdir(STAGE JAIL_DISK_PATH, 0700) < 0 || chdir(STAGE) < 0 ||
        sys_pivot_root(".", ".") < 0 || sys_umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
        return err_errno(err, ERR_FAIL, "the keeper cannot leave the host's file tree");
    return disk_make(JAIL_DISK_PATH, s->cell->task->policy.limits[LIMIT_DISK], image, JAIL_UID,
                     JAIL_GID, disk, err);
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

static void start_phase(struct keeper *k, enum warden_phase phase)
{
    struct err err = ERR_INIT;
    struct cell_msg msg = {.op = CELL_STARTED, .phase = phase};
    /* Pipes, then the gate's sockets: what the warden is sent. */
    int rc = 0, fds[JAIL_PIPES + GATE_SOCKETS_MAX] = {-1, -1, -1};
    size_t doors = 0;
    struct jail_spec spec = {
        .phase = phase,
        .task = k->setup->cell->task,
        .token = k->token,
        .filter = k->setup->cell->filter,
        .tool = k->setup->cell->tool,
        .cgroup = k->setup->jail_cgroup,
        .input = -1,
        .rooted = k->setup->cell->rooted,
    };
    if (k->jail.pid > 0)
        rc = err_set(&err, ERR_FAIL, "a phase is running");
    else if (phase == WARDEN_CHECKOUT)
        rc = spec.input = disk_pack_open(&k->disk, &err);
    if (phase == WARDEN_COLLECT)
        disk_yield(&k->disk);
    if (rc >= 0)
        rc = net_enter(phase == WARDEN_RUN ? k->rules : NULL, k->nrules, fds + JAIL_PIPES, &doors,
                       &err);
    if (rc >= 0)
        rc = jail_start(&spec, &k->jail, fds, &err);
    fd_close(&spec.input);
    k->phase = phase;
    size_t n = fds[JAIL_STATUS] < 0 ? JAIL_STATUS : JAIL_PIPES + doors;
    if (answer(k, &msg, rc, &err, fds, n) < 0 && rc >= 0) {
        struct jail_end end;
        jail_kill(&k->jail);
        jail_reap(&k->jail, &end);
    }
    fds_close(fds, JAIL_PIPES + doors);
}

static void end_phase(struct keeper *k)
{
    struct err err = ERR_INIT;
    struct jail_end end;
    int patch = -1, rc = 0;
    jail_reap(&k->jail, &end);
    struct cell_msg msg = {
        .op = CELL_ENDED,
        .phase = k->phase,
        .exit = end.report.exit,
        .signal = end.report.signal,
        .wall_ms = end.wall_ms,
        .cpu_ms = end.cpu_ms,
        .disk_used = disk_used(&k->disk),
    };
    if (end.report.code != 0)
        rc = err_set(&err, ERR_FAIL, "%s", end.report.detail);
    else if (k->phase == WARDEN_CHECKOUT && msg.exit == 0)
        disk_pack_drop(&k->disk);
    else if (k->phase == WARDEN_COLLECT && msg.exit == 0)
        rc = disk_patch_open(&k->disk, &patch, &err);
    answer(k, &msg, rc, &err, &patch, patch >= 0);
    fd_close(&patch);
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
    case CELL_START:
        if (msg.phase > WARDEN_COLLECT)
            return false;
        start_phase(k, msg.phase);
        return true;
    case CELL_KILL:
        jail_kill(&k->jail);
        return true;
    default:
        return false;
    }
}

static void keeper_loop(struct keeper *k)
{
    for (;;) {
        struct pollfd p[] = {{.fd = k->setup->ctl, .events = POLLIN},
                             {.fd = k->jail.pidfd, .events = POLLIN}};
        if (poll(p, 2, -1) < 0 && errno != EINTR)
            return;
        if (p[1].revents)
            end_phase(k);
        if (p[0].revents && !take_order(k))
            return;
    }
}

static int settle(struct keeper *k, struct err *err)
{
    const struct keeper_setup *s = k->setup;
    struct cell_msg go;
    int image, fds[FDPASS_MAX], null = open("/dev/null", O_RDWR | O_CLOEXEC);
    size_t nfds = 0;
    const int keep[] = {s->ctl, s->cell->tool, s->jail_cgroup};
    if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || fds_keep_only(keep, 3) < 0)
        return err_errno(err, ERR_FAIL, "the keeper's descriptors cannot be set");
    if (forget_arguments() < 0)
        return err_set(err, ERR_FAIL, "the keeper cannot wipe its command line");
    /* The warden maps ids before it says go. */
    int rc = fdpass_recv(s->ctl, &go, sizeof go, fds, &nfds, err);
    if (rc != 1 || go.op != CELL_GO)
        return rc < 0 ? rc : err_set(err, ERR_FAIL, "the warden did not say go");
    image = nfds == 1 ? fds[0] : -1;
    k->rules = calloc(EGRESS_RULES_MAX, sizeof *k->rules);
    rc = !k->rules ? err_set(err, ERR_FAIL, "out of memory")
                   : egress_parse_all(&s->cell->task->policy.egress, k->rules, &k->nrules, err);
    if (rc == 0)
        rc = take_identity(s, err);
    if (rc == 0)
        rc = make_room(s, image, &k->disk, err);
    fds_close(fds, nfds);
    /* Set after the change of ids, which clears it. */
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    return rc;
}

void keeper_main(const struct keeper_setup *setup)
{
    struct err err = ERR_INIT;
    struct keeper k = {.setup = setup, .disk = DISK_NONE, .jail = JAIL_NONE};
    struct cell_msg ready = {.op = CELL_READY};
    int fds[2] = {-1, -1};
    prctl(PR_SET_NAME, "creel-keeper");
    setsid();
    memcpy(k.token, setup->cell->token, sizeof k.token);
    int rc = settle(&k, &err);
    if (rc == 0)
        rc = fds[0] = disk_pack_create(&k.disk, &err);
    fds[1] = k.disk.watch;
    answer(&k, &ready, rc, &err, fds, fds[1] >= 0 ? 2 : 1);
    fd_close(&fds[0]);
    if (rc >= 0)
        keeper_loop(&k);
    sodium_memzero(k.token, sizeof k.token);
    _exit(rc < 0);
}
