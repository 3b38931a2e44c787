/* The life of one connection of a gate: from accept, through its phases, to its end. */
#include "runner/gate_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"

#define ASKED_NOTHING "(no request)"

struct gate_watch {
    uv_poll_t poll;
    struct gate_conn *conn;
    struct gate_side *side;
};

static void conn_step(struct gate_conn *c, struct gate_side *s);
static void conn_watch(struct gate_conn *c);

/* ---- sides ---- */

static void on_side(uv_poll_t *p, int status, int events)
{
    struct gate_watch *w = p->data;
    struct gate_conn *c = w->conn;
    if (status < 0)
        w->side->want = 0; /* libuv stopped it: the socket has an error, which its next use tells */
    conn_step(c, w->side);
    if (!c->ended)
        conn_watch(c);
}

int gate_side_open(struct gate_side *s, int fd)
{
    struct gate_watch *w = calloc(1, sizeof *w);
    if (!w || uv_poll_init(s->conn->gate->setup.loop, &w->poll, fd) < 0) {
        free(w);
        return -1;
    }
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int));
    w->poll.data = w;
    w->conn = s->conn;
    w->side = s;
    s->conn->watches++;
    s->watch = w;
    s->fd = fd;
    s->want = 0;
    s->eof = s->shut = false;
    return 0;
}

static void on_watch_closed(uv_handle_t *h)
{
    struct gate_watch *w = h->data;
    struct gate_conn *c = w->conn;
    free(w);
    if (--c->watches > 0 || !c->ended)
        return;
    struct gate *g = c->gate;
    free(c);
    gate_handle_gone(g);
}

void gate_side_close(struct gate_side *s)
{
    buf_done(&s->pend);
    if (s->fd < 0)
        return;
    uv_close((uv_handle_t *)&s->watch->poll, on_watch_closed);
    s->watch = NULL;
    fd_close(&s->fd);
}

static void side_want(struct gate_side *s, int want)
{
    if (s->fd < 0 || s->want == want)
        return;
    s->want = want;
    if (want)
        uv_poll_start(&s->watch->poll, want, on_side);
    else
        uv_poll_stop(&s->watch->poll);
}

/* What waits goes. False: the connection ended. */
static bool side_flush(struct gate_side *s)
{
    while (s->pend.len > 0) {
        ssize_t n = send(s->fd, s->pend.data, s->pend.len, MSG_NOSIGNAL);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            gate_conn_reset(s->conn);
            return false;
        }
        buf_drop(&s->pend, (size_t)n);
    }
    size_t max = s->pend.max;
    buf_done(&s->pend); /* nothing is kept of a burst */
    buf_init(&s->pend, max);
    return true;
}

bool gate_side_send(struct gate_side *s, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    while (n > 0 && s->pend.len == 0) {
        ssize_t w = send(s->fd, p, n, MSG_NOSIGNAL);
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0 && errno == EAGAIN)
            break;
        if (w < 0) {
            gate_conn_reset(s->conn);
            return false;
        }
        p += w;
        n -= (size_t)w;
    }
    if (n > 0 && buf_add(&s->pend, p, n) < 0) {
        gate_conn_reset(s->conn);
        return false;
    }
    return true;
}

ssize_t gate_conn_fill(struct gate_conn *c, size_t max)
{
    size_t room = max > c->in.len ? max - c->in.len : 0;
    size_t ask = room < 4096 ? room : 4096;
    uint8_t *to = buf_room(&c->in, ask);
    ssize_t n;
    if (!to || ask == 0) {
        gate_conn_reset(c);
        return -2;
    }
    do
        n = read(c->jail.fd, to, ask);
    while (n < 0 && errno == EINTR);
    if (n < 0 && errno == EAGAIN)
        return -1;
    if (n < 0) {
        gate_conn_end(c);
        return -2;
    }
    buf_wrote(&c->in, (size_t)n);
    c->jail.eof = n == 0;
    return n;
}

/* ---- which events matter now ---- */

static bool jail_reads(const struct gate_conn *c)
{
    switch (c->phase) {
    case PHASE_FLOW:
        return c->net.pend.len == 0;
    case PHASE_DNS:
        return c->jail.pend.len == 0;
    case PHASE_HEAD:
    case PHASE_HELLO:
    case PHASE_LINGER:
        return true;
    case PHASE_DIAL:
    default:
        return false;
    }
}

static void conn_watch(struct gate_conn *c)
{
    int jail = 0, net = 0;
    if (!c->jail.eof && jail_reads(c))
        jail |= UV_READABLE;
    if (c->jail.pend.len > 0)
        jail |= UV_WRITABLE;
    if (c->phase == PHASE_FLOW && !c->net.eof && c->jail.pend.len == 0)
        net |= UV_READABLE;
    if (c->phase == PHASE_DIAL || c->net.pend.len > 0)
        net |= UV_WRITABLE;
    side_want(&c->jail, jail);
    side_want(&c->net, net);
}

void gate_conn_touched(struct gate_conn *c)
{
    if (!c->ended)
        conn_watch(c);
}

static void conn_step(struct gate_conn *c, struct gate_side *s)
{
    if (c->phase != PHASE_DIAL && !side_flush(s))
        return;
    switch (c->phase) {
    case PHASE_HEAD:
        gate_http_read(c);
        break;
    case PHASE_HELLO:
        gate_hello_read(c);
        break;
    case PHASE_DIAL:
        gate_dial_ready(c);
        break;
    case PHASE_FLOW:
        gate_flow(c);
        break;
    case PHASE_LINGER:
        gate_linger(c);
        break;
    case PHASE_DNS:
        gate_dns_tcp(c);
        break;
    }
}

/* ---- the account, and refusals ---- */

void gate_conn_record(struct gate_conn *c, enum egress_verdict v, const char *why)
{
    struct gate *g = c->gate;
    if (c->recorded || c->door == DOOR_DNS_TCP)
        return;
    c->recorded = true;
    gate_record(g, &(struct gate_event){
                       .verdict = v,
                       .name = c->name[0] ? c->name : ASKED_NOTHING,
                       .port = c->port,
                       .why = why,
                       .sent = c->sent,
                       .received = c->received,
                       .ms = gate_now(g) - c->began,
                   });
}

void gate_conn_deny(struct gate_conn *c, int status, enum egress_verdict v, const char *fmt, ...)
{
    char why[GATE_WHY_SIZE];
    unsigned char alert[7];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(why, sizeof why, fmt, ap);
    va_end(ap);
    gate_dial_cancel(c);
    gate_conn_record(c, v, why);
    gate_side_close(&c->net);
    if (c->voice == VOICE_HTTP) {
        gate_http_answer(c, status, v, why);
    } else if (c->voice == VOICE_TLS && v != EGRESS_FAILED) {
        c->phase = PHASE_LINGER;
        if (gate_side_send(&c->jail, alert, client_hello_alert(alert)))
            gate_linger(c);
    } else {
        gate_conn_reset(c);
    }
}

bool gate_conn_judge(struct gate_conn *c)
{
    const struct gate *g = c->gate;
    const struct gate_setup *s = &g->setup;
    if (egress_match(s->rules, s->nrules, c->name, c->port))
        return true;
    gate_conn_deny(c, 403, EGRESS_DENIED, "%s",
                   egress_knows(s->rules, s->nrules, c->name)
                       ? "the rules allow this name at other ports only"
                       : "no rule allows it");
    return false;
}

/* ---- begin and end ---- */

void gate_conn_deadline(struct gate_conn *c, uint64_t ms)
{
    c->deadline = gate_now(c->gate) + ms;
}

static void conn_unlink(struct gate_conn *c)
{
    struct gate *g = c->gate;
    *c->link = c->next;
    if (c->next)
        c->next->link = c->link;
    else
        g->conns_end = c->link;
    g->nconns--;
    gate_rearm(g);
}

void gate_conn_end(struct gate_conn *c)
{
    if (c->ended)
        return;
    gate_dial_cancel(c);
    if (c->net.fd >= 0 && c->phase != PHASE_DIAL)
        gate_conn_record(c, EGRESS_ALLOWED, "");
    else if (c->phase == PHASE_DIAL)
        gate_conn_record(c, EGRESS_FAILED, "it ended before it was connected");
    else
        gate_conn_record(c, EGRESS_REFUSED, "it ended before it asked for anything");
    c->ended = true;
    conn_unlink(c);
    gate_side_close(&c->jail);
    gate_side_close(&c->net);
    buf_done(&c->in);
    buf_done(&c->out);
}

/* When it is closed, its peer is told by a reset. */
static void side_breaks(struct gate_side *s)
{
    const struct linger now = {.l_onoff = 1};
    if (s->fd >= 0)
        (void)setsockopt(s->fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

void gate_conn_reset(struct gate_conn *c)
{
    side_breaks(&c->jail);
    side_breaks(&c->net);
    gate_conn_end(c);
}

/* The time is over, but the jail still takes what was said to it: it is slow, not gone. */
static bool still_taking(struct gate_conn *c)
{
    uint64_t now = gate_now(c->gate);
    int queued = 0;
    if (ioctl(c->jail.fd, SIOCOUTQ, &queued) < 0 || queued < 0)
        queued = 0;
    size_t n = c->jail.pend.len + (size_t)queued;
    if (n != c->untaken)
        c->untaken_since = now;
    c->untaken = n;
    if (n == 0 || now - c->untaken_since >= GATE_IDLE_MS)
        return false;
    gate_conn_deadline(c, GATE_LINGER_MS);
    return true;
}

/* A jail's side that has all and was told so is not told by a reset that it has not. */
static void flow_late(struct gate_conn *c)
{
    if (still_taking(c))
        return;
    if (!c->jail.shut || c->untaken > 0)
        side_breaks(&c->jail);
    side_breaks(&c->net);
    gate_conn_end(c);
}

void gate_conn_late(struct gate_conn *c)
{
    switch (c->phase) {
    case PHASE_HEAD:
        gate_conn_deny(c, 408, EGRESS_REFUSED, "no whole request came within %d s",
                       GATE_HEAD_MS / 1000);
        break;
    case PHASE_HELLO:
        gate_conn_deny(c, 408, EGRESS_REFUSED, "no whole TLS ClientHello came within %d s",
                       GATE_HEAD_MS / 1000);
        break;
    case PHASE_DIAL:
        gate_dial_late(c);
        break;
    case PHASE_FLOW:
    case PHASE_LINGER:
        flow_late(c);
        break;
    case PHASE_DNS:
        gate_conn_reset(c);
        break;
    }
    gate_conn_touched(c);
}

/* The limits that a new connection meets. False: it was refused. */
static bool within_limits(struct gate_conn *c)
{
    struct gate *g = c->gate;
    if (g->conns_count > gate_limit(g, LIMIT_CONNS)) {
        g->conns_over++;
        gate_conn_deny(c, 403, EGRESS_LIMITED, "the limit of connections is reached");
        return false;
    }
    if (g->sent >= gate_limit(g, LIMIT_SENT)) {
        g->sent_over++;
        gate_conn_deny(c, 403, EGRESS_LIMITED, "the limit of bytes sent is reached");
        return false;
    }
    return true;
}

/* A connection to an address that the name server gave out is one to its name. */
static void port_begin(struct gate_conn *c)
{
    struct sockaddr_in sin = {0};
    socklen_t n = sizeof sin;
    if (getsockname(c->jail.fd, (struct sockaddr *)&sin, &n) < 0 || sin.sin_family != AF_INET) {
        gate_conn_reset(c);
        return;
    }
    c->port = ntohs(sin.sin_port);
    c->voice = c->port == 443 ? VOICE_TLS : c->port == 80 ? VOICE_HTTP : VOICE_NONE;
    const char *name = gate_names_name(c->gate->names, ntohl(sin.sin_addr.s_addr));
    if (name)
        memcpy(c->name, name, strlen(name) + 1);
    else
        inet_ntop(AF_INET, &sin.sin_addr, c->name, sizeof c->name);
    if (!within_limits(c))
        return;
    if (!name) {
        gate_conn_deny(c, 403, EGRESS_DENIED, "no name has this address");
        return;
    }
    if (!gate_conn_judge(c))
        return;
    gate_conn_speaks(c);
    if (c->phase == PHASE_DIAL)
        gate_dial(c);
}

void gate_conn_speaks(struct gate_conn *c)
{
    gate_conn_deadline(c, GATE_HEAD_MS);
    c->voice = c->port == 443 ? VOICE_TLS : c->port == 80 ? VOICE_HTTP : VOICE_NONE;
    c->may_tls = c->port != 443 && c->port != 80;
    c->phase = c->port == 443 ? PHASE_HELLO : c->port == 80 ? PHASE_HEAD : PHASE_DIAL;
}

static void conn_begin(struct gate_conn *c)
{
    struct gate *g = c->gate;
    gate_conn_deadline(c, GATE_HEAD_MS);
    switch (c->door) {
    case DOOR_PROXY:
        c->voice = VOICE_HTTP;
        c->phase = PHASE_HEAD;
        within_limits(c);
        break;
    case DOOR_BROKER:
        c->voice = VOICE_HTTP;
        snprintf(c->name, sizeof c->name, "broker");
        c->port = GATE_BROKER_PORT;
        if (within_limits(c))
            gate_conn_deny(c, 403, EGRESS_DENIED, "this task has no broker");
        break;
    case DOOR_PORT:
        port_begin(c);
        break;
    case DOOR_DNS_TCP:
        c->phase = PHASE_DNS;
        c->left = 1; /* questions that its own counting paid for */
        if (++g->dns > gate_limit(g, LIMIT_DNS)) {
            gate_dns_over(g, "(by TCP)");
            gate_conn_reset(c);
        }
        break;
    case DOOR_DNS_UDP:
        break;
    }
}

int gate_conn_new(struct gate_listener *l, int fd)
{
    struct gate *g = l->gate;
    struct gate_conn *c = calloc(1, sizeof *c);
    if (!c) {
        fd_close(&fd);
        return -1;
    }
    c->gate = g;
    c->door = l->door;
    c->jail = (struct gate_side){.conn = c, .fd = -1};
    c->net = (struct gate_side){.conn = c, .fd = -1};
    buf_init(&c->jail.pend, GATE_CHUNK + HTTP_HEAD_BYTES);
    buf_init(&c->net.pend, GATE_CHUNK + 2 * HTTP_HEAD_BYTES);
    buf_init(&c->in, HTTP_HEAD_BYTES + 1);
    buf_init(&c->out, 2 * HTTP_HEAD_BYTES);
    if (gate_side_open(&c->jail, fd) < 0) {
        fd_close(&fd);
        free(c);
        return -1;
    }
    g->handles++;
    g->nconns++;
    c->link = g->conns_end;
    *g->conns_end = c;
    g->conns_end = &c->next;
    c->began = gate_now(g);
    if (c->door != DOOR_DNS_TCP)
        g->conns_count++;
    conn_begin(c);
    gate_conn_touched(c);
    return 0;
}
