/* SSH's uint32 and string. Never reads past the bytes it was given; holds no state of its own. */
#include "proto/wire.h"

#include <string.h>

bool wire_u32(struct wire *w, uint32_t *ret)
{
    if (w->left < 4)
        return false;
    const uint8_t *p = w->at;
    *ret = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
    w->at += 4;
    w->left -= 4;
    return true;
}

bool wire_string(struct wire *w, const uint8_t **ret, size_t *ret_len)
{
    struct wire c = *w;
    uint32_t n;
    if (!wire_u32(&c, &n) || n > c.left)
        return false;
    *ret = c.at;
    *ret_len = n;
    w->at = c.at + n;
    w->left = c.left - n;
    return true;
}

bool wire_expect(struct wire *w, const void *bytes, size_t n)
{
    struct wire c = *w;
    const uint8_t *got;
    size_t len;
    if (!wire_string(&c, &got, &len) || len != n || memcmp(got, bytes, n) != 0)
        return false;
    *w = c;
    return true;
}

bool wire_expects(struct wire *w, const char *text)
{
    return wire_expect(w, text, strlen(text));
}

int wire_put_u32(struct buf *to, uint32_t v)
{
    uint8_t b[4] = {v >> 24, v >> 16, v >> 8, v};
    return buf_add(to, b, sizeof(b));
}

int wire_put(struct buf *to, const void *bytes, size_t n)
{
    if (n > UINT32_MAX)
        return -1;
    if (wire_put_u32(to, (uint32_t)n) != 0)
        return -1;
    return buf_add(to, bytes, n);
}

int wire_puts(struct buf *to, const char *text)
{
    return wire_put(to, text, strlen(text));
}
