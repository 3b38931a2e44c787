/* HTTP from a jail: the head of one request is read, judged and written anew for the next server, with
 * what concerns one hop alone left out and "Connection: close" put in. So a connection carries one
 * request, and nobody after us can find a second one in it. */
#include "runner/gate_internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>

#define RULES_SHOWN 20

/* ---- answers ---- */

static const char *phrase(int status)
{
    switch (status) {
    case 400:
        return "Bad Request";
    case 403:
        return "Forbidden by the task's policy";
    case 408:
        return "Request Timeout";
    case 502:
        return "Bad Gateway";
    default:
        return "Gateway Timeout";
    }
}

static void add_rules(const struct gate *g, struct buf *to)
{
    const struct strv *rules = &g->setup.policy->egress;
    if (rules->n == 0) {
        buf_adds(to, "This task may reach no host at all.\n");
        return;
    }
    buf_adds(to, "This task may reach:");
    for (size_t i = 0; i < rules->n && i < RULES_SHOWN; i++)
        buf_addf(to, " %s", rules->v[i]);
    buf_adds(to, rules->n > RULES_SHOWN ? " and more.\n" : ".\n");
}

static void add_text(const struct gate_conn *c, enum egress_verdict v, const char *why,
                     struct buf *to)
{
    static const char *const verbs[EGRESS_VERDICT_COUNT] = {
        [EGRESS_ALLOWED] = "ended",      [EGRESS_DENIED] = "is denied",
        [EGRESS_REFUSED] = "is refused", [EGRESS_FAILED] = "failed",
        [EGRESS_LIMITED] = "is refused",
    };
    char canon[DNS_NAME_SIZE];
    buf_addf(to, "creel: egress");
    if (c->port)
        buf_addf(to, " to %s:%u", c->name, c->port);
    buf_addf(to, " %s: %s.\n", verbs[v], why);
    if (v != EGRESS_DENIED || c->door == DOOR_BROKER)
        return;
    if (dns_name_canon(c->name, strlen(c->name), canon)) {
        buf_adds(to, "Ask the operator for: ");
        egress_flag(canon, c->port, to);
        buf_addc(to, '\n');
    }
    add_rules(c->gate, to);
}

void gate_http_answer(struct gate_conn *c, int status, enum egress_verdict v, const char *why)
{
    struct buf text, all;
    buf_init(&text, 16u << 10);
    buf_init(&all, 20u << 10);
    add_text(c, v, why, &text);
    buf_addf(&all,
             "HTTP/1.1 %d %s\r\nContent-Type: text/plain; charset=utf-8\r\n"
             "Content-Length: %zu\r\nConnection: close\r\n\r\n",
             status, phrase(status), text.len);
    buf_add(&all, text.data, text.len);
    c->phase = PHASE_LINGER;
    if (gate_side_send(&c->jail, all.data, all.len))
        gate_linger(c);
    buf_done(&text);
    buf_done(&all);
}

/* ---- a refused head ---- */

/* What a request that makes no sense asked for: its target, as far as it can be shown. */
static void asked_for(const struct buf *in, char out[static DNS_NAME_SIZE])
{
    const char *p = (const char *)in->data;
    size_t n = in->len, len = 0;
    const char *end = memchr(p, '\n', n);
    if (end)
        n = (size_t)(end - p);
    const char *target = memchr(p, ' ', n);
    if (!target)
        return;
    for (target++; target < p + n && len + 1 < DNS_NAME_SIZE; target++) {
        if (*target == ' ' || *target == '\r')
            break;
        out[len++] = *target > 0x20 && *target < 0x7f ? *target : '?';
    }
    out[len] = 0;
}

/* ---- the head for the next server ---- */

static bool is(struct http_span s, const char *text)
{
    return s.n == strlen(text) && strncasecmp(s.p, text, s.n) == 0;
}

static bool names_header(struct http_span list, struct http_span name)
{
    for (size_t at = 0; at < list.n;) {
        const char *comma = memchr(list.p + at, ',', list.n - at);
        size_t n = comma ? (size_t)(comma - list.p) - at : list.n - at;
        struct http_span t = {list.p + at, n};
        for (; t.n > 0 && (*t.p == ' ' || *t.p == '\t'); t.p++)
            t.n--;
        while (t.n > 0 && (t.p[t.n - 1] == ' ' || t.p[t.n - 1] == '\t'))
            t.n--;
        if (t.n == name.n && strncasecmp(t.p, name.p, t.n) == 0)
            return true;
        at += n + 1;
    }
    return false;
}

/* RFC 9110 7.6.1; Host and the body's headers are written anew. */
static bool dropped(const struct http_head *h, struct http_span name)
{
    static const char *const hop[] = {
        "Connection",
        "Proxy-Connection",
        "Keep-Alive",
        "Proxy-Authenticate",
        "TE",
        "Proxy-Authorization",
        "Transfer-Encoding",
        "Trailer",
        "Upgrade",
        "Content-Length",
        "Host",
    };
    for (size_t i = 0; i < sizeof hop / sizeof *hop; i++)
        if (is(name, hop[i]))
            return true;
    for (size_t i = 0; i < h->nheaders; i++)
        if (is(h->headers[i].name, "Connection") && names_header(h->headers[i].value, name))
            return true;
    return false;
}

static void add_span(struct buf *to, struct http_span s)
{
    buf_add(to, s.p, s.n);
}

static int write_head(struct gate_conn *c, const struct http_head *h)
{
    struct buf *to = &c->out;
    add_span(to, h->method);
    buf_addc(to, ' ');
    add_span(to, h->origin ? h->target : h->path);
    buf_addf(to, " HTTP/1.%d\r\nHost: %s", h->minor, c->name);
    if (c->port != 80)
        buf_addf(to, ":%u", c->port);
    buf_adds(to, "\r\n");
    for (size_t i = 0; i < h->nheaders; i++) {
        if (dropped(h, h->headers[i].name))
            continue;
        add_span(to, h->headers[i].name);
        buf_adds(to, ": ");
        add_span(to, h->headers[i].value);
        buf_adds(to, "\r\n");
    }
    if (h->body == HTTP_BODY_LENGTH)
        buf_addf(to, "Content-Length: %" PRIu64 "\r\n", h->length);
    if (h->body == HTTP_BODY_CHUNKED)
        buf_adds(to, "Transfer-Encoding: chunked\r\n");
    buf_adds(to, "Connection: close\r\n\r\n");
    return to->failed ? -1 : 0;
}

/* ---- the body ---- */

long gate_http_follow(struct gate_conn *c, const void *bytes, size_t n)
{
    bool done = false;
    long r = 0;
    switch (c->body) {
    case HTTP_BODY_NONE:
        return 0;
    case HTTP_BODY_LENGTH:
        n = n < c->left ? n : (size_t)c->left;
        c->left -= n;
        return (long)n;
    case HTTP_BODY_CHUNKED:
        r = http_chunks_take(&c->chunks, bytes, n, &done);
        if (done)
            c->body = HTTP_BODY_NONE;
        return r;
    }
    return -1;
}

/* ---- a whole head ---- */

static bool take_target(struct gate_conn *c, const struct http_head *h)
{
    memcpy(c->name, h->host, sizeof c->name);
    c->port = h->port;
    return gate_conn_judge(c);
}

/* Within a tunnel to port 80 requests are as at the port's own door. */
static bool at_proxy(const struct gate_conn *c)
{
    return c->door == DOOR_PROXY && !c->connect;
}

static bool take_request(struct gate_conn *c, const struct http_head *h)
{
    if (at_proxy(c)) {
        if (!take_target(c, h))
            return false;
    } else if (strcmp(h->host, c->name) != 0 || h->port != c->port) {
        gate_conn_deny(c, 403, EGRESS_REFUSED, "the Host header names another host");
        return false;
    }
    if (write_head(c, h) < 0) {
        gate_conn_deny(c, 400, EGRESS_REFUSED, "the request's head is too large");
        return false;
    }
    c->http = true;
    c->body = h->body;
    c->left = h->length;
    return true;
}

static bool take_head(struct gate_conn *c, const struct http_head *h)
{
    if (at_proxy(c) && h->origin) {
        gate_conn_deny(c, 400, EGRESS_REFUSED,
                       "this is a proxy: it takes CONNECT and http:// targets");
        return false;
    }
    if (!at_proxy(c) && !h->origin) {
        gate_conn_deny(c, 400, EGRESS_REFUSED, "this is no proxy: a target begins with '/'");
        return false;
    }
    if (h->connect && take_target(c, h))
        c->connect = true;
    return h->connect ? c->connect : take_request(c, h);
}

void gate_http_take(struct gate_conn *c)
{
    struct http_head h;
    const char *why = "";
    size_t used;
    int r = http_head_parse(c->in.data, c->in.len, &h, &used, &why);
    if (r == 0 && c->jail.eof) {
        gate_conn_end(c);
    } else if (r < 0) {
        if (!c->name[0])
            asked_for(&c->in, c->name);
        gate_conn_deny(c, 400, EGRESS_REFUSED, "%s", why);
    } else if (r > 0 && take_head(c, &h)) {
        buf_drop(&c->in, used);
        if (c->net.fd >= 0)
            gate_flow_begin(c);
        else
            gate_dial(c);
    }
}

void gate_http_read(struct gate_conn *c)
{
    if (gate_conn_fill(c, HTTP_HEAD_BYTES + 1) >= 0)
        gate_http_take(c);
}
