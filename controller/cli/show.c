/* creel show: everything known about one task, or one of its documents exactly as it was signed. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/file.h"
#include "controller/cli/egress_view.h"
#include "controller/cli/report.h"
#include "controller/cli/spend_view.h"
#include "controller/cli/verbs.h"
#include "controller/keys.h"
#include "controller/plan.h"
#include "controller/pull_request.h"

struct show_opts {
    bool json, egress, spend, envelope, sshsig, payload, result, receipt;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, json),
     .help = "as one JSON object"},
    {.name = "egress",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, egress),
     .help = "what it reached for: names, verdicts, bytes, and what would allow each denied one"},
    {.name = "spend",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, spend),
     .help = "its calls to the model provider: tokens, prices, how each ended, and the sums"},
    {.name = "envelope",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, envelope),
     .help = "the signed task, byte for byte"},
    {.name = "sshsig",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, sshsig),
     .help = "the same payload's signature for ssh-keygen -Y verify -n task@creel"},
    {.name = "payload",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, payload),
     .help = "the envelope's payload: the bytes that --sshsig signs"},
    {.name = "result",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, result),
     .help = "the signed result, byte for byte"},
    {.name = "receipt",
     .kind = OPT_FLAG,
     .offset = offsetof(struct show_opts, receipt),
     .help = "the signed receipt of the wipe, byte for byte"},
    {.name = NULL},
};

static int sshsig(const struct paths *p, const char *id, struct buf *b, struct err *err)
{
    int rc, dirfd = paths_task_dir(p, id, false, err);

    if (dirfd < 0)
        return dirfd;
    rc = file_read(dirfd, "envelope.sshsig", b, err);
    fd_close(&dirfd);
    return rc < 0 ? err_set(err, ERR_USAGE, "task %s has no signature: it was not signed yet", id)
                  : 0;
}

static int payload(const struct paths *p, const char *id, struct buf *b, struct err *err)
{
    struct dsse d = {0};
    struct buf text;
    int rc;

    buf_init(&text, DSSE_BYTES_MAX);
    rc = document_read(p, id, DOCUMENT_ENVELOPE, &text, err);
    if (rc == 0) {
        rc = dsse_parse(text.data, text.len, &d, err);
        if (rc == 0)
            buf_add(b, d.body.data, d.body.len);
        dsse_done(&d);
    }
    buf_done(&text);
    return rc;
}

static void row(struct buf *b, const char *name, const char *text)
{
    if (!text[0])
        return;
    buf_addf(b, "  %-9s ", name);
    cli_text(b, text);
    buf_addc(b, '\n');
}

static void spend_text(const struct spend *s, struct buf *b)
{
    if (!spend_any(s))
        return;
    buf_adds(b, "  budget    ");
    usd_format(s->usd_micros, b);
    buf_addf(b, " at %s, %llu calls", s->provider, (unsigned long long)s->calls);
    for (size_t i = 0; i < s->models.n; i++) {
        buf_adds(b, i ? ", " : " to ");
        cli_text(b, s->models.v[i]);
    }
    buf_addc(b, '\n');
}

static void asked_text(const struct task_row *t, struct buf *b)
{
    struct buf words;
    char when[32];

    buf_init(&words, JSON_BYTES_MAX);
    plan_words(&t->command, &words);
    cli_ago(t->created_ms, when);
    row(b, "title", t->title);
    row(b, "created", when);
    row(b, "repo", t->repo);
    row(b, "base", t->base);
    row(b, "branch", t->branch);
    for (size_t i = 0; i < t->setup.n; i++)
        row(b, "setup", t->setup.v[i]);
    row(b, "agent", t->agent);
    row(b, "command", buf_str(&words));
    for (size_t i = 0; i < t->env.n; i++)
        row(b, "env", t->env.v[i]);
    for (size_t i = 0; i < t->files.n; i++)
        row(b, "file", ((const struct task_file *)t->files.items)[i].path);
    for (size_t i = 0; i < t->tests.n; i++)
        row(b, "test", t->tests.v[i]);
    buf_adds(b, "  limits    ");
    for (int i = 0; i < LIMIT_COUNT; i++) {
        buf_addf(b, "%s%s ", i ? ", " : "", limit_names[i]);
        limit_format((enum limit)i, t->policy.limits[i], b);
    }
    buf_addc(b, '\n');
    for (size_t i = 0; i < t->policy.egress.n; i++)
        row(b, "network", t->policy.egress.v[i]);
    row(b, "image", t->policy.image);
    spend_text(&t->policy.spend, b);
    row(b, "remote", t->policy.repo.url);
    if (t->policy.nested_userns)
        row(b, "", "it may make user namespaces");
    if (t->cache[0])
        buf_addf(b, "  cache     %s %.12s%s\n", t->cache,
                 t->policy.cache[0] ? t->policy.cache : "(empty)",
                 t->policy.cache_keep ? ", trusted" : "");
    if (t->attempt_n)
        buf_addf(b, "  attempt   %u on %s, fence %llu\n", t->attempt_n, t->attempt_host,
                 (unsigned long long)t->fence);
    buf_done(&words);
}

static void pull_text_row(const struct paths *p, const struct task_row *t, struct buf *b)
{
    struct pull pull;

    if (pull_request_load(p, t->id, &pull))
        row(b, "pull", pull.url);
}

static void pull_json(const struct paths *p, const struct task_row *t, struct buf *b)
{
    struct pull pull;

    if (!pull_request_load(p, t->id, &pull))
        return;
    emit_open(b, "pull_request", '{');
    emit_text(b, "url", pull.url);
    emit_uint(b, "number", pull.number);
    emit_close(b, '}');
}

static int about(const struct show_opts *o, const struct paths *p, struct store *s,
                 const struct task_row *t, struct buf *b, struct err *err)
{
    struct report report;
    char dir[PATH_MAX];
    int rc = paths_task(p, t->id, "", dir, err);

    if (rc < 0)
        return rc;
    report_load(p, s, t, &report);
    if (o->json) {
        emit_open(b, NULL, '{');
        emit_int(b, "version", 1);
        emit_open(b, "task", '{');
        report_row_json(t, b);
        report_result_json(&report, b);
        pull_json(p, t, b);
        emit_text(b, "directory", dir);
        emit_close(b, '}');
        emit_close(b, '}');
        buf_addc(b, '\n');
    } else {
        report_text(&report, b);
        asked_text(t, b);
        pull_text_row(p, t, b);
        row(b, "files", dir);
    }
    report_done(&report);
    return 0;
}

/* What the runner signed of the gate, or why that cannot be shown. */
static int egress(const struct show_opts *o, const struct paths *p, struct store *s,
                  const struct task_row *t, struct buf *b, struct err *err)
{
    struct report report;
    int rc = 0;

    report_load(p, s, t, &report);
    if (!report.have_result) {
        rc = report.problem[0] ? err_set(err, ERR_TRUST, "%s", report.problem)
                               : err_set(err, ERR_USAGE, "task %s has no result yet: it is %s",
                                         t->id, task_state_names[t->state]);
    } else if (o->json) {
        emit_open(b, NULL, '{');
        emit_int(b, "version", 1);
        emit_text(b, "id", t->id);
        egress_json(&report.result.u.result, b);
        emit_close(b, '}');
        buf_addc(b, '\n');
    } else {
        egress_table(&report.result.u.result, b);
    }
    report_done(&report);
    return rc;
}

static int print(void *opts, const struct paths *p, struct store *s, const struct task_row *t,
                 struct err *err)
{
    const struct show_opts *o = opts;
    struct buf b;
    int rc;

    buf_init(&b, CLI_OUT_MAX);
    if (o->envelope)
        rc = document_read(p, t->id, DOCUMENT_ENVELOPE, &b, err);
    else if (o->result)
        rc = document_read(p, t->id, DOCUMENT_RESULT, &b, err);
    else if (o->receipt)
        rc = document_read(p, t->id, DOCUMENT_RECEIPT, &b, err);
    else if (o->sshsig)
        rc = sshsig(p, t->id, &b, err);
    else if (o->payload)
        rc = payload(p, t->id, &b, err);
    else if (o->egress)
        rc = egress(o, p, s, t, &b, err);
    else if (o->spend)
        rc = spend_show(p, t, o->json, &b, err);
    else
        rc = about(o, p, s, t, &b, err);
    rc = rc < 0 ? rc : cli_out(&b, err);
    buf_done(&b);
    return rc;
}

static int show(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct show_opts *o = opts;

    if ((o->json || o->egress || o->spend) + (o->egress && o->spend) + o->envelope + o->sshsig +
            o->payload + o->result + o->receipt >
        1)
        return err_set(err, ERR_USAGE, "show one thing at a time");
    return cli_with_task(cli, args, nargs, "show ID", print, opts, err);
}

const struct cmd cmd_show = {
    .name = "show",
    .args = "ID [--json] [--egress | --spend | --envelope | --sshsig | --payload | --result | "
            "--receipt]",
    .summary = "Show a task, what it reached for or spent, or its signed documents.",
    .help = "A document is checked by anybody, without creel:\n\n"
            "  creel key show --ssh | sed 's/^/me /' > signers\n"
            "  creel show ID --sshsig > task.sig\n"
            "  creel show ID --payload | ssh-keygen -Y verify -f signers -I me -n task@creel "
            "-s task.sig\n",
    .opts = options,
    .opts_size = sizeof(struct show_opts),
    .run = show,
};
