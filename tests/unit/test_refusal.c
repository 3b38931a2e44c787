/* Refusals: every reason has a distinct name of the wire's form and one line of help. */
#include "tests/unit/cm.h"

#include <string.h>

#include "proto/refusal.h"

static void every_reason_has_name_and_help(void **state)
{
    for (int i = 0; i < REFUSAL_COUNT; i++) {
        size_t n;
        assert_non_null(refusal_names[i]);
        assert_non_null(refusal_help[i]);
        n = strlen(refusal_names[i]);
        assert_int_equal(strspn(refusal_names[i], "abcdefghijklmnopqrstuvwxyz-"), n);
        assert_true(strlen(refusal_help[i]) > 20 && !strchr(refusal_help[i], '\n'));
        for (int j = 0; j < i; j++) {
            assert_string_not_equal(refusal_names[i], refusal_names[j]);
            assert_string_not_equal(refusal_help[i], refusal_help[j]);
        }
    }
    assert_null(refusal_names[REFUSAL_COUNT]);
    assert_null(refusal_help[REFUSAL_COUNT]);
}

static void names_are_the_wires(void **state)
{
    assert_string_equal(refusal_names[REFUSED_SIZE], "size");
    assert_string_equal(refusal_names[REFUSED_NOT_YET], "not-yet");
    assert_string_equal(refusal_names[REFUSED_REPLAY], "replay");
    assert_string_equal(refusal_names[REFUSED_PACK_DIGEST], "pack-digest");
    assert_string_equal(refusal_names[REFUSED_INTERNAL], "internal");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_reason_has_name_and_help),
        cmocka_unit_test(names_are_the_wires),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
