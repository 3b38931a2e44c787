/* Prices: the file read strictly, costs exact and rounded up, a bound that no usage within it exceeds,
 * and LiteLLM's table read digit by digit. */
#include "tests/unit/cm.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sha256.h"
#include "controller/broker/price.h"

static const char sample[] =
    "{\"currency\":\"USD\",\"as_of\":\"2026-11-23\",\"source\":\"s\",\"models\":["
    "{\"model\":\"z\",\"input\":\"1000000\",\"output\":\"2000000\"},"
    "{\"model\":\"gpt-5.5\",\"input\":\"1250000\",\"output\":\"10000000\",\"cache_read\":"
    "\"125000\","
    "\"cache_write\":\"1250000\",\"cache_write_1h\":\"1250000\","
    "\"tiers\":[{\"above_tokens\":\"272000\",\"input\":\"2500000\",\"output\":\"15000000\"}]}]}";

static struct prices *parse(const char *text)
{
    struct err err = ERR_INIT;
    struct prices *p = NULL;
    assert_ok(prices_parse(text, strlen(text), "prices.json", &p, &err));
    return p;
}

static void the_file_is_read(void **state)
{
    struct prices *p = parse(sample);
    const struct price *g = prices_find(p, "gpt-5.5"), *z = prices_at(p, 1);
    uint8_t digest[32];
    sha256_of(sample, sizeof sample - 1, digest);
    assert_memory_equal(digest, prices_sha256(p), 32);
    assert_string_equal(prices_as_of(p), "2026-11-23");
    assert_string_equal(prices_source(p), "s");
    assert_int_equal(prices_count(p), 2);
    assert_ptr_equal(g, prices_at(p, 0)); /* sorted */
    assert_null(prices_find(p, "gpt-5"));
    assert_null(prices_find(p, "gpt-5.55"));
    assert_null(prices_find(p, ""));
    assert_int_equal(g->rates.cache_read, 125000);
    assert_int_equal(g->ntiers, 1);
    /* what is absent is the dearest */
    assert_int_equal(z->rates.cache_read, 1000000);
    assert_int_equal(z->rates.cache_write, 2000000);
    assert_int_equal(z->rates.cache_write_1h, 2000000);
    assert_int_equal(g->tiers[0].rates.cache_read, 2500000);
    prices_free(p);
}

static void wrong_files_are_refused(void **state)
{
#define HEAD  "{\"currency\":\"USD\",\"as_of\":\"2026-11-23\",\"models\":["
#define MODEL "{\"model\":\"m\",\"input\":\"1\",\"output\":\"1\""
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"{\"currency\":\"EUR\",\"as_of\":\"2026-11-23\",\"models\":[]}",
         "f: currency: is not 'USD'"},
        {"{\"currency\":\"USD\",\"as_of\":\"2026-02-30\",\"models\":[]}", "is not a date"},
        {"{\"currency\":\"USD\",\"as_of\":\"today\",\"models\":[]}", "is not a date"},
        {HEAD MODEL "}," MODEL "}]}", "'m' stands there twice"},
        {HEAD "{\"model\":\"m\",\"input\":\"1\"}]}", "models[0].output: missing"},
        {HEAD "{\"model\":\"m\",\"input\":1.5,\"output\":\"1\"}]}", "fraction"},
        {HEAD "{\"model\":\"m\",\"input\":\"-1\",\"output\":\"1\"}]}", "not a decimal string"},
        {HEAD "{\"model\":\"m m\",\"input\":\"1\",\"output\":\"1\"}]}", "not a model's name"},
        {HEAD "{\"model\":\"m\",\"input\":\"1000000000001\",\"output\":\"1\"}]}", "over a dollar"},
        {HEAD MODEL ",\"inputs\":\"1\"}]}", "models[0].inputs: unknown key"},
        {HEAD MODEL ",\"tiers\":[{\"above_tokens\":\"2\",\"input\":\"1\",\"output\":\"1\"},"
                    "{\"above_tokens\":\"2\",\"input\":\"1\",\"output\":\"1\"}]}]}",
         "tiers must rise"},
        {"", "f: "},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        struct prices *p = NULL;
        assert_says(prices_parse(cases[i].text, strlen(cases[i].text), "f", &p, &err),
                    cases[i].says);
        assert_int_equal(err.code, ERR_USAGE);
        assert_null(p);
    }
}

static void costs_are_exact(void **state)
{
    struct prices *p = parse(sample);
    const struct price *g = prices_find(p, "gpt-5.5");
    assert_int_equal(price_cost(g, &(struct usage){0}), 0);
    assert_int_equal(price_cost(g, &(struct usage){.input = 1}), 2); /* 1.25 */
    assert_int_equal(price_cost(g, &(struct usage){.input = 4}), 5);
    assert_int_equal(price_cost(g, &(struct usage){.cache_read = 1}), 1); /* 0.125 */
    assert_int_equal(price_cost(g, &(struct usage){.input = 1000, .cache_read = 800, .output = 7}),
                     1250 + 100 + 70);
    /* at the tier's edge the cheaper price still holds, above it the whole call costs more */
    assert_int_equal(price_cost(g, &(struct usage){.input = 272000}), 340000);
    assert_int_equal(price_cost(g, &(struct usage){.input = 272000, .output = 1}), 340010);
    assert_int_equal(price_cost(g, &(struct usage){.input = 272001}), 680003);
    assert_int_equal(price_cost(g, &(struct usage){.input = 200000, .cache_read = 72001}), 680003);
    /* nothing wraps */
    const struct usage all = {UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX, UINT64_MAX};
    assert_true(price_cost(g, &all) == UINT64_MAX);
    assert_true(price_bound(g, UINT64_MAX, UINT64_MAX) == UINT64_MAX);
    prices_free(p);
}

/* ---- the bound ---- */

static uint64_t seed;

static uint64_t rnd(void)
{
    seed ^= seed << 13;
    seed ^= seed >> 7;
    return seed ^= seed << 17;
}

/* Of every size: 0, small, up to 2^bits. */
static uint64_t some(unsigned bits)
{
    return rnd() >> (64 - 1 - rnd() % bits);
}

static struct rates some_rates(void)
{
    return (struct rates){some(40), some(40), some(40), some(40), some(40)};
}

static struct price some_price(void)
{
    struct price p = {.rates = some_rates(), .ntiers = rnd() % (PRICE_TIERS_MAX + 1)};
    uint64_t above = 0;
    for (size_t i = 0; i < p.ntiers; i++)
        p.tiers[i] =
            (struct price_tier){.above_tokens = above += 1 + some(20), .rates = some_rates()};
    return p;
}

/* Any usage whose tokens in add up to at most `input`, and out to at most `output`. */
static struct usage some_usage(uint64_t input, uint64_t output)
{
    struct usage u = {0};
    uint64_t *parts[] = {&u.input, &u.cache_read, &u.cache_write, &u.cache_write_1h};
    for (int i = 0; i < 8 && input > 0; i++) {
        uint64_t n = rnd() % 3 == 0 ? input : rnd() % (input + 1);
        *parts[rnd() % 4] += n;
        input -= n;
    }
    u.output = rnd() % 2 ? output : rnd() % (output + 1);
    return u;
}

static void no_usage_exceeds_its_bound(void **state)
{
    seed = 88172645463325252u;
    for (int round = 0; round < 300000; round++) {
        struct price p = some_price();
        uint64_t input = some(rnd() % 2 ? 22 : 62), output = some(rnd() % 2 ? 20 : 62);
        struct usage u = some_usage(input, output);
        if (price_cost(&p, &u) > price_bound(&p, input, output))
            fail_msg("cost %llu over bound %llu (input %llu, output %llu)",
                     (unsigned long long)price_cost(&p, &u),
                     (unsigned long long)price_bound(&p, input, output), (unsigned long long)input,
                     (unsigned long long)output);
    }
}

/* ---- LiteLLM ---- */

static void decimals_are_exact(void **state)
{
    static const struct {
        const char *text;
        int64_t rate; /* -1: refused */
    } cases[] = {
        {"1.25e-06", 1250000},
        {"0.00000125", 1250000},
        {"1e-05", 10000000},
        {"1E-5", 10000000},
        {"0", 0},
        {"0.0", 0},
        {"0e999", 0},
        {"1", 1000000000000},
        {"1.000000000001", -1},
        {"1.1", -1},
        {"1e-12", 1},
        {"1e-13", 1},
        {"1e-9999", 1},
        {"1.0000000000000001e-07", 100001},
        {"9.9999999999999995e-08", 100000},
        {"-1e-06", -1},
        {"1e99999", -1},
        {"1e99", -1},
        {"1e", -1},
        {".", -1},
        {"", -1},
        {"null", -1},
        {"\"1\"", -1},
        {"0.1.2", -1},
        {"10000000000000000000000000000000000000000000000000e-60", -1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint64_t rate = 77;
        bool ok = rate_of_decimal(cases[i].text, strlen(cases[i].text), &rate);
        if (ok != (cases[i].rate >= 0) || (ok && rate != (uint64_t)cases[i].rate))
            fail_msg("'%s' is %d, %llu", cases[i].text, ok, (unsigned long long)rate);
    }
}

static const char table[] =
    "{\"sample_spec\":{\"input_cost_per_token\":0.0,\"mode\":\"one of: "
    "chat\",\"x\":[\"}\\\"{\"]},\n"
    "\"gpt-5.5\":{\"litellm_provider\":\"openai\",\"mode\":\"responses\","
    "\"input_cost_per_token\":1.25e-06,\"output_cost_per_token\":1e-05,"
    "\"cache_read_input_token_cost\":1.25e-07,\"input_cost_per_token_above_272k_tokens\":2.5e-06,"
    "\"output_cost_per_token_above_272k_tokens\":1.5e-05,"
    "\"input_cost_per_token_above_272k_tokens_priority\":9e-05,\"supports_vision\":true},\n"
    "\"claude-x\":{\"litellm_provider\":\"anthropic\",\"mode\":\"chat\","
    "\"input_cost_per_token\":3e-06,\"output_cost_per_token\":1.5e-05,"
    "\"cache_creation_input_token_cost\":3.75e-06,\"cache_read_input_token_cost\":3e-07,"
    "\"cache_creation_input_token_cost_above_1hr\":6e-06,"
    "\"cache_creation_input_token_cost_above_200k_tokens\":7.5e-06,"
    "\"input_cost_per_token_above_200k_tokens\":6e-06},\n"
    "\"thinker\":{\"litellm_provider\":\"other\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06,"
    "\"output_cost_per_token\":2e-06,\"output_cost_per_reasoning_token\":3e-06},\n"
    "\"embed\":{\"litellm_provider\":\"openai\",\"mode\":\"embedding\","
    "\"input_cost_per_token\":1e-06,\"output_cost_per_token\":1e-06},\n"
    "\"free\":{\"litellm_provider\":\"other\",\"mode\":\"chat\",\"input_cost_per_token\":0.0,"
    "\"output_cost_per_token\":0.0},\n"
    "\"half\":{\"litellm_provider\":\"other\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06},\n"
    "\"minus\":{\"litellm_provider\":\"other\",\"mode\":\"chat\",\"input_cost_per_token\":-1e-06,"
    "\"output_cost_per_token\":1e-06},\n"
    "\"tiered\":{\"litellm_provider\":\"other\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06,"
    "\"output_cost_per_token\":1e-06,\"tiered_pricing\":[{\"range\":[0,1]}]},\n"
    "\"a b\":{\"litellm_provider\":\"other\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06,"
    "\"output_cost_per_token\":1e-06}}";

static struct prices *import(const char *provider, size_t count)
{
    struct err err = ERR_INIT;
    struct prices *p = NULL;
    struct buf b;
    size_t n = 0;
    buf_init(&b, PRICES_BYTES_MAX);
    assert_ok(prices_from_litellm(table, sizeof table - 1, provider, "2026-11-23", &b, &n, &err));
    assert_int_equal(n, count);
    assert_ok(prices_parse(b.data, b.len, "imported", &p, &err));
    assert_int_equal(prices_count(p), count);
    buf_done(&b);
    return p;
}

static void litellm_is_imported(void **state)
{
    struct prices *p = import(NULL, 3);
    const struct price *g = prices_find(p, "gpt-5.5"), *c = prices_find(p, "claude-x");
    assert_int_equal(g->rates.input, 1250000);
    assert_int_equal(g->rates.output, 10000000);
    assert_int_equal(g->rates.cache_read, 125000);
    assert_int_equal(g->rates.cache_write, 1250000); /* OpenAI bills no writes apart */
    assert_int_equal(g->ntiers, 1);
    assert_int_equal(g->tiers[0].above_tokens, 272000);
    assert_int_equal(g->tiers[0].rates.input, 2500000);
    assert_int_equal(g->tiers[0].rates.output, 15000000);
    assert_int_equal(c->rates.cache_write, 3750000);
    assert_int_equal(c->rates.cache_write_1h, 6000000);
    assert_int_equal(c->tiers[0].above_tokens, 200000);
    assert_int_equal(c->tiers[0].rates.output, 15000000); /* unsaid there: the base's */
    assert_int_equal(c->tiers[0].rates.cache_write, 7500000);
    assert_int_equal(c->tiers[0].rates.cache_read, 6000000); /* unsaid there: as input */
    assert_int_equal(prices_find(p, "thinker")->rates.output, 3000000);
    prices_free(p);
    p = import("openai", 1);
    assert_non_null(prices_find(p, "gpt-5.5"));
    prices_free(p);
}

/* As the real table has had it: a model that stands there twice has a price only if both agree. */
static void litellm_repeats_itself(void **state)
{
#define ENTRY(name, out)                                                                         \
    "\"" name "\":{\"litellm_provider\":\"p\",\"mode\":\"chat\",\"input_cost_per_token\":1e-06," \
    "\"output_cost_per_token\":" out "}"
    static const char text[] =
        "{" ENTRY("a", "1e-06") "," ENTRY("b", "1e-06") "," ENTRY("a", "2e-06") "," ENTRY(
            "b", "0.000001") "," ENTRY("c", "1e-06") "," ENTRY("a", "1e-06") "}";
    struct err err = ERR_INIT;
    struct prices *p = NULL;
    struct buf b;
    size_t n = 0;
    buf_init(&b, PRICES_BYTES_MAX);
    assert_ok(prices_from_litellm(text, sizeof text - 1, NULL, "2026-11-23", &b, &n, &err));
    assert_int_equal(n, 2);
    assert_ok(prices_parse(b.data, b.len, "imported", &p, &err));
    assert_null(prices_find(p, "a"));
    assert_non_null(prices_find(p, "b"));
    assert_non_null(prices_find(p, "c"));
    prices_free(p);
    buf_done(&b);
}

static void litellm_that_is_none_is_refused(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"[]", "not a table of models"},
        {"{}", "no model with prices of provider p"},
        {"{\"a\":{\"mode\":1,\"mode\":2}}", "model 'a': byte 19: duplicate key 'mode'"},
        {"{\"a\":", "byte 5: not a table"},
        {"{\"a\":{}", "byte 7: not a table"},
        {"{\"a\":{}}x", "byte 8: not a table"},
        {"{\"a\":{},}", "byte 8: not a table"},
        {"{\"a\":{} \"b\":{}}", "byte 8: not a table"},
        {"{\"a\":[]}", "model 'a' is not an object"},
        {"{\"a\":{\"b\":[}]}}", "model 'a': byte"},
        {"", "byte 0: not a table"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct err err = ERR_INIT;
        struct buf b;
        size_t n;
        buf_init(&b, PRICES_BYTES_MAX);
        assert_says(prices_from_litellm(cases[i].text, strlen(cases[i].text), "p", "2026-11-23", &b,
                                        &n, &err),
                    cases[i].says);
        assert_int_equal(err.code, ERR_USAGE);
        assert_says(prices_from_litellm(table, sizeof table - 1, NULL, "2026-13-01", &b, &n, &err),
                    "is not a date");
        buf_done(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_file_is_read),       cmocka_unit_test(wrong_files_are_refused),
        cmocka_unit_test(costs_are_exact),        cmocka_unit_test(no_usage_exceeds_its_bound),
        cmocka_unit_test(decimals_are_exact),     cmocka_unit_test(litellm_is_imported),
        cmocka_unit_test(litellm_repeats_itself), cmocka_unit_test(litellm_that_is_none_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
