/* Reads one DNS question and writes its answer, in the plainest form a resolver library takes. */
#include "runner/dns_msg.h"

#include <string.h>

#define HEADER    12
#define LABEL_MAX 63
#define TYPE_A    1
#define TYPE_OPT  41
#define CLASS_IN  1
#define TTL       60
#define FLAG_QR   0x8000
#define FLAG_AA   0x0400
#define FLAG_RD   0x0100
#define FLAG_RA   0x0080
#define OPCODE    0x7800

static uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t)(v >> 8);
    p[1] = (uint8_t)v;
}

static bool is_shown(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '-' ||
           c == '_';
}

/* The labels at *at as dotted text, other bytes in them (dots too) as '?'. False: compressed, too
 * long, or cut. */
static bool take_name(const uint8_t *p, size_t n, size_t *at, char out[static DNS_NAME_SIZE])
{
    size_t len = 0;
    while (*at < n && p[*at] != 0) {
        size_t label = p[*at];
        const uint8_t *bytes = p + *at + 1;
        if (label > LABEL_MAX || label >= n - *at || len + label + (len > 0) > DNS_NAME_MAX)
            return false;
        if (len > 0)
            out[len++] = '.';
        for (size_t i = 0; i < label; i++)
            out[len++] = is_shown(bytes[i]) ? (char)bytes[i] : '?';
        *at += label + 1;
    }
    out[len] = 0;
    return (*at)++ < n;
}

/* An OPT record (RFC 6891 6.1.2) that ends where the message does. */
static bool is_opt(const uint8_t *p, size_t n)
{
    return n >= 11 && p[0] == 0 && get16(p + 1) == TYPE_OPT && n == 11u + get16(p + 9);
}

int dns_question_parse(const void *bytes, size_t n, struct dns_question *out)
{
    const uint8_t *p = bytes;
    size_t at = HEADER;
    if (n < HEADER || (get16(p + 2) & FLAG_QR))
        return 0;
    *out = (struct dns_question){.id = get16(p), .flags = get16(p + 2), .end = HEADER};
    unsigned additional = get16(p + 10);
    if (n > DNS_MSG_BYTES || get16(p + 4) != 1 || get16(p + 6) != 0 || get16(p + 8) != 0 ||
        additional > 1)
        return -1;
    if (!take_name(p, n, &at, out->shown) || n - at < 4)
        return -1;
    if (additional ? !is_opt(p + at + 4, n - at - 4) : n != at + 4)
        return -1;
    out->type = get16(p + at);
    out->class = get16(p + at + 2);
    out->end = at + 4;
    if (!dns_name_canon(out->shown, strlen(out->shown), out->name))
        out->name[0] = 0;
    return 1;
}

unsigned dns_opcode(const struct dns_question *q)
{
    return (q->flags & OPCODE) >> 11;
}

size_t dns_answer_make(const void *query, const struct dns_question *q, enum dns_code code,
                       uint32_t address, uint8_t out[static DNS_MSG_BYTES])
{
    bool record = code == DNS_OK && q->type == TYPE_A && q->class == CLASS_IN && address != 0;
    size_t n = q->end;
    memcpy(out, query, n);
    put16(out + 2, FLAG_QR | FLAG_AA | FLAG_RA | (q->flags & (OPCODE | FLAG_RD)) | (unsigned)code);
    put16(out + 4, n > HEADER);
    put16(out + 6, record);
    put16(out + 8, 0);
    put16(out + 10, 0);
    if (!record)
        return n;
    static const uint8_t head[] = {
        0xc0, HEADER, 0, TYPE_A, 0, CLASS_IN, 0, 0, 0, TTL, 0, 4,
    };
    memcpy(out + n, head, sizeof head);
    memcpy(out + n + sizeof head, &address, 4);
    return n + sizeof head + 4;
}
