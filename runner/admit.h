/* May this envelope run here, now, once? Every check of the design in its order, each with its own
 * refusal. Pure: reads no clock, writes nothing; recording (seen.h) is the caller's next step. */
#ifndef RUNNER_ADMIT_H
#define RUNNER_ADMIT_H

#include "proto/refusal.h"
#include "proto/task.h"
#include "runner/identity.h"
#include "runner/presets.h"
#include "runner/seen.h"

/* What the checks look at besides the envelope. Everything is borrowed for the call. */
struct admit_ground {
    const struct identity *identity;
    const struct seen *seen;
    uint64_t now;                  /* Unix seconds */
    unsigned unenforceable;        /* LIMIT_BIT()s this host cannot enforce */
    const char *why;               /* why not */
    const struct presets *presets; /* NULL: none is known */
    bool slot_free;
};

struct admitted {
    struct task task;
    char key[KEY_FPR_SIZE]; /* the controller key that signed */
    uint8_t envelope_sha256[32];
    uint8_t token[TASK_TOKEN_BYTES]; /* secret: wiped by admitted_done */
};

/* 0 and *out filled, or a negative code and *ret_why set. On refusal out->task.attempt names the
 * attempt when the payload could be read, else it is empty. admitted_done() in both cases. */
int admit(const struct admit_ground *g, const void *doc, size_t len, struct admitted *out,
          enum refusal *ret_why, struct err *err);
void admitted_done(struct admitted *a);
/* What the store keeps of an admitted envelope. */
void admitted_record(const struct admitted *a, struct seen_record *out);

#endif
