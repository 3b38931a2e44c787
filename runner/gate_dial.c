/* From a judged name to a connected socket: looked up once, every address checked, and what was checked
 * is what is dialled. A look-up that nobody waits for any more is left to end by itself: the resolver
 * cannot be interrupted. */
#include "runner/gate_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/file.h"

struct gate_lookup {
    uv_getaddrinfo_t req;
    struct gate *gate;      /* NULL: it is closed */
    struct gate_conn *conn; /* NULL: it is not waited for */
    struct gate_lookup *next, **link;
};

/* ---- which addresses ---- */

static void take_addresses(struct gate_conn *c, const struct addrinfo *list)
{
    const struct gate_host *host = c->gate->setup.host;
    char text[INET6_ADDRSTRLEN];
    for (; list && c->naddrs < GATE_ADDRS_MAX; list = list->ai_next) {
        if (list->ai_addrlen > sizeof *c->addrs)
            continue;
        const char *why = addr_refused(list->ai_addr, host->reach, host->nreach);
        if (!why && !addr_named(list->ai_addr, host->reach, host->nreach) &&
            gate_own_has(&c->gate->own, list->ai_addr, gate_now(c->gate)))
            why = "this host's own";
        if (!why) {
            memcpy(&c->addrs[c->naddrs++], list->ai_addr, list->ai_addrlen);
            continue;
        }
        if (getnameinfo(list->ai_addr, list->ai_addrlen, text, sizeof text, NULL, 0,
                        NI_NUMERICHOST) != 0)
            text[0] = 0;
        snprintf(c->dial_why, sizeof c->dial_why, "its address %.46s may not be reached: %s", text,
                 why);
    }
}

/* ---- dialling ---- */

/* True: under way. */
static bool dial_one(struct gate_conn *c, const struct sockaddr *sa)
{
    socklen_t n =
        sa->sa_family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6);
    int fd = socket(sa->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd >= 0 && (connect(fd, sa, n) == 0 || errno == EINPROGRESS) &&
        gate_side_open(&c->net, fd) == 0)
        return true;
    snprintf(c->dial_why, sizeof c->dial_why, "no connection: %s", strerror(errno));
    fd_close(&fd);
    return false;
}

static void dial_next(struct gate_conn *c)
{
    uint64_t now = gate_now(c->gate);
    while (c->addr_at < c->naddrs && now < c->dial_deadline) {
        const struct sockaddr *sa = (const struct sockaddr *)&c->addrs[c->addr_at++];
        if (!dial_one(c, sa))
            continue;
        bool last = c->addr_at == c->naddrs || now + GATE_ADDR_MS > c->dial_deadline;
        c->deadline = last ? c->dial_deadline : now + GATE_ADDR_MS;
        return;
    }
    gate_conn_deny(c, 502, EGRESS_FAILED, "%s", c->dial_why);
}

void gate_dial_ready(struct gate_conn *c)
{
    int e = 0;
    socklen_t n = sizeof e;
    struct sockaddr_storage peer;
    socklen_t peer_len = sizeof peer;
    if (c->net.fd < 0)
        return;
    if (getsockopt(c->net.fd, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
        e = errno;
    if (e == 0 && getpeername(c->net.fd, (struct sockaddr *)&peer, &peer_len) == 0) {
        gate_conn_dialled(c);
        return;
    }
    if (e == 0)
        return; /* not yet */
    snprintf(c->dial_why, sizeof c->dial_why, "no connection: %s", strerror(e));
    gate_side_close(&c->net);
    buf_init(&c->net.pend, GATE_CHUNK + 2 * HTTP_HEAD_BYTES);
    dial_next(c);
}

void gate_dial_late(struct gate_conn *c)
{
    bool looking = c->lookup || c->queued;
    if (!looking && gate_now(c->gate) < c->dial_deadline) {
        snprintf(c->dial_why, sizeof c->dial_why, "no connection within %d s", GATE_ADDR_MS / 1000);
        gate_side_close(&c->net);
        buf_init(&c->net.pend, GATE_CHUNK + 2 * HTTP_HEAD_BYTES);
        dial_next(c);
        return;
    }
    gate_conn_deny(c, 504, EGRESS_FAILED, "%s within %d s",
                   looking ? "the name was not resolved" : "no connection", GATE_DIAL_MS / 1000);
}

void gate_conn_dialled(struct gate_conn *c)
{
    static const char yes[] = "HTTP/1.1 200 Connection established\r\n\r\n";
    bool more = c->in.len > 0;
    if (!c->connect || c->http) {
        gate_flow_begin(c);
        return;
    }
    gate_conn_speaks(c);
    if (!gate_side_send(&c->jail, yes, sizeof yes - 1))
        return;
    if (c->phase == PHASE_DIAL) {
        gate_flow_begin(c);
    } else if (more) { /* the client did not wait for our answer */
        if (c->phase == PHASE_HEAD)
            gate_http_take(c);
        else
            gate_hello_take(c);
    }
}

/* ---- looking up ---- */

static void lookup_start(struct gate_conn *c);

static void lookup_free(struct gate_lookup *l)
{
    struct gate *g = l->gate;
    if (g) {
        *l->link = l->next;
        if (l->next)
            l->next->link = l->link;
        g->nlookups--;
    }
    free(l);
    for (struct gate_conn *c = g ? g->conns : NULL; c; c = c->next) {
        if (c->queued) {
            lookup_start(c);
            gate_conn_touched(c);
            return;
        }
    }
}

static void on_lookup(uv_getaddrinfo_t *req, int status, struct addrinfo *list)
{
    struct gate_lookup *l = req->data;
    struct gate_conn *c = l->conn;
    if (c) {
        c->lookup = NULL;
        take_addresses(c, status == 0 ? list : NULL);
        if (status != 0)
            gate_conn_deny(c, 502, EGRESS_FAILED, "the name was not resolved: %s",
                           uv_strerror(status));
        else if (c->naddrs == 0)
            gate_conn_deny(c, 403, EGRESS_REFUSED, "%s",
                           c->dial_why[0] ? c->dial_why : "the name has no address");
        else
            dial_next(c);
        gate_conn_touched(c);
    }
    if (list)
        uv_freeaddrinfo(list);
    lookup_free(l);
}

static void lookup_start(struct gate_conn *c)
{
    const struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    struct gate *g = c->gate;
    struct gate_lookup *l = calloc(1, sizeof *l);
    char port[8];
    c->queued = false;
    snprintf(port, sizeof port, "%u", c->port);
    if (!l || uv_getaddrinfo(g->setup.loop, &l->req, on_lookup, c->name, port, &hints) < 0) {
        free(l);
        gate_conn_deny(c, 502, EGRESS_FAILED, "the resolver cannot be asked");
        return;
    }
    l->req.data = l;
    l->gate = g;
    l->conn = c;
    l->next = g->lookups;
    l->link = &g->lookups;
    if (l->next)
        l->next->link = &l->next;
    g->lookups = l;
    g->nlookups++;
    c->lookup = l;
}

void gate_dial(struct gate_conn *c)
{
    c->phase = PHASE_DIAL;
    gate_conn_deadline(c, GATE_DIAL_MS);
    c->dial_deadline = c->deadline;
    if (c->gate->nlookups < GATE_LOOKUPS_MAX)
        lookup_start(c);
    else
        c->queued = true;
}

void gate_dial_cancel(struct gate_conn *c)
{
    c->queued = false;
    if (!c->lookup)
        return;
    c->lookup->conn = NULL;
    (void)uv_cancel((uv_req_t *)&c->lookup->req); /* works while it waits for a thread */
    c->lookup = NULL;
}

void gate_lookups_abandon(struct gate *g)
{
    for (struct gate_lookup *l = g->lookups, *next; l; l = next) {
        next = l->next;
        l->gate = NULL;
        l->conn = NULL;
        (void)uv_cancel((uv_req_t *)&l->req);
    }
    g->lookups = NULL;
}
