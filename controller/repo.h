/* The operator's repository through libgit2: opened, looked at, never written. */
#ifndef CONTROLLER_REPO_H
#define CONTROLLER_REPO_H

#include <git2.h>

#include "proto/err.h"
#include "proto/task.h"

/* Once a process that touches repositories: libgit2's own switches. */
int repo_start(struct err *err);
/* Finds the repository at or above `dir` (exactly at `dir` with `exact`). Not one, or of a kind
 * that creel cannot read (SHA-256 objects, reftable): -ERR_USAGE, one clear line. */
int repo_open(const char *dir, bool exact, git_repository **ret, struct err *err);
/* -CODE with libgit2's words about what just failed. */
int repo_err(struct err *err, enum err_code code, const char *what);

#endif
