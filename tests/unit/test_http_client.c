/* The HTTPS client against a provider that plays well and badly: what reached the owner, what was sent,
 * what was held back, and that nothing is sent twice. */
#include "controller/broker/http_client.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/cm.h"
#include "tests/unit/provider_fixture.h"

struct rig {
    uv_loop_t loop;
    struct http_client *c;
    struct provider_fixture provider;
};

struct probe {
    struct rig *rig;
    struct http_exchange *x;
    int status, heads, ends;
    bool sent, full, cancel_in_data, cancel_in_head, slow;
    size_t bytes, most; /* most: accept this many, then refuse once */
    struct buf body, headers;
    struct err err;
    uv_timer_t timer;
};

static void on_head(void *arg, int status, const struct strv *headers)
{
    struct probe *p = arg;
    p->heads++;
    p->status = status;
    for (size_t i = 0; i < headers->n; i++)
        buf_addf(&p->headers, "%s\n", headers->v[i]);
    if (p->cancel_in_head) {
        http_cancel(p->x);
        p->x = NULL;
    }
}

static void on_resume(uv_timer_t *timer)
{
    struct probe *p = timer->data;
    p->full = false;
    if (p->x)
        http_resume(p->x);
}

static bool on_data(void *arg, const void *bytes, size_t n)
{
    struct probe *p = arg;
    if (p->cancel_in_data) {
        http_cancel(p->x);
        p->x = NULL;
        return true;
    }
    if (p->full)
        return false;
    p->bytes += n;
    buf_add(&p->body, bytes, n < p->body.max - p->body.len ? n : p->body.max - p->body.len);
    if (p->slow) {
        p->full = true;
        uv_timer_start(&p->timer, on_resume, 1, 0);
    }
    return true;
}

static void on_end(void *arg, bool sent, const struct err *err)
{
    struct probe *p = arg;
    p->ends++;
    p->x = NULL;
    p->sent = sent;
    p->err = err ? *err : ERR_INIT;
}

static const struct http_callbacks callbacks = {on_head, on_data, on_end};

static void probe_init(struct rig *r, struct probe *p)
{
    *p = (struct probe){.rig = r};
    buf_init(&p->body, 1 << 20);
    buf_init(&p->headers, 1 << 20);
    uv_timer_init(&r->loop, &p->timer);
    p->timer.data = p;
}

static void probe_done(struct probe *p)
{
    uv_close((uv_handle_t *)&p->timer, NULL);
    uv_run(&p->rig->loop, UV_RUN_NOWAIT);
    buf_done(&p->body);
    buf_done(&p->headers);
}

static void send_to(struct probe *p, const char *url, const void *body, size_t len)
{
    static char key[] = "authorization: Bearer real-key-0123456789",
                type[] = "content-type: application/json";
    char *lines[] = {key, type, NULL};
    struct strv headers = {2, lines};
    struct err err;
    struct http_ask ask = {.method = "POST",
                           .url = url,
                           .headers = &headers,
                           .body = body,
                           .len = len,
                           .connect_ms = 2000,
                           .first_byte_ms = 400,
                           .idle_ms = 400,
                           .total_ms = 20000};
    assert_ok(http_send(p->rig->c, &ask, &callbacks, p, &p->x, &err));
}

static void ask(struct probe *p, const char *how, const void *body, size_t len)
{
    char url[128];
    snprintf(url, sizeof url, "http://127.0.0.1:%d/%s/v1", p->rig->provider.port, how);
    send_to(p, url, body, len);
}

static void await(struct probe *p)
{
    while (p->ends == 0)
        uv_run(&p->rig->loop, UV_RUN_ONCE);
    assert_int_equal(p->ends, 1);
}

static void whole_answers(void **state)
{
    struct rig *r = *state;
    struct probe p;
    struct provider_counts *seen = r->provider.seen;
    int before = atomic_load(&seen->connections);
    for (int i = 0; i < 3; i++) {
        probe_init(r, &p);
        ask(&p, "ok", "{\"a\":1}", 7);
        await(&p);
        assert_int_equal(p.err.code, 0);
        assert_true(p.sent);
        assert_int_equal(p.status, 200);
        assert_int_equal(p.heads, 1);
        assert_non_null(strstr(buf_str(&p.headers), "content-type: application/json\n"));
        assert_non_null(strstr(buf_str(&p.body), "\"input_tokens\":100"));
        assert_string_equal(seen->last_body, "{\"a\":1}");
        probe_done(&p);
    }
    assert_int_equal(atomic_load(&seen->connections), before + 1); /* kept and used again */
    assert_int_equal(atomic_load(&seen->wrong_key), 0);
    assert_int_equal(atomic_load(&seen->task_headers), 0);
}

static void large_body(void **state)
{
    struct rig *r = *state;
    struct probe p;
    size_t n = 8 << 20;
    char *body = malloc(n);
    assert_non_null(body);
    memset(body, 'x', n);
    probe_init(r, &p);
    ask(&p, "ok", body, n);
    await(&p);
    assert_int_equal(p.status, 200);
    probe_done(&p);
    free(body);
}

static void failures(void **state)
{
    static const struct {
        const char *how, *words;
        int status;
        size_t bytes; /* at least */
    } rows[] = {
        {"cut", "", 200, 10},
        {"hang", "no more of the answer came", 200, 10},
        {"mute", "no answer came", 0, 0},
        {"rst", "", 0, 0},
        {"noise", "", 0, 0},
        {"headers", "headers are too many", 0, 0},
        {"giant", "too long", 200, 1 << 20},
    };
    struct rig *r = *state;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        struct probe p;
        int before = atomic_load(&r->provider.seen->requests);
        probe_init(r, &p);
        ask(&p, rows[i].how, "{}", 2);
        await(&p);
        if (p.err.code != ERR_FAIL || !strstr(p.err.msg, rows[i].words))
            fail_msg("%s: %d \"%s\"", rows[i].how, p.err.code, p.err.msg);
        assert_true(p.sent);
        assert_int_equal(p.status, rows[i].status);
        assert_true(p.bytes >= rows[i].bytes && p.bytes <= 64 << 20);
        assert_int_equal(atomic_load(&r->provider.seen->requests), before + 1);
        probe_done(&p);
    }
}

/* Certain that nothing left. */
static void unsent(void **state)
{
    struct rig *r = *state;
    struct probe p;
    char url[128];
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0); /* bound, but nobody listens */
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    probe_init(r, &p);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/ok", ntohs(a.sin_port));
    send_to(&p, url, "{}", 2);
    await(&p);
    assert_int_equal(p.err.code, ERR_FAIL);
    assert_false(p.sent);
    probe_done(&p);
    close(fd);
    /* TLS towards somebody who speaks none */
    int before = atomic_load(&r->provider.seen->requests);
    probe_init(r, &p);
    snprintf(url, sizeof url, "https://127.0.0.1:%d/ok", r->provider.port);
    send_to(&p, url, "{}", 2);
    await(&p);
    assert_int_equal(p.err.code, ERR_FAIL);
    assert_false(p.sent);
    assert_int_equal(atomic_load(&r->provider.seen->requests), before);
    probe_done(&p);
}

static void refused_addresses(void **state)
{
    static const char *const urls[] = {
        "http://example.com/",
        "http://127.0.0.1.example.com/",
        "http://localhost.example.com:80/",
        "ftp://127.0.0.1/",
        "file:///etc/passwd",
        "http://127.0.0.1@example.com/",
        "http://10.0.0.1/",
        "HTTP://example.com",
        "",
    };
    struct rig *r = *state;
    struct http_exchange *x;
    struct err err;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        struct http_ask ask = {.method = "GET", .url = urls[i]};
        assert_says(http_send(r->c, &ask, &callbacks, NULL, &x, &err), "only https");
    }
}

static void no_redirect(void **state)
{
    struct rig *r = *state;
    struct probe p;
    int before = atomic_load(&r->provider.seen->requests);
    probe_init(r, &p);
    ask(&p, "302", "{}", 2);
    await(&p);
    assert_int_equal(p.err.code, 0);
    assert_int_equal(p.status, 302);
    assert_int_equal(atomic_load(&r->provider.seen->requests), before + 1);
    probe_done(&p);
}

/* On a connection kept from before, libcurl would take silence for a connection that had died, and send the
 * request again: what the provider may have been paid for twice. */
static void never_twice(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 2; i++) {
        struct probe p;
        probe_init(r, &p);
        ask(&p, "ok", "{}", 2);
        await(&p);
        assert_int_equal(p.err.code, 0);
        probe_done(&p);
        int before = atomic_load(&r->provider.seen->requests);
        probe_init(r, &p);
        ask(&p, "rst", "{}", 2);
        await(&p);
        assert_int_equal(p.err.code, ERR_FAIL);
        assert_true(p.sent);
        assert_int_equal(atomic_load(&r->provider.seen->requests), before + 1);
        probe_done(&p);
    }
}

/* An owner that takes little holds the provider back, and loses nothing. */
static void held_back(void **state)
{
    struct rig *r = *state;
    struct probe p;
    probe_init(r, &p);
    p.slow = true;
    ask(&p, "stream", "{}", 2);
    await(&p);
    assert_int_equal(p.err.code, 0);
    assert_string_equal(buf_str(&p.body),
                        PROVIDER_CREATED PROVIDER_DELTA PROVIDER_COMPLETED(PROVIDER_USAGE));
    probe_done(&p);
    probe_init(r, &p);
    p.slow = true;
    ask(&p, "endless", "{}", 2);
    for (int i = 0; i < 400 && p.ends == 0; i++)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(p.ends, 0);
    assert_true(p.bytes < 32 << 20);
    http_cancel(p.x);
    probe_done(&p);
}

static void cancelled(void **state)
{
    struct rig *r = *state;
    for (int i = 0; i < 3; i++) {
        struct probe p, other;
        probe_init(r, &p);
        probe_init(r, &other);
        p.cancel_in_data = i == 0;
        p.cancel_in_head = i == 1;
        ask(&p, "endless", "{}", 2);
        if (i == 2) {
            http_cancel(p.x);
            p.x = NULL;
        }
        ask(&other, "ok", "{}", 2);
        await(&other);
        while (p.x)
            uv_run(&r->loop, UV_RUN_ONCE);
        assert_int_equal(p.ends, 0);
        assert_int_equal(other.err.code, 0);
        probe_done(&p);
        probe_done(&other);
    }
}

static void many_at_once(void **state)
{
    struct rig *r = *state;
    static struct probe p[64];
    for (int i = 0; i < 64; i++) {
        probe_init(r, &p[i]);
        ask(&p[i], i % 2 ? "ok" : "stream", "{}", 2);
    }
    for (int i = 0; i < 64; i++) {
        await(&p[i]);
        assert_int_equal(p[i].err.code, 0);
        probe_done(&p[i]);
    }
}

static void closed_under_way(void **state)
{
    struct rig *r = *state;
    struct probe p;
    struct err err;
    probe_init(r, &p);
    ask(&p, "hang", "{}", 2);
    while (p.heads == 0)
        uv_run(&r->loop, UV_RUN_ONCE);
    http_client_close(r->c);
    probe_done(&p);
    assert_int_equal(p.ends, 0);
    assert_ok(http_client_new(&r->loop, &r->c, &err));
}

static int setup(void **state)
{
    struct rig *r = calloc(1, sizeof *r);
    struct err err;
    *state = r;
    signal(SIGPIPE, SIG_IGN);
    if (!r || provider_start(&r->provider) < 0 || uv_loop_init(&r->loop) < 0)
        return -1;
    return http_client_new(&r->loop, &r->c, &err);
}

static int teardown(void **state)
{
    struct rig *r = *state;
    http_client_close(r->c);
    uv_run(&r->loop, UV_RUN_DEFAULT);
    provider_stop(&r->provider);
    int rc = uv_loop_close(&r->loop);
    free(r);
    return rc;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_answers),     cmocka_unit_test(large_body),
        cmocka_unit_test(failures),          cmocka_unit_test(unsent),
        cmocka_unit_test(refused_addresses), cmocka_unit_test(no_redirect),
        cmocka_unit_test(never_twice),       cmocka_unit_test(held_back),
        cmocka_unit_test(cancelled),         cmocka_unit_test(many_at_once),
        cmocka_unit_test(closed_under_way),
    };
    cmocka_set_test_filter(argc == 2 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, setup, teardown);
}
