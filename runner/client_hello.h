/* The server name in a TLS ClientHello (RFC 8446 4.1.2, RFC 6066 3), from the first bytes of a
 * connection, however they are cut into segments and records. Pure. */
#ifndef RUNNER_CLIENT_HELLO_H
#define RUNNER_CLIENT_HELLO_H

#include <stddef.h>

#include "proto/egress.h"

#define CLIENT_HELLO_BYTES (16u << 10) /* records' heads included */

/* 1: *name is the canonical server name; 0: more bytes are needed; -1: refused, *ret_why says why: not
 * TLS, malformed, no server name, several, not a host name, encrypted ClientHello (type 0xfe0d). */
int client_hello_name(const void *bytes, size_t n, char name[static DNS_NAME_SIZE],
                      const char **ret_why);
/* A fatal alert record (RFC 8446 6) that a TLS client understands: unrecognized_name. Returns its
 * bytes. */
size_t client_hello_alert(unsigned char out[static 7]);

#endif
