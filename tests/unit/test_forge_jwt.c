/* controller/broker/forge_jwt.c: what it signs, openssl verifies; what it says, a JSON reader reads. */
#include "controller/broker/forge_jwt.h"

#include <string.h>

#include <sodium.h>

#include "proto/json.h"
#include "tests/unit/cm.h"
#include "tests/unit/fixture.h"

#define NOW 1795430000ull

struct rig {
    char dir[32];
    struct buf pem, jwt;
};

static char *path(struct rig *r, const char *name)
{
    static char paths[4][PATH_MAX];
    static unsigned n;
    char *p = paths[n++ % 4];
    fixture_path(r->dir, name, p);
    return p;
}

static int genpkey(struct rig *r, const char *name, const char *alg, const char *opt)
{
    const char *const argv[] = {"openssl", "genpkey", "-algorithm",  alg, "-pkeyopt",
                                opt,       "-out",    path(r, name), NULL};
    return fixture_run(argv);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    *state = r;
    snprintf(r->dir, sizeof r->dir, "/tmp/creel-jwt.XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    buf_init(&r->pem, 16384);
    buf_init(&r->jwt, 16384);
    assert_int_equal(genpkey(r, "rsa.pem", "RSA", "rsa_keygen_bits:2048"), 0);
    fixture_text(r->dir, "rsa.pem", &r->pem);
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    buf_done(&r->pem);
    buf_done(&r->jwt);
    fixture_remove(r->dir);
    free(r);
    return 0;
}

/* The bytes that one part of the token stands for. */
static size_t part(const char *text, size_t n, void *to, size_t max)
{
    size_t got = 0;
    assert_int_equal(sodium_base642bin(to, max, text, n, NULL, &got, NULL,
                                       sodium_base64_VARIANT_URLSAFE_NO_PADDING),
                     0);
    return got;
}

static bool openssl_verifies(struct rig *r, const char *signed_text, size_t n, const void *sig,
                             size_t nsig)
{
    const char *const pub[] = {
        "openssl", "pkey", "-in", path(r, "rsa.pem"), "-pubout", "-out", path(r, "pub.pem"), NULL};
    assert_int_equal(fixture_run(pub), 0);
    int fd = open(r->dir, O_DIRECTORY | O_CLOEXEC);
    struct err err = ERR_INIT;
    assert_ok(file_replace(fd, "sig", sig, nsig, 0600, &err));
    assert_ok(file_replace(fd, "text", signed_text, n, 0600, &err));
    close(fd);
    const char *const verify[] = {
        "openssl",    "dgst",         "-sha256",       "-verify", path(r, "pub.pem"),
        "-signature", path(r, "sig"), path(r, "text"), NULL};
    return fixture_run(verify) == 0;
}

static void test_openssl_verifies(void **state)
{
    struct rig *r = *state;
    struct err err = ERR_INIT;
    uint8_t sig[4096], text[512];
    buf_clear(&r->jwt);
    assert_ok(forge_jwt(buf_str(&r->pem), r->pem.len, "Iv23li.abc", NOW, &r->jwt, &err));
    const char *jwt = buf_str(&r->jwt), *one = strchr(jwt, '.'), *two = strrchr(jwt, '.');
    assert_true(one && two > one);
    size_t n = part(jwt, (size_t)(one - jwt), text, sizeof text - 1);
    text[n] = 0;
    assert_string_equal(text, "{\"alg\":\"RS256\",\"typ\":\"JWT\"}");
    n = part(one + 1, (size_t)(two - one - 1), text, sizeof text - 1);
    text[n] = 0;
    assert_string_equal(text, "{\"iat\":1795429940,\"exp\":1795430540,\"iss\":\"Iv23li.abc\"}");
    n = part(two + 1, strlen(two + 1), sig, sizeof sig);
    assert_int_equal(n, 256);
    assert_true(openssl_verifies(r, jwt, (size_t)(two - jwt), sig, n));
    sig[7] ^= 1;
    assert_false(openssl_verifies(r, jwt, (size_t)(two - jwt), sig, n));
}

/* GitHub gives its keys out in the older form. */
static void test_pkcs1(void **state)
{
    struct rig *r = *state;
    struct err err = ERR_INIT;
    struct buf pem;
    const char *const argv[] = {
        "openssl",          "rsa", "-in", path(r, "rsa.pem"), "-traditional", "-out",
        path(r, "old.pem"), NULL};
    assert_int_equal(fixture_run(argv), 0);
    buf_init(&pem, 16384);
    fixture_text(r->dir, "old.pem", &pem);
    assert_non_null(strstr(buf_str(&pem), "BEGIN RSA PRIVATE KEY"));
    buf_clear(&r->jwt);
    assert_ok(forge_jwt(buf_str(&pem), pem.len, "1", NOW, &r->jwt, &err));
    buf_done(&pem);
}

static void test_other_keys(void **state)
{
    struct rig *r = *state;
    struct err err = ERR_INIT;
    struct buf pem;
    buf_init(&pem, 16384);
    assert_int_equal(genpkey(r, "short.pem", "RSA", "rsa_keygen_bits:1024"), 0);
    assert_int_equal(genpkey(r, "ec.pem", "EC", "ec_paramgen_curve:P-256"), 0);
    const char *const lock[] = {"openssl",  "pkey",        "-in",  path(r, "rsa.pem"),    "-aes256",
                                "-passout", "pass:secret", "-out", path(r, "locked.pem"), NULL};
    assert_int_equal(fixture_run(lock), 0);
    static const char *const files[] = {"short.pem", "ec.pem", "locked.pem", "pub.pem"};
    for (size_t i = 0; i < sizeof files / sizeof files[0]; i++) {
        buf_clear(&pem);
        fixture_text(r->dir, files[i], &pem);
        buf_clear(&r->jwt);
        assert_says(forge_jwt(buf_str(&pem), pem.len, "1", NOW, &r->jwt, &err),
                    "not an unencrypted RSA private key");
        assert_int_equal(r->jwt.len, 0);
    }
    static const char *const texts[] = {"", "-----BEGIN RSA PRIVATE KEY-----\n", "x", "\n\n"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        assert_says(forge_jwt(texts[i], strlen(texts[i]), "1", NOW, &r->jwt, &err), "RSA");
    /* Cut anywhere it is no key, and no crash. */
    for (size_t n = 0; n < r->pem.len - 40; n += 97)
        assert_true(forge_jwt(buf_str(&r->pem), n, "1", NOW, &r->jwt, &err) < 0);
    buf_done(&pem);
}

/* An id is written as JSON, whatever it is. */
static void test_id_is_quoted(void **state)
{
    struct rig *r = *state;
    struct err err = ERR_INIT;
    uint8_t text[512];
    buf_clear(&r->jwt);
    assert_ok(forge_jwt(buf_str(&r->pem), r->pem.len, "a\",\"x\":\"y", NOW, &r->jwt, &err));
    const char *jwt = buf_str(&r->jwt), *one = strchr(jwt, '.'), *two = strrchr(jwt, '.');
    size_t n = part(one + 1, (size_t)(two - one - 1), text, sizeof text);
    assert_ok(json_check(text, n, &err));
    text[n] = 0;
    assert_null(strstr((char *)text, ",\"x\""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_openssl_verifies),
        cmocka_unit_test(test_pkcs1),
        cmocka_unit_test(test_other_keys),
        cmocka_unit_test(test_id_is_quoted),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
