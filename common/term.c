/* Hostile text made safe for a terminal. A byte goes through unchanged only as printable ASCII, as \n
 * or \t, or as part of a whole, well-formed UTF-8 character that is not one of the invisible ones
 * below. The form is for eyes: a backslash is not doubled, so it cannot be turned back. */
#include "common/term.h"

#include <stdbool.h>
#include <string.h>

/* Characters that act on a terminal, reorder text or cannot be seen, sorted. */
static const struct {
    uint32_t first, last;
} unseen[] = {
    {0x0080, 0x009f},   /* C1 controls: U+009B is CSI to many terminals */
    {0x00ad, 0x00ad},   /* soft hyphen */
    {0x034f, 0x034f},   /* combining grapheme joiner */
    {0x061c, 0x061c},   /* Arabic letter mark (bidi) */
    {0x115f, 0x1160},   /* Hangul fillers */
    {0x17b4, 0x17b5},   /* Khmer inherent vowels */
    {0x180b, 0x180f},   /* Mongolian selectors and separator */
    {0x200b, 0x200f},   /* zero width, LRM, RLM */
    {0x2028, 0x202e},   /* line and paragraph separator; bidi embeddings and overrides */
    {0x2060, 0x206f},   /* word joiner, invisible operators, bidi isolates, deprecated formats */
    {0x3164, 0x3164},   /* Hangul filler */
    {0xfeff, 0xfeff},   /* byte order mark */
    {0xffa0, 0xffa0},   /* half-width Hangul filler */
    {0xfff0, 0xfffb},   /* specials: interlinear annotation */
    {0x1bca0, 0x1bca3}, /* shorthand format controls */
    {0x1d173, 0x1d17a}, /* musical format controls */
    {0xe0000, 0xe0fff}, /* tags, variation selectors beyond the basic ones */
};

static bool is_unseen(uint32_t cp)
{
    for (size_t i = 0; i < sizeof(unseen) / sizeof(*unseen); i++)
        if (cp <= unseen[i].last)
            return cp >= unseen[i].first;
    return false;
}

/* Length of the character that `lead` begins, 0 when no character begins so. */
static size_t char_len(uint8_t lead)
{
    if (lead >= 0xc2 && lead <= 0xdf)
        return 2;
    if (lead >= 0xe0 && lead <= 0xef)
        return 3;
    if (lead >= 0xf0 && lead <= 0xf4)
        return 4;
    return 0;
}

/* May `b` follow the held bytes? The second byte's range shuts out overlong forms, surrogates and
 * what lies beyond U+10FFFF (Unicode table 3-7). */
static bool continues(const struct term_filter *f, uint8_t b)
{
    uint8_t low = 0x80, high = 0xbf;
    if (f->nheld == 1) {
        if (f->held[0] == 0xe0)
            low = 0xa0;
        else if (f->held[0] == 0xed)
            high = 0x9f;
        else if (f->held[0] == 0xf0)
            low = 0x90;
        else if (f->held[0] == 0xf4)
            high = 0x8f;
    }
    return b >= low && b <= high;
}

static int put_byte(uint8_t b, struct buf *to)
{
    return buf_addf(to, "\\x%02x", b);
}

static int put_char(const struct term_filter *f, struct buf *to)
{
    uint32_t cp = f->held[0] & (0x7f >> f->nheld);
    for (size_t i = 1; i < f->nheld; i++)
        cp = cp << 6 | (f->held[i] & 0x3f);
    if (is_unseen(cp))
        return buf_addf(to, "\\u{%04x}", cp);
    return buf_add(to, f->held, f->nheld);
}

/* How many bytes from `p` on are plain, so that they go through in one piece. */
static size_t plain_run(const uint8_t *p, size_t n, bool lines)
{
    size_t i = 0;
    while (i < n && ((p[i] >= 0x20 && p[i] < 0x7f) || (lines && (p[i] == '\n' || p[i] == '\t'))))
        i++;
    return i;
}

static int neutral(struct term_filter *f, const uint8_t *p, size_t n, bool lines, struct buf *to)
{
    int r = 0;
    while (n > 0 && r == 0) {
        if (f->nheld > 0) {
            if (!continues(f, *p)) {
                r = term_neutral_end(f, to); /* *p is looked at again, as a beginning */
                continue;
            }
            f->held[f->nheld++] = *p++;
            n--;
            if (f->nheld == char_len(f->held[0])) {
                r = put_char(f, to);
                f->nheld = 0;
            }
            continue;
        }
        size_t run = plain_run(p, n, lines);
        if (run > 0) {
            r = buf_add(to, p, run);
            p += run;
            n -= run;
            continue;
        }
        if (char_len(*p) > 0)
            f->held[f->nheld++] = *p;
        else
            r = put_byte(*p, to);
        p++;
        n--;
    }
    return r == 0 ? 0 : -1;
}

int term_neutral(struct term_filter *f, const void *bytes, size_t n, struct buf *to)
{
    return neutral(f, bytes, n, true, to);
}

int term_neutral_end(struct term_filter *f, struct buf *to)
{
    int r = 0;
    for (size_t i = 0; i < f->nheld && r == 0; i++)
        r = put_byte(f->held[i], to);
    f->nheld = 0;
    return r;
}

int term_line(const char *text, struct buf *to)
{
    struct term_filter f = {0};
    int r = neutral(&f, (const uint8_t *)text, strlen(text), false, to);
    return r == 0 ? term_neutral_end(&f, to) : r;
}
