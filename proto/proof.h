/* What shows that a controller is the one that sent an attempt's envelope.
 *
 * An SSH login is all it takes to open a channel. What brings an attempt its source, takes from its
 * running jail or gives to it therefore takes more: a digest of the envelope, which its sender and the runner have and nobody is
 * ever given again. It has a nonce of 128 bits in it, and the digest of it that stands in a result is
 * another one (SHA-256, without a key), so neither can be told from the other. Pure.
 */
#ifndef PROTO_PROOF_H
#define PROTO_PROOF_H

#include <stddef.h>
#include <stdint.h>

#define PROOF_BYTES 32

/* One for each use, so that none is good for another. */
enum proof {
    PROOF_PACK,       /* HELLO of a pack channel */
    PROOF_CALL,       /* HELLO of a call channel */
    PROOF_REPO_TOKEN, /* REPO_TOKEN */
    PROOF_COUNT,
};

/* Keyed BLAKE2b-256 of the DSSE document as ENVELOPE carries it; the key is the use's name. */
void proof_make(enum proof use, const void *envelope, size_t len, uint8_t ret[static PROOF_BYTES]);

#endif
