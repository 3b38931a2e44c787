/* SSHSIG: judged by ssh-keygen -Y verify alone, since creel itself never verifies one. */
#include "tests/unit/tool.h"

#include <sodium.h>

#include "proto/sshsig.h"

static int verify(struct tool *t, const char *ns, const char *msg)
{
    return TOOL_RUN(t, tool_put(t, "msg", msg, strlen(msg)), "ssh-keygen", "-Y", "verify", "-f",
                    tool_path(t, "allowed"), "-I", "controller", "-n", ns, "-s",
                    tool_path(t, "sig"));
}

static void ssh_keygen_verifies(void **state)
{
    struct tool t;
    struct buf b;
    struct err err = ERR_INIT;
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES];

    tool_need("ssh-keygen");
    tool_init(&t);
    assert_true(sodium_init() >= 0);
    crypto_sign_keypair(pub, sec);
    buf_init(&b, 8192);
    buf_adds(&b, "controller ");
    assert_int_equal(key_pub_line(pub, "", &b), 0);
    tool_put(&t, "allowed", b.data, b.len);
    buf_clear(&b);
    assert_int_equal(sshsig_sign(sec, SSHSIG_NAMESPACE_TASK, "the envelope", 12, &b, &err), 0);
    tool_put(&t, "sig", b.data, b.len);

    assert_int_equal(verify(&t, SSHSIG_NAMESPACE_TASK, "the envelope"), 0);
    assert_non_null(strstr(t.out, "Good \"task@creel\" signature"));
    assert_int_not_equal(verify(&t, "file", "the envelope"), 0);
    assert_int_not_equal(verify(&t, SSHSIG_NAMESPACE_TASK, "the envelopf"), 0);

    /* Signed by another key: refused, though the allowed one is named. */
    crypto_sign_keypair(pub, sec);
    buf_clear(&b);
    assert_int_equal(sshsig_sign(sec, SSHSIG_NAMESPACE_TASK, "the envelope", 12, &b, &err), 0);
    tool_put(&t, "sig", b.data, b.len);
    assert_int_not_equal(verify(&t, SSHSIG_NAMESPACE_TASK, "the envelope"), 0);
    buf_done(&b);
    tool_done(&t);
}

static void an_empty_namespace_is_refused(void **state)
{
    struct buf b;
    struct err err = ERR_INIT;
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES];
    crypto_sign_keypair(pub, sec);
    buf_init(&b, 8192);
    assert_int_equal(sshsig_sign(sec, "", "m", 1, &b, &err), -ERR_FAIL);
    buf_done(&b);
    buf_init(&b, 16);
    assert_int_equal(sshsig_sign(sec, "n", "m", 1, &b, &err), -ERR_FAIL);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ssh_keygen_verifies),
        cmocka_unit_test(an_empty_namespace_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
