/* The terminal filter on any bytes: its output is valid UTF-8 without a control, bidirectional or
 * invisible character, judged by a decoder written apart from it; cutting the input anywhere changes
 * nothing; filtering twice changes nothing; printable ASCII passes as it is. */
#include <stdbool.h>
#include <string.h>

#include "common/term.h"
#include "proto/utf8.h"
#include "tests/fuzz/fuzz.h"

static uint32_t decode(const uint8_t *p, size_t n)
{
    uint32_t cp = n == 1 ? p[0] : p[0] & (0xffu >> (n + 1));
    for (size_t i = 1; i < n; i++)
        cp = cp << 6 | (p[i] & 0x3f);
    return cp;
}

static bool within(uint32_t cp, uint32_t first, uint32_t last)
{
    return cp >= first && cp <= last;
}

static void judge(const struct buf *b)
{
    for (size_t at = 0, n; at < b->len; at += n) {
        n = utf8_len(b->data + at, b->len - at);
        MUST(n > 0);
        uint32_t cp = decode(b->data + at, n);
        MUST(cp >= 0x20 || cp == '\n' || cp == '\t');
        MUST(!within(cp, 0x7f, 0x9f) && !within(cp, 0x200b, 0x200f) && !within(cp, 0x2028, 0x202e));
        MUST(!within(cp, 0x2060, 0x2069) && cp != 0xfeff && !within(cp, 0xe0000, 0xe007f));
    }
}

static void filter(const uint8_t *bytes, size_t len, size_t cut, struct buf *to)
{
    struct term_filter f = {0};
    buf_init(to, 8 * len + 8);
    MUST(term_neutral(&f, bytes, cut, to) == 0);
    MUST(term_neutral(&f, bytes + cut, len - cut, to) == 0);
    MUST(term_neutral_end(&f, to) == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t len)
{
    struct buf whole, cut, twice;
    filter(bytes, len, 0, &whole);
    judge(&whole);
    filter(bytes, len, len > 0 ? bytes[0] % len : 0, &cut);
    MUST(whole.len == cut.len && memcmp(whole.data, cut.data, cut.len) == 0);
    filter(whole.data, whole.len, whole.len / 2, &twice);
    MUST(whole.len == twice.len && memcmp(whole.data, twice.data, twice.len) == 0);
    bool plain = true;
    for (size_t i = 0; i < len; i++)
        plain = plain && bytes[i] >= 0x20 && bytes[i] < 0x7f;
    MUST(!plain || (whole.len == len && memcmp(whole.data, bytes, len) == 0));
    buf_done(&whole);
    buf_done(&cut);
    buf_done(&twice);

    char *text = malloc(len + 1);
    MUST(text);
    memcpy(text, bytes, len);
    text[len] = 0;
    buf_init(&whole, 8 * len + 8);
    MUST(term_line(text, &whole) == 0);
    judge(&whole);
    MUST(!memchr(whole.data, '\n', whole.len) && !memchr(whole.data, '\t', whole.len));
    buf_done(&whole);
    free(text);
    return 0;
}
