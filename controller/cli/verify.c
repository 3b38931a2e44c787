/* creel verify: one signed document, checked offline against the keys we know: which type, who signed
 * it, and what it attests. Trusts nothing in the document before its signature held.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/sha256.h"
#include "controller/cli/egress_view.h"
#include "controller/cli/report.h"
#include "controller/cli/verbs.h"
#include "controller/keys.h"
#include "controller/log_sink.h"
#include "controller/logfile.h"
#include "controller/plan.h"

struct verify_opts {
    const char *key, *log;
    bool json;
};

static const struct opt options[] = {
    {.name = "key",
     .kind = OPT_TEXT,
     .offset = offsetof(struct verify_opts, key),
     .arg = "FILE",
     .help = "the only key to believe: an ssh-ed25519 line, instead of the keys we know"},
    {.name = "log",
     .kind = OPT_TEXT,
     .offset = offsetof(struct verify_opts, log),
     .arg = "FILE",
     .help = "with a result: this log (tasks/ID/log) must be the one it attests"},
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct verify_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

/* Whose key may sign what: the controller envelopes, a runner results and receipts. */
enum signer { SIGNER_CONTROLLER, SIGNER_RUNNER, SIGNER_GIVEN };

struct signer_info {
    char name[HOST_NAME_SIZE];
    enum signer signer;
};

struct keyring {
    uint8_t (*keys)[KEY_PUB_BYTES]; /* owned, as is `who`; n of each */
    struct signer_info *who;
    size_t n;
};

static void keyring_done(struct keyring *k)
{
    free(k->keys);
    free(k->who);
}

/* Room for `n` keys in all. */
static int keyring_init(struct keyring *k, size_t n, struct err *err)
{
    k->keys = calloc(n, sizeof(*k->keys));
    k->who = calloc(n, sizeof(*k->who));
    if (k->keys && k->who)
        return 0;
    err_set(err, ERR_FAIL, "out of memory");
    return -ERR_FAIL;
}

static void keyring_add(struct keyring *k, const uint8_t pub[static KEY_PUB_BYTES],
                        enum signer signer, const char *name)
{
    memcpy(k->keys[k->n], pub, KEY_PUB_BYTES);
    snprintf(k->who[k->n].name, HOST_NAME_SIZE, "%s", name);
    k->who[k->n++].signer = signer;
}

static int keyring_file(struct keyring *k, const char *file, struct err *err)
{
    uint8_t pub[KEY_PUB_BYTES];
    struct buf line;
    int rc;

    buf_init(&line, KEY_LINE_MAX);
    rc = cli_read(file, &line, err);
    if (rc == 0 && key_pub_parse(buf_str(&line), pub, err) < 0)
        rc = err_set(err, ERR_USAGE, "--key %s does not hold one ssh-ed25519 line", file);
    rc = rc < 0 ? rc : keyring_init(k, 1, err);
    if (rc == 0)
        keyring_add(k, pub, SIGNER_GIVEN, "the given key");
    buf_done(&line);
    return rc;
}

static int keyring_known(struct keyring *k, struct cli *cli, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct runner_key_row *rows = NULL;
    uint8_t pub[KEY_PUB_BYTES];
    size_t n = 0;
    int rc = cli_open(cli, &p, &s, err);

    if (rc < 0) {
        err_wrap(err, "no --key given, and");
        return rc;
    }
    rc = own_key_pub(&p, OWN_KEY_SIGNING, pub, err);
    rc = rc < 0 ? rc : store_runner_keys(s, &rows, &n, err);
    rc = rc < 0 ? rc : keyring_init(k, n + 1, err);
    if (rc == 0)
        keyring_add(k, pub, SIGNER_CONTROLLER, "this controller");
    for (size_t i = 0; rc == 0 && i < n; i++)
        keyring_add(k, rows[i].key, SIGNER_RUNNER, rows[i].host);
    free(rows);
    cli_close(&p, s);
    return rc;
}

static int role_check(const struct document *d, const struct keyring *k, struct err *err)
{
    enum signer signer = k->who[d->key].signer;
    enum signer due = d->kind == DOCUMENT_ENVELOPE ? SIGNER_CONTROLLER : SIGNER_RUNNER;

    if (signer == SIGNER_GIVEN || signer == due)
        return 0;
    return err_set(err, ERR_TRUST, "it is %s %s, but %s may not sign those",
                   d->kind == DOCUMENT_ENVELOPE ? "an" : "a", document_names[d->kind],
                   k->who[d->key].name);
}

/* What is known of the log given with --log. */
struct log_facts {
    bool redacted;
    uint64_t places;
};

/* Beside a log that was redacted when it was stored lies what its digests were, before and after. */
static int redacted_check(const struct result *r, const char *file, uint64_t bytes,
                          const uint8_t chain[static SHA256_BYTES], struct log_facts *ret,
                          struct err *err)
{
    struct log_record record;
    struct err bad = ERR_INIT;
    char name[PATH_MAX];
    int n = snprintf(name, sizeof(name), "%s.json", file);
    int found = n < (int)sizeof(name) ? log_record_load(AT_FDCWD, name, &record, &bad) : 0;

    if (found == 1 && record.complete && record.raw == r->log_bytes &&
        memcmp(record.chain, r->log_chain, SHA256_BYTES) == 0) {
        if (record.stored != bytes || memcmp(record.stored_chain, chain, SHA256_BYTES) != 0)
            return err_set(err, ERR_TRUST, "%s was changed after it was stored", file);
        *ret = (struct log_facts){.redacted = true, .places = record.places};
        return 0;
    }
    return err_set(err, ERR_TRUST, "%s is not the log that the result attests", file);
}

static int log_check(const struct document *d, const char *file, struct log_facts *ret,
                     struct err *err)
{
    const struct result *r = &d->u.result;
    uint8_t chain[SHA256_BYTES];
    struct logfile *l = NULL;
    int rc;

    if (d->kind != DOCUMENT_RESULT)
        return err_set(err, ERR_USAGE, "--log goes with a result, this is the %s",
                       document_names[d->kind]);
    rc = logfile_open_file(file, &l, err);
    if (rc == 0 && logfile_digest(l, chain, err) < 0)
        rc = err_set(err, ERR_TRUST, "%s is not the log that the result attests: it is no log",
                     file);
    if (rc == 0 && (logfile_offset(l) != r->log_bytes || memcmp(chain, r->log_chain, 32) != 0))
        rc = redacted_check(r, file, logfile_offset(l), chain, ret, err);
    logfile_close(l);
    return rc;
}

/* ---- what it attests ---- */

static void fact(struct buf *b, const char *name, const char *text)
{
    buf_addf(b, "  %-12s ", name);
    cli_text(b, text);
    buf_addc(b, '\n');
}

static void fact_hex(struct buf *b, const char *name, const uint8_t *digest)
{
    char hex[65];

    sha256_hex(digest, hex);
    fact(b, name, hex);
}

static void fact_time(struct buf *b, const char *name, uint64_t t)
{
    time_t at = (time_t)t;
    char text[64] = "?";
    struct tm tm;

    if (gmtime_r(&at, &tm))
        strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm);
    fact(b, name, text);
}

/* What it may reach and do beyond the least: signed by the controller, echoed by the runner. */
static void policy_facts(const struct policy *p, struct buf *b)
{
    for (size_t i = 0; i < p->egress.n; i++)
        fact(b, "may reach", p->egress.v[i]);
    if (p->image[0])
        fact(b, "image", p->image);
    if (p->cache[0])
        fact(b, "cache", p->cache);
    if (p->cache_keep)
        fact(b, "trusted", "what it leaves in its cache is kept");
    if (p->nested_userns)
        fact(b, "namespaces", "it may make user namespaces");
}

static void task_facts(const struct task *t, struct buf *b)
{
    uint64_t now = clock_wall_s();
    struct buf words;

    buf_init(&words, JSON_BYTES_MAX);
    plan_words(&t->command, &words);
    fact(b, "attempt", t->attempt);
    fact(b, "for host", t->aud_host);
    fact(b, "host key", t->aud_host_key);
    fact_time(b, "valid from", t->nbf);
    fact_time(b, now >= t->exp ? "expired" : "until", t->exp);
    fact(b, "base", t->base);
    fact_hex(b, "source pack", t->pack_sha256);
    fact(b, "command", buf_str(&words));
    for (size_t i = 0; i < t->tests.n; i++)
        fact(b, "test", t->tests.v[i]);
    policy_facts(&t->policy, b);
    buf_done(&words);
}

static void result_facts(const struct result *r, struct buf *b)
{
    fact(b, "attempt", r->attempt);
    fact(b, "outcome", outcome_names[r->outcome]);
    if (r->reason[0])
        fact(b, "reason", r->reason);
    fact_time(b, "started", r->started);
    fact_time(b, "finished", r->finished);
    fact_hex(b, "envelope", r->envelope_sha256);
    fact(b, "base", r->base);
    if (r->commit[0])
        fact_hex(b, "patch pack", r->patch_sha256);
    else
        fact(b, "patch", "none");
    fact_hex(b, "log chain", r->log_chain);
    if (r->unenforced) {
        buf_adds(b, "  not enforced ");
        limit_list(r->unenforced, b);
        buf_addc(b, '\n');
    }
    policy_facts(&r->policy, b);
    if (r->cache[0])
        fact(b, "kept cache", r->cache);
    report_steps(r, b);
    if (r->egress.n > 0 || r->hits.n > 0) {
        buf_adds(b, "what it reached for, and limits it met:\n");
        egress_table(r, b);
    }
}

static void receipt_facts(const struct receipt *r, struct buf *b)
{
    const struct receipt_item *items = r->items.items;

    fact(b, "attempt", r->attempt);
    fact_time(b, "wiped", r->wiped);
    fact_hex(b, "result", r->result_sha256);
    for (size_t i = 0; i < r->items.n; i++) {
        buf_addf(b, "  %s ", items[i].gone ? "gone" : "LEFT");
        cli_text(b, items[i].what);
        buf_adds(b, ": ");
        cli_text(b, items[i].how);
        buf_addc(b, '\n');
    }
    if (r->note[0])
        fact(b, "note", r->note);
}

static void attest_text(const struct document *d, const struct keyring *k,
                        const struct verify_opts *o, const struct log_facts *log, struct buf *b)
{
    char fpr[KEY_FPR_SIZE];

    key_fingerprint(k->keys[d->key], fpr);
    buf_addf(b, "good signature: %s of task %s\n", document_names[d->kind], document_task(d));
    buf_addf(b, "  %-12s %s (%s)\n", "signed by", fpr, k->who[d->key].name);
    switch (d->kind) {
    case DOCUMENT_ENVELOPE:
        task_facts(&d->u.task, b);
        break;
    case DOCUMENT_RESULT:
        result_facts(&d->u.result, b);
        break;
    case DOCUMENT_RECEIPT:
        receipt_facts(&d->u.receipt, b);
        break;
    case DOCUMENT_KIND_COUNT:
        break;
    }
    if (o->log && !log->redacted)
        buf_adds(b, "  the log is the one that the result attests\n");
    else if (o->log)
        buf_addf(b,
                 "  the log was checked against the result when it came; %llu place%s redacted\n"
                 "  since, and it is as it was stored then\n",
                 (unsigned long long)log->places, log->places == 1 ? " was" : "s were");
}

static void attest_json(const struct document *d, const struct keyring *k,
                        const struct verify_opts *o, const struct log_facts *log, struct buf *b)
{
    char fpr[KEY_FPR_SIZE];

    key_fingerprint(k->keys[d->key], fpr);
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_text(b, "document", document_names[d->kind]);
    emit_text(b, "task", document_task(d));
    emit_text(b, "signed_by", fpr);
    emit_text(b, "signer", k->who[d->key].name);
    emit_text(b, "payload_type", d->dsse.type);
    emit_hex(b, "sha256", d->sha256, sizeof(d->sha256));
    if (d->kind == DOCUMENT_RESULT)
        emit_text(b, "outcome", outcome_names[d->u.result.outcome]);
    if (d->kind == DOCUMENT_RECEIPT)
        emit_bool(b, "clean", receipt_clean(&d->u.receipt));
    if (o->log)
        emit_bool(b, "log", true);
    if (o->log && log->redacted)
        emit_uint(b, "log_redacted", log->places);
    /* The payload is strict JSON: it verified and decoded. */
    emit_key(b, "payload");
    buf_add(b, d->dsse.body.data, d->dsse.body.len);
    emit_close(b, '}');
    buf_addc(b, '\n');
}

static int check(const struct verify_opts *o, const struct buf *text, const struct keyring *k,
                 struct err *err)
{
    struct document d;
    struct log_facts log = {0};
    struct buf b;
    int rc = document_open(text->data, text->len, k->keys, k->n, &d, err);

    buf_init(&b, CLI_OUT_MAX);
    rc = rc < 0 ? rc : role_check(&d, k, err);
    rc = rc < 0 || !o->log ? rc : log_check(&d, o->log, &log, err);
    if (rc == 0) {
        if (o->json)
            attest_json(&d, k, o, &log, &b);
        else
            attest_text(&d, k, o, &log, &b);
        rc = cli_out(&b, err);
    }
    buf_done(&b);
    document_done(&d);
    return rc;
}

static int verify(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct verify_opts *o = opts;
    struct keyring k = {0};
    struct buf text;
    int rc = cli_nargs(nargs, 1, "verify FILE", err);

    if (rc < 0)
        return rc;
    buf_init(&text, DSSE_BYTES_MAX);
    rc = cli_read(args[0], &text, err);
    if (rc == 0)
        rc = o->key ? keyring_file(&k, o->key, err) : keyring_known(&k, cli, err);
    if (rc == 0) {
        rc = check(o, &text, &k, err);
        if (rc == -ERR_FAIL && err->msg[0])
            rc = err_wrap(err, "%s is no signed document of creel's", args[0]);
        else if (rc < 0 && err->msg[0])
            rc = err_wrap(err, "%s", args[0]);
    }
    keyring_done(&k);
    buf_done(&text);
    return rc;
}

const struct cmd cmd_verify = {
    .name = "verify",
    .args = "FILE [--key FILE] [--log FILE] [--json]",
    .summary = "Check a signed document offline and say what it attests.",
    .help =
        "FILE is what creel show ID --envelope, --result or --receipt printed. Exits 4 when no\n"
        "known key signed it, or a key signed what it may not. A log in which secrets were "
        "redacted is\n"
        "checked by the log.json beside it: what came was the attested one, and nothing changed "
        "since.\n",
    .opts = options,
    .opts_size = sizeof(struct verify_opts),
    .run = verify,
};
