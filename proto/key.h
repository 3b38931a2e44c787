/* Ed25519 keys as creel names, stores and compares them.
 *
 * A public key is 32 bytes; its name everywhere is the fingerprint that `ssh-keygen -lf` prints:
 * "SHA256:" + unpadded base64 of SHA-256 over the SSH wire form ("ssh-ed25519", key) (RFC 4253 6.6,
 * RFC 8709). SSH host keys may be of other types: `struct ssh_pub` keeps any public key's blob.
 */
#ifndef PROTO_KEY_H
#define PROTO_KEY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"
#include "proto/err.h"

#define KEY_PUB_BYTES 32
#define KEY_SEC_BYTES 64 /* libsodium's crypto_sign secret key: seed || public */
#define KEY_SIG_BYTES 64
#define KEY_FPR_SIZE  51 /* "SHA256:" + 43 base64 digits + NUL */
#define KEY_LINE_MAX  8192
#define KEY_BLOB_MAX  2048

/* Any SSH public key, as it stands in a .pub or known_hosts line. */
struct ssh_pub {
    char type[64]; /* "ssh-ed25519", ... */
    uint8_t blob[KEY_BLOB_MAX];
    size_t blob_len;
};

/* Fingerprint of an Ed25519 public key. */
void key_fingerprint(const uint8_t pub[static KEY_PUB_BYTES], char out[static KEY_FPR_SIZE]);
/* Fingerprint of any SSH public key. */
void ssh_pub_fingerprint(const struct ssh_pub *pub, char out[static KEY_FPR_SIZE]);
/* True when `text` has exactly the form SHA256:<43 base64 digits>. */
bool key_fingerprint_valid(const char *text);

/* Parses one line "TYPE BASE64 [COMMENT]" (surrounding blanks allowed). The base64 must hold a wire
 * form whose first string equals TYPE. */
int ssh_pub_parse(const char *line, struct ssh_pub *out, struct err *err);
/* Same, and the key must be ssh-ed25519; gives the raw 32 bytes. */
int key_pub_parse(const char *line, uint8_t out[static KEY_PUB_BYTES], struct err *err);
/* Appends "ssh-ed25519 BASE64 COMMENT\n". */
int key_pub_line(const uint8_t pub[static KEY_PUB_BYTES], const char *comment, struct buf *to);
/* Appends the key as PEM SubjectPublicKeyInfo (RFC 8410), as `openssl pkey -pubin` reads it. */
int key_pub_pem(const uint8_t pub[static KEY_PUB_BYTES], struct buf *to);

/* Parses an unencrypted openssh-key-v1 Ed25519 private key (PROTOCOL.key). Encrypted keys and
 * other types are refused with a line that says so. `sec` holds a secret: wipe it. */
int key_sec_parse(const char *text, size_t len, uint8_t sec[static KEY_SEC_BYTES], struct err *err);
/* Appends the key as an unencrypted openssh-key-v1 PEM block. `to` then holds a secret: buf_wipe. */
int key_sec_format(const uint8_t sec[static KEY_SEC_BYTES], const char *comment, struct buf *to);

#endif
