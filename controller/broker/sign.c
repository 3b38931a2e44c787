/* Who signs, when, for how long, which nonce and which token are decided here, not by the engine. Before an
 * envelope is given out, its token's digest and what it may spend are on disk. */
#include "controller/broker/sign.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/secret.h"
#include "common/sha256.h"
#include "controller/broker/books.h"
#include "controller/broker/forge_queue.h"
#include "proto/dsse.h"
#include "proto/sshsig.h"

/* Is there something to spend it at, and is it what the plan was made with? */
static int check_spend(struct process *p, const struct spend *s, struct err *err)
{
    if (!spend_any(s))
        return 0;
    int rc = books_look(p->books, err);
    if (rc < 0)
        return rc;
    if (!providers_find(books_providers(p->books), s->provider))
        return err_set(err, ERR_REFUSED, "there is no provider %s any more: creel provider ls",
                       s->provider);
    const struct prices *prices = books_prices(p->books);
    if (!prices || memcmp(prices_sha256(prices), s->prices_sha256, sizeof s->prices_sha256) != 0)
        return err_set(err, ERR_REFUSED,
                       "prices were changed after the task was planned: submit it again");
    return 0;
}

/* A new token: its digest and its sealed form go into the task, itself it is forgotten. */
static int make_token(struct task *t, const uint8_t curve[static crypto_box_PUBLICKEYBYTES],
                      struct err *err)
{
    uint8_t *token = secret_new(TASK_TOKEN_BYTES + BROKER_TOKEN_HEX + 1, err);
    if (!token)
        return -(int)err->code;
    char *hex = (char *)token + TASK_TOKEN_BYTES;
    randombytes_buf(token, TASK_TOKEN_BYTES);
    sodium_bin2hex(hex, BROKER_TOKEN_HEX + 1, token, TASK_TOKEN_BYTES);
    sha256_of(hex, BROKER_TOKEN_HEX, t->token_sha256);
    int rc = crypto_box_seal(t->token_sealed, token, TASK_TOKEN_BYTES, curve);
    secret_free(token);
    return rc == 0 ? 0 : err_set(err, ERR_TRUST, "broker: the runner's key is not fit to seal to");
}

/* Fills what only the broker may say about an attempt. */
static int fill(struct process *p, struct broker_sign *q, struct err *err)
{
    struct task *t = &q->task;
    uint8_t curve[crypto_box_PUBLICKEYBYTES];
    if (!attempt_id_valid(t->attempt))
        return err_set(err, ERR_REFUSED, "broker: not an attempt id");
    if (q->life_s == 0 || q->life_s > TASK_LIFE_MAX_S)
        return err_set(err, ERR_REFUSED, "broker: a life of 1 to %d s, not more", TASK_LIFE_MAX_S);
    if (crypto_sign_ed25519_pk_to_curve25519(curve, q->runner_key) != 0)
        return err_set(err, ERR_TRUST, "broker: the runner's key is not an Ed25519 key");
    int rc = check_spend(p, &t->policy.spend, err);
    if (rc == 0)
        rc = make_token(t, curve, err);
    if (rc < 0)
        return rc;
    memcpy(t->iss, p->iss, sizeof t->iss);
    t->iat = t->nbf = clock_wall_s();
    t->exp = t->iat + q->life_s;
    randombytes_buf(t->nonce, sizeof t->nonce);
    return 0;
}

static int put_document(struct process *p, enum broker_type type, const struct buf *doc,
                        struct err *err)
{
    if (frame_put(&p->out, (uint8_t)type, doc->data, doc->len) < 0)
        return err_set(err, ERR_REFUSED, "broker: too large to sign");
    return 0;
}

static int sign(struct process *p, const struct task *t, struct err *err)
{
    struct buf payload, doc, sig;
    buf_init(&payload, DSSE_BYTES_MAX);
    buf_init(&doc, DSSE_BYTES_MAX);
    buf_init(&sig, 8192);
    int rc = task_encode(t, &payload, err); /* checks the task too */
    if (rc == 0)
        rc = dsse_sign(p->sec, DSSE_TYPE_TASK, payload.data, payload.len, &doc, err);
    if (rc == 0)
        rc = sshsig_sign(p->sec, SSHSIG_NAMESPACE_TASK, payload.data, payload.len, &sig, err);
    if (rc == 0)
        rc = put_document(p, BROKER_ENVELOPE, &doc, err);
    if (rc == 0)
        rc = put_document(p, BROKER_SSHSIG, &sig, err);
    buf_done(&payload);
    buf_done(&doc);
    buf_done(&sig);
    return rc;
}

static uint64_t dead_after(const struct broker_sign *q, uint64_t now)
{
    return now + q->life_s + q->task.policy.limits[LIMIT_WALL] / 1000 + 1;
}

/* On disk before the envelope leaves: what it lets the attempt do outlives this process. */
static int remember(struct process *p, const struct broker_sign *q, struct err *err)
{
    const struct task *t = &q->task;
    struct ledger_attempt a = {.spend = t->policy.spend, .repo = t->policy.repo}; /* borrowed */
    memcpy(a.task, t->id, sizeof a.task);
    memcpy(a.attempt, t->attempt, sizeof a.attempt);
    memcpy(a.token_sha256, t->token_sha256, sizeof a.token_sha256);
    memcpy(a.branch, t->branch, sizeof a.branch);
    memcpy(a.runner_key, q->runner_key, sizeof a.runner_key);
    a.exp = dead_after(q, t->iat);
    return ledger_begin(p->ledger, &a, err);
}

static void on_key(void *arg, const char *value, size_t len, const struct err *err)
{
    (void)arg; /* whether it can be had is said to the call that needs it */
    (void)value;
    (void)len;
    (void)err;
}

/* The provider's key is got while the source is on its way: the first call need not wait for a command, and
 * what the task prints from its first line on is searched for the key. */
static void want_key(struct process *p, const struct spend *s)
{
    if (!p->secrets || !spend_any(s))
        return;
    const struct provider *v = providers_find(books_providers(p->books), s->provider);
    if (v)
        secrets_get(p->secrets, v->secret, on_key, p);
}

static int sign_now(struct process *p, struct broker_sign *q, struct err *err)
{
    size_t before = p->out.len;
    int rc = fill(p, q, err);
    if (rc == 0)
        rc = sign(p, &q->task, err);
    if (rc == 0)
        rc = remember(p, q, err);
    if (rc == 0)
        want_key(p, &q->task.policy.spend);
    if (rc < 0) {
        p->out.len = before; /* half an answer is none */
        p->out.failed = false;
    }
    return rc;
}

/* An envelope whose task gets a repository token: that is minted first. */
struct signing {
    struct process *p;
    struct broker_sign q;
};

static void on_minted(void *arg, const struct err *err)
{
    struct signing *s = arg;
    struct process *p = s->p;
    struct err why = err ? *err : ERR_INIT, bad = ERR_INIT;
    int rc = err ? -(int)err->code : sign_now(p, &s->q, &why);
    if (rc < 0 && !err)
        forge_queue_over(p->forge, s->q.task.attempt);
    if (rc < 0 && process_refuse(p, &why, &bad) < 0)
        process_fail(p, "cannot answer", &bad);
    json_release(&broker_sign_shape, &s->q);
    free(s);
    p->signing = NULL;
    process_resume(p);
}

/* Takes the request. */
static int mint_first(struct process *p, struct broker_sign *q, struct err *err)
{
    struct forge_want want = {.until = dead_after(q, clock_wall_s())};
    struct signing *s = p->forge && attempt_id_valid(q->task.attempt) ? calloc(1, sizeof *s) : NULL;
    if (!s) {
        json_release(&broker_sign_shape, q);
        return err_set(err, ERR_REFUSED, "broker: no repository tokens can be had here");
    }
    s->p = p;
    s->q = *q;
    memcpy(want.attempt, q->task.attempt, sizeof want.attempt);
    memcpy(want.url, q->task.policy.repo.url, sizeof want.url);
    memcpy(want.runner_key, q->runner_key, sizeof want.runner_key);
    p->signing = s;
    forge_queue_mint(p->forge, &want, on_minted, s);
    return 0;
}

int sign_task(struct process *p, const struct frame *f, struct err *err)
{
    struct broker_sign q;
    int rc = json_decode(&broker_sign_shape, f->payload, f->len, &q, err);
    if (rc < 0)
        return rc;
    if (q.task.iss[0] || q.task.iat || q.task.nbf || q.task.exp ||
        !sodium_is_zero(q.task.nonce, sizeof q.task.nonce) ||
        !sodium_is_zero(q.task.token_sha256, sizeof q.task.token_sha256) ||
        !sodium_is_zero(q.task.token_sealed, sizeof q.task.token_sealed))
        rc = err_set(err, ERR_REFUSED,
                     "broker: issuer, times, nonce and token are not the engine's");
    if (rc == 0 && q.task.policy.repo.mode == REPO_TOKEN)
        return mint_first(p, &q, err);
    if (rc == 0)
        rc = sign_now(p, &q, err);
    json_release(&broker_sign_shape, &q);
    return rc;
}

int sign_order(struct process *p, const struct frame *f, struct err *err)
{
    struct broker_order q;
    struct buf payload, doc;
    int rc = json_decode(&broker_order_shape, f->payload, f->len, &q, err);
    if (rc < 0)
        return rc;
    if (q.order.iss[0])
        return err_set(err, ERR_REFUSED, "broker: the issuer is not the engine's to say");
    memcpy(q.order.iss, p->iss, sizeof q.order.iss);
    buf_init(&payload, JSON_BYTES_MAX);
    buf_init(&doc, DSSE_BYTES_MAX);
    rc = order_encode(&q.order, &payload, err); /* checks it too */
    if (rc == 0)
        rc = dsse_sign(p->sec, DSSE_TYPE_ORDER, payload.data, payload.len, &doc, err);
    if (rc == 0)
        rc = put_document(p, BROKER_ORDERED, &doc, err);
    buf_done(&payload);
    buf_done(&doc);
    return rc;
}
