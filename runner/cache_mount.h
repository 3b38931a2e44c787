/* A dependency cache in an attempt: the kept tree, read-only, under a layer of the attempt's own disk. Used
 * by the keeper in its own mount namespace, and by the warden where only it may map ids. */
#ifndef RUNNER_CACHE_MOUNT_H
#define RUNNER_CACHE_MOUNT_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/err.h"

#define CACHE_MERGED_PATH "/cache" /* in the keeper's room: what jobs find at ~/.cache */
#define CACHE_KEEP_PATH   "/keep"  /* likewise: where a cache to keep is copied */

/* Can a whole cache be laid under a tmpfs? It marks what is removed by attributes that a tmpfs has since
 * Linux 6.6; without them to remove or replace a directory of the cache fails (EIO), all else works. */
bool cache_mount_on_tmpfs(void);
/* A detached mount of a directory of the store, which no link leads to. `pid` not 0: with the ids of that
 * process's user namespace mapped, so that what belongs to the jail's user inside belongs to it outside. */
int cache_mount_open(const char *path, bool writable, pid_t pid, struct err *err);
/* Makes CACHE_MERGED_PATH and, with `keep`, CACHE_KEEP_PATH, after the disk was mounted at `disk`. `lower`
 * or -1: the kept tree; `keep` or -1. Both borrowed. */
int cache_mount_place(const char *disk, int lower, int keep, uid_t owner, gid_t group,
                      struct err *err);

#endif
