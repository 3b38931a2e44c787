/* Spans of values in a checked JSON text. */
#include "proto/json_view.h"

#include <string.h>

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static const char *skip_space(const char *p, const char *end)
{
    while (p < end && is_space(*p))
        p++;
    return p;
}

/* Behind the string that begins at p: a quote ends it unless an odd number of backslashes is before it. */
static const char *skip_string(const char *p, const char *end)
{
    const char *from = p + 1, *quote, *slash;

    for (p++; (quote = memchr(p, '"', (size_t)(end - p))); p = quote + 1) {
        for (slash = quote; slash > from && slash[-1] == '\\';)
            slash--;
        if ((quote - slash) % 2 == 0)
            return quote + 1;
    }
    return end;
}

static const char *skip_container(const char *p, const char *end)
{
    size_t depth = 0;

    while (p < end) {
        if (*p == '"') {
            p = skip_string(p, end);
            continue;
        }
        if (*p == '{' || *p == '[')
            depth++;
        else if (*p == '}' || *p == ']')
            depth--;
        p++;
        if (depth == 0)
            break;
    }
    return p;
}

/* Behind the value that begins at p. */
static const char *skip_value(const char *p, const char *end)
{
    if (p == end)
        return end;
    if (*p == '"')
        return skip_string(p, end);
    if (*p == '{' || *p == '[')
        return skip_container(p, end);
    while (p < end && !is_space(*p) && *p != ',' && *p != '}' && *p != ']')
        p++;
    return p;
}

struct json_view json_view_root(const void *bytes, size_t len)
{
    const char *p = bytes, *end = p + len;

    p = skip_space(p, end);
    while (end > p && is_space(end[-1]))
        end--;
    return (struct json_view){.p = p, .n = (size_t)(end - p)};
}

char json_view_type(struct json_view v)
{
    if (v.n == 0)
        return 0;
    return *v.p == '-' || (*v.p >= '0' && *v.p <= '9') ? '0' : *v.p;
}

struct json_walk json_walk_into(struct json_view container)
{
    char type = json_view_type(container);
    struct json_walk w = {.object = type == '{'};

    if ((type == '{' || type == '[') && container.n >= 2) {
        w.at = container.p + 1;
        w.end = container.p + container.n - 1;
    }
    return w;
}

static bool walk_one(struct json_walk *w, struct json_view *ret)
{
    const char *from = skip_space(w->at, w->end);

    w->at = skip_value(from, w->end);
    ret->p = from;
    ret->n = (size_t)(w->at - from);
    return ret->n > 0;
}

bool json_walk_next(struct json_walk *w)
{
    w->key = (struct json_view){0};
    if (w->at == w->end)
        return false;
    if (w->object) {
        if (!walk_one(w, &w->key))
            return false;
        w->at = skip_space(w->at, w->end);
        w->at += w->at < w->end; /* the colon */
    }
    if (!walk_one(w, &w->value))
        return false;
    w->at = skip_space(w->at, w->end);
    w->at += w->at < w->end; /* the comma */
    return true;
}

bool json_view_get(struct json_view object, const char *name, struct json_view *ret)
{
    struct json_walk w = json_walk_into(object);

    while (w.object && json_walk_next(&w)) {
        if (!json_view_is(w.key, name))
            continue;
        *ret = w.value;
        return true;
    }
    return false;
}

static unsigned hex4(const char *p)
{
    unsigned value = 0;

    for (int i = 0; i < 4; i++) {
        char c = p[i];
        value = value << 4 |
                (unsigned)(c <= '9' ? c - '0' : ((c | 0x20) - 'a' + 10)); /* checked before */
    }
    return value & 0xffff;
}

static size_t put_utf8(unsigned c, char to[static 4])
{
    if (c < 0x80) {
        to[0] = (char)c;
        return 1;
    }
    if (c < 0x800) {
        to[0] = (char)(0xc0 | c >> 6);
        to[1] = (char)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        to[0] = (char)(0xe0 | c >> 12);
        to[1] = (char)(0x80 | (c >> 6 & 0x3f));
        to[2] = (char)(0x80 | (c & 0x3f));
        return 3;
    }
    to[0] = (char)(0xf0 | (c >> 18 & 7));
    to[1] = (char)(0x80 | (c >> 12 & 0x3f));
    to[2] = (char)(0x80 | (c >> 6 & 0x3f));
    to[3] = (char)(0x80 | (c & 0x3f));
    return 4;
}

/* Behind "\u": one character or pair of them; half of a pair becomes U+FFFD. */
static size_t decode_unicode(const char **p, const char *end, char to[static 4])
{
    unsigned c, low;

    if (end - *p < 4)
        return 0;
    c = hex4(*p);
    *p += 4;
    if (c < 0xd800 || c > 0xdfff)
        return put_utf8(c, to);
    if (c > 0xdbff || end - *p < 6 || (*p)[0] != '\\' || (*p)[1] != 'u')
        return put_utf8(0xfffd, to);
    low = hex4(*p + 2);
    if (low < 0xdc00 || low > 0xdfff)
        return put_utf8(0xfffd, to);
    *p += 6;
    return put_utf8(0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00), to);
}

/* The next bytes (1..4) that the inside p..end of a string says; 0 at its end. */
static size_t decode(const char **p, const char *end, char to[static 4])
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    const char *found;

    if (*p == end)
        return 0;
    if (**p != '\\') {
        to[0] = *(*p)++;
        return 1;
    }
    if (end - *p < 2)
        return 0;
    *p += 2;
    if ((*p)[-1] == 'u')
        return decode_unicode(p, end, to);
    found = (*p)[-1] ? strchr(from, (*p)[-1]) : NULL;
    to[0] = found ? into[found - from] : '?';
    return 1;
}

bool json_view_is(struct json_view v, const char *text)
{
    size_t left = strlen(text);
    const char *p, *end;
    char some[4];
    size_t n;

    if (json_view_type(v) != '"' || v.n < 2)
        return false;
    p = v.p + 1;
    end = v.p + v.n - 1;
    while ((n = decode(&p, end, some)) > 0) {
        if (n > left || memcmp(some, text, n) != 0)
            return false;
        text += n;
        left -= n;
    }
    return left == 0;
}

bool json_view_text(struct json_view v, char *to, size_t size)
{
    const char *p, *end;
    char some[4];
    size_t n;

    to[0] = 0;
    if (json_view_type(v) != '"' || v.n < 2)
        return false;
    p = v.p + 1;
    end = v.p + v.n - 1;
    while ((n = decode(&p, end, some)) > 0) {
        if (n >= size || some[0] == 0)
            return false;
        memcpy(to, some, n);
        to += n;
        size -= n;
        *to = 0;
    }
    return true;
}

bool json_view_u64(struct json_view v, uint64_t *ret)
{
    uint64_t value = 0;

    if (v.n == 0)
        return false;
    for (size_t i = 0; i < v.n; i++) {
        unsigned digit = (unsigned)(v.p[i] - '0');
        if (digit > 9 || value > (UINT64_MAX - digit) / 10)
            return false;
        value = value * 10 + digit;
    }
    *ret = value;
    return true;
}
