/* How the readers of the several event forms write what they found: one word for the kind, then the
 * agent's text, neutralised. Shared by event_*.c, nobody else. */
#ifndef CONTROLLER_EVENTS_EVENT_VIEW_H
#define CONTROLLER_EVENTS_EVENT_VIEW_H

#include "controller/events/event_json.h"

struct event_usage {
    uint64_t input, cache_read, cache_write, output;
};

struct event_view {
    struct buf *to;
    struct buf text;          /* scratch: a string as the agent meant it */
    struct event_usage usage; /* of the steps so far, where the form tells it step by step */
};

/* "says   text", further lines indented. False, and nothing written: not a string, or an empty one. */
bool event_words(struct event_view *e, const char *word, struct event_value text);
/* The same with a text of ours, which may hold theirs; and with two strings, "word   a b". */
void event_put(struct event_view *e, const char *word, const char *text);
void event_pair(struct event_view *e, const char *word, struct event_value a, struct event_value b);
/* What a command printed: its first lines, behind a bar, and how many more there are. */
void event_output(struct event_view *e, struct event_value text);
/* A value of any kind in one line, cut: what a tool was called with. */
void event_call(struct event_view *e, struct event_value name, struct event_value input);
void event_exit(struct event_view *e, struct event_value code); /* nothing for 0 and for null */
void event_used(struct event_view *e, const struct event_usage *u);

/* One whole event. False: none of this form's; the caller shows the line. What was written before counts
 * for nothing then. */
typedef bool event_show(struct event_view *e, struct event_value event);
event_show event_codex, event_claude, event_opencode, event_openclaw;

#endif
