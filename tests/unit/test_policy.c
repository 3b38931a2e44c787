/* Policy: what people type, what documents say, what people read. */
#include "tests/unit/cm.h"

#include <string.h>

#include "proto/policy.h"
#include "tests/unit/doc_samples.h"

static void defaults_are_in_range(void **state)
{
    struct err err = ERR_INIT;
    struct policy p;

    policy_init(&p);
    assert_ok(policy_check(&p, &err));
    assert_int_equal(p.limits[LIMIT_MEM], 2ull << 30);
    assert_int_equal(p.limits[LIMIT_PIDS], 512);
    assert_int_equal(p.limits[LIMIT_CPU], 2000);
    assert_int_equal(p.limits[LIMIT_WALL], 1800000);
    assert_int_equal(p.limits[LIMIT_DISK], 4ull << 30);
    assert_int_equal(p.limits[LIMIT_LOG], 64ull << 20);
    assert_int_equal(p.egress.n, 0);
    assert_int_equal(p.allow_unenforced, 0);
    policy_done(&p);
}

static void limits_are_read(void **state)
{
    static const struct {
        const char *text;
        enum limit limit;
        uint64_t value;
    } cases[] = {
        {"mem=2G", LIMIT_MEM, 2ull << 30},
        {"mem=512M", LIMIT_MEM, 512ull << 20},
        {"mem=1.5G", LIMIT_MEM, 3ull << 29},
        {"mem=16777216", LIMIT_MEM, 16777216},
        {"mem=16384K", LIMIT_MEM, 16777216},
        {"mem=1T", LIMIT_MEM, 1ull << 40},
        {"pids=4", LIMIT_PIDS, 4},
        {"pids=4194304", LIMIT_PIDS, 4194304},
        {"cpu=2", LIMIT_CPU, 2000},
        {"cpu=0.5", LIMIT_CPU, 500},
        {"cpu=0.01", LIMIT_CPU, 10},
        {"cpu=1.125", LIMIT_CPU, 1125},
        {"cpu=1024", LIMIT_CPU, 1024000},
        {"wall=1s", LIMIT_WALL, 1000},
        {"wall=30m", LIMIT_WALL, 1800000},
        {"wall=24h", LIMIT_WALL, 86400000},
        {"wall=1.5h", LIMIT_WALL, 5400000},
        {"disk=1M", LIMIT_DISK, 1 << 20},
        {"log=64K", LIMIT_LOG, 64 << 10},
        {"disk=4G,log=1M", LIMIT_LOG, 1 << 20},
        {"log=1M,disk=4G,cpu=1", LIMIT_LOG, 1 << 20},
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy p;
        policy_init(&p);
        assert_ok(policy_set_limits(&p, cases[i].text, &err));
        assert_ok(policy_check(&p, &err)); /* those not named keep their defaults */
        if (p.limits[cases[i].limit] != cases[i].value)
            fail_msg("%s gives %llu", cases[i].text, (unsigned long long)p.limits[cases[i].limit]);
        policy_done(&p);
    }
}

static void bad_limits_are_refused_whole(void **state)
{
    static const struct {
        const char *text, *says;
    } cases[] = {
        {"memory=2G", "--limit: unknown limit 'memory'; known: mem, pids, cpu, wall, disk, log"},
        {"", "unknown limit ''"},
        {",", "unknown limit ''"},
        {"pids=8,", "unknown limit ''"},
        {",pids=8", "unknown limit ''"},
        {"pids=8,,cpu=1", "unknown limit ''"},
        {"=2", "unknown limit ''"},
        {"MEM=2G", "unknown limit 'MEM'"},
        {"me=2G", "unknown limit 'me'"},
        {"mem", "'mem' has no value; write mem=VALUE, as 512M or 2G"},
        {"mem=", "'mem=' is not understood; write mem as 512M or 2G"},
        {"mem=2g", "not understood"},
        {"mem=2GB", "not understood"},
        {"mem=-1", "not understood"},
        {"mem=+1", "not understood"},
        {"mem= 1G", "not understood"},
        {"mem=1G ", "not understood"},
        {"mem=0x10", "not understood"},
        {"mem=.5G", "not understood"},
        {"mem=1.G", "not understood"},
        {"mem=1.2345G", "not understood"},
        {"mem=16777216.5", "not understood"},
        {"mem=99999999999999999999999999", "not understood"},
        {"mem=18446744073709551617", "not understood"},
        {"mem=17000000T", "not understood"},
        {"mem=16777215", "--limit: limit 'mem' is out of range: 16 MiB to 1024 TiB is possible"},
        {"mem=0", "out of range"},
        {"mem=2000T", "out of range"},
        {"pids=0", "out of range"},
        {"pids=3", "out of range: 4 to 4194304"},
        {"pids=0.5", "not understood"},
        {"pids=1K", "not understood"},
        {"cpu=0", "out of range"},
        {"cpu=0.009", "out of range: 0.01 cpus to 1024 cpus"},
        {"cpu=1024.001", "out of range"},
        {"cpu=1.0001", "not understood"},
        {"wall=30", "not understood; write wall as 90s, 30m or 2h"},
        {"wall=0s", "out of range"},
        {"wall=0.5s", "out of range: 1 s to 24 h"},
        {"wall=25h", "out of range"},
        {"disk=1048575", "out of range"},
        {"log=63K", "out of range"},
        {"pids=8,cpu=1,pids=9", "'pids' is given twice"},
        {"pids=8,cpu=1,wall=x", "not understood"},
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct policy p, before;
        policy_init(&p);
        before = p;
        assert_says(policy_set_limits(&p, cases[i].text, &err), cases[i].says);
        assert_int_equal(err.code, ERR_USAGE);
        assert_memory_equal(&p, &before, sizeof(p));
        policy_done(&p);
    }
}

static void unenforced_adds_up(void **state)
{
    struct err err = ERR_INIT;
    struct policy p;

    policy_init(&p);
    assert_ok(policy_allow_unenforced(&p, "mem,pids", &err));
    assert_ok(policy_allow_unenforced(&p, "pids,log", &err));
    assert_int_equal(p.allow_unenforced,
                     LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_PIDS) | LIMIT_BIT(LIMIT_LOG));
    assert_says(policy_allow_unenforced(&p, "cpu,all", &err),
                "--allow-unenforced: unknown limit 'all'; known: mem");
    assert_says(policy_allow_unenforced(&p, "", &err), "unknown limit ''");
    assert_int_equal(p.allow_unenforced & LIMIT_BIT(LIMIT_CPU), 0);
    policy_done(&p);
}

static void check_names_the_fault(void **state)
{
    struct err err = ERR_INIT;
    struct policy p;

    for (int l = 0; l < LIMIT_COUNT; l++) {
        policy_init(&p);
        p.limits[l] = 0;
        assert_says(policy_check(&p, &err), limit_names[l]);
        p.limits[l] = limit_ranges[l].max + 1;
        assert_says(policy_check(&p, &err), limit_names[l]);
        p.limits[l] = limit_ranges[l].min;
        assert_ok(policy_check(&p, &err));
        policy_done(&p);
    }
    policy_init(&p);
    p.allow_unenforced = LIMIT_BIT(LIMIT_COUNT);
    assert_says(policy_check(&p, &err), "unknown limit");
    p.allow_unenforced = 0;
    strv_add(&p.egress, "a.example");
    assert_ok(policy_check(&p, &err));
    strv_add(&p.egress, "a.example");
    assert_says(policy_check(&p, &err), "named twice");
    policy_done(&p);
}

static void egress_names_have_a_form(void **state)
{
    static const char *const bad[] = {"", "A.example", "a b", "a/b", "a\n", "x//y", "\xc3\xbc"};
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        struct policy p;
        policy_init(&p);
        strv_add(&p.egress, bad[i]);
        assert_says(policy_check(&p, &err), "not a host name");
        policy_done(&p);
    }
}

static void formats(void **state)
{
    static const struct {
        enum limit limit;
        uint64_t value;
        const char *text;
    } cases[] = {
        {LIMIT_MEM, 2ull << 30, "2 GiB"},
        {LIMIT_MEM, 3ull << 29, "1.5 GiB"},
        {LIMIT_MEM, 1023, "1023 B"},
        {LIMIT_MEM, 0, "0 B"},
        {LIMIT_MEM, (1ull << 30) - 1, "1023.9 MiB"},
        {LIMIT_DISK, 4096, "4 KiB"},
        {LIMIT_PIDS, 512, "512"},
        {LIMIT_CPU, 2000, "2 cpus"},
        {LIMIT_CPU, 1000, "1 cpu"},
        {LIMIT_CPU, 500, "0.5 cpus"},
        {LIMIT_CPU, 10, "0.01 cpus"},
        {LIMIT_CPU, 100000, "100 cpus"},
        {LIMIT_WALL, 1800000, "30 min"},
        {LIMIT_WALL, 7200000, "2 h"},
        {LIMIT_WALL, 5400000, "90 min"},
        {LIMIT_WALL, 90000, "90 s"},
        {LIMIT_WALL, 1500, "1.5 s"},
        {LIMIT_WALL, 999, "999 ms"},
        {LIMIT_WALL, 150000, "2.5 min"},
        {LIMIT_LOG, 64ull << 20, "64 MiB"},
    };

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf b;
        buf_init(&b, 64);
        assert_int_equal(limit_format(cases[i].limit, cases[i].value, &b), 0);
        assert_string_equal(buf_str(&b), cases[i].text);
        buf_done(&b);
    }
}

static void lists(void **state)
{
    struct buf b;

    buf_init(&b, 64);
    assert_int_equal(limit_list(0, &b), 0);
    assert_string_equal(buf_str(&b), "");
    assert_int_equal(limit_list(LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_LOG), &b), 0);
    assert_string_equal(buf_str(&b), "mem, log");
    buf_done(&b);
    for (int l = 0; l < LIMIT_COUNT; l++)
        assert_true(strlen(limit_help[l]) > 10);
}

static void document_round_trip(void **state)
{
    static const char doc[] =
        "{\"limits\":{\"mem_bytes\":\"2147483648\",\"pids\":\"512\",\"cpu_milli\":\"2000\","
        "\"wall_ms\":\"1800000\",\"disk_bytes\":\"4294967296\",\"log_bytes\":\"67108864\","
        "\"conns\":\"10\",\"sent_bytes\":\"1024\",\"dns\":\"5\"},"
        "\"egress\":[\"a.example\"],\"image\":\"\",\"cache\":\"\",\"cache_keep\":false,"
        "\"nested_userns\":false,\"allow_unenforced\":[\"pids\",\"cpu\"]}";
    struct err err = ERR_INIT;
    struct policy p;
    struct buf b;

    buf_init(&b, 4096);
    assert_ok(json_decode(&policy_shape, doc, sizeof(doc) - 1, &p, &err));
    assert_int_equal(p.limits[LIMIT_LOG], 67108864);
    assert_string_equal(p.egress.v[0], "a.example");
    assert_int_equal(p.allow_unenforced, LIMIT_BIT(LIMIT_PIDS) | LIMIT_BIT(LIMIT_CPU));
    assert_ok(json_encode(&policy_shape, &p, &b, &err));
    assert_string_equal(buf_str(&b), doc);
    policy_done(&p);
    buf_done(&b);
}

static void copies_are_the_same_and_stand_alone(void **state)
{
    struct policy a, b = {0};

    sample_policy(&a);
    assert_int_equal(policy_copy(&b, &a), 0);
    assert_true(policy_same(&a, &b));
    b.egress.v[1][0] = '#';
    assert_false(policy_same(&a, &b));
    assert_int_equal(policy_copy(&b, &a), 0);
    assert_true(policy_same(&a, &b));
    b.limits[LIMIT_DNS]++;
    assert_false(policy_same(&a, &b));
    b.limits[LIMIT_DNS]--;
    b.nested_userns = false;
    assert_false(policy_same(&a, &b));
    b.nested_userns = true;
    b.cache_keep = false;
    assert_false(policy_same(&a, &b));
    b.cache_keep = true;
    b.cache[0] = 'd';
    assert_false(policy_same(&a, &b));
    b.cache[0] = a.cache[0];
    b.image[0] = 0;
    assert_false(policy_same(&a, &b));
    policy_done(&a);
    policy_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(copies_are_the_same_and_stand_alone),
        cmocka_unit_test(defaults_are_in_range),
        cmocka_unit_test(limits_are_read),
        cmocka_unit_test(bad_limits_are_refused_whole),
        cmocka_unit_test(unenforced_adds_up),
        cmocka_unit_test(check_names_the_fault),
        cmocka_unit_test(egress_names_have_a_form),
        cmocka_unit_test(formats),
        cmocka_unit_test(lists),
        cmocka_unit_test(document_round_trip),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
