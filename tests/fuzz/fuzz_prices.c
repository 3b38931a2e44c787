/* Tables of prices from any bytes: prices.json is read whole or not at all and comes back the same when it
 * is written; LiteLLM's table, whatever is in it, becomes prices.json that can be read; and a bound holds
 * for what was read. */
#include <string.h>

#include "controller/broker/price.h"
#include "tests/fuzz/fuzz.h"

static void try_price(const struct price *p)
{
    const struct usage u = {.input = 1000, .cache_read = 271001, .cache_write = 7, .output = 50};
    uint64_t in = u.input + u.cache_read + u.cache_write;
    MUST(model_name_valid(p->model));
    MUST(price_cost(p, &u) <= price_bound(p, in, u.output));
    MUST(price_bound(p, in, u.output) <= price_bound(p, in + 1, u.output));
    MUST(price_bound(p, UINT64_MAX, UINT64_MAX) >= price_bound(p, in, u.output));
}

static void try_prices(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct prices *p = NULL, *again = NULL;
    struct buf b;
    if (prices_parse(bytes, len, "in", &p, &err) < 0) {
        MUST(err.code == ERR_USAGE && p == NULL);
        return;
    }
    buf_init(&b, PRICES_BYTES_MAX);
    for (size_t i = 0; i < prices_count(p); i++) {
        try_price(prices_at(p, i));
        MUST(prices_find(p, prices_at(p, i)->model) == prices_at(p, i));
    }
    MUST(prices_encode(prices_as_of(p), prices_source(p), prices_at(p, 0), prices_count(p), &b,
                       &err) == 0);
    MUST(prices_parse(b.data, b.len, "again", &again, &err) == 0);
    MUST(prices_count(again) == prices_count(p));
    for (size_t i = 0; i < prices_count(p); i++)
        MUST(memcmp(&prices_at(p, i)->rates, &prices_at(again, i)->rates, sizeof(struct rates)) ==
             0);
    prices_free(p);
    prices_free(again);
    buf_done(&b);
}

static void try_litellm(const uint8_t *bytes, size_t len, const char *provider)
{
    struct err err = ERR_INIT;
    struct prices *p = NULL;
    struct buf b;
    size_t n = 0;
    buf_init(&b, PRICES_BYTES_MAX);
    if (prices_from_litellm(bytes, len, provider, "2026-11-23", &b, &n, &err) == 0) {
        MUST(n > 0);
        MUST(prices_parse(b.data, b.len, "imported", &p, &err) == 0);
        MUST(prices_count(p) == n);
        for (size_t i = 0; i < n; i++)
            try_price(prices_at(p, i));
        prices_free(p);
    } else {
        MUST(err.code == ERR_USAGE);
    }
    buf_done(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    uint64_t rate;
    try_prices(bytes, len);
    try_litellm(bytes, len, NULL);
    try_litellm(bytes, len, "openai");
    if (rate_of_decimal((const char *)bytes, len, &rate))
        MUST(rate <= RATE_MAX);
    return 0;
}
