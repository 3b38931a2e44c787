/* Numbers of usage. What a provider says of it decides over money: a number that is not one, or parts
 * that are more than their whole, make all of it worth nothing, and the call is charged in full. */
#include "controller/broker/dialect_internal.h"

#define USAGE_NUMBER_MAX (1ull << 40)

bool usage_number(struct json_view object, const char *name, bool must, uint64_t *ret)
{
    struct json_view v;

    *ret = 0;
    if (!json_view_get(object, name, &v) || json_view_type(v) == 'n')
        return !must;
    return json_view_u64(v, ret) && *ret < USAGE_NUMBER_MAX;
}

static void keep_larger(uint64_t *kept, uint64_t n)
{
    if (n > *kept)
        *kept = n;
}

void read_usage(struct reading *r, const struct usage *u, bool final)
{
    keep_larger(&r->usage.input, u->input);
    keep_larger(&r->usage.cache_read, u->cache_read);
    keep_larger(&r->usage.cache_write, u->cache_write);
    keep_larger(&r->usage.cache_write_1h, u->cache_write_1h);
    keep_larger(&r->usage.output, u->output);
    r->have_usage |= final;
}

/* Cached tokens stand inside of the input. Some providers do not count reasoning into the output, but
 * only into the total: what the total has more than its parts is output. */
static bool parse_openai(struct json_view usage, const struct openai_usage_names *names,
                         struct usage *u)
{
    struct json_view details = {0};
    uint64_t total;

    json_view_get(usage, names->input_details, &details);
    if (!usage_number(usage, names->input, true, &u->input) ||
        !usage_number(usage, names->output, true, &u->output) ||
        !usage_number(usage, "total_tokens", false, &total) ||
        !usage_number(details, "cached_tokens", false, &u->cache_read) ||
        !usage_number(details, "cache_write_tokens", false, &u->cache_write) ||
        u->cache_read + u->cache_write > u->input)
        return false;
    if (total > u->input + u->output)
        u->output = total - u->input;
    u->input -= u->cache_read + u->cache_write;
    return true;
}

void read_openai_usage(struct reading *r, struct json_view usage,
                       const struct openai_usage_names *names)
{
    struct usage u = {0};

    if (json_view_type(usage) == 'n')
        return;
    if (parse_openai(usage, names, &u))
        read_usage(r, &u, true);
    else
        r->bad_usage = true;
}
