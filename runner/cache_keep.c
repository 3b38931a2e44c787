/* Copies a dependency cache and names it by its content; see cache_keep.h. */
#include "runner/cache_keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "common/sha256.h"
#include "proto/json.h"

#define DIR_FLAGS (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
#define CHUNK     (256u << 10)

struct keep {
    struct sha256 *tree;
    uint64_t left; /* bytes of content that may still come */
    uint32_t entries;
    size_t path_len;
    char path[PATH_MAX];
    uint8_t *chunk; /* CHUNK bytes */
};

static int by_bytes(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The names of a directory, sorted. Takes no descriptor. */
static int names_of(struct keep *k, int fd, struct strv *out, struct err *err)
{
    struct dirent *e;
    int again = openat(fd, ".", DIR_FLAGS);
    DIR *d = again >= 0 ? fdopendir(again) : NULL;
    if (!d) {
        fd_close(&again);
        return err_errno(err, ERR_FAIL, "a directory of the cache cannot be read");
    }
    int rc = 0;
    while (rc == 0 && (e = readdir(d))) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
            continue;
        if (++k->entries > CACHE_ENTRIES_MAX)
            rc = err_set(err, ERR_FAIL, "the cache has more than %u entries", CACHE_ENTRIES_MAX);
        else if (strv_add(out, e->d_name) < 0)
            rc = err_set(err, ERR_FAIL, "out of memory");
    }
    closedir(d);
    if (rc == 0 && out->n > 1)
        qsort(out->v, out->n, sizeof *out->v, by_bytes);
    return rc;
}

static void record(struct keep *k, const char *head)
{
    sha256_add(k->tree, head, strlen(head));
    sha256_add(k->tree, k->path, k->path_len + 1);
}

static int copy_content(struct keep *k, int in, int out, uint64_t *ret_size, char hex[static 65],
                        struct err *err)
{
    uint8_t digest[SHA256_BYTES];
    struct sha256 *sha = sha256_new();
    ssize_t n = sha ? 1 : -1;
    *ret_size = 0;
    while (n > 0) {
        n = read(in, k->chunk, CHUNK);
        if (n > 0 && (uint64_t)n > k->left) {
            sha256_free(sha);
            return err_set(err, ERR_FAIL, "the cache is too large to be kept");
        }
        if (n > 0 && write_all(out, k->chunk, (size_t)n) < 0)
            n = -1;
        if (n > 0) {
            sha256_add(sha, k->chunk, (size_t)n);
            k->left -= (uint64_t)n;
            *ret_size += (uint64_t)n;
        }
    }
    if (n < 0) {
        sha256_free(sha);
        return err_errno(err, ERR_FAIL, "a file of the cache cannot be copied");
    }
    sha256_end(sha, digest);
    sha256_hex(digest, hex);
    return 0;
}

static int keep_file(struct keep *k, int from, int to, const char *name, struct err *err)
{
    char hex[65], head[128];
    uint64_t size = 0;
    struct stat st;
    int rc = 0, out = -1, in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    if (in < 0 || fstat(in, &st) < 0 || !S_ISREG(st.st_mode)) {
        rc = err_errno(err, ERR_FAIL, "a file of the cache cannot be opened");
        goto out;
    }
    bool runs = st.st_mode & 0100;
    out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (out < 0)
        rc = err_errno(err, ERR_FAIL, "a file of the cache cannot be made");
    else
        rc = copy_content(k, in, out, &size, hex, err);
    if (rc == 0 && fchmod(out, runs ? 0755 : 0644) < 0)
        rc = err_errno(err, ERR_FAIL, "a file of the cache cannot be given its mode");
    if (rc == 0) {
        snprintf(head, sizeof head, "%c %" PRIu64 " %s ", runs ? 'x' : 'f', size, hex);
        record(k, head);
    }
out:
    fd_close(&in);
    fd_close(&out);
    return rc;
}

static int keep_link(struct keep *k, int from, int to, const char *name, struct err *err)
{
    char target[PATH_MAX];
    ssize_t n = readlinkat(from, name, target, sizeof target - 1);
    if (n <= 0)
        return err_errno(err, ERR_FAIL, "a link of the cache cannot be read");
    target[n] = 0;
    if (symlinkat(target, to, name) < 0)
        return err_errno(err, ERR_FAIL, "a link of the cache cannot be made");
    sha256_add(k->tree, "l ", 2);
    sha256_add(k->tree, target, (size_t)n + 1);
    record(k, "");
    return 0;
}

static int keep_dir(struct keep *k, int from, int to, unsigned depth, struct err *err);

static int keep_below(struct keep *k, int from, int to, const char *name, unsigned depth,
                      struct err *err)
{
    int rc, below_from = openat(from, name, DIR_FLAGS), below_to = -1;
    if (below_from < 0 || mkdirat(to, name, 0755) < 0 ||
        (below_to = openat(to, name, DIR_FLAGS)) < 0) {
        rc = err_errno(err, ERR_FAIL, "a directory of the cache cannot be copied");
    } else {
        record(k, "d ");
        rc = keep_dir(k, below_from, below_to, depth + 1, err);
    }
    fd_close(&below_from);
    fd_close(&below_to);
    return rc;
}

static int keep_entry(struct keep *k, int from, int to, const char *name, unsigned depth,
                      struct err *err)
{
    struct stat st;
    size_t before = k->path_len;
    int n = snprintf(k->path + before, sizeof k->path - before, "%s%s", before ? "/" : "", name);
    int rc = 0;
    if (n < 0 || (size_t)n >= sizeof k->path - before)
        return err_set(err, ERR_FAIL, "a path of the cache is too long");
    k->path_len += (size_t)n;
    if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
        rc = err_errno(err, ERR_FAIL, "an entry of the cache cannot be looked at");
    else if (S_ISREG(st.st_mode))
        rc = keep_file(k, from, to, name, err);
    else if (S_ISDIR(st.st_mode))
        rc = keep_below(k, from, to, name, depth, err);
    else if (S_ISLNK(st.st_mode))
        rc = keep_link(k, from, to, name, err);
    k->path_len = before;
    k->path[before] = 0;
    return rc;
}

/* Recursive: CACHE_DEPTH_MAX bounds stack and descriptors. */
static int keep_dir(struct keep *k, int from, int to, unsigned depth, struct err *err)
{
    struct strv names = {0};
    if (depth > CACHE_DEPTH_MAX)
        return err_set(err, ERR_FAIL, "the cache is deeper than %u directories", CACHE_DEPTH_MAX);
    int rc = names_of(k, from, &names, err);
    for (size_t i = 0; rc == 0 && i < names.n; i++)
        rc = keep_entry(k, from, to, names.v[i], depth, err);
    strv_done(&names);
    return rc;
}

int cache_keep(const char *from, const char *to, uint64_t bytes, char ret_hex[static 65],
               struct err *err)
{
    static const char version[] = "creel-cache-v1\n";
    uint8_t digest[SHA256_BYTES];
    struct keep k = {.tree = sha256_new(), .left = bytes, .chunk = malloc(CHUNK)};
    int rc = 0, in = open(from, DIR_FLAGS), out = open(to, DIR_FLAGS);
    if (!k.tree || !k.chunk || in < 0 || out < 0) {
        rc = err_errno(err, ERR_FAIL, "cannot open %s and %s", from, to);
        goto out;
    }
    sha256_add(k.tree, version, sizeof version - 1);
    rc = keep_dir(&k, in, out, 0, err);
    /* A name that stands for a content must not outlive it: on the disk before it is named. */
    if (rc == 0 && syncfs(out) < 0)
        rc = err_errno(err, ERR_FAIL, "the cache cannot be synced");
    if (rc < 0)
        goto out;
    sha256_end(k.tree, digest);
    k.tree = NULL;
    sha256_hex(digest, ret_hex);
    if (k.entries == 0)
        ret_hex[0] = 0;
out:
    sha256_free(k.tree);
    free(k.chunk);
    fd_close(&in);
    fd_close(&out);
    return rc;
}
