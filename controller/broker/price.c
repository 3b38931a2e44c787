/* Prices: reading prices.json, and what a call costs. Whole numbers only, rounded up, saturating: an
 * error of a rounding here is always against spending. */
#include "controller/broker/price.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/sha256.h"
#include "proto/rfc3339.h"

#define MILLION 1000000u

struct prices {
    struct price *models; /* sorted by model */
    size_t n;
    uint8_t sha256[SHA256_BYTES];
    char as_of[DATE_SIZE], source[PRICES_SOURCE_SIZE];
};

/* ---- the file ---- */

struct wire_tier {
    uint64_t above_tokens;
    struct rates rates;
};

struct wire_price {
    char model[MODEL_NAME_SIZE];
    struct rates rates;
    struct json_list tiers; /* struct wire_tier */
};

struct wire_prices {
    char as_of[DATE_SIZE], source[PRICES_SOURCE_SIZE];
    struct json_list models; /* struct wire_price */
};

#define RATE_ROWS(T)                                                                        \
    JSON_ROW_AS(T, U64, rates.input, "input"), JSON_ROW_AS(T, U64, rates.output, "output"), \
        JSON_ROW_AS(T, U64, rates.cache_read, "cache_read", .optional = true),              \
        JSON_ROW_AS(T, U64, rates.cache_write, "cache_write", .optional = true),            \
        JSON_ROW_AS(T, U64, rates.cache_write_1h, "cache_write_1h", .optional = true)

static const struct json_field tier_fields[] = {
    JSON_ROW(struct wire_tier, U64, above_tokens),
    RATE_ROWS(struct wire_tier),
    JSON_END,
};
static const struct json_shape tier_shape = {sizeof(struct wire_tier), tier_fields};

static const struct json_field price_fields[] = {
    JSON_ROW(struct wire_price, TEXT, model),
    RATE_ROWS(struct wire_price),
    JSON_ROW(struct wire_price, LIST, tiers, .shape = &tier_shape, .max = PRICE_TIERS_MAX,
             .optional = true),
    JSON_END,
};
static const struct json_shape price_shape = {sizeof(struct wire_price), price_fields};

static const char *const currency[] = {"USD", NULL};
static const struct json_field prices_fields[] = {
    JSON_FIXED("currency", currency),
    JSON_ROW(struct wire_prices, TEXT, as_of),
    JSON_ROW(struct wire_prices, TEXT, source, .optional = true),
    JSON_ROW(struct wire_prices, LIST, models, .shape = &price_shape, .max = PRICES_MODELS_MAX),
    JSON_END,
};
static const struct json_shape prices_shape = {sizeof(struct wire_prices), prices_fields};

static bool date_valid(const char *date)
{
    char text[RFC3339_SIZE + 8];
    uint64_t unused;
    snprintf(text, sizeof text, "%.11sT00:00:00Z", date);
    return rfc3339_parse(text, &unused);
}

/* NULL, or what is wrong. What is absent becomes the dearest that it can be. */
static const char *rates_fill(struct rates *r)
{
    if (r->input > RATE_MAX || r->output > RATE_MAX || r->cache_read > RATE_MAX ||
        r->cache_write > RATE_MAX || r->cache_write_1h > RATE_MAX)
        return "a price over a dollar a token";
    if (r->cache_read == 0)
        r->cache_read = r->input;
    if (r->cache_write == 0)
        r->cache_write = 2 * r->input;
    if (r->cache_write_1h == 0)
        r->cache_write_1h = 2 * r->input;
    return NULL;
}

static const char *take(const struct wire_price *from, struct price *to)
{
    memcpy(to->model, from->model, sizeof to->model);
    to->rates = from->rates;
    to->ntiers = from->tiers.n; /* at most PRICE_TIERS_MAX: the table's bound */
    const char *wrong = rates_fill(&to->rates);
    if (!model_name_valid(to->model))
        wrong = "not a model's name";
    for (size_t i = 0; i < to->ntiers && !wrong; i++) {
        const struct wire_tier *t = (const struct wire_tier *)from->tiers.items + i;
        to->tiers[i] = (struct price_tier){.above_tokens = t->above_tokens, .rates = t->rates};
        wrong = rates_fill(&to->tiers[i].rates);
        if (i > 0 && t->above_tokens <= to->tiers[i - 1].above_tokens)
            wrong = "tiers must rise by above_tokens";
    }
    return wrong;
}

static int by_model(const void *a, const void *b)
{
    return strcmp(((const struct price *)a)->model, ((const struct price *)b)->model);
}

static int take_all(const struct wire_prices *from, struct prices *to, struct err *err)
{
    if (!date_valid(from->as_of))
        return err_set(err, ERR_USAGE, "as_of: '%s' is not a date as 2026-11-23", from->as_of);
    memcpy(to->as_of, from->as_of, sizeof to->as_of);
    memcpy(to->source, from->source, sizeof to->source);
    to->models = calloc(from->models.n + 1, sizeof *to->models);
    if (!to->models)
        return err_set(err, ERR_FAIL, "out of memory");
    for (to->n = 0; to->n < from->models.n; to->n++) {
        const struct wire_price *w = (const struct wire_price *)from->models.items + to->n;
        const char *wrong = take(w, &to->models[to->n]);
        if (wrong)
            return err_set(err, ERR_USAGE, "models[%zu] ('%.64s'): %s", to->n, w->model, wrong);
    }
    qsort(to->models, to->n, sizeof *to->models, by_model);
    for (size_t i = 1; i < to->n; i++)
        if (strcmp(to->models[i - 1].model, to->models[i].model) == 0)
            return err_set(err, ERR_USAGE, "models: '%.64s' stands there twice",
                           to->models[i].model);
    return 0;
}

static int parse(const void *bytes, size_t len, struct prices *to, struct err *err)
{
    const struct json_bounds bounds = {.bytes = PRICES_BYTES_MAX, .items = PRICES_MODELS_MAX};
    struct wire_prices wire;
    int rc = json_decode_within(&prices_shape, bytes, len, &bounds, &wire, err);
    if (rc < 0)
        return rc;
    rc = take_all(&wire, to, err);
    json_release(&prices_shape, &wire);
    sha256_of(bytes, len, to->sha256);
    return rc;
}

int prices_parse(const void *bytes, size_t len, const char *source, struct prices **ret,
                 struct err *err)
{
    struct err why = ERR_INIT;
    struct prices *p = calloc(1, sizeof *p);
    if (!p)
        return err_set(err, ERR_FAIL, "out of memory");
    if (parse(bytes, len, p, &why) < 0) {
        prices_free(p);
        return err_set(err, ERR_USAGE, "%s: %s", source, why.msg);
    }
    *ret = p;
    return 0;
}

void prices_free(struct prices *p)
{
    if (!p)
        return;
    free(p->models);
    free(p);
}

static int model_compare(const void *key, const void *item)
{
    return strcmp(key, ((const struct price *)item)->model);
}

const struct price *prices_find(const struct prices *p, const char *model)
{
    return bsearch(model, p->models, p->n, sizeof *p->models, model_compare);
}

const uint8_t *prices_sha256(const struct prices *p)
{
    return p->sha256;
}

const char *prices_as_of(const struct prices *p)
{
    return p->as_of;
}

const char *prices_source(const struct prices *p)
{
    return p->source;
}

size_t prices_count(const struct prices *p)
{
    return p->n;
}

const struct price *prices_at(const struct prices *p, size_t i)
{
    return &p->models[i];
}

/* ---- writing ---- */

static int add_price(const struct price *p, struct buf *to, struct err *err)
{
    struct wire_price w = {.rates = p->rates};
    struct wire_tier tiers[PRICE_TIERS_MAX];
    memcpy(w.model, p->model, sizeof w.model);
    for (size_t i = 0; i < p->ntiers; i++)
        tiers[i] = (struct wire_tier){.above_tokens = p->tiers[i].above_tokens,
                                      .rates = p->tiers[i].rates};
    w.tiers = (struct json_list){.n = p->ntiers, .items = tiers};
    return json_encode(&price_shape, &w, to, err);
}

/* A model a line, so that a person can read and compare the file. */
int prices_encode(const char *as_of, const char *source, const struct price *models, size_t n,
                  struct buf *to, struct err *err)
{
    int rc = 0;
    if (!date_valid(as_of))
        return err_set(err, ERR_USAGE, "'%.32s' is not a date as 2026-11-23", as_of);
    if (n > PRICES_MODELS_MAX || strlen(source) >= PRICES_SOURCE_SIZE)
        return err_set(err, ERR_USAGE, "too many models, or too long a source");
    buf_addf(to, "{\"currency\":\"USD\",\"as_of\":\"%s\",\"source\":", as_of);
    json_quotes(to, source);
    buf_adds(to, ",\"models\":[\n");
    for (size_t i = 0; i < n && rc == 0; i++) {
        rc = add_price(&models[i], to, err);
        buf_adds(to, i + 1 < n ? ",\n" : "\n");
    }
    buf_adds(to, "]}\n");
    if (rc == 0 && to->failed)
        rc = err_set(err, ERR_FAIL, "the prices are over %u MiB", PRICES_BYTES_MAX >> 20);
    return rc;
}

/* ---- what a call costs ---- */

static void add(unsigned __int128 *sum, uint64_t tokens, uint64_t rate)
{
    if (__builtin_add_overflow(*sum, (unsigned __int128)tokens * rate, sum))
        *sum = ~(unsigned __int128)0;
}

/* Micro-dollars of a sum of tokens times rates, up to the next whole one. */
static uint64_t round_up(unsigned __int128 sum)
{
    unsigned __int128 whole = sum / MILLION + (sum % MILLION != 0);
    return whole > UINT64_MAX ? UINT64_MAX : (uint64_t)whole;
}

static uint64_t plus(uint64_t a, uint64_t b)
{
    return a > UINT64_MAX - b ? UINT64_MAX : a + b;
}

uint64_t price_cost(const struct price *p, const struct usage *u)
{
    const struct rates *r = &p->rates;
    uint64_t in = plus(plus(u->input, u->cache_read), plus(u->cache_write, u->cache_write_1h));
    unsigned __int128 sum = 0;
    for (size_t i = 0; i < p->ntiers && in > p->tiers[i].above_tokens; i++)
        r = &p->tiers[i].rates;
    add(&sum, u->input, r->input);
    add(&sum, u->cache_read, r->cache_read);
    add(&sum, u->cache_write, r->cache_write);
    add(&sum, u->cache_write_1h, r->cache_write_1h);
    add(&sum, u->output, r->output);
    return round_up(sum);
}

static uint64_t max(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static uint64_t bound(const struct rates *r, uint64_t input, uint64_t output)
{
    unsigned __int128 sum = 0;
    add(&sum, input, max(max(r->input, r->cache_read), max(r->cache_write, r->cache_write_1h)));
    add(&sum, output, r->output);
    return round_up(sum);
}

uint64_t price_bound(const struct price *p, uint64_t input, uint64_t output)
{
    uint64_t most = bound(&p->rates, input, output);
    /* A tier that this much input cannot reach does not count. */
    for (size_t i = 0; i < p->ntiers && input > p->tiers[i].above_tokens; i++)
        most = max(most, bound(&p->tiers[i].rates, input, output));
    return most;
}
