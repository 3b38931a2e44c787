/* Results and receipts from any bytes: what is read is written in one form that reads back to
 * itself, and a result that is read never contradicts itself. */
#include <string.h>

#include "proto/result.h"
#include "tests/fuzz/fuzz.h"

/* What is shown of the gate is printable as it is, and every hit has words. */
static void try_gate(const struct result *r)
{
    struct buf b;

    MUST(r->egress.n <= RESULT_EGRESS_MAX && r->hits.n <= LIMIT_COUNT);
    for (size_t i = 0; i < r->egress.n; i++) {
        const struct egress_entry *e = (const struct egress_entry *)r->egress.items + i;
        MUST(e->verdict >= 0 && e->verdict < EGRESS_VERDICT_COUNT);
        MUST(e->port >= 0 && e->port <= 65535 && e->name[0]);
        for (const char *c = e->name; *c; c++)
            MUST(*c >= 0x20 && *c < 0x7f);
        for (const char *c = e->why; *c; c++)
            MUST(*c >= 0x20 && *c < 0x7f);
    }
    buf_init(&b, 512 * LIMIT_COUNT);
    for (size_t i = 0; i < r->hits.n; i++)
        MUST(limit_hit_words((const struct limit_hit *)r->hits.items + i, &r->policy, &b) == 0);
    buf_done(&b);
    MUST(!r->cache[0] || (strlen(r->cache) == 64 && r->policy.cache_keep));
}

static void try_result(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct result r, again;
    struct buf one, two;

    if (result_decode(bytes, len, &r, &err) < 0) {
        MUST(err.code != ERR_NONE && err.msg[0]);
        MUST(r.task[0] == 0 && r.steps.n == 0 && r.egress.n == 0 && r.hits.n == 0);
        return;
    }
    MUST(attempt_id_valid(r.attempt) && oid_valid(r.root));
    MUST((r.commit[0] != 0) == (r.patch_bytes != 0));
    try_gate(&r);
    MUST(r.outcome >= 0 && r.outcome < OUTCOME_COUNT && r.steps.n <= RESULT_STEPS_MAX);
    buf_init(&one, JSON_BYTES_MAX);
    buf_init(&two, JSON_BYTES_MAX);
    MUST(result_encode(&r, &one, &err) == 0);
    MUST(result_decode(one.data, one.len, &again, &err) == 0);
    MUST(result_encode(&again, &two, &err) == 0);
    MUST(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    result_done(&r);
    result_done(&again);
    buf_done(&one);
    buf_done(&two);
}

static void try_receipt(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct receipt r, again;
    struct buf one, two;

    if (receipt_decode(bytes, len, &r, &err) < 0) {
        MUST(err.code != ERR_NONE && r.items.n == 0);
        return;
    }
    MUST(r.items.n > 0 && attempt_id_valid(r.attempt));
    buf_init(&one, JSON_BYTES_MAX);
    buf_init(&two, JSON_BYTES_MAX);
    MUST(receipt_encode(&r, &one, &err) == 0);
    MUST(receipt_decode(one.data, one.len, &again, &err) == 0);
    MUST(receipt_clean(&again) == receipt_clean(&r));
    MUST(receipt_encode(&again, &two, &err) == 0);
    MUST(one.len == two.len && memcmp(one.data, two.data, one.len) == 0);
    receipt_done(&r);
    receipt_done(&again);
    buf_done(&one);
    buf_done(&two);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    try_result(bytes, len);
    try_receipt(bytes, len);
    return 0;
}
