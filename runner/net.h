/* The network of one phase's jail: a namespace with nothing but loopback, and in it, for the egress
 * gate, listening sockets that somebody outside accepts on. A socket belongs to the namespace it was
 * made in, whoever holds it (network_namespaces(7)). */
#ifndef RUNNER_NET_H
#define RUNNER_NET_H

#include <stddef.h>
#include <stdint.h>

#include "proto/egress.h"
#include "runner/gate.h"

/* Moves the caller into a new network namespace and brings loopback up. Needs CAP_SYS_ADMIN in the
 * caller's user namespace. */
int net_enter(struct err *err);
/* The gate's sockets in the caller's network namespace, listening at `ports` (ascending) beside the
 * fixed ones: fds[0..*n) in the order of enum gate_socket, close-on-exec and non-blocking, the caller's.
 * Doors that are there (*n not 0, made for have[0..nhave)) are kept where `ports` has them and closed
 * where not. Ports below 1024 take CAP_NET_BIND_SERVICE. On failure nothing is left open, *n is 0. */
int net_doors(const uint16_t *have, size_t nhave, const uint16_t *ports, size_t nports,
              int fds[static GATE_SOCKETS_MAX], size_t *n, struct err *err);

#endif
