/* The log spool: bounded, byte-exact from any offset, chained as it grows. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <signal.h>
#include <unistd.h>

#include "common/file.h"
#include "runner/spool.h"

#define ATTEMPT "01arz3ndektsv4rrffq69g5fav.1"

struct fixture {
    char path[64];
    int dir;
    struct spool *spool;
};

struct watcher {
    struct spool_follower f;
    int woken;
    bool leave;
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->path, sizeof f->path, "/tmp/test_spool.XXXXXX");
    if (!mkdtemp(f->path))
        return -1;
    f->dir = open(f->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    spool_remove(f->spool, NULL);
    close(f->dir);
    tree_remove(AT_FDCWD, f->path, NULL);
    free(f);
    return 0;
}

static void begin(struct fixture *f, uint64_t limit)
{
    struct err err = ERR_INIT;
    if (spool_open(f->dir, ATTEMPT, limit, &f->spool, &err) < 0)
        fail_msg("%s", err.msg);
}

static void put(struct fixture *f, enum log_stream s, const char *text, size_t len)
{
    memcpy(spool_room(f->spool), text, len);
    spool_put(f->spool, s, 5, len);
}

/* Everything, in pieces of `step`. */
static void read_all(struct fixture *f, size_t step, struct buf *to)
{
    uint8_t piece[4096];
    ssize_t n;
    buf_init(to, 64u << 20);
    while ((n = spool_read(f->spool, to->len, piece, step)) > 0)
        buf_add(to, piece, (size_t)n);
    assert_int_equal(n, 0);
    assert_int_equal(to->len, spool_bytes(f->spool));
}

/* Payload by stream; checks form and chain. */
static void check_frames(struct fixture *f, size_t payload[LOG_STREAM_COUNT])
{
    struct buf all;
    struct log_frame lf;
    size_t at = 0, used;
    uint8_t h[32] = {0}, want[32];
    read_all(f, 1000, &all);
    memset(payload, 0, LOG_STREAM_COUNT * sizeof *payload);
    while (at < all.len) {
        assert_int_equal(log_frame_get(all.data + at, all.len - at, &lf, &used, NULL), 1);
        sha256_link(h, all.data + at, used);
        payload[lf.stream] += lf.len;
        at += used;
    }
    spool_chain(f->spool, want);
    assert_memory_equal(h, want, 32);
    buf_done(&all);
}

static void reads_what_was_put_from_any_offset(void **state)
{
    struct fixture *f = *state;
    struct buf all;
    size_t payload[LOG_STREAM_COUNT];
    begin(f, 1u << 20);
    assert_int_equal(spool_read(f->spool, 0, (char[1]){0}, 1), 0);
    put(f, LOG_OUT, "hello\n", 6);
    put(f, LOG_ERR, "\x1b[0m\0x", 7);
    spool_note(f->spool, 9, "exit %d\n", 0);
    put(f, LOG_OUT, "", 0); /* nothing is no frame */
    check_frames(f, payload);
    assert_int_equal(payload[LOG_OUT], 6);
    assert_int_equal(payload[LOG_ERR], 7);
    assert_int_equal(payload[LOG_NOTE], 6);
    read_all(f, 4096, &all);
    for (size_t from = 0; from <= all.len; from++) {
        uint8_t rest[256];
        ssize_t n = spool_read(f->spool, from, rest, sizeof rest);
        assert_int_equal(n, all.len - from);
        assert_memory_equal(rest, all.data + from, (size_t)n);
    }
    assert_int_equal(spool_read(f->spool, all.len + 1, (char[1]){0}, 1), 0);
    buf_done(&all);
}

static void cuts_at_the_limit_and_counts(void **state)
{
    struct fixture *f = *state;
    size_t payload[LOG_STREAM_COUNT];
    char block[1000];
    memset(block, 'x', sizeof block);
    begin(f, 2500);
    for (int i = 0; i < 10; i++)
        put(f, i % 2 ? LOG_ERR : LOG_OUT, block, sizeof block);
    spool_note(f->spool, 9, "exit 0");
    check_frames(f, payload);
    assert_int_equal(payload[LOG_OUT] + payload[LOG_ERR], 2500);
    assert_int_equal(spool_dropped(f->spool), 7500);
    assert_true(payload[LOG_NOTE] > 6 &&
                payload[LOG_NOTE] < 200); /* one note at the cut, one after */
}

static void bounds_heads_of_tiny_frames(void **state)
{
    struct fixture *f = *state;
    size_t payload[LOG_STREAM_COUNT];
    begin(f, 10000);
    for (int i = 0; i < 20000; i++)
        put(f, LOG_OUT, "x", 1);
    check_frames(f, payload);
    assert_true(spool_bytes(f->spool) < 2 * 10000 + 2 * LOG_PAYLOAD_MAX);
    assert_int_equal(payload[LOG_OUT] + spool_dropped(f->spool), 20000);
    assert_true(spool_dropped(f->spool) > 0);
}

static void survives_a_full_disk(void **state)
{
    struct fixture *f = *state;
    struct rlimit old, small = {8000, 8000};
    size_t payload[LOG_STREAM_COUNT];
    char block[3000];
    memset(block, 'y', sizeof block);
    begin(f, 1u << 20);
    getrlimit(RLIMIT_FSIZE, &old);
    small.rlim_max = old.rlim_max;
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small); /* the third block does not fit whole */
    for (int i = 0; i < 5; i++)
        put(f, LOG_OUT, block, sizeof block);
    setrlimit(RLIMIT_FSIZE, &old);
    check_frames(f, payload); /* whole frames only */
    assert_int_equal(payload[LOG_OUT], 6000);
    assert_int_equal(spool_dropped(f->spool), 9000);
    assert_true(payload[LOG_NOTE] > 0);
}

static void notes_are_one_neutral_line(void **state)
{
    struct fixture *f = *state;
    struct buf all;
    begin(f, 1000);
    spool_note(f->spool, 1, "$ %s",
               "a\nb\x1b[31m\xff\xe2\x80\xae"
               "c\xc3\xa9");
    read_all(f, 100, &all);
    assert_memory_equal(all.data + LOG_FRAME_HEAD_BYTES, "$ a b?[31m????c\xc3\xa9",
                        all.len - LOG_FRAME_HEAD_BYTES);
    buf_done(&all);
}

static void on_wake(struct spool_follower *f)
{
    struct watcher *w = (struct watcher *)(void *)f;
    w->woken++;
    if (w->leave)
        spool_unfollow(f);
}

static void wakes_followers(void **state)
{
    struct fixture *f = *state;
    struct watcher a = {.f.wake = on_wake}, b = {.f.wake = on_wake, .leave = true},
                   c = {.f.wake = on_wake};
    begin(f, 1000);
    spool_follow(f->spool, &a.f);
    spool_follow(f->spool, &b.f);
    spool_follow(f->spool, &c.f);
    put(f, LOG_OUT, "x", 1);
    spool_wake(f->spool);
    spool_unfollow(&c.f);
    spool_unfollow(&c.f);
    spool_finish(f->spool);
    assert_int_equal(a.woken, 2);
    assert_int_equal(b.woken, 1);
    assert_int_equal(c.woken, 1);
    assert_true(spool_complete(f->spool));
    uint64_t before = spool_bytes(f->spool);
    spool_note(f->spool, 9, "late"); /* a complete log never changes */
    assert_int_equal(spool_bytes(f->spool), before);
    assert_int_equal(spool_remove(f->spool, NULL), 0);
    f->spool = NULL;
    spool_unfollow(&a.f);
    assert_int_not_equal(faccessat(f->dir, ATTEMPT ".log", F_OK, 0), 0);
}

static void never_takes_over_a_file(void **state)
{
    struct fixture *f = *state;
    struct spool *other = NULL;
    begin(f, 1000);
    assert_true(spool_open(f->dir, ATTEMPT, 1000, &other, NULL) < 0);
    assert_null(other);
}

static void remove_says_when_it_could_not(void **state)
{
    struct fixture *f = *state;
    struct err err = ERR_INIT;
    begin(f, 1000);
    assert_int_equal(linkat(f->dir, ATTEMPT ".log", f->dir, "copy", 0), 0);
    assert_true(spool_remove(f->spool, &err) < 0);
    f->spool = NULL;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_what_was_put_from_any_offset, setup, teardown),
        cmocka_unit_test_setup_teardown(cuts_at_the_limit_and_counts, setup, teardown),
        cmocka_unit_test_setup_teardown(bounds_heads_of_tiny_frames, setup, teardown),
        cmocka_unit_test_setup_teardown(survives_a_full_disk, setup, teardown),
        cmocka_unit_test_setup_teardown(notes_are_one_neutral_line, setup, teardown),
        cmocka_unit_test_setup_teardown(wakes_followers, setup, teardown),
        cmocka_unit_test_setup_teardown(never_takes_over_a_file, setup, teardown),
        cmocka_unit_test_setup_teardown(remove_says_when_it_could_not, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
