/* The pristine list, see the header: kept as one array and one pool of paths, on disk as in memory
 * (the same program on the same host reads it back). */
#include "runner/pristine.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "common/file.h"
#include "common/tree_entry.h"
#include "proto/buf.h"

#define PRISTINE_NAME  "creel-pristine"
#define PRISTINE_MAGIC "creelpr1"
#define POOL_MAX       (4ull << 30)
#define INDEX_MAX      (8ull << 30)

struct pristine_head {
    char magic[8];
    uint64_t n, pool_len;
};

/* Doubles the array that `*mem` points to until it holds `need` elements of `size` bytes. */
static int grow(void *mem, size_t *cap, size_t need, size_t size)
{
    void *old;
    memcpy(&old, mem, sizeof(old)); /* `mem` points to a pointer of any type */
    size_t want = *cap == 0 ? 1024 : *cap;
    while (want < need) {
        want *= 2;
    }
    if (want == *cap) {
        return 0;
    }
    void *bigger = reallocarray(old, want, size);
    if (bigger == NULL) {
        return -1;
    }
    memcpy(mem, &bigger, sizeof(bigger));
    *cap = want;
    return 0;
}

int pristine_add(struct pristine *p, const char *path, uint32_t mode, const uint8_t oid[static 20],
                 const struct stat *st, struct err *err)
{
    size_t len = strlen(path);
    if (p->pool_len + len + 1 > POOL_MAX || grow(&p->v, &p->cap, p->n + 1, sizeof(*p->v)) < 0 ||
        grow(&p->pool, &p->pool_cap, p->pool_len + len + 1, 1) < 0) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    struct pristine_entry *e = &p->v[p->n++];
    *e = (struct pristine_entry){.path = p->pool_len, .path_len = (uint32_t)len, .mode = mode};
    memcpy(e->oid, oid, sizeof(e->oid));
    memcpy(p->pool + p->pool_len, path, len + 1);
    p->pool_len += len + 1;
    if (st != NULL) {
        e->mtime_s = st->st_mtim.tv_sec;
        e->mtime_ns = (uint32_t)st->st_mtim.tv_nsec;
        e->ctime_s = st->st_ctim.tv_sec;
        e->ctime_ns = (uint32_t)st->st_ctim.tv_nsec;
        e->ino = st->st_ino;
        e->size = (uint64_t)st->st_size;
        e->dev = (uint32_t)st->st_dev;
        e->uid = st->st_uid;
        e->gid = st->st_gid;
    }
    return 0;
}

void pristine_done(struct pristine *p)
{
    free(p->v);
    free(p->pool);
    *p = (struct pristine){0};
}

const char *pristine_path(const struct pristine *p, const struct pristine_entry *e)
{
    return p->pool + e->path;
}

int pristine_save(const struct pristine *p, int dirfd, struct err *err)
{
    struct pristine_head head = {.n = p->n, .pool_len = p->pool_len};
    memcpy(head.magic, PRISTINE_MAGIC, sizeof(head.magic));
    int fd =
        openat(dirfd, PRISTINE_NAME, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return err_errno(err, ERR_FAIL, "cannot make %s", PRISTINE_NAME);
    }
    int rc = 0;
    if (write_all(fd, &head, sizeof(head)) < 0 || write_all(fd, p->v, p->n * sizeof(*p->v)) < 0 ||
        write_all(fd, p->pool, p->pool_len) < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot write %s", PRISTINE_NAME);
    }
    close(fd);
    return rc;
}

static int read_all(int fd, void *to, size_t n)
{
    for (uint8_t *at = to; n > 0;) {
        ssize_t got = read(fd, at, n);
        if (got < 0 && errno == EINTR) {
            continue;
        }
        if (got <= 0) {
            return -1;
        }
        at += got;
        n -= (size_t)got;
    }
    return 0;
}

int pristine_load(struct pristine *ret, int dirfd, struct err *err)
{
    struct pristine p = {0};
    struct pristine_head head;
    struct stat st;
    int rc = -1;
    int fd = openat(dirfd, PRISTINE_NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || read_all(fd, &head, sizeof(head)) < 0 ||
        memcmp(head.magic, PRISTINE_MAGIC, sizeof(head.magic)) != 0 || head.n > TREE_ENTRIES_MAX ||
        head.pool_len > POOL_MAX ||
        (uint64_t)st.st_size != sizeof(head) + head.n * sizeof(*p.v) + head.pool_len) {
        goto out;
    }
    p.n = head.n;
    p.pool_len = head.pool_len;
    p.v = calloc(p.n + 1, sizeof(*p.v));
    p.pool = malloc(p.pool_len + 1);
    if (p.v == NULL || p.pool == NULL || read_all(fd, p.v, p.n * sizeof(*p.v)) < 0 ||
        read_all(fd, p.pool, p.pool_len) < 0) {
        goto out;
    }
    p.pool[p.pool_len] = '\0';
    *ret = p;
    p = (struct pristine){0};
    rc = 0;
out:
    pristine_done(&p);
    fd_close(&fd);
    return rc < 0 ? err_set(err, ERR_FAIL, "cannot read %s", PRISTINE_NAME) : 0;
}

/* Index of the first entry whose path is not before `path`. */
static size_t lower_bound(const struct pristine *p, const char *path)
{
    size_t lo = 0, hi = p->n;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (strcmp(pristine_path(p, &p->v[mid]), path) < 0) {
            lo = mid + 1;
        } else {
            hi = mid;
        }
    }
    return lo;
}

const struct pristine_entry *pristine_find(const struct pristine *p, const char *path)
{
    size_t i = lower_bound(p, path);
    return i < p->n && strcmp(pristine_path(p, &p->v[i]), path) == 0 ? &p->v[i] : NULL;
}

bool pristine_below(const struct pristine *p, const char *dir)
{
    char prefix[TREE_PATH_MAX + 2];
    size_t len = strlen(dir);
    if (len == 0 || len > TREE_PATH_MAX) {
        return len == 0;
    }
    memcpy(prefix, dir, len);
    memcpy(prefix + len, "/", 2);
    size_t i = lower_bound(p, prefix);
    return i < p->n && strncmp(pristine_path(p, &p->v[i]), prefix, len + 1) == 0;
}

static void put32(uint8_t **at, uint64_t v)
{
    uint32_t be = htonl((uint32_t)v);
    memcpy(*at, &be, sizeof(be));
    *at += sizeof(be);
}

/* One index entry: 62 bytes, the path, 1 to 8 NULs up to a multiple of eight. */
static int put_index_entry(const struct pristine *p, const struct pristine_entry *e, struct buf *to)
{
    size_t size = (62 + e->path_len + 8) & ~(size_t)7;
    uint8_t *start = buf_room(to, size);
    if (start == NULL) {
        return -1;
    }
    memset(start, 0, size);
    uint8_t *at = start;
    put32(&at, (uint64_t)e->ctime_s);
    put32(&at, e->ctime_ns);
    put32(&at, (uint64_t)e->mtime_s);
    put32(&at, e->mtime_ns);
    put32(&at, e->dev);
    put32(&at, e->ino);
    put32(&at, e->mode == 0100664 ? 0100644 : e->mode); /* git knows two kinds of file here */
    put32(&at, e->uid);
    put32(&at, e->gid);
    put32(&at, e->size);
    memcpy(at, e->oid, sizeof(e->oid));
    at += sizeof(e->oid);
    uint16_t flags = htons((uint16_t)(e->path_len < 0xfff ? e->path_len : 0xfff));
    memcpy(at, &flags, sizeof(flags));
    memcpy(at + sizeof(flags), pristine_path(p, e), e->path_len);
    buf_wrote(to, size);
    return 0;
}

static int build_index(const struct pristine *p, struct buf *to, struct err *err)
{
    uint8_t head[12], *at = head + 4;
    uint8_t digest[EVP_MAX_MD_SIZE];
    memcpy(head, "DIRC", 4);
    put32(&at, 2);
    put32(&at, p->n);
    buf_add(to, head, sizeof(head));
    for (size_t i = 0; i < p->n && !to->failed; i++) {
        put_index_entry(p, &p->v[i], to);
    }
    if (EVP_Digest(to->data, to->len, digest, NULL, EVP_sha1(), NULL) != 1 ||
        buf_add(to, digest, 20) < 0 || to->failed) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    return 0;
}

int pristine_write_index(const struct pristine *p, int dirfd, const char *name, struct err *err)
{
    struct buf index;
    buf_init(&index, INDEX_MAX);
    int rc = build_index(p, &index, err);
    int fd = -1;
    if (rc == 0) {
        fd = openat(dirfd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0 || write_all(fd, index.data, index.len) < 0) {
            rc = err_errno(err, ERR_FAIL, "cannot write .git/%s", name);
        }
    }
    fd_close(&fd);
    buf_done(&index);
    return rc;
}
