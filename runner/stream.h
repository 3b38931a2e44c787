/* One connection from a controller: descriptors handed over by attach, one HELLO, then what the
 * channel's kind says.
 *
 *   wait for descriptors -> wait for HELLO -> open -> (flushing) -> closed
 *
 * Reading: framed kinds get whole frames, raw kinds get bytes as they come. Writing: queued messages
 * go first; when nothing is queued a kind's more() may write to the descriptor itself, so bulk data
 * is never copied into a queue. Everything is bounded: the input by one frame, the queue by
 * STREAM_QUEUE_MAX (a peer that does not read its messages is dropped), time by STREAM_HELLO_MS and
 * STREAM_FLUSH_MS. Buffers are given back when they are empty.
 *
 * A stream is freed by itself after it was closed; nobody keeps a pointer past gone().
 */
#ifndef RUNNER_STREAM_H
#define RUNNER_STREAM_H

#include <uv.h>

#include "proto/message.h"
#include "runner/spool.h"

#define STREAMS_MAX      256
#define STREAM_HELLO_MS  30000
#define STREAM_FLUSH_MS  10000
#define STREAM_CHUNK     (64u << 10)
#define STREAM_QUEUE_MAX (FRAME_PAYLOAD_MAX + (256u << 10))

struct stream;
struct attempt;

enum stream_more {
    STREAM_IDLE,    /* nothing to write now; stream_pump() when there is */
    STREAM_AGAIN,   /* wrote something, there may be more */
    STREAM_BLOCKED, /* the descriptor takes no more now */
    STREAM_END,     /* all written: close */
};

/* What a channel does. Callbacks may call stream_finish() and stream_close() on their stream. */
struct stream_kind {
    void (*frame)(struct stream *s, const struct frame *f);          /* NULL: takes raw bytes */
    void (*bytes)(struct stream *s, const uint8_t *bytes, size_t n); /* raw input, or NULL */
    void (*eof)(struct stream *s);                                   /* the peer sends no more */
    enum stream_more (*more)(struct stream *s);                      /* or NULL */
    void (*gone)(struct stream *s);                                  /* about to be freed */
};

/* Whoever owns the streams: the loop, one scratch buffer for all, and what HELLO leads to. */
struct stream_owner {
    uv_loop_t *loop;
    uint8_t *scratch; /* STREAM_CHUNK bytes, for reading */
    void *arg;
    /* The first frame held: set s->kind (stream_open) or stream_refuse(). */
    void (*hello)(struct stream *s, const struct msg_hello *h);
    struct stream *streams; /* all that are not closed */
    size_t n;
};

struct stream {
    struct stream_owner *owner;
    struct stream *next, **link; /* stream_owner::streams */
    const struct stream_kind *kind;
    enum channel channel;
    int attach_fd, rfd, wfd;
    unsigned handles; /* initialised, not yet closed */
    bool polling, writing, eof, flushing, closed, hung;
    uv_poll_t attach, rd, wr;
    uv_timer_t deadline;
    struct buf in, out;
    /* For the kinds: */
    struct attempt *attempt;
    uint64_t offset;
    struct spool_follower follower;
};

/* Takes attach_fd (closed also on failure): a connection on which two descriptors will come. */
int stream_new(struct stream_owner *owner, int attach_fd, struct err *err);
/* HELLO was good. */
void stream_open(struct stream *s, enum channel channel, const struct stream_kind *kind);
/* Queues a message and writes what it can. */
void stream_send(struct stream *s, const struct msg *m);
/* Answers REFUSED; the stream goes on. `attempt` may be "". */
void stream_say_refused(struct stream *s, const char *attempt, enum refusal reason,
                        const char *detail);
/* The same, then close when it is written. */
void stream_refuse(struct stream *s, const char *attempt, enum refusal reason, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* No more input; close when the queue is written. */
void stream_finish(struct stream *s);
void stream_close(struct stream *s);
/* There is something for more() to write. */
void stream_pump(struct stream *s);
/* For more(): moves up to n bytes of `fd` from *offset on, which it advances; nothing passes through
 * our memory. Only what the file holds is moved. */
enum stream_more stream_sendfile(struct stream *s, int fd, uint64_t *offset, uint64_t n);
/* The peer is gone for good, not only done with sending. */
bool stream_hung_up(const struct stream *s);

#endif
