/* What a host says of an attempt: which message means what in which phase, in one table. Everything
 * here comes from the host: out of turn it resets the session, never the task. */
#include <string.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/file.h"
#include "common/term.h"
#include "controller/engine_internal.h"

static enum err_code refusal_code(int reason)
{
    switch ((enum refusal)reason) {
    case REFUSED_SIGNATURE:
    case REFUSED_TYPE:
    case REFUSED_AUDIENCE:
    case REFUSED_NOT_YET:
    case REFUSED_EXPIRED:
    case REFUSED_REPLAY:
    case REFUSED_FENCE:
    case REFUSED_TOKEN:
    case REFUSED_PROOF:
        return ERR_TRUST;
    case REFUSED_INTERNAL:
        return ERR_HOST;
    case REFUSED_SIZE:
    case REFUSED_MALFORMED:
    case REFUSED_PAYLOAD:
    case REFUSED_LIMIT:
    case REFUSED_EGRESS:
    case REFUSED_BUSY:
    case REFUSED_PACK_DIGEST:
    case REFUSED_PACK_SIZE:
    case REFUSED_TREE:
    case REFUSED_PROTOCOL:
    case REFUSED_UNKNOWN:
    case REFUSAL_COUNT:
        break;
    }
    return ERR_REFUSED;
}

static void on_refused(struct attempt *a, const struct msg *m)
{
    const struct msg_refused *f = &m->u.refused;
    const char *name = f->reason >= 0 && f->reason < REFUSAL_COUNT ? refusal_names[f->reason] : "?";
    if (a->phase == PHASE_OFFERED && f->reason == REFUSED_BUSY) {
        engine_host_full(a->host);
        attempt_give_back(a, "the host has no free slot");
    } else if (a->phase == PHASE_OFFERED && f->reason == REFUSED_REPLAY) {
        attempt_end(a, TASK_LOST, ERR_TRUST,
                    "host %s has had this envelope before and lost the attempt", a->host->name);
    } else if (a->phase == PHASE_OFFERED && f->reason == REFUSED_EXPIRED && a->offered_again) {
        attempt_end(a, TASK_LOST, ERR_HOST,
                    "its envelope expired while host %s could not be reached", a->host->name);
    } else if (a->phase == PHASE_STORED) {
        diag(DIAG_WARN, "task %s: host %s refused the wipe: %s %s", a->row.id, a->host->name, name,
             f->detail);
    } else {
        attempt_end(a, TASK_REFUSED, refusal_code(f->reason), "host %s refused (%s): %.200s",
                    a->host->name, name, f->detail);
    }
}

static void on_accepted(struct attempt *a, const struct msg *m)
{
    (void)m;
    a->host->full_tries = a->host->tries = 0;
    attempt_send_pack(a);
    if (!a->dead && a->row.cancel)
        attempt_send_cancel(a);
}

static void on_pack_ok(struct attempt *a, const struct msg *m)
{
    (void)m;
    attempt_running(a);
    if (attempt_set_state(a, TASK_RUNNING, "") == 0)
        attempt_follow_log(a);
}

static void on_state(struct attempt *a, const struct msg *m)
{
    struct buf line;
    if (a->phase != PHASE_RUNNING)
        return;
    if (m->u.state.state == ATTEMPT_COLLECTING) {
        attempt_set_state(a, TASK_COLLECTING, "collecting");
    } else if (a->row.state == TASK_RUNNING) {
        buf_init(&line, 4096);
        term_line(m->u.state.step, &line);
        attempt_set_state(a, TASK_RUNNING, buf_str(&line));
        buf_done(&line);
    }
}

static void on_ended(struct attempt *a, const struct msg *m)
{
    pack_stop(a);
    attempt_ended(a, m->u.ended.log_bytes);
}

static void keep_receipt(struct attempt *a, const struct msg *m, const struct receipt *rc)
{
    struct err err = ERR_INIT;
    if (memcmp(rc->result_sha256, a->result_sha256, 32) != 0) {
        diag(DIAG_ERROR, "task %s: the receipt is about another result", a->row.id);
        return;
    }
    int dir = paths_task_dir(a->e->paths, a->row.id, false, &err);
    int r =
        dir < 0 ? dir : file_replace(dir, "receipt.json", m->u.doc.bytes, m->u.doc.len, 0600, &err);
    fd_close(&dir);
    if (r == 0)
        r = store_task_wiped(a->e->store, a->row.id, &err);
    if (r < 0) {
        engine_store_failed(a->e, "receipt", &err);
        return;
    }
    if (!receipt_clean(rc))
        diag(DIAG_WARN, "task %s: host %s says that not everything was wiped", a->row.id,
             a->host->name);
    a->row.wiped = true;
    engine_notify(a->e);
    if (task_state_final((enum task_state)a->row.state))
        attempt_drop(a);
    else
        attempt_phase(a, PHASE_STORED, 0);
}

static void on_calls(struct attempt *a, const struct msg *m)
{
    calls_want(a, (unsigned)m->u.calls.wanted);
}

void attempt_receipt(struct attempt *a, const struct receipt *rc, const struct msg *m)
{
    /* Before the result is stored there is nothing that it could be the receipt of. */
    if (a->phase == PHASE_STORED && a->row.result_stored && !a->row.wiped)
        keep_receipt(a, m, rc);
}

/* Which message means what in which phase; an empty cell is a breach of the protocol. */
typedef void attempt_message_cb(struct attempt *a, const struct msg *m);

static const struct {
    enum msg_type type;
    attempt_message_cb *on[PHASE_COUNT];
} legal[] = {
    {MSG_ACCEPTED, {[PHASE_OFFERED] = on_accepted}},
    {MSG_REFUSED,
     {[PHASE_OFFERED] = on_refused,
      [PHASE_SENDING] = on_refused,
      [PHASE_RUNNING] = on_refused,
      [PHASE_DRAINING] = on_refused,
      [PHASE_FETCHING] = on_refused,
      [PHASE_STORED] = on_refused}},
    {MSG_PACK_OK, {[PHASE_SENDING] = on_pack_ok}},
    {MSG_STATE,
     {[PHASE_OFFERED] = on_state,
      [PHASE_SENDING] = on_state,
      [PHASE_RUNNING] = on_state,
      [PHASE_DRAINING] = on_state,
      [PHASE_FETCHING] = on_state,
      [PHASE_STORED] = on_state}},
    {MSG_CALLS, {[PHASE_SENDING] = on_calls, [PHASE_RUNNING] = on_calls}},
    {MSG_ENDED,
     {[PHASE_SENDING] = on_ended, [PHASE_RUNNING] = on_ended, [PHASE_DRAINING] = on_ended}},
};

void attempt_message(struct attempt *a, const struct msg *m)
{
    if (a->phase == PHASE_DONE)
        return; /* nothing it says is believed, or waited for */
    for (size_t i = 0; i < sizeof(legal) / sizeof(legal[0]); i++) {
        if (legal[i].type == m->type && legal[i].on[a->phase] != NULL) {
            legal[i].on[a->phase](a, m);
            return;
        }
    }
    diag(DIAG_WARN, "task %s: host %s said %s out of turn", a->row.id, a->host->name,
         msg_name(m->type));
    engine_host_reset(a->host, "it said something out of turn");
}
