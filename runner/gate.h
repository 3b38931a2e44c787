/* The egress gate of one attempt: the only way out of its jail.
 *
 * The keeper makes listening sockets inside the jail's network namespace, which has no interface but
 * lo; serve accepts on them and dials from the host. So there is no route to guard: what the gate does
 * not carry, nothing carries. Four doors:
 *   proxy   127.0.0.1:3128, HTTP: CONNECT and absolute-form; what honours *_PROXY comes here
 *   dns     127.0.0.1:53, UDP and TCP: each allowed name gets an address of its own in 127.64.0.0/10;
 *           every other name NXDOMAIN. Nothing is asked upstream for a name here
 *   ports   0.0.0.0:80, :443 and each further port of the policy's rules: a connection to such an
 *           address is one to its name
 *   broker  127.0.0.1:4100, for brokered calls: handed on as they come (runner/call.h) and no egress;
 *           refused while the policy has none
 * A connection is judged by name and port; then the gate resolves the name itself, checks every
 * address (runner/addr.h), and dials a checked one. At a TLS port the ClientHello's name must be the
 * one that was judged. Every connection and every denial is an event, and is counted for the result.
 */
#ifndef RUNNER_GATE_H
#define RUNNER_GATE_H

#include <uv.h>

#include "proto/egress.h"
#include "proto/result.h"
#include "runner/addr.h"

#define GATE_PROXY_PORT  3128
#define GATE_BROKER_PORT 4100
#define GATE_CONNS_MAX   256 /* at once; more wait in the doors' backlogs */
#define GATE_LOOKUPS_MAX 4   /* in flight for one gate; more wait */

/* The order of a gate's sockets as the warden passes them (after stdout, stderr, status of a run). From
 * GATE_PORTS on: one listener for each of egress_ports(), in its order. All non-blocking. */
enum gate_socket { GATE_DNS_UDP, GATE_DNS_TCP, GATE_PROXY, GATE_BROKER, GATE_PORTS };
#define GATE_SOCKETS_MAX (GATE_PORTS + EGRESS_PORTS_MAX)

struct gate;

/* One thing that happened, for the log; valid during the call. */
struct gate_event {
    enum egress_verdict verdict;
    const char *name; /* as struct egress_entry */
    uint16_t port;
    const char *why; /* empty when allowed */
    uint64_t sent, received, ms;
    bool
        first; /* the first of its name, port and verdict: what a log need show when there are many */
};

/* What all gates of a host share; made once by serve (runner/presets.h fills the rules of presets). */
struct gate_host {
    const struct addr_net *reach; /* operator's exceptions from addr_class, with --reach */
    size_t nreach;
    unsigned conns_max; /* at once, for each gate; 0: GATE_CONNS_MAX */
};

struct gate_setup {
    uv_loop_t *loop;
    const struct gate_host *host;    /* outlives the gate */
    const struct policy *policy;     /* likewise: rules and the limits conns, sent, dns */
    const struct egress_rule *rules; /* the policy's, with presets resolved; copied */
    size_t nrules;
    void *arg;
    void (*event)(void *arg, const struct gate_event *e);
    void (*closed)(void *arg); /* see gate_close */
    /* A connection to the broker's door, taken; NULL: the task has no broker. */
    void (*call)(void *arg, int fd);
};

/* Takes fds[0..nfds) (also on failure) and begins to serve them. */
int gate_open(const struct gate_setup *setup, const int *fds, size_t nfds, struct gate **ret,
              struct err *err);
/* Ends every connection and door at once, each connection with its event; no event comes after it
 * returned. closed() is called, once, from the loop when no socket of the jail's namespace is held any
 * more and the gate is freed. */
void gate_close(struct gate *g);
/* Adds entries, counts and limit hits (conns, sent, dns) to a result; may be called until closed(). */
int gate_report(const struct gate *g, struct result *r);

#endif
