/* A process of ours shuts itself in before it reads what is hostile. One way, for good. */
#ifndef CONTROLLER_CONFINE_H
#define CONTROLLER_CONFINE_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"

struct confine_path {
    const char *path;
    bool dir;   /* everything below it, else this one file */
    bool write; /* may make, write and remove regular files there; never links, never other kinds */
};

/* After this the process has descriptors 0, 1 and 2, can open what `paths` say and nothing else,
 * cannot make processes, sockets or executable memory, has no capability, and dies at its limits.
 * Fences that the kernel lacks: without Landlock or seccomp it fails (-ERR_REFUSED, saying so),
 * unless `weak_ok`; a private network namespace is a bonus, as sockets are refused anyway. */
int confine_self(const struct confine_path *paths, size_t n, bool weak_ok, struct err *err);

#endif
