/* Task tokens, alive from signing to the end of their attempt, in locked memory. */
#ifndef CONTROLLER_BROKER_TOKENS_H
#define CONTROLLER_BROKER_TOKENS_H

#include "proto/task.h"

#define TOKENS_MAX 4096

struct tokens;

struct tokens *tokens_new(struct err *err);
void tokens_free(struct tokens *t); /* wipes; NULL is fine */
/* The attempt's new random token, replacing an older one. The pointer is good until the attempt
 * ends. NULL: TOKENS_MAX are alive (-ERR_REFUSED), or no lockable memory. */
const uint8_t *tokens_make(struct tokens *t, const char *attempt, struct err *err);
/* Is this the attempt's token, now? Compares in constant time. */
bool tokens_alive(const struct tokens *t, const char *attempt,
                  const uint8_t token[static TASK_TOKEN_BYTES]);
void tokens_end(struct tokens *t, const char *attempt); /* unknown is fine */

#endif
