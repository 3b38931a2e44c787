/* Where a chunked body ends (RFC 9112 7.1), byte by byte; of its options none is taken. */
#include "common/http_head.h"

#define SIZE_DIGITS_MAX 16
#define SIZE_MAX_BYTES  (1ull << 40)

/* 0..SIZE_DIGITS_MAX: that many digits of a size were read. */
enum state {
    SIZE_LF = SIZE_DIGITS_MAX + 1,
    DATA,
    DATA_CR,
    DATA_LF,
    END_CR,
    END_LF,
    DONE,
    BAD,
};

static int hex(unsigned char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

static int in_size(struct http_chunks *c, unsigned char byte)
{
    int digit = hex(byte);
    if (digit < 0)
        return byte == '\r' && c->state > 0 ? SIZE_LF : BAD;
    c->left = c->left * 16 + (uint64_t)digit;
    return c->left > SIZE_MAX_BYTES || c->state == SIZE_DIGITS_MAX ? BAD : c->state + 1;
}

/* The state after one byte that is not data. */
static int next(struct http_chunks *c, unsigned char byte)
{
    switch (c->state) {
    case SIZE_LF:
        return byte != '\n' ? BAD : c->left > 0 ? DATA : END_CR;
    case DATA_CR:
        return byte == '\r' ? DATA_LF : BAD;
    case DATA_LF:
        return byte == '\n' ? 0 : BAD;
    case END_CR:
        return byte == '\r' ? END_LF : BAD;
    case END_LF:
        return byte == '\n' ? DONE : BAD;
    default:
        return c->state <= SIZE_DIGITS_MAX ? in_size(c, byte) : BAD;
    }
}

long http_chunks_data(struct http_chunks *c, const void *bytes, size_t n,
                      struct http_span *ret_data, bool *ret_done)
{
    const unsigned char *p = bytes;
    size_t at = 0, some = 0;
    while (at < n && c->state != DATA && c->state != DONE && c->state != BAD)
        c->state = next(c, p[at++]);
    if (c->state == DATA) {
        some = c->left < n - at ? (size_t)c->left : n - at;
        c->left -= some;
        if (c->left == 0)
            c->state = DATA_CR;
    }
    *ret_data = (struct http_span){(const char *)p + at, some};
    *ret_done = c->state == DONE;
    return c->state == BAD ? -1 : (long)(at + some);
}

long http_chunks_take(struct http_chunks *c, const void *bytes, size_t n, bool *ret_done)
{
    const unsigned char *p = bytes;
    struct http_span data;
    size_t at = 0;
    *ret_done = c->state == DONE;
    while (at < n && !*ret_done) {
        long some = http_chunks_data(c, p + at, n - at, &data, ret_done);
        if (some < 0)
            return -1;
        at += (size_t)some;
    }
    return c->state == BAD ? -1 : (long)at;
}
