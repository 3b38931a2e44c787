/* creel cache: which dependency caches the operator's names stand for. Only the names are here; what
 * they stand for is on the hosts.
 */
#include <stdio.h>
#include <stdlib.h>

#include "controller/cli/verbs.h"

struct ls_opts {
    bool json;
};

static const struct opt ls_options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct ls_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

static void ls_json(const struct cache_row *rows, size_t n, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_open(b, "caches", '[');
    for (size_t i = 0; i < n; i++) {
        emit_open(b, NULL, '{');
        emit_text(b, "name", rows[i].name);
        emit_text(b, "host", rows[i].host);
        emit_text(b, "sha256", rows[i].digest);
        emit_text(b, "task", rows[i].task);
        emit_uint(b, "kept", rows[i].kept);
        emit_close(b, '}');
    }
    emit_close(b, ']');
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static void ls_text(const struct cache_row *rows, size_t n, struct buf *b)
{
    if (n > 0)
        buf_addf(b, "%-16s %-16s %-18s %-28s %s\n", "NAME", "HOST", "KEPT", "BY TASK", "SHA-256");
    for (size_t i = 0; i < n; i++) {
        char kept[32];

        cli_ago(rows[i].kept * 1000, kept);
        buf_addf(b, "%-16s %-16s %-18s %-28s %.12s\n", rows[i].name,
                 rows[i].host[0] ? rows[i].host : "(removed)", kept, rows[i].task, rows[i].digest);
    }
}

static int ls(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct ls_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct cache_row *rows = NULL;
    struct buf b;
    size_t n = 0;
    int rc = cli_nargs(nargs, 0, "cache ls takes options only", err);

    (void)args;
    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    rc = store_cache_list(s, &rows, &n, err);
    if (rc == 0) {
        if (o->json)
            ls_json(rows, n, &b);
        else
            ls_text(rows, n, &b);
        if (n == 0 && !o->json)
            cli_say("no cache was kept yet: creel run --cache NAME --trusted ...");
        rc = cli_out(&b, err);
    }
    buf_done(&b);
    free(rows);
    cli_close(&p, s);
    return rc;
}

struct rm_opts {
    const char *host;
};

static const struct opt rm_options[] = {
    {.name = "host",
     .kind = OPT_TEXT,
     .offset = offsetof(struct rm_opts, host),
     .arg = "NAME",
     .help = "only what it stands for on that host (default: on all)"},
    {.name = NULL},
};

static int rm(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct rm_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    int rc = cli_nargs(nargs, 1, "cache rm NAME", err);

    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_cache_remove(s, o->host, args[0], err);
    if (rc == 0)
        cli_say("cache %s is forgotten: the next task that names it starts with an empty one",
                args[0]);
    cli_close(&p, s);
    return rc;
}

static const struct cmd cmd_cache_ls = {
    .name = "ls",
    .args = "[--json]",
    .summary = "List the caches that were kept, host by host.",
    .opts = ls_options,
    .opts_size = sizeof(struct ls_opts),
    .run = ls,
};

static const struct cmd cmd_cache_rm = {
    .name = "rm",
    .args = "NAME [--host NAME]",
    .summary = "Forget what a name stands for.",
    .help =
        "No later task is given it. Its bytes stay on the host until the runner there makes room\n"
        "or the host is destroyed.\n",
    .opts = rm_options,
    .opts_size = sizeof(struct rm_opts),
    .run = rm,
};

static const struct cmd *const subs[] = {&cmd_cache_ls, &cmd_cache_rm, NULL};

const struct cmd cmd_cache = {
    .name = "cache",
    .args = "ls | rm ...",
    .summary = "Dependency caches that trusted tasks left on hosts.",
    .help =
        "A task finds its cache in ~/.cache, where package managers look, read-only below its own\n"
        "writes; what it writes dies with it. Only a task that you run with --trusted, and that\n"
        "succeeds, leaves a new one under the name. When a host says that it has a cache no more,\n"
        "'creel cache rm' lets the next trusted task begin anew.\n\n"
        "  creel run --egress npm --cache npm --trusted -- npm ci\n"
        "  creel run --cache npm -- ./agent.sh\n",
    .subs = subs,
};
