/* One strict reader and one writer for every JSON document that creel exchanges or signs.
 *
 * RFC 8259 narrowed as I-JSON (RFC 7493) and further: UTF-8 only, no \u0000, no duplicate keys, no
 * unknown keys, depth <= JSON_DEPTH_MAX, whole input consumed, 64-bit integers as decimal strings.
 * (Unicode noncharacters pass: text that a repository holds must be writable.)
 * A document is described once, as a const table of fields over a C struct (`struct json_shape`);
 * decoding, encoding and freeing all come from the table. No I/O, no clock, no globals.
 */
#ifndef PROTO_JSON_H
#define PROTO_JSON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"
#include "proto/err.h"

#define JSON_DEPTH_MAX 32
#define JSON_BYTES_MAX (1u << 20)
#define JSON_ITEMS_MAX 4096 /* elements of one array, keys of one object */
/* Bytes of one JSON_STRS string, unless the row's `max` says: what Linux takes as one argument of a
 * program (MAX_ARG_STRLEN without its NUL). */
#define JSON_STR_MAX ((128u << 10) - 1)

enum json_kind {
    JSON_TEXT,  /* char[size], NUL-terminated UTF-8 without control bytes; max = size - 1 bytes */
    JSON_PROSE, /* as JSON_TEXT, but \n and \t allowed (titles, commands, script lines) */
    JSON_U64,   /* uint64_t as a decimal string, canonical: no sign, no leading zero */
    JSON_I64,   /* int64_t as a decimal string, canonical */
    JSON_INT,   /* int, as a JSON number without fraction or exponent, within int range */
    JSON_BOOL,  /* bool */
    JSON_HEX,   /* uint8_t[size] as 2*size lower-case hex digits */
    JSON_B64,   /* uint8_t[size] as padded standard base64, exact length, canonical */
    JSON_ENUM,  /* int; names[] is a NULL-terminated list, the value is the index */
    JSON_BITS,  /* unsigned; array of names[], bit i for names[i], in order, no repeats */
    JSON_CONST, /* no member: the value must be exactly the text `names[0]`; written always */
    JSON_OBJ,   /* struct member described by `shape` */
    JSON_LIST,  /* struct json_list member; elements described by `shape` */
    JSON_STRS,  /* struct strv member: array of JSON_PROSE strings, each <= `max` bytes */
    JSON_TUPLE, /* array of exactly the rows of `shape`, in order; their names only serve errors */
};

struct json_shape;

struct json_field {
    const char *name;
    enum json_kind kind;
    bool optional; /* absent leaves the member zero; a zero member is then not written */
    size_t offset, size;
    const char *const *names;
    const struct json_shape *shape;
    size_t
        max; /* JSON_STRS: bytes of one string (0: JSON_STR_MAX); JSON_LIST: elements (0: JSON_ITEMS_MAX) */
};

/* `fields` ends with a row whose name is NULL. `size` is sizeof the C struct. */
struct json_shape {
    size_t size;
    const struct json_field *fields;
    /* Other keys are refused unless `open`: only for foreign documents we read but do not sign. */
    bool open;
};

/* Array of structs, owned: `items` points to n structs of the shape's size. */
struct json_list {
    size_t n;
    void *items;
};

/* Array of owned NUL-terminated strings; v[n] == NULL when n > 0. */
struct strv {
    size_t n;
    char **v;
};

int strv_add(struct strv *s, const char *text); /* 0, or -1 out of memory */
void strv_done(struct strv *s);
bool strv_has(const struct strv *s, const char *text);
int strv_copy(struct strv *to, const struct strv *from);

/* Appends one zeroed element and returns it (borrowed until the next push), or NULL. */
void *json_list_push(struct json_list *l, const struct json_shape *shape);

/* Rows of a field table: JSON_ROW(struct task, TEXT, id) names the key as the member;
 * JSON_ROW_AS gives the key another name. Options follow as designated initialisers. */
#define JSON_ROW_AS(T, KIND, member, key, ...)                             \
    {                                                                      \
        .name = (key), .kind = JSON_##KIND, .offset = offsetof(T, member), \
        .size = sizeof(((T *)0)->member), __VA_ARGS__                      \
    }
#define JSON_ROW(T, KIND, member, ...) JSON_ROW_AS(T, KIND, member, #member, __VA_ARGS__)
/* An object (or tuple) that groups members of the same C struct: no member of its own. */
#define JSON_GROUP(key, shape_ptr)                            \
    {                                                         \
        .name = (key), .kind = JSON_OBJ, .shape = (shape_ptr) \
    }
#define JSON_GROUP_TUPLE(key, shape_ptr)                        \
    {                                                           \
        .name = (key), .kind = JSON_TUPLE, .shape = (shape_ptr) \
    }
/* A key whose value is always texts[0]. */
#define JSON_FIXED(key, texts)                              \
    {                                                       \
        .name = (key), .kind = JSON_CONST, .names = (texts) \
    }
#define JSON_END     \
    {                \
        .name = NULL \
    }

/* Parses exactly `len` bytes into `out` (which is zeroed first). On failure `out` is released and
 * zeroed, and the message names the key path: "policy.limits.wall_s: not a decimal string".
 * Numbers with fraction or exponent are refused anywhere unless a shape on the way is `open`.
 * Errors: ERR_FAIL (malformed). */
int json_decode(const struct json_shape *shape, const void *bytes, size_t len, void *out,
                struct err *err);
/* Appends compact JSON, keys in table order. Fails only when `to` is full or a member cannot be
 * written as its kind (invalid UTF-8, control bytes, over a bound); then nothing was appended. */
int json_encode(const struct json_shape *shape, const void *in, struct buf *to, struct err *err);
/* What one document may be, where the usual JSON_BYTES_MAX and JSON_ITEMS_MAX are too little: tables of
 * the operator's, bodies of model calls. Depth stays JSON_DEPTH_MAX. */
struct json_bounds {
    size_t bytes;
    size_t items; /* elements of one array, keys of one object */
    /* "\u0000" and lone surrogates may stand in values, never in keys: other languages write them. For
     * json_check_within alone. */
    bool loose_escapes;
};
int json_decode_within(const struct json_shape *shape, const void *bytes, size_t len,
                       const struct json_bounds *bounds, void *out, struct err *err);
/* Frees what a decode allocated inside `obj` (lists, strv) and zeroes the struct. */
void json_release(const struct json_shape *shape, void *obj);
/* For a process that reads secrets: from here on what the reader frees is wiped first. */
void json_wiping(void);

/* Only the strict checks above, for documents read through other tables. 0 or -ERR_FAIL. */
int json_check(const void *bytes, size_t len, struct err *err);
int json_check_within(const void *bytes, size_t len, const struct json_bounds *bounds,
                      struct err *err);
/* Appends `text` as a JSON string literal with quotes; invalid UTF-8 becomes U+FFFD. What acts on a
 * terminal or cannot be seen is written as \uXXXX, so the literal may be shown as it is. */
int json_quote(struct buf *to, const char *text, size_t len);
/* Same, but NUL-terminated. */
int json_quotes(struct buf *to, const char *text);

#endif
