/* What the importer left about a task, read back: bounded and strict, as it was made from hostile
 * bytes by a process that read them. */
#ifndef CONTROLLER_REVIEW_H
#define CONTROLLER_REVIEW_H

#include "controller/importer.h"
#include "controller/paths.h"
#include "controller/store.h"

/* -ERR_USAGE in words when there is nothing to review (yet). review_done() frees. */
int review_load(const struct paths *p, const struct task_row *t, struct review_record *out,
                struct err *err);
void review_done(struct review_record *r);
/* Opens a file of the task's directory for reading: a descriptor or -code. */
int review_open(const struct paths *p, const struct task_row *t, const char *name, struct err *err);

#endif
