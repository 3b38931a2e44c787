/* The jail's file tree as tables. Policy only: no system call is made here; jail_apply.c walks. */
#include "runner/jail_ops.h"

#include <string.h>

#include <linux/mount.h>

#define RO     (MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define RW     (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV)
#define DEV    (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC)
#define LEN(a) (sizeof(a) / sizeof *(a))

#define DIR(path, bits)                                \
    {                                                  \
        .kind = JAIL_DIR, .to = (path), .mode = (bits) \
    }
#define LINK(path, target)                                \
    {                                                     \
        .kind = JAIL_LINK, .to = (path), .from = (target) \
    }
#define TEXT(path, text)                                              \
    {                                                                 \
        .kind = JAIL_FILE, .to = (path), .from = (text), .mode = 0644 \
    }
#define AS_HOST(path)                                                  \
    {                                                                  \
        .kind = JAIL_AS_HOST, .to = (path), .from = (path), .attr = RO \
    }
#define FROM_HOST(path)                                                               \
    {                                                                                 \
        .kind = JAIL_BIND, .to = (path), .from = (path), .attr = RO, .optional = true \
    }
#define NODE(path)                                                                     \
    {                                                                                  \
        .kind = JAIL_BIND, .to = (path), .from = (path), .attr = DEV, .optional = true \
    }
#define FROM_DISK(path, name, attrs)                                                          \
    {                                                                                         \
        .kind = JAIL_BIND, .to = (path), .from = (name), .source = JAIL_DISK, .attr = (attrs) \
    }
#define HIDE(path)                      \
    {                                   \
        .kind = JAIL_HIDE, .to = (path) \
    }

/* The tree tool speaks TLS to nobody, but libgit2 reads and parses every certificate when it starts:
 * 4 ms, twice a task. */
#define NO_CERTS HIDE("etc/ssl/certs")

static const struct jail_op base_ops[] = {
    DIR("usr", 0755),
    {.kind = JAIL_BIND, .to = "usr", .from = "usr", .attr = RO},
    AS_HOST("bin"),
    AS_HOST("sbin"),
    AS_HOST("lib"),
    AS_HOST("lib32"),
    AS_HOST("lib64"),
    AS_HOST("libx32"),

    DIR("etc", 0755),
    TEXT("etc/passwd", "root:x:0:0:root:/root:/usr/sbin/nologin\n"
                       "agent:x:1000:1000:agent:/home/agent:/bin/sh\n"
                       "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"),
    TEXT("etc/group", "root:x:0:\ntty:x:5:\nagent:x:1000:\nnogroup:x:65534:\n"),
    TEXT("etc/hosts", "127.0.0.1 localhost jail\n::1 localhost\n"),
    TEXT("etc/hostname", "jail\n"),
    /* The egress gate's name server; where there is none the question is refused at once. */
    TEXT("etc/resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n"),
    TEXT("etc/nsswitch.conf",
         "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nservices: files\n"
         "protocols: files\nnetworks: files\n"),
    TEXT("etc/gitconfig", "[safe]\n\tdirectory = /task\n\tdirectory = /base.git\n"
                          "[user]\n\tname = agent\n\temail = agent@jail\n"
                          "[init]\n\tdefaultBranch = main\n[advice]\n\tdetachedHead = false\n"),
    TEXT("etc/shells", "/bin/sh\n/bin/bash\n"),
    DIR("etc/ssl", 0755),
    FROM_HOST("etc/ssl/certs"),
    FROM_HOST("etc/ssl/openssl.cnf"),
    FROM_HOST("etc/alternatives"),
    FROM_HOST("etc/ld.so.cache"),
    FROM_HOST("etc/localtime"),
    FROM_HOST("etc/services"),
    FROM_HOST("etc/mime.types"),
    FROM_HOST("etc/fonts"),
    /* Debian's Java keeps what it cannot start without in /etc. */
    FROM_HOST("etc/java-11-openjdk"),
    FROM_HOST("etc/java-17-openjdk"),
    FROM_HOST("etc/java-21-openjdk"),
    FROM_HOST("etc/protocols"),

    DIR("proc", 0755),
    DIR("dev", 0755),
    NODE("dev/null"),
    NODE("dev/zero"),
    NODE("dev/full"),
    NODE("dev/random"),
    NODE("dev/urandom"),
    NODE("dev/tty"),
    LINK("dev/fd", "/proc/self/fd"),
    LINK("dev/stdin", "/proc/self/fd/0"),
    LINK("dev/stdout", "/proc/self/fd/1"),
    LINK("dev/stderr", "/proc/self/fd/2"),
    LINK("dev/ptmx", "pts/ptmx"),
    DIR("dev/pts", 0755),
    DIR("dev/shm", 0755),

    DIR("task", 0755),
    DIR("home", 0755),
    DIR("home/agent", 0755),
    DIR("tmp", 0755),
    DIR("run", 0755),
    DIR("run/creel", 0755),
    DIR("var", 0755),
    DIR("var/tmp", 0755),
    DIR("var/empty", 0555),
    DIR("base.git", 0755),
    DIR("out", 0755),
    DIR("cache", 0755),
    DIR("keep", 0755),
    DIR("root", 0700),
    DIR("opt", 0755),
    DIR("opt/creel", 0755),
    DIR("opt/creel/tools", 0755),
    {.kind = JAIL_ATTR, .to = "", .attr = RO},
};

/* Every phase: views of the kernel that belong to this phase's own namespaces. */
static const struct jail_op kernel_ops[] = {
    {.kind = JAIL_PROC, .to = "proc"},
    {.kind = JAIL_PTS, .to = "dev/pts"},
};

/* What is the host's in a procfs: read-only, or out of sight. */
static const struct jail_op cover_ops[] = {
    {.kind = JAIL_BIND,
     .to = "proc/sys",
     .from = "proc/sys",
     .source = JAIL_SELF,
     .attr = RO | MOUNT_ATTR_NOEXEC},
    HIDE("proc/acpi"),
    HIDE("proc/bus"),
    HIDE("proc/fs"),
    HIDE("proc/irq"),
    HIDE("proc/pressure"),
    HIDE("proc/scsi"),
    HIDE("proc/tty"),
    HIDE("proc/kallsyms"),
    HIDE("proc/kcore"),
    HIDE("proc/keys"),
    HIDE("proc/key-users"),
    HIDE("proc/kmsg"),
    HIDE("proc/kpagecgroup"),
    HIDE("proc/kpagecount"),
    HIDE("proc/kpageflags"),
    HIDE("proc/latency_stats"),
    HIDE("proc/sched_debug"),
    HIDE("proc/sysrq-trigger"),
    HIDE("proc/timer_list"),
    HIDE("proc/timer_stats"),
    HIDE("proc/cmdline"),
};

static const struct jail_op scratch_ops[] = {
    FROM_DISK("dev/shm", "shm", RW),
    FROM_DISK("tmp", "tmp", RW),
    FROM_DISK("var/tmp", "vartmp", RW),
    FROM_DISK("home/agent", "home", RW),
};

/* The attempt's directories come last, over mount points that were read-only before any job ran. */
static const struct jail_op checkout_ops[] = {
    NO_CERTS,
    FROM_DISK("base.git", "base.git", RW),
    FROM_DISK("task", "task", RW),
};
static const struct jail_op run_ops[] = {
    FROM_DISK("base.git", "base.git", RO),
    FROM_DISK("task", "task", RW),
};
/* The collector reads what the job left and writes /out alone, so it gets none of the job's own
 * scratch directories. */
static const struct jail_op collect_ops[] = {
    NO_CERTS,
    FROM_DISK("base.git", "base.git", RO),
    FROM_DISK("task", "task", RO | MOUNT_ATTR_NOEXEC),
    FROM_DISK("out", "out", RW | MOUNT_ATTR_NOEXEC),
};

/* Caches: the run's own view, and the copy of what a trusted task left. The cache's mount has attributes of
 * its own, and these. */
#define FROM_STORE(path, tree, attrs)                                                   \
    {                                                                                   \
        .kind = JAIL_BIND, .to = (path), .from = ".", .source = (tree), .attr = (attrs) \
    }
static const struct jail_op cache_ops[] = {FROM_STORE("home/agent/.cache", JAIL_CACHE, RW)};
static const struct jail_op keep_ops[] = {
    FROM_STORE("cache", JAIL_CACHE, RO | MOUNT_ATTR_NOEXEC),
    FROM_STORE("keep", JAIL_KEEP, RW | MOUNT_ATTR_NOEXEC),
};

/* Written by serve alone, while the job runs. */
static const struct jail_op token_ops[] = {
    FROM_STORE("run/creel", JAIL_TOKEN, RO | MOUNT_ATTR_NOEXEC)};

/* Of the host's operator, the same for all tasks: no task changes it or adds to it. */
static const struct jail_op tools_op = FROM_STORE("opt/creel/tools", JAIL_TOOLS, RO);

static const char *const checkout_writable[] = {"/base.git",   "/task", "/tmp",  "/var/tmp",
                                                "/home/agent", "/dev",  "/proc", NULL};
static const char *const run_writable[] = {"/task", "/tmp",  "/var/tmp", "/home/agent",
                                           "/dev",  "/proc", NULL};
static const char *const collect_writable[] = {"/out", "/dev", "/proc", NULL};
static const char *const keep_writable[] = {"/out", "/keep", "/dev", "/proc", NULL};

static size_t append(struct jail_op *out, size_t n, const struct jail_op *ops, size_t count)
{
    memcpy(out + n, ops, count * sizeof *ops);
    return n + count;
}

const struct jail_op *jail_ops_base(size_t *ret_n)
{
    *ret_n = LEN(base_ops);
    return base_ops;
}

const struct jail_op *jail_op_tools(void)
{
    return &tools_op;
}

static bool is_node(const struct jail_op *op)
{
    return op->kind == JAIL_BIND && strncmp(op->to, "dev/", 4) == 0;
}

size_t jail_ops_layer(struct jail_op out[static JAIL_OPS_MAX])
{
    _Static_assert(LEN(base_ops) <= JAIL_OPS_MAX, "JAIL_OPS_MAX is too small");
    size_t n = 0;
    for (size_t i = 0; i < LEN(base_ops); i++) {
        const struct jail_op *op = &base_ops[i];
        if (is_node(op))
            out[n++] = (struct jail_op)TEXT(op->to, "");
        else if (op->kind != JAIL_BIND && op->kind != JAIL_AS_HOST)
            out[n++] = *op;
    }
    return n;
}

size_t jail_ops_over(struct jail_op out[static JAIL_OPS_MAX])
{
    size_t n = 0;
    for (size_t i = 0; i < LEN(base_ops); i++)
        if (is_node(&base_ops[i]))
            out[n++] = base_ops[i];
    return n;
}

size_t jail_ops_phase(enum warden_phase phase, const struct jail_kind *kind,
                      struct jail_op out[static JAIL_OPS_MAX])
{
    _Static_assert(LEN(kernel_ops) + LEN(cover_ops) + LEN(scratch_ops) + LEN(keep_ops) +
                           LEN(collect_ops) <=
                       JAIL_OPS_MAX,
                   "JAIL_OPS_MAX is too small");
    size_t n = append(out, 0, kernel_ops, LEN(kernel_ops));
    if (!kind->nested || phase != WARDEN_RUN)
        n = append(out, n, cover_ops, LEN(cover_ops));
    switch (phase) {
    case WARDEN_CHECKOUT:
        n = append(out, n, scratch_ops, LEN(scratch_ops));
        return append(out, n, checkout_ops, LEN(checkout_ops));
    case WARDEN_RUN:
        n = append(out, n, scratch_ops, LEN(scratch_ops));
        if (jail_caches(kind))
            n = append(out, n, cache_ops, LEN(cache_ops));
        if (kind->repo_token)
            n = append(out, n, token_ops, LEN(token_ops));
        return append(out, n, run_ops, LEN(run_ops));
    case WARDEN_COLLECT:
        if (kind->keep)
            n = append(out, n, keep_ops, LEN(keep_ops));
        return append(out, n, collect_ops, LEN(collect_ops));
    }
    return 0;
}

const char *const *jail_writable(enum warden_phase phase, const struct jail_kind *kind)
{
    switch (phase) {
    case WARDEN_CHECKOUT:
        return checkout_writable;
    case WARDEN_RUN:
        return run_writable;
    case WARDEN_COLLECT:
        return kind->keep ? keep_writable : collect_writable;
    }
    return NULL;
}
