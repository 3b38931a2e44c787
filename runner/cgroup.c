/* cgroup v2 by its files. All paths are relative to descriptors that the warden opened; nothing from
 * a task forms a name. A file that an older kernel lacks (memory.peak, memory.swap.max without swap
 * accounting) is left out; a limit's own file must take its value. */
#include "runner/cgroup.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"

#define CONTROLLERS   "+memory +pids +cpu"
#define COLLECT_LEAST (64u << 20)
#define CPU_PERIOD_US 100000u
#define CPU_QUOTA_MIN 1000u
#define REMOVE_MS     2000u
#define NO_SWAP       "memory.swap.max"

static bool path_usable(const char *path)
{
    return path[0] == '/' && !strstr(path, "/../") && !strstr(path, "//deleted");
}

int cgroup_parse_own(const char *text, char out[static CGROUP_PATH_MAX])
{
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, "0::", 3) != 0)
            continue;
        size_t n = strcspn(line + 3, "\n");
        if (n == 0 || n >= CGROUP_PATH_MAX)
            return -1;
        memcpy(out, line + 3, n);
        out[n] = 0;
        return path_usable(out) ? 0 : -1;
    }
    return -1;
}

/* One line: "id parent major:minor ROOT POINT options [fields] - TYPE source options". */
static bool parse_mount_line(const char *line, char root[static CGROUP_PATH_MAX],
                             char point[static CGROUP_PATH_MAX])
{
    char type[16];
    const char *sep = strstr(line, " - ");
    const char *end = strchr(line, '\n');
    if (!sep || (end && sep > end) || sscanf(sep, " - %15s", type) != 1)
        return false;
    return strcmp(type, "cgroup2") == 0 &&
           sscanf(line, "%*d %*d %*s %511s %511s", root, point) == 2;
}

int cgroup_parse_mount(const char *mountinfo, const char *own, char out[static CGROUP_PATH_MAX])
{
    char root[CGROUP_PATH_MAX], point[CGROUP_PATH_MAX];
    for (const char *line = mountinfo; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!parse_mount_line(line, root, point))
            continue;
        /* The mount may show a part of the hierarchy only: our path must lie below its root. */
        size_t n = strcmp(root, "/") == 0 ? 0 : strlen(root);
        if (strncmp(own, root, n) != 0 || (own[n] != '/' && own[n] != 0))
            continue;
        const char *rest = strcmp(own + n, "/") == 0 ? "" : own + n;
        if (strlen(point) + strlen(rest) >= CGROUP_PATH_MAX)
            return -1;
        snprintf(out, CGROUP_PATH_MAX, "%.*s%s", (int)strlen(point), point, rest);
        return 0;
    }
    return -1;
}

static int put(int dir, const char *name, const char *value)
{
    int fd = openat(dir, name, O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    ssize_t n = write(fd, value, strlen(value));
    int saved = errno;
    close(fd);
    errno = saved;
    return n == (ssize_t)strlen(value) ? 0 : -1;
}

static int __attribute__((format(printf, 3, 4)))
putf(int dir, const char *name, const char *fmt, ...)
{
    char value[64];
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(value, sizeof value, fmt, args);
    va_end(args);
    return n > 0 && (size_t)n < sizeof value ? put(dir, name, value) : -1;
}

static int get(int dir, const char *name, char *out, size_t size)
{
    int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return -1;
    ssize_t n = read(fd, out, size - 1);
    close(fd);
    if (n < 0)
        return -1;
    out[n] = 0;
    return 0;
}

/* The number after `key ` in a flat-keyed file, or the file's only number when `key` is NULL. */
static uint64_t counter(int dir, const char *name, const char *key)
{
    char text[4096];
    if (get(dir, name, text, sizeof text) < 0)
        return 0;
    if (!key)
        return strtoull(text, NULL, 10);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        size_t n = strlen(key);
        if (strncmp(line, key, n) == 0 && line[n] == ' ')
            return strtoull(line + n + 1, NULL, 10);
    }
    return 0;
}

static bool has_word(const char *text, const char *word)
{
    size_t n = strlen(word);
    for (const char *at = text; (at = strstr(at, word)); at += n)
        if ((at == text || at[-1] == ' ') && (at[n] == 0 || at[n] == ' ' || at[n] == '\n'))
            return true;
    return false;
}

static int child_dir(int dir, const char *name)
{
    if (mkdirat(dir, name, 0755) < 0 && errno != EEXIST)
        return -1;
    return openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
}

static int open_own(char why[static 160])
{
    char own[CGROUP_PATH_MAX], path[CGROUP_PATH_MAX], controllers[512];
    struct buf text;
    struct err ignored = ERR_INIT;
    int dir = -1;
    buf_init(&text, 1u << 20);
    bool found = file_read(AT_FDCWD, "/proc/self/cgroup", &text, &ignored) == 0 &&
                 cgroup_parse_own(buf_str(&text), own) == 0;
    buf_clear(&text);
    found = found && file_read(AT_FDCWD, "/proc/self/mountinfo", &text, &ignored) == 0 &&
            cgroup_parse_mount(buf_str(&text), own, path) == 0;
    buf_done(&text);
    if (found)
        dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (dir < 0 || get(dir, "cgroup.controllers", controllers, sizeof controllers) < 0 ||
        !has_word(controllers, "memory") || !has_word(controllers, "pids") ||
        !has_word(controllers, "cpu")) {
        snprintf(why, 160,
                 "this kernel offers no cgroup v2 memory, pids, cpu controllers here; use "
                 "a host with cgroup v2 and give the runner's unit Delegate=yes");
        fd_close(&dir);
    }
    return dir;
}

/* A cgroup that is not ours alone (a login session, another service) is left as it is: its processes
 * are not ours to move, and it could hand out no controller anyway. */
static bool shared(int dir, pid_t serve)
{
    char text[4096];
    if (get(dir, "cgroup.procs", text, sizeof text) < 0)
        return true;
    for (char *at = text, *end;; at = end) {
        long pid = strtol(at, &end, 10);
        if (end == at)
            return false;
        if (pid != getpid() && (serve <= 0 || pid != serve))
            return true;
    }
}

void cgroup_tree_open(struct cgroup_tree *t, pid_t serve)
{
    *t = (struct cgroup_tree){.dir = -1};
    int dir = open_own(t->why);
    if (dir < 0)
        return;
    if (shared(dir, serve)) {
        snprintf(t->why, sizeof t->why,
                 "the runner's cgroup holds other processes too; start it by systemd with "
                 "Delegate=yes");
        fd_close(&dir);
        return;
    }
    int supervisor = child_dir(dir, "supervisor");
    /* A cgroup with processes of its own cannot hand controllers to its children: move out first. */
    if (supervisor < 0 || putf(supervisor, "cgroup.procs", "%d", (int)getpid()) < 0 ||
        (serve > 0 && putf(supervisor, "cgroup.procs", "%d", (int)serve) < 0) ||
        put(dir, "cgroup.subtree_control", CONTROLLERS) < 0) {
        snprintf(t->why, sizeof t->why,
                 "the runner may not use its cgroup (%s); start it by systemd with Delegate=yes",
                 strerror(errno));
        fd_close(&dir);
    }
    /* The file is absent where the kernel was built or booted without swap accounting. */
    t->no_swap = dir >= 0 && put(supervisor, NO_SWAP, "0") == 0;
    fd_close(&supervisor);
    t->dir = dir;
}

void cgroup_tree_done(struct cgroup_tree *t)
{
    fd_close(&t->dir);
}

/* Does the cgroup say so of itself? A word of cgroup.events with its value. */
static bool event(int dir, const char *words)
{
    char text[256];
    return get(dir, "cgroup.events", text, sizeof text) == 0 && strstr(text, words);
}

static bool populated(int dir)
{
    return event(dir, "populated 1");
}

/* Kernels before 5.14 have no cgroup.kill: freeze, so that no fork outruns the list, then signal. A
 * frozen process dies of it all the same. */
static void kill_listed(int dir)
{
    char text[16384];
    uint64_t until = clock_mono_us() + REMOVE_MS * 1000ull;
    put(dir, "cgroup.freeze", "1");
    while (!event(dir, "frozen 1") && clock_mono_us() < until)
        poll(NULL, 0, 1);
    while (populated(dir) && clock_mono_us() < until &&
           get(dir, "cgroup.procs", text, sizeof text) == 0) {
        for (char *at = text, *end; *at; at = end) {
            long pid = strtol(at, &end, 10);
            if (end == at)
                break;
            if (pid > 1)
                kill((pid_t)pid, SIGKILL);
        }
        poll(NULL, 0, 1);
    }
    put(dir, "cgroup.freeze", "0");
}

static void kill_all(int dir)
{
    if (put(dir, "cgroup.kill", "1") < 0)
        kill_listed(dir);
}

static bool wait_empty(int dir, unsigned wait_ms)
{
    uint64_t until = clock_mono_us() + wait_ms * 1000ull;
    while (populated(dir)) {
        if (clock_mono_us() >= until)
            return false;
        poll(NULL, 0, 1);
    }
    return true;
}

void cgroup_kill(const struct cgroup *c, enum cgroup_jail which)
{
    if (c->jail[which] >= 0)
        kill_all(c->jail[which]);
}

bool cgroup_empty(const struct cgroup *c, enum cgroup_jail which, unsigned wait_ms)
{
    return c->jail[which] < 0 || wait_empty(c->jail[which], wait_ms);
}

static int set_limits(int jail, const uint64_t limits[LIMIT_COUNT], uint64_t mem)
{
    uint64_t quota = limits[LIMIT_CPU] * (CPU_PERIOD_US / 1000);
    if (limits[LIMIT_CPU] > UINT64_MAX / CPU_PERIOD_US)
        return -1;
    if (putf(jail, "memory.max", "%" PRIu64, mem) < 0 ||
        putf(jail, "pids.max", "%" PRIu64, limits[LIMIT_PIDS]) < 0 ||
        putf(jail, "cpu.max", "%" PRIu64 " %u", quota < CPU_QUOTA_MIN ? CPU_QUOTA_MIN : quota,
             CPU_PERIOD_US) < 0 ||
        put(jail, "memory.oom.group", "1") < 0)
        return -1;
    if (put(jail, NO_SWAP, "0") < 0 && errno != ENOENT)
        return -1;
    return put(jail, "cgroup.max.descendants", "0");
}

static void close_all(struct cgroup *c)
{
    fd_close(&c->attempt);
    fd_close(&c->keeper);
    for (size_t i = 0; i < CGROUP_JAILS; i++)
        fd_close(&c->jail[i]);
}

/* Kills and removes by name: also what a crashed predecessor left. True when it is gone. */
static bool remove_named(int tree, const char *name)
{
    static const char *const leaves[] = {"jail", "tool", "keeper"};
    int dir = openat(tree, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (dir < 0)
        return errno == ENOENT;
    if (populated(dir)) {
        kill_all(dir);
        wait_empty(dir, REMOVE_MS);
    }
    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++)
        unlinkat(dir, leaves[i], AT_REMOVEDIR);
    fd_close(&dir);
    unlinkat(tree, name, AT_REMOVEDIR);
    return faccessat(tree, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT;
}

/* At most the memory limit's worth of files is there; as much again for the tool, and the patch. */
static uint64_t tool_memory(const uint64_t limits[LIMIT_COUNT])
{
    uint64_t mem = limits[LIMIT_MEM], disk = limits[LIMIT_DISK];
    return mem > UINT64_MAX / 4 || disk > UINT64_MAX / 4 ? UINT64_MAX / 2
                                                         : 2 * mem + disk + COLLECT_LEAST;
}

static int limit_both(const struct cgroup *c, const uint64_t limits[LIMIT_COUNT])
{
    return set_limits(c->jail[CGROUP_RUN], limits, limits[LIMIT_MEM]) < 0
               ? -1
               : set_limits(c->jail[CGROUP_TOOL], limits, tool_memory(limits));
}

int cgroup_limit(const struct cgroup *c, const uint64_t limits[LIMIT_COUNT], struct err *err)
{
    if (c->attempt >= 0 && limit_both(c, limits) < 0)
        return err_errno(err, ERR_FAIL, "cannot set limits in cgroup %s", c->name);
    return 0;
}

/* The keeper starts jails by CLONE_INTO_CGROUP: that takes the right to write both the target's and
 * the common ancestor's cgroup.procs, and no other file. */
static int give(const struct cgroup *c, uid_t owner)
{
    if (owner == geteuid())
        return 0;
    const int dirs[] = {c->attempt, c->jail[CGROUP_RUN], c->jail[CGROUP_TOOL]};
    for (size_t i = 0; i < sizeof dirs / sizeof *dirs; i++)
        if (fchownat(dirs[i], "cgroup.procs", owner, (gid_t)-1, AT_SYMLINK_NOFOLLOW) < 0)
            return -1;
    return 0;
}

int cgroup_open(const struct cgroup_tree *t, unsigned slot, const uint64_t limits[LIMIT_COUNT],
                uid_t owner, struct cgroup *out, struct err *err)
{
    struct cgroup c = CGROUP_NONE;
    *out = c;
    if (t->dir < 0)
        return 0;
    c.tree = t->dir;
    snprintf(c.name, sizeof c.name, "attempt-%u", slot);
    if (!remove_named(c.tree, c.name))
        return err_set(err, ERR_FAIL, "cgroup %s of an earlier attempt cannot be removed", c.name);
    c.attempt = child_dir(c.tree, c.name);
    if (c.attempt < 0 || put(c.attempt, "cgroup.subtree_control", CONTROLLERS) < 0 ||
        (c.keeper = child_dir(c.attempt, "keeper")) < 0 ||
        (put(c.keeper, NO_SWAP, "0") < 0 && errno != ENOENT) ||
        (c.jail[CGROUP_RUN] = child_dir(c.attempt, "jail")) < 0 ||
        (c.jail[CGROUP_TOOL] = child_dir(c.attempt, "tool")) < 0 || limit_both(&c, limits) < 0 ||
        give(&c, owner) < 0) {
        int rc = err_errno(err, ERR_FAIL, "cannot set limits in cgroup %s", c.name);
        close_all(&c);
        remove_named(c.tree, c.name);
        return rc;
    }
    *out = c;
    return 0;
}

static void read_counters(int jail, struct warden_usage *u)
{
    u->cpu_ms = counter(jail, "cpu.stat", "usage_usec") / 1000;
    u->mem_peak = counter(jail, "memory.peak", NULL);
    u->pids_peak = counter(jail, "pids.peak", NULL);
    u->oom_kills = (uint32_t)counter(jail, "memory.events", "oom_kill");
    u->pids_hits = (uint32_t)counter(jail, "pids.events", "max");
}

void cgroup_begin(struct cgroup *c, enum cgroup_jail which)
{
    if (c->jail[which] >= 0)
        read_counters(c->jail[which], &c->base);
}

void cgroup_usage(const struct cgroup *c, enum cgroup_jail which, struct warden_usage *u)
{
    if (c->jail[which] < 0)
        return;
    read_counters(c->jail[which], u);
    u->cpu_ms -= c->base.cpu_ms;
    /* The kernel counts processes; memory.oom.group makes of them one group, which dies once. */
    u->oom_kills = u->oom_kills > c->base.oom_kills;
    u->pids_hits -= c->base.pids_hits;
}

bool cgroup_remove(struct cgroup *c)
{
    close_all(c);
    bool gone = c->tree < 0 || remove_named(c->tree, c->name);
    *c = CGROUP_NONE;
    return gone;
}
