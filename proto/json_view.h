/* Looking into a JSON text that json_check() has passed, without building anything: names and spans of
 * values, for documents that are large, foreign and passed on as they are.
 *
 * Nothing is copied: a view is good as long as the text. Every walk over a value costs its length once. On
 * a text that was not checked the answers mean nothing, but nothing outside of it is read. */
#ifndef PROTO_JSON_VIEW_H
#define PROTO_JSON_VIEW_H

#include "proto/json.h"

/* One value (or key) as it stands in the text, quotes and brackets included, no blanks around it. */
struct json_view {
    const char *p;
    size_t n;
};

struct json_view json_view_root(const void *bytes, size_t len);

/* '{' '[' '"' 't' 'f' 'n' or '0' for a number; 0: nothing. */
char json_view_type(struct json_view v);

/* struct json_walk w = json_walk_into(v); while (json_walk_next(&w)) ... w.key, w.value */
struct json_walk {
    struct json_view key; /* of an object's member; empty in arrays */
    struct json_view value;
    const char *at, *end; /* the walk's own */
    bool object;
};
/* Over the members of an object or the elements of an array; anything else has none. */
struct json_walk json_walk_into(struct json_view container);
bool json_walk_next(struct json_walk *w);

/* The member of an object. False: not an object, or it has none of that name. */
bool json_view_get(struct json_view object, const char *name, struct json_view *ret);
/* Is it a string (or key) that says exactly `text`, however it is escaped? */
bool json_view_is(struct json_view v, const char *text);
/* What a string says. False: not a string, it does not fit with its NUL, or has a NUL inside; then `to`
 * is as much as did fit. */
bool json_view_text(struct json_view v, char *to, size_t size);
/* A number without sign, fraction and exponent, up to UINT64_MAX. */
bool json_view_u64(struct json_view v, uint64_t *ret);

#endif
