/* Times as text: against the C library's calendar, and what is not a time. */
#include "tests/unit/cm.h"

#include <string.h>
#include <time.h>

#include "proto/rfc3339.h"

static void agrees_with_gmtime(void **state)
{
    /* A prime step of a little over four days: every month, leap years and the centuries' ends. */
    for (uint64_t s = 0; s <= 253402300799; s += 349981 * 13) {
        char ours[RFC3339_SIZE], theirs[64];
        time_t t = (time_t)s;
        struct tm tm;
        uint64_t back = 0;

        assert_true(rfc3339_format(s, ours));
        assert_int_equal(strftime(theirs, sizeof(theirs), "%Y-%m-%dT%H:%M:%SZ", gmtime_r(&t, &tm)),
                         20);
        assert_string_equal(ours, theirs);
        assert_true(rfc3339_parse(ours, &back));
        assert_int_equal(back, s);
    }
}

static void edges(void **state)
{
    char out[RFC3339_SIZE];
    uint64_t s = 1;

    assert_true(rfc3339_format(253402300799, out));
    assert_string_equal(out, "9999-12-31T23:59:59Z");
    assert_false(rfc3339_format(253402300800, out));
    assert_string_equal(out, "");
    assert_false(rfc3339_format(UINT64_MAX, out));
    assert_true(rfc3339_parse("1970-01-01T00:00:00Z", &s));
    assert_int_equal(s, 0);
    assert_true(rfc3339_parse("2000-02-29T23:59:59Z", &s));
    assert_int_equal(s, 951868799);
}

static void not_times(void **state)
{
    static const char *const bad[] = {
        "",
        "1969-12-31T23:59:59Z",
        "2026-00-01T00:00:00Z",
        "2026-13-01T00:00:00Z",
        "2026-01-00T00:00:00Z",
        "2026-02-29T00:00:00Z",
        "2100-02-29T00:00:00Z",
        "2026-04-31T00:00:00Z",
        "2026-01-01T24:00:00Z",
        "2026-01-01T00:60:00Z",
        "2026-01-01T00:00:60Z",
        "2026-01-01 00:00:00Z",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00:00+00:00",
        "2026-01-01T00:00:00.0Z",
        "2026-1-01T00:00:00Z",
        "+026-01-01T00:00:00Z",
    };
    uint64_t s = 7;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_false(rfc3339_parse(bad[i], &s));
    assert_int_equal(s, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_gmtime),
        cmocka_unit_test(edges),
        cmocka_unit_test(not_times),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
