/* creel approve: what was reviewed becomes a branch of the operator's repository. The branch is
 * made first and the decision recorded after: the same command again finishes what a crash left. */
#include <string.h>

#include "common/file.h"
#include "controller/approve.h"
#include "controller/cli/verbs.h"
#include "controller/review.h"

struct approve_opts {
    bool json;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct approve_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

/* May this task be approved at all? */
static int may(const struct paths *p, const struct task_row *t, struct err *err)
{
    struct review_record r = {0};
    if (t->review == REVIEW_REJECTED) {
        return err_set(err, ERR_USAGE, "task %s was rejected", t->id);
    }
    if (t->imported && t->review == REVIEW_NONE && t->commit[0] == '\0') {
        struct err ignored = ERR_INIT;
        int rc = review_load(p, t, &r, &ignored);
        if (rc == 0 && r.summary.refused) {
            rc = err_set(err, ERR_REFUSED, "task %s cannot be approved: %s", t->id,
                         r.summary.reason);
            review_done(&r);
            return rc;
        }
        review_done(&r);
        return err_set(err, ERR_USAGE, "task %s has nothing to approve: %s", t->id,
                       t->reason[0] != '\0' ? t->reason : "it changed no file");
    }
    int rc = review_load(p, t, &r, err);
    if (rc < 0) {
        return rc;
    }
    if (r.summary.refused) {
        rc = err_set(err, ERR_REFUSED, "task %s cannot be approved: %s", t->id, r.summary.reason);
    } else if (r.summary.secret[0] != '\0') {
        rc = err_set(err, ERR_REFUSED, "task %s cannot be approved: %s", t->id, r.summary.secret);
    } else if (strcmp(r.summary.commit, t->commit) != 0) {
        rc = err_set(err, ERR_FAIL, "task %s: review.json is not what was recorded", t->id);
    }
    review_done(&r);
    return rc;
}

static int tell(const struct approve_opts *o, const struct task_row *t, bool was_there,
                struct err *err)
{
    struct buf b;
    buf_init(&b, CLI_OUT_MAX);
    if (o->json) {
        emit_open(&b, NULL, '{');
        emit_int(&b, "version", 1);
        emit_text(&b, "id", t->id);
        emit_text(&b, "repo", t->repo);
        emit_text(&b, "branch", t->branch);
        emit_text(&b, "base", t->base);
        emit_text(&b, "commit", t->commit);
        emit_bool(&b, "was_there", was_there);
        emit_close(&b, '}');
        buf_addc(&b, '\n');
    } else {
        buf_addf(&b, "branch %s is at %.12s in ", t->branch, t->commit);
        cli_text(&b, t->repo);
        buf_adds(&b, was_there ? ", as before\n" : "\n");
    }
    int rc = cli_out(&b, err);
    buf_done(&b);
    if (rc == 0 && !o->json) {
        cli_say("next: git log -p %.12s..%s", t->base, t->branch);
        cli_say("      git merge %s", t->branch);
        cli_say("      git branch -D %s", t->branch);
    }
    return rc;
}

static int decide(void *opts, const struct paths *p, struct store *s, const struct task_row *t,
                  struct err *err)
{
    const struct approve_opts *o = opts;
    bool was_there = false;
    int rc = may(p, t, err);
    if (rc < 0) {
        return rc;
    }
    int fd = review_open(p, t, "clean.pack", err);
    if (fd < 0) {
        return fd;
    }
    rc = approve_branch(t, fd, &was_there, err);
    fd_close(&fd);
    if (rc == 0) {
        rc = store_task_review(s, t->id, REVIEW_APPROVED, err);
    }
    return rc < 0 ? rc : tell(o, t, was_there, err);
}

static int approve(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    return cli_with_task(cli, args, nargs, "approve ID", decide, opts, err);
}

const struct cmd cmd_approve = {
    .name = "approve",
    .args = "ID [--json]",
    .summary = "Make what was reviewed a branch of your repository.",
    .help =
        "Writes the objects and one ref, creel/ID, on the base commit. Your work tree, index and\n"
        "other branches stay as they are; no hook, filter or monitor runs. May be repeated.\n",
    .opts = options,
    .opts_size = sizeof(struct approve_opts),
    .run = approve,
};
