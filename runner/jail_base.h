/* The root file systems that an attempt's jails start from, read-only before any job runs: the host's
 * own /usr with our /etc, and, where the policy names an image, for the run phase that image under our
 * /etc and mount points. Made by the keeper, in its own mount namespace, while the host's file tree is
 * still its root. */
#ifndef RUNNER_JAIL_BASE_H
#define RUNNER_JAIL_BASE_H

#include <stdbool.h>

#include "proto/policy.h"
#include "runner/warden.h"

#define JAIL_BASE_OPTS "size=4m,nr_inodes=1024,mode=0755"

/* What shapes a jail before its task is known: the policy, but for `tools`. All of that false and NULL:
 * the usual jail, which can be made ahead. */
struct jail_kind {
    bool nested;       /* room for a sandbox of the job's own */
    const char *image; /* absolute path of the image's root (images.h), or NULL */
    const char *cache; /* likewise of a dependency cache (caches.h) */
    const char *keep;  /* likewise of the directory where to keep one */
    bool repo_token;   /* a place for a token for the repository (repo_token.h) */
    const char *tools; /* likewise of the operator's tools (tools.h), the same for every cell */
};

/* Does the run have a cache of the attempt's own at ~/.cache? */
static inline bool jail_caches(const struct jail_kind *kind)
{
    return kind->cache || kind->keep;
}

/* Opens a directory of the operator's (an image, the tools), no link on the way followed: a descriptor, -1
 * in *ret_fd when `path` is NULL. Before the keeper gives up the user id that may enter it, and before
 * anything covers it. `what` names it in the message. */
int jail_base_open(const char *what, const char *path, int *ret_fd, struct err *err);
/* Makes and mounts them at `stage`/root and, with `image`, at `stage`/image, both with `tools` (-1: none).
 * `stage` is an empty tmpfs of the caller's. */
int jail_base_make(const char *stage, int image, int tools, struct err *err);
/* The one that a phase starts from, as a path below the stage. */
const char *jail_base_root(const struct jail_kind *kind, enum warden_phase phase);

#endif
