/* The judge of JSON bytes: RFC 8259's grammar and creel's narrower rules, before any other parser
 * sees them. Recursion is bounded by JSON_DEPTH_MAX; memory by the input's length; time is
 * n log n, whatever the keys. It builds nothing: json.c reads the values afterwards. */
#include "proto/json_internal.h"

#include <stdlib.h>
#include <string.h>

#include "proto/utf8.h"

/* One key of an object that is still open: decoded bytes in scan::text. */
struct key {
    size_t at, len;
};

struct scan {
    const uint8_t *bytes;
    size_t at, len;
    size_t items; /* that one container may have */
    unsigned depth;
    bool integers_only, loose_escapes;
    struct buf text; /* every key so far, decoded: never more bytes than the input */
    struct buf keys; /* struct key of the objects still open, innermost last */
    struct err *err;
};

static int fault(const struct scan *s, const char *what)
{
    return err_set(s->err, ERR_FAIL, "byte %zu: %s", s->at, what);
}

/* The byte at the cursor, or -1 at the end. */
static int peek(const struct scan *s)
{
    return s->at < s->len ? s->bytes[s->at] : -1;
}

static void skip_space(struct scan *s)
{
    int c;

    while ((c = peek(s)) == ' ' || c == '\t' || c == '\n' || c == '\r')
        s->at++;
}

static int scan_digits(struct scan *s)
{
    size_t from = s->at;

    while (peek(s) >= '0' && peek(s) <= '9')
        s->at++;
    return s->at > from ? 0 : fault(s, "a number lacks digits");
}

static int scan_number(struct scan *s)
{
    bool minus = peek(s) == '-', zero;
    int rc = 0;

    s->at += minus;
    zero = peek(s) == '0';
    if (zero)
        s->at++;
    else
        rc = scan_digits(s);
    if (rc == 0 && zero && peek(s) >= '0' && peek(s) <= '9')
        return fault(s, "a number has a leading zero");
    if (rc == 0 && s->integers_only && (peek(s) == '.' || peek(s) == 'e' || peek(s) == 'E'))
        return fault(s, "a number has a fraction or an exponent");
    if (rc == 0 && s->integers_only && minus && zero)
        return fault(s, "a number is minus zero");
    if (rc == 0 && peek(s) == '.') {
        s->at++;
        rc = scan_digits(s);
    }
    if (rc == 0 && (peek(s) == 'e' || peek(s) == 'E')) {
        s->at++;
        if (peek(s) == '+' || peek(s) == '-')
            s->at++;
        rc = scan_digits(s);
    }
    return rc;
}

/* Four hex digits at the cursor, or -1. */
static int scan_hex4(struct scan *s)
{
    int value = 0;

    for (int i = 0; i < 4; i++, s->at++) {
        int c = peek(s);
        if (c >= '0' && c <= '9')
            value = value << 4 | (c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            value = value << 4 | ((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    return value;
}

static void add_utf8(struct buf *to, unsigned c)
{
    if (c < 0x80) {
        buf_addc(to, (char)c);
    } else if (c < 0x800) {
        buf_addc(to, (char)(0xc0 | c >> 6));
        buf_addc(to, (char)(0x80 | (c & 0x3f)));
    } else if (c < 0x10000) {
        buf_addc(to, (char)(0xe0 | c >> 12));
        buf_addc(to, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(to, (char)(0x80 | (c & 0x3f)));
    } else {
        buf_addc(to, (char)(0xf0 | c >> 18));
        buf_addc(to, (char)(0x80 | (c >> 12 & 0x3f)));
        buf_addc(to, (char)(0x80 | (c >> 6 & 0x3f)));
        buf_addc(to, (char)(0x80 | (c & 0x3f)));
    }
}

/* After "\u": one character, which may be a pair of surrogates. */
static int scan_unicode(struct scan *s, struct buf *keep)
{
    int c = scan_hex4(s), low;

    if (c < 0)
        return fault(s, "\\u needs four hex digits");
    if (s->loose_escapes && !keep)
        return 0; /* a pair's second half is an escape like any */
    if (c == 0)
        return fault(s, "\\u0000 is refused");
    if (c >= 0xdc00 && c <= 0xdfff)
        return fault(s, "a lone surrogate");
    if (c >= 0xd800 && c <= 0xdbff) {
        if (s->len - s->at < 6 || s->bytes[s->at] != '\\' || s->bytes[s->at + 1] != 'u')
            return fault(s, "a lone surrogate");
        s->at += 2;
        low = scan_hex4(s);
        if (low < 0xdc00 || low > 0xdfff)
            return fault(s, "a lone surrogate");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (keep)
        add_utf8(keep, (unsigned)c);
    return 0;
}

static int scan_escape(struct scan *s, struct buf *keep)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *found;
    int c;

    s->at++; /* the backslash */
    c = peek(s);
    if (c == 'u') {
        s->at++;
        return scan_unicode(s, keep);
    }
    found = c > 0 ? strchr(from, c) : NULL;
    if (!found)
        return fault(s, "an unknown escape");
    if (keep)
        buf_addc(keep, into[found - from]);
    s->at++;
    return 0;
}

/* Most text is plain: bytes that stand for themselves and end nothing. */
static size_t plain_run(const struct scan *s)
{
    const uint8_t *from = s->bytes + s->at, *end = s->bytes + s->len, *p = from;

    while (p < end && *p >= 0x20 && *p < 0x80 && *p != '"' && *p != '\\')
        p++;
    return (size_t)(p - from);
}

/* The cursor stands on the opening quote. Decoded bytes go to `keep` unless that is NULL. */
static int scan_string(struct scan *s, struct buf *keep)
{
    s->at++;
    for (;;) {
        size_t n = plain_run(s);
        int c, rc;

        if (keep)
            buf_add(keep, s->bytes + s->at, n);
        s->at += n;
        c = peek(s);
        if (c < 0)
            return fault(s, "a string does not end");
        if (c == '"') {
            s->at++;
            return 0;
        }
        if (c < 0x20)
            return fault(s, "a raw control character in a string");
        if (c == '\\') {
            rc = scan_escape(s, keep);
            if (rc < 0)
                return rc;
            continue;
        }
        n = utf8_len(s->bytes + s->at, s->len - s->at);
        if (n == 0)
            return fault(s, "invalid UTF-8");
        if (keep)
            buf_add(keep, s->bytes + s->at, n);
        s->at += n;
    }
}

static int key_compare(const void *a, const void *b, void *text)
{
    const struct key *x = a, *y = b;
    size_t n = x->len < y->len ? x->len : y->len;
    int order = memcmp((const uint8_t *)text + x->at, (const uint8_t *)text + y->at, n);

    return order != 0 ? order : (x->len > y->len) - (x->len < y->len);
}

/* Are keys[from..] all different? Sorted: 4096 keys cost no more than sorting them does. */
static int check_keys(struct scan *s, size_t from)
{
    struct key *keys = (struct key *)(void *)s->keys.data + from;
    size_t n = s->keys.len / sizeof(*keys) - from;

    if (n < 2)
        return 0;
    qsort_r(keys, n, sizeof(*keys), key_compare, s->text.data);
    for (size_t i = 1; i < n; i++) {
        if (key_compare(&keys[i - 1], &keys[i], s->text.data) == 0)
            return err_set(s->err, ERR_FAIL, "byte %zu: duplicate key '%.*s'", s->at,
                           (int)(keys[i].len < 64 ? keys[i].len : 64),
                           (const char *)s->text.data + keys[i].at);
    }
    return 0;
}

static int scan_value(struct scan *s);

static int scan_member(struct scan *s)
{
    struct key key = {.at = s->text.len};
    int rc;

    skip_space(s);
    if (peek(s) != '"')
        return fault(s, "a key is expected");
    rc = scan_string(s, &s->text);
    if (rc < 0)
        return rc;
    key.len = s->text.len - key.at;
    buf_add(&s->keys, &key, sizeof(key));
    if (s->text.failed || s->keys.failed)
        return fault(s, "out of memory");
    skip_space(s);
    if (peek(s) != ':')
        return fault(s, "a colon is expected");
    s->at++;
    return scan_value(s);
}

static int scan_element(struct scan *s)
{
    return scan_value(s);
}

/* What stands between an opening bracket and `close`: items separated by commas. */
static int scan_items(struct scan *s, int close, int (*item)(struct scan *))
{
    s->at++;
    skip_space(s);
    if (peek(s) == close) {
        s->at++;
        return 0;
    }
    for (size_t n = 1;; n++) {
        int rc;

        if (n > s->items)
            return fault(s, "too many elements");
        rc = item(s);
        if (rc < 0)
            return rc;
        skip_space(s);
        if (peek(s) == close) {
            s->at++;
            return 0;
        }
        if (peek(s) != ',')
            return fault(s, close == '}' ? "a comma or '}' is expected"
                                         : "a comma or ']' is expected");
        s->at++;
    }
}

static int scan_container(struct scan *s)
{
    size_t keys = s->keys.len;
    int rc;

    if (++s->depth > JSON_DEPTH_MAX)
        return fault(s, "nested too deep");
    if (peek(s) == '[') {
        rc = scan_items(s, ']', scan_element);
    } else {
        rc = scan_items(s, '}', scan_member);
        if (rc == 0)
            rc = check_keys(s, keys / sizeof(struct key));
    }
    s->depth--;
    s->keys.len = keys;
    return rc;
}

static int scan_word(struct scan *s, const char *word)
{
    size_t n = strlen(word);

    if (s->len - s->at < n || memcmp(s->bytes + s->at, word, n) != 0)
        return fault(s, "a value is expected");
    s->at += n;
    return 0;
}

static int scan_value(struct scan *s)
{
    skip_space(s);
    switch (peek(s)) {
    case '{':
    case '[':
        return scan_container(s);
    case '"':
        return scan_string(s, NULL);
    case 't':
        return scan_word(s, "true");
    case 'f':
        return scan_word(s, "false");
    case 'n':
        return scan_word(s, "null");
    case '-':
    case '0' ... '9':
        return scan_number(s);
    default:
        return fault(s, "a value is expected");
    }
}

const struct json_bounds json_bounds_usual = {.bytes = JSON_BYTES_MAX, .items = JSON_ITEMS_MAX};

int json_scan(const void *bytes, size_t len, const struct json_bounds *bounds, bool integers_only,
              struct err *err)
{
    struct scan s = {.bytes = bytes,
                     .len = len,
                     .items = bounds->items,
                     .integers_only = integers_only,
                     .loose_escapes = bounds->loose_escapes,
                     .err = err};
    int rc;

    if (len > bounds->bytes)
        return err_set(err, ERR_FAIL, "document of %zu bytes is over the limit of %zu", len,
                       bounds->bytes);
    buf_init(&s.text, len);
    buf_init(&s.keys, (size_t)JSON_DEPTH_MAX * bounds->items * sizeof(struct key));
    rc = scan_value(&s);
    if (rc == 0) {
        skip_space(&s);
        if (s.at != s.len)
            rc = fault(&s, "something follows the document");
    }
    buf_done(&s.text);
    buf_done(&s.keys);
    return rc;
}

int json_check(const void *bytes, size_t len, struct err *err)
{
    return json_scan(bytes, len, &json_bounds_usual, false, err);
}

int json_check_within(const void *bytes, size_t len, const struct json_bounds *bounds,
                      struct err *err)
{
    return json_scan(bytes, len, bounds, false, err);
}
