/* The addresses of this host itself, for the gate to refuse: what listens on them trusts who comes from
 * inside more than the provider's firewall would. A network of --reach does not list them, an address by
 * itself does. Asking the kernel costs more than all else of a
 * connection, so its answer is kept for a second. */
#ifndef RUNNER_GATE_OWN_H
#define RUNNER_GATE_OWN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define GATE_OWN_MS 1000

struct gate_own {
    uint8_t (*list)[16]; /* owned; IPv4 as ::ffff:a.b.c.d */
    size_t n;
    uint64_t asked; /* ms */
    bool known;
};

/* Is it one of them, at `now` (ms, monotonic)? Also true when the kernel does not tell. */
bool gate_own_has(struct gate_own *own, const struct sockaddr *sa, uint64_t now);
void gate_own_done(struct gate_own *own);

#endif
