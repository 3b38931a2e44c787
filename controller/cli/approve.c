/* creel approve: what was reviewed becomes a branch of the operator's repository. The branch is
 * made first and the decision recorded after; with --pr it is then pushed, and the pull request opened: the
 * same command again finishes what a crash left. */
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "controller/approve.h"
#include "controller/cli/approve_pr.h"
#include "controller/cli/verbs.h"
#include "controller/review.h"

struct approve_opts {
    bool json;
    struct pr_opts pr;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct approve_opts, json),
     .help = "as one JSON object"},
    {.name = "pr",
     .kind = OPT_FLAG,
     .offset = offsetof(struct approve_opts, pr.pr),
     .help = "push the branch with your own git and open a pull request at the forge"},
    {.name = "base",
     .kind = OPT_TEXT,
     .offset = offsetof(struct approve_opts, pr.base),
     .arg = "BRANCH",
     .help = "that it is to go into (default: the repository's default branch)"},
    {.name = "remote",
     .kind = OPT_TEXT,
     .offset = offsetof(struct approve_opts, pr.remote),
     .arg = "NAME",
     .help = "that it is pushed to (default: origin)"},
    {.name = "forge",
     .kind = OPT_TEXT,
     .offset = offsetof(struct approve_opts, pr.forge),
     .arg = "NAME",
     .help = "that the remote must be at (default: known by the remote's address)"},
    {.name = "title",
     .kind = OPT_TEXT,
     .offset = offsetof(struct approve_opts, pr.title),
     .arg = "TEXT",
     .help = "of the pull request (default: the task's)"},
    {.name = "draft",
     .kind = OPT_FLAG,
     .offset = offsetof(struct approve_opts, pr.draft),
     .help = "a pull request that is not ready"},
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

static void pull_json(const struct pull *pull, struct buf *b)
{
    emit_open(b, "pull_request", '{');
    emit_text(b, "url", pull->url);
    emit_uint(b, "number", pull->number);
    emit_text(b, "state", pull->state);
    emit_text(b, "base", pull->base);
    emit_bool(b, "was_there", pull->was_there);
    emit_close(b, '}');
}

static void pull_words(const struct pull *pull, struct buf *b)
{
    buf_adds(b, pull->was_there ? "pull request, as before: " : "pull request: ");
    cli_text(b, pull->url);
    if (strcmp(pull->state, "open") != 0)
        buf_addf(b, " (%s)", pull->state);
    buf_addc(b, '\n');
}

/* `pull`: NULL without --pr. */
static int tell(const struct approve_opts *o, const struct task_row *t, bool was_there,
                const struct pull *pull, struct err *err)
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
        if (pull)
            pull_json(pull, &b);
        emit_close(&b, '}');
        buf_addc(&b, '\n');
    } else {
        buf_addf(&b, "branch %s is at %.12s in ", t->branch, t->commit);
        cli_text(&b, t->repo);
        buf_adds(&b, was_there ? ", as before\n" : "\n");
        if (pull)
            pull_words(pull, &b);
    }
    int rc = cli_out(&b, err);
    buf_done(&b);
    if (rc == 0 && !o->json && !pull) {
        cli_say("next: git log -p %.12s..%s", t->base, t->branch);
        cli_say("      git merge %s", t->branch);
        cli_say("      git branch -D %s", t->branch);
    }
    return rc;
}

static int make_branch(const struct paths *p, struct store *s, const struct task_row *t,
                       bool *ret_was_there, struct err *err)
{
    int fd = review_open(p, t, "clean.pack", err);
    if (fd < 0) {
        return fd;
    }
    int rc = approve_branch(t, fd, ret_was_there, err);
    fd_close(&fd);
    return rc < 0 ? rc : store_task_review(s, t->id, REVIEW_APPROVED, err);
}

static int with_pull(const struct approve_opts *o, const struct paths *p, struct store *s,
                     const struct task_row *t, struct err *err)
{
    struct pr_plan *plan = calloc(1, sizeof(*plan));
    struct pull pull = {0};
    bool was_there = false;
    int rc =
        plan ? approve_pr_plan(&o->pr, p, t, plan, err) : err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0) {
        rc = make_branch(p, s, t, &was_there, err);
    }
    if (rc == 0 && (rc = approve_pr(p, s, t, plan, &pull, err)) < 0) {
        cli_say("branch %s is made here; 'creel approve %s --pr' again goes on from there",
                t->branch, t->id);
    }
    free(plan);
    return rc < 0 ? rc : tell(o, t, was_there, &pull, err);
}

static int decide(void *opts, const struct paths *p, struct store *s, const struct task_row *t,
                  struct err *err)
{
    const struct approve_opts *o = opts;
    bool was_there = false;
    int rc = approve_pr_check(&o->pr, err);
    if (rc == 0) {
        rc = may(p, t, err);
    }
    if (rc < 0 || o->pr.pr) {
        return rc < 0 ? rc : with_pull(o, p, s, t, err);
    }
    rc = make_branch(p, s, t, &was_there, err);
    return rc < 0 ? rc : tell(o, t, was_there, NULL, err);
}

static int approve(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    return cli_with_task(cli, args, nargs, "approve ID", decide, opts, err);
}

const struct cmd cmd_approve = {
    .name = "approve",
    .args = "ID [--json] [--pr [--base BRANCH] [--remote NAME] [--title TEXT] [--draft]]",
    .summary = "Make what was reviewed a branch of your repository.",
    .help =
        "Writes the objects and one ref, creel/ID, on the base commit. Your work tree, index and\n"
        "other branches stay as they are; no hook, filter or monitor runs. May be repeated.\n"
        "With --pr the branch is then pushed, by your own git with your own credentials, and a "
        "pull\n"
        "request is opened at the forge (creel forge add) unless there is one of that branch.\n",
    .opts = options,
    .opts_size = sizeof(struct approve_opts),
    .run = approve,
};
