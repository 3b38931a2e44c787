/* Who this runner is and whom it obeys: its signing key, the SSH host key it takes for its own, the
 * controller keys it was given. Loaded once, at start; the secret key lives in locked memory of
 * serve alone (the warden is forked before it is read). */
#ifndef RUNNER_IDENTITY_H
#define RUNNER_IDENTITY_H

#include "proto/task.h"
#include "runner/config.h"

#define IDENTITY_KEY_FILE "signing_key" /* in state_dir, 0600; .pub beside it */
#define RUNNER_PROGRAM    "creel-runner"

struct identity {
    uint8_t *sec; /* KEY_SEC_BYTES in locked memory, owned */
    uint8_t pub[KEY_PUB_BYTES];
    char fpr[KEY_FPR_SIZE];
    char host_key[KEY_FPR_SIZE];
    char program[65]; /* "creel-runner 0.1.0" */
    struct controller_keys controllers;
};

/* Reads what the operator pinned: host key and controller keys. */
int identity_load_pinned(struct identity *id, const struct runner_config *cfg, struct err *err);
/* Reads the signing key below state_fd, making one on the first start. A damaged key is an error:
 * it is never replaced. */
int identity_load_key(struct identity *id, int state_fd, struct err *err);
/* Opens a sealed task token. 0, or -ERR_TRUST when it is not for this runner. */
int identity_unseal(const struct identity *id, const uint8_t sealed[static TASK_SEALED_BYTES],
                    uint8_t token[static TASK_TOKEN_BYTES], struct err *err);
/* The same for a secret of any length up to `max`; `out` is the caller's locked memory. */
int identity_open(const struct identity *id, const uint8_t *sealed, size_t n, uint8_t *out,
                  size_t max, size_t *ret_len, struct err *err);
void identity_done(struct identity *id);

#endif
