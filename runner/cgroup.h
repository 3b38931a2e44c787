/* Limits and killing by cgroup v2, where the runner was delegated a subtree (systemd: Delegate=yes).
 *
 *   OWN/supervisor            warden and serve, so that OWN may have children with limits; what they write for
 *                             an attempt (its source, orders, log) counts here and is not swapped either
 *   OWN/attempt-N             belongs to slot N's root user: a keeper may start jails below it
 *   OWN/attempt-N/keeper      ours, unlimited, tiny
 *   OWN/attempt-N/jail        the run: carries the limits
 *   OWN/attempt-N/tool        checkout and collect: our own tool on the attempt's files, the same limits
 *                             but of memory, since those files may fill the job's
 *
 * Two, so that a phase's jail can be prepared while the other's works, and neither is counted, killed
 * or kept from ending by the other.
 *
 * Used by the warden only. The jail never sees a cgroup file system. */
#ifndef RUNNER_CGROUP_H
#define RUNNER_CGROUP_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/err.h"
#include "proto/policy.h"
#include "runner/warden.h"

#define CGROUP_PATH_MAX 512
#define CGROUP_LIMITS   (LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_PIDS) | LIMIT_BIT(LIMIT_CPU))

/* Where the runner may make cgroups. `dir` is -1 when nowhere; then `why` says why, in one line. */
struct cgroup_tree {
    int dir;      /* owned; OWN */
    bool no_swap; /* nothing in it is written to swap */
    char why[160];
};

enum cgroup_jail { CGROUP_RUN, CGROUP_TOOL, CGROUP_JAILS };

/* One attempt's cgroups. All -1 when there are none. */
struct cgroup {
    int tree, attempt, keeper, jail[CGROUP_JAILS]; /* owned but `tree` */
    char name[32];                                 /* "attempt-N" */
    struct warden_usage base;                      /* counters when the current phase began */
};

#define CGROUP_NONE ((struct cgroup){.tree = -1, .attempt = -1, .keeper = -1, .jail = {-1, -1}})

/* The cgroup v2 path in the text of /proc/self/cgroup, and the path of the mount that shows it in the
 * text of /proc/self/mountinfo. Return 0 or -1: not there, or not of a usable form. */
int cgroup_parse_own(const char *text, char out[static CGROUP_PATH_MAX]);
int cgroup_parse_mount(const char *mountinfo, const char *own, char out[static CGROUP_PATH_MAX]);

/* Finds OWN, moves the caller and `serve` into OWN/supervisor and enables the controllers. Finding
 * none is no error. */
void cgroup_tree_open(struct cgroup_tree *t, pid_t serve);
void cgroup_tree_done(struct cgroup_tree *t);

/* Makes slot N's cgroups with the limits set; `owner` is the keeper's user. What a crashed
 * predecessor left under the name is killed and removed first. */
int cgroup_open(const struct cgroup_tree *t, unsigned slot, const uint64_t limits[LIMIT_COUNT],
                uid_t owner, struct cgroup *out, struct err *err);
/* Other limits than it was opened with. */
int cgroup_limit(const struct cgroup *c, const uint64_t limits[LIMIT_COUNT], struct err *err);
/* Kills everything in that cgroup. */
void cgroup_kill(const struct cgroup *c, enum cgroup_jail which);
/* Waits until nothing lives in it. */
bool cgroup_empty(const struct cgroup *c, enum cgroup_jail which, unsigned wait_ms);
/* Marks the counters' present values as the start of a phase. */
void cgroup_begin(struct cgroup *c, enum cgroup_jail which);
/* Fills what cgroup counters know since cgroup_begin: cpu_ms, peaks, oom_kills, pids_hits. */
void cgroup_usage(const struct cgroup *c, enum cgroup_jail which, struct warden_usage *u);
/* Removes the cgroups and checks that they are gone; closes `c`. True when nothing is left. */
bool cgroup_remove(struct cgroup *c);

#endif
