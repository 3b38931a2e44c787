/* Spending limits and access to a repository: what documents say, what people type, what is refused. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <string.h>

#include "proto/policy.h"

static struct spend good(void)
{
    struct spend s;
    spend_init(&s);
    snprintf(s.provider, sizeof s.provider, "openai");
    s.usd_micros = 2500000;
    assert_int_equal(strv_add(&s.models, "gpt-5.5"), 0);
    return s;
}

static void money_is_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t micros;
        const char *shown;
    } rows[] = {
        {"2.50", 2500000, "$2.50"},
        {"2", 2000000, "$2.00"},
        {"0.000001", 1, "$0.000001"},
        {"0.0042", 4200, "$0.0042"},
        {"1000000", SPEND_USD_MAX, "$1000000.00"},
        {"007.5", 7500000, "$7.50"},
        {"0", 0, "$0.00"},
    };
    struct buf shown;
    buf_init(&shown, 64);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = ERR_INIT;
        uint64_t micros = 99;
        assert_ok(usd_parse(rows[i].text, &micros, &err));
        assert_int_equal(micros, rows[i].micros);
        buf_clear(&shown);
        assert_int_equal(usd_format(micros, &shown), 0);
        assert_string_equal(buf_str(&shown), rows[i].shown);
    }
    buf_done(&shown);
}

static void bad_money_is_refused(void **state)
{
    static const char *const rows[] = {
        "",
        ".",
        ".5",
        "2.",
        "-1",
        "+1",
        " 1",
        "1 ",
        "1e3",
        "0x10",
        "1,50",
        "$2.50",
        "0.0000001",
        "1000000.01",
        "2.5.0",
        "1000001",
        "99999999999999999999999999",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct err err = ERR_INIT;
        uint64_t micros = 99;
        assert_int_equal(usd_parse(rows[i], &micros, &err), -ERR_USAGE);
        assert_int_equal(micros, 99);
    }
}

static void numbers_have_bounds(void **state)
{
    struct err err = ERR_INIT;
    struct spend s = good();
    assert_ok(spend_check(&s, &err));
    const struct {
        uint64_t *member;
        uint64_t least, most;
    } rows[] = {
        {&s.usd_micros, 1, SPEND_USD_MAX}, {&s.calls, 1, 1000000},
        {&s.calls_per_minute, 1, 10000},   {&s.in_flight, 1, 256},
        {&s.output_tokens, 1, 1000000},    {&s.repeats, 2, 1000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint64_t was = *rows[i].member;
        *rows[i].member = rows[i].least;
        assert_ok(spend_check(&s, &err));
        *rows[i].member = rows[i].most;
        assert_ok(spend_check(&s, &err));
        *rows[i].member = rows[i].least - 1;
        assert_int_equal(spend_check(&s, &err), -ERR_USAGE);
        *rows[i].member = rows[i].most + 1;
        assert_int_equal(spend_check(&s, &err), -ERR_USAGE);
        *rows[i].member = was;
    }
    spend_done(&s);
}

static void names_are_judged(void **state)
{
    static const char *const bad[] = {"", "a b", "a\"b", "gpt\n", "\xc3\xa9"};
    struct err err = ERR_INIT;
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct spend s = good();
        assert_int_equal(strv_add(&s.models, bad[i]), 0);
        assert_int_equal(spend_check(&s, &err), -ERR_USAGE);
        spend_done(&s);
    }
    assert_true(provider_name_valid("openai"));
    assert_true(provider_name_valid("0.local_x-1"));
    assert_false(provider_name_valid(""));
    assert_false(provider_name_valid(".hidden"));
    assert_false(provider_name_valid("-x"));
    assert_false(provider_name_valid("Open"));
    assert_false(provider_name_valid("../x"));
    struct spend none = {.usd_micros = 1};
    assert_int_equal(spend_check(&none, &err), -ERR_USAGE);
}

/* As a policy carries it: nothing when there is nothing, and the same again when there is. */
static void policy_carries_it(void **state)
{
    struct err err = ERR_INIT;
    struct policy p, q;
    struct buf text;
    buf_init(&text, 8192);
    policy_init(&p);
    assert_ok(json_encode(&policy_shape, &p, &text, &err));
    assert_null(strstr(buf_str(&text), "spend"));
    assert_null(strstr(buf_str(&text), "\"repo\""));
    p.spend = good();
    p.spend.prices_sha256[31] = 7;
    p.repo.mode = REPO_PUSH;
    snprintf(p.repo.url, sizeof p.repo.url, "https://example.org/o/r.git");
    assert_ok(policy_check(&p, &err));
    buf_clear(&text);
    assert_ok(json_encode(&policy_shape, &p, &text, &err));
    assert_ok(json_decode(&policy_shape, text.data, text.len, &q, &err));
    assert_true(policy_same(&p, &q));
    q.spend.usd_micros++;
    assert_false(policy_same(&p, &q));
    q.spend.usd_micros--;
    q.spend.prices_sha256[0] = 1;
    assert_false(policy_same(&p, &q));
    assert_int_equal(policy_copy(&q, &p), 0);
    assert_true(policy_same(&p, &q));
    assert_ptr_not_equal(p.spend.models.v, q.spend.models.v);
    q.repo.mode = REPO_READ;
    assert_false(policy_same(&p, &q));
    policy_done(&p);
    policy_done(&q);
    buf_done(&text);
}

static void addresses_are_plain(void **state)
{
    static const char *const fine[] = {
        "https://example.org/o/r",
        "https://example.org:8443/group/sub/r.git",
        "http://127.0.0.1:8080/git/a.git",
        "http://[::1]:8080/a",
    };
    static const char *const bad[] = {
        "",
        "ssh://example.org/o/r",
        "https://",
        "https://example.org",
        "https://example.org/",
        "https://user@example.org/o/r",
        "https://example.org/o/r?x=1",
        "https://example.org/o/r#f",
        "https://example.org/o/../r",
        "https://example.org/o//r",
        "https://example.org/./r",
        "https://example.org/o/r/",
        "https://example.org/o/%2e%2e/r",
        "https://EXAMPLE.org/o/r",
        "file:///etc/passwd",
    };
    struct err err = ERR_INIT;
    struct repo_access r = {.mode = REPO_READ};
    for (size_t i = 0; i < sizeof fine / sizeof fine[0]; i++) {
        snprintf(r.url, sizeof r.url, "%s", fine[i]);
        assert_ok(repo_access_check(&r, &err));
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        snprintf(r.url, sizeof r.url, "%s", bad[i]);
        if (repo_access_check(&r, &err) != -ERR_USAGE)
            fail_msg("'%s' was taken", bad[i]);
    }
    r = (struct repo_access){.url = "https://example.org/o/r"};
    assert_int_equal(repo_access_check(&r, &err), -ERR_USAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(money_is_read),       cmocka_unit_test(bad_money_is_refused),
        cmocka_unit_test(numbers_have_bounds), cmocka_unit_test(names_are_judged),
        cmocka_unit_test(policy_carries_it),   cmocka_unit_test(addresses_are_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
