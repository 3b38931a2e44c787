/* The root file system that an attempt's jails start from, read-only before any job runs: the host's
 * own /usr with our /etc, or an image of the operator's under ours. Made by the keeper, in its own mount
 * namespace, while the host's file tree is still its root. */
#ifndef RUNNER_JAIL_BASE_H
#define RUNNER_JAIL_BASE_H

#include "proto/task.h"

#define JAIL_BASE_OPTS "size=4m,nr_inodes=1024,mode=0755"

/* Makes and mounts it at `stage`/root. `stage` is an empty tmpfs of the caller's. */
int jail_base_make(const char *stage, const struct task *task, struct err *err);

#endif
