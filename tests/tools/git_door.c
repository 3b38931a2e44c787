/* A jail's way to the git broker without a jail: the real broker process, one attempt signed, and a TCP port of
 * loopback whose connections are handed to it as calls of that attempt.
 *
 *   git_door CREEL KEY BROKER_DIR URL none|read|push|token INFO
 *
 * INFO gets "PORT TOKEN BRANCH", when it works; what the broker says goes to standard output. It ends with
 * standard input. */
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "controller/broker.h"

#define TASK_ID "01hzzzzzzzzzzzzzzzzzzzzzzz"

struct stage {
    uv_loop_t loop;
    struct broker *broker;
    struct task task;
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES];
    uv_tcp_t listener;
    uv_pipe_t in;
    const char *info;
};

static void fail(const char *what, const char *why)
{
    fprintf(stderr, "git_door: %s: %s\n", what, why);
    _exit(1);
}

static void on_note(void *arg, const char *attempt, const char *text)
{
    printf("note %s %s\n", attempt, text);
    fflush(stdout);
}

static void on_closed(uv_handle_t *handle)
{
    free(handle);
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct stage *s = listener->data;
    uv_tcp_t *conn = calloc(1, sizeof(*conn));
    int fd;

    if (status < 0 || !conn || uv_tcp_init(&s->loop, conn) < 0 ||
        uv_accept(listener, (uv_stream_t *)conn) < 0 || uv_fileno((uv_handle_t *)conn, &fd) < 0)
        fail("accept", "cannot");
    broker_call(s->broker, s->task.attempt, dup(fd));
    uv_close((uv_handle_t *)conn, on_closed);
}

static int listen_somewhere(struct stage *s)
{
    struct sockaddr_in at;
    int n = sizeof(at);

    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_init(&s->loop, &s->listener);
    s->listener.data = s;
    if (uv_tcp_bind(&s->listener, (struct sockaddr *)&at, 0) < 0 ||
        uv_listen((uv_stream_t *)&s->listener, 16, on_connection) < 0 ||
        uv_tcp_getsockname(&s->listener, (struct sockaddr *)&at, &n) < 0)
        fail("listen", "cannot");
    return ntohs(at.sin_port);
}

static void tell(struct stage *s, const uint8_t token[static TASK_TOKEN_BYTES])
{
    char hex[2 * TASK_TOKEN_BYTES + 1], line[512];
    struct err err = ERR_INIT;
    int n;

    sodium_bin2hex(hex, sizeof(hex), token, TASK_TOKEN_BYTES);
    n = snprintf(line, sizeof(line), "%d %s %s\n", listen_somewhere(s), hex, s->task.branch);
    if (file_replace(AT_FDCWD, s->info, line, (size_t)n, 0600, &err) < 0)
        fail("info", err.msg);
}

static void on_signed(void *arg, const struct buf *envelope, const struct buf *sshsig,
                      const struct err *why)
{
    uint8_t pub[32], sec[32], token[TASK_TOKEN_BYTES];
    struct err err = ERR_INIT;
    struct stage *s = arg;
    struct dsse dsse;
    struct task task;

    if (why)
        fail("sign", why->msg);
    if (dsse_parse(envelope->data, envelope->len, &dsse, &err) < 0 ||
        task_decode(dsse.body.data, dsse.body.len, &task, &err) < 0)
        fail("envelope", err.msg);
    if (crypto_sign_ed25519_pk_to_curve25519(pub, s->pub) != 0 ||
        crypto_sign_ed25519_sk_to_curve25519(sec, s->sec) != 0 ||
        crypto_box_seal_open(token, task.token_sealed, TASK_SEALED_BYTES, pub, sec) != 0)
        fail("token", "cannot be opened");
    task_done(&task);
    dsse_done(&dsse);
    tell(s, token);
}

static void make_task(struct stage *s, const char *url, const char *mode)
{
    struct task *t = &s->task;

    crypto_sign_keypair(s->pub, s->sec);
    snprintf(t->id, sizeof(t->id), TASK_ID);
    attempt_id_make(t->id, 1, t->attempt);
    snprintf(t->title, sizeof(t->title), "git");
    snprintf(t->aud_host, sizeof(t->aud_host), "box");
    key_fingerprint(s->pub, t->aud_host_key);
    t->fence = 1;
    memset(t->base, 'a', TASK_OID_SIZE - 1);
    memset(t->root, 'b', TASK_OID_SIZE - 1);
    snprintf(t->branch, sizeof(t->branch), "creel/" TASK_ID);
    t->pack_bytes = 1;
    policy_init(&t->policy);
    for (int i = 0; i < REPO_MODE_COUNT; i++) {
        if (strcmp(mode, repo_mode_names[i]) == 0)
            t->policy.repo.mode = i;
    }
    snprintf(t->policy.repo.url, sizeof(t->policy.repo.url), "%s", url);
    if (strv_add(&t->command, "true") < 0)
        fail("task", "out of memory");
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    static char some[64];

    *buf = uv_buf_init(some, sizeof(some));
}

static void on_input(uv_stream_t *in, ssize_t n, const uv_buf_t *buf)
{
    struct stage *s = in->data;

    if (n >= 0)
        return;
    broker_close(s->broker);
    uv_close((uv_handle_t *)&s->listener, NULL);
    uv_close((uv_handle_t *)&s->in, NULL);
}

int main(int argc, char **argv)
{
    static const struct broker_events events = {.note = on_note};
    struct err err = ERR_INIT;
    struct stage s = {0};

    if (argc != 7 || sodium_init() < 0 || uv_loop_init(&s.loop) < 0)
        fail("usage", "git_door CREEL KEY BROKER_DIR URL MODE INFO");
    signal(SIGPIPE, SIG_IGN);
    s.info = argv[6];
    make_task(&s, argv[4], argv[5]);
    if (broker_start(&s.loop, argv[1], argv[2], argv[3], &s.broker, &err) < 0)
        fail("broker", err.msg);
    broker_on(s.broker, &events, &s);
    broker_sign(s.broker, &s.task, s.pub, 3600, on_signed, &s);
    uv_pipe_init(&s.loop, &s.in, 0);
    s.in.data = &s;
    if (uv_pipe_open(&s.in, 0) < 0 || uv_read_start((uv_stream_t *)&s.in, on_alloc, on_input) < 0)
        fail("standard input", "is no pipe");
    uv_run(&s.loop, UV_RUN_DEFAULT);
    task_done(&s.task);
    return uv_loop_close(&s.loop) < 0;
}
