/* Ed25519 private keys in OpenSSH's own file form (PROTOCOL.key), unencrypted. Every buffer that has
 * held a secret is wiped, on each path out. Never decrypts: a passphrase needs bcrypt_pbkdf, which
 * none of our libraries has, so such a key is refused with a line that says what to do. */
#include "proto/key.h"

#include <string.h>

#include <sodium.h>

#include "proto/b64.h"
#include "proto/wire.h"

#define KEY_TYPE        "ssh-ed25519"
#define KEY_LABEL       "OPENSSH PRIVATE KEY"
#define KEY_TEXT_MAX    (16u << 10)
#define KEY_MAGIC       "openssh-key-v1" /* its NUL belongs to it */
#define KEY_PAD_BLOCK   8
#define KEY_COMMENT_MAX 1024

/* Finds the base64 between the armour's lines. */
static int armour_open(const char *text, size_t len, const char **ret, size_t *ret_len,
                       struct err *err)
{
    static const char begin[] = "-----BEGIN " KEY_LABEL "-----";
    static const char end[] = "-----END " KEY_LABEL "-----";

    if (len > KEY_TEXT_MAX)
        return err_set(err, ERR_USAGE, "private key file is over %u bytes", KEY_TEXT_MAX);
    while (len > 0 && strchr(" \t\r\n", text[len - 1]) && text[len - 1])
        len--;
    if (len < sizeof(begin) - 1 || memcmp(text, begin, sizeof(begin) - 1) != 0) {
        if (len > 11 && memcmp(text, "-----BEGIN ", 11) == 0)
            return err_set(err, ERR_USAGE,
                           "private key is not in OpenSSH's format (it must begin "
                           "with \"%s\"); convert it with: ssh-keygen -p -f FILE",
                           begin);
        return err_set(err, ERR_USAGE, "not a private key: it does not begin with \"%s\"", begin);
    }
    text += sizeof(begin) - 1;
    len -= sizeof(begin) - 1;
    if (len < sizeof(end) - 1 || memcmp(text + len - (sizeof(end) - 1), end, sizeof(end) - 1) != 0)
        return err_set(err, ERR_USAGE, "private key is cut short: it does not end with \"%s\"",
                       end);
    *ret = text;
    *ret_len = len - (sizeof(end) - 1);
    return 0;
}

/* The private section: twice the same check number, the key, a comment, padding 1 2 3... */
static bool section_read(struct wire w, const uint8_t pub[static KEY_PUB_BYTES],
                         uint8_t sec[static KEY_SEC_BYTES])
{
    uint32_t check[2];
    const uint8_t *raw, *comment;
    size_t n;
    if (!wire_u32(&w, &check[0]) || !wire_u32(&w, &check[1]) || check[0] != check[1] ||
        !wire_expects(&w, KEY_TYPE) || !wire_expect(&w, pub, KEY_PUB_BYTES) ||
        !wire_string(&w, &raw, &n) || n != KEY_SEC_BYTES)
        return false;
    const uint8_t *secret = raw;
    if (!wire_string(&w, &comment, &n) || w.left >= KEY_PAD_BLOCK)
        return false;
    for (size_t i = 0; i < w.left; i++)
        if (w.at[i] != i + 1)
            return false;
    /* A public half that is not the seed's own would make signatures that give the seed away. */
    uint8_t derived_pub[KEY_PUB_BYTES], derived[KEY_SEC_BYTES];
    crypto_sign_seed_keypair(derived_pub, derived, secret);
    bool same = sodium_memcmp(derived, secret, KEY_SEC_BYTES) == 0 &&
                memcmp(derived_pub, pub, KEY_PUB_BYTES) == 0;
    if (same)
        memcpy(sec, secret, KEY_SEC_BYTES);
    sodium_memzero(derived, sizeof(derived));
    return same;
}

static int file_read_key(struct wire w, uint8_t sec[static KEY_SEC_BYTES], struct err *err)
{
    const uint8_t *cipher, *kdf, *options, *blob, *section;
    size_t ncipher, nkdf, noptions, nblob, nsection;
    uint32_t nkeys;

    if (w.left < sizeof(KEY_MAGIC) || memcmp(w.at, KEY_MAGIC, sizeof(KEY_MAGIC)) != 0)
        return err_set(err, ERR_USAGE, "private key is not an " KEY_MAGIC " file");
    w.at += sizeof(KEY_MAGIC);
    w.left -= sizeof(KEY_MAGIC);
    if (!wire_string(&w, &cipher, &ncipher) || !wire_string(&w, &kdf, &nkdf) ||
        !wire_string(&w, &options, &noptions) || !wire_u32(&w, &nkeys))
        return err_set(err, ERR_USAGE, "private key is cut short");
    if (ncipher != 4 || memcmp(cipher, "none", 4) != 0 || nkdf != 4 || memcmp(kdf, "none", 4) != 0)
        return err_set(err, ERR_USAGE,
                       "private key is encrypted with a passphrase, which is not "
                       "supported; use a key without one, or remove it from a copy: "
                       "ssh-keygen -p -N '' -f COPY");
    if (noptions != 0 || nkeys != 1 || !wire_string(&w, &blob, &nblob) ||
        !wire_string(&w, &section, &nsection) || w.left != 0 || nsection % KEY_PAD_BLOCK != 0)
        return err_set(err, ERR_USAGE, "private key file is damaged");

    struct wire b = {blob, nblob};
    const uint8_t *pub;
    size_t npub;
    if (!wire_expects(&b, KEY_TYPE))
        return err_set(err, ERR_USAGE,
                       "private key is not of type " KEY_TYPE
                       "; make one with: ssh-keygen -t ed25519 -N '' -f FILE");
    if (!wire_string(&b, &pub, &npub) || npub != KEY_PUB_BYTES || b.left != 0 ||
        !section_read((struct wire){section, nsection}, pub, sec))
        return err_set(err, ERR_USAGE, "private key file is damaged");
    return 0;
}

int key_sec_parse(const char *text, size_t len, uint8_t sec[static KEY_SEC_BYTES], struct err *err)
{
    const char *b64 = NULL;
    size_t nb64 = 0, n = 0;
    int r = armour_open(text, len, &b64, &nb64, err);
    if (r != 0)
        return r;
    struct buf raw;
    buf_init(&raw, KEY_TEXT_MAX);
    size_t room = nb64 / 4 * 3 + 3;
    uint8_t *at = buf_room(&raw, room);
    if (!at) {
        r = err_set(err, ERR_FAIL, "out of memory");
    } else if (sodium_base642bin(at, room, b64, nb64, " \t\r\n", &n, NULL,
                                 sodium_base64_VARIANT_ORIGINAL) != 0) {
        buf_wrote(&raw, room); /* so that the wipe covers what was decoded */
        r = err_set(err, ERR_USAGE, "private key file is damaged: not base64");
    } else {
        buf_wrote(&raw, room);
        r = file_read_key((struct wire){at, n}, sec, err);
    }
    buf_wipe(&raw);
    return r;
}

/* Appends the private section's plain text, padded. */
static int section_put(struct buf *to, const uint8_t sec[static KEY_SEC_BYTES], const char *comment)
{
    size_t start = to->len;
    uint32_t check = randombytes_random();
    int r = 0;
    r |= wire_put_u32(to, check);
    r |= wire_put_u32(to, check);
    r |= wire_puts(to, KEY_TYPE);
    r |= wire_put(to, sec + 32, KEY_PUB_BYTES);
    r |= wire_put(to, sec, KEY_SEC_BYTES);
    r |= wire_puts(to, comment);
    for (char pad = 1; (to->len - start) % KEY_PAD_BLOCK != 0 && r == 0; pad++)
        r |= buf_addc(to, pad);
    return r;
}

int key_sec_format(const uint8_t sec[static KEY_SEC_BYTES], const char *comment, struct buf *to)
{
    if (!comment)
        comment = "";
    if (strnlen(comment, KEY_COMMENT_MAX + 1) > KEY_COMMENT_MAX)
        return -1;
    struct buf section, file;
    buf_init(&section, KEY_TEXT_MAX / 2);
    buf_init(&file, KEY_TEXT_MAX / 2);
    /* Room at once: growing later would leave copies of the secret in freed memory. */
    int r = buf_room(&section, 2048) && buf_room(&file, 4096) ? 0 : -1;
    if (r == 0)
        r = section_put(&section, sec, comment);
    if (r == 0) {
        r |= buf_add(&file, KEY_MAGIC, sizeof(KEY_MAGIC));
        r |= wire_puts(&file, "none");
        r |= wire_puts(&file, "none");
        r |= wire_puts(&file, "");
        r |= wire_put_u32(&file, 1);
        r |= wire_put_u32(&file, 4 + sizeof(KEY_TYPE) - 1 + 4 + KEY_PUB_BYTES);
        r |= wire_puts(&file, KEY_TYPE);
        r |= wire_put(&file, sec + 32, KEY_PUB_BYTES);
        r |= wire_put(&file, section.data, section.len);
    }
    if (r == 0)
        r = b64_armour(to, KEY_LABEL, file.data, file.len);
    buf_wipe(&section);
    buf_wipe(&file);
    return r == 0 ? 0 : -1;
}
