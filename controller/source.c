/* The operator's repository, read: what a task starts from. Never writes to it: the one new object,
 * the synthetic root commit, goes into the quarantine repository. */
#include "controller/source.h"

#include <stdio.h>
#include <string.h>

#include "controller/repo.h"
#include "proto/utf8.h"

/* Absolute, without the slash that libgit2 puts at the end. */
static int copy_path(struct source *s, git_repository *repo, struct err *err)
{
    const char *path = git_repository_workdir(repo);
    path = path != NULL ? path : git_repository_path(repo);
    size_t n = strlen(path);
    while (n > 1 && path[n - 1] == '/') {
        n--;
    }
    if (n >= sizeof(s->repo)) {
        return err_set(err, ERR_USAGE, "path of the repository is too long");
    }
    memcpy(s->repo, path, n);
    s->repo[n] = '\0';
    return 0;
}

static int resolve(git_repository *repo, const char *rev, git_commit **ret, struct err *err)
{
    git_object *object = NULL;
    const char *name = rev != NULL ? rev : "HEAD";
    if (git_repository_head_unborn(repo) == 1 && rev == NULL) {
        return err_set(err, ERR_USAGE, "the repository has no commit yet");
    }
    int rc = git_revparse_single(&object, repo, name);
    if (rc < 0) {
        return rc == GIT_EAMBIGUOUS ? err_set(err, ERR_USAGE, "revision \"%s\" is ambiguous", name)
                                    : err_set(err, ERR_USAGE, "no such revision: \"%s\"", name);
    }
    rc = git_object_peel((git_object **)ret, object, GIT_OBJECT_COMMIT);
    git_object_free(object);
    return rc < 0 ? err_set(err, ERR_USAGE, "\"%s\" is not a commit", name) : 0;
}

/* The revision as given, or the branch that HEAD is on, or the commit when it is on none. */
static void name_base(struct source *s, git_repository *repo, const char *rev)
{
    git_reference *head = NULL;
    if (rev != NULL) {
        utf8_copy(s->base_name, sizeof(s->base_name), rev);
    } else if (git_repository_head_detached(repo) == 0 && git_repository_head(&head, repo) == 0) {
        utf8_copy(s->base_name, sizeof(s->base_name), git_reference_shorthand(head));
    } else {
        snprintf(s->base_name, sizeof(s->base_name), "%.12s", s->base);
    }
    git_reference_free(head);
}

static int stop_at_first(const git_diff *so_far, const git_diff_delta *delta, const char *pathspec,
                         void *arg)
{
    *(bool *)arg = true;
    return -1;
}

/* Staged, unstaged or new files. Stops at the first; an index that cannot be read counts as dirty.
 */
static bool is_dirty(git_repository *repo)
{
    git_diff_options opts = GIT_DIFF_OPTIONS_INIT;
    git_object *tree = NULL;
    git_diff *diff = NULL;
    bool dirty = false;
    if (git_repository_is_bare(repo)) {
        return false;
    }
    opts.flags = GIT_DIFF_INCLUDE_UNTRACKED;
    opts.ignore_submodules = GIT_SUBMODULE_IGNORE_ALL;
    opts.notify_cb = stop_at_first;
    opts.payload = &dirty;
    if (git_revparse_single(&tree, repo, "HEAD^{tree}") < 0 ||
        git_diff_tree_to_workdir_with_index(&diff, repo, (git_tree *)tree, &opts) < 0) {
        dirty = true;
    }
    git_diff_free(diff);
    git_object_free(tree);
    return dirty;
}

/* Another form of address (ssh, a path, one with a password in it) is none to tell a task. */
static void find_remote(struct source *s, git_repository *repo)
{
    struct repo_access access = {.mode = REPO_READ};
    struct err ignored = ERR_INIT;
    git_config *config = NULL;
    const char *url = NULL;
    if (git_repository_config_snapshot(&config, repo) == 0 &&
        git_config_get_string(&url, config, "remote.origin.url") == 0 &&
        strlen(url) < sizeof(access.url)) {
        memcpy(access.url, url, strlen(url) + 1);
        if (repo_access_check(&access, &ignored) == 0) {
            memcpy(s->remote, access.url, sizeof(s->remote));
        }
    }
    git_config_free(config);
}

int source_open(const char *dir, const char *rev, struct source *out, struct err *err)
{
    git_repository *repo = NULL;
    git_commit *commit = NULL;
    struct source s = {0};
    int rc = repo_start(err);
    if (rc == 0) {
        rc = repo_open(dir, false, &repo, err);
    }
    if (rc == 0) {
        rc = copy_path(&s, repo, err);
    }
    if (rc == 0) {
        rc = resolve(repo, rev, &commit, err);
    }
    if (rc == 0) {
        git_oid_tostr(s.base, sizeof(s.base), git_commit_id(commit));
        const char *subject = git_commit_summary(commit);
        name_base(&s, repo, rev);
        utf8_copy(s.base_subject, sizeof(s.base_subject), subject != NULL ? subject : "");
        s.dirty = is_dirty(repo);
        find_remote(&s, repo);
        *out = s;
    }
    git_commit_free(commit);
    git_repository_free(repo);
    return rc;
}
