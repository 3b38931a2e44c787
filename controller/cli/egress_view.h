/* What the egress gate did for a task and which limits it met, as `show --egress`, the end of `run` and
 * `review` tell it. Names in it are what an agent asked for: neutralised wherever they are shown. */
#ifndef CONTROLLER_CLI_EGRESS_VIEW_H
#define CONTROLLER_CLI_EGRESS_VIEW_H

#include "controller/cli/cmd.h"
#include "proto/result.h"

/* Appends the flag that would allow what an entry was denied, "--egress NAME:PORT". False, and nothing
 * appended, when it was not denied for want of a rule or no rule can name it. */
bool egress_allow(const struct egress_entry *e, struct buf *b);
/* The whole table, with totals and limits met. */
void egress_table(const struct result *r, struct buf *b);
/* A few lines: totals, the first names denied with what would allow them, limits met but for those that
 * `said` has in the same words. Nothing when nothing was asked of the gate and no limit met. */
void egress_summary(const struct result *r, const char *id, const char *said, struct buf *b);
/* The members "egress" and "hits". */
void egress_json(const struct result *r, struct buf *b);

#endif
