/* Receipts of wiped attempts, kept in memory so that a WIPE which is asked for twice (its answer was
 * lost with the connection) gets the same document again. Bounded: the oldest goes first. */
#ifndef RUNNER_RECEIPTS_H
#define RUNNER_RECEIPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"
#include "proto/id.h"

#define RECEIPTS_MAX      64
#define RECEIPT_BYTES_MAX (16u << 10)

struct receipt_kept {
    char attempt[ATTEMPT_ID_SIZE];
    uint8_t result_sha256[32];
    uint64_t until; /* Unix seconds */
    struct buf doc; /* the DSSE document */
};

struct receipts {
    size_t n;
    struct receipt_kept *items[RECEIPTS_MAX]; /* owned, oldest first */
};

/* Takes the bytes of `doc` (which is empty afterwards). 0, or -1 out of memory. */
int receipts_keep(struct receipts *r, const char *attempt, const uint8_t result_sha256[static 32],
                  uint64_t until, struct buf *doc);
/* The receipt of an attempt, or NULL. */
const struct receipt_kept *receipts_find(const struct receipts *r, const char *attempt);
/* Drops what is past its time. */
void receipts_expire(struct receipts *r, uint64_t now);
void receipts_done(struct receipts *r);

#endif
