/* Messages: round trip of every type, who may send what where, and what each check refuses. */
#include "tests/unit/cm.h"

#include <string.h>

#include "proto/message.h"
#include "tests/unit/doc_samples.h"

static const enum msg_type types[] = {
    MSG_HELLO,   MSG_WELCOME,    MSG_PING,    MSG_PONG,   MSG_ENVELOPE, MSG_ACCEPTED,
    MSG_REFUSED, MSG_CANCEL,     MSG_STATE,   MSG_ENDED,  MSG_WIPE,     MSG_RECEIPT,
    MSG_CALLS,   MSG_REPO_TOKEN, MSG_PACK_OK, MSG_RESULT,
};
#define TYPES (sizeof(types) / sizeof(types[0]))

#define NO_PROOF "000000000000000000000000000000000000000000000000000000000000000"

static void sample_welcome(struct msg_welcome *w)
{
    static const struct json_shape shape = {sizeof(struct msg_attempt), NULL};
    struct msg_attempt *a = json_list_push(&w->attempts, &shape);

    SET(a->attempt, SAMPLE_ATTEMPT);
    a->state = ATTEMPT_ENDED;
    a->log_bytes = 1ull << 60;
    w->version = PROTO_VERSION;
    SET(w->program, "creel-runner 0.1.0");
    sample_bytes(w->runner_key, sizeof(w->runner_key), 11);
    SET(w->host_key, SAMPLE_FPR_B);
    SET(w->kernel, "Linux 6.1.0 x86_64");
    w->slots = 2;
    w->rooted = true;
    w->unenforceable = LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_CPU);
    SET(w->unenforceable_why, "no cgroup v2 controllers are delegated");
    SET(w->disk_images_why, "no /dev/loop-control");
    w->landlock_abi = 4;
    w->presets = 1u << PRESET_NPM | 1u << PRESET_GITHUB;
    strv_add(&w->images, "debian-12");
    strv_add(&w->reach, "10.0.0.0/8");
    strv_add(&w->tools, "codex");
}

static void sample_refused(struct msg_refused *r)
{
    SET(r->attempt, SAMPLE_ATTEMPT);
    r->reason = REFUSED_TREE;
    SET(r->detail, "path 'a\tb' is a gitlink");
}

static void sample(enum msg_type type, struct msg *m)
{
    *m = (struct msg){.type = type};
    switch (type) {
    case MSG_HELLO:
        m->u.hello = (struct msg_hello){.version = 1, .channel = CHANNEL_LOG, .offset = 1ull << 40};
        SET(m->u.hello.program, "creel 0.1.0");
        SET(m->u.hello.attempt, SAMPLE_ATTEMPT);
        return;
    case MSG_WELCOME:
        sample_welcome(&m->u.welcome);
        return;
    case MSG_PING:
    case MSG_PONG:
        m->u.ping.seq = UINT64_MAX;
        return;
    case MSG_REFUSED:
        sample_refused(&m->u.refused);
        return;
    case MSG_CALLS:
        SET(m->u.calls.attempt, SAMPLE_ATTEMPT);
        m->u.calls.wanted = CALLS_WANTED_MAX;
        return;
    case MSG_REPO_TOKEN:
        SET(m->u.repo_token.attempt, SAMPLE_ATTEMPT);
        SET(m->u.repo_token.sealed, "c2VhbGVk");
        sample_bytes(m->u.repo_token.proof, sizeof(m->u.repo_token.proof), 12);
        return;
    case MSG_STATE:
        SET(m->u.state.attempt, SAMPLE_ATTEMPT);
        m->u.state.state = ATTEMPT_RUNNING;
        SET(m->u.state.step, "test 2");
        return;
    case MSG_ENDED:
        SET(m->u.ended.attempt, SAMPLE_ATTEMPT);
        m->u.ended.log_bytes = 5;
        m->u.ended.pack_bytes = 6;
        return;
    case MSG_ENVELOPE:
    case MSG_CANCEL:
    case MSG_WIPE:
    case MSG_RECEIPT:
    case MSG_RESULT:
        m->u.doc.bytes = (const uint8_t *)"{\"payload\":1}";
        m->u.doc.len = 13;
        return;
    case MSG_ACCEPTED:
    case MSG_PACK_OK:
        SET(m->u.accepted.attempt, SAMPLE_ATTEMPT); /* both hold the attempt alone */
        return;
    }
}

static void every_type_round_trips(void **state)
{
    for (size_t i = 0; i < TYPES; i++) {
        struct err err = ERR_INIT;
        struct msg m, again;
        struct frame f;
        struct buf one, two;
        size_t used;

        buf_init(&one, 1u << 20);
        buf_init(&two, 1u << 20);
        sample(types[i], &m);
        assert_ok(msg_put(&one, &m, &err));
        assert_int_equal(frame_get(one.data, one.len, &f, &used, &err), 1);
        assert_int_equal(used, one.len);
        assert_int_equal(f.type, types[i]);
        assert_ok(msg_decode(&f, &again, &err));
        assert_int_equal(again.type, types[i]);
        assert_ok(msg_put(&two, &again, &err));
        assert_int_equal(one.len, two.len);
        assert_memory_equal(one.data, two.data, one.len);
        msg_done(&m);
        msg_done(&again);
        msg_done(&again);
        buf_done(&one);
        buf_done(&two);
    }
}

static void members_arrive(void **state)
{
    struct err err = ERR_INIT;
    struct msg m, again;
    struct frame f;
    struct buf b;
    size_t used;

    buf_init(&b, 1u << 20);
    sample(MSG_WELCOME, &m);
    assert_ok(msg_put(&b, &m, &err));
    assert_int_equal(frame_get(b.data, b.len, &f, &used, &err), 1);
    assert_ok(msg_decode(&f, &again, &err));
    assert_memory_equal(again.u.welcome.runner_key, m.u.welcome.runner_key, KEY_PUB_BYTES);
    assert_int_equal(again.u.welcome.unenforceable, LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_CPU));
    assert_int_equal(again.u.welcome.attempts.n, 1);
    assert_int_equal(((struct msg_attempt *)again.u.welcome.attempts.items)->state, ATTEMPT_ENDED);
    assert_true(again.u.welcome.rooted && !again.u.welcome.memory_cleared);
    assert_false(again.u.welcome.disk_images);
    assert_string_equal(again.u.welcome.disk_images_why, "no /dev/loop-control");
    assert_int_equal(again.u.welcome.landlock_abi, 4);
    assert_int_equal(again.u.welcome.presets, 1u << PRESET_NPM | 1u << PRESET_GITHUB);
    assert_true(again.u.welcome.images.n == 1 && strv_has(&again.u.welcome.images, "debian-12"));
    assert_true(again.u.welcome.reach.n == 1 && strv_has(&again.u.welcome.reach, "10.0.0.0/8"));
    assert_true(again.u.welcome.tools.n == 1 && strv_has(&again.u.welcome.tools, "codex"));
    msg_done(&m);
    msg_done(&again);
    buf_done(&b);
}

/* Legality, written out by hand: side, type, channels. */
static bool expected(enum side from, enum channel c, enum msg_type type)
{
    switch (type) {
    case MSG_HELLO:
        return from == SIDE_CONTROLLER;
    case MSG_PING:
    case MSG_ENVELOPE:
    case MSG_CANCEL:
    case MSG_WIPE:
    case MSG_REPO_TOKEN:
        return from == SIDE_CONTROLLER && c == CHANNEL_CONTROL;
    case MSG_REFUSED:
        return from == SIDE_RUNNER;
    case MSG_WELCOME:
    case MSG_PONG:
    case MSG_ACCEPTED:
    case MSG_STATE:
    case MSG_CALLS:
    case MSG_ENDED:
    case MSG_RECEIPT:
        return from == SIDE_RUNNER && c == CHANNEL_CONTROL;
    case MSG_PACK_OK:
        return from == SIDE_RUNNER && c == CHANNEL_PACK;
    case MSG_RESULT:
        return from == SIDE_RUNNER && c == CHANNEL_RESULT;
    }
    return false;
}

static void legality(void **state)
{
    for (int type = -1; type < 300; type++) {
        for (int c = 0; c < CHANNEL_COUNT; c++) {
            for (int from = SIDE_CONTROLLER; from <= SIDE_RUNNER; from++)
                assert_int_equal(msg_legal((enum side)from, (enum channel)c, (enum msg_type)type),
                                 expected((enum side)from, (enum channel)c, (enum msg_type)type));
        }
    }
    assert_false(msg_legal((enum side)2, CHANNEL_CONTROL, MSG_HELLO));
    assert_false(msg_legal(SIDE_CONTROLLER, CHANNEL_COUNT, MSG_HELLO));
    assert_false(msg_legal(SIDE_CONTROLLER, (enum channel)31, MSG_HELLO));
}

static void names(void **state)
{
    assert_string_equal(msg_name(MSG_ENVELOPE), "envelope");
    assert_string_equal(msg_name((enum msg_type)99), "?");
    for (size_t i = 0; i < TYPES; i++) {
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(msg_name(types[i]), msg_name(types[j]));
    }
}

static void bad_payloads(void **state)
{
    static const struct {
        enum msg_type type;
        const char *text, *says;
    } cases[] = {
        {(enum msg_type)0, "{}", "unknown message type 0"},
        {(enum msg_type)99, "{}", "unknown message type 99"},
        {MSG_ENVELOPE, "", "envelope: empty"},
        {MSG_PING, "", "ping: byte 0: a value is expected"},
        {MSG_PING, "{}", "ping: seq: missing"},
        {MSG_PING, "{\"seq\":\"1\",\"x\":1}", "ping: x: unknown key"},
        {MSG_PING, "{\"seq\":\"1\",\"seq\":\"2\"}", "ping: byte 21: duplicate key"},
        {MSG_HELLO, "{\"version\":0,\"channel\":\"control\",\"program\":\"c\"}",
         "hello: version: not positive"},
        {MSG_HELLO, "{\"version\":1,\"channel\":\"shell\",\"program\":\"c\"}",
         "hello: channel: 'shell' is not a known word"},
        {MSG_HELLO, "{\"version\":1,\"channel\":\"log\",\"program\":\"c\"}",
         "hello: attempt: not an attempt id"},
        {MSG_HELLO, "{\"version\":1,\"channel\":\"log\",\"program\":\"c\",\"attempt\":\"../x\"}",
         "hello: attempt: not an attempt id"},
        {MSG_HELLO,
         "{\"version\":1,\"channel\":\"control\",\"program\":\"c\",\"attempt\":\"" SAMPLE_ATTEMPT
         "\"}",
         "hello: attempt: a control channel has none"},
        {MSG_HELLO,
         "{\"version\":1,\"channel\":\"result\",\"program\":\"c\",\"attempt\":\"" SAMPLE_ATTEMPT
         "\",\"offset\":\"1\"}",
         "hello: offset: only a log channel has one"},
        {MSG_HELLO,
         "{\"version\":1,\"channel\":\"pack\",\"program\":\"c\",\"attempt\":\"" SAMPLE_ATTEMPT
         "\"}",
         "hello: proof: a pack and a call channel have one, and no other"},
        {MSG_HELLO,
         "{\"version\":1,\"channel\":\"call\",\"program\":\"c\",\"attempt\":\"" SAMPLE_ATTEMPT
         "\"}",
         "hello: proof: a pack and a call channel have one, and no other"},
        {MSG_HELLO,
         "{\"version\":1,\"channel\":\"call\",\"program\":\"c\",\"attempt\":\"" SAMPLE_ATTEMPT
         "\",\"proof\":\"" NO_PROOF "0\"}",
         "hello: proof: a pack and a call channel have one, and no other"},
        {MSG_HELLO,
         "{\"version\":1,\"channel\":\"log\",\"program\":\"c\",\"attempt\":\"" SAMPLE_ATTEMPT
         "\",\"proof\":\"" NO_PROOF "1\"}",
         "hello: proof: a pack and a call channel have one, and no other"},
        {MSG_HELLO,
         "{\"version\":1,\"channel\":\"call\",\"program\":\"c\",\"attempt\":\"" SAMPLE_ATTEMPT
         "\",\"proof\":\"" NO_PROOF "\"}",
         "hello: proof: not 64 lower-case hex digits"},
        {MSG_REPO_TOKEN, "{\"attempt\":\"" SAMPLE_ATTEMPT "\",\"sealed\":\"c2VhbGVk\"}",
         "repo_token: proof: missing"},
        {MSG_CANCEL, "", "cancel: empty"},
        {MSG_ACCEPTED, "{\"attempt\":\"\"}", "accepted: attempt: not an attempt id"},
        {MSG_STATE, "{\"attempt\":\"" SAMPLE_ATTEMPT "\",\"state\":\"gone\"}",
         "state: state: 'gone' is not a known word"},
        {MSG_WIPE, "", "wipe: empty"},
        {MSG_REFUSED, "{\"attempt\":\"x\",\"reason\":\"busy\"}",
         "refused: attempt: not an attempt id"},
        {MSG_REFUSED, "{\"reason\":\"lazy\"}", "refused: reason: 'lazy' is not a known word"},
        {MSG_ENDED, "{\"attempt\":\"" SAMPLE_ATTEMPT "\",\"log_bytes\":\"1\",\"pack_bytes\":1}",
         "ended: pack_bytes: not a decimal string"},
        {MSG_PACK_OK, "[]", "pack_ok: not an object"},
    };
    struct err err = ERR_INIT;

    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct frame f = {(uint8_t)cases[i].type, (const uint8_t *)cases[i].text,
                          strlen(cases[i].text)};
        struct msg m;
        assert_says(msg_decode(&f, &m, &err), cases[i].says);
        msg_done(&m);
    }
}

static void welcome_checks(void **state)
{
    struct err err = ERR_INIT;
    struct msg m;
    struct buf b;

    buf_init(&b, 1u << 20);
    sample(MSG_WELCOME, &m);
    m.u.welcome.slots = 0;
    assert_says(msg_put(&b, &m, &err), "welcome: slots: not in 1 to 1024");
    m.u.welcome.slots = 1025;
    assert_says(msg_put(&b, &m, &err), "welcome: slots: not in 1 to 1024");
    m.u.welcome.slots = 1;
    m.u.welcome.host_key[0] = 'x';
    assert_says(msg_put(&b, &m, &err), "welcome: host_key: not a key fingerprint");
    m.u.welcome.host_key[0] = 'S';
    m.u.welcome.landlock_abi = -1;
    assert_says(msg_put(&b, &m, &err), "welcome: landlock_abi: negative");
    m.u.welcome.landlock_abi = 0;
    strv_add(&m.u.welcome.images, "");
    assert_says(msg_put(&b, &m, &err), "welcome: images[1]: empty");
    strv_done(&m.u.welcome.images);
    while (m.u.welcome.reach.n <= WELCOME_NAMES_MAX)
        strv_add(&m.u.welcome.reach, "10.0.0.0/8");
    assert_says(msg_put(&b, &m, &err), "welcome: reach: more than 64");
    strv_done(&m.u.welcome.reach);
    ((struct msg_attempt *)m.u.welcome.attempts.items)->attempt[0] = 'z';
    assert_says(msg_put(&b, &m, &err), "welcome: attempt: not an attempt id");
    assert_int_equal(b.len, 0);
    msg_done(&m);
    buf_done(&b);
}

static void free_text_is_repaired_not_refused(void **state)
{
    struct err err = ERR_INIT;
    struct msg m, again;
    struct frame f;
    struct buf b;
    size_t used;

    buf_init(&b, 1u << 20);
    sample(MSG_REFUSED, &m);
    m.u.refused.attempt[0] = 0;
    SET(m.u.refused.detail, "path '\x1b]0;x\x07' \xff \xc3");
    assert_ok(msg_put(&b, &m, &err));
    assert_int_equal(frame_get(b.data, b.len, &f, &used, &err), 1);
    assert_ok(msg_decode(&f, &again, &err));
    assert_string_equal(again.u.refused.detail, "path '?]0;x?' ? ?");
    assert_string_equal(again.u.refused.attempt, "");
    msg_done(&again);
    buf_done(&b);
}

static void a_full_buffer_is_an_error(void **state)
{
    for (size_t i = 0; i < TYPES; i++) {
        struct err err = ERR_INIT;
        struct msg m;
        struct buf b;
        buf_init(&b, 10);
        sample(types[i], &m);
        assert_says(msg_put(&b, &m, &err), msg_name(types[i]));
        assert_int_equal(b.len, 0);
        msg_done(&m);
        buf_done(&b);
    }
    assert_true(msg_put(NULL, &(struct msg){.type = (enum msg_type)99}, NULL) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_type_round_trips),
        cmocka_unit_test(members_arrive),
        cmocka_unit_test(legality),
        cmocka_unit_test(names),
        cmocka_unit_test(bad_payloads),
        cmocka_unit_test(welcome_checks),
        cmocka_unit_test(free_text_is_repaired_not_refused),
        cmocka_unit_test(a_full_buffer_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
