/* controller/broker.c with the real process behind it: this program is its own `creel broker`. What
 * it signs is checked by openssl and ssh-keygen, and this process is searched for the secret key.
 */
#include "controller/broker.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <cmocka.h>
#include <sodium.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/sha256.h"
#include "controller/broker_wire.h"
#include "controller/redact.h"
#include "tests/unit/fixture.h"
#include "tests/unit/provider_fixture.h"

#define TASK_ID "01hzzzzzzzzzzzzzzzzzzzzzzz"
#define LIFE_S  3600

struct rig {
    char dir[64], key[PATH_MAX], self[PATH_MAX];
    uv_loop_t loop;
    struct broker *b;
    uint8_t runner_pub[KEY_PUB_BYTES], runner_sec[KEY_SEC_BYTES];
    struct task task;
    int answers, signed_n;
    struct err why;
    enum broker_gone gone;
    bool alive;
    struct buf envelope, sshsig;
    struct dsse dsse;
    struct task signed_task;
};

static void on_signed(void *arg, const struct buf *envelope, const struct buf *sshsig,
                      const struct err *err)
{
    struct rig *r = arg;
    r->answers++;
    uv_stop(&r->loop); /* UV_RUN_ONCE must not go on to wait */
    r->why = err ? *err : ERR_INIT;
    r->gone = broker_gone(r->b);
    if (err)
        return;
    buf_add(&r->envelope, envelope->data, envelope->len);
    buf_add(&r->sshsig, sshsig->data, sshsig->len);
}

static void on_ordered(void *arg, const struct buf *order, const struct err *err)
{
    struct rig *r = arg;
    r->answers++;
    uv_stop(&r->loop);
    r->why = err ? *err : ERR_INIT;
    if (!err)
        buf_add(&r->envelope, order->data, order->len);
}

static void on_token(void *arg, bool alive, const struct err *err)
{
    struct rig *r = arg;
    r->answers++;
    uv_stop(&r->loop); /* UV_RUN_ONCE must not go on to wait */
    r->alive = alive;
    r->why = err ? *err : ERR_INIT;
}

static void await(struct rig *r, int n)
{
    while (r->answers < n)
        uv_run(&r->loop, UV_RUN_ONCE);
    r->answers = 0;
}

/* An attempt is signed once. */
static void next_attempt(struct rig *r)
{
    attempt_id_make(r->task.id, ++r->signed_n, r->task.attempt);
}

static void sign(struct rig *r, uint64_t life_s)
{
    next_attempt(r);
    buf_clear(&r->envelope);
    buf_clear(&r->sshsig);
    broker_sign(r->b, &r->task, r->runner_pub, life_s, on_signed, r);
    await(r, 1);
}

static void read_signed(struct rig *r)
{
    struct err err = ERR_INIT;
    assert_string_equal(r->why.msg, "");
    assert_int_equal(dsse_parse(r->envelope.data, r->envelope.len, &r->dsse, &err), 0);
    assert_int_equal(task_decode(r->dsse.body.data, r->dsse.body.len, &r->signed_task, &err), 0);
}

static void read_done(struct rig *r)
{
    task_done(&r->signed_task);
    dsse_done(&r->dsse);
}

/* As the runner does it. */
static void unseal(const struct rig *r, uint8_t token[static TASK_TOKEN_BYTES])
{
    uint8_t pub[32], sec[32];
    assert_int_equal(crypto_sign_ed25519_pk_to_curve25519(pub, r->runner_pub), 0);
    assert_int_equal(crypto_sign_ed25519_sk_to_curve25519(sec, r->runner_sec), 0);
    assert_int_equal(
        crypto_box_seal_open(token, r->signed_task.token_sealed, TASK_SEALED_BYTES, pub, sec), 0);
}

static bool alive(struct rig *r, const char *attempt, const uint8_t token[static TASK_TOKEN_BYTES])
{
    broker_token_check(r->b, attempt, token, on_token, r);
    await(r, 1);
    assert_int_equal(r->why.code, 0);
    return r->alive;
}

static void start(struct rig *r)
{
    struct err err = ERR_INIT;
    if (broker_start(&r->loop, r->self, r->key, r->dir, &r->b, &err) < 0)
        fail_msg("%s", err.msg);
}

static void stop(struct rig *r)
{
    broker_close(r->b);
    r->b = NULL;
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_alive(&r->loop), 0);
}

static void test_signs(void **state)
{
    struct rig *r = *state;
    char fpr[KEY_FPR_SIZE], fpr_file[KEY_FPR_SIZE];
    struct buf line;
    uint8_t pub[KEY_PUB_BYTES];
    struct err err = ERR_INIT;
    size_t which;
    start(r);
    buf_init(&line, KEY_LINE_MAX);
    fixture_text(r->dir, "key.pub", &line);
    line.data[line.len - 1] = 0;
    assert_int_equal(key_pub_parse(buf_str(&line), pub, &err), 0);
    buf_done(&line);
    key_fingerprint(broker_pub(r->b), fpr);
    key_fingerprint(pub, fpr_file);
    assert_string_equal(fpr, fpr_file);

    uint64_t before = clock_wall_s();
    sign(r, LIFE_S);
    read_signed(r);
    assert_string_equal(r->dsse.type, DSSE_TYPE_TASK);
    assert_int_equal(dsse_verify(&r->dsse, (const uint8_t(*)[KEY_PUB_BYTES])pub, 1, &which, &err),
                     0);
    assert_string_equal(r->signed_task.iss, fpr);
    assert_in_range(r->signed_task.iat, before, before + 5);
    assert_int_equal(r->signed_task.nbf, r->signed_task.iat);
    assert_int_equal(r->signed_task.exp, r->signed_task.iat + LIFE_S);
    assert_string_equal(r->signed_task.command.v[0], "true");
    assert_false(sodium_is_zero(r->signed_task.nonce, TASK_NONCE_BYTES));
    uint8_t nonce[TASK_NONCE_BYTES];
    memcpy(nonce, r->signed_task.nonce, sizeof nonce);
    read_done(r);
    sign(r, LIFE_S);
    read_signed(r);
    assert_memory_not_equal(nonce, r->signed_task.nonce, sizeof nonce);
    read_done(r);
    stop(r);
}

static void save(const struct rig *r, const char *name, const void *bytes, size_t n)
{
    struct err err = ERR_INIT;
    int fd = dir_open(r->dir, false, false, &err);
    assert_int_equal(file_replace(fd, name, bytes, n, 0600, &err), 0);
    close(fd);
}

static int shell(const struct rig *r, const char *script)
{
    char all[PATH_MAX];
    snprintf(all, sizeof all, "cd %s && %s", r->dir, script);
    const char *const argv[] = {"sh", "-c", all, NULL};
    return fixture_run(argv);
}

static const char openssl_check[] =
    "openssl pkeyutl -verify -rawin -pubin -inkey pub.pem -in pae -sigfile sig";
static const char ssh_keygen_check[] =
    "{ printf 'creel '; cat key.pub; } >allowed && ssh-keygen -Y verify -f allowed -I creel "
    "-n task@creel -s sshsig <payload";

static void test_signs_orders(void **state)
{
    struct rig *r = *state;
    struct order o = {.kind = ORDER_WIPE, .attempt = TASK_ID ".1"}, signed_order;
    struct err err = ERR_INIT;
    char fpr[KEY_FPR_SIZE];
    uint8_t pub[1][KEY_PUB_BYTES];
    size_t which;
    start(r);
    key_fingerprint(broker_pub(r->b), fpr);
    key_fingerprint(r->runner_pub, o.aud_host_key);
    memset(o.result_sha256, 7, sizeof o.result_sha256);
    buf_clear(&r->envelope);
    broker_order(r->b, &o, on_ordered, r);
    await(r, 1);
    assert_string_equal(r->why.msg, "");
    assert_int_equal(dsse_parse(r->envelope.data, r->envelope.len, &r->dsse, &err), 0);
    assert_string_equal(r->dsse.type, DSSE_TYPE_ORDER);
    memcpy(pub[0], broker_pub(r->b), KEY_PUB_BYTES);
    assert_int_equal(dsse_verify(&r->dsse, (const uint8_t(*)[KEY_PUB_BYTES])pub, 1, &which, &err),
                     0);
    assert_int_equal(order_decode(r->dsse.body.data, r->dsse.body.len, &signed_order, &err), 0);
    assert_string_equal(signed_order.iss, fpr);
    memcpy(o.iss, fpr, sizeof o.iss);
    assert_memory_equal(&signed_order, &o, sizeof o);
    dsse_done(&r->dsse);
    /* who signs is not the engine's to say, and half an order is none */
    broker_order(r->b, &o, on_ordered, r);
    await(r, 1);
    assert_non_null(strstr(r->why.msg, "issuer"));
    o.iss[0] = 0;
    memset(o.result_sha256, 0, sizeof o.result_sha256);
    broker_order(r->b, &o, on_ordered, r);
    await(r, 1);
    assert_non_null(strstr(r->why.msg, "names its result"));
    /* between envelopes and token checks, in the order of asking */
    o.kind = ORDER_CANCEL;
    buf_clear(&r->envelope);
    broker_sign(r->b, &r->task, r->runner_pub, LIFE_S, on_signed, r);
    broker_order(r->b, &o, on_ordered, r);
    await(r, 2);
    assert_string_equal(r->why.msg, "");
    stop(r);
}

static void test_others_verify(void **state)
{
    struct rig *r = *state;
    struct buf pae, pem;
    start(r);
    sign(r, LIFE_S);
    read_signed(r);
    buf_init(&pae, DSSE_BYTES_MAX);
    buf_init(&pem, 4096);
    dsse_pae(r->dsse.type, r->dsse.body.data, r->dsse.body.len, &pae);
    key_pub_pem(broker_pub(r->b), &pem);
    save(r, "pae", pae.data, pae.len);
    save(r, "pub.pem", pem.data, pem.len);
    save(r, "sig", r->dsse.sigs[0].sig, KEY_SIG_BYTES);
    save(r, "sshsig", r->sshsig.data, r->sshsig.len);
    save(r, "payload", r->dsse.body.data, r->dsse.body.len);
    assert_int_equal(shell(r, openssl_check), 0);
    assert_int_equal(shell(r, ssh_keygen_check), 0);
    r->dsse.body.data[30] ^= 1;
    pae.data[60] ^= 1;
    save(r, "pae", pae.data, pae.len);
    save(r, "payload", r->dsse.body.data, r->dsse.body.len);
    assert_int_not_equal(shell(r, openssl_check), 0);
    assert_int_not_equal(shell(r, ssh_keygen_check), 0);
    buf_done(&pae);
    buf_done(&pem);
    read_done(r);
    stop(r);
}

static void test_life_of_a_token(void **state)
{
    struct rig *r = *state;
    uint8_t token[TASK_TOKEN_BYTES], other[TASK_TOKEN_BYTES], hash[32];
    char hex[BROKER_TOKEN_HEX + 1], first[ATTEMPT_ID_SIZE];
    start(r);
    assert_false(alive(r, r->task.attempt, (const uint8_t[TASK_TOKEN_BYTES]){0}));
    sign(r, LIFE_S);
    memcpy(first, r->task.attempt, sizeof first);
    read_signed(r);
    unseal(r, token);
    sodium_bin2hex(hex, sizeof hex, token, sizeof token);
    sha256_of(hex, BROKER_TOKEN_HEX, hash);
    assert_memory_equal(hash, r->signed_task.token_sha256, sizeof hash);
    assert_true(alive(r, r->task.attempt, token));
    assert_false(alive(r, TASK_ID ".999", token));
    assert_false(alive(r, "", token));
    memcpy(other, token, sizeof other);
    other[31] ^= 1;
    assert_false(alive(r, r->task.attempt, other));
    read_done(r);

    /* The same attempt is not signed again; another has another token. */
    broker_sign(r->b, &r->task, r->runner_pub, LIFE_S, on_signed, r);
    await(r, 1);
    assert_int_equal(r->why.code, ERR_REFUSED);
    assert_int_equal(r->gone, BROKER_THERE);
    sign(r, LIFE_S);
    read_signed(r);
    unseal(r, other);
    assert_false(alive(r, r->task.attempt, token));
    assert_false(alive(r, first, other));
    assert_true(alive(r, r->task.attempt, other));
    assert_true(alive(r, first, token));
    read_done(r);
    broker_attempt_end(r->b, r->task.attempt);
    assert_false(alive(r, r->task.attempt, other));
    broker_attempt_end(r->b, r->task.attempt); /* twice, or never begun, is no harm */
    assert_false(alive(r, r->task.attempt, other));
    stop(r);
}

static void expect_refusal(struct rig *r, uint64_t life_s, enum err_code code, const char *words)
{
    buf_clear(&r->envelope);
    broker_sign(r->b, &r->task, r->runner_pub, life_s, on_signed, r);
    await(r, 1);
    if (r->why.code != code || !strstr(r->why.msg, words))
        fail_msg("%d \"%s\", wanted %d \"%s\"", r->why.code, r->why.msg, code, words);
    assert_int_equal(r->envelope.len, 0);
}

static void test_refusals(void **state)
{
    struct rig *r = *state;
    struct task good = r->task;
    uint8_t key[KEY_PUB_BYTES];
    start(r);
    expect_refusal(r, 0, ERR_REFUSED, "a life of");
    expect_refusal(r, TASK_LIFE_MAX_S + 1, ERR_REFUSED, "a life of");
    r->task.exp = 4102444800;
    expect_refusal(r, LIFE_S, ERR_REFUSED, "not the engine's");
    r->task = good;
    r->task.token_sha256[0] = 1;
    expect_refusal(r, LIFE_S, ERR_REFUSED, "not the engine's");
    r->task = good;
    snprintf(r->task.iss, sizeof r->task.iss, "somebody");
    expect_refusal(r, LIFE_S, ERR_REFUSED, "not the engine's");
    r->task = good;
    snprintf(r->task.branch, sizeof r->task.branch, "main");
    expect_refusal(r, LIFE_S, ERR_FAIL, "repo.branch");
    r->task = good;
    snprintf(r->task.attempt, sizeof r->task.attempt, "../x");
    expect_refusal(r, LIFE_S, ERR_REFUSED, "not an attempt id");
    r->task = good;
    memcpy(r->task.title, "\xff\xfe", 3); /* cannot even be asked */
    expect_refusal(r, LIFE_S, ERR_FAIL, "");
    r->task = good;
    memcpy(key, r->runner_pub, sizeof key);
    memset(r->runner_pub, 0, sizeof key); /* a point of small order */
    expect_refusal(r, LIFE_S, ERR_TRUST, "runner's key");
    memcpy(r->runner_pub, key, sizeof key);
    sign(r, LIFE_S); /* and it goes on */
    assert_int_equal(r->why.code, 0);
    stop(r);
}

static void test_order(void **state)
{
    struct rig *r = *state;
    start(r);
    buf_clear(&r->envelope);
    for (int i = 0; i < 50; i++) {
        next_attempt(r);
        if (i % 3 == 0)
            broker_sign(r->b, &r->task, r->runner_pub, i % 2 ? 0 : LIFE_S, on_signed, r);
        else
            broker_token_check(r->b, r->task.attempt, r->runner_pub, on_token, r);
    }
    await(r, 50);
    stop(r);
}

/* Bytes that are no request: it ends, rather than guess. */
static void test_garbage_ends_it(void **state)
{
    static const struct {
        const void *bytes;
        size_t n;
        bool survives; /* answered by an error */
    } rows[] = {
        {"\xff\xff\xff\xff\2", 5, false},
        {"\0\0\0\2\x63{}", 7, false},
        {"\0\0\0\2\1{}", 7, false},
        {"\0\0\0\2\2{}", 7, true},
        {"\0\0\0\x0b\5{\"token\":1}", 16, true},
        {"\0\0\0\2\7{}", 7, false},
    };
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        int pair[2], status;
        char answer[65536];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        posix_spawn_file_actions_t fa;
        posix_spawn_file_actions_init(&fa);
        posix_spawn_file_actions_adddup2(&fa, pair[1], BROKER_FD);
        posix_spawn_file_actions_addopen(&fa, 2, "/dev/null", O_WRONLY, 0);
        const char *const argv[] = {"creel", "broker", r->key, r->dir, NULL};
        pid_t pid;
        assert_int_equal(
            posix_spawn(&pid, r->self, &fa, NULL, (char *const *)(uintptr_t)argv, environ), 0);
        posix_spawn_file_actions_destroy(&fa);
        close(pair[1]);
        assert_true(read(pair[0], answer, sizeof answer) > 0); /* its hello */
        assert_int_equal(write_all(pair[0], rows[i].bytes, rows[i].n), 0);
        ssize_t n = read(pair[0], answer, sizeof answer);
        assert_int_equal(n > 0, rows[i].survives);
        if (n > 0)
            assert_int_equal(answer[4], BROKER_ERROR);
        close(pair[0]);
        waitpid(pid, &status, 0);
        assert_int_equal(WIFEXITED(status) && WEXITSTATUS(status) == 0, rows[i].survives);
    }
}

/* The youngest: one that died before may not be reaped yet. */
static pid_t child_pid(void)
{
    char path[64], text[64] = "";
    snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = read(fd, text, sizeof text - 1);
    close(fd);
    pid_t last = -1;
    for (char *at = n > 0 ? strtok(text, " ") : NULL; at; at = strtok(NULL, " "))
        last = (pid_t)strtol(at, NULL, 10);
    return last;
}

static void test_death(void **state)
{
    struct rig *r = *state;
    start(r);
    pid_t pid = child_pid();
    assert_true(pid > 0);
    kill(pid, SIGSTOP);
    broker_sign(r->b, &r->task, r->runner_pub, LIFE_S, on_signed, r);
    broker_token_check(r->b, r->task.attempt, r->runner_pub, on_token, r);
    uv_run(&r->loop, UV_RUN_NOWAIT);
    kill(pid, SIGKILL);
    await(r, 2);
    assert_int_equal(r->why.code, ERR_FAIL);
    assert_non_null(strstr(r->why.msg, "broker process is gone"));
    stop(r);
    start(r);
    broker_sign(r->b, &r->task, r->runner_pub, LIFE_S, on_signed, r);
    stop(r); /* nobody is called back */
    assert_int_equal(r->answers, 0);
}

/* Kills the process; the request that is under way when that shows fails. */
static void kill_it(struct rig *r)
{
    pid_t pid = child_pid();
    assert_true(pid > 0);
    kill(pid, SIGKILL);
    sign(r, LIFE_S);
    assert_int_equal(r->why.code, ERR_FAIL);
    assert_int_equal(r->gone, BROKER_DIED_OF_IT);
    assert_non_null(strstr(r->why.msg, "broker process is gone"));
}

static void on_signed_again(void *arg, const struct buf *envelope, const struct buf *sshsig,
                            const struct err *err)
{
    struct rig *r = arg;
    assert_non_null(err);
    next_attempt(r);
    broker_sign(r->b, &r->task, r->runner_pub, LIFE_S, on_signed, r);
}

static void test_comes_back(void **state)
{
    struct rig *r = *state;
    uint8_t token[TASK_TOKEN_BYTES];
    start(r);
    sign(r, LIFE_S);
    read_signed(r);
    unseal(r, token);
    read_done(r);
    char first[ATTEMPT_ID_SIZE];
    memcpy(first, r->task.attempt, sizeof first);
    kill_it(r);
    assert_true(alive(r, first, token)); /* asked of a new process, which has it from the ledger */
    sign(r, LIFE_S);
    read_signed(r);
    unseal(r, token);
    read_done(r);
    assert_true(alive(r, r->task.attempt, token));

    /* Asked again from the very callback that was told. */
    kill(child_pid(), SIGKILL);
    buf_clear(&r->envelope);
    buf_clear(&r->sshsig);
    broker_sign(r->b, &r->task, r->runner_pub, LIFE_S, on_signed_again, r);
    await(r, 1);
    read_signed(r);
    read_done(r);

    kill_it(r);
    sign(r, LIFE_S);
    assert_string_equal(r->why.msg, ""); /* the third new one */
    kill_it(r);
    sign(r, LIFE_S); /* within the minute: not again */
    assert_int_equal(r->why.code, ERR_FAIL);
    assert_int_equal(r->gone, BROKER_WAS_GONE);
    assert_non_null(broker_down(r->b));
    while (child_pid() > 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    broker_attempt_end(r->b, r->task.attempt);
    while (child_pid() <= 0) /* after a pause, unasked */
        uv_run(&r->loop, UV_RUN_ONCE);
    sign(r, LIFE_S);
    assert_string_equal(r->why.msg, "");
    stop(r);
}

struct turn {
    struct rig *r;
    char attempt[ATTEMPT_ID_SIZE], got[ATTEMPT_ID_SIZE];
    struct err why;
    enum broker_gone gone;
};

static void on_turn(void *arg, const struct buf *envelope, const struct buf *sshsig,
                    const struct err *err)
{
    struct turn *t = arg;
    t->gone = broker_gone(t->r->b);
    on_signed(t->r, envelope, sshsig, err);
    t->why = t->r->why;
    if (err)
        return;
    read_signed(t->r);
    memcpy(t->got, t->r->signed_task.attempt, sizeof t->got);
    read_done(t->r);
    buf_clear(&t->r->envelope);
    buf_clear(&t->r->sshsig);
}

/* A request that cannot even be sent, between two that can: each hears what is its own. */
static void test_each_its_own_answer(void **state)
{
    struct rig *r = *state;
    struct turn turns[3] = {{.r = r}, {.r = r}, {.r = r}};
    struct strv command = r->task.command, big = {0};
    char *word = test_malloc(JSON_STR_MAX + 1);
    memset(word, 'x', JSON_STR_MAX);
    word[JSON_STR_MAX] = 0;
    for (int i = 0; i < 9; i++)
        assert_int_equal(strv_add(&big, word), 0);
    start(r);
    buf_clear(&r->envelope);
    buf_clear(&r->sshsig);
    for (int i = 0; i < 3; i++) {
        next_attempt(r);
        memcpy(turns[i].attempt, r->task.attempt, sizeof turns[i].attempt);
        r->task.command = i == 1 ? big : command;
        broker_sign(r->b, &r->task, r->runner_pub, LIFE_S, on_turn, &turns[i]);
    }
    r->task.command = command;
    /* Both answers are to come in one piece; when they do not, less is tested. */
    pid_t pid = child_pid();
    kill(pid, SIGSTOP);
    for (int i = 0; i < 4; i++)
        uv_run(&r->loop, UV_RUN_NOWAIT);
    kill(pid, SIGCONT);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    await(r, 3);
    assert_string_equal(turns[0].got, turns[0].attempt);
    assert_string_equal(turns[2].got, turns[2].attempt);
    assert_int_equal(turns[1].why.code, ERR_FAIL);
    assert_int_equal(turns[1].gone, BROKER_THERE);
    strv_done(&big);
    test_free(word);
    stop(r);
}

/* Without being asked. */
static void test_comes_back_alone(void **state)
{
    struct rig *r = *state;
    start(r);
    pid_t first = child_pid(), now;
    assert_true(first > 0);
    kill(first, SIGKILL);
    while ((now = child_pid()) == first || now <= 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    stop(r);
}

/* What comes back must hold the same key, or nothing. */
static void test_comes_back_as_another(void **state)
{
    struct rig *r = *state;
    char good[PATH_MAX];
    memcpy(good, r->key, sizeof good);
    assert_int_equal(shell(r, "cp key moving"), 0);
    fixture_path(r->dir, "moving", r->key);
    start(r);
    assert_int_equal(shell(r, "rm moving"), 0);
    kill_it(r);
    sign(r, LIFE_S); /* of a new one, which does not come up */
    assert_non_null(strstr(r->why.msg, "broker process is gone: "));
    assert_int_equal(fixture_keygen(r->dir, "moving", "ed25519"), 0);
    sign(r, LIFE_S);
    assert_non_null(strstr(r->why.msg, "another one now"));
    assert_int_equal(r->gone, BROKER_THERE); /* nobody is to wait for it */
    assert_null(broker_down(r->b));
    assert_int_equal(shell(r, "cp key moving"), 0);
    sign(r, LIFE_S);
    assert_string_equal(r->why.msg, "");
    memcpy(r->key, good, sizeof good);
    stop(r);
}

static void test_bad_key_file(void **state)
{
    struct rig *r = *state;
    struct err err = ERR_INIT;
    char good[PATH_MAX];
    memcpy(good, r->key, sizeof good);
    fixture_path(r->dir, "key.pub", r->key);
    assert_int_equal(broker_start(&r->loop, r->self, r->key, r->dir, &r->b, &err), -ERR_FAIL);
    fixture_path(r->dir, "absent", r->key);
    assert_int_equal(broker_start(&r->loop, r->self, r->key, r->dir, &r->b, &err), -ERR_FAIL);
    memcpy(r->key, good, sizeof good);
    assert_int_equal(broker_start(&r->loop, "/nonexistent/creel", r->key, r->dir, &r->b, &err),
                     -ERR_FAIL);
    r->b = NULL;
    stop(r);
}

static int status_of(pid_t pid, const char *name)
{
    char path[64], line[256];
    int value = -1;
    snprintf(path, sizeof path, "/proc/%d/status", pid);
    FILE *f = fopen(path, "re");
    while (f && fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0)
            value = (int)strtol(line + strlen(name) + 1, NULL, 10);
    if (f)
        fclose(f);
    return value;
}

/* Descriptors of `pid` from 4 on that are files or devices outside of `dir`. */
static int count_strays(pid_t pid, const char *dir)
{
    char path[64], target[PATH_MAX];
    int n = 0;
    for (int fd = BROKER_FD + 1; fd < 256; fd++) {
        snprintf(path, sizeof path, "/proc/%d/fd/%d", pid, fd);
        ssize_t len = readlink(path, target, sizeof target - 1);
        target[len > 0 ? len : 0] = 0;
        bool stray = target[0] == '/' && strncmp(target, dir, strlen(dir)) != 0 &&
                     strcmp(target, "/dev/null") != 0; /* libuv keeps one in reserve */
        if (stray)
            print_message("descriptor %d is %s\n", fd, target);
        n += stray;
    }
    return n;
}

static void test_confined(void **state)
{
    struct rig *r = *state;
    char path[64], text[8192];
    int leak = open("/etc/passwd", O_RDONLY); /* not close-on-exec, as a library may open one */
    setenv("CREEL_TEST_ENV", "canary-in-environment", 1);
    setenv("https_proxy", "http://127.0.0.1:9", 1);
    start(r);
    unsetenv("CREEL_TEST_ENV");
    unsetenv("https_proxy");
    pid_t pid = child_pid();
    assert_int_equal(status_of(pid, "NoNewPrivs:"), 1);
    assert_int_equal(status_of(pid, "Seccomp:"), 2);
    assert_int_equal(status_of(pid, "CapEff:"), 0);
#ifndef __SANITIZE_ADDRESS__ /* which makes mlock() do nothing */
    assert_true(status_of(pid, "VmLck:") > 0);
#endif
    if (geteuid() == 0) { /* not dumpable: only root may look */
        snprintf(path, sizeof path, "/proc/%d/environ", pid);
        int fd = open(path, O_RDONLY | O_CLOEXEC);
        ssize_t n = read(fd, text, sizeof text);
        close(fd);
        assert_true(n > 0); /* it had one: its helper needs it for `env:` secrets */
        for (ssize_t i = 0; i < n; i++)
            assert_int_equal(text[i], 0);
        assert_int_equal(count_strays(pid, r->dir), 0);
    }
    close(leak);
    stop(r);
}

/* Is `needle` in the memory of `pid`? */
static bool in_memory(pid_t pid, const uint8_t *needle, size_t n)
{
    char path[64], line[512];
    static uint8_t chunk[1 << 20];
    snprintf(path, sizeof path, "/proc/%d/maps", pid);
    FILE *maps = fopen(path, "re");
    snprintf(path, sizeof path, "/proc/%d/mem", pid);
    int mem = open(path, O_RDONLY | O_CLOEXEC);
    bool found = false;
    if (!maps || mem < 0)
        _exit(3);
    while (!found && fgets(line, sizeof line, maps)) {
        unsigned long from, to;
        char mode[5];
        if (sscanf(line, "%lx-%lx %4s", &from, &to, mode) != 3 || mode[0] != 'r')
            continue;
        for (unsigned long at = from; at < to && !found; at += sizeof chunk - n) {
            size_t want = to - at < sizeof chunk ? to - at : sizeof chunk;
            ssize_t got = pread(mem, chunk, want, (off_t)at);
            found = got >= (ssize_t)n && memmem(chunk, (size_t)got, needle, n);
        }
    }
    fclose(maps);
    close(mem);
    return found;
}

/* Searches the process `pid` for the secret seed, and, to show that the search finds, the public
 * key. In a child, so that the seed never comes near the process that is searched. */
static int search(const struct rig *r, pid_t pid)
{
    struct buf text;
    struct err err = ERR_INIT;
    static uint8_t sec[KEY_SEC_BYTES];
    int status;
    pid_t child = fork();
    if (child == 0) {
        buf_init(&text, KEY_LINE_MAX);
        fixture_text(r->dir, "key", &text);
        if (key_sec_parse(buf_str(&text), text.len, sec, &err) < 0)
            _exit(4);
        _exit(in_memory(pid, sec, 32) | in_memory(pid, sec + 32, 32) << 1);
    }
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void test_engine_has_no_secret(void **state)
{
    struct rig *r = *state;
#ifdef __SANITIZE_ADDRESS__
    print_message("skipped: the sanitizer's shadow memory is too large to be searched\n");
    skip();
#endif
    start(r);
    sign(r, LIFE_S);
    prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY, 0, 0, 0);
    assert_int_equal(search(r, getpid()), 2); /* the public key is there, the seed is not */
    if (geteuid() == 0) {
        assert_int_equal(search(r, child_pid()) & 1, 1); /* and where it is, it is found */
    }
    stop(r);
}

/* Spending. */

static void write_books(const struct rig *r, int port, const char *prices)
{
    char text[2048];
    snprintf(text, sizeof text,
             "{\"providers\":[{\"name\":\"ok\",\"base_url\":\"http://localhost:%d/ok\",\"secret\":"
             "\"key\",\"auth\":\"bearer\",\"dialects\":[\"responses\"],\"day_usd_micros\":"
             "\"900000000\",\"day_calls\":\"1000\",\"models\":[],\"ca_file\":\"\"}]}",
             port);
    save(r, "providers.json", text, strlen(text));
    save(r, "prices.json", prices, strlen(prices));
    snprintf(text, sizeof text,
             "{\"secrets\":[{\"name\":\"key\",\"ref\":\"env:CREEL_TEST_KEY\"}]}");
    save(r, "secrets.json", text, strlen(text));
}

/* What the jail's end of a call gets for one request. */
static void call_through(struct rig *r, const char *token_hex, char *answer, size_t size)
{
    static const char body[] = "{\"model\":\"m\",\"input\":\"hello\",\"stream\":false}";
    char text[1024];
    int pair[2];
    size_t n = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    broker_call(r->b, r->task.attempt, pair[1]);
    int len =
        snprintf(text, sizeof text,
                 "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:4100\r\nAuthorization: Bearer "
                 "%s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 token_hex, sizeof body - 1, body);
    assert_int_equal(send(pair[0], text, (size_t)len, MSG_NOSIGNAL), len);
    for (ssize_t some = -1; some != 0 && n < size - 1;) {
        uv_run(&r->loop, UV_RUN_NOWAIT);
        some = recv(pair[0], answer + n, size - 1 - n, MSG_DONTWAIT);
        n += some > 0 ? (size_t)some : 0;
        if (some < 0)
            usleep(1000);
    }
    answer[n] = 0;
    close(pair[0]);
}

/* The confined process itself makes the call: its resolver, its sockets, its helper. */
static void test_spends(void **state)
{
    static const char prices[] =
        "{\"currency\":\"USD\",\"as_of\":\"2026-11-23\",\"source\":\"t\",\"models\":[{\"model\":"
        "\"m\",\"input\":\"1000000\",\"output\":\"1000000\"}]}";
    struct rig *r = *state;
    struct provider_fixture provider = {0};
    struct spend *s = &r->task.policy.spend;
    uint8_t token[TASK_TOKEN_BYTES];
    char hex[BROKER_TOKEN_HEX + 1], answer[8192];
    assert_int_equal(provider_start(&provider), 0);
    spend_init(s);
    snprintf(s->provider, sizeof s->provider, "ok");
    s->usd_micros = 1000000;
    sha256_of(prices, sizeof prices - 1, s->prices_sha256);
    setenv("CREEL_TEST_KEY", "real-key-0123456789", 1);
    start(r);
    unsetenv("CREEL_TEST_KEY");
    next_attempt(r);
    expect_refusal(r, LIFE_S, ERR_REFUSED, "no provider ok");
    write_books(r, provider.port,
                "{\"currency\":\"USD\",\"as_of\":\"2026-11-24\",\"source\":\"t\","
                "\"models\":[]}");
    expect_refusal(r, LIFE_S, ERR_REFUSED, "prices were changed");
    write_books(r, provider.port, prices);
    sign(r, LIFE_S);
    read_signed(r);
    unseal(r, token);
    read_done(r);
    sodium_bin2hex(hex, sizeof hex, token, sizeof token);
    call_through(r, hex, answer, sizeof answer);
    if (strncmp(answer, "HTTP/1.1 200", 12) != 0)
        fail_msg("%s", answer);
    assert_non_null(strstr(answer, "\"text\":\"hi\""));
    assert_int_equal(atomic_load(&provider.seen->wrong_key), 0);
    kill(child_pid(), SIGKILL); /* what the token may do outlives the process */
    broker_order(r->b, &(struct order){.kind = ORDER_CANCEL}, on_ordered, r);
    await(r, 1);
    hex[0] = hex[0] == '0' ? '1' : '0';
    assert_true(alive(r, r->task.attempt, token));
    call_through(r, hex, answer, sizeof answer);
    assert_int_equal(strncmp(answer, "HTTP/1.1 401", 12), 0);
    broker_attempt_end(r->b, r->task.attempt);
    assert_false(alive(r, r->task.attempt, token));
    call_through(r, hex, answer, sizeof answer);
    assert_string_equal(answer, ""); /* the door is not even opened */
    assert_int_equal(atomic_load(&provider.seen->requests), 1);
    stop(r);
    spend_done(s);
    *s = (struct spend){0};
    provider_stop(&provider);
}

static void on_needles(void *arg, struct needles *set)
{
    size_t at = 0;
    const char *name = needles_find(set, "xx the secret 999", 17, &at);
    *(int *)arg += name && strcmp(name, "s999") == 0 && at == 3;
    needles_free(set);
}

/* Before anything is done with logs and patches, what they must not hold is known. */
static void test_needles_are_there_first(void **state)
{
    static const struct broker_events events = {.needles = on_needles};
    struct rig *r = *state;
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err);
    char name[16], value[32];
    int seen = 0, dirfd = dir_open(r->dir, false, false, &err);
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof name, "s%d", i);
        snprintf(value, sizeof value, "the secret %d", i);
        assert_int_equal(needles_add(set, name, value, strlen(value), &err), 0);
    }
    assert_int_equal(needles_save(dirfd, set, &err), 0);
    needles_free(set);
    close(dirfd);
    start(r);
    broker_on(r->b, &events, &seen);
    assert_int_equal(seen, 1);
    stop(r);
    start(r);
    stop(r); /* told to nobody */
    assert_int_equal(shell(r, "rm needles.json"), 0);
}

#define CALLS 100

static int call(struct rig *r)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    broker_call(r->b, r->task.attempt, pair[1]);
    return pair[0];
}

/* A process without a descriptor left refuses calls; it does not end, and takes them again later. */
static void test_descriptors_run_out(void **state)
{
    struct rig *r = *state;
    uint8_t token[TASK_TOKEN_BYTES];
    struct rlimit all;
    int fds[CALLS], open = 0;
    char byte;
    start(r);
    sign(r, LIFE_S);
    read_signed(r);
    unseal(r, token);
    read_done(r);
    pid_t pid = child_pid();
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, NULL, &all), 0);
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &(struct rlimit){3, all.rlim_max}, NULL), 0);
    for (int i = 0; i < CALLS; i++)
        fds[i] = call(r);
    assert_true(alive(r, r->task.attempt, token));
    assert_int_equal(child_pid(), pid);
    for (int i = 0; i < CALLS; i++) {
        open += recv(fds[i], &byte, 1, MSG_DONTWAIT) < 0;
        close(fds[i]);
    }
    assert_int_equal(open, 0);
    assert_int_equal(prlimit(pid, RLIMIT_NOFILE, &all, NULL), 0);
    int late = call(r);
    assert_true(alive(r, r->task.attempt, token));
    assert_int_equal(recv(late, &byte, 1, MSG_DONTWAIT), -1);
    assert_int_equal(child_pid(), pid);
    close(late);
    stop(r);
}

static int group_setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    ssize_t n;
    *state = r;
    signal(SIGPIPE, SIG_IGN);
    if (!r || sodium_init() < 0 || uv_loop_init(&r->loop) < 0)
        return -1;
    n = readlink("/proc/self/exe", r->self, sizeof r->self - 1);
    snprintf(r->dir, sizeof r->dir, "/tmp/creel-test-XXXXXX");
    if (n < 0 || !mkdtemp(r->dir) || fixture_keygen(r->dir, "key", "ed25519") != 0)
        return -1;
    fixture_path(r->dir, "key", r->key);
    crypto_sign_keypair(r->runner_pub, r->runner_sec);
    buf_init(&r->envelope, DSSE_BYTES_MAX);
    buf_init(&r->sshsig, 65536);
    struct task *t = &r->task;
    snprintf(t->id, sizeof t->id, TASK_ID);
    attempt_id_make(t->id, 1, t->attempt);
    snprintf(t->title, sizeof t->title, "a task\nof two lines");
    snprintf(t->aud_host, sizeof t->aud_host, "box");
    key_fingerprint(r->runner_pub, t->aud_host_key);
    t->fence = 7;
    memset(t->base, 'a', TASK_OID_SIZE - 1);
    memset(t->root, 'b', TASK_OID_SIZE - 1);
    snprintf(t->branch, sizeof t->branch, "creel/" TASK_ID);
    t->pack_bytes = 1234;
    policy_init(&t->policy);
    return strv_add(&t->command, "true") + strv_add(&t->tests, "make check");
}

static int group_teardown(void **state)
{
    struct rig *r = *state;
    fixture_remove(r->dir);
    task_done(&r->task);
    buf_done(&r->envelope);
    buf_done(&r->sshsig);
    int rc = uv_loop_close(&r->loop);
    free(r);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc == 4 && strcmp(argv[1], "broker") == 0)
        return broker_main(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_signs),
        cmocka_unit_test(test_signs_orders),
        cmocka_unit_test(test_others_verify),
        cmocka_unit_test(test_life_of_a_token),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_garbage_ends_it),
        cmocka_unit_test(test_death),
        cmocka_unit_test(test_comes_back),
        cmocka_unit_test(test_comes_back_alone),
        cmocka_unit_test(test_comes_back_as_another),
        cmocka_unit_test(test_bad_key_file),
        cmocka_unit_test(test_confined),
        cmocka_unit_test(test_engine_has_no_secret),
        cmocka_unit_test(test_spends),
        cmocka_unit_test(test_each_its_own_answer),
        cmocka_unit_test(test_descriptors_run_out),
        cmocka_unit_test(test_needles_are_there_first),
    };
    cmocka_set_test_filter(argc == 2 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
