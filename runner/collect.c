/* Collect: work tree in, one commit on ROOT and its pack out. Runs in a jail of its own after the
 * agent's is dead. Objects go to /out only; the source pack is read, the agent's repository is not.
 */
#include "runner/collect.h"

#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <git2/sys/odb_backend.h>

#include "common/clock.h"
#include "common/file.h"

#define DIR_FLAGS  (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define NOTE_LINES 20
#define COMMIT_MAX (TREE_NOTES_MAX + 1024)
#define IDENTITY   "creel agent <agent@creel.invalid>"

/* Notes go into the commit's message: names come out as plain ASCII, shortened. */
void collect_note(struct collect *c, const char *why)
{
    char name[161];
    size_t n = 0;
    for (const char *p = c->path; *p != '\0' && n + 1 < sizeof(name); p++) {
        name[n++] = *p > ' ' && *p < 0x7f ? *p : '?';
    }
    name[n] = '\0';
    if (c->more_notes > 0 || buf_addf(&c->notes, "%s: %s\n", name, why) < 0) {
        c->more_notes++;
        c->notes.failed = false;
    }
}

/* Opens the pack that checkout indexed: the only one in base/objects/pack. */
static int open_base(struct collect *c, struct err *err)
{
    char objects[PATH_MAX];
    snprintf(objects, sizeof(objects), "%s/objects", c->dirs->base);
    git_odb_backend *backend = NULL;
    if (git_odb_new(&c->odb) < 0 || git_odb_backend_pack(&backend, objects) < 0) {
        return tree_git_err(err, "cannot open the source pack");
    }
    if (git_odb_add_backend(c->odb, backend, 1) < 0) {
        backend->free(backend);
        return tree_git_err(err, "cannot open the source pack");
    }
    return 0;
}

static int open_root(struct collect *c, const char *root, struct err *err)
{
    git_repository *repo = NULL;
    git_commit *commit = NULL;
    git_oid oid;
    int rc = 0;
    if (git_oid_fromstr(&oid, root) < 0 || git_repository_wrap_odb(&repo, c->odb) < 0 ||
        git_commit_lookup(&commit, repo, &oid) < 0 || git_commit_tree(&c->root, commit) < 0) {
        rc = tree_git_err(err, "the source pack's root commit");
    }
    git_commit_free(commit);
    git_repository_free(repo); /* the tree keeps it alive */
    return rc;
}

static int put_commit(struct collect *c, const char *root, const char *branch,
                      const uint8_t tree[static 20], char ret[static TASK_OID_SIZE],
                      struct err *err)
{
    struct buf text;
    git_oid id;
    uint8_t oid[20];
    unsigned long long now = clock_wall_s();
    char hex[TASK_OID_SIZE];
    git_oid_fromraw(&id, tree);
    git_oid_tostr(hex, sizeof(hex), &id);
    buf_init(&text, COMMIT_MAX);
    buf_addf(&text, "tree %s\nparent %s\nauthor " IDENTITY " %llu +0000\n", hex, root, now);
    buf_addf(&text, "committer " IDENTITY " %llu +0000\n\ncreel: %s\n", now, branch);
    if (c->notes.len > 0) {
        buf_addf(&text, "\nNot collected:\n%s", buf_str(&c->notes));
    }
    int rc = text.failed ? err_set(err, ERR_FAIL, "commit message too long")
                         : object_put(c, PACK_COMMIT, text.data, text.len, oid, err);
    buf_done(&text);
    if (rc == 0) {
        git_oid_fromraw(&id, oid);
        git_oid_tostr(ret, TASK_OID_SIZE, &id);
    }
    return rc;
}

/* The pack is there, empty but for its head, when the walk begins: most of it is written on the
 * way. */
static int collect_run(struct collect *c, int taskfd, const char *root, const char *branch,
                       struct tree_patch *ret, struct err *err)
{
    uint8_t tree[20];
    int rc = collect_walk(c, taskfd, tree, err);
    if (c->more_notes > 0) {
        c->notes.max += 64; /* room kept for this line */
        buf_addf(&c->notes, "and %u more\n", c->more_notes);
    }
    if (rc < 0 || memcmp(tree, git_tree_id(c->root)->id, sizeof(tree)) == 0) {
        return rc;
    }
    rc = put_commit(c, root, branch, tree, ret->commit, err);
    return rc < 0 ? rc : pack_writer_finish(c->pack, &ret->pack_bytes, err);
}

static int collect_open(struct collect *c, const char *root, int *taskfd, int *packfd,
                        struct err *err)
{
    int outfd = open(c->dirs->out, DIR_FLAGS);
    int basefd = open(c->dirs->base, DIR_FLAGS);
    int rc = 0;
    *taskfd = open(c->dirs->task, DIR_FLAGS);
    if (outfd >= 0) {
        *packfd =
            openat(outfd, "patch.pack", O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
    }
    c->sha = EVP_MD_CTX_new();
    if (basefd < 0 || *taskfd < 0 || *packfd < 0 || c->sha == NULL) {
        rc = err_errno(err, ERR_FAIL, "cannot open %s, %s or %s/patch.pack", c->dirs->base,
                       c->dirs->task, c->dirs->out);
    }
    if (rc == 0) {
        rc = pristine_load(&c->pristine, basefd, err);
    }
    if (rc == 0) {
        rc = open_base(c, err);
    }
    if (rc == 0) {
        rc = open_root(c, root, err);
    }
    fd_close(&basefd);
    fd_close(&outfd);
    return rc < 0 ? rc : pack_writer_new(*packfd, TASK_PACK_MAX, &c->pack, err);
}

int tree_collect(const struct tree_dirs *d, const char *root, const char *branch,
                 struct tree_patch *ret, struct err *err)
{
    struct collect c = {.dirs = d};
    struct tree_patch patch = {0};
    int taskfd = -1, packfd = -1;
    if (!oid_valid(root) || strlen(branch) >= TASK_BRANCH_SIZE) {
        return err_set(err, ERR_USAGE, "not a commit id and a branch name");
    }
    buf_init(&c.notes, TREE_NOTES_MAX - 64);
    int rc = collect_open(&c, root, &taskfd, &packfd, err);
    if (rc == 0) {
        rc = collect_run(&c, taskfd, root, branch, &patch, err);
    }
    if (rc == 0) {
        patch.notes = c.notes;
        *ret = patch;
    } else {
        buf_done(&c.notes);
    }
    pack_writer_free(c.pack);
    oid_set_done(&c.written);
    pristine_done(&c.pristine);
    EVP_MD_CTX_free(c.sha);
    git_tree_free(c.root);
    git_odb_free(c.odb);
    fd_close(&taskfd);
    fd_close(&packfd);
    return rc;
}
