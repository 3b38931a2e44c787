/* Which addresses the gate may dial: the table of special-purpose ranges (IANA's IPv4 and IPv6
 * registries, RFC 6890 and its updates), and the operator's exceptions. Pure. */
#ifndef RUNNER_ADDR_H
#define RUNNER_ADDR_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#include "proto/err.h"

/* A network as 16 bytes (IPv4 as ::ffff:a.b.c.d) and a prefix length of 0..128. */
struct addr_net {
    uint8_t bytes[16];
    uint8_t prefix;
};

/* "10.0.0.0/8", "fd00::/8", "192.0.2.7": -ERR_USAGE when it is none of these or has host bits set. */
int addr_net_parse(const char *text, struct addr_net *out, struct err *err);
/* Why this address must not be dialled, in a few words ("loopback", "private", "link-local", "carrier
 * NAT", "multicast", "documentation", "benchmarking", "IPv4-mapped of a private address", ...); NULL
 * when it may. IPv4-mapped, NAT64 (64:ff9b::/96 and 64:ff9b:1::/48), 6to4 and Teredo are judged
 * whole: refused, whatever they hold. An address within `reach` may be dialled, except loopback,
 * unspecified, multicast and link-local ones and where clouds serve metadata. */
const char *addr_refused(const struct sockaddr *sa, const struct addr_net *reach, size_t nreach);
/* Is it in `reach` by itself, not as one of a network? */
bool addr_named(const struct sockaddr *sa, const struct addr_net *reach, size_t nreach);

#endif
