/* Orders from any bytes: what is read is written in one form that reads back to itself. */
#include <string.h>

#include "proto/order.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct order o, again;
    struct buf b;

    if (order_decode(bytes, len, &o, &err) < 0) {
        MUST(err.code != ERR_NONE && err.msg[0] && o.attempt[0] == 0);
        return 0;
    }
    MUST(attempt_id_valid(o.attempt) && key_fingerprint_valid(o.iss));
    MUST(o.kind >= 0 && o.kind < ORDER_KIND_COUNT);
    buf_init(&b, JSON_BYTES_MAX);
    MUST(order_encode(&o, &b, &err) == 0);
    MUST(order_decode(b.data, b.len, &again, &err) == 0);
    MUST(memcmp(&o, &again, sizeof(o)) == 0);
    buf_done(&b);
    return 0;
}
