/* Errors: code, one clean line, wrapping. */
#include "tests/unit/cm.h"

#include <errno.h>
#include <string.h>

#include "proto/err.h"

static void set_gives_code_and_line(void **state)
{
    struct err err = ERR_INIT;

    assert_int_equal(err_set(&err, ERR_TRUST, "host %s: %d", "a", 3), -4);
    assert_int_equal(err.code, ERR_TRUST);
    assert_string_equal(err.msg, "host a: 3");
    assert_int_equal(err_set(NULL, ERR_HOST, "nobody listens"), -6);
}

static void hostile_bytes_are_neutral(void **state)
{
    struct err err = ERR_INIT;

    err_set(&err, ERR_FAIL, "%s", "a\nb\x1b[31m\x7f\tc\xff\xc3");
    assert_string_equal(err.msg, "a?b?[31m??c??");
    err_set(&err, ERR_FAIL, "%s", "gr\xc3\xbc\xc3\x9f");
    assert_string_equal(err.msg, "gr\xc3\xbc\xc3\x9f");
}

static void long_text_is_cut_at_a_character(void **state)
{
    struct err err = ERR_INIT;
    char text[2 * ERR_MSG_MAX];

    memset(text, 'x', sizeof(text));
    memcpy(text + ERR_MSG_MAX - 2, "\xc3\xbc", 2); /* its first byte would just fit */
    text[sizeof(text) - 1] = 0;
    err_set(&err, ERR_FAIL, "%s", text);
    assert_int_equal(strlen(err.msg), ERR_MSG_MAX - 2);
    assert_int_equal(strspn(err.msg, "x"), ERR_MSG_MAX - 2);
}

static void errno_is_read_at_entry(void **state)
{
    struct err err = ERR_INIT;

    errno = ENOENT;
    assert_int_equal(err_errno(&err, ERR_FAIL, "%s", "/x"), -1);
    assert_string_equal(err.msg, "/x: No such file or directory");
    assert_int_equal(err_errno(NULL, ERR_USAGE, "x"), -2);
}

static void wrap_keeps_code_and_takes_itself(void **state)
{
    struct err err = ERR_INIT;

    err_set(&err, ERR_HOST, "timed out");
    assert_int_equal(err_wrap(&err, "host %s", "b"), -6);
    assert_string_equal(err.msg, "host b: timed out");
    assert_int_equal(err_set(&err, ERR_FAIL, "again: %s", err.msg), -1);
    assert_string_equal(err.msg, "again: host b: timed out");
    assert_true(err_wrap(NULL, "x") < 0);
}

static void exit_is_the_code(void **state)
{
    for (int code = ERR_NONE; code <= ERR_REFUSED; code++) {
        struct err err = {.code = (enum err_code)code};
        assert_int_equal(err_exit(&err), code);
    }
    assert_int_equal(err_exit(&(struct err){.code = (enum err_code)99}), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(set_gives_code_and_line),
        cmocka_unit_test(hostile_bytes_are_neutral),
        cmocka_unit_test(long_text_is_cut_at_a_character),
        cmocka_unit_test(errno_is_read_at_entry),
        cmocka_unit_test(wrap_keeps_code_and_takes_itself),
        cmocka_unit_test(exit_is_the_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
