/* Between the files of the warden process, and its unit tests. */
#ifndef RUNNER_WARDEN_INTERNAL_H
#define RUNNER_WARDEN_INTERNAL_H

#include <time.h>

#include "runner/caches.h"
#include "runner/cell.h"
#include "runner/disk_image.h"
#include "runner/warden.h"

/* What the warden reads once, before it is forked, while errors can still be told to a person. */
struct warden_setup {
    struct controller_keys keys;
    char host_key[KEY_FPR_SIZE]; /* this host's SSH host key: the audience */
    int tool;                    /* owned; the tree tool */
    char *images;                /* owned, absolute; or NULL */
    char *caches;                /* likewise */
    char *tools;                 /* likewise */
    unsigned slots;
    char disks[4096]; /* where images are made; empty: nowhere */
};

/* Where a slot is; what may come next is the table at the end of warden_loop.c. */
enum slot_state {
    SLOT_FREE,
    SLOT_OPEN,     /* the disk is there, the pack may be written */
    SLOT_CHECKOUT, /* running */
    SLOT_READY,
    SLOT_RUN, /* running */
    SLOT_RAN,
    SLOT_COLLECT, /* running */
    SLOT_DONE,    /* nothing more to start */
    SLOT_STATE_COUNT,
};

/* Which libraries of the host a spare was made with (pool.c). */
struct host_libraries {
    dev_t device;
    ino_t inode;
    struct timespec changed;
};

struct slot {
    enum slot_state state;
    char attempt[ATTEMPT_ID_SIZE];
    struct cell cell; /* of a free slot: a spare (pool.h) or none */
    bool no_spare;    /* one failed */
    struct host_libraries libraries;
    char cache[CACHE_DIGEST_SIZE]; /* that the attempt uses, or empty */
    bool keeps;                    /* a new cache is being made for it */
};

struct warden {
    const struct warden_setup *setup;
    int sock;
    bool rooted;
    struct err unusable; /* code ERR_NONE: jails can be made here */
    struct seccomp_filter filter;
    struct cgroup_tree cgroups;
    struct caches caches;
    struct disk_store disks;
    struct task no_task; /* the default policy, for spares */
    struct slot slots[RUNNER_SLOTS_MAX];
};

/* The warden's own check of an envelope (warden_admit.c): reads it from serve's memfd, verifies the
 * signature, type, audience, time, attempt and token, decodes the task, and refuses limits that
 * `unenforceable` names and the signed policy does not let go. Task: task_done(). */
int warden_admit(const struct warden_setup *setup, const struct warden_request *req, int envelope,
                 unsigned unenforceable, const char *why, struct task *out, struct err *err);

unsigned warden_unenforceable(const struct warden *w);
/* The warden's life: serves `sock` until its peer is gone, then destroys every attempt. `serve` is
 * the pid that shares the warden's cgroup. */
int warden_loop(const struct warden_setup *setup, int sock, pid_t serve, struct err *err);

#endif
