/* The operator's repository, read: what a task starts from. Never writes to it. */
#ifndef CONTROLLER_SOURCE_H
#define CONTROLLER_SOURCE_H

#include <limits.h>

#include "proto/task.h"

struct source {
    char repo[PATH_MAX]; /* absolute work tree (or bare repository) path */
    char base[TASK_OID_SIZE];
    char base_name[256]; /* the revision as given, or the branch HEAD is on */
    char base_subject[201];
    bool dirty; /* uncommitted changes exist: they are not part of the task */
    char remote
        [REPO_URL_SIZE]; /* where "origin" is, when that is an address proto/repo_access.h takes */
};

/* Finds the repository at or above `dir` and resolves `rev` (NULL: HEAD) to a commit. Not a
 * repository, bad revision, no commit yet: -ERR_USAGE, one clear line. */
int source_open(const char *dir, const char *rev, struct source *out, struct err *err);

struct source_pack {
    char root[TASK_OID_SIZE]; /* synthetic commit: base's tree, no parent, message names the base */
    char name[64];            /* "pack-<hex>.pack" in quarantine.git/objects/pack */
    uint64_t bytes;
    uint8_t sha256[32];
    uint64_t objects;
};

/* Makes the quarantine repository at `quarantine` (absolute path, must not exist: bare, own config,
 * no hooks, no alternates) and in it the snapshot pack, by `git pack-objects` from the operator's
 * repository. Trees with entries that creel cannot carry (submodule contents) are shipped without
 * them; *ret says so in objects only. Blocks; run it in a process of the CLI, never in the engine.
 */
int source_snapshot(const struct source *s, const char *quarantine, struct source_pack *ret,
                    struct err *err);

#endif
