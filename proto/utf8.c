/* Strict UTF-8: recognising, repairing and cutting. Never allocates, never fails. */
#include "proto/utf8.h"

#include <string.h>

/* The well-formed sequences of Unicode table 3-7: only the second byte's range depends on the
 * first, which is what shuts out overlong forms, surrogates and code points above U+10FFFF. */
static bool second_ok(uint8_t first, uint8_t second)
{
    switch (first) {
    case 0xe0:
        return second >= 0xa0 && second <= 0xbf;
    case 0xed:
        return second >= 0x80 && second <= 0x9f;
    case 0xf0:
        return second >= 0x90 && second <= 0xbf;
    case 0xf4:
        return second >= 0x80 && second <= 0x8f;
    default:
        return second >= 0x80 && second <= 0xbf;
    }
}

size_t utf8_len(const uint8_t *p, size_t n)
{
    size_t len;

    if (n == 0)
        return 0;
    if (p[0] < 0x80)
        return 1;
    if (p[0] < 0xc2 || p[0] > 0xf4)
        return 0;
    len = p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : 4;
    if (n < len || !second_ok(p[0], p[1]))
        return 0;
    for (size_t i = 2; i < len; i++) {
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    }
    return len;
}

bool utf8_valid(const void *bytes, size_t n)
{
    const uint8_t *p = bytes;

    for (size_t i = 0; i < n;) {
        size_t len = utf8_len(p + i, n - i);
        if (len == 0)
            return false;
        i += len;
    }
    return true;
}

void utf8_repair(char *text, bool prose)
{
    uint8_t *p = (uint8_t *)text;
    size_t n = strlen(text);

    for (size_t i = 0; i < n;) {
        size_t len = utf8_len(p + i, n - i);
        bool control = len == 1 && (p[i] < 0x20 || p[i] == 0x7f);
        if (control && prose && (p[i] == '\n' || p[i] == '\t'))
            control = false;
        if (len == 0 || control) {
            p[i] = '?';
            len = 1;
        }
        i += len;
    }
}

void utf8_copy(char *to, size_t size, const char *text)
{
    size_t n = strnlen(text, size);

    if (n >= size) {
        n = size - 1;
        /* Back to the border of the character that the cut would split. */
        for (int i = 0; i < 3 && n > 0 && ((uint8_t)text[n] & 0xc0) == 0x80; i++)
            n--;
    }
    memmove(to, text, n);
    to[n] = 0;
    utf8_repair(to, true);
}
