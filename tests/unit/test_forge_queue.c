/* controller/broker/forge_queue.c with real HTTP, real secrets and a real database against a forge of the
 * test's own: whatever is minted is revoked, also after kill -9 at any moment. */
#include "controller/broker/forge_queue.h"

#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <sodium.h>
#include <sqlite3.h>

#include "common/clock.h"
#include "proto/b64.h"
#include "proto/message.h"
#include "proto/rfc3339.h"
#include "tests/unit/cm.h"
#include "tests/unit/fixture.h"
#include "tests/unit/forge_fixture.h"

#define TASK_ID "01hzzzzzzzzzzzzzzzzzzzzzzz"
#define ATTEMPT TASK_ID ".1"
#define TOKENS  32

enum kill_at { KILL_NEVER, KILL_ASKED, KILL_ANSWERED, KILL_TOLD, KILL_REVOKING, KILL_COUNT };

struct rig {
    char dir[32];
    int dirfd, helper;
    uv_loop_t loop;
    struct fake_forge forge;
    struct forge_queue *q;
    struct http_client *http;
    struct secrets *secrets;
    const char *credential; /* that the forge wants for a revocation; NULL: any */
    uint8_t sec[KEY_SEC_BYTES], runner_pub[KEY_PUB_BYTES], runner_sec[KEY_SEC_BYTES];
    enum forge_kind kind;
    /* what the forge does */
    int mint_status, revoke_status;
    uint64_t life_s;
    const char *repo, *permissions;
    unsigned minted;
    bool alive_there[TOKENS]; /* tokens that work, as the forge sees it */
    char labels[TOKENS][96];
    enum kill_at kill_at;
    pid_t victim;
    /* what came */
    unsigned answers, told;
    bool alive;
    struct err why;
    struct buf notes, sealed;
};

static void iso(uint64_t at, char out[static RFC3339_SIZE])
{
    rfc3339_format(at, out);
}

/* "ghs_<n>_xxx...": longer than any token used to be. */
static void token_text(unsigned n, char out[static 600])
{
    int used = snprintf(out, 600, "ghs_%u_", n);
    memset(out + used, 'x', (size_t)(530 - used));
    out[530] = 0;
}

static void strike(struct rig *r, enum kill_at at)
{
    if (r->kill_at == at && r->victim > 0)
        kill(r->victim, SIGKILL);
}

static void mint(struct rig *r, const char *request, struct buf *answer)
{
    char body[4096], token[600], when[RFC3339_SIZE];
    if (r->mint_status != 201) {
        fake_answer(answer, r->mint_status, "{\"message\":\"no\"}");
        return;
    }
    unsigned n = r->minted++;
    assert_true(n < TOKENS);
    r->alive_there[n] = true;
    token_text(n, token);
    iso(clock_wall_s() + r->life_s, when);
    if (r->kind == FORGE_GITHUB) {
        snprintf(body, sizeof body,
                 "{\"token\":\"%s\",\"expires_at\":\"%s\",\"permissions\":%s,"
                 "\"repositories\":[{\"full_name\":\"%s\"}]}",
                 token, when, r->permissions, r->repo);
    } else {
        const char *name = strstr(request, "\"name\":\"") + 8;
        snprintf(r->labels[n], sizeof r->labels[n], "%.*s", (int)strcspn(name, "\""), name);
        snprintf(body, sizeof body,
                 "{\"id\":%u,\"name\":\"%s\",\"token\":\"%s\",\"expires_at\":\"%.10s\","
                 "\"access_level\":30,\"scopes\":[\"write_repository\"]}",
                 n + 100, r->labels[n], token, when);
    }
    strike(r, KILL_ASKED);
    fake_answer(answer, 201, body);
}

static void unmint(struct rig *r, const char *request, struct buf *answer)
{
    char token[600];
    const char *by_id = strstr(request, "/access_tokens/");
    strike(r, KILL_REVOKING);
    if (r->credential && !strstr(request, r->credential)) {
        fake_answer(answer, 401, "{}");
        return;
    }
    if (r->revoke_status != 204) {
        fake_answer(answer, r->revoke_status, "{}");
        return;
    }
    for (unsigned n = 0; n < r->minted; n++) {
        token_text(n, token);
        bool this = r->kind == FORGE_GITHUB ? strstr(request, token) != NULL
                                            : by_id && strtoul(by_id + 15, NULL, 10) == n + 100;
        if (!this)
            continue;
        bool was = r->alive_there[n];
        r->alive_there[n] = false;
        fake_answer(answer, was ? 204 : r->kind == FORGE_GITHUB ? 401 : 404, "");
        return;
    }
    fake_answer(answer, 401, "{}");
}

static void list(struct rig *r, struct buf *answer)
{
    struct buf body;
    buf_init(&body, 1 << 16);
    buf_addc(&body, '[');
    for (unsigned n = 0; n < r->minted; n++)
        if (r->alive_there[n])
            buf_addf(&body, "%s{\"id\":%u,\"name\":\"%s\"}", body.len > 1 ? "," : "", n + 100,
                     r->labels[n]);
    buf_addc(&body, ']');
    fake_answer(answer, 200, buf_str(&body));
    buf_done(&body);
}

static void serve(struct fake_forge *f, const char *request, struct buf *answer)
{
    struct rig *r = f->arg;
    if (strncmp(request, "POST ", 5) == 0)
        mint(r, request, answer);
    else if (strncmp(request, "DELETE ", 7) == 0)
        unmint(r, request, answer);
    else
        list(r, answer);
}

static bool on_alive(void *arg, const char *attempt)
{
    return ((struct rig *)arg)->alive && strcmp(attempt, ATTEMPT) == 0;
}

static void on_token(void *arg, const char *attempt, const char *sealed_b64)
{
    struct rig *r = arg;
    assert_string_equal(attempt, ATTEMPT);
    r->told++;
    buf_clear(&r->sealed);
    assert_int_equal(b64_get(sealed_b64, strlen(sealed_b64), &r->sealed), 0);
}

static void on_note(void *arg, const char *attempt, const char *text)
{
    struct rig *r = arg;
    (void)attempt;
    buf_addf(&r->notes, "%s\n", text);
}

static void on_minted(void *arg, const struct err *err)
{
    struct rig *r = arg;
    r->answers++;
    r->why = err ? *err : ERR_INIT;
}

static void open_queue(struct rig *r)
{
    struct err err = ERR_INIT;
    struct forge_use use = {.loop = &r->loop,
                            .dirfd = r->dirfd,
                            .alive = on_alive,
                            .token = on_token,
                            .note = on_note,
                            .arg = r};
    assert_ok(secret_helper_start(r->dir, &r->helper, &err));
    assert_ok(secrets_new(&r->loop, r->helper, &r->secrets, &err));
    assert_ok(http_client_new(&r->loop, &r->http, &err));
    use.http = r->http;
    use.secrets = r->secrets;
    assert_ok(forge_queue_open(r->dir, r->sec, &r->q, &err));
    assert_ok(forge_queue_start(r->q, &use, &err));
}

static void close_queue(struct rig *r)
{
    forge_queue_close(r->q);
    http_client_close(r->http);
    secrets_close(r->secrets);
    r->q = NULL;
}

static void write_config(struct rig *r)
{
    struct err err = ERR_INIT;
    char key[PATH_MAX];
    struct secret_refs refs = {0};
    struct forge f = {.name = "f", .kind = (int)r->kind, .token = "own"};
    struct forges fs = {.list = {.n = 1, .items = &f}};
    snprintf(f.web, sizeof f.web, "http://127.0.0.1:%d", r->forge.port);
    snprintf(f.api, sizeof f.api, "http://127.0.0.1:%d/api", r->forge.port);
    if (r->kind == FORGE_GITHUB) {
        snprintf(f.app_id, sizeof f.app_id, "77");
        snprintf(f.installation, sizeof f.installation, "5");
        snprintf(f.key, sizeof f.key, "app");
    }
    assert_ok(forges_save(r->dirfd, &fs, &err));
    fixture_path(r->dir, "app.pem", key);
    struct secret_ref *ref = json_list_push(&refs.list, secret_refs_shape.fields[0].shape);
    snprintf(ref->name, sizeof ref->name, "app");
    snprintf(ref->ref, sizeof ref->ref, "file:%.900s", key);
    ref = json_list_push(&refs.list, secret_refs_shape.fields[0].shape);
    fixture_path(r->dir, "own", key);
    snprintf(ref->name, sizeof ref->name, "own");
    snprintf(ref->ref, sizeof ref->ref, "file:%.900s", key);
    assert_ok(secret_refs_save(r->dirfd, &refs, &err));
    secret_refs_done(&refs);
}

static void make_secrets(struct rig *r)
{
    char path[PATH_MAX];
    fixture_path(r->dir, "app.pem", path);
    const char *const argv[] = {"openssl", "genpkey",  "-algorithm",
                                "RSA",     "-pkeyopt", "rsa_keygen_bits:2048",
                                "-out",    path,       NULL};
    assert_int_equal(fixture_run(argv), 0);
    assert_int_equal(chmod(path, 0600), 0);
    fixture_write(r->dir, "own", "glpat-operator\n");
    fixture_path(r->dir, "own", path);
    assert_int_equal(chmod(path, 0600), 0);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct err err = ERR_INIT;
    assert_true(sodium_init() >= 0);
    *state = r;
    snprintf(r->dir, sizeof r->dir, "/tmp/creel-queue.XXXXXX");
    assert_non_null(mkdtemp(r->dir));
    r->dirfd = dir_open(r->dir, false, true, &err);
    assert_true(r->dirfd >= 0);
    uv_loop_init(&r->loop);
    r->forge.cb = serve;
    r->forge.arg = r;
    fake_forge_start(&r->forge, &r->loop);
    uint8_t pub[KEY_PUB_BYTES];
    crypto_sign_keypair(pub, r->sec);
    crypto_sign_keypair(r->runner_pub, r->runner_sec);
    r->mint_status = 201;
    r->revoke_status = 204;
    r->life_s = 3600;
    r->repo = "o/greet";
    r->permissions = "{\"contents\":\"write\",\"metadata\":\"read\"}";
    r->alive = true;
    buf_init(&r->notes, 1 << 20);
    buf_init(&r->sealed, 1 << 16);
    make_secrets(r);
    write_config(r);
    return 0;
}

static int teardown(void **state)
{
    struct rig *r = *state;
    if (r->q)
        close_queue(r);
    fake_forge_stop(&r->forge);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&r->loop), 0);
    close(r->dirfd);
    buf_done(&r->notes);
    buf_done(&r->sealed);
    fixture_remove(r->dir);
    free(r);
    return 0;
}

static struct forge_want want(struct rig *r)
{
    struct forge_want w = {.attempt = ATTEMPT, .until = clock_wall_s() + 7200};
    snprintf(w.url, sizeof w.url, "http://127.0.0.1:%d/o/greet.git", r->forge.port);
    memcpy(w.runner_key, r->runner_pub, sizeof w.runner_key);
    return w;
}

static void ask(struct rig *r)
{
    struct forge_want w = want(r);
    r->answers = r->told = 0;
    forge_queue_mint(r->q, &w, on_minted, r);
    while (r->answers == 0)
        uv_run(&r->loop, UV_RUN_ONCE);
}

static void until_told(struct rig *r, unsigned n)
{
    while (r->told < n)
        uv_run(&r->loop, UV_RUN_ONCE);
}

static unsigned living(const struct rig *r)
{
    unsigned n = 0;
    for (unsigned i = 0; i < r->minted; i++)
        n += r->alive_there[i];
    return n;
}

static void until_none_lives(struct rig *r)
{
    while (living(r) > 0 || forge_queue_busy(r->q))
        uv_run(&r->loop, UV_RUN_ONCE);
}

/* One number that a statement gives. */
static int64_t sql(struct rig *r, const char *text)
{
    char path[PATH_MAX];
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    int64_t value = -1;
    fixture_path(r->dir, "forge.db", path);
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, NULL), SQLITE_OK);
    sqlite3_busy_timeout(db, 5000);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &s, NULL), SQLITE_OK);
    if (sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    sqlite3_finalize(s);
    sqlite3_close(db);
    return value;
}

#define ENDED   "SELECT count(*) FROM minted WHERE state IN (3, 4, 5)"
#define REVOKED "SELECT count(*) FROM minted WHERE state = 3"
#define OPEN    "SELECT count(*) FROM minted WHERE state < 3"

/* As the runner does it. */
static void unsealed_is(struct rig *r, unsigned n)
{
    char token[600], got[REPO_TOKEN_MAX + 1] = "";
    uint8_t pub[32], sec[32];
    assert_int_equal(crypto_sign_ed25519_pk_to_curve25519(pub, r->runner_pub), 0);
    assert_int_equal(crypto_sign_ed25519_sk_to_curve25519(sec, r->runner_sec), 0);
    assert_int_equal(crypto_box_seal_open((uint8_t *)got, r->sealed.data, r->sealed.len, pub, sec),
                     0);
    token_text(n, token);
    assert_string_equal(got, token);
}

static void test_mint_and_revoke(void **state)
{
    struct rig *r = *state;
    open_queue(r);
    ask(r);
    assert_string_equal(r->why.msg, "");
    until_told(r, 1);
    unsealed_is(r, 0);
    /* For one repository, by a JWT of the App. */
    assert_non_null(strstr(buf_str(&r->forge.log), "POST /api/app/installations/5/access_tokens "));
    assert_non_null(
        strstr(buf_str(&r->forge.log),
               "{\"repositories\":[\"greet\"],\"permissions\":{\"contents\":\"write\"}}"));
    assert_non_null(strcasestr(buf_str(&r->forge.log), "authorization: Bearer eyJ"));
    assert_int_equal(living(r), 1);
    forge_queue_over(r->q, TASK_ID ".2"); /* another's end */
    assert_false(forge_queue_busy(r->q));
    forge_queue_over(r->q, ATTEMPT);
    assert_true(forge_queue_busy(r->q));
    until_none_lives(r);
    assert_non_null(strstr(buf_str(&r->forge.log), "DELETE /api/installation/token "));
    assert_int_equal(sql(r, REVOKED), 1);
}

/* The database alone is of no use: the token is in it sealed, and not at all once it is revoked. */
static void test_no_token_on_disk(void **state)
{
    struct rig *r = *state;
    static const char *const files[] = {"forge.db", "forge.db-wal"};
    struct buf all;
    buf_init(&all, 1 << 22);
    open_queue(r);
    ask(r);
    until_told(r, 1);
    for (size_t i = 0; i < 2; i++)
        fixture_text(r->dir, files[i], &all);
    assert_null(memmem(all.data, all.len, "ghs_0_", 6));
    assert_true(sql(r, "SELECT length(sealed) FROM minted") > 530);
    forge_queue_over(r->q, ATTEMPT);
    until_none_lives(r);
    assert_int_equal(sql(r, "SELECT length(sealed) FROM minted"), 0);
    buf_done(&all);
}

/* Minted all the same, so revoked at once, and the signing refused. */
static void test_more_than_asked(void **state)
{
    struct rig *r = *state;
    open_queue(r);
    r->permissions = "{\"contents\":\"write\",\"administration\":\"write\"}";
    ask(r);
    assert_non_null(strstr(r->why.msg, "unknown key"));
    r->permissions = "{\"contents\":\"write\"}";
    r->repo = "o/other";
    ask(r);
    assert_non_null(strstr(r->why.msg, "not for o/greet alone"));
    until_none_lives(r);
    assert_int_equal(r->minted, 2);
    assert_int_equal(r->told, 0);
    assert_int_equal(sql(r, REVOKED), 2);
}

static void test_refusals(void **state)
{
    struct rig *r = *state;
    open_queue(r);
    r->mint_status = 404;
    ask(r);
    assert_non_null(strstr(r->why.msg, "forge f answered 404"));
    assert_int_equal(sql(r, OPEN), 0);
    /* A server's failure may have minted. */
    r->mint_status = 502;
    ask(r);
    assert_non_null(strstr(r->why.msg, "502"));
    assert_int_equal(sql(r, OPEN), 1);
    struct forge_want w = want(r);
    snprintf(w.url, sizeof w.url, "https://elsewhere.example/o/r");
    r->answers = 0;
    forge_queue_mint(r->q, &w, on_minted, r);
    assert_int_equal(r->answers, 1);
    assert_non_null(strstr(r->why.msg, "no forge"));
}

static void test_revoking_is_retried(void **state)
{
    struct rig *r = *state;
    open_queue(r);
    ask(r);
    until_told(r, 1);
    r->revoke_status = 503;
    forge_queue_over(r->q, ATTEMPT);
    while (!strstr(buf_str(&r->notes), "not revoked yet"))
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(living(r), 1);
    assert_int_equal(sql(r, OPEN), 1);
    r->revoke_status = 204;
    while (sql(r, OPEN) > 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(living(r), 0);
    assert_int_equal(sql(r, REVOKED), 1);
}

/* The operator's own token was changed behind its reference, and the old one is good for nothing. */
static void test_revoking_with_a_changed_secret(void **state)
{
    struct rig *r = *state;
    char path[PATH_MAX];
    r->kind = FORGE_GITLAB;
    r->life_s = 2 * 86400;
    write_config(r);
    open_queue(r);
    ask(r);
    until_told(r, 1);
    r->credential = "glpat-another";
    fixture_path(r->dir, "own", path);
    assert_int_equal(truncate(path, 0), 0);
    fixture_write(r->dir, "own", "glpat-another\n");
    forge_queue_over(r->q, ATTEMPT);
    while (sql(r, OPEN) > 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(living(r), 0);
    assert_int_equal(sql(r, REVOKED), 1);
    assert_non_null(strstr(buf_str(&r->notes), "does not take the credential"));
}

/* At three quarters of its life a new one comes, for as long as the attempt runs; the one before is revoked. */

static void test_renewal(void **state)
{
    struct rig *r = *state;
    open_queue(r);
    ask(r);
    until_told(r, 1);
    close_queue(r);
    sql(r, "UPDATE minted SET asked = asked - 3000, expires = expires - 3000");
    open_queue(r);
    until_told(r, 3); /* the old one again, then the new one */
    unsealed_is(r, 1);
    assert_int_equal(living(r), 2); /* for a while: a push may be under way */
    forge_queue_over(r->q, ATTEMPT);
    until_none_lives(r);
    assert_int_equal(sql(r, REVOKED), 2);
}

/* Without a broker for a while: what is over was revoked by the next one, what is not is told again. */
static void test_next_process(void **state)
{
    struct rig *r = *state;
    open_queue(r);
    ask(r);
    until_told(r, 1);
    close_queue(r);
    r->told = 0;
    open_queue(r);
    until_told(r, 1);
    unsealed_is(r, 0);
    close_queue(r);
    r->alive = false;
    open_queue(r);
    until_none_lives(r);
    assert_int_equal(sql(r, REVOKED), 1);
    close_queue(r);
    r->told = 0;
    open_queue(r);
    assert_int_equal(r->told, 0);
}

/* Another signing key cannot open it; then its time is waited for, no longer. */
static void test_other_key(void **state)
{
    struct rig *r = *state;
    uint8_t pub[KEY_PUB_BYTES];
    open_queue(r);
    ask(r);
    until_told(r, 1);
    close_queue(r);
    crypto_sign_keypair(pub, r->sec);
    open_queue(r);
    for (int i = 0; i < 20; i++)
        uv_run(&r->loop, UV_RUN_NOWAIT);
    assert_int_equal(sql(r, OPEN), 1);
    close_queue(r);
    sql(r, "UPDATE minted SET expires = 1000");
    open_queue(r);
    while (sql(r, OPEN) > 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(sql(r, "SELECT count(*) FROM minted WHERE state = 4"), 1);
}

/* The victim: a broker's life with one attempt, which ends by itself if it is not killed. */
static void live(struct rig *r)
{
    uv_loop_init(&r->loop); /* the parent's is the forge's */
    open_queue(r);
    ask(r);
    if (r->why.code)
        _exit(3);
    if (r->kill_at == KILL_ANSWERED)
        kill(getpid(), SIGKILL);
    until_told(r, 1);
    if (r->kill_at == KILL_TOLD)
        kill(getpid(), SIGKILL);
    forge_queue_over(r->q, ATTEMPT);
    while (forge_queue_busy(r->q))
        uv_run(&r->loop, UV_RUN_ONCE);
    _exit(0);
}

static void crash(struct rig *r, enum kill_at at)
{
    int status = 0;
    r->kill_at = at;
    r->victim = fork();
    if (r->victim == 0)
        live(r);
    while (waitpid(r->victim, &status, WNOHANG) == 0)
        uv_run(&r->loop, UV_RUN_NOWAIT);
    r->victim = 0;
    r->kill_at = KILL_NEVER;
    if (at == KILL_NEVER)
        assert_int_equal(status, 0);
    else
        assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

/* Whatever moment it dies at, the next one revokes, or knows of a token that nobody ever had. */
static void test_crashes(void **state)
{
    struct rig *r = *state;
    open_queue(r); /* makes the database */
    close_queue(r);
    for (int k = FORGE_GITHUB; k <= FORGE_GITLAB; k++) {
        r->kind = (enum forge_kind)k;
        r->life_s = k == FORGE_GITHUB ? 3600 : 2 * 86400;
        write_config(r);
        for (int at = KILL_NEVER; at < KILL_COUNT; at++) {
            bool nameless = k == FORGE_GITHUB && at == KILL_ASKED;
            sql(r, "DELETE FROM minted");
            r->minted = 0;
            crash(r, (enum kill_at)at);
            assert_int_equal(r->minted, 1);
            assert_int_equal(sql(r, "SELECT count(*) FROM minted"), 1);
            r->alive = false;
            open_queue(r);
            if (nameless) {
                for (int i = 0; i < 20; i++)
                    uv_run(&r->loop, UV_RUN_NOWAIT);
                assert_int_equal(sql(r, OPEN), 1); /* until its hour is over */
                assert_int_equal(sql(r, "SELECT expires > 0 FROM minted"), 1);
            } else {
                while (living(r) > 0 || sql(r, OPEN) > 0)
                    uv_run(&r->loop, UV_RUN_ONCE);
                assert_int_equal(sql(r, ENDED), 1);
            }
            close_queue(r);
            r->alive = true;
        }
    }
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(test_mint_and_revoke),
        T(test_no_token_on_disk),
        T(test_more_than_asked),
        T(test_refusals),
        T(test_revoking_is_retried),
        T(test_renewal),
        T(test_revoking_with_a_changed_secret),
        T(test_next_process),
        T(test_other_key),
        T(test_crashes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
