/* Spending limits: their table, what a table cannot say, and money as people write it. */
#include "proto/spend.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MICROS 1000000ull

static const struct json_field spend_fields[] = {
    JSON_ROW(struct spend, TEXT, provider),
    JSON_ROW(struct spend, U64, usd_micros),
    JSON_ROW(struct spend, U64, calls),
    JSON_ROW(struct spend, U64, calls_per_minute),
    JSON_ROW(struct spend, U64, in_flight),
    JSON_ROW(struct spend, U64, output_tokens),
    JSON_ROW(struct spend, U64, repeats),
    JSON_ROW(struct spend, HEX, prices_sha256),
    JSON_ROW(struct spend, STRS, models, .max = MODEL_NAME_SIZE - 1),
    JSON_ROW(struct spend, STRS, hosted_tools, .max = 64),
    JSON_END,
};
const struct json_shape spend_shape = {.size = sizeof(struct spend), .fields = spend_fields};

static const struct {
    const char *name;
    size_t offset;
    uint64_t usual, min, max;
} numbers[] = {
    {"usd_micros", offsetof(struct spend, usd_micros), 0, 1, SPEND_USD_MAX},
    {"calls", offsetof(struct spend, calls), 500, 1, 1000000},
    {"calls_per_minute", offsetof(struct spend, calls_per_minute), 60, 1, 10000},
    {"in_flight", offsetof(struct spend, in_flight), 8, 1, 256},
    {"output_tokens", offsetof(struct spend, output_tokens), 32000, 1, 1000000},
    {"repeats", offsetof(struct spend, repeats), 8, 2, 1000},
};
#define NUMBERS (sizeof numbers / sizeof numbers[0])

static uint64_t number(const struct spend *s, size_t i)
{
    uint64_t value;
    memcpy(&value, (const char *)s + numbers[i].offset, sizeof value);
    return value;
}

void spend_init(struct spend *s)
{
    *s = (struct spend){0};
    for (size_t i = 0; i < NUMBERS; i++)
        memcpy((char *)s + numbers[i].offset, &numbers[i].usual, sizeof numbers[i].usual);
}

bool spend_any(const struct spend *s)
{
    return s->provider[0] != 0;
}

bool provider_name_valid(const char *name)
{
    static const char first[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    size_t n = strlen(name);
    return n > 0 && n < PROVIDER_NAME_SIZE && strchr(first, name[0]) &&
           strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._-") == n;
}

bool model_name_valid(const char *name)
{
    return name[0] && !name[strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                         "0123456789._-:/@+")];
}

static int check_names(const char *key, const struct strv *names, struct err *err)
{
    if (names->n > SPEND_NAMES_MAX)
        return err_set(err, ERR_USAGE, "%s: more than %d", key, SPEND_NAMES_MAX);
    for (size_t i = 0; i < names->n; i++) {
        const char *s = names->v[i];
        if (!model_name_valid(s))
            return err_set(err, ERR_USAGE, "%s: '%.64s' is not a name", key, s);
    }
    return 0;
}

static int check_nothing(const struct spend *s, struct err *err)
{
    if (s->usd_micros || s->models.n || s->hosted_tools.n)
        return err_set(err, ERR_USAGE, "spend: money, models or tools, but no provider");
    return 0;
}

int spend_check(const struct spend *s, struct err *err)
{
    if (!spend_any(s))
        return check_nothing(s, err);
    if (!provider_name_valid(s->provider))
        return err_set(err, ERR_USAGE, "spend.provider: '%.64s' is not the name of one",
                       s->provider);
    for (size_t i = 0; i < NUMBERS; i++)
        if (number(s, i) < numbers[i].min || number(s, i) > numbers[i].max)
            return err_set(err, ERR_USAGE,
                           "spend.%s: %" PRIu64 " is out of range: %" PRIu64 " to %" PRIu64
                           " is possible",
                           numbers[i].name, number(s, i), numbers[i].min, numbers[i].max);
    int rc = check_names("spend.models", &s->models, err);
    return rc < 0 ? rc : check_names("spend.hosted_tools", &s->hosted_tools, err);
}

int spend_copy(struct spend *to, const struct spend *from)
{
    struct strv models = {0}, tools = {0};
    if (strv_copy(&models, &from->models) < 0 || strv_copy(&tools, &from->hosted_tools) < 0) {
        strv_done(&models);
        return -1;
    }
    spend_done(to);
    *to = *from;
    to->models = models;
    to->hosted_tools = tools;
    return 0;
}

void spend_done(struct spend *s)
{
    json_release(&spend_shape, s);
}

static bool names_same(const struct strv *a, const struct strv *b)
{
    if (a->n != b->n)
        return false;
    for (size_t i = 0; i < a->n; i++)
        if (strcmp(a->v[i], b->v[i]) != 0)
            return false;
    return true;
}

bool spend_same(const struct spend *a, const struct spend *b)
{
    for (size_t i = 0; i < NUMBERS; i++)
        if (number(a, i) != number(b, i))
            return false;
    return strcmp(a->provider, b->provider) == 0 &&
           memcmp(a->prices_sha256, b->prices_sha256, sizeof a->prices_sha256) == 0 &&
           names_same(&a->models, &b->models) && names_same(&a->hosted_tools, &b->hosted_tools);
}

int usd_parse(const char *text, uint64_t *ret_micros, struct err *err)
{
    uint64_t whole = 0, part = 0, unit = MICROS;
    const char *p = text;
    for (; *p >= '0' && *p <= '9' && whole <= SPEND_USD_MAX / MICROS; p++)
        whole = whole * 10 + (uint64_t)(*p - '0');
    bool digits = p > text;
    if (digits && *p == '.') {
        const char *dot = p++;
        for (; *p >= '0' && *p <= '9' && unit > 1; p++) {
            unit /= 10;
            part += (uint64_t)(*p - '0') * unit;
        }
        digits = p > dot + 1;
    }
    if (!digits || *p)
        return err_set(err, ERR_USAGE,
                       "'%.32s' is not an amount of dollars: 2.50, at most 6 decimals", text);
    if (whole > SPEND_USD_MAX / MICROS || whole * MICROS + part > SPEND_USD_MAX)
        return err_set(err, ERR_USAGE, "'%.32s' is more than %llu dollars", text,
                       SPEND_USD_MAX / MICROS);
    *ret_micros = whole * MICROS + part;
    return 0;
}

int usd_format(uint64_t micros, struct buf *to)
{
    char text[48];
    int n = snprintf(text, sizeof text, "$%llu.%06llu", micros / MICROS, micros % MICROS);
    for (int i = 0; i < 4 && text[n - 1] == '0'; i++)
        text[--n] = 0;
    return buf_adds(to, text);
}
