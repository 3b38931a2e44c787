/* The proof that a GitHub App is who it says: a JWT (RFC 7519) signed RS256 with the App's key. */
#ifndef CONTROLLER_BROKER_FORGE_JWT_H
#define CONTROLLER_BROKER_FORGE_JWT_H

#include <stdint.h>

#include "proto/buf.h"
#include "proto/err.h"

#define FORGE_JWT_LIFE_S 540 /* GitHub takes at most 10 minutes */
#define FORGE_JWT_SKEW_S 60  /* its clock may be behind ours */

/* Appends the token: issued by `app_id` a minute before `now` (Unix seconds), good for FORGE_JWT_LIFE_S after
 * it. `pem` is an unencrypted RSA private key of 2048 to 16384 bits, PKCS #1 or #8; -ERR_USAGE for any other,
 * never with a byte of it. `to` then holds a credential: buf_wipe(). */
int forge_jwt(const char *pem, size_t len, const char *app_id, uint64_t now, struct buf *to,
              struct err *err);

#endif
