/* Proofs: what anybody else computes with keyed BLAKE2b, one a use and an envelope. */
#include "tests/unit/cm.h"

#include <string.h>

#include <sodium.h>

#include "proto/proof.h"

/* Python: hashlib.blake2b(b"an envelope", digest_size=32, key=b"creel call channel 1").hexdigest() */
static void known_ones(void **state)
{
    static const struct {
        enum proof use;
        const char *envelope, *hex;
    } known[] = {
        {PROOF_CALL, "", "886fa3da0941bb468cccb80e66aceb14ed432f06e07a35d1b5a967969b197a97"},
        {PROOF_CALL, "an envelope",
         "f0061da36e29e13b87fde2713bc9c3b9b28eeb2688f8dfdf07a72164b8624e3e"},
        {PROOF_REPO_TOKEN, "", "4bc615335c7107e858efd2bec1f6f3b640db5e8443a7506423ff4077c1224c9f"},
        {PROOF_REPO_TOKEN, "an envelope",
         "31bda75b8e7d15c003d7a310555d123f43449c0bd584bdf89eb24a00c6fa46dc"},
    };
    uint8_t proof[PROOF_BYTES];
    char hex[2 * PROOF_BYTES + 1];

    for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++) {
        proof_make(known[i].use, known[i].envelope, strlen(known[i].envelope), proof);
        sodium_bin2hex(hex, sizeof(hex), proof, sizeof(proof));
        assert_string_equal(hex, known[i].hex);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(known_ones)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
