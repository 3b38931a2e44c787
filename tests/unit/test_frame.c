/* Frames: what is put is got back, from any split; lengths and streams out of range end it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "proto/frame.h"

static void bytes_on_the_wire_are_as_documented(void **state)
{
    struct buf b;
    buf_init(&b, 100);
    assert_int_equal(frame_put(&b, 16, "ab", 2), 0);
    assert_int_equal(b.len, 7);
    assert_memory_equal(b.data,
                        "\0\0\0\2\x10"
                        "ab",
                        7);
    buf_clear(&b);
    assert_int_equal(log_frame_put(&b, LOG_ERR, 0x0102030405060708ull, "x", 1), 0);
    assert_int_equal(b.len, LOG_FRAME_HEAD_BYTES + 1);
    assert_memory_equal(b.data, "\0\0\0\1\2\1\2\3\4\5\6\7\10x", 14);
    buf_done(&b);
}

static void every_prefix_asks_for_more(void **state)
{
    struct buf b;
    struct err err = ERR_INIT;
    struct frame f;
    struct log_frame l;
    size_t used = 99;

    buf_init(&b, 4096);
    assert_int_equal(frame_put(&b, 1, "payload", 7), 0);
    for (size_t n = 0; n < b.len; n++) {
        uint8_t *copy = malloc(n + 1); /* exactly sized, for the sanitizer */
        memcpy(copy, b.data, n);
        assert_int_equal(frame_get(copy, n, &f, &used, &err), 0);
        free(copy);
    }
    assert_int_equal(used, 99);
    assert_int_equal(frame_get(b.data, b.len, &f, &used, &err), 1);
    assert_int_equal(used, b.len);
    assert_int_equal(f.type, 1);
    assert_int_equal(f.len, 7);
    assert_memory_equal(f.payload, "payload", 7);

    buf_clear(&b);
    assert_int_equal(log_frame_put(&b, LOG_OUT, UINT64_MAX, "out", 3), 0);
    for (size_t n = 0; n < b.len; n++)
        assert_int_equal(log_frame_get(b.data, n, &l, &used, &err), 0);
    assert_int_equal(log_frame_get(b.data, b.len, &l, &used, &err), 1);
    assert_int_equal(l.stream, LOG_OUT);
    assert_true(l.at_us == UINT64_MAX);
    assert_memory_equal(l.payload, "out", 3);
    assert_int_equal(err.code, 0);
    buf_done(&b);
}

static void two_frames_in_a_row(void **state)
{
    struct buf b;
    struct frame f;
    size_t used = 0;
    buf_init(&b, 100);
    assert_int_equal(frame_put(&b, 3, NULL, 0), 0);
    assert_int_equal(frame_put(&b, 4, "z", 1), 0);
    assert_int_equal(frame_get(b.data, b.len, &f, &used, NULL), 1);
    assert_int_equal(f.type, 3);
    assert_int_equal(f.len, 0);
    assert_int_equal(used, 5);
    buf_drop(&b, used);
    assert_int_equal(frame_get(b.data, b.len, &f, &used, NULL), 1);
    assert_int_equal(f.type, 4);
    buf_done(&b);
}

static void impossible_lengths_fail_at_once(void **state)
{
    static const uint8_t over[] = {0x00, 0x10, 0x00, 0x01, 16};
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 16};
    static const uint8_t log_over[] = {0x00, 0x01, 0x00, 0x01}, stream[] = {0, 0, 0, 1, 3};
    struct frame f;
    struct log_frame l;
    struct err err = ERR_INIT;
    size_t used = 0;
    assert_int_equal(frame_get(over, 4, &f, &used, &err), 0); /* the type is known when it fails */
    assert_int_equal(frame_get(over, 5, &f, &used, &err), -ERR_FAIL);
    assert_int_equal(frame_get(huge, 5, &f, &used, &err), -ERR_FAIL);
    assert_int_equal(log_frame_get(log_over, 4, &l, &used, &err), -ERR_FAIL);
    assert_int_equal(log_frame_get(huge, 4, &l, &used, &err), -ERR_FAIL);
    assert_int_equal(log_frame_get(stream, 5, &l, &used, &err), -ERR_FAIL);
    assert_non_null(strstr(err.msg, "stream 3"));
}

static void the_largest_payload_goes_and_one_more_does_not(void **state)
{
    struct buf b;
    struct frame f;
    size_t used = 0;
    uint8_t *big = calloc(1, FRAME_PAYLOAD_MAX + 1);
    buf_init(&b, 2 * FRAME_PAYLOAD_MAX);
    assert_int_equal(frame_put(&b, 1, big, FRAME_PAYLOAD_MAX + 1), -1);
    assert_int_equal(log_frame_put(&b, LOG_OUT, 0, big, LOG_PAYLOAD_MAX + 1), -1);
    assert_int_equal(b.len, 0);
    assert_int_equal(frame_put(&b, 1, big, FRAME_PAYLOAD_MAX), 0);
    assert_int_equal(frame_get(b.data, b.len, &f, &used, NULL), 1);
    assert_int_equal(f.len, FRAME_PAYLOAD_MAX);
    buf_done(&b);
    /* A full buffer takes nothing of a frame, not even its head. */
    buf_init(&b, 8);
    assert_int_equal(frame_put(&b, 1, "1234", 4), -1);
    assert_int_equal(b.len, 0);
    buf_done(&b);
    free(big);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_on_the_wire_are_as_documented),
        cmocka_unit_test(every_prefix_asks_for_more),
        cmocka_unit_test(two_frames_in_a_row),
        cmocka_unit_test(impossible_lengths_fail_at_once),
        cmocka_unit_test(the_largest_payload_goes_and_one_more_does_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
