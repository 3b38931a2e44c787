/* Public keys: SSH's line and wire form, fingerprints, PEM. Never touches a secret key (that is
 * key_sec.c) and never decides whether a key is trusted. */
#include "proto/key.h"

#include <string.h>

#include <sodium.h>

#include "proto/b64.h"
#include "proto/wire.h"

#define KEY_TYPE "ssh-ed25519"

static void fingerprint(const void *blob, size_t len, char out[static KEY_FPR_SIZE])
{
    uint8_t hash[crypto_hash_sha256_BYTES];
    crypto_hash_sha256(hash, blob, len);
    memcpy(out, "SHA256:", 7);
    sodium_bin2base64(out + 7, KEY_FPR_SIZE - 7, hash, sizeof(hash),
                      sodium_base64_VARIANT_ORIGINAL_NO_PADDING);
}

#define ED25519_BLOB_BYTES (4 + sizeof(KEY_TYPE) - 1 + 4 + KEY_PUB_BYTES)

/* The wire form of an Ed25519 key has one length, so it needs no buffer. */
static void ed25519_blob(const uint8_t pub[static KEY_PUB_BYTES],
                         uint8_t out[static ED25519_BLOB_BYTES])
{
    static const uint8_t head[] = "\0\0\0\x0b" KEY_TYPE "\0\0\0\x20";
    memcpy(out, head, sizeof(head) - 1);
    memcpy(out + sizeof(head) - 1, pub, KEY_PUB_BYTES);
}

void key_fingerprint(const uint8_t pub[static KEY_PUB_BYTES], char out[static KEY_FPR_SIZE])
{
    uint8_t blob[ED25519_BLOB_BYTES];
    ed25519_blob(pub, blob);
    fingerprint(blob, sizeof(blob), out);
}

void ssh_pub_fingerprint(const struct ssh_pub *pub, char out[static KEY_FPR_SIZE])
{
    fingerprint(pub->blob, pub->blob_len, out);
}

bool key_fingerprint_valid(const char *text)
{
    if (strlen(text) != KEY_FPR_SIZE - 1 || strncmp(text, "SHA256:", 7) != 0)
        return false;
    uint8_t hash[crypto_hash_sha256_BYTES];
    size_t n = 0;
    return sodium_base642bin(hash, sizeof(hash), text + 7, KEY_FPR_SIZE - 8, NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) == 0 &&
           n == sizeof(hash);
}

static bool blank(char c)
{
    return c == ' ' || c == '\t';
}

/* The next word of text[0..len), blanks before it skipped; its length, 0 at the end. */
static size_t word(const char **text, size_t *len)
{
    while (*len > 0 && blank(**text)) {
        (*text)++;
        (*len)--;
    }
    size_t n = 0;
    while (n < *len && !blank((*text)[n]))
        n++;
    return n;
}

/* One line without its end, or a refusal: a second line in a place for one key is a mistake or a
 * trick, and a control byte has no business in either. */
static int line_trim(const char *line, size_t *ret_len, struct err *err)
{
    size_t len = strnlen(line, KEY_LINE_MAX + 1);
    if (len > KEY_LINE_MAX)
        return err_set(err, ERR_USAGE, "public key line is over %d bytes", KEY_LINE_MAX);
    while (len > 0 && (blank(line[len - 1]) || line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    for (size_t i = 0; i < len; i++)
        if (((unsigned char)line[i] < 0x20 && line[i] != '\t') || line[i] == 0x7f)
            return err_set(err, ERR_USAGE, "public key is more than one clean line");
    *ret_len = len;
    return 0;
}

static int blob_parse(const char *text, size_t len, struct ssh_pub *pub, struct err *err)
{
    struct buf b;
    buf_init(&b, KEY_BLOB_MAX);
    int r = 0;
    if (len / 4 * 3 > KEY_BLOB_MAX + 2)
        r = err_set(err, ERR_USAGE, "public key is over %d bytes", KEY_BLOB_MAX);
    else if (b64_get(text, len, &b) != 0)
        r = err_set(err, ERR_USAGE, "public key: the second word is not base64");
    if (r == 0) {
        struct wire w = {b.data, b.len};
        if (!wire_expects(&w, pub->type) || w.left == 0)
            r = err_set(err, ERR_USAGE, "public key: the base64 does not hold a key of type %s",
                        pub->type);
    }
    if (r == 0) {
        memcpy(pub->blob, b.data, b.len);
        pub->blob_len = b.len;
    }
    buf_done(&b);
    return r;
}

int ssh_pub_parse(const char *line, struct ssh_pub *out, struct err *err)
{
    struct ssh_pub pub = {0};
    size_t len = 0;
    int r = line_trim(line, &len, err);
    if (r != 0)
        return r;
    size_t n = word(&line, &len);
    if (n == 0)
        return err_set(err, ERR_USAGE, "public key line is empty");
    if (n >= sizeof(pub.type))
        return err_set(err, ERR_USAGE, "public key line does not begin with a key type");
    memcpy(pub.type, line, n);
    for (size_t i = 0; i < n; i++)
        if ((unsigned char)pub.type[i] >= 0x7f)
            return err_set(err, ERR_USAGE, "public key line does not begin with a key type");
    line += n;
    len -= n;
    n = word(&line, &len);
    if (n == 0)
        return err_set(err, ERR_USAGE, "public key line has no base64 after \"%s\"", pub.type);
    r = blob_parse(line, n, &pub, err);
    if (r == 0)
        *out = pub;
    return r;
}

int key_pub_parse(const char *line, uint8_t out[static KEY_PUB_BYTES], struct err *err)
{
    struct ssh_pub pub;
    int r = ssh_pub_parse(line, &pub, err);
    if (r != 0)
        return r;
    if (strcmp(pub.type, KEY_TYPE) != 0)
        return err_set(err, ERR_USAGE, "public key is %s; only " KEY_TYPE " will do here",
                       pub.type);
    struct wire w = {pub.blob, pub.blob_len};
    const uint8_t *raw;
    size_t n;
    if (!wire_expects(&w, KEY_TYPE) || !wire_string(&w, &raw, &n) || n != KEY_PUB_BYTES ||
        w.left != 0)
        return err_set(err, ERR_USAGE, "public key is not a whole " KEY_TYPE " key");
    memcpy(out, raw, KEY_PUB_BYTES);
    return 0;
}

int key_pub_line(const uint8_t pub[static KEY_PUB_BYTES], const char *comment, struct buf *to)
{
    uint8_t blob[ED25519_BLOB_BYTES];
    ed25519_blob(pub, blob);
    size_t start = to->len;
    if (buf_adds(to, KEY_TYPE " ") == 0 && b64_add(to, blob, sizeof(blob)) == 0 &&
        (!comment || !*comment || buf_addf(to, " %s", comment) == 0) && buf_addc(to, '\n') == 0)
        return 0;
    if (to->len > start) {
        to->len = start;
        to->data[start] = 0;
    }
    return -1;
}

int key_pub_pem(const uint8_t pub[static KEY_PUB_BYTES], struct buf *to)
{
    /* SEQUENCE { SEQUENCE { OID 1.3.101.112 }, BIT STRING { 32 bytes } } (RFC 8410, section 4) */
    uint8_t der[12 + KEY_PUB_BYTES] = {0x30, 0x2a, 0x30, 0x05, 0x06, 0x03,
                                       0x2b, 0x65, 0x70, 0x03, 0x21, 0x00};
    memcpy(der + 12, pub, KEY_PUB_BYTES);
    return b64_armour(to, "PUBLIC KEY", der, sizeof(der));
}
