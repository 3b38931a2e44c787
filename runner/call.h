/* The broker's door of one attempt: connections that its jail opened, each carried as raw bytes over a
 * `call` channel that the controller opens. What is said on them is never read here.
 *
 * A connection takes the channel that has waited longest, or waits for one; one channel more than is
 * needed is asked for, so that the next connection begins without a round trip. Each side goes at the
 * pace of the other, with at most a chunk held for each way. Without a controller a connection waits
 * CALLS_WAIT_MS, and is then told so in HTTP. */
#ifndef RUNNER_CALL_H
#define RUNNER_CALL_H

#include <uv.h>

#include "runner/stream.h"

#define CALLS_WAIT_MS     60000
#define CALLS_WAITING_MAX 64
#define CALLS_IDLE_MAX    (CALLS_WAITING_MAX + 1) /* channels that wait for a connection */
#define CALLS_GOODBYE_MAX 64 /* connections that are being told why they are refused */

struct calls; /* of one attempt's run */

struct calls_setup {
    uv_loop_t *loop;
    unsigned max; /* connections at once */
    void *arg;
    /* Asks the controllers for so many more channels; may reach nobody. */
    void (*ask)(void *arg, unsigned wanted);
    uint64_t wait_ms; /* 0: CALLS_WAIT_MS */
};

/* Asks for the first channel at once. */
int calls_open(const struct calls_setup *setup, struct calls **ret, struct err *err);
/* A connection from the jail, non-blocking; taken in any case. */
void calls_take(struct calls *c, int fd);
/* A channel whose HELLO was good: it is opened, or refused. */
void calls_channel(struct calls *c, struct stream *s, const char *attempt);
/* A controller has come, or come back: what it was asked for before is forgotten and asked again. */
void calls_again(struct calls *c);
/* Ends all connections and channels at once: when it returns no socket of the jail's is held. The memory
 * goes when the loop has let go of it. */
void calls_close(struct calls *c);

#endif
