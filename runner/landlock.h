/* Landlock: a second fence over the jail's file tree, should a mount turn out weaker than meant.
 * Everything may be read and executed where mounts show it; writing only below the named trees. */
#ifndef RUNNER_LANDLOCK_H
#define RUNNER_LANDLOCK_H

#include <stddef.h>

#include "proto/err.h"

/* The kernel's ABI, 0 when it has none. ABI 1 counts as none: it refuses every rename between
 * directories, which breaks ordinary builds. */
int landlock_abi(void);
/* Fences the calling thread, for good: writes below `writable` only (absolute paths, NULL-terminated).
 * `program` (or -1) is a file outside the tree that may be executed too. Needs no_new_privs. Does
 * nothing when the kernel has no usable Landlock. */
int landlock_apply(const char *const *writable, int program, struct err *err);

#endif
