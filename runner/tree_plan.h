/* The plan of a checkout: every entry of a tree, judged before one of them is written. */
#ifndef RUNNER_TREE_PLAN_H
#define RUNNER_TREE_PLAN_H

#include <git2.h>

#include "common/tree_entry.h"

struct plan_entry {
    uint64_t path; /* offset of the NUL-terminated path in the pool */
    uint32_t name; /* offset of the last component in the path */
    uint32_t mode;
    uint16_t kind; /* enum tree_kind */
    uint16_t depth;
    uint8_t oid[TREE_OID_BYTES];
};

/* Entries in the order of a walk: a directory stands right before what it holds. */
struct tree_plan {
    struct plan_entry *v; /* owned */
    char *pool;           /* owned */
    size_t n, cap, pool_len, pool_cap;
};

/* -ERR_REFUSED with the path: an entry that creel does not carry, too deep, too many, too long. */
int tree_plan_make(struct tree_plan *ret, git_odb *odb, const git_oid *tree, struct err *err);
void tree_plan_done(struct tree_plan *p);

#endif
