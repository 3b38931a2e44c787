/* Lines of a readable event stream. A text keeps its line breaks and tabs; whatever else would act on a
 * terminal comes out visible. */
#include "controller/events/event_view.h"

#include <inttypes.h>
#include <string.h>

#include "common/term.h"

#define OUTPUT_LINES 20  /* of what a command printed */
#define OUTPUT_LINE  400 /* bytes of one of them */
#define CALL_BYTES   200 /* of what a tool was called with */
#define WORD_COLUMN  "%-6s "
#define INDENT       "       "

static size_t line_len(const uint8_t *p, size_t n)
{
    const uint8_t *nl = memchr(p, '\n', n);

    return nl ? (size_t)(nl - p) : n;
}

static void neutral(struct buf *to, const uint8_t *p, size_t n)
{
    struct term_filter f = {0};

    term_neutral(&f, p, n, to);
    term_neutral_end(&f, to);
}

/* Blank lines at the end say nothing. */
static void trim(struct buf *b)
{
    while (b->len && (b->data[b->len - 1] == '\n' || b->data[b->len - 1] == ' '))
        b->data[--b->len] = 0; /* an empty buffer's text is not ours to write */
}

static void put_text(struct event_view *e, const char *word)
{
    const uint8_t *p = e->text.data;
    size_t left;

    trim(&e->text);
    left = e->text.len;
    buf_addf(e->to, left ? WORD_COLUMN : "%s", word);
    for (;;) {
        size_t n = line_len(p, left);

        neutral(e->to, p, n);
        buf_addc(e->to, '\n');
        if (n == left)
            return;
        p += n + 1;
        left -= n + 1;
        buf_adds(e->to, left ? INDENT : "");
    }
}

bool event_words(struct event_view *e, const char *word, struct event_value text)
{
    buf_clear(&e->text);
    if (!event_text(text, &e->text))
        return false;
    trim(&e->text);
    if (e->text.len == 0)
        return false;
    put_text(e, word);
    return true;
}

void event_put(struct event_view *e, const char *word, const char *text)
{
    buf_clear(&e->text);
    buf_adds(&e->text, text);
    put_text(e, word);
}

void event_pair(struct event_view *e, const char *word, struct event_value a, struct event_value b)
{
    buf_clear(&e->text);
    if (event_text(a, &e->text) && b.at)
        buf_addc(&e->text, ' ');
    event_text(b, &e->text);
    put_text(e, word);
}

static size_t count_lines(const uint8_t *p, size_t n)
{
    size_t lines = n > 0;

    for (size_t i = 0; i < n; i++)
        lines += p[i] == '\n';
    return lines;
}

void event_output(struct event_view *e, struct event_value text)
{
    const uint8_t *p;
    size_t left, lines = 0;

    buf_clear(&e->text);
    if (!event_text(text, &e->text))
        return;
    trim(&e->text);
    p = e->text.data;
    left = e->text.len;
    while (left > 0 && lines++ < OUTPUT_LINES) {
        size_t n = line_len(p, left), shown = n < OUTPUT_LINE ? n : OUTPUT_LINE;

        buf_adds(e->to, "     | ");
        neutral(e->to, p, shown);
        buf_adds(e->to, shown < n ? " ...\n" : "\n");
        p += n;
        left -= n;
        if (left > 0) {
            p++;
            left--;
        }
    }
    if (left > 0)
        buf_addf(e->to, "     | ... %zu more lines\n", count_lines(p, left));
}

void event_call(struct event_view *e, struct event_value name, struct event_value input)
{
    buf_clear(&e->text);
    event_text(name, &e->text);
    if (input.at) {
        size_t n = input.len < CALL_BYTES ? input.len : CALL_BYTES;

        buf_addc(&e->text, ' ');
        buf_add(&e->text, input.at, n);
        buf_adds(&e->text, n < input.len ? " ..." : "");
    }
    put_text(e, "uses");
}

void event_exit(struct event_view *e, struct event_value code)
{
    if (!code.at || *code.at == 'n' || (code.len == 1 && *code.at == '0'))
        return;
    buf_clear(&e->text);
    if (*code.at == '"')
        event_text(code, &e->text);
    else
        buf_add(&e->text, code.at, code.len < CALL_BYTES ? code.len : CALL_BYTES);
    put_text(e, "exit");
}

void event_used(struct event_view *e, const struct event_usage *u)
{
    buf_addf(e->to, WORD_COLUMN "%" PRIu64 " tokens in, ", "used", u->input);
    if (u->cache_read || u->cache_write)
        buf_addf(e->to, "%" PRIu64 " from the cache, %" PRIu64 " into it, ", u->cache_read,
                 u->cache_write);
    buf_addf(e->to, "%" PRIu64 " out\n", u->output);
}
