/* One connection from a controller: descriptors handed over by attach, one HELLO, then what the
 * channel's kind says.
 *
 *   wait for descriptors -> wait for HELLO -> open -> (flushing) -> closed
 *
 * Reading: framed kinds get whole frames, raw kinds get bytes as they come. Writing: queued messages
 * go first; when nothing is queued a kind's more() may write to the descriptor itself, so bulk data
 * is never copied into a queue. Everything is bounded: the input of one stream by one frame and of
 * all by STREAM_INPUT_MAX (who holds most is dropped), the queue by STREAM_QUEUE_MAX (a peer that
 * does not read its messages is dropped), time by struct stream_times. Buffers are given back when
 * they are empty.
 *
 * No class of streams can take the room of another: whoever may connect at all can always say HELLO,
 * for too many that have not are ended, the oldest first.
 *
 * A stream is freed by itself after it was closed; nobody keeps a pointer past gone().
 */
#ifndef RUNNER_STREAM_H
#define RUNNER_STREAM_H

#include <uv.h>

#include "proto/message.h"
#include "runner/spool.h"

#define STREAMS_MAX         512
#define STREAMS_MUTE_MAX    64 /* before HELLO */
#define STREAMS_CONTROL_MAX 16
#define STREAMS_CALL_MAX    256
#define STREAMS_BULK_MAX    (STREAMS_MAX - STREAMS_MUTE_MAX - STREAMS_CONTROL_MAX - STREAMS_CALL_MAX)
#define STREAM_CHUNK        (64u << 10)
#define STREAM_HELLO_BYTES  (4u << 10) /* an unfinished first frame is no longer than that */
#define STREAM_INPUT_MAX    (16u << 20)
#define STREAM_QUEUE_MAX    (FRAME_PAYLOAD_MAX + (256u << 10))

struct stream;
struct attempt;
struct call; /* runner/call.h */
struct calls;

enum stream_more {
    STREAM_IDLE,    /* nothing to write now; stream_pump() when there is */
    STREAM_AGAIN,   /* wrote something, there may be more */
    STREAM_BLOCKED, /* the descriptor takes no more now */
    STREAM_END,     /* all written: close */
};

enum stream_class { STREAM_MUTE, STREAM_CONTROL, STREAM_CALL, STREAM_BULK, STREAM_CLASS_COUNT };

struct stream_times {
    unsigned hello_ms;   /* from the connection to HELLO */
    unsigned frame_ms;   /* from a frame's first byte to its last */
    unsigned silence_ms; /* between frames, of kinds that take frames: a controller pings */
    unsigned flush_ms;   /* for writing what is queued when the stream ends */
};

extern const struct stream_times stream_times_default;

/* What a channel does. Callbacks may call stream_finish() and stream_close() on their stream. */
struct stream_kind {
    void (*frame)(struct stream *s, const struct frame *f);          /* NULL: takes raw bytes */
    void (*bytes)(struct stream *s, const uint8_t *bytes, size_t n); /* raw input, or NULL */
    void (*eof)(struct stream *s);                                   /* the peer sends no more */
    enum stream_more (*more)(struct stream *s);                      /* or NULL */
    void (*gone)(struct stream *s);                                  /* about to be freed */
    /* attach goes as soon as both ways are shut, which may be before the last bytes are read: its end
     * is not the stream's. */
    bool outlives_attach;
};

/* Whoever owns the streams: the loop, one scratch buffer for all, and what HELLO leads to. */
struct stream_owner {
    uv_loop_t *loop;
    uint8_t *scratch; /* STREAM_CHUNK bytes, for reading */
    struct stream_times times;
    void *arg;
    /* The first frame held: set s->kind (stream_open) or stream_refuse(). */
    void (*hello)(struct stream *s, const struct msg_hello *h);
    struct stream *streams; /* all that are not closed, the newest first */
    size_t n, classes[STREAM_CLASS_COUNT];
    size_t held; /* bytes that their input buffers take */
};

struct stream {
    struct stream_owner *owner;
    struct stream *next, **link; /* stream_owner::streams */
    const struct stream_kind *kind;
    enum channel channel;
    enum stream_class class;
    size_t held; /* this one's part of stream_owner::held */
    int attach_fd, rfd, wfd;
    unsigned handles; /* initialised, not yet closed */
    bool polling, writing, eof, flushing, closed, hung, held_back, shut;
    uv_poll_t attach, rd, wr;
    uv_timer_t deadline;
    struct buf in, out;
    /* For the kinds: */
    struct attempt *attempt;
    uint64_t offset;
    struct spool_follower follower;
    struct calls *calls; /* whose channel it is, while it waits for a connection or has one */
    struct call *call;   /* the connection */
    struct stream *next_idle;
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
/* For kinds that write by themselves, with nothing queued: how many bytes went; 0: it takes none now, and
 * more() should return STREAM_BLOCKED; -1: the peer is gone. */
ssize_t stream_write(struct stream *s, const void *bytes, size_t n);
/* Says that nothing more is written; reading goes on. */
void stream_shut(struct stream *s);
/* Reads no more until it is taken back: what the peer sends waits with it. */
void stream_hold_back(struct stream *s, bool hold);
/* The peer is gone for good, not only done with sending. */
bool stream_hung_up(const struct stream *s);

#endif
