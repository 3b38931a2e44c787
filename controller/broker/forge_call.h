/* The process that opens a pull request: `creel forge-call DIR`, started by `creel approve --pr`.
 *
 * It alone has the operator's token: the command line, which reads what agents made (paths, test output), never
 * does. It reads one struct pull_ask as JSON from its standard input, resolves the one secret that this forge
 * names, closes the broker's fences, speaks with that forge, writes one struct forge_told to its standard output
 * and ends. Of what the agent made it gets texts that it only passes on, as JSON strings. */
#ifndef CONTROLLER_BROKER_FORGE_CALL_H
#define CONTROLLER_BROKER_FORGE_CALL_H

#include "controller/broker/forge_pull.h"

struct forge_told {
    int code;                  /* enum err_code; ERR_NONE: `pull` is there */
    char message[ERR_MSG_MAX]; /* else why not */
    struct pull pull;
};
extern const struct json_shape forge_told_shape;

/* main of the process. `dir`: the broker's directory. Returns its exit status. */
int forge_call_main(const char *dir);

#endif
