/* The file of pinned controller keys: every line counts, or the file does not. */
#include "tests/unit/tool.h"

#include <sodium.h>

#include "tests/unit/cm.h"
#include "runner/config.h"

static char line[2][256];

static int make_keys(void **state)
{
    if (sodium_init() < 0)
        return -1;
    for (int i = 0; i < 2; i++) {
        uint8_t pub[KEY_PUB_BYTES];
        struct buf b;
        memset(pub, 7 + i, sizeof pub);
        buf_init(&b, sizeof line[i] - 1);
        key_pub_line(pub, "a@b", &b);
        memcpy(line[i], b.data, b.len + 1);
        buf_done(&b);
    }
    return 0;
}

static int load(const char *text, size_t n, struct controller_keys *keys, struct err *err)
{
    struct tool t;
    tool_init(&t);
    int rc = controller_keys_load(tool_put(&t, "controllers", text, n), keys, err);
    tool_done(&t);
    return rc;
}

static void good(void **state)
{
    struct err err = ERR_INIT;
    struct controller_keys keys;
    char text[1024];
    int n = snprintf(text, sizeof text, "# ours\n\n%s  %s", line[0], line[1]);
    assert_ok(load(text, (size_t)n, &keys, &err));
    assert_int_equal(keys.n, 2);
    assert_int_equal(keys.keys[0][0], 7);
    assert_int_equal(keys.keys[1][31], 8);
    /* The last line may lack its end. */
    assert_ok(load(text, (size_t)n - 1, &keys, &err));
    assert_int_equal(keys.n, 2);
}

static void bad(void **state)
{
    struct err err = ERR_INIT;
    struct controller_keys keys = {.n = 99};
    struct buf many;
    char text[1024];
    int n = snprintf(text, sizeof text, "%sssh-ed25519 AAAA\n", line[0]);
    assert_says(load(text, (size_t)n, &keys, &err), "line 2");
    assert_says(load("# nothing\n", 10, &keys, &err), "no key");
    assert_says(load("", 0, &keys, &err), "no key");
    n = snprintf(text, sizeof text, "%s", line[0]);
    text[n - 1] = 0;
    assert_says(load(text, (size_t)n, &keys, &err), "not a text file");
    assert_says(controller_keys_load("/nonexistent/keys", &keys, &err), "/nonexistent/keys");
    buf_init(&many, 1u << 16);
    for (int i = 0; i <= RUNNER_CONTROLLERS_MAX; i++)
        buf_adds(&many, line[0]);
    assert_says(load((char *)many.data, many.len, &keys, &err), "line 17");
    buf_done(&many);
    assert_int_equal(keys.n, 99);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(good, make_keys),
        cmocka_unit_test_setup(bad, make_keys),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
