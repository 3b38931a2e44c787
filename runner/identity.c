/* Keys of the runner; see identity.h. It reads and makes key files and opens sealed tokens. It never
 * sends or prints anything, and secret bytes leave it only into locked or wiped memory. */
#include "runner/identity.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "common/secret.h"
#include <config.h> /* the build's, not runner/config.h */

static int host_key_load(const char *path, char fpr[static KEY_FPR_SIZE], struct err *err)
{
    struct buf text;
    struct ssh_pub pub;
    buf_init(&text, KEY_LINE_MAX);
    int r = file_read(AT_FDCWD, path, &text, err);
    if (r == 0)
        r = ssh_pub_parse(buf_str(&text), &pub, err);
    if (r == 0)
        ssh_pub_fingerprint(&pub, fpr);
    else
        err_wrap(err, "--host-key %s", path);
    buf_done(&text);
    return r;
}

int identity_load_pinned(struct identity *id, const struct runner_config *cfg, struct err *err)
{
    snprintf(id->program, sizeof id->program, "%s %s", RUNNER_PROGRAM, CREEL_VERSION);
    int r = host_key_load(cfg->host_key, id->host_key, err);
    if (r == 0)
        r = controller_keys_load(cfg->controllers, &id->controllers, err);
    return r;
}

static int key_read(struct identity *id, int state_fd, struct err *err)
{
    struct buf text;
    buf_init(&text, KEY_LINE_MAX);
    int r = file_read(state_fd, IDENTITY_KEY_FILE, &text, err);
    if (r == 0)
        r = key_sec_parse(buf_str(&text), text.len, id->sec, err);
    if (r < 0)
        err_wrap(err, "runner key %s", IDENTITY_KEY_FILE);
    buf_wipe(&text);
    return r;
}

static int key_make(struct identity *id, int state_fd, struct err *err)
{
    uint8_t pub[KEY_PUB_BYTES];
    struct buf text, line;
    buf_init(&text, KEY_LINE_MAX);
    buf_init(&line, KEY_LINE_MAX);
    crypto_sign_keypair(pub, id->sec);
    int r = -ERR_FAIL;
    if (key_sec_format(id->sec, RUNNER_PROGRAM, &text) < 0 ||
        key_pub_line(pub, RUNNER_PROGRAM, &line) < 0)
        err_set(err, ERR_FAIL, "cannot write the runner's key: out of memory");
    else
        r = file_replace(state_fd, IDENTITY_KEY_FILE ".pub", line.data, line.len, 0644, err);
    if (r == 0)
        r = file_replace(state_fd, IDENTITY_KEY_FILE, text.data, text.len, 0600, err);
    buf_wipe(&text);
    buf_done(&line);
    return r;
}

int identity_load_key(struct identity *id, int state_fd, struct err *err)
{
    id->sec = secret_new(KEY_SEC_BYTES, err);
    if (!id->sec)
        return -ERR_FAIL;
    bool there = faccessat(state_fd, IDENTITY_KEY_FILE, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
    int r = there ? key_read(id, state_fd, err) : key_make(id, state_fd, err);
    if (r < 0)
        return r;
    memcpy(id->pub, id->sec + KEY_SEC_BYTES - KEY_PUB_BYTES, KEY_PUB_BYTES);
    key_fingerprint(id->pub, id->fpr);
    return 0;
}

int identity_unseal(const struct identity *id, const uint8_t sealed[static TASK_SEALED_BYTES],
                    uint8_t token[static TASK_TOKEN_BYTES], struct err *err)
{
    uint8_t pk[crypto_box_PUBLICKEYBYTES], sk[crypto_box_SECRETKEYBYTES];
    int bad = crypto_sign_ed25519_pk_to_curve25519(pk, id->pub) != 0 ||
              crypto_sign_ed25519_sk_to_curve25519(sk, id->sec) != 0 ||
              crypto_box_seal_open(token, sealed, TASK_SEALED_BYTES, pk, sk) != 0;
    sodium_memzero(sk, sizeof sk);
    return bad ? err_set(err, ERR_TRUST, "the task token is not sealed to this runner's key %s",
                         id->fpr)
               : 0;
}

int identity_open(const struct identity *id, const uint8_t *sealed, size_t n, uint8_t *out,
                  size_t max, size_t *ret_len, struct err *err)
{
    uint8_t pk[crypto_box_PUBLICKEYBYTES], sk[crypto_box_SECRETKEYBYTES];
    if (n <= crypto_box_SEALBYTES || n - crypto_box_SEALBYTES > max)
        return err_set(err, ERR_TRUST, "a sealed secret of %zu bytes", n);
    int bad = crypto_sign_ed25519_pk_to_curve25519(pk, id->pub) != 0 ||
              crypto_sign_ed25519_sk_to_curve25519(sk, id->sec) != 0 ||
              crypto_box_seal_open(out, sealed, n, pk, sk) != 0;
    sodium_memzero(sk, sizeof sk);
    if (bad)
        return err_set(err, ERR_TRUST, "the secret is not sealed to this runner's key %s", id->fpr);
    *ret_len = n - crypto_box_SEALBYTES;
    return 0;
}

void identity_done(struct identity *id)
{
    secret_free(id->sec);
    id->sec = NULL;
}
