/* Results and receipts from any bytes: what is read is written in one form that reads back to
 * itself, and a result that is read never contradicts itself. */
#include <string.h>

#include "proto/result.h"
#include "tests/fuzz/fuzz.h"

static void try_result(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct result r, again;
    struct buf one, two;

    if (result_decode(bytes, len, &r, &err) < 0) {
        MUST(err.code != ERR_NONE && err.msg[0]);
        MUST(r.task[0] == 0 && r.steps.n == 0);
        return;
    }
    MUST(attempt_id_valid(r.attempt) && oid_valid(r.root));
    MUST((r.commit[0] != 0) == (r.patch_bytes != 0));
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
