/* Keeping a dependency cache: in the collect phase's jail, after a task that the operator trusts, the merged
 * tree is copied into an empty directory of the store. Files, directories and links only; modes become
 * 0755 or 0644; whatever else is there is left out. What the tree holds is data: nothing of it is run.
 *
 * The digest is SHA-256 over "creel-cache-v1\n" and then one record an entry, in the order in which a walk
 * meets them that goes into each directory at once and sorts names by their bytes:
 *   "d " PATH NUL
 *   "f " or "x " (executable), SIZE in decimal, " ", SHA-256 of the content in hex, " ", PATH NUL
 *   "l " TARGET NUL PATH NUL
 * PATH is relative, without "./". */
#ifndef RUNNER_CACHE_KEEP_H
#define RUNNER_CACHE_KEEP_H

#include <stdint.h>

#include "proto/err.h"

#define CACHE_ENTRIES_MAX 1000000u
#define CACHE_DEPTH_MAX   64u
#define CACHE_KEPT_NAME   "cache.digest" /* in the collector's /out: 64 hex digits */

/* Copies `from` into the empty directory `to`, syncs it, and writes the digest in hex. At most `bytes` of
 * content: more is an error, and then `to` is not to be used. An empty tree: *ret_hex is "". */
int cache_keep(const char *from, const char *to, uint64_t bytes, char ret_hex[static 65],
               struct err *err);

#endif
