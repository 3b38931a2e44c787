/* Unix seconds as RFC 3339 UTC text, "2026-11-23T12:41:57Z", and back; years 1970 to 9999. */
#ifndef PROTO_RFC3339_H
#define PROTO_RFC3339_H

#include <stdbool.h>
#include <stdint.h>

#define RFC3339_SIZE 21 /* 20 + NUL */

/* False (and "" in out) when the year has more than four digits. */
bool rfc3339_format(uint64_t unix_s, char out[static RFC3339_SIZE]);
/* Exactly the form above and a date that exists. */
bool rfc3339_parse(const char *text, uint64_t *ret_unix_s);

#endif
