/* Answers of model APIs from any bytes (the first says which and whether it is a stream, the second how
 * they are cut): the same end, in whatever pieces they come. */
#include <string.h>

#include "controller/broker/dialect.h"
#include "tests/fuzz/fuzz.h"

static int meter(uint8_t what, const uint8_t *bytes, size_t len, size_t step, struct meter_end *end)
{
    struct meter *m = meter_new(dialect_of(what % DIALECT_COUNT), what / DIALECT_COUNT % 2);
    struct err err = ERR_INIT;
    int rc = 0;

    MUST(m);
    for (size_t at = 0; rc == 0 && at < len; at += step)
        rc = meter_feed(m, bytes + at, len - at < step ? len - at : step, &err);
    MUST(rc == 0 || (rc == -ERR_REFUSED && err.msg[0]));
    meter_finish(m, end);
    meter_free(m);
    return rc;
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct meter_end one, two;
    int rc;

    if (len < 2)
        return 0;
    memset(&one, 0, sizeof(one));
    memset(&two, 0, sizeof(two));
    rc = meter(bytes[0], bytes + 2, len - 2, len, &one);
    MUST(meter(bytes[0], bytes + 2, len - 2, 1 + bytes[1] % 64, &two) == rc);
    if (rc == 0)
        MUST(memcmp(&one, &two, sizeof(one)) == 0);
    if (one.have_usage) {
        MUST(one.usage.input + one.usage.cache_read + one.usage.cache_write +
                 one.usage.cache_write_1h >
             0);
        MUST(one.usage.output <= 1ull << 42);
    }
    return 0;
}
