/* The pristine list: every path as checkout wrote it, with the stat data it had then.
 *
 * It tells collect what is tracked, and gives the agent's repository its index. The stat data is for
 * that index alone: it says nothing about what a file holds now, so collect never asks it. Made by
 * us, kept where the agent cannot write.
 * Invariant: entries stand in the order of their paths' bytes, which is git's order of an index.
 */
#ifndef RUNNER_PRISTINE_H
#define RUNNER_PRISTINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>

#include "proto/err.h"

struct pristine_entry {
    uint64_t path; /* offset of the NUL-terminated path in the pool */
    int64_t mtime_s, ctime_s;
    uint32_t mtime_ns, ctime_ns;
    uint64_t ino, size;
    uint32_t mode; /* git's mode, as it stands in ROOT's tree */
    uint32_t dev, uid, gid;
    uint32_t path_len;
    uint8_t oid[20];
};

struct pristine {
    struct pristine_entry *v; /* owned */
    char *pool;               /* owned */
    size_t n, cap, pool_len, pool_cap;
};

/* Appends; paths must come in order. `st` NULL: no stat data (gitlinks). */
int pristine_add(struct pristine *p, const char *path, uint32_t mode, const uint8_t oid[static 20],
                 const struct stat *st, struct err *err);
void pristine_done(struct pristine *p);
const char *pristine_path(const struct pristine *p, const struct pristine_entry *e);

int pristine_save(const struct pristine *p, int dirfd, struct err *err);
int pristine_load(struct pristine *ret, int dirfd, struct err *err);

/* NULL when there is no such path. */
const struct pristine_entry *pristine_find(const struct pristine *p, const char *path);
/* Does a path begin with `dir` and a slash? */
bool pristine_below(const struct pristine *p, const char *dir);
/* Writes the list as a git index (version 2) for the agent's repository. */
int pristine_write_index(const struct pristine *p, int dirfd, const char *name, struct err *err);

#endif
