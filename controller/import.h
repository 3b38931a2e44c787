/* Inside of the importer's child: one import, step by step. Only the child includes this; every
 * byte it handles but its arguments is hostile. */
#ifndef CONTROLLER_IMPORT_H
#define CONTROLLER_IMPORT_H

#include <git2.h>

#include "common/pack_writer.h"
#include "common/tree_entry.h"
#include "controller/importer.h"
#include "controller/redact.h"

#define IMPORT_OBJECTS_MAX 1000000u
#define IMPORT_TREE_BYTES  (8ull << 30)  /* new and changed files together, checked out */
#define IMPORT_DIFF_MAX    (64ull << 20) /* of patch.diff; the rest is counted, and that is said */
#define IMPORT_TEXT_MAX    (8ull << 20)  /* larger files are shown as binary */
#define IMPORT_CHANGES_MAX 4000
#define IMPORT_FLAGS_MAX   500
/* What the two lists may take in review.json: together under JSON_BYTES_MAX. */
#define IMPORT_CHANGES_BYTES (600u << 10)
#define IMPORT_FLAGS_BYTES   (300u << 10)

#define IMPORT_REVIEW "review.json"
#define IMPORT_DIFF   "patch.diff"
#define IMPORT_PACK   "clean.pack"

struct import {
    const char *dir; /* the task's directory, absolute */
    const char *out; /* a directory in it, of this import alone: all that is written goes there */
    const char *base, *root, *commit, *branch, *title;
    int outfd;            /* `out`, open */
    git_repository *repo; /* the quarantine; its odb is `odb` */
    git_odb *odb, *source, *patch;
    git_commit *result;
    git_tree *old_tree, *new_tree;
    struct review_record record;
    size_t changes_left, flags_left;
    struct needles *needles; /* NULL: nothing to look for */
    uint32_t unlisted;       /* changes that had no room in the lists */
};

/* Reads what the engine wants looked for, if anything. */
int import_needles_load(struct import *im, struct err *err);
/* Flags `path` when it, or its content, holds one of the operator's secrets; the first one is the
 * summary's. */
int import_search(struct import *im, const char *path, const void *bytes, size_t n,
                  struct err *err);

/* Opens the source pack, indexes the patch pack, checks that the commit is one on ROOT.
 * -ERR_REFUSED: what came back is bad, and why. */
int import_open(struct import *im, struct err *err);
/* Checks every entry that differs from ROOT's tree, and writes it and the re-parented commit to
 * clean.pack. -ERR_REFUSED as above. */
int import_clean(struct import *im, struct err *err);
/* Compares the trees: patch.diff, the lists and the flags. */
int import_compare(struct import *im, struct err *err);

/* Adds a flag unless there is no more room. The path is neutralised. */
int import_flag(struct import *im, const char *kind, const char *path, const char *why,
                struct err *err);
/* Flags that follow from a changed file's path alone. */
int import_flag_path(struct import *im, const char *path, struct err *err);
/* Does a line look like it holds a secret? What it looks like, or NULL. */
const char *import_secret(const char *line, size_t len);

/* -ERR_REFUSED with libgit2's words, or -ERR_FAIL when it was the system that failed. */
int import_git_err(struct err *err, const char *what);

#endif
