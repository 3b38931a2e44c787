/* creel host ls, rm, key, test: hosts as the store has them; only `test` connects. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "common/clock.h"
#include "controller/cli/key_print.h"
#include "controller/cli/verbs.h"
#include "controller/probe.h"

struct json_opts {
    bool json;
};

static const struct opt json_options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct json_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

void host_json(const struct host_row *h, struct buf *b)
{
    char fpr[KEY_FPR_SIZE] = "";

    if (h->runner_key_known)
        key_fingerprint(h->runner_key, fpr);
    emit_open(b, NULL, '{');
    emit_text(b, "name", h->name);
    emit_text(b, "user", h->user);
    emit_text(b, "address", h->addr);
    emit_uint(b, "port", h->port);
    emit_text(b, "host_key", h->host_key_fpr);
    emit_text(b, "runner_key", fpr);
    emit_text(b, "program", h->program);
    emit_text(b, "kernel", h->kernel);
    emit_uint(b, "slots", h->slots);
    emit_bool(b, "rooted", h->rooted);
    emit_bool(b, "memory_cleared", h->memory_cleared);
    emit_limit_names(b, "unenforceable", h->unenforceable);
    emit_text(b, "unenforceable_why", h->unenforceable_why);
    emit_uint(b, "added", h->added);
    emit_uint(b, "last_seen", h->last_seen);
    emit_close(b, '}');
}

static void ls_json(const struct host_row *rows, size_t n, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_open(b, "hosts", '[');
    for (size_t i = 0; i < n; i++) {
        emit_key(b, NULL);
        host_json(&rows[i], b);
    }
    emit_close(b, ']');
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static void ls_text(const struct host_row *rows, size_t n, struct buf *b)
{
    if (n > 0)
        buf_addf(b, "%-16s %-32s %-18s %s\n", "NAME", "ADDRESS", "LAST SEEN", "NOT ENFORCED THERE");
    for (size_t i = 0; i < n; i++) {
        char addr[400], seen[32];

        snprintf(addr, sizeof(addr), "%s@%s:%u", rows[i].user, rows[i].addr, rows[i].port);
        cli_ago(rows[i].last_seen * 1000, seen);
        buf_addf(b, "%-16s %-32s %-18s ", rows[i].name, addr, seen);
        limit_list(rows[i].unenforceable, b);
        buf_adds(b, rows[i].unenforceable ? "\n" : "-\n");
    }
}

static int ls(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct json_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row *rows = NULL;
    struct buf b;
    size_t n = 0;
    int rc = cli_nargs(nargs, 0, "host ls takes options only", err);

    (void)args;
    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    rc = store_host_list(s, &rows, &n, err);
    if (rc == 0) {
        if (o->json)
            ls_json(rows, n, &b);
        else
            ls_text(rows, n, &b);
        if (n == 0 && !o->json)
            cli_say("no host is enrolled: creel host add NAME USER@ADDRESS ...");
        rc = cli_out(&b, err);
    }
    buf_done(&b);
    free(rows);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_ls = {
    .name = "ls",
    .args = "[--json]",
    .summary = "List the enrolled hosts.",
    .opts = json_options,
    .opts_size = sizeof(struct json_opts),
    .run = ls,
};

struct rm_opts {
    bool force;
};

static const struct opt rm_options[] = {
    {.name = "force",
     .kind = OPT_FLAG,
     .offset = offsetof(struct rm_opts, force),
     .help = "the machine is destroyed for sure: forget it although tasks are not wiped there"},
    {.name = NULL},
};

static int tasks_there(struct store *s, const char *name, struct err *err)
{
    struct task_row *rows = NULL;
    size_t n = 0;
    int rc = store_task_list(s, true, &rows, &n, err);

    for (size_t i = 0; rc == 0 && i < n; i++) {
        bool final = task_state_final((enum task_state)rows[i].state);
        const char *host =
            rows[i].attempt_n && rows[i].state != TASK_QUEUED ? rows[i].attempt_host : rows[i].host;

        if (strcmp(host, name) == 0)
            rc = err_set(err, ERR_REFUSED, "task %s is %s%s on %s: %s", rows[i].id,
                         task_state_names[rows[i].state], final ? " but not yet wiped" : "", name,
                         final ? "wait, or --force when the machine is gone"
                               : "cancel it or wait for its end");
    }
    task_rows_free(rows, n);
    return rc;
}

static int rm(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct rm_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h;
    int rc = cli_nargs(nargs, 1, "host rm NAME", err);

    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_host_get(s, args[0], &h, err);
    rc = rc < 0 || o->force ? rc : tasks_there(s, args[0], err);
    rc = rc < 0 ? rc : store_host_remove(s, args[0], err);
    if (rc == 0)
        cli_say("host %s is forgotten; the machine itself was not touched", args[0]);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_rm = {
    .name = "rm",
    .args = "NAME [--force]",
    .summary = "Forget a host and its pinned keys.",
    .opts = rm_options,
    .opts_size = sizeof(struct rm_opts),
    .run = rm,
};

struct form_opts {
    bool pem, ssh, json;
};

static const struct opt form_options[] = {
    {.name = "pem",
     .kind = OPT_FLAG,
     .offset = offsetof(struct form_opts, pem),
     .help = "as PEM SubjectPublicKeyInfo, for openssl"},
    {.name = "ssh",
     .kind = OPT_FLAG,
     .offset = offsetof(struct form_opts, ssh),
     .help = "as an ssh-ed25519 line"},
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct form_opts, json),
     .help = "as JSON"},
    {.name = NULL},
};

static int key(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct form_opts *o = opts;
    struct key_form form = {.pem = o->pem, .ssh = o->ssh, .json = o->json};
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h;
    int rc = cli_nargs(nargs, 1, "host key NAME", err);

    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_host_get(s, args[0], &h, err);
    if (rc == 0 && !h.runner_key_known)
        rc = err_set(err, ERR_FAIL, "host %s has no pinned runner key", h.name);
    rc = rc < 0 ? rc : key_print(h.runner_key, h.name, &form, err);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_key = {
    .name = "key",
    .args = "NAME [--pem | --ssh | --json]",
    .summary = "Print the key that signs results on a host.",
    .opts = form_options,
    .opts_size = sizeof(struct form_opts),
    .run = key,
};

static int look(struct store *s, const struct paths *p, const struct host_row *h, struct err *err)
{
    struct host_target t = {.port = h->port};
    struct probe seen;
    uint64_t began = clock_mono_us();
    int rc;

    snprintf(t.name, sizeof(t.name), "%s", h->name);
    snprintf(t.user, sizeof(t.user), "%s", h->user);
    snprintf(t.addr, sizeof(t.addr), "%s", h->addr);
    memcpy(t.host_key_fpr, h->host_key_fpr, sizeof(t.host_key_fpr));
    rc = paths_ssh_key(p, t.ssh_key, err);
    rc = rc < 0 ? rc : probe_host(&t, &seen, err);
    rc = rc < 0 ? rc : store_host_seen(s, h->name, &seen.welcome, false, err);
    if (rc == 0)
        cli_say("host %s answers: %s, %u ms, %u attempt%s of ours there", h->name,
                seen.welcome.program, (unsigned)((clock_mono_us() - began) / 1000), seen.attempts,
                seen.attempts == 1 ? "" : "s");
    return rc;
}

static int test(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h;
    int rc = cli_nargs(nargs, 1, "host test NAME", err);

    (void)opts;
    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_host_get(s, args[0], &h, err);
    rc = rc < 0 ? rc : look(s, &p, &h, err);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_test = {
    .name = "test",
    .args = "NAME",
    .summary = "Connect once and check the pinned keys.",
    .run = test,
};
