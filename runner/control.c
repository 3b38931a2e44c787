/* The control channel: WELCOME, then what a controller asks. Each message is judged by the one table
 * of legal types, answered here or handed to the attempt it names. It reads no descriptor itself and
 * keeps no state of its own: several channels may be open, and any may go at any time. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/diag.h"
#include "proto/dsse.h"
#include "proto/order.h"
#include "runner/channels.h"
#include "runner/images.h"
#include "runner/tools.h"
#include "runner/landlock.h"

static void refuse_legal(struct stream *s, const char *attempt, enum refusal why,
                         const char *detail)
{
    diag(DIAG_WARN, "refused (%s)%s%s: %s", refusal_names[why], attempt[0] ? " attempt " : "",
         attempt, detail);
    stream_say_refused(s, attempt, why, detail);
}

/* ---- welcome ---- */

static void list_attempts(struct serve *sv, struct json_list *out)
{
    size_t n = 0;
    struct msg_attempt *items = calloc(sv->cfg->slots + RECEIPTS_MAX, sizeof *items);
    if (!items)
        return;
    for (unsigned i = 0; i < sv->cfg->slots; i++) {
        const struct attempt *a = &sv->attempts[i];
        if (a->at == AT_FREE || a->at == AT_TAINTED)
            continue;
        memcpy(items[n].attempt, a->task.attempt, sizeof items[n].attempt);
        items[n].state = (int)attempt_state(a);
        items[n++].log_bytes = a->spool ? spool_bytes(a->spool) : 0;
    }
    /* Wiped ones are named while their receipt can still be had. */
    for (size_t i = 0; i < sv->owner.receipts.n; i++) {
        memcpy(items[n].attempt, sv->owner.receipts.items[i]->attempt, sizeof items[n].attempt);
        items[n++].state = ATTEMPT_WIPED;
    }
    out->n = n;
    out->items = items;
}

static void say_welcome(struct serve *sv, struct stream *s)
{
    struct msg m = {.type = MSG_WELCOME};
    struct msg_welcome *w = &m.u.welcome;
    const struct warden_facts *facts = &sv->warden.facts;
    w->version = PROTO_VERSION;
    memcpy(w->program, sv->identity.program, sizeof w->program);
    memcpy(w->runner_key, sv->identity.pub, sizeof w->runner_key);
    memcpy(w->host_key, sv->identity.host_key, sizeof w->host_key);
    memcpy(w->kernel, sv->kernel, sizeof w->kernel);
    w->slots = (int)sv->cfg->slots;
    w->rooted = facts->rooted;
    w->unenforceable = facts->unenforceable;
    memcpy(w->unenforceable_why, facts->why, sizeof w->unenforceable_why);
    w->memory_cleared = facts->memory_cleared;
    w->disk_images = facts->disk_images;
    memcpy(w->disk_images_why, facts->disks_why, sizeof w->disk_images_why);
    w->presets = presets_known(sv->presets);
    w->reach = sv->cfg->reach; /* borrowed */
    w->landlock_abi = landlock_abi();
    images_list(sv->cfg->images, &w->images);
    tools_list(sv->cfg->tools, &w->tools);
    list_attempts(sv, &w->attempts);
    stream_send(s, &m);
    strv_done(&w->images);
    strv_done(&w->tools);
    free(w->attempts.items);
}

/* ---- messages ---- */

static void on_envelope(struct serve *sv, struct stream *s, const struct msg *m)
{
    struct attempt *slot = sv->stopping ? NULL : serve_free_slot(sv);
    struct admit_ground ground = {
        .identity = &sv->identity,
        .seen = sv->seen,
        .now = clock_wall_s(),
        .unenforceable = sv->warden.facts.unenforceable,
        .why = sv->warden.facts.why,
        .presets = sv->presets,
        .slot_free = slot != NULL,
    };
    struct admitted in;
    struct seen_record rec;
    struct err err = ERR_INIT;
    enum refusal why = REFUSED_INTERNAL;
    char attempt[ATTEMPT_ID_SIZE];
    int r = admit(&ground, m->u.doc.bytes, m->u.doc.len, &in, &why, &err);
    memcpy(attempt, in.task.attempt, sizeof attempt);
    if (r == 0) {
        why = REFUSED_INTERNAL;
        admitted_record(&in, &rec);
        r = seen_add(sv->seen, &rec, ground.now, &err);
    }
    if (r == 0) {
        diag(DIAG_INFO, "attempt %s: admitted from %s", attempt, in.key);
        r = attempt_begin(slot, &in, m->u.doc.bytes, m->u.doc.len, &err);
    }
    if (r < 0)
        refuse_legal(s, attempt, why, err.msg);
    admitted_done(&in);
}

/* An order is good when a pinned key signed it for this host. False: it was refused. */
static bool order_open(struct serve *sv, struct stream *s, const struct msg *m,
                       enum order_kind kind, struct order *out)
{
    const struct controller_keys *keys = &sv->identity.controllers;
    struct dsse d = {0};
    struct err err = ERR_INIT;
    char signer[KEY_FPR_SIZE];
    enum refusal why = REFUSED_MALFORMED;
    size_t which;
    int r = dsse_parse(m->u.doc.bytes, m->u.doc.len, &d, &err);
    *out = (struct order){0};
    if (r == 0 && (r = dsse_verify(&d, keys->keys, keys->n, &which, &err)) < 0)
        why = REFUSED_SIGNATURE;
    if (r == 0 && strcmp(d.type, DSSE_TYPE_ORDER) != 0) {
        why = REFUSED_TYPE;
        r = err_set(&err, ERR_REFUSED, "payloadType '%s' is not an order's", d.type);
    }
    if (r == 0 && (r = order_decode(d.body.data, d.body.len, out, &err)) < 0)
        why = REFUSED_PAYLOAD;
    if (r == 0) {
        key_fingerprint(keys->keys[which], signer);
        why = REFUSED_PAYLOAD;
        if (strcmp(out->iss, signer) != 0)
            r = err_set(&err, ERR_REFUSED, "iss is not the key that signed");
        else if (out->kind != (int)kind)
            r = err_set(&err, ERR_REFUSED, "an order of another kind");
    }
    if (r == 0 && strcmp(out->aud_host_key, sv->identity.host_key) != 0) {
        why = REFUSED_AUDIENCE;
        r = err_set(&err, ERR_REFUSED, "for host key %s", out->aud_host_key);
    }
    dsse_done(&d);
    if (r < 0)
        refuse_legal(s, out->attempt, why, err.msg);
    return r == 0;
}

/* Of several pinned controllers, each orders only what it has sent. */
static struct attempt *order_target(struct serve *sv, const struct order *o)
{
    struct attempt *a = serve_attempt(sv, o->attempt);
    return a && strcmp(a->task.iss, o->iss) == 0 ? a : NULL;
}

static void on_cancel(struct serve *sv, struct stream *s, const struct msg *m)
{
    struct order o;
    if (!order_open(sv, s, m, ORDER_CANCEL, &o))
        return;
    const char *id = o.attempt;
    struct attempt *a = order_target(sv, &o);
    if (!a)
        refuse_legal(s, id, REFUSED_UNKNOWN, "cancel: this runner does not have it");
    else if (attempt_event(a, EV_CANCEL) < 0)
        refuse_legal(s, id, REFUSED_PROTOCOL, "cancel is not legal now");
}

static void repeat_receipt(struct serve *sv, struct stream *s, const struct order *w)
{
    receipts_expire(&sv->owner.receipts, clock_wall_s());
    const struct receipt_kept *kept = receipts_find(&sv->owner.receipts, w->attempt);
    struct msg m = {.type = MSG_RECEIPT};
    if (!kept) {
        refuse_legal(s, w->attempt, REFUSED_UNKNOWN, "wipe: this runner does not have it");
    } else if (sodium_memcmp(kept->result_sha256, w->result_sha256, 32) != 0) {
        refuse_legal(s, w->attempt, REFUSED_PROTOCOL, "wipe: that is not the result it had");
    } else {
        m.u.doc.bytes = kept->doc.data;
        m.u.doc.len = kept->doc.len;
        stream_send(s, &m);
    }
}

static void on_wipe(struct serve *sv, struct stream *s, const struct msg *m)
{
    struct order o;
    if (!order_open(sv, s, m, ORDER_WIPE, &o))
        return;
    const struct order *w = &o;
    struct attempt *a = order_target(sv, w);
    if (!a)
        repeat_receipt(sv, s, w);
    else if (a->result.len == 0)
        refuse_legal(s, w->attempt, REFUSED_PROTOCOL,
                     "wipe: it has no result yet; cancel it first");
    else if (sodium_memcmp(a->result_sha256, w->result_sha256, 32) != 0)
        refuse_legal(s, w->attempt, REFUSED_PROTOCOL,
                     "wipe: that is not the SHA-256 of its result");
    else if (attempt_event(a, EV_WIPE) < 0)
        refuse_legal(s, w->attempt, REFUSED_PROTOCOL, "wipe is not legal now");
}

static void on_repo_token(struct serve *sv, struct stream *s, const struct msg *m)
{
    const struct msg_repo_token *t = &m->u.repo_token;
    struct err err = ERR_INIT;
    struct attempt *a = serve_attempt(sv, t->attempt);
    if (!a) {
        refuse_legal(s, t->attempt, REFUSED_UNKNOWN, "token: this runner does not have it");
        return;
    }
    if (!attempt_proven(a, PROOF_REPO_TOKEN, t->proof)) {
        refuse_legal(s, t->attempt, REFUSED_PROOF,
                     "token: only who sent the attempt's envelope may give it one");
        return;
    }
    int r = attempt_token(a, t->sealed, &err);
    if (r < 0)
        refuse_legal(s, t->attempt,
                     r == -ERR_TRUST     ? REFUSED_TOKEN
                     : r == -ERR_REFUSED ? REFUSED_PROTOCOL
                                         : REFUSED_INTERNAL,
                     err.msg);
}

static void on_ping(struct serve *sv, struct stream *s, const struct msg *m)
{
    struct msg pong = {.type = MSG_PONG, .u.ping = m->u.ping};
    stream_send(s, &pong);
}

static const struct {
    enum msg_type type;
    void (*on)(struct serve *sv, struct stream *s, const struct msg *m);
} handlers[] = {
    {MSG_ENVELOPE, on_envelope},     {MSG_CANCEL, on_cancel}, {MSG_WIPE, on_wipe},
    {MSG_REPO_TOKEN, on_repo_token}, {MSG_PING, on_ping},
};

static void control_frame(struct stream *s, const struct frame *f)
{
    struct msg m = {0};
    struct err err = ERR_INIT;
    enum msg_type type = (enum msg_type)f->type;
    if (!msg_legal(SIDE_CONTROLLER, CHANNEL_CONTROL, type) || type == MSG_HELLO) {
        stream_refuse(s, "", REFUSED_PROTOCOL, "'%s' is not legal here", msg_name(type));
        return;
    }
    if (msg_decode(f, &m, &err) < 0) {
        stream_refuse(s, "", REFUSED_PROTOCOL, "%s: %s", msg_name(type), err.msg);
        return;
    }
    for (size_t i = 0; i < sizeof handlers / sizeof *handlers; i++)
        if (handlers[i].type == m.type)
            handlers[i].on(s->owner->arg, s, &m);
    msg_done(&m);
}

static const struct stream_kind control_kind = {.frame = control_frame};

void control_open(struct serve *sv, struct stream *s)
{
    stream_open(s, CHANNEL_CONTROL, &control_kind);
    say_welcome(sv, s);
    for (unsigned i = 0; i < sv->cfg->slots; i++)
        if (sv->attempts[i].calls)
            calls_again(sv->attempts[i].calls);
}

void control_tell(struct serve *sv, const struct msg *m)
{
    for (struct stream *s = sv->streams.streams, *next; s; s = next) {
        next = s->next;
        if (s->kind == &control_kind)
            stream_send(s, m);
    }
}
