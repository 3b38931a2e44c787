/* The walk over what the agent left: every name, kind and byte is hostile. Links are never
 * followed, nothing is opened but directories and regular files, and no `.git` of the agent's at
 * any depth. */
#include "runner/collect.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"

#define DIR_FLAGS      (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define FILE_FLAGS     (O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC)
#define TREE_BYTES_MAX (64u << 20)

/* An entry of the tree being built. */
struct found {
    char *name; /* owned */
    uint32_t mode;
    uint8_t oid[20];
};

struct listing {
    struct found *v; /* owned; mode 0: nothing of it goes into the tree */
    size_t n, cap;
};

/* One directory on the way down. */
struct level {
    int fd;
    unsigned depth;
    bool ignored; /* an ignored directory that holds tracked files: only those count */
    const struct ignore *rules;
};

static int walk_dir(struct collect *c, const struct level *at, uint8_t oid[static 20],
                    bool *ret_empty, struct err *err);

static void listing_done(struct listing *l)
{
    for (size_t i = 0; i < l->n; i++) {
        free(l->v[i].name);
    }
    free(l->v);
    *l = (struct listing){0};
}

static int listing_add(struct listing *l, const char *name)
{
    if (l->n == l->cap) {
        size_t cap = l->cap == 0 ? 32 : l->cap * 2;
        void *v = reallocarray(l->v, cap, sizeof(*l->v));
        if (v == NULL) {
            return -1;
        }
        l->v = v;
        l->cap = cap;
    }
    struct found *f = &l->v[l->n];
    *f = (struct found){.name = strdup(name)};
    if (f->name == NULL) {
        return -1;
    }
    l->n++;
    return 0;
}

/* Takes `fd`. */
static int list_dir(struct collect *c, int fd, struct listing *l, struct err *err)
{
    DIR *dir = fdopendir(fd);
    const struct dirent *d;
    int rc = 0;
    if (dir == NULL) {
        close(fd);
        return err_errno(err, ERR_FAIL, "cannot list a directory");
    }
    while (rc == 0 && (d = readdir(dir)) != NULL) {
        if (strcmp(d->d_name, ".") == 0 || strcmp(d->d_name, "..") == 0) {
            continue;
        }
        if (++c->entries > TREE_ENTRIES_MAX) {
            rc = err_set(err, ERR_REFUSED, "more than %u entries in the work tree",
                         TREE_ENTRIES_MAX);
        } else if (listing_add(l, d->d_name) < 0) {
            rc = err_set(err, ERR_FAIL, "out of memory");
        }
    }
    closedir(dir);
    return rc;
}

/* Puts "/NAME" behind c->path; false when it gets too long. */
static bool path_push(struct collect *c, const char *name)
{
    size_t len = strlen(name);
    size_t slash = c->path_len > 0 ? 1 : 0;
    if (c->path_len + slash + len > TREE_PATH_MAX) {
        return false;
    }
    if (slash) {
        c->path[c->path_len++] = '/';
    }
    memcpy(c->path + c->path_len, name, len + 1);
    c->path_len += len;
    return true;
}

/* What cannot be read stays as ROOT has it (nothing, when ROOT has nothing there), and that is
 * noted: a file that looks deleted because it was too large would be worse. */
static int keep_base(struct collect *c, struct found *f, const char *why, struct err *err)
{
    git_tree_entry *entry = NULL;
    collect_note(c, why);
    f->mode = 0;
    int rc = git_tree_entry_bypath(&entry, c->root, c->path);
    if (rc == GIT_ENOTFOUND) {
        return 0;
    }
    if (rc < 0) {
        return tree_git_err(err, "cannot read the source tree");
    }
    f->mode = (uint32_t)git_tree_entry_filemode_raw(entry);
    memcpy(f->oid, git_tree_entry_id(entry)->id, sizeof(f->oid));
    git_tree_entry_free(entry);
    return 0;
}

static int take_link(struct collect *c, int dirfd, struct found *f, struct err *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(dirfd, f->name, target, sizeof(target));
    if (n <= 0 || (size_t)n == sizeof(target)) {
        return keep_base(c, f, "a link that cannot be read", err);
    }
    f->mode = 0120000;
    return object_put(c, PACK_BLOB, target, (size_t)n, f->oid, err);
}

/* `base` is the pristine entry of this path when that was a file, or NULL. Every byte is read: a
 * write through a mapping may leave size and times as they were, so stat proves nothing. A file too
 * large to collect is read when it may still be the one that checkout wrote. */
static int take_bytes(struct collect *c, int fd, const struct pristine_entry *base, uint64_t size,
                      struct found *f, struct err *err)
{
    bool large = size > TREE_BLOB_MAX;
    if (large && (base == NULL || base->size != size)) {
        return keep_base(c, f, "larger than 256 MiB", err);
    }
    int rc = object_hash_file(c, fd, size, f->oid, err);
    if (rc < 0 || (base != NULL && memcmp(f->oid, base->oid, sizeof(f->oid)) == 0)) {
        return rc;
    }
    return large ? keep_base(c, f, "larger than 256 MiB", err)
                 : object_put_file(c, fd, size, f->oid, err);
}

static int take_file(struct collect *c, int dirfd, const struct pristine_entry *base,
                     const struct stat *st, struct found *f, struct err *err)
{
    uint32_t mode = st->st_mode & S_IXUSR ? 0100755 : 0100644;
    struct stat opened;
    int fd = openat(dirfd, f->name, FILE_FLAGS);
    if (fd < 0) {
        return keep_base(c, f, "not readable", err);
    }
    if (base != NULL && (base->mode & S_IXUSR) == (mode & S_IXUSR)) {
        mode = base->mode; /* 0100664 is an old way to say 0100644 */
    }
    int rc;
    if (fstat(fd, &opened) < 0 || !S_ISREG(opened.st_mode) || opened.st_size != st->st_size) {
        rc = err_set(err, ERR_FAIL, "%.200s: changed while it was read", c->path);
    } else {
        f->mode = mode;
        rc = take_bytes(c, fd, base, (uint64_t)st->st_size, f, err);
    }
    close(fd);
    return rc;
}

static int take_dir(struct collect *c, const struct level *up, struct found *f, bool ignored,
                    struct err *err)
{
    struct level below = {.depth = up->depth + 1, .ignored = ignored, .rules = up->rules};
    bool empty = true;
    if (below.depth > TREE_DEPTH_MAX) {
        return keep_base(c, f, "more than 512 directories deep", err);
    }
    below.fd = openat(up->fd, f->name, DIR_FLAGS);
    if (below.fd < 0) {
        return keep_base(c, f, "not readable", err);
    }
    int rc = walk_dir(c, &below, f->oid, &empty, err);
    close(below.fd);
    if (rc == 0 && !empty) {
        f->mode = 040000;
    }
    return rc;
}

/* Decides about the entry at c->path, which is `f->name` in `at`. */
static int take_entry(struct collect *c, const struct level *at, struct found *f, struct err *err)
{
    struct stat st;
    if (fstatat(at->fd, f->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        return keep_base(c, f, "not readable", err);
    }
    bool dir = S_ISDIR(st.st_mode);
    const struct pristine_entry *base = pristine_find(&c->pristine, c->path);
    bool tracked = base != NULL || (dir && pristine_below(&c->pristine, c->path));
    bool ignored = at->ignored || (!tracked && ignore_match(at->rules, c->path, dir));
    if (dir && tracked && !ignored) {
        ignored = ignore_match(at->rules, c->path, true);
    }
    if (ignored && !tracked) {
        return 0;
    }
    if (dir && base != NULL && base->mode == 0160000) {
        f->mode = base->mode;
        memcpy(f->oid, base->oid, sizeof(f->oid));
        return 0;
    }
    if (dir) {
        return take_dir(c, at, f, ignored, err);
    }
    if (S_ISLNK(st.st_mode)) {
        return take_link(c, at->fd, f, err);
    }
    if (S_ISREG(st.st_mode)) {
        return take_file(c, at->fd, base && S_ISREG(base->mode) ? base : NULL, &st, f, err);
    }
    collect_note(c, "neither a file, a link nor a directory");
    return 0;
}

static int by_git_order(const void *a, const void *b)
{
    const struct found *x = a, *y = b;
    return tree_name_order(x->name, strlen(x->name), x->mode == 040000, y->name, strlen(y->name),
                           y->mode == 040000);
}

/* The tree object of what was found; *ret_empty when that is nothing. */
static int put_tree(struct collect *c, struct listing *l, uint8_t oid[static 20], bool *ret_empty,
                    struct err *err)
{
    struct buf tree;
    size_t n = 0;
    buf_init(&tree, TREE_BYTES_MAX);
    if (l->n > 1) {
        qsort(l->v, l->n, sizeof(*l->v), by_git_order);
    }
    for (size_t i = 0; i < l->n; i++) {
        const struct found *f = &l->v[i];
        if (f->mode != 0) {
            buf_addf(&tree, "%o %s", (unsigned)f->mode, f->name);
            buf_addc(&tree, '\0');
            buf_add(&tree, f->oid, sizeof(f->oid));
            n++;
        }
    }
    int rc = 0;
    if (tree.failed) {
        rc = err_set(err, ERR_REFUSED, "%.200s: directory too large", c->path);
    } else if (n > 0 || c->path_len == 0) {
        rc = object_put(c, PACK_TREE, tree.data, tree.len, oid, err);
    }
    *ret_empty = n == 0;
    buf_done(&tree);
    return rc;
}

/* Reads `dirfd`/.gitignore when it is a regular file of sensible size. */
static int load_rules(struct collect *c, const struct level *at, struct ignore *ret,
                      struct err *err)
{
    struct buf text;
    struct stat st;
    struct err ignored = ERR_INIT;
    size_t dir_len = c->path_len > 0 ? c->path_len + 1 : 0;
    int rc = 0;
    buf_init(&text, IGNORE_FILE_MAX);
    if (fstatat(at->fd, ".gitignore", &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
        file_read(at->fd, ".gitignore", &text, &ignored) < 0) {
        buf_clear(&text);
    }
    if (ignore_init(ret, at->rules, dir_len, buf_str(&text), text.len) < 0) {
        rc = err_set(err, ERR_FAIL, "out of memory");
    }
    buf_done(&text);
    return rc;
}

static int walk_listing(struct collect *c, const struct level *at, struct listing *l,
                        struct err *err)
{
    size_t dir_len = c->path_len;
    int rc = 0;
    for (size_t i = 0; i < l->n && rc == 0; i++) {
        struct found *f = &l->v[i];
        const char *fault = tree_name_fault(f->name, strlen(f->name));
        if (!path_push(c, f->name)) {
            collect_note(c, "something in it has a path longer than 4095 bytes");
            continue;
        }
        if (fault == NULL) {
            rc = take_entry(c, at, f, err);
        } else if (strcmp(f->name, ".git") != 0) {
            collect_note(c, fault);
        }
        c->path_len = dir_len;
        c->path[dir_len] = '\0';
    }
    return rc;
}

/* Recursion is bounded by TREE_DEPTH_MAX; little stands on the stack. */
static int walk_dir(struct collect *c, const struct level *at, uint8_t oid[static 20],
                    bool *ret_empty, struct err *err)
{
    struct listing l = {0};
    struct ignore rules;
    int rc = load_rules(c, at, &rules, err);
    if (rc < 0) {
        return rc;
    }
    struct level here = *at;
    here.rules = &rules;
    int fd = fcntl(at->fd, F_DUPFD_CLOEXEC, 0);
    rc = fd < 0 ? err_errno(err, ERR_FAIL, "cannot list a directory") : list_dir(c, fd, &l, err);
    if (rc == 0) {
        rc = walk_listing(c, &here, &l, err);
    }
    if (rc == 0) {
        rc = put_tree(c, &l, oid, ret_empty, err);
    }
    listing_done(&l);
    ignore_done(&rules);
    return rc;
}

int collect_walk(struct collect *c, int taskfd, uint8_t oid[static 20], struct err *err)
{
    const struct level top = {.fd = taskfd};
    bool empty = true;
    return walk_dir(c, &top, oid, &empty, err);
}
