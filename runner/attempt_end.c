/* The two documents at an attempt's end: the result, and after the wipe the receipt. Both are signed
 * with the runner's key. They say what was observed and what was not enforced; they promise nothing
 * else. */
#include "runner/attempt_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "common/diag.h"
#include "proto/dsse.h"
#include "runner/outcome.h"

#define RECEIPT_ITEMS_MAX 8
#define RECEIPT_KEEP_S    3600 /* at least, when the envelope expires sooner */

/* A result that borrows from the attempt: never result_done() it. */
static void result_fill(const struct attempt *a, struct result *r)
{
    const struct task *t = &a->task;
    const struct identity *id = a->owner->identity;
    memcpy(r->task, t->id, sizeof r->task);
    memcpy(r->attempt, t->attempt, sizeof r->attempt);
    memcpy(r->runner, id->fpr, sizeof r->runner);
    memcpy(r->program, id->program, sizeof r->program);
    memcpy(r->envelope_sha256, a->envelope_sha256, sizeof r->envelope_sha256);
    memcpy(r->pack_sha256, t->pack_sha256, sizeof r->pack_sha256);
    memcpy(r->base, t->base, sizeof r->base);
    memcpy(r->root, t->root, sizeof r->root);
    r->steps = (struct json_list){.n = a->nsteps, .items = a->steps};
    memcpy(r->commit, a->commit, sizeof r->commit);
    r->patch_bytes = a->patch_bytes;
    memcpy(r->cache, a->cache, sizeof r->cache);
    memcpy(r->patch_sha256, a->patch_sha256, sizeof r->patch_sha256);
    r->log_bytes = spool_bytes(a->spool);
    r->log_dropped_bytes = spool_dropped(a->spool);
    spool_chain(a->spool, r->log_chain);
    r->started = a->started;
    r->finished = a->finished;
    r->wall_ms = a->usage.wall_ms;
    r->cpu_ms = a->usage.cpu_ms;
    r->mem_peak = a->usage.mem_peak;
    r->pids_peak = a->usage.pids_peak;
    r->disk_peak = a->usage.disk_peak;
    r->conns = a->account.conns;
    r->sent = a->account.sent;
    r->received = a->account.received;
    r->dns = a->account.dns;
    r->egress = a->account.egress;
    r->egress_more = a->account.egress_more;
    r->policy = t->policy;
    r->unenforced = a->owner->warden->facts.unenforceable;
}

/* One line a limit that was met. */
static void note_hits(struct attempt *a, const struct json_list *hits)
{
    const struct limit_hit *h = hits->items;
    for (size_t i = 0; i < hits->n; i++) {
        struct buf words;
        buf_init(&words, SPOOL_NOTE_MAX);
        limit_hit_words(&h[i], &a->task.policy, &words);
        spool_note(a->spool, attempt_now_us(a), "limit: %s", buf_str(&words));
        buf_done(&words);
    }
}

int attempt_result_make(struct attempt *a, struct err *err)
{
    struct result r = {0};
    struct limit_hit hits[LIMIT_COUNT];
    struct buf body;
    struct outcome_facts f = {
        .task = &a->task,
        .steps = a->steps,
        .nsteps = a->nsteps,
        .usage = &a->usage,
        .collect_oom = a->collect_oom,
        .collect_mem_peak = a->collect_mem_peak,
        .cancelled = a->cancelled,
        .timed_out = a->timed_out,
        .run_exit = a->run_exit,
        .run_signal = a->run_signal,
        .error = a->error,
        .log_dropped = spool_dropped(a->spool),
        .gate = &a->account.hits,
    };
    r.hits = (struct json_list){.n = outcome_hits(&f, hits), .items = hits};
    note_hits(a, &r.hits);
    r.outcome = (int)outcome_judge(&f, r.reason);
    spool_note(a->spool, attempt_now_us(a), "%s%s%s", outcome_names[r.outcome],
               r.reason[0] ? ": " : "", r.reason);
    spool_finish(a->spool);
    result_fill(a, &r);
    buf_init(&body, DSSE_BYTES_MAX);
    int rc = result_encode(&r, &body, err);
    if (rc == 0)
        rc = dsse_sign(a->owner->identity->sec, DSSE_TYPE_RESULT, body.data, body.len, &a->result,
                       err);
    if (rc == 0)
        sha256_of(a->result.data, a->result.len, a->result_sha256);
    buf_done(&body);
    if (rc == 0)
        diag(DIAG_INFO, "attempt %s: %s", a->task.attempt, outcome_names[r.outcome]);
    return rc;
}

static void item(struct receipt *r, const char *what, bool gone, const char *how)
{
    struct receipt_item *i = (struct receipt_item *)r->items.items + r->items.n++;
    snprintf(i->what, sizeof i->what, "%s", what);
    snprintf(i->how, sizeof i->how, "%s", how);
    i->gone = gone;
}

static void receipt_fill(const struct attempt *a, const struct warden_wiped *w, bool ok,
                         struct receipt *r)
{
    const struct identity *id = a->owner->identity;
    char network[201];
    memcpy(r->task, a->task.id, sizeof r->task);
    memcpy(r->attempt, a->task.attempt, sizeof r->attempt);
    memcpy(r->runner, id->fpr, sizeof r->runner);
    memcpy(r->result_sha256, a->result_sha256, sizeof r->result_sha256);
    r->wiped = clock_wall_s();
    r->memory_cleared = a->owner->warden->facts.memory_cleared;
    snprintf(r->note, sizeof r->note,
             "This is the runner's word, evidence but no proof; only the provider's deletion of "
             "the host "
             "is proof. %s%s",
             r->memory_cleared ? "The kernel clears memory when it is freed."
                               : "Freed memory was not cleared (boot with init_on_free=1).",
             a->owner->warden->facts.swaps
                 ? " Swap is on, and no control group kept the task's memory out of it."
                 : "");
    item(r, "processes", ok && w->processes,
         "killed; none of the attempt's processes is left, checked by the warden");
    item(
        r, "work tree", ok && w->disk,
        w->encrypted
            ? "the attempt's own disk, with source, work tree and patch, was encrypted; the kernel "
              "forgot its key: mapping and loop device are gone, and its file never had a name"
            : "the attempt's own file system was unmounted with source, work tree and patch on it");
    item(r, "control group", ok && w->cgroup, "removed, or there was none");
    snprintf(
        network, sizeof network,
        "its network namespace ended with its last process; before that the egress gate closed "
        "its %u sockets and %" PRIu64 " connections there",
        a->gate_doors, a->account.conns);
    item(r, "network", ok && w->network, network);
    item(r, "log spool", a->spool_gone,
         a->spool_in_memory
             ? "unlinked from the run directory, a tmpfs; no name is left"
             : "unlinked from the run directory, which is no tmpfs: its blocks stay on the "
               "disk until they are used again");
    item(r, "token", ok, "wiped from the warden's memory; serve forgot it when the jail was made");
}

int attempt_receipt_make(struct attempt *a, const struct warden_wiped *w, bool ok, struct err *err)
{
    struct receipt_item items[RECEIPT_ITEMS_MAX] = {0};
    struct receipt r = {0};
    struct msg m = {.type = MSG_RECEIPT};
    struct buf body, doc;
    r.items.items = items;
    receipt_fill(a, w, ok, &r);
    buf_init(&body, RECEIPT_BYTES_MAX);
    buf_init(&doc, RECEIPT_BYTES_MAX);
    int rc = receipt_encode(&r, &body, err);
    if (rc == 0)
        rc = dsse_sign(a->owner->identity->sec, DSSE_TYPE_RECEIPT, body.data, body.len, &doc, err);
    if (rc == 0) {
        m.u.doc.bytes = doc.data;
        m.u.doc.len = doc.len;
        a->owner->tell(a->owner->arg, &m);
        uint64_t soonest = r.wiped + RECEIPT_KEEP_S;
        rc = receipts_keep(&a->owner->receipts, a->task.attempt, a->result_sha256,
                           a->task.exp > soonest ? a->task.exp : soonest, &doc);
        if (rc < 0)
            err_set(err, ERR_FAIL, "out of memory");
    }
    buf_done(&body);
    buf_done(&doc);
    return rc;
}
