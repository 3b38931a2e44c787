/* What tasks spent, for people and as JSON: `creel show ID --spend`, and what `creel budget` shares. */
#ifndef CONTROLLER_CLI_SPEND_VIEW_H
#define CONTROLLER_CLI_SPEND_VIEW_H

#include "controller/broker/ledger_report.h"
#include "controller/cli/cmd.h"

/* Appends "$2.50", blanks before it up to `width` bytes. */
void spend_usd(uint64_t micros, int width, struct buf *to);
/* Opens the ledger to be read. 0 with *ret NULL: nothing was ever spent. */
int spend_view_open(const struct paths *p, struct ledger **ret, struct err *err);
/* The members of a sum, without the braces around. */
void spend_sum_json(const struct ledger_sum *s, struct buf *b);
/* Every call of the task, what was refused, and the sums. */
int spend_show(const struct paths *p, const struct task_row *t, bool json, struct buf *b,
               struct err *err);

#endif
