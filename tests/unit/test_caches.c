/* The store of dependency caches: what it opens, names, refuses and throws away; and the copy that is kept. */
#include "tests/unit/cm.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/cache_keep.h"
#include "runner/caches.h"

struct fixture {
    char dir[64], store[80];
    struct caches caches;
};

static int up(void **state)
{
    struct err err = ERR_INIT;
    struct fixture *f = calloc(1, sizeof *f);
    strcpy(f->dir, "/tmp/creel-caches.XXXXXX");
    if (!mkdtemp(f->dir))
        return -1;
    snprintf(f->store, sizeof f->store, "%s/store", f->dir);
    *state = f;
    return mkdir(f->store, 0700) < 0 ? -1 : caches_open(&f->caches, f->store, &err);
}

static int down(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    caches_done(&f->caches);
    tree_remove(AT_FDCWD, f->dir, &err);
    free(f);
    return 0;
}

static void digest_of(unsigned n, char out[static CACHE_DIGEST_SIZE])
{
    snprintf(out, CACHE_DIGEST_SIZE, "%064x", n);
}

static bool is_there(const struct fixture *f, const char *name)
{
    return faccessat(f->caches.dir, name, F_OK, AT_SYMLINK_NOFOLLOW) == 0;
}

static void keep(struct fixture *f, unsigned n, const char *const *used, size_t nused)
{
    struct err err = ERR_INIT;
    char path[CACHES_PATH_MAX], digest[CACHE_DIGEST_SIZE];
    const struct timespec when[2] = {{.tv_sec = 1000 + n}, {.tv_sec = 1000 + n}};
    digest_of(n, digest);
    assert_ok(caches_begin(&f->caches, 0, geteuid(), used, nused, path, &err));
    assert_ok(caches_commit(&f->caches, 0, digest, &err));
    assert_int_equal(utimensat(f->caches.dir, digest, when, 0), 0);
}

static void only_its_own(void **state)
{
    struct fixture *f = *state;
    struct caches c;
    struct err err = ERR_INIT;
    assert_ok(caches_open(&c, NULL, &err));
    assert_int_equal(c.dir, -1);
    chmod(f->store, 0755);
    assert_true(caches_open(&c, f->store, &err) < 0);
    chmod(f->store, 0700);
    assert_true(caches_open(&c, "/nonexistent/caches", &err) < 0);
    /* What a crash left half made is gone, what has a name stays. */
    keep(f, 1, NULL, 0);
    assert_int_equal(mkdirat(f->caches.dir, ".new-3", 0700), 0);
    assert_int_equal(mkdirat(f->caches.dir, ".new-3/x", 0700), 0);
    assert_ok(caches_open(&c, f->store, &err));
    caches_done(&c);
    char digest[CACHE_DIGEST_SIZE];
    digest_of(1, digest);
    assert_false(is_there(f, ".new-3"));
    assert_true(is_there(f, digest));
}

static void found_by_digest_only(void **state)
{
    static const char *const wrong[] = {
        "",
        "..",
        ".",
        "../store",
        ".new-0",
        "abc",
        "000000000000000000000000000000000000000000000000000000000000000G",
        "00000000000000000000000000000000000000000000000000000000000000001"};
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[CACHES_PATH_MAX], digest[CACHE_DIGEST_SIZE], due[160];
    keep(f, 7, NULL, 0);
    digest_of(7, digest);
    assert_ok(caches_find(&f->caches, digest, path, &err));
    snprintf(due, sizeof due, "%s/%s", f->store, digest);
    assert_string_equal(path, due);
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        err = (struct err)ERR_INIT;
        assert_int_equal(caches_find(&f->caches, wrong[i], path, &err), -ERR_REFUSED);
        assert_true(caches_commit(&f->caches, 0, wrong[i], &err) < 0);
    }
    digest_of(8, digest);
    assert_int_equal(symlinkat("/etc", f->caches.dir, digest), 0);
    assert_int_equal(caches_find(&f->caches, digest, path, &err), -ERR_REFUSED);
}

static void oldest_goes(void **state)
{
    struct fixture *f = *state;
    char digest[CACHE_DIGEST_SIZE], used[CACHE_DIGEST_SIZE];
    digest_of(1, used);
    const char *const list[] = {used};
    for (unsigned i = 1; i <= CACHES_MAX; i++)
        keep(f, i, list, 1);
    keep(f, CACHES_MAX + 1, list, 1);
    /* The first is the oldest, but in use. */
    assert_true(is_there(f, used));
    digest_of(2, digest);
    assert_false(is_there(f, digest));
    digest_of(3, digest);
    assert_true(is_there(f, digest));
}

static void one_that_is_there_wins(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char path[CACHES_PATH_MAX], digest[CACHE_DIGEST_SIZE], file[CACHES_PATH_MAX + 8];
    digest_of(5, digest);
    keep(f, 5, NULL, 0);
    assert_ok(caches_begin(&f->caches, 1, geteuid(), NULL, 0, path, &err));
    snprintf(file, sizeof file, "%s/new", path);
    int fd = open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    close(fd);
    assert_ok(caches_commit(&f->caches, 1, digest, &err));
    assert_false(is_there(f, ".new-1"));
    snprintf(file, sizeof file, "%s/%s/new", f->store, digest);
    assert_int_equal(access(file, F_OK), -1);
    caches_abort(&f->caches, 1);
}

static void put(const char *dir, const char *name, const char *text, mode_t mode)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, text, strlen(text)), 0);
    assert_int_equal(fchmod(fd, mode), 0);
    close(fd);
}

static void made(const struct fixture *f, const char *name, char out[static 128])
{
    snprintf(out, 128, "%s/%s", f->dir, name);
    assert_int_equal(mkdir(out, 0700), 0);
}

/* The digest tells contents, names, kinds and the executable bit apart, and nothing else. */
static void digest_tells_content(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char from[128], to[128], path[256], first[65], other[65];
    made(f, "from", from);
    put(from, "a", "text", 0600);
    put(from, "b", "", 0755);
    snprintf(path, sizeof path, "%s/d", from);
    assert_int_equal(mkdir(path, 0700), 0);
    put(path, "deep", "x", 0444);
    made(f, "to1", to);
    assert_ok(cache_keep(from, to, 100, first, &err));
    assert_true(cache_digest_valid(first));
    made(f, "to2", to);
    put(from, "a", "text", 0640);
    assert_ok(cache_keep(from, to, 100, other, &err));
    assert_string_equal(first, other);
    made(f, "to3", to);
    put(from, "a", "text", 0700);
    assert_ok(cache_keep(from, to, 100, other, &err));
    assert_string_not_equal(first, other);
    made(f, "to4", to);
    put(from, "a", "Text", 0600);
    assert_ok(cache_keep(from, to, 100, other, &err));
    assert_string_not_equal(first, other);
}

static void bounded(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    char from[128], to[128], hex[65], path[4096] = "";
    made(f, "from", from);
    made(f, "to1", to);
    assert_ok(cache_keep(from, to, 100, hex, &err));
    assert_string_equal(hex, "");
    put(from, "a", "12345", 0600);
    put(from, "b", "12345", 0600);
    made(f, "to2", to);
    assert_says(cache_keep(from, to, 9, hex, &err), "too large");
    made(f, "to3", to);
    assert_ok(cache_keep(from, to, 10, hex, &err));
    /* A sparse file counts with what it would take when copied. */
    snprintf(path, sizeof path, "%s/sparse", from);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0 && ftruncate(fd, 1l << 40) == 0);
    close(fd);
    made(f, "to4", to);
    assert_says(cache_keep(from, to, 1 << 20, hex, &err), "too large");
    unlink(path);
    snprintf(path, sizeof path, "%s", from);
    for (unsigned i = 0; i <= CACHE_DEPTH_MAX; i++) {
        strcat(path, "/d");
        assert_int_equal(mkdir(path, 0700), 0);
    }
    made(f, "to5", to);
    assert_says(cache_keep(from, to, 100, hex, &err), "deeper");
}

#define STORE_TEST(name) cmocka_unit_test_setup_teardown(name, up, down)

int main(void)
{
    static const struct CMUnitTest tests[] = {
        STORE_TEST(only_its_own),         STORE_TEST(found_by_digest_only),
        STORE_TEST(oldest_goes),          STORE_TEST(one_that_is_there_wins),
        STORE_TEST(digest_tells_content), STORE_TEST(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
