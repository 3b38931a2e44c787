/* creel host: the table of its commands. */
#include "controller/cli/verbs.h"

static const struct cmd *const subs[] = {
    &cmd_host_add, &cmd_host_ls, &cmd_host_rm, &cmd_host_key, &cmd_host_test, NULL,
};

const struct cmd cmd_host = {
    .name = "host",
    .args = "add | ls | rm | key | test ...",
    .summary = "Enrol hosts, list and remove them.",
    .help =
        "A host is one machine with a creel-runner behind its sshd. Its SSH host key and its\n"
        "runner's key are pinned when it is added; a host that shows others is not talked to.\n",
    .subs = subs,
};
