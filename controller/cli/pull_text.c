/* The body of a pull request. Names of files are the agent's: they stand in a fence that they cannot close, so that
 * nothing in them is a link, a picture or a mention. */
#include "controller/cli/pull_text.h"

#include <string.h>

#include "controller/cli/report.h"
#include "controller/cli/spend_view.h"
#include "controller/review.h"

#define LISTED_MAX (16u << 10) /* bytes of names */
#define TESTS_MAX  (8u << 10)

/* In a fence of more backticks than any line of it has in a row. */
static void add_fenced(const struct buf *text, struct buf *to)
{
    size_t longest = 2, run = 0;
    for (size_t i = 0; i < text->len; i++) {
        run = text->data[i] == '`' ? run + 1 : 0;
        longest = run > longest ? run : longest;
    }
    for (int side = 0; side < 2; side++) {
        for (size_t i = 0; i <= longest; i++)
            buf_addc(to, '`');
        if (side == 0)
            buf_addf(to, "text\n%s", buf_str(text));
    }
    buf_addc(to, '\n');
}

static void add_tests(const struct result *r, struct buf *to)
{
    const struct step_result *steps = r->steps.items;
    size_t passed = 0, all = 0;
    struct buf text;
    buf_init(&text, TESTS_MAX + 16384);
    for (size_t i = 0; i < r->steps.n; i++) {
        if (steps[i].kind != STEP_TEST)
            continue;
        bool good = steps[i].ran && steps[i].exit == 0 && steps[i].signal == 0;
        all++;
        passed += good;
        if (text.len > TESTS_MAX)
            continue;
        buf_adds(&text, good ? "passed  " : steps[i].ran ? "FAILED  " : "not run ");
        cli_text(&text, steps[i].name);
        buf_addc(&text, '\n');
    }
    if (all == 0)
        buf_adds(to, "- tests: none were asked for\n");
    else
        buf_addf(to, "- tests: %zu of %zu passed\n\n", passed, all);
    if (all > 0)
        add_fenced(&text, to);
    buf_done(&text);
}

static void add_spend(const struct paths *p, const struct task_row *t, struct buf *to)
{
    struct err ignored = ERR_INIT;
    struct ledger *l = NULL;
    struct ledger_sum sum;
    if (!spend_any(&t->policy.spend) || spend_view_open(p, &l, &ignored) < 0 || !l)
        return;
    if (ledger_task_sum(l, t->id, &sum, &ignored) == 0) {
        buf_adds(to, "- spent: ");
        spend_usd(sum.spent_micros + sum.held_micros, 0, to);
        buf_addf(to, " in %llu model calls\n", (unsigned long long)sum.calls);
    }
    ledger_close(l);
}

static void add_files(const struct review_record *r, struct buf *to)
{
    const struct import_file *f = r->changes.items;
    struct buf text;
    size_t i = 0;
    buf_init(&text, LISTED_MAX + 16384);
    for (; i < r->changes.n && text.len < LISTED_MAX; i++) {
        buf_addf(&text, "%s ", f[i].change);
        cli_text(&text, f[i].path);
        if (f[i].binary)
            buf_adds(&text, "  (binary)\n");
        else
            buf_addf(&text, "  +%d -%d\n", f[i].added, f[i].removed);
    }
    if (i < r->changes.n)
        buf_addf(&text, "and %zu more\n", r->changes.n - i);
    buf_addf(to, "\n%d files changed, +%d -%d. Their names are the agent's choice:\n\n",
             r->summary.files, r->summary.added, r->summary.removed);
    add_fenced(&text, to);
    buf_done(&text);
}

static void add_hex(const char *what, const uint8_t digest[static 32], struct buf *to)
{
    buf_addf(to, "- %s, SHA-256 `", what);
    for (size_t i = 0; i < 32; i++)
        buf_addf(to, "%02x", digest[i]);
    buf_adds(to, "`\n");
}

static void add_attestation(const struct report *r, struct buf *to)
{
    const struct result *res = &r->result.u.result;
    buf_adds(to, "\nAttestation (`creel verify` checks it):\n\n");
    add_hex("result, an in-toto statement", r->result.sha256, to);
    add_hex("task, as it was signed", res->envelope_sha256, to);
    buf_addf(to, "- signed by the runner `%s`, `%s`\n", res->runner, res->program);
}

int pull_text(const struct paths *p, struct store *s, const struct task_row *t, struct buf *to,
              struct err *err)
{
    struct review_record review = {0};
    struct report report;
    int rc = review_load(p, t, &review, err);
    if (rc < 0)
        return rc;
    report_load(p, s, t, &report);
    buf_addf(to, "Task `%s`", t->id);
    if (t->agent[0])
        buf_addf(to, ", done by the agent `%s` in a jail", t->agent);
    buf_addf(to,
             ", reviewed and approved by a person with creel.\n\n"
             "- commit `%.12s` on `%.12s`\n",
             t->commit, t->base);
    if (report.have_result) {
        buf_addf(to, "- outcome: %s\n", outcome_names[report.result.u.result.outcome]);
        add_spend(p, t, to);
        add_tests(&report.result.u.result, to);
    }
    add_files(&review, to);
    if (report.have_result)
        add_attestation(&report, to);
    report_done(&report);
    review_done(&review);
    return to->failed ? err_set(err, ERR_FAIL, "the pull request's text is too long") : 0;
}
