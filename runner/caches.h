/* The dependency caches of a host: --caches DIR. DIR/<digest> is a tree that a task of the operator's trust
 * left (policy.cache_keep); later tasks whose policy names the digest find it at ~/.cache, and what they
 * write there dies with them. The directory is the runner's alone (0700), so that nobody reaches it but
 * through a mount; a tree in it is never changed, only removed, the one used longest ago first.
 *
 * The digest is computed by the tool that copied the tree (cache_keep.h says over what) and names it for
 * good. Using one does not compute it again: what guards a tree is that nothing but the warden reaches it.
 * Where the runner is root the files belong to the jails' user id as it is inside a jail, and are shown
 * through an id-mapped mount (Linux 5.12; as layers of an overlay 5.19). */
#ifndef RUNNER_CACHES_H
#define RUNNER_CACHES_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/policy.h"

#define CACHES_MAX      32
#define CACHES_PATH_MAX 512
#define CACHE_BYTES_MAX (8ull << 30) /* of one */
#define CACHE_FREE_MIN  10           /* percent of the file system that stays free */

struct caches {
    const char *path; /* borrowed, absolute; NULL: this host keeps no caches */
    int dir;          /* owned, or -1 */
};

/* Opens the directory, which must exist and be the runner's alone, and removes what a crashed predecessor
 * had half made. `path` NULL: no caches. */
int caches_open(struct caches *c, const char *path, struct err *err);
void caches_done(struct caches *c);

/* The path of a tree, and marks it as used now. -ERR_REFUSED: not here. */
int caches_find(const struct caches *c, const char *digest, char ret_path[static CACHES_PATH_MAX],
                struct err *err);
/* A new, empty directory for a slot's cache, which belongs to `owner`. Makes room first: of trees that
 * stand in `used` (digests, n of them) none is removed. */
int caches_begin(const struct caches *c, unsigned slot, uid_t owner, const char *const *used,
                 size_t n, char ret_path[static CACHES_PATH_MAX], struct err *err);
/* The new directory is whole: gives it its digest for a name. One that is there already wins. */
int caches_commit(const struct caches *c, unsigned slot, const char *digest, struct err *err);
/* Forgets a slot's new directory, if there is one. */
void caches_abort(const struct caches *c, unsigned slot);

#endif
