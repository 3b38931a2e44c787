/* An agent's own event stream, made readable: what it says, thinks, runs and edits, what it used.
 *
 * Agents print events as JSON on their stdout, each in a form of its own; the profile says which. The
 * bytes are hostile: what is no event of that form is shown as the line that it is, and everything comes
 * out neutralised (common/term.h), so the result may go to a terminal. */
#ifndef CONTROLLER_EVENTS_EVENT_STREAM_H
#define CONTROLLER_EVENTS_EVENT_STREAM_H

#include "controller/agent_profile.h"

#define EVENTS_LINE_MAX (1u << 20)  /* bytes of one event; a longer line is shown cut */
#define EVENTS_ROOM     (10u << 20) /* spare bytes that are always enough for one feed of 64 KiB */

struct event_stream;
struct event_stream *event_stream_new(enum agent_events format); /* NULL: out of memory */
void event_stream_free(struct event_stream *a);                  /* NULL is fine */
/* Bytes as they come, any split; appends whole lines. -1 when `to` is full or memory is out. */
int event_stream_feed(struct event_stream *a, const void *bytes, size_t n, struct buf *to);
/* What no newline ended. */
int event_stream_end(struct event_stream *a, struct buf *to);

#endif
