/* The environment of what runs in a jail: an allow-list of our own, the attempt's identity, and what the
 * signed task adds. Nothing of the runner's own environment is in it. */
#ifndef RUNNER_JOB_ENV_H
#define RUNNER_JOB_ENV_H

#include <stdbool.h>

#include "runner/cell_order.h"

#define JOB_TOKEN_DIGITS (2 * TASK_TOKEN_BYTES)
#define JOB_ENV_MAX      32 /* of our own */

/* Where the host's operator's tools stand in every jail of a runner that has some (tools.h). */
#define JOB_TOOLS_PATH "/opt/creel/tools"

struct job_env {
    char id[sizeof "CREEL_TASK_ID=" + ID_SIZE];
    char token[sizeof "CREEL_TASK_TOKEN=" + JOB_TOKEN_DIGITS];
    char *vars[JOB_ENV_MAX + TASK_ENV_MAX + 1];
    char *own; /* owned: the task's variables, the token in them */
    size_t own_bytes;
};

/* With `job` it is setup's and the command's: with the task's token and the task's own variables, which
 * win over ours of the same name (only CREEL_ and LD_ names are out of its reach: task_check). Tests get
 * neither: they judge the work, and what they print is kept. */
int job_env_make(const struct cell_order *o, bool job, struct job_env *out, struct err *err);
/* Wipes the token in it. */
void job_env_done(struct job_env *env);

/* The token's hex digits, with a NUL. */
void job_token(const struct cell_order *o, char out[static JOB_TOKEN_DIGITS + 1]);

#endif
