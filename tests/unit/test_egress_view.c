/* What the gate did, as it is told: the table, the few lines, the JSON, and which flag would allow
 * what. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <string.h>

#include "controller/cli/egress_view.h"
#include "tests/unit/doc_samples.h"

static void gate_of(struct result *r)
{
    *r = (struct result){.conns = 8, .sent = 1536, .received = 5u << 20, .dns = 1};
    policy_init(&r->policy);
    sample_egress(r, "example.org", 443, EGRESS_ALLOWED, "");
    sample_egress(r, "evil.example", 8443, EGRESS_DENIED, "no rule allows it");
    sample_egress(r, "other.example", 0, EGRESS_DENIED, "no rule allows it");
    sample_egress(r, "169.254.169.254", 80, EGRESS_DENIED, "an address");
    sample_egress(r, "inside.example", 443, EGRESS_REFUSED, "leads to a private address");
}

static void table(void **state)
{
    static const char want[] =
        "VERDICT  NAME:PORT                                 COUNT        OUT         IN  WHY\n"
        "allowed  example.org:443                               3    1.2 KiB   55.4 KiB\n"
        "denied   evil.example:8443                             3        0 B        0 B"
        "  no rule allows it\n"
        "           allow it: --egress evil.example:8443\n"
        "denied   other.example                                 3        0 B        0 B"
        "  no rule allows it\n"
        "           allow it: --egress other.example\n"
        "denied   169.254.169.254:80                            3        0 B        0 B"
        "  an address\n"
        "           no rule can allow it: it is not a host's name\n"
        "refused  inside.example:443                            3        0 B        0 B"
        "  leads to a private address\n"
        "total    8 connections, 1.5 KiB out, 5 MiB in; 1 question for names; 7 more in no line\n"
        "limit    dns limit 10000 reached, peak 10000, 17 questions refused\n";
    struct limit_hit *h;
    struct result r;
    struct buf b;

    gate_of(&r);
    r.egress_more = 7;
    h = json_list_push(&r.hits, &limit_hit_shape);
    *h = (struct limit_hit){.limit = LIMIT_DNS, .peak = 10000, .count = 17};
    buf_init(&b, 1u << 20);
    egress_table(&r, &b);
    assert_string_equal(buf_str(&b), want);
    buf_done(&b);
    result_done(&r);
}

static void summary(void **state)
{
    static const char want[] =
        "  network   8 connections, 1.5 KiB out, 5 MiB in; 1 question for names\n"
        "  denied    evil.example:8443, 3 times: no rule allows it; allow it: --egress "
        "evil.example:8443\n"
        "  denied    other.example, 3 times: no rule allows it; allow it: --egress other.example\n"
        "  denied    169.254.169.254:80, 3 times: an address\n"
        "  refused   inside.example:443, 3 times: leads to a private address\n"
        "  denied    more.example:443, 3 times: x; allow it: --egress more.example\n"
        "            and 2 more: creel show ID --egress\n";
    struct result r;
    struct buf b;

    gate_of(&r);
    for (int i = 0; i < 3; i++)
        sample_egress(&r, "more.example", 443, EGRESS_DENIED, "x");
    buf_init(&b, 1u << 20);
    egress_summary(&r, "ID", "", &b);
    assert_string_equal(buf_str(&b), want);
    result_done(&r);
    buf_clear(&b);
    r = (struct result){0}; /* nothing was asked for: nothing is said */
    egress_summary(&r, "ID", "", &b);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

static void what_was_said_is_not_said_again(void **state)
{
    static const char reason[] =
        "memory limit 2 GiB reached, peak 2 GiB, 1 process group killed; x";
    struct limit_hit *h;
    struct result r = {0};
    struct buf b;

    policy_init(&r.policy);
    h = json_list_push(&r.hits, &limit_hit_shape);
    *h = (struct limit_hit){.limit = LIMIT_MEM, .peak = 2ull << 30, .count = 1};
    h = json_list_push(&r.hits, &limit_hit_shape);
    *h = (struct limit_hit){.limit = LIMIT_LOG, .count = 5};
    buf_init(&b, 1u << 20);
    egress_summary(&r, "ID", reason, &b);
    assert_string_equal(buf_str(&b), "  LIMIT     log limit 64 MiB reached, 5 B dropped\n");
    buf_done(&b);
    result_done(&r);
}

static void json(void **state)
{
    struct limit_hit *h;
    struct result r;
    struct buf b;

    gate_of(&r);
    h = json_list_push(&r.hits, &limit_hit_shape);
    *h = (struct limit_hit){.limit = LIMIT_PIDS, .peak = 512, .count = 1};
    buf_init(&b, 1u << 20);
    emit_open(&b, NULL, '{');
    egress_json(&r, &b);
    emit_close(&b, '}');
    assert_non_null(strstr(buf_str(&b),
                           "{\"verdict\":\"denied\",\"name\":\"other.example\",\"port\":0,"
                           "\"count\":3,\"sent\":0,\"received\":0,"
                           "\"why\":\"no rule allows it\","
                           "\"allow\":\"--egress other.example\"}"));
    assert_null(strstr(buf_str(&b), "--egress inside.example"));
    assert_null(strstr(buf_str(&b), "--egress 169"));
    assert_non_null(strstr(buf_str(&b),
                           "\"hits\":[{\"limit\":\"pids\",\"value\":512,\"peak\":512,\"count\":1,"
                           "\"words\":\"process limit 512 reached, peak 512, 1 fork refused\"}]"));
    assert_int_equal(json_check(b.data, b.len, NULL), 0);
    buf_done(&b);
    result_done(&r);
}

/* A name that is not one is never part of a line to paste into a shell. */
static void only_names_make_flags(void **state)
{
    static const char *const not_names[] = {
        "",         "localhost", "a.b;rm -rf /", "$(x).org", "EVIL.org", "evil.org.", "-x.org",
        "10.0.0.1", "[::1]",     "a.org --yes",  "a.0x1",    "a..org",   "?]0;x? ???"};
    struct egress_entry e = {.verdict = EGRESS_DENIED, .port = 443};
    struct buf b;

    buf_init(&b, 512);
    for (size_t i = 0; i < sizeof(not_names) / sizeof(not_names[0]); i++) {
        snprintf(e.name, sizeof(e.name), "%s", not_names[i]);
        assert_false(egress_allow(&e, &b));
        assert_int_equal(b.len, 0);
    }
    snprintf(e.name, sizeof(e.name), "evil.org");
    assert_true(egress_allow(&e, &b));
    assert_string_equal(buf_str(&b), "--egress evil.org");
    buf_clear(&b);
    e.verdict = EGRESS_FAILED; /* a rule is not what it lacked */
    assert_false(egress_allow(&e, &b));
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table),
        cmocka_unit_test(summary),
        cmocka_unit_test(what_was_said_is_not_said_again),
        cmocka_unit_test(json),
        cmocka_unit_test(only_names_make_flags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
