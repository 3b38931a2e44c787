/* DSSE documents: made, parsed, verified. The only place outside json.c that sees a cJSON tree: a
 * payload may be as large as a document, which no fixed-size member could hold. json_check() has
 * judged the bytes before cJSON sees them. Never reads the body, never trusts a keyid. */
#include "proto/dsse.h"

#include <stdio.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <sodium.h>

#include "proto/b64.h"
#include "proto/json.h"

int dsse_pae(const char *type, const void *body, size_t len, struct buf *to)
{
    char head[sizeof(((struct dsse *)0)->type) + 64];
    int n = snprintf(head, sizeof(head), "DSSEv1 %zu %s %zu ", strlen(type), type, len);
    /* Room for the whole first: it is added whole or not at all, and copied once. */
    if (n < 0 || (size_t)n >= sizeof(head) || len > DSSE_BYTES_MAX ||
        !buf_room(to, (size_t)n + len))
        return -1;
    if (buf_add(to, head, (size_t)n) != 0)
        return -1;
    return buf_add(to, body, len);
}

static bool type_valid(const char *type)
{
    size_t n = strnlen(type, sizeof(((struct dsse *)0)->type));
    if (n == 0 || n == sizeof(((struct dsse *)0)->type))
        return false;
    for (size_t i = 0; i < n; i++)
        if (type[i] <= 0x20 || type[i] > 0x7e)
            return false;
    return true;
}

/* PAE of any body a document can carry fits. */
#define PAE_MAX (DSSE_BYTES_MAX + 256)

int dsse_sign(const uint8_t sec[static KEY_SEC_BYTES], const char *type, const void *body,
              size_t len, struct buf *to, struct err *err)
{
    if (!type_valid(type))
        return err_set(err, ERR_FAIL, "bad payload type for a signature");
    struct buf pae, doc;
    uint8_t sig[KEY_SIG_BYTES];
    char keyid[KEY_FPR_SIZE];
    int r;

    buf_init(&pae, PAE_MAX);
    buf_init(&doc, DSSE_BYTES_MAX);
    if (dsse_pae(type, body, len, &pae) != 0) {
        r = err_set(err, ERR_FAIL, "%zu bytes are too many to sign as one document", len);
        goto out;
    }
    crypto_sign_detached(sig, NULL, pae.data, pae.len, sec);
    key_fingerprint(sec + 32, keyid);
    r = buf_adds(&doc, "{\"payloadType\":");
    r |= json_quotes(&doc, type);
    r |= buf_adds(&doc, ",\"payload\":\"");
    r |= b64_add(&doc, body, len);
    r |= buf_addf(&doc, "\",\"signatures\":[{\"keyid\":\"%s\",\"sig\":\"", keyid);
    r |= b64_add(&doc, sig, sizeof(sig));
    r |= buf_adds(&doc, "\"}]}");
    if (r != 0)
        r = err_set(err, ERR_FAIL, "signed document is over %u bytes", DSSE_BYTES_MAX);
    else if (buf_add(to, doc.data, doc.len) != 0)
        r = err_set(err, ERR_FAIL, "no room for a signed document of %zu bytes", doc.len);
out:
    buf_done(&pae);
    buf_done(&doc);
    return r;
}

/* The string under `name`, or NULL. Keys were found distinct by json_check, so that a key is found
 * once and the counts agree means there is no other. */
static const char *text_at(const cJSON *obj, const char *name)
{
    return cJSON_GetStringValue(cJSON_GetObjectItemCaseSensitive(obj, name));
}

static int sig_read(const cJSON *item, struct dsse *out, struct err *err)
{
    const char *keyid = text_at(item, "keyid"), *sig = text_at(item, "sig");
    if (!cJSON_IsObject(item) || cJSON_GetArraySize(item) != 2 || !keyid || !sig)
        return err_set(err, ERR_FAIL, "signatures[%zu]: must be {keyid, sig}", out->nsigs);
    if (!key_fingerprint_valid(keyid))
        return err_set(err, ERR_FAIL, "signatures[%zu].keyid: not a key fingerprint", out->nsigs);
    struct buf raw;
    buf_init(&raw, KEY_SIG_BYTES);
    int r = 0;
    if (b64_get(sig, strlen(sig), &raw) != 0 || raw.len != KEY_SIG_BYTES) {
        r = err_set(err, ERR_FAIL, "signatures[%zu].sig: not base64 of %d bytes", out->nsigs,
                    KEY_SIG_BYTES);
    } else {
        memcpy(out->sigs[out->nsigs].keyid, keyid, KEY_FPR_SIZE);
        memcpy(out->sigs[out->nsigs].sig, raw.data, KEY_SIG_BYTES);
        out->nsigs++;
    }
    buf_done(&raw);
    return r;
}

static int document_read(const cJSON *root, struct dsse *out, struct err *err)
{
    const char *type = text_at(root, "payloadType"), *payload = text_at(root, "payload");
    const cJSON *sigs = cJSON_GetObjectItemCaseSensitive(root, "signatures");
    if (!cJSON_IsObject(root) || cJSON_GetArraySize(root) != 3 || !type || !payload ||
        !cJSON_IsArray(sigs))
        return err_set(err, ERR_FAIL, "document must be {payloadType, payload, signatures}");
    if (!type_valid(type))
        return err_set(err, ERR_FAIL, "payloadType: not a media type");
    memcpy(out->type, type, strlen(type) + 1);
    int n = cJSON_GetArraySize(sigs);
    if (n < 1 || n > DSSE_SIGS_MAX)
        return err_set(err, ERR_FAIL, "signatures: %d of them, not 1 to %d", n, DSSE_SIGS_MAX);
    const cJSON *item;
    cJSON_ArrayForEach(item, sigs)
    {
        int r = sig_read(item, out, err);
        if (r != 0)
            return r;
    }
    if (b64_get(payload, strlen(payload), &out->body) != 0)
        return err_set(err, ERR_FAIL, "payload: not base64");
    return 0;
}

int dsse_parse(const void *bytes, size_t len, struct dsse *out, struct err *err)
{
    *out = (struct dsse){0};
    buf_init(&out->body, DSSE_BYTES_MAX);
    if (len > DSSE_BYTES_MAX)
        return err_set(err, ERR_FAIL, "document of %zu bytes is over %u", len, DSSE_BYTES_MAX);
    int r = json_check(bytes, len, err);
    if (r != 0)
        return r;
    cJSON *root = cJSON_ParseWithLength(bytes, len);
    if (!root)
        return err_set(err, ERR_FAIL, "document cannot be parsed");
    r = document_read(root, out, err);
    cJSON_Delete(root);
    if (r != 0) {
        dsse_done(out);
        buf_init(&out->body, DSSE_BYTES_MAX);
    }
    return r;
}

void dsse_done(struct dsse *d)
{
    buf_done(&d->body);
    *d = (struct dsse){0};
}

/* Tries one signature by the keys whose fingerprint is (or, with `named` false, is not) its keyid. */
static bool sig_holds(const struct dsse *d, size_t i, const struct buf *pae, bool named,
                      const uint8_t (*keys)[KEY_PUB_BYTES], size_t n, size_t *ret_key)
{
    for (size_t k = 0; k < n; k++) {
        char fpr[KEY_FPR_SIZE];
        key_fingerprint(keys[k], fpr);
        if ((strcmp(fpr, d->sigs[i].keyid) == 0) != named)
            continue;
        if (crypto_sign_verify_detached(d->sigs[i].sig, pae->data, pae->len, keys[k]) == 0) {
            *ret_key = k;
            return true;
        }
    }
    return false;
}

int dsse_verify(const struct dsse *d, const uint8_t (*keys)[KEY_PUB_BYTES], size_t n,
                size_t *ret_key, struct err *err)
{
    struct buf pae;
    buf_init(&pae, PAE_MAX);
    if (dsse_pae(d->type, d->body.data, d->body.len, &pae) != 0) {
        buf_done(&pae);
        return err_set(err, ERR_FAIL, "out of memory");
    }
    bool held = false;
    for (int pass = 0; pass < 2 && !held; pass++)
        for (size_t i = 0; i < d->nsigs && !held; i++)
            held = sig_holds(d, i, &pae, pass == 0, keys, n, ret_key);
    buf_done(&pae);
    if (!held)
        return err_set(err, ERR_TRUST, "no pinned key signed this (it names %s)",
                       d->nsigs > 0 ? d->sigs[0].keyid : "no key");
    return 0;
}
