/* A verb is one file and one row: help, dispatch and completion read the same descriptor. */
#ifndef CONTROLLER_CLI_CMD_H
#define CONTROLLER_CLI_CMD_H

#include "common/opts.h"
#include "controller/paths.h"
#include "controller/store.h"

/* What every verb gets; global options are parsed already. */
struct cli {
    const char *state; /* --state DIR or NULL */
    const char *self;  /* path of our own executable */
    bool color;        /* stdout is a terminal and NO_COLOR is unset */
    bool tty_in, tty_out, tty_err;
};

struct cmd {
    const char *name;
    const char *args;    /* "[-f] ID" */
    const char *summary; /* one line */
    const char *help;    /* the rest of --help; examples */
    const struct opt *opts;
    size_t opts_size;    /* sizeof the options struct */
    bool internal;       /* not shown in help */
    bool stop_at_first;  /* options end at the first positional */
    int (*run)(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err);
};

/* Opens state directory and store for a verb that needs both. */
int cli_open(struct cli *cli, struct paths *paths, struct store **store, struct err *err);

#endif
