/* What the bench of the broker needs, each a mode of its own; tests/bench/broker_bench.py puts them together.
 *
 *   call_bench provider KEY            a provider that costs nothing to run: answers POST with a fixed body or a
 *                                      fixed stream, at once; of the model "hold" the first event and no more.
 *                                      401 without the key. Prints "port PORT"
 *   call_bench door SELF STATE PROVIDER
 *                                      the broker without SSH: a real broker process whose calls come by TCP.
 *                                      Prints "door PORT TOKEN PID", PID the broker's
 *   call_bench load PORT TOKEN CALLS IN_FLIGHT MODEL [stream] [HEADER...]
 *                                      CALLS calls, IN_FLIGHT at a time, each on a connection that stays; prints
 *                                      "CALLS_A_SECOND MEDIAN_US P99_US FIRST_BYTE_MEDIAN_US"
 *   call_bench hold PORT TOKEN N SECONDS [HEADER...]
 *                                      N streams open, prints "open N", waits */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "controller/broker.h"
#include "controller/spend_plan.h"

#define ROOM    65536
#define TASK_ID "01hzzzzzzzzzzzzzzzzzzzzzzz"
#define FIRST                                                                           \
    "data: "                                                                            \
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"," \
    "\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"The "    \
    "\"},\"finish_reason\":null}]}\n\n"
#define NEXT                                                                            \
    "data: "                                                                            \
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"," \
    "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"answer 00000000 "               \
    "\"},\"finish_reason\":null}]}\n\n"
#define LAST                                                                            \
    "data: "                                                                            \
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\"," \
    "\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n"
#define MARK "answer "
#define USAGE                                                                                      \
    "data: "                                                                                       \
    "{\"id\":\"c\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"m\","            \
    "\"choices\":[],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":100,\"total_tokens\":" \
    "1100}}\n\ndata: [DONE]\n\n"
#define WHOLE                                                                                   \
    "{\"id\":\"c\",\"object\":\"chat.completion\",\"created\":1,\"model\":\"m\",\"choices\":[{" \
    "\"index\":0,\"message\":{\"role\":\"assistant\",\"content\":\"The answer is "              \
    "42. "                                                                                      \
    "00000000\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1000,\"completion_"  \
    "tokens\":"                                                                                 \
    "100,\"total_tokens\":1100}}"

struct conn {
    int fd;
    size_t n;
    char in[ROOM];
    uint64_t sent, first; /* load: microseconds */
};

static void die(const char *what)
{
    perror(what);
    exit(1);
}

static int listen_any(int *port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof sin;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || bind(fd, (struct sockaddr *)&sin, n) < 0 || listen(fd, 1024) < 0 ||
        getsockname(fd, (struct sockaddr *)&sin, &n) < 0)
        die("listen");
    *port = ntohs(sin.sin_port);
    return fd;
}

static void at_once(int fd)
{
    int on = 1;

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

/* Where the message in in[0..n) ends (0: not yet), and where its body begins. What these peers send is well-formed. */
static size_t message_end(const char *in, size_t n, const char **body)
{
    const char *head = memmem(in, n, "\r\n\r\n", 4), *length;

    if (!head)
        return 0;
    *body = head + 4;
    length = memmem(in, (size_t)(head - in) + 2, "ontent-", 7);
    while (length && strncasecmp(length, "ontent-length:", 14) != 0)
        length = memmem(length + 1, (size_t)(head - length) + 1, "ontent-", 7);
    if (length) {
        size_t want = strtoul(length + 14, NULL, 10), have = n - (size_t)(*body - in);

        return have >= want ? (size_t)(*body - in) + want : 0;
    }
    length = memmem(*body - 2, n - (size_t)(*body - 2 - in), "\r\n0\r\n\r\n", 7);
    return length ? (size_t)(length + 7 - in) : 0;
}

/* ---- the provider ---- */

static void put_chunk(struct buf *b, const char *text)
{
    buf_addf(b, "%zx\r\n%s\r\n", strlen(text), text);
}

struct answers {
    struct buf whole, stream, hold, denied;
};

static void answers_make(struct answers *a)
{
    static const char head[] =
        "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

    buf_init(&a->whole, ROOM);
    buf_init(&a->stream, ROOM);
    buf_init(&a->hold, ROOM);
    buf_init(&a->denied, ROOM);
    buf_addf(&a->whole,
             "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n\r\n%s",
             sizeof(WHOLE) - 1, WHOLE);
    buf_adds(&a->stream, head);
    put_chunk(&a->stream, FIRST);
    for (int i = 0; i < 16; i++)
        put_chunk(&a->stream, NEXT);
    put_chunk(&a->stream, LAST);
    put_chunk(&a->stream, USAGE);
    buf_adds(&a->stream, "0\r\n\r\n");
    buf_adds(&a->hold, head);
    put_chunk(&a->hold, FIRST);
    buf_adds(&a->denied, "HTTP/1.1 401 No\r\ncontent-length: 0\r\n\r\n");
}

static const struct buf *answer_to(const struct answers *a, const char *key, const struct conn *c,
                                   const char *body, size_t end)
{
    size_t nbody = end - (size_t)(body - c->in);

    if (!memmem(c->in, (size_t)(body - c->in), key, strlen(key)))
        return &a->denied;
    if (memmem(body, nbody, "\"hold\"", 6))
        return &a->hold;
    return memmem(body, nbody, "\"stream\":true", 13) ? &a->stream : &a->whole;
}

/* Each answer in words of its own: the broker stops who gets the same again and again. */
static void number(const struct buf *b, unsigned n)
{
    uint8_t *at = b->len ? memmem(b->data, b->len, MARK, 7) : NULL;
    char digits[9];

    if (!at)
        return;
    at += strcspn((const char *)at, "0123456789");
    at += memcmp(at, "42. ", 4) == 0 ? 4 : 0;
    snprintf(digits, sizeof digits, "%08u", n % 100000000);
    memcpy(at, digits, 8);
}

static bool provide(const struct answers *a, const char *key, struct conn *c, unsigned *served)
{
    ssize_t got = read(c->fd, c->in + c->n, ROOM - c->n);
    const char *body;
    size_t end;

    if (got <= 0)
        return false;
    c->n += (size_t)got;
    while ((end = message_end(c->in, c->n, &body)) > 0) {
        const struct buf *b = answer_to(a, key, c, body, end);

        number(b, ++*served);
        if (write_all(c->fd, b->data, b->len) < 0)
            return false;
        memmove(c->in, c->in + end, c->n - end);
        c->n -= end;
    }
    return c->n < ROOM;
}

static struct conn *conn_add(int ep, int fd)
{
    struct conn *c = calloc(1, sizeof *c);
    struct epoll_event ev = {.events = EPOLLIN, .data.ptr = c};

    if (!c)
        die("memory");
    c->fd = fd;
    at_once(fd);
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
        die("epoll");
    return c;
}

static int provider(const char *key)
{
    struct answers a;
    int port, fd = listen_any(&port), ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event ev = {.events = EPOLLIN}, got[64];

    unsigned served = 0;

    answers_make(&a);
    epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
    printf("port %d\n", port);
    fflush(stdout);
    for (int n = 0; n >= 0 || errno == EINTR;) {
        n = epoll_wait(ep, got, 64, -1);

        for (int i = 0; i < n; i++) {
            struct conn *c = got[i].data.ptr;

            if (!c) {
                conn_add(ep, accept4(fd, NULL, NULL, SOCK_CLOEXEC));
            } else if (!provide(&a, key, c, &served)) {
                close(c->fd);
                free(c);
            }
        }
    }
    return 1;
}

/* ---- the load ---- */

struct load {
    int ep, port;
    const char *token, *model;
    bool stream;
    char **heads;
    int nheads;
    struct buf ask;
    uint64_t *took, *first;
    size_t calls, begun, done, failed;
};

static int dial(int port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET,
                              .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
                              .sin_port = htons((uint16_t)port)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof sin) < 0)
        die("connect");
    return fd;
}

/* A body of 4 KiB, told apart by a number, as calls of an agent are. */
static void ask_make(struct load *l)
{
    struct buf body;

    buf_init(&body, ROOM);
    buf_addf(&body, "{\"model\":\"%s\",%s\"messages\":[{\"role\":\"user\",\"content\":\"%08zx",
             l->model, l->stream ? "\"stream\":true," : "", l->begun);
    for (int i = 0; i < 4000; i++)
        buf_addc(&body, 'x');
    buf_adds(&body, "\"}]}");
    buf_clear(&l->ask);
    buf_addf(&l->ask,
             "POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1:%d\r\nauthorization: Bearer "
             "%s\r\ncontent-type: application/json\r\n",
             l->port, l->token);
    for (int i = 0; i < l->nheads; i++)
        buf_addf(&l->ask, "%s\r\n", l->heads[i]);
    buf_addf(&l->ask, "content-length: %zu\r\n\r\n", body.len);
    buf_add(&l->ask, body.data, body.len);
    buf_done(&body);
}

static bool ask(struct load *l, struct conn *c)
{
    if (l->begun == l->calls)
        return false;
    ask_make(l);
    l->begun++;
    c->n = 0;
    c->first = 0;
    c->sent = clock_mono_us();
    if (write_all(c->fd, l->ask.data, l->ask.len) < 0)
        die("write");
    return true;
}

static void heard(struct load *l, struct conn *c)
{
    ssize_t got = read(c->fd, c->in + c->n, ROOM - c->n);
    const char *body = NULL;
    uint64_t now = clock_mono_us();

    if (got <= 0)
        die("the other end went away");
    c->n += (size_t)got;
    if (!c->first && (body = memmem(c->in, c->n, "\r\n\r\n", 4)) &&
        (size_t)(body + 4 - c->in) < c->n)
        c->first = now;
    if (message_end(c->in, c->n, &body) == 0)
        return;
    l->failed += memcmp(c->in, "HTTP/1.1 200", 12) != 0;
    if (l->failed == 1 && memcmp(c->in, "HTTP/1.1 200", 12) != 0)
        fprintf(stderr, "%.*s\n", (int)c->n, c->in);
    l->took[l->done] = now - c->sent;
    l->first[l->done++] = c->first - c->sent;
    ask(l, c);
}

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int load(struct load *l, size_t in_flight)
{
    struct epoll_event got[64];
    uint64_t began;

    l->ep = epoll_create1(EPOLL_CLOEXEC);
    l->took = calloc(l->calls, sizeof *l->took);
    l->first = calloc(l->calls, sizeof *l->first);
    buf_init(&l->ask, 2 * ROOM);
    began = clock_mono_us();
    for (size_t i = 0; i < in_flight; i++)
        ask(l, conn_add(l->ep, dial(l->port)));
    while (l->done < l->calls) {
        int n = epoll_wait(l->ep, got, 64, 60000);

        if (n == 0)
            die("no answer for a minute");
        for (int i = 0; i < n; i++)
            heard(l, got[i].data.ptr);
    }
    began = clock_mono_us() - began;
    qsort(l->took, l->calls, sizeof *l->took, by_size);
    qsort(l->first, l->calls, sizeof *l->first, by_size);
    printf("%.1f %llu %llu %llu\n", (double)l->calls * 1e6 / (double)began,
           (unsigned long long)l->took[l->calls / 2],
           (unsigned long long)l->took[l->calls * 99 / 100],
           (unsigned long long)l->first[l->calls / 2]);
    if (l->failed)
        fprintf(stderr, "%zu of %zu calls failed\n", l->failed, l->calls);
    return l->failed != 0;
}

static int hold(struct load *l, size_t n, unsigned seconds)
{
    struct conn *c;

    l->calls = n;
    buf_init(&l->ask, 2 * ROOM);
    l->ep = epoll_create1(EPOLL_CLOEXEC);
    for (size_t i = 0; i < n; i++) {
        c = conn_add(l->ep, dial(l->port));
        ask(l, c);
        while (!memmem(c->in, c->n, "data:", 5)) {
            ssize_t got = read(c->fd, c->in + c->n, ROOM - c->n);

            if (got <= 0)
                die("the other end went away");
            c->n += (size_t)got;
        }
    }
    printf("open %zu\n", n);
    fflush(stdout);
    sleep(seconds);
    return 0;
}

/* ---- the broker without SSH ---- */

struct door {
    uv_loop_t loop;
    uv_poll_t poll;
    int fd, port;
    struct broker *b;
    struct paths paths;
    struct task task;
    uint8_t pub[KEY_PUB_BYTES], sec[KEY_SEC_BYTES];
    char dir[PATH_MAX];
};

static void door_opens(uv_poll_t *poll, int status, int events)
{
    struct door *d = poll->data;
    int fd;

    (void)status;
    (void)events;
    fd = accept4(d->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    if (fd >= 0) {
        at_once(fd);
        broker_call(d->b, d->task.attempt, fd);
    }
}

static void on_signed(void *arg, const struct buf *envelope, const struct buf *sshsig,
                      const struct err *err)
{
    struct door *d = arg;
    uint8_t pub[32], sec[32], token[TASK_TOKEN_BYTES];
    char hex[2 * TASK_TOKEN_BYTES + 1];
    struct err why = ERR_INIT;
    struct dsse dsse;
    struct task t;

    (void)sshsig;
    if (err || dsse_parse(envelope->data, envelope->len, &dsse, &why) < 0 ||
        task_decode(dsse.body.data, dsse.body.len, &t, &why) < 0) {
        fprintf(stderr, "%s\n", err ? err->msg : why.msg);
        exit(1);
    }
    if (crypto_sign_ed25519_pk_to_curve25519(pub, d->pub) < 0 ||
        crypto_sign_ed25519_sk_to_curve25519(sec, d->sec) < 0 ||
        crypto_box_seal_open(token, t.token_sealed, TASK_SEALED_BYTES, pub, sec) < 0)
        die("unseal");
    printf("door %d %s\n", d->port, sodium_bin2hex(hex, sizeof hex, token, sizeof token));
    fflush(stdout);
    uv_poll_init(&d->loop, &d->poll, d->fd);
    d->poll.data = d;
    uv_poll_start(&d->poll, UV_READABLE, door_opens);
}

static void door_plan(struct door *d, const char *provider)
{
    struct spend_wish wish = {.provider = provider,
                              .budget = "1000000",
                              .calls = 1000000,
                              .calls_per_minute = 10000,
                              .in_flight = 256,
                              .output_tokens = 1000,
                              .repeats = 1000};
    struct spend_books books;
    struct task *t = &d->task;
    struct err err = ERR_INIT;

    snprintf(t->id, sizeof t->id, "%s", TASK_ID);
    for (int i = 16; i < 26; i++)
        t->id[i] = "0123456789abcdefghjkmnpqrstvwxyz"[randombytes_uniform(32)];
    snprintf(t->attempt, sizeof t->attempt, "%.26s.1", t->id);
    snprintf(t->title, sizeof t->title, "bench");
    snprintf(t->aud_host, sizeof t->aud_host, "bench");
    snprintf(t->aud_host_key, sizeof t->aud_host_key,
             "SHA256:AbCdEfGhIjKlMnOpQrStUvWxYz0123456789+/AbCdE");
    snprintf(t->base, sizeof t->base, "%040d", 0);
    snprintf(t->root, sizeof t->root, "%040d", 0);
    snprintf(t->branch, sizeof t->branch, "creel/%.26s", t->id);
    t->fence = 1;
    t->pack_bytes = 1;
    strv_add(&t->command, "true");
    policy_init(&t->policy);
    if (spend_books_open(&d->paths, &books, &err) < 0 ||
        spend_plan(&books, &wish, &t->policy.spend, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        exit(1);
    }
    spend_books_done(&books);
}

static int door(const char *self, const char *state, const char *provider)
{
    static struct door d;
    char key[PATH_MAX];
    struct err err = ERR_INIT;

    uv_loop_init(&d.loop);
    d.fd = listen_any(&d.port);
    crypto_sign_keypair(d.pub, d.sec);
    if (paths_open(state, false, &d.paths, &err) < 0 ||
        paths_signing_key(&d.paths, key, &err) < 0 || paths_broker(&d.paths, d.dir, &err) < 0 ||
        broker_start(&d.loop, self, key, d.dir, &d.b, &err) < 0) {
        fprintf(stderr, "%s\n", err.msg);
        return 1;
    }
    door_plan(&d, provider);
    broker_sign(d.b, &d.task, d.pub, 3600, on_signed, &d);
    return uv_run(&d.loop, UV_RUN_DEFAULT);
}

static int loads(int argc, char **argv)
{
    struct load l = {.port = atoi(argv[2]),
                     .token = argv[3],
                     .calls = strtoul(argv[4], NULL, 10),
                     .model = argv[6]};
    int more = 7;

    if (argc > more && strcmp(argv[more], "stream") == 0) {
        l.stream = true;
        more++;
    }
    l.heads = argv + more;
    l.nheads = argc - more;
    return load(&l, strtoul(argv[5], NULL, 10));
}

static int holds(int argc, char **argv)
{
    struct load l = {.port = atoi(argv[2]), .token = argv[3], .model = "hold", .stream = true};

    l.heads = argv + 6;
    l.nheads = argc - 6;
    return hold(&l, strtoul(argv[4], NULL, 10), (unsigned)atoi(argv[5]));
}

int main(int argc, char **argv)
{
    signal(SIGPIPE, SIG_IGN);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    if (sodium_init() < 0)
        return 1;
    if (argc == 3 && strcmp(argv[1], "provider") == 0)
        return provider(argv[2]);
    if (argc == 5 && strcmp(argv[1], "door") == 0)
        return door(argv[2], argv[3], argv[4]);
    if (argc >= 7 && strcmp(argv[1], "load") == 0)
        return loads(argc, argv);
    if (argc >= 6 && strcmp(argv[1], "hold") == 0)
        return holds(argc, argv);
    fprintf(stderr, "call_bench: see the head of its source\n");
    return 2;
}
