/* The states of an attempt; see attempt.h. One handler a cell of the table at the end, each a few
 * lines: what is done, and which state follows. Whatever is not in the table is not legal there. */
#include "runner/attempt_internal.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/file.h"
#include "proto/dsse.h"
#include "runner/stream.h"
#include "runner/text.h"

/* ---- shared by the parts ---- */

uint64_t attempt_now_us(const struct attempt *a)
{
    return clock_mono_us() - a->t0_us;
}

bool attempt_busy(const struct attempt *a)
{
    return a->at != AT_FREE;
}

bool attempt_proven(const struct attempt *a, enum proof use,
                    const uint8_t proof[static PROOF_BYTES])
{
    return sodium_memcmp(a->proofs[use], proof, PROOF_BYTES) == 0;
}

/* ---- life of the struct ---- */

static void on_timer(uv_timer_t *t)
{
    attempt_event(t->data, EV_DEADLINE);
}

static void wait_at_most(struct attempt *a, uint64_t ms)
{
    uv_timer_start(&a->timer, on_timer, ms, 0);
}

void attempt_init(struct attempt *a, struct attempt_owner *owner, unsigned slot)
{
    memset(a, 0, sizeof *a);
    a->owner = owner;
    a->slot = slot;
    a->pack_fd = a->patch_fd = a->token_dir = -1;
    a->step_now = -1;
    uv_timer_init(owner->loop, &a->timer);
    uv_idle_init(owner->loop, &a->hasher);
    a->timer.data = a->hasher.data = a;
}

/* Lets go of everything but what the slot keeps for ever: owner, number, handles. Streams go first:
 * they read the spool. */
static void clear(struct attempt *a)
{
    a->owner->drop_streams(a->owner->arg, a);
    uv_idle_stop(&a->hasher);
    attempt_gate_end(a);
    attempt_token_end(a);
    attempt_pipes_close(a);
    attempt_pack_close(a);
    attempt_patch_close(a);
    uv_timer_stop(&a->timer);
    spool_remove(a->spool, NULL);
    buf_done(&a->said);
    buf_done(&a->complaint);
    buf_done(&a->result);
    result_done(&a->account);
    free(a->rules);
    free(a->steps);
    task_done(&a->task);
    memset(&a->at, 0, sizeof *a - offsetof(struct attempt, at));
    a->pack_fd = a->patch_fd = a->token_dir = -1;
    a->step_now = -1;
}

static void reset(struct attempt *a, enum attempt_at at)
{
    clear(a);
    a->at = at;
    a->owner->slot_over(a->owner->arg, a);
}

void attempt_close(struct attempt *a)
{
    clear(a);
    uv_close((uv_handle_t *)&a->timer, NULL);
    uv_close((uv_handle_t *)&a->hasher, NULL);
}

/* ---- asking the warden ---- */

static void fatal(struct attempt *a, const char *what)
{
    struct err err = ERR_INIT;
    err_set(&err, ERR_FAIL, "attempt %s: %s", a->task.attempt, what);
    a->owner->fatal(a->owner->arg, &err);
}

/* A request that cannot be sent is the warden's death: warden_client tells serve. */
static void ask(struct attempt *a, enum warden_op op, enum warden_phase phase)
{
    warden_client_send(a->owner->warden, op, a->slot, a->task.attempt, phase, NULL);
}

static void begin_phase(struct attempt *a, enum attempt_at at, enum warden_phase phase)
{
    a->at = at;
    a->late = a->killing = false;
    buf_clear(&a->said);
    buf_clear(&a->complaint);
    ask(a, WARDEN_START, phase);
}

/* EXITED follows; if it does not, the warden is broken. */
static void kill_phase(struct attempt *a)
{
    if (a->killing)
        return;
    a->killing = true;
    ask(a, WARDEN_KILL, WARDEN_RUN);
    wait_at_most(a, ATTEMPT_KILL_MS);
}

static void ask_wipe(struct attempt *a)
{
    ask(a, WARDEN_WIPE, WARDEN_RUN);
    wait_at_most(a, ATTEMPT_KILL_MS);
}

void attempt_gate_gone(struct attempt *a)
{
    a->gate_awaited = false;
    ask_wipe(a);
}

/* From here on nothing of the attempt may be read any more. Descriptors on its disk are closed first:
 * they would keep the file system alive; so would the gate's sockets its network namespace. */
static void begin_wipe(struct attempt *a)
{
    struct err err = ERR_INIT;
    a->at = AT_WIPING;
    uv_idle_stop(&a->hasher);
    attempt_gate_end(a);
    attempt_token_end(a);
    attempt_pipes_close(a);
    if (a->spool && !spool_complete(a->spool))
        spool_finish(a->spool);
    a->owner->drop_streams(a->owner->arg, a);
    if (!a->refused && a->pack_stream)
        stream_close(a->pack_stream);
    fd_close(&a->pack_fd);
    attempt_patch_close(a);
    a->spool_in_memory = a->spool && spool_in_memory(a->spool);
    a->spool_gone = spool_remove(a->spool, &err) == 0;
    a->spool = NULL;
    if (!a->spool_gone)
        diag(DIAG_ERROR, "attempt %s: %s", a->task.attempt, err.msg);
    a->gate_awaited = a->gate != NULL;
    if (!a->gate_awaited)
        ask_wipe(a);
}

/* ---- the end with a result ---- */

static void end_with_result(struct attempt *a)
{
    struct msg m = {.type = MSG_ENDED};
    struct err err = ERR_INIT;
    attempt_steps_end(a);
    a->finished = clock_wall_s();
    if (attempt_result_make(a, &err) < 0) {
        attempt_set_refusal(a, REFUSED_INTERNAL, "no result could be made: %s", err.msg);
        begin_wipe(a);
        return;
    }
    a->at = AT_ENDED;
    uint64_t keep_s = a->task.exp + ATTEMPT_KEEP_S, now = a->finished;
    wait_at_most(a, keep_s > now ? (keep_s - now) * 1000 : 1000);
    memcpy(m.u.ended.attempt, a->task.attempt, sizeof m.u.ended.attempt);
    m.u.ended.log_bytes = spool_bytes(a->spool);
    m.u.ended.pack_bytes = a->patch_bytes;
    a->owner->tell(a->owner->arg, &m);
}

/* ---- handlers: state x event ---- */

struct happening {
    const struct warden_reply *reply; /* of the warden, or NULL */
    int *fds;                         /* taken ones are set to -1 */
    size_t nfds;
};

typedef void handler(struct attempt *a, struct happening *h);

static enum refusal open_refusal(int32_t status)
{
    return status == ERR_REFUSED || status == -ERR_REFUSED ? REFUSED_LIMIT
           : status == ERR_TRUST || status == -ERR_TRUST   ? REFUSED_SIGNATURE
                                                           : REFUSED_INTERNAL;
}

static void on_opened(struct attempt *a, struct happening *h)
{
    struct msg m = {.type = MSG_ACCEPTED};
    if (h->reply->status != 0) {
        attempt_set_refusal(a, open_refusal(h->reply->status), "%s", h->reply->detail);
        attempt_tell_refused(a);
        reset(a, AT_FREE); /* a slot that did not open is free */
        return;
    }
    if (h->nfds != 1) {
        attempt_set_refusal(a, REFUSED_INTERNAL, "the warden gave no pack file");
        begin_wipe(a);
        return;
    }
    a->pack_fd = h->fds[0];
    h->fds[0] = -1;
    a->at = AT_PACK;
    wait_at_most(a, ATTEMPT_PACK_MS);
    memcpy(m.u.accepted.attempt, a->task.attempt, sizeof m.u.accepted.attempt);
    a->owner->tell(a->owner->arg, &m);
    if (a->cancelled)
        end_with_result(a);
}

static void on_packed(struct attempt *a, struct happening *h)
{
    attempt_pack_close(a);
    wait_at_most(a, ATTEMPT_CHECKOUT_MS);
    begin_phase(a, AT_CHECKOUT, WARDEN_CHECKOUT);
    attempt_tell_state(a, "checkout");
}

static void on_pack_bad(struct attempt *a, struct happening *h)
{
    begin_wipe(a);
}

static void on_pack_late(struct attempt *a, struct happening *h)
{
    attempt_set_refusal(a, REFUSED_PACK_SIZE,
                        "%" PRIu64 " of %" PRIu64 " bytes of the source came in %d min",
                        a->pack_got, a->task.pack_bytes, ATTEMPT_PACK_MS / 60000);
    begin_wipe(a);
}

/* The phase's pipes; 0, or -1 when it did not start. */
static int started(struct attempt *a, struct happening *h, size_t nfds, char *why, size_t size)
{
    struct err err = ERR_INIT;
    if (h->reply->status != 0) {
        text_linef(why, size, "%s", h->reply->detail);
        return -1;
    }
    if (h->nfds < nfds || attempt_pipes_open(a, h->fds, nfds, &err) < 0) {
        text_linef(why, size, "the warden's pipes: %s", err.msg);
        return -1;
    }
    return 0;
}

static void on_checkout_started(struct attempt *a, struct happening *h)
{
    char why[256];
    if (started(a, h, 2, why, sizeof why) == 0) {
        struct step_result *s = attempt_step(a, STEP_CHECKOUT, 0);
        s->ran = true;
        a->step_began_us = attempt_now_us(a);
        return;
    }
    attempt_set_refusal(a, REFUSED_INTERNAL, "checkout did not start: %s", why);
    begin_wipe(a);
}

static void merge_disk(struct attempt *a, const struct warden_usage *u)
{
    if (u->disk_peak > a->usage.disk_peak)
        a->usage.disk_peak = u->disk_peak;
}

/* A tool's phase is over: its step, and whether it did well. */
static bool tool_ended(struct attempt *a, const struct warden_reply *r, enum step_kind kind)
{
    struct step_result *s = attempt_step(a, kind, 0);
    s->ran = true;
    s->exit = r->signal ? -1 : r->exit;
    s->signal = r->signal;
    s->ms = (attempt_now_us(a) - a->step_began_us) / 1000;
    merge_disk(a, &r->u.usage);
    return r->status == 0 && r->exit == 0 && r->signal == 0;
}

/* Why a tool that failed did so, as far as anybody knows. */
static const char *tool_words(const struct attempt *a, const struct warden_reply *r)
{
    return r->u.usage.oom_kills > 0 ? "the memory limit ended it"
           : a->complaint.len       ? buf_str(&a->complaint)
           : r->status              ? r->detail
                                    : "it failed without a word";
}

static void begin_run(struct attempt *a)
{
    struct err err = ERR_INIT;
    spool_note(a->spool, attempt_now_us(a), "checkout: done in %.2f s",
               (double)attempt_step(a, STEP_CHECKOUT, 0)->ms / 1000);
    spool_wake(a->spool);
    if (attempt_gate_resolve(a, &err) < 0) {
        attempt_set_refusal(a, REFUSED_EGRESS, "%s", err.msg);
        begin_wipe(a);
        return;
    }
    wait_at_most(a, ATTEMPT_KILL_MS); /* the wall limit counts from its start */
    begin_phase(a, AT_RUNNING, WARDEN_RUN);
}

static void on_checkout_exited(struct attempt *a, struct happening *h)
{
    char want[TASK_OID_SIZE + 8];
    attempt_pipes_drain(a);
    bool good = tool_ended(a, h->reply, STEP_CHECKOUT);
    snprintf(want, sizeof want, "ok %s\n", a->task.root);
    if (a->cancelled) {
        end_with_result(a);
        return;
    }
    if (good && strcmp(buf_str(&a->said), want) == 0) {
        begin_run(a);
        return;
    }
    if (a->late)
        attempt_set_refusal(a, REFUSED_TREE, "the checkout took longer than %d min",
                            ATTEMPT_CHECKOUT_MS / 60000);
    else if (good)
        attempt_set_refusal(a, REFUSED_TREE, "the checkout said '%.100s'", buf_str(&a->said));
    else
        attempt_set_refusal(a, REFUSED_TREE, "%.200s", tool_words(a, h->reply));
    begin_wipe(a);
}

/* The place of a token comes behind the pipes, when there is one; then the gate's sockets. */
static int gate_started(struct attempt *a, struct happening *h, char *why, size_t size)
{
    struct err err = ERR_INIT;
    size_t at = PIPE_COUNT;
    int rc = 0;
    if (a->task.policy.repo.mode == REPO_TOKEN && h->nfds > at) {
        rc = attempt_token_place(a, h->fds[at], &err);
        h->fds[at++] = -1;
    }
    if (rc == 0 && attempt_gate_open(a, h->fds + at, h->nfds - at, &err) == 0)
        return 0;
    text_linef(why, size, "%s", err.msg);
    return -1;
}

static void on_run_started(struct attempt *a, struct happening *h)
{
    char why[256];
    if (started(a, h, PIPE_COUNT, why, sizeof why) < 0 || gate_started(a, h, why, sizeof why) < 0) {
        attempt_set_error(a, "the jail did not start: %s", why);
        if (h->reply->status != 0)
            end_with_result(a);
        else
            kill_phase(a);
        return;
    }
    a->started = clock_wall_s();
    a->begun = true;
    attempt_tell_state(a, "");
    if (!a->killing)
        wait_at_most(a, a->task.policy.limits[LIMIT_WALL]);
}

static void on_run_exited(struct attempt *a, struct happening *h)
{
    attempt_gate_end(a);
    attempt_token_end(a);
    attempt_pipes_drain(a);
    attempt_steps_end(a);
    uint64_t disk = a->usage.disk_peak;
    a->usage = h->reply->u.usage;
    a->run_exit = h->reply->exit;
    a->run_signal = h->reply->signal;
    if (a->usage.disk_peak < disk)
        a->usage.disk_peak = disk;
    if (h->reply->status != 0)
        attempt_set_error(a, "%s", h->reply->detail);
    a->timed_out = a->late;
    if (a->timed_out)
        spool_note(a->spool, attempt_now_us(a), "stopped: out of time");
    else if (a->cancelled)
        spool_note(a->spool, attempt_now_us(a), "stopped: cancelled");
    wait_at_most(a, ATTEMPT_COLLECT_MS);
    begin_phase(a, AT_COLLECTING, WARDEN_COLLECT);
    a->step_began_us = attempt_now_us(a);
    attempt_tell_state(a, "collect");
}

static void on_collect_started(struct attempt *a, struct happening *h)
{
    char why[256];
    if (started(a, h, 2, why, sizeof why) == 0)
        return;
    attempt_set_error(a, "collecting did not start: %s", why);
    if (h->reply->status != 0)
        end_with_result(a);
    else
        kill_phase(a);
}

static void on_collect_exited(struct attempt *a, struct happening *h)
{
    attempt_pipes_drain(a);
    if (!tool_ended(a, h->reply, STEP_COLLECT)) {
        a->collect_oom = h->reply->u.usage.oom_kills > 0;
        a->collect_mem_peak = h->reply->u.usage.mem_peak;
        if (a->late)
            attempt_set_error(a, "collecting took longer than %d min", ATTEMPT_COLLECT_MS / 60000);
        else
            attempt_set_error(a, "collect: %.200s", tool_words(a, h->reply));
        end_with_result(a);
        return;
    }
    uv_timer_stop(&a->timer);
    snprintf(a->cache, sizeof a->cache, "%.64s", h->reply->cache);
    if (attempt_patch_begin(a, h->fds, h->nfds) > 0) {
        h->fds[0] = -1;
        a->at = AT_HASHING;
    } else {
        end_with_result(a);
    }
}

static void on_hashed(struct attempt *a, struct happening *h)
{
    end_with_result(a);
}

/* ---- cancel, deadline, wipe, stop ---- */

static void on_cancel_note(struct attempt *a, struct happening *h)
{
    a->cancelled = true;
}

static void on_cancel_pack(struct attempt *a, struct happening *h)
{
    a->cancelled = true;
    if (a->pack_stream)
        stream_close(a->pack_stream);
    spool_note(a->spool, attempt_now_us(a), "stopped: cancelled");
    end_with_result(a);
}

static void on_cancel_kill(struct attempt *a, struct happening *h)
{
    a->cancelled = true;
    kill_phase(a);
}

/* It crossed the end on its way: the answer says where the attempt is. */
static void on_cancel_over(struct attempt *a, struct happening *h)
{
    attempt_tell_state(a, "");
}

static void on_late_kill(struct attempt *a, struct happening *h)
{
    if (a->killing) {
        fatal(a, "the warden did not end its jail in time");
        return;
    }
    a->late = true;
    kill_phase(a);
}

/* Before its start no wall clock counts: then it is the warden that is late. */
static void on_run_late(struct attempt *a, struct happening *h)
{
    if (a->begun || a->killing) {
        on_late_kill(a, h);
        return;
    }
    attempt_set_error(a, "the warden did not start the jail within %d s", ATTEMPT_KILL_MS / 1000);
    kill_phase(a);
}

static void on_wipe(struct attempt *a, struct happening *h)
{
    begin_wipe(a);
}

static void on_kept_too_long(struct attempt *a, struct happening *h)
{
    diag(DIAG_WARN, "attempt %s: its result was never fetched; wiped", a->task.attempt);
    begin_wipe(a);
}

static void on_nothing(struct attempt *a, struct happening *h)
{
}

static void on_wipe_late(struct attempt *a, struct happening *h)
{
    fatal(a, "the warden did not wipe in time");
}

static void on_stop(struct attempt *a, struct happening *h)
{
    if (a->at == AT_ENDED)
        diag(DIAG_WARN, "attempt %s: wiped at shutdown with its result not fetched",
             a->task.attempt);
    begin_wipe(a);
}

static void refuse_after_wipe(struct attempt *a)
{
    attempt_tell_refused(a);
    if (a->pack_stream)
        stream_refuse(a->pack_stream, a->task.attempt, a->refusal, "%s", a->why);
}

static void on_wiped(struct attempt *a, struct happening *h)
{
    const struct warden_wiped *w = &h->reply->u.wiped;
    struct err err = ERR_INIT;
    bool gone = h->reply->status == 0 && w->processes && w->disk && w->cgroup && w->network;
    if (!gone)
        diag(DIAG_ERROR, "attempt %s: not everything was wiped; slot %u is never used again: %s",
             a->task.attempt, a->slot, h->reply->detail);
    else
        diag(DIAG_INFO, "attempt %s: wiped", a->task.attempt);
    if (a->result.len > 0 && attempt_receipt_make(a, w, h->reply->status == 0, &err) < 0)
        diag(DIAG_ERROR, "attempt %s: no receipt: %s", a->task.attempt, err.msg);
    if (a->refused)
        refuse_after_wipe(a);
    reset(a, gone ? AT_FREE : AT_TAINTED);
}

/* ---- the table ---- */

static handler *const table[AT_COUNT][EV_COUNT] = {
    [AT_OPENING] = {[EV_OPENED] = on_opened, [EV_CANCEL] = on_cancel_note, [EV_STOP] = on_stop},
    [AT_PACK] = {[EV_PACKED] = on_packed,
                 [EV_PACK_BAD] = on_pack_bad,
                 [EV_CANCEL] = on_cancel_pack,
                 [EV_DEADLINE] = on_pack_late,
                 [EV_STOP] = on_stop},
    [AT_CHECKOUT] = {[EV_STARTED] = on_checkout_started,
                     [EV_EXITED] = on_checkout_exited,
                     [EV_CANCEL] = on_cancel_kill,
                     [EV_DEADLINE] = on_late_kill,
                     [EV_STOP] = on_stop},
    [AT_RUNNING] = {[EV_STARTED] = on_run_started,
                    [EV_EXITED] = on_run_exited,
                    [EV_CANCEL] = on_cancel_kill,
                    [EV_DEADLINE] = on_run_late,
                    [EV_STOP] = on_stop},
    [AT_COLLECTING] = {[EV_STARTED] = on_collect_started,
                       [EV_EXITED] = on_collect_exited,
                       [EV_CANCEL] = on_cancel_note,
                       [EV_DEADLINE] = on_late_kill,
                       [EV_STOP] = on_stop},
    [AT_HASHING] = {[EV_HASHED] = on_hashed, [EV_CANCEL] = on_cancel_note, [EV_STOP] = on_stop},
    [AT_ENDED] = {[EV_CANCEL] = on_cancel_over,
                  [EV_WIPE] = on_wipe,
                  [EV_DEADLINE] = on_kept_too_long,
                  [EV_STOP] = on_stop},
    /* The wipe kills first: replies that were on their way still come. */
    [AT_WIPING] = {[EV_OPENED] = on_nothing,
                   [EV_STARTED] = on_nothing,
                   [EV_EXITED] = on_nothing,
                   [EV_WIPED] = on_wiped,
                   [EV_CANCEL] = on_cancel_over,
                   [EV_WIPE] = on_nothing, /* asked again: the receipt is on its way */
                   [EV_DEADLINE] = on_wipe_late,
                   [EV_STOP] = on_nothing},
    [AT_TAINTED] = {[EV_STOP] = on_nothing},
};

bool attempt_legal(enum attempt_at at, enum attempt_event ev)
{
    return table[at][ev] != NULL;
}

static int happen(struct attempt *a, enum attempt_event ev, struct happening *h)
{
    if (!attempt_legal(a->at, ev))
        return -ERR_FAIL;
    table[a->at][ev](a, h);
    return 0;
}

int attempt_event(struct attempt *a, enum attempt_event ev)
{
    struct happening h = {0};
    return happen(a, ev, &h);
}

void attempt_reply(struct attempt *a, const struct warden_reply *r, int *fds, size_t nfds)
{
    struct happening h = {.reply = r, .fds = fds, .nfds = nfds};
    int rc = 0;
    switch ((enum warden_op)r->op) {
    case WARDEN_OPEN:
        rc = happen(a, EV_OPENED, &h);
        break;
    case WARDEN_START:
        rc = happen(a, EV_STARTED, &h);
        break;
    case WARDEN_EXITED:
        rc = happen(a, EV_EXITED, &h);
        break;
    case WARDEN_WIPE:
        rc = happen(a, EV_WIPED, &h);
        break;
    case WARDEN_KILL: /* EXITED is what counts */
        break;
    case WARDEN_FACTS:
    default:
        rc = -ERR_FAIL;
    }
    for (size_t i = 0; i < nfds; i++)
        fd_close(&fds[i]);
    if (rc < 0)
        fatal(a, "the warden said something out of turn");
}

/* ---- the beginning ---- */

/* The envelope's own bytes, sealed, for the warden to verify by itself. */
static int envelope_memfd(const void *bytes, size_t len, struct err *err)
{
    int fd = memfd_create("envelope", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "memfd");
    if (write_all(fd, bytes, len) < 0 || lseek(fd, 0, SEEK_SET) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) < 0) {
        int r = err_errno(err, ERR_FAIL, "envelope for the warden");
        close(fd);
        return r;
    }
    return fd;
}

int attempt_begin(struct attempt *a, struct admitted *in, const void *envelope, size_t len,
                  struct err *err)
{
    int fd = -1;
    a->task = in->task;
    memset(&in->task, 0, sizeof in->task);
    memcpy(a->envelope_sha256, in->envelope_sha256, sizeof a->envelope_sha256);
    for (int use = 0; use < PROOF_COUNT; use++)
        proof_make((enum proof)use, envelope, len, a->proofs[use]);
    buf_init(&a->said, ATTEMPT_SAID_MAX);
    buf_init(&a->complaint, ATTEMPT_SAID_MAX);
    buf_init(&a->result, DSSE_BYTES_MAX);
    a->t0_us = clock_mono_us();
    a->started = clock_wall_s();
    int r = attempt_steps_init(a, err);
    if (r == 0)
        r = spool_open(a->owner->spool_dir, a->task.attempt, a->task.policy.limits[LIMIT_LOG],
                       &a->spool, err);
    if (r == 0)
        r = attempt_gate_prepare(a, err);
    if (r == 0)
        r = fd = envelope_memfd(envelope, len, err);
    if (r >= 0) {
        a->at = AT_OPENING;
        r = warden_client_open(a->owner->warden, a->slot, a->task.attempt, in->token, fd, err);
    }
    fd_close(&fd);
    sodium_memzero(in->token, sizeof in->token);
    if (r < 0)
        reset(a, AT_FREE);
    return r < 0 ? r : 0;
}
