/* Bytes both ways, at the pace of the slower side: while something waits for one side, the other is
 * not read. What goes out is counted before it goes. */
#include "runner/gate_internal.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

/* The limit holds to the byte: a piece that would pass it is not sent. False: the connection ended. */
static bool count_sent(struct gate_conn *c, size_t n)
{
    struct gate *g = c->gate;
    uint64_t limit = gate_limit(g, LIMIT_SENT);
    if (g->sent > limit || n > limit - g->sent) {
        g->sent_over++;
        gate_conn_record(c, EGRESS_LIMITED, "the limit of bytes sent is reached");
        gate_conn_reset(c);
        return false;
    }
    g->sent += n;
    c->sent += n;
    return true;
}

static bool send_out(struct gate_conn *c, const void *bytes, size_t n)
{
    return n == 0 || (count_sent(c, n) && gate_side_send(&c->net, bytes, n));
}

/* At a port that need not speak TLS, bytes that begin as TLS does are held back until the name in
 * them was judged. */
static bool send_judged(struct gate_conn *c, const uint8_t *bytes, size_t n)
{
    static const uint8_t handshake = 22; /* the first byte of a TLS record, RFC 8446 5.1 */
    if (c->in.len == 0 && bytes[0] != handshake) {
        c->may_tls = false;
        return send_out(c, bytes, n);
    }
    size_t room = CLIENT_HELLO_BYTES - c->in.len, held = n < room ? n : room;
    buf_add(&c->in, bytes, held);
    int r = gate_hello_judge(c);
    if (r == 0 && c->in.len == CLIENT_HELLO_BYTES)
        gate_conn_deny(c, 403, EGRESS_REFUSED, "TLS: the ClientHello is too long");
    if (r <= 0)
        return !c->ended && r == 0 && c->phase == PHASE_FLOW;
    c->may_tls = false;
    bool open = send_out(c, c->in.data, c->in.len) && send_out(c, bytes + held, n - held);
    buf_clear(&c->in);
    return open;
}

/* False: the connection ended, or lingers. */
static bool take_out(struct gate_conn *c, const uint8_t *bytes, size_t n)
{
    if (c->may_tls)
        return send_judged(c, bytes, n);
    if (c->http) {
        long r = gate_http_follow(c, bytes, n);
        if (r < 0) {
            gate_conn_record(c, EGRESS_REFUSED, "a chunked body that makes no sense");
            gate_conn_reset(c);
            return false;
        }
        n = (size_t)r; /* what comes after the request is dropped */
    }
    return send_out(c, bytes, n);
}

static bool take_in(struct gate_conn *c, const uint8_t *bytes, size_t n)
{
    c->received += n;
    c->gate->received += n;
    return gate_side_send(&c->jail, bytes, n);
}

/* One side's bytes to the other, GATE_READS pieces at most. False: it ended, or lingers. */
static bool carry(struct gate_conn *c, struct gate_side *from, struct gate_side *to)
{
    uint8_t *scratch = c->gate->scratch;
    for (int i = 0; i < GATE_READS && !from->eof && to->pend.len == 0; i++) {
        ssize_t n = read(from->fd, scratch, GATE_CHUNK);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN)
            return true;
        if (n < 0) {
            gate_conn_reset(c);
            return false;
        }
        from->eof = n == 0;
        if (n == 0)
            return true;
        gate_conn_deadline(c, c->jail.eof || c->net.eof ? GATE_HALF_MS : GATE_IDLE_MS);
        if (!(from == &c->jail ? take_out(c, scratch, (size_t)n) : take_in(c, scratch, (size_t)n)))
            return false;
        if ((size_t)n < GATE_CHUNK)
            return true;
    }
    return true;
}

/* One side said all, and the other has it: then it is told so. */
static void pass_end(struct gate_side *from, struct gate_side *to)
{
    if (!from->eof || to->shut || to->pend.len > 0)
        return;
    shutdown(to->fd, SHUT_WR);
    to->shut = true;
    gate_conn_deadline(from->conn, GATE_HALF_MS);
}

void gate_flow(struct gate_conn *c)
{
    if (!carry(c, &c->jail, &c->net) || !carry(c, &c->net, &c->jail))
        return;
    if (!c->http)
        pass_end(&c->jail, &c->net); /* a server may take the end of a request's side as a break */
    if (c->http && c->net.eof && c->jail.pend.len == 0) {
        gate_conn_record(c, EGRESS_ALLOWED, "");
        c->phase = PHASE_LINGER;
        gate_side_close(&c->net);
        gate_linger(c);
        return;
    }
    pass_end(&c->net, &c->jail);
    if (c->jail.shut && c->net.shut)
        gate_conn_end(c);
}

void gate_flow_begin(struct gate_conn *c)
{
    struct buf first = c->in;
    c->phase = PHASE_FLOW;
    gate_conn_deadline(c, GATE_IDLE_MS);
    buf_init(&c->in, HTTP_HEAD_BYTES + 1);
    bool open = send_out(c, c->out.data, c->out.len);
    if (open)
        buf_clear(&c->out);
    if (open && first.len > 0)
        open = take_out(c, first.data, first.len);
    buf_done(&first);
    if (open)
        gate_flow(c);
}

void gate_linger(struct gate_conn *c)
{
    struct gate_side *s = &c->jail;
    if (s->pend.len == 0 && !s->shut) {
        shutdown(s->fd, SHUT_WR);
        s->shut = true;
        gate_conn_deadline(c, GATE_LINGER_MS);
    }
    for (int i = 0; i < GATE_READS && !s->eof; i++) {
        ssize_t n = read(s->fd, c->gate->scratch, GATE_CHUNK);
        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0)
            s->eof = true;
    }
    if (s->eof && s->shut)
        gate_conn_end(c);
}
