/* Looking into one JSON document of an agent's event stream without building a tree: spans of the text,
 * members by name. Only for text that json_check_within() has passed; every question about a value of
 * another kind than expected is answered with "absent". */
#ifndef CONTROLLER_EVENTS_EVENT_JSON_H
#define CONTROLLER_EVENTS_EVENT_JSON_H

#include "proto/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct event_value {
    const char *at; /* borrowed from the document; NULL: absent */
    size_t len;     /* without blanks around it */
};

/* The whole document as a value. */
struct event_value event_value_of(const char *text, size_t len);
/* The member at a path of names, "part.state.input"; no name may hold a dot. */
struct event_value event_at(struct event_value v, const char *path);
/* Elements of an array one by one: `it` begins zeroed and is the element when this returns true. */
bool event_next(struct event_value array, struct event_value *it);
/* Appends a string's text, unescaped. False: not a string, or no room. */
bool event_text(struct event_value v, struct buf *to);
/* Is it this very string? */
bool event_is(struct event_value v, const char *text);
/* A whole number that fits, else false. */
bool event_uint(struct event_value v, uint64_t *ret);
bool event_true(struct event_value v);

#endif
