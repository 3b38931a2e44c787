/* DSSE v1 documents: `{"payloadType":T,"payload":B64,"signatures":[{"keyid":K,"sig":B64}]}`.
 *
 * What is signed is PAE(type, body) = "DSSEv1" SP len(type) SP type SP len(body) SP body (the
 * secure-systems-lab/dsse protocol). The body's bytes are kept exactly as they came: nothing is
 * ever re-serialised to check a signature, and nothing in the body is read before it verified.
 */
#ifndef PROTO_DSSE_H
#define PROTO_DSSE_H

#include "proto/key.h"

#define DSSE_TYPE_TASK    "application/vnd.creel.task.v1+json"
#define DSSE_TYPE_ORDER   "application/vnd.creel.order.v1+json"
#define DSSE_TYPE_RESULT  "application/vnd.in-toto+json"
#define DSSE_TYPE_RECEIPT "application/vnd.creel.receipt.v1+json"
#define DSSE_BYTES_MAX    (1u << 20)
#define DSSE_SIGS_MAX     4

struct dsse {
    char type[128];
    struct buf body; /* decoded payload, owned */
    size_t nsigs;
    struct {
        char keyid[KEY_FPR_SIZE]; /* a hint, never authority */
        uint8_t sig[KEY_SIG_BYTES];
    } sigs[DSSE_SIGS_MAX];
};

/* Appends PAE(type, body). */
int dsse_pae(const char *type, const void *body, size_t len, struct buf *to);
/* Signs and appends the document. `pub` and its fingerprint come from `sec`. */
int dsse_sign(const uint8_t sec[static KEY_SEC_BYTES], const char *type, const void *body,
              size_t len, struct buf *to, struct err *err);
/* Parses the document strictly, without trusting it. dsse_done() frees, also after failure. */
int dsse_parse(const void *bytes, size_t len, struct dsse *out, struct err *err);
void dsse_done(struct dsse *d);
/* 0 when one of the `n` keys signed; then *ret_key is its index. -ERR_TRUST otherwise. The key whose
 * fingerprint matches keyid is tried first; every pinned key is tried. */
int dsse_verify(const struct dsse *d, const uint8_t (*keys)[KEY_PUB_BYTES], size_t n,
                size_t *ret_key, struct err *err);

#endif
