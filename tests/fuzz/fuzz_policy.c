/* Policies from any bytes, as typed and as a document: what a person's text sets is in range and
 * has a person's form; what fails changes nothing; a document that is read is written back the
 * same. */
#include <string.h>

#include "proto/policy.h"
#include "tests/fuzz/fuzz.h"

static void try_flags(const char *text)
{
    struct err err = ERR_INIT;
    struct policy p, before;
    struct buf b;

    policy_init(&p);
    before = p;
    if (policy_set_limits(&p, text, &err) < 0) {
        MUST(err.code == ERR_USAGE && strlen(err.msg) > 0);
        MUST(memcmp(&p, &before, sizeof(p)) == 0);
    }
    if (policy_allow_unenforced(&p, text, &err) < 0)
        MUST(p.allow_unenforced == 0);
    MUST(policy_check(&p, &err) == 0);
    buf_init(&b, 4096);
    for (int l = 0; l < LIMIT_COUNT; l++)
        MUST(limit_format((enum limit)l, p.limits[l], &b) == 0);
    MUST(limit_list(p.allow_unenforced, &b) == 0);
    buf_done(&b);
    policy_done(&p);
}

static void try_document(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct policy p, again;
    struct buf one, two;

    if (json_decode(&policy_shape, bytes, len, &p, &err) < 0)
        return;
    (void)policy_check(&p, &err); /* any limit, any name: must only judge */
    buf_init(&one, JSON_BYTES_MAX);
    buf_init(&two, JSON_BYTES_MAX);
    for (int l = 0; l < LIMIT_COUNT; l++)
        MUST(limit_format((enum limit)l, p.limits[l], &two) == 0);
    buf_clear(&two);
    MUST(json_encode(&policy_shape, &p, &one, &err) == 0);
    MUST(json_decode(&policy_shape, one.data, one.len, &again, &err) == 0);
    MUST(json_encode(&policy_shape, &again, &two, &err) == 0);
    MUST(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    policy_done(&p);
    policy_done(&again);
    buf_done(&one);
    buf_done(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    char text[4096];

    if (len < sizeof(text) && !memchr(bytes, 0, len)) {
        memcpy(text, bytes, len);
        text[len] = 0;
        try_flags(text);
    }
    try_document(bytes, len);
    return 0;
}
