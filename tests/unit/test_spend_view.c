/* What `creel show ID --spend` says: every call with its tokens, its price and its end, the sums, what was
 * refused, and which prices were used; as text and as JSON that a strict reader takes. */
#include "tests/unit/cm.h"

#include "common/clock.h"
#include "common/sha256.h"
#include "controller/cli/spend_view.h"
#include "tests/unit/ledger_fixture.h"

static const char prices[] =
    "{\"currency\":\"USD\",\"as_of\":\"2026-11-23\",\"models\":["
    "{\"model\":\"gpt-5.5\",\"input\":\"1250000\",\"output\":\"10000000\"}]}";

struct fixture {
    struct money m; /* its dir is the state directory */
    struct paths p;
    char broker[PATH_MAX];
    struct task_row t;
    struct buf b;
};

static struct err err;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    money_init(&f->m);
    *state = f;
    buf_init(&f->b, CLI_OUT_MAX);
    snprintf(f->t.id, sizeof f->t.id, TASK_A);
    f->t.policy.spend = money_attempt(TASK_A, 1).spend;
    if (paths_open(f->m.dir, true, &f->p, &err) < 0 || paths_broker(&f->p, f->broker, &err) < 0)
        return -1;
    fixture_write(f->broker, "prices.json", "%s", prices);
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    paths_close(&f->p);
    buf_done(&f->b);
    money_done(&f->m);
    free(f);
    return 0;
}

/* Two calls, one of them under way, and a refusal. */
static void spend_some(struct fixture *f)
{
    const struct usage u = {
        .input = 1000, .cache_read = 2000, .cache_write = 30, .cache_write_1h = 4, .output = 50};
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    struct ledger_ask ask = money_ask(&f->m, TASK_A ".1", USD(0.5), AT);
    uint64_t call;
    sha256_of(prices, sizeof prices - 1, ask.prices_sha256);
    assert_ok(ledger_open(f->broker, &f->m.l, &err));
    assert_ok(ledger_begin(f->m.l, &a, &err));
    assert_ok(ledger_hold(f->m.l, &ask, &call, &err));
    assert_ok(ledger_settle(f->m.l, call, CALL_SETTLED, &u, 4213, 200, 12, 3456, &err));
    assert_ok(ledger_hold(f->m.l, &ask, &call, &err));
    assert_ok(ledger_refused(f->m.l, TASK_A ".1", "wrong \x1b[31m token", AT, &err));
    assert_ok(ledger_flush(f->m.l, &err));
}

static void says(struct fixture *f, const char *words)
{
    if (!strstr(buf_str(&f->b), words))
        fail_msg("\"%s\" is not in:\n%s", words, buf_str(&f->b));
}

static void text(void **state)
{
    struct fixture *f = *state;
    spend_some(f);
    assert_ok(spend_show(&f->p, &f->t, false, &f->b, &err));
    says(f, "11-14 22:13:20 gpt-5.5");
    says(f, "     1000      2000        34        50    $0.004213 settled   200     3456\n");
    says(f, "        $0.50 held        0        0\n");
    says(f, "refused: wrong ?[31m token\n");
    says(f, "$0.004213 spent, $0.50 held for calls under way of $2.50 at openai; 2 of 500 calls, 1 "
            "refused\n");
    says(f, "1000 tokens in, 2000 read from a cache, 34 written to one, 50 out\n");
    says(f, ", as of 2026-11-23\n");
    /* other prices since */
    fixture_write(f->broker, "prices.json", "\n");
    buf_clear(&f->b);
    assert_ok(spend_show(&f->p, &f->t, false, &f->b, &err));
    says(f, ", changed since\n");
}

static void json(void **state)
{
    struct fixture *f = *state;
    spend_some(f);
    assert_ok(spend_show(&f->p, &f->t, true, &f->b, &err));
    assert_ok(json_check(f->b.data, f->b.len, &err));
    says(f, "{\"version\":1,\"id\":\"" TASK_A "\",\"provider\":\"openai\",\"usd_micros\":2500000,");
    says(f, "\"sum\":{\"spent_micros\":4213,\"held_micros\":500000,\"calls\":2,\"refused\":1,");
    says(f, "\"reserved_micros\":500000,\"charged_micros\":4213,\"end\":\"settled\"");
    says(f, "\"charged_micros\":500000,\"end\":\"held\"");
    says(f, "\"why\":\"wrong ?[31m token\"");
    says(f, "\"prices_as_of\":\"2026-11-23\"}\n");
}

static void nothing_spent(void **state)
{
    struct fixture *f = *state;
    assert_ok(spend_show(&f->p, &f->t, false, &f->b, &err));
    says(f, "$0.00 spent of $2.50 at openai; 0 of 500 calls, 0 refused\n");
    buf_clear(&f->b);
    assert_ok(spend_show(&f->p, &f->t, true, &f->b, &err));
    says(f, "\"calls\":[],\"refusals\":[]");
    f->t.policy.spend.provider[0] = 0;
    assert_says(spend_show(&f->p, &f->t, false, &f->b, &err), "may not call a model provider");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(text, setup, teardown),
        cmocka_unit_test_setup_teardown(json, setup, teardown),
        cmocka_unit_test_setup_teardown(nothing_spent, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
