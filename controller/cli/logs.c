/* creel logs: a task's log from its first byte, and on as it grows. May be ended and started at any
 * time, in several terminals: it only reads a file.
 */
#include <unistd.h>

#include "common/file.h"
#include "controller/cli/follow.h"
#include "controller/cli/verbs.h"
#include "controller/engine.h"
#include "controller/events/event_stream.h"

#define LOGS_FLUSH (256u << 10)

struct logs_opts {
    bool follow, raw;
};

static const struct opt options[] = {
    {.name = "follow",
     .letter = 'f',
     .kind = OPT_FLAG,
     .offset = offsetof(struct logs_opts, follow),
     .help = "go on until the task has ended"},
    {.name = "raw",
     .kind = OPT_FLAG,
     .offset = offsetof(struct logs_opts, raw),
     .help = "exactly the bytes of the task's stdout and stderr, in their order, also where an "
             "agent's\n"
             "events would be made readable"},
    {.name = NULL},
};

struct printer {
    struct log_view view;
    struct buf out;
};

static int on_flush(void *arg, struct err *err)
{
    struct printer *p = arg;
    int rc = p->out.len ? cli_out(&p->out, err) : 0;

    buf_clear(&p->out);
    return rc;
}

static int on_frame(void *arg, const struct log_frame *f, struct err *err)
{
    struct printer *p = arg;

    if (log_view_frame(&p->view, f, &p->out, &p->out) < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    return p->out.len > LOGS_FLUSH ? on_flush(p, err) : 0;
}

static int on_state(void *arg, const struct task_row *row, struct err *err)
{
    (void)arg;
    (void)row;
    (void)err;
    return 0;
}

static int print_now(const struct paths *paths, const char *id, struct printer *p, struct err *err)
{
    struct logfile *l = NULL;
    struct log_frame f;
    int rc = logfile_open(paths, id, &l, err);

    while (rc == 0 && (rc = logfile_next(l, &f, err)) == 1)
        rc = on_frame(p, &f, err);
    logfile_close(l);
    return rc;
}

/* A live task needs an engine, so one is started; without it the file is still followed. */
static int print_on(const struct paths *paths, struct store *s, const struct task_row *row,
                    struct printer *p, struct err *err)
{
    struct follow f = {.paths = paths,
                       .store = s,
                       .id = row->id,
                       .engine = -1,
                       .frame = on_frame,
                       .flush = on_flush,
                       .state = on_state,
                       .arg = p};
    struct task_row last;
    int rc;

    if (!task_state_final((enum task_state)row->state))
        f.engine = engine_poke(paths, true, NULL);
    rc = follow_task(&f, &last, err);
    if (rc >= 0)
        task_row_done(&last);
    fd_close(&f.engine);
    return rc;
}

/* An agent's stdout is its events: readable, unless the bytes are asked for. */
static int events_begin(struct printer *p, const struct task_row *row, bool raw, struct err *err)
{
    if (raw || row->events == AGENT_TEXT)
        return 0;
    p->view.events = event_stream_new((enum agent_events)row->events);
    return p->view.events ? 0 : err_set(err, ERR_FAIL, "out of memory");
}

static int print_all(const struct paths *paths, struct store *s, const struct task_row *row,
                     struct printer *p, bool on, struct err *err)
{
    int rc = on ? print_on(paths, s, row, p, err) : print_now(paths, row->id, p, err);

    if (rc == 0) {
        log_view_end(&p->view, &p->out, &p->out);
        rc = on_flush(p, err);
    }
    return rc;
}

static int logs(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct logs_opts *o = opts;
    struct paths paths = {.rootfd = -1};
    struct store *s = NULL;
    struct task_row row;
    struct printer p;
    int rc = cli_nargs(nargs, 1, "logs ID", err);

    rc = rc < 0 ? rc : cli_open(cli, &paths, &s, err);
    if (rc < 0)
        return rc;
    rc = store_task_get(s, args[0], &row, err);
    if (rc == 0) {
        bool neutral = !o->raw && cli->tty_out;

        buf_init(&p.out, 16u << 20);
        log_view_init(&p.view, !o->raw, neutral, neutral);
        rc = events_begin(&p, &row, o->raw, err);
        rc = rc < 0 ? rc : print_all(&paths, s, &row, &p, o->follow, err);
        event_stream_free(p.view.events);
        buf_done(&p.out);
        task_row_done(&row);
    }
    cli_close(&paths, s);
    return rc;
}

const struct cmd cmd_logs = {
    .name = "logs",
    .args = "[-f] [--raw] ID",
    .summary = "Print a task's log, or follow it.",
    .help =
        "ID: a task's id, its first or last characters (4 or more), or 'last'. On a terminal\n"
        "control sequences are made visible; into a file or pipe bytes go as they came. Of a task\n"
        "with an agent (creel agents) its events are shown as lines: what it says, thinks, runs "
        "and\n"
        "edits; --raw has them as they came.\n",
    .opts = options,
    .opts_size = sizeof(struct logs_opts),
    .run = logs,
};
