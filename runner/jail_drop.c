/* Gives up privilege inside a finished jail, in the one order that works, and checks the outcome by
 * what the kernel says of the process, not by what was asked for. */
#include "runner/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/capability.h>
#include <linux/keyctl.h>
#include <linux/securebits.h>

#include "common/file.h"
#include "common/secret.h"
#include "runner/jail_ops.h"
#include "runner/landlock.h"

#define KEYRING_TRIES 50
#define SECUREBITS                                                                           \
    (SECBIT_NOROOT | SECBIT_NOROOT_LOCKED | SECBIT_NO_SETUID_FIXUP |                         \
     SECBIT_NO_SETUID_FIXUP_LOCKED | SECBIT_KEEP_CAPS_LOCKED | SECBIT_NO_CAP_AMBIENT_RAISE | \
     SECBIT_NO_CAP_AMBIENT_RAISE_LOCKED)

/* A session keyring of one's own, so that none of the runner's keys is reachable. The quota of a
 * user is small and freed by the kernel in the background: an attempt right after others may have
 * to wait a moment. */
static int own_keyring(void)
{
    for (int i = 0; i < KEYRING_TRIES; i++) {
        if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) >= 0 || errno == ENOSYS)
            return 0;
        if (errno != EDQUOT)
            return -1;
        poll(NULL, 0, 2);
    }
    return -1;
}

static int limit_to(int resource, rlim_t soft, rlim_t hard)
{
    struct rlimit now;
    if (getrlimit(resource, &now) < 0)
        return -1;
    /* Never above what this host gave us: raising takes a capability that we may not have. */
    if (hard > now.rlim_max)
        hard = now.rlim_max;
    now = (struct rlimit){.rlim_cur = soft < hard ? soft : hard, .rlim_max = hard};
    return setrlimit(resource, &now);
}

struct limit_row {
    int resource;
    rlim_t soft, hard;
};

static int limit_rows(const struct limit_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (limit_to(rows[i].resource, rows[i].soft, rows[i].hard) < 0)
            return -1;
    return 0;
}

static int set_rlimits(void)
{
    static const struct limit_row rows[] = {
        {RLIMIT_NOFILE, 4096, 65536},
        {RLIMIT_MEMLOCK, 8u << 20, 8u << 20},
        {RLIMIT_MSGQUEUE, 819200, 819200},
        {RLIMIT_SIGPENDING, 4096, 4096},
        {RLIMIT_STACK, 8u << 20, RLIM_INFINITY},
        {RLIMIT_NICE, 0, 0},
        {RLIMIT_RTPRIO, 0, 0},
    };
    return limit_rows(rows, sizeof rows / sizeof *rows);
}

int jail_limit(const struct jail_spec *spec, struct err *err)
{
    const uint64_t *limits = spec->order->limits;
    /* Where pids.max is the limit this one only stands behind it, with room, so that the cgroup is
     * what says no, and counts it. */
    const rlim_t pids = limits[LIMIT_PIDS] + (spec->cgroup >= 0 ? 256 : 0);
    /* One page over the disk: a full disk shall be met as such, not as a signal. */
    const rlim_t file = limits[LIMIT_DISK] + 4096;
    const struct limit_row rows[] = {{RLIMIT_NPROC, pids, pids}, {RLIMIT_FSIZE, file, file}};
    if (limit_rows(rows, sizeof rows / sizeof *rows) < 0)
        return err_errno(err, ERR_FAIL, "the jail's resource limits cannot be set");
    return 0;
}

/* Bounding set and securebits first, while the capability to change them is there; they also keep
 * setresuid from deciding anything about the rest. */
static int drop_identity(bool rooted)
{
    for (unsigned long cap = 0; prctl(PR_CAPBSET_READ, cap, 0, 0, 0) >= 0; cap++)
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return -1;
    if (prctl(PR_SET_SECUREBITS, SECUREBITS, 0, 0, 0) < 0)
        return -1;
    if (rooted && (setgroups(0, NULL) < 0 || setresgid(JAIL_GID, JAIL_GID, JAIL_GID) < 0 ||
                   setresuid(JAIL_UID, JAIL_UID, JAIL_UID) < 0))
        return -1;
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct none[2] = {0};
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0 ||
        syscall(SYS_capset, &head, none) < 0)
        return -1;
    return geteuid() == JAIL_UID && getegid() == JAIL_GID ? 0 : -1;
}

/* The rest of the line "KEY:\tVALUE", or NULL. */
static const char *status_value(const char *status, const char *key)
{
    size_t n = strlen(key);
    for (const char *line = status; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, n) == 0 && line[n] == ':')
            return line + n + 1 + strspn(line + n + 1, " \t");
    }
    return NULL;
}

int jail_check_status(const char *status, struct err *err)
{
    static const struct {
        const char *key, *value;
    } due[] = {
        {"CapInh", "0000000000000000\n"},
        {"CapPrm", "0000000000000000\n"},
        {"CapEff", "0000000000000000\n"},
        {"CapBnd", "0000000000000000\n"},
        {"CapAmb", "0000000000000000\n"},
        {"NoNewPrivs", "1\n"},
        {"Seccomp", "2\n"},
    };
    for (size_t i = 0; i < sizeof due / sizeof *due; i++) {
        const char *value = status_value(status, due[i].key);
        if (!value || strncmp(value, due[i].value, strlen(due[i].value)) != 0)
            return err_set(err, ERR_FAIL, "the jail's first process kept privilege: %s is not %.*s",
                           due[i].key, (int)strlen(due[i].value) - 1, due[i].value);
    }
    return 0;
}

static int check_dropped(struct err *err)
{
    char text[8192];
    int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    fd_close(&fd);
    if (n < 0)
        return err_errno(err, ERR_FAIL, "the jail cannot read its own status");
    text[n] = 0;
    return jail_check_status(text, err);
}

/* A dump of a job is its memory, and a program that core_pattern names gets it as the host's root. */
static int no_cores(struct err *err)
{
    struct rlimit core;
    if (core_dumps_off() < 0 || getrlimit(RLIMIT_CORE, &core) < 0)
        return err_errno(err, ERR_FAIL, "the jail cannot turn core dumps off");
    if (core.rlim_max == 0 && core_dumps_piped())
        return err_set(
            err, ERR_FAIL,
            "a core dump would leave the jail: kernel.core_pattern pipes it to a program, "
            "which a hard limit of 0 on core files does not stop: start the runner with "
            "a hard limit of 1 or more");
    return 0;
}

int jail_drop(const struct jail_spec *spec, struct err *err)
{
    int program = spec->phase == WARDEN_RUN ? -1 : spec->tool;
    bool nested = spec->kind->nested && spec->phase == WARDEN_RUN;
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return err_errno(err, ERR_FAIL, "the jail cannot set no_new_privs");
    if (own_keyring() < 0)
        return err_errno(err, ERR_FAIL, "the jail cannot leave the session keyring");
    if (set_rlimits() < 0)
        return err_errno(err, ERR_FAIL, "the jail's resource limits cannot be set");
    int rc = no_cores(err);
    if (rc < 0)
        return rc;
    if (drop_identity(spec->rooted) < 0)
        return err_errno(err, ERR_FAIL, "the jail cannot drop its privileges");
    /* After the last change of identity: such a change would clear the first and reset the other. */
    if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || prctl(PR_SET_DUMPABLE, 0) < 0)
        return err_errno(err, ERR_FAIL, "the jail's first process cannot hide itself");
    /* The tree tool opens no socket, and only checkout moves files about. */
    const struct landlock_fence fence = {
        .files = !nested,
        .renames = spec->phase != WARDEN_COLLECT,
        .tcp = spec->phase == WARDEN_RUN,
        .writable = jail_writable(spec->phase, spec->kind),
        .program = program,
    };
    rc = landlock_apply(&fence, err);
    if (rc == 0)
        rc = seccomp_apply(spec->filter, nested ? SECCOMP_NESTED : SECCOMP_PLAIN, err);
    return rc ? rc : check_dropped(err);
}
