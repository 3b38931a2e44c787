/* Approval: what the importer made clean becomes one branch in the operator's repository. */
#ifndef CONTROLLER_APPROVE_H
#define CONTROLLER_APPROVE_H

#include <stdbool.h>

#include "controller/store.h"

/* Writes the objects of `pack_fd` (clean.pack) and then one ref, refs/heads/<t->branch> at
 * t->commit, whose one parent must be t->base. Never a checkout, an index, a hook, a filter. May be
 * repeated: a branch that is there already at that commit is success and sets *ret_was_there; at
 * another commit it is -ERR_FAIL and nothing is written. */
int approve_branch(const struct task_row *t, int pack_fd, bool *ret_was_there, struct err *err);

#endif
