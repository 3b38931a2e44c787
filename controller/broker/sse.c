/* Lines to events. */
#include "controller/broker/sse.h"

#include <string.h>

void sse_init(struct sse *s, size_t event_max)
{
    *s = (struct sse){.first = true};
    buf_init(&s->line, event_max);
    buf_init(&s->data, event_max);
}

void sse_done(struct sse *s)
{
    buf_done(&s->line);
    buf_done(&s->data);
}

static int too_long(struct err *err)
{
    return err_set(err, ERR_REFUSED, "an event of the answer is too long");
}

static int dispatch(struct sse *s, sse_cb *cb, void *arg, struct err *err)
{
    int rc = s->has_data ? cb(arg, s->data.data, s->data.len - 1, err) : 0;

    buf_clear(&s->data);
    s->has_data = false;
    return rc;
}

/* The value behind "data:", or NULL when the line is another field or a comment. */
static const char *data_of(const char *line, size_t n, size_t *ret_n)
{
    if (n < 4 || memcmp(line, "data", 4) != 0)
        return NULL;
    line += 4;
    n -= 4;
    if (n > 0 && *line != ':')
        return NULL;
    if (n > 0)
        line++, n--;
    if (n > 0 && *line == ' ')
        line++, n--;
    *ret_n = n;
    return line;
}

static int end_line(struct sse *s, sse_cb *cb, void *arg, struct err *err)
{
    const char *line = buf_str(&s->line), *value;
    size_t n = s->line.len, nvalue;
    int rc = 0;

    if (s->first && n >= 3 && memcmp(line, "\xef\xbb\xbf", 3) == 0)
        line += 3, n -= 3;
    s->first = false;
    value = data_of(line, n, &nvalue);
    if (n == 0) {
        rc = dispatch(s, cb, arg, err);
    } else if (value) {
        s->has_data = true;
        if (buf_add(&s->data, value, nvalue) < 0 || buf_addc(&s->data, '\n') < 0)
            rc = too_long(err);
    }
    buf_clear(&s->line);
    return rc;
}

/* How many bytes of p[0..n) stand before the next CR or LF. */
static size_t plain(const char *p, size_t n)
{
    const char *lf = memchr(p, '\n', n);
    const char *cr;

    if (lf)
        n = (size_t)(lf - p);
    cr = memchr(p, '\r', n);
    return cr ? (size_t)(cr - p) : n;
}

int sse_feed(struct sse *s, const void *bytes, size_t n, sse_cb *cb, void *arg, struct err *err)
{
    const char *p = bytes, *end = p + n;

    while (p < end) {
        size_t run;
        int rc;

        if (s->had_cr && *p == '\n')
            p++;
        s->had_cr = false;
        run = plain(p, (size_t)(end - p));
        if (buf_add(&s->line, p, run) < 0)
            return too_long(err);
        p += run;
        if (p == end)
            break;
        s->had_cr = *p++ == '\r';
        rc = end_line(s, cb, arg, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

int sse_end(struct sse *s, sse_cb *cb, void *arg, struct err *err)
{
    return s->line.len == 0 ? dispatch(s, cb, arg, err) : 0;
}
