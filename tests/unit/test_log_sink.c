/* What is stored of a log: the same bytes while nothing is hidden; with needles the redacted streams, however
 * the bytes come in and whenever the engine is killed; the chain is always of what came. */
#include "controller/log_sink.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "tests/unit/cm.h"

#define KEY  "sk-proj-0123456789abcdefghij-ABCDEFGHIJ"
#define ROOM (64u << 20)

struct fixture {
    char dir[64];
    int dirfd;
    struct needles *set;
    struct buf raw; /* the runner's log */
    uint8_t chain[32];
    struct buf text[LOG_STREAM_COUNT]; /* its streams, as one piece each */
};

static struct err err;

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    snprintf(f->dir, sizeof f->dir, "/tmp/test_log_sink.XXXXXX");
    if (!mkdtemp(f->dir) || (f->dirfd = open(f->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
        return -1;
    f->set = needles_new(&err);
    assert_ok(needles_add(f->set, "openai", KEY, strlen(KEY), &err));
    assert_ok(needles_add(f->set, "other", "ABCDEFGHIJ-is-in-both", 21, &err));
    buf_init(&f->raw, ROOM);
    for (int s = 0; s < LOG_STREAM_COUNT; s++)
        buf_init(&f->text[s], ROOM);
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    tree_remove(AT_FDCWD, f->dir, &err);
    close(f->dirfd);
    needles_free(f->set);
    buf_done(&f->raw);
    for (int s = 0; s < LOG_STREAM_COUNT; s++)
        buf_done(&f->text[s]);
    free(f);
    return 0;
}

static void frame(struct fixture *f, enum log_stream stream, uint64_t at_us, const void *bytes,
                  size_t n)
{
    size_t at = f->raw.len;
    assert_int_equal(log_frame_put(&f->raw, stream, at_us, bytes, n), 0);
    sha256_link(f->chain, f->raw.data + at, f->raw.len - at);
    buf_add(&f->text[stream], bytes, n);
    if (stream == LOG_NOTE)
        buf_addc(&f->text[stream], '\n'); /* each is a line */
}

static void text(struct fixture *f, enum log_stream stream, uint64_t at_us, const char *words)
{
    frame(f, stream, at_us, words, strlen(words));
}

/* Lines, halves of lines, keys whole and cut over frames, in three streams by turns. */
static void make_log(struct fixture *f, unsigned frames)
{
    static const char *const words[] = {"a line\n",
                                        "half a line ",
                                        KEY,
                                        "sk-proj-0123",
                                        "456789abcdefghij-ABC",
                                        "DEFGHIJ",
                                        "-is-in-both",
                                        "\n",
                                        KEY "-is-in-both\n",
                                        "",
                                        "sk-proj-01234567",
                                        "x",
                                        "progress 10%\r"};
    for (unsigned i = 0; i < frames; i++) {
        const char *w = words[randombytes_uniform(sizeof words / sizeof words[0])];
        unsigned dice = randombytes_uniform(10);
        text(f, dice == 0 ? LOG_NOTE : dice < 7 ? LOG_OUT : LOG_ERR, i, w);
    }
}

static void sink_open(struct fixture *f, struct log_sink *l)
{
    assert_ok(log_sink_open(l, fcntl(f->dirfd, F_DUPFD_CLOEXEC, 3), ROOM, &err));
}

static void read_file(struct fixture *f, const char *name, struct buf *to)
{
    buf_init(to, ROOM);
    assert_ok(file_read(f->dirfd, name, to, &err));
}

/* The stored streams are the redacted ones, the record agrees, the secret is nowhere. */
static void judge(struct fixture *f, const struct log_sink *l)
{
    struct buf file, got[LOG_STREAM_COUNT];
    struct log_frame fr;
    struct log_record record;
    size_t used;
    uint8_t chain[32] = {0};
    uint64_t hits = 0, last_us = 0;
    assert_int_equal(l->bytes, f->raw.len);
    assert_memory_equal(l->chain, f->chain, 32);
    read_file(f, "log", &file);
    for (int s = 0; s < LOG_STREAM_COUNT; s++)
        buf_init(&got[s], ROOM);
    for (size_t at = 0; at < file.len; at += used) {
        assert_int_equal(log_frame_get(file.data + at, file.len - at, &fr, &used, &err), 1);
        sha256_link(chain, file.data + at, used);
        buf_add(&got[fr.stream], fr.payload, fr.len);
        if (fr.stream == LOG_NOTE)
            buf_addc(&got[fr.stream], '\n');
        last_us = fr.at_us;
    }
    (void)last_us;
    for (int s = 0; s < LOG_STREAM_COUNT; s++) {
        struct redactor *r = redactor_new(f->set);
        struct buf want;
        buf_init(&want, ROOM);
        /* A sink that differs drops frames without bytes. */
        assert_int_equal(redactor_feed(r, f->text[s].data, f->text[s].len, &want), 0);
        assert_int_equal(redactor_end(r, &want), 0);
        if (s != LOG_NOTE)
            assert_string_equal(buf_str(&got[s]), buf_str(&want));
        assert_null(strstr(buf_str(&got[s]), KEY));
        hits += redactor_hits(r);
        redactor_free(r);
        buf_done(&want);
        buf_done(&got[s]);
    }
    if (l->differs) {
        assert_int_equal(log_record_load(f->dirfd, LOG_RECORD_FILE, &record, &err), 1);
        assert_true(record.complete);
        assert_int_equal(record.raw, f->raw.len);
        assert_memory_equal(record.chain, f->chain, 32);
        assert_int_equal(record.stored, file.len);
        assert_memory_equal(record.stored_chain, chain, 32);
        assert_int_equal(record.places, hits);
    } else {
        assert_int_equal(hits, 0);
        assert_int_equal(file.len, f->raw.len);
        assert_int_equal(log_record_load(f->dirfd, LOG_RECORD_FILE, &record, &err), 0);
    }
    buf_done(&file);
}

static void forget(struct fixture *f)
{
    unlinkat(f->dirfd, "log", 0);
    unlinkat(f->dirfd, "log.json", 0);
    buf_clear(&f->raw);
    memset(f->chain, 0, sizeof f->chain);
    for (int s = 0; s < LOG_STREAM_COUNT; s++)
        buf_clear(&f->text[s]);
}

static void without_needles_byte_for_byte(void **state)
{
    struct fixture *f = *state;
    struct needles *none = needles_new(&err);
    for (unsigned step = 1; step < 400; step += 57) {
        struct log_sink l;
        struct buf file;
        forget(f);
        make_log(f, 300);
        sink_open(f, &l);
        for (size_t at = 0; at < f->raw.len; at += step) {
            size_t n = f->raw.len - at < step ? f->raw.len - at : step;
            assert_ok(log_sink_feed(&l, step & 2 ? none : NULL, f->raw.data + at, n, &err));
        }
        assert_ok(log_sink_finish(&l, &err));
        read_file(f, "log", &file);
        assert_int_equal(file.len, f->raw.len);
        assert_memory_equal(file.data, f->raw.data, file.len);
        assert_memory_equal(l.chain, f->chain, 32);
        assert_int_equal(faccessat(f->dirfd, "log.json", F_OK, 0), -1);
        buf_done(&file);
        log_sink_close(&l);
    }
    needles_free(none);
}

static void needles_that_find_nothing(void **state)
{
    struct fixture *f = *state;
    struct log_sink l;
    struct buf file;
    for (unsigned i = 0; i < 50; i++)
        text(f, i % 3 ? LOG_OUT : LOG_NOTE, i, i % 5 ? "nothing of note\n" : "");
    sink_open(f, &l);
    assert_ok(log_sink_feed(&l, f->set, f->raw.data, f->raw.len, &err));
    assert_ok(log_sink_finish(&l, &err));
    read_file(f, "log", &file); /* whole lines: nothing was ever held */
    assert_int_equal(file.len, f->raw.len);
    assert_memory_equal(file.data, f->raw.data, file.len);
    assert_false(l.differs);
    buf_done(&file);
    log_sink_close(&l);
}

/* Fed in any pieces; now and then the engine goes and another comes. */
static void any_pieces_any_restart(void **state)
{
    struct fixture *f = *state;
    for (unsigned round = 0; round < 60; round++) {
        struct log_sink l;
        unsigned restarts = randombytes_uniform(8); /* each goes back to where something was held */
        forget(f);
        make_log(f, 5 + randombytes_uniform(80));
        sink_open(f, &l);
        while (l.bytes < f->raw.len) {
            size_t n = 1 + randombytes_uniform(round % 2 ? 40 : 400);
            n = n < f->raw.len - l.bytes ? n : f->raw.len - l.bytes;
            assert_ok(log_sink_feed(&l, f->set, f->raw.data + l.bytes, n, &err));
            if (restarts > 0 && randombytes_uniform(3) == 0) {
                restarts--;
                log_sink_close(&l);
                if (randombytes_uniform(2)) { /* killed between file and record */
                    int fd = openat(f->dirfd, "log", O_WRONLY | O_APPEND | O_CLOEXEC);
                    struct stat st;
                    if (faccessat(f->dirfd, "log.json", F_OK, 0) == 0)
                        assert_int_equal(write_all(fd, "half a frame", 12), 0);
                    assert_int_equal(fstat(fd, &st), 0);
                    close(fd);
                }
                sink_open(f, &l);
            }
        }
        assert_ok(log_sink_finish(&l, &err));
        assert_ok(log_sink_finish(&l, &err));
        judge(f, &l);
        log_sink_close(&l);
        sink_open(f, &l); /* once more, when all is over */
        judge(f, &l);
        log_sink_close(&l);
    }
}

/* The child takes the log in, as an engine would, until it is killed. */
static _Noreturn void engine(struct fixture *f)
{
    struct log_sink l;
    int rc = log_sink_open(&l, fcntl(f->dirfd, F_DUPFD_CLOEXEC, 3), ROOM, &err);
    while (rc == 0 && l.bytes < f->raw.len) {
        size_t n = 1 + randombytes_uniform(2000);
        n = n < f->raw.len - l.bytes ? n : f->raw.len - l.bytes;
        rc = log_sink_feed(&l, f->set, f->raw.data + l.bytes, n, &err);
    }
    if (rc == 0)
        rc = log_sink_finish(&l, &err);
    _exit(rc < 0 ? 1 : 0);
}

static void killed_at_any_moment(void **state)
{
    struct fixture *f = *state;
    unsigned kills = 0;
    for (unsigned round = 0; round < 15; round++) {
        struct log_sink l;
        int status = 0;
        forget(f);
        make_log(f, 3000);
        do {
            pid_t pid = fork();
            assert_true(pid >= 0);
            if (pid == 0)
                engine(f);
            usleep(randombytes_uniform(4000));
            kill(pid, SIGKILL);
            assert_int_equal(waitpid(pid, &status, 0), pid);
            kills += WIFSIGNALED(status) ? 1 : 0;
        } while (WIFSIGNALED(status) && kills < 100000);
        assert_int_equal(status, 0);
        sink_open(f, &l);
        judge(f, &l);
        log_sink_close(&l);
    }
    assert_true(kills > 0);
}

static void needles_that_come_late(void **state)
{
    struct fixture *f = *state;
    struct log_sink l;
    struct buf file;
    text(f, LOG_OUT, 1, "early " KEY "\n");
    size_t early = f->raw.len;
    text(f, LOG_OUT, 2, "late " KEY "\n");
    sink_open(f, &l);
    assert_ok(log_sink_feed(&l, NULL, f->raw.data, early + 5, &err));
    assert_ok(log_sink_feed(&l, f->set, f->raw.data + early + 5, f->raw.len - early - 5, &err));
    assert_ok(log_sink_finish(&l, &err));
    read_file(f, "log", &file);
    assert_memory_equal(file.data, f->raw.data, early); /* what was written stays */
    assert_non_null(memmem(file.data, file.len, "late [redacted:openai]\n", 23));
    assert_null(memmem(file.data + early, file.len - early, KEY, strlen(KEY)));
    assert_memory_equal(l.chain, f->chain, 32);
    buf_done(&file);
    log_sink_close(&l);
}

/* Nothing that is kept back is on the disk, in neither file. */
static void what_is_held_is_not_written(void **state)
{
    struct fixture *f = *state;
    struct log_sink l;
    struct buf file;
    static const char *const names[] = {"log", "log.json"};
    text(f, LOG_OUT, 1, "x sk-proj-0123456789abcdefg");
    sink_open(f, &l);
    assert_ok(log_sink_feed(&l, f->set, f->raw.data, f->raw.len, &err));
    for (size_t i = 0; i < 2; i++) {
        read_file(f, names[i], &file);
        assert_null(memmem(file.data, file.len, "sk-", 3));
        buf_done(&file);
    }
    log_sink_close(&l);
}

/* Nothing that differs is in the file before the record can be. */
static void without_its_record_nothing_differs(void **state)
{
    struct fixture *f = *state;
    struct log_sink l;
    struct buf file;
    text(f, LOG_OUT, 1, "as it came\n");
    size_t first = f->raw.len;
    text(f, LOG_OUT, 2, "key " KEY "\n");
    sink_open(f, &l);
    assert_int_equal(mkdirat(f->dirfd, "log.json", 0700), 0);
    assert_int_equal(log_sink_feed(&l, f->set, f->raw.data, f->raw.len, &err), -ERR_FAIL);
    assert_int_equal(l.fd, -1);
    read_file(f, "log", &file);
    assert_int_equal(file.len, first);
    assert_memory_equal(file.data, f->raw.data, first);
    buf_done(&file);
    assert_int_equal(unlinkat(f->dirfd, "log.json", AT_REMOVEDIR), 0);
}

static void after_a_power_cut(void **state)
{
    struct fixture *f = *state;
    struct log_sink l;
    make_log(f, 200);
    text(f, LOG_OUT, 999, KEY "\n");
    sink_open(f, &l);
    assert_ok(log_sink_feed(&l, f->set, f->raw.data, f->raw.len, &err));
    log_sink_close(&l);
    /* The record is there, the file's bytes are not those. */
    uint8_t first[5];
    int fd = openat(f->dirfd, "log", O_RDWR | O_CLOEXEC);
    assert_int_equal(pread(fd, first, 5, 0), 5);
    first[3] ^= 1;
    assert_int_equal(pwrite(fd, first, 5, 0), 5);
    close(fd);
    sink_open(f, &l);
    assert_int_equal(l.bytes, 0); /* all of it again */
    assert_ok(log_sink_feed(&l, f->set, f->raw.data, f->raw.len, &err));
    assert_ok(log_sink_finish(&l, &err));
    judge(f, &l);
    log_sink_close(&l);
    /* Neither is a record that makes no sense believed. */
    fd = openat(f->dirfd, "log.json", O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "{]", 2, 0), 2);
    close(fd);
    sink_open(f, &l);
    assert_int_equal(l.bytes, 0);
    log_sink_close(&l);
}

static void what_is_no_log(void **state)
{
    struct fixture *f = *state;
    struct log_sink l;
    sink_open(f, &l);
    assert_int_equal(log_sink_feed(&l, f->set, "\xff\xff\xff\xff\1aaaaaaaaaaaaaa", 19, &err),
                     -ERR_TRUST);
    assert_int_equal(l.fd, -1);
    assert_ok(log_sink_open(&l, fcntl(f->dirfd, F_DUPFD_CLOEXEC, 3), 20, &err));
    text(f, LOG_OUT, 1, "too much for this policy");
    assert_int_equal(log_sink_feed(&l, f->set, f->raw.data, f->raw.len, &err), -ERR_TRUST);
    log_sink_close(&l);
    log_sink_close(&l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(without_needles_byte_for_byte, setup, teardown),
        cmocka_unit_test_setup_teardown(needles_that_find_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(any_pieces_any_restart, setup, teardown),
        cmocka_unit_test_setup_teardown(killed_at_any_moment, setup, teardown),
        cmocka_unit_test_setup_teardown(needles_that_come_late, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_held_is_not_written, setup, teardown),
        cmocka_unit_test_setup_teardown(without_its_record_nothing_differs, setup, teardown),
        cmocka_unit_test_setup_teardown(after_a_power_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(what_is_no_log, setup, teardown),
    };
    return sodium_init() < 0 ? 1 : cmocka_run_group_tests(tests, NULL, NULL);
}
