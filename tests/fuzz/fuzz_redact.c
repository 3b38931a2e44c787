/* A stream through the redactor: however it is cut, the output is the same; no secret is left in it;
 * nothing is kept back behind a line's end. The first byte says where to cut. */
#include <string.h>

#include <sodium.h>

#include "controller/redact.h"
#include "tests/fuzz/fuzz.h"

#define KEY   "sk-proj-9aZ/+b\"c<7dQ~X"
#define OTHER "7dQ~Xy04KpLm"

static void redact(const struct needles *set, const uint8_t *bytes, size_t len, size_t step,
                   struct buf *out)
{
    struct redactor *r = redactor_new(set);
    MUST(r);
    buf_init(out, 8 * len + 128);
    for (size_t at = 0, n; at < len; at += n) {
        n = len - at < step ? len - at : step;
        MUST(redactor_feed(r, bytes + at, n, out) == 0);
        MUST(redactor_held(r) < NEEDLE_MAX);
        MUST((bytes[at + n - 1] != '\n' && bytes[at + n - 1] != '\r') || redactor_held(r) == 0);
    }
    MUST(redactor_end(r, out) == 0);
    redactor_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct buf whole, cut;
    size_t at;
    if (len == 0 || len > 65536)
        return 0;
    MUST(sodium_init() >= 0);
    struct needles *set = needles_new(&err);
    MUST(set);
    MUST(needles_add(set, "one", KEY, strlen(KEY), &err) == 0);
    MUST(needles_add(set, "two", OTHER, strlen(OTHER), &err) == 0);
    size_t step = 1 + bytes[0];
    redact(set, bytes + 1, len - 1, len, &whole);
    redact(set, bytes + 1, len - 1, step, &cut);
    MUST(whole.len == cut.len && memcmp(whole.data, cut.data, cut.len) == 0);
    /* What is left and a mark's text can make a new needle only out of a mark's own bytes. */
    MUST(!memmem(whole.data, whole.len, KEY, strlen(KEY)));
    MUST(!memmem(whole.data, whole.len, OTHER, strlen(OTHER)));
    bool found = needles_find(set, bytes + 1, len - 1, &at) != NULL;
    MUST(found || (whole.len == len - 1 && memcmp(whole.data, bytes + 1, len - 1) == 0));
    MUST(!found || (at < len - 1 && memmem(whole.data, whole.len, "[redacted:", 10)));
    buf_done(&whole);
    buf_done(&cut);
    needles_free(set);
    return 0;
}
