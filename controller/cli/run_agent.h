/* `creel run --agent`: from a profile and a prompt to what the task is made of. */
#ifndef CONTROLLER_CLI_RUN_AGENT_H
#define CONTROLLER_CLI_RUN_AGENT_H

#include "controller/agent_profile.h"
#include "controller/cli/run_spec.h"

/* The profile that the spec names: one of the program's own, or a file (its name has a '/' or ends in
 * ".json"). Nothing is loaded for a spec without an agent. */
int run_agent_load(const struct run_spec *s, struct agent_profile *out, struct err *err);
/* The model that the task will ask for: the spec's, else the profile's; "" when neither names one. */
const char *run_agent_model(const struct run_spec *s, const struct agent_profile *p);
/* Fills the row's agent, events, tool, command, env and files. */
int run_agent_fill(const struct run_spec *s, const struct agent_profile *p, struct task_row *row,
                   struct err *err);
/* Variables that lead git in the jail to what the policy's `repo` allows. */
int run_repo_env(const struct repo_access *repo, struct strv *env, struct err *err);

#endif
