/* The operator's two keys, seen from the command line: made, named, and their public halves read.
 *
 * The signing key signs envelopes and is read by the broker alone; the SSH key only logs in to hosts.
 * They are never the same key: whoever holds the login key must not be able to sign.
 */
#ifndef CONTROLLER_KEYS_H
#define CONTROLLER_KEYS_H

#include "controller/paths.h"
#include "proto/key.h"

enum own_key { OWN_KEY_SIGNING, OWN_KEY_SSH, OWN_KEY_COUNT };

/* "signing_key", "ssh_key" */
extern const char *const own_key_names[OWN_KEY_COUNT + 1];

/* Does the state directory have this key (its public half)? */
bool own_key_exists(const struct paths *p, enum own_key which);
/* Makes an Ed25519 key in keys/, 0600, unencrypted: it is used without anybody present. */
int own_key_make(const struct paths *p, enum own_key which, struct err *err);
/* Uses an existing unencrypted OpenSSH Ed25519 key file instead; it stays where it is. */
int own_key_adopt(const struct paths *p, enum own_key which, const char *file, struct err *err);
int own_key_pub(const struct paths *p, enum own_key which, uint8_t out[static KEY_PUB_BYTES],
                struct err *err);
/* Reads the public half out of a private key file, wiping what it read. */
int key_file_pub(const char *file, uint8_t out[static KEY_PUB_BYTES], struct err *err);

#endif
