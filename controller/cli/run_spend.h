/* `creel run --budget`: what a task may spend, from what was typed and what its agent speaks. */
#ifndef CONTROLLER_CLI_RUN_SPEND_H
#define CONTROLLER_CLI_RUN_SPEND_H

#include "controller/agent_profile.h"
#include "controller/cli/run_spec.h"
#include "controller/spend_plan.h"

/* Fills `spend` when the spec or the agent wants model calls; `books` is opened then (spend_books_done). */
int run_spend(const struct run_spec *s, const struct agent_profile *p, const struct paths *paths,
              struct spend_books *books, struct spend *spend, struct err *err);

#endif
