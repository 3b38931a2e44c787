/* The verbs, in the order help shows them, and how one is found, parsed and run. */
#include "controller/cli/verbs.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const struct opt cli_globals[] = {
    {.name = "state",
     .kind = OPT_TEXT,
     .offset = offsetof(struct global_opts, state),
     .arg = "DIR",
     .help =
         "state directory (default: $CREEL_STATE, $XDG_STATE_HOME/creel, ~/.local/state/creel)"},
    {.name = "version",
     .kind = OPT_FLAG,
     .offset = offsetof(struct global_opts, version),
     .help = "print the version"},
    {.name = NULL},
};

static const struct cmd *const verbs[] = {
    &cmd_init,   &cmd_key,    &cmd_host,       &cmd_run,      &cmd_agents, &cmd_ps,     &cmd_logs,
    &cmd_show,   &cmd_review, &cmd_approve,    &cmd_reject,   &cmd_cancel, &cmd_verify, &cmd_cache,
    &cmd_doctor, &cmd_forge,  &cmd_secret,     &cmd_provider, &cmd_prices, &cmd_budget, &cmd_serve,
    &cmd_help,   &cmd_broker, &cmd_forge_call, &cmd_importer, NULL,
};

static const struct cmd *find(const struct cmd *const *table, const char *name)
{
    for (; *table; table++)
        if (strcmp((*table)->name, name) == 0)
            return *table;
    return NULL;
}

const struct cmd *cmd_internal(const char *name)
{
    const struct cmd *c = find(verbs, name);

    return c && c->internal ? c : NULL;
}

/* Edit distance of two short words, by one row. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[32];
    size_t nb = strlen(b);

    if (strlen(a) >= 32 || nb >= 32)
        return 32;
    for (size_t j = 0; j <= nb; j++)
        row[j] = (unsigned)j;
    for (size_t i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];

        row[0] = (unsigned)i;
        for (size_t j = 1; j <= nb; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);

            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[nb];
}

static int unknown(const struct cmd *const *table, const char *what, const char *name,
                   struct err *err)
{
    const struct cmd *best = NULL;
    unsigned best_distance = 3;

    for (; *table; table++) {
        unsigned d = (*table)->internal ? 32 : distance(name, (*table)->name);

        if (d < best_distance) {
            best = *table;
            best_distance = d;
        }
    }
    if (best)
        return err_set(err, ERR_USAGE, "unknown command '%s%s%.40s': did you mean '%s'?", what,
                       what[0] ? " " : "", name, best->name);
    return err_set(err, ERR_USAGE, "unknown command '%s%s%.40s': see 'creel help'", what,
                   what[0] ? " " : "", name);
}

static void list(const struct cmd *const *table, struct buf *to)
{
    for (; *table; table++)
        if (!(*table)->internal)
            buf_addf(to, "  %-9s %s\n", (*table)->name, (*table)->summary);
}

static int help(const struct cmd *parent, const struct cmd *c, struct err *err)
{
    struct buf b;
    int rc;

    buf_init(&b, CLI_OUT_MAX);
    buf_addf(&b, "usage: creel %s%s%s %s\n\n%s\n", parent ? parent->name : "", parent ? " " : "",
             c->name, c->args, c->summary);
    if (c->subs) {
        buf_adds(&b, "\ncommands\n");
        list(c->subs, &b);
    }
    if (c->opts) {
        buf_adds(&b, "\noptions\n");
        opts_help(c->opts, &b);
    }
    if (c->help)
        buf_addf(&b, "\n%s", c->help);
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int run(struct cli *cli, const struct cmd *parent, const struct cmd *c, char **args,
               size_t nargs, struct err *err)
{
    static const struct opt none[] = {{.name = NULL}};
    const struct opt *table = c->opts ? c->opts : none;
    char **rest = calloc(nargs + 1, sizeof(*rest));
    void *opts = calloc(1, c->opts_size ? c->opts_size : 1);
    bool want_help = false;
    size_t nrest = 0;
    int rc;

    if (!rest || !opts)
        rc = err_set(err, ERR_FAIL, "out of memory");
    else
        rc = opts_parse(table, (int)nargs, args, opts, c->stop_at_first, rest, &nrest, &want_help,
                        err);
    if (rc == 0 && want_help)
        rc = help(parent, c, err);
    else if (rc == 0)
        rc = c->run(cli, opts, rest, nrest, err);
    else if (rc == -ERR_USAGE)
        rc = err_wrap(err, "%s%s%s", parent ? parent->name : "", parent ? " " : "", c->name);
    for (const struct opt *o = table; opts && o->name; o++)
        if (o->kind == OPT_MANY)
            strv_done((struct strv *)(void *)((char *)opts + o->offset));
    free(opts);
    free(rest);
    return rc;
}

static bool help_word(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

int cmd_dispatch(struct cli *cli, char **args, size_t nargs, struct err *err)
{
    const struct cmd *parent = NULL;
    const struct cmd *c = find(verbs, args[0]);

    if (!c || c->internal)
        return unknown(verbs, "", args[0], err);
    if (c->subs && (nargs < 2 || help_word(args[1]))) {
        int rc = help(NULL, c, err);

        return rc < 0 || nargs >= 2 ? rc : err_set(err, ERR_USAGE, "%s: say what", c->name);
    }
    if (c->subs) {
        parent = c;
        args++;
        nargs--;
        c = find(parent->subs, args[0]);
        if (!c)
            return unknown(parent->subs, parent->name, args[0], err);
    }
    return run(cli, parent, c, args, nargs, err);
}

int cmd_overview(struct err *err)
{
    struct buf b;
    int rc;

    buf_init(&b, CLI_OUT_MAX);
    buf_adds(&b,
             "usage: creel [--state DIR] COMMAND ...\n\n"
             "Runs untrusted coding agents on throwaway hosts: signs a task, sends it over SSH,\n"
             "streams its log, and brings back a patch and test result for review.\n"
             "\ncommands\n");
    list(verbs, &b);
    buf_adds(&b, "\nglobal options, before the command\n");
    opts_help(cli_globals, &b);
    buf_adds(&b,
             "\nfirst steps\n"
             "  creel init\n"
             "  creel host add box user@192.0.2.7 --fingerprint SHA256:...\n"
             "  creel run --test 'make check' -- sh -c 'make fix'\n"
             "  creel review last && creel approve last\n"
             "\nexit status\n"
             "  0 ok   1 error   2 usage   3 cancelled or timed out   4 authentication or trust\n"
             "  5 the task's command or tests failed   6 host unreachable   7 refused by policy\n"
             "  130 detached by Ctrl-C, the task goes on\n"
             "\n'creel help COMMAND' says more about one.\n");
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int help_run(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct cmd *c;

    (void)opts;
    if (nargs == 0)
        return cmd_overview(err);
    c = find(verbs, args[0]);
    if (!c || c->internal)
        return unknown(verbs, "", args[0], err);
    if (nargs == 1 || !c->subs)
        return help(NULL, c, err);
    if (!find(c->subs, args[1]))
        return unknown(c->subs, c->name, args[1], err);
    return help(c, find(c->subs, args[1]), err);
}

const struct cmd cmd_help = {
    .name = "help",
    .args = "[COMMAND]",
    .summary = "Show what a command does.",
    .run = help_run,
};
