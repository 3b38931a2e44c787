/* Reading LiteLLM's public table of prices: an object of models, each an object of many members of which
 * a dozen matter here. Its prices are decimal fractions of a dollar a token; they are read digit by digit
 * and never become floating point.
 *
 * The table has had the same model twice, more than once, with different prices. So the outermost object is
 * walked here, and a model that stands there twice has no price unless both agree; each entry by itself must
 * pass the strict check. */
#include "controller/broker/price.h"

#include <stdlib.h>
#include <string.h>

#define MEMBER_SIZE  128 /* longer names are none of ours */
#define DOLLAR_POWER 12  /* a dollar a token is 10^12 micro-dollars a million tokens */

/* ---- decimals ---- */

struct decimal {
    unsigned __int128 digits;
    int power; /* of ten */
};

static bool take_digit(struct decimal *d, char c)
{
    if (d->digits > (~(unsigned __int128)0 - 9) / 10)
        return false;
    d->digits = d->digits * 10 + (unsigned)(c - '0');
    return true;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* What follows 'e': "-06". */
static bool take_exponent(const char *p, const char *end, struct decimal *d)
{
    int sign = 1, value = 0;
    if (p < end && (*p == '-' || *p == '+'))
        sign = *p++ == '-' ? -1 : 1;
    if (p == end)
        return false;
    for (; p < end; p++) {
        if (!is_digit(*p) || value > 10000)
            return false;
        value = value * 10 + (*p - '0');
    }
    d->power += sign * value;
    return true;
}

static bool take_decimal(const char *p, size_t n, struct decimal *d)
{
    const char *end = p + n, *point = NULL;
    bool any = false;
    *d = (struct decimal){0};
    for (; p < end && (is_digit(*p) || (*p == '.' && !point)); p++) {
        if (*p == '.') {
            point = p;
            continue;
        }
        if (!take_digit(d, *p))
            return false;
        any = true;
        d->power -= point != NULL;
    }
    if (!any || p == end)
        return any;
    return (*p == 'e' || *p == 'E') && take_exponent(p + 1, end, d);
}

bool rate_of_decimal(const char *text, size_t n, uint64_t *ret)
{
    struct decimal d;
    bool rest = false; /* something was cut off below: round up */
    if (!take_decimal(text, n, &d))
        return false;
    for (d.power += DOLLAR_POWER; d.power > 0 && d.digits > 0; d.power--) {
        if (d.digits > RATE_MAX)
            return false;
        d.digits *= 10;
    }
    for (; d.power < 0 && d.digits > 0; d.power++) {
        rest |= d.digits % 10 != 0;
        d.digits /= 10;
    }
    d.digits += rest;
    if (d.digits > RATE_MAX)
        return false;
    *ret = (uint64_t)d.digits;
    return true;
}

/* ---- a walk ---- */

struct walk {
    const char *p, *end;
};

struct span {
    const char *p;
    size_t n;
};

static bool one_of(char c, const char *set)
{
    return c && strchr(set, c);
}

static void skip_space(struct walk *w)
{
    while (w->p < w->end && one_of(*w->p, " \t\r\n"))
        w->p++;
}

/* Over blanks, and over `c` when it is next. */
static bool skip(struct walk *w, char c)
{
    skip_space(w);
    if (w->p == w->end || *w->p != c)
        return false;
    w->p++;
    return true;
}

/* On a quote. The span is what stands between the quotes, escapes as they are. */
static struct span take_string(struct walk *w)
{
    struct span s = {.p = ++w->p};
    while (w->p < w->end && *w->p != '"')
        w->p += *w->p == '\\' && w->end - w->p > 1 ? 2 : 1;
    s.n = (size_t)(w->p - s.p);
    if (w->p < w->end)
        w->p++;
    return s;
}

static void skip_word(struct walk *w)
{
    while (w->p < w->end && !one_of(*w->p, ",}] \t\r\n"))
        w->p++;
}

/* As far as a value reaches if it is one: brackets and quotes are counted, nothing else is judged. */
static struct span take_value(struct walk *w)
{
    skip_space(w);
    struct span s = {.p = w->p};
    size_t depth = 0;
    do {
        if (w->p == w->end)
            break;
        if (*w->p == '"')
            take_string(w);
        else if (one_of(*w->p, "{[") && ++depth)
            w->p++;
        else if (depth > 0 && one_of(*w->p, "}]") && depth--)
            w->p++;
        else if (depth > 0)
            w->p++;
        else
            skip_word(w);
    } while (depth > 0);
    s.n = (size_t)(w->p - s.p);
    return s;
}

/* "NAME": VALUE. False: that is not what stands there. */
static bool take_member(struct walk *w, struct span *name, struct span *value)
{
    skip_space(w);
    if (w->p == w->end || *w->p != '"')
        return false;
    *name = take_string(w);
    if (!skip(w, ':'))
        return false;
    *value = take_value(w);
    return value->n > 0;
}

static bool span_is(const struct span *s, const char *text)
{
    return s->n == strlen(text) && memcmp(s->p, text, s->n) == 0;
}

/* ---- one model ---- */

enum rate { INPUT, OUTPUT, CACHE_READ, CACHE_WRITE, CACHE_WRITE_1H, REASONING, RATES };

static const char *const rate_names[RATES] = {
    "input_cost_per_token",
    "output_cost_per_token",
    "cache_read_input_token_cost",
    "cache_creation_input_token_cost",
    "cache_creation_input_token_cost_above_1hr",
    "output_cost_per_reasoning_token",
};

/* Ways to be billed that tokens do not tell. */
static const char *const unsayable[] = {"tiered_pricing", "input_cost_per_request",
                                        "output_cost_per_request", "cost_per_request"};

struct step { /* the model's base prices, or those above a number of tokens */
    uint64_t above;
    uint64_t rates[RATES];
    unsigned have; /* 1u << enum rate */
};

struct entry {
    struct step steps[1 + PRICE_TIERS_MAX]; /* [0]: base */
    size_t nsteps;
    bool provider, mode, bad;
    bool cache_write_as_input; /* the provider bills no writes to its cache */
};

/* "_above_200k_tokens" is 200000; "" is 0. */
static bool above_of(const char *suffix, uint64_t *ret)
{
    static const char head[] = "_above_", tail[] = "k_tokens";
    uint64_t k = 0;
    *ret = 0;
    if (!suffix[0])
        return true;
    if (strncmp(suffix, head, sizeof head - 1) != 0)
        return false;
    const char *p = suffix + sizeof head - 1;
    for (; is_digit(*p) && k < 1000000; p++)
        k = k * 10 + (uint64_t)(*p - '0');
    *ret = k * 1000;
    return k > 0 && strcmp(p, tail) == 0;
}

static struct step *step_at(struct entry *e, uint64_t above)
{
    for (size_t i = 0; i < e->nsteps; i++)
        if (e->steps[i].above == above)
            return &e->steps[i];
    if (e->nsteps == 1 + PRICE_TIERS_MAX)
        return NULL;
    e->steps[e->nsteps] = (struct step){.above = above};
    return &e->steps[e->nsteps++];
}

static void take_rate(struct entry *e, const char *name, const struct span *value)
{
    uint64_t above;
    for (int i = 0; i < RATES; i++) {
        size_t n = strlen(rate_names[i]);
        if (strncmp(name, rate_names[i], n) != 0 || !above_of(name + n, &above))
            continue;
        if (span_is(value, "null"))
            return;
        struct step *s = step_at(e, above);
        if (!s || !rate_of_decimal(value->p, value->n, &s->rates[i]))
            e->bad = true;
        else
            s->have |= 1u << i;
        return;
    }
}

static void take_fact(struct entry *e, const char *provider, const struct span *name,
                      const struct span *value)
{
    char text[MEMBER_SIZE], quoted[MEMBER_SIZE + 2];
    if (name->n >= sizeof text)
        return;
    memcpy(text, name->p, name->n);
    text[name->n] = 0;
    if (strcmp(text, "litellm_provider") == 0) {
        size_t n = value->n < sizeof quoted ? value->n : 0;
        memcpy(quoted, value->p, n);
        quoted[n] = 0;
        e->provider = !provider || (n == strlen(provider) + 2 && quoted[0] == '"' &&
                                    strncmp(quoted + 1, provider, n - 2) == 0);
        e->cache_write_as_input = strcmp(quoted, "\"openai\"") == 0;
    } else if (strcmp(text, "mode") == 0) {
        e->mode = span_is(value, "\"chat\"") || span_is(value, "\"completion\"") ||
                  span_is(value, "\"responses\"");
    } else {
        for (size_t i = 0; i < sizeof unsayable / sizeof unsayable[0]; i++)
            if (strcmp(text, unsayable[i]) == 0 && !span_is(value, "null"))
                e->bad = true;
        take_rate(e, text, value);
    }
}

static bool have(const struct step *s, enum rate r)
{
    return (s->have & 1u << r) != 0;
}

/* What a step does not say is as dear as the base says, or as it can be: rates_fill() of price.c. */
static struct rates rates_of(const struct entry *e, const struct step *s)
{
    const struct step *base = &e->steps[0];
    struct rates r = {
        .input = have(s, INPUT) ? s->rates[INPUT] : base->rates[INPUT],
        .output = have(s, OUTPUT) ? s->rates[OUTPUT] : base->rates[OUTPUT],
        .cache_read = s->rates[CACHE_READ],
        .cache_write = s->rates[CACHE_WRITE],
        .cache_write_1h = s->rates[CACHE_WRITE_1H],
    };
    if (s->rates[REASONING] > r.output)
        r.output = s->rates[REASONING];
    if (e->cache_write_as_input && !have(base, CACHE_WRITE) && !have(s, CACHE_WRITE))
        r.cache_write = r.cache_write_1h = r.input;
    if (r.cache_write > 2 * r.input && !have(s, CACHE_WRITE_1H))
        r.cache_write_1h = r.cache_write;
    return r;
}

static int by_above(const void *a, const void *b)
{
    const struct step *x = a, *y = b;
    return (x->above > y->above) - (x->above < y->above);
}

/* False: not one that prices.json can hold. */
static bool price_of(struct entry *e, const struct span *name, struct price *to)
{
    const struct step *base = &e->steps[0];
    *to = (struct price){0};
    if (!e->provider || !e->mode || e->bad || !have(base, INPUT) || !have(base, OUTPUT) ||
        name->n == 0 || name->n >= sizeof to->model)
        return false;
    memcpy(to->model, name->p, name->n);
    qsort(e->steps, e->nsteps, sizeof e->steps[0], by_above);
    to->rates = rates_of(e, base);
    to->ntiers = e->nsteps - 1;
    for (size_t i = 0; i < to->ntiers; i++)
        to->tiers[i] = (struct price_tier){.above_tokens = e->steps[i + 1].above,
                                           .rates = rates_of(e, &e->steps[i + 1])};
    return model_name_valid(to->model) && (to->rates.input > 0 || to->rates.output > 0);
}

/* `value` is an object that has passed the strict check. */
static bool take_model(const char *provider, const struct span *name, const struct span *value,
                       struct price *to)
{
    struct walk w = {.p = value->p + 1, .end = value->p + value->n};
    struct entry e = {.nsteps = 1};
    struct span member, fact;
    while (take_member(&w, &member, &fact)) {
        take_fact(&e, provider, &member, &fact);
        skip(&w, ',');
    }
    return price_of(&e, name, to);
}

/* ---- the table ---- */

static int by_model(const void *a, const void *b)
{
    return strcmp(((const struct price *)a)->model, ((const struct price *)b)->model);
}

static bool same_rates(const struct rates *a, const struct rates *b)
{
    return a->input == b->input && a->output == b->output && a->cache_read == b->cache_read &&
           a->cache_write == b->cache_write && a->cache_write_1h == b->cache_write_1h;
}

static bool same_price(const struct price *a, const struct price *b)
{
    bool same = same_rates(&a->rates, &b->rates) && a->ntiers == b->ntiers;
    for (size_t i = 0; i < a->ntiers && same; i++)
        same = a->tiers[i].above_tokens == b->tiers[i].above_tokens &&
               same_rates(&a->tiers[i].rates, &b->tiers[i].rates);
    return same;
}

/* Of models that stand there more than once: one when all agree, else none. Returns how many are left. */
static size_t drop_repeats(struct price *p, size_t n)
{
    size_t kept = 0;
    if (n > 1)
        qsort(p, n, sizeof *p, by_model);
    for (size_t i = 0, next; i < n; i = next) {
        bool agree = true;
        for (next = i + 1; next < n && strcmp(p[i].model, p[next].model) == 0; next++)
            agree = agree && same_price(&p[i], &p[next]);
        if (agree)
            p[kept++] = p[i];
    }
    return kept;
}

static int wrong(const struct walk *w, const char *bytes, struct err *err)
{
    return err_set(err, ERR_USAGE, "byte %zu: not a table of models as LiteLLM writes it",
                   (size_t)(w->p - bytes));
}

static int check_entry(const struct span *name, const struct span *value, struct err *err)
{
    struct err why = ERR_INIT;
    if (value->p[0] != '{')
        return err_set(err, ERR_USAGE, "model '%.*s' is not an object",
                       (int)(name->n < 64 ? name->n : 64), name->p);
    if (json_check(value->p, value->n, &why) < 0)
        return err_set(err, ERR_USAGE, "model '%.*s': %s", (int)(name->n < 64 ? name->n : 64),
                       name->p, why.msg);
    return 0;
}

struct models {
    struct price *items; /* owned */
    size_t n, room;
};

static int take_entry(const char *provider, const struct span *name, const struct span *value,
                      struct models *to, struct err *err)
{
    int rc = check_entry(name, value, err);
    if (rc < 0)
        return rc;
    if (to->n == PRICES_MODELS_MAX)
        return err_set(err, ERR_USAGE, "more than %d models: choose a provider", PRICES_MODELS_MAX);
    if (to->n == to->room) {
        size_t room = to->room ? 2 * to->room : 64;
        struct price *more = reallocarray(to->items, room, sizeof *more);
        if (!more)
            return err_set(err, ERR_FAIL, "out of memory");
        to->items = more;
        to->room = room;
    }
    to->n += take_model(provider, name, value, &to->items[to->n]);
    return 0;
}

static int take_table(const char *bytes, size_t len, const char *provider, struct models *to,
                      struct err *err)
{
    struct walk w = {.p = bytes, .end = bytes + len};
    struct span name, value;
    if (!skip(&w, '{'))
        return wrong(&w, bytes, err);
    bool empty = skip(&w, '}');
    for (bool more = !empty; more; more = skip(&w, ',')) {
        if (!take_member(&w, &name, &value))
            return wrong(&w, bytes, err);
        int rc = take_entry(provider, &name, &value, to, err);
        if (rc < 0)
            return rc;
    }
    if (!empty && !skip(&w, '}'))
        return wrong(&w, bytes, err);
    skip_space(&w);
    if (w.p != w.end)
        return wrong(&w, bytes, err);
    to->n = drop_repeats(to->items, to->n);
    if (to->n == 0)
        return err_set(err, ERR_USAGE, "no model with prices%s%.64s in it",
                       provider ? " of provider " : "", provider ? provider : "");
    return 0;
}

int prices_from_litellm(const void *bytes, size_t len, const char *provider, const char *as_of,
                        struct buf *to, size_t *ret_n, struct err *err)
{
    struct models models = {0};
    if (len > PRICES_BYTES_MAX)
        return err_set(err, ERR_USAGE, "over %u MiB", PRICES_BYTES_MAX >> 20);
    int rc = take_table(bytes, len, provider, &models, err);
    if (rc == 0)
        rc = prices_encode(as_of, "LiteLLM model_prices_and_context_window.json", models.items,
                           models.n, to, err);
    *ret_n = models.n;
    free(models.items);
    return rc;
}
