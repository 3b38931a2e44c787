/* What may stand in a git tree that creel carries, either way: one strict reader of raw tree
 * objects.
 *
 * Both sides use it: the runner before it writes an operator's tree into a jail, the importer on
 * what came back. It judges names as every file system would that a person may later check the
 * branch out on (HFS+ ignores some code points, NTFS folds case, short names, trailing dots and
 * streams), not only as this one does. Pure: no I/O, no allocation.
 */
#ifndef COMMON_TREE_ENTRY_H
#define COMMON_TREE_ENTRY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

#define TREE_DEPTH_MAX   512
#define TREE_ENTRIES_MAX 1000000u
#define TREE_PATH_MAX    4095 /* bytes of a path from the root of the tree */
#define TREE_NAME_MAX    255
#define TREE_OID_BYTES   20

enum tree_kind { TREE_FILE, TREE_EXEC, TREE_LINK, TREE_DIR, TREE_GITLINK };

struct tree_entry {
    enum tree_kind kind;
    uint32_t mode;    /* as it stands: 0100644, 0100755, 0100664, 0120000, 040000, 0160000 */
    const char *name; /* borrowed from the tree's bytes, NUL-terminated */
    size_t name_len;
    const uint8_t *oid; /* TREE_OID_BYTES, borrowed */
};

struct tree_reader {
    const uint8_t *start, *at, *end;
    struct tree_entry prev;
};

/* True for ".git" and for every name that some file system takes for it. */
bool tree_name_is_dotgit(const char *name, size_t len);
/* NULL when the name may stand in a tree, else why not (a static text). */
const char *tree_name_fault(const char *name, size_t len);
/* Git's order of entries in a tree: bytes, directories as if they ended in '/'. */
int tree_name_order(const char *a, size_t alen, bool adir, const char *b, size_t blen, bool bdir);

/* `bytes` stay the caller's and must outlive the reader. */
void tree_reader_init(struct tree_reader *r, const void *bytes, size_t len);
/* 1 and *ret, 0 at the end, or -ERR_REFUSED: malformed, a bad name or mode, out of order, twice.
 * The message begins with the entry's name; the caller puts the directory before it. */
int tree_read(struct tree_reader *r, struct tree_entry *ret, struct err *err);

#endif
