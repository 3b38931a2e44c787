/* Result and receipt: round trips, the public formats' form, and documents that contradict
 * themselves. */
#include "tests/unit/cm.h"

#include <stdio.h>

#include "proto/dsse.h"
#include "proto/result.h"
#include "tests/unit/doc_samples.h"

#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void same_gate(const struct result *a, const struct result *b)
{
    assert_int_equal(a->conns, b->conns);
    assert_int_equal(a->sent, b->sent);
    assert_int_equal(a->received, b->received);
    assert_int_equal(a->dns, b->dns);
    assert_int_equal(a->egress_more, b->egress_more);
    assert_string_equal(a->cache, b->cache);
    assert_int_equal(a->egress.n, b->egress.n);
    for (size_t i = 0; i < a->egress.n; i++) {
        const struct egress_entry *x = (struct egress_entry *)a->egress.items + i;
        const struct egress_entry *y = (struct egress_entry *)b->egress.items + i;
        assert_string_equal(x->name, y->name);
        assert_string_equal(x->why, y->why);
        assert_true(x->port == y->port && x->verdict == y->verdict && x->count == y->count);
        assert_true(x->sent == y->sent && x->received == y->received);
    }
    assert_int_equal(a->hits.n, b->hits.n);
    for (size_t i = 0; i < a->hits.n; i++) {
        const struct limit_hit *x = (struct limit_hit *)a->hits.items + i;
        const struct limit_hit *y = (struct limit_hit *)b->hits.items + i;
        assert_true(x->limit == y->limit && x->peak == y->peak && x->count == y->count);
    }
}

static void same_members(const struct result *a, const struct result *b)
{
    assert_string_equal(a->task, b->task);
    assert_string_equal(a->attempt, b->attempt);
    assert_string_equal(a->runner, b->runner);
    assert_string_equal(a->program, b->program);
    assert_memory_equal(a->envelope_sha256, b->envelope_sha256, 32);
    assert_memory_equal(a->pack_sha256, b->pack_sha256, 32);
    assert_string_equal(a->base, b->base);
    assert_string_equal(a->root, b->root);
    assert_int_equal(a->outcome, b->outcome);
    assert_string_equal(a->reason, b->reason);
    assert_int_equal(a->steps.n, b->steps.n);
    if (a->steps.n > 0)
        assert_memory_equal(a->steps.items, b->steps.items,
                            a->steps.n * sizeof(struct step_result));
    assert_string_equal(a->commit, b->commit);
    assert_int_equal(a->patch_bytes, b->patch_bytes);
    assert_memory_equal(a->patch_sha256, b->patch_sha256, 32);
    assert_int_equal(a->log_bytes, b->log_bytes);
    assert_int_equal(a->log_dropped_bytes, b->log_dropped_bytes);
    assert_memory_equal(a->log_chain, b->log_chain, 32);
    assert_int_equal(a->started, b->started);
    assert_int_equal(a->finished, b->finished);
    assert_int_equal(a->wall_ms, b->wall_ms);
    assert_int_equal(a->cpu_ms, b->cpu_ms);
    assert_int_equal(a->mem_peak, b->mem_peak);
    assert_int_equal(a->pids_peak, b->pids_peak);
    assert_int_equal(a->disk_peak, b->disk_peak);
    assert_memory_equal(a->policy.limits, b->policy.limits, sizeof(a->policy.limits));
    assert_int_equal(a->policy.egress.n, b->policy.egress.n);
    assert_int_equal(a->policy.allow_unenforced, b->policy.allow_unenforced);
    assert_int_equal(a->unenforced, b->unenforced);
    assert_string_equal(a->policy.image, b->policy.image);
    assert_string_equal(a->policy.cache, b->policy.cache);
    assert_true(a->policy.cache_keep == b->policy.cache_keep);
    assert_true(a->policy.nested_userns == b->policy.nested_userns);
    same_gate(a, b);
}

static void round_trip_of(struct result *r)
{
    struct err err = ERR_INIT;
    struct result again;
    struct buf one, two;

    buf_init(&one, 1u << 20);
    buf_init(&two, 1u << 20);
    assert_ok(result_encode(r, &one, &err));
    assert_ok(result_decode(one.data, one.len, &again, &err));
    same_members(r, &again);
    assert_ok(result_encode(&again, &two, &err));
    assert_string_equal(buf_str(&one), buf_str(&two));
    result_done(&again);
    result_done(&again);
    buf_done(&one);
    buf_done(&two);
}

static void make_unchanged(struct result *r)
{
    r->commit[0] = 0;
    r->patch_bytes = 0;
    memset(r->patch_sha256, 0, sizeof(r->patch_sha256));
}

static void round_trip(void **state)
{
    struct result r;

    sample_result(&r);
    round_trip_of(&r);
    make_unchanged(&r);
    round_trip_of(&r);
    result_done(&r);
    for (int o = 0; o < OUTCOME_COUNT; o++) {
        sample_result(&r);
        r.outcome = o;
        r.reason[0] = 0;
        round_trip_of(&r);
        result_done(&r);
    }
}

static void encode(const struct result *r, struct buf *b)
{
    struct err err = ERR_INIT;

    buf_init(b, 1u << 20);
    assert_ok(result_encode(r, b, &err));
}

static void has(const struct buf *b, const char *part)
{
    if (!strstr(buf_str(b), part))
        fail_msg("not found: %s\nin: %s", part, buf_str(b));
}

static void public_form(void **state)
{
    struct result r;
    struct buf b;

    sample_result(&r);
    encode(&r, &b);
    has(&b, "{\"_type\":\"https://in-toto.io/Statement/v1\",\"subject\":[{\"name\":\"patch\","
            "\"digest\":{\"sha256\":\"070e15");
    has(&b, "\"gitCommit\":\"" SAMPLE_COMMIT "\"}}],"
            "\"predicateType\":\"https://slsa.dev/provenance/v1\",\"predicate\":{"
            "\"buildDefinition\":{\"buildType\":\"https://creel.dev/task/v1\","
            "\"externalParameters\":{\"task\":\"" SAMPLE_ID "\",\"attempt\":\"" SAMPLE_ATTEMPT
            "\",\"policy\":{\"limits\":{");
    has(&b, "\"internalParameters\":{\"unenforced\":[\"pids\"]},\"resolvedDependencies\":["
            "{\"uri\":\"creel:base\",\"digest\":{\"gitCommit\":\"" SAMPLE_BASE "\"}},"
            "{\"uri\":\"creel:root\",\"digest\":{\"gitCommit\":\"" SAMPLE_ROOT "\"}},"
            "{\"uri\":\"creel:source-pack\",\"digest\":{\"sha256\":\"060d14");
    has(&b, "{\"uri\":\"creel:envelope\",\"digest\":{\"sha256\":\"050c13");
    has(&b, "\"runDetails\":{\"builder\":{\"id\":\"creel-runner:" SAMPLE_FPR_A
            "\",\"version\":{\"creel-runner\":\"creel-runner 0.1.0\"}},\"metadata\":{"
            "\"invocationId\":\"" SAMPLE_ATTEMPT "\",\"startedOn\":\"2026-11-23T10:33:20Z\","
            "\"finishedOn\":\"2026-11-23T10:38:21Z\"},\"byproducts\":[{\"name\":\"log\","
            "\"uri\":\"creel:log\",\"annotations\":{\"chain\":\"080f16");
    has(&b, "\"creel_outcome\":\"failed\",\"creel_reason\":\"test 1 exited 3\",\"creel_steps\":["
            "{\"kind\":\"command\",\"name\":\"sh -c 'x'\",\"ran\":true,\"exit\":0,\"signal\":0,"
            "\"ms\":\"12\"},");
    has(&b,
        "\"creel_egress\":{\"conns\":\"6\",\"sent_bytes\":\"1234\",\"received_bytes\":\"56789\","
        "\"dns\":\"9\",\"entries\":[{\"name\":\"github.com\",\"port\":443,"
        "\"verdict\":\"allowed\",\"why\":\"\",\"count\":\"3\",\"sent\":\"1234\","
        "\"received\":\"56789\"},{\"name\":\"example.com\",\"port\":0,"
        "\"verdict\":\"denied\",\"why\":\"no rule allows it\",\"count\":\"3\","
        "\"sent\":\"0\",\"received\":\"0\"}],\"more\":\"4\"},\"creel_hits\":["
        "{\"limit\":\"mem\",\"peak\":\"2147483648\",\"count\":\"1\"},"
        "{\"limit\":\"dns\",\"peak\":\"10000\",\"count\":\"17\"}],\"creel_cache\":\"dddd");
    buf_done(&b);
    make_unchanged(&r);
    encode(&r, &b);
    has(&b, "\"subject\":[{\"name\":\"unchanged\",\"digest\":{\"sha256\":\"" EMPTY_SHA256
            "\",\"gitCommit\":\"" SAMPLE_ROOT "\"}}]");
    buf_done(&b);
    result_done(&r);
}

static void bad_oid(struct result *r)
{
    r->commit[3] = 'x';
}
static void bytes_without_commit(struct result *r)
{
    r->commit[0] = 0;
}
static void commit_without_bytes(struct result *r)
{
    r->patch_bytes = 0;
}
static void too_large(struct result *r)
{
    r->patch_bytes = TASK_PACK_MAX + 1;
}
static void other_task(struct result *r)
{
    r->task[9] = r->task[9] == '0' ? '1' : '0';
}
static void no_task(struct result *r)
{
    r->task[0] = 0;
}
static void bad_runner(struct result *r)
{
    r->runner[7] = '!';
}
static void bad_root(struct result *r)
{
    r->root[0] = 0;
}
static void bad_exit(struct result *r)
{
    ((struct step_result *)r->steps.items)[1].exit = 256;
}
static void bad_signal(struct result *r)
{
    ((struct step_result *)r->steps.items)[2].signal = -1;
}
static void bad_policy(struct result *r)
{
    r->policy.limits[LIMIT_DISK] = 1;
}
static void bad_outcome(struct result *r)
{
    r->outcome = OUTCOME_COUNT;
}
static void bad_time(struct result *r)
{
    r->started = 253402300800;
}
static void many_steps(struct result *r)
{
    while (r->steps.n <= RESULT_STEPS_MAX)
        sample_step(r, STEP_TEST, "x", 0);
}

static void bad_port(struct result *r)
{
    ((struct egress_entry *)r->egress.items)[1].port = 65536;
}
static void bad_verdict(struct result *r)
{
    ((struct egress_entry *)r->egress.items)[0].verdict = EGRESS_VERDICT_COUNT;
}
static void many_names(struct result *r)
{
    while (r->egress.n <= RESULT_EGRESS_MAX)
        sample_egress(r, "a.example", 443, EGRESS_DENIED, "x");
}
static void bad_limit(struct result *r)
{
    ((struct limit_hit *)r->hits.items)[0].limit = LIMIT_COUNT;
}
static void same_limit(struct result *r)
{
    ((struct limit_hit *)r->hits.items)[1].limit = LIMIT_MEM;
}
static void program_that_mentions(struct result *r)
{
    snprintf(r->program, sizeof r->program, "[fixes](//h) #1 @all");
}
static void no_program(struct result *r)
{
    r->program[0] = 0;
}
static void short_cache(struct result *r)
{
    r->cache[63] = 0;
}
static void cache_in_capitals(struct result *r)
{
    r->cache[0] = 'D';
}
static void cache_of_a_stranger(struct result *r)
{
    r->policy.cache_keep = false;
}

static void checks(void **state)
{
    static const struct {
        void (*spoil)(struct result *r);
        const char *says;
    } cases[] = {
        {bad_oid, "patch: not a commit id"},
        {bytes_without_commit, "patch: bytes without a commit"},
        {commit_without_bytes, "patch: size out of range"},
        {too_large, "patch: size out of range"},
        {other_task, "attempt: of another task"},
        {no_task, "task or attempt: not an id"},
        {bad_runner, "builder: not a key fingerprint"},
        {program_that_mentions, "version: not a program's name"},
        {no_program, "version: not a program's name"},
        {bad_root, "base or root: not a commit id"},
        {bad_exit, "steps[1]: no such exit status"},
        {bad_signal, "steps[2]: no such exit status"},
        {bad_policy, "policy: limit 'disk' is out of range"},
        {bad_outcome, "creel_outcome: has no name for 6"},
        {bad_time, "beyond the year 9999"},
        {many_steps, "steps: 257, at most 256"},
        {bad_port, "egress[1]: no such port"},
        {bad_verdict, "verdict: has no name for 5"},
        {many_names, "egress: 257 entries, at most 256"},
        {bad_limit, "hits[0]: no such limit"},
        {same_limit, "hits[1]: a limit twice"},
        {short_cache, "cache: not a SHA-256 digest"},
        {cache_in_capitals, "cache: not a SHA-256 digest"},
        {cache_of_a_stranger, "cache: kept, though the policy does not say so"},
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct result r;
        struct buf b;
        buf_init(&b, 1u << 20);
        sample_result(&r);
        cases[i].spoil(&r);
        assert_says(result_encode(&r, &b, &err), cases[i].says);
        assert_int_equal(b.len, 0);
        result_done(&r);
        buf_done(&b);
    }
}

/* Documents that are well-formed and signed, but wrong: each substitution is one lie. */
static void contradictions_are_refused(void **state)
{
    static const struct {
        const char *from, *to, *says;
    } cases[] = {
        {"Statement/v1", "Statement/v0", "_type: is not"},
        {"provenance/v1", "provenance/v2", "predicateType: is not"},
        {"creel.dev/task/v1", "creel.dev/task/v2", "buildType: is not"},
        {"\"subject\":[{", "\"subject\":[],\"x\":[{", "subject: 0 is missing"},
        {"\"name\":\"patch\"", "\"name\":\"Patch\"", "subject: neither a patch nor unchanged"},
        {"\"name\":\"patch\"", "\"name\":\"unchanged\"", "patch: bytes without a commit"},
        {"\"gitCommit\":\"2123", "\"gitCommit\":\"x123", "patch: not a commit id"},
        {"\"bytes\":\"512\"", "\"bytes\":\"0\"", "patch: size out of range"},
        {"\"creel-runner:SHA256", "\"creel-walker:SHA256", "builder: not a creel runner"},
        {"\"creel-runner 0.1.0", "\"`@all`", "version: not a program's name"},
        {"AbCdE\",\"version\"", "AbCdEf\",\"version\"", "builder"},
        {"\"invocationId\":\"" SAMPLE_ATTEMPT, "\"invocationId\":\"" SAMPLE_ID ".3",
         "invocationId: another attempt"},
        {"2026-11-23T10:33:20Z", "2026-02-30T10:33:20Z", "not an RFC 3339 UTC time"},
        {"2026-11-23T10:33:20Z", "2026-11-23T10:33:20", "not an RFC 3339 UTC time"},
        {"2026-11-23T10:38:21Z", "2026-11-23t10:38:21z", "not an RFC 3339 UTC time"},
        {"creel:root", "creel:boot", "uri: is not 'creel:root'"},
        {"\"creel_outcome\":\"failed\"", "\"creel_outcome\":\"fine\"", "not a known word"},
        {"\"creel_outcome\"", "\"creel_extra\":1,\"creel_outcome\"", "creel_extra: unknown key"},
        {"\"name\":\"log\"", "\"name\":\"lag\"", "is not 'log'"},
        {"\"exit\":3", "\"exit\":3.0", "a fraction or an exponent"},
        {"\"exit\":3", "\"exit\":300", "steps[1]: no such exit status"},
        {"\"port\":443", "\"port\":-1", "egress[0]: no such port"},
        {"\"name\":\"example.com\"", "\"name\":\"\"", "egress[1]: not printable"},
        {"\"name\":\"example.com\"", "\"name\":\"ex\xc3\xa4mple.com\"", "egress[1]: not printable"},
        {"\"why\":\"no rule", "\"why\":\"\xe2\x80\xae rule", "egress[1]: not printable"},
        {"\"verdict\":\"denied\"", "\"verdict\":\"fine\"", "not a known word"},
        {"\"limit\":\"dns\"", "\"limit\":\"mem\"", "hits[1]: a limit twice"},
        {"\"creel_cache\":\"d", "\"creel_cache\":\"", "cache: not a SHA-256 digest"},
    };
    struct err err = ERR_INIT;
    struct result r;
    struct buf b;

    sample_result(&r);
    encode(&r, &b);
    result_done(&r);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        const char *at = strstr(buf_str(&b), cases[i].from);
        struct buf bad;
        assert_non_null(at);
        buf_init(&bad, 1u << 20);
        buf_add(&bad, b.data, (size_t)(at - buf_str(&b)));
        buf_adds(&bad, cases[i].to);
        buf_adds(&bad, at + strlen(cases[i].from));
        assert_says(result_decode(bad.data, bad.len, &r, &err), cases[i].says);
        assert_int_equal(r.steps.n, 0);
        buf_done(&bad);
    }
    buf_done(&b);
}

static void an_unchanged_subject_may_not_lie(void **state)
{
    static const char *const lies[] = {EMPTY_SHA256, "\"gitCommit\":\"" SAMPLE_ROOT};
    struct err err = ERR_INIT;
    struct result r;

    for (size_t i = 0; i < 2; i++) {
        struct buf b;
        char *at;
        sample_result(&r);
        make_unchanged(&r);
        encode(&r, &b);
        result_done(&r);
        at = strstr((char *)b.data, lies[i]);
        assert_non_null(at);
        at[20] = at[20] == '0' ? '1' : '0';
        assert_says(result_decode(b.data, b.len, &r, &err), "subject: its digest");
        buf_done(&b);
    }
}

static void cut_text_does_not_lose_the_result(void **state)
{
    struct err err = ERR_INIT;
    struct result r, again;
    struct buf b;

    sample_result(&r);
    SET(r.reason, "agent said \x1b[2J and \xc3");
    SET(((struct step_result *)r.steps.items)[0].name, "printf '\x07' \xe2\x82");
    encode(&r, &b);
    assert_ok(result_decode(b.data, b.len, &again, &err));
    assert_string_equal(again.reason, "agent said ?[2J and ?");
    assert_string_equal(((struct step_result *)again.steps.items)[0].name, "printf '?' ??");
    assert_string_equal(r.reason, "agent said \x1b[2J and \xc3"); /* the caller's is untouched */
    result_done(&r);
    result_done(&again);
    buf_done(&b);
}

/* What an agent asked for as a name reaches the operator as it may be printed. */
static void asked_names_are_repaired(void **state)
{
    struct err err = ERR_INIT;
    struct result r, again;
    const struct egress_entry *e;
    struct buf b;

    sample_result(&r);
    sample_egress(&r, "\x1b]0;x\x07 \xe2\x80\xae", 443, EGRESS_DENIED, "not a name: \xff\n");
    sample_egress(&r, "", 443, EGRESS_DENIED, "");
    encode(&r, &b);
    assert_ok(result_decode(b.data, b.len, &again, &err));
    e = again.egress.items;
    assert_string_equal(e[2].name, "?]0;x? ???");
    assert_string_equal(e[2].why, "not a name: ??");
    assert_string_equal(e[3].name, "?");
    result_done(&r);
    result_done(&again);
    buf_done(&b);
}

/* The largest report that an agent can provoke still fits in a document that crosses the wire. */
static void the_worst_report_fits(void **state)
{
    struct egress_entry *e;
    struct result r;
    struct buf b;

    sample_result(&r);
    many_names(&r);
    r.egress.n = RESULT_EGRESS_MAX;
    e = r.egress.items;
    for (size_t i = 0; i < r.egress.n; i++) {
        memset(e[i].name, '"', sizeof(e[i].name) - 1);
        memset(e[i].why, '\\', sizeof(e[i].why) - 1);
        e[i].count = e[i].sent = e[i].received = UINT64_MAX;
    }
    while (r.steps.n < RESULT_STEPS_MAX)
        sample_step(&r, STEP_TEST, "x", 0);
    for (size_t i = 0; i < r.steps.n; i++) {
        struct step_result *s = (struct step_result *)r.steps.items + i;
        memset(s->name, '\n', sizeof(s->name) - 1);
    }
    encode(&r, &b);
    assert_in_range(b.len, 1, DSSE_BYTES_MAX / 4 * 3 - 1024);
    result_done(&r);
    buf_done(&b);
}

static void limit_words(void **state)
{
    static const struct {
        struct limit_hit hit;
        const char *words;
    } cases[] = {
        {{LIMIT_MEM, 512ull << 20, 1},
         "memory limit 512 MiB reached, peak 512 MiB, 1 process group killed"},
        {{LIMIT_PIDS, 64, 12}, "process limit 64 reached, peak 64, 12 forks refused"},
        {{LIMIT_CPU, 0, 9}, "processor limit 2 cpus reached"},
        {{LIMIT_WALL, 0, 0}, "wall limit 30 min reached"},
        {{LIMIT_DISK, 60ull << 20, 0}, "disk limit 4 GiB reached, peak 60 MiB"},
        {{LIMIT_LOG, 0, 2048}, "log limit 64 MiB reached, 2 KiB dropped"},
        {{LIMIT_CONNS, 10000, 1},
         "connection limit 10000 reached, peak 10000, 1 connection refused"},
        {{LIMIT_SENT, 1ull << 30, 2}, "sent limit 1 GiB reached, peak 1 GiB, 2 connections ended"},
        {{LIMIT_DNS, 10000, 3}, "dns limit 10000 reached, peak 10000, 3 questions refused"},
    };
    struct policy p;
    struct buf b;

    policy_init(&p);
    p.limits[LIMIT_MEM] = 512ull << 20;
    p.limits[LIMIT_PIDS] = 64;
    buf_init(&b, 256);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        buf_clear(&b);
        assert_int_equal(limit_hit_words(&cases[i].hit, &p, &b), 0);
        assert_string_equal(buf_str(&b), cases[i].words);
    }
    buf_done(&b);
    buf_init(&b, 20); /* no room: said, not cut */
    assert_int_equal(limit_hit_words(&cases[0].hit, &p, &b), -1);
    buf_done(&b);
    policy_done(&p);
}

static void receipt_round_trip(void **state)
{
    struct err err = ERR_INIT;
    struct receipt r, again;
    struct buf b;

    buf_init(&b, 1u << 20);
    sample_receipt(&r);
    SET(r.note, "evidence, \x1b not proof");
    assert_ok(receipt_encode(&r, &b, &err));
    has(&b, "{\"_type\":\"https://creel.dev/receipt/v1\",\"task\":\"" SAMPLE_ID "\"");
    assert_ok(receipt_decode(b.data, b.len, &again, &err));
    assert_string_equal(again.note, "evidence, ? not proof");
    assert_int_equal(again.items.n, 2);
    assert_memory_equal(again.items.items, r.items.items, 2 * sizeof(struct receipt_item));
    assert_memory_equal(again.result_sha256, r.result_sha256, 32);
    assert_true(again.memory_cleared && again.wiped == r.wiped);
    assert_true(receipt_clean(&again));
    ((struct receipt_item *)again.items.items)[1].gone = false;
    assert_false(receipt_clean(&again));
    receipt_done(&again);
    assert_false(receipt_clean(&again));
    receipt_done(&r);
    buf_done(&b);
}

static void receipt_checks(void **state)
{
    struct err err = ERR_INIT;
    struct receipt r;
    struct buf b;

    buf_init(&b, 1u << 20);
    sample_receipt(&r);
    r.attempt[0] = 'x';
    assert_says(receipt_encode(&r, &b, &err), "not an id");
    r.attempt[0] = '0';
    r.task[5] = r.task[5] == '0' ? '1' : '0';
    assert_says(receipt_encode(&r, &b, &err), "of another task");
    SET(r.task, SAMPLE_ID);
    r.runner[0] = 0;
    assert_says(receipt_encode(&r, &b, &err), "not a key fingerprint");
    SET(r.runner, SAMPLE_FPR_A);
    ((struct receipt_item *)r.items.items)[0].what[0] = 0x1b;
    assert_says(receipt_encode(&r, &b, &err), "items[0].what: holds a control character");
    while (r.items.n <= 64)
        json_list_push(&r.items, &sample_item_shape);
    assert_says(receipt_encode(&r, &b, &err), "items: 65");
    receipt_done(&r);
    SET(r.task, SAMPLE_ID);
    SET(r.attempt, SAMPLE_ATTEMPT);
    SET(r.runner, SAMPLE_FPR_A);
    assert_says(receipt_encode(&r, &b, &err), "items: empty");
    assert_ok(json_encode(&receipt_shape, &r, &b, &err));
    assert_says(receipt_decode(b.data, b.len, &r, &err), "items: empty");
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(round_trip),
        cmocka_unit_test(public_form),
        cmocka_unit_test(checks),
        cmocka_unit_test(contradictions_are_refused),
        cmocka_unit_test(an_unchanged_subject_may_not_lie),
        cmocka_unit_test(cut_text_does_not_lose_the_result),
        cmocka_unit_test(asked_names_are_repaired),
        cmocka_unit_test(the_worst_report_fits),
        cmocka_unit_test(limit_words),
        cmocka_unit_test(receipt_round_trip),
        cmocka_unit_test(receipt_checks),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
