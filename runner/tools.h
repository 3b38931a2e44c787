/* The tool layer: programs that the host's operator provides for tasks (coding agents most of all),
 * --tools DIR, made by deploy/tools and mounted read-only at /opt/creel/tools in every jail. DIR/bin holds
 * what tasks call by name. Only root's own (in an unprivileged runner: its own user's) directories count. */
#ifndef RUNNER_TOOLS_H
#define RUNNER_TOOLS_H

#include "proto/err.h"
#include "proto/json.h"

#define TOOLS_MAX 64

/* Appends the names of DIR/bin's programs, sorted, at most TOOLS_MAX. `dir` NULL or not to be read: none. */
void tools_list(const char *dir, struct strv *out);
/* Is this a directory that jails may be given? *ret_path: its absolute path without links, the caller's. */
int tools_check(const char *dir, char **ret_path, struct err *err);

#endif
