/* creel-runner attach: sshd's forced command. It hands its standard input and output to serve and
 * waits; no byte of the session passes through it. */
#ifndef RUNNER_ATTACH_H
#define RUNNER_ATTACH_H

#include "proto/err.h"

/* The one thing that serve says to attach: nothing more is written, let go of the output. */
#define ATTACH_LET_GO "g"

/* Returns 0 when serve let go of the session or the session ended. */
int attach_run(const char *run_dir, struct err *err);

#endif
