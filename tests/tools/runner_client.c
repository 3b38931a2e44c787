/* A scripted controller for tests: speaks to creel-runner through `creel-runner attach`, as sshd would,
 * and drives one attempt from the envelope to the receipt, checking every signature and digest on the
 * way. It is no part of the product: no store, no SSH, secrets on its stack.
 *
 * usage: runner_client RUNNER RUN_DIR KEY HOST_KEY.pub PACK ROOT [name=value]... -- COMMAND...
 * It prints what happens as plain lines and exits 0 when the attempt came to a receipt.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/secret.h"
#include "common/sha256.h"
#include "proto/dsse.h"
#include "proto/message.h"
#include "proto/order.h"
#include "proto/result.h"

struct channel_fd {
    int fd;
    pid_t pid;
    struct buf in;
    size_t used; /* of the frame last returned */
};

struct script {
    const char *runner, *run_dir;
    uint8_t sec[KEY_SEC_BYTES], runner_key[KEY_PUB_BYTES];
    struct task task;
    struct buf pack, envelope, log;
    char token[2 * TASK_TOKEN_BYTES + 1];
    size_t cancel_after_log;       /* bytes of log after which to cancel, 0: never */
    size_t cut_log;                /* reconnect the log channel every so many bytes, 0: never */
    const char *break_what;        /* "", pack, short, long, nopack... */
    bool quiet_log, no_wipe, sink; /* sink: the log is counted, not kept, its chain not checked */
};

static void die(const char *what, const struct err *err)
{
    fprintf(stderr, "runner_client: %s%s%s\n", what, err && err->code ? ": " : "",
            err ? err->msg : "");
    exit(1);
}

/* ---- channels ---- */

static struct channel_fd channel_open(struct script *sc, enum channel kind, uint64_t offset)
{
    struct channel_fd c = {.fd = -1};
    struct msg hello = {.type = MSG_HELLO};
    struct buf out;
    int pair[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        die("socketpair", NULL);
    c.pid = fork();
    if (c.pid == 0) {
        dup2(pair[1], 0);
        dup2(pair[1], 1);
        execl(sc->runner, "creel-runner", "attach", "--run", sc->run_dir, (char *)NULL);
        _exit(127);
    }
    close(pair[1]);
    c.fd = pair[0];
    buf_init(&c.in, FRAME_PAYLOAD_MAX + (1u << 20));
    hello.u.hello.version = PROTO_VERSION;
    hello.u.hello.channel = kind;
    snprintf(hello.u.hello.program, sizeof hello.u.hello.program, "runner_client");
    if (kind != CHANNEL_CONTROL)
        snprintf(hello.u.hello.attempt, sizeof hello.u.hello.attempt, "%s", sc->task.attempt);
    hello.u.hello.offset = offset;
    if (kind == CHANNEL_PACK)
        proof_make(PROOF_PACK, sc->envelope.data, sc->envelope.len, hello.u.hello.proof);
    buf_init(&out, 1u << 16);
    struct err err = ERR_INIT;
    if (msg_put(&out, &hello, &err) < 0 || write_all(c.fd, out.data, out.len) < 0)
        die("hello", &err);
    buf_done(&out);
    return c;
}

static void channel_close(struct channel_fd *c)
{
    int status;
    close(c->fd);
    if (c->pid > 0)
        waitpid(c->pid, &status, 0);
    buf_done(&c->in);
}

static void channel_send(struct channel_fd *c, const struct msg *m)
{
    struct err err = ERR_INIT;
    struct buf out;
    buf_init(&out, 2u << 20);
    if (msg_put(&out, m, &err) < 0 || write_all(c->fd, out.data, out.len) < 0)
        die("send", &err);
    buf_done(&out);
}

/* More bytes into c->in; false at the end. */
static bool channel_fill(struct channel_fd *c)
{
    uint8_t *room = buf_room(&c->in, 1u << 16);
    ssize_t n = room ? read(c->fd, room, 1u << 16) : -1;
    if (n > 0)
        buf_wrote(&c->in, (size_t)n);
    return n > 0;
}

/* The next message; false at the end of the channel. msg borrows the buffer until the next call. */
static bool channel_next(struct channel_fd *c, struct msg *m)
{
    struct frame f;
    struct err err = ERR_INIT;
    buf_drop(&c->in, c->used);
    c->used = 0;
    for (;;) {
        int r = frame_get(c->in.data, c->in.len, &f, &c->used, &err);
        if (r < 0)
            die("frame", &err);
        if (r > 0)
            break;
        c->used = 0;
        if (!channel_fill(c))
            return false;
    }
    if (msg_decode(&f, m, &err) < 0)
        die("message", &err);
    return true;
}

static void say(const struct msg *m)
{
    switch ((int)m->type) {
    case MSG_STATE:
        printf("state %s %s\n", attempt_state_names[m->u.state.state], m->u.state.step);
        break;
    case MSG_REFUSED:
        printf("refused %s: %s\n", refusal_names[m->u.refused.reason], m->u.refused.detail);
        break;
    case MSG_ENDED:
        printf("ended log %" PRIu64 " pack %" PRIu64 "\n", m->u.ended.log_bytes,
               m->u.ended.pack_bytes);
        break;
    default:
        printf("%s\n", msg_name(m->type));
    }
    fflush(stdout);
}

/* Reads control until `type` comes; other events are said and passed over; REFUSED ends it. */
static bool await(const struct script *sc, struct channel_fd *c, enum msg_type type, struct msg *m)
{
    bool expected = strcmp(sc->break_what, "again") == 0;
    while (channel_next(c, m)) {
        say(m);
        if (m->type == type)
            return true;
        if (m->type == MSG_REFUSED && !expected)
            return false;
        msg_done(m);
    }
    printf("control closed\n");
    return false;
}

/* ---- the task ---- */

static void read_file(const char *path, struct buf *to)
{
    struct err err = ERR_INIT;
    if (file_read(AT_FDCWD, path, to, &err) < 0)
        die(path, &err);
}

static uint64_t number(const char *text)
{
    return strtoull(text, NULL, 10);
}

static void set_option(struct script *sc, const char *name, const char *value)
{
    struct task *t = &sc->task;
    struct err err = ERR_INIT;
    if (strcmp(name, "test") == 0)
        strv_add(&t->tests, value);
    else if (strcmp(name, "setup") == 0)
        strv_add(&t->setup, value);
    else if (strcmp(name, "limit") == 0) {
        if (policy_set_limits(&t->policy, value, &err) < 0)
            die("limit", &err);
    } else if (strcmp(name, "allow") == 0) {
        if (policy_allow_unenforced(&t->policy, value, &err) < 0)
            die("allow", &err);
    } else if (strcmp(name, "fence") == 0)
        t->fence = number(value);
    else if (strcmp(name, "egress") == 0)
        strv_add(&t->policy.egress, value);
    else if (strcmp(name, "cancel") == 0)
        sc->cancel_after_log = number(value);
    else if (strcmp(name, "cut") == 0)
        sc->cut_log = number(value);
    else if (strcmp(name, "break") == 0)
        sc->break_what = value;
    else if (strcmp(name, "quiet") == 0)
        sc->quiet_log = true;
    else if (strcmp(name, "sink") == 0)
        sc->sink = true;
    else if (strcmp(name, "keep") == 0)
        sc->no_wipe = true;
    else
        die(name, NULL);
}

static void task_fill(struct script *sc, const char *host_key_file, const char *root)
{
    struct task *t = &sc->task;
    struct buf line;
    struct ssh_pub pub;
    struct err err = ERR_INIT;
    uint8_t rnd[10];
    randombytes_buf(rnd, sizeof rnd);
    id_make(clock_wall_ms(), rnd, t->id);
    attempt_id_make(t->id, 1, t->attempt);
    snprintf(t->title, sizeof t->title, "scripted");
    snprintf(t->aud_host, sizeof t->aud_host, "here");
    buf_init(&line, KEY_LINE_MAX);
    read_file(host_key_file, &line);
    if (ssh_pub_parse(buf_str(&line), &pub, &err) < 0)
        die(host_key_file, &err);
    buf_done(&line);
    ssh_pub_fingerprint(&pub, t->aud_host_key);
    key_fingerprint(sc->sec + 32, t->iss);
    t->iat = t->nbf = clock_wall_s();
    t->exp = t->iat + 3600;
    randombytes_buf(t->nonce, sizeof t->nonce);
    if (t->fence == 0)
        t->fence = clock_wall_ms();
    snprintf(t->base, sizeof t->base, "%s", root);
    snprintf(t->root, sizeof t->root, "%s", root);
    snprintf(t->branch, sizeof t->branch, "creel/%s", t->id);
    t->pack_bytes = sc->pack.len;
    sha256_of(sc->pack.data, sc->pack.len, t->pack_sha256);
}

/* The token is sealed to the runner's key, so this comes after WELCOME. */
static void task_sign(struct script *sc)
{
    struct task *t = &sc->task;
    struct buf body;
    struct err err = ERR_INIT;
    uint8_t token[TASK_TOKEN_BYTES], pk[crypto_box_PUBLICKEYBYTES];
    randombytes_buf(token, sizeof token);
    sodium_bin2hex(sc->token, sizeof sc->token, token, sizeof token);
    sha256_of(sc->token, strlen(sc->token), t->token_sha256);
    if (crypto_sign_ed25519_pk_to_curve25519(pk, sc->runner_key) != 0)
        die("runner key", NULL);
    crypto_box_seal(t->token_sealed, token, sizeof token, pk);
    buf_init(&body, DSSE_BYTES_MAX);
    buf_init(&sc->envelope, DSSE_BYTES_MAX);
    if (task_encode(t, &body, &err) < 0 ||
        dsse_sign(sc->sec, DSSE_TYPE_TASK, body.data, body.len, &sc->envelope, &err) < 0)
        die("sign", &err);
    buf_done(&body);
    if (strcmp(sc->break_what, "envelope") == 0)
        sc->envelope.data[sc->envelope.len / 2] ^= 1;
}

/* ---- one attempt ---- */

static void send_pack(struct script *sc)
{
    struct channel_fd c = channel_open(sc, CHANNEL_PACK, 0);
    struct msg m;
    const char *how = sc->break_what;
    size_t n = sc->pack.len;
    if (strcmp(how, "pack") == 0)
        sc->pack.data[n / 2] ^= 1;
    if (strcmp(how, "short") == 0)
        n--;
    if (strcmp(how, "lost") == 0) { /* a connection that dies half-way, then a second one */
        write_all(c.fd, sc->pack.data, n / 2);
        channel_close(&c);
        c = channel_open(sc, CHANNEL_PACK, 0);
    }
    write_all(c.fd, sc->pack.data, n);
    if (strcmp(how, "long") == 0)
        write_all(c.fd, "x", 1);
    shutdown(c.fd, SHUT_WR);
    if (channel_next(&c, &m))
        say(&m);
    else
        printf("pack closed\n");
    channel_close(&c);
}

static void send_order(struct script *sc, struct channel_fd *control, enum order_kind kind,
                       const uint8_t *result_sha256)
{
    struct msg m = {.type = kind == ORDER_WIPE ? MSG_WIPE : MSG_CANCEL};
    struct order o = {.kind = kind};
    struct err err = ERR_INIT;
    struct buf body, doc;
    memcpy(o.attempt, sc->task.attempt, sizeof o.attempt);
    memcpy(o.iss, sc->task.iss, sizeof o.iss);
    memcpy(o.aud_host_key, sc->task.aud_host_key, sizeof o.aud_host_key);
    if (result_sha256)
        memcpy(o.result_sha256, result_sha256, sizeof o.result_sha256);
    buf_init(&body, DSSE_BYTES_MAX);
    buf_init(&doc, DSSE_BYTES_MAX);
    if (order_encode(&o, &body, &err) < 0 ||
        dsse_sign(sc->sec, DSSE_TYPE_ORDER, body.data, body.len, &doc, &err) < 0)
        die("order", &err);
    m.u.doc.bytes = doc.data;
    m.u.doc.len = doc.len;
    channel_send(control, &m);
    buf_done(&body);
    buf_done(&doc);
}

static void cancel(struct script *sc, struct channel_fd *control)
{
    send_order(sc, control, ORDER_CANCEL, NULL);
    sc->cancel_after_log = 0;
}

static void sink_log(struct script *sc)
{
    struct channel_fd c = channel_open(sc, CHANNEL_LOG, 0);
    static uint8_t bytes[1u << 18];
    uint64_t total = 0, began = clock_mono_us();
    ssize_t n;
    while ((n = read(c.fd, bytes, sizeof bytes)) > 0)
        total += (uint64_t)n;
    uint64_t us = clock_mono_us() - began;
    printf("log of %" PRIu64 " bytes in %" PRIu64 " ms: %.0f MiB/s\n", total, us / 1000,
           (double)total / 1048576 / ((double)us / 1e6));
    channel_close(&c);
}

/* Reads the log to its end, with as many connections as `cut_log` makes of it. */
static void follow_log(struct script *sc, struct channel_fd *control)
{
    struct channel_fd c = channel_open(sc, CHANNEL_LOG, 0);
    size_t since = 0;
    for (;;) {
        ssize_t n;
        uint8_t *room = buf_room(&sc->log, 1u << 16);
        size_t want =
            sc->cut_log && sc->cut_log - since < (1u << 16) ? sc->cut_log - since : 1u << 16;
        if (!room || (n = read(c.fd, room, want)) <= 0)
            break;
        buf_wrote(&sc->log, (size_t)n);
        since += (size_t)n;
        if (sc->cancel_after_log && sc->log.len >= sc->cancel_after_log)
            cancel(sc, control);
        if (sc->cut_log && since == sc->cut_log) {
            channel_close(&c);
            c = channel_open(sc, CHANNEL_LOG, sc->log.len);
            since = 0;
        }
    }
    channel_close(&c);
}

static void print_log(struct script *sc, uint8_t chain[static 32])
{
    size_t at = 0, used;
    struct log_frame f;
    struct err err = ERR_INIT;
    memset(chain, 0, 32);
    while (at < sc->log.len) {
        int r = log_frame_get(sc->log.data + at, sc->log.len - at, &f, &used, &err);
        if (r <= 0)
            die("log frame", &err);
        sha256_link(chain, sc->log.data + at, used);
        at += used;
        if (!sc->quiet_log || f.stream == LOG_NOTE)
            printf("log %d: %.*s%s", f.stream, (int)f.len, (const char *)f.payload,
                   f.len && f.payload[f.len - 1] == '\n' ? "" : "\n");
    }
}

static void check_result(struct script *sc, const struct result *r, const uint8_t chain[static 32],
                         struct channel_fd *c)
{
    uint8_t digest[32];
    const struct step_result *steps = r->steps.items;
    if (!sc->sink && (r->log_bytes != sc->log.len || memcmp(r->log_chain, chain, 32) != 0))
        die("the log is not the one whose chain was signed", NULL);
    sha256_of(sc->envelope.data, sc->envelope.len, digest);
    if (memcmp(digest, r->envelope_sha256, 32) != 0)
        die("the result is about another envelope", NULL);
    while (c->in.len - c->used < r->patch_bytes && channel_fill(c))
        ;
    if (c->in.len - c->used != r->patch_bytes || channel_fill(c))
        die("the patch has another length", NULL);
    if (r->patch_bytes) {
        sha256_of(c->in.data + c->used, r->patch_bytes, digest);
        if (memcmp(digest, r->patch_sha256, 32) != 0)
            die("the patch has another digest", NULL);
    }
    printf("outcome %s\nreason %s\npatch %s %" PRIu64 "\ndropped %" PRIu64 "\n",
           outcome_names[r->outcome], r->reason, r->commit, r->patch_bytes, r->log_dropped_bytes);
    printf("usage wall %" PRIu64 " cpu %" PRIu64 " mem %" PRIu64 " disk %" PRIu64 "\n", r->wall_ms,
           r->cpu_ms, r->mem_peak, r->disk_peak);
    for (size_t i = 0; i < r->steps.n; i++)
        printf("step %s %s exit %d signal %d (%s)\n", step_kind_names[steps[i].kind],
               steps[i].ran ? "ran" : "skipped", steps[i].exit, steps[i].signal, steps[i].name);
}

static int verify(const struct script *sc, const char *type, const struct msg *m, struct dsse *d)
{
    struct err err = ERR_INIT;
    size_t which;
    if (dsse_parse(m->u.doc.bytes, m->u.doc.len, d, &err) < 0 || strcmp(d->type, type) != 0 ||
        dsse_verify(d, &sc->runner_key, 1, &which, &err) < 0)
        die("signature", &err);
    return 0;
}

static void fetch_result(struct script *sc, uint8_t digest[static 32])
{
    struct channel_fd c = channel_open(sc, CHANNEL_RESULT, 0);
    struct msg m;
    struct dsse d = {0};
    struct result r;
    struct err err = ERR_INIT;
    uint8_t chain[32];
    if (!channel_next(&c, &m) || m.type != MSG_RESULT)
        die("no result", NULL);
    verify(sc, DSSE_TYPE_RESULT, &m, &d);
    sha256_of(m.u.doc.bytes, m.u.doc.len, digest);
    if (result_decode(d.body.data, d.body.len, &r, &err) < 0)
        die("result", &err);
    print_log(sc, chain);
    check_result(sc, &r, chain, &c);
    result_done(&r);
    dsse_done(&d);
    channel_close(&c);
}

static void wipe(struct script *sc, struct channel_fd *control, uint8_t digest[static 32])
{
    struct msg m;
    struct dsse d = {0};
    struct receipt r;
    struct err err = ERR_INIT;
    uint8_t first[32], again[32];
    digest[0] ^= 1;
    send_order(sc, control, ORDER_WIPE, digest);
    if (!channel_next(control, &m) || m.type != MSG_REFUSED)
        die("a wipe with the wrong digest was not refused", NULL);
    digest[0] ^= 1;
    send_order(sc, control, ORDER_WIPE, digest);
    if (!await(sc, control, MSG_RECEIPT, &m))
        die("no receipt", NULL);
    verify(sc, DSSE_TYPE_RECEIPT, &m, &d);
    if (receipt_decode(d.body.data, d.body.len, &r, &err) < 0)
        die("receipt", &err);
    const struct receipt_item *items = r.items.items;
    for (size_t i = 0; i < r.items.n; i++)
        printf("wiped %s %s: %s\n", items[i].what, items[i].gone ? "gone" : "LEFT", items[i].how);
    printf("receipt %s\n", receipt_clean(&r) ? "clean" : "NOT CLEAN");
    sha256_of(m.u.doc.bytes, m.u.doc.len, first);
    send_order(sc, control, ORDER_WIPE, digest);
    if (!await(sc, control, MSG_RECEIPT, &m))
        die("no second receipt", NULL);
    sha256_of(m.u.doc.bytes, m.u.doc.len, again);
    if (memcmp(first, again, 32) != 0)
        die("the second receipt is another one", NULL);
    receipt_done(&r);
    dsse_done(&d);
}

static int drive(struct script *sc)
{
    struct channel_fd control = channel_open(sc, CHANNEL_CONTROL, 0);
    struct msg m = {0}, e = {.type = MSG_ENVELOPE};
    uint8_t digest[32];
    if (!await(sc, &control, MSG_WELCOME, &m))
        return 1;
    memcpy(sc->runner_key, m.u.welcome.runner_key, sizeof sc->runner_key);
    printf("welcome %s slots %d rooted %d attempts %zu\n", m.u.welcome.program, m.u.welcome.slots,
           m.u.welcome.rooted, m.u.welcome.attempts.n);
    msg_done(&m);
    task_sign(sc);
    printf("attempt %s\ntoken %s\n", sc->task.attempt, sc->token);
    e.u.doc.bytes = sc->envelope.data;
    e.u.doc.len = sc->envelope.len;
    channel_send(&control, &e);
    if (!await(sc, &control, MSG_ACCEPTED, &m))
        return 2;
    if (strcmp(sc->break_what, "again") == 0)
        channel_send(&control, &e); /* a replay while it runs */
    if (strcmp(sc->break_what, "early") == 0)
        cancel(sc, &control);
    else
        send_pack(sc);
    if (sc->sink)
        sink_log(sc);
    else
        follow_log(sc, &control);
    if (!await(sc, &control, MSG_ENDED, &m))
        return 2;
    fetch_result(sc, digest);
    if (!sc->no_wipe)
        wipe(sc, &control, digest);
    channel_close(&control);
    return 0;
}

int main(int argc, char **argv)
{
    struct script sc = {.break_what = ""};
    struct err err = ERR_INIT;
    struct buf key;
    int i = 7;
    if (argc < 9 || process_harden(&err) < 0)
        die("usage: runner_client RUNNER RUN_DIR KEY HOST_KEY PACK ROOT [name=value]... -- "
            "COMMAND...",
            &err);
    sc.runner = argv[1];
    sc.run_dir = argv[2];
    buf_init(&key, KEY_LINE_MAX);
    buf_init(&sc.pack, 1u << 30);
    buf_init(&sc.log, 1u << 31);
    read_file(argv[3], &key);
    if (key_sec_parse(buf_str(&key), key.len, sc.sec, &err) < 0)
        die(argv[3], &err);
    buf_wipe(&key);
    read_file(argv[5], &sc.pack);
    policy_init(&sc.task.policy);
    for (; i < argc && strcmp(argv[i], "--") != 0; i++) {
        char *eq = strchr(argv[i], '=');
        if (!eq)
            die(argv[i], NULL);
        *eq = 0;
        set_option(&sc, argv[i], eq + 1);
    }
    for (i++; i < argc; i++)
        strv_add(&sc.task.command, argv[i]);
    task_fill(&sc, argv[4], argv[6]);
    int r = drive(&sc);
    task_done(&sc.task);
    buf_done(&sc.pack);
    buf_done(&sc.envelope);
    buf_done(&sc.log);
    return r;
}
