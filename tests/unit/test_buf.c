/* Buffers: the ceiling, the terminator, and that a failed addition changes nothing. */
#include "tests/unit/cm.h"

#include <stdlib.h>
#include <string.h>

#include "proto/buf.h"

static void empty_is_a_string(void **state)
{
    struct buf b;

    buf_init(&b, 10);
    assert_non_null(b.data);
    assert_string_equal(buf_str(&b), "");
    assert_int_equal(b.cap, 0);
    assert_int_equal(buf_add(&b, NULL, 0), 0);
    buf_clear(&b);
    buf_drop(&b, 0);
    buf_done(&b);
    buf_done(&b);
    assert_string_equal(buf_str(&b), "");
    assert_int_equal(buf_addc(&b, 'x'), -1); /* no ceiling was ever given */
    buf_wipe(&(struct buf){0});
}

static void ceiling_holds_to_the_byte(void **state)
{
    struct buf b;

    buf_init(&b, 5);
    assert_int_equal(buf_adds(&b, "abc"), 0);
    assert_int_equal(buf_adds(&b, "def"), -1);
    assert_true(b.failed);
    assert_string_equal(buf_str(&b), "abc");
    assert_int_equal(buf_adds(&b, "de"), 0);
    assert_string_equal(buf_str(&b), "abcde");
    assert_int_equal(buf_addf(&b, "%d", 1), -1);
    assert_null(buf_room(&b, 1));
    assert_null(buf_room(&b, SIZE_MAX));
    buf_clear(&b);
    assert_false(b.failed);
    assert_string_equal(buf_str(&b), "");
    buf_done(&b);
}

static void growth_keeps_content(void **state)
{
    struct buf b;

    buf_init(&b, 1u << 20);
    for (unsigned i = 0; i < 1u << 18; i++)
        assert_int_equal(buf_addf(&b, "%04x", i & 0xffff), 0);
    assert_int_equal(b.len, 1u << 20);
    for (unsigned i = 0; i < 1u << 18; i += 997) {
        char text[5] = {0};
        memcpy(text, b.data + 4 * i, 4);
        assert_int_equal(strtoul(text, NULL, 16), i & 0xffff);
    }
    assert_int_equal(b.data[b.len], 0);
    assert_int_equal(buf_addc(&b, 'x'), -1);
    buf_wipe(&b);
    assert_null(b.data);
}

static void room_then_wrote(void **state)
{
    struct buf b;
    uint8_t *to;

    buf_init(&b, 100);
    to = buf_room(&b, 10);
    assert_non_null(to);
    memcpy(to, "0123456789", 10);
    assert_int_equal(b.len, 0);
    buf_wrote(&b, 4);
    assert_string_equal(buf_str(&b), "0123");
    buf_drop(&b, 1);
    assert_string_equal(buf_str(&b), "123");
    buf_drop(&b, 3);
    assert_string_equal(buf_str(&b), "");
    buf_done(&b);
}

static void steal_hands_over(void **state)
{
    struct buf b;
    char *text;

    buf_init(&b, 100);
    text = buf_steal(&b);
    assert_string_equal(text, "");
    free(text);
    buf_adds(&b, "mine");
    text = buf_steal(&b);
    assert_string_equal(text, "mine");
    free(text);
    assert_int_equal(b.len, 0);
    assert_int_equal(b.max, 100);
    assert_int_equal(buf_adds(&b, "new"), 0);
    buf_done(&b);
}

static void addf_formats(void **state)
{
    struct buf b;

    buf_init(&b, 100);
    assert_int_equal(buf_addf(&b, "%s", ""), 0);
    assert_int_equal(buf_addf(&b, "%s-%d", "a", 7), 0);
    assert_int_equal(buf_addc(&b, 0), 0);
    assert_int_equal(b.len, 4);
    assert_memory_equal(b.data, "a-7\0", 5);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_is_a_string),    cmocka_unit_test(ceiling_holds_to_the_byte),
        cmocka_unit_test(growth_keeps_content), cmocka_unit_test(room_then_wrote),
        cmocka_unit_test(steal_hands_over),     cmocka_unit_test(addf_formats),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
