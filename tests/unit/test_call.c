/* The broker's door of an attempt (runner/call.c, call_conn.c): serve's channels on one side, a client of
 * the jail on the other, in one process. Nothing is measured; what must come is waited for. */
#include "tests/unit/attempt_fixture.h"

#include <arpa/inet.h>
#include <errno.h>
#include <signal.h>
#include <poll.h>

#include "runner/attach.h"
#include "runner/call_internal.h"

#define TURNS 4000

/* Turns the loop until `cond`, which must come. */
#define until(f, cond)                                       \
    do {                                                     \
        int turns_ = TURNS;                                  \
        bool come_;                                          \
        while (!(come_ = (cond)) && turns_-- > 0) {          \
            uv_run(&(f)->sv.loop, UV_RUN_NOWAIT);            \
            poll(NULL, 0, 1);                                \
        }                                                    \
        if (!come_)                                          \
            fail_msg("line %d: never: %s", __LINE__, #cond); \
    } while (0)

static struct fixture *spending(void **state, unsigned in_flight)
{
    struct fixture *f = *state;
    struct spend *s = &f->task.policy.spend;
    spend_init(s);
    snprintf(s->provider, sizeof s->provider, "openai");
    s->usd_micros = 1000000;
    s->in_flight = in_flight;
    memset(s->prices_sha256, 1, sizeof s->prices_sha256);
    return f;
}

/* Up to the run, and past what its beginning says: `wanted` more channels, then its state. */
static void run_with_calls(struct fixture *f)
{
    to_checkout(f);
    print(f, 0, "ok " ROOT "\n", 44);
    end_phase(f, WARDEN_CHECKOUT, 0, -1);
    start_phase(f, WARDEN_RUN);
    struct msg m = expect(f, &f->control, MSG_CALLS);
    assert_string_equal(m.u.calls.attempt, f->task.attempt);
    assert_int_equal(m.u.calls.wanted, 1);
    expect_state(f, ATTEMPT_RUNNING, "");
}

static void expect_calls(struct fixture *f, int wanted)
{
    struct msg m = expect(f, &f->control, MSG_CALLS);
    assert_int_equal(m.u.calls.wanted, wanted);
}

static void expect_nothing(struct fixture *f)
{
    struct msg m = next(f, &f->control);
    if (m.type)
        fail_msg("%s came", msg_name(m.type));
}

static int knock(struct fixture *f)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&f->door, sizeof f->door), 0);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    turn(f);
    return fd;
}

static void say_text(struct fixture *f, int fd, const char *text)
{
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    turn(f);
}

static void hear_text(struct fixture *f, int fd, const char *text)
{
    char got[256] = "";
    size_t n = 0, want = strlen(text);
    ssize_t r = -1;
    until(f, (r = read(fd, got + n, want - n)) == 0 || (r > 0 && (n += (size_t)r) == want));
    assert_string_equal(got, text);
}

static void hear_end(struct fixture *f, int fd, bool clean)
{
    char byte;
    ssize_t r = -1;
    until(f, (r = read(fd, &byte, 1)) >= 0 || errno != EAGAIN);
    assert_int_equal(r, clean ? 0 : -1);
}

/* All that comes until the end, as text. */
static void hear_all(struct fixture *f, int fd, char *to, size_t size)
{
    size_t n = 0;
    ssize_t r = -1;
    until(f, (r = read(fd, to + n, size - 1 - n)) == 0 || (r > 0 && (n += (size_t)r) == 0));
    to[n] = 0;
}

static struct calls *calls_of(struct fixture *f)
{
    return f->slots[0].calls;
}

/* ---- tests ---- */

static void without_a_policy_there_is_no_broker(void **state)
{
    struct fixture *f = *state;
    char text[1024];
    to_running(f);
    assert_null(calls_of(f));
    int c = knock(f);
    hear_all(f, c, text, sizeof text);
    assert_non_null(strstr(text, "this task has no broker"));
    close(c);
    struct channel_end s = dial(f, CHANNEL_CALL, 0);
    expect_refused(f, &s, REFUSED_PROTOCOL);
    end_close(&s);
}

static void a_channel_ahead_of_need(void **state)
{
    struct fixture *f = spending(state, 8);
    run_with_calls(f);
    struct channel_end s = dial(f, CHANNEL_CALL, 0);
    expect_nothing(f); /* one is enough */
    assert_int_equal(calls_of(f)->nidle, 1);
    int c = knock(f);
    assert_int_equal(calls_of(f)->nidle, 0);
    assert_int_equal(calls_of(f)->nopen, 1);
    expect_calls(f, 1); /* the next one's */
    say_text(f, c, "GET / HTTP/1.1\r\n\r\n");
    hear_text(f, s.fd, "GET / HTTP/1.1\r\n\r\n");
    assert_int_equal(write_all(s.fd, "HTTP/1.1 200 OK\r\n\r\nyes", 22), 0);
    hear_text(f, c, "HTTP/1.1 200 OK\r\n\r\nyes");
    /* The answer's end, then the client's: all is over. */
    shutdown(s.fd, SHUT_WR);
    hear_end(f, c, true);
    close(c);
    hear_end(f, s.fd, true);
    until(f, calls_of(f)->nopen == 0);
    until(f, read(s.attach, (char[1]){0}, 1) == 0);
    end_close(&s);
}

static void expect_no_proof(struct fixture *f)
{
    struct channel_end s = dial(f, CHANNEL_CALL, 0);
    expect_refused(f, &s, REFUSED_PROOF);
    assert_int_equal(read(s.fd, (char[1]){0}, 1), 0);
    assert_int_equal(calls_of(f)->nidle, 0);
    assert_int_equal(calls_of(f)->nopen, 0);
    end_close(&s);
}

/* Whoever can open a channel, but has not the attempt's envelope, gets no connection of its jail's. */
static void a_channel_takes_the_envelope(void **state)
{
    struct fixture *f = spending(state, 8);
    uint8_t good[PROOF_BYTES];
    run_with_calls(f);
    int c = knock(f); /* waits to be taken */
    expect_calls(f, 1);
    memcpy(good, f->proofs[PROOF_CALL], sizeof good);
    for (size_t i = 0; i < sizeof good; i += sizeof good - 1) {
        f->proofs[PROOF_CALL][i] ^= 1;
        expect_no_proof(f);
        f->proofs[PROOF_CALL][i] ^= 1;
    }
    /* What a result tells everybody, and what is good for something else. */
    memcpy(f->proofs[PROOF_CALL], f->slots[0].envelope_sha256, PROOF_BYTES);
    expect_no_proof(f);
    memcpy(f->proofs[PROOF_CALL], f->proofs[PROOF_REPO_TOKEN], PROOF_BYTES);
    expect_no_proof(f);
    offer_another(f);
    expect_no_proof(f);
    assert_int_equal(calls_of(f)->nwaiting, 1);
    memcpy(f->proofs[PROOF_CALL], good, sizeof good);
    struct channel_end s = dial(f, CHANNEL_CALL, 0);
    assert_int_equal(calls_of(f)->nopen, 1);
    say_text(f, c, "GET / HTTP/1.1\r\n\r\n");
    hear_text(f, s.fd, "GET / HTTP/1.1\r\n\r\n");
    end_close(&s);
    close(c);
}

/* A client may say all it has first; the answer still comes. */
static void ends_are_passed_each_for_itself(void **state)
{
    struct fixture *f = spending(state, 8);
    run_with_calls(f);
    struct channel_end s = dial(f, CHANNEL_CALL, 0);
    int c = knock(f);
    say_text(f, c, "ask");
    shutdown(c, SHUT_WR);
    hear_text(f, s.fd, "ask");
    hear_end(f, s.fd, true);
    shutdown(s.attach, SHUT_WR); /* attach goes first, as sshd reaps it */
    assert_int_equal(write_all(s.fd, "answer", 6), 0);
    turn(f);
    shutdown(s.fd, SHUT_WR);
    hear_text(f, c, "answer");
    hear_end(f, c, true);
    until(f, calls_of(f)->nopen == 0);
    close(c);
    end_close(&s);
}

/* sshd gives two pipes: where half of a socket would be shut, attach is told to let go of its end. */
static void the_end_of_what_is_said_over_pipes(void **state)
{
    struct fixture *f = spending(state, 8);
    struct msg hello = {.type = MSG_HELLO};
    int at[2], in[2], out[2];
    char said[8];
    struct buf b;
    run_with_calls(f);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, at), 0);
    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    assert_int_equal(stream_new(&f->sv.streams, at[1], NULL), 0);
    assert_int_equal(fdpass_send(at[0], "a", 1, (int[]){in[0], out[1]}, 2, NULL), 0);
    close(in[0]);
    hello.u.hello.version = PROTO_VERSION;
    hello.u.hello.channel = CHANNEL_CALL;
    snprintf(hello.u.hello.program, sizeof hello.u.hello.program, "test");
    memcpy(hello.u.hello.attempt, f->task.attempt, sizeof hello.u.hello.attempt);
    memcpy(hello.u.hello.proof, f->proofs[PROOF_CALL], PROOF_BYTES);
    buf_init(&b, 4096);
    assert_int_equal(msg_put(&b, &hello, NULL), 0);
    assert_int_equal(write_all(in[1], b.data, b.len), 0);
    buf_done(&b);
    fcntl(out[0], F_SETFL, O_NONBLOCK);
    turn(f);
    int c = knock(f);
    say_text(f, c, "ask");
    shutdown(c, SHUT_WR);
    hear_text(f, out[0], "ask");
    until(f, recv(at[0], said, sizeof said, MSG_DONTWAIT) == 1);
    assert_int_equal(said[0], *ATTACH_LET_GO);
    close(out[1]); /* attach's end */
    hear_end(f, out[0], true);
    assert_int_equal(write_all(in[1], "answer", 6), 0);
    close(in[1]);
    hear_text(f, c, "answer");
    hear_end(f, c, true);
    until(f, calls_of(f)->nopen == 0);
    close(c);
    close(out[0]);
    close(at[0]);
}

static void those_who_wait_are_served_in_their_order(void **state)
{
    struct fixture *f = spending(state, 8);
    char text[16];
    int c[5];
    struct channel_end s[5];
    run_with_calls(f); /* asked for one, which does not come yet */
    for (int i = 0; i < 5; i++) {
        c[i] = knock(f);
        snprintf(text, sizeof text, "client %d", i);
        say_text(f, c[i], text);
        expect_calls(f, 1);
    }
    assert_int_equal(calls_of(f)->nwaiting, 5);
    for (int i = 0; i < 5; i++) {
        s[i] = dial(f, CHANNEL_CALL, 0);
        snprintf(text, sizeof text, "client %d", i);
        hear_text(f, s[i].fd, text);
    }
    expect_nothing(f);
    assert_int_equal(calls_of(f)->nopen, 5);
    for (int i = 0; i < 5; i++) {
        end_close(&s[i]); /* lost: clients are told that what they have is not all */
        hear_end(f, c[i], false);
        close(c[i]);
    }
}

static void a_controller_that_comes_back_is_asked_again(void **state)
{
    struct fixture *f = spending(state, 8);
    run_with_calls(f);
    int a = knock(f), b = knock(f);
    expect_calls(f, 1);
    expect_calls(f, 1);
    end_close(&f->control);
    turn(f);
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    msg_done(&m);
    expect_calls(f, 3);
    say_text(f, a, "still here");
    struct channel_end s = dial(f, CHANNEL_CALL, 0);
    hear_text(f, s.fd, "still here");
    close(a);
    close(b);
    end_close(&s);
}

static void who_waits_too_long_is_told_so(void **state)
{
    struct fixture *f = spending(state, 8);
    char text[1024];
    run_with_calls(f);
    calls_of(f)->setup.wait_ms = 1;
    int c = knock(f);
    say_text(f, c, "POST /v1/responses HTTP/1.1\r\n\r\n");
    hear_all(f, c, text, sizeof text);
    assert_int_equal(strncmp(text, "HTTP/1.1 503 ", 13), 0);
    assert_non_null(strstr(text, "\"error\""));
    assert_non_null(strstr(text, "not connected"));
    until(f, calls_of(f)->nleaving == 1);
    close(c);
    until(f, !calls_of(f)->list);
}

static void doors_are_bounded(void **state)
{
    struct fixture *f = spending(state, 4);
    char text[1024];
    int c[20], last[CALLS_GOODBYE_MAX];
    run_with_calls(f);
    for (int i = 0; i < 20; i++)
        c[i] = knock(f);
    assert_int_equal(calls_of(f)->nwaiting, 20);
    int over = knock(f);
    hear_all(f, over, text, sizeof text);
    assert_int_equal(strncmp(text, "HTTP/1.1 429 ", 13), 0);
    assert_non_null(strstr(text, "too many connections"));
    close(over);
    until(f, calls_of(f)->nleaving == 0);
    /* Those who do not go are not kept for ever, and no more of them than so many. */
    for (int i = 0; i < CALLS_GOODBYE_MAX; i++)
        last[i] = knock(f);
    until(f, calls_of(f)->nleaving == CALLS_GOODBYE_MAX);
    over = knock(f);
    hear_end(f, over, true); /* closed without a word */
    close(over);
    close(c[0]); /* who waits is not looked at: its channel finds out */
    for (int i = 0; i < CALLS_GOODBYE_MAX; i++)
        close(last[i]);
    for (int i = 1; i < 20; i++)
        close(c[i]);
}

static void more_channels_than_anybody_asked_for_are_refused(void **state)
{
    struct fixture *f = spending(state, 4);
    struct channel_end s[CALLS_IDLE_MAX], over;
    run_with_calls(f);
    for (int i = 0; i < CALLS_IDLE_MAX; i++)
        s[i] = dial(f, CHANNEL_CALL, 0);
    over = dial(f, CHANNEL_CALL, 0);
    expect_refused(f, &over, REFUSED_BUSY);
    end_close(&over);
    /* One that speaks before anybody asked it ends, and the others go on. */
    assert_int_equal(write_all(s[0].fd, "x", 1), 0);
    hear_end(f, s[0].fd, true);
    assert_int_equal(calls_of(f)->nidle, CALLS_IDLE_MAX - 1);
    int c = knock(f);
    say_text(f, c, "hello");
    hear_text(f, s[1].fd, "hello");
    close(c);
    for (int i = 0; i < CALLS_IDLE_MAX; i++)
        end_close(&s[i]);
}

/* Fills `fd` until nothing more goes, though the loop turns. */
static size_t stuff(struct fixture *f, int fd)
{
    static char chunk[65536];
    size_t n = 0;
    for (int idle = 0; idle < 50;) {
        ssize_t w = write(fd, chunk, sizeof chunk);
        n += w > 0 ? (size_t)w : 0;
        idle = w > 0 ? 0 : idle + 1;
        turn(f);
        assert_true(n < 64u << 20); /* else it is kept somewhere without a bound */
    }
    return n;
}

static size_t drain(struct fixture *f, int fd, size_t n)
{
    static char chunk[65536];
    size_t got = 0;
    ssize_t r = -1;
    until(f, ((r = read(fd, chunk, sizeof chunk)) > 0 && (got += (size_t)r) >= n) || r == 0);
    return got;
}

static void a_slow_side_holds_the_other_back(void **state)
{
    struct fixture *f = spending(state, 8);
    run_with_calls(f);
    struct channel_end s = dial(f, CHANNEL_CALL, 0);
    int c = knock(f);
    size_t n = stuff(f, c);
    struct call *call = calls_of(f)->list;
    assert_true(call->to_ctl.len > 0 && call->to_ctl.len <= STREAM_CHUNK);
    assert_int_equal(drain(f, s.fd, n), n);
    n = stuff(f, s.fd);
    assert_true(call->to_jail.len > 0 && call->to_jail.len <= STREAM_CHUNK);
    assert_true(call->stream->held_back);
    shutdown(s.fd, SHUT_WR); /* the end comes behind what is held */
    assert_int_equal(drain(f, c, n), n);
    hear_end(f, c, true);
    close(c);
    until(f, calls_of(f)->nopen == 0);
    end_close(&s);
}

static void all_end_with_the_jail(void **state)
{
    struct fixture *f = spending(state, 8);
    run_with_calls(f);
    struct channel_end s = dial(f, CHANNEL_CALL, 0), spare = dial(f, CHANNEL_CALL, 0);
    int c = knock(f), waits;
    say_text(f, c, "x");
    hear_text(f, s.fd, "x");
    waits = knock(f); /* takes the spare */
    expect_calls(f, 1);
    end_phase(f, WARDEN_RUN, 0, -1);
    assert_null(calls_of(f));
    hear_end(f, c, false);
    hear_end(f, waits, false);
    hear_end(f, s.fd, true);
    hear_end(f, spare.fd, true);
    struct channel_end late = dial(f, CHANNEL_CALL, 0);
    expect_refused(f, &late, REFUSED_PROTOCOL);
    end_close(&late);
    end_close(&s);
    end_close(&spare);
    close(c);
    close(waits);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(without_a_policy_there_is_no_broker),
        T(a_channel_ahead_of_need),
        T(a_channel_takes_the_envelope),
        T(ends_are_passed_each_for_itself),
        T(the_end_of_what_is_said_over_pipes),
        T(those_who_wait_are_served_in_their_order),
        T(a_controller_that_comes_back_is_asked_again),
        T(who_waits_too_long_is_told_so),
        T(doors_are_bounded),
        T(more_channels_than_anybody_asked_for_are_refused),
        T(a_slow_side_holds_the_other_back),
        T(all_end_with_the_jail),
    };
    cmocka_set_test_filter(argc == 2 ? argv[1] : NULL);
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
