/* Spans of checked JSON. The check has shown that strings end, brackets match and escapes are whole, so
 * a walk needs no more than to count them; each loop is bounded by the span all the same. */
#include "controller/events/event_json.h"

#include <string.h>

static const char *skip_blank(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\t' || *p == '\n' || *p == '\r'))
        p++;
    return p;
}

/* Behind the closing quote. */
static const char *skip_string(const char *p, const char *end)
{
    for (p++; p < end && *p != '"'; p++)
        if (*p == '\\' && p + 1 < end)
            p++;
    return p < end ? p + 1 : end;
}

static const char *skip_value(const char *p, const char *end)
{
    size_t depth = 0;

    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
        } else if (*p == '{' || *p == '[') {
            depth++;
            p++;
            continue;
        } else if (*p == '}' || *p == ']') {
            if (depth == 0)
                return p;
            depth--;
            p++;
        } else {
            while (p < end && !strchr("\"{}[], \t\r\n:", *p))
                p++;
        }
        if (depth == 0)
            return p;
        while (p < end && strchr(", \t\r\n:", *p))
            p++;
    }
    return end;
}

struct event_value event_value_of(const char *text, size_t len)
{
    const char *end = text + len, *p = skip_blank(text, end);

    while (end > p && strchr(" \t\r\n", end[-1]))
        end--;
    return (struct event_value){.at = p < end ? p : NULL, .len = (size_t)(end - p)};
}

static bool is_kind(struct event_value v, char first)
{
    return v.at && v.len > 0 && *v.at == first;
}

/* Names with escapes are not looked for, so they are not found: no agent writes them so. */
static struct event_value member(struct event_value v, const char *name, size_t n)
{
    struct event_value none = {0};
    const char *end, *p;

    if (!is_kind(v, '{'))
        return none;
    end = v.at + v.len;
    p = skip_blank(v.at + 1, end);
    while (p < end && *p == '"') {
        const char *key = p + 1, *value;
        size_t nkey;

        p = skip_string(p, end);
        nkey = (size_t)(p - key) - 1;
        p = skip_blank(p, end);
        if (p == end)
            return none;
        value = skip_blank(p + 1, end); /* the colon */
        p = skip_value(value, end);
        if (nkey == n && memcmp(key, name, n) == 0)
            return (struct event_value){.at = value, .len = (size_t)(p - value)};
        p = skip_blank(p, end);
        if (p < end && *p == ',')
            p = skip_blank(p + 1, end);
    }
    return none;
}

struct event_value event_at(struct event_value v, const char *path)
{
    while (v.at && *path) {
        size_t n = strcspn(path, ".");

        v = member(v, path, n);
        path += n + (path[n] == '.');
    }
    return v;
}

bool event_next(struct event_value array, struct event_value *it)
{
    const char *end, *p;

    if (!is_kind(array, '['))
        return false;
    end = array.at + array.len;
    p = skip_blank(it->at ? it->at + it->len : array.at + 1, end);
    if (it->at && p < end && *p == ',')
        p = skip_blank(p + 1, end);
    if (p >= end || *p == ']')
        return false;
    it->at = p;
    it->len = (size_t)(skip_value(p, end) - p);
    return it->len > 0;
}

static unsigned hex4(const char *p)
{
    unsigned cp = 0;

    for (size_t i = 0; i < 4; i++)
        cp = cp << 4 | (unsigned)(p[i] <= '9' ? p[i] - '0' : (p[i] | 0x20) - 'a' + 10);
    return cp;
}

static int put_char(struct buf *to, unsigned cp)
{
    uint8_t out[4];
    size_t n = 0;

    if (cp < 0x80) {
        out[n++] = (uint8_t)cp;
    } else {
        if (cp >= 0x10000) {
            out[n++] = (uint8_t)(0xf0 | cp >> 18);
            out[n++] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
        } else if (cp >= 0x800) {
            out[n++] = (uint8_t)(0xe0 | cp >> 12);
        }
        out[n++] = (uint8_t)(cp >= 0x800 ? 0x80 | (cp >> 6 & 0x3f) : 0xc0 | cp >> 6);
        out[n++] = (uint8_t)(0x80 | (cp & 0x3f));
    }
    return buf_add(to, out, n);
}

/* One escape at p[0] == '\\'; returns its length. A pair of surrogates is one character. */
static size_t unescape(const char *p, size_t left, struct buf *to)
{
    static const char from[] = "bfnrt", as[] = "\b\f\n\r\t";
    const char *known = left > 1 ? strchr(from, p[1]) : NULL;
    unsigned cp;

    if (left < 2)
        return left;
    if (known && *known) {
        buf_addc(to, as[known - from]);
        return 2;
    }
    if (p[1] != 'u' || left < 6) {
        buf_addc(to, p[1]);
        return 2;
    }
    cp = hex4(p + 2);
    if (cp >= 0xd800 && cp < 0xdc00 && left >= 12) {
        put_char(to, 0x10000 + ((cp - 0xd800) << 10) + (hex4(p + 8) & 0x3ff));
        return 12;
    }
    put_char(to, cp);
    return 6;
}

bool event_text(struct event_value v, struct buf *to)
{
    const char *p, *end;

    if (!is_kind(v, '"') || v.len < 2)
        return false;
    p = v.at + 1;
    end = v.at + v.len - 1;
    while (p < end && !to->failed) {
        const char *bend = memchr(p, '\\', (size_t)(end - p));

        bend = bend ? bend : end;
        buf_add(to, p, (size_t)(bend - p));
        p = bend < end ? bend + unescape(bend, (size_t)(end - bend), to) : end;
    }
    return !to->failed;
}

bool event_is(struct event_value v, const char *text)
{
    return is_kind(v, '"') && v.len == strlen(text) + 2 && memcmp(v.at + 1, text, v.len - 2) == 0;
}

bool event_uint(struct event_value v, uint64_t *ret)
{
    uint64_t n = 0;

    if (!v.at || v.len == 0 || v.len > 19)
        return false;
    for (size_t i = 0; i < v.len; i++) {
        if (v.at[i] < '0' || v.at[i] > '9')
            return false;
        n = n * 10 + (uint64_t)(v.at[i] - '0');
    }
    *ret = n;
    return true;
}

bool event_true(struct event_value v)
{
    return v.at && v.len == 4 && memcmp(v.at, "true", 4) == 0;
}
