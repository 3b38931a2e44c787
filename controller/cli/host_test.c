/* creel host test: one connection, to see that a host still shows its pinned keys, and what it can do. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "controller/cli/host_facts.h"
#include "controller/cli/verbs.h"
#include "controller/probe.h"

struct test_opts {
    bool json;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct test_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

static int look(struct store *s, const struct paths *p, const struct host_row *h, struct err *err)
{
    struct host_target t = {.port = h->port};
    struct probe seen = {0};
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
    probe_done(&seen);
    return rc;
}

static void fact_text(void *arg, const char *text, const char *fix)
{
    struct buf *b = arg;

    buf_adds(b, fix ? "warn  " : "ok    ");
    cli_text(b, text);
    buf_addc(b, '\n');
    if (fix)
        buf_addf(b, "      fix: %s\n", fix);
}

static void fact_json(void *arg, const char *text, const char *fix)
{
    struct buf *b = arg;

    emit_open(b, NULL, '{');
    emit_text(b, "level", fix ? "warn" : "ok");
    emit_text(b, "detail", text);
    emit_text(b, "fix", fix ? fix : "");
    emit_close(b, '}');
}

static int tell(const struct test_opts *o, const struct host_row *h, struct err *err)
{
    struct buf b;
    int rc;

    buf_init(&b, CLI_OUT_MAX);
    if (o->json) {
        emit_open(&b, NULL, '{');
        emit_int(&b, "version", 1);
        emit_key(&b, "host");
        host_json(h, &b);
        emit_open(&b, "findings", '[');
        host_facts(h, fact_json, &b);
        emit_close(&b, ']');
        emit_close(&b, '}');
        buf_addc(&b, '\n');
    } else {
        host_facts(h, fact_text, &b);
    }
    rc = cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int test(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct host_row h;
    int rc = cli_nargs(nargs, 1, "host test NAME", err);

    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_host_get(s, args[0], &h, err);
    rc = rc < 0 ? rc : look(s, &p, &h, err);
    rc = rc < 0 ? rc : store_host_get(s, args[0], &h, err);
    rc = rc < 0 ? rc : tell(opts, &h, err);
    cli_close(&p, s);
    return rc;
}

const struct cmd cmd_host_test = {
    .name = "test",
    .args = "NAME [--json]",
    .summary = "Connect once, check the pinned keys, say what the host can do.",
    .opts = options,
    .opts_size = sizeof(struct test_opts),
    .run = test,
};
