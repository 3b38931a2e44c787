/* The operator's two keys. The secret half is in memory only while a key is made or adopted, and only
 * in guarded memory or a wiped buffer. The public file is written last: its presence is what says
 * that the key is complete.
 */
#include "controller/keys.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "common/secret.h"

#define KEY_FILE_MAX (16u << 10)

const char *const own_key_names[OWN_KEY_COUNT + 1] = {"signing_key", "ssh_key", NULL};

static const char *const comments[] = {"creel-signing", "creel-ssh"};

static void key_name(enum own_key which, const char *suffix, char out[static 64])
{
    snprintf(out, 64, "keys/%s%s", own_key_names[which], suffix);
}

bool own_key_exists(const struct paths *p, enum own_key which)
{
    char name[64];

    key_name(which, ".pub", name);
    return faccessat(p->rootfd, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

/* file_replace works within one directory. */
static int keys_dir(const struct paths *p, struct err *err)
{
    char path[PATH_MAX];
    int rc = paths_at(p, "keys", path, err);

    return rc < 0 ? rc : dir_open(path, true, true, err);
}

static int pub_write(int dirfd, enum own_key which, const uint8_t pub[static KEY_PUB_BYTES],
                     struct err *err)
{
    char name[64];
    struct buf line;
    int rc;

    buf_init(&line, KEY_LINE_MAX);
    snprintf(name, sizeof(name), "%s.pub", own_key_names[which]);
    rc = key_pub_line(pub, comments[which], &line);
    if (rc < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    rc = rc < 0 ? rc : file_replace(dirfd, name, line.data, line.len, 0644, err);
    buf_done(&line);
    return rc;
}

static int sec_write(int dirfd, enum own_key which, const uint8_t sec[static KEY_SEC_BYTES],
                     struct err *err)
{
    struct buf text;
    int rc;

    buf_init(&text, KEY_FILE_MAX);
    rc = key_sec_format(sec, comments[which], &text);
    if (rc < 0)
        rc = err_set(err, ERR_FAIL, "out of memory");
    rc = rc < 0 ? rc : file_replace(dirfd, own_key_names[which], text.data, text.len, 0600, err);
    buf_wipe(&text);
    return rc;
}

int own_key_make(const struct paths *p, enum own_key which, struct err *err)
{
    uint8_t pub[KEY_PUB_BYTES];
    uint8_t *sec = secret_new(KEY_SEC_BYTES, err);
    int rc, dirfd;

    if (!sec)
        return -ERR_FAIL;
    crypto_sign_keypair(pub, sec);
    rc = dirfd = keys_dir(p, err);
    if (rc >= 0)
        rc = sec_write(dirfd, which, sec, err);
    if (rc == 0)
        rc = pub_write(dirfd, which, pub, err);
    fd_close(&dirfd);
    secret_free(sec);
    return rc;
}

/* ssh refuses a private key that others can read, and so do we. */
static int private_check(const char *file, struct err *err)
{
    struct stat st;

    if (stat(file, &st) < 0)
        return err_errno(err, ERR_USAGE, "key file %s", file);
    if (!S_ISREG(st.st_mode))
        return err_set(err, ERR_USAGE, "key file %s is not a regular file", file);
    if (st.st_mode & 077)
        return err_set(err, ERR_TRUST, "key file %s can be read by others: chmod 600 it", file);
    return 0;
}

int key_file_pub(const char *named, uint8_t out[static KEY_PUB_BYTES], struct err *err)
{
    char file[PATH_MAX]; /* a link to a key is the operator's own affair */
    uint8_t *sec = NULL;
    struct buf text;
    int rc;

    if (!realpath(named, file))
        return err_errno(err, ERR_USAGE, "key file %s", named);
    rc = private_check(file, err);

    if (rc < 0)
        return rc;
    buf_init(&text, KEY_FILE_MAX);
    rc = file_read(AT_FDCWD, file, &text, err);
    if (rc == 0) {
        sec = secret_new(KEY_SEC_BYTES, err);
        rc = sec ? key_sec_parse(buf_str(&text), text.len, sec, err) : -ERR_FAIL;
        if (sec && rc < 0)
            rc = err_wrap(err, "%s", file);
    }
    if (rc == 0)
        memcpy(out, sec + KEY_SEC_BYTES - KEY_PUB_BYTES, KEY_PUB_BYTES);
    secret_free(sec);
    buf_wipe(&text);
    return rc;
}

int own_key_adopt(const struct paths *p, enum own_key which, const char *file, struct err *err)
{
    char absolute[PATH_MAX], name[64];
    uint8_t pub[KEY_PUB_BYTES];
    int rc, dirfd;

    if (!realpath(file, absolute))
        return err_errno(err, ERR_USAGE, "key file %s", file);
    rc = key_file_pub(absolute, pub, err);
    if (rc < 0)
        return rc;
    rc = dirfd = keys_dir(p, err);
    if (rc >= 0) {
        snprintf(name, sizeof(name), "%s.path", own_key_names[which]);
        rc = file_replace(dirfd, name, absolute, strlen(absolute), 0600, err);
    }
    if (rc == 0)
        rc = pub_write(dirfd, which, pub, err);
    fd_close(&dirfd);
    return rc;
}

int own_key_pub(const struct paths *p, enum own_key which, uint8_t out[static KEY_PUB_BYTES],
                struct err *err)
{
    char name[64];
    struct buf line;
    int rc;

    key_name(which, ".pub", name);
    if (!own_key_exists(p, which))
        return err_set(err, ERR_USAGE, "%s/%s is missing: run 'creel init'", p->root, name);
    buf_init(&line, KEY_LINE_MAX);
    rc = file_read(p->rootfd, name, &line, err);
    rc = rc < 0 ? rc : key_pub_parse(buf_str(&line), out, err);
    if (rc < 0)
        rc = err_wrap(err, "%s", name);
    buf_done(&line);
    return rc;
}
