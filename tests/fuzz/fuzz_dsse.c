/* DSSE documents from any bytes: what parses is within its bounds, holds only under the key that
 * signed it, and its body signed again parses to the same body. */
#include <string.h>

#include <sodium.h>

#include "proto/dsse.h"
#include "tests/fuzz/fuzz.h"

static void sign_again(const struct dsse *d)
{
    static const uint8_t seed[crypto_sign_SEEDBYTES] = {42};
    uint8_t keys[1][KEY_PUB_BYTES], sec[KEY_SEC_BYTES];
    struct err err = ERR_INIT;
    struct dsse again;
    struct buf doc;
    size_t key = 99;

    crypto_sign_seed_keypair(keys[0], sec, seed);
    MUST(dsse_verify(d, (const uint8_t(*)[KEY_PUB_BYTES])keys, 0, &key, &err) == -ERR_TRUST);
    buf_init(&doc, DSSE_BYTES_MAX);
    /* Only a document whose body left no room for another may fail to be made again. */
    if (dsse_sign(sec, d->type, d->body.data, d->body.len, &doc, &err) == 0) {
        MUST(dsse_parse(doc.data, doc.len, &again, &err) == 0);
        MUST(again.body.len == d->body.len && strcmp(again.type, d->type) == 0);
        MUST(memcmp(again.body.data, d->body.data, d->body.len) == 0);
        MUST(dsse_verify(&again, (const uint8_t(*)[KEY_PUB_BYTES])keys, 1, &key, &err) == 0);
        MUST(key == 0);
        dsse_done(&again);
    } else {
        MUST(d->body.len > DSSE_BYTES_MAX / 2);
    }
    buf_done(&doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct err err = ERR_INIT;
    struct dsse d;
    MUST(sodium_init() >= 0);
    if (dsse_parse(bytes, len, &d, &err) == 0) {
        MUST(d.nsigs >= 1 && d.nsigs <= DSSE_SIGS_MAX && d.type[0]);
        MUST(memchr(d.type, 0, sizeof(d.type)));
        sign_again(&d);
    } else {
        MUST(err.code == ERR_FAIL && err.msg[0]);
        MUST(d.nsigs == 0 && d.body.len == 0);
    }
    dsse_done(&d);
    return 0;
}
