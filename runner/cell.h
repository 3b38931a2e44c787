/* An attempt's cell, seen from the warden: one keeper process (keeper.c) in a user, mount and pid
 * namespace of its own, which holds the attempt's disk, prepares its jails and starts them. The keeper
 * is ours and no program of a task ever runs in it; it is told what to do by few fixed-size records,
 * and what its task is by the order (cell_order.h). When it is reaped, everything of the attempt is dead.
 *
 * A cell can be made before there is a task: cell_make, then cell_bind when the task is there, once.
 * Until then it holds nothing of any task. What cannot be changed later must fit: cell_fits. */
#ifndef RUNNER_CELL_H
#define RUNNER_CELL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/task.h"
#include "runner/caches.h"
#include "runner/cgroup.h"
#include "runner/disk_image.h"
#include "runner/fdpass.h"
#include "runner/jail.h"
#include "runner/cell_order.h"
#include "runner/seccomp.h"
#include "runner/warden.h"

/* Host user ids of slot N in rooted mode: CELL_UID_BASE + N * CELL_UID_COUNT and up. */
#define CELL_UID_BASE  0x70000000u
#define CELL_UID_COUNT 65536u

#define CELL_OOM_SCORE "800" /* when memory runs out, an attempt goes before all else on the host */

/* All borrowed, and needed only while the keeper is made: it has its own copies by then. */
struct cell_setup {
    const struct task *task; /* of cell_make: only its policy is looked at */
    struct jail_kind kind;
    const uint8_t *token; /* not of cell_make */
    const struct seccomp_filter *filter;
    const struct cgroup_tree *cgroups;
    struct disk_store *disks; /* NULL: none */
    int tool;
    unsigned slot, slots; /* which, of how many */
    bool rooted; /* the caller is root: ids of a range of its own, else only the caller's own id */
};

struct cell {
    pid_t pid;
    int pidfd, ctl, watch, pack; /* owned; pack until it is handed out */
    struct cell_order_page page; /* owned */
    bool ready;                  /* the keeper is done with itself */
    bool busy;                   /* a phase is running */
    enum warden_phase phase;
    struct cgroup cgroup;
    bool
        on_image; /* the disk is `image`, whose mount is the keeper's; else tmpfs, seen by `watch` */
    struct disk_image image;
};

#define CELL_NONE                                \
    ((struct cell){.pid = -1,                    \
                   .pidfd = -1,                  \
                   .ctl = -1,                    \
                   .watch = -1,                  \
                   .pack = -1,                   \
                   .image = DISK_IMAGE_NONE,     \
                   .page = CELL_ORDER_PAGE_NONE, \
                   .cgroup = CGROUP_NONE})

/* Makes a keeper, which goes on to make its namespaces and disk by itself. */
int cell_make(const struct cell_setup *setup, struct cell *out, struct err *err);
/* Asks the keeper to prepare a phase's jail ahead of its start. That it cannot shows when the phase
 * is started. */
void cell_prepare(struct cell *c, enum warden_phase phase);
/* Waits until the keeper is done with itself; c->ctl is readable when it is. */
int cell_ready(struct cell *c, struct err *err);
/* Could a cell that was made so serve what is wanted? Limits of cgroups, rlimits and a tmpfs can be set
 * later; what the tree shows, the filter and an image's size cannot. */
bool cell_fits(const struct cell_setup *made, const struct cell_setup *wanted);
/* Gives a made cell its task: limits, commands, token. ret_pack: where the source pack goes. On failure
 * the cell is closed. */
int cell_bind(struct cell *c, const struct task *task, const uint8_t *token, int *ret_pack,
              struct err *err);
/* Makes a cell for a task, from nothing. */
int cell_open(const struct cell_setup *setup, struct cell *out, int *ret_pack, struct err *err);
/* Starts a phase. ret_fds[0..*ret_n): what WARDEN_START answers with; the caller's. */
int cell_start(struct cell *c, enum warden_phase phase, int ret_fds[static FDPASS_MAX],
               size_t *ret_n, struct err *err);
/* Kills the running phase, if any. Its end is still to be fetched. */
void cell_kill(struct cell *c);

struct cell_end {
    int32_t exit, signal;
    struct warden_usage usage;
    int patch;                     /* collect: the patch pack or -1; the caller's */
    char cache[CACHE_DIGEST_SIZE]; /* collect: of what was kept in kind.keep, or empty */
};

/* When c->ctl is readable: the end of the running phase. Nothing of it lives any more. -code: the
 * jail could not be made or the keeper is gone; the phase is over all the same. */
int cell_ended(struct cell *c, struct cell_end *ret, struct err *err);
/* Destroys the cell and says what was checked to be gone; *c is CELL_NONE after it. */
struct warden_wiped cell_close(struct cell *c);

/* Can this process make cells at all? */
int cell_probe(bool rooted, struct err *err);

/* The records between warden and keeper (cell.c, keeper.c). */
enum cell_op {
    CELL_GO = 1, /* fds: mounts, see `brings`. -> READY, fds: [pack], of a tmpfs also [watch].
                  * Ids are mapped */
    CELL_READY,
    CELL_BIND,    /* no answer: the order is written. What is wrong with it, START says */
    CELL_PREPARE, /* phase. No answer */
    CELL_START,   /* phase. -> STARTED */
    CELL_STARTED, /* fds: pipes, of a run also the gate's sockets */
    CELL_ENDED,   /* event; fds: [patch] or none */
    CELL_KILL,    /* no answer */
    CELL_CLOSE,   /* no answer; the keeper exits */
};

/* Mounts that the warden made: the disk's; where it is root, also the cache's and of what to keep. */
#define CELL_BRINGS_DISK  1u
#define CELL_BRINGS_CACHE 2u
#define CELL_BRINGS_KEEP  4u
#define CELL_MOUNTS       3

struct cell_msg {
    uint32_t op, phase;
    int32_t status; /* 0, or enum err_code; then detail says why */
    int32_t exit, signal;
    uint64_t wall_ms, cpu_ms, disk_used;
    uint32_t brings;               /* GO: CELL_BRINGS_ bits, one descriptor each, in their order */
    char cache[CACHE_DIGEST_SIZE]; /* ENDED of a collect: of the cache that was kept, or empty */
    char detail[301];
};

struct keeper_setup {
    const struct cell_setup *cell;
    int ctl;                  /* the keeper's end */
    int cgroup[CGROUP_JAILS]; /* or -1 */
    int order;                /* what to map */
    uid_t uid;                /* the caller's ids, mapped to the jail's when not rooted */
    gid_t gid;
};

/* The keeper's life. Called in the new namespaces; never returns. */
void keeper_main(const struct keeper_setup *setup) __attribute__((noreturn));

#endif
