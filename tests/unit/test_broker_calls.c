/* The engine's end of the broker (controller/broker.c) against a process that does what a test wants:
 * descriptors of calls arrive with their own frames, in order, and what the process says unasked is told.
 * This program is its own `creel broker`. */
#include "controller/broker.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>
#include <sodium.h>

#include "common/file.h"
#include "controller/broker_wire.h"
#include "controller/redact.h"

#define CALLS 100

/* ---- the process ---- */

static void put(const struct buf *b)
{
    if (write_all(BROKER_FD, b->data, b->len) < 0)
        _exit(2);
}

static void tell(enum broker_type type, const char *attempt, const char *text)
{
    struct broker_tell t = {0};
    struct buf b;
    struct err err = ERR_INIT;
    snprintf(t.attempt, sizeof t.attempt, "%s", attempt);
    snprintf(t.text, sizeof t.text, "%s", text);
    buf_init(&b, 65536);
    if (broker_put(&b, type, &broker_tell_shape, &t, &err) < 0)
        _exit(3);
    put(&b);
    buf_done(&b);
}

static void tell_needles(void)
{
    struct buf json, b;
    struct err err = ERR_INIT;
    struct needles *set = needles_new(&err);
    buf_init(&json, FRAME_PAYLOAD_MAX);
    buf_init(&b, FRAME_PAYLOAD_MAX + 64);
    if (!set || needles_add(set, "openai", "a canary of some length", 23, &err) < 0 ||
        needles_encode(set, &json, &err) < 0 ||
        frame_put(&b, BROKER_NEEDLES, json.data, json.len) < 0)
        _exit(3);
    put(&b);
    needles_free(set);
    buf_done(&json);
    buf_done(&b);
}

static void hello(void)
{
    struct broker_hello h = {0};
    struct buf b;
    struct err err = ERR_INIT;
    buf_init(&b, 4096);
    if (broker_put(&b, BROKER_HELLO, &broker_hello_shape, &h, &err) < 0)
        _exit(3);
    put(&b);
    buf_done(&b);
}

/* Bytes, and the descriptors that came with them, counted in. */
static ssize_t hear(struct buf *in, int *fds, size_t *nfds)
{
    union {
        char space[CMSG_SPACE(8 * sizeof(int))];
        struct cmsghdr align;
    } control;
    /* Little at a time, so that a frame and its descriptor come apart if they can. */
    struct iovec iov = {buf_room(in, 7), 7};
    struct msghdr m = {.msg_iov = &iov,
                       .msg_iovlen = 1,
                       .msg_control = &control,
                       .msg_controllen = sizeof control};
    ssize_t n = recvmsg(BROKER_FD, &m, MSG_CMSG_CLOEXEC);
    if (n <= 0)
        return n;
    buf_wrote(in, (size_t)n);
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++)
            memcpy(&fds[(*nfds)++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    return n;
}

/* Says the attempt's name into each call's socket; "die" in the name ends the process. */
static void answer_call(const struct frame *f, int fd)
{
    struct broker_call q;
    struct err err = ERR_INIT;
    if (json_decode(&broker_call_shape, f->payload, f->len, &q, &err) < 0)
        _exit(4);
    if (strstr(q.attempt, "die"))
        _exit(0);
    if (write_all(fd, q.attempt, strlen(q.attempt)) < 0)
        _exit(5);
    close(fd);
}

static int scripted_main(const char *script)
{
    struct buf in;
    struct frame f;
    struct err err = ERR_INIT;
    int fds[CALLS + 8];
    size_t nfds = 0, taken = 0, used;
    buf_init(&in, 1u << 20);
    hello();
    if (strcmp(script, "talks") == 0) {
        tell(BROKER_NOTE, "a.1", "budget: 80 % of $2.50 spent");
        tell(BROKER_STOP, "a.2", "budget: nothing is left");
        tell(BROKER_REPO_TOKEN, "a.3", "c2VhbGVk");
        tell_needles();
    }
    if (strcmp(script, "garbage") == 0)
        (void)!write(BROKER_FD, "\0\0\0\2\x0c{]", 7);
    while (hear(&in, fds, &nfds) > 0) {
        while (frame_get(in.data, in.len, &f, &used, &err) > 0) {
            if (f.type == BROKER_CALL) {
                if (nfds <= taken)
                    _exit(6); /* its descriptor did not come with it */
                answer_call(&f, fds[taken++]);
            }
            buf_drop(&in, used);
        }
    }
    buf_done(&in);
    return nfds == taken ? 0 : 7;
}

/* ---- the tests ---- */

struct rig {
    char self[PATH_MAX];
    uv_loop_t loop;
    struct broker *b;
    char said[1024];
    int nsaid, answers;
};

static void heard(struct rig *r, const char *what, const char *attempt, const char *text)
{
    size_t n = strlen(r->said);
    snprintf(r->said + n, sizeof r->said - n, "%s %s %s\n", what, attempt, text);
    r->nsaid++;
}

static void on_note(void *arg, const char *attempt, const char *text)
{
    heard(arg, "note", attempt, text);
}

static void on_stop(void *arg, const char *attempt, const char *reason)
{
    heard(arg, "stop", attempt, reason);
}

static void on_repo_token(void *arg, const char *attempt, const char *sealed)
{
    heard(arg, "token", attempt, sealed);
}

static void on_needles(void *arg, struct needles *set)
{
    size_t at = 0;
    const char *name = needles_find(set, "xx a canary of some length", 26, &at);
    heard(arg, "needles", name ? name : "?", at == 3 ? "found" : "elsewhere");
    needles_free(set);
}

static void on_anew(void *arg)
{
    heard(arg, "anew", "", "");
}

static const struct broker_events events = {.note = on_note,
                                            .stop = on_stop,
                                            .repo_token = on_repo_token,
                                            .needles = on_needles,
                                            .anew = on_anew};

static void start(struct rig *r, const char *script)
{
    struct err err = ERR_INIT;
    r->said[0] = 0;
    r->nsaid = r->answers = 0;
    if (broker_start(&r->loop, r->self, script, "/nonexistent", &r->b, &err) < 0)
        fail_msg("%s", err.msg);
    broker_on(r->b, &events, r);
}

static void stop(struct rig *r)
{
    broker_close(r->b);
    uv_run(&r->loop, UV_RUN_DEFAULT);
}

static int call(struct rig *r, const char *attempt)
{
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    broker_call(r->b, attempt, pair[1]);
    return pair[0];
}

static void test_each_call_has_its_own_descriptor(void **state)
{
    struct rig *r = *state;
    int fds[CALLS];
    char want[64], got[64];
    start(r, "quiet");
    for (int i = 0; i < CALLS; i++) {
        snprintf(want, sizeof want, "attempt.%d", i);
        fds[i] = call(r, want);
        if (i % 3 == 0) /* other frames in between */
            broker_attempt_end(r->b, "another.1");
        if (i % 7 == 0)
            uv_run(&r->loop, UV_RUN_NOWAIT);
    }
    for (int i = 0; i < CALLS; i++) {
        ssize_t n, all = 0;
        snprintf(want, sizeof want, "attempt.%d", i);
        uv_run(&r->loop, UV_RUN_NOWAIT);
        while ((n = recv(fds[i], got + all, sizeof got - (size_t)all - 1, 0)) > 0)
            all += n;
        got[all] = 0;
        assert_string_equal(got, want);
        close(fds[i]);
    }
    stop(r);
}

static void test_unasked(void **state)
{
    struct rig *r = *state;
    start(r, "talks");
    while (r->nsaid < 4)
        uv_run(&r->loop, UV_RUN_ONCE);
    assert_string_equal(r->said, "note a.1 budget: 80 % of $2.50 spent\n"
                                 "stop a.2 budget: nothing is left\n"
                                 "token a.3 c2VhbGVk\n"
                                 "needles openai found\n");
    stop(r);
}

static void on_token(void *arg, bool alive, const struct err *err)
{
    struct rig *r = arg;
    assert_false(alive);
    assert_non_null(err);
    assert_non_null(strstr(err->msg, "broker process is gone"));
    r->answers++;
}

static void ask_and_fail(struct rig *r)
{
    static const uint8_t token[TASK_TOKEN_BYTES];
    broker_token_check(r->b, "x.1", token, on_token, r);
    while (!r->answers)
        uv_run(&r->loop, UV_RUN_ONCE);
}

/* Calls that nobody takes any more end, none hangs; the next one is a new process's, a few times a minute. */
static void test_without_a_process_calls_end(void **state)
{
    struct rig *r = *state;
    char byte, got[64];
    start(r, "quiet");
    int dies = call(r, "die.1"), after = call(r, "after.1");
    ask_and_fail(r);
    assert_int_equal(recv(dies, &byte, 1, 0), 0);
    assert_int_equal(recv(after, &byte, 1, 0) <= 0, 1);
    close(dies);
    close(after);
    assert_int_equal(r->nsaid, 0);
    for (int i = 1; i <= 3; i++) {
        int late = call(r, "late.1");
        while (r->nsaid < i)
            uv_run(&r->loop, UV_RUN_ONCE);
        assert_int_equal(recv(late, got, sizeof got, 0), 6);
        assert_memory_equal(got, "late.1", 6);
        close(late);
        dies = call(r, "die.1");
        r->answers = 0;
        ask_and_fail(r);
        close(dies);
    }
    assert_string_equal(r->said, "anew  \nanew  \nanew  \n");
    int late = call(r, "late.1");
    assert_int_equal(recv(late, &byte, 1, 0), 0);
    close(late);
    stop(r);
}

static void test_garbage(void **state)
{
    struct rig *r = *state;
    start(r, "garbage");
    ask_and_fail(r);
    assert_int_equal(r->nsaid, 0);
    stop(r);
}

static int group_setup(void **state)
{
    static struct rig r;
    *state = &r;
    signal(SIGPIPE, SIG_IGN);
    ssize_t n = readlink("/proc/self/exe", r.self, sizeof r.self - 1);
    return n > 0 ? uv_loop_init(&r.loop) : -1;
}

static int group_teardown(void **state)
{
    struct rig *r = *state;
    return uv_loop_close(&r->loop);
}

int main(int argc, char **argv)
{
    alarm(60); /* what never comes is a failure, not a hang */
    if (sodium_init() < 0)
        return 1;
    if (argc == 4 && strcmp(argv[1], "broker") == 0)
        return scripted_main(argv[2]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_call_has_its_own_descriptor),
        cmocka_unit_test(test_unasked),
        cmocka_unit_test(test_without_a_process_calls_end),
        cmocka_unit_test(test_garbage),
    };
    cmocka_set_test_filter(argc == 2 ? argv[1] : NULL);
    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
