/* Becoming nobody in particular: the directories that serve works in are opened and, when they were
 * just made, given to its user; then root is dropped for good. */
#ifndef RUNNER_PRIVILEGES_H
#define RUNNER_PRIVILEGES_H

#include <stdbool.h>
#include <sys/types.h>

#include "proto/err.h"

struct privileges {
    bool drop; /* started as root */
    uid_t uid;
    gid_t gid;
};

/* Whom to become. Root without a user, and a user that is root or unknown, are errors. */
int privileges_find(const char *user, struct privileges *out, struct err *err);
/* Opens (makes, 0700) a directory of the runner; it must belong to p->uid and be closed to others.
 * Returns a descriptor: it stays usable even where the user could not walk the path. */
int privileges_dir(const struct privileges *p, const char *path, struct err *err);
/* Drops root (when p->drop), takes no_new_privs and non-dumpable. Checked; no way back. */
int privileges_drop(const struct privileges *p, struct err *err);
/* Puts a jail's system call filter (runner/seccomp_table.c) around this process and all that it starts,
 * for good: what serves jails and dials out for them needs nothing that they have not. Comes after
 * privileges_drop and before the first thread. */
int privileges_fence(struct err *err);

#endif
