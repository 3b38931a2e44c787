/* ClientHellos from any bytes: a verdict once given stays with more bytes; a found name is a host name in
 * its one form and no spelling of an address; and the same handshake in other records gives the same. */
#include <arpa/inet.h>
#include <string.h>

#include "proto/buf.h"
#include "runner/client_hello.h"
#include "tests/fuzz/fuzz.h"

static int parse(const uint8_t *bytes, size_t len, char name[static DNS_NAME_SIZE])
{
    const char *why = NULL;
    int rc = client_hello_name(bytes, len, name, &why);
    MUST(rc >= -1 && rc <= 1);
    MUST(rc != -1 || (why && why[0] && strlen(why) < 120));
    return rc;
}

/* The handshake message that begins in these records, in records of `size` bytes. */
static void recut(const uint8_t *p, size_t n, size_t size, struct buf *to)
{
    struct buf message;
    buf_init(&message, CLIENT_HELLO_BYTES);
    size_t want = SIZE_MAX;
    for (size_t at = 0; at + 5 <= n && message.len < want;
         at += 5 + (size_t)(p[at + 3] << 8 | p[at + 4])) {
        size_t len = (size_t)(p[at + 3] << 8 | p[at + 4]);
        if (len > n - at - 5)
            len = n - at - 5;
        buf_add(&message, p + at + 5, len);
        if (message.len >= 4)
            want = 4 +
                   ((size_t)message.data[1] << 16 | (size_t)message.data[2] << 8 | message.data[3]);
    }
    for (size_t at = 0; at < message.len; at += size) {
        size_t len = message.len - at < size ? message.len - at : size;
        uint8_t head[5] = {22, 3, 3, (uint8_t)(len >> 8), (uint8_t)len};
        buf_add(to, head, 5);
        buf_add(to, message.data + at, len);
    }
    buf_done(&message);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char name[DNS_NAME_SIZE] = "", again[DNS_NAME_SIZE] = "";
    struct in_addr in;
    int rc = parse(bytes, len, name);
    size_t cut = len > 0 ? bytes[len - 1] * len / 255 : 0;
    int early = parse(bytes, cut, again);
    MUST(early == 0 || (early == rc && strcmp(name, again) == 0));
    if (rc <= 0) {
        MUST(name[0] == 0);
        return 0;
    }
    MUST(dns_name_canon(name, strlen(name), again) && strcmp(again, name) == 0);
    MUST(inet_aton(name, &in) == 0);
    for (size_t size = 1; size <= 16384; size = size * 5 + 3) {
        struct buf wire;
        buf_init(&wire, 8 * CLIENT_HELLO_BYTES);
        recut(bytes, len, size, &wire);
        MUST(!wire.failed);
        again[0] = 0;
        int rc_again = parse(wire.data, wire.len, again);
        if (wire.len <= CLIENT_HELLO_BYTES) /* small records have many heads */
            MUST(rc_again == 1 && strcmp(again, name) == 0);
        buf_done(&wire);
    }
    return 0;
}
