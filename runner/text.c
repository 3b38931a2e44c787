/* One neutral line out of anything; see text.h. Never allocates, never fails: what does not fit is
 * cut. Only printable ASCII and well-formed UTF-8 pass; every other byte becomes '?'. */
#include "runner/text.h"

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define TEXT_FORMAT_MAX 1024

/* Code points that reorder or hide what a person reads: bidirectional controls, zero width forms,
 * C1 controls, the byte order mark, tags. */
static bool invisible(uint32_t c)
{
    return (c >= 0x80 && c <= 0x9f) || (c >= 0x200b && c <= 0x200f) ||
           (c >= 0x2028 && c <= 0x202e) || (c >= 0x2060 && c <= 0x206f) || c == 0xfeff ||
           (c >= 0xe0000 && c <= 0xe007f);
}

/* Bytes of the well-formed, visible character at p, or 0. */
static size_t character(const uint8_t *p, size_t left)
{
    size_t n = p[0] >= 0xf0 && p[0] <= 0xf4 ? 4 : p[0] >= 0xe0 ? 3 : p[0] >= 0xc2 ? 2 : 0;
    if (p[0] >= 0x20 && p[0] < 0x7f)
        return 1;
    if (p[0] > 0xf4 || n == 0 || n > left)
        return 0;
    uint32_t c = p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
        c = c << 6 | (p[i] & 0x3f);
    }
    bool overlong = (n == 3 && c < 0x800) || (n == 4 && c < 0x10000);
    bool surrogate = c >= 0xd800 && c <= 0xdfff;
    return overlong || surrogate || c > 0x10ffff || invisible(c) ? 0 : n;
}

void text_line(char *out, size_t size, const char *text, size_t len)
{
    size_t w = 0;
    while (len > 0 && (text[len - 1] == '\n' || text[len - 1] == '\r'))
        len--;
    for (size_t i = 0; i < len;) {
        const uint8_t *p = (const uint8_t *)text + i;
        size_t n = character(p, len - i);
        size_t take = n ? n : 1;
        if (w + take >= size)
            break;
        if (n)
            memcpy(out + w, p, n);
        else
            out[w] = *p == '\n' || *p == '\t' ? ' ' : '?';
        w += take;
        i += take;
    }
    out[w] = 0;
}

void text_linef(char *out, size_t size, const char *fmt, ...)
{
    char text[TEXT_FORMAT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    if (n < 0)
        n = 0;
    text_line(out, size, text, (size_t)n < sizeof text ? (size_t)n : sizeof text - 1);
}
