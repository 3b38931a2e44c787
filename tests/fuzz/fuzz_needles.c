/* A set of needles from another process: what is taken in comes out the same, and any text can be searched
 * with it. */
#include <string.h>

#include <sodium.h>

#include "controller/redact.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct needles *set = NULL, *again = NULL;
    struct buf one, two, out;
    size_t at = 0;
    MUST(sodium_init() >= 0);
    if (needles_decode(bytes, len, &set, &err) < 0) {
        MUST(err.code != ERR_NONE && err.msg[0]);
        return 0;
    }
    buf_init(&one, JSON_BYTES_MAX);
    buf_init(&two, JSON_BYTES_MAX);
    MUST(needles_encode(set, &one, &err) == 0);
    MUST(needles_decode(one.data, one.len, &again, &err) == 0);
    MUST(needles_encode(again, &two, &err) == 0);
    MUST(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    MUST(needles_count(set) == needles_count(again));
    struct redactor *r = redactor_new(set);
    buf_init(&out, 8 * len + 128);
    MUST(r && redactor_feed(r, bytes, len, &out) == 0 && redactor_end(r, &out) == 0);
    const char *name = needles_find(set, bytes, len, &at);
    MUST((name != NULL) == (redactor_hits(r) > 0));
    redactor_free(r);
    buf_done(&one);
    buf_done(&two);
    buf_done(&out);
    needles_free(set);
    needles_free(again);
    return 0;
}
