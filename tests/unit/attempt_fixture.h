/* What test_attempt.c and test_call.c play with: serve's unprivileged half in this process, a controller
 * on one side of socketpairs (dial, say, expect), the warden on the other (asked, answer). */
#ifndef TESTS_UNIT_ATTEMPT_FIXTURE_H
#define TESTS_UNIT_ATTEMPT_FIXTURE_H

#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/file.h"
#include "proto/dsse.h"
#include "proto/order.h"
#include "runner/attempt_internal.h"
#include "runner/channels.h"
#include "runner/fdpass.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* not every test needs all of it */

#define ROOT  "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define PATCH "cccccccccccccccccccccccccccccccccccccccc"
#define PACK  "PACK of the source"

struct channel_end {
    int attach, fd;
    struct buf in;
    size_t used;
};

struct fixture {
    char path[64];
    int dir, warden; /* the test's end */
    struct serve sv;
    struct runner_config cfg;
    struct attempt slots[2];
    uint8_t runner_sec[KEY_SEC_BYTES], ctl_sec[KEY_SEC_BYTES];
    struct task task;
    uint8_t proofs[PROOF_COUNT][PROOF_BYTES]; /* of the envelope last offered */
    struct channel_end control;
    int fatal, over, out[3];        /* write ends of the phase's pipes */
    struct sockaddr_in proxy, door; /* the gate's and the broker's of the run */
    uint8_t result_sha256[32];
    struct result result;
    struct buf log;
};

/* ---- serve's callbacks ---- */

static void on_tell(void *arg, const struct msg *m)
{
    control_tell(arg, m);
}

static void on_drop(void *arg, const struct attempt *a)
{
    struct serve *sv = arg;
    for (struct stream *s = sv->streams.streams, *next; s; s = next) {
        next = s->next;
        if (s->attempt == a && s->channel != CHANNEL_PACK)
            stream_close(s);
    }
}

static struct fixture *fixture_of(struct serve *sv)
{
    return (struct fixture *)(void *)((char *)sv - offsetof(struct fixture, sv));
}

static void on_over(void *arg, const struct attempt *a)
{
    fixture_of(arg)->over++;
}

static void on_fatal(void *arg, const struct err *err)
{
    fixture_of(arg)->fatal++;
}

static void on_reply(void *arg, const struct warden_reply *r, int *fds, size_t nfds)
{
    struct serve *sv = arg;
    attempt_reply(&sv->attempts[r->slot], r, fds, nfds);
}

/* ---- fixture ---- */

static void turn(struct fixture *f)
{
    for (int i = 0; i < 20; i++)
        uv_run(&f->sv.loop, UV_RUN_NOWAIT);
}

static void task_fill(struct fixture *f)
{
    struct task *t = &f->task;
    uint8_t token[TASK_TOKEN_BYTES], pk[crypto_box_PUBLICKEYBYTES];
    char hex[2 * TASK_TOKEN_BYTES + 1];
    snprintf(t->id, sizeof t->id, "01arz3ndektsv4rrffq69g5fav");
    snprintf(t->attempt, sizeof t->attempt, "%s.1", t->id);
    key_fingerprint(f->ctl_sec + 32, t->iss);
    snprintf(t->aud_host, sizeof t->aud_host, "h");
    memcpy(t->aud_host_key, f->sv.identity.host_key, sizeof t->aud_host_key);
    t->iat = t->nbf = clock_wall_s();
    t->exp = t->iat + 3600;
    randombytes_buf(t->nonce, sizeof t->nonce);
    t->fence = 10;
    memset(t->base, 'a', 40);
    snprintf(t->root, sizeof t->root, ROOT);
    snprintf(t->branch, sizeof t->branch, "creel/%s", t->id);
    t->pack_bytes = strlen(PACK);
    sha256_of(PACK, strlen(PACK), t->pack_sha256);
    strv_add(&t->setup, "make ready");
    strv_add(&t->command, "agent");
    strv_add(&t->tests, "make check");
    policy_init(&t->policy);
    randombytes_buf(token, sizeof token);
    sodium_bin2hex(hex, sizeof hex, token, sizeof token);
    sha256_of(hex, sizeof hex - 1, t->token_sha256);
    assert_int_equal(crypto_sign_ed25519_pk_to_curve25519(pk, f->sv.identity.pub), 0);
    crypto_box_seal(t->token_sealed, token, sizeof token, pk);
}

static void keys(struct fixture *f)
{
    struct identity *id = &f->sv.identity;
    crypto_sign_keypair(id->pub, f->runner_sec);
    crypto_sign_keypair(id->controllers.keys[0], f->ctl_sec);
    id->controllers.n = 1;
    id->sec = f->runner_sec;
    key_fingerprint(id->pub, id->fpr);
    key_fingerprint(id->pub, id->host_key);
    snprintf(id->program, sizeof id->program, "creel-runner test");
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    struct serve *sv = &f->sv;
    int pair[2];
    snprintf(f->path, sizeof f->path, "/tmp/test_attempt.XXXXXX");
    if (sodium_init() < 0 || !mkdtemp(f->path))
        return -1;
    f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    f->cfg.slots = 2;
    sv->cfg = &f->cfg;
    sv->attempts = f->slots;
    keys(f);
    assert_int_equal(seen_open(f->dir, clock_wall_s(), &sv->seen, NULL), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    f->warden = pair[0];
    fcntl(pair[1], F_SETFL, O_NONBLOCK);
    uv_loop_init(&sv->loop);
    sv->warden = (struct warden_client){
        .fd = pair[1], .slots = 2, .arg = sv, .reply = on_reply, .gone = on_fatal};
    assert_int_equal(warden_client_watch(&sv->warden, &sv->loop, NULL), 0);
    sv->presets = malloc(sizeof *sv->presets);
    presets_load(sv->presets, "");
    sv->owner = (struct attempt_owner){.loop = &sv->loop,
                                       .presets = sv->presets,
                                       .warden = &sv->warden,
                                       .identity = &sv->identity,
                                       .spool_dir = f->dir,
                                       .arg = sv,
                                       .tell = on_tell,
                                       .drop_streams = on_drop,
                                       .slot_over = on_over,
                                       .fatal = on_fatal};
    sv->streams = (struct stream_owner){.loop = &sv->loop,
                                        .scratch = malloc(STREAM_CHUNK),
                                        .arg = sv,
                                        .hello = channel_hello,
                                        .times = stream_times_default};
    for (unsigned i = 0; i < 2; i++)
        attempt_init(&f->slots[i], &sv->owner, i);
    f->out[0] = f->out[1] = f->out[2] = -1;
    buf_init(&f->log, 1u << 20);
    task_fill(f);
    *state = f;
    return 0;
}

static void end_close(struct channel_end *c)
{
    fd_close(&c->attach);
    fd_close(&c->fd);
    buf_done(&c->in);
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    struct serve *sv = &f->sv;
    if (f->control.fd > 0)
        end_close(&f->control);
    while (sv->streams.streams)
        stream_close(sv->streams.streams);
    attempt_close(&f->slots[0]);
    attempt_close(&f->slots[1]);
    warden_client_close(&sv->warden);
    uv_run(&sv->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&sv->loop), 0);
    for (int i = 0; i < 3; i++)
        fd_close(&f->out[i]);
    receipts_done(&sv->owner.receipts);
    presets_done(sv->presets);
    free(sv->presets);
    seen_free(sv->seen);
    free(sv->streams.scratch);
    close(f->warden);
    close(f->dir);
    task_done(&f->task);
    result_done(&f->result);
    buf_done(&f->log);
    tree_remove(AT_FDCWD, f->path, NULL);
    free(f);
    return 0;
}

/* ---- the controller's side ---- */

static struct channel_end dial(struct fixture *f, enum channel channel, uint64_t offset)
{
    struct channel_end c;
    struct msg hello = {.type = MSG_HELLO};
    struct buf b;
    int at[2], io[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, at), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, io), 0);
    fcntl(io[0], F_SETFL, O_NONBLOCK);
    assert_int_equal(stream_new(&f->sv.streams, at[1], NULL), 0);
    int fds[2] = {io[1], io[1]};
    assert_int_equal(fdpass_send(at[0], "a", 1, fds, 2, NULL), 0);
    close(io[1]);
    c = (struct channel_end){.attach = at[0], .fd = io[0]};
    buf_init(&c.in, 2u << 20);
    hello.u.hello.version = PROTO_VERSION;
    hello.u.hello.channel = channel;
    snprintf(hello.u.hello.program, sizeof hello.u.hello.program, "test");
    if (channel != CHANNEL_CONTROL)
        memcpy(hello.u.hello.attempt, f->task.attempt, sizeof hello.u.hello.attempt);
    hello.u.hello.offset = offset;
    if (channel == CHANNEL_CALL || channel == CHANNEL_PACK)
        memcpy(hello.u.hello.proof, f->proofs[channel == CHANNEL_CALL ? PROOF_CALL : PROOF_PACK],
               PROOF_BYTES);
    buf_init(&b, 4096);
    assert_int_equal(msg_put(&b, &hello, NULL), 0);
    assert_int_equal(write_all(c.fd, b.data, b.len), 0);
    buf_done(&b);
    turn(f);
    return c;
}

static void fill(struct fixture *f, struct channel_end *c)
{
    uint8_t bytes[4096];
    ssize_t n;
    turn(f);
    while ((n = read(c->fd, bytes, sizeof bytes)) > 0)
        buf_add(&c->in, bytes, (size_t)n);
}

/* The next message that came; MSG type 0 when there is none. */
static struct msg next(struct fixture *f, struct channel_end *c)
{
    struct frame fr;
    struct msg m = {0};
    struct err err = ERR_INIT;
    fill(f, c);
    buf_drop(&c->in, c->used);
    c->used = 0;
    int r = frame_get(c->in.data, c->in.len, &fr, &c->used, &err);
    assert_true(r >= 0);
    if (r == 0)
        c->used = 0;
    else if (msg_decode(&fr, &m, &err) < 0)
        fail_msg("%s", err.msg);
    else
        assert_true(msg_legal(SIDE_RUNNER, CHANNEL_CONTROL, m.type) || m.type == MSG_PACK_OK ||
                    m.type == MSG_RESULT);
    return m;
}

static struct msg expect(struct fixture *f, struct channel_end *c, enum msg_type type)
{
    struct msg m = next(f, c);
    if (m.type != type)
        fail_msg("%s came, not %s: %s", msg_name(m.type), msg_name(type),
                 m.type == MSG_REFUSED ? m.u.refused.detail : "");
    return m;
}

static void expect_refused(struct fixture *f, struct channel_end *c, enum refusal why)
{
    struct msg m = expect(f, c, MSG_REFUSED);
    assert_int_equal(m.u.refused.reason, why);
    assert_string_equal(m.u.refused.attempt, f->task.attempt);
}

static void expect_state(struct fixture *f, enum attempt_state st, const char *step)
{
    struct msg m = expect(f, &f->control, MSG_STATE);
    assert_int_equal(m.u.state.state, st);
    assert_string_equal(m.u.state.step, step);
}

static void say(struct fixture *f, struct channel_end *c, const struct msg *m)
{
    struct buf b;
    buf_init(&b, 2u << 20);
    assert_int_equal(msg_put(&b, m, NULL), 0);
    assert_int_equal(write_all(c->fd, b.data, b.len), 0);
    buf_done(&b);
    turn(f);
}

/* Signed by `sec` as a document of `type`, and sent as `carrier` whatever it orders. */
static void say_order(struct fixture *f, enum msg_type carrier, const char *type,
                      const struct order *o, const uint8_t sec[static KEY_SEC_BYTES])
{
    struct msg m = {.type = carrier};
    struct buf body, doc;
    buf_init(&body, DSSE_BYTES_MAX);
    buf_init(&doc, DSSE_BYTES_MAX);
    assert_int_equal(order_encode(o, &body, NULL), 0);
    assert_int_equal(dsse_sign(sec, type, body.data, body.len, &doc, NULL), 0);
    m.u.doc.bytes = doc.data;
    m.u.doc.len = doc.len;
    say(f, &f->control, &m);
    buf_done(&body);
    buf_done(&doc);
}

static void order_fill(const struct fixture *f, enum order_kind kind, struct order *o)
{
    *o = (struct order){.kind = kind};
    memcpy(o->attempt, f->task.attempt, sizeof o->attempt);
    memcpy(o->aud_host_key, f->sv.identity.host_key, sizeof o->aud_host_key);
    key_fingerprint(f->ctl_sec + 32, o->iss);
}

static void cancel(struct fixture *f)
{
    struct order o;
    order_fill(f, ORDER_CANCEL, &o);
    say_order(f, MSG_CANCEL, DSSE_TYPE_ORDER, &o, f->ctl_sec);
}

static void wipe(struct fixture *f, uint8_t first_byte_xor)
{
    struct order o;
    order_fill(f, ORDER_WIPE, &o);
    memcpy(o.result_sha256, f->result_sha256, 32);
    o.result_sha256[0] ^= first_byte_xor;
    if (sodium_is_zero(o.result_sha256, 32))
        o.result_sha256[31] = 1; /* there is no result yet: any digest will do */
    say_order(f, MSG_WIPE, DSSE_TYPE_ORDER, &o, f->ctl_sec);
}

static void offer(struct fixture *f)
{
    struct msg m = {.type = MSG_ENVELOPE};
    struct buf body, doc;
    struct err err = ERR_INIT;
    buf_init(&body, DSSE_BYTES_MAX);
    buf_init(&doc, DSSE_BYTES_MAX);
    if (task_encode(&f->task, &body, &err) < 0)
        fail_msg("%s", err.msg);
    assert_int_equal(dsse_sign(f->ctl_sec, DSSE_TYPE_TASK, body.data, body.len, &doc, NULL), 0);
    m.u.doc.bytes = doc.data;
    m.u.doc.len = doc.len;
    for (int use = 0; use < PROOF_COUNT; use++)
        proof_make((enum proof)use, doc.data, doc.len, f->proofs[use]);
    say(f, &f->control, &m);
    buf_done(&body);
    buf_done(&doc);
}

/* ---- the warden's side ---- */

static struct warden_request asked(struct fixture *f, enum warden_op op)
{
    struct warden_request req;
    int fds[WARDEN_FDS_MAX];
    size_t n = 0;
    turn(f);
    fcntl(f->warden, F_SETFL, O_NONBLOCK);
    int r = fdpass_recv(f->warden, &req, sizeof req, fds, &n, NULL);
    if (op == 0) {
        assert_int_equal(r, 0); /* nothing was asked */
        return (struct warden_request){0};
    }
    assert_int_equal(r, 1);
    assert_int_equal(req.op, op);
    assert_string_equal(req.attempt, f->task.attempt);
    assert_int_equal(n, op == WARDEN_OPEN ? 1 : 0);
    fds_close(fds, n);
    return req;
}

static void answer(struct fixture *f, struct warden_reply r, const int *fds, size_t n)
{
    assert_int_equal(fdpass_send(f->warden, &r, sizeof r, fds, n, NULL), 0);
    turn(f);
}

static void open_slot(struct fixture *f)
{
    struct warden_request req = asked(f, WARDEN_OPEN);
    assert_false(sodium_is_zero(req.token, sizeof req.token));
    int pack = memfd_create("pack", MFD_CLOEXEC);
    answer(f, (struct warden_reply){.op = WARDEN_OPEN, .slot = req.slot}, &pack, 1);
    close(pack);
}

/* Another attempt, in the other slot: the proofs are its then, the task is the first one's again. */
static void offer_another(struct fixture *f)
{
    char first[ATTEMPT_ID_SIZE];
    memcpy(first, f->task.attempt, sizeof first);
    snprintf(f->task.attempt, sizeof f->task.attempt, "%s.2", f->task.id);
    randombytes_buf(f->task.nonce, sizeof f->task.nonce);
    f->task.fence++;
    offer(f);
    open_slot(f);
    expect(f, &f->control, MSG_ACCEPTED);
    memcpy(f->task.attempt, first, sizeof first);
}

/* The gate's sockets, in this namespace and at ports of the kernel's choice. */
static int gate_sockets(struct fixture *f, int *fds)
{
    socklen_t len = sizeof f->proxy;
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int n = GATE_PORTS + 2;
    for (int i = 0; i < n; i++) {
        int type = i == GATE_DNS_UDP ? SOCK_DGRAM : SOCK_STREAM;
        fds[i] = socket(AF_INET, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(fds[i], (struct sockaddr *)&sin, sizeof sin), 0);
        if (type == SOCK_STREAM)
            assert_int_equal(listen(fds[i], 128), 0);
    }
    assert_int_equal(getsockname(fds[GATE_PROXY], (struct sockaddr *)&f->proxy, &len), 0);
    assert_int_equal(getsockname(fds[GATE_BROKER], (struct sockaddr *)&f->door, &len), 0);
    return n;
}

static void start_phase(struct fixture *f, enum warden_phase phase)
{
    struct warden_request req = asked(f, WARDEN_START);
    int fds[WARDEN_FDS_MAX], n = phase == WARDEN_RUN ? 3 : 2;
    assert_int_equal(req.phase, phase);
    for (int i = 0; i < n; i++) {
        int p[2];
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        fds[i] = p[0];
        fd_close(&f->out[i]);
        f->out[i] = p[1];
    }
    if (phase == WARDEN_RUN && f->task.policy.repo.mode == REPO_TOKEN)
        fds[n++] = openat(f->dir, "place", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (phase == WARDEN_RUN)
        n += gate_sockets(f, fds + n);
    answer(f, (struct warden_reply){.op = WARDEN_START, .slot = req.slot, .phase = phase}, fds,
           (size_t)n);
    fds_close(fds, (size_t)n);
}

static void print(struct fixture *f, int which, const void *bytes, size_t n)
{
    assert_int_equal(write_all(f->out[which], bytes, n), 0);
}

static void step(struct fixture *f, enum step_kind kind, unsigned index, bool ended, int exit)
{
    struct warden_step s = {.kind = kind, .index = index, .ended = ended, .exit = exit, .ms = 7};
    print(f, 2, &s, sizeof s);
    turn(f);
}

static void end_phase(struct fixture *f, enum warden_phase phase, int exit, int fd)
{
    struct warden_reply r = {.op = WARDEN_EXITED, .phase = phase, .exit = exit};
    r.u.usage.wall_ms = 42;
    for (int i = 0; i < 3; i++)
        fd_close(&f->out[i]);
    answer(f, r, &fd, fd >= 0 ? 1 : 0);
}

static void wiped(struct fixture *f, bool all)
{
    struct warden_request req = asked(f, WARDEN_WIPE);
    struct warden_reply r = {.op = WARDEN_WIPE, .slot = req.slot};
    r.u.wiped = (struct warden_wiped){1, all, 1, 1};
    answer(f, r, NULL, 0);
}

/* ---- stretches of a life ---- */

static void to_pack(struct fixture *f)
{
    f->control = dial(f, CHANNEL_CONTROL, 0);
    struct msg m = expect(f, &f->control, MSG_WELCOME);
    msg_done(&m);
    offer(f);
    open_slot(f);
    expect(f, &f->control, MSG_ACCEPTED);
    assert_int_equal(f->slots[0].at, AT_PACK);
}

static void to_checkout(struct fixture *f)
{
    to_pack(f);
    struct channel_end c = dial(f, CHANNEL_PACK, 0);
    assert_int_equal(write_all(c.fd, PACK, strlen(PACK)), 0);
    expect(f, &c, MSG_PACK_OK);
    assert_int_equal(read(c.fd, (char[1]){0}, 1), 0);
    end_close(&c);
    expect_state(f, ATTEMPT_CHECKOUT, "checkout");
    start_phase(f, WARDEN_CHECKOUT);
}

static void to_running(struct fixture *f)
{
    to_checkout(f);
    print(f, 0, "ok " ROOT "\n", 44);
    end_phase(f, WARDEN_CHECKOUT, 0, -1);
    start_phase(f, WARDEN_RUN);
    expect_state(f, ATTEMPT_RUNNING, "");
}

#endif
