/* One C struct with a member of every JSON kind, and tables over it: what the reader's and writer's
 * tests and the fuzzer drive. */
#ifndef TESTS_UNIT_JSON_ALL_H
#define TESTS_UNIT_JSON_ALL_H

#include "proto/json.h"

struct inner {
    char name[9];
    uint64_t n;
};

struct all {
    char text[9], prose[17];
    uint64_t u64;
    int64_t i64;
    int number;
    bool truth;
    uint8_t hex[4], b64[5];
    int word;
    unsigned bits;
    struct inner obj;
    struct json_list list;
    struct strv strs;
    char grouped[9], first[9], second[9];
};

static const char *const words[] = {"zero", "one", "two", NULL};
static const char *const fixed[] = {"https://x/1", NULL};

static const struct json_field inner_fields[] = {
    JSON_ROW(struct inner, TEXT, name),
    JSON_ROW(struct inner, U64, n, .optional = true),
    JSON_END,
};
static const struct json_shape inner_shape = {sizeof(struct inner), inner_fields};

static const struct json_field group_fields[] = {
    JSON_ROW(struct all, TEXT, grouped, .optional = true),
    JSON_END,
};
static const struct json_shape group_shape = {sizeof(struct all), group_fields};

static const struct json_field tuple_fields[] = {
    JSON_ROW(struct all, TEXT, first),
    JSON_ROW(struct all, TEXT, second),
    JSON_END,
};
static const struct json_shape tuple_shape = {sizeof(struct all), tuple_fields};

/* The same rows twice: all required, and all optional (to test one member at a time). */
#define ALL_FIELDS(opt)                                                                         \
    {                                                                                           \
        JSON_ROW(struct all, TEXT, text, .optional = opt),                                      \
            JSON_ROW(struct all, PROSE, prose, .optional = opt),                                \
            JSON_ROW(struct all, U64, u64, .optional = opt),                                    \
            JSON_ROW(struct all, I64, i64, .optional = opt),                                    \
            JSON_ROW_AS(struct all, INT, number, "int", .optional = opt),                       \
            JSON_ROW_AS(struct all, BOOL, truth, "bool", .optional = opt),                      \
            JSON_ROW(struct all, HEX, hex, .optional = opt),                                    \
            JSON_ROW(struct all, B64, b64, .optional = opt),                                    \
            JSON_ROW_AS(struct all, ENUM, word, "enum", .names = words, .optional = opt),       \
            JSON_ROW(struct all, BITS, bits, .names = words, .optional = opt),                  \
            JSON_ROW(struct all, OBJ, obj, .shape = &inner_shape, .optional = opt),             \
            JSON_ROW(struct all, LIST, list, .shape = &inner_shape, .max = 3, .optional = opt), \
            JSON_ROW(struct all, STRS, strs, .max = 6, .optional = opt),                        \
            {.name = "const", .kind = JSON_CONST, .names = fixed, .optional = opt},             \
            {.name = "group", .kind = JSON_OBJ, .shape = &group_shape, .optional = opt},        \
            {.name = "tuple", .kind = JSON_TUPLE, .shape = &tuple_shape, .optional = opt},      \
            JSON_END,                                                                           \
    }
static const struct json_field all_fields[] = ALL_FIELDS(false);
static const struct json_field any_fields[] = ALL_FIELDS(true);
static const struct json_shape all_shape = {sizeof(struct all), all_fields};
static const struct json_shape any_shape = {sizeof(struct all), any_fields};
static const struct json_shape open_shape = {sizeof(struct all), any_fields, .open = true};

#endif
