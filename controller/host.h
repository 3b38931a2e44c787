/* One SSH session to one host: libssh, non-blocking, inside the libuv loop.
 *
 * States with deadlines: resolving, connecting, host key, authenticating, opening control, hello,
 * ready. Pinned key only: the key's fingerprint must equal the pinned one. Each stream is one SSH
 * channel of the session (exec of the forced command), begun by a HELLO. A few channels are kept
 * open ahead of need. Everything read is hostile and bounded. */
#ifndef CONTROLLER_HOST_H
#define CONTROLLER_HOST_H

#include <uv.h>

#include "proto/message.h"

struct host_link;   /* owned by host_open's caller until host_close */
struct host_stream; /* one pack, log, result or call channel */

struct host_target {
    char name[65], user[65], addr[256];
    unsigned port;
    char host_key_fpr[KEY_FPR_SIZE]; /* pinned; "" : accept any and report (trust on first use) */
    char ssh_key[4096];              /* path of the private login key */
};

struct host_callbacks {
    /* Once, when the control channel said WELCOME. host_key_line: "TYPE BASE64" as seen. */
    void (*ready)(void *arg, const struct msg_welcome *w, const char *host_key_line);
    /* Every later message on control. */
    void (*message)(void *arg, const struct msg *m);
    /* Once, at any time: the session is gone. ERR_TRUST: host key or login refused; ERR_HOST: not
     * reachable, silent, protocol error. Streams have been told before. */
    void (*gone)(void *arg, const struct err *err);
};

/* Starts connecting; callbacks come from the loop, never from inside this call. */
int host_open(uv_loop_t *loop, const struct host_target *t, const struct host_callbacks *cb,
              void *arg, struct host_link **ret, struct err *err);
/* Ends the session and frees it when its handles closed; no callback comes after this returns, not
 * even a stream's `end`. Every pointer to a stream of it is dead from here on: an owner that holds
 * one forgets it, or closes the stream first. May be called from any callback, its own and others'.
 * NULL is fine. */
void host_close(struct host_link *h);
/* Queues a control message. */
int host_send(struct host_link *h, const struct msg *m, struct err *err);

struct stream_callbacks {
    /* Bytes as they come; returns how many were taken (the rest is offered again after
     * host_stream_resume). */
    size_t (*data)(void *arg, const uint8_t *bytes, size_t n);
    /* Room to write again (pack). */
    void (*writable)(void *arg);
    /* Once: EOF (err NULL) or failure. The stream is freed after this returns. */
    void (*end)(void *arg, const struct err *err);
    /* With it, EOF alone is not the end: it is told here, once, when all bytes were taken, and the stream
     * goes on until host_stream_eof() has been sent too. NULL: EOF is the end. */
    void (*eof)(void *arg);
};

/* Opens a stream and says `hello` on it; only while the session is ready. When the server takes no
 * more channels the stream waits until another has ended. */
int host_stream_open(struct host_link *h, const struct msg_hello *hello,
                     const struct stream_callbacks *cb, void *arg, struct host_stream **ret,
                     struct err *err);
/* How many more streams the session may get at once, as far as is known; servers differ. */
unsigned host_streams_room(const struct host_link *h);
/* Takes up to n bytes now; returns how many (fewer than n: writable comes). */
size_t host_stream_write(struct host_stream *st, const void *bytes, size_t n);
void host_stream_eof(struct host_stream *st);
void host_stream_resume(struct host_stream *st);
/* No callback comes after this; what was written and not yet sent is dropped. Not after `end`. */
void host_stream_close(struct host_stream *st);

#endif
