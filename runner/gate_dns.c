/* The gate's name server. It asks nobody: a name that a rule allows has an address of ours, every other
 * one does not exist. So a question carries nothing out of the host. */
#include "runner/gate_internal.h"

#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define DATAGRAMS_A_TURN 32
#define CLASS_IN         1

static const char *name_of(const struct dns_question *q)
{
    const char *name = q->name[0] ? q->name : q->shown;
    return name[0] ? name : "(no name)";
}

static void record(struct gate *g, const char *name, enum egress_verdict v, const char *why)
{
    gate_record(g, &(struct gate_event){.verdict = v, .name = name, .why = why});
}

void gate_dns_over(struct gate *g, const char *name)
{
    if (g->dns_over++ == 0)
        record(g, name, EGRESS_LIMITED, "the limit of questions to the name server is reached");
}

/* "_http._tcp.example.org" asks for a service of example.org: there is none, and nothing to tell. */
static const char *without_service(const char *name)
{
    while (name[0] == '_' && strchr(name, '.'))
        name = strchr(name, '.') + 1;
    return name;
}

static enum dns_code judge(struct gate *g, const struct dns_question *q, uint32_t *address)
{
    const struct gate_setup *s = &g->setup;
    if (dns_opcode(q) != 0)
        return DNS_NOTIMP;
    if (q->class != CLASS_IN)
        return DNS_REFUSED;
    if (!q->name[0] || !egress_knows(s->rules, s->nrules, without_service(q->name))) {
        record(g, name_of(q), EGRESS_DENIED, q->name[0] ? "no rule allows it" : "not a host name");
        return DNS_NXDOMAIN;
    }
    if (!egress_knows(s->rules, s->nrules, q->name))
        return DNS_NXDOMAIN;
    *address = htonl(gate_names_address(g->names, q->name));
    if (*address)
        return DNS_OK;
    record(g, name_of(q), EGRESS_LIMITED, "too many different names were asked for");
    return DNS_SERVFAIL;
}

/* Bytes of the answer; 0: there is none. */
static size_t answer(struct gate *g, const uint8_t *bytes, size_t n, uint8_t out[DNS_MSG_BYTES])
{
    struct dns_question q = {0};
    uint32_t address = 0;
    enum dns_code code = DNS_FORMERR;
    bool over = g->dns > gate_limit(g, LIMIT_DNS);
    int r = dns_question_parse(bytes, n, &q);
    if (over)
        gate_dns_over(g, name_of(&q));
    if (r == 0)
        return 0;
    if (over) {
        code = DNS_REFUSED;
    } else if (r > 0) {
        code = judge(g, &q, &address);
    }
    return dns_answer_make(bytes, &q, code, address, out);
}

void gate_dns_udp(struct gate_listener *l)
{
    struct gate *g = l->gate;
    uint8_t out[DNS_MSG_BYTES];
    for (int i = 0; i < DATAGRAMS_A_TURN; i++) {
        struct sockaddr_in from;
        socklen_t from_len = sizeof from;
        ssize_t n = recvfrom(l->fd, g->scratch, GATE_CHUNK, 0, (struct sockaddr *)&from, &from_len);
        if (n < 0)
            return;
        g->dns++;
        size_t m = answer(g, g->scratch, (size_t)n, out);
        if (m > 0) /* a full socket drops it, as any network may */
            (void)sendto(l->fd, out, m, MSG_DONTWAIT, (struct sockaddr *)&from, from_len);
    }
}

/* One message of the stream, with its two bytes of length. False: it is not whole yet, or the
 * connection ended. */
static bool take_message(struct gate_conn *c)
{
    struct gate *g = c->gate;
    uint8_t out[2 + DNS_MSG_BYTES];
    if (c->in.len < 2)
        return false;
    size_t n = (size_t)c->in.data[0] << 8 | c->in.data[1];
    if (n > DNS_MSG_BYTES) {
        gate_conn_reset(c);
        return false;
    }
    if (c->in.len < 2 + n)
        return false;
    if (c->left > 0)
        c->left--;
    else
        g->dns++;
    size_t m = answer(g, c->in.data + 2, n, out + 2);
    buf_drop(&c->in, 2 + n);
    if (m == 0) {
        gate_conn_reset(c);
        return false;
    }
    out[0] = (uint8_t)(m >> 8);
    out[1] = (uint8_t)m;
    return gate_side_send(&c->jail, out, 2 + m);
}

void gate_dns_tcp(struct gate_conn *c)
{
    if (c->jail.pend.len > 0)
        return;
    ssize_t n = gate_conn_fill(c, 2 * (2 + DNS_MSG_BYTES));
    if (n < 0 && n != -1)
        return;
    while (c->jail.pend.len == 0 && take_message(c))
        ; /* all that came: nothing else would remind us of what is left */
    if (!c->ended && n == 0 && c->jail.pend.len == 0)
        gate_conn_end(c);
}
