/* creel cancel: the wish is written down first, then the engine is woken to carry it out. */
#include "common/file.h"
#include "controller/cli/verbs.h"
#include "controller/engine.h"

static int wish(void *arg, const struct paths *p, struct store *s, const struct task_row *t,
                struct err *err)
{
    int fd, rc;

    (void)arg;
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
    return cli_with_task(cli, args, nargs, "cancel ID", wish, opts, err);
}

const struct cmd cmd_cancel = {
    .name = "cancel",
    .args = "ID",
    .summary = "End a task; its work so far is collected.",
    .help = "Returns at once. A queued task is never sent; a running one is killed, and what it\n"
            "changed comes back for review as with any other end.\n",
    .run = cancel,
};
