/* creel-runner-tree: what turns a source pack into a work tree, and a work tree into a patch pack.
 *
 * Both run inside jails only, each in its own, with nothing but the attempt's directories in sight.
 * The agent's own `.git` is written once, by checkout, and never read again by anything of ours.
 */
#ifndef RUNNER_TREE_H
#define RUNNER_TREE_H

#include "common/pack_writer.h"
#include "proto/buf.h"
#include "proto/err.h"
#include "proto/task.h"

#define TREE_PACK_OBJECTS_MAX 4000000u
#define TREE_BLOB_MAX         (256u << 20) /* a larger file is not collected, and that is said */
#define TREE_NOTES_MAX        4096

/* Absolute paths; fixed in the program, free in tests. */
struct tree_dirs {
    const char *base; /* bare repository and the pristine list; read-only after checkout */
    const char *task; /* the work tree */
    const char *out;  /* collect only: patch.pack goes here */
};

/* Once a process: libgit2 with no configuration from anywhere, and its limits. */
int tree_start(struct err *err);

/* Reads the pack from `pack_fd` into an empty `base`, checks every entry of ROOT's tree before one
 * is written, writes them below an empty `task` and makes `task`/.git the agent's own repository,
 * on `branch`. -ERR_REFUSED names the path of an entry that creel does not carry. */
int tree_checkout(const struct tree_dirs *d, int pack_fd, const char *root, const char *branch,
                  struct err *err);

struct tree_patch {
    char commit[TASK_OID_SIZE]; /* "" when the work tree is as it was */
    uint64_t pack_bytes;
    struct buf notes; /* lines: what could not be collected and why; owned, buf_done */
};

/* Reads `task` as data, commits it on ROOT, writes `out`/patch.pack. Nothing below `base` or `task`
 * is written, run, or opened as a repository. */
int tree_collect(const struct tree_dirs *d, const char *root, const char *branch,
                 struct tree_patch *ret, struct err *err);

/* -ERR_FAIL with libgit2's words about what just failed. */
int tree_git_err(struct err *err, const char *what);

#endif
