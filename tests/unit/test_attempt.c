/* An attempt's whole life through the real wire, with the warden played by the test: serve's channels
 * on one side of socketpairs, struct warden_request and warden_reply on the other. */
#include "tests/unit/attempt_fixture.h"
#include "proto/b64.h"

#include <signal.h>
#include <sys/stat.h>
#include <sys/resource.h>

/* ---- stretches of a life ---- */

static void run_steps(struct fixture *f)
{
    step(f, STEP_SETUP, 0, false, 0);
    step(f, STEP_SETUP, 0, true, 0);
    step(f, STEP_COMMAND, 0, false, 0);
    print(f, 0, "out\n", 4);
    print(f, 1, "err\n", 4);
    step(f, STEP_COMMAND, 0, true, 0);
    step(f, STEP_TEST, 0, false, 0);
    step(f, STEP_TEST, 0, true, 0);
    expect_state(f, ATTEMPT_RUNNING, "setup 1");
    expect_state(f, ATTEMPT_RUNNING, "command");
    expect_state(f, ATTEMPT_RUNNING, "test 1");
}

static void collect_patch(struct fixture *f)
{
    int patch = memfd_create("patch", MFD_CLOEXEC);
    expect_state(f, ATTEMPT_COLLECTING, "collect");
    start_phase(f, WARDEN_COLLECT);
    print(f, 0, "patch " PATCH " 5\n", 49);
    assert_int_equal(write_all(patch, "patch", 5), 0);
    end_phase(f, WARDEN_COLLECT, 0, patch);
    close(patch);
}

static void read_log(struct fixture *f, uint64_t offset)
{
    struct channel_end c = dial(f, CHANNEL_LOG, offset);
    fill(f, &c);
    buf_clear(&f->log);
    buf_add(&f->log, c.in.data, c.in.len);
    assert_int_equal(read(c.fd, (char[1]){0}, 1), 0); /* complete: closed */
    end_close(&c);
}

/* Fetches and checks the result; the patch must be `patch`. */
static void fetch(struct fixture *f, enum outcome want, const char *patch)
{
    struct channel_end c = dial(f, CHANNEL_RESULT, 0);
    struct dsse d = {0};
    struct err err = ERR_INIT;
    size_t key;
    struct msg m = expect(f, &c, MSG_RESULT);
    assert_int_equal(dsse_parse(m.u.doc.bytes, m.u.doc.len, &d, NULL), 0);
    assert_int_equal(
        dsse_verify(&d, (const uint8_t(*)[KEY_PUB_BYTES]) & f->sv.identity.pub, 1, &key, NULL), 0);
    assert_string_equal(d.type, DSSE_TYPE_RESULT);
    sha256_of(m.u.doc.bytes, m.u.doc.len, f->result_sha256);
    result_done(&f->result);
    if (result_decode(d.body.data, d.body.len, &f->result, &err) < 0)
        fail_msg("%s", err.msg);
    dsse_done(&d);
    assert_int_equal(f->result.outcome, want);
    assert_int_equal(c.in.len - c.used, strlen(patch));
    assert_memory_equal(c.in.data + c.used, patch, strlen(patch));
    end_close(&c);
    read_log(f, 0);
    assert_int_equal(f->result.log_bytes, f->log.len);
}

static void wipe_and_check(struct fixture *f)
{
    uint8_t first[32], again[32];
    wipe(f, 1);
    expect_refused(f, &f->control, REFUSED_PROTOCOL);
    asked(f, 0);
    wipe(f, 0);
    wiped(f, true);
    struct msg m = expect(f, &f->control, MSG_RECEIPT);
    sha256_of(m.u.doc.bytes, m.u.doc.len, first);
    assert_int_equal(f->slots[0].at, AT_FREE);
    wipe(f, 0); /* its answer was lost: the same again */
    m = expect(f, &f->control, MSG_RECEIPT);
    sha256_of(m.u.doc.bytes, m.u.doc.len, again);
    assert_memory_equal(first, again, 32);
    wipe(f, 1);
    expect_refused(f, &f->control, REFUSED_PROTOCOL);
    asked(f, 0);
    assert_int_not_equal(faccessat(f->dir, "01arz3ndektsv4rrffq69g5fav.1.log", F_OK, 0), 0);
}

/* ---- tests ---- */

/* The table against a second writing of it: rows are states, columns events in their order. */
static void the_table_is_what_it_should_be(void **state)
{
    static const char *const want[AT_COUNT] = {
        /* OPENED STARTED EXITED WIPED PACKED PACK_BAD HASHED CANCEL WIPE DEADLINE STOP */
        [AT_FREE] = "...........",    [AT_OPENING] = "x......x..x",
        [AT_PACK] = "....xx.x.xx",    [AT_CHECKOUT] = ".xx....x.xx",
        [AT_RUNNING] = ".xx....x.xx", [AT_COLLECTING] = ".xx....x.xx",
        [AT_HASHING] = "......xx..x", [AT_ENDED] = ".......xxxx",
        [AT_WIPING] = "xxxx...xxxx",  [AT_TAINTED] = "..........x",
    };
    struct fixture *f = *state;
    struct attempt *a = &f->slots[1];
    for (int at = 0; at < AT_COUNT; at++) {
        for (int ev = 0; ev < EV_COUNT; ev++) {
            bool legal = want[at][ev] == 'x';
            assert_int_equal(attempt_legal((enum attempt_at)at, (enum attempt_event)ev), legal);
            if (legal)
                continue;
            a->at = (enum attempt_at)at;
            assert_int_equal(attempt_event(a, (enum attempt_event)ev), -ERR_FAIL);
            assert_int_equal(a->at, at); /* and nothing happened */
            a->at = AT_FREE;
        }
    }
    asked(f, 0);
}

static void a_whole_life(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    run_steps(f);
    end_phase(f, WARDEN_RUN, 0, -1);
    collect_patch(f);
    struct msg m = expect(f, &f->control, MSG_ENDED);
    assert_int_equal(m.u.ended.pack_bytes, 5);
    fetch(f, OUTCOME_SUCCEEDED, "patch");
    fetch(f, OUTCOME_SUCCEEDED, "patch"); /* as often as asked */
    assert_int_equal(m.u.ended.log_bytes, f->log.len);
    assert_string_equal(f->result.commit, PATCH);
    assert_int_equal(f->result.wall_ms, 42);
    assert_int_equal(f->result.steps.n, 5);
    uint8_t h[32] = {0};
    size_t used;
    struct log_frame lf;
    for (size_t at = 0; at < f->log.len; at += used) {
        assert_int_equal(log_frame_get(f->log.data + at, f->log.len - at, &lf, &used, NULL), 1);
        sha256_link(h, f->log.data + at, used);
    }
    assert_memory_equal(h, f->result.log_chain, 32);
    wipe_and_check(f);
    assert_int_equal(f->fatal, 0);
}

/* Asks the gate's proxy for a host; the answer's status. */
static int ask_proxy(struct fixture *f, const char *host)
{
    char text[256];
    int status = 0, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&f->proxy, sizeof f->proxy), 0);
    snprintf(text, sizeof text, "CONNECT %s:443 HTTP/1.1\r\n\r\n", host);
    assert_int_equal(write_all(fd, text, strlen(text)), 0);
    turn(f);
    ssize_t n = recv(fd, text, sizeof text - 1, MSG_DONTWAIT);
    assert_true(n > 0);
    text[n] = 0;
    assert_int_equal(sscanf(text, "HTTP/1.1 %d ", &status), 1);
    close(fd);
    turn(f);
    return status;
}

static bool log_says(const struct fixture *f, const char *words)
{
    return memmem(f->log.data, f->log.len, words, strlen(words)) != NULL;
}

static void what_the_gate_did_is_told(void **state)
{
    struct fixture *f = *state;
    f->task.policy.limits[LIMIT_CONNS] = 2;
    to_running(f);
    for (int i = 0; i < 3; i++)
        assert_int_equal(ask_proxy(f, "evil.example.net"), 403);
    run_steps(f);
    assert_non_null(f->slots[0].gate);
    end_phase(f, WARDEN_RUN, 0, -1);
    assert_null(f->slots[0].gate); /* before anything is collected */
    collect_patch(f);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_SUCCEEDED, "patch");
    assert_true(log_says(f, "egress: denied evil.example.net:443: no rule allows it; "
                            "--egress evil.example.net would"));
    assert_true(log_says(f, "egress: denied evil.example.net:443, 2 times in all"));
    assert_true(log_says(f, "limit: connection limit 2 reached, peak 2, 1 connection refused"));
    assert_int_equal(f->result.conns, 3);
    assert_int_equal(f->result.egress.n, 2);
    const struct egress_entry *e = f->result.egress.items;
    assert_string_equal(e->name, "evil.example.net");
    assert_int_equal(e->verdict, EGRESS_DENIED);
    assert_int_equal(e->count, 2);
    assert_int_equal(f->result.hits.n, 1);
    assert_int_equal(((const struct limit_hit *)f->result.hits.items)->limit, LIMIT_CONNS);
    wipe(f, 0);
    wiped(f, true);
    expect(f, &f->control, MSG_RECEIPT);
    assert_int_equal(f->slots[0].at, AT_FREE);
}

/* The wipe is asked for only when no socket of the jail's network is held any more. */
static void the_wipe_waits_for_the_gate(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    attempt_event(&f->slots[0], EV_STOP);
    assert_int_equal(f->slots[0].at, AT_WIPING);
    assert_non_null(f->slots[0].gate);
    struct warden_request req;
    int fds[WARDEN_FDS_MAX];
    size_t n;
    fcntl(f->warden, F_SETFL, O_NONBLOCK);
    assert_int_equal(fdpass_recv(f->warden, &req, sizeof req, fds, &n, NULL), 0); /* nothing yet */
    asked(f, WARDEN_WIPE);
    assert_null(f->slots[0].gate);
    answer(f, (struct warden_reply){.op = WARDEN_WIPE, .u.wiped = {1, 1, 1, 1}}, NULL, 0);
    assert_int_equal(f->slots[0].at, AT_FREE);
}

static void the_log_resumes_at_every_byte(void **state)
{
    struct fixture *f = *state;
    struct buf whole;
    to_running(f);
    run_steps(f);
    end_phase(f, WARDEN_RUN, 0, -1);
    collect_patch(f);
    read_log(f, 0);
    buf_init(&whole, 1u << 20);
    buf_add(&whole, f->log.data, f->log.len);
    for (size_t from = 0; from <= whole.len; from++) {
        read_log(f, from);
        assert_int_equal(f->log.len, whole.len - from);
        assert_memory_equal(f->log.data, whole.data + from, f->log.len);
    }
    struct channel_end c = dial(f, CHANNEL_LOG, whole.len + 1);
    expect_refused(f, &c, REFUSED_PROTOCOL);
    end_close(&c);
    buf_done(&whole);
}

static void a_log_is_live(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    struct channel_end c = dial(f, CHANNEL_LOG, 0);
    fill(f, &c);
    size_t before = c.in.len;
    print(f, 0, "now", 3);
    fill(f, &c);
    assert_int_equal(c.in.len, before + LOG_FRAME_HEAD_BYTES + 3);
    assert_memory_equal(c.in.data + c.in.len - 3, "now", 3);
    end_close(&c);
    turn(f);
    print(f, 0, "gone", 4); /* a reader that went changes nothing */
    turn(f);
    assert_int_equal(f->slots[0].at, AT_RUNNING);
}

static void bad_packs_end_wiped(void **state)
{
    static const struct {
        const char *bytes;
        enum refusal why;
    } rows[] = {{"PACK of the sourcE", REFUSED_PACK_DIGEST}, {PACK "x", REFUSED_PACK_SIZE}};
    struct fixture *f = *state;
    for (size_t i = 0; i < 2; i++) {
        to_pack(f);
        struct channel_end c = dial(f, CHANNEL_PACK, 0);
        assert_int_equal(write_all(c.fd, rows[i].bytes, strlen(rows[i].bytes)), 0);
        turn(f);
        assert_int_equal(f->slots[0].at, AT_WIPING);
        wiped(f, true);
        expect_refused(f, &c, rows[i].why);
        expect_refused(f, &f->control, rows[i].why);
        assert_int_equal(f->slots[0].at, AT_FREE);
        end_close(&c);
        end_close(&f->control);
        snprintf(f->task.attempt, sizeof f->task.attempt, "%s.2", f->task.id);
        f->task.nonce[0]++;
        f->task.fence++;
    }
    f->control.fd = -1;
}

static void a_lost_pack_may_come_again(void **state)
{
    struct fixture *f = *state;
    to_pack(f);
    struct channel_end c = dial(f, CHANNEL_PACK, 0), d;
    assert_int_equal(write_all(c.fd, "PACK", 4), 0);
    turn(f);
    assert_int_equal(f->slots[0].pack_got, 4);
    d = dial(f, CHANNEL_PACK, 0); /* the first is dead, but nobody knows yet */
    assert_int_equal(f->slots[0].pack_got, 0);
    assert_int_equal(read(c.fd, (char[1]){0}, 1), 0);
    end_close(&c);
    end_close(&d);
    turn(f);
    assert_int_equal(f->slots[0].at, AT_PACK);
    c = dial(f, CHANNEL_PACK, 0);
    assert_int_equal(write_all(c.fd, PACK, strlen(PACK)), 0);
    expect(f, &c, MSG_PACK_OK);
    end_close(&c);
    assert_int_equal(f->slots[0].at, AT_CHECKOUT);
}

static void a_bad_tree_is_refused(void **state)
{
    struct fixture *f = *state;
    to_checkout(f);
    print(f, 1, "entry '\x1b[2J.git'\n", 18);
    end_phase(f, WARDEN_CHECKOUT, 1, -1);
    assert_int_equal(f->slots[0].at, AT_WIPING);
    wiped(f, true);
    struct msg m = expect(f, &f->control, MSG_REFUSED);
    assert_int_equal(m.u.refused.reason, REFUSED_TREE);
    assert_string_equal(m.u.refused.detail, "entry '?[2J.git'");
}

static void a_checkout_that_says_something_else_is_refused(void **state)
{
    struct fixture *f = *state;
    to_checkout(f);
    print(f, 0, "ok " PATCH "\n", 44);
    end_phase(f, WARDEN_CHECKOUT, 0, -1);
    wiped(f, true);
    expect_refused(f, &f->control, REFUSED_TREE);
}

static void cancel_while_opening_and_before_the_pack(void **state)
{
    struct fixture *f = *state;
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    msg_done(&m);
    offer(f);
    cancel(f);
    open_slot(f);
    expect(f, &f->control, MSG_ACCEPTED);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_CANCELLED, "");
    cancel(f); /* too late: it is told where the attempt is */
    expect_state(f, ATTEMPT_ENDED, "");
    wipe_and_check(f);
}

static void cancel_saves_the_work(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    step(f, STEP_SETUP, 0, false, 0);
    expect_state(f, ATTEMPT_RUNNING, "setup 1");
    cancel(f);
    cancel(f); /* once is enough */
    asked(f, WARDEN_KILL);
    answer(f, (struct warden_reply){.op = WARDEN_KILL}, NULL, 0);
    asked(f, 0);
    end_phase(f, WARDEN_RUN, -1, -1);
    collect_patch(f);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_CANCELLED, "patch");
    const struct step_result *s = f->result.steps.items;
    assert_true(s[1].ran && s[1].exit == -1 && s[1].signal == 9);
    assert_false(s[2].ran);
    wipe_and_check(f);
}

static void expect_refused_order(struct fixture *f, enum refusal why, bool verified)
{
    struct msg m = expect(f, &f->control, MSG_REFUSED);
    assert_int_equal(m.u.refused.reason, why);
    /* what did not verify is not read: it names nothing */
    assert_string_equal(m.u.refused.attempt, verified ? f->task.attempt : "");
}

/* Whoever can log in can open a control channel; ending an attempt takes the key that sent it. */
static void orders_must_be_signed(void **state)
{
    static const char bare[] = "{\"attempt\":\"01arz3ndektsv4rrffq69g5fav.1\"}";
    struct fixture *f = *state;
    struct msg m = {.type = MSG_CANCEL};
    uint8_t sec[KEY_SEC_BYTES], pub[KEY_PUB_BYTES];
    struct controller_keys *keys = &f->sv.identity.controllers;
    struct order o;
    to_running(f);
    m.u.doc.bytes = (const uint8_t *)bare;
    m.u.doc.len = sizeof bare - 1;
    say(f, &f->control, &m);
    expect_refused_order(f, REFUSED_MALFORMED, false);

    crypto_sign_keypair(pub, sec);
    order_fill(f, ORDER_CANCEL, &o);
    say_order(f, MSG_CANCEL, DSSE_TYPE_ORDER, &o, sec);
    expect_refused_order(f, REFUSED_SIGNATURE, false);
    /* pinned too, but not the one that sent the task, whoever it says it is */
    memcpy(keys->keys[1], pub, sizeof pub);
    keys->n = 2;
    say_order(f, MSG_CANCEL, DSSE_TYPE_ORDER, &o, sec);
    expect_refused_order(f, REFUSED_PAYLOAD, true);
    key_fingerprint(pub, o.iss);
    say_order(f, MSG_CANCEL, DSSE_TYPE_ORDER, &o, sec);
    expect_refused_order(f, REFUSED_UNKNOWN, true);

    order_fill(f, ORDER_CANCEL, &o);
    say_order(f, MSG_CANCEL, DSSE_TYPE_TASK, &o, f->ctl_sec);
    expect_refused_order(f, REFUSED_TYPE, false);
    say_order(f, MSG_WIPE, DSSE_TYPE_ORDER, &o, f->ctl_sec);
    expect_refused_order(f, REFUSED_PAYLOAD, true);
    memset(o.aud_host_key + 7, 'A', 43);
    say_order(f, MSG_CANCEL, DSSE_TYPE_ORDER, &o, f->ctl_sec);
    expect_refused_order(f, REFUSED_AUDIENCE, true);
    asked(f, 0); /* nothing was killed */

    cancel(f);
    asked(f, WARDEN_KILL);
    answer(f, (struct warden_reply){.op = WARDEN_KILL}, NULL, 0);
    end_phase(f, WARDEN_RUN, -1, -1);
    collect_patch(f);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_CANCELLED, "patch");
    wipe_and_check(f);
}

static void out_of_time_saves_the_work(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    assert_int_equal(attempt_event(&f->slots[0], EV_DEADLINE), 0);
    asked(f, WARDEN_KILL);
    end_phase(f, WARDEN_RUN, -1, -1);
    collect_patch(f);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_TIMED_OUT, "patch");
}

/* The wall limit counts from the start: a start that is late is not the job's doing. */
static void a_late_start_is_not_the_wall_limit(void **state)
{
    struct fixture *f = *state;
    to_checkout(f);
    print(f, 0, "ok " ROOT "\n", 44);
    end_phase(f, WARDEN_CHECKOUT, 0, -1);
    assert_int_equal(attempt_event(&f->slots[0], EV_DEADLINE), 0);
    start_phase(f, WARDEN_RUN); /* it was on its way */
    expect_state(f, ATTEMPT_RUNNING, "");
    asked(f, WARDEN_KILL);
    end_phase(f, WARDEN_RUN, -1, -1);
    collect_patch(f);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_ERROR, "patch");
    assert_string_equal(f->result.reason, "the warden did not start the jail within 120 s");
}

static void a_collector_out_of_memory_is_a_limit(void **state)
{
    struct fixture *f = *state;
    struct warden_reply r = {.op = WARDEN_EXITED, .phase = WARDEN_COLLECT, .exit = -1, .signal = 9};
    r.u.usage.oom_kills = 1;
    r.u.usage.mem_peak = 2ull << 30;
    to_running(f);
    run_steps(f);
    end_phase(f, WARDEN_RUN, 0, -1);
    expect_state(f, ATTEMPT_COLLECTING, "collect");
    start_phase(f, WARDEN_COLLECT);
    for (int i = 0; i < 3; i++)
        fd_close(&f->out[i]);
    answer(f, r, NULL, 0);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_LIMIT, "");
    assert_non_null(
        strstr(f->result.reason,
               "memory limit 2 GiB reached, peak 2 GiB, 1 process group killed, while collecting"));
}

static void a_warden_that_does_not_kill_is_fatal(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    attempt_event(&f->slots[0], EV_DEADLINE);
    attempt_event(&f->slots[0], EV_DEADLINE);
    assert_int_equal(f->fatal, 1);
}

static void forged_status_records_are_no_success(void **state)
{
    static const struct warden_step bad[] = {
        {.kind = STEP_CHECKOUT},          {.kind = 77},
        {.kind = STEP_SETUP, .index = 1}, {.kind = STEP_TEST, .ended = 1},
        {.kind = STEP_SETUP, .ended = 2},
    };
    struct fixture *f = *state;
    to_running(f);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct attempt *a = &f->slots[0];
        print(f, 2, &bad[i], sizeof bad[i]);
        turn(f);
        assert_true(a->error[0]);
        assert_null(a->pipes[PIPE_STATUS]);
        if (i + 1 == sizeof bad / sizeof *bad)
            break;
        a->error[0] = 0; /* the next one, on a new pipe */
        int p[2], fds[3] = {-1, -1, -1};
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        fd_close(&f->out[2]);
        f->out[2] = p[1];
        attempt_pipes_close(a);
        for (int k = 0; k < 2; k++) {
            int q[2];
            assert_int_equal(pipe2(q, O_CLOEXEC), 0);
            fds[k] = q[0];
            fd_close(&f->out[k]);
            f->out[k] = q[1];
        }
        fds[2] = p[0];
        assert_int_equal(attempt_pipes_open(a, fds, 3, NULL), 0);
    }
    end_phase(f, WARDEN_RUN, 0, -1);
    collect_patch(f);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_ERROR, "patch");
}

/* The spool's file system is full: notes leave no trace in it, and still no record may be lost when
 * the jail's end is heard of before they were read. */
static void records_outlive_a_full_spool(void **state)
{
    struct fixture *f = *state;
    struct rlimit was, full;
    enum { TESTS = 60 };
    for (int i = 1; i < TESTS; i++)
        strv_add(&f->task.tests, "make check");
    to_running(f);
    signal(SIGXFSZ, SIG_IGN);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &was), 0);
    full = (struct rlimit){spool_bytes(f->slots[0].spool), was.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &full), 0);
    for (unsigned i = 0; i < 2 * (TESTS + 2); i++) {
        unsigned at = i / 2;
        struct warden_step s = {.kind = at == 0   ? STEP_SETUP
                                        : at == 1 ? STEP_COMMAND
                                                  : STEP_TEST,
                                .index = at < 2 ? 0 : at - 2,
                                .ended = i % 2};
        s.exit = at == TESTS + 1 && s.ended ? 3 : 0; /* the very last one fails */
        print(f, 2, &s, sizeof s);
    }
    end_phase(f, WARDEN_RUN, 0, -1);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &was), 0);
    const struct attempt *a = &f->slots[0];
    for (size_t i = 1; i < a->nsteps - 1; i++)
        assert_true(a->steps[i].ran);
    assert_int_equal(a->steps[a->nsteps - 2].exit, 3);
}

/* A jail that ended well says of every test that it ran; one that does not was not heard whole. */
static void a_test_that_never_ran_is_no_success(void **state)
{
    struct fixture *f = *state;
    strv_add(&f->task.tests, "make more");
    to_running(f);
    run_steps(f); /* not the second test */
    end_phase(f, WARDEN_RUN, 0, -1);
    collect_patch(f);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_ERROR, "patch");
    assert_non_null(strstr(f->result.reason, "make more"));
}

static void bad_collectors_lose_no_result(void **state)
{
    static const char *const said[] = {
        "patch " PATCH " 6\n",
        "patch " PATCH " 5",
        "patch " PATCH " 05\n",
        "patch xyz 5\n",
        "unchanged",
        "",
        "patch " PATCH " 99999999999999999999\n",
        "unchanged\nmore\n",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < sizeof said / sizeof *said; i++) {
        to_running(f);
        run_steps(f);
        end_phase(f, WARDEN_RUN, 0, -1);
        int patch = memfd_create("patch", MFD_CLOEXEC);
        assert_int_equal(write_all(patch, "patch", 5), 0);
        expect_state(f, ATTEMPT_COLLECTING, "collect");
        start_phase(f, WARDEN_COLLECT);
        print(f, 0, said[i], strlen(said[i]));
        end_phase(f, WARDEN_COLLECT, 0, patch);
        close(patch);
        expect(f, &f->control, MSG_ENDED);
        fetch(f, OUTCOME_ERROR, "");
        wipe(f, 0);
        wiped(f, true);
        expect(f, &f->control, MSG_RECEIPT);
        end_close(&f->control);
        snprintf(f->task.attempt, sizeof f->task.attempt, "%s.%zu", f->task.id, i + 2);
        f->task.nonce[0]++;
        f->task.fence++;
    }
    f->control.fd = -1;
}

static void a_wipe_that_fails_taints_the_slot(void **state)
{
    struct fixture *f = *state;
    struct dsse d = {0};
    struct receipt r;
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    msg_done(&m);
    offer(f);
    cancel(f);
    open_slot(f);
    expect(f, &f->control, MSG_ACCEPTED);
    expect(f, &f->control, MSG_ENDED);
    fetch(f, OUTCOME_CANCELLED, "");
    wipe(f, 0);
    wiped(f, false);
    m = expect(f, &f->control, MSG_RECEIPT);
    assert_int_equal(dsse_parse(m.u.doc.bytes, m.u.doc.len, &d, NULL), 0);
    assert_int_equal(receipt_decode(d.body.data, d.body.len, &r, NULL), 0);
    assert_false(receipt_clean(&r));
    receipt_done(&r);
    dsse_done(&d);
    assert_int_equal(f->slots[0].at, AT_TAINTED);
    assert_ptr_equal(serve_free_slot(&f->sv), &f->slots[1]);
}

static void messages_out_of_phase_are_refused(void **state)
{
    struct fixture *f = *state;
    to_pack(f);
    wipe(f, 0); /* no result yet */
    expect_refused(f, &f->control, REFUSED_PROTOCOL);
    struct channel_end c = dial(f, CHANNEL_RESULT, 0);
    expect_refused(f, &c, REFUSED_PROTOCOL);
    end_close(&c);
    c = dial(f, CHANNEL_CALL, 0);
    expect_refused(f, &c, REFUSED_PROTOCOL);
    end_close(&c);
    char keep[ATTEMPT_ID_SIZE];
    memcpy(keep, f->task.attempt, sizeof keep);
    snprintf(f->task.attempt, sizeof f->task.attempt, "%s.9", f->task.id);
    cancel(f);
    expect_refused(f, &f->control, REFUSED_UNKNOWN);
    wipe(f, 0);
    expect_refused(f, &f->control, REFUSED_UNKNOWN);
    c = dial(f, CHANNEL_LOG, 0);
    expect_refused(f, &c, REFUSED_UNKNOWN);
    end_close(&c);
    memcpy(f->task.attempt, keep, sizeof keep);
    struct msg m = {.type = MSG_PING, .u.ping.seq = 5};
    say(f, &f->control, &m);
    assert_int_equal(expect(f, &f->control, MSG_PONG).u.ping.seq, 5);
    m = (struct msg){.type = MSG_PACK_OK};
    memcpy(m.u.pack_ok.attempt, keep, sizeof keep);
    say(f, &f->control, &m); /* not a controller's word: refused, and the channel closes */
    m = next(f, &f->control);
    assert_int_equal(m.type, MSG_REFUSED);
    assert_int_equal(m.u.refused.reason, REFUSED_PROTOCOL);
    assert_int_equal(read(f->control.fd, (char[1]){0}, 1), 0);
    assert_int_equal(f->slots[0].at, AT_PACK); /* the attempt does not care */
}

static void a_controller_that_comes_back_finds_it(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    end_close(&f->control);
    turn(f);
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    assert_int_equal(m.u.welcome.attempts.n, 1);
    const struct msg_attempt *a = m.u.welcome.attempts.items;
    assert_string_equal(a->attempt, f->task.attempt);
    assert_int_equal(a->state, ATTEMPT_RUNNING);
    assert_int_equal(a->log_bytes, spool_bytes(f->slots[0].spool));
    msg_done(&m);
    offer(f); /* the same envelope again */
    expect_refused(f, &f->control, REFUSED_REPLAY);
    assert_int_equal(f->slots[0].at, AT_RUNNING);
    asked(f, 0);
}

static void a_warden_that_refuses_leaves_nothing(void **state)
{
    struct fixture *f = *state;
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    msg_done(&m);
    offer(f);
    asked(f, WARDEN_OPEN);
    answer(f, (struct warden_reply){.op = WARDEN_OPEN, .status = ERR_REFUSED, .detail = "mem: no"},
           NULL, 0);
    expect_refused(f, &f->control, REFUSED_LIMIT);
    assert_int_equal(f->slots[0].at, AT_FREE);
    offer(f);
    expect_refused(f, &f->control, REFUSED_REPLAY);
}

/* The log may be read while the slot opens; when it does not open, that stream must not outlive it. */
static void a_refused_slot_takes_its_streams_along(void **state)
{
    struct fixture *f = *state;
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    msg_done(&m);
    offer(f);
    asked(f, WARDEN_OPEN);
    struct channel_end c = dial(f, CHANNEL_LOG, 0);
    assert_int_equal(f->sv.streams.n, 2);
    answer(f, (struct warden_reply){.op = WARDEN_OPEN, .status = ERR_REFUSED, .detail = "mem: no"},
           NULL, 0);
    assert_int_equal(f->slots[0].at, AT_FREE);
    assert_int_equal(f->sv.streams.n, 1);
    assert_int_equal(read(c.fd, (char[1]){0}, 1), 0);
    end_close(&c);
}

static void an_open_slot_without_a_pack_file_is_wiped(void **state)
{
    struct fixture *f = *state;
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    msg_done(&m);
    offer(f);
    asked(f, WARDEN_OPEN);
    answer(f, (struct warden_reply){.op = WARDEN_OPEN}, NULL, 0);
    wiped(f, true);
    expect_refused(f, &f->control, REFUSED_INTERNAL);
    assert_int_equal(f->slots[0].at, AT_FREE);
}

static void a_warden_out_of_turn_is_fatal(void **state)
{
    struct fixture *f = *state;
    to_pack(f);
    answer(f, (struct warden_reply){.op = WARDEN_EXITED}, NULL, 0);
    assert_int_equal(f->fatal, 1);
    answer(f, (struct warden_reply){.op = WARDEN_OPEN, .slot = 7}, NULL, 0);
    assert_int_equal(f->fatal, 2);
}

static void stopping_wipes_in_every_state(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    attempt_event(&f->slots[0], EV_STOP);
    assert_int_equal(f->slots[0].at, AT_WIPING);
    asked(f, WARDEN_WIPE);
    struct warden_reply late = {.op = WARDEN_EXITED, .phase = WARDEN_RUN};
    answer(f, late, NULL, 0); /* on its way when the wipe was asked for */
    struct warden_reply r = {.op = WARDEN_WIPE, .u.wiped = {1, 1, 1, 1}};
    answer(f, r, NULL, 0);
    assert_int_equal(f->slots[0].at, AT_FREE);
    assert_int_equal(f->over, 1);
    assert_int_equal(f->fatal, 0);
}

/* ---- a token for the repository ---- */

static void have_place(struct fixture *f)
{
    static const char *const names[] = {"repo-token", ".repo-token.next"};
    f->task.policy.repo.mode = REPO_TOKEN;
    snprintf(f->task.policy.repo.url, sizeof f->task.policy.repo.url, "https://forge.test/o/r");
    assert_int_equal(mkdirat(f->dir, "place", 0700), 0);
    int dir = openat(f->dir, "place", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 2; i++)
        close(openat(dir, names[i], O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    close(dir);
}

static void say_token(struct fixture *f, const char *token, uint8_t spoil)
{
    struct msg m = {.type = MSG_REPO_TOKEN};
    uint8_t pk[crypto_box_PUBLICKEYBYTES], sealed[REPO_TOKEN_MAX + crypto_box_SEALBYTES];
    size_t n = strlen(token);
    struct buf b64;
    assert_int_equal(crypto_sign_ed25519_pk_to_curve25519(pk, f->sv.identity.pub), 0);
    crypto_box_seal(sealed, (const uint8_t *)token, n, pk);
    sealed[n] ^= spoil;
    buf_init(&b64, sizeof m.u.repo_token.sealed);
    assert_int_equal(b64_add(&b64, sealed, n + crypto_box_SEALBYTES), 0);
    memcpy(m.u.repo_token.attempt, f->task.attempt, sizeof m.u.repo_token.attempt);
    snprintf(m.u.repo_token.sealed, sizeof m.u.repo_token.sealed, "%s", buf_str(&b64));
    memcpy(m.u.repo_token.proof, f->proofs[PROOF_REPO_TOKEN], PROOF_BYTES);
    buf_done(&b64);
    say(f, &f->control, &m);
}

static void token_is(struct fixture *f, const char *name, const char *want)
{
    char path[64];
    struct buf text;
    snprintf(path, sizeof path, "place/%s", name);
    buf_init(&text, REPO_TOKEN_MAX + 1);
    assert_int_equal(file_read(f->dir, path, &text, NULL), 0);
    assert_string_equal(buf_str(&text), want);
    buf_done(&text);
}

static void a_token_is_in_its_place_while_the_run_lasts(void **state)
{
    struct fixture *f = *state;
    char longest[REPO_TOKEN_MAX + 1];
    have_place(f);
    to_checkout(f);
    say_token(f, "ghs_early", 0); /* before there is a jail: kept */
    print(f, 0, "ok " ROOT "\n", 44);
    end_phase(f, WARDEN_CHECKOUT, 0, -1);
    start_phase(f, WARDEN_RUN);
    expect_state(f, ATTEMPT_RUNNING, "");
    token_is(f, "repo-token", "ghs_early");
    memset(longest, 'x', REPO_TOKEN_MAX);
    longest[REPO_TOKEN_MAX] = 0;
    say_token(f, longest, 0);
    token_is(f, "repo-token", longest);
    say_token(f, "ghs_late", 0);
    token_is(f, "repo-token", "ghs_late");
    say_token(f, "ghs_bad", 1);
    expect_refused(f, &f->control, REFUSED_TOKEN);
    token_is(f, "repo-token", "ghs_late");
    end_phase(f, WARDEN_RUN, 0, -1);
    token_is(f, "repo-token", "");
    token_is(f, ".repo-token.next", "");
    assert_int_equal(f->slots[0].token_dir, -1);
    expect_state(f, ATTEMPT_COLLECTING, "collect");
    say_token(f, "ghs_after", 0); /* crossed the end: not taken, not refused */
    struct msg m = next(f, &f->control);
    assert_int_equal(m.type, 0);
    token_is(f, "repo-token", "");
}

static void expect_no_proof(struct fixture *f)
{
    say_token(f, "ghp_swapped", 0);
    expect_refused(f, &f->control, REFUSED_PROOF);
    token_is(f, "repo-token", "ghs_first");
}

/* A login alone changes no token: that takes the attempt's envelope. */
/* Who has the login alone can neither take the place of the source under way nor end the attempt by a wrong one. */
static void a_pack_takes_the_envelope(void **state)
{
    struct fixture *f = *state;
    to_pack(f);
    struct channel_end c = dial(f, CHANNEL_PACK, 0), d;
    assert_int_equal(write_all(c.fd, PACK, 4), 0);
    turn(f);
    f->proofs[PROOF_PACK][0] ^= 1;
    d = dial(f, CHANNEL_PACK, 0);
    expect_refused(f, &d, REFUSED_PROOF);
    end_close(&d);
    memcpy(f->proofs[PROOF_PACK], f->proofs[PROOF_CALL], PROOF_BYTES);
    d = dial(f, CHANNEL_PACK, 0);
    expect_refused(f, &d, REFUSED_PROOF);
    end_close(&d);
    assert_int_equal(f->slots[0].pack_got, 4);
    assert_int_equal(write_all(c.fd, PACK + 4, strlen(PACK) - 4), 0);
    expect(f, &c, MSG_PACK_OK);
    end_close(&c);
    assert_int_equal(f->slots[0].at, AT_CHECKOUT);
}

static void a_token_takes_the_envelope(void **state)
{
    struct fixture *f = *state;
    uint8_t good[PROOF_BYTES], *proof = f->proofs[PROOF_REPO_TOKEN];
    have_place(f);
    to_running(f);
    say_token(f, "ghs_first", 0);
    token_is(f, "repo-token", "ghs_first");
    memcpy(good, proof, sizeof good);
    proof[0] ^= 1;
    expect_no_proof(f);
    memset(proof, 0, PROOF_BYTES);
    expect_no_proof(f);
    memcpy(proof, f->slots[0].envelope_sha256, PROOF_BYTES);
    expect_no_proof(f);
    memcpy(proof, f->proofs[PROOF_CALL], PROOF_BYTES);
    expect_no_proof(f);
    offer_another(f);
    expect_no_proof(f);
    memcpy(proof, good, sizeof good);
    say_token(f, "ghs_second", 0);
    token_is(f, "repo-token", "ghs_second");
}

static void without_a_policy_no_token_is_taken(void **state)
{
    struct fixture *f = *state;
    to_running(f);
    say_token(f, "ghs_x", 0);
    expect_refused(f, &f->control, REFUSED_PROTOCOL);
    assert_null(f->slots[0].token);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_table_is_what_it_should_be),
        T(a_token_is_in_its_place_while_the_run_lasts),
        T(a_token_takes_the_envelope),
        T(a_pack_takes_the_envelope),
        T(without_a_policy_no_token_is_taken),
        T(a_whole_life),
        T(what_the_gate_did_is_told),
        T(the_wipe_waits_for_the_gate),
        T(the_log_resumes_at_every_byte),
        T(a_log_is_live),
        T(bad_packs_end_wiped),
        T(a_lost_pack_may_come_again),
        T(a_bad_tree_is_refused),
        T(a_checkout_that_says_something_else_is_refused),
        T(cancel_while_opening_and_before_the_pack),
        T(cancel_saves_the_work),
        T(orders_must_be_signed),
        T(out_of_time_saves_the_work),
        T(a_late_start_is_not_the_wall_limit),
        T(a_collector_out_of_memory_is_a_limit),
        T(a_warden_that_does_not_kill_is_fatal),
        T(forged_status_records_are_no_success),
        T(records_outlive_a_full_spool),
        T(a_test_that_never_ran_is_no_success),
        T(bad_collectors_lose_no_result),
        T(a_wipe_that_fails_taints_the_slot),
        T(messages_out_of_phase_are_refused),
        T(a_controller_that_comes_back_finds_it),
        T(a_warden_that_refuses_leaves_nothing),
        T(a_refused_slot_takes_its_streams_along),
        T(an_open_slot_without_a_pack_file_is_wiped),
        T(a_warden_out_of_turn_is_fatal),
        T(stopping_wipes_in_every_state),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
