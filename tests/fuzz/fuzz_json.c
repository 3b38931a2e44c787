/* JSON documents from any bytes: no table passes what the scanner refuses; what a table reads it
 * writes in one form that reads back to itself; a failed read leaves nothing behind. */
#include <string.h>

#include "tests/fuzz/fuzz.h"
#include "tests/unit/json_all.h"

static void write_and_read_back(const struct json_shape *shape, const struct all *a)
{
    struct err err = ERR_INIT;
    struct buf one, two;
    struct all again;

    buf_init(&one, JSON_BYTES_MAX);
    buf_init(&two, JSON_BYTES_MAX);
    MUST(json_encode(shape, a, &one, &err) == 0);
    MUST(json_check(one.data, one.len, &err) == 0);
    MUST(json_decode(shape, one.data, one.len, &again, &err) == 0);
    MUST(json_encode(shape, &again, &two, &err) == 0);
    MUST(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    json_release(shape, &again);
    buf_done(&one);
    buf_done(&two);
}

static void try_shape(const struct json_shape *shape, const uint8_t *bytes, size_t len, bool checks)
{
    static const struct all zero;
    struct err err = ERR_INIT;
    struct all a;

    memset(&a, 0xee, sizeof(a));
    if (json_decode(shape, bytes, len, &a, &err) == 0) {
        MUST(checks && err.code == ERR_NONE);
        write_and_read_back(shape, &a);
        json_release(shape, &a);
    } else {
        MUST(err.code == ERR_FAIL && err.msg[0]);
    }
    MUST(memcmp(&a, &zero, sizeof(a)) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    bool checks = json_check(bytes, len, NULL) == 0;
    struct err err = ERR_INIT;
    struct buf b;

    try_shape(&all_shape, bytes, len, checks);
    try_shape(&any_shape, bytes, len, checks);
    try_shape(&open_shape, bytes, len, checks);
    buf_init(&b, 6 * len + 2);
    MUST(json_quote(&b, (const char *)bytes, len) == 0);
    MUST(b.len > JSON_BYTES_MAX || json_check(b.data, b.len, &err) == 0);
    buf_done(&b);
    return 0;
}
