/* What the files of dialects share; nobody else includes this.
 *
 * dialect.c has the table of them, dialect_request.c judges requests and dialect_content.c what stands in
 * them, meter.c reads answers. A dialect is data and a few functions in its own file. */
#ifndef CONTROLLER_BROKER_DIALECT_INTERNAL_H
#define CONTROLLER_BROKER_DIALECT_INTERNAL_H

#include <sodium.h>

#include "controller/broker/dialect.h"
#include "proto/json_view.h"

/* Tokens that a request counts though they are no bytes of it: what a provider says to the model by itself
 * (about tools 700 at most, about output formats a few hundred). */
#define INPUT_EXTRA_TOKENS 4096
/* Of one picture that stands in the body, beside its bytes: above what any model here counts (OpenAI:
 * 10,000 patches at a factor of up to 2.5; Anthropic: under 5,000). */
#define PICTURE_TOKENS 32768
/* When a tool runs at the provider, what it reads is input too, and no byte of it is in the body. */
#define HOSTED_TOKENS 131072

/* ---- requests */

/* One request body while it is judged. */
struct judge {
    const struct dialect *d;
    const struct call_rules *rules;
    struct call_ask *ask;
    const char *name; /* of the member that is looked at */
    uint64_t cap_asked;
    bool has_cap, has_hosted;
    uint64_t pictures;
    crypto_generichash_state asked;
    struct err *err;
};

/* A member of the request's object that may stand there. Others are left out. */
struct member {
    const char *name;
    /* Refuses, or notes what it says; NULL: anything goes. */
    int (*look)(struct judge *j, struct json_view v);
    /* Writes the value that is sent; false: the member is left out. NULL: as it is. */
    bool (*write)(const struct judge *j, struct json_view v, struct buf *out);
    bool asked; /* part of what is asked: in the fingerprint */
};

/* Rows that dialects share. */
int look_model(struct judge *j, struct json_view v);
int look_stream(struct judge *j, struct json_view v);
int look_cap(struct judge *j, struct json_view v);     /* the output cap, by any of its names */
int look_nothing(struct judge *j, struct json_view v); /* refused unless null, false, empty */
int look_tier(struct judge *j, struct json_view v);    /* service_tier: none that costs more */
bool write_cap(const struct judge *j, struct json_view v, struct buf *out);
bool write_nothing(const struct judge *j, struct json_view v, struct buf *out);
bool is_nothing(struct json_view v);
/* -ERR_REFUSED: "the request's MEMBER: ..." */
int refuse(struct judge *j, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Lists of things that have a type each. */
struct kind {
    const char *type;                                 /* "" in the table: the member is absent */
    int (*look)(struct judge *j, struct json_view v); /* NULL: fine */
};
/* Refuses an object with "Type" in it and the like: some providers read names without regard to case, and would
 * see another value than was judged. */
int look_names(struct judge *j, struct json_view object);
/* Each element of the array `v` (or nothing of it, when null) must be an object whose "type" is in the
 * table, which ends with a NULL type; `what` names an element in refusals. */
int look_kinds(struct judge *j, struct json_view v, const struct kind *kinds, const char *what);
/* The same for one of them. */
int look_kind(struct judge *j, struct json_view v, const struct kind *kinds, const char *what);
/* As look_kinds, but a string is fine too. */
int look_text_or_kinds(struct judge *j, struct json_view v, const struct kind *kinds,
                       const char *what);
int look_hosted(struct judge *j, struct json_view v); /* fine only when the rules allow its type */
/* May a tool of this type run at the provider? "web_search" in the rules stands also for
 * "web_search_20250305" and "web_search_preview". */
bool hosted_allowed(const struct call_rules *rules, const char *type);
/* An address that is a picture itself ("data:image/..;base64,..") counts as one, others are refused. */
int look_picture_url(struct judge *j, struct json_view v);
int look_picture(struct judge *j); /* counts one */

/* ---- answers */

enum { SAID_TEXT, SAID_NAMES, SAID_ARGUMENTS, SAID_COUNT };

/* What a dialect finds out from the documents of an answer. */
struct reading {
    bool complete, failed;
    bool have_usage, bad_usage;
    struct usage usage;
    bool said_any[SAID_COUNT];
    crypto_generichash_state said[SAID_COUNT];
};

void said(struct reading *r, int which,
          struct json_view text); /* a string's inside; others: nothing */
/* Notes a usage as one document told it; of several the largest counts, number by number. There is none
 * before one that is the last word (`final`). */
void read_usage(struct reading *r, const struct usage *u, bool final);
/* A number of a usage object. Absent or null: 0 (unless `must`). False: not a whole number below 2^40. */
bool usage_number(struct json_view object, const char *name, bool must, uint64_t *ret);
/* The usage object of both OpenAI dialects, which differ in names alone. */
struct openai_usage_names {
    const char *input, *output, *input_details;
};
void read_openai_usage(struct reading *r, struct json_view usage,
                       const struct openai_usage_names *names);

/* ---- a dialect */

struct dialect {
    enum dialect_id id;
    const char *path, *query; /* query NULL: none is possible */
    const char *const *sends; /* request headers besides content-type and accept; NULL-terminated */
    const char *const *returns; /* likewise of the answer; "x-*" is a prefix */
    const struct member *members;
    /* Members that must be there and are not: each as ",\"name\":value". */
    void (*add)(const struct judge *j, struct json_view request, struct buf *out);
    void (*refusal)(const char *message, struct buf *to);
    void (*failure)(const char *message, struct buf *to);
    /* One event of a stream: its data, checked; `done`: it was the text "[DONE]". */
    void (*event)(struct reading *r, struct json_view data, bool done);
    void (*whole)(struct reading *r, struct json_view answer);
};
extern const struct dialect dialect_responses, dialect_chat, dialect_messages;

/* "{"error":{...}}" as both OpenAI dialects have it. */
void openai_error(const char *message, struct buf *to);

#endif
