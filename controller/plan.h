/* What a person is shown before anything is signed: the task as it will be, and what the chosen host
 * cannot do about it. Text only; the same facts are in the envelope later. */
#ifndef CONTROLLER_PLAN_H
#define CONTROLLER_PLAN_H

#include "controller/source.h"
#include "controller/spend_plan.h"
#include "controller/store.h"

struct plan {
    const struct source *source;
    const struct host_row *hosts; /* one, or those that the engine may choose among */
    size_t nhosts;                /* not 0 */
    const struct task_row *task;
    const struct spend_books *books; /* when the task may spend anything; else NULL or empty */
};

/* Appends the plan, one fact a line. Foreign text (names, subjects, commands) comes out neutral. */
void plan_text(const struct plan *p, struct buf *to);
/* Can this host run a task of that policy, as far as its runner told: limits, image, presets? */
bool plan_host_fits(const struct host_row *h, const struct policy *p);
/* Limits that no host of the plan can enforce and that the policy does not let go. 0: fine. Else
 * -ERR_REFUSED naming them and the flag. What else a host must have (images, presets) is only a note in
 * the text: its runner decides. */
int plan_check(const struct plan *p, struct err *err);
/* Appends argv as a person would type it: words quoted where a shell would want it, one line. */
void plan_words(const struct strv *words, struct buf *to);

#endif
