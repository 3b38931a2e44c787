/* Walks a tree and lists it, refusing what must not be written. Writes nothing. */
#include "runner/tree_plan.h"

#include <stdlib.h>
#include <string.h>

#include "runner/tree.h"

struct walk {
    struct tree_plan *plan;
    git_odb *odb;
    size_t path_len;
    char path[TREE_PATH_MAX + 1];
};

static int room(struct tree_plan *p, size_t path_bytes)
{
    if (p->n == p->cap) {
        size_t cap = p->cap == 0 ? 1024 : p->cap * 2;
        void *v = reallocarray(p->v, cap, sizeof(*p->v));
        if (v == NULL) {
            return -1;
        }
        p->v = v;
        p->cap = cap;
    }
    if (p->pool_len + path_bytes > p->pool_cap) {
        size_t cap = p->pool_cap * 2 + path_bytes + 65536;
        void *pool = realloc(p->pool, cap);
        if (pool == NULL) {
            return -1;
        }
        p->pool = pool;
        p->pool_cap = cap;
    }
    return 0;
}

/* Appends `e`, whose path stands in w->path. */
static int plan_add(struct walk *w, const struct tree_entry *e, unsigned depth, struct err *err)
{
    struct tree_plan *p = w->plan;
    if (p->n >= TREE_ENTRIES_MAX) {
        return err_set(err, ERR_REFUSED, "more than %u entries in the tree", TREE_ENTRIES_MAX);
    }
    if (room(p, w->path_len + 1) < 0) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    struct plan_entry *to = &p->v[p->n++];
    *to = (struct plan_entry){
        .path = p->pool_len,
        .name = (uint32_t)(w->path_len - e->name_len),
        .mode = e->mode,
        .kind = (uint16_t)e->kind,
        .depth = (uint16_t)depth,
    };
    memcpy(to->oid, e->oid, sizeof(to->oid));
    memcpy(p->pool + p->pool_len, w->path, w->path_len + 1);
    p->pool_len += w->path_len + 1;
    return 0;
}

/* Puts "/NAME" behind the directory's path; `dir_len` is what it was. */
static int path_push(struct walk *w, const struct tree_entry *e, struct err *err)
{
    size_t slash = w->path_len > 0 ? 1 : 0;
    if (w->path_len + slash + e->name_len > TREE_PATH_MAX) {
        return err_set(err, ERR_REFUSED, "%.200s...: path longer than %d bytes", w->path,
                       TREE_PATH_MAX);
    }
    if (slash) {
        w->path[w->path_len++] = '/';
    }
    memcpy(w->path + w->path_len, e->name, e->name_len + 1);
    w->path_len += e->name_len;
    return 0;
}

static int walk_tree(struct walk *w, const git_oid *oid, unsigned depth, struct err *err);

static int walk_entry(struct walk *w, const struct tree_entry *e, unsigned depth, struct err *err)
{
    git_oid below;
    size_t dir_len = w->path_len;
    int rc = path_push(w, e, err);
    if (rc == 0) {
        rc = plan_add(w, e, depth, err);
    }
    if (rc == 0 && e->kind == TREE_DIR) {
        git_oid_fromraw(&below, e->oid);
        rc = walk_tree(w, &below, depth + 1, err);
    }
    w->path_len = dir_len;
    w->path[dir_len] = '\0';
    return rc;
}

/* Recursion is bounded by TREE_DEPTH_MAX. */
static int walk_tree(struct walk *w, const git_oid *oid, unsigned depth, struct err *err)
{
    git_odb_object *object = NULL;
    struct tree_reader reader;
    struct tree_entry e;
    if (depth > TREE_DEPTH_MAX) {
        return err_set(err, ERR_REFUSED, "%.200s...: more than %d directories deep", w->path,
                       TREE_DEPTH_MAX);
    }
    if (git_odb_read(&object, w->odb, oid) < 0) {
        return tree_git_err(err, "cannot read a tree of the pack");
    }
    int rc = 1;
    if (git_odb_object_type(object) != GIT_OBJECT_TREE) {
        rc = err_set(err, ERR_REFUSED, "%.200s: not a tree, though its entry says so", w->path);
    }
    tree_reader_init(&reader, git_odb_object_data(object), git_odb_object_size(object));
    while (rc > 0) {
        rc = tree_read(&reader, &e, err);
        if (rc < 0 && w->path_len > 0) {
            rc = err_wrap(err, "in %.200s", w->path);
        }
        if (rc > 0 && (rc = walk_entry(w, &e, depth, err)) == 0) {
            rc = 1;
        }
    }
    git_odb_object_free(object);
    return rc;
}

int tree_plan_make(struct tree_plan *ret, git_odb *odb, const git_oid *tree, struct err *err)
{
    struct tree_plan plan = {0};
    struct walk w = {.plan = &plan, .odb = odb};
    int rc = walk_tree(&w, tree, 0, err);
    if (rc < 0) {
        tree_plan_done(&plan);
        return rc;
    }
    *ret = plan;
    return 0;
}

void tree_plan_done(struct tree_plan *p)
{
    free(p->v);
    free(p->pool);
    *p = (struct tree_plan){0};
}
