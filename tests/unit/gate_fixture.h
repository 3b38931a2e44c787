/* A gate in this process, a jail's network and a little internet around it, for test_gate.c and
 * test_gate_limits.c.
 *
 * The process moves into namespaces of its own: its network is the "host" and holds 5.5.5.0/24 as the
 * internet (addresses that are nobody's but local by a route), its /etc/hosts is what a name resolves
 * to, so that the shipped resolver is what is tested. A child holds the jail's network: it makes the
 * gate's doors by net_doors(), and sockets for the test's clients on demand. */
#ifndef TESTS_UNIT_GATE_FIXTURE_H
#define TESTS_UNIT_GATE_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/cm.h"
#include "common/file.h"
#include "runner/fdpass.h"
#include "runner/gate_internal.h"
#include "runner/net.h"

#pragma GCC diagnostic ignored "-Wunused-function" /* not every test needs all of it */

#define PATIENCE_MS 20000 /* for what must come; nothing is measured */
#define EVENTS_MAX  64

struct event_seen {
    enum egress_verdict verdict;
    char name[DNS_NAME_SIZE], why[GATE_WHY_SIZE];
    uint16_t port;
    uint64_t sent, received;
    bool first;
};

struct world {
    uv_loop_t loop;
    struct gate *gate;
    struct gate_host host;
    struct policy policy;
    struct egress_rule rules[EGRESS_RULES_MAX];
    size_t nrules;
    pid_t jail;
    int jail_fd; /* asks for sockets */
    bool closed;
    struct event_seen events[EVENTS_MAX];
    size_t nevents;
    struct buf heard;
};

static bool usable; /* namespaces can be made here */
static char hosts_path[] = "/tmp/test_gate.XXXXXX", nss_path[] = "/tmp/test_gate.XXXXXX";

/* ---- the host and its internet ---- */

static int write_path(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC | O_TRUNC);
    int rc = fd < 0 ? -1 : write_all(fd, text, strlen(text));
    fd_close(&fd);
    return rc;
}

static void hosts(const char *text)
{
    assert_int_equal(write_path(hosts_path, text), 0);
}

/* 5.5.5.0/24 is local: sockets can be bound to it, but no interface has it. */
static int add_route(void)
{
    struct {
        struct nlmsghdr head;
        struct rtmsg route;
        char attrs[64];
    } m = {
        .head = {.nlmsg_len = NLMSG_LENGTH(sizeof m.route),
                 .nlmsg_type = RTM_NEWROUTE,
                 .nlmsg_flags = NLM_F_REQUEST | NLM_F_CREATE | NLM_F_ACK},
        .route = {.rtm_family = AF_INET,
                  .rtm_dst_len = 24,
                  .rtm_table = RT_TABLE_LOCAL,
                  .rtm_protocol = RTPROT_STATIC,
                  .rtm_scope = RT_SCOPE_HOST,
                  .rtm_type = RTN_LOCAL},
    };
    const unsigned char dst[4] = {5, 5, 5, 0};
    const int oif = 1; /* lo */
    const struct {
        unsigned short type;
        const void *bytes;
    } attrs[] = {{RTA_DST, dst}, {RTA_OIF, &oif}};
    for (size_t i = 0; i < 2; i++) {
        struct rtattr *a = (struct rtattr *)(void *)((char *)&m + NLMSG_ALIGN(m.head.nlmsg_len));
        a->rta_type = attrs[i].type;
        a->rta_len = RTA_LENGTH(4);
        memcpy(RTA_DATA(a), attrs[i].bytes, 4);
        m.head.nlmsg_len = (uint32_t)(NLMSG_ALIGN(m.head.nlmsg_len) + RTA_ALIGN(a->rta_len));
    }
    struct {
        struct nlmsghdr head;
        struct nlmsgerr err;
        char rest[256];
    } r;
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    bool done = fd >= 0 && send(fd, &m, m.head.nlmsg_len, 0) > 0 && recv(fd, &r, sizeof r, 0) > 0 &&
                r.err.error == 0;
    fd_close(&fd);
    return done ? 0 : -1;
}

static int loopback_up(void)
{
    struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    int rc = fd < 0 ? -1 : ioctl(fd, SIOCSIFFLAGS, &ifr);
    fd_close(&fd);
    return rc;
}

static int become_root_inside(void)
{
    char map[64];
    unsigned uid = geteuid(), gid = getegid();
    if (unshare(CLONE_NEWUSER) < 0)
        return -1;
    snprintf(map, sizeof map, "0 %u 1", uid);
    if (write_path("/proc/self/uid_map", map) < 0 || write_path("/proc/self/setgroups", "deny") < 0)
        return -1;
    snprintf(map, sizeof map, "0 %u 1", gid);
    return write_path("/proc/self/gid_map", map);
}

static int make_file(char *path, const char *text, const char *over)
{
    int fd = mkstemp(path);
    fd_close(&fd);
    return write_path(path, text) < 0 || mount(path, over, NULL, MS_BIND, NULL) < 0 ? -1 : 0;
}

static int world_make(void **state)
{
    (void)state;
    setenv("UV_THREADPOOL_SIZE", "8", 1);
    usable = (geteuid() == 0 || become_root_inside() == 0) &&
             unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
             mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 && loopback_up() == 0 &&
             add_route() == 0 && make_file(hosts_path, "", "/etc/hosts") == 0 &&
             make_file(nss_path, "hosts: files\n", "/etc/nsswitch.conf") == 0;
    if (!usable)
        print_message("SKIPPED, no network namespaces can be made here: %s\n", strerror(errno));
    return 0;
}

static int world_unmake(void **state)
{
    (void)state;
    unlink(hosts_path);
    unlink(nss_path);
    return 0;
}

/* ---- the jail ---- */

/* Answers each byte with a socket of the jail's network: 's' stream, 'd' datagram. */
static void jail_main(int fd, const struct egress_rule *rules, size_t nrules)
{
    uint16_t ports[EGRESS_PORTS_MAX];
    int fds[GATE_SOCKETS_MAX];
    size_t nports = egress_ports(rules, nrules, ports), n = 0;
    char what;
    if (net_enter(NULL) < 0 || net_doors(NULL, 0, ports, nports, fds, &n, NULL) < 0 ||
        fdpass_send(fd, "d", 1, fds, n, NULL) < 0)
        _exit(1);
    fds_close(fds, n);
    while (read(fd, &what, 1) == 1) {
        int s = socket(AF_INET, (what == 'd' ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);
        if (fdpass_send(fd, "s", 1, &s, 1, NULL) < 0)
            _exit(1);
        close(s);
    }
    _exit(0);
}

static size_t jail_start(struct world *w, int fds[static FDPASS_MAX])
{
    int pair[2];
    char byte;
    size_t n = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    w->jail = fork();
    assert_true(w->jail >= 0);
    if (w->jail == 0) {
        close(pair[0]);
        jail_main(pair[1], w->rules, w->nrules);
    }
    close(pair[1]);
    w->jail_fd = pair[0];
    assert_int_equal(fdpass_recv(pair[0], &byte, 1, fds, &n, NULL), 1);
    return n;
}

static int jail_socket(struct world *w, char what)
{
    int fds[FDPASS_MAX];
    char byte;
    size_t n;
    assert_int_equal(write(w->jail_fd, &what, 1), 1);
    assert_int_equal(fdpass_recv(w->jail_fd, &byte, 1, fds, &n, NULL), 1);
    assert_int_equal(n, 1);
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    return fds[0];
}

/* ---- the gate ---- */

static void on_event(void *arg, const struct gate_event *e)
{
    struct world *w = arg;
    if (w->nevents == EVENTS_MAX)
        return;
    struct event_seen *s = &w->events[w->nevents++];
    s->verdict = e->verdict;
    snprintf(s->name, sizeof s->name, "%s", e->name);
    snprintf(s->why, sizeof s->why, "%s", e->why);
    s->port = e->port;
    s->sent = e->sent;
    s->received = e->received;
    s->first = e->first;
}

static void on_closed(void *arg)
{
    struct world *w = arg;
    w->closed = true;
}

/* A world with a gate for these rules, words between blanks. */
static struct world *gate_up(const char *rules)
{
    struct err err = ERR_INIT;
    struct world *w = calloc(1, sizeof *w);
    int fds[FDPASS_MAX];
    char copy[512], *word, *rest = copy;
    policy_init(&w->policy);
    snprintf(copy, sizeof copy, "%s", rules);
    while ((word = strsep(&rest, " ")))
        strv_add(&w->policy.egress, word);
    assert_ok(egress_parse_all(&w->policy.egress, w->rules, &w->nrules, &err));
    uv_loop_init(&w->loop);
    buf_init(&w->heard, 1u << 20);
    size_t n = jail_start(w, fds);
    const struct gate_setup setup = {.loop = &w->loop,
                                     .host = &w->host,
                                     .policy = &w->policy,
                                     .rules = w->rules,
                                     .nrules = w->nrules,
                                     .arg = w,
                                     .event = on_event,
                                     .closed = on_closed};
    assert_ok(gate_open(&setup, fds, n, &w->gate, &err));
    return w;
}

static void spin(struct world *w)
{
    uv_run(&w->loop, UV_RUN_NOWAIT);
    usleep(500);
}

/* Turns the loop until `cond`, which must come. */
#define until(w, cond)                                       \
    do {                                                     \
        int turns_ = PATIENCE_MS * 2;                        \
        bool come_;                                          \
        while (!(come_ = (cond)) && turns_-- > 0)            \
            spin(w);                                         \
        if (!come_)                                          \
            fail_msg("line %d: never: %s", __LINE__, #cond); \
    } while (0)

/* Closes the gate and sees that nothing of it is left. */
static void gate_down(struct world *w)
{
    if (!w->closed) {
        gate_close(w->gate);
        until(w, w->closed);
    }
    until(w, uv_run(&w->loop, UV_RUN_NOWAIT) == 0); /* look-ups that were abandoned */
    assert_int_equal(uv_loop_close(&w->loop), 0);
    close(w->jail_fd);
    waitpid(w->jail, NULL, 0);
    policy_done(&w->policy);
    buf_done(&w->heard);
    free(w);
}

/* ---- clients and servers ---- */

static struct sockaddr_in address(const char *ip, uint16_t port)
{
    struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};
    assert_int_equal(inet_pton(AF_INET, ip, &sin.sin_addr), 1);
    return sin;
}

static int enter(struct world *w, const char *ip, uint16_t port)
{
    struct sockaddr_in sin = address(ip, port);
    int fd = jail_socket(w, 's');
    if (connect(fd, (struct sockaddr *)&sin, sizeof sin) < 0)
        assert_int_equal(errno, EINPROGRESS);
    return fd;
}

static int serve_at(const char *ip, uint16_t port)
{
    struct sockaddr_in sin = address(ip, port);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &(int){1}, sizeof(int));
    assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof sin), 0);
    assert_int_equal(listen(fd, 16), 0);
    return fd;
}

static int accept_one(struct world *w, int listener)
{
    int fd = -1;
    until(w, (fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0);
    return fd;
}

/* Nobody comes while the loop does what it has to do. */
static void accept_none(struct world *w, int listener)
{
    for (int i = 0; i < 40; i++)
        spin(w);
    assert_int_equal(accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK), -1);
}

static void say_bytes(struct world *w, int fd, const void *bytes, size_t n)
{
    const char *p = bytes;
    while (n > 0) {
        ssize_t r = send(fd, p, n, MSG_NOSIGNAL);
        if (r > 0) {
            p += r;
            n -= (size_t)r;
        } else {
            assert_true(errno == EAGAIN || errno == ENOTCONN);
        }
        spin(w);
    }
}

static void say(struct world *w, int fd, const char *text)
{
    say_bytes(w, fd, text, strlen(text));
}

/* Takes what is there. 1: more may come; 0: it ended; -1: it was reset. */
static int take(struct world *w, int fd)
{
    char bytes[4096];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof bytes, 0)) > 0)
        buf_add(&w->heard, bytes, (size_t)n);
    return n == 0 ? 0 : errno == EAGAIN || errno == ENOTCONN ? 1 : -1;
}

/* Everything until the end; 0: a clean one, -1: a reset. */
static int hear_end(struct world *w, int fd)
{
    int r = 1;
    buf_clear(&w->heard);
    until(w, (r = take(w, fd)) < 1);
    return r;
}

/* Until it has come to these words. */
static void hear(struct world *w, int fd, const char *words)
{
    buf_clear(&w->heard);
    until(w, take(w, fd) < 1 || strstr(buf_str(&w->heard), words));
    if (!strstr(buf_str(&w->heard), words))
        fail_msg("not '%s' but '%s'", words, buf_str(&w->heard));
}

static void hear_bytes(struct world *w, int fd, const void *bytes, size_t n)
{
    buf_clear(&w->heard);
    until(w, take(w, fd) < 1 || w->heard.len >= n);
    assert_int_equal(w->heard.len, n);
    assert_memory_equal(w->heard.data, bytes, n);
}

static const struct event_seen *event(struct world *w, enum egress_verdict v, const char *name,
                                      uint16_t port)
{
    until(w, w->nevents > 0);
    const struct event_seen *e = &w->events[w->nevents - 1];
    if (e->verdict != v || strcmp(e->name, name) != 0 || e->port != port)
        fail_msg("%s %s:%u (%s), not %s %s:%u", egress_verdict_names[e->verdict], e->name, e->port,
                 e->why, egress_verdict_names[v], name, port);
    return e;
}

/* ---- TLS and DNS bytes ---- */

static void add_be(struct buf *b, size_t v, unsigned n)
{
    while (n-- > 0)
        buf_addc(b, (char)(v >> 8 * n));
}

/* A ClientHello for `name` in records of `cut` bytes. */
static void add_hello(struct buf *to, const char *name, size_t cut)
{
    size_t n = strlen(name);
    struct buf m;
    buf_init(&m, 1024);
    add_be(&m, 1, 1);
    add_be(&m, 2 + 32 + 1 + 4 + 2 + 2 + 9 + n, 3);
    add_be(&m, 0x0303, 2);
    for (int i = 0; i < 32; i++)
        buf_addc(&m, (char)i);
    add_be(&m, 0, 1);
    add_be(&m, 2, 2);
    add_be(&m, 0x1301, 2);
    add_be(&m, 0x0100, 2);
    add_be(&m, 9 + n, 2);
    add_be(&m, 0, 2);
    add_be(&m, 5 + n, 2);
    add_be(&m, 3 + n, 2);
    add_be(&m, 0, 1);
    add_be(&m, n, 2);
    buf_adds(&m, name);
    for (size_t at = 0; at < m.len; at += cut) {
        size_t piece = m.len - at < cut ? m.len - at : cut;
        add_be(to, 0x160301, 3);
        add_be(to, piece, 2);
        buf_add(to, m.data + at, piece);
    }
    buf_done(&m);
}

static void add_question(struct buf *to, const char *name, unsigned type)
{
    add_be(to, 0x1234, 2);
    add_be(to, 0x0100, 2);
    add_be(to, 1, 2);
    add_be(to, 0, 6);
    for (const char *p = name; *p;) {
        size_t n = strcspn(p, ".");
        add_be(to, n, 1);
        buf_add(to, p, n);
        p += n + (p[n] == '.');
    }
    add_be(to, 0, 1);
    add_be(to, type, 2);
    add_be(to, 1, 2);
}

/* Asks by UDP; the answer's code, and its address in text when it has one. */
static int resolve(struct world *w, const char *name, unsigned type, char ip[INET_ADDRSTRLEN])
{
    struct sockaddr_in sin = address("127.0.0.1", 53);
    int fd = jail_socket(w, 'd');
    uint8_t bytes[512];
    ssize_t n = -1;
    struct buf q;
    buf_init(&q, 512);
    add_question(&q, name, type);
    assert_int_equal(sendto(fd, q.data, q.len, 0, (struct sockaddr *)&sin, sizeof sin), q.len);
    until(w, (n = recv(fd, bytes, sizeof bytes, 0)) > 0);
    assert_true(n >= (ssize_t)q.len);
    assert_memory_equal(bytes, q.data, 2);
    ip[0] = 0;
    if (bytes[7] == 1)
        inet_ntop(AF_INET, bytes + n - 4, ip, INET_ADDRSTRLEN);
    buf_done(&q);
    close(fd);
    return bytes[3] & 15;
}

/* ---- what tests ask for ---- */

#define WEB   "web.example.org"
#define HOSTS "5.5.5.5 web.example.org a.wild.example.org other.example.org\n"
#define A     1
#define AAAA  28
#define SRV   33

#define with_world(w, rules) \
    if (!usable)             \
        skip();              \
    hosts(HOSTS);            \
    struct world *w = gate_up(rules)
#define ASK "GET http://web.example.org/ HTTP/1.1\r\nHost: web.example.org\r\n\r\n"

static int proxied(struct world *w, const char *text)
{
    int fd = enter(w, "127.0.0.1", GATE_PROXY_PORT);
    say(w, fd, text);
    return fd;
}

#endif
