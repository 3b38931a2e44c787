/* Landlock: a second fence, should a mount, a namespace or the system call filter turn out weaker than
 * meant. Everything may be read and executed where mounts show it; writing only below the named trees.
 * Each kernel's best is used; what that is by ABI stands in landlock_rules. */
#ifndef RUNNER_LANDLOCK_H
#define RUNNER_LANDLOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

struct landlock_fence {
    bool
        files; /* false: no rules about files, which forbid every mount (a job with a sandbox of its own) */
    bool renames; /* files are renamed between directories */
    bool
        tcp; /* TCP sockets are needed. On its own loopback a job may use every port: nothing to fence */
    const char *const *writable; /* absolute paths, NULL-terminated */
    int program;                 /* a file outside the tree that may be executed too, or -1 */
};

/* As struct landlock_ruleset_attr of ABI 6; 0: not fenced. */
struct landlock_rules {
    uint64_t fs, net, scoped;
};

/* The kernel's ABI, 0 when it has none. */
int landlock_abi(void);
/* What a kernel of that ABI is asked for. ABI 1 (Linux 5.13 to 5.18) refuses every rename between
 * directories, which breaks ordinary builds: there only a fence without renames has rules about files. */
struct landlock_rules landlock_rules(int abi, const struct landlock_fence *fence);
/* Fences the calling thread, for good. Needs no_new_privs. Does nothing where the kernel can do nothing. */
int landlock_apply(const struct landlock_fence *fence, struct err *err);

#endif
