/* creel host ls: the enrolled hosts, as the store has them. Connects to nothing. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/cli/verbs.h"

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

/* As store.h keeps lists of names: a space after each. */
static void emit_names(struct buf *b, const char *key, const char *names)
{
    emit_open(b, key, '[');
    for (size_t n; *names; names += n + 1) {
        char name[65];

        n = strcspn(names, " ");
        snprintf(name, sizeof(name), "%.*s", (int)n, names);
        emit_text(b, NULL, name);
    }
    emit_close(b, ']');
}

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
    emit_bool(b, "disk_images", h->disk_images);
    emit_text(b, "disk_images_why", h->disk_images_why);
    emit_uint(b, "landlock_abi", h->landlock_abi);
    emit_open(b, "presets", '[');
    for (int i = 0; i < PRESET_COUNT; i++)
        if (h->presets & 1u << i)
            emit_text(b, NULL, preset_names[i]);
    emit_close(b, ']');
    emit_names(b, "images", h->images);
    emit_names(b, "reach", h->reach);
    emit_names(b, "tools", h->tools);
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
