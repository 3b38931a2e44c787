/* SHA-256 by libcrypto's block function, which uses the processor's SHA instructions.
 *
 * The low-level interface on purpose: EVP loads OpenSSL's configuration and its provider, 2.4 MiB of
 * resident memory in every runner, and makes each small link of a hash chain several times dearer.
 * It works on memory of ours and cannot fail. OPENSSL_API_COMPAT asks for it without the warning.
 */
#define OPENSSL_API_COMPAT 0x10100000L
#include "common/sha256.h"

#include <stdlib.h>

#include <openssl/sha.h>
#include <sodium.h>

struct sha256 {
    SHA256_CTX ctx;
};

struct sha256 *sha256_new(void)
{
    struct sha256 *s = calloc(1, sizeof(*s));
    if (s)
        SHA256_Init(&s->ctx);
    return s;
}

void sha256_add(struct sha256 *s, const void *bytes, size_t n)
{
    SHA256_Update(&s->ctx, bytes, n);
}

void sha256_end(struct sha256 *s, uint8_t out[static SHA256_BYTES])
{
    SHA256_Final(out, &s->ctx);
    sha256_free(s);
}

void sha256_free(struct sha256 *s)
{
    free(s);
}

void sha256_of(const void *bytes, size_t n, uint8_t out[static SHA256_BYTES])
{
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, bytes, n);
    SHA256_Final(out, &ctx);
}

void sha256_link(uint8_t h[static SHA256_BYTES], const void *bytes, size_t n)
{
    SHA256_CTX ctx;
    SHA256_Init(&ctx);
    SHA256_Update(&ctx, h, SHA256_BYTES);
    SHA256_Update(&ctx, bytes, n);
    SHA256_Final(h, &ctx);
}

void sha256_hex(const uint8_t d[static SHA256_BYTES], char out[static 65])
{
    sodium_bin2hex(out, 65, d, SHA256_BYTES);
}
