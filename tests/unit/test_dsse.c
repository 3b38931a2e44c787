/* DSSE: round trips, tampering, and openssl as a judge in both directions. */
#include "tests/unit/tool.h"

#include <sodium.h>

#include "proto/b64.h"
#include "proto/dsse.h"

#define BODY "{\"_type\":\"x\"}"

struct fix {
    uint8_t pub[2][KEY_PUB_BYTES], sec[2][KEY_SEC_BYTES];
    struct buf doc;
    struct dsse d;
    struct err err;
    size_t key;
};

static int set_up(void **state)
{
    struct fix *f = calloc(1, sizeof(*f));
    if (!f || sodium_init() < 0)
        return -1;
    for (int i = 0; i < 2; i++)
        crypto_sign_keypair(f->pub[i], f->sec[i]);
    buf_init(&f->doc, 4 * DSSE_BYTES_MAX);
    f->key = 99;
    *state = f;
    return dsse_sign(f->sec[0], DSSE_TYPE_TASK, BODY, strlen(BODY), &f->doc, &f->err);
}

static int tear_down(void **state)
{
    struct fix *f = *state;
    dsse_done(&f->d);
    buf_done(&f->doc);
    free(f);
    return 0;
}

/* The document with the first `from` in it replaced by `to`. */
static void edit(struct fix *f, const char *from, const char *to)
{
    char *text = buf_steal(&f->doc), *at = strstr(text, from);
    assert_non_null(at);
    buf_add(&f->doc, text, (size_t)(at - text));
    buf_adds(&f->doc, to);
    buf_adds(&f->doc, at + strlen(from));
    free(text);
}

static int parse(struct fix *f)
{
    dsse_done(&f->d);
    return dsse_parse(f->doc.data, f->doc.len, &f->d, &f->err);
}

static int verify(struct fix *f)
{
    return dsse_verify(&f->d, (const uint8_t(*)[KEY_PUB_BYTES])f->pub, 2, &f->key, &f->err);
}

static void pae_is_the_protocols(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(dsse_pae("http://example.com/HelloWorld", "hello world", 11, &b), 0);
    assert_string_equal(buf_str(&b), "DSSEv1 29 http://example.com/HelloWorld 11 hello world");
    buf_done(&b);
}

static void what_was_signed_comes_back(void **state)
{
    struct fix *f = *state;
    char fpr[KEY_FPR_SIZE];
    assert_int_equal(parse(f), 0);
    assert_string_equal(f->d.type, DSSE_TYPE_TASK);
    assert_string_equal(buf_str(&f->d.body), BODY);
    key_fingerprint(f->pub[0], fpr);
    assert_string_equal(f->d.sigs[0].keyid, fpr);
    assert_int_equal(verify(f), 0);
    assert_int_equal(f->key, 0);
    assert_int_equal(f->err.code, 0);
}

static void every_key_is_tried_whatever_keyid_says(void **state)
{
    struct fix *f = *state;
    char mine[KEY_FPR_SIZE], other[KEY_FPR_SIZE];
    key_fingerprint(f->pub[0], mine);
    key_fingerprint(f->pub[1], other);
    edit(f, mine, other);
    assert_int_equal(parse(f), 0);
    assert_int_equal(verify(f), 0);
    assert_int_equal(f->key, 0);
    /* The key is not pinned: refused, though its keyid is. */
    assert_int_equal(
        dsse_verify(&f->d, (const uint8_t(*)[KEY_PUB_BYTES])f->pub[1], 1, &f->key, &f->err),
        -ERR_TRUST);
    assert_int_equal(dsse_verify(&f->d, NULL, 0, &f->key, &f->err), -ERR_TRUST);
}

static void any_change_of_body_type_or_signature_is_refused(void **state)
{
    struct fix *f = *state;
    assert_int_equal(parse(f), 0);
    for (size_t i = 0; i < f->d.body.len; i++) {
        f->d.body.data[i] ^= 1;
        assert_int_equal(verify(f), -ERR_TRUST);
        f->d.body.data[i] ^= 1;
    }
    for (size_t i = 0; i < KEY_SIG_BYTES; i++) {
        f->d.sigs[0].sig[i] ^= 0x80;
        assert_int_equal(verify(f), -ERR_TRUST);
        f->d.sigs[0].sig[i] ^= 0x80;
    }
    assert_int_equal(verify(f), 0);
    edit(f, DSSE_TYPE_TASK, DSSE_TYPE_RECEIPT);
    assert_int_equal(parse(f), 0);
    assert_int_equal(verify(f), -ERR_TRUST);
    assert_int_equal(f->key, 0);
}

static void only_the_exact_form_is_parsed(void **state)
{
    static const struct {
        const char *from, *to;
    } edits[] = {
        {"\"payloadType\"", "\"payloadtype\""},
        {"\"payloadType\"", "\"extra\":1,\"payloadType\""},
        {"\"payloadType\"", "\"payload\":\"\",\"payloadType\""}, /* duplicate */
        {"\"keyid\"", "\"x\":1,\"keyid\""},
        {"\"keyid\":\"SHA256:", "\"keyid\":\"SHA512:"},
        {"\"keyid\":\"SHA256:", "\"keyid\":\""},
        {DSSE_TYPE_TASK, ""},
        {DSSE_TYPE_TASK, "a b"},
        {"\"payload\":\"", "\"payload\":\" "},
        {"\"payload\":\"", "\"payload\":\"\\n"},
        {"fQ==\"", "fQ\""},   /* padding gone */
        {"fQ==\"", "fR==\""}, /* stray bits */
        {"fQ==\"", "fQ====\""},
        {"\"signatures\":[", "\"signatures\":[1,"},
        {"\"signatures\":[{", "\"signatures\":[],\"signature\":[{"},
        {"\"}]}", "==\"}]}"},
        {"\"}]}", "\"}]} x"},
        {"\"}]}", "\"}]"},
        {"{\"payloadType\"", "[{\"payloadType\""},
    };
    struct fix *f = *state;
    char *good = strdup(buf_str(&f->doc));
    for (size_t i = 0; i < sizeof(edits) / sizeof(*edits); i++) {
        buf_clear(&f->doc);
        buf_adds(&f->doc, good);
        edit(f, edits[i].from, edits[i].to);
        if (parse(f) != -ERR_FAIL)
            fail_msg("parsed: %s", buf_str(&f->doc));
        assert_int_equal(f->d.nsigs, 0);
        assert_int_equal(f->d.body.len, 0);
    }
    for (size_t n = 0; n < strlen(good); n++)
        assert_int_equal(dsse_parse(good, n, &f->d, &f->err), -ERR_FAIL);
    free(good);
}

static void signatures_are_one_to_four(void **state)
{
    struct fix *f = *state;
    const char *item = strstr(buf_str(&f->doc), "{\"keyid\"");
    char one[256];
    size_t n = strlen(item) - 2;
    assert_true(n < sizeof(one) - 2);
    memcpy(one, item, n);
    memcpy(one + n, ",", 2);
    for (unsigned i = 2; i <= DSSE_SIGS_MAX; i++) {
        edit(f, "\"signatures\":[", "\"signatures\":[@");
        edit(f, "@", one);
        assert_int_equal(parse(f), 0);
        assert_int_equal(f->d.nsigs, i);
        assert_int_equal(verify(f), 0);
    }
    edit(f, "\"signatures\":[", "\"signatures\":[@");
    edit(f, "@", one);
    assert_int_equal(parse(f), -ERR_FAIL);
    buf_clear(&f->doc);
    buf_adds(&f->doc, "{\"payloadType\":\"a/b\",\"payload\":\"\",\"signatures\":[]}");
    assert_int_equal(parse(f), -ERR_FAIL);
}

static void size_has_a_ceiling(void **state)
{
    struct fix *f = *state;
    size_t n = DSSE_BYTES_MAX / 4 * 3 - 512;
    char *body = malloc(DSSE_BYTES_MAX + 1);
    memset(body, 'a', DSSE_BYTES_MAX + 1);
    buf_clear(&f->doc);
    assert_int_equal(dsse_sign(f->sec[0], "a/b", body, n, &f->doc, &f->err), 0);
    assert_true(f->doc.len <= DSSE_BYTES_MAX);
    assert_int_equal(parse(f), 0);
    assert_int_equal(verify(f), 0);
    buf_clear(&f->doc);
    assert_int_equal(dsse_sign(f->sec[0], "a/b", body, n + 1024, &f->doc, &f->err), -ERR_FAIL);
    assert_int_equal(dsse_sign(f->sec[0], "a/b", body, DSSE_BYTES_MAX + 1, &f->doc, &f->err),
                     -ERR_FAIL);
    assert_int_equal(f->doc.len, 0);
    dsse_done(&f->d);
    assert_int_equal(dsse_parse(body, DSSE_BYTES_MAX + 1, &f->d, &f->err), -ERR_FAIL);
    free(body);
}

/* openssl checks our signature over the PAE, with the PEM that we print. */
static void openssl_verifies_ours(void **state)
{
    struct fix *f = *state;
    struct tool t;
    struct buf b;
    tool_need("openssl");
    tool_init(&t);
    assert_int_equal(parse(f), 0);
    buf_init(&b, 4096);
    assert_int_equal(dsse_pae(f->d.type, f->d.body.data, f->d.body.len, &b), 0);
    const char *pae = tool_put(&t, "pae", b.data, b.len);
    const char *sig = tool_put(&t, "sig", f->d.sigs[0].sig, KEY_SIG_BYTES);
    buf_clear(&b);
    assert_int_equal(key_pub_pem(f->pub[0], &b), 0);
    const char *pem = tool_put(&t, "pem", b.data, b.len);
    assert_int_equal(TOOL_RUN(&t, NULL, "openssl", "pkeyutl", "-verify", "-rawin", "-pubin",
                              "-inkey", pem, "-in", pae, "-sigfile", sig),
                     0);
    f->d.sigs[0].sig[0] ^= 1;
    sig = tool_put(&t, "sig", f->d.sigs[0].sig, KEY_SIG_BYTES);
    assert_int_not_equal(TOOL_RUN(&t, NULL, "openssl", "pkeyutl", "-verify", "-rawin", "-pubin",
                                  "-inkey", pem, "-in", pae, "-sigfile", sig),
                         0);
    buf_done(&b);
    tool_done(&t);
}

/* A key that openssl generated signs a PAE with openssl; the document made of it verifies here. */
static void we_verify_openssls(void **state)
{
    struct fix *f = *state;
    struct tool t;
    struct buf b;
    tool_need("openssl");
    tool_init(&t);
    buf_init(&b, 4096);
    const char *key = tool_path(&t, "key"), *der = tool_path(&t, "der"),
               *sig = tool_path(&t, "sig");
    assert_int_equal(TOOL_RUN(&t, NULL, "openssl", "genpkey", "-algorithm", "ed25519", "-out", key),
                     0);
    assert_int_equal(TOOL_RUN(&t, NULL, "openssl", "pkey", "-in", key, "-pubout", "-outform", "DER",
                              "-out", der),
                     0);
    tool_get(&t, "der", &b);
    assert_int_equal(b.len, 44);
    memcpy(f->pub[1], b.data + 12, KEY_PUB_BYTES);
    buf_clear(&b);
    dsse_pae(DSSE_TYPE_RESULT, BODY, strlen(BODY), &b);
    const char *pae = tool_put(&t, "pae", b.data, b.len);
    assert_int_equal(TOOL_RUN(&t, NULL, "openssl", "pkeyutl", "-sign", "-rawin", "-inkey", key,
                              "-in", pae, "-out", sig),
                     0);
    buf_clear(&b);
    tool_get(&t, "sig", &b);
    assert_int_equal(b.len, KEY_SIG_BYTES);

    char fpr[KEY_FPR_SIZE];
    key_fingerprint(f->pub[1], fpr);
    buf_clear(&f->doc);
    buf_adds(&f->doc, "{\"signatures\": [{\"sig\": \"");
    b64_add(&f->doc, b.data, b.len);
    buf_addf(&f->doc, "\", \"keyid\": \"%s\"}],\n \"payload\": \"", fpr);
    b64_add(&f->doc, BODY, strlen(BODY));
    buf_adds(&f->doc, "\", \"payloadType\": \"" DSSE_TYPE_RESULT "\"}");
    assert_int_equal(parse(f), 0);
    assert_int_equal(verify(f), 0);
    assert_int_equal(f->key, 1);
    buf_done(&b);
    tool_done(&t);
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(pae_is_the_protocols),
        CASE(what_was_signed_comes_back),
        CASE(every_key_is_tried_whatever_keyid_says),
        CASE(any_change_of_body_type_or_signature_is_refused),
        CASE(only_the_exact_form_is_parsed),
        CASE(signatures_are_one_to_four),
        CASE(size_has_a_ceiling),
        CASE(openssl_verifies_ours),
        CASE(we_verify_openssls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
