/* The envelope checks; see admit.h. One function a check, walked in the order of the table at the
 * end; the first that fails names the refusal. Nothing of the payload is read before the signature
 * held, and nothing here acts on it. */
#include "runner/admit.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/sha256.h"
#include "proto/dsse.h"

struct checking {
    const struct admit_ground *g;
    const void *doc;
    size_t len;
    struct dsse dsse;
    struct admitted *out;
};

static int check_size(struct checking *c, struct err *err)
{
    if (c->len > DSSE_BYTES_MAX)
        return err_set(err, ERR_REFUSED, "envelope of %zu bytes; at most %u", c->len,
                       DSSE_BYTES_MAX);
    return 0;
}

static int check_form(struct checking *c, struct err *err)
{
    return dsse_parse(c->doc, c->len, &c->dsse, err);
}

static int check_signature(struct checking *c, struct err *err)
{
    const struct controller_keys *keys = &c->g->identity->controllers;
    size_t which;
    int r = dsse_verify(&c->dsse, keys->keys, keys->n, &which, err);
    if (r < 0)
        return r;
    key_fingerprint(keys->keys[which], c->out->key);
    sha256_of(c->doc, c->len, c->out->envelope_sha256);
    return 0;
}

/* The payload's own type is looked at alone and first, so that a document that is signed for another
 * purpose is refused as that, not as a task with missing keys. */
static int check_type(struct checking *c, struct err *err)
{
    struct any {
        char type[257];
    } any;
    static const struct json_field fields[] = {JSON_ROW_AS(struct any, TEXT, type, "_type"),
                                               JSON_END};
    static const struct json_shape shape = {.size = sizeof any, .fields = fields, .open = true};
    struct err why = ERR_INIT;
    if (strcmp(c->dsse.type, DSSE_TYPE_TASK) != 0)
        return err_set(err, ERR_REFUSED, "payloadType '%s' is not '%s'", c->dsse.type,
                       DSSE_TYPE_TASK);
    if (json_decode(&shape, c->dsse.body.data, c->dsse.body.len, &any, &why) < 0)
        return 0; /* the task's own decoder says what is wrong */
    int r = strcmp(any.type, TASK_TYPE) == 0
                ? 0
                : err_set(err, ERR_REFUSED, "_type '%s' is not '%s'", any.type, TASK_TYPE);
    json_release(&shape, &any);
    return r;
}

static int check_payload(struct checking *c, struct err *err)
{
    struct task *t = &c->out->task;
    int r = task_decode(c->dsse.body.data, c->dsse.body.len, t, err);
    if (r == 0 && strcmp(t->iss, c->out->key) != 0)
        return err_set(err, ERR_REFUSED, "iss %s is not the key that signed, %s", t->iss,
                       c->out->key);
    return r;
}

static int check_audience(struct checking *c, struct err *err)
{
    const struct task *t = &c->out->task;
    if (strcmp(t->aud_host_key, c->g->identity->host_key) == 0)
        return 0;
    return err_set(err, ERR_REFUSED, "for host key %s; this host's is %s", t->aud_host_key,
                   c->g->identity->host_key);
}

static int check_begun(struct checking *c, struct err *err)
{
    const struct task *t = &c->out->task;
    if (t->nbf > c->g->now && t->nbf - c->g->now > TASK_SKEW_S)
        return err_set(err, ERR_REFUSED, "good from %" PRIu64 " on; here it is %" PRIu64, t->nbf,
                       c->g->now);
    return 0;
}

static int check_alive(struct checking *c, struct err *err)
{
    const struct task *t = &c->out->task;
    if (t->exp <= c->g->now && c->g->now - t->exp >= TASK_SKEW_S)
        return err_set(err, ERR_REFUSED, "good until %" PRIu64 "; here it is %" PRIu64, t->exp,
                       c->g->now);
    if (t->exp < t->nbf || t->exp - t->nbf > TASK_LIFE_MAX_S || t->exp < t->iat ||
        t->exp - t->iat > TASK_LIFE_MAX_S)
        return err_set(err, ERR_REFUSED, "lives longer than %d hours", TASK_LIFE_MAX_S / 3600);
    return 0;
}

static int check_once(struct checking *c, struct err *err)
{
    const struct task *t = &c->out->task;
    if (seen_has(c->g->seen, t->nonce, t->attempt))
        return err_set(err, ERR_REFUSED, "this nonce or attempt %s was admitted before",
                       t->attempt);
    return 0;
}

static int check_fence(struct checking *c, struct err *err)
{
    uint64_t last = seen_fence(c->g->seen, c->out->key);
    if (c->out->task.fence > last)
        return 0;
    return err_set(err, ERR_REFUSED, "fencing token %" PRIu64 "; the last one seen is %" PRIu64,
                   c->out->task.fence, last);
}

static int check_token(struct checking *c, struct err *err)
{
    const struct task *t = &c->out->task;
    char hex[2 * TASK_TOKEN_BYTES + 1];
    uint8_t digest[SHA256_BYTES];
    int r = identity_unseal(c->g->identity, t->token_sealed, c->out->token, err);
    if (r < 0)
        return r;
    sodium_bin2hex(hex, sizeof hex, c->out->token, sizeof c->out->token);
    sha256_of(hex, sizeof hex - 1, digest);
    sodium_memzero(hex, sizeof hex);
    if (sodium_memcmp(digest, t->token_sha256, sizeof digest) != 0)
        return err_set(err, ERR_TRUST, "the sealed task token is not the one whose hash is signed");
    return 0;
}

static int check_limits(struct checking *c, struct err *err)
{
    unsigned missing = c->g->unenforceable & ~c->out->task.policy.allow_unenforced;
    struct buf names;
    if (!missing)
        return 0;
    buf_init(&names, 256);
    limit_list(missing, &names);
    err_set(err, ERR_REFUSED, "cannot enforce %s here: %s", buf_str(&names), c->g->why);
    buf_done(&names);
    return -ERR_REFUSED;
}

/* Whether a preset can be known here; what it names is found out before the jail is made. */
static int check_preset(const struct presets *p, enum egress_preset which, struct err *err)
{
    if (p && (presets_known(p) & 1u << which))
        return 0;
    return err_set(err, ERR_REFUSED, "the egress preset %s is not known on this host%s%s",
                   preset_names[which], p ? ": " : "", p ? p->of[which].why : "");
}

static int check_egress(struct checking *c, struct err *err)
{
    struct egress_rule *rules = calloc(EGRESS_RULES_MAX, sizeof *rules);
    size_t n = 0;
    int rc = rules ? egress_parse_all(&c->out->task.policy.egress, rules, &n, err)
                   : err_set(err, ERR_FAIL, "out of memory");
    for (size_t i = 0; rc == 0 && i < n; i++)
        if (rules[i].kind == EGRESS_PRESET)
            rc = check_preset(c->g->presets, rules[i].preset, err);
    free(rules);
    return rc;
}

static int check_slot(struct checking *c, struct err *err)
{
    return c->g->slot_free ? 0
                           : err_set(err, ERR_REFUSED, "every slot is taken; send it again later");
}

/* The designed order. */
static const struct {
    int (*check)(struct checking *c, struct err *err);
    enum refusal why;
} checks[] = {
    {check_size, REFUSED_SIZE},           {check_form, REFUSED_MALFORMED},
    {check_signature, REFUSED_SIGNATURE}, {check_type, REFUSED_TYPE},
    {check_payload, REFUSED_PAYLOAD},     {check_audience, REFUSED_AUDIENCE},
    {check_begun, REFUSED_NOT_YET},       {check_alive, REFUSED_EXPIRED},
    {check_once, REFUSED_REPLAY},         {check_fence, REFUSED_FENCE},
    {check_token, REFUSED_TOKEN},         {check_limits, REFUSED_LIMIT},
    {check_egress, REFUSED_EGRESS},       {check_slot, REFUSED_BUSY},
};

int admit(const struct admit_ground *g, const void *doc, size_t len, struct admitted *out,
          enum refusal *ret_why, struct err *err)
{
    struct checking c = {.g = g, .doc = doc, .len = len, .out = out};
    int r = 0;
    memset(out, 0, sizeof *out);
    for (size_t i = 0; r == 0 && i < sizeof checks / sizeof *checks; i++) {
        r = checks[i].check(&c, err);
        if (r < 0)
            *ret_why = checks[i].why;
    }
    dsse_done(&c.dsse);
    return r;
}

void admitted_done(struct admitted *a)
{
    task_done(&a->task);
    sodium_memzero(a, sizeof *a);
}

void admitted_record(const struct admitted *a, struct seen_record *out)
{
    *out = (struct seen_record){.exp = a->task.exp, .fence = a->task.fence};
    memcpy(out->nonce, a->task.nonce, sizeof out->nonce);
    memcpy(out->attempt, a->task.attempt, sizeof out->attempt);
    memcpy(out->key, a->key, sizeof out->key);
}
