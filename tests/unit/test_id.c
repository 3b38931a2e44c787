/* Ids: their form, their order, and what is not one. */
#include "tests/unit/cm.h"

#include <string.h>

#include "proto/id.h"

static const uint8_t zeros[10], ones[10] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255};

static void make_is_a_ulid(void **state)
{
    char id[ID_SIZE];

    id_make(0, zeros, id);
    assert_string_equal(id, "00000000000000000000000000");
    id_make((1ull << 48) - 1, ones, id);
    assert_string_equal(id, "7zzzzzzzzzzzzzzzzzzzzzzzzz");
    /* The ULID specification's own example: 1469918176385 ms is 01ARYZ6S41. */
    id_make(1469918176385, zeros, id);
    assert_string_equal(id, "01aryz6s410000000000000000");
    id_make(0, (const uint8_t[10]){0, 0, 0, 0, 0, 0, 0, 0, 0, 33}, id);
    assert_string_equal(id, "00000000000000000000000011");
}

static void later_sorts_after(void **state)
{
    char before[ID_SIZE], after[ID_SIZE];

    for (uint64_t ms = 1; ms < 1ull << 47; ms = ms * 3 + 1) {
        id_make(ms - 1, ones, before);
        id_make(ms, zeros, after);
        assert_true(strcmp(before, after) < 0);
        assert_true(id_valid(before) && id_valid(after));
    }
}

static void not_ids(void **state)
{
    static const char *const bad[] = {
        "",
        "01jdq7z4m2r8k5t3w9x1y6b0c",
        "01jdq7z4m2r8k5t3w9x1y6b0cnn",
        "81jdq7z4m2r8k5t3w9x1y6b0cn",
        "01JDQ7Z4M2R8K5T3W9X1Y6B0CN",
        "01idq7z4m2r8k5t3w9x1y6b0cn",
        "01ldq7z4m2r8k5t3w9x1y6b0cn",
        "01odq7z4m2r8k5t3w9x1y6b0cn",
        "01udq7z4m2r8k5t3w9x1y6b0cn",
        "01jdq7z4m2r8k5t3w9x1y6b0c/",
        "../../../../../../etc/pass",
    };

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(id_valid(bad[i]));
    assert_true(id_valid("01jdq7z4m2r8k5t3w9x1y6b0cn"));
}

static void attempts(void **state)
{
    static const char *const bad[] = {
        "",
        "01jdq7z4m2r8k5t3w9x1y6b0cn",
        "01jdq7z4m2r8k5t3w9x1y6b0cn.",
        "01jdq7z4m2r8k5t3w9x1y6b0cn.0",
        "01jdq7z4m2r8k5t3w9x1y6b0cn.01",
        "01jdq7z4m2r8k5t3w9x1y6b0cn.10000",
        "01jdq7z4m2r8k5t3w9x1y6b0cn.1x",
        "01jdq7z4m2r8k5t3w9x1y6b0cn.-1",
        "01jdq7z4m2r8k5t3w9x1y6b0cn/1",
        "81jdq7z4m2r8k5t3w9x1y6b0cn.1",
        "01jdq7z4m2r8k5t3w9x1y6b0c.12",
    };
    char attempt[ATTEMPT_ID_SIZE], task[ID_SIZE];

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(attempt_id_valid(bad[i]));
    attempt_id_make("01jdq7z4m2r8k5t3w9x1y6b0cn", 9999, attempt);
    assert_string_equal(attempt, "01jdq7z4m2r8k5t3w9x1y6b0cn.9999");
    assert_true(attempt_id_valid(attempt));
    attempt_id_task(attempt, task);
    assert_string_equal(task, "01jdq7z4m2r8k5t3w9x1y6b0cn");
    for (unsigned n = 0; n <= 10000; n += 10000) {
        attempt_id_make("01jdq7z4m2r8k5t3w9x1y6b0cn", n, attempt);
        assert_string_equal(attempt, "");
    }
    attempt_id_make("nonsense", 1, attempt);
    assert_string_equal(attempt, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(make_is_a_ulid),
        cmocka_unit_test(later_sorts_after),
        cmocka_unit_test(not_ids),
        cmocka_unit_test(attempts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
