/* A small HTTP server in a child process that plays a provider, well or badly, as the first segment of
 * the path asks: /ok/..., /cut/..., see behave(). It counts in shared memory what it saw. */
#ifndef TESTS_UNIT_PROVIDER_FIXTURE_H
#define TESTS_UNIT_PROVIDER_FIXTURE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

struct provider_counts {
    atomic_int connections, requests; /* requests: whole ones */
    atomic_int
        wrong_key; /* without "authorization: Bearer real-key-0123456789" or "x-api-key: real-key-0123456789" */
    atomic_int task_headers; /* with a header that must not get here */
    atomic_int served;       /* answers given in full, with usage */
    char last_body[65536];
    char last_head[16384];
};

struct provider_fixture {
    pid_t pid;
    int port;
    struct provider_counts *seen;
};

static void say(int fd, const char *text)
{
    for (size_t n = strlen(text); n > 0;) {
        ssize_t some = send(fd, text, n, MSG_NOSIGNAL);
        if (some <= 0)
            _exit(0);
        text += some;
        n -= (size_t)some;
    }
}

static void say_whole(int fd, const char *status, const char *type, const char *body)
{
    char head[512];
    snprintf(head, sizeof head,
             "HTTP/1.1 %s\r\ncontent-type: %s\r\ncontent-length: %zu\r\n"
             "x-request-id: r1\r\nset-cookie: no\r\nx-secret: no\r\n\r\n",
             status, type, strlen(body));
    say(fd, head);
    say(fd, body);
}

static void say_chunk(int fd, const char *text)
{
    char size[32];
    snprintf(size, sizeof size, "%zx\r\n", strlen(text));
    say(fd, size);
    say(fd, text);
    say(fd, "\r\n");
}

#define PROVIDER_STREAM_HEAD \
    "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
#define PROVIDER_CREATED              \
    "event: response.created\ndata: " \
    "{\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n"
#define PROVIDER_DELTA                                                           \
    "event: response.output_text.delta\ndata: {\"type\":\"response.output_text." \
    "delta\",\"item_id\":\"i\",\"output_index\":0,\"content_index\":0,\"delta\":\"hello\"}\n\n"
#define PROVIDER_COMPLETED(usage)                                                             \
    "event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":" \
    "\"r\",\"status\":\"completed\",\"output\":[]" usage "}}\n\n"
#define PROVIDER_USAGE ",\"usage\":{\"input_tokens\":100,\"output_tokens\":10,\"total_tokens\":110}"

static void stream(struct provider_counts *seen, int fd, const char *how)
{
    say(fd, PROVIDER_STREAM_HEAD);
    say_chunk(fd, PROVIDER_CREATED);
    say_chunk(fd, PROVIDER_DELTA);
    if (strcmp(how, "cut") == 0)
        _exit(0);
    if (strcmp(how, "hang") == 0)
        for (;;)
            pause();
    if (strcmp(how, "endless") == 0)
        for (;;)
            say_chunk(fd, PROVIDER_DELTA PROVIDER_DELTA PROVIDER_DELTA PROVIDER_DELTA);
    if (strcmp(how, "nousage") == 0)
        say_chunk(fd, PROVIDER_COMPLETED(""));
    else if (strcmp(how, "zero") == 0)
        say_chunk(fd,
                  PROVIDER_COMPLETED(
                      ",\"usage\":{\"input_tokens\":0,\"output_tokens\":0,\"total_tokens\":0}"));
    else if (strcmp(how, "lie") == 0)
        say_chunk(fd, PROVIDER_COMPLETED(",\"usage\":{\"input_tokens\":100000000,\"output_tokens\":"
                                         "100000000,\"total_tokens\":200000000}"));
    else if (strcmp(how, "noend") != 0)
        say_chunk(fd, PROVIDER_COMPLETED(PROVIDER_USAGE));
    atomic_fetch_add(&seen->served, strcmp(how, "stream") == 0);
    if (strcmp(how, "endcut") == 0)
        _exit(0);
    if (strcmp(how, "stays") == 0)
        for (;;)
            pause();
    say(fd, "0\r\n\r\n");
}

static void giant(int fd)
{
    static char some[65536];
    say(fd,
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1073741824\r\n\r\n");
    memset(some, 'a', sizeof some - 1);
    for (;;)
        say(fd, some);
}

static void behave(struct provider_counts *seen, int fd, const char *how)
{
    static const char refused[] =
        "{\"error\":{\"message\":\"Incorrect API key: real-key-0123456789\"}}";
    if (strcmp(how, "ok") == 0) {
        say_whole(fd, "200 OK", "application/json",
                  "{\"id\":\"r\",\"object\":\"response\",\"status\":\"completed\",\"output\":[{"
                  "\"type\":\"message\","
                  "\"role\":\"assistant\",\"content\":[{\"type\":\"output_text\",\"text\":\"hi\"}]}"
                  "]" PROVIDER_USAGE "}");
        atomic_fetch_add(&seen->served, 1);
    } else if (strcmp(how, "rst") == 0) {
        _exit(0);
    } else if (strcmp(how, "mute") == 0) {
        for (;;)
            pause();
    } else if (strcmp(how, "401") == 0) {
        say_whole(fd, "401 Unauthorized", "application/json", refused);
    } else if (strcmp(how, "429") == 0) {
        say_whole(fd, "429 Too Many Requests", "application/json",
                  "{\"error\":{\"message\":\"slow\"}}");
    } else if (strcmp(how, "500") == 0) {
        say_whole(fd, "500 Oops", "application/json", refused);
    } else if (strcmp(how, "504") == 0) {
        say_whole(fd, "504 Gateway Timeout", "text/html", "");
    } else if (strcmp(how, "302") == 0) {
        say(fd, "HTTP/1.1 302 Found\r\nlocation: /ok\r\ncontent-length: 0\r\n\r\n");
    } else if (strcmp(how, "noise") == 0) {
        say(fd, "SSH-2.0-OpenSSH_9.2\r\n");
        _exit(0);
    } else if (strcmp(how, "giant") == 0) {
        giant(fd);
    } else if (strcmp(how, "headers") == 0) {
        say(fd, "HTTP/1.1 200 OK\r\n");
        for (;;)
            say(fd,
                "x-more: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n");
    } else {
        stream(seen, fd, how);
    }
}

/* One request off the connection; false: none came. */
static bool hear(struct provider_counts *seen, int fd, char how[static 32])
{
    static char head[65536];
    size_t n = 0, length = 0, got = 0;
    char *end = NULL, *at;
    while (!end && n < sizeof head - 1) {
        ssize_t some = recv(fd, head + n, 1, 0);
        if (some <= 0)
            return false;
        n += (size_t)some;
        head[n] = 0;
        end = n >= 4 && strcmp(head + n - 4, "\r\n\r\n") == 0 ? head + n : NULL;
    }
    if ((at = strcasestr(head, "\r\ncontent-length:")))
        length = strtoul(at + 17, NULL, 10);
    while (got < length) {
        char chunk[65536];
        size_t want = length - got < sizeof chunk ? length - got : sizeof chunk;
        ssize_t some = recv(fd, chunk, want, 0);
        if (some <= 0)
            return false;
        if (got + (size_t)some < sizeof seen->last_body) {
            memcpy(seen->last_body + got, chunk, (size_t)some);
            seen->last_body[got + (size_t)some] = 0;
        }
        got += (size_t)some;
    }
    snprintf(seen->last_head, sizeof seen->last_head, "%.16000s", head);
    if (!strcasestr(head, "\r\nauthorization: Bearer real-key-0123456789\r\n") &&
        !strcasestr(head, "\r\nx-api-key: real-key-0123456789\r\n"))
        atomic_fetch_add(&seen->wrong_key, 1);
    if (strcasestr(head, "\r\nx-codex") || strcasestr(head, "\r\nexpect:") ||
        strcasestr(head, "\r\ncookie:"))
        atomic_fetch_add(&seen->task_headers, 1);
    atomic_fetch_add(&seen->requests, 1);
    const char *slash = strchr(head, '/');
    snprintf(how, 32, "%.*s", (int)strcspn(slash + 1, "/ ?"), slash + 1);
    return true;
}

static void provider_serve(struct provider_fixture *p, int listener)
{
    signal(SIGCHLD, SIG_IGN);
    for (;;) {
        int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0)
            continue;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
        atomic_fetch_add(&p->seen->connections, 1);
        if (fork() == 0) {
            char how[32];
            prctl(PR_SET_PDEATHSIG, SIGKILL);
            close(listener);
            while (hear(p->seen, fd, how))
                behave(p->seen, fd, how);
            _exit(0);
        }
        close(fd);
    }
}

static int provider_start(struct provider_fixture *p)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    p->seen =
        mmap(NULL, sizeof *p->seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (p->seen == MAP_FAILED || bind(listener, (struct sockaddr *)&a, sizeof a) < 0 ||
        listen(listener, 512) < 0 || getsockname(listener, (struct sockaddr *)&a, &n) < 0)
        return -1;
    p->port = ntohs(a.sin_port);
    pid_t parent = getpid();
    p->pid = fork();
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
            _exit(1);
        provider_serve(p, listener);
    }
    close(listener);
    return p->pid > 0 ? 0 : -1;
}

static void provider_stop(struct provider_fixture *p)
{
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    munmap(p->seen, sizeof *p->seen);
}

#endif
