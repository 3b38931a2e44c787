/* Writes a git pack, see the header. The format is git's gitformat-pack(5), version 2. */
#include "common/pack_writer.h"

#include <errno.h>
#include <limits.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>
#include <zlib.h>

#include "common/file.h"

#define OUT_BYTES  (256u << 10)
#define HEAD_BYTES 12
/* Levels above cost several times the time for a tenth of the size; packs are short-lived. */
#define DEFLATE_LEVEL 1

struct pack_writer {
    int fd; /* borrowed */
    uint64_t bytes, max;
    uint32_t objects;
    uint64_t owed; /* of the object that is open */
    bool open;
    z_stream z;
    size_t nout;
    uint8_t out[OUT_BYTES];
};

static int flush_out(struct pack_writer *w, struct err *err)
{
    if (w->bytes + w->nout > w->max) {
        return err_set(err, ERR_REFUSED, "pack larger than %llu bytes", (unsigned long long)w->max);
    }
    if (write_all(w->fd, w->out, w->nout) < 0) {
        return err_errno(err, ERR_FAIL, "cannot write pack");
    }
    w->bytes += w->nout;
    w->nout = 0;
    return 0;
}

static int put_raw(struct pack_writer *w, const uint8_t *bytes, size_t n, struct err *err)
{
    if (w->nout + n > OUT_BYTES) {
        int rc = flush_out(w, err);
        if (rc < 0) {
            return rc;
        }
    }
    memcpy(w->out + w->nout, bytes, n);
    w->nout += n;
    return 0;
}

static int put_head(struct pack_writer *w, struct err *err)
{
    static const uint8_t head[HEAD_BYTES] = {'P', 'A', 'C', 'K', 0, 0, 0, 2};
    return put_raw(w, head, sizeof(head), err);
}

int pack_writer_new(int fd, uint64_t max, struct pack_writer **ret, struct err *err)
{
    struct pack_writer *w = calloc(1, sizeof(*w));
    if (w == NULL) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    w->fd = fd;
    w->max = max;
    if (deflateInit(&w->z, DEFLATE_LEVEL) != Z_OK) {
        free(w);
        return err_set(err, ERR_FAIL, "out of memory");
    }
    int rc = put_head(w, err);
    if (rc < 0) {
        pack_writer_free(w);
        return rc;
    }
    *ret = w;
    return 0;
}

void pack_writer_free(struct pack_writer *w)
{
    if (w != NULL) {
        deflateEnd(&w->z);
        free(w);
    }
}

int pack_writer_begin(struct pack_writer *w, enum pack_type type, uint64_t size, struct err *err)
{
    uint8_t head[16];
    size_t n = 0;
    uint64_t rest = size >> 4;
    head[n] = (uint8_t)((unsigned)type << 4 | (size & 15));
    while (rest > 0) {
        head[n++] |= 0x80;
        head[n] = rest & 0x7f;
        rest >>= 7;
    }
    if (w->objects == UINT32_MAX) {
        return err_set(err, ERR_REFUSED, "too many objects for one pack");
    }
    w->objects++;
    w->owed = size;
    w->open = true;
    deflateReset(&w->z);
    return put_raw(w, head, n + 1, err);
}

/* Runs the compressor until it wants more input, or with Z_FINISH until it is done. */
static int deflate_some(struct pack_writer *w, int flush, struct err *err)
{
    for (;;) {
        if (w->nout == OUT_BYTES) {
            int rc = flush_out(w, err);
            if (rc < 0) {
                return rc;
            }
        }
        w->z.next_out = w->out + w->nout;
        w->z.avail_out = (uInt)(OUT_BYTES - w->nout);
        int z = deflate(&w->z, flush);
        w->nout = OUT_BYTES - w->z.avail_out;
        if (z == Z_STREAM_END || (flush == Z_NO_FLUSH && w->z.avail_in == 0)) {
            return 0;
        }
        if (z != Z_OK && z != Z_BUF_ERROR) {
            return err_set(err, ERR_FAIL, "cannot compress an object");
        }
    }
}

int pack_writer_feed(struct pack_writer *w, const void *bytes, size_t n, struct err *err)
{
    if (!w->open || n > w->owed) {
        return err_set(err, ERR_FAIL, "object is longer than it was said to be");
    }
    w->owed -= n;
    const uint8_t *at = bytes;
    while (n > 0) {
        size_t piece = n > UINT_MAX ? UINT_MAX : n;
        /* zlib's input is not const in its type, but it only reads. */
        w->z.next_in = (Bytef *)(uintptr_t)at;
        w->z.avail_in = (uInt)piece;
        int rc = deflate_some(w, Z_NO_FLUSH, err);
        if (rc < 0) {
            return rc;
        }
        at += piece;
        n -= piece;
    }
    return 0;
}

int pack_writer_end(struct pack_writer *w, struct err *err)
{
    if (!w->open || w->owed != 0) {
        return err_set(err, ERR_FAIL, "object is shorter than it was said to be");
    }
    w->open = false;
    w->z.next_in = NULL;
    w->z.avail_in = 0;
    return deflate_some(w, Z_FINISH, err);
}

int pack_writer_put(struct pack_writer *w, enum pack_type type, const void *bytes, size_t n,
                    struct err *err)
{
    int rc = pack_writer_begin(w, type, n, err);
    if (rc == 0) {
        rc = pack_writer_feed(w, bytes, n, err);
    }
    return rc < 0 ? rc : pack_writer_end(w, err);
}

uint32_t pack_writer_objects(const struct pack_writer *w)
{
    return w->objects;
}

/* SHA-1 over the file as it stands now; w->out is free as a buffer by then. */
static int hash_file(struct pack_writer *w, uint8_t digest[static EVP_MAX_MD_SIZE], struct err *err)
{
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    int rc = 0;
    if (ctx == NULL || EVP_DigestInit_ex(ctx, EVP_sha1(), NULL) != 1) {
        rc = err_set(err, ERR_FAIL, "out of memory");
        goto out;
    }
    for (uint64_t at = 0; at < w->bytes;) {
        ssize_t n = pread(w->fd, w->out, OUT_BYTES, (off_t)at);
        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            rc = err_errno(err, ERR_FAIL, "cannot read pack back");
            goto out;
        }
        EVP_DigestUpdate(ctx, w->out, (size_t)n);
        at += (uint64_t)n;
    }
    EVP_DigestFinal_ex(ctx, digest, NULL);
out:
    EVP_MD_CTX_free(ctx);
    return rc;
}

int pack_writer_finish(struct pack_writer *w, uint64_t *ret_bytes, struct err *err)
{
    uint8_t digest[EVP_MAX_MD_SIZE];
    const uint8_t count[4] = {(uint8_t)(w->objects >> 24), (uint8_t)(w->objects >> 16),
                              (uint8_t)(w->objects >> 8), (uint8_t)w->objects};
    int rc = flush_out(w, err);
    if (rc < 0) {
        return rc;
    }
    if (pwrite(w->fd, count, sizeof(count), 8) != (ssize_t)sizeof(count)) {
        return err_errno(err, ERR_FAIL, "cannot write pack");
    }
    rc = hash_file(w, digest, err);
    if (rc < 0) {
        return rc;
    }
    memcpy(w->out, digest, 20);
    w->nout = 20;
    rc = flush_out(w, err);
    if (rc == 0 && fsync(w->fd) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot write pack");
    }
    if (rc == 0) {
        *ret_bytes = w->bytes;
    }
    return rc;
}
