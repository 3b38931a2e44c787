/* Reading JSON documents into structs by table. cJSON is known in this file alone, and only ever
 * sees bytes that json_scan.c has passed: it is used as a tree builder, not as a judge. */
#include "proto/json.h"

#include <limits.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>

#include <cjson/cJSON.h>
#include <sodium.h>

#include "proto/json_internal.h"

static int decode_value(struct json_path *at, const struct json_field *f, const cJSON *node,
                        uint8_t *base);

static int decode_text(struct json_path *at, const struct json_field *f, const cJSON *node,
                       uint8_t *base)
{
    const char *text = cJSON_GetStringValue(node), *wrong;
    size_t n;

    if (!text)
        return json_path_fail(at, "not a string");
    n = strlen(text);
    if (n >= f->size)
        return json_path_fail(at, "%zu bytes, at most %zu are possible", n, f->size - 1);
    wrong = json_text_fault(text, n, f->kind == JSON_PROSE);
    if (wrong)
        return json_path_fail(at, "%s", wrong);
    memcpy(base + f->offset, text, n + 1);
    return 0;
}

/* Canonical decimal digits: "0" or no leading zero, at most `max`. */
static bool parse_decimal(const char *text, uint64_t max, uint64_t *ret)
{
    uint64_t value = 0;

    if (text[0] == 0 || (text[0] == '0' && text[1] != 0))
        return false;
    for (; *text; text++) {
        unsigned digit = (unsigned)(*text - '0');
        if (digit > 9 || value > (max - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}

static int decode_u64(struct json_path *at, const struct json_field *f, const cJSON *node,
                      uint8_t *base)
{
    const char *text = cJSON_GetStringValue(node);
    uint64_t value;

    if (!text || !parse_decimal(text, UINT64_MAX, &value))
        return json_path_fail(at, "not a decimal string");
    memcpy(base + f->offset, &value, sizeof(value));
    return 0;
}

static int decode_i64(struct json_path *at, const struct json_field *f, const cJSON *node,
                      uint8_t *base)
{
    const char *text = cJSON_GetStringValue(node);
    bool minus = text && text[0] == '-';
    uint64_t magnitude;
    int64_t value;

    if (!text || !parse_decimal(text + minus, (uint64_t)INT64_MAX + minus, &magnitude) ||
        (minus && magnitude == 0))
        return json_path_fail(at, "not a decimal string");
    value = minus ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    memcpy(base + f->offset, &value, sizeof(value));
    return 0;
}

static int decode_int(struct json_path *at, const struct json_field *f, const cJSON *node,
                      uint8_t *base)
{
    double number = cJSON_IsNumber(node) ? cJSON_GetNumberValue(node) : 0.5;
    int value;

    if (!(number >= INT_MIN && number <= INT_MAX) || number != (double)(int)number)
        return json_path_fail(at, "not a whole number in range");
    value = (int)number;
    memcpy(base + f->offset, &value, sizeof(value));
    return 0;
}

static int decode_bool(struct json_path *at, const struct json_field *f, const cJSON *node,
                       uint8_t *base)
{
    bool value = cJSON_IsTrue(node);

    if (!cJSON_IsBool(node))
        return json_path_fail(at, "neither true nor false");
    memcpy(base + f->offset, &value, sizeof(value));
    return 0;
}

static int decode_hex(struct json_path *at, const struct json_field *f, const cJSON *node,
                      uint8_t *base)
{
    const char *text = cJSON_GetStringValue(node);
    size_t n = 0;

    if (!text || strlen(text) != 2 * f->size || strspn(text, "0123456789abcdef") != 2 * f->size ||
        sodium_hex2bin(base + f->offset, f->size, text, 2 * f->size, NULL, &n, NULL) != 0 ||
        n != f->size)
        return json_path_fail(at, "not %zu lower-case hex digits", 2 * f->size);
    return 0;
}

static int decode_b64(struct json_path *at, const struct json_field *f, const cJSON *node,
                      uint8_t *base)
{
    const char *text = cJSON_GetStringValue(node);
    size_t n = 0;

    /* libsodium refuses spare bits and missing padding: one form for one value. */
    if (!text ||
        sodium_base642bin(base + f->offset, f->size, text, strlen(text), NULL, &n, NULL,
                          sodium_base64_VARIANT_ORIGINAL) != 0 ||
        n != f->size)
        return json_path_fail(at, "not base64 of %zu bytes", f->size);
    return 0;
}

static int name_index(const char *const *names, const char *text)
{
    for (int i = 0; text && names[i]; i++) {
        if (strcmp(names[i], text) == 0)
            return i;
    }
    return -1;
}

static int decode_enum(struct json_path *at, const struct json_field *f, const cJSON *node,
                       uint8_t *base)
{
    const char *text = cJSON_GetStringValue(node);
    int value = name_index(f->names, text);

    if (!text)
        return json_path_fail(at, "not a string");
    if (value < 0)
        return json_path_fail(at, "'%.64s' is not a known word", text);
    memcpy(base + f->offset, &value, sizeof(value));
    return 0;
}

static int decode_bits(struct json_path *at, const struct json_field *f, const cJSON *node,
                       uint8_t *base)
{
    const cJSON *item;
    unsigned bits = 0;
    int last = -1;

    if (!cJSON_IsArray(node))
        return json_path_fail(at, "not an array");
    cJSON_ArrayForEach(item, node)
    {
        const char *text = cJSON_GetStringValue(item);
        int bit = name_index(f->names, text);
        if (bit < 0)
            return json_path_fail(at, "'%.64s' is not a known word", text ? text : "?");
        if (bit <= last)
            return json_path_fail(at, "'%.64s' is repeated or out of order", text);
        bits |= 1u << bit;
        last = bit;
    }
    memcpy(base + f->offset, &bits, sizeof(bits));
    return 0;
}

static int decode_const(struct json_path *at, const struct json_field *f, const cJSON *node)
{
    const char *text = cJSON_GetStringValue(node);

    if (!text || strcmp(text, f->names[0]) != 0)
        return json_path_fail(at, "is not '%s'", f->names[0]);
    return 0;
}

static int decode_strs(struct json_path *at, const struct json_field *f, const cJSON *node,
                       uint8_t *base)
{
    struct strv *to = (struct strv *)(void *)(base + f->offset);
    const cJSON *item;

    if (!cJSON_IsArray(node))
        return json_path_fail(at, "not an array");
    cJSON_ArrayForEach(item, node)
    {
        size_t old = json_path_push_index(at, to->n);
        const char *text = cJSON_GetStringValue(item), *wrong;
        if (!text)
            return json_path_fail(at, "not a string");
        if (strlen(text) > json_strs_max(f))
            return json_path_fail(at, "%zu bytes, at most %zu are possible", strlen(text),
                                  json_strs_max(f));
        wrong = json_text_fault(text, strlen(text), true);
        if (wrong)
            return json_path_fail(at, "%s", wrong);
        if (strv_add(to, text) < 0)
            return json_path_fail(at, "out of memory");
        json_path_pop(at, old);
    }
    return 0;
}

static const struct json_field *field_find(const struct json_shape *shape, const char *name)
{
    for (const struct json_field *f = shape->fields; f->name; f++) {
        if (strcmp(f->name, name) == 0)
            return f;
    }
    return NULL;
}

static int decode_object(struct json_path *at, const struct json_shape *shape, const cJSON *node,
                         uint8_t *base)
{
    const cJSON *item;

    if (!cJSON_IsObject(node))
        return json_path_fail(at, "not an object");
    cJSON_ArrayForEach(item, node)
    {
        const struct json_field *f = field_find(shape, item->string);
        size_t old = json_path_push(at, item->string);
        int rc = 0;
        if (f)
            rc = decode_value(at, f, item, base);
        else if (!shape->open)
            rc = json_path_fail(at, "unknown key");
        if (rc < 0)
            return rc;
        json_path_pop(at, old);
    }
    for (const struct json_field *f = shape->fields; f->name; f++) {
        if (!f->optional && !cJSON_GetObjectItemCaseSensitive(node, f->name)) {
            json_path_push(at, f->name);
            return json_path_fail(at, "missing");
        }
    }
    return 0;
}

static int decode_list(struct json_path *at, const struct json_field *f, const cJSON *node,
                       uint8_t *base)
{
    struct json_list *to = (struct json_list *)(void *)(base + f->offset);
    const cJSON *item;
    size_t i = 0, n = (size_t)cJSON_GetArraySize(node);

    if (!cJSON_IsArray(node))
        return json_path_fail(at, "not an array");
    if (n > json_items_max(f))
        return json_path_fail(at, "%zu elements, at most %zu are possible", n, json_items_max(f));
    if (n == 0)
        return 0;
    to->items = calloc(n, f->shape->size);
    if (!to->items)
        return json_path_fail(at, "out of memory");
    to->n = n;
    cJSON_ArrayForEach(item, node)
    {
        size_t old = json_path_push_index(at, i);
        int rc = decode_object(at, f->shape, item, (uint8_t *)to->items + i * f->shape->size);
        if (rc < 0)
            return rc;
        json_path_pop(at, old);
        i++;
    }
    return 0;
}

static int decode_tuple(struct json_path *at, const struct json_shape *shape, const cJSON *node,
                        uint8_t *base)
{
    const struct json_field *f = shape->fields;
    const cJSON *item;

    if (!cJSON_IsArray(node))
        return json_path_fail(at, "not an array");
    cJSON_ArrayForEach(item, node)
    {
        size_t old;
        int rc;
        if (!f->name)
            return json_path_fail(at, "too many elements");
        old = json_path_push(at, f->name);
        rc = decode_value(at, f++, item, base);
        if (rc < 0)
            return rc;
        json_path_pop(at, old);
    }
    return f->name ? json_path_fail(at, "%s is missing", f->name) : 0;
}

static int decode_value(struct json_path *at, const struct json_field *f, const cJSON *node,
                        uint8_t *base)
{
    switch (f->kind) {
    case JSON_TEXT:
    case JSON_PROSE:
        return decode_text(at, f, node, base);
    case JSON_U64:
        return decode_u64(at, f, node, base);
    case JSON_I64:
        return decode_i64(at, f, node, base);
    case JSON_INT:
        return decode_int(at, f, node, base);
    case JSON_BOOL:
        return decode_bool(at, f, node, base);
    case JSON_HEX:
        return decode_hex(at, f, node, base);
    case JSON_B64:
        return decode_b64(at, f, node, base);
    case JSON_ENUM:
        return decode_enum(at, f, node, base);
    case JSON_BITS:
        return decode_bits(at, f, node, base);
    case JSON_CONST:
        return decode_const(at, f, node);
    case JSON_OBJ:
        return decode_object(at, f->shape, node, base + f->offset);
    case JSON_LIST:
        return decode_list(at, f, node, base);
    case JSON_STRS:
        return decode_strs(at, f, node, base);
    case JSON_TUPLE:
        return decode_tuple(at, f->shape, node, base + f->offset);
    }
    return json_path_fail(at, "has no known kind");
}

/* Does any object below tolerate keys, and so numbers, that no table describes? */
static bool shape_open(const struct json_shape *shape)
{
    bool open = shape->open;

    for (const struct json_field *f = shape->fields; !open && f->name; f++)
        open = f->shape && shape_open(f->shape);
    return open;
}

/* The tree of a document that json_scan has passed. NULL: out of memory, or cJSON disagrees. */
static cJSON *parse(const void *bytes, size_t len)
{
    const char *end = NULL, *stop = (const char *)bytes + len;
    cJSON *tree = cJSON_ParseWithLengthOpts(bytes, len, &end, 0);

    if (tree) {
        while (end < stop && strchr(" \t\r\n", *end))
            end++;
        if (end == stop)
            return tree;
    }
    cJSON_Delete(tree);
    return NULL;
}

int json_decode(const struct json_shape *shape, const void *bytes, size_t len, void *out,
                struct err *err)
{
    return json_decode_within(shape, bytes, len, &json_bounds_usual, out, err);
}

int json_decode_within(const struct json_shape *shape, const void *bytes, size_t len,
                       const struct json_bounds *bounds, void *out, struct err *err)
{
    const struct json_bounds no_nul = {.bytes = bounds->bytes, .items = bounds->items};
    struct json_path at = {.err = err};
    cJSON *tree;
    int rc;

    memset(out, 0, shape->size);
    rc = json_scan(bytes, len, &no_nul, !shape_open(shape), err);
    if (rc < 0)
        return rc;
    tree = parse(bytes, len);
    if (!tree)
        return err_set(err, ERR_FAIL, "out of memory, or a number of too many digits");
    rc = decode_object(&at, shape, tree, out);
    cJSON_Delete(tree);
    if (rc < 0)
        json_release(shape, out);
    return rc;
}

static void release_members(const struct json_shape *shape, uint8_t *base)
{
    for (const struct json_field *f = shape->fields; f->name; f++) {
        if (f->kind == JSON_STRS) {
            strv_done((struct strv *)(void *)(base + f->offset));
        } else if (f->kind == JSON_OBJ || f->kind == JSON_TUPLE) {
            release_members(f->shape, base + f->offset);
        } else if (f->kind == JSON_LIST) {
            struct json_list *l = (struct json_list *)(void *)(base + f->offset);
            for (size_t i = 0; i < l->n; i++)
                release_members(f->shape, (uint8_t *)l->items + i * f->shape->size);
            free(l->items);
            *l = (struct json_list){0};
        }
    }
}

void json_release(const struct json_shape *shape, void *obj)
{
    release_members(shape, obj);
    memset(obj, 0, shape->size);
}

static void wiping_free(void *p)
{
    if (p)
        sodium_memzero(p, malloc_usable_size(p));
    free(p);
}

void json_wiping(void)
{
    cJSON_InitHooks(&(cJSON_Hooks){.malloc_fn = malloc, .free_fn = wiping_free});
}
