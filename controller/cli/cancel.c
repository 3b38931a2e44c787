/* creel cancel: the wish is written down first, then the engine is woken to carry it out. */
#include "common/file.h"
#include "controller/cli/verbs.h"
#include "controller/engine.h"

static int wish(const struct paths *p, struct store *s, const struct task_row *t, struct err *err)
{
    int fd, rc;

    if (task_state_final((enum task_state)t->state)) {
        cli_say("task %s has ended already: %s", t->id, task_state_names[t->state]);
        return 0;
    }
    rc = store_task_cancel(s, t->id, err);
    if (rc < 0)
        return rc;
    fd = engine_poke(p, true, err);
    if (fd < 0)
        return err_wrap(err, "task %s will be cancelled, but nothing works on it", t->id);
    fd_close(&fd);
    cli_say("task %s is being cancelled; what it has done so far is kept", t->id);
    return 0;
}

static int cancel(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct task_row t;
    int rc = cli_nargs(nargs, 1, "cancel ID", err);

    (void)opts;
    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_task_get(s, args[0], &t, err);
    if (rc == 0) {
        rc = wish(&p, s, &t, err);
        task_row_done(&t);
    }
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_cancel = {
    .name = "cancel",
    .args = "ID",
    .summary = "End a task; its work so far is collected.",
    .help = "Returns at once. A queued task is never sent; a running one is killed, and what it\n"
            "changed comes back for review as with any other end.\n",
    .run = cancel,
};
