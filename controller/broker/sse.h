/* Events of a text/event-stream, taken from bytes in any pieces (WHATWG HTML, 9.2.6): lines end by LF, CR
 * or CRLF; of an event only its data counts here. Bounded, pure. */
#ifndef CONTROLLER_BROKER_SSE_H
#define CONTROLLER_BROKER_SSE_H

#include "proto/buf.h"
#include "proto/err.h"

struct sse {
    struct buf line; /* as far as it has come */
    struct buf data; /* of the event, each line with a LF behind it */
    bool had_cr;     /* the last byte was a CR: a LF now belongs to it */
    bool first;      /* no line has ended yet: a byte order mark may stand there */
    bool has_data;
};

/* An event's data, without its last LF; borrowed. */
typedef int sse_cb(void *arg, const void *data, size_t n, struct err *err);

void sse_init(struct sse *s, size_t event_max);
void sse_done(struct sse *s);
/* -ERR_REFUSED: a line or an event is over the bound; or what `cb` returned. */
int sse_feed(struct sse *s, const void *bytes, size_t n, sse_cb *cb, void *arg, struct err *err);
/* The stream is at its end: an event whose lines are whole, though no empty line came, counts. */
int sse_end(struct sse *s, sse_cb *cb, void *arg, struct err *err);

#endif
