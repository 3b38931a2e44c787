/* What model APIs have in common, seen from the broker: a request that is judged and bounded before it
 * leaves, an answer from which usage is read while it passes, refusals that agents understand.
 *
 * One file a dialect (dialect_responses.c, dialect_chat.c, dialect_messages.c); dialect.c finds them by
 * method and path. Pure: no I/O. Requests are an agent's, answers a provider's: both hostile. */
#ifndef CONTROLLER_BROKER_DIALECT_H
#define CONTROLLER_BROKER_DIALECT_H

#include "controller/broker/price.h"

#define CALL_BODY_MAX   (32u << 20) /* of a request */
#define CALL_SENT_EXTRA 4096        /* bytes that dialect_request adds at most */
#define CALL_EVENT_MAX  (8u << 20)  /* of one event of a stream */
#define CALL_ANSWER_MAX (64u << 20) /* of an answer, streamed or not */

enum dialect_id { DIALECT_RESPONSES, DIALECT_CHAT, DIALECT_MESSAGES, DIALECT_COUNT };
extern const char *const dialect_names[DIALECT_COUNT + 1]; /* "responses" "chat" "messages" */

struct dialect; /* const, one a dialect */

/* Exactly the pairs of the table ("POST", "/v1/responses"); the query must be absent or one that the
 * dialect knows ("beta=true"). NULL: not an API of ours; the caller answers 404. */
const struct dialect *dialect_find(const char *method, size_t nmethod, const char *target,
                                   size_t ntarget);
const struct dialect *dialect_of(enum dialect_id id);
enum dialect_id dialect_id_of(const struct dialect *d);
const char *dialect_path(const struct dialect *d); /* for the request upstream: "/v1/responses" */
/* May this request header of the agent's go upstream ("anthropic-version")? Never credentials, never what
 * tells of the machine (x-codex-*, session-id, user-agent). And this one of the answer, downstream? */
bool dialect_sends(const struct dialect *d, const char *name, size_t n);
bool dialect_returns(const struct dialect *d, const char *name, size_t n);

struct call_rules {
    const struct strv *models;       /* that the task may ask for; empty: any that has a price */
    const struct strv *more_models;  /* likewise, the provider's */
    const struct strv *hosted_tools; /* types allowed */
    uint64_t output_tokens;          /* cap */
};

struct call_ask {
    char model[MODEL_NAME_SIZE];
    bool stream;
    uint64_t input_bound;    /* tokens that the request can count at most */
    uint64_t output_cap;     /* as it is in the body that is sent; times `n` choices */
    uint8_t fingerprint[32]; /* of what is asked; equal for the same call again */
    char left_out[65]; /* the first member that is unknown here and so was left out; or empty */
};

/* Judges a request body (strict JSON) and appends to `out` what is sent instead: the same bytes, but the
 * output cap inserted or lowered, usage asked for, what tells of the machine taken out, and every member
 * that is not known here. `out` needs room for CALL_SENT_EXTRA bytes more than the body. -ERR_REFUSED in
 * words: not JSON, an unknown model, a hosted tool, a file or picture by address, background,
 * previous_response_id, service_tier, more than one choice times the cap, over bounds... */
int dialect_request(const struct dialect *d, const struct call_rules *rules, const void *body,
                    size_t len, struct call_ask *ret, struct buf *out, struct err *err);

/* Appends the body of a refusal, in the dialect's own error shape (answered with 400). */
int dialect_refusal(const struct dialect *d, const char *message, struct buf *to);
/* Appends what ends a stream that has begun: the dialect's failure event, and its end. */
int dialect_failure(const struct dialect *d, const char *message, struct buf *to);

/* Reads an answer as it passes. */
struct meter;
/* NULL: out of memory. */
struct meter *meter_new(const struct dialect *d, bool stream);
void meter_free(struct meter *m); /* NULL is fine */
/* Bytes of the body, in order, any split. -ERR_REFUSED: the answer breaks a bound or is not what was
 * asked for (not events, not JSON); what passed before was fine. Never fails for unknown events. */
int meter_feed(struct meter *m, const void *bytes, size_t n, struct err *err);
size_t meter_keeps(const struct meter *m); /* how many bytes of memory, for what it has read */
struct meter_end {
    bool complete;   /* the answer was whole, by the dialect's own end */
    bool failed;     /* whole, and it said that it failed */
    bool have_usage; /* and not all zero */
    struct usage usage;
    uint8_t fingerprint
        [32]; /* of what was answered: text, tools called and their arguments; without ids
                                and times. Zero when nothing was answered */
};
/* After the last byte (of an answer without stream: parses it now). */
void meter_finish(struct meter *m, struct meter_end *ret);

#endif
