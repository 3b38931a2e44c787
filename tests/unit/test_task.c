/* The task: round trip, the wire's form, and each check that the table cannot make. */
#include "tests/unit/cm.h"

#include <stdlib.h>

#include "tests/unit/doc_samples.h"
#include "proto/task.h"

static void round_trip(void **state)
{
    struct err err = ERR_INIT;
    struct task t, again;
    struct buf one, two;

    buf_init(&one, 1u << 20);
    buf_init(&two, 1u << 20);
    sample_task(&t);
    assert_ok(task_encode(&t, &one, &err));
    assert_ok(task_decode(one.data, one.len, &again, &err));
    assert_string_equal(again.title, t.title);
    assert_string_equal(again.aud_host_key, SAMPLE_FPR_B);
    assert_int_equal(again.pack_bytes, t.pack_bytes);
    assert_int_equal(again.command.n, 3);
    assert_string_equal(again.command.v[2], t.command.v[2]);
    assert_memory_equal(again.token_sealed, t.token_sealed, sizeof(t.token_sealed));
    assert_int_equal(again.policy.limits[LIMIT_CPU], 1500);
    assert_ok(task_encode(&again, &two, &err));
    assert_string_equal(buf_str(&one), buf_str(&two));
    task_done(&t);
    task_done(&again);
    buf_done(&one);
    buf_done(&two);
}

static void wire_form(void **state)
{
    static const char *const parts[] = {
        "{\"_type\":\"https://creel.dev/task/v1\",\"task\":{\"id\":\"" SAMPLE_ID
        "\",\"attempt\":\"" SAMPLE_ATTEMPT "\",\"title\":\"",
        "},\"iss\":\"" SAMPLE_FPR_A "\",\"aud\":{\"host\":\"vps-7\",\"host_key\":\"" SAMPLE_FPR_B
        "\"},\"iat\":\"1795430000\",\"nbf\":\"1795430001\",\"exp\":\"1795433600\",\"nonce\":\"",
        "\"fence\":\"7\",\"repo\":{\"base\":\"" SAMPLE_BASE "\",\"root\":\"" SAMPLE_ROOT
        "\",\"branch\":\"creel/" SAMPLE_ID "\",\"pack_bytes\":\"4294967295\",\"pack_sha256\":\"",
        "\"},\"setup\":[\"make deps\"],\"command\":[\"sh\",\"-c\",",
        "],\"tests\":[\"make check\",\"test -f y\"],\"policy\":{\"limits\":{\"mem_bytes\":",
        "\"cnf\":{\"token_sha256\":\"030a11",
        "\"token_sealed\":\"",
    };
    struct err err = ERR_INIT;
    struct task t;
    struct buf b;

    buf_init(&b, 1u << 20);
    sample_task(&t);
    assert_ok(task_encode(&t, &b, &err));
    for (size_t i = 0; i < sizeof(parts) / sizeof(parts[0]); i++) {
        if (!strstr(buf_str(&b), parts[i]))
            fail_msg("not found: %s\nin: %s", parts[i], buf_str(&b));
    }
    task_done(&t);
    buf_done(&b);
}

/* A spoiler breaks one thing of a good task. */
static void bad_id(struct task *t)
{
    t->id[0] = 'z';
}
static void bad_attempt(struct task *t)
{
    t->attempt[26] = '-';
}
static void other_attempt(struct task *t)
{
    t->attempt[10] = t->attempt[10] == '0' ? '1' : '0';
}
static void bad_iss(struct task *t)
{
    t->iss[0] = 's';
}
static void no_host(struct task *t)
{
    t->aud_host[0] = 0;
}
static void bad_host_key(struct task *t)
{
    t->aud_host_key[20] = 0;
}
static void backwards(struct task *t)
{
    t->nbf = t->exp + 1;
}
static void issued_late(struct task *t)
{
    t->iat = t->exp + 1;
}
static void long_life(struct task *t)
{
    t->exp = t->iat + TASK_LIFE_MAX_S + 1;
}
static void endless_life(struct task *t)
{
    t->exp = UINT64_MAX;
}
static void no_fence(struct task *t)
{
    t->fence = 0;
}
static void bad_base(struct task *t)
{
    t->base[39] = 'G';
}
static void upper_root(struct task *t)
{
    t->root[5] = 'A';
}
static void short_root(struct task *t)
{
    t->root[39] = 0;
}
static void bad_branch(struct task *t)
{
    SET(t->branch, "main");
}
static void longer_branch(struct task *t)
{
    SET(t->branch, "creel/" SAMPLE_ID "/x");
}
static void empty_pack(struct task *t)
{
    t->pack_bytes = 0;
}
static void large_pack(struct task *t)
{
    t->pack_bytes = TASK_PACK_MAX + 1;
}
static void no_command(struct task *t)
{
    strv_done(&t->command);
}
static void empty_command(struct task *t)
{
    t->command.v[0][0] = 0;
}
static void long_command(struct task *t)
{
    while (t->command.n <= TASK_ARGS_MAX)
        strv_add(&t->command, "x");
}
static void empty_test(struct task *t)
{
    strv_add(&t->tests, " \n\t");
}
static void many_tests(struct task *t)
{
    while (t->tests.n <= TASK_TESTS_MAX)
        strv_add(&t->tests, "true");
}
static void many_setups(struct task *t)
{
    while (t->setup.n <= TASK_TESTS_MAX)
        strv_add(&t->setup, "true");
}
static void no_limit(struct task *t)
{
    t->policy.limits[LIMIT_WALL] = 0;
}

static void checks(void **state)
{
    static const struct {
        void (*spoil)(struct task *t);
        const char *says;
    } cases[] = {
        {bad_id, "task.id: not a task id"},
        {bad_attempt, "task.attempt: not an attempt id"},
        {other_attempt, "task.attempt: of another task"},
        {bad_iss, "iss: not a key fingerprint"},
        {no_host, "aud.host: empty"},
        {bad_host_key, "aud.host_key: not a key fingerprint"},
        {backwards, "exp: before nbf or iat"},
        {issued_late, "exp: before nbf or iat"},
        {long_life, "exp: a life of more than 86400 s"},
        {endless_life, "exp: a life of more than 86400 s"},
        {no_fence, "fence: zero"},
        {bad_base, "repo.base: not a commit id"},
        {upper_root, "repo.root: not a commit id"},
        {short_root, "repo.root: not a commit id"},
        {bad_branch, "repo.branch: not creel/<task id>"},
        {longer_branch, "repo.branch: not creel/<task id>"},
        {empty_pack, "repo.pack_bytes: out of range"},
        {large_pack, "repo.pack_bytes: out of range"},
        {no_command, "command: empty"},
        {empty_command, "command: empty"},
        {long_command, "command: 1025 words"},
        {empty_test, "tests[2]: empty"},
        {many_tests, "tests: 65 lines"},
        {many_setups, "setup: 65 lines"},
        {no_limit, "policy: limit 'wall' is out of range"},
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct task t, decoded;
        struct buf b;
        buf_init(&b, 1u << 20);
        sample_task(&t);
        assert_ok(task_check(&t, &err));
        cases[i].spoil(&t);
        assert_says(task_check(&t, &err), cases[i].says);
        assert_says(task_encode(&t, &b, &err), cases[i].says);
        assert_int_equal(b.len, 0);
        /* The same fault on the wire: written by the table alone, refused when read. */
        assert_ok(json_encode(&task_shape, &t, &b, &err));
        assert_says(task_decode(b.data, b.len, &decoded, &err), cases[i].says);
        assert_int_equal(decoded.command.n, 0);
        task_done(&t);
        buf_done(&b);
    }
}

static void edges_pass(void **state)
{
    struct err err = ERR_INIT;
    struct task t;

    sample_task(&t);
    t.exp = t.iat + TASK_LIFE_MAX_S;
    t.pack_bytes = TASK_PACK_MAX;
    t.title[0] = 0;
    strv_done(&t.setup);
    strv_done(&t.tests);
    assert_ok(task_check(&t, &err));
    t.nbf = t.exp;
    assert_ok(task_check(&t, &err));
    task_done(&t);
}

/* Text substitutions that keep the JSON valid: unknown and missing keys at every level. */
static void other_keys_are_refused(void **state)
{
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"\"_type\":\"https://creel.dev/task/v1\"", "\"_type\":\"https://creel.dev/task/v2\"",
         "_type: is not"},
        {"\"_type\"", "\"_typo\"", "_typo: unknown key"},
        {"\"fence\":\"7\",", "", "fence: missing"},
        {"\"fence\":\"7\",", "\"fence\":\"7\",\"fence\":\"7\",", "duplicate key 'fence'"},
        {"\"fence\":\"7\",", "\"fence\":7,", "fence: not a decimal string"},
        {"\"aud\":{", "\"aud\":{\"x\":1,", "aud.x: unknown key"},
        {"\"host\":\"vps-7\",", "", "aud.host: missing"},
        {"\"limits\":{", "\"limits\":{\"gpu\":\"1\",", "policy.limits.gpu: unknown key"},
        {"\"pids\":\"512\",", "", "policy.limits.pids: missing"},
        {"\"cnf\":{", "\"cnf\":{\"token\":\"x\",", "cnf.token: unknown key"},
        {"\"egress\":[", "\"egress\":[1,", "policy.egress[0]: not a string"},
        {"[\"pids\",\"log\"]", "[\"log\",\"pids\"]", "policy.allow_unenforced: 'pids' is repeated"},
    };
    struct err err = ERR_INIT;
    struct task t;
    struct buf b;

    buf_init(&b, 1u << 20);
    sample_task(&t);
    assert_ok(task_encode(&t, &b, &err));
    task_done(&t);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *at = strstr(buf_str(&b), cases[i].from);
        struct buf bad;
        assert_non_null(at);
        buf_init(&bad, 1u << 20);
        buf_add(&bad, b.data, (size_t)(at - buf_str(&b)));
        buf_adds(&bad, cases[i].to);
        buf_adds(&bad, at + strlen(cases[i].from));
        assert_says(task_decode(bad.data, bad.len, &t, &err), cases[i].says);
        buf_done(&bad);
    }
    buf_done(&b);
}

static void oids(void **state)
{
    assert_true(oid_valid(SAMPLE_BASE));
    assert_false(oid_valid(""));
    assert_false(oid_valid(SAMPLE_BASE "0"));
    assert_false(oid_valid("0123456789ABCDEF0123456789abcdef01234567"));
    assert_false(oid_valid("0123456789abcdef0123456789abcdef0123456"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(wire_form),
        cmocka_unit_test(checks),
        cmocka_unit_test(edges_pass),
        cmocka_unit_test(other_keys_are_refused),
        cmocka_unit_test(oids),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
