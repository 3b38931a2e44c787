/* Admission: every check of the design has its own refusal, in its order, and a good envelope passes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "common/sha256.h"
#include "proto/dsse.h"
#include "runner/admit.h"

#define NOW 1800000000ull

struct fixture {
    char path[64];
    int dir;
    struct seen *seen;
    uint8_t runner_sec[KEY_SEC_BYTES], ctl_sec[KEY_SEC_BYTES], other_sec[KEY_SEC_BYTES];
    struct identity id;
    struct task task;
    struct admit_ground ground;
    struct buf doc;
};

static void task_fill(struct fixture *f)
{
    struct task *t = &f->task;
    uint8_t token[TASK_TOKEN_BYTES], pk[crypto_box_PUBLICKEYBYTES];
    char hex[2 * TASK_TOKEN_BYTES + 1];
    snprintf(t->id, sizeof t->id, "01arz3ndektsv4rrffq69g5fav");
    snprintf(t->attempt, sizeof t->attempt, "01arz3ndektsv4rrffq69g5fav.1");
    snprintf(t->title, sizeof t->title, "a task");
    key_fingerprint(f->ctl_sec + 32, t->iss);
    snprintf(t->aud_host, sizeof t->aud_host, "h");
    memcpy(t->aud_host_key, f->id.host_key, sizeof t->aud_host_key);
    t->iat = t->nbf = NOW;
    t->exp = NOW + 3600;
    memset(t->nonce, 7, sizeof t->nonce);
    t->fence = 10;
    memset(t->base, 'a', 40);
    memset(t->root, 'b', 40);
    snprintf(t->branch, sizeof t->branch, "creel/%s", t->id);
    t->pack_bytes = 100;
    strv_add(&t->command, "true");
    policy_init(&t->policy);
    randombytes_buf(token, sizeof token);
    sodium_bin2hex(hex, sizeof hex, token, sizeof token);
    sha256_of(hex, sizeof hex - 1, t->token_sha256);
    assert_int_equal(crypto_sign_ed25519_pk_to_curve25519(pk, f->id.pub), 0);
    crypto_box_seal(t->token_sealed, token, sizeof token, pk);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct err err = ERR_INIT;
    uint8_t pub[KEY_PUB_BYTES];
    snprintf(f->path, sizeof f->path, "/tmp/test_admit.XXXXXX");
    if (sodium_init() < 0 || !mkdtemp(f->path))
        return -1;
    f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    assert_int_equal(seen_open(f->dir, NOW, &f->seen, &err), 0);
    crypto_sign_keypair(f->id.pub, f->runner_sec);
    crypto_sign_keypair(pub, f->other_sec);
    memcpy(f->id.controllers.keys[0], pub, 32); /* pinned too, but not who signs */
    crypto_sign_keypair(pub, f->ctl_sec);
    memcpy(f->id.controllers.keys[1], pub, 32);
    f->id.controllers.n = 2;
    f->id.sec = f->runner_sec;
    key_fingerprint(f->id.pub, f->id.fpr);
    key_fingerprint(f->id.pub, f->id.host_key);
    task_fill(f);
    f->ground = (struct admit_ground){
        .identity = &f->id, .seen = f->seen, .now = NOW, .why = "because", .slot_free = true};
    buf_init(&f->doc, 4u << 20);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    seen_free(f->seen);
    task_done(&f->task);
    buf_done(&f->doc);
    close(f->dir);
    tree_remove(AT_FDCWD, f->path, NULL);
    free(f);
    return 0;
}

static void sign_body(struct fixture *f, const char *type, const void *body, size_t len)
{
    buf_clear(&f->doc);
    assert_int_equal(dsse_sign(f->ctl_sec, type, body, len, &f->doc, NULL), 0);
}

static void encode_task(struct fixture *f, struct buf *body)
{
    struct err err = ERR_INIT;
    buf_init(body, DSSE_BYTES_MAX);
    if (task_encode(&f->task, body, &err) < 0)
        fail_msg("%s", err.msg);
}

static void sign_task(struct fixture *f)
{
    struct buf body;
    encode_task(f, &body);
    sign_body(f, DSSE_TYPE_TASK, body.data, body.len);
    buf_done(&body);
}

/* REFUSAL_COUNT: admitted. */
static enum refusal verdict(struct fixture *f)
{
    struct admitted in;
    struct err err = ERR_INIT;
    enum refusal why = REFUSAL_COUNT;
    int r = admit(&f->ground, f->doc.data, f->doc.len, &in, &why, &err);
    assert_true((r == 0) == (why == REFUSAL_COUNT));
    assert_true(r == 0 || err.msg[0]);
    admitted_done(&in);
    return why;
}

static void record_it(struct fixture *f)
{
    struct admitted in;
    struct seen_record rec;
    enum refusal why;
    assert_int_equal(admit(&f->ground, f->doc.data, f->doc.len, &in, &why, NULL), 0);
    admitted_record(&in, &rec);
    assert_int_equal(seen_add(f->seen, &rec, NOW, NULL), 0);
    admitted_done(&in);
}

static void admits_a_good_one(void **state)
{
    struct fixture *f = *state;
    struct admitted in;
    enum refusal why;
    char hex[2 * TASK_TOKEN_BYTES + 1];
    uint8_t digest[32];
    sign_task(f);
    assert_int_equal(admit(&f->ground, f->doc.data, f->doc.len, &in, &why, NULL), 0);
    assert_string_equal(in.task.attempt, f->task.attempt);
    assert_string_equal(in.key, f->task.iss);
    sodium_bin2hex(hex, sizeof hex, in.token, sizeof in.token);
    sha256_of(hex, 64, digest);
    assert_memory_equal(digest, f->task.token_sha256, 32);
    sha256_of(f->doc.data, f->doc.len, digest);
    assert_memory_equal(digest, in.envelope_sha256, 32);
    admitted_done(&in);
    assert_true(sodium_is_zero(in.token, sizeof in.token));
}

static void size(void **state)
{
    struct fixture *f = *state;
    for (size_t i = 0; i < DSSE_BYTES_MAX + 1; i += 4096)
        buf_add(&f->doc, (uint8_t[4096]){0}, 4096);
    assert_true(f->doc.len > DSSE_BYTES_MAX);
    assert_int_equal(verdict(f), REFUSED_SIZE);
}

static void malformed(void **state)
{
    struct fixture *f = *state;
    buf_adds(&f->doc, "{}");
    assert_int_equal(verdict(f), REFUSED_MALFORMED);
    buf_clear(&f->doc);
    assert_int_equal(verdict(f), REFUSED_MALFORMED);
    sign_task(f);
    f->doc.data[f->doc.len - 1] = ' ';
    assert_int_equal(verdict(f), REFUSED_MALFORMED);
    sign_task(f);
    buf_adds(&f->doc, "x");
    assert_int_equal(verdict(f), REFUSED_MALFORMED);
}

static void signature(void **state)
{
    struct fixture *f = *state;
    sign_task(f);
    /* Every bit of the payload counts: change one base64 digit in its middle. */
    char *payload = strstr((char *)f->doc.data, "\"payload\":\"");
    assert_non_null(payload);
    payload[200] = payload[200] == 'A' ? 'B' : 'A';
    assert_int_equal(verdict(f), REFUSED_SIGNATURE);
    f->id.controllers.n = 1; /* no longer pinned */
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_SIGNATURE);
}

static void type(void **state)
{
    struct fixture *f = *state;
    struct buf body;
    encode_task(f, &body);
    sign_body(f, DSSE_TYPE_RESULT, body.data, body.len);
    assert_int_equal(verdict(f), REFUSED_TYPE);
    char *v = strstr((char *)body.data, "task/v1");
    assert_non_null(v);
    v[6] = '2';
    sign_body(f, DSSE_TYPE_TASK, body.data, body.len);
    assert_int_equal(verdict(f), REFUSED_TYPE);
    buf_done(&body);
}

static void payload(void **state)
{
    struct fixture *f = *state;
    struct buf body;
    encode_task(f, &body);
    body.data[body.len - 1] = ',';
    buf_adds(&body, "\"more\":1}");
    sign_body(f, DSSE_TYPE_TASK, body.data, body.len);
    assert_int_equal(verdict(f), REFUSED_PAYLOAD);
    buf_done(&body);
    sign_body(f, DSSE_TYPE_TASK, "{", 1);
    assert_int_equal(verdict(f), REFUSED_PAYLOAD);
    /* Signed by one pinned key in the name of another. */
    key_fingerprint(f->other_sec + 32, f->task.iss);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_PAYLOAD);
}

static void audience(void **state)
{
    struct fixture *f = *state;
    key_fingerprint(f->other_sec + 32, f->task.aud_host_key);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_AUDIENCE);
}

static void times(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int64_t now; /* relative to nbf */
        enum refusal want;
    } rows[] = {
        {-TASK_SKEW_S - 1, REFUSED_NOT_YET},
        {-TASK_SKEW_S, REFUSAL_COUNT},
        {0, REFUSAL_COUNT},
        {3600, REFUSAL_COUNT},
        {3600 + TASK_SKEW_S - 1, REFUSAL_COUNT},
        {3600 + TASK_SKEW_S, REFUSED_EXPIRED},
        {1000000, REFUSED_EXPIRED},
    };
    sign_task(f);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        f->ground.now = (uint64_t)((int64_t)NOW + rows[i].now);
        assert_int_equal(verdict(f), rows[i].want);
    }
}

static void replay(void **state)
{
    struct fixture *f = *state;
    sign_task(f);
    record_it(f);
    assert_int_equal(verdict(f), REFUSED_REPLAY);
    f->task.fence++;
    f->task.nonce[0]++; /* another nonce, the same attempt */
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_REPLAY);
    snprintf(f->task.attempt, sizeof f->task.attempt, "%s.2", f->task.id);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSAL_COUNT);
}

static void fence(void **state)
{
    struct fixture *f = *state;
    sign_task(f);
    record_it(f);
    snprintf(f->task.attempt, sizeof f->task.attempt, "%s.2", f->task.id);
    f->task.nonce[0]++;
    sign_task(f); /* the same token again */
    assert_int_equal(verdict(f), REFUSED_FENCE);
    f->task.fence = 9;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_FENCE);
    f->task.fence = 11;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSAL_COUNT);
}

static void token(void **state)
{
    struct fixture *f = *state;
    f->task.token_sealed[40] ^= 1;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_TOKEN);
    f->task.token_sealed[40] ^= 1;
    f->task.token_sha256[0] ^= 1;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_TOKEN);
}

static void limits(void **state)
{
    struct fixture *f = *state;
    f->ground.unenforceable = LIMIT_BIT(LIMIT_MEM) | LIMIT_BIT(LIMIT_PIDS);
    f->task.policy.allow_unenforced = LIMIT_BIT(LIMIT_MEM);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_LIMIT);
    f->task.policy.allow_unenforced |= LIMIT_BIT(LIMIT_PIDS);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSAL_COUNT);
}

static void egress(void **state)
{
    struct fixture *f = *state;
    strv_add(&f->task.policy.egress, "example.com");
    sign_task(f);
    assert_int_equal(verdict(f), REFUSAL_COUNT);
    strv_add(&f->task.policy.egress, "cargo"); /* no preset is known here */
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_EGRESS);
}

static void busy(void **state)
{
    struct fixture *f = *state;
    f->ground.slot_free = false;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_BUSY);
    f->ground.slot_free = true; /* nothing was recorded: the same one may come again */
    assert_int_equal(verdict(f), REFUSAL_COUNT);
}

/* With everything wrong at once the refusals come in the designed order, as each is mended. */
static void order(void **state)
{
    struct fixture *f = *state;
    struct task good = f->task;
    sign_task(f);
    record_it(f);
    f->ground.slot_free = false;
    f->ground.unenforceable = LIMIT_BIT(LIMIT_CPU);
    strv_add(&f->task.policy.egress, "cargo");
    f->task.token_sha256[0] ^= 1;
    f->task.fence = 1;
    f->task.iat = f->task.nbf = NOW - 7200;
    f->task.exp = NOW - 3600;
    key_fingerprint(f->other_sec + 32, f->task.aud_host_key);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_AUDIENCE);
    memcpy(f->task.aud_host_key, good.aud_host_key, sizeof good.aud_host_key);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_EXPIRED);
    f->task.iat = f->task.nbf = NOW;
    f->task.exp = NOW + 10;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_REPLAY);
    f->task.nonce[0]++;
    snprintf(f->task.attempt, sizeof f->task.attempt, "%s.2", f->task.id);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_FENCE);
    f->task.fence = 11;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_TOKEN);
    f->task.token_sha256[0] ^= 1;
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_LIMIT);
    f->task.policy.allow_unenforced = LIMIT_BIT(LIMIT_CPU);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_EGRESS);
    strv_done(&f->task.policy.egress);
    sign_task(f);
    assert_int_equal(verdict(f), REFUSED_BUSY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(admits_a_good_one, setup, teardown),
        cmocka_unit_test_setup_teardown(size, setup, teardown),
        cmocka_unit_test_setup_teardown(malformed, setup, teardown),
        cmocka_unit_test_setup_teardown(signature, setup, teardown),
        cmocka_unit_test_setup_teardown(type, setup, teardown),
        cmocka_unit_test_setup_teardown(payload, setup, teardown),
        cmocka_unit_test_setup_teardown(audience, setup, teardown),
        cmocka_unit_test_setup_teardown(times, setup, teardown),
        cmocka_unit_test_setup_teardown(replay, setup, teardown),
        cmocka_unit_test_setup_teardown(fence, setup, teardown),
        cmocka_unit_test_setup_teardown(token, setup, teardown),
        cmocka_unit_test_setup_teardown(limits, setup, teardown),
        cmocka_unit_test_setup_teardown(egress, setup, teardown),
        cmocka_unit_test_setup_teardown(busy, setup, teardown),
        cmocka_unit_test_setup_teardown(order, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
