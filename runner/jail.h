/* One jail: one phase of an attempt in its own pid, mount, net (net.h), ipc, uts and cgroup
 * namespaces, below the user and mount namespace of the attempt's keeper (keeper.c), which starts and
 * reaps it.
 *
 * A jail's first process is our own code (jail_init.c), fenced before it starts anything. When it is
 * reaped, the kernel has killed and reaped everything else that was in the jail. */
#ifndef RUNNER_JAIL_H
#define RUNNER_JAIL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/task.h"
#include "runner/seccomp.h"
#include "runner/warden.h"

#define JAIL_UID       1000
#define JAIL_GID       1000
#define JAIL_ROOT_PATH "/root" /* the base tree, in the keeper's mount namespace */
#define JAIL_DISK_PATH "/disk" /* the attempt's disk, likewise */

enum { JAIL_OUT, JAIL_ERR, JAIL_STATUS, JAIL_PIPES }; /* the pipes of a phase */

struct jail_spec {
    enum warden_phase phase;
    const struct task *task;
    const uint8_t *token; /* TASK_TOKEN_BYTES */
    const struct seccomp_filter *filter;
    int tool;    /* the tree tool, opened on the host */
    int cgroup;  /* the jail's cgroup, or -1 */
    int input;   /* the first process's stdin, or -1 for /dev/null */
    bool rooted; /* the user namespace maps a range, and its root makes the jail */
};

/* Written by the jail's first process, read by the keeper when it is reaped. Shared memory that no
 * program of a task ever has mapped. */
struct jail_report {
    int32_t code;         /* 0, or enum err_code: the jail could not be made, `detail` says why */
    int32_t exit, signal; /* checkout, collect: how the tree tool ended */
    char detail[301];
};

struct jail {
    pid_t pid;
    int pidfd; /* owned */
    struct jail_report *report;
    uint64_t started_us;
};

#define JAIL_NONE ((struct jail){.pid = -1, .pidfd = -1})

struct jail_end {
    struct jail_report report;
    uint64_t wall_ms, cpu_ms;
};

/* Starts a phase, in the caller's network namespace. ret_pipes: read ends, owned by the caller; status is -1 but in the run phase. */
int jail_start(const struct jail_spec *spec, struct jail *out, int ret_pipes[static JAIL_PIPES],
               struct err *err);
/* Kills the jail's first process, and so all of it. Reaping is still due. */
void jail_kill(const struct jail *j);
/* Waits for the jail's end and releases `j`. */
void jail_reap(struct jail *j, struct jail_end *ret);

/* The rest is for the jail's own files. */

/* Gives up everything: identity, capabilities, limits, system calls; then checks that it is gone. */
int jail_drop(const struct jail_spec *spec, struct err *err);
/* What the checks read: the text of /proc/self/status must show no capability, no_new_privs, and a
 * system call filter. */
int jail_check_status(const char *status, struct err *err);
/* Pid 1 of the jail: runs the phase's steps and returns its exit status. */
int jail_init(const struct jail_spec *spec, int status, struct jail_report *report);

#endif
