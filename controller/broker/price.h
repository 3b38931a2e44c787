/* What models cost: the operator's own file prices.json, in whole micro-dollars per million tokens.
 *
 *   {"currency":"USD","as_of":"2026-11-23","source":"..","models":[
 *     {"model":"gpt-5.5","input":"1250000","output":"10000000","cache_read":"125000",
 *      "cache_write":"1250000","cache_write_1h":"0",
 *      "tiers":[{"above_tokens":"272000","input":"2500000","output":"15000000",..}]}]}
 *
 * A price of the cache that is absent, or 0, is the dearest it can be: cache_read as input, cache_write and
 * cache_write_1h twice input. Pure: no I/O. */
#ifndef CONTROLLER_BROKER_PRICE_H
#define CONTROLLER_BROKER_PRICE_H

#include "proto/spend.h"

#define PRICES_BYTES_MAX   (8u << 20)
#define PRICES_MODELS_MAX  16384
#define PRICE_TIERS_MAX    4
#define PRICES_SOURCE_SIZE 257
#define DATE_SIZE          11             /* "YYYY-MM-DD" and NUL */
#define RATE_MAX           1000000000000u /* a dollar a token */

/* Tokens as a provider counted them; the five add up, nothing is counted twice (OpenAI's cached tokens
 * are taken out of its input, Anthropic's stand beside it). */
struct usage {
    uint64_t input; /* neither read from nor written to a cache */
    uint64_t cache_read;
    uint64_t cache_write; /* kept 5 minutes, or unsaid */
    uint64_t cache_write_1h;
    uint64_t output; /* reasoning included */
};

struct rates { /* micro-dollars per million tokens */
    uint64_t input, output, cache_read, cache_write, cache_write_1h;
};

struct price_tier {
    uint64_t above_tokens; /* whole input, caches included, over this: all of the call costs so */
    struct rates rates;
};

struct price {
    char model[MODEL_NAME_SIZE];
    struct rates rates;
    struct price_tier tiers[PRICE_TIERS_MAX];
    size_t ntiers;
};

struct prices; /* opaque, owned */

/* Parses prices.json strictly. -ERR_USAGE naming the key path. `source` names the file in messages. */
int prices_parse(const void *bytes, size_t len, const char *source, struct prices **ret,
                 struct err *err);
void prices_free(struct prices *p);
/* NULL when there is none: a call for it is refused. Exact name only. Borrowed. */
const struct price *prices_find(const struct prices *p, const char *model);
const uint8_t *prices_sha256(const struct prices *p); /* of the file's bytes, 32 */
const char *prices_as_of(const struct prices *p);     /* "YYYY-MM-DD" */
const char *prices_source(const struct prices *p);    /* where they come from, for people */
size_t prices_count(const struct prices *p);
const struct price *prices_at(const struct prices *p, size_t i); /* sorted by model */

/* Writes prices.json, a model a line. -ERR_USAGE: not a date. */
int prices_encode(const char *as_of, const char *source, const struct price *models, size_t n,
                  struct buf *to, struct err *err);

/* What a call costs, rounded up to a whole micro-dollar; saturates at UINT64_MAX. */
uint64_t price_cost(const struct price *p, const struct usage *u);
/* The most that a call of at most `input` tokens in and `output` out can cost, whatever was cached and
 * whichever tier. Never below price_cost of any such usage. */
uint64_t price_bound(const struct price *p, uint64_t input, uint64_t output);

/* Of an exact number of dollars a token, as JSON writes it ("1.25e-06"): whole micro-dollars a million
 * tokens, rounded up. False: negative, over RATE_MAX, or too many digits. */
bool rate_of_decimal(const char *text, size_t n, uint64_t *ret);

/* Reads LiteLLM's public table (model_prices_and_context_window.json) and writes prices.json: models of
 * the given provider (its litellm_provider; NULL: all) in modes chat, completion and responses that have
 * input and output prices. Dollars per token as written there become whole micro-dollars per million,
 * rounded up. Left out: what costs nothing, what has prices that prices.json cannot say (a fee a
 * request, other kinds of tiers), and what stands there twice with different prices. *ret_n: how many. */
int prices_from_litellm(const void *bytes, size_t len, const char *provider, const char *as_of,
                        struct buf *to, size_t *ret_n, struct err *err);

#endif
