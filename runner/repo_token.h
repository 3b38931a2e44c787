/* Where a token for the repository stands in a jail: a tiny file system of its own, which the keeper makes
 * and the run sees read-only at /run/creel, with the token in the file repo-token (empty until one came).
 *
 * serve gets the directory's descriptor with the run's sockets and writes through it, so nothing of ours
 * enters a running jail. Its user is nobody in there and can make no file; so both files are there from
 * the beginning, and a new token's takes the place of the old one's at once. */
#ifndef RUNNER_REPO_TOKEN_H
#define RUNNER_REPO_TOKEN_H

#include <stddef.h>

#include "proto/err.h"

#define REPO_TOKEN_PLACE     "/token" /* in the keeper's mount namespace */
#define REPO_TOKEN_JAIL_PATH "/run/creel/repo-token"

/* The keeper's: makes the place. */
int repo_token_make(struct err *err);
/* The keeper's: its directory; the caller's. Negative: an error. */
int repo_token_dir(struct err *err);
/* serve's: the token is there, whole, for whoever opens the file from now on. */
int repo_token_write(int dir, const void *token, size_t n, struct err *err);
/* serve's: no byte of one is there any more. Never fails that anybody could do something about. */
void repo_token_wipe(int dir);

#endif
