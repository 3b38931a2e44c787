/* What a task may spend at one model provider, through the broker of its controller. Part of the
 * policy: signed with the task, echoed in the result, enforced by the broker alone (the runner only
 * opens the jail's broker door when there is anything to spend).
 *
 * Money is counted in micro-dollars (1 USD = 1,000,000) as whole numbers, never as floating point. */
#ifndef PROTO_SPEND_H
#define PROTO_SPEND_H

#include "proto/json.h"

#define SPEND_USD_MAX      (1000000ull * 1000000) /* a million dollars */
#define SPEND_NAMES_MAX    64                     /* models, hosted tools: names in one list */
#define PROVIDER_NAME_SIZE 65
#define MODEL_NAME_SIZE    129

struct spend {
    char provider[PROVIDER_NAME_SIZE]; /* of providers.json; empty: the task makes no model calls */
    uint64_t usd_micros;               /* for the whole task, all attempts together */
    uint64_t calls;                    /* likewise; each request that is forwarded */
    uint64_t calls_per_minute;         /* in any 60 s */
    uint64_t in_flight;                /* at once */
    uint64_t output_tokens; /* of one call: inserted, or what is asked for lowered to it */
    uint64_t repeats; /* the same call, or the same answer, this often in a row: a mark in the log;
                            twice as often: everything is refused from then on */
    uint8_t prices_sha256
        [32];           /* of the prices that the plan was made with: the broker signs no other */
    struct strv models; /* that may be asked for; empty: each that the provider has a price for */
    struct strv
        hosted_tools; /* types of tools that run at the provider, outside the egress gate, and
                                 may be used all the same ("web_search"); empty: none */
};

/* {"provider":"..","usd_micros":"..","calls":"..","calls_per_minute":"..","in_flight":"..",
 *  "output_tokens":"..","repeats":"..","prices_sha256":"..","models":[..],"hosted_tools":[..]} */
extern const struct json_shape spend_shape;

/* Defaults of everything but provider and money: calls 500, 60 a minute, in flight 8, output tokens
 * 32000 a call, repeats 8. */
void spend_init(struct spend *s);
bool spend_any(const struct spend *s); /* is there a provider? */
/* Nothing set when there is no provider; else usd 1 .. SPEND_USD_MAX, calls 1 .. 1000000, a minute 1 ..
 * 10000, in flight 1 .. 256, output tokens 1 .. 1000000, repeats 2 .. 1000, names well-formed, lists
 * within SPEND_NAMES_MAX. -ERR_USAGE. */
int spend_check(const struct spend *s, struct err *err);
int spend_copy(struct spend *to, const struct spend *from); /* -1: out of memory, `to` as it was */
void spend_done(struct spend *s);
bool spend_same(const struct spend *a, const struct spend *b);
/* [a-z0-9][a-z0-9._-]{0,63} */
bool provider_name_valid(const char *name);
/* As providers write names of models and tools: printable, no blanks, no quotes. */
bool model_name_valid(const char *name);

/* "2.50" or "2" or "0.000001": dollars with at most 6 decimals. -ERR_USAGE, saying what is wrong. */
int usd_parse(const char *text, uint64_t *ret_micros, struct err *err);
/* Appends "$2.50", at least two decimals and as many as are needed ("$0.004213"). */
int usd_format(uint64_t micros, struct buf *to);

#endif
