/* Every verb's row, and the global options that stand before a verb. Each row is at the end of the
 * file that implements it. */
#ifndef CONTROLLER_CLI_VERBS_H
#define CONTROLLER_CLI_VERBS_H

#include "controller/cli/cmd.h"

extern const struct cmd cmd_agents, cmd_approve, cmd_broker, cmd_budget, cmd_cache, cmd_cancel,
    cmd_doctor, cmd_forge, cmd_forge_call, cmd_help, cmd_host, cmd_importer, cmd_init, cmd_key,
    cmd_logs, cmd_prices, cmd_provider, cmd_ps, cmd_reject, cmd_review, cmd_run, cmd_secret,
    cmd_serve, cmd_show, cmd_verify;

/* "host ..." */
extern const struct cmd cmd_host_add, cmd_host_key, cmd_host_ls, cmd_host_rm, cmd_host_test;

struct global_opts {
    const char *state;
    bool version;
};
extern const struct opt cli_globals[];

#endif
