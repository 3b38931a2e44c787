/* Writing structs as compact JSON by table: numbers and strings in our own hand, because the
 * document's bytes are what gets signed. */
#include "proto/json.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "proto/json_internal.h"
#include "proto/utf8.h"

struct writer {
    struct buf *to;
    struct json_path at;
};

static int write_value(struct writer *w, const struct json_field *f, const uint8_t *base);

/* Legal raw in JSON, but no terminal should get them from a document of ours: they act on it, reorder
 * what is read, or cannot be seen. Sorted; all below U+10000. */
static const struct {
    uint16_t first, last;
} unseen[] = {
    {0x007f, 0x009f}, /* DEL, C1 controls */
    {0x00ad, 0x00ad}, /* soft hyphen */
    {0x061c, 0x061c}, /* Arabic letter mark (bidi) */
    {0x200b, 0x200f}, /* zero width, left and right marks */
    {0x2028, 0x202e}, /* line and paragraph separator; bidi embeddings and overrides */
    {0x2060, 0x206f}, /* word joiner, invisible operators, bidi isolates, deprecated formats */
    {0xfeff, 0xfeff}, /* byte order mark */
};

static bool is_unseen(uint32_t cp)
{
    for (size_t i = 0; i < sizeof(unseen) / sizeof(*unseen); i++)
        if (cp >= unseen[i].first && cp <= unseen[i].last)
            return true;
    return false;
}

/* The code point of the well-formed character p[0..n). */
static uint32_t code_point(const uint8_t *p, size_t n)
{
    uint32_t cp = n == 1 ? p[0] : p[0] & (0x7fu >> n);

    for (size_t i = 1; i < n; i++)
        cp = cp << 6 | (p[i] & 0x3fu);
    return cp;
}

/* One character as it stands in a literal; utf8_len bytes are taken from p. */
static int quote_char(struct buf *to, const uint8_t *p, size_t n)
{
    uint32_t cp = code_point(p, n);

    switch (p[0]) {
    case '"':
        return buf_adds(to, "\\\"");
    case '\\':
        return buf_adds(to, "\\\\");
    case '\n':
        return buf_adds(to, "\\n");
    case '\t':
        return buf_adds(to, "\\t");
    case '\r':
        return buf_adds(to, "\\r");
    default:
        if (cp < 0x20 || is_unseen(cp))
            return buf_addf(to, "\\u%04x", (unsigned)cp);
        return buf_add(to, p, n);
    }
}

int json_quote(struct buf *to, const char *text, size_t len)
{
    const uint8_t *p = (const uint8_t *)text;
    int rc = buf_addc(to, '"');

    for (size_t i = 0; i < len && rc == 0;) {
        size_t n = utf8_len(p + i, len - i);
        if (n == 0 || p[i] == 0) {
            rc = buf_adds(to, "\xef\xbf\xbd");
            n = 1;
        } else {
            rc = quote_char(to, p + i, n);
        }
        i += n;
    }
    return rc == 0 ? buf_addc(to, '"') : rc;
}

int json_quotes(struct buf *to, const char *text)
{
    return json_quote(to, text, strlen(text));
}

/* buf_* answers -1: a full buffer is the one failure that has no better name. */
static int put(struct writer *w, int rc)
{
    return rc == 0 ? 0 : json_path_fail(&w->at, "the document is too large");
}

static int write_text(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    const char *text = (const char *)base + f->offset;
    size_t n = strnlen(text, f->size);
    const char *wrong;

    if (n == f->size)
        return json_path_fail(&w->at, "does not end");
    wrong = json_text_fault(text, n, f->kind == JSON_PROSE);
    if (wrong)
        return json_path_fail(&w->at, "%s", wrong);
    return put(w, json_quote(w->to, text, n));
}

static int write_number(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    uint64_t u64;
    int64_t i64;
    int number;
    bool truth;

    if (f->kind == JSON_U64) {
        memcpy(&u64, base + f->offset, sizeof(u64));
        return put(w, buf_addf(w->to, "\"%" PRIu64 "\"", u64));
    }
    if (f->kind == JSON_I64) {
        memcpy(&i64, base + f->offset, sizeof(i64));
        return put(w, buf_addf(w->to, "\"%" PRId64 "\"", i64));
    }
    if (f->kind == JSON_BOOL) {
        memcpy(&truth, base + f->offset, sizeof(truth));
        return put(w, buf_adds(w->to, truth ? "true" : "false"));
    }
    memcpy(&number, base + f->offset, sizeof(number));
    return put(w, buf_addf(w->to, "%d", number));
}

static int write_bytes(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    size_t n = f->kind == JSON_HEX
                   ? 2 * f->size
                   : sodium_base64_ENCODED_LEN(f->size, sodium_base64_VARIANT_ORIGINAL) - 1;
    char *text;
    int rc;

    rc = put(w, buf_addc(w->to, '"'));
    text = rc == 0 ? (char *)buf_room(w->to, n) : NULL;
    if (!text)
        return put(w, -1);
    /* The NUL that libsodium adds lands on the buffer's own. */
    if (f->kind == JSON_HEX)
        sodium_bin2hex(text, n + 1, base + f->offset, f->size);
    else
        sodium_bin2base64(text, n + 1, base + f->offset, f->size, sodium_base64_VARIANT_ORIGINAL);
    buf_wrote(w->to, n);
    return put(w, buf_addc(w->to, '"'));
}

static int write_enum(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    int value, n = 0;

    memcpy(&value, base + f->offset, sizeof(value));
    while (f->names[n])
        n++;
    if (value < 0 || value >= n)
        return json_path_fail(&w->at, "has no name for %d", value);
    return put(w, json_quotes(w->to, f->names[value]));
}

static int write_bits(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    const char *comma = "";
    unsigned bits;
    int rc = buf_addc(w->to, '[');

    memcpy(&bits, base + f->offset, sizeof(bits));
    for (int i = 0; f->names[i] && rc == 0; i++) {
        if (!(bits & 1u << i))
            continue;
        bits &= ~(1u << i);
        rc = buf_adds(w->to, comma) == 0 ? json_quotes(w->to, f->names[i]) : -1;
        comma = ",";
    }
    if (rc == 0 && bits != 0)
        return json_path_fail(&w->at, "has no name for bits %#x", bits);
    return put(w, rc == 0 ? buf_addc(w->to, ']') : rc);
}

static int write_strs(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    const struct strv *from = (const struct strv *)(const void *)(base + f->offset);
    int rc = put(w, buf_addc(w->to, '['));

    if (from->n > json_items_max(f))
        return json_path_fail(&w->at, "has too many elements");
    for (size_t i = 0; i < from->n && rc == 0; i++) {
        size_t old = json_path_push_index(&w->at, i), n = strlen(from->v[i]);
        const char *wrong = json_text_fault(from->v[i], n, true);
        if (n > json_strs_max(f))
            return json_path_fail(&w->at, "%zu bytes, at most %zu are possible", n,
                                  json_strs_max(f));
        if (wrong)
            return json_path_fail(&w->at, "%s", wrong);
        rc = i == 0 ? 0 : buf_addc(w->to, ',');
        rc = put(w, rc == 0 ? json_quote(w->to, from->v[i], n) : rc);
        json_path_pop(&w->at, old);
    }
    return rc < 0 ? rc : put(w, buf_addc(w->to, ']'));
}

static bool all_zero(const uint8_t *bytes, size_t n)
{
    while (n > 0 && bytes[n - 1] == 0)
        n--;
    return n == 0;
}

static bool member_zero(const struct json_field *f, const uint8_t *base)
{
    switch (f->kind) {
    case JSON_TEXT:
    case JSON_PROSE:
        return base[f->offset] == 0;
    case JSON_U64:
    case JSON_I64:
        return all_zero(base + f->offset, sizeof(uint64_t));
    case JSON_INT:
    case JSON_ENUM:
    case JSON_BITS:
        return all_zero(base + f->offset, sizeof(int));
    case JSON_BOOL:
    case JSON_HEX:
    case JSON_B64:
        return all_zero(base + f->offset, f->size);
    case JSON_CONST:
        return true;
    case JSON_LIST:
        return ((const struct json_list *)(const void *)(base + f->offset))->n == 0;
    case JSON_STRS:
        return ((const struct strv *)(const void *)(base + f->offset))->n == 0;
    case JSON_OBJ:
    case JSON_TUPLE:
        break;
    }
    for (const struct json_field *inner = f->shape->fields; inner->name; inner++) {
        if (!member_zero(inner, base + f->offset))
            return false;
    }
    return true;
}

static int write_object(struct writer *w, const struct json_shape *shape, const uint8_t *base)
{
    const char *comma = "";
    int rc = put(w, buf_addc(w->to, '{'));

    for (const struct json_field *f = shape->fields; f->name && rc == 0; f++) {
        size_t old = json_path_push(&w->at, f->name);
        if (!f->optional || !member_zero(f, base)) {
            rc = buf_adds(w->to, comma) == 0 ? json_quotes(w->to, f->name) : -1;
            rc = put(w, rc == 0 ? buf_addc(w->to, ':') : rc);
            if (rc == 0)
                rc = write_value(w, f, base);
            comma = ",";
        }
        json_path_pop(&w->at, old);
    }
    return rc < 0 ? rc : put(w, buf_addc(w->to, '}'));
}

static int write_list(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    const struct json_list *l = (const struct json_list *)(const void *)(base + f->offset);
    int rc = put(w, buf_addc(w->to, '['));

    if (l->n > json_items_max(f))
        return json_path_fail(&w->at, "has %zu elements, at most %zu are possible", l->n,
                              json_items_max(f));
    for (size_t i = 0; i < l->n && rc == 0; i++) {
        size_t old = json_path_push_index(&w->at, i);
        rc = put(w, i == 0 ? 0 : buf_addc(w->to, ','));
        if (rc == 0)
            rc = write_object(w, f->shape, (const uint8_t *)l->items + i * f->shape->size);
        json_path_pop(&w->at, old);
    }
    return rc < 0 ? rc : put(w, buf_addc(w->to, ']'));
}

static int write_tuple(struct writer *w, const struct json_shape *shape, const uint8_t *base)
{
    int rc = put(w, buf_addc(w->to, '['));

    for (const struct json_field *f = shape->fields; f->name && rc == 0; f++) {
        size_t old = json_path_push(&w->at, f->name);
        rc = put(w, f == shape->fields ? 0 : buf_addc(w->to, ','));
        if (rc == 0)
            rc = write_value(w, f, base);
        json_path_pop(&w->at, old);
    }
    return rc < 0 ? rc : put(w, buf_addc(w->to, ']'));
}

static int write_value(struct writer *w, const struct json_field *f, const uint8_t *base)
{
    switch (f->kind) {
    case JSON_TEXT:
    case JSON_PROSE:
        return write_text(w, f, base);
    case JSON_U64:
    case JSON_I64:
    case JSON_INT:
    case JSON_BOOL:
        return write_number(w, f, base);
    case JSON_HEX:
    case JSON_B64:
        return write_bytes(w, f, base);
    case JSON_ENUM:
        return write_enum(w, f, base);
    case JSON_BITS:
        return write_bits(w, f, base);
    case JSON_CONST:
        return put(w, json_quotes(w->to, f->names[0]));
    case JSON_OBJ:
        return write_object(w, f->shape, base + f->offset);
    case JSON_LIST:
        return write_list(w, f, base);
    case JSON_STRS:
        return write_strs(w, f, base);
    case JSON_TUPLE:
        return write_tuple(w, f->shape, base + f->offset);
    }
    return json_path_fail(&w->at, "has no known kind");
}

int json_encode(const struct json_shape *shape, const void *in, struct buf *to, struct err *err)
{
    struct writer w = {.to = to, .at = {.err = err}};
    size_t from = to->len;
    int rc = write_object(&w, shape, in);

    if (rc == 0 && to->len - from > JSON_BYTES_MAX)
        rc = err_set(err, ERR_FAIL, "the document is over %u bytes", JSON_BYTES_MAX);
    if (rc < 0 && to->len > from) {
        to->len = from;
        to->data[from] = 0;
    }
    return rc;
}
