/* SHA-256. A digest that cannot be computed must never be mistaken for one that was: where a caller
 * has no way to hear of failure, libsodium's portable code, which cannot fail, takes over. */
#include "common/sha256.h"

#include <stdbool.h>
#include <stdlib.h>

#include <openssl/evp.h>
#include <sodium.h>

struct sha256 {
    EVP_MD_CTX *ctx; /* owned */
};

struct sha256 *sha256_new(void)
{
    struct sha256 *s = calloc(1, sizeof(*s));
    if (!s)
        return NULL;
    s->ctx = EVP_MD_CTX_new();
    if (!s->ctx || EVP_DigestInit_ex2(s->ctx, EVP_sha256(), NULL) != 1) {
        sha256_free(s);
        return NULL;
    }
    return s;
}

void sha256_add(struct sha256 *s, const void *bytes, size_t n)
{
    /* Cannot fail once begun: the state is in memory of ours. If it did, going on would be worse. */
    if (EVP_DigestUpdate(s->ctx, bytes, n) != 1)
        abort();
}

void sha256_end(struct sha256 *s, uint8_t out[static SHA256_BYTES])
{
    if (EVP_DigestFinal_ex(s->ctx, out, NULL) != 1)
        abort();
    sha256_free(s);
}

void sha256_free(struct sha256 *s)
{
    if (!s)
        return;
    EVP_MD_CTX_free(s->ctx);
    free(s);
}

/* SHA256(a || b) */
static void hash_two(const void *a, size_t na, const void *b, size_t nb,
                     uint8_t out[static SHA256_BYTES])
{
    struct sha256 *s = sha256_new();
    if (s) {
        sha256_add(s, a, na);
        sha256_add(s, b, nb);
        sha256_end(s, out);
        return;
    }
    crypto_hash_sha256_state st;
    crypto_hash_sha256_init(&st);
    crypto_hash_sha256_update(&st, a, na);
    crypto_hash_sha256_update(&st, b, nb);
    crypto_hash_sha256_final(&st, out);
}

void sha256_of(const void *bytes, size_t n, uint8_t out[static SHA256_BYTES])
{
    hash_two("", 0, bytes, n, out);
}

void sha256_link(uint8_t h[static SHA256_BYTES], const void *bytes, size_t n)
{
    hash_two(h, SHA256_BYTES, bytes, n, h);
}

void sha256_hex(const uint8_t d[static SHA256_BYTES], char out[static 65])
{
    sodium_bin2hex(out, 65, d, SHA256_BYTES);
}
