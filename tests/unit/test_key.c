/* Keys: what ssh-keygen and openssl make we read, what we write they read, and fingerprints agree. */
#include "tests/unit/tool.h"

#include <sodium.h>

#include "proto/key.h"

static void keypair(uint8_t pub[static KEY_PUB_BYTES], uint8_t sec[static KEY_SEC_BYTES])
{
    assert_true(sodium_init() >= 0);
    crypto_sign_keypair(pub, sec);
}

static void ssh_keygens_key_is_read(void **state)
{
    struct tool t;
    tool_need("ssh-keygen");
    tool_init(&t);
    assert_int_equal(TOOL_RUN(&t, NULL, "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C",
                              "me@here", "-f", tool_path(&t, "k")),
                     0);
    struct buf text;
    struct err err = ERR_INIT;
    uint8_t sec[KEY_SEC_BYTES], pub[KEY_PUB_BYTES];
    buf_init(&text, 4096);
    tool_get(&t, "k", &text);
    assert_int_equal(key_sec_parse(buf_str(&text), text.len, sec, &err), 0);
    buf_clear(&text);
    tool_get(&t, "k.pub", &text);
    assert_int_equal(key_pub_parse(buf_str(&text), pub, &err), 0);
    assert_memory_equal(pub, sec + 32, 32);

    /* The line comes out again byte for byte. */
    struct buf line;
    buf_init(&line, 4096);
    assert_int_equal(key_pub_line(pub, "me@here", &line), 0);
    assert_string_equal(buf_str(&line), buf_str(&text));

    char fpr[KEY_FPR_SIZE], any[KEY_FPR_SIZE];
    struct ssh_pub sp;
    assert_int_equal(ssh_pub_parse(buf_str(&text), &sp, &err), 0);
    key_fingerprint(pub, fpr);
    ssh_pub_fingerprint(&sp, any);
    assert_string_equal(fpr, any);
    assert_true(key_fingerprint_valid(fpr));
    assert_int_equal(TOOL_RUN(&t, NULL, "ssh-keygen", "-lf", tool_path(&t, "k.pub")), 0);
    assert_non_null(strstr(t.out, fpr));
    buf_done(&line);
    buf_done(&text);
    tool_done(&t);
}

static void ssh_keygen_reads_our_key(void **state)
{
    /* Comments of every length from 0 to 8 give every length of padding. */
    static const char *const comments[] = {"",      "1",      "12",      "123",           "1234",
                                           "12345", "123456", "1234567", "operator@creel"};
    struct tool t;
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES], back[KEY_SEC_BYTES];
    struct err err = ERR_INIT;
    tool_need("ssh-keygen");
    tool_init(&t);
    keypair(pub, sec);
    for (size_t i = 0; i < sizeof(comments) / sizeof(*comments); i++) {
        struct buf text, line;
        buf_init(&text, 4096);
        buf_init(&line, 4096);
        assert_int_equal(key_sec_format(sec, comments[i], &text), 0);
        const char *path = tool_put(&t, "key", text.data, text.len);
        assert_int_equal(TOOL_RUN(&t, NULL, "ssh-keygen", "-y", "-f", path), 0);
        assert_int_equal(key_pub_line(pub, comments[i], &line), 0);
        assert_string_equal(t.out, buf_str(&line));
        assert_int_equal(key_sec_parse(buf_str(&text), text.len, back, &err), 0);
        assert_memory_equal(sec, back, sizeof(sec));
        buf_wipe(&text);
        buf_done(&line);
    }
    tool_done(&t);
}

static void encrypted_and_foreign_keys_are_refused(void **state)
{
    struct tool t;
    struct buf text;
    struct err err = ERR_INIT;
    uint8_t sec[KEY_SEC_BYTES], pub[KEY_PUB_BYTES];
    tool_need("ssh-keygen");
    tool_init(&t);
    buf_init(&text, 8192);
    assert_int_equal(TOOL_RUN(&t, NULL, "ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f",
                              tool_path(&t, "enc")),
                     0);
    tool_get(&t, "enc", &text);
    assert_int_equal(key_sec_parse(buf_str(&text), text.len, sec, &err), -ERR_USAGE);
    assert_non_null(strstr(err.msg, "encrypted"));

    assert_int_equal(
        TOOL_RUN(&t, NULL, "ssh-keygen", "-q", "-t", "ecdsa", "-N", "", "-f", tool_path(&t, "ec")),
        0);
    buf_clear(&text);
    tool_get(&t, "ec", &text);
    assert_int_equal(key_sec_parse(buf_str(&text), text.len, sec, &err), -ERR_USAGE);
    assert_non_null(strstr(err.msg, "not of type ssh-ed25519"));
    buf_clear(&text);
    tool_get(&t, "ec.pub", &text);
    assert_int_equal(key_pub_parse(buf_str(&text), pub, &err), -ERR_USAGE);
    assert_non_null(strstr(err.msg, "ecdsa-sha2-nistp256"));
    /* ...but as a host key of any type it is fine, with the fingerprint ssh-keygen prints. */
    struct ssh_pub sp;
    char fpr[KEY_FPR_SIZE];
    assert_int_equal(ssh_pub_parse(buf_str(&text), &sp, &err), 0);
    ssh_pub_fingerprint(&sp, fpr);
    assert_int_equal(TOOL_RUN(&t, NULL, "ssh-keygen", "-lf", tool_path(&t, "ec.pub")), 0);
    assert_non_null(strstr(t.out, fpr));

    static const char pem[] = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    assert_int_equal(key_sec_parse(pem, strlen(pem), sec, &err), -ERR_USAGE);
    assert_non_null(strstr(err.msg, "OpenSSH's format"));
    assert_int_equal(key_sec_parse("", 0, sec, &err), -ERR_USAGE);
    buf_done(&text);
    tool_done(&t);
}

static void openssl_reads_our_pem(void **state)
{
    struct tool t;
    struct buf pem;
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES];
    tool_need("openssl");
    tool_init(&t);
    keypair(pub, sec);
    buf_init(&pem, 1024);
    assert_int_equal(key_pub_pem(pub, &pem), 0);
    const char *path = tool_put(&t, "pub.pem", pem.data, pem.len);
    assert_int_equal(TOOL_RUN(&t, NULL, "openssl", "pkey", "-pubin", "-in", path), 0);
    assert_string_equal(t.out, buf_str(&pem));
    buf_done(&pem);
    tool_done(&t);
}

/* Every byte of a private key file, changed or cut, is refused or gives the very same key. */
static void damaged_files_never_give_another_key(void **state)
{
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES], got[KEY_SEC_BYTES];
    struct err err;
    struct buf text;
    size_t same = 0;
    keypair(pub, sec);
    buf_init(&text, 4096);
    assert_int_equal(key_sec_format(sec, "c", &text), 0);
    for (size_t i = 0; i < text.len; i++) {
        uint8_t keep = text.data[i];
        text.data[i] = keep == 'A' ? 'B' : 'A';
        if (key_sec_parse(buf_str(&text), text.len, got, &err) == 0) {
            assert_memory_equal(got, sec, sizeof(sec));
            same++;
        }
        text.data[i] = keep;
        if (i + 1 < text.len)
            assert_true(key_sec_parse(buf_str(&text), i, got, &err) < 0);
    }
    /* Only the comment's own digits may change unnoticed. */
    assert_true(same < 4);
    buf_wipe(&text);
}

/* The classic way to lose an Ed25519 key: signing with a public half that is not the seed's. */
static void mismatched_halves_are_refused(void **state)
{
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES], other[KEY_PUB_BYTES], got[KEY_SEC_BYTES];
    struct buf text;
    struct err err = ERR_INIT;
    keypair(other, sec);
    keypair(pub, sec);
    memcpy(sec + 32, other, 32);
    buf_init(&text, 4096);
    assert_int_equal(key_sec_format(sec, "", &text), 0);
    assert_int_equal(key_sec_parse(buf_str(&text), text.len, got, &err), -ERR_USAGE);
    buf_wipe(&text);
}

#define GOOD "AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"

static void public_lines(void **state)
{
    static const char *const bad[] = {
        "",
        " ",
        "\n",
        "ssh-ed25519",
        "ssh-ed25519 ",
        "ssh-ed25519 !!!!",
        "ssh-rsa " GOOD,                            /* type and blob disagree */
        "ssh-ed25519 " GOOD "\nssh-ed25519 " GOOD,  /* two lines */
        "ssh-ed25519 " GOOD "=",                    /* not canonical */
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5",         /* no key in it */
        "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAAA==", /* empty key */
        "ssh-ed25519 " GOOD "AAAA",                 /* trailing bytes */
        "command=\"x\" ssh-ed25519 " GOOD,
        "ssh-ed25519 " GOOD " com\x1bment",
    };
    uint8_t pub[KEY_PUB_BYTES];
    struct err err;
    for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
        err = ERR_INIT;
        assert_int_equal(key_pub_parse(bad[i], pub, &err), -ERR_USAGE);
        assert_true(err.msg[0] != 0);
    }
    static const char *const good[] = {"ssh-ed25519 " GOOD,
                                       "  ssh-ed25519\t" GOOD " a comment \r\n"};
    for (size_t i = 0; i < sizeof(good) / sizeof(*good); i++) {
        assert_int_equal(key_pub_parse(good[i], pub, &err), 0);
        for (int k = 0; k < 32; k++)
            assert_int_equal(pub[k], k);
    }
    char *line = malloc(KEY_LINE_MAX + 2);
    memset(line, 'a', KEY_LINE_MAX + 1);
    line[KEY_LINE_MAX + 1] = 0;
    assert_int_equal(key_pub_parse(line, pub, &err), -ERR_USAGE);
    memcpy(line, "ssh-ed25519 ", 12);
    line[KEY_LINE_MAX] = 0;
    assert_int_equal(key_pub_parse(line, pub, &err), -ERR_USAGE);
    free(line);
}

static void fingerprint_form(void **state)
{
    assert_true(key_fingerprint_valid("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"));
    assert_false(
        key_fingerprint_valid("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFV")); /* bits */
    assert_false(key_fingerprint_valid("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuF="));
    assert_false(key_fingerprint_valid("SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFUA"));
    assert_false(key_fingerprint_valid("SHA512:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"));
    assert_false(key_fingerprint_valid("sha256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU"));
    assert_false(key_fingerprint_valid(""));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ssh_keygens_key_is_read),
        cmocka_unit_test(ssh_keygen_reads_our_key),
        cmocka_unit_test(encrypted_and_foreign_keys_are_refused),
        cmocka_unit_test(openssl_reads_our_pem),
        cmocka_unit_test(damaged_files_never_give_another_key),
        cmocka_unit_test(mismatched_halves_are_refused),
        cmocka_unit_test(public_lines),
        cmocka_unit_test(fingerprint_form),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
