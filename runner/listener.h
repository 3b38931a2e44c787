/* The socket on which attach hands sessions over: run_dir/runner.sock, mode 0600. */
#ifndef RUNNER_LISTENER_H
#define RUNNER_LISTENER_H

#include "proto/err.h"

/* Binds and listens, non-blocking. A socket left behind is replaced. Returns a descriptor. */
int listener_open(int run_fd, const char *run_dir, struct err *err);
/* One connection whose peer may hand sessions over: our own user or root (sshd runs attach as one of
 * them). -1 when there is none now, or the peer was someone else. */
int listener_accept(int fd);
/* Tells a supervisor that asked by NOTIFY_SOCKET. */
void listener_notify(const char *text);

#endif
