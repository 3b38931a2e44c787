/* What `creel run` shows while it follows: log to stdout and stderr, states as lines or as one
 * progress line, or everything as JSON events. */
#ifndef CONTROLLER_CLI_RUN_VIEW_H
#define CONTROLLER_CLI_RUN_VIEW_H

#include "controller/cli/follow.h"
#include "controller/cli/report.h"

struct run_view {
    const struct cli *cli;
    bool json;
    struct log_view view;
    struct buf out, other; /* of stdout, of stderr */
    bool progress;         /* a progress line stands on the terminal */
};

void run_view_init(struct run_view *v, const struct cli *cli, bool json);
void run_view_done(struct run_view *v);
/* Sets the three callbacks of `f`. */
void run_view_follow(struct run_view *v, struct follow *f);
/* The log is over: what filters hold, unfinished lines, the progress line. */
int run_view_finish(struct run_view *v, struct err *err);
/* Starts an event {"version":1,"event":NAME in v->out; run_event_end closes and writes it. */
void run_event(struct run_view *v, const char *name);
int run_event_end(struct run_view *v, struct err *err);
/* One line of progress: replaced by the next on a terminal, a line of its own elsewhere. */
void run_progress(struct run_view *v, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Takes the progress line away. */
void run_progress_clear(struct run_view *v);

#endif
