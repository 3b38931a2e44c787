/* creel: the command line. Global options, then one verb (cli/verbs.c); the only place that prints an
 * error. Internal verbs get the process as it started and set themselves up.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/secret.h"
#include "config.h"
#include "controller/cli/verbs.h"

static bool wants_color(bool tty)
{
    const char *no = getenv("NO_COLOR");

    return tty && !(no && no[0]);
}

static int version(struct err *err)
{
    struct buf b;
    int rc;

    buf_init(&b, 256);
    buf_adds(&b, "creel " CREEL_VERSION "\n");
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int creel(struct cli *cli, char **rest, struct err *err)
{
    struct global_opts opts = {0};
    bool help = false;
    size_t n = 0;
    int rc = opts_parse(cli_globals, cli->argc, cli->argv, &opts, true, rest, &n, &help, err);

    if (rc < 0)
        return rc;
    cli->state = opts.state;
    if (opts.version)
        return version(err);
    if (help)
        return cmd_overview(err);
    if (n == 0)
        return err_set(err, ERR_USAGE, "no command: see 'creel help'");
    return cmd_dispatch(cli, rest, n, err);
}

int main(int argc, char **argv)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    struct cli cli = {.argc = argc, .argv = argv, .self = self};
    const struct cmd *internal = argc > 1 ? cmd_internal(argv[1]) : NULL;
    char **rest;
    struct err err = ERR_INIT;
    int rc = 0;

    if (internal)
        return -internal->run(&cli, NULL, argv + 1, (size_t)argc - 1, &err);
    rest = calloc((size_t)argc + 1, sizeof(*rest));
    self[n > 0 ? n : 0] = 0;
    umask(077);
    diag_init("creel", DIAG_INFO);
    cli.tty_in = isatty(0);
    cli.tty_out = isatty(1);
    cli.tty_err = isatty(2);
    cli.color = wants_color(cli.tty_out);
    rc = rest ? process_harden(&err) : err_set(&err, ERR_FAIL, "out of memory");
    if (rc == 0)
        rc = creel(&cli, rest, &err);
    free(rest);
    if (rc < 0 && err.msg[0])
        cli_say("creel: %s", err.msg);
    return cli.status ? cli.status : rc < 0 ? err_exit(&err) : 0;
}
