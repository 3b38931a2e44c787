/* creel ps: the tasks, newest first, and what each waits for. */
#include <stdlib.h>

#include "controller/cli/report.h"
#include "controller/cli/verbs.h"

struct ps_opts {
    bool all, json;
};

static const struct opt options[] = {
    {.name = "all",
     .letter = 'a',
     .kind = OPT_FLAG,
     .offset = offsetof(struct ps_opts, all),
     .help = "finished and decided tasks too"},
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct ps_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

/* Without --all: what runs, waits, or wants a decision. */
static bool wanted(const struct ps_opts *o, const struct task_row *t)
{
    return o->all || !task_state_final((enum task_state)t->state) || t->review == REVIEW_PENDING;
}

static void list_json(const struct ps_opts *o, const struct task_row *rows, size_t n, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_open(b, "tasks", '[');
    for (size_t i = 0; i < n; i++) {
        if (!wanted(o, &rows[i]))
            continue;
        emit_open(b, NULL, '{');
        report_row_json(&rows[i], b);
        emit_close(b, '}');
    }
    emit_close(b, ']');
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static size_t list_text(const struct ps_opts *o, const struct task_row *rows, size_t n,
                        struct buf *b)
{
    size_t shown = 0;

    for (size_t i = 0; i < n; i++) {
        const struct task_row *t = &rows[i];
        char when[32];

        if (!wanted(o, t))
            continue;
        if (shown++ == 0)
            buf_addf(b, "%-26s  %-10s %-9s %-12s %-11s %s\n", "ID", "STATE", "REVIEW", "HOST",
                     "CREATED", "TITLE");
        cli_ago(t->created_ms, when);
        buf_addf(b, "%-26s  %-10s %-9s %-12s %-11s ", t->id, task_state_names[t->state],
                 t->review == REVIEW_NONE ? "-" : review_state_names[t->review],
                 t->attempt_n ? t->attempt_host
                 : t->host[0] ? t->host
                              : "any",
                 when);
        cli_text(b, t->title);
        buf_addc(b, '\n');
        if (t->reason[0]) {
            buf_addf(b, "%-26s  ", "");
            cli_text(b, t->reason);
            buf_addc(b, '\n');
        }
    }
    return shown;
}

static int ps(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct ps_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct task_row *rows = NULL;
    struct buf b;
    size_t n = 0;
    int rc = cli_nargs(nargs, 0, "ps takes options only", err);

    (void)args;
    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    rc = store_task_list(s, false, &rows, &n, err);
    if (rc == 0) {
        if (o->json)
            list_json(o, rows, n, &b);
        else if (list_text(o, rows, n, &b) == 0)
            cli_say(n ? "nothing runs, nothing waits for review: see 'creel ps --all'"
                      : "no tasks yet: creel run -- COMMAND...");
        rc = cli_out(&b, err);
    }
    task_rows_free(rows, n);
    buf_done(&b);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_ps = {
    .name = "ps",
    .args = "[--all] [--json]",
    .summary = "List tasks and what they wait for.",
    .help = "Without --all: tasks that run, wait, or want a decision.\n",
    .opts = options,
    .opts_size = sizeof(struct ps_opts),
    .run = ps,
};
