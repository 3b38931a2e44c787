/* SSHSIG: the signature is over a preamble, the namespace and a hash, so a signature made here can
 * never be taken for one over a DSSE document or an SSH login. Never verifies: ssh-keygen does. */
#include "proto/sshsig.h"

#include <string.h>

#include <sodium.h>

#include "proto/b64.h"
#include "proto/wire.h"

#define SSHSIG_MAGIC   "SSHSIG" /* without its NUL */
#define SSHSIG_VERSION 1
#define SSHSIG_HASH    "sha512"
#define KEY_TYPE       "ssh-ed25519"
#define NAMESPACE_MAX  128

/* What is signed: MAGIC, namespace, reserved, hash name, hash. */
static int to_be_signed(struct buf *to, const char *ns, const void *msg, size_t len)
{
    uint8_t hash[crypto_hash_sha512_BYTES];
    crypto_hash_sha512(hash, msg, len);
    int r = buf_add(to, SSHSIG_MAGIC, sizeof(SSHSIG_MAGIC) - 1);
    r |= wire_puts(to, ns);
    r |= wire_puts(to, "");
    r |= wire_puts(to, SSHSIG_HASH);
    r |= wire_put(to, hash, sizeof(hash));
    return r;
}

static int blob_put(struct buf *to, const uint8_t pub[static KEY_PUB_BYTES], const char *ns,
                    const uint8_t sig[static KEY_SIG_BYTES])
{
    const uint32_t type = sizeof(KEY_TYPE) - 1;
    int r = buf_add(to, SSHSIG_MAGIC, sizeof(SSHSIG_MAGIC) - 1);
    r |= wire_put_u32(to, SSHSIG_VERSION);
    r |= wire_put_u32(to, 4 + type + 4 + KEY_PUB_BYTES);
    r |= wire_puts(to, KEY_TYPE);
    r |= wire_put(to, pub, KEY_PUB_BYTES);
    r |= wire_puts(to, ns);
    r |= wire_puts(to, "");
    r |= wire_puts(to, SSHSIG_HASH);
    r |= wire_put_u32(to, 4 + type + 4 + KEY_SIG_BYTES);
    r |= wire_puts(to, KEY_TYPE);
    r |= wire_put(to, sig, KEY_SIG_BYTES);
    return r;
}

int sshsig_sign(const uint8_t sec[static KEY_SEC_BYTES], const char *ns, const void *msg,
                size_t len, struct buf *to, struct err *err)
{
    size_t nns = strnlen(ns, NAMESPACE_MAX + 1);
    if (nns == 0 || nns > NAMESPACE_MAX)
        return err_set(err, ERR_FAIL, "signature namespace must have 1 to %d bytes", NAMESPACE_MAX);
    struct buf b;
    buf_init(&b, 1024);
    uint8_t sig[KEY_SIG_BYTES];
    int r = to_be_signed(&b, ns, msg, len);
    if (r == 0) {
        crypto_sign_detached(sig, NULL, b.data, b.len, sec);
        buf_clear(&b);
        r = blob_put(&b, sec + 32, ns, sig);
    }
    if (r == 0)
        r = b64_armour(to, "SSH SIGNATURE", b.data, b.len);
    buf_done(&b);
    return r == 0 ? 0 : err_set(err, ERR_FAIL, "no room for the signature");
}
