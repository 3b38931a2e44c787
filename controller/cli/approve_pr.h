/* creel approve --pr: after the branch, the pull request. */
#ifndef CONTROLLER_CLI_APPROVE_PR_H
#define CONTROLLER_CLI_APPROVE_PR_H

#include "controller/cli/cmd.h"
#include "controller/pull_request.h"

struct pr_opts {
    bool pr, draft;
    const char *base, *forge, *remote, *title;
};

/* -ERR_USAGE: an option that wants --pr stands without it, or one makes no sense. Before anything is done. */
int approve_pr_check(const struct pr_opts *o, struct err *err);
/* Which forge and repository that would be: found out before the branch is made, so that an unknown forge changes
 * nothing. */
struct pr_plan {
    struct remote remote;
    struct pull_ask ask;
};
int approve_pr_plan(const struct pr_opts *o, const struct paths *p, const struct task_row *t,
                    struct pr_plan *plan, struct err *err);
/* Pushes and opens, or finds what an earlier one has opened. */
int approve_pr(const struct paths *p, struct store *s, const struct task_row *t,
               struct pr_plan *plan, struct pull *out, struct err *err);

#endif
