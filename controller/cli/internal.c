/* Verbs that creel starts for itself, each a process of its own with its own confinement. They get the
 * process as it started; args[0] is the verb.
 */
#include <stdio.h>

#include "controller/broker.h"
#include "controller/broker/forge_call.h"
#include "controller/cli/verbs.h"
#include "controller/importer.h"

static int broker(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    (void)cli;
    (void)opts;
    (void)err;
    return nargs == 3 ? -broker_main(args[1], args[2]) : -ERR_USAGE;
}

const struct cmd cmd_broker = {
    .name = "broker",
    .args = "KEY DIR",
    .summary = "Hold the signing key; started by the engine.",
    .internal = true,
    .run = broker,
};

static int forge_call(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    (void)cli;
    (void)opts;
    (void)err;
    return nargs == 2 ? -forge_call_main(args[1]) : -ERR_USAGE;
}

const struct cmd cmd_forge_call = {
    .name = "forge-call",
    .args = "DIR",
    .summary = "Open a pull request, confined; started by approve.",
    .internal = true,
    .run = forge_call,
};

static int importer(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    (void)cli;
    (void)opts;
    (void)err;
    return -importer_main((int)nargs, args);
}

const struct cmd cmd_importer = {
    .name = "importer",
    .args = "TASKDIR BASE ROOT COMMIT ...",
    .summary = "Parse what came back, confined; started by the engine.",
    .internal = true,
    .run = importer,
};
