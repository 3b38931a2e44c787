/* A task as `ps`, `show` and the end of `run` tell it: one JSON form, one text form. */
#ifndef CONTROLLER_CLI_REPORT_H
#define CONTROLLER_CLI_REPORT_H

#include "controller/cli/cmd.h"
#include "controller/documents.h"

/* A row and, when it is there and verifies, what the runner signed about it. */
struct report {
    const struct task_row *row;
    bool have_result, have_receipt;
    struct document result, receipt;
    char problem[ERR_MSG_MAX]; /* a document is there but cannot be believed: why; else "" */
};

/* Loads result and receipt with the key that was pinned for the attempt. A document that does
 * not verify is told in `problem`. */
void report_load(const struct paths *p, struct store *s, const struct task_row *row,
                 struct report *out);
void report_done(struct report *r);
/* The members of a task, without the braces around. */
void report_row_json(const struct task_row *row, struct buf *b);
/* More members: steps, patch, unenforced limits, use of resources, receipt. */
void report_result_json(const struct report *r, struct buf *b);
/* What the end of `run` says: outcome, steps, patch, what did not hold, what to type next. */
void report_text(const struct report *r, struct buf *b);
/* Steps only, one a line. */
void report_steps(const struct result *r, struct buf *b);
/* "12 ms", "1.2 s", "3 min 4 s" */
void report_duration(uint64_t ms, struct buf *b);

#endif
