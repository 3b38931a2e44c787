/* Checks the result's tree against the source's and writes clean.pack: what is new, and the commit
 * on the true base. Whatever is not plainly good is refused here, with its path. */
#include "controller/import.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/oid_set.h"
#include "proto/utf8.h"

#define IDENTITY "creel agent <agent@creel.invalid>"

struct clean {
    struct import *im;
    struct pack_writer *pack;
    struct oid_set written;
    uint32_t entries;
    uint64_t bytes; /* of new and changed files, as they would be checked out */
    size_t path_len;
    char path[TREE_PATH_MAX + 1];
};

static int walk(struct clean *c, const git_oid *oid, const git_oid *old, unsigned depth,
                struct err *err);

/* Writes an object unless the source pack has it or it was written. */
static int keep_object(struct clean *c, const git_oid *oid, enum pack_type type, const void *bytes,
                       size_t n, struct err *err)
{
    if (git_odb_exists_ext(c->im->source, oid, GIT_ODB_LOOKUP_NO_REFRESH)) {
        return 0;
    }
    int rc = oid_set_add(&c->written, oid->id);
    if (rc < 0) {
        return err_set(err, ERR_REFUSED, "too many new objects");
    }
    return rc > 0 ? pack_writer_put(c->pack, type, bytes, n, err) : 0;
}

static int check_size(struct clean *c, uint64_t size, struct err *err)
{
    c->bytes += size;
    return c->bytes > IMPORT_TREE_BYTES
               ? err_set(err, ERR_REFUSED, "new and changed files take more than %llu GiB",
                         IMPORT_TREE_BYTES >> 30)
               : 0;
}

static int take_blob(struct clean *c, const struct tree_entry *e, const git_oid *oid,
                     struct err *err)
{
    git_object_t type;
    git_odb_object *object = NULL;
    size_t size;
    if (git_odb_read_header(&size, &type, c->im->odb, oid) < 0) {
        return err_set(err, ERR_REFUSED, "%.200s: its content is missing", c->path);
    }
    if (type != GIT_OBJECT_BLOB) {
        return err_set(err, ERR_REFUSED, "%.200s: not a file, though its entry says so", c->path);
    }
    int rc = check_size(c, size, err);
    if (rc == 0) { /* the path, also where the source has the content already */
        rc = import_search(c->im, c->path, "", 0, err);
    }
    if (rc < 0 || (e->kind != TREE_LINK &&
                   git_odb_exists_ext(c->im->source, oid, GIT_ODB_LOOKUP_NO_REFRESH))) {
        return rc;
    }
    if (git_odb_read(&object, c->im->odb, oid) < 0) {
        return import_git_err(err, "cannot read a file's content");
    }
    const void *bytes = git_odb_object_data(object);
    if (e->kind == TREE_LINK && (size == 0 || size >= PATH_MAX || memchr(bytes, 0, size) != NULL)) {
        rc = err_set(err, ERR_REFUSED, "%.200s: a link whose target is not a path", c->path);
    } else {
        rc = keep_object(c, oid, PACK_BLOB, bytes, size, err);
    }
    if (rc == 0) {
        rc = import_search(c->im, c->path, bytes, size, err);
    }
    git_odb_object_free(object);
    return rc;
}

/* The entry at c->path. `old` is the one that stood there, or NULL. */
static int take_entry(struct clean *c, const struct tree_entry *e, const git_tree_entry *old,
                      unsigned depth, struct err *err)
{
    git_oid oid;
    const git_oid *old_id = old == NULL ? NULL : git_tree_entry_id(old);
    git_oid_fromraw(&oid, e->oid);
    bool same = old != NULL && git_oid_cmp(old_id, &oid) == 0 &&
                (uint32_t)git_tree_entry_filemode_raw(old) == e->mode;
    if (same) {
        return 0;
    }
    if (e->kind == TREE_GITLINK) {
        return err_set(err, ERR_REFUSED, "%.200s: a new submodule link, which no collector makes",
                       c->path);
    }
    if (e->kind == TREE_DIR) {
        bool dir = old != NULL && git_tree_entry_type(old) == GIT_OBJECT_TREE;
        return walk(c, &oid, dir ? old_id : NULL, depth + 1, err);
    }
    return take_blob(c, e, &oid, err);
}

static int path_push(struct clean *c, const struct tree_entry *e, struct err *err)
{
    size_t slash = c->path_len > 0 ? 1 : 0;
    if (c->path_len + slash + e->name_len > TREE_PATH_MAX) {
        return err_set(err, ERR_REFUSED, "%.200s...: path too long", c->path);
    }
    if (slash) {
        c->path[c->path_len++] = '/';
    }
    memcpy(c->path + c->path_len, e->name, e->name_len + 1);
    c->path_len += e->name_len;
    return 0;
}

static int walk_entries(struct clean *c, struct tree_reader *reader, git_tree *old, unsigned depth,
                        struct err *err)
{
    struct tree_entry e;
    size_t dir_len = c->path_len;
    int rc;
    while ((rc = tree_read(reader, &e, err)) > 0) {
        if (++c->entries > TREE_ENTRIES_MAX) {
            return err_set(err, ERR_REFUSED, "more than %u entries in what changed",
                           TREE_ENTRIES_MAX);
        }
        rc = path_push(c, &e, err);
        if (rc == 0) {
            const git_tree_entry *was = old == NULL ? NULL : git_tree_entry_byname(old, e.name);
            rc = take_entry(c, &e, was, depth, err);
        }
        c->path_len = dir_len;
        c->path[dir_len] = '\0';
        if (rc < 0) {
            return rc;
        }
    }
    return rc < 0 && c->path_len > 0 ? err_wrap(err, "in %.200s", c->path) : rc;
}

/* One tree that differs from what stood there. Recursion is bounded by TREE_DEPTH_MAX. */
static int walk(struct clean *c, const git_oid *oid, const git_oid *old_id, unsigned depth,
                struct err *err)
{
    git_odb_object *object = NULL;
    git_tree *old = NULL;
    struct tree_reader reader;
    if (depth > TREE_DEPTH_MAX) {
        return err_set(err, ERR_REFUSED, "%.200s...: more than %d directories deep", c->path,
                       TREE_DEPTH_MAX);
    }
    if (git_odb_read(&object, c->im->odb, oid) < 0) {
        return err_set(err, ERR_REFUSED, "%.200s: a directory's tree is missing", c->path);
    }
    int rc = 0;
    if (git_odb_object_type(object) != GIT_OBJECT_TREE) {
        rc = err_set(err, ERR_REFUSED, "%.200s: not a tree, though its entry says so", c->path);
    } else if (old_id != NULL && git_tree_lookup(&old, c->im->repo, old_id) < 0) {
        rc = err_set(err, ERR_FAIL, "cannot read a tree of the source");
    }
    if (rc == 0) {
        tree_reader_init(&reader, git_odb_object_data(object), git_odb_object_size(object));
        rc = walk_entries(c, &reader, old, depth, err);
    }
    if (rc == 0) {
        rc = keep_object(c, oid, PACK_TREE, git_odb_object_data(object),
                         git_odb_object_size(object), err);
    }
    git_tree_free(old);
    git_odb_object_free(object);
    return rc;
}

/* The title's first line, then whose work it is. */
static void message(const struct import *im, struct buf *to)
{
    char title[201];
    const char *id = strrchr(im->branch, '/');
    utf8_copy(title, sizeof(title), im->title);
    title[strcspn(title, "\n\t")] = '\0';
    buf_addf(to, "%s\n\nTask: %s\n", title[0] != '\0' ? title : im->branch,
             id != NULL ? id + 1 : im->branch);
}

/* The commit that a person may approve: the result's tree on the true base, identity ours. */
static int put_commit(struct clean *c, struct err *err)
{
    struct import *im = c->im;
    char tree[TASK_OID_SIZE];
    struct buf text;
    git_oid oid;
    long long when = (long long)git_commit_time(im->result);
    when = when < 0 || when > UINT32_MAX ? 0 : when;
    git_oid_tostr(tree, sizeof(tree), git_commit_tree_id(im->result));
    buf_init(&text, 4096);
    buf_addf(&text, "tree %s\nparent %s\nauthor " IDENTITY " %lld +0000\n", tree, im->base, when);
    buf_addf(&text, "committer " IDENTITY " %lld +0000\n\n", when);
    message(im, &text);
    int rc = 0;
    if (text.failed || git_odb_hash(&oid, text.data, text.len, GIT_OBJECT_COMMIT) < 0) {
        rc = err_set(err, ERR_FAIL, "cannot make the commit");
    } else {
        rc = pack_writer_put(c->pack, PACK_COMMIT, text.data, text.len, err);
    }
    if (rc == 0) {
        git_oid_tostr(im->record.summary.commit, TASK_OID_SIZE, &oid);
    }
    buf_done(&text);
    return rc;
}

int import_clean(struct import *im, struct err *err)
{
    struct clean c = {.im = im};
    int fd =
        openat(im->outfd, IMPORT_PACK, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_errno(err, ERR_FAIL, "cannot make " IMPORT_PACK);
    }
    int rc = pack_writer_new(fd, TASK_PACK_MAX, &c.pack, err);
    if (rc == 0) {
        rc = walk(&c, git_commit_tree_id(im->result), git_tree_id(im->old_tree), 0, err);
    }
    if (rc == 0) {
        rc = put_commit(&c, err);
    }
    if (rc == 0) {
        rc = pack_writer_finish(c.pack, &im->record.summary.pack_bytes, err);
    }
    pack_writer_free(c.pack);
    oid_set_done(&c.written);
    close(fd);
    if (rc < 0) {
        im->record.summary.commit[0] = '\0';
        im->record.summary.pack_bytes = 0;
        unlinkat(im->outfd, IMPORT_PACK, 0);
    }
    return rc;
}
