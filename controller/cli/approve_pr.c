/* Push, then the pull request, then its record: each step finds what an earlier run of it has left. */
#include "controller/cli/approve_pr.h"

#include <stdio.h>
#include <string.h>

#include "common/file.h"
#include "controller/cli/pull_text.h"

int approve_pr_check(const struct pr_opts *o, struct err *err)
{
    if (!o->pr && (o->draft || o->base || o->forge || o->remote || o->title))
        return err_set(err, ERR_USAGE,
                       "--base, --forge, --remote, --draft and --title need --pr beside them");
    if (o->base && !forge_branch_valid(o->base))
        return err_set(err, ERR_USAGE, "--base: '%.100s' is not a branch's name", o->base);
    if (o->title && (!o->title[0] || strlen(o->title) >= PULL_TITLE_SIZE))
        return err_set(err, ERR_USAGE, "--title: 1 to %d bytes", PULL_TITLE_SIZE - 1);
    return 0;
}

/* One line, whatever it was. */
static void title_set(char to[static PULL_TITLE_SIZE], const char *text)
{
    snprintf(to, PULL_TITLE_SIZE, "%s", text);
    for (char *c = to; *c; c++)
        if (*c == '\n' || *c == '\t')
            *c = ' ';
}

static int find_forge(const struct pr_opts *o, const struct paths *p, struct pr_plan *plan,
                      struct err *err)
{
    struct forges fs = {0};
    const struct forge *f = NULL;
    struct forge_repo repo;
    char dir[PATH_MAX];
    int fd = -1;
    int rc = paths_broker(p, dir, err);
    if (rc == 0 && (fd = dir_open(dir, false, true, err)) < 0)
        rc = fd;
    if (rc == 0)
        rc = forges_load(fd, &fs, err);
    if (rc == 0)
        rc = forge_find_remote(&fs, o->forge, plan->remote.url, &f, &repo, err);
    if (rc == 0) {
        snprintf(plan->ask.forge, sizeof plan->ask.forge, "%s", f->name);
        snprintf(plan->ask.repo, sizeof plan->ask.repo, "%s", repo.path);
    }
    fd_close(&fd);
    forges_done(&fs);
    return rc;
}

int approve_pr_plan(const struct pr_opts *o, const struct paths *p, const struct task_row *t,
                    struct pr_plan *plan, struct err *err)
{
    *plan = (struct pr_plan){.ask.draft = o->draft};
    int rc = remote_find(t->repo, o->remote, &plan->remote, err);
    if (rc == 0)
        rc = find_forge(o, p, plan, err);
    if (rc < 0)
        return rc;
    snprintf(plan->ask.branch, sizeof plan->ask.branch, "%s", t->branch);
    snprintf(plan->ask.base, sizeof plan->ask.base, "%s", o->base ? o->base : plan->remote.base);
    title_set(plan->ask.title, o->title ? o->title : t->title);
    return 0;
}

int approve_pr(const struct paths *p, struct store *s, const struct task_row *t,
               struct pr_plan *plan, struct pull *out, struct err *err)
{
    struct buf body;
    char dir[PATH_MAX];
    if (pull_request_load(p, t->id, out) && strcmp(out->forge, plan->ask.forge) == 0 &&
        strcmp(out->repo, plan->ask.repo) == 0 && strcmp(out->branch, t->branch) == 0) {
        out->was_there = true;
        return 0;
    }
    int rc = paths_broker(p, dir, err);
    if (rc < 0)
        return rc;
    buf_init(&body, PULL_BODY_SIZE - 1);
    rc = pull_text(p, s, t, &body, err);
    if (rc == 0) {
        memcpy(plan->ask.body, body.data, body.len + 1);
        rc = pull_request_push(t, &plan->remote, err);
    }
    if (rc == 0)
        rc = pull_request_open(dir, &plan->ask, out, err);
    if (rc == 0)
        rc = pull_request_save(p, t->id, out, err);
    buf_done(&body);
    return rc;
}
