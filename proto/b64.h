/* Standard padded base64 (RFC 4648, section 4), canonical both ways: one byte string, one text. */
#ifndef PROTO_B64_H
#define PROTO_B64_H

#include <stddef.h>

#include "proto/buf.h"

/* Appends the text, without newlines. The buffer grows once, so no copy of a secret stays behind in
 * freed memory. 0, or -1 when `to` is full. */
int b64_add(struct buf *to, const void *bytes, size_t n);
/* Appends what exactly `len` characters stand for. -1 when they are not canonical base64 or `to` is
 * full; then nothing was added. */
int b64_get(const char *text, size_t len, struct buf *to);
/* Appends "-----BEGIN LABEL-----", lines of 64 digits, "-----END LABEL-----", as PEM and OpenSSH's
 * files are armoured. Grows once, as b64_add. */
int b64_armour(struct buf *to, const char *label, const void *bytes, size_t n);

#endif
