/* The HTTP server that jails speak with: requests in any pieces, one after the other and several at once,
 * bodies of both framings, answers held back, connections that end at any point; and for each request that
 * was begun exactly one end. */
#include "controller/broker/door.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/sha256.h"
#include "controller/broker/attempts.h"
#include "controller/broker/door_internal.h"
#include "tests/unit/cm.h"
#include "tests/unit/fixture.h"

#define TASK    "01hzzzzzzzzzzzzzzzzzzzzzzz"
#define ATTEMPT TASK ".1"
#define TOKEN   "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
#define AUTH    "Host: 127.0.0.1:4100\r\nAuthorization: Bearer " TOKEN "\r\n"
/* "git:" and the token, as Basic */
#define ROOM (64u << 20)

struct serving {
    struct request *rq;
    char path[64];
    struct buf body;
    uint64_t left; /* of /flood */
    bool ended;
};

struct rig {
    char dir[64];
    struct process *p;
    struct live_attempt *live;
    char *answer;
    size_t n;
};

/* One process, one test at a time. */
static struct {
    int begun, done, gone;
    size_t most; /* bytes that a flood put in before it was held back */
} seen;

static void flood(struct serving *s)
{
    static char some[10000];
    memset(some, 'f', sizeof some);
    while (s->left > 0) {
        size_t n = s->left < sizeof some ? (size_t)s->left : sizeof some;
        s->left -= n;
        if (!request_write(s->rq, some, n) && s->left > 0)
            return;
    }
    request_end(s->rq);
}

/* /early answers without the body, /refuse in its middle, /flood with 20 MB, /abort breaks off, /hang never,
 * others echo. */
static void *on_begin(struct request *rq, const struct http_head *h)
{
    if (h->target.n == 6 && memcmp(h->target.p, "/early", 6) == 0) {
        request_reply(rq, 400, "text/plain", "early", 5);
        return NULL;
    }
    struct serving *s = calloc(1, sizeof *s);
    s->rq = rq;
    snprintf(s->path, sizeof s->path, "%.*s", (int)h->target.n, h->target.p);
    buf_init(&s->body, 32 << 20);
    seen.begun++;
    return s;
}

static bool on_body(void *state, const void *bytes, size_t n)
{
    struct serving *s = state;
    assert_false(s->ended);
    if (strcmp(s->path, "/refuse") == 0) {
        request_reply(s->rq, 400, "text/plain", "refused", 7);
        return false;
    }
    return buf_add(&s->body, bytes, n) == 0;
}

static void on_body_end(void *state)
{
    struct serving *s = state;
    s->ended = true;
    if (strcmp(s->path, "/hang") == 0)
        return;
    if (strcmp(s->path, "/flood") == 0) {
        s->left = 20 << 20;
        request_head(s->rq, 200, NULL, -1);
        flood(s);
        seen.most = (20 << 20) - s->left;
        return;
    }
    if (strcmp(s->path, "/abort") == 0) {
        request_head(s->rq, 200, NULL, -1);
        request_write(s->rq, "half", 4);
        request_abort(s->rq);
        return;
    }
    request_reply(s->rq, 200, "text/plain", s->body.data, s->body.len);
}

static void on_writable(void *state)
{
    flood(state);
}

static void on_done(void *state, bool gone)
{
    struct serving *s = state;
    seen.done++;
    seen.gone += gone;
    buf_done(&s->body);
    free(s);
}

static const struct service echo = {on_begin, on_body, on_body_end, on_writable, on_done};

static const struct service *route(const struct http_head *head)
{
    return head->target.n == 5 && memcmp(head->target.p, "/none", 5) == 0 ? NULL : &echo;
}

static int knock(struct rig *r)
{
    int pair[2];
    struct err err;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_ok(door_open(r->p, ATTEMPT, pair[1], &err));
    return pair[0];
}

static void turn(struct rig *r)
{
    uv_run(&r->p->loop, UV_RUN_NOWAIT);
}

static void put(struct rig *r, int fd, const char *bytes, size_t n)
{
    while (n > 0) {
        ssize_t some = send(fd, bytes, n, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (some < 0 && errno != EAGAIN)
            return; /* it was closed: the answer says why */
        bytes += some > 0 ? some : 0;
        n -= some > 0 ? (size_t)some : 0;
        turn(r);
    }
}

static void puts_to(struct rig *r, int fd, const char *text)
{
    put(r, fd, text, strlen(text));
}

/* What comes until `words` stand at its end, or the connection's (words NULL). */
static const char *hear(struct rig *r, int fd, const char *words)
{
    r->n = 0;
    for (;;) {
        ssize_t some = recv(fd, r->answer + r->n, ROOM - 1 - r->n, MSG_DONTWAIT);
        r->n += some > 0 ? (size_t)some : 0;
        r->answer[r->n] = 0;
        if (some == 0 || (some < 0 && errno != EAGAIN))
            break;
        size_t want = words ? strlen(words) : 0;
        if (words && r->n >= want && memcmp(r->answer + r->n - want, words, want) == 0)
            return r->answer;
        if (some < 0)
            uv_run(&r->p->loop, UV_RUN_ONCE);
    }
    if (words)
        fail_msg("the door closed after: %.400s", r->answer);
    return r->answer;
}

static void expect(struct rig *r, int fd, const char *request, const char *words)
{
    puts_to(r, fd, request);
    hear(r, fd, words);
}

static void leave(struct rig *r, int fd)
{
    close(fd);
    while (r->p->doors)
        uv_run(&r->p->loop, UV_RUN_ONCE);
    assert_int_equal(seen.begun, seen.done);
    assert_int_equal(r->p->buffered, 0);
    assert_int_equal(r->live->doors, 0);
}

static void kept_alive(void **state)
{
    struct rig *r = *state;
    int fd = knock(r);
    expect(r, fd, "POST /a HTTP/1.1\r\n" AUTH "Content-Length: 5\r\n\r\nhello", "\r\n\r\nhello");
    assert_non_null(strstr(r->answer, "HTTP/1.1 200 OK\r\n"));
    expect(r, fd, "GET /b HTTP/1.1\r\n" AUTH "\r\n", "content-length: 0\r\n\r\n");
    expect(r, fd, "HEAD /b HTTP/1.1\r\n" AUTH "\r\n", "content-length: 0\r\n\r\n");
    expect(r, fd, "GET /none HTTP/1.1\r\n" AUTH "\r\n", "path\"}}\n");
    assert_non_null(strstr(r->answer, "HTTP/1.1 404 "));
    expect(r, fd,
           "POST /c HTTP/1.1\r\n" AUTH
           "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
           "\r\n\r\nabcde");
    expect(r, fd, "POST /d HTTP/1.1\r\n" AUTH "Connection: close\r\nContent-Length: 1\r\n\r\nx",
           NULL);
    assert_non_null(strstr(r->answer, "connection: close\r\n"));
    leave(r, fd);
}

static void in_any_pieces(void **state)
{
    static const char text[] =
        "POST /a HTTP/1.1\r\n" AUTH "Content-Length: 5\r\n\r\nhello"
        "POST /b HTTP/1.1\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\n5\r\nworld\r\n0\r\n\r\n"
        "POST /early HTTP/1.1\r\n" AUTH "Content-Length: 4\r\n\r\nskip"
        "POST /refuse HTTP/1.1\r\n" AUTH
        "Transfer-Encoding: chunked\r\n\r\n4\r\nskip\r\n1\r\n!\r\n0\r\n\r\n"
        "POST /c HTTP/1.1\r\n" AUTH "Connection: close\r\nContent-Length: 3\r\n\r\nend";
    static const size_t steps[] = {1, 2, 3, 7, 50, 200, sizeof text - 1};
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        int fd = knock(r);
        for (size_t at = 0; at < sizeof text - 1; at += steps[i])
            put(r, fd, text + at,
                steps[i] < sizeof text - 1 - at ? steps[i] : sizeof text - 1 - at);
        const char *at = hear(r, fd, NULL);
        static const char *const order[] = {"\r\n\r\nhello", "\r\n\r\nworld", "\r\n\r\nearly",
                                            "\r\n\r\nrefused", "\r\n\r\nend"};
        for (size_t j = 0; j < sizeof order / sizeof *order; j++)
            if (!(at = strstr(at, order[j])))
                fail_msg("pieces of %zu: no %s in %.2000s", steps[i], order[j], r->answer);
        leave(r, fd);
    }
}

static void continued(void **state)
{
    struct rig *r = *state;
    int fd = knock(r);
    expect(r, fd, "POST /a HTTP/1.1\r\n" AUTH "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
           "HTTP/1.1 100 Continue\r\n\r\n");
    expect(r, fd, "hello", "\r\n\r\nhello");
    /* refused at once: the body may never come, so the connection ends */
    expect(r, fd,
           "POST /early HTTP/1.1\r\n" AUTH "Expect: 100-continue\r\nContent-Length: 5\r\n\r\n",
           NULL);
    assert_non_null(strstr(r->answer, "400 "));
    assert_null(strstr(r->answer, "100 Continue"));
    leave(r, fd);
}

static void strangers(void **state)
{
    static const struct {
        const char *lines;
        bool in;
    } rows[] = {
        {"Authorization: Bearer " TOKEN "\r\n", true},
        {"authorization: bearer " TOKEN "\r\n", true},
        {"x-api-key: " TOKEN "\r\n", true},
        {"Authorization: Basic "
         "Z2l0OjAwMTEyMjMzNDQ1NTY2Nzc4ODk5YWFiYmNjZGRlZWZmMDAxMTIyMzM0NDU1NjY3Nzg4OTlhYWJiY2NkZGVlZ"
         "mY="
         "\r\n",
         true},
        {"", false},
        {"Authorization: Bearer \r\n", false},
        {"Authorization: " TOKEN "\r\n", false},
        {"Authorization: Bearer " TOKEN "0\r\n", false},
        {"Authorization: Bearer x" TOKEN "\r\n", false},
        {"Authorization: Bearer "
         "10112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\r\n",
         false},
        {"Authorization: Basic Z2l0OnNlY3JldA==\r\n", false},
        {"Authorization: Basic !!!\r\n", false},
        {"Cookie: " TOKEN "\r\n", false},
    };
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        int fd = knock(r);
        snprintf(text, sizeof text,
                 "GET /a HTTP/1.1\r\nHost: localhost\r\n%sConnection: close\r\n\r\n",
                 rows[i].lines);
        expect(r, fd, text, NULL);
        bool in = strncmp(r->answer, "HTTP/1.1 200", 12) == 0;
        if (in != rows[i].in || (!in && strncmp(r->answer, "HTTP/1.1 401", 12) != 0))
            fail_msg("%s: %.200s", rows[i].lines, r->answer);
        leave(r, fd);
    }
    r->live->a.exp = clock_wall_s(); /* its time is over */
    int fd = knock(r);
    expect(r, fd, "GET /a HTTP/1.1\r\n" AUTH "Connection: close\r\n\r\n", NULL);
    assert_non_null(strstr(r->answer, " 401 "));
    r->live->a.exp += 3600;
    leave(r, fd);
}

static void malformed(void **state)
{
    static const char *const rows[] = {
        "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n",
        "CONNECT api.openai.com:443 HTTP/1.1\r\nHost: api.openai.com:443\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "POST / HTTP/1.1\r\n" AUTH "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\n" AUTH "Transfer-Encoding: gzip\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    };
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = knock(r);
        expect(r, fd, rows[i], NULL);
        if (strncmp(r->answer, "HTTP/1.1 400", 12) != 0)
            fail_msg("%s: %.200s", rows[i], r->answer);
        leave(r, fd);
    }
    int fd = knock(r); /* a body whose end nobody knows */
    expect(r, fd, "POST / HTTP/1.1\r\n" AUTH "Transfer-Encoding: chunked\r\n\r\nzz\r\n", NULL);
    leave(r, fd);
}

/* Jails that fill all they can, one after the other: the next one still has room for a call. */
static void no_attempt_takes_all_room(void **state)
{
    static struct process p;
    struct live_attempt jail[12] = {0};
    const size_t step = 1 << 20;
    (void)state;
    for (size_t i = 0; i < 12; i++) {
        while (attempt_room(&p, &jail[i], step, 0))
            attempt_holds(&p, &jail[i], 0, step);
        assert_in_range(jail[i].buffered, i < 4 ? 15 << 20 : ATTEMPT_ROOM_MIN, 128 << 20);
    }
    assert_false(attempt_room(&p, &jail[0], 1, 0));
    assert_false(attempt_room(&p, &jail[11], 1, 0));
    assert_true(attempt_room(&p, &jail[11], 1, ANSWERS_SPARE));
    for (size_t i = 0; i < 12; i++)
        attempt_holds(&p, &jail[i], jail[i].buffered, 0);
    assert_int_equal(p.buffered, 0);
    assert_true(attempt_room(&p, &jail[0], 128 << 20, 0));
    assert_false(attempt_room(&p, &jail[0], SIZE_MAX, ANSWERS_SPARE));
}

static void held_back(void **state)
{
    struct rig *r = *state;
    int fd = knock(r);
    puts_to(r, fd, "GET /flood HTTP/1.1\r\n" AUTH "Connection: close\r\n\r\n");
    for (int i = 0; i < 100; i++)
        turn(r);
    assert_in_range(seen.most, 200000, 1 << 20);
    assert_true(r->p->buffered < 2 << 20);
    hear(r, fd, NULL);
    size_t f = 0;
    for (size_t i = 0; i < r->n; i++)
        f += r->answer[i] == 'f';
    assert_int_equal(f, (20 << 20) + 2 /* "transfer", and a chunk of 5f0 */);
    assert_string_equal(r->answer + r->n - 7, "\r\n0\r\n\r\n");
    leave(r, fd);
}

static void broken_off(void **state)
{
    struct rig *r = *state;
    int fd = knock(r);
    expect(r, fd, "GET /abort HTTP/1.1\r\n" AUTH "\r\n", NULL);
    assert_non_null(strstr(r->answer, "4\r\nhalf\r\n"));
    assert_null(strstr(r->answer, "0\r\n\r\n"));
    leave(r, fd);
}

/* The jail's end goes away: in the head, in the body, while it waits, under a flood. */
static void gone(void **state)
{
    static const char *const rows[] = {
        "GET / HT", "POST /a HTTP/1.1\r\n" AUTH "Content-Length: 5\r\n\r\nhe",
        "GET /hang HTTP/1.1\r\n" AUTH "\r\n", "GET /flood HTTP/1.1\r\n" AUTH "\r\n",
        "GET /hang HTTP/1.1\r\n" AUTH "\r\nGET /a HTTP/1.1\r\n" AUTH "\r\n"};
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int fd = knock(r), before = seen.gone;
        puts_to(r, fd, rows[i]);
        turn(r);
        if (i == 4) { /* with more to come it is not read: the attempt's end closes it */
            doors_end(r->p, ATTEMPT);
            assert_null(r->p->doors);
        }
        leave(r, fd);
        assert_int_equal(seen.gone, before + (i > 0));
    }
}

static void many_doors(void **state)
{
    struct rig *r = *state;
    int fds[320], pair[2];
    struct err err;
    for (int i = 0; i < 320; i++)
        fds[i] = knock(r);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    assert_says(door_open(r->p, ATTEMPT, pair[1], &err), "too many");
    close(pair[0]);
    for (int i = 1; i < 320; i++)
        close(fds[i]);
    leave(r, fds[0]);
    assert_says(door_open(r->p, TASK ".2", open("/dev/null", O_RDWR | O_CLOEXEC), &err),
                "no attempt");
    assert_says(door_open(r->p, ATTEMPT, open("/etc/passwd", O_RDONLY | O_CLOEXEC), &err),
                "no stream socket");
    turn(r);
}

static void large_body(void **state)
{
    struct rig *r = *state;
    size_t n = 8 << 20;
    char head[512], *body = malloc(n);
    memset(body, 'b', n);
    int fd = knock(r);
    snprintf(head, sizeof head,
             "POST /a HTTP/1.1\r\n" AUTH "Connection: close\r\nContent-Length: %zu\r\n\r\n", n);
    puts_to(r, fd, head);
    put(r, fd, body, n);
    hear(r, fd, NULL);
    assert_true(r->n > n);
    assert_memory_equal(r->answer + r->n - n, body, n);
    free(body);
    leave(r, fd);
}

/* Before the descriptors are all gone, doors are refused. */
static void few_files(void **state)
{
    struct rig *r = *state;
    struct rlimit usual, few = {.rlim_cur = 300};
    int ends[200], n = 0;
    struct err err = ERR_INIT;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &usual), 0);
    few.rlim_max = usual.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &few), 0);
    while (n < 200) {
        int pair[2];
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        ends[n++] = pair[0];
        if (door_open(r->p, ATTEMPT, pair[1], &err) < 0)
            break;
    }
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &usual), 0);
    assert_in_range(n, 10, 100);
    assert_non_null(strstr(err.msg, "too many connections"));
    for (int i = 0; i < n; i++)
        close(ends[i]);
    while (r->p->doors)
        turn(r);
}

/* A piece of a head that is kept counts as well. */
static void what_is_kept_counts(void **state)
{
    static char text[20000] = "GET /a HTTP/1.1\r\nX: ";
    struct rig *r = *state;
    memset(text + strlen(text), 'x', sizeof text - 1 - strlen(text));
    int fd = knock(r);
    puts_to(r, fd, text);
    assert_in_range(r->p->attempts->buffered, strlen(text) / 4, DOOR_KEPT_MAX);
    assert_int_equal(r->p->buffered, r->p->attempts->buffered);
    close(fd);
    turn(r);
    assert_null(r->p->doors);
    assert_int_equal(r->p->buffered, 0);
}

/* Bytes keep coming, but the body does not end. */
static void endless_body(void **state)
{
    struct rig *r = *state;
    int fd = knock(r);
    puts_to(r, fd, "POST /a HTTP/1.1\r\n" AUTH "Content-Length: 1000\r\n\r\nx");
    doors_tick(r->p);
    assert_non_null(r->p->doors);
    r->p->doors->begun_ms -= 3600001;
    puts_to(r, fd, "y");
    doors_tick(r->p);
    assert_null(r->p->doors);
    close(fd);
    turn(r);
}

static void on_turn(uv_prepare_t *h)
{
    doors_turn(h->data);
}

static void on_turn_after(uv_check_t *h)
{
    doors_turn(h->data);
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct err err;
    struct ledger_attempt a = {.task = TASK, .attempt = ATTEMPT, .exp = clock_wall_s() + 3600};
    *state = r;
    signal(SIGPIPE, SIG_IGN);
    if (!r || sodium_init() < 0 || !(r->p = calloc(1, sizeof *r->p)) ||
        !(r->answer = malloc(ROOM)) || uv_loop_init(&r->p->loop) < 0)
        return -1;
    snprintf(r->dir, sizeof r->dir, "/tmp/creel-test-XXXXXX");
    snprintf(a.branch, sizeof a.branch, "creel/" TASK);
    sha256_of(TOKEN, strlen(TOKEN), a.token_sha256);
    buf_init(&r->p->out, 1 << 20);
    r->p->route = route;
    uv_prepare_init(&r->p->loop, &r->p->before);
    uv_check_init(&r->p->loop, &r->p->after);
    r->p->before.data = r->p->after.data = r->p;
    uv_prepare_start(&r->p->before, on_turn);
    uv_check_start(&r->p->after, on_turn_after);
    if (!mkdtemp(r->dir) || ledger_open(r->dir, &r->p->ledger, &err) < 0 ||
        ledger_begin(r->p->ledger, &a, &err) < 0)
        return -1;
    return attempts_get(r->p, ATTEMPT, &r->live, &err);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    doors_close(r->p);
    attempts_free(r->p);
    uv_close((uv_handle_t *)&r->p->before, NULL);
    uv_close((uv_handle_t *)&r->p->after, NULL);
    uv_run(&r->p->loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(&r->p->loop);
    ledger_close(r->p->ledger);
    fixture_remove(r->dir);
    buf_done(&r->p->out);
    free(r->p);
    free(r->answer);
    free(r);
    return rc;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_alive),   cmocka_unit_test(in_any_pieces),
        cmocka_unit_test(continued),    cmocka_unit_test(strangers),
        cmocka_unit_test(malformed),    cmocka_unit_test(no_attempt_takes_all_room),
        cmocka_unit_test(held_back),    cmocka_unit_test(broken_off),
        cmocka_unit_test(gone),         cmocka_unit_test(many_doors),
        cmocka_unit_test(large_body),   cmocka_unit_test(few_files),
        cmocka_unit_test(endless_body), cmocka_unit_test(what_is_kept_counts),
    };
    cmocka_set_test_filter(argc == 2 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, setup, teardown);
}
