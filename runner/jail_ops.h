/* What a jail's file tree is, as data: lists of operations, chosen by phase, walked by jail_apply.
 *
 * The tree is made in two strokes. The base (a tmpfs root, the host's /usr read-only, our own /etc, a
 * minimal /dev, empty mount points) is made once an attempt by its keeper and is read-only before any
 * job runs. A phase gets its own copy of those mounts, its own /proc and /dev/pts, and the
 * directories of the attempt's disk that the phase may see. Nothing else of the host is there. */
#ifndef RUNNER_JAIL_OPS_H
#define RUNNER_JAIL_OPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"
#include "runner/jail_base.h"
#include "runner/warden.h"

enum jail_op_kind {
    JAIL_DIR,     /* make directory `to` with `mode` */
    JAIL_LINK,    /* make symlink `to` -> `from` */
    JAIL_FILE,    /* make file `to` with text `from` */
    JAIL_AS_HOST, /* `to` as on the host: the same symlink, or a read-only bind of the directory */
    JAIL_BIND,    /* bind `from` of tree `source` at `to`, with `attr` */
    JAIL_PROC,    /* a new procfs at `to` */
    JAIL_PTS,     /* a new devpts at `to` */
    JAIL_HIDE,    /* cover `to`, if it exists, by the jail's empty directory or its /dev/null */
    JAIL_ATTR,    /* add `attr` to the mount at `to` */
};

/* JAIL_CACHE, JAIL_KEEP: cache_mount.h. */
enum jail_source {
    JAIL_HOST,
    JAIL_DISK,
    JAIL_SELF,
    JAIL_CACHE,
    JAIL_KEEP,
    JAIL_TOOLS,
    JAIL_TOKEN, /* repo_token.h */
    JAIL_SOURCE_COUNT,
};

struct jail_op {
    enum jail_op_kind kind;
    const char *to; /* relative to the jail's root */
    const char *from;
    enum jail_source source;
    uint64_t attr; /* MOUNT_ATTR_*, added to what the source has */
    unsigned mode;
    bool optional; /* an absent source is no error; an absent file target is made */
};

/* Descriptors of the roots that paths are relative to. */
struct jail_roots {
    int jail;
    int source[JAIL_SOURCE_COUNT]; /* -1 where a list uses none */
};

#define JAIL_OPS_MAX 96

/* The base list; *ret_n operations, constant. */
const struct jail_op *jail_ops_base(size_t *ret_n);
/* The same for an image, in two lists into `out`; return how many. What is laid over the image: our
 * directories and files, an empty file for each device, and nothing of the host's. Then, over both, the
 * devices themselves. */
size_t jail_ops_layer(struct jail_op out[static JAIL_OPS_MAX]);
size_t jail_ops_over(struct jail_op out[static JAIL_OPS_MAX]);
/* Over either base, where the runner has tools. */
const struct jail_op *jail_op_tools(void);
/* The phase's list, in order, into `out`; returns how many. A nested run's has nothing over any part of
 * /proc: the kernel lets a user namespace mount a procfs only where it sees one that is whole. */
size_t jail_ops_phase(enum warden_phase phase, const struct jail_kind *kind,
                      struct jail_op out[static JAIL_OPS_MAX]);
/* Trees that the phase may write, absolute, NULL-terminated: what Landlock is told. */
const char *const *jail_writable(enum warden_phase phase, const struct jail_kind *kind);

/* Walks a list, in the caller's own mount namespace. The first failure ends it. */
int jail_apply(const struct jail_op *ops, size_t n, const struct jail_roots *at, struct err *err);

#endif
