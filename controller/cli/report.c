/* A task told to a person or a program. What the runner says is shown only once its signature held,
 * and its text is neutralised: it is still a host's.
 */
#include "controller/cli/report.h"

#include <stdio.h>
#include <string.h>

#include "controller/agent_profile.h"
#include "controller/cli/egress_view.h"

static void load(const struct paths *p, const struct task_row *row, const uint8_t *key,
                 enum document_kind kind, struct document *doc, bool *have, struct report *out)
{
    struct err err = ERR_INIT;

    *have = document_load(p, row->id, kind, key, doc, &err) == 0;
    if (!*have) {
        document_done(doc);
        *doc = (struct document){0};
        if (err.code != ERR_USAGE)
            snprintf(out->problem, sizeof(out->problem), "%s", err.msg);
    }
}

void report_load(const struct paths *p, struct store *s, const struct task_row *row,
                 struct report *out)
{
    struct err err = ERR_INIT;
    uint8_t key[KEY_PUB_BYTES];

    *out = (struct report){.row = row};
    if (row->attempt_n == 0 || (!row->result_stored && !row->wiped))
        return;
    if (store_task_runner_key(s, row->id, key, &err) < 0) {
        snprintf(out->problem, sizeof(out->problem), "%s", err.msg);
        return;
    }
    if (row->result_stored)
        load(p, row, key, DOCUMENT_RESULT, &out->result, &out->have_result, out);
    if (row->wiped)
        load(p, row, key, DOCUMENT_RECEIPT, &out->receipt, &out->have_receipt, out);
}

void report_done(struct report *r)
{
    if (r->have_result)
        document_done(&r->result);
    if (r->have_receipt)
        document_done(&r->receipt);
}

/* ---- JSON ---- */

void report_row_json(const struct task_row *row, struct buf *b)
{
    bool final = task_state_final((enum task_state)row->state);

    emit_text(b, "id", row->id);
    emit_text(b, "state", task_state_names[row->state]);
    emit_text(b, "reason", row->reason);
    emit_text(b, "review", review_state_names[row->review]);
    if (final)
        emit_int(b, "exit", row->code);
    if (row->outcome >= 0)
        emit_text(b, "outcome", outcome_names[row->outcome]);
    emit_text(b, "title", row->title);
    emit_text(b, "host", row->attempt_n ? row->attempt_host : row->host);
    emit_uint(b, "attempt", row->attempt_n);
    emit_text(b, "repo", row->repo);
    emit_text(b, "base", row->base);
    emit_text(b, "branch", row->branch);
    emit_strs(b, "setup", &row->setup);
    emit_text(b, "agent", row->agent);
    emit_strs(b, "command", &row->command);
    emit_strs(b, "tests", &row->tests);
    emit_text(b, "commit", row->commit);
    emit_uint(b, "log_bytes", row->log_bytes);
    emit_bool(b, "cancel", row->cancel);
    emit_bool(b, "result_stored", row->result_stored);
    emit_bool(b, "imported", row->imported);
    emit_bool(b, "wiped", row->wiped);
    emit_uint(b, "created_ms", row->created_ms);
    emit_uint(b, "updated_ms", row->updated_ms);
}

static void step_json(const struct step_result *s, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_text(b, "kind", step_kind_names[s->kind]);
    emit_text(b, "name", s->name);
    emit_bool(b, "ran", s->ran);
    emit_int(b, "exit", s->exit);
    emit_int(b, "signal", s->signal);
    emit_uint(b, "ms", s->ms);
    emit_close(b, '}');
}

void report_result_json(const struct report *r, struct buf *b)
{
    const struct result *res = &r->result.u.result;

    if (r->problem[0])
        emit_text(b, "problem", r->problem);
    if (r->have_result) {
        const struct step_result *steps = res->steps.items;

        emit_open(b, "steps", '[');
        for (size_t i = 0; i < res->steps.n; i++)
            step_json(&steps[i], b);
        emit_close(b, ']');
        emit_bool(b, "changed", res->commit[0] != 0);
        emit_uint(b, "patch_bytes", res->patch_bytes);
        emit_limit_names(b, "unenforced", res->unenforced);
        emit_uint(b, "wall_ms", res->wall_ms);
        emit_uint(b, "cpu_ms", res->cpu_ms);
        emit_uint(b, "mem_peak", res->mem_peak);
        emit_uint(b, "pids_peak", res->pids_peak);
        emit_uint(b, "disk_peak", res->disk_peak);
        emit_uint(b, "log_dropped_bytes", res->log_dropped_bytes);
        egress_json(res, b);
        emit_text(b, "cache_kept", res->cache);
    }
    if (r->have_receipt) {
        emit_bool(b, "wipe_clean", receipt_clean(&r->receipt.u.receipt));
        emit_bool(b, "memory_cleared", r->receipt.u.receipt.memory_cleared);
    }
}

/* ---- text ---- */

void report_duration(uint64_t ms, struct buf *b)
{
    if (ms < 1000)
        buf_addf(b, "%u ms", (unsigned)ms);
    else if (ms < 60000)
        buf_addf(b, "%u.%u s", (unsigned)(ms / 1000), (unsigned)(ms % 1000 / 100));
    else
        buf_addf(b, "%llu min %u s", (unsigned long long)(ms / 60000), (unsigned)(ms / 1000 % 60));
}

static void size_text(uint64_t bytes, struct buf *b)
{
    if (bytes < 10240)
        buf_addf(b, "%u bytes", (unsigned)bytes);
    else if (bytes < 10u << 20)
        buf_addf(b, "%u KiB", (unsigned)(bytes >> 10));
    else
        buf_addf(b, "%llu MiB", (unsigned long long)(bytes >> 20));
}

static void step_text(const struct step_result *s, struct buf *b)
{
    char ended[32];

    if (!s->ran)
        snprintf(ended, sizeof(ended), "not run");
    else if (s->signal)
        snprintf(ended, sizeof(ended), "signal %d", s->signal);
    else if (s->exit == 0)
        snprintf(ended, sizeof(ended), "ok");
    else
        snprintf(ended, sizeof(ended), "exit %d", s->exit);
    buf_addf(b, "  %-9s %-10s ", step_kind_names[s->kind], ended);
    if (s->ran)
        report_duration(s->ms, b);
    buf_adds(b, "  ");
    cli_text(b, s->name);
    buf_addc(b, '\n');
}

void report_steps(const struct result *r, struct buf *b)
{
    const struct step_result *steps = r->steps.items;

    for (size_t i = 0; i < r->steps.n; i++)
        step_text(&steps[i], b);
}

/* What its profile knows of the way it ended. */
static void agent_text(const struct report *r, struct buf *b)
{
    const struct result *res = &r->result.u.result;
    const struct step_result *s = res->steps.items;
    char means[201];

    for (size_t i = 0; r->row->agent[0] && i < res->steps.n; i++) {
        if (s[i].kind != STEP_COMMAND || !s[i].ran || s[i].signal || s[i].exit == 0)
            continue;
        agent_exit_means(r->row->agent, s[i].exit, means);
        if (means[0])
            buf_addf(b, "  agent     %s: %s\n", r->row->agent, means);
    }
}

static void result_text(const struct report *r, struct buf *b)
{
    const struct result *res = &r->result.u.result;

    report_steps(res, b);
    agent_text(r, b);
    if (!res->commit[0]) {
        buf_adds(b, "  patch     no change: the tree is as it was\n");
    } else {
        buf_adds(b, "  patch     ");
        size_text(res->patch_bytes, b);
        if (r->row->commit[0])
            buf_addf(b, ", commit %.12s on the base", r->row->commit);
        buf_addc(b, '\n');
    }
    egress_summary(res, r->row->id, r->row->reason, b);
    if (res->cache[0])
        buf_addf(b, "  cache     kept as %.12s\n", res->cache);
    else if (res->policy.cache_keep)
        buf_adds(b, "  cache     nothing of it was kept\n");
    if (res->unenforced) {
        unsigned surprise = res->unenforced & ~res->policy.allow_unenforced;

        buf_adds(b, "  NOT ENFORCED on this host: ");
        limit_list(res->unenforced, b);
        if (surprise) {
            buf_adds(b, "; of these you did not allow ");
            limit_list(surprise, b);
        }
        buf_addc(b, '\n');
    }
}

static void wiped_text(const struct report *r, struct buf *b)
{
    const struct receipt *receipt = &r->receipt.u.receipt;

    if (!r->have_receipt) {
        if (r->row->result_stored)
            buf_adds(b, r->row->wiped
                            ? "  wiped     no receipt: its runner was restarted since, or removed\n"
                            : "  wiped     under way\n");
        return;
    }
    buf_addf(b, "  wiped     %s%s\n",
             receipt_clean(receipt) ? "yes, says the host" : "NOT EVERYTHING: see show --receipt",
             receipt->memory_cleared ? "" : "; its memory was not cleared");
}

void report_text(const struct report *r, struct buf *b)
{
    const struct task_row *row = r->row;
    bool no_change;

    buf_addf(b, "task %s: %s", row->id, task_state_names[row->state]);
    if (row->attempt_n)
        buf_addf(b, " on %s", row->attempt_host);
    if (r->have_result) {
        buf_adds(b, " in ");
        report_duration(r->result.u.result.wall_ms, b);
    }
    no_change = strcmp(row->reason, ATTEMPT_NO_CHANGE) == 0;
    buf_adds(b, no_change ? ", " ATTEMPT_NO_CHANGE "\n" : "\n");
    if (row->reason[0] && !no_change) {
        buf_adds(b, "  reason    ");
        cli_text(b, row->reason);
        buf_addc(b, '\n');
    }
    if (r->problem[0]) {
        buf_adds(b, "  PROBLEM   ");
        cli_text(b, r->problem);
        buf_addc(b, '\n');
    }
    if (r->have_result)
        result_text(r, b);
    wiped_text(r, b);
    if (row->review == REVIEW_PENDING)
        buf_addf(b,
                 "  next      creel review %s\n            creel approve %s  or  creel reject %s\n",
                 row->id, row->id, row->id);
}
