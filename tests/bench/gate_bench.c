/* What the bench of the egress gate needs, each a mode of its own; tests/bench/gate puts them together.
 *
 *   gate_bench source ADDRESS PORT     answers each connection's "N\n" with N zero bytes
 *   gate_bench gate NAME:PORT NET      makes a jail's network, prints "ready PID" (of a process in it)
 *                                      and is its gate; NET may be dialled too, though special
 *   gate_bench connect PORT N TARGET   N times a CONNECT by the proxy 127.0.0.1:PORT, answered; prints
 *                                      the milliseconds of each
 *   gate_bench pull PORT BYTES TARGET  as many bytes from the source by that proxy; prints MiB/s
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "runner/fdpass.h"
#include "runner/gate.h"
#include "runner/net.h"

#define CHUNK (1u << 16)

static int fail(struct err *err, const char *what)
{
    return err_errno(err, ERR_FAIL, "%s", what);
}

static int listen_at(const char *address, const char *port, struct err *err)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    inet_pton(AF_INET, address, &sin.sin_addr);
    if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
        bind(fd, (struct sockaddr *)&sin, sizeof sin) < 0 || listen(fd, 128) < 0)
        return fail(err, "source: listen");
    return fd;
}

static void answer(int fd)
{
    static const char zeros[CHUNK];
    char line[32] = "";
    if (read(fd, line, sizeof line - 1) <= 0)
        return;
    unsigned long long left = strtoull(line, NULL, 10);
    while (left > 0) {
        size_t n = left < CHUNK ? (size_t)left : CHUNK;
        if (write_all(fd, zeros, n) < 0)
            return;
        left -= n;
    }
}

static int source(const char *address, const char *port, struct err *err)
{
    int fd = listen_at(address, port, err);
    signal(SIGPIPE, SIG_IGN);
    while (fd >= 0) {
        int conn = accept(fd, NULL, NULL);
        if (conn < 0)
            return fail(err, "source: accept");
        answer(conn);
        close(conn);
    }
    return fd;
}

/* ---- the gate ---- */

static void on_event(void *arg, const struct gate_event *e)
{
    if (e->verdict != EGRESS_ALLOWED)
        fprintf(stderr, "gate: %s:%u: %s\n", e->name, e->port, e->why);
}

static void on_closed(void *arg)
{
}

/* A process in the jail's network, for clients to join; its doors' sockets by `up`. */
static int in_jail(int up, const struct egress_rule *rule)
{
    struct err err = ERR_INIT;
    uint16_t ports[EGRESS_PORTS_MAX];
    size_t n = 0, nports = egress_ports(rule, 1, ports);
    int fds[GATE_SOCKETS_MAX];
    char word = 1;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (net_enter(&err) < 0 || net_doors(NULL, 0, ports, nports, fds, &n, &err) < 0 ||
        fdpass_send(up, &word, 1, fds, n, &err) < 0) {
        fprintf(stderr, "gate: %s\n", err.msg);
        return 1;
    }
    fds_close(fds, n);
    for (;;)
        pause();
}

static int serve(const struct egress_rule *rule, const struct addr_net *reach, int *fds,
                 size_t nfds, struct err *err)
{
    uv_loop_t loop;
    struct policy policy;
    const struct gate_host host = {.reach = reach, .nreach = 1};
    struct gate *gate = NULL;
    policy_init(&policy);
    policy.limits[LIMIT_CONNS] = 1000000; /* more than any run here */
    if (uv_loop_init(&loop) != 0)
        return err_set(err, ERR_FAIL, "no loop");
    const struct gate_setup setup = {.loop = &loop,
                                     .host = &host,
                                     .policy = &policy,
                                     .rules = rule,
                                     .nrules = 1,
                                     .event = on_event,
                                     .closed = on_closed};
    int rc = gate_open(&setup, fds, nfds, &gate, err);
    if (rc == 0)
        uv_run(&loop, UV_RUN_DEFAULT);
    return rc;
}

static int gate(const char *rule_text, const char *net, struct err *err)
{
    struct egress_rule rule;
    struct addr_net reach;
    int pair[2], fds[FDPASS_MAX];
    size_t n = 0;
    char word;
    int rc = egress_parse(rule_text, &rule, err);
    if (rc == 0)
        rc = addr_net_parse(net, &reach, err);
    if (rc < 0)
        return rc;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
        return fail(err, "socketpair");
    pid_t pid = fork();
    if (pid == 0)
        _exit(in_jail(pair[1], &rule));
    close(pair[1]);
    if (pid < 0 || fdpass_recv(pair[0], &word, 1, fds, &n, err) != 1)
        return err_set(err, ERR_FAIL, "no sockets came from the jail's network");
    signal(SIGPIPE, SIG_IGN);
    printf("ready %ld\n", (long)pid);
    fflush(stdout);
    return serve(&rule, &reach, fds, n, err);
}

/* ---- clients ---- */

/* A connection that the proxy says it has made. */
static int tunnel(const char *port, const char *target, struct err *err)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    char text[512];
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&sin, sizeof sin) < 0)
        return fail(err, "connect to the proxy");
    int n = snprintf(text, sizeof text, "CONNECT %s HTTP/1.1\r\nHost: %s\r\n\r\n", target, target);
    if (write_all(fd, text, (size_t)n) < 0)
        return fail(err, "CONNECT");
    size_t have = 0;
    do {
        ssize_t got = read(fd, text + have, sizeof text - 1 - have);
        if (got <= 0)
            return err_set(err, ERR_FAIL, "the proxy hung up");
        have += (size_t)got;
        text[have] = 0;
    } while (!strstr(text, "\r\n\r\n") && have + 1 < sizeof text);
    if (strncmp(text, "HTTP/1.", 7) != 0 || strncmp(text + 8, " 200", 4) != 0)
        return err_set(err, ERR_FAIL, "the proxy says %.60s", text);
    return fd;
}

static int connects(const char *port, const char *count, const char *target, struct err *err)
{
    for (long i = atol(count); i > 0; i--) {
        uint64_t began = clock_mono_us();
        int fd = tunnel(port, target, err);
        if (fd < 0)
            return fd;
        printf("%.3f\n", (double)(clock_mono_us() - began) / 1000);
        close(fd);
    }
    return 0;
}

static int pull(const char *port, const char *bytes, const char *target, struct err *err)
{
    static char chunk[CHUNK];
    char line[32];
    unsigned long long left = strtoull(bytes, NULL, 10);
    double mib = (double)left / 1048576;
    int fd = tunnel(port, target, err);
    if (fd < 0)
        return fd;
    uint64_t began = clock_mono_us();
    snprintf(line, sizeof line, "%llu\n", left);
    if (write_all(fd, line, strlen(line)) < 0)
        return fail(err, "pull");
    while (left > 0) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        if (n <= 0)
            return err_set(err, ERR_FAIL, "it ended %llu bytes too early", left);
        left -= (size_t)n;
    }
    printf("%.1f\n", mib / ((double)(clock_mono_us() - began) / 1e6));
    close(fd);
    return 0;
}

int main(int argc, char **argv)
{
    struct err err = ERR_INIT;
    int rc;
    if (argc == 4 && strcmp(argv[1], "source") == 0)
        rc = source(argv[2], argv[3], &err);
    else if (argc == 4 && strcmp(argv[1], "gate") == 0)
        rc = gate(argv[2], argv[3], &err);
    else if (argc == 5 && strcmp(argv[1], "connect") == 0)
        rc = connects(argv[2], argv[3], argv[4], &err);
    else if (argc == 5 && strcmp(argv[1], "pull") == 0)
        rc = pull(argv[2], argv[3], argv[4], &err);
    else
        rc = err_set(&err, ERR_USAGE, "usage: gate_bench source|gate|connect|pull ...");
    if (rc < 0)
        fprintf(stderr, "gate_bench: %s\n", err.msg);
    return err_exit(&err);
}
