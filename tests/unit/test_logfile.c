/* A log read while it grows, at every split of its bytes; what of it a terminal gets to see. */
#include "tests/unit/tool.h"

#include "common/sha256.h"
#include "controller/logfile.h"
#include "tests/unit/cm.h"
#include "tests/unit/doc_samples.h"

static struct err err;

struct fixture {
    struct tool t;
    struct paths p;
    int dirfd, fd; /* the task's directory, its log */
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof(*f));

    tool_init(&f->t);
    assert_ok(paths_open(tool_path(&f->t, "s"), true, &f->p, &err));
    f->dirfd = paths_task_dir(&f->p, SAMPLE_ID, true, &err);
    f->fd = -1;
    *state = f;
    return f->dirfd < 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;

    fd_close(&f->fd);
    fd_close(&f->dirfd);
    paths_close(&f->p);
    tool_done(&f->t);
    free(f);
    return 0;
}

static void append(struct fixture *f, const void *bytes, size_t n)
{
    if (f->fd < 0)
        f->fd = openat(f->dirfd, "log", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_true(f->fd >= 0);
    assert_int_equal(write_all(f->fd, bytes, n), 0);
}

static void frames(struct buf *b)
{
    log_frame_put(b, LOG_NOTE, 1, "$ make", 6);
    log_frame_put(b, LOG_OUT, 2, "out\n", 4);
    log_frame_put(b, LOG_ERR, 3, "", 0);
    log_frame_put(b, LOG_ERR, 4, "err\x1b[31m", 8);
}

static void absent_then_growing_byte_by_byte(void **state)
{
    struct fixture *f = *state;
    struct log_frame got;
    struct logfile *l;
    struct buf b;
    size_t seen = 0;

    buf_init(&b, 4096);
    frames(&b);
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    assert_int_equal(logfile_next(l, &got, &err), 0);
    for (size_t i = 0; i < b.len; i++) {
        append(f, b.data + i, 1);
        int rc = logfile_next(l, &got, &err);
        if (rc == 1) {
            seen++;
            assert_int_equal(got.at_us, seen);
            assert_int_equal(logfile_offset(l), i + 1);
            assert_int_equal(logfile_next(l, &got, &err), 0);
        }
    }
    assert_int_equal(seen, 4);
    assert_int_equal(got.len, 8);
    logfile_close(l);
    buf_done(&b);
}

static void large_frames_cross_the_reader(void **state)
{
    enum { FRAMES = 40 };
    struct fixture *f = *state;
    uint8_t *payload = malloc(LOG_PAYLOAD_MAX);
    uint8_t chain[32] = {0}, got_chain[32];
    struct log_frame got;
    struct logfile *l;
    struct buf b;

    buf_init(&b, LOG_PAYLOAD_MAX + 64);
    for (unsigned i = 0; i < FRAMES; i++) {
        size_t n = LOG_PAYLOAD_MAX - i * 1000;

        memset(payload, (int)i, n);
        buf_clear(&b);
        assert_int_equal(log_frame_put(&b, LOG_OUT, i, payload, n), 0);
        sha256_link(chain, b.data, b.len);
        append(f, b.data, b.len);
    }
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    for (unsigned i = 0; i < FRAMES; i++) {
        assert_int_equal(logfile_next(l, &got, &err), 1);
        assert_int_equal(got.len, LOG_PAYLOAD_MAX - i * 1000);
        assert_int_equal(got.payload[0], i);
        assert_int_equal(got.payload[got.len - 1], i);
    }
    assert_int_equal(logfile_next(l, &got, &err), 0);
    logfile_close(l);
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    assert_ok(logfile_digest(l, got_chain, &err));
    assert_memory_equal(chain, got_chain, 32);
    logfile_close(l);
    append(f, "\0\0\0", 3);
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    assert_says(logfile_digest(l, got_chain, &err), "ends within a frame");
    logfile_close(l);
    buf_done(&b);
    free(payload);
}

static void note_put(struct fixture *f, uint64_t at_us, const char *text)
{
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(log_frame_put(&b, LOG_NOTE, at_us, text, strlen(text)), 0);
    int fd = openat(f->dirfd, "notes", O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    assert_int_equal(write(fd, b.data, b.len), b.len);
    close(fd);
    buf_done(&b);
}

static void out_put(struct fixture *f, uint64_t at_us, const char *text)
{
    struct buf b;
    buf_init(&b, 4096);
    assert_int_equal(log_frame_put(&b, LOG_OUT, at_us, text, strlen(text)), 0);
    append(f, b.data, b.len);
    buf_done(&b);
}

static void next_is(struct logfile *l, uint64_t at_us, const char *text)
{
    struct log_frame got;
    assert_int_equal(logfile_next(l, &got, &err), 1);
    assert_int_equal(got.at_us, at_us);
    assert_int_equal(got.len, strlen(text));
    assert_memory_equal(got.payload, text, got.len);
}

/* The controller's notes stand among the runner's frames by their times, and are no part of the log. */
static void notes_are_merged_by_time(void **state)
{
    struct fixture *f = *state;
    uint8_t chain[32], with_notes[32];
    struct log_frame got;
    struct logfile *l;

    note_put(f, 5, "before all");
    out_put(f, 10, "first");
    out_put(f, 20, "second");
    note_put(f, 15, "between");
    note_put(f, 20, "with it");
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    next_is(l, 5, "before all");
    assert_int_equal(logfile_offset(l), 0);
    next_is(l, 10, "first");
    next_is(l, 15, "between");
    next_is(l, 20, "second");
    next_is(l, 20, "with it");
    assert_int_equal(logfile_next(l, &got, &err), 0);
    note_put(f, 30, "alone"); /* does not wait for the log */
    next_is(l, 30, "alone");
    out_put(f, 25, "late");
    note_put(f, 40, "last");
    next_is(l, 25, "late");
    assert_int_equal(logfile_next(l, &got, &err), 1);
    assert_int_equal(logfile_next(l, &got, &err), 0);
    assert_ok(logfile_digest(l, with_notes, &err));
    logfile_close(l);
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    assert_ok(logfile_digest(l, with_notes, &err));
    logfile_close(l);
    assert_int_equal(unlinkat(f->dirfd, "notes", 0), 0);
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    assert_ok(logfile_digest(l, chain, &err));
    logfile_close(l);
    assert_memory_equal(chain, with_notes, 32);
}

static void what_is_no_log_is_an_error(void **state)
{
    struct fixture *f = *state;
    struct log_frame got;
    struct logfile *l;

    append(f, "\xff\xff\xff\xff\1________", 13);
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    assert_int_equal(logfile_next(l, &got, &err), -ERR_FAIL);
    assert_int_equal(logfile_next(l, &got, &err), -ERR_FAIL); /* for good */
    logfile_close(l);
    fd_close(&f->fd);
    assert_int_equal(unlinkat(f->dirfd, "log", 0), 0);
    assert_int_equal(symlinkat("/etc/passwd", f->dirfd, "log"), 0);
    assert_ok(logfile_open(&f->p, SAMPLE_ID, &l, &err));
    assert_int_equal(logfile_next(l, &got, &err), -ERR_FAIL);
    logfile_close(l);
}

static void show(struct log_view *v, enum log_stream stream, const char *text, struct buf *out,
                 struct buf *other)
{
    struct log_frame f = {.stream = stream, .payload = (const uint8_t *)text, .len = strlen(text)};

    assert_int_equal(log_view_frame(v, &f, out, other), 0);
}

static void raw_is_every_byte_and_nothing_else(void **state)
{
    struct log_view v;
    struct buf out;

    (void)state;
    buf_init(&out, 4096);
    log_view_init(&v, false, false, false);
    show(&v, LOG_NOTE, "note", &out, &out);
    show(&v, LOG_OUT, "a\x1b[2J", &out, &out);
    show(&v, LOG_ERR, "\xff\r", &out, &out);
    assert_int_equal(log_view_end(&v, &out, &out), 0);
    assert_string_equal(buf_str(&out), "a\x1b[2J\xff\r");
    buf_done(&out);
}

static void a_terminal_sees_no_controls(void **state)
{
    struct log_view v;
    struct buf out, other;

    (void)state;
    buf_init(&out, 4096);
    buf_init(&other, 4096);
    log_view_init(&v, true, true, false);
    show(&v, LOG_OUT, "a\xe2\x80", &out, &other); /* a right-to-left override, cut in two */
    show(&v, LOG_ERR, "\x1b[1m", &out, &other);   /* stderr goes to a file here: as it came */
    show(&v, LOG_OUT, "\xae\x1b]0;x\x07", &out, &other);
    show(&v, LOG_NOTE, "exit 0\x1b[2J", &out, &other);
    assert_null(strchr(buf_str(&out), 0x1b));
    assert_null(strchr(buf_str(&out), 0x07));
    assert_non_null(strstr(buf_str(&out), "\\u{202e}"));
    assert_int_equal(strncmp(buf_str(&other), "\x1b[1m\ncreel: exit 0", 18), 0);
    assert_null(strchr(buf_str(&other) + 4, 0x1b)); /* a note is a host's text: never raw */
    show(&v, LOG_OUT, "end", &out, &other);
    assert_int_equal(log_view_end(&v, &out, &other), 0);
    assert_int_equal(out.data[out.len - 1], '\n');
    buf_done(&out);
    buf_done(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(absent_then_growing_byte_by_byte),
        CASE(large_frames_cross_the_reader),
        CASE(notes_are_merged_by_time),
        CASE(what_is_no_log_is_an_error),
        cmocka_unit_test(raw_is_every_byte_and_nothing_else),
        cmocka_unit_test(a_terminal_sees_no_controls),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
