/* Checkout: source pack in, work tree and the agent's repository out. Runs in a jail of its own,
 * before the agent; nobody else is in `base` or `task` meanwhile. No filter, attribute, hook or
 * configuration of the tree has any effect, and no link in it is ever followed. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <git2.h>
#include <git2/sys/odb_backend.h>

#include "runner/pristine.h"
#include "runner/tree.h"
#include "runner/tree_plan.h"

#include "common/file.h"

#define DIR_FLAGS  (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define MAKE_FLAGS (O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC)

struct checkout {
    const struct tree_dirs *dirs;
    int basefd, taskfd;
    git_odb *odb;
    struct tree_plan plan;
    struct pristine pristine;
};

static int make_dirs(int dirfd, const char *const *names, struct err *err)
{
    for (; *names != NULL; names++) {
        if (mkdirat(dirfd, *names, 0755) < 0) {
            return err_errno(err, ERR_FAIL, "cannot make directory %s", *names);
        }
    }
    return 0;
}

static int make_file(int dirfd, const char *name, const char *text, struct err *err)
{
    int fd = openat(dirfd, name, MAKE_FLAGS, 0644);
    int rc = 0;
    if (fd < 0 || write_all(fd, text, strlen(text)) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot make %s", name);
    }
    fd_close(&fd);
    return rc;
}

static int make_base(struct checkout *c, struct err *err)
{
    static const char *const dirs[] = {"objects", "objects/info", "objects/pack",
                                       "refs",    "refs/heads",   NULL};
    int rc = make_dirs(c->basefd, dirs, err);
    if (rc == 0) {
        rc = make_file(c->basefd, "HEAD", "ref: refs/heads/none\n", err);
    }
    return rc < 0 ? rc
                  : make_file(c->basefd, "config",
                              "[core]\n\trepositoryformatversion = 0\n\tbare = true\n", err);
}

/* Streams the pack through the indexer, which checks every object's hash. */
static int index_pack(git_indexer *indexer, int fd, struct err *err)
{
    uint8_t bytes[1u << 16];
    uint64_t total = 0;
    git_indexer_progress stats = {0};
    for (;;) {
        ssize_t n = read(fd, bytes, sizeof(bytes));
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n < 0) {
            return err_errno(err, ERR_FAIL, "cannot read the source pack");
        }
        if (n == 0) {
            break;
        }
        total += (uint64_t)n;
        if (total > TASK_PACK_MAX) {
            return err_set(err, ERR_REFUSED, "source pack longer than %llu bytes", TASK_PACK_MAX);
        }
        if (git_indexer_append(indexer, bytes, (size_t)n, &stats) < 0) {
            return tree_git_err(err, "source pack");
        }
    }
    return git_indexer_commit(indexer, &stats) < 0 ? tree_git_err(err, "source pack") : 0;
}

/* Opens an object database of that one pack: no loose objects, no alternates, no rescans. */
static int open_pack(struct checkout *c, const char *pack_dir, const char *name, struct err *err)
{
    char idx[PATH_MAX + 64];
    git_odb_backend *backend = NULL;
    snprintf(idx, sizeof(idx), "%s/pack-%s.idx", pack_dir, name);
    if (git_odb_new(&c->odb) < 0 || git_odb_backend_one_pack(&backend, idx) < 0) {
        return tree_git_err(err, "cannot open the pack");
    }
    if (git_odb_add_backend(c->odb, backend, 1) < 0) {
        backend->free(backend);
        return tree_git_err(err, "cannot open the pack");
    }
    return 0;
}

static int take_pack(struct checkout *c, int fd, struct err *err)
{
    char pack_dir[PATH_MAX];
    git_indexer *indexer = NULL;
    snprintf(pack_dir, sizeof(pack_dir), "%s/objects/pack", c->dirs->base);
    if (git_indexer_new(&indexer, pack_dir, 0644, NULL, NULL) < 0) {
        return tree_git_err(err, "cannot make the pack's index");
    }
    int rc = index_pack(indexer, fd, err);
    if (rc == 0) {
        rc = open_pack(c, pack_dir, git_indexer_name(indexer), err);
    }
    git_indexer_free(indexer);
    return rc;
}

/* ROOT's tree; ROOT must be a commit without parents. */
static int root_tree(struct checkout *c, const char *root, git_oid *ret, struct err *err)
{
    git_repository *repo = NULL;
    git_commit *commit = NULL;
    git_oid oid;
    int rc = 0;
    if (git_oid_fromstr(&oid, root) < 0 || git_repository_wrap_odb(&repo, c->odb) < 0 ||
        git_commit_lookup(&commit, repo, &oid) < 0) {
        rc = tree_git_err(err, "the pack's root commit");
    } else if (git_commit_parentcount(commit) != 0) {
        rc = err_set(err, ERR_REFUSED, "root commit %s has parents", root);
    } else {
        *ret = *git_commit_tree_id(commit);
    }
    git_commit_free(commit);
    git_repository_free(repo);
    return rc;
}

static int write_blob(int dirfd, const char *name, const struct plan_entry *e,
                      git_odb_object *object, struct err *err)
{
    const void *bytes = git_odb_object_data(object);
    size_t size = git_odb_object_size(object);
    if (e->kind == TREE_LINK) {
        if (size == 0 || size >= PATH_MAX || memchr(bytes, 0, size) != NULL) {
            return err_set(err, ERR_REFUSED, "symbolic link whose target is not a path");
        }
        /* libgit2 keeps a NUL behind every object's bytes. */
        return symlinkat(bytes, dirfd, name) < 0 ? err_errno(err, ERR_FAIL, "cannot write") : 0;
    }
    int fd = openat(dirfd, name, MAKE_FLAGS, e->kind == TREE_EXEC ? 0777 : 0666);
    int rc = 0;
    if (fd < 0 || write_all(fd, bytes, size) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot write");
    }
    fd_close(&fd);
    return rc;
}

static int write_file(struct checkout *c, int dirfd, const struct plan_entry *e, const char *path,
                      struct err *err)
{
    git_odb_object *object = NULL;
    struct stat st;
    git_oid oid;
    git_oid_fromraw(&oid, e->oid);
    if (git_odb_read(&object, c->odb, &oid) < 0) {
        return tree_git_err(err, "cannot read from the pack");
    }
    int rc;
    if (git_odb_object_type(object) != GIT_OBJECT_BLOB) {
        rc = err_set(err, ERR_REFUSED, "not a file, though its entry says so");
    } else {
        rc = write_blob(dirfd, path + e->name, e, object, err);
    }
    git_odb_object_free(object);
    if (rc == 0 && fstatat(dirfd, path + e->name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot stat");
    }
    return rc < 0 ? rc : pristine_add(&c->pristine, path, e->mode, e->oid, &st, err);
}

/* Writes one entry into the directory `*dir`; for a directory puts its descriptor into `*below`. */
static int write_entry(struct checkout *c, int dirfd, int *below, const struct plan_entry *e,
                       struct err *err)
{
    const char *path = c->plan.pool + e->path;
    if (e->kind != TREE_DIR && e->kind != TREE_GITLINK) {
        int rc = write_file(c, dirfd, e, path, err);
        return rc < 0 ? err_wrap(err, "%.200s", path) : 0;
    }
    if (mkdirat(dirfd, path + e->name, 0777) < 0) {
        return err_errno(err, ERR_FAIL, "%.200s: cannot make directory", path);
    }
    if (e->kind == TREE_GITLINK) {
        return pristine_add(&c->pristine, path, e->mode, e->oid, NULL, err);
    }
    fd_close(below);
    *below = openat(dirfd, path + e->name, DIR_FLAGS);
    return *below < 0 ? err_errno(err, ERR_FAIL, "%.200s: cannot open directory", path) : 0;
}

/* fds[d] is the open directory at depth d of the entry written last. */
static int write_tree(struct checkout *c, struct err *err)
{
    int fds[TREE_DEPTH_MAX + 2];
    int rc = 0;
    for (size_t i = 0; i < TREE_DEPTH_MAX + 2; i++) {
        fds[i] = -1;
    }
    for (size_t i = 0; i < c->plan.n && rc == 0; i++) {
        const struct plan_entry *e = &c->plan.v[i];
        int dirfd = e->depth == 0 ? c->taskfd : fds[e->depth];
        rc = write_entry(c, dirfd, &fds[e->depth + 1], e, err);
    }
    for (size_t i = 0; i < TREE_DEPTH_MAX + 2; i++) {
        fd_close(&fds[i]);
    }
    return rc;
}

/* The agent's own repository: its objects over ours by an alternate, so nothing is copied. */
static int make_agent_git(struct checkout *c, const char *root, const char *branch, struct err *err)
{
    static const char *const dirs[] = {
        ".git",      ".git/objects",    ".git/objects/info", ".git/objects/pack",
        ".git/refs", ".git/refs/heads", ".git/refs/tags",    ".git/info",
        NULL};
    static const char config[] = "[core]\n\trepositoryformatversion = 0\n\tfilemode = true\n"
                                 "\tbare = false\n\tlogallrefupdates = true\n"
                                 "[user]\n\tname = creel agent\n\temail = agent@creel.invalid\n";
    char text[PATH_MAX + TASK_BRANCH_SIZE];
    int rc = make_dirs(c->taskfd, dirs, err);
    if (rc == 0) {
        rc = make_file(c->taskfd, ".git/config", config, err);
    }
    snprintf(text, sizeof(text), "ref: refs/heads/%s\n", branch);
    if (rc == 0) {
        rc = make_file(c->taskfd, ".git/HEAD", text, err);
    }
    /* A packed ref needs no directories for the branch's slashes. */
    snprintf(text, sizeof(text),
             "# pack-refs with: peeled fully-peeled sorted \n%s refs/heads/%s\n", root, branch);
    if (rc == 0) {
        rc = make_file(c->taskfd, ".git/packed-refs", text, err);
    }
    snprintf(text, sizeof(text), "%s/objects\n", c->dirs->base);
    if (rc == 0) {
        rc = make_file(c->taskfd, ".git/objects/info/alternates", text, err);
    }
    return rc < 0 ? rc : pristine_write_index(&c->pristine, c->taskfd, ".git/index", err);
}

static int checkout_run(struct checkout *c, int pack_fd, const char *root, const char *branch,
                        struct err *err)
{
    git_oid tree;
    int rc = make_base(c, err);
    if (rc == 0) {
        rc = take_pack(c, pack_fd, err);
    }
    if (rc == 0) {
        rc = root_tree(c, root, &tree, err);
    }
    if (rc == 0) {
        rc = tree_plan_make(&c->plan, c->odb, &tree, err);
    }
    if (rc == 0) {
        rc = write_tree(c, err);
    }
    if (rc == 0) {
        rc = make_agent_git(c, root, branch, err);
    }
    return rc < 0 ? rc : pristine_save(&c->pristine, c->basefd, err);
}

int tree_checkout(const struct tree_dirs *d, int pack_fd, const char *root, const char *branch,
                  struct err *err)
{
    struct checkout c = {.dirs = d, .basefd = -1, .taskfd = -1};
    char ref[TASK_BRANCH_SIZE + 16];
    int valid = 0;
    snprintf(ref, sizeof(ref), "refs/heads/%s", branch);
    if (!oid_valid(root) || strlen(branch) >= TASK_BRANCH_SIZE ||
        git_reference_name_is_valid(&valid, ref) < 0 || !valid) {
        return err_set(err, ERR_USAGE, "not a commit id and a branch name");
    }
    int rc = 0;
    c.basefd = open(d->base, DIR_FLAGS);
    c.taskfd = open(d->task, DIR_FLAGS);
    if (c.basefd < 0 || c.taskfd < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot open %s or %s", d->base, d->task);
    } else {
        rc = checkout_run(&c, pack_fd, root, branch, err);
    }
    pristine_done(&c.pristine);
    tree_plan_done(&c.plan);
    git_odb_free(c.odb);
    fd_close(&c.basefd);
    fd_close(&c.taskfd);
    return rc;
}
