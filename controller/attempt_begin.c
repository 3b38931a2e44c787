/* An attempt's begin: the lease in the store, the envelope signed by the broker and kept, then offered. Nothing has
 * left this machine before that, so that until then a lease can be given back. */
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/engine_internal.h"

#define SIGN_DEATHS_MAX 5 /* of the broker, with none signed between */

static int fill_task(const struct attempt *a, struct task *t)
{
    const struct task_row *row = &a->row;
    memcpy(t->id, row->id, sizeof(t->id));
    memcpy(t->attempt, a->id, sizeof(t->attempt));
    memcpy(t->title, row->title, sizeof(t->title));
    memcpy(t->aud_host, a->host->name, sizeof(t->aud_host));
    memcpy(t->aud_host_key, a->host->row.host_key_fpr, sizeof(t->aud_host_key));
    t->fence = row->fence;
    memcpy(t->base, row->base, sizeof(t->base));
    memcpy(t->root, row->root, sizeof(t->root));
    memcpy(t->branch, row->branch, sizeof(t->branch));
    t->pack_bytes = row->pack_bytes;
    memcpy(t->pack_sha256, row->pack_sha256, sizeof(t->pack_sha256));
    memcpy(t->agent, row->agent, sizeof(t->agent));
    return strv_copy(&t->setup, &row->setup) | strv_copy(&t->command, &row->command) |
           strv_copy(&t->tests, &row->tests) | strv_copy(&t->env, &row->env) |
           task_files_copy(&t->files, &row->files) | policy_copy(&t->policy, &row->policy);
}

static int keep_envelope(struct attempt *a, const struct buf *envelope, const struct buf *sshsig,
                         struct err *err)
{
    if (buf_add(&a->envelope, envelope->data, envelope->len) < 0)
        return err_set(err, ERR_FAIL, "out of memory");
    int dir = paths_task_dir(a->e->paths, a->row.id, true, err);
    if (dir < 0)
        return dir;
    int r = file_replace(dir, "envelope.sshsig", sshsig->data, sshsig->len, 0600, err);
    if (r == 0)
        r = file_replace(dir, "envelope.json", envelope->data, envelope->len, 0600, err);
    close(dir);
    return r;
}

void attempt_give_back(struct attempt *a, const char *reason)
{
    broker_attempt_end(a->e->broker, a->id);
    attempt_set_state(a, TASK_QUEUED, reason);
    attempt_drop(a);
}

/* After an error. The broker answers in turn, so what it dies of again and again is the first in line. */
static bool may_sign_again(struct engine *e)
{
    enum broker_gone gone = broker_gone(e->broker);
    return gone == BROKER_WAS_GONE ||
           (gone == BROKER_DIED_OF_IT && ++e->sign_deaths < SIGN_DEATHS_MAX);
}

static void on_signed(void *arg, const struct buf *envelope, const struct buf *sshsig,
                      const struct err *failed)
{
    struct attempt *a = arg;
    struct err err = ERR_INIT;
    if (!attempt_unhold(a))
        return;
    if (failed == NULL)
        a->e->sign_deaths = 0;
    if (a->row.cancel) {
        attempt_end(a, TASK_CANCELLED, ERR_CANCELLED, "cancelled before it began");
    } else if (failed != NULL && may_sign_again(a->e)) {
        attempt_give_back(a, failed->msg);
    } else if (failed != NULL) {
        a->e->sign_deaths = 0;
        attempt_end(a, TASK_FAILED, failed->code, "%.290s", failed->msg);
    } else if (keep_envelope(a, envelope, sshsig, &err) < 0) {
        attempt_end(a, TASK_FAILED, err.code, "%.290s", err.msg);
    } else if (attempt_set_state(a, TASK_SENDING, "") == 0) {
        if (a->host->state == HOST_READY)
            attempt_offer(a);
        else
            attempt_phase(a, PHASE_DETACHED, 0);
    } else {
        broker_attempt_end(a->e->broker, a->id);
        attempt_drop(a); /* the store fails: the lease is given back by the next scan */
    }
}

void attempt_begin(struct engine_host *h, struct task_row *row)
{
    struct err err = ERR_INIT;
    struct task t = {0};
    unsigned n;
    uint64_t fence;
    if (store_task_lease(h->e->store, row->id, h->name, &n, &fence, &err) < 0) {
        engine_store_failed(h->e, "lease", &err);
        return;
    }
    struct attempt *a = attempt_new(h->e, h);
    if (a == NULL || store_task_get(h->e->store, row->id, &a->row, &err) < 0) {
        engine_store_failed(h->e, "lease", &err);
        if (a != NULL)
            attempt_drop(a);
        return;
    }
    attempt_id_make(row->id, n, a->id);
    memcpy(a->runner_key, h->row.runner_key, sizeof(a->runner_key));
    attempt_phase(a, PHASE_SIGNING, 0);
    engine_notify(h->e);
    if (a->id[0] == 0) {
        attempt_end(a, TASK_FAILED, ERR_HOST,
                    "it was leased to host %s %u times and could never begin", h->name, n - 1);
    } else if (fill_task(a, &t) == 0) {
        a->holds++;
        broker_sign(h->e->broker, &t, h->row.runner_key, ENVELOPE_LIFE_S, on_signed, a);
    } else {
        attempt_end(a, TASK_FAILED, ERR_FAIL, "out of memory");
    }
    task_done(&t);
}
