/* Chunked bodies from any bytes: where the body ends does not depend on how it is cut, and is where a
 * decoder written apart says; after the end and after a fault nothing is taken any more. */
#include <stdbool.h>
#include <string.h>

#include "common/http_head.h"
#include "tests/fuzz/fuzz.h"

/* Bytes of the body, 0 when it is not whole, -1 when malformed; a fault in front of a cut may be told
 * later here. */
static long decode(const uint8_t *p, size_t n)
{
    size_t at = 0;
    for (;;) {
        const uint8_t *cr = memchr(p + at, '\r', n - at);
        size_t digits = cr ? (size_t)(cr - (p + at)) : n - at;
        unsigned long long size = 0;
        for (size_t i = 0; i < digits; i++) {
            const char *hex = "0123456789abcdef", *d;
            uint8_t c = p[at + i];
            d = memchr(hex, c >= 'A' && c <= 'F' ? c + 32 : c, 16);
            if (!d || i >= 16)
                return -1;
            size = size * 16 + (unsigned long long)(d - hex);
            if (size > 1ull << 40)
                return -1;
        }
        if (cr && digits == 0)
            return -1;
        if (!cr || (size_t)(cr - p) + 1 == n)
            return 0;
        if (cr[1] != '\n')
            return -1;
        at += digits + 2;
        if (size > n - at)
            return 0;
        at += size;
        if ((at < n && p[at] != '\r') || (at + 1 < n && p[at + 1] != '\n'))
            return -1;
        if (n - at < 2)
            return 0;
        at += 2;
        if (size == 0)
            return (long)at;
    }
}

/* Piece by piece it ends where the whole did, and every piece lies within what was given. */
static void by_pieces(const uint8_t *bytes, size_t len, long wanted, bool whole)
{
    struct http_chunks c = {0};
    size_t at = 0;
    bool done = false;
    while (at < len && !done) {
        struct http_span data;
        long used = http_chunks_data(&c, bytes + at, len - at, &data, &done);
        if (used < 0) {
            MUST(wanted < 0 && !done);
            return;
        }
        const uint8_t *p = (const uint8_t *)data.p;
        MUST(used > 0 && (size_t)used <= len - at);
        MUST(p >= bytes + at && data.n <= (size_t)used && p + data.n <= bytes + at + used);
        at += (size_t)used;
    }
    MUST(wanted >= 0 && done == whole && at == (size_t)wanted);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct http_chunks whole = {0}, cut = {0};
    bool done = false, cut_done = false;
    size_t at = len > 0 ? bytes[len - 1] * len / 255 : 0;
    long n = http_chunks_take(&whole, bytes, len, &done);
    MUST(n >= -1 && n <= (long)len && (n >= 0 || !done));
    MUST(done || n < 0 || n == (long)len);

    long a = http_chunks_take(&cut, bytes, at, &cut_done), b = 0;
    if (a >= 0 && !cut_done)
        b = http_chunks_take(&cut, bytes + at, len - at, &cut_done);
    MUST((a < 0 || b < 0) == (n < 0) && cut_done == done);
    MUST(n < 0 || a + b == n);

    by_pieces(bytes, len, n, done);
    long judged = decode(bytes, len);
    MUST((judged < 0) == (n < 0));
    MUST(judged <= 0 ? !done : done && judged == n);
    if (n < 0)
        MUST(http_chunks_take(&whole, "0\r\n\r\n", 5, &done) == -1 && !done);
    else if (done)
        MUST(http_chunks_take(&whole, "0\r\n\r\n", 5, &done) == 0 && done);
    return 0;
}
