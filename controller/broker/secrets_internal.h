/* What the files of secrets share: a piece of locked memory, and what broker and helper say to each other.
 *
 * Over a SOCK_SEQPACKET pair, one packet a message. The broker sends a name; the helper answers each, in
 * order, with one byte and the rest: SECRET_SAYS_VALUE and the value, or an enum err_code and why in
 * words. Unasked comes SECRET_SAYS_CHANGED: secrets.json is another one now. */
#ifndef CONTROLLER_BROKER_SECRETS_INTERNAL_H
#define CONTROLLER_BROKER_SECRETS_INTERNAL_H

#include "controller/broker/secrets.h"

#define SECRETS_FILE        "secrets.json"
#define SECRET_SAYS_VALUE   0
#define SECRET_SAYS_CHANGED 255
#define SECRET_PACKET_MAX   (1 + SECRET_VALUE_MAX)

struct secret_mem {
    uint8_t *bytes; /* locked */
    size_t cap, len;
};

/* As secret_resolve, into m (replacing what is there). The command is killed after `seconds`, or when
 * the peer of `peer_fd` (-1: none) hangs up. On failure m is wiped. */
int secret_resolve_into(const char *ref, unsigned seconds, int peer_fd, struct secret_mem *m,
                        struct err *err);
/* The reference called `name`, or NULL. Borrowed. */
const struct secret_ref *secret_refs_find(const struct secret_refs *r, const char *name);

#endif
