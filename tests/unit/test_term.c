/* The terminal filter: nothing that acts on a terminal, reorders or hides text gets through, however
 * the bytes are cut into chunks; ordinary text in any script does. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "common/term.h"

#define SPEC(in, out)           \
    {                           \
        in, sizeof(in) - 1, out \
    }

static const struct {
    const char *in;
    size_t len;
    const char *out;
} rows[] = {
    SPEC("plain text\n\tindented ~", "plain text\n\tindented ~"),
    SPEC("\x1b[2J\x1b]0;title\a", "\\x1b[2J\\x1b]0;title\\x07"),
    SPEC("over\rwritten\r\n", "over\\x0dwritten\\x0d\n"),
    SPEC("\0\b\v\f\x7f", "\\x00\\x08\\x0b\\x0c\\x7f"),
    SPEC("\x9b"
         "31m",
         "\\x9b31m"), /* raw C1 CSI */
    SPEC("\xc2\x9b"
         "31m\xc2\x85",
         "\\u{009b}31m\\u{0085}"), /* U+009B, U+0085 */
    SPEC("na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80",
         "na\xc3\xafve \xe6\x97\xa5\xe6\x9c\xac \xf0\x9f\x98\x80"),
    SPEC("a\xe2\x80\xae"
         "b",
         "a\\u{202e}b"),                                    /* right-to-left override */
    SPEC("\xe2\x81\xa6\xe2\x81\xa9", "\\u{2066}\\u{2069}"), /* isolates */
    SPEC("\xe2\x80\x8b\xe2\x80\x8f\xd8\x9c", "\\u{200b}\\u{200f}\\u{061c}"),
    SPEC("\xe2\x80\xa8\xe2\x80\xa9", "\\u{2028}\\u{2029}"),
    SPEC("\xe2\x81\xa0\xe2\x81\xa4\xef\xbb\xbf", "\\u{2060}\\u{2064}\\u{feff}"),
    SPEC("\xf3\xa0\x81\x81", "\\u{e0041}"), /* a tag letter */
    SPEC("\xf3\xa0\x80\x80\xf3\xa0\x81\xbf", "\\u{e0000}\\u{e007f}"),
    SPEC("\xc0\xaf\xe0\x80\xaf", "\\xc0\\xaf\\xe0\\x80\\xaf"), /* overlong */
    SPEC("\xed\xa0\x80", "\\xed\\xa0\\x80"),                   /* surrogate */
    SPEC("\xf4\x90\x80\x80\xf5\xff", "\\xf4\\x90\\x80\\x80\\xf5\\xff"),
    SPEC("\xf0\x9f\x98"
         "A",
         "\\xf0\\x9f\\x98"
         "A"),                                   /* cut short by a letter */
    SPEC("\xe2\x80\x1b[m", "\\xe2\\x80\\x1b[m"), /* cut short by ESC */
    SPEC("\xe2\xe2\x80\xae", "\\xe2\\u{202e}"),  /* a lead byte in a lead's place */
    SPEC("\xe2\x80", "\\xe2\\x80"),              /* cut short by the end */
    SPEC("back\\slash", "back\\slash"),
};

static void check(size_t i, size_t chunk)
{
    struct term_filter f = {0};
    struct buf b;
    buf_init(&b, 8 * rows[i].len + 1);
    for (size_t at = 0; at < rows[i].len; at += chunk) {
        size_t n = at + chunk < rows[i].len ? chunk : rows[i].len - at;
        assert_int_equal(term_neutral(&f, rows[i].in + at, n, &b), 0);
    }
    assert_int_equal(term_neutral_end(&f, &b), 0);
    if (strcmp(buf_str(&b), rows[i].out) != 0)
        fail_msg("row %zu in chunks of %zu: %s", i, chunk, buf_str(&b));
    assert_int_equal(f.nheld, 0);
    buf_done(&b);
}

static void each_row_in_every_chunk_size(void **state)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(*rows); i++)
        for (size_t chunk = 1; chunk <= rows[i].len; chunk++)
            check(i, chunk);
}

static void a_line_has_no_breaks(void **state)
{
    struct buf b;
    buf_init(&b, 200);
    assert_int_equal(term_line("one\ntwo\tthree\xe2\x80\xae\xc3", &b), 0);
    assert_string_equal(buf_str(&b), "one\\x0atwo\\x09three\\u{202e}\\xc3");
    buf_done(&b);
}

static void a_full_buffer_is_told(void **state)
{
    struct term_filter f = {0};
    struct buf b;
    buf_init(&b, 3);
    assert_int_equal(term_neutral(&f, "\x1b", 1, &b), -1);
    assert_int_equal(b.len, 0);
    buf_done(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_row_in_every_chunk_size),
        cmocka_unit_test(a_line_has_no_breaks),
        cmocka_unit_test(a_full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
