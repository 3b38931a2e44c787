/* Approval, see the header. Objects first, checked as they arrive, then the ref with "must not
 * exist" as its old value: a crash between the two leaves objects that nobody refers to, and the
 * same command goes on from there. */
#include "controller/approve.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "controller/git_child.h"
#include "controller/repo.h"

/* From here on one pack is better than many loose files. */
#define LOOSE_MAX 200
#define NO_OID    "0000000000000000000000000000000000000000"
/* What stands in the repository after an approval must survive a power cut. */
#define DURABLE "-c", "core.fsync=committed,loose-object,reference"

/* 1: the branch is there, at t->commit; 0: there is none; -ERR_FAIL: it is somewhere else. */
static int branch_at(git_repository *repo, const struct task_row *t, struct err *err)
{
    char ref[TASK_BRANCH_SIZE + 16], at[TASK_OID_SIZE];
    git_oid oid;
    snprintf(ref, sizeof(ref), "refs/heads/%s", t->branch);
    int rc = git_reference_name_to_id(&oid, repo, ref);
    if (rc == GIT_ENOTFOUND) {
        return 0;
    }
    if (rc < 0) {
        return repo_err(err, ERR_FAIL, "cannot read the repository's branches");
    }
    git_oid_tostr(at, sizeof(at), &oid);
    if (strcmp(at, t->commit) == 0) {
        return 1;
    }
    return err_set(err, ERR_FAIL,
                   "branch %s exists already, at %.12s: rename or delete it, then approve again",
                   t->branch, at);
}

/* The base must still be there: the new commit stands on it. */
static int check_base(git_repository *repo, const struct task_row *t, struct err *err)
{
    git_commit *base = NULL;
    git_oid oid;
    if (git_oid_fromstr(&oid, t->base) < 0 || git_commit_lookup(&base, repo, &oid) < 0) {
        return err_set(err, ERR_FAIL, "%s does not hold the base commit %.12s any more", t->repo,
                       t->base);
    }
    git_commit_free(base);
    return 0;
}

/* What arrived must be the commit that was reviewed, on the base. */
static int check_commit(git_repository *repo, const struct task_row *t, struct err *err)
{
    git_commit *commit = NULL;
    git_odb *odb = NULL;
    git_oid oid;
    char parent[TASK_OID_SIZE] = "";
    if (git_repository_odb(&odb, repo) == 0) {
        git_odb_refresh(odb);
        git_odb_free(odb);
    }
    if (git_oid_fromstr(&oid, t->commit) < 0 || git_commit_lookup(&commit, repo, &oid) < 0) {
        return err_set(err, ERR_FAIL, "the reviewed commit %.12s did not arrive", t->commit);
    }
    if (git_commit_parentcount(commit) == 1) {
        git_oid_tostr(parent, sizeof(parent), git_commit_parent_id(commit, 0));
    }
    git_commit_free(commit);
    return strcmp(parent, t->base) == 0
               ? 0
               : err_set(err, ERR_REFUSED, "commit %.12s does not stand on the base", t->commit);
}

static int put_objects(const char *git_dir, int pack_fd, struct err *err)
{
    static const char *const loose[] = {DURABLE, "unpack-objects", "-q", "--strict", NULL};
    static const char *const pack[] = {DURABLE, "index-pack", "--stdin", "--strict", NULL};
    uint8_t head[12];
    struct git_child g = {.git_dir = git_dir, .args = loose, .in_fd = pack_fd};
    struct buf out;
    if (pread(pack_fd, head, sizeof(head), 0) != (ssize_t)sizeof(head) ||
        lseek(pack_fd, 0, SEEK_SET) < 0) {
        return err_errno(err, ERR_FAIL, "cannot read clean.pack");
    }
    if (head[8] != 0 || head[9] != 0 || head[10] != 0 || head[11] > LOOSE_MAX) {
        g.args = pack;
    }
    buf_init(&out, 4096);
    int rc = git_child_run(&g, &out, err);
    buf_done(&out);
    return rc;
}

static int put_ref(const char *git_dir, const struct task_row *t, struct err *err)
{
    char ref[TASK_BRANCH_SIZE + 16], why[64];
    const char *const args[] = {DURABLE, "update-ref", "--no-deref", "-m", why,
                                ref,     t->commit,    NO_OID,       NULL};
    struct git_child g = {.git_dir = git_dir, .args = args, .in_fd = -1};
    struct buf out;
    snprintf(ref, sizeof(ref), "refs/heads/%s", t->branch);
    snprintf(why, sizeof(why), "creel: approved %s", t->id);
    buf_init(&out, 4096);
    int rc = git_child_run(&g, &out, err);
    buf_done(&out);
    return rc;
}

static int write_all_of_it(git_repository *repo, const struct task_row *t, int pack_fd,
                           struct err *err)
{
    const char *git_dir =
        git_repository_commondir(repo); /* a work tree's branches are its owner's */
    int rc = check_base(repo, t, err);
    if (rc == 0) {
        rc = put_objects(git_dir, pack_fd, err);
    }
    if (rc == 0) {
        rc = check_commit(repo, t, err);
    }
    return rc < 0 ? rc : put_ref(git_dir, t, err);
}

int approve_branch(const struct task_row *t, int pack_fd, bool *ret_was_there, struct err *err)
{
    git_repository *repo = NULL;
    int rc = repo_start(err);
    if (rc == 0) {
        rc = repo_open(t->repo, true, &repo, err);
    }
    if (rc == 0) {
        rc = branch_at(repo, t, err);
    }
    if (rc >= 0) {
        bool was_there = rc == 1;
        rc = was_there ? check_commit(repo, t, err) : write_all_of_it(repo, t, pack_fd, err);
        if (rc == 0) {
            *ret_was_there = was_there;
        }
    }
    git_repository_free(repo);
    return rc;
}
