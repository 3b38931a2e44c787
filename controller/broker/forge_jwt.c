/* RS256 with libcrypto, see the header. */
#include "controller/broker/forge_jwt.h"

#include <string.h>

#include <openssl/bio.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sodium.h>

#include "proto/json.h"

#define SIG_MAX 2048

/* Unpadded base64url, as JWS wants it. */
static int add_part(struct buf *to, const void *bytes, size_t n)
{
    size_t room = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    char *at = (char *)buf_room(to, room);
    if (!at)
        return -1;
    sodium_bin2base64(at, room, bytes, n, sodium_base64_VARIANT_URLSAFE_NO_PADDING);
    buf_wrote(to, room - 1);
    return 0;
}

/* An encrypted key is refused: nobody is there to type its passphrase. */
static int no_passphrase(char *out, int size, int writing, void *arg)
{
    (void)out;
    (void)size;
    (void)writing;
    (void)arg;
    return 0;
}

static EVP_PKEY *read_key(const char *pem, size_t len, struct err *err)
{
    BIO *in = len > 0 && len < (1u << 20) ? BIO_new_mem_buf(pem, (int)len) : NULL;
    EVP_PKEY *key = in ? PEM_read_bio_PrivateKey(in, NULL, no_passphrase, NULL) : NULL;
    BIO_free(in);
    ERR_clear_error(); /* what it says may quote what it read */
    if (key && EVP_PKEY_is_a(key, "RSA") && EVP_PKEY_get_bits(key) >= 2048 &&
        EVP_PKEY_get_bits(key) <= 8 * SIG_MAX)
        return key;
    EVP_PKEY_free(key);
    err_set(err, ERR_USAGE,
            "the App's key is not an unencrypted RSA private key in PEM, of 2048 bits or more");
    return NULL;
}

static int sign(EVP_PKEY *key, const void *bytes, size_t n, uint8_t sig[static SIG_MAX],
                size_t *ret_n, struct err *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    *ret_n = SIG_MAX;
    bool done = ctx && EVP_DigestSignInit(ctx, NULL, EVP_sha256(), NULL, key) == 1 &&
                EVP_DigestSign(ctx, sig, ret_n, bytes, n) == 1;
    EVP_MD_CTX_free(ctx);
    ERR_clear_error();
    return done ? 0 : err_set(err, ERR_FAIL, "the App's key does not sign");
}

int forge_jwt(const char *pem, size_t len, const char *app_id, uint64_t now, struct buf *to,
              struct err *err)
{
    static const char head[] = "{\"alg\":\"RS256\",\"typ\":\"JWT\"}";
    struct buf claims, token;
    uint8_t sig[SIG_MAX];
    size_t nsig = 0;
    EVP_PKEY *key = read_key(pem, len, err);
    if (!key)
        return -ERR_USAGE;
    buf_init(&claims, 512);
    buf_init(&token, 8192);
    (void)buf_room(&token, 8191); /* grown once: no copy is left behind */
    buf_addf(&claims,
             "{\"iat\":%llu,\"exp\":%llu,\"iss\":", (unsigned long long)(now - FORGE_JWT_SKEW_S),
             (unsigned long long)(now + FORGE_JWT_LIFE_S));
    json_quotes(&claims, app_id);
    buf_addc(&claims, '}');
    add_part(&token, head, sizeof head - 1);
    buf_addc(&token, '.');
    add_part(&token, claims.data, claims.len);
    int rc = claims.failed || token.failed ? err_set(err, ERR_USAGE, "the App's id is too long")
                                           : sign(key, token.data, token.len, sig, &nsig, err);
    EVP_PKEY_free(key);
    if (rc == 0) {
        buf_addc(&token, '.');
        add_part(&token, sig, nsig);
        if (token.failed || buf_add(to, token.data, token.len) < 0)
            rc = err_set(err, ERR_FAIL, "out of memory");
    }
    sodium_memzero(sig, sizeof sig);
    buf_done(&claims);
    buf_wipe(&token);
    return rc;
}
