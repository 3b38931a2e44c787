/* Base64 over libsodium's constant-time codec, into buffers with a ceiling. Never accepts blanks,
 * missing padding or stray trailing bits: where the text is signed or compared, two texts for the
 * same bytes would be two documents. */
#include "proto/b64.h"

#include <stdint.h>
#include <string.h>

#include <sodium.h>

#define ARMOUR_LINE_BYTES 48 /* 64 digits */

static size_t b64_len(size_t n)
{
    return (n + 2) / 3 * 4;
}

int b64_add(struct buf *to, const void *bytes, size_t n)
{
    if (n > SIZE_MAX / 2)
        return -1;
    size_t len = b64_len(n);
    uint8_t *at = buf_room(to, len);
    if (!at)
        return -1;
    /* libsodium ends its text with a NUL: a buffer always has that byte after what it holds. */
    sodium_bin2base64((char *)at, len + 1, bytes, n, sodium_base64_VARIANT_ORIGINAL);
    buf_wrote(to, len);
    return 0;
}

int b64_get(const char *text, size_t len, struct buf *to)
{
    if (len % 4 != 0)
        return -1;
    if (len == 0)
        return 0;
    size_t n = len / 4 * 3 - (text[len - 1] == '=') - (text[len - 2] == '=');
    uint8_t *at = buf_room(to, n);
    if (!at)
        return -1;
    size_t got = 0;
    if (sodium_base642bin(at, n, text, len, NULL, &got, NULL, sodium_base64_VARIANT_ORIGINAL) !=
            0 ||
        got != n) {
        at[0] = 0; /* the buffer's own closing NUL again */
        return -1;
    }
    buf_wrote(to, n);
    return 0;
}

int b64_armour(struct buf *to, const char *label, const void *bytes, size_t n)
{
    if (n > SIZE_MAX / 4)
        return -1;
    const uint8_t *at = bytes;
    size_t lines = n / ARMOUR_LINE_BYTES + 1;
    if (!buf_room(to, b64_len(n) + lines + 2 * (strlen(label) + sizeof("-----BEGIN -----\n"))))
        return -1;
    int r = buf_addf(to, "-----BEGIN %s-----\n", label);
    while (r == 0 && n > 0) {
        size_t part = n < ARMOUR_LINE_BYTES ? n : ARMOUR_LINE_BYTES;
        r = b64_add(to, at, part);
        if (r == 0)
            r = buf_addc(to, '\n');
        at += part;
        n -= part;
    }
    if (r == 0)
        r = buf_addf(to, "-----END %s-----\n", label);
    return r;
}
