/* Providers and what is planned with them: what may be configured, the file both ways, and the words for
 * everything that is missing. */
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "controller/broker/dialect.h"
#include "controller/spend_plan.h"
#include "tests/unit/fixture.h"

struct fixture {
    char dir[64], broker[PATH_MAX];
    struct paths p;
    int fd; /* of broker */
};

static struct err err;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/creel-provider-XXXXXX");
    if (!mkdtemp(f->dir) || paths_open(f->dir, true, &f->p, &err) < 0 ||
        paths_broker(&f->p, f->broker, &err) < 0)
        return -1;
    f->fd = dir_open(f->broker, false, true, &err);
    *state = f;
    return f->fd < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    fd_close(&f->fd);
    paths_close(&f->p);
    fixture_remove(f->dir);
    free(f);
    return 0;
}

static struct provider sample(const char *name)
{
    struct provider p;
    if (!provider_known(name, &p)) {
        assert_true(provider_known("openai", &p));
        snprintf(p.name, sizeof p.name, "%s", name);
    }
    return p;
}

static void base_urls(void **state)
{
    static const struct {
        const char *url, *says; /* NULL: fine */
    } cases[] = {
        {"https://api.openai.com", NULL},
        {"https://h:8443/a/b_c", NULL},
        {"http://127.0.0.1:4010", NULL},
        {"http://127.9.8.7", NULL},
        {"http://localhost:1/x", NULL},
        {"http://[::1]:80", NULL},
        {"https://[2001:db8::1]", NULL},
        {"http://api.openai.com", "http is for addresses of this machine"},
        {"http://127.0.0.1.example.org", "http is for"},
        {"http://127.0.0.256", "http is for"},
        {"http://127.1", "http is for"},
        {"http://localhost.example.org", "http is for"},
        {"ftp://h", "must begin with https"},
        {"", "must begin with https"},
        {"https://", "must be https://HOST"},
        {"https://u:p@h", "must be https://HOST"},
        {"https://h:0", "must be https://HOST"},
        {"https://h:65536", "must be https://HOST"},
        {"https://h:", "must be https://HOST"},
        {"https://h:80a", "must be https://HOST"},
        {"https://[::1", "must be https://HOST"},
        {"https://h?x=1", "must be https://HOST"},
        {"https://h/a?x", "strange character"},
        {"https://h/a#x", "strange character"},
        {"https://h/a b", "strange character"},
        {"https://h/", "empty segment"},
        {"https://h/a/", "empty segment"},
        {"https://h//a", "empty segment"},
        {"https://h/../a", "begins with a dot"},
        {"https://h/v1", "leave out the last /v1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct provider p = sample("x");
        snprintf(p.base_url, sizeof p.base_url, "%s", cases[i].url);
        if (!cases[i].says) {
            assert_ok(provider_check(&p, &err));
            continue;
        }
        assert_says(provider_check(&p, &err), cases[i].says);
        assert_int_equal(err.code, ERR_USAGE);
    }
}

static void other_members(void **state)
{
    struct provider p = sample("anthropic");
    assert_int_equal(p.auth, AUTH_X_API_KEY);
    assert_int_equal(p.dialects, 1u << DIALECT_MESSAGES);
    assert_int_equal(p.day_usd_micros, 20000000);
    assert_int_equal(p.day_calls, 5000);
    assert_ok(provider_check(&p, &err));
    assert_false(provider_known("openai2", &p));
    p = sample("anthropic");
    p.dialects = 0;
    assert_says(provider_check(&p, &err), "at least one dialect");
    p = sample("anthropic");
    snprintf(p.secret, sizeof p.secret, "../x");
    assert_says(provider_check(&p, &err), "not the name of a secret");
    p = sample("anthropic");
    snprintf(p.ca_file, sizeof p.ca_file, "ca.pem");
    assert_says(provider_check(&p, &err), "must be absolute");
    p = sample("anthropic");
    p.day_usd_micros = SPEND_USD_MAX + 1;
    assert_says(provider_check(&p, &err), "dollars a day");
    p = sample("anthropic");
    strv_add(&p.models, "a b");
    assert_says(provider_check(&p, &err), "'a b' is not the name of a model");
    strv_done(&p.models);
}

static void save(struct fixture *f, const char *const *names)
{
    struct providers all = {0};
    for (; *names; names++)
        *(struct provider *)json_list_push(&all.list, &provider_shape) = sample(*names);
    assert_ok(providers_save(f->fd, &all, &err));
    providers_done(&all);
}

static void the_file_round_trips(void **state)
{
    struct fixture *f = *state;
    struct providers all;
    struct stat st;
    assert_ok(providers_load(f->fd, &all, &err));
    assert_int_equal(all.list.n, 0);
    save(f, (const char *const[]){"openai", "anthropic", NULL});
    assert_int_equal(fstatat(f->fd, "providers.json", &st, 0), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_ok(providers_load(f->fd, &all, &err));
    assert_int_equal(all.list.n, 2);
    assert_string_equal(providers_find(&all, "anthropic")->base_url, "https://api.anthropic.com");
    assert_null(providers_find(&all, "other"));
    *(struct provider *)json_list_push(&all.list, &provider_shape) = sample("openai");
    assert_says(providers_save(f->fd, &all, &err), "openai stands there twice");
    providers_done(&all);
    assert_int_equal(unlinkat(f->fd, "providers.json", 0), 0);
    fixture_write(f->broker, "providers.json", "{\"providers\":[{\"name\":\"x\"}]}");
    assert_says(providers_load(f->fd, &all, &err),
                "providers.json: providers[0].base_url: missing");
    assert_int_equal(all.list.n, 0);
}

static void write_prices(struct fixture *f)
{
    fixture_write(f->broker, "prices.json",
                  "{\"currency\":\"USD\",\"as_of\":\"2026-11-23\",\"models\":["
                  "{\"model\":\"m\",\"input\":\"1000000\",\"output\":\"2000000\","
                  "\"cache_write\":\"1\",\"cache_write_1h\":\"1\"},"
                  "{\"model\":\"dear\",\"input\":\"9000000\",\"output\":\"9000000\","
                  "\"cache_write\":\"1\",\"cache_write_1h\":\"1\"}]}");
}

static void what_is_missing_is_said(void **state)
{
    struct fixture *f = *state;
    struct spend_books b;
    assert_says(spend_books_open(&f->p, &b, &err), "creel provider add openai");
    assert_ok(spend_books_peek(&f->p, &b, &err));
    assert_null(b.prices);
    spend_books_done(&b);
    save(f, (const char *const[]){"openai", NULL});
    assert_says(spend_books_open(&f->p, &b, &err), "creel prices import FILE");
    fixture_write(f->broker, "prices.json", "{");
    assert_says(spend_books_open(&f->p, &b, &err), "prices.json: byte");
}

static void a_plan_is_made(void **state)
{
    struct fixture *f = *state;
    struct spend_books b;
    struct spend s = {0};
    struct strv models = {0};
    save(f, (const char *const[]){"openai", NULL});
    write_prices(f);
    assert_ok(spend_books_open(&f->p, &b, &err));
    assert_ok(spend_plan(&b, &(struct spend_wish){.budget = "2.50"}, &s, &err));
    assert_string_equal(s.provider, "openai");
    assert_int_equal(s.usd_micros, 2500000);
    assert_int_equal(s.calls, 500);
    assert_int_equal(s.output_tokens, 32000);
    assert_memory_equal(s.prices_sha256, prices_sha256(b.prices), 32);
    assert_int_equal(spend_plan_call(&b, &s, 1000), 9 * 33000);
    strv_add(&models, "m");
    assert_ok(spend_plan(
        &b, &(struct spend_wish){.budget = "1", .models = &models, .calls = 3, .output_tokens = 10},
        &s, &err));
    assert_int_equal(s.calls, 3);
    assert_string_equal(s.models.v[0], "m");
    assert_int_equal(spend_plan_call(&b, &s, 1000), 1020);
    strv_add(&models, "unpriced");
    assert_says(spend_plan(&b, &(struct spend_wish){.budget = "1", .models = &models}, &s, &err),
                "'unpriced' has no price");
    assert_says(spend_plan(&b, &(struct spend_wish){.budget = ""}, &s, &err), "need a budget");
    assert_says(spend_plan(&b, &(struct spend_wish){.budget = "0"}, &s, &err), "usd_micros");
    assert_says(spend_plan(&b, &(struct spend_wish){.budget = "1", .provider = "x"}, &s, &err),
                "no provider 'x'");
    assert_says(
        spend_plan(&b, &(struct spend_wish){.budget = "1", .dialect = "messages"}, &s, &err),
        "not called in the dialect 'messages'");
    strv_done(&models);
    spend_done(&s);
    spend_books_done(&b);
    save(f, (const char *const[]){"openai", "anthropic", NULL});
    assert_ok(spend_books_open(&f->p, &b, &err));
    assert_says(spend_plan(&b, &(struct spend_wish){.budget = "1"}, &s, &err), "--provider");
    spend_books_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(base_urls),
        cmocka_unit_test(other_members),
        cmocka_unit_test_setup_teardown(the_file_round_trips, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_missing_is_said, setup, teardown),
        cmocka_unit_test_setup_teardown(a_plan_is_made, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
