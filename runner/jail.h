/* One jail: one phase of an attempt in its own pid, mount, net (net.h), ipc, uts and cgroup
 * namespaces, below the user and mount namespace of the attempt's keeper (keeper.c), which prepares,
 * starts and reaps it.
 *
 * A jail's first process is our own code (jail_init.c). It builds the jail, gives up everything, and
 * then waits until it is told to go: so a jail can stand ready before anything of its task is known.
 * What it is to do it reads from the order (cell_order.h), and never before that. When it is reaped, the
 * kernel has killed and reaped everything else that was in the jail. */
#ifndef RUNNER_JAIL_H
#define RUNNER_JAIL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "runner/jail_base.h"
#include "runner/cell_order.h"
#include "runner/seccomp.h"
#include "runner/warden.h"

#define JAIL_UID       1000
#define JAIL_GID       1000
#define JAIL_DISK_PATH "/disk" /* the attempt's disk, in the keeper's mount namespace */

enum { JAIL_OUT, JAIL_ERR, JAIL_STATUS, JAIL_PIPES }; /* the pipes of a phase */

struct jail_spec {
    enum warden_phase phase;
    const struct cell_order *order; /* nothing of it may be used before the jail goes */
    const struct jail_kind *kind;
    const struct seccomp_filter *filter;
    int tool;    /* the tree tool, opened on the host */
    int room;    /* the caller's own mount namespace */
    int cgroup;  /* the jail's cgroup, or -1 */
    int input;   /* the first process's stdin, or -1 for /dev/null */
    bool rooted; /* the user namespace maps a range, and its root makes the jail */
};

/* Between the jail's first process and the keeper, in shared memory that no program of a task ever has
 * mapped. `go` is the keeper's; the rest is written by the first process and read when it is reaped. */
struct jail_report {
    _Atomic uint32_t go;  /* a futex: not 0 when the phase may begin */
    uint32_t ready_ms;    /* processor time that was spent before it began */
    int32_t code;         /* 0, or enum err_code: the jail could not be made, `detail` says why */
    int32_t exit, signal; /* checkout, collect: how the tree tool ended */
    char detail[301];
};

struct jail {
    pid_t pid;
    int pidfd;  /* owned */
    int mounts; /* owned; its mount namespace, which so lives on: it takes the kernel longer
                            * to take down than the jail to end */
    int net;    /* owned until jail_enter: where it waits for its network */
    int pipes[JAIL_PIPES]; /* owned until jail_go: read ends; status is -1 but in the run phase */
    struct jail_report *report;
    uint64_t started_us; /* when it went, 0 before */
};

#define JAIL_NONE \
    ((struct jail){.pid = -1, .pidfd = -1, .mounts = -1, .net = -1, .pipes = {-1, -1, -1}})

struct jail_end {
    struct jail_report report;
    uint64_t wall_ms, cpu_ms; /* since it went */
};

/* Makes a phase's jail, which builds itself but for its network. That it could not be built shows when
 * it is reaped. */
int jail_prepare(const struct jail_spec *spec, struct jail *out, struct err *err);
/* Lets it enter the caller's network namespace, made while the jail was building. */
int jail_enter(struct jail *j, struct err *err);
/* Lets it begin. ret_pipes: the caller's. A jail that died before is as one that dies at once. */
void jail_go(struct jail *j, int ret_pipes[static JAIL_PIPES]);
/* Kills the jail's first process, and so all of it. Reaping is still due. */
void jail_kill(const struct jail *j);
/* Waits for the jail's end and releases `j` but for its mounts. */
void jail_reap(struct jail *j, struct jail_end *ret);
/* Releases those too. */
void jail_done(struct jail *j);

/* The rest is for the jail's own files. */

/* Gives up everything: identity, capabilities, limits, system calls; then checks that it is gone. */
int jail_drop(const struct jail_spec *spec, struct err *err);
/* Lowers the limits that stand in the order. Needs no privilege. */
int jail_limit(const struct jail_spec *spec, struct err *err);
/* What the checks read: the text of /proc/self/status must show no capability, no_new_privs, and a
 * system call filter. */
int jail_check_status(const char *status, struct err *err);
/* Pid 1 of the jail: waits until it may go, runs the phase's steps, returns its exit status. */
int jail_init(const struct jail_spec *spec, int status, struct jail_report *report);

#endif
