/* creel host rm: a host is forgotten, never while a task may still be on it. */
#include <string.h>

#include "common/file.h"
#include "controller/cli/verbs.h"
#include "controller/engine.h"

struct rm_opts {
    bool force;
};

static const struct opt rm_options[] = {
    {.name = "force",
     .kind = OPT_FLAG,
     .offset = offsetof(struct rm_opts, force),
     .help = "the machine is destroyed for sure: forget it although tasks are not wiped there"},
    {.name = NULL},
};

static int tasks_there(struct store *s, const char *name, struct err *err)
{
    struct task_row *rows = NULL;
    size_t n = 0;
    int rc = store_task_list(s, true, &rows, &n, err);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        bool final = task_state_final((enum task_state)rows[i].state);
        const char *host =
            rows[i].attempt_n && rows[i].state != TASK_QUEUED ? rows[i].attempt_host : rows[i].host;

        if (strcmp(host, name) == 0)
            rc = err_set(err, ERR_REFUSED, "task %s is %s%s on %s: %s", rows[i].id,
                         task_state_names[rows[i].state], final ? " but not yet wiped" : "", name,
                         final ? "wait, or --force when the machine is gone"
                               : "cancel it or wait for its end");
    }
    task_rows_free(rows, n);
    return rc;
}

static int rm(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct rm_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h;
    int rc = cli_nargs(nargs, 1, "host rm NAME", err);

    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_host_get(s, args[0], &h, err);
    rc = rc < 0 || o->force ? rc : tasks_there(s, args[0], err);
    rc = rc < 0 ? rc : store_host_remove(s, args[0], err);
    if (rc == 0) {
        /* An engine that runs ends what it still has there; one that starts later finds out itself. */
        int fd = engine_poke(&p, false, &(struct err){0});
        fd_close(&fd);
    }
    if (rc == 0)
        cli_say("host %s is forgotten; the machine itself was not touched", args[0]);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_rm = {
    .name = "rm",
    .args = "NAME [--force]",
    .summary = "Forget a host and its pinned keys.",
    .opts = rm_options,
    .opts_size = sizeof(struct rm_opts),
    .run = rm,
};
