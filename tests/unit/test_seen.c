/* The nonce store: once is once, also after restarts, torn writes and a damaged file. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/seen.h"

#define KEY_A "SHA256:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
#define KEY_B "SHA256:BBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBBA"
#define NOW   1000000ull

struct fixture {
    char path[64];
    int dir;
    struct seen *seen;
};

static struct seen_record record(unsigned n, uint64_t exp, const char *key, uint64_t fence)
{
    struct seen_record r = {.exp = exp, .fence = fence};
    memset(r.nonce, (int)n, sizeof r.nonce);
    snprintf(r.attempt, sizeof r.attempt, "01arz3ndektsv4rrffq69g5f%u%u.1", n / 10 % 10, n % 10);
    assert_true(attempt_id_valid(r.attempt));
    snprintf(r.key, sizeof r.key, "%s", key);
    return r;
}

static void open_at(struct fixture *f, uint64_t now)
{
    struct err err = ERR_INIT;
    seen_free(f->seen);
    f->seen = NULL;
    int r = seen_open(f->dir, now, &f->seen, &err);
    if (r < 0)
        fail_msg("%s", err.msg);
}

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->path, sizeof f->path, "/tmp/test_seen.XXXXXX");
    if (!f || !mkdtemp(f->path))
        return -1;
    f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    open_at(f, NOW);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    seen_free(f->seen);
    close(f->dir);
    tree_remove(AT_FDCWD, f->path, NULL);
    free(f);
    return 0;
}

static void add(struct fixture *f, struct seen_record r)
{
    struct err err = ERR_INIT;
    if (seen_add(f->seen, &r, NOW, &err) < 0)
        fail_msg("%s", err.msg);
}

static void raw_write(struct fixture *f, const char *text, size_t len, int flags)
{
    int fd = openat(f->dir, SEEN_FILE, O_WRONLY | O_CLOEXEC | flags, 0600);
    assert_true(fd >= 0);
    assert_int_equal(write_all(fd, text, len), 0);
    close(fd);
}

static void remembers_across_restart(void **state)
{
    struct fixture *f = *state;
    struct seen_record a = record(1, NOW + 100, KEY_A, 7), b = record(2, NOW + 100, KEY_B, 3);
    assert_false(seen_has(f->seen, a.nonce, a.attempt));
    add(f, a);
    add(f, b);
    for (int restart = 0; restart < 3; restart++) {
        assert_true(seen_has(f->seen, a.nonce, b.attempt));
        assert_true(seen_has(f->seen, a.nonce, record(9, 0, KEY_A, 0).attempt)); /* nonce alone */
        assert_true(seen_has(f->seen, record(9, 0, KEY_A, 0).nonce, a.attempt)); /* id alone */
        assert_false(
            seen_has(f->seen, record(9, 0, KEY_A, 0).nonce, record(9, 0, KEY_A, 0).attempt));
        assert_int_equal(seen_fence(f->seen, KEY_A), 7);
        assert_int_equal(seen_fence(f->seen, KEY_B), 3);
        open_at(f, NOW);
    }
}

static void keeps_fences_for_ever_and_records_until_skew(void **state)
{
    struct fixture *f = *state;
    struct seen_record a = record(1, NOW + 100, KEY_A, 7);
    add(f, a);
    open_at(f, NOW + 100 + TASK_SKEW_S);
    assert_true(seen_has(f->seen, a.nonce, a.attempt));
    open_at(f, NOW + 101 + TASK_SKEW_S);
    assert_false(seen_has(f->seen, a.nonce, a.attempt));
    assert_int_equal(seen_fence(f->seen, KEY_A), 7);
    open_at(f, NOW + 1000000);
    assert_int_equal(seen_fence(f->seen, KEY_A), 7);
}

static void fence_never_falls(void **state)
{
    struct fixture *f = *state;
    add(f, record(1, NOW + 100, KEY_A, UINT64_MAX));
    add(f, record(2, NOW + 100, KEY_A, 5));
    assert_true(seen_fence(f->seen, KEY_A) == UINT64_MAX);
    open_at(f, NOW);
    assert_true(seen_fence(f->seen, KEY_A) == UINT64_MAX);
}

static void drops_only_a_torn_last_line(void **state)
{
    struct fixture *f = *state;
    struct seen_record a = record(1, NOW + 100, KEY_A, 7);
    static const char torn[] = "seen 99999";
    add(f, a);
    raw_write(f, torn, strlen(torn), O_APPEND);
    open_at(f, NOW);
    assert_true(seen_has(f->seen, a.nonce, a.attempt));
    raw_write(f, "\0\0\0\0", 4, O_APPEND); /* what a crashed file system may leave */
    open_at(f, NOW);
    assert_true(seen_has(f->seen, a.nonce, a.attempt));
}

static void refuses_what_is_damaged(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {
        "",
        "creel-seen 2\n",
        "creel-seen 1\n\n",
        "creel-seen 1\nfence " KEY_A " 07\n",
        "creel-seen 1\nfence " KEY_A " 7 \n",
        "creel-seen 1\nfence " KEY_A "\n",
        "creel-seen 1\nfence " KEY_A " 18446744073709551616\n",
        "creel-seen 1\nfence SHA256:short 7\n",
        "creel-seen 1\nfence " KEY_A "  7\n",
        "creel-seen 1\nseen 1 00 01arz3ndektsv4rrffq69g5fav.1\n",
        "creel-seen 1\nseen 2000000 0101010101010101010101010101010g "
        "01arz3ndektsv4rrffq69g5fav.1\n",
        "creel-seen 1\nseen 2000000 01010101010101010101010101010101 nonsense\n",
        "creel-seen 1\nseen 2000000 01010101010101010101010101010101 01arz3ndektsv4rrffq69g5fav.1 "
        "x\n",
        "creel-seen 1\nsaw 1\n",
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct seen *s = NULL;
        struct err err = ERR_INIT;
        raw_write(f, bad[i], strlen(bad[i]), O_TRUNC);
        assert_int_equal(seen_open(f->dir, NOW, &s, &err), -ERR_FAIL);
        assert_null(s);
        assert_non_null(strstr(err.msg, "damaged"));
        struct stat st;
        assert_int_equal(fstatat(f->dir, SEEN_FILE, &st, 0), 0);
        assert_int_equal((size_t)st.st_size, strlen(bad[i])); /* never repaired by guessing */
    }
    raw_write(f, "creel-seen 1\nfence " KEY_A " 7\0\n",
              strlen("creel-seen 1\nfence " KEY_A " 7") + 2, O_TRUNC);
    struct seen *s = NULL;
    assert_true(seen_open(f->dir, NOW, &s, NULL) < 0);
    raw_write(f, "creel-seen 1\n", 13, O_TRUNC);
}

static void refuses_when_it_cannot_record(void **state)
{
    struct fixture *f = *state;
    struct seen_record a = record(1, NOW + 100, KEY_A, 7);
    struct err err = ERR_INIT;
    /* The store is open on a file; give it a full device in its place. */
    seen_free(f->seen);
    f->seen = NULL;
    assert_int_equal(unlinkat(f->dir, SEEN_FILE, 0), 0);
    assert_int_equal(mkdirat(f->dir, SEEN_FILE, 0700), 0);
    assert_true(seen_open(f->dir, NOW, &f->seen, &err) < 0);
    assert_int_equal(unlinkat(f->dir, SEEN_FILE, AT_REMOVEDIR), 0);
    open_at(f, NOW);
    add(f, a);
}

/* One key too many is refused before anything of it is on the disk: the store must open again. */
static void refuses_one_key_too_many(void **state)
{
    static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef";
    struct fixture *f = *state;
    struct seen_record r = record(7, NOW + 60, KEY_A, 3);
    struct stat before, after;
    for (unsigned i = 0; i < SEEN_KEYS_MAX; i++) {
        memcpy(r.nonce, &i, sizeof i);
        r.key[7] = base64[i / 32];
        r.key[8] = base64[i % 32];
        add(f, r);
    }
    assert_int_equal(fstatat(f->dir, SEEN_FILE, &before, 0), 0);
    snprintf(r.key, sizeof r.key, "%s", KEY_B);
    r.key[9] = 'x';
    r.nonce[31 % sizeof r.nonce] = 1;
    assert_int_equal(seen_add(f->seen, &r, NOW, NULL), -ERR_FAIL);
    assert_false(seen_has(f->seen, r.nonce, "01arz3ndektsv4rrffq69g5fzz.1"));
    assert_int_equal(fstatat(f->dir, SEEN_FILE, &after, 0), 0);
    assert_int_equal(before.st_size, after.st_size);
    open_at(f, NOW);
    snprintf(r.key, sizeof r.key, "%s", KEY_A);
    r.nonce[0] ^= 0x55;
    add(f, r); /* a known key goes on */
}

static void holds_many(void **state)
{
    struct fixture *f = *state;
    struct seen_record r = record(1, NOW + 100, KEY_A, 1);
    for (unsigned i = 0; i < 300; i++) {
        memcpy(r.nonce, &i, sizeof i);
        r.attempt[0] = '0';
        r.attempt[22] = (char)('a' + i % 8);
        r.attempt[23] = (char)('0' + i / 8 % 10);
        r.fence = i + 1;
        add(f, r);
    }
    open_at(f, NOW);
    for (unsigned i = 0; i < 300; i++) {
        memcpy(r.nonce, &i, sizeof i);
        assert_true(seen_has(f->seen, r.nonce, ""));
    }
    assert_int_equal(seen_fence(f->seen, KEY_A), 300);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(remembers_across_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(keeps_fences_for_ever_and_records_until_skew, setup,
                                        teardown),
        cmocka_unit_test_setup_teardown(fence_never_falls, setup, teardown),
        cmocka_unit_test_setup_teardown(drops_only_a_torn_last_line, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_what_is_damaged, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_when_it_cannot_record, setup, teardown),
        cmocka_unit_test_setup_teardown(refuses_one_key_too_many, setup, teardown),
        cmocka_unit_test_setup_teardown(holds_many, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
