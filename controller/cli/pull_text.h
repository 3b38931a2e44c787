/* What a pull request says of a task, in Markdown: facts of creel's own, and what an agent chose set apart, as
 * data. */
#ifndef CONTROLLER_CLI_PULL_TEXT_H
#define CONTROLLER_CLI_PULL_TEXT_H

#include "controller/cli/cmd.h"

/* Appends it; `to` stays below PULL_BODY_SIZE. */
int pull_text(const struct paths *p, struct store *s, const struct task_row *t, struct buf *to,
              struct err *err);

#endif
