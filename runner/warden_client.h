/* Serve's end of the warden's socket, in the loop: requests out, replies and events in, each handed
 * to whoever has the slot. The warden's death is the end of serve. */
#ifndef RUNNER_WARDEN_CLIENT_H
#define RUNNER_WARDEN_CLIENT_H

#include <uv.h>

#include "runner/warden.h"

struct warden_client {
    int fd; /* owned */
    pid_t pid;
    uv_poll_t poll;
    bool polling, dead;
    struct warden_facts facts;
    unsigned slots;
    void *arg;
    /* A reply or event of a slot; descriptors become the callee's. */
    void (*reply)(void *arg, const struct warden_reply *r, int *fds, size_t nfds);
    /* Once: the warden is gone or does not keep to its protocol. */
    void (*gone)(void *arg, const struct err *err);
};

/* Before the loop runs: asks for the facts and waits for them. `fd` and `pid` as warden_start gave
 * them; the caller filled arg, reply, gone and slots. */
int warden_client_init(struct warden_client *c, int fd, pid_t pid, struct err *err);
int warden_client_watch(struct warden_client *c, uv_loop_t *loop, struct err *err);
/* Each sends one request about a slot. A failure also ends in gone(). */
int warden_client_open(struct warden_client *c, unsigned slot, const char *attempt,
                       const uint8_t token[static TASK_TOKEN_BYTES], int envelope_fd,
                       struct err *err);
int warden_client_send(struct warden_client *c, enum warden_op op, unsigned slot,
                       const char *attempt, enum warden_phase phase, struct err *err);
/* Stops watching and closes the socket: the warden kills and wipes what is left and ends. */
void warden_client_close(struct warden_client *c);

#endif
