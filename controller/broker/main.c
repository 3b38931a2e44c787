/* The broker process: reads one request, does it, answers, and so on until the engine hangs up.
 *
 * It alone knows the signing key. It believes nothing of a request but its form: who signs, when,
 * for how long, which nonce and which token are decided here. It ends on a request it cannot read,
 * for then the other side is not the engine we know. */
#include "controller/broker.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/diag.h"
#include "common/file.h"
#include "common/secret.h"
#include "common/sha256.h"
#include "controller/broker/confine.h"
#include "controller/broker/tokens.h"
#include "controller/broker_wire.h"
#include "proto/sshsig.h"

#define OUT_MAX (3 * (DSSE_BYTES_MAX + 4096))

struct process {
    uint8_t *sec; /* KEY_SEC_BYTES, guarded */
    char iss[KEY_FPR_SIZE];
    struct tokens *tokens;
    struct buf in, out;
};

/* Fills what only the broker may say about an attempt. */
static int fill(struct process *p, struct broker_sign *q, struct err *err)
{
    struct task *t = &q->task;
    uint8_t curve[crypto_box_PUBLICKEYBYTES];
    char hex[BROKER_TOKEN_HEX + 1];

    if (!attempt_id_valid(t->attempt))
        return err_set(err, ERR_REFUSED, "broker: not an attempt id");
    if (q->life_s == 0 || q->life_s > TASK_LIFE_MAX_S)
        return err_set(err, ERR_REFUSED, "broker: a life of 1 to %d s, not more", TASK_LIFE_MAX_S);
    if (crypto_sign_ed25519_pk_to_curve25519(curve, q->runner_key) != 0)
        return err_set(err, ERR_TRUST, "broker: the runner's key is not an Ed25519 key");
    const uint8_t *token = tokens_make(p->tokens, t->attempt, err);
    if (!token)
        return -(int)err->code;
    sodium_bin2hex(hex, sizeof hex, token, TASK_TOKEN_BYTES);
    sha256_of(hex, BROKER_TOKEN_HEX, t->token_sha256);
    sodium_memzero(hex, sizeof hex);
    if (crypto_box_seal(t->token_sealed, token, TASK_TOKEN_BYTES, curve) != 0)
        return err_set(err, ERR_TRUST, "broker: the runner's key is not fit to seal to");
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

static int on_sign(struct process *p, const struct frame *f, struct err *err)
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
    if (rc == 0 && (rc = fill(p, &q, err)) == 0 && (rc = sign(p, &q.task, err)) < 0)
        tokens_end(p->tokens, q.task.attempt);
    json_release(&broker_sign_shape, &q);
    return rc;
}

static int on_order(struct process *p, const struct frame *f, struct err *err)
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

static int on_token_check(struct process *p, const struct frame *f, struct err *err)
{
    struct broker_token_check q;
    int rc = json_decode(&broker_token_check_shape, f->payload, f->len, &q, err);
    if (rc < 0)
        return rc;
    struct broker_token_state s = {.alive = tokens_alive(p->tokens, q.attempt, q.token)};
    sodium_memzero(&q, sizeof q);
    return broker_put(&p->out, BROKER_TOKEN_STATE, &broker_token_state_shape, &s, err);
}

static int on_attempt_end(struct process *p, const struct frame *f, struct err *err)
{
    struct broker_attempt_end q;
    int rc = json_decode(&broker_attempt_end_shape, f->payload, f->len, &q, err);
    if (rc == 0)
        tokens_end(p->tokens, q.attempt);
    return rc;
}

static const struct {
    enum broker_type type;
    bool answered;
    int (*handle)(struct process *p, const struct frame *f, struct err *err);
} requests[] = {
    {BROKER_SIGN, true, on_sign},
    {BROKER_ORDER, true, on_order},
    {BROKER_TOKEN_CHECK, true, on_token_check},
    {BROKER_ATTEMPT_END, false, on_attempt_end},
};

/* Does one request; what went wrong with it is its answer. Negative: not a request. */
static int serve_one(struct process *p, const struct frame *f, struct err *err)
{
    struct err bad = ERR_INIT;
    size_t i = 0, n = sizeof requests / sizeof requests[0];
    while (i < n && requests[i].type != (enum broker_type)f->type)
        i++;
    if (i == n)
        return err_set(err, ERR_FAIL, "request of unknown type %u", f->type);
    size_t before = p->out.len;
    if (requests[i].handle(p, f, &bad) == 0)
        return 0;
    if (!requests[i].answered)
        return err_set(err, bad.code, "%s", bad.msg);
    p->out.len = before; /* half an answer is none */
    p->out.failed = false;
    struct broker_error e = {.code = (int)bad.code};
    memcpy(e.message, bad.msg, sizeof e.message);
    return broker_put(&p->out, BROKER_ERROR, &broker_error_shape, &e, err);
}

static int serve_all(struct process *p, struct err *err)
{
    struct frame f;
    size_t used, at = 0;
    int rc;
    while ((rc = frame_get(p->in.data + at, p->in.len - at, &f, &used, err)) > 0) {
        if ((rc = serve_one(p, &f, err)) < 0)
            return rc;
        at += used;
        if (write_all(BROKER_FD, p->out.data, p->out.len) < 0)
            return err_errno(err, ERR_FAIL, "cannot answer");
        buf_clear(&p->out);
    }
    buf_drop(&p->in, at);
    return rc;
}

/* Until the engine hangs up: 0. */
static int serve(struct process *p, struct err *err)
{
    for (;;) {
        uint8_t *to = buf_room(&p->in, 65536);
        ssize_t n = to ? read(BROKER_FD, to, 65536) : -1;
        if (n == 0)
            return 0;
        if (n < 0 && to && errno == EINTR)
            continue;
        if (n < 0)
            return err_errno(err, ERR_FAIL, "cannot read a request");
        buf_wrote(&p->in, (size_t)n);
        int rc = serve_all(p, err);
        if (rc < 0)
            return rc;
    }
}

/* Reads the key file and wipes all of it but the key itself, which goes into guarded memory. */
static int load_key(struct process *p, const char *path, struct err *err)
{
    char dir[PATH_MAX];
    struct buf text;
    const char *slash = strrchr(path, '/');
    int n =
        snprintf(dir, sizeof dir, "%.*s", slash ? (int)(slash - path + 1) : 1, slash ? path : ".");
    if (n < 0 || n >= (int)sizeof dir)
        return err_set(err, ERR_USAGE, "path of the signing key: too long");
    int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return err_errno(err, ERR_FAIL, "%s", dir);
    buf_init(&text, KEY_LINE_MAX);
    (void)buf_room(&text, KEY_LINE_MAX - 1); /* grown once: no copy is left behind */
    int rc = file_read(fd, slash ? slash + 1 : path, &text, err);
    if (rc == 0)
        rc = key_sec_parse(buf_str(&text), text.len, p->sec, err);
    if (rc < 0)
        err_wrap(err, "signing key");
    buf_wipe(&text);
    close(fd);
    return rc;
}

/* Has libcrypto read its configuration and set itself up while files can still be opened. */
static void warm_up(void)
{
    uint8_t digest[SHA256_BYTES];
    sha256_of("", 0, digest);
}

static int process_start(struct process *p, const char *key_path, struct err *err)
{
    struct broker_hello hello;
    int rc = process_harden(err);
    if (rc < 0)
        return rc;
    if (close_range(BROKER_FD + 1, ~0u, 0) < 0)
        return err_errno(err, ERR_FAIL, "close_range");
    if (!(p->sec = secret_new(KEY_SEC_BYTES, err)) || !(p->tokens = tokens_new(err)))
        return -(int)err->code;
    if ((rc = load_key(p, key_path, err)) < 0)
        return rc;
    memcpy(hello.key, p->sec + 32, KEY_PUB_BYTES);
    key_fingerprint(hello.key, p->iss);
    warm_up();
    if ((rc = broker_confine(err)) < 0)
        return rc;
    rc = broker_put(&p->out, BROKER_HELLO, &broker_hello_shape, &hello, err);
    if (rc == 0 && write_all(BROKER_FD, p->out.data, p->out.len) < 0)
        rc = err_errno(err, ERR_FAIL, "cannot answer");
    buf_clear(&p->out);
    return rc;
}

static void process_end(struct process *p)
{
    tokens_free(p->tokens);
    secret_free(p->sec);
    buf_wipe(&p->in);
    buf_wipe(&p->out);
}

int broker_main(const char *key_path, const char *dir)
{
    struct err err = ERR_INIT;
    struct process p = {0};
    buf_init(&p.in, 2 * (FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX));
    buf_init(&p.out, OUT_MAX);
    int rc = process_start(&p, key_path, &err);
    if (rc == 0)
        rc = serve(&p, &err);
    if (rc < 0)
        diag(DIAG_ERROR, "broker: %s", err.msg);
    process_end(&p);
    /* At once: what others registered to run at exit has no business in a confined process. */
    _exit(err_exit(&err));
}
