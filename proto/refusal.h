/* Why a runner refused: each check of an envelope, in the designed order, has its own reason, which
 * is recorded on both sides. The wire carries the name. */
#ifndef PROTO_REFUSAL_H
#define PROTO_REFUSAL_H

enum refusal {
    REFUSED_SIZE,        /* over the size limit */
    REFUSED_MALFORMED,   /* not a DSSE document: JSON, UTF-8, duplicate or unknown keys, depth */
    REFUSED_SIGNATURE,   /* no pinned key signed this */
    REFUSED_TYPE,        /* payloadType or _type is not a task's */
    REFUSED_PAYLOAD,     /* signed, but not a valid task: unknown keys, wrong forms */
    REFUSED_AUDIENCE,    /* for another host key */
    REFUSED_NOT_YET,     /* nbf in the future beyond the skew */
    REFUSED_EXPIRED,     /* exp past, or life over the maximum */
    REFUSED_REPLAY,      /* nonce or attempt id seen before */
    REFUSED_FENCE,       /* fencing token not above the last one seen */
    REFUSED_TOKEN,       /* the sealed task token does not open, or its hash differs */
    REFUSED_LIMIT,       /* a limit cannot be enforced on this host; detail names it */
    REFUSED_EGRESS,      /* policy asks for egress this runner cannot gate */
    REFUSED_BUSY,        /* no free slot: not recorded as seen, may be sent again */
    REFUSED_PACK_DIGEST, /* the source pack's bytes are not the signed ones */
    REFUSED_PACK_SIZE,   /* longer or shorter than signed */
    REFUSED_TREE,        /* the source tree cannot be checked out safely; detail names the path */
    REFUSED_PROTOCOL,    /* a message that is not legal here */
    REFUSED_UNKNOWN,     /* names an attempt that this runner does not have */
    REFUSED_PROOF,       /* not from who sent the attempt's envelope */
    REFUSED_INTERNAL,    /* the runner could not: disk full, out of memory; detail says */
    REFUSAL_COUNT,
};

extern const char *const refusal_names[REFUSAL_COUNT + 1]; /* "size", "malformed", ... NULL */
/* One clear line a reason: what it means and what to do. */
extern const char *const refusal_help[REFUSAL_COUNT + 1];

#endif
