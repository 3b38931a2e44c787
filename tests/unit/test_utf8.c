/* UTF-8: what is well-formed, repairing, cutting. */
#include "tests/unit/cm.h"

#include <string.h>

#include "proto/utf8.h"

static void well_formed(void **state)
{
    static const char *const good[] = {
        "",
        "a",
        "\x7f",
        "\xc2\x80",
        "\xdf\xbf",
        "\xe0\xa0\x80",
        "\xed\x9f\xbf",
        "\xee\x80\x80",
        "\xef\xbf\xbf",
        "\xf0\x90\x80\x80",
        "\xf4\x8f\xbf\xbf",
    };

    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_true(utf8_valid(good[i], strlen(good[i])));
    assert_true(utf8_valid("a\0b", 3));
}

static void ill_formed(void **state)
{
    static const char *const bad[] = {
        "\x80",
        "\xbf",
        "\xc0\x80",
        "\xc1\xbf",
        "\xc2",
        "\xc2\x41",
        "\xe0\x80\x80",
        "\xe0\x9f\xbf",
        "\xe1\x80",
        "\xed\xa0\x80",
        "\xed\xbf\xbf",
        "\xf0\x80\x80\x80",
        "\xf0\x8f\xbf\xbf",
        "\xf0\x90\x80",
        "\xf4\x90\x80\x80",
        "\xf5\x80\x80\x80",
        "\xfe",
        "\xff",
        "a\xe1\x80z",
        "\xe1\x80\xc0",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        if (utf8_valid(bad[i], strlen(bad[i])))
            fail_msg("case %zu is accepted", i);
    }
    assert_false(utf8_valid("\xc3\xbc", 1)); /* never reads past n */
}

static void repair_keeps_length(void **state)
{
    char prose[] = "a\n\t\r\x1b\xff\xc3\xbc\xe1\x80", line[] = "a\n\t\x7f";

    utf8_repair(prose, true);
    assert_string_equal(prose, "a\n\t???\xc3\xbc??");
    utf8_repair(line, false);
    assert_string_equal(line, "a???");
}

static void copy_cuts_at_a_border(void **state)
{
    char out[6];

    utf8_copy(out, sizeof(out), "abc");
    assert_string_equal(out, "abc");
    utf8_copy(out, sizeof(out), "abcd\xc3\xbc");
    assert_string_equal(out, "abcd");
    utf8_copy(out, sizeof(out), "abc\xc3\xbc");
    assert_string_equal(out, "abc\xc3\xbc");
    utf8_copy(out, sizeof(out), "ab\xf0\x9f\x98\x80z");
    assert_string_equal(out, "ab");
    utf8_copy(out, sizeof(out), "\x80\x80\x80\x80\x80\x80\x80\x80");
    assert_string_equal(out, "??");
    utf8_copy(out, 1, "\xc3\xbc");
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(well_formed),
        cmocka_unit_test(ill_formed),
        cmocka_unit_test(repair_keeps_length),
        cmocka_unit_test(copy_cuts_at_a_border),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
