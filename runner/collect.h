/* Inside of collect: what the walk over the work tree and the writing of objects share. */
#ifndef RUNNER_COLLECT_H
#define RUNNER_COLLECT_H

#include <git2.h>
#include <openssl/evp.h>

#include "common/oid_set.h"
#include "common/pack_writer.h"
#include "common/tree_entry.h"
#include "runner/ignore.h"
#include "runner/pristine.h"
#include "runner/tree.h"

struct collect {
    const struct tree_dirs *dirs;
    git_odb *odb;   /* the source pack */
    git_tree *root; /* ROOT's tree */
    struct pristine pristine;
    struct pack_writer *pack;
    struct oid_set written;
    EVP_MD_CTX *sha; /* one context, used again for each object */
    struct buf notes;
    unsigned more_notes;
    unsigned entries;
    size_t path_len;
    char path[TREE_PATH_MAX + 1];
};

/* Remembers that the entry at c->path could not be collected as it is. */
void collect_note(struct collect *c, const char *why);

/* Puts an object into the pack unless the source pack or this one has it. */
int object_put(struct collect *c, enum pack_type type, const void *bytes, size_t n,
               uint8_t oid[static 20], struct err *err);
/* The same in two steps for a regular file of `size` bytes, read in pieces from `fd` at offset 0. */
int object_hash_file(struct collect *c, int fd, uint64_t size, uint8_t oid[static 20],
                     struct err *err);
int object_put_file(struct collect *c, int fd, uint64_t size, const uint8_t oid[static 20],
                    struct err *err);

/* Walks the work tree; *ret_oid is the tree that stands there now. */
int collect_walk(struct collect *c, int taskfd, uint8_t oid[static 20], struct err *err);

#endif
