/* controller/host.c against a real sshd on loopback, whose forced command is this same program. */
#include "controller/host_internal.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "common/clock.h"
#include "tests/unit/host_peer.h"
#include "tests/unit/sshd_fixture.h"

#define ATTEMPT "01hzzzzzzzzzzzzzzzzzzzzzzz.1"

struct rig {
    struct sshd ssh, few; /* few: MaxSessions 3, the same keys */
    uv_loop_t loop;
    struct host_link *h;
    int ready, gone, messages;
    struct err why;
    char key_line[KEY_LINE_MAX];
    bool close_in_callback;
    struct msg last;
};

static const char *const modes[] = {"good",    "down",   "silent",   "huge",  "babble",
                                    "illegal", "twice",  "mute",     "old",   "badjson",
                                    "cut",     "refuse", "stranger", "flood", NULL};

static void on_ready(void *arg, const struct msg_welcome *w, const char *line)
{
    struct rig *r = arg;
    r->ready++;
    uv_stop(&r->loop); /* UV_RUN_ONCE must not go on to wait */
    assert_int_equal(w->slots, 1);
    snprintf(r->key_line, sizeof r->key_line, "%s", line);
    if (r->close_in_callback) {
        host_close(r->h);
        r->h = NULL;
    }
}

static void on_message(void *arg, const struct msg *m)
{
    struct rig *r = arg;
    r->messages++;
    uv_stop(&r->loop);
    r->last = *m;
}

static void on_gone(void *arg, const struct err *err)
{
    struct rig *r = arg;
    r->gone++;
    uv_stop(&r->loop);
    r->why = *err;
    host_close(r->h);
    r->h = NULL;
}

static const struct host_callbacks callbacks = {on_ready, on_message, on_gone};

static void target_of(const struct rig *r, const char *mode, struct host_target *t)
{
    memset(t, 0, sizeof *t);
    snprintf(t->name, sizeof t->name, "box");
    snprintf(t->user, sizeof t->user, "%s", r->ssh.user);
    snprintf(t->addr, sizeof t->addr, "127.0.0.1");
    t->port = r->ssh.port;
    snprintf(t->ssh_key, sizeof t->ssh_key, "%s/id_%s", r->ssh.dir, mode);
}

static void pin(const struct rig *r, const char *kind, struct host_target *t)
{
    struct buf line;
    struct ssh_pub pub;
    struct err err = ERR_INIT;
    char name[64];
    buf_init(&line, KEY_LINE_MAX);
    snprintf(name, sizeof name, "host_%s.pub", kind);
    fixture_text(r->ssh.dir, name, &line);
    line.data[line.len - 1] = 0; /* the newline */
    assert_int_equal(ssh_pub_parse(buf_str(&line), &pub, &err), 0);
    ssh_pub_fingerprint(&pub, t->host_key_fpr);
    buf_done(&line);
}

static void start(struct rig *r, const struct host_target *t)
{
    struct err err = ERR_INIT;
    alarm(60); /* whoever waits for what never comes fails */
    r->ready = r->gone = r->messages = 0;
    r->close_in_callback = false;
    memset(&r->why, 0, sizeof r->why);
    assert_int_equal(host_open(&r->loop, t, &callbacks, r, &r->h, &err), 0);
    assert_int_equal(r->ready + r->gone, 0);
}

static void start_mode(struct rig *r, const char *mode)
{
    struct host_target t;
    target_of(r, mode, &t);
    pin(r, "ed25519", &t);
    start(r, &t);
}

static void stop(struct rig *r)
{
    host_close(r->h);
    r->h = NULL;
    alarm(60);
    uv_run(&r->loop, UV_RUN_DEFAULT); /* ends only when every handle is closed */
    assert_int_equal(uv_loop_alive(&r->loop), 0);
}

static void until(struct rig *r, const int *what, int n)
{
    while (*what < n && !r->gone)
        uv_run(&r->loop, UV_RUN_ONCE);
}

static void until_gone(struct rig *r)
{
    while (!r->gone)
        uv_run(&r->loop, UV_RUN_ONCE);
    stop(r);
}

static const struct host_times short_times = {4000, 4000, 4000, 1000, 100, 350};

static void expect_gone(struct rig *r, const char *mode, enum err_code code, const char *words)
{
    start_mode(r, mode);
    host_set_times(r->h, &short_times);
    until_gone(r);
    if (!strstr(r->why.msg, words) || r->why.code != code)
        fail_msg("mode %s: code %d, \"%s\"; wanted %d, \"%s\"", mode, r->why.code, r->why.msg, code,
                 words);
}

/* Sessions. */

static void test_ready(void **state)
{
    struct rig *r = *state;
    struct err err = ERR_INIT;
    struct msg m = {.type = MSG_CANCEL};
    struct buf line;
    start_mode(r, "good");
    until(r, &r->ready, 1);
    assert_int_equal(r->ready, 1);
    /* libssh made it blocking: one host that stops reading would stop every other */
    assert_true(fcntl(r->h->fd, F_GETFL) & O_NONBLOCK);
    buf_init(&line, KEY_LINE_MAX);
    fixture_text(r->ssh.dir, "host_ed25519.pub", &line);
    assert_int_equal(strncmp(buf_str(&line), r->key_line, strlen(r->key_line)), 0);
    buf_done(&line);
    m.u.doc.bytes = (const uint8_t *)ATTEMPT;
    m.u.doc.len = strlen(ATTEMPT);
    assert_int_equal(host_send(r->h, &m, &err), 0);
    until(r, &r->messages, 1);
    assert_int_equal(r->last.type, MSG_STATE);
    assert_string_equal(r->last.u.state.attempt, ATTEMPT);
    stop(r);
    assert_int_equal(r->gone, 0);
}

static void test_pings_are_answered(void **state)
{
    struct rig *r = *state;
    struct host_times t = short_times;
    struct host_link *h;
    start_mode(r, "good");
    t.ping_ms = 20;
    t.silence_ms = 200;
    host_set_times(r->h, &t);
    until(r, &r->ready, 1);
    h = r->h;
    while (!r->gone && h->ping_seq < 30)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_string_equal(r->why.msg, "");
    stop(r);
}

static void test_any_pinned_kind(void **state)
{
    static const char *const kinds[] = {"ed25519", "ecdsa", "rsa"};
    struct rig *r = *state;
    struct host_target t;
    for (size_t i = 0; i < 3; i++) {
        target_of(r, "good", &t);
        pin(r, kinds[i], &t);
        start(r, &t);
        until(r, &r->ready, 1);
        assert_int_equal(r->ready, 1);
        stop(r);
    }
    target_of(r, "good", &t); /* nothing pinned: the key is reported */
    start(r, &t);
    until(r, &r->ready, 1);
    assert_int_equal(strncmp(r->key_line, "ssh-ed25519 ", 12), 0);
    stop(r);
}

static void test_other_key_is_refused(void **state)
{
    struct rig *r = *state;
    struct host_target t, right;
    target_of(r, "good", &t);
    target_of(r, "good", &right);
    pin(r, "ed25519", &right);
    pin(r, "ed25519", &t);
    t.host_key_fpr[10] = t.host_key_fpr[10] == 'x' ? 'y' : 'x';
    start(r, &t);
    until_gone(r);
    assert_int_equal(r->ready, 0);
    assert_int_equal(r->why.code, ERR_TRUST);
    assert_non_null(strstr(r->why.msg, right.host_key_fpr));
    assert_non_null(strstr(r->why.msg, t.host_key_fpr));
}

static void test_login_refused(void **state)
{
    struct rig *r = *state;
    expect_gone(r, "stranger", ERR_TRUST,
                "restrict,command=\"creel-runner attach\" ssh-ed25519 AAAA");
}

static void test_unreachable(void **state)
{
    struct rig *r = *state;
    struct host_target t;
    target_of(r, "good", &t);
    t.port = free_port();
    start(r, &t);
    until_gone(r);
    assert_int_equal(r->why.code, ERR_HOST);
    assert_non_null(strstr(r->why.msg, "Connection refused"));
    memset(t.addr, 'x', 80); /* no label may be so long: fails without asking anybody */
    start(r, &t);
    until_gone(r);
    assert_int_equal(r->why.code, ERR_HOST);
    target_of(r, "good", &t);
    snprintf(t.addr, sizeof t.addr, "localhost");
    pin(r, "ed25519", &t);
    start(r, &t);
    until(r, &r->ready, 1);
    assert_int_equal(r->ready, 1);
    stop(r);
}

static void test_bad_login_key(void **state)
{
    struct rig *r = *state;
    struct host_target t;
    struct err err = ERR_INIT;
    target_of(r, "good", &t);
    snprintf(t.ssh_key, sizeof t.ssh_key, "%s/absent", r->ssh.dir);
    assert_int_equal(host_open(&r->loop, &t, &callbacks, r, &r->h, &err), -ERR_FAIL);
    assert_non_null(strstr(err.msg, "no such file"));
    snprintf(t.ssh_key, sizeof t.ssh_key, "%s/authorized_keys", r->ssh.dir);
    assert_int_equal(host_open(&r->loop, &t, &callbacks, r, &r->h, &err), -ERR_FAIL);
    r->h = NULL;
    stop(r);
}

static void test_bad_runners(void **state)
{
    struct rig *r = *state;
    expect_gone(r, "down", ERR_HOST, "creel-runner: serve is not running");
    assert_non_null(strstr(r->why.msg, "exit status 3"));
    assert_null(strchr(r->why.msg, '\033'));
    expect_gone(r, "silent", ERR_HOST, "gave up after 1 s of waiting for its runner's welcome");
    expect_gone(r, "huge", ERR_HOST, "malformed frame");
    expect_gone(r, "babble", ERR_HOST, "malformed frame");
    expect_gone(r, "illegal", ERR_HOST, "not legal here");
    expect_gone(r, "twice", ERR_HOST, "not legal here");
    expect_gone(r, "badjson", ERR_HOST, "malformed message");
    expect_gone(r, "old", ERR_HOST, "speaks protocol 2");
    expect_gone(r, "mute", ERR_HOST, "silent for");
}

static void test_not_an_ssh_server(void **state)
{
    struct rig *r = *state;
    struct host_target t;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, n), 0);
    assert_int_equal(listen(fd, 4), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    target_of(r, "good", &t);
    t.port = ntohs(a.sin_port);
    start(r, &t); /* accepts, never speaks */
    host_set_times(r->h, &(struct host_times){200, 200, 200, 200, 200, 200});
    until_gone(r);
    assert_non_null(strstr(r->why.msg, "of exchanging keys"));
    int c = accept(fd, NULL, NULL);
    start(r, &t); /* this one speaks, but not SSH */
    uv_run(&r->loop, UV_RUN_ONCE);
    int d = accept(fd, NULL, NULL);
    (void)!write(d, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
    close(d);
    until_gone(r);
    assert_int_equal(r->why.code, ERR_HOST);
    close(c);
    close(fd);
}

/* Streams. */

struct flow {
    struct rig *r;
    struct host_stream *st;
    uint64_t got, wanted, sent;
    size_t take; /* how much the next data call takes; SIZE_MAX: all */
    int ended, eofs, held_back;
    struct err why;
    bool good;
    struct buf reply;
};

static size_t flow_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct flow *f = arg;
    size_t take = n < f->take ? n : f->take;
    for (size_t i = 0; i < take; i++)
        f->good = f->good && bytes[i] == peer_byte(f->got + i);
    f->got += take;
    f->held_back += take < n;
    return take;
}

static size_t reply_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct flow *f = arg;
    buf_add(&f->reply, bytes, n);
    return n;
}

static void flow_feed(void *arg)
{
    struct flow *f = arg;
    uint8_t chunk[40000];
    while (f->sent < PEER_PACK_BYTES) {
        size_t n = sizeof chunk;
        if (n > PEER_PACK_BYTES - f->sent)
            n = (size_t)(PEER_PACK_BYTES - f->sent);
        for (size_t i = 0; i < n; i++)
            chunk[i] = peer_byte(f->sent + i);
        size_t took = host_stream_write(f->st, chunk, n);
        f->sent += took;
        if (took < n)
            return;
    }
    host_stream_eof(f->st);
}

static void flow_end(void *arg, const struct err *err)
{
    struct flow *f = arg;
    f->ended++;
    uv_stop(&f->r->loop);
    if (err)
        f->why = *err;
}

static const struct stream_callbacks log_flow = {flow_data, flow_feed, flow_end};
static const struct stream_callbacks pack_flow = {reply_data, flow_feed, flow_end};

static void flow_open(struct rig *r, struct flow *f, enum channel channel, uint64_t bytes)
{
    struct err err = ERR_INIT;
    struct msg_hello hello = {.version = PROTO_VERSION, .channel = channel, .offset = bytes};
    snprintf(hello.program, sizeof hello.program, "test");
    snprintf(hello.attempt, sizeof hello.attempt, ATTEMPT);
    hello.proof[0] = channel == CHANNEL_PACK;
    *f = (struct flow){.r = r, .wanted = bytes, .take = SIZE_MAX, .good = true};
    buf_init(&f->reply, 4096);
    assert_int_equal(host_stream_open(r->h, &hello,
                                      channel == CHANNEL_PACK ? &pack_flow : &log_flow, f, &f->st,
                                      &err),
                     0);
}

static void ready_at(struct rig *r, const char *mode, unsigned port)
{
    struct host_target t;
    target_of(r, mode, &t);
    pin(r, "ed25519", &t);
    t.port = port;
    start(r, &t);
    until(r, &r->ready, 1);
    if (!r->ready)
        fail_msg("%s", r->why.msg);
}

static void test_log(void **state)
{
    struct rig *r = *state;
    struct flow f;
    ready_at(r, "good", r->ssh.port);
    for (int wide = 0; wide < 2; wide++) {
        r->h->long_line = wide;
        flow_open(r, &f, CHANNEL_LOG, 48u << 20);
        until(r, &f.ended, 1);
        assert_string_equal(r->why.msg, "");
        assert_true(f.good);
        assert_int_equal(f.got, f.wanted);
        assert_int_equal(f.why.code, 0);
        assert_int_equal(r->h->scratch != NULL, wide);
    }
    flow_open(r, &f, CHANNEL_LOG, 0); /* nothing, and that is all right */
    until(r, &f.ended, 1);
    assert_int_equal(f.why.code, 0);
    stop(r);
}

static void test_pack(void **state)
{
    struct rig *r = *state;
    struct flow f;
    struct frame frame;
    struct err err = ERR_INIT;
    size_t used;
    ready_at(r, "good", r->ssh.port);
    flow_open(r, &f, CHANNEL_PACK, 0);
    flow_feed(&f);
    assert_true(f.sent <= HOST_OUT_MAX); /* it does not swallow all at once */
    until(r, &f.ended, 1);
    assert_int_equal(f.why.code, 0);
    assert_int_equal(frame_get(f.reply.data, f.reply.len, &frame, &used, &err), 1);
    assert_int_equal(frame.type, MSG_PACK_OK);
    buf_done(&f.reply);
    stop(r);
}

static void flow_eof(void *arg)
{
    struct flow *f = arg;
    f->eofs++;
    uv_stop(&f->r->loop);
}

/* Of a call each side's end is told by itself, and the stream goes on until both have said all. */
static void test_call(void **state)
{
    static const struct stream_callbacks call_flow = {reply_data, flow_feed, flow_end, flow_eof};
    struct rig *r = *state;
    struct err err = ERR_INIT;
    struct msg_hello hello = {.version = PROTO_VERSION, .channel = CHANNEL_CALL, .proof = {1}};
    snprintf(hello.program, sizeof hello.program, "test");
    ready_at(r, "good", r->ssh.port);
    for (int first = 0; first < 2; first++) {
        struct flow f = {.r = r};
        buf_init(&f.reply, 4096);
        snprintf(hello.attempt, sizeof hello.attempt, "01hzzzzzzzzzzzzzzzzzzzzzzz.%d", first + 1);
        assert_int_equal(host_stream_open(r->h, &hello, &call_flow, &f, &f.st, &err), 0);
        if (first) { /* the peer's end comes before ours */
            until(r, &f.eofs, 1);
            assert_int_equal(f.ended, 0);
            assert_string_equal(buf_str(&f.reply), "first");
            host_stream_eof(f.st);
        } else {
            assert_int_equal(host_stream_write(f.st, "ask", 3), 3);
            host_stream_eof(f.st);
        }
        until(r, &f.ended, 1);
        assert_int_equal(f.why.code, 0);
        assert_string_equal(buf_str(&f.reply), first ? "first" : "answer");
        buf_done(&f.reply);
    }
    stop(r);
}

static void on_tick(uv_timer_t *t)
{
    struct flow *f = t->data;
    if (!f->ended)
        host_stream_resume(f->st);
}

/* An owner that takes little at a time: memory stays bounded, the bytes stay in order, and another
 * stream of the session is not held up by it. */
static void hold_back(struct rig *r, bool wide)
{
    struct flow slow, fast;
    uv_timer_t tick;
    ready_at(r, "good", r->ssh.port);
    r->h->long_line = wide;
    flow_open(r, &slow, CHANNEL_LOG, 6u << 20);
    slow.take = 0;
    flow_open(r, &fast, CHANNEL_LOG, 16u << 20);
    until(r, &fast.ended, 1);
    assert_true(fast.good && fast.got == fast.wanted);
    assert_int_equal(slow.got, 0);
    assert_true(slow.st->held.len <= HOST_WINDOW_LIBSSH + HOST_WINDOW_SLACK);
    uv_timer_init(&r->loop, &tick);
    tick.data = &slow;
    slow.take = 20001;
    uv_timer_start(&tick, on_tick, 1, 1);
    until(r, &slow.ended, 1);
    assert_string_equal(r->why.msg, "");
    assert_true(slow.good && slow.got == slow.wanted && slow.held_back > 10);
    uv_close((uv_handle_t *)&tick, NULL);
    stop(r);
}

static void test_hold_back(void **state)
{
    hold_back(*state, false);
    hold_back(*state, true);
}

/* A server that sends on whatever its window says (here: one that was granted more behind our
 * back). */
static void test_window_ignored(void **state)
{
    struct rig *r = *state;
    struct flow f;
    uint8_t *more = malloc(HOST_WINDOW_WIDE);
    ready_at(r, "good", r->ssh.port);
    flow_open(r, &f, CHANNEL_LOG, 16u << 20);
    f.take = 0;
    while (!f.held_back)
        uv_run(&r->loop, UV_RUN_ONCE);
    ssh_channel_read_timeout(f.st->ch, more, HOST_WINDOW_WIDE, 0, 0);
    until_gone(r);
    assert_non_null(strstr(r->why.msg, "more than it was allowed"));
    assert_int_equal(f.ended, 1);
    free(more);
}

static void many(struct rig *r, unsigned port, size_t n)
{
    struct flow f[48];
    ready_at(r, "good", port);
    for (size_t i = 0; i < n; i++)
        flow_open(r, &f[i], CHANNEL_LOG, (i % 4 + 1) << 18);
    for (size_t i = 0; i < n; i++) {
        until(r, &f[i].ended, 1);
        if (f[i].why.code || !f[i].good || f[i].got != f[i].wanted)
            fail_msg("stream %zu: %s %s", i, f[i].why.msg, r->why.msg);
    }
    stop(r);
}

static void test_more_streams_than_channels(void **state)
{
    struct rig *r = *state;
    many(r, r->ssh.port, 48);
    many(r, r->few.port, 6); /* MaxSessions 3: control and two at a time */
}

static unsigned spares(const struct rig *r, uint64_t age_ms)
{
    unsigned n = 0;
    for (struct host_stream *st = r->h->streams; st; st = st->next) {
        if (st->owned || st->dropped)
            continue;
        st->opened_ms -= age_ms;
        n += st->state == STREAM_OPEN;
    }
    return n;
}

/* The runner is about to hang up on old spares: none is used, and idle sessions do without. */
static void test_old_spares(void **state)
{
    struct rig *r = *state;
    struct flow f;
    ready_at(r, "good", r->ssh.port);
    while (spares(r, 0) < HOST_SPARES)
        uv_run(&r->loop, UV_RUN_ONCE);
    spares(r, 30000);
    flow_open(r, &f, CHANNEL_LOG, 100000);
    assert_int_equal(f.st->state, STREAM_WAITING);
    until(r, &f.ended, 1);
    assert_true(f.good && f.got == f.wanted && !f.why.code);
    stop(r);
}

static void test_stream_failures(void **state)
{
    struct rig *r = *state;
    struct flow f;
    ready_at(r, "refuse", r->ssh.port);
    flow_open(r, &f, CHANNEL_RESULT, 0);
    until(r, &f.ended, 1);
    assert_int_equal(f.why.code, ERR_HOST);
    assert_non_null(strstr(f.why.msg, "no such stream (exit status 9)"));
    assert_int_equal(r->gone, 0);
    stop(r);
    ready_at(r, "cut", r->ssh.port);
    flow_open(r, &f, CHANNEL_LOG, 64u << 20);
    while (!r->gone)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_int_equal(f.ended, 1);
    assert_int_equal(f.why.code, ERR_HOST);
    assert_true(f.good && f.got < f.wanted);
    stop(r);
}

static size_t closing_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct flow *f = arg;
    f->got += n;
    if (f->got > 100000 && f->st) {
        host_stream_close(f->st);
        f->st = NULL;
    }
    return n;
}

static size_t hanging_up_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct flow *f = arg;
    if (f->r->h)
        host_close(f->r->h);
    f->r->h = NULL;
    return n;
}

static void test_close_inside_callbacks(void **state)
{
    struct rig *r = *state;
    struct flow f, g;
    ready_at(r, "good", r->ssh.port);
    flow_open(r, &f, CHANNEL_LOG, 8u << 20);
    f.st->cb.data = closing_data;
    while (f.st)
        uv_run(&r->loop, UV_RUN_ONCE);
    flow_open(r, &g, CHANNEL_LOG, 1u << 20);
    until(r, &g.ended, 1);
    assert_true(g.good && g.got == g.wanted);
    assert_int_equal(f.ended, 0);
    flow_open(r, &g, CHANNEL_LOG, 1u << 20);
    g.st->cb.data = hanging_up_data;
    while (r->h)
        uv_run(&r->loop, UV_RUN_ONCE);
    stop(r);
    assert_int_equal(g.ended + r->gone, 0);
    start_mode(r, "good");
    r->close_in_callback = true;
    until(r, &r->ready, 1);
    stop(r);
    assert_int_equal(r->gone, 0);
}

/* Hangs up after 0, 1, 2... turns of the loop, so in every state; the loop must be empty each time.
 */
static void test_close_at_any_time(void **state)
{
    struct rig *r = *state;
    for (int turns = 0; turns < 60; turns++) {
        struct flow f = {0};
        bool silent = turns % 3 == 0; /* its welcome never comes: nothing to wait for */
        start_mode(r, silent ? "silent" : "good");
        for (int i = 0;
             i < turns && !r->gone && !r->ready && !(silent && r->h->state == HOST_HELLO); i++)
            uv_run(&r->loop, UV_RUN_ONCE);
        if (r->ready)
            flow_open(r, &f, CHANNEL_LOG, 1u << 20);
        if (turns % 2)
            uv_run(&r->loop, UV_RUN_NOWAIT);
        stop(r);
        assert_int_equal(r->gone, 0);
        assert_int_equal(uv_loop_close(&r->loop), 0);
        uv_loop_init(&r->loop);
    }
}

/* One host that never stops talking, in a loop that has other things to do. */
struct flood {
    struct rig *r;
    uv_timer_t tick;
    uv_check_t turn;
    uint64_t end_us;
    int ticks, messages, in_turn, most;
};

static void flood_message(void *arg, const struct msg *m)
{
    struct flood *f = arg;
    f->messages++;
    f->in_turn++;
    if (clock_mono_us() > f->end_us) { /* the loop itself may never get to see the time */
        host_close(f->r->h);
        f->r->h = NULL;
    }
}

static void flood_ready(void *arg, const struct msg_welcome *w, const char *line)
{
}

static void flood_gone(void *arg, const struct err *err)
{
    fail_msg("%s", err->msg);
}

static void flood_tick(uv_timer_t *t)
{
    struct flood *f = t->data;
    f->ticks++;
}

static void flood_turn(uv_check_t *c)
{
    struct flood *f = c->data;
    f->most = f->in_turn > f->most ? f->in_turn : f->most;
    f->in_turn = 0;
}

static void test_flood_starves_nobody(void **state)
{
    static const struct host_callbacks cb = {flood_ready, flood_message, flood_gone};
    struct rig *r = *state;
    struct flood f = {.r = r, .end_us = clock_mono_us() + 2000000};
    struct host_target t;
    struct err err = ERR_INIT;
    alarm(60);
    target_of(r, "flood", &t);
    pin(r, "ed25519", &t);
    uv_timer_init(&r->loop, &f.tick);
    uv_check_init(&r->loop, &f.turn);
    f.tick.data = f.turn.data = &f;
    uv_timer_start(&f.tick, flood_tick, 10, 10);
    uv_check_start(&f.turn, flood_turn);
    assert_int_equal(host_open(&r->loop, &t, &cb, &f, &r->h, &err), 0);
    while (r->h)
        uv_run(&r->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&f.tick, NULL);
    uv_close((uv_handle_t *)&f.turn, NULL);
    stop(r);
    assert_true(f.messages > 1000); /* it was a flood, and it was heard */
    if (f.ticks < 50)
        fail_msg("%d of 200 ticks within a flood of %d messages", f.ticks, f.messages);
    assert_in_range(f.most, 1, 2 * 64);
}

/* The owner ends a session from a callback that is none of the session's, as engines do when they
 * stop: streams first, in whatever state they are, then the session. Nothing is called back. A
 * stream that has ended by then (a busy machine fires the timer late) is no longer ours. */
struct leaver {
    struct rig *r;
    struct flow f[6];
    size_t n;
};

static void on_leave(uv_timer_t *t)
{
    struct leaver *l = t->data;
    for (size_t i = 0; i < l->n; i++)
        if (!l->f[i].ended)
            host_stream_close(l->f[i].st);
    host_close(l->r->h);
    l->r->h = NULL;
    for (size_t i = 0; i < l->n; i++)
        memset(&l->f[i], 0x5a, sizeof l->f[i]); /* whoever calls back now falls over */
    uv_close((uv_handle_t *)t, NULL);
}

static void test_close_from_a_timer(void **state)
{
    struct rig *r = *state;
    for (unsigned ms = 0; ms < 24; ms++) {
        struct leaver l = {.r = r, .n = 6};
        uv_timer_t t;
        ready_at(r, "good", ms % 2 ? r->few.port : r->ssh.port); /* few: some wait for a channel */
        for (size_t i = 0; i < l.n; i++)
            flow_open(r, &l.f[i], i % 3 == 2 ? CHANNEL_PACK : CHANNEL_LOG,
                      i % 3 == 2 ? 0 : 8u << 20);
        l.f[0].take = 1000; /* holds back */
        host_stream_write(l.f[2].st, "xyz", 3);
        uv_timer_init(&r->loop, &t);
        t.data = &l;
        uv_timer_start(&t, on_leave, ms, 0);
        while (r->h)
            uv_run(&r->loop, UV_RUN_ONCE);
        stop(r);
        assert_int_equal(r->gone, 0);
    }
}

static int lowest_free_fd(void)
{
    int fd = fcntl(0, F_DUPFD_CLOEXEC, 3);
    close(fd);
    return fd;
}

static void test_many_sessions(void **state)
{
    struct rig *r = *state;
    int before = lowest_free_fd();
    for (int i = 0; i < 100; i++) {
        ready_at(r, "good", r->ssh.port);
        stop(r);
    }
    assert_int_equal(lowest_free_fd(), before);
}

static int group_setup(void **state)
{
    static const char *const all[] = {"ed25519", "ecdsa", "rsa", NULL};
    struct rig *r = calloc(1, sizeof *r);
    *state = r;
    signal(SIGPIPE, SIG_IGN);
    if (!r || uv_loop_init(&r->loop) < 0 || sshd_prepare(&r->ssh, modes) < 0)
        return -1;
    r->few = r->ssh;
    return sshd_start(&r->ssh, "sshd.conf", all, 256) < 0 ||
           sshd_start(&r->few, "few.conf", all, 3) < 0;
}

static int group_teardown(void **state)
{
    struct rig *r = *state;
    sshd_stop(&r->few);
    sshd_remove(&r->ssh);
    int rc = uv_loop_close(&r->loop);
    free(r);
    return rc;
}

int main(int argc, char **argv)
{
    if (argc == 3 && strcmp(argv[1], "--peer") == 0)
        return peer_main(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ready),
        cmocka_unit_test(test_pings_are_answered),
        cmocka_unit_test(test_any_pinned_kind),
        cmocka_unit_test(test_other_key_is_refused),
        cmocka_unit_test(test_login_refused),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_bad_login_key),
        cmocka_unit_test(test_bad_runners),
        cmocka_unit_test(test_not_an_ssh_server),
        cmocka_unit_test(test_log),
        cmocka_unit_test(test_pack),
        cmocka_unit_test(test_call),
        cmocka_unit_test(test_hold_back),
        cmocka_unit_test(test_window_ignored),
        cmocka_unit_test(test_more_streams_than_channels),
        cmocka_unit_test(test_old_spares),
        cmocka_unit_test(test_stream_failures),
        cmocka_unit_test(test_close_inside_callbacks),
        cmocka_unit_test(test_close_at_any_time),
        cmocka_unit_test(test_flood_starves_nobody),
        cmocka_unit_test(test_close_from_a_timer),
        cmocka_unit_test(test_many_sessions),
    };
    cmocka_set_test_filter(argc == 2 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
