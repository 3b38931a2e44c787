/* The network of one phase's jail: a namespace with nothing but loopback, and in it, for the egress
 * gate, listening sockets that somebody outside accepts on. A socket belongs to the namespace it was
 * made in, whoever holds it (network_namespaces(7)). */
#ifndef RUNNER_NET_H
#define RUNNER_NET_H

#include "proto/egress.h"
#include "runner/gate.h"

/* Moves the caller into a new network namespace, brings loopback up, and when `rules` is not NULL makes
 * the gate's sockets: fds[0..*ret_n) in the order of enum gate_socket, close-on-exec and non-blocking,
 * the caller's. Needs CAP_SYS_ADMIN and, for ports below 1024, CAP_NET_BIND_SERVICE in the caller's
 * user namespace. On failure nothing is left open. */
int net_enter(const struct egress_rule *rules, size_t nrules, int fds[static GATE_SOCKETS_MAX],
              size_t *ret_n, struct err *err);

#endif
