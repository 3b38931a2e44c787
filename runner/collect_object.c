/* Objects on their way into the patch pack: hashed first, written only when they are new.
 *
 * The ids are plain SHA-1 (fast in hardware). The importer hashes everything again with collision
 * detection; a collision here could only make new content look like old, that is, lose it. */
#include "runner/collect.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define PIECE (64u << 10)

static const char *const type_names[] = {
    [PACK_COMMIT] = "commit", [PACK_TREE] = "tree", [PACK_BLOB] = "blob"};

static int hash_begin(struct collect *c, enum pack_type type, uint64_t size, struct err *err)
{
    char head[40];
    int n = snprintf(head, sizeof(head), "%s %llu", type_names[type], (unsigned long long)size);
    if (EVP_DigestInit_ex(c->sha, EVP_sha1(), NULL) != 1 ||
        EVP_DigestUpdate(c->sha, head, (size_t)n + 1) != 1) {
        return err_set(err, ERR_FAIL, "cannot hash");
    }
    return 0;
}

static void hash_end(struct collect *c, uint8_t oid[static 20])
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    EVP_DigestFinal_ex(c->sha, digest, NULL);
    memcpy(oid, digest, 20);
}

/* 1 when the object must be written, 0 when it is there already. */
static int object_new(struct collect *c, const uint8_t oid[static 20], struct err *err)
{
    git_oid id;
    git_oid_fromraw(&id, oid);
    if (git_odb_exists_ext(c->odb, &id, GIT_ODB_LOOKUP_NO_REFRESH)) {
        return 0;
    }
    int rc = oid_set_add(&c->written, oid);
    return rc < 0 ? err_set(err, ERR_FAIL, "too many new objects") : rc;
}

int object_put(struct collect *c, enum pack_type type, const void *bytes, size_t n,
               uint8_t oid[static 20], struct err *err)
{
    int rc = hash_begin(c, type, n, err);
    if (rc < 0) {
        return rc;
    }
    EVP_DigestUpdate(c->sha, bytes, n);
    hash_end(c, oid);
    rc = object_new(c, oid, err);
    return rc > 0 ? pack_writer_put(c->pack, type, bytes, n, err) : rc;
}

/* Reads exactly `size` bytes, handing each piece to the hash or, with `pack`, to the pack. */
static int read_pieces(struct collect *c, int fd, uint64_t size, bool pack, struct err *err)
{
    uint8_t piece[PIECE];
    for (uint64_t at = 0; at < size;) {
        size_t want = size - at < PIECE ? (size_t)(size - at) : PIECE;
        ssize_t n = pread(fd, piece, want, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return err_set(err, ERR_FAIL, "%.200s: cannot read", c->path);
        }
        if (!pack) {
            EVP_DigestUpdate(c->sha, piece, (size_t)n);
        } else {
            int rc = pack_writer_feed(c->pack, piece, (size_t)n, err);
            if (rc < 0) {
                return rc;
            }
        }
        at += (uint64_t)n;
    }
    return 0;
}

int object_hash_file(struct collect *c, int fd, uint64_t size, uint8_t oid[static 20],
                     struct err *err)
{
    int rc = hash_begin(c, PACK_BLOB, size, err);
    if (rc == 0) {
        rc = read_pieces(c, fd, size, false, err);
    }
    if (rc == 0) {
        hash_end(c, oid);
    }
    return rc;
}

int object_put_file(struct collect *c, int fd, uint64_t size, const uint8_t oid[static 20],
                    struct err *err)
{
    int rc = object_new(c, oid, err);
    if (rc <= 0) {
        return rc;
    }
    rc = pack_writer_begin(c->pack, PACK_BLOB, size, err);
    if (rc == 0) {
        rc = read_pieces(c, fd, size, true, err);
    }
    return rc < 0 ? rc : pack_writer_end(c->pack, err);
}
