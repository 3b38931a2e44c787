/* Orders: round trips and what is refused. */
#include "tests/unit/cm.h"

#include "proto/order.h"
#include "tests/unit/doc_samples.h"

static void sample(struct order *o, enum order_kind kind)
{
    *o = (struct order){.kind = kind};
    SET(o->attempt, SAMPLE_ATTEMPT);
    SET(o->iss, SAMPLE_FPR_A);
    SET(o->aud_host_key, SAMPLE_FPR_B);
    if (kind == ORDER_WIPE)
        sample_bytes(o->result_sha256, sizeof(o->result_sha256), 3);
}

static void round_trip(void **state)
{
    struct err err = ERR_INIT;

    for (int kind = 0; kind < ORDER_KIND_COUNT; kind++) {
        struct order o, again;
        struct buf b;

        buf_init(&b, 4096);
        sample(&o, (enum order_kind)kind);
        assert_ok(order_encode(&o, &b, &err));
        assert_ok(order_decode(b.data, b.len, &again, &err));
        assert_memory_equal(&o, &again, sizeof(o));
        buf_done(&b);
    }
}

static void form(void **state)
{
    struct err err = ERR_INIT;
    struct order o;
    struct buf b;

    buf_init(&b, 4096);
    sample(&o, ORDER_CANCEL);
    assert_ok(order_encode(&o, &b, &err));
    assert_string_equal(buf_str(&b),
                        "{\"_type\":\"https://creel.dev/order/v1\",\"order\":\"cancel\","
                        "\"attempt\":\"" SAMPLE_ATTEMPT "\",\"iss\":\"" SAMPLE_FPR_A
                        "\",\"aud\":\"" SAMPLE_FPR_B "\"}");
    buf_done(&b);
}

#define HEAD "{\"_type\":\"https://creel.dev/order/v1\","
#define REST \
    "\"attempt\":\"" SAMPLE_ATTEMPT "\",\"iss\":\"" SAMPLE_FPR_A "\",\"aud\":\"" SAMPLE_FPR_B "\""
#define RESULT \
    "\"result_sha256\":\"03030303030303030303030303030303030303030303030303030303030303ff\""

static void refused(void **state)
{
    static const struct {
        const char *doc, *says;
    } cases[] = {
        {HEAD "\"order\":\"wipe\"," REST "}", "a wipe names its result"},
        {HEAD "\"order\":\"cancel\"," REST "," RESULT "}", "a cancel has none"},
        {HEAD "\"order\":\"approve\"," REST "}", "not a known word"},
        {HEAD REST "}", "order: missing"},
        {HEAD "\"order\":\"cancel\"," REST ",\"more\":1}", "more: unknown key"},
        {"{\"_type\":\"https://creel.dev/task/v1\",\"order\":\"cancel\"," REST "}",
         "_type: is not"},
        {HEAD "\"order\":\"cancel\",\"attempt\":\"" SAMPLE_ID "\",\"iss\":\"" SAMPLE_FPR_A
              "\",\"aud\":\"" SAMPLE_FPR_B "\"}",
         "not an attempt id"},
        {HEAD "\"order\":\"cancel\",\"attempt\":\"" SAMPLE_ATTEMPT "\",\"iss\":\"x\",\"aud\":"
              "\"" SAMPLE_FPR_B "\"}",
         "iss: not a key fingerprint"},
        {HEAD "\"order\":\"cancel\",\"attempt\":\"" SAMPLE_ATTEMPT "\",\"iss\":\"" SAMPLE_FPR_A
              "\",\"aud\":\"\"}",
         "aud: not a key fingerprint"},
    };
    struct err err = ERR_INIT;
    struct order o;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        assert_says(order_decode(cases[i].doc, strlen(cases[i].doc), &o, &err), cases[i].says);
        assert_int_equal(o.attempt[0], 0);
    }
    sample(&o, ORDER_WIPE);
    o.kind = ORDER_CANCEL;
    struct buf b;
    buf_init(&b, 4096);
    assert_says(order_encode(&o, &b, &err), "a cancel has none");
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(form),
        cmocka_unit_test(refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
