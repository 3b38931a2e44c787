/* What was admitted before: nonces and attempt ids until their envelopes expire, and for every
 * controller key the highest fencing token, for ever. It makes an envelope good for one time, also
 * across restarts and crashes: a record is on the disk (fsync) before the envelope is acted upon.
 *
 * File state_dir/seen: a first line "creel-seen 1", then one strict line a record:
 *   seen EXP NONCE ATTEMPT
 *   fence KEY N
 * An admitted envelope adds one of each. A last line without a newline was cut by a crash before it
 * was acted upon, and is dropped. Anything else that does not parse means that the file cannot be
 * trusted: the runner does not start.
 */
#ifndef RUNNER_SEEN_H
#define RUNNER_SEEN_H

#include <stdbool.h>

#include "proto/task.h"

#define SEEN_FILE     "seen"
#define SEEN_MAX      65536 /* live records */
#define SEEN_KEYS_MAX 1024  /* controller keys ever obeyed */

struct seen;

struct seen_record {
    uint64_t exp, fence;
    uint8_t nonce[TASK_NONCE_BYTES];
    char attempt[ATTEMPT_ID_SIZE];
    char key[KEY_FPR_SIZE]; /* the controller's */
};

/* Reads the store below state_fd (borrowed, must stay open), drops what expired before `now` and
 * rewrites it. */
int seen_open(int state_fd, uint64_t now, struct seen **ret, struct err *err);
void seen_free(struct seen *s);
/* Has this nonce or this attempt id been admitted? */
bool seen_has(const struct seen *s, const uint8_t nonce[static TASK_NONCE_BYTES],
              const char *attempt);
/* Highest fencing token of a controller key; 0 when there was none. */
uint64_t seen_fence(const struct seen *s, const char *key);
/* Records, durably. On failure nothing may be acted upon. */
int seen_add(struct seen *s, const struct seen_record *rec, uint64_t now, struct err *err);

#endif
