/* Finds the one server name of a ClientHello, or says why there is none that can be trusted. */
#include "runner/client_hello.h"

#include <stdint.h>
#include <string.h>

#define RECORD_HEAD      5
#define RECORD_MAX       16384 /* RFC 8446 5.1 */
#define TYPE_HANDSHAKE   22
#define MSG_CLIENT_HELLO 1
#define EXT_SERVER_NAME  0

/* What is left to read of a message. A read over the end sets `bad` and gives 0 or nothing, so that a
 * run of reads is checked once. */
struct reader {
    const uint8_t *p;
    size_t n;
    bool bad;
};

static struct reader take(struct reader *r, size_t n)
{
    struct reader part = {r->p, n, false};
    if (r->bad || n > r->n) {
        r->bad = true;
        return (struct reader){r->p, 0, true};
    }
    r->p += n;
    r->n -= n;
    return part;
}

static unsigned number(struct reader *r, size_t bytes)
{
    struct reader part = take(r, bytes);
    unsigned v = 0;
    for (size_t i = 0; i < part.n; i++)
        v = v << 8 | part.p[i];
    return v;
}

/* A vector with its length before it. */
static struct reader vector(struct reader *r, size_t length_bytes)
{
    return take(r, number(r, length_bytes));
}

static int refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -1;
}

/* Puts the handshake bytes of whole and of begun records together, until the ClientHello is whole.
 * 1: out[0..*ret_n) is its body, 0: more bytes are needed. */
static int join_records(const uint8_t *p, size_t n, uint8_t out[static CLIENT_HELLO_BYTES],
                        size_t *ret_n, const char **ret_why)
{
    static const uint8_t begin[] = {TYPE_HANDSHAKE, 3};
    size_t have = 0, want = 4;
    if (n > CLIENT_HELLO_BYTES)
        n = CLIENT_HELLO_BYTES;
    for (size_t at = 0; at < n;) {
        size_t left = n - at;
        if (memcmp(p + at, begin, left < sizeof begin ? left : sizeof begin) != 0)
            return refuse(ret_why, "not TLS");
        if (left < RECORD_HEAD)
            break;
        size_t len = (size_t)p[at + 3] << 8 | p[at + 4];
        if (len < 1 || len > RECORD_MAX)
            return refuse(ret_why, "a TLS record of no bytes or too many");
        at += RECORD_HEAD;
        size_t some = len < n - at ? len : n - at;
        memcpy(out + have, p + at, some);
        have += some;
        at += some;
        if (have > 0 && out[0] != MSG_CLIENT_HELLO)
            return refuse(ret_why, "TLS, but not a ClientHello");
        if (have >= 4)
            want = 4 + ((size_t)out[1] << 16 | (size_t)out[2] << 8 | out[3]);
        if (want > CLIENT_HELLO_BYTES)
            return refuse(ret_why, "a ClientHello over 16 KiB");
        if (have > want || (have == want && len > some))
            return refuse(ret_why, "more than a ClientHello in its record");
        if (have == want) {
            *ret_n = have;
            return 1;
        }
    }
    return n == CLIENT_HELLO_BYTES ? refuse(ret_why, "a ClientHello over 16 KiB") : 0;
}

/* ServerNameList of RFC 6066 3. */
static int parse_server_name(struct reader ext, char name[static DNS_NAME_SIZE],
                             const char **ret_why)
{
    struct reader list = vector(&ext, 2);
    unsigned type = number(&list, 1);
    struct reader host = vector(&list, 2);
    if (ext.bad || ext.n > 0 || list.bad)
        return refuse(ret_why, "a malformed server name");
    if (list.n > 0)
        return refuse(ret_why, "several server names");
    if (type != 0)
        return refuse(ret_why, "a server name of an unknown type");
    if (!dns_name_canon(host.p, host.n, name))
        return refuse(ret_why, "a server name that is not a host name");
    return 0;
}

/* encrypted_client_hello (RFC 9849) and the numbers of its drafts, and of ESNI before it. */
static bool is_encrypted(unsigned type)
{
    return (type >= 0xfe08 && type <= 0xfe0d) || type == 0xffce;
}

static int parse_extensions(struct reader exts, char name[static DNS_NAME_SIZE],
                            const char **ret_why)
{
    bool named = false;
    while (exts.n > 0) {
        unsigned type = number(&exts, 2);
        struct reader ext = vector(&exts, 2);
        if (exts.bad)
            return refuse(ret_why, "a malformed ClientHello");
        if (is_encrypted(type))
            return refuse(ret_why, "an encrypted ClientHello, which hides its server name");
        if (type != EXT_SERVER_NAME)
            continue;
        if (named)
            return refuse(ret_why, "several server names");
        if (parse_server_name(ext, name, ret_why) < 0)
            return -1;
        named = true;
    }
    return named ? 1 : refuse(ret_why, "no server name in the ClientHello");
}

int client_hello_name(const void *bytes, size_t n, char name[static DNS_NAME_SIZE],
                      const char **ret_why)
{
    uint8_t message[CLIENT_HELLO_BYTES];
    char found[DNS_NAME_SIZE];
    size_t len;
    int rc = join_records(bytes, n, message, &len, ret_why);
    if (rc <= 0)
        return rc;
    struct reader r = {message + 4, len - 4, false};
    unsigned version = number(&r, 2);
    take(&r, 32); /* random */
    struct reader session = vector(&r, 1), suites = vector(&r, 2), compression = vector(&r, 1);
    if (r.bad || version >> 8 != 3 || session.n > 32 || suites.n < 2 || suites.n % 2 != 0 ||
        compression.n < 1)
        return refuse(ret_why, "a malformed ClientHello");
    struct reader exts = r.n > 0 ? vector(&r, 2) : r; /* none at all: before TLS 1.3 */
    if (r.bad || r.n > 0)
        return refuse(ret_why, "a malformed ClientHello");
    rc = parse_extensions(exts, found, ret_why);
    if (rc > 0)
        memcpy(name, found, sizeof found);
    return rc;
}

size_t client_hello_alert(unsigned char out[static 7])
{
    static const unsigned char alert[7] = {21, 3, 3, 0, 2, 2 /* fatal */, 112 /* RFC 6066 9 */};
    memcpy(out, alert, sizeof alert);
    return sizeof alert;
}
