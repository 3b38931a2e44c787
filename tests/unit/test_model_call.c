/* Model calls through the whole of the broker process, in this one: a jail's end of a door, the real
 * ledger, secrets helper and HTTPS client, and a provider that plays well and badly. What the jail sees,
 * what the provider saw, and what was charged. */
#include "controller/broker/model_call.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/sha256.h"
#include "controller/broker/attempts.h"
#include "controller/broker/books.h"
#include "controller/broker/dialect.h"
#include "controller/redact.h"
#include "tests/unit/cm.h"
#include "tests/unit/fixture.h"
#include "tests/unit/provider_fixture.h"

#define TASK  "01hzzzzzzzzzzzzzzzzzzzzzzz"
#define TOKEN "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define OTHER "ff112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define CAP   100

/* No two syncs are at it with the same open file: only one of them would hear of a write that was lost. */
static struct {
    atomic_uint at_it[1024];
    atomic_bool shared;
} syncs;

int fdatasync(int fd)
{
    if (atomic_fetch_add(&syncs.at_it[fd], 1) > 0)
        syncs.shared = true;
    nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL); /* so that some are at it together */
    int rc = (int)syscall(SYS_fdatasync, fd);
    atomic_fetch_sub(&syncs.at_it[fd], 1);
    return rc;
}

struct rig {
    char dir[64];
    struct provider_fixture provider;
    struct process *p;
    int engine; /* our end of its socket */
    int tasks;
    char attempt[ATTEMPT_ID_SIZE], task[ID_SIZE];
    char *answer;
};

static void save(const struct rig *r, const char *name, const char *text)
{
    struct err err;
    int fd = dir_open(r->dir, false, false, &err);
    assert_ok(file_replace(fd, name, text, strlen(text), 0600, &err));
    close(fd);
}

static void write_books(const struct rig *r, int port)
{
    static const char *const hows[] = {"ok",   "stream", "cut",    "hang",  "endless", "nousage",
                                       "zero", "lie",    "noend",  "rst",   "mute",    "401",
                                       "429",  "500",    "302",    "noise", "giant",   "headers",
                                       "dead", "504",    "endcut", "stays", "noca"};
    struct buf b;
    char text[256];
    buf_init(&b, 65536);
    buf_adds(&b, "{\"providers\":[");
    for (size_t i = 0; i < sizeof hows / sizeof *hows; i++)
        buf_addf(
            &b,
            "%s{\"name\":\"%s\",\"base_url\":\"http://127.0.0.1:%d/%s\",\"secret\":\"key\","
            "\"auth\":\"bearer\",\"dialects\":[\"responses\"],\"day_usd_micros\":\"900000000\","
            "\"day_calls\":\"100000\",\"models\":[],\"ca_file\":\"%s\"}",
            i ? "," : "", hows[i], strcmp(hows[i], "dead") == 0 ? 1 : port, hows[i],
            strcmp(hows[i], "noca") == 0 ? "/nowhere/ca.pem" : "");
    buf_adds(&b, "]}");
    save(r, "providers.json", buf_str(&b));
    buf_done(&b);
    save(
        r, "prices.json",
        "{\"currency\":\"USD\",\"as_of\":\"2026-11-23\",\"source\":\"test\",\"models\":[{\"model\":"
        "\"m\",\"input\":\"1000000\",\"output\":\"1000000\"}]}");
    save(r, "the-key", "real-key-0123456789\n");
    snprintf(text, sizeof text, "{\"secrets\":[{\"name\":\"key\",\"ref\":\"file:%s/the-key\"}]}",
             r->dir);
    save(r, "secrets.json", text);
}

static const struct service *route(const struct http_head *head)
{
    return &model_service;
}

static void process_begin(struct rig *r)
{
    struct err err;
    struct process *p = r->p = calloc(1, sizeof *p);
    int helper, pair[2];
    assert_non_null(p);
    assert_ok(secret_helper_start(r->dir, &helper, &err));
    assert_int_equal(uv_loop_init(&p->loop), 0);
    p->dirfd = dir_open(r->dir, false, false, &err);
    p->books = books_new(p->dirfd);
    p->needles = needles_new(&err);
    assert_ok(ledger_open(r->dir, &p->ledger, &err));
    assert_ok(secrets_new(&p->loop, helper, &p->secrets, &err));
    assert_ok(http_client_new(&p->loop, &p->http, &err));
    p->route = route;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    r->engine = pair[0];
    assert_ok(process_watch(p, pair[1], &err));
}

/* A new task with one attempt that may spend at `provider`. */
static struct spend begin(struct rig *r, const char *provider, uint64_t micros, uint64_t repeats)
{
    struct err err;
    struct ledger_attempt a = {.exp = clock_wall_s() + 3600};
    spend_init(&a.spend);
    snprintf(a.spend.provider, sizeof a.spend.provider, "%s", provider);
    a.spend.usd_micros = micros;
    a.spend.calls_per_minute = 10000;
    a.spend.in_flight = 256;
    a.spend.output_tokens = CAP;
    a.spend.repeats = repeats;
    snprintf(r->task, sizeof r->task, TASK);
    r->task[ID_SIZE - 2] = (char)('a' + r->tasks % 8);
    r->task[ID_SIZE - 3] = (char)('a' + r->tasks++ / 8);
    attempt_id_make(r->task, 1, r->attempt);
    memcpy(a.task, r->task, sizeof a.task);
    memcpy(a.attempt, r->attempt, sizeof a.attempt);
    snprintf(a.branch, sizeof a.branch, "creel/%s", r->task);
    sha256_of(TOKEN, strlen(TOKEN), a.token_sha256);
    assert_ok(ledger_begin(r->p->ledger, &a, &err));
    return a.spend;
}

static int knock(struct rig *r)
{
    int pair[2];
    struct err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_ok(door_open(r->p, r->attempt, pair[1], &err));
    return pair[0];
}

static void body_of(int n, bool stream, char *to, size_t size)
{
    snprintf(to, size, "{\"model\":\"m\",\"input\":\"hello %06d\",\"stream\":%s}", n,
             stream ? "true" : "false");
}

static void ask(int fd, const char *token, int n, bool stream)
{
    char body[512], text[2048];
    body_of(n, stream, body, sizeof body);
    int len =
        snprintf(text, sizeof text,
                 "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:4100\r\nAuthorization: Bearer "
                 "%s\r\nX-Codex-Turn-Metadata: x\r\nCookie: a=b\r\nContent-Type: "
                 "application/json\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
                 token, strlen(body), body);
    assert_int_equal(send(fd, text, (size_t)len, MSG_NOSIGNAL), len);
}

#define ANSWER_ROOM (80u << 20)

/* Until the door closes the connection. The status. */
static int await(struct rig *r, int fd)
{
    size_t n = 0;
    for (;;) {
        ssize_t some = recv(fd, r->answer + n, ANSWER_ROOM - 1 - n, MSG_DONTWAIT);
        if (some == 0 || (some < 0 && errno != EAGAIN))
            break;
        if (some > 0)
            n += (size_t)some;
        else
            uv_run(&r->p->loop, UV_RUN_ONCE);
    }
    close(fd);
    r->answer[n] = 0;
    return n > 12 ? (int)strtol(r->answer + 9, NULL, 10) : 0;
}

static int call(struct rig *r, const char *token, int n, bool stream)
{
    int fd = knock(r);
    ask(fd, token, n, stream);
    return await(r, fd);
}

static struct ledger_sum sum(struct rig *r)
{
    struct err err;
    struct ledger_sum s;
    assert_ok(ledger_task_sum(r->p->ledger, r->task, &s, &err));
    return s;
}

/* What a call of ours reserves. */
static uint64_t reserve(bool stream)
{
    struct strv none = {0};
    struct call_rules rules = {&none, &none, &none, CAP};
    struct call_ask asked;
    struct buf out;
    struct err err;
    char body[512];
    body_of(1, stream, body, sizeof body);
    buf_init(&out, 65536);
    assert_ok(dialect_request(dialect_of(DIALECT_RESPONSES), &rules, body, strlen(body), &asked,
                              &out, &err));
    buf_done(&out);
    return 2 * asked.input_bound + asked.output_cap; /* a cache written costs twice the input */
}

/* How often `words` stand in all that the engine was told so far. */
static int told(struct rig *r, const char *words)
{
    static char all[1 << 20];
    static size_t n;
    uv_run(&r->p->loop, UV_RUN_NOWAIT);
    uv_run(&r->p->loop, UV_RUN_NOWAIT);
    for (ssize_t some; (some = recv(r->engine, all + n, sizeof all - n, MSG_DONTWAIT)) > 0;)
        n += (size_t)some;
    int times = 0;
    for (const char *at = all; (at = memmem(at, n - (size_t)(at - all), words, strlen(words)));
         at++)
        times++;
    return times;
}

static void good(void **state)
{
    struct rig *r = *state;
    begin(r, "ok", 1000000, 8);
    assert_int_equal(call(r, TOKEN, 1, false), 200);
    assert_non_null(strstr(r->answer, "\"text\":\"hi\""));
    assert_null(strstr(r->answer, "set-cookie"));
    assert_null(strstr(r->answer, "x-secret"));
    assert_int_equal(sum(r).spent_micros, 110);
    assert_int_equal(sum(r).held_micros, 0);
    assert_non_null(strstr(r->provider.seen->last_body, "\"max_output_tokens\":100"));
    assert_null(strstr(r->provider.seen->last_head, TOKEN));
    assert_int_equal(atomic_load(&r->provider.seen->wrong_key), 0);
    assert_int_equal(atomic_load(&r->provider.seen->task_headers), 0);
    begin(r, "stream", 1000000, 8);
    assert_int_equal(call(r, TOKEN, 1, true), 200);
    assert_non_null(strstr(r->answer, "response.completed"));
    assert_int_equal(sum(r).spent_micros, 110);
    assert_int_equal(sum(r).calls, 1);
}

/* charged: -1: the whole reservation */
static void bad_providers(void **state)
{
    static const struct {
        const char *how;
        bool stream;
        int status;
        long charged;
        int calls;
        const char *words;
    } rows[] = {
        {"cut", true, 200, -1, 1, "response.failed"},
        {"nousage", true, 200, -1, 1, "response.completed"},
        {"zero", true, 200, -1, 1, "response.completed"},
        {"lie", true, 200, 200000000, 1, "response.completed"},
        {"noend", true, 200, -1, 1, "response.failed"},
        {"rst", true, 502, -1, 1, "creel:"},
        {"noise", true, 502, -1, 1, "creel:"},
        {"headers", true, 502, -1, 1, "too many"},
        {"401", true, 400, 0, 1, "refused the controller's key"},
        {"429", true, 429, 0, 1, "slow"},
        {"500", true, 500, 0, 1, "creel:"},
        {"504", true, 504, -1, 1, "creel:"},
        {"302", true, 502, 0, 1, "HTTP 302"},
        {"dead", true, 502, 0, 0, "creel:"},
        {"endcut", true, 200, 110, 1, "response.completed"},
        {"endless", true, 200, -1, 1, "response.failed"},
        {"giant", false, 200, -1, 1, "aaaa"},
    };
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        begin(r, rows[i].how, 900000000, 8);
        int status = call(r, TOKEN, 1, rows[i].stream);
        struct ledger_sum s = sum(r);
        uint64_t charged =
            rows[i].charged < 0 ? reserve(rows[i].stream) : (uint64_t)rows[i].charged;
        if (status != rows[i].status || s.spent_micros != charged || s.held_micros != 0 ||
            s.calls != (uint64_t)rows[i].calls || !strstr(r->answer, rows[i].words))
            fail_msg("%s: %d, %llu micros, %llu calls: %.600s", rows[i].how, status,
                     (unsigned long long)s.spent_micros, (unsigned long long)s.calls, r->answer);
        if (strstr(r->answer, "real-key-0123456789"))
            fail_msg("%s: the key was passed on: %.600s", rows[i].how, r->answer);
    }
}

/* What the broker cannot read, it says; agents do not try it again and again. */
static void ca_out_of_reach(void **state)
{
    struct rig *r = *state;
    begin(r, "noca", 900000000, 8);
    assert_int_equal(call(r, TOKEN, 1, true), 400);
    assert_int_equal(sum(r).spent_micros + sum(r).held_micros, 0);
    assert_int_equal(sum(r).calls, 0);
}

/* A provider that does not keep to what bounds a call is not called again. */
static void over_its_bound(void **state)
{
    struct rig *r = *state;
    begin(r, "lie", 900000000, 8);
    assert_int_equal(call(r, TOKEN, 1, true), 200);
    assert_int_equal(call(r, TOKEN, 2, true), 400);
    assert_non_null(strstr(r->answer, "counted more than a call may cost (100000000 tokens"));
    assert_int_equal(sum(r).calls, 1);
}

/* Behind its reference there is another key now, of which nobody told the broker. */
static void a_key_that_was_changed(void **state)
{
    struct rig *r = *state;
    begin(r, "ok", 900000000, 8);
    assert_int_equal(call(r, TOKEN, 1, false), 200);
    int wrong = atomic_load(&r->provider.seen->wrong_key);
    save(r, "the-key", "another-key-0123456789\n");
    assert_int_equal(call(r, TOKEN, 2, false), 200);
    assert_int_equal(atomic_load(&r->provider.seen->wrong_key), wrong); /* it worked until now */
    begin(r, "401", 900000000, 8);
    assert_int_equal(call(r, TOKEN, 1, false), 400);
    assert_int_equal(call(r, TOKEN, 2, false), 400);
    assert_int_equal(atomic_load(&r->provider.seen->wrong_key), wrong + 1); /* for this provider */
    save(r, "the-key", "real-key-0123456789\n");
    assert_int_equal(call(r, TOKEN, 3, false), 400);
    assert_int_equal(atomic_load(&r->provider.seen->wrong_key), wrong + 2); /* not at once again */
}

static void many_at_once(void **state)
{
    struct rig *r = *state;
    int fds[64], passed = 0, before = atomic_load(&r->provider.seen->requests);
    begin(r, "ok", 10 * reserve(false) + 5, 1000);
    for (int i = 0; i < 64; i++) {
        fds[i] = knock(r);
        ask(fds[i], TOKEN, i + 1, false);
    }
    for (int i = 0; i < 64; i++) {
        int status = await(r, fds[i]);
        passed += status == 200;
        assert_true(status == 200 || status == 429 || status == 400);
    }
    assert_int_equal(passed, 10);
    assert_int_equal(atomic_load(&r->provider.seen->requests) - before, 10);
    assert_int_equal(sum(r).spent_micros, 10 * 110);
}

static void budget_ends_it(void **state)
{
    struct rig *r = *state;
    begin(r, "nousage", 3 * reserve(true) - 1, 8);
    assert_int_equal(call(r, TOKEN, 1, true), 200);
    assert_int_equal(call(r, TOKEN, 2, true), 200);
    int before = atomic_load(&r->provider.seen->requests);
    assert_int_equal(call(r, TOKEN, 3, true), 400);
    assert_non_null(strstr(r->answer, "budget: $"));
    assert_true(told(r, "\"text\":\"budget: $"));
    assert_int_equal(call(r, TOKEN, 4, true), 400);
    assert_non_null(strstr(r->answer, "budget: $"));
    assert_int_equal(atomic_load(&r->provider.seen->requests), before);
    assert_int_equal(sum(r).refused, 2);
    /* A process that comes after says it once more: the word may have been lost with the one before. */
    int times = told(r, "\"text\":\"budget: $");
    attempts_free(r->p);
    assert_int_equal(call(r, TOKEN, 5, true), 400);
    assert_int_equal(call(r, TOKEN, 6, true), 400);
    assert_int_equal(told(r, "\"text\":\"budget: $"), times + 1);
}

static void says_what_is_left_out(void **state)
{
    struct rig *r = *state;
    begin(r, "ok", 900000000, 8);
    assert_int_equal(call(r, TOKEN, 1, false), 200);
    assert_false(told(r, "left out"));
    const char body[] = "{\"model\":\"m\",\"input\":\"x\",\"of_tomorrow\":1}";
    for (int i = 0; i < 2; i++) {
        char text[512];
        int fd = knock(r);
        int n = snprintf(
            text, sizeof text,
            "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " TOKEN
            "\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s",
            sizeof body - 1, body);
        assert_int_equal(send(fd, text, (size_t)n, MSG_NOSIGNAL), n);
        assert_int_equal(await(r, fd), 200);
        assert_null(strstr(r->provider.seen->last_body, "of_tomorrow"));
        assert_int_equal(told(r, "of_tomorrow"), 1);
    }
}

static void loops(void **state)
{
    struct rig *r = *state;
    begin(r, "429", 900000000, 3);
    for (int i = 1; i < 6; i++)
        assert_int_equal(call(r, TOKEN, 7, true), 429);
    assert_true(told(r, "loop: the same call 3 times in a row"));
    assert_int_equal(call(r, TOKEN, 7, true), 400);
    assert_non_null(strstr(r->answer, "the same call 6 times in a row"));
    assert_int_equal(call(r, TOKEN, 8, true), 400);
    /* other calls, but always the same answer */
    begin(r, "ok", 900000000, 3);
    for (int i = 1; i <= 6; i++)
        assert_int_equal(call(r, TOKEN, i, false), 200);
    assert_int_equal(call(r, TOKEN, 9, false), 400);
    assert_non_null(strstr(r->answer, "the same answer 6 times in a row"));
}

static void gone(void **state)
{
    struct rig *r = *state;
    begin(r, "hang", 900000000, 3);
    int fd = knock(r);
    char some[1];
    ask(fd, TOKEN, 1, true);
    while (recv(fd, some, 1, MSG_DONTWAIT) != 1)
        uv_run(&r->p->loop, UV_RUN_ONCE);
    assert_int_equal(sum(r).held_micros, reserve(true));
    close(fd);
    while (sum(r).held_micros > 0)
        uv_run(&r->p->loop, UV_RUN_ONCE);
    assert_int_equal(sum(r).spent_micros, reserve(true));
}

/* An agent hangs up as soon as it has the last event: what that said is what it costs. */
static void gone_after_the_end(void **state)
{
    struct rig *r = *state;
    char all[4096];
    size_t n = 0;
    begin(r, "stays", 900000000, 3);
    int fd = knock(r);
    ask(fd, TOKEN, 1, true);
    while (!memmem(all, n, "response.completed", 18)) {
        ssize_t some = recv(fd, all + n, sizeof all - n, MSG_DONTWAIT);
        n += some > 0 ? (size_t)some : 0;
        uv_run(&r->p->loop, UV_RUN_ONCE);
    }
    assert_int_equal(sum(r).held_micros, reserve(true));
    assert_in_range(r->p->attempts->buffered, strlen(PROVIDER_COMPLETED(PROVIDER_USAGE)), 65536);
    close(fd);
    while (sum(r).held_micros > 0)
        uv_run(&r->p->loop, UV_RUN_ONCE);
    assert_int_equal(sum(r).spent_micros, 110);
    assert_int_equal(r->p->buffered, 0);
}

static int call_with(struct rig *r, size_t pad)
{
    char *text = malloc(pad + 1024);
    assert_non_null(text);
    int fd = knock(r);
    int n = snprintf(
        text, 1024,
        "POST /v1/responses HTTP/1.1\r\nHost: 127.0.0.1:4100\r\nAuthorization: Bearer " TOKEN
        "\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n"
        "{\"model\":\"m\",\"input\":\"",
        pad + 24);
    memset(text + n, 'a', pad);
    memcpy(text + n + pad, "\"}", 2);
    for (size_t at = 0, len = (size_t)n + pad + 2; at < len;) {
        ssize_t some = send(fd, text + at, len - at, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (some < 0 && errno != EAGAIN)
            break; /* it was answered before its end */
        at += some > 0 ? (size_t)some : 0;
        uv_run(&r->p->loop, UV_RUN_NOWAIT);
    }
    free(text);
    return await(r, fd);
}

/* Somebody fills the memory: others are still served, if they ask for little. */
static void crowded(void **state)
{
    struct rig *r = *state;
    struct live_attempt *mine;
    struct err err;
    begin(r, "ok", 900000000, 8);
    r->p->buffered += PROCESS_BUFFERED_MAX;
    assert_int_equal(call(r, TOKEN, 1, false), 200);
    assert_int_equal(call_with(r, 5 << 20), 429);
    r->p->buffered -= PROCESS_BUFFERED_MAX;
    assert_int_equal(call_with(r, 5 << 20), 200);
    /* and nobody may fill it alone */
    assert_ok(attempts_get(r->p, r->attempt, &mine, &err));
    attempt_holds(r->p, mine, 0, PROCESS_BUFFERED_MAX / 2 - (1 << 20));
    assert_int_equal(call_with(r, 5 << 20), 429);
    assert_int_equal(call(r, TOKEN, 1, false), 200);
    attempt_holds(r->p, mine, PROCESS_BUFFERED_MAX / 2 - (1 << 20), 0);
    assert_int_equal(mine->buffered, 0);
    assert_int_equal(r->p->buffered, 0);
}

/* Jails that hang up at any moment, attempts that end under way, several requests on one connection. */
static void any_end(void **state)
{
    static const char *const hows[] = {"ok",  "stream",  "cut",   "hang", "rst", "mute",  "endcut",
                                       "429", "endless", "stays", "dead", "401", "noend", "noca"};
    enum { ROUNDS = 28, DOORS = 12 };
    struct rig *r = *state;
    int before = atomic_load(&r->provider.seen->requests);
    srand(7);
    for (int i = 0; i < ROUNDS; i++) {
        int fds[DOORS];
        begin(r, hows[i % (sizeof hows / sizeof *hows)], 900000000, 1000);
        for (int n = 0; n < DOORS; n++) {
            char body[512], text[2048];
            body_of(i * DOORS + n, rand() % 2, body, sizeof body);
            int len = snprintf(
                text, sizeof text,
                "POST /v1/responses HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer " TOKEN
                "\r\nContent-Length: %zu\r\n\r\n%s",
                strlen(body), body);
            fds[n] = knock(r);
            for (int times = rand() % 3; times >= 0; times--)
                (void)send(fds[n], text, times ? (size_t)len : (size_t)(rand() % (len + 1)),
                           MSG_NOSIGNAL);
            for (int turns = rand() % 4; turns > 0; turns--)
                uv_run(&r->p->loop, UV_RUN_NOWAIT);
        }
        for (int left = 30 + rand() % 100; left > 0; left--) {
            int *fd = &fds[rand() % DOORS];
            uv_run(&r->p->loop, UV_RUN_NOWAIT);
            if (left % 4 == 0)
                usleep(500);
            if (left % 8 == 0 && *fd >= 0) {
                close(*fd);
                *fd = -1;
            }
            if (left == 10 && i % 3 == 0)
                attempts_end(r->p, r->attempt);
        }
        for (int n = 0; n < DOORS; n++)
            if (fds[n] >= 0)
                close(fds[n]);
        attempts_end(r->p, r->attempt); /* of who sent the next request already no end is seen */
        while (r->p->waiting || r->p->nsyncs > 0)
            uv_run(&r->p->loop, UV_RUN_ONCE);
        assert_int_equal(r->p->buffered, 0);
        assert_int_equal(r->p->calls, 0);
        assert_int_equal(sum(r).held_micros, 0);
    }
    assert_true(atomic_load(&r->provider.seen->requests) > before + ROUNDS);
    assert_false(syncs.shared);
}

static void tokens(void **state)
{
    struct rig *r = *state;
    begin(r, "ok", 900000000, 3);
    int before = atomic_load(&r->provider.seen->requests);
    assert_int_equal(call(r, OTHER, 1, false), 401);
    assert_int_equal(call(r, "", 1, false), 401);
    assert_int_equal(sum(r).refused, 2);
    assert_true(told(r, "a call with a wrong token was refused"));
    assert_int_equal(atomic_load(&r->provider.seen->requests), before);
    assert_int_equal(call(r, TOKEN, 1, false), 200);
    int fd = knock(r);
    attempts_end(r->p, r->attempt);
    assert_int_equal(await(r, fd), 0); /* closed */
    int pair[2];
    struct err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_says(door_open(r->p, r->attempt, pair[1], &err), "over");
    close(pair[0]);
}

/* Killed with a call at the provider: its hold is on disk, and charged by the next process. */
static void killed(void **state)
{
    struct rig *r = *state, mine = *r;
    struct err err;
    struct ledger *l;
    struct ledger_sum s;
    int before = atomic_load(&r->provider.seen->requests);
    snprintf(mine.dir, sizeof mine.dir, "/tmp/creel-test-XXXXXX");
    assert_non_null(mkdtemp(mine.dir));
    mine.tasks = 0;
    write_books(&mine, r->provider.port);
    pid_t pid = fork();
    if (pid == 0) {
        process_begin(&mine);
        begin(&mine, "mute", 900000000, 8);
        call(&mine, TOKEN, 1, true);
        _exit(0);
    }
    while (atomic_load(&r->provider.seen->requests) == before)
        usleep(1000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    assert_ok(ledger_open(mine.dir, &l, &err));
    char task[ID_SIZE];
    snprintf(task, sizeof task, TASK);
    task[ID_SIZE - 2] = task[ID_SIZE - 3] = 'a';
    assert_ok(ledger_task_sum(l, task, &s, &err));
    assert_int_equal(s.spent_micros, reserve(true));
    assert_int_equal(s.held_micros, 0);
    ledger_close(l);
    fixture_remove(mine.dir);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    *state = r;
    signal(SIGPIPE, SIG_IGN);
    if (!r || sodium_init() < 0 || !(r->answer = malloc(ANSWER_ROOM)) ||
        provider_start(&r->provider) < 0)
        return -1;
    snprintf(r->dir, sizeof r->dir, "/tmp/creel-test-XXXXXX");
    if (!mkdtemp(r->dir))
        return -1;
    write_books(r, r->provider.port);
    process_begin(r);
    return 0;
}

static void on_walk(uv_handle_t *handle, void *arg)
{
    if (!uv_is_closing(handle))
        uv_close(handle, NULL);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    struct process *p = r->p;
    doors_close(p);
    attempts_free(p);
    secrets_close(p->secrets);
    http_client_close(p->http);
    uv_run(&p->loop, UV_RUN_NOWAIT);
    uv_walk(&p->loop, on_walk, NULL);
    uv_run(&p->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&p->loop);
    ledger_close(p->ledger);
    books_free(p->books);
    needles_free(p->needles);
    buf_done(&p->in);
    buf_done(&p->out);
    close(p->dirfd);
    close(r->engine);
    provider_stop(&r->provider);
    fixture_remove(r->dir);
    free(r->answer);
    free(p);
    free(r);
    return rc;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(a_key_that_was_changed),
        cmocka_unit_test(bad_providers),
        cmocka_unit_test(many_at_once),
        cmocka_unit_test(loops),
        cmocka_unit_test(budget_ends_it),
        cmocka_unit_test(gone),
        cmocka_unit_test(tokens),
        cmocka_unit_test(killed),
        cmocka_unit_test(gone_after_the_end),
        cmocka_unit_test(crowded),
        cmocka_unit_test(over_its_bound),
        cmocka_unit_test(ca_out_of_reach),
        cmocka_unit_test(any_end),
        cmocka_unit_test(says_what_is_left_out),
    };
    cmocka_set_test_filter(argc == 2 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, setup, teardown);
}
