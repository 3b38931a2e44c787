/* Task identifiers: ULIDs (26 characters of Crockford base32, lower case): 48 bits of milliseconds,
 * 80 random bits; later ids sort after earlier ones. An attempt is "<task>.<n>", n from 1. Ids name
 * files and branches, so their form is checked wherever one comes in. */
#ifndef PROTO_ID_H
#define PROTO_ID_H

#include <stdbool.h>
#include <stdint.h>

#define ID_SIZE         27 /* 26 + NUL */
#define ATTEMPT_ID_SIZE 32 /* task id + '.' + up to 4 digits + NUL */

/* `now_ms` Unix milliseconds; `rnd` 10 random bytes. */
void id_make(uint64_t now_ms, const uint8_t rnd[static 10], char out[static ID_SIZE]);
bool id_valid(const char *id);
void attempt_id_make(const char *task_id, unsigned n, char out[static ATTEMPT_ID_SIZE]);
bool attempt_id_valid(const char *id);
/* The task part of a valid attempt id. */
void attempt_id_task(const char *attempt, char out[static ID_SIZE]);

#endif
