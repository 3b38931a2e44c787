/* SHA-256: the standard's vectors, streaming in any split, and the chain link spelled out. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <sodium.h>

#include "common/sha256.h"

static void known_digests(void **state)
{
    uint8_t d[SHA256_BYTES];
    char hex[65];
    sha256_of("", 0, d);
    sha256_hex(d, hex);
    assert_string_equal(hex, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    sha256_of("abc", 3, d);
    sha256_hex(d, hex);
    assert_string_equal(hex, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

static void streaming_equals_one_shot(void **state)
{
    uint8_t bytes[1000], once[SHA256_BYTES], parts[SHA256_BYTES], other[SHA256_BYTES];
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7);
    sha256_of(bytes, sizeof(bytes), once);
    crypto_hash_sha256(other, bytes, sizeof(bytes));
    assert_memory_equal(once, other, sizeof(once));
    for (size_t step = 1; step < 130; step += 9) {
        struct sha256 *s = sha256_new();
        assert_non_null(s);
        for (size_t at = 0; at < sizeof(bytes); at += step)
            sha256_add(s, bytes + at, at + step < sizeof(bytes) ? step : sizeof(bytes) - at);
        sha256_end(s, parts);
        assert_memory_equal(once, parts, sizeof(once));
    }
    sha256_free(sha256_new());
    sha256_free(NULL);
}

static void a_link_hashes_the_last_link_and_the_bytes(void **state)
{
    uint8_t h[SHA256_BYTES] = {0}, both[SHA256_BYTES + 5] = {0}, want[SHA256_BYTES];
    memcpy(both + SHA256_BYTES, "frame", 5);
    sha256_of(both, sizeof(both), want);
    sha256_link(h, "frame", 5);
    assert_memory_equal(h, want, sizeof(h));
    memcpy(both, h, sizeof(h));
    sha256_of(both, sizeof(both), want);
    sha256_link(h, "frame", 5);
    assert_memory_equal(h, want, sizeof(h));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_digests),
        cmocka_unit_test(streaming_equals_one_shot),
        cmocka_unit_test(a_link_hashes_the_last_link_and_the_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
