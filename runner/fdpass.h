/* Fixed-size records with descriptors over a SOCK_SEQPACKET socket, and descriptor hygiene for
 * processes that are made by clone and keep few of their parent's. */
#ifndef RUNNER_FDPASS_H
#define RUNNER_FDPASS_H

#include <stddef.h>

#include "proto/err.h"

#define FDPASS_MAX 24

/* Sends one record; the descriptors stay the caller's. */
int fdpass_send(int sock, const void *bytes, size_t n, const int *fds, size_t nfds,
                struct err *err);
/* Receives one record of exactly n bytes. Returns 1, 0 when the socket is non-blocking and nothing
 * is there, -ERR_FAIL when the peer is gone or sent anything else (descriptors are then closed). */
int fdpass_recv(int sock, void *bytes, size_t n, int fds[static FDPASS_MAX], size_t *ret_nfds,
                struct err *err);
void fds_close(int *fds, size_t n);
/* Closes every descriptor above 2 but the `n` (<= FDPASS_MAX) in `keep`; -1 entries are ignored.
 * Returns 0 or -1 with errno. */
int fds_keep_only(const int *keep, size_t n);

#endif
