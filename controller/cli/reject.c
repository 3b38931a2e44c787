/* creel reject: the decision is recorded, everything that came back is kept. */
#include "controller/cli/verbs.h"

struct reject_opts {
    bool json;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct reject_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

static int decide(void *opts, const struct paths *p, struct store *s, const struct task_row *t,
                  struct err *err)
{
    const struct reject_opts *o = opts;
    char dir[PATH_MAX];
    struct buf b;
    int rc = paths_task(p, t->id, "", dir, err);
    if (rc == 0) {
        rc = store_task_review(s, t->id, REVIEW_REJECTED, err);
    }
    if (rc < 0 || !o->json) {
        if (rc == 0) {
            cli_say("task %s is rejected; what came back is kept in %s", t->id, dir);
        }
        return rc;
    }
    buf_init(&b, CLI_OUT_MAX);
    emit_open(&b, NULL, '{');
    emit_int(&b, "version", 1);
    emit_text(&b, "id", t->id);
    emit_text(&b, "review", review_state_names[REVIEW_REJECTED]);
    emit_text(&b, "directory", dir);
    emit_close(&b, '}');
    buf_addc(&b, '\n');
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int reject(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    return cli_with_task(cli, args, nargs, "reject ID", decide, opts, err);
}

const struct cmd cmd_reject = {
    .name = "reject",
    .args = "ID [--json]",
    .summary = "Decide against a task's work; the evidence is kept.",
    .help = "No branch is made. Log, patch, result and receipt stay in the task's directory.\n",
    .opts = options,
    .opts_size = sizeof(struct reject_opts),
    .run = reject,
};
