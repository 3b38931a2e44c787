/* What a host does only when the operator's key says so: cancel an attempt, wipe it. The broker signs, and may be
 * gone; then it is asked again. */
#include <string.h>

#include "common/diag.h"
#include "controller/engine_internal.h"

#define KILL_S (15 * 60) /* for a host to end what it was told to cancel */

/* Has an order signed; `cb` sends it, or not when things have changed meanwhile. */
static void order(struct attempt *a, enum order_kind kind, broker_ordered_cb *cb)
{
    struct order o = {.kind = kind};
    memcpy(o.attempt, a->id, sizeof(o.attempt));
    memcpy(o.aud_host_key, a->host->row.host_key_fpr, sizeof(o.aud_host_key));
    if (kind == ORDER_WIPE)
        memcpy(o.result_sha256, a->result_sha256, sizeof(o.result_sha256));
    a->holds++;
    broker_order(a->e->broker, &o, cb, a);
}

static void on_cancel_signed(void *arg, const struct buf *doc, const struct err *failed)
{
    struct attempt *a = arg;
    if (!attempt_unhold(a))
        return;
    if (failed != NULL) {
        diag(DIAG_ERROR, "task %s: cancel: %s", a->row.id, failed->msg);
        a->cancel_sent = false; /* asked for again by the next scan */
    } else if (a->cancel_sent && a->phase >= PHASE_SENDING && a->phase <= PHASE_RUNNING) {
        attempt_send_document(a, MSG_CANCEL, doc);
    }
}

void attempt_send_cancel(struct attempt *a)
{
    if (a->cancel_sent || a->host->state != HOST_READY)
        return;
    a->cancel_sent = true;
    if (a->phase == PHASE_RUNNING)
        attempt_phase(a, PHASE_RUNNING, KILL_S);
    order(a, ORDER_CANCEL, on_cancel_signed);
}

static void on_wipe_signed(void *arg, const struct buf *doc, const struct err *failed)
{
    struct attempt *a = arg;
    if (!attempt_unhold(a))
        return;
    if (failed == NULL) {
        if (a->phase == PHASE_STORED && !a->row.wiped)
            attempt_send_document(a, MSG_WIPE, doc);
        return;
    }
    diag(DIAG_WARN, "task %s: wipe: %s", a->row.id, failed->msg);
    if (broker_gone(a->e->broker) != BROKER_THERE && a->phase == PHASE_STORED &&
        a->host->state == HOST_READY) {
        a->wipe_unsigned = true;
        attempt_phase(a, PHASE_STORED, ATTEMPT_AGAIN_S);
    }
}

void attempt_send_wipe(struct attempt *a)
{
    a->wipe_unsigned = false;
    if (a->row.wiped || a->host->state != HOST_READY)
        return;
    attempt_phase(a, PHASE_STORED, ATTEMPT_WIPE_S);
    order(a, ORDER_WIPE, on_wipe_signed);
}
