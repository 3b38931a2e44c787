/* One `git` process, blocking: for what git does better than libgit2 (packing, unpacking, refs).
 *
 * It runs plumbing only, on a repository named by its git directory, with an environment of ours:
 * no GIT_* variable, no system or user configuration, no hook, no file system monitor, no network.
 * The one exception is `as_operator`: what has to reach the operator's remote needs his configuration,
 * credential helpers and environment; still no hook and no file system monitor, and it looks at no
 * work tree. */
#ifndef CONTROLLER_GIT_CHILD_H
#define CONTROLLER_GIT_CHILD_H

#include "proto/buf.h"
#include "proto/err.h"

#define GIT_ARGS_MAX 24

struct git_child {
    const char *git_dir;      /* absolute */
    const char *objects_from; /* NULL, or another repository's object directory to read from */
    const char *const *args;  /* after "git", NULL-terminated, at most GIT_ARGS_MAX */
    int in_fd;                /* its standard input, borrowed; -1: nothing */
    bool as_operator;         /* with his configuration and environment */
};

/* Runs it to its end. Appends what it printed to `out` (whose ceiling bounds it). A git that fails
 * is -ERR_FAIL with its own last line; one that cannot be started says so. */
int git_child_run(const struct git_child *g, struct buf *out, struct err *err);

#endif
