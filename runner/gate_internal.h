/* What the parts of the gate share: gate.c (doors, counts, the account), gate_conn.c (one connection's
 * life), gate_http.c (requests), gate_hello.c (TLS names), gate_dial.c (name to checked address to
 * socket), gate_flow.c (bytes both ways), gate_dns.c (the name server), gate_names.c (its addresses),
 * gate_own.c (the host's own addresses).
 *
 * A connection has two sides, the jail's and the net's, and one phase. All its sockets are ours and
 * non-blocking; what cannot be written waits in the side's `pend`, and while something waits there the
 * other side is not read. So memory is bounded by GATE_CONNS_MAX * (two chunks and a head).
 */
#ifndef RUNNER_GATE_INTERNAL_H
#define RUNNER_GATE_INTERNAL_H

#include <uv.h>

#include "proto/buf.h"
#include "proto/policy.h"
#include "runner/client_hello.h"
#include "runner/dns_msg.h"
#include "runner/gate.h"
#include "runner/gate_names.h"
#include "runner/gate_own.h"
#include "common/http_head.h"

#define GATE_CHUNK     (64u << 10)
#define GATE_READS     4 /* chunks a side and turn, so that no connection starves the loop */
#define GATE_ADDRS_MAX 8 /* of one name */
#define GATE_WHY_SIZE  121

#define GATE_HEAD_MS   15000 /* from accept to a whole head or ClientHello */
#define GATE_DIAL_MS   20000 /* look-up and all addresses */
#define GATE_ADDR_MS   5000  /* one address, when there are more */
#define GATE_IDLE_MS   (5 * 60 * 1000)
#define GATE_HALF_MS   (60 * 1000) /* idle, when one side has said all */
#define GATE_LINGER_MS 2000
#define GATE_TICK_MS   1000

enum gate_door { DOOR_PROXY, DOOR_PORT, DOOR_BROKER, DOOR_DNS_TCP, DOOR_DNS_UDP };

enum gate_phase {
    PHASE_HEAD,   /* a request's head is read */
    PHASE_HELLO,  /* a ClientHello is read, and nothing sent on before it was judged */
    PHASE_DIAL,   /* the name is looked up, or an address dialled */
    PHASE_FLOW,   /* bytes go both ways */
    PHASE_LINGER, /* last words are said; what still comes is dropped until the peer ends */
    PHASE_DNS,    /* DNS over TCP */
};

/* What an entry of the account is about: a rule's own name, one that a wildcard takes, anything else. */
enum gate_target { TARGET_NAMED, TARGET_WILD, TARGET_OTHER, GATE_TARGETS };

/* How the jail's side is told of a refusal. */
enum gate_voice { VOICE_HTTP, VOICE_TLS, VOICE_NONE };

struct gate_conn;

struct gate_watch; /* of one socket, in the loop; it outlives the socket until the loop let go */

struct gate_side {
    struct gate_conn *conn;
    struct gate_watch *watch;
    int fd; /* -1: none */
    int want;
    bool eof;  /* nothing more comes from it */
    bool shut; /* nothing more goes to it */
    struct buf pend;
};

struct gate_lookup;

struct gate_conn {
    struct gate *gate;
    struct gate_conn *next, **link; /* gate::conns, oldest first */
    enum gate_door door;
    enum gate_phase phase;
    enum gate_voice voice;
    struct gate_side jail, net;
    unsigned watches; /* not yet closed ones; freed when it ended and there is none */
    bool ended, recorded;
    bool connect; /* a CONNECT, which is answered when its other side is there */

    char name[DNS_NAME_SIZE]; /* judged; or what was asked for, for the account */
    uint16_t port;
    bool may_tls;   /* flow: the jail's first bytes are held back if TLS begins so, and judged */
    struct buf in;  /* head or ClientHello as far as it came */
    struct buf out; /* what goes to the net first: head as rewritten, ClientHello */

    bool http; /* one request: its body is followed, what comes after is dropped */
    enum http_body body;
    uint64_t left;
    struct http_chunks chunks;

    struct gate_lookup *lookup;
    bool queued; /* waits for a look-up */
    struct sockaddr_storage addrs[GATE_ADDRS_MAX];
    size_t naddrs, addr_at;
    uint64_t dial_deadline;
    char dial_why[GATE_WHY_SIZE]; /* of the last address */

    uint64_t began, deadline; /* ms of the loop's clock */
    size_t untaken;           /* by the jail, when its time was over; */
    uint64_t untaken_since;   /* and since when it is as much */
    uint64_t sent, received;
};

struct gate_listener {
    struct gate *gate;
    enum gate_door door;
    uv_poll_t poll;
    int fd;
};

struct gate {
    struct gate_setup setup;
    struct egress_rule *rules;
    struct gate_listener doors[GATE_SOCKETS_MAX];
    size_t ndoors;
    uv_timer_t tick;
    unsigned handles; /* doors, timer, connections: freed at 0 */
    bool closing, ticking, full_told;
    struct gate_conn *conns, **conns_end;
    unsigned nconns, conns_max;
    struct gate_lookup *lookups; /* in flight */
    unsigned nlookups;
    struct gate_names *names;
    struct gate_own own;
    uint8_t *scratch; /* GATE_CHUNK */

    uint64_t conns_count, sent, received, dns;
    uint64_t conns_over, sent_over, dns_over; /* refused by the limit */
    struct egress_entry *entries;
    size_t nentries, entries_room;
    size_t nentries_of[GATE_TARGETS];
    uint64_t more;
};

/* gate.c */
uint64_t gate_now(const struct gate *g); /* ms, the loop's clock */
uint64_t gate_limit(const struct gate *g, enum limit l);
/* Counts one connection or question in the account and tells of it. */
void gate_record(struct gate *g, const struct gate_event *e);
/* Closes a door for good: what comes then is refused by the kernel. */
void gate_door_close(struct gate_listener *l);
void gate_handle_gone(struct gate *g);
void gate_rearm(struct gate *g); /* a connection is gone: doors that were full take more */

/* gate_conn.c */
int gate_conn_new(struct gate_listener *l, int fd);
/* Ends it at once; what was not recorded is. The memory lives until the loop closed its handles. */
void gate_conn_end(struct gate_conn *c);
/* As gate_conn_end, and both sides are told by a reset: what they have is not all. */
void gate_conn_reset(struct gate_conn *c);
void gate_conn_record(struct gate_conn *c, enum egress_verdict v, const char *why);
/* Records the verdict and tells the jail's side in its voice; `status` is HTTP's. */
void gate_conn_deny(struct gate_conn *c, int status, enum egress_verdict v, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* Is name:port allowed? If not, it was denied. */
bool gate_conn_judge(struct gate_conn *c);
/* What the port says about the protocol: voice, what is read first, and so the phase. */
void gate_conn_speaks(struct gate_conn *c);
void gate_conn_touched(struct gate_conn *c); /* after a change from outside its own events */
void gate_conn_late(struct gate_conn *c);
void gate_conn_deadline(struct gate_conn *c, uint64_t ms);
int gate_side_open(struct gate_side *s, int fd);
void gate_side_close(struct gate_side *s);
/* Writes, or keeps what does not go. False: the connection ended. */
bool gate_side_send(struct gate_side *s, const void *bytes, size_t n);
/* Reads what is there into c->in up to `max` in all: bytes, 0 at the end, -1 when nothing is there.
 * -2: the connection ended. */
ssize_t gate_conn_fill(struct gate_conn *c, size_t max);

/* gate_http.c */
void gate_http_read(struct gate_conn *c);
void gate_http_take(struct gate_conn *c); /* judges what is in c->in */
/* An answer with a text for a person and for an agent; then the connection lingers. */
void gate_http_answer(struct gate_conn *c, int status, enum egress_verdict v, const char *why);
/* How many of bytes[0..n) belong to the request; -1 when they make no sense. */
long gate_http_follow(struct gate_conn *c, const void *bytes, size_t n);

/* gate_hello.c */
void gate_hello_read(struct gate_conn *c);
void gate_hello_take(struct gate_conn *c); /* judges what is in c->in */
/* Judges c->in. 1: it is c->name's; 0: more is needed; -1: denied, the connection is ending. */
int gate_hello_judge(struct gate_conn *c);

/* gate_dial.c */
void gate_dial(struct gate_conn *c);
void gate_dial_ready(struct gate_conn *c); /* the socket being dialled has something to say */
void gate_dial_late(struct gate_conn *c);
void gate_dial_cancel(struct gate_conn *c);
void gate_lookups_abandon(struct gate *g);
/* A tunnel or request has its other side. */
void gate_conn_dialled(struct gate_conn *c);

/* gate_flow.c */
void gate_flow_begin(struct gate_conn *c);
void gate_flow(struct gate_conn *c);
void gate_linger(struct gate_conn *c);

/* gate_dns.c */
void gate_dns_udp(struct gate_listener *l);
void gate_dns_tcp(struct gate_conn *c);
/* Counts a question over the limit, and tells of the first one. */
void gate_dns_over(struct gate *g, const char *name);

#endif
