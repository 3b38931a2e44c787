/* SHA-256 by libcrypto (its SHA-NI path matters: logs and packs are large), and the log's chain. */
#ifndef COMMON_SHA256_H
#define COMMON_SHA256_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

struct sha256; /* opaque, owned by whoever called sha256_new */

struct sha256 *sha256_new(void); /* NULL: out of memory */
void sha256_add(struct sha256 *s, const void *bytes, size_t n);
/* Writes the digest and frees `s`. */
void sha256_end(struct sha256 *s, uint8_t out[static SHA256_BYTES]);
void sha256_free(struct sha256 *s); /* NULL is fine */

void sha256_of(const void *bytes, size_t n, uint8_t out[static SHA256_BYTES]);
/* h = SHA256(h || bytes): one link of a hash chain. */
void sha256_link(uint8_t h[static SHA256_BYTES], const void *bytes, size_t n);
void sha256_hex(const uint8_t d[static SHA256_BYTES], char out[static 65]);

#endif
