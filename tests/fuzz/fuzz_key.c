/* Key files and lines from any bytes: what parses has one form, is written back and parses to the same
 * key; no damaged private key gives one whose halves do not belong together. */
#include <string.h>

#include <sodium.h>

#include "proto/key.h"
#include "tests/fuzz/fuzz.h"

static void public_line(const char *text)
{
    struct err err = ERR_INIT;
    struct ssh_pub any;
    uint8_t pub[KEY_PUB_BYTES], back[KEY_PUB_BYTES];
    char fpr[KEY_FPR_SIZE];
    if (ssh_pub_parse(text, &any, &err) != 0)
        return;
    MUST(any.blob_len > 4 && any.blob_len <= KEY_BLOB_MAX && strlen(any.type) < sizeof(any.type));
    ssh_pub_fingerprint(&any, fpr);
    MUST(key_fingerprint_valid(fpr));
    if (key_pub_parse(text, pub, &err) != 0)
        return;
    char again[KEY_FPR_SIZE];
    struct buf line;
    key_fingerprint(pub, again);
    MUST(strcmp(fpr, again) == 0);
    buf_init(&line, KEY_LINE_MAX);
    MUST(key_pub_line(pub, "comment", &line) == 0);
    MUST(key_pub_parse(buf_str(&line), back, &err) == 0 && memcmp(pub, back, sizeof(pub)) == 0);
    buf_done(&line);
}

static void private_file(const char *text, size_t len)
{
    struct err err = ERR_INIT;
    uint8_t sec[KEY_SEC_BYTES], back[KEY_SEC_BYTES], pub[KEY_PUB_BYTES];
    if (key_sec_parse(text, len, sec, &err) != 0) {
        MUST(err.code != ERR_NONE && err.msg[0]);
        return;
    }
    crypto_sign_seed_keypair(pub, back, sec);
    MUST(memcmp(back, sec, sizeof(sec)) == 0);
    struct buf file;
    buf_init(&file, 1 << 14);
    MUST(key_sec_format(sec, "comment", &file) == 0);
    MUST(key_sec_parse(buf_str(&file), file.len, back, &err) == 0);
    MUST(memcmp(back, sec, sizeof(sec)) == 0);
    buf_wipe(&file);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    MUST(sodium_init() >= 0);
    char *text = malloc(len + 1);
    MUST(text);
    memcpy(text, bytes, len);
    text[len] = 0;
    public_line(text);
    private_file(text, len);
    key_fingerprint_valid(text);
    free(text);
    return 0;
}
