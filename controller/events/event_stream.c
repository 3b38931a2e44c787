/* Cuts an agent's stdout into events and has each shown by the reader of its form. Whatever does not fit
 * (not JSON, another shape, too long) is shown as the line that it is: nothing an agent printed is lost
 * to who reads along, and nothing of it is believed. */
#include "controller/events/event_stream.h"

#include <stdlib.h>
#include <string.h>

#include "common/term.h"
#include "controller/events/event_view.h"
#include "proto/json.h"

#define CUT_SHOWN 4096 /* bytes of a line over EVENTS_LINE_MAX */
#define PIECE     (64u << 10)

static event_show *const readers[AGENT_EVENTS_COUNT] = {
    [AGENT_CODEX_JSON] = event_codex,
    [AGENT_CLAUDE_STREAM_JSON] = event_claude,
    [AGENT_OPENCODE_JSON] = event_opencode,
    [AGENT_OPENCLAW_JSON] = event_openclaw,
};

struct event_stream {
    enum agent_events format;
    struct buf held;  /* the line (of a document: the lines) not yet ended */
    size_t line;      /* where in it the last line begins */
    bool cut;         /* the line was too long: its beginning was shown, the rest is dropped */
    struct buf shown; /* what a reader wrote, until it has accepted the event */
    struct event_view view;
};

struct event_stream *event_stream_new(enum agent_events format)
{
    struct event_stream *a = calloc(1, sizeof(*a));

    if (!a)
        return NULL;
    a->format = format;
    buf_init(&a->held, EVENTS_LINE_MAX);
    buf_init(&a->shown, 8 * EVENTS_LINE_MAX);
    buf_init(&a->view.text, 2 * EVENTS_LINE_MAX);
    a->view.to = &a->shown;
    return a;
}

void event_stream_free(struct event_stream *a)
{
    if (!a)
        return;
    buf_done(&a->held);
    buf_done(&a->shown);
    buf_done(&a->view.text);
    free(a);
}

static void show_raw(const uint8_t *p, size_t n, struct buf *to)
{
    struct term_filter f = {0};

    term_neutral(&f, p, n, to);
    term_neutral_end(&f, to);
}

static bool understood(struct event_stream *a)
{
    static const struct json_bounds bounds = {.bytes = EVENTS_LINE_MAX, .items = EVENTS_LINE_MAX};
    const char *text = (const char *)a->held.data;
    struct err err;

    if (!readers[a->format] || json_check_within(text, a->held.len, &bounds, &err) < 0)
        return false;
    buf_clear(&a->shown);
    return readers[a->format](&a->view, event_value_of(text, a->held.len)) && !a->shown.failed;
}

/* Shows what is held, and holds nothing. */
static void release(struct event_stream *a, struct buf *to)
{
    if (a->held.len > 0 && understood(a)) {
        buf_add(to, a->shown.data, a->shown.len);
    } else {
        show_raw(a->held.data, a->held.len, to);
        buf_addc(to, '\n');
    }
    buf_clear(&a->held);
    a->line = 0;
}

/* A document begins with a line that is "{" and ends with one that is "}". */
static bool within_document(const struct event_stream *a)
{
    const uint8_t *p = a->held.data;
    size_t last = a->held.len - a->line;

    if (a->format != AGENT_OPENCLAW_JSON || a->held.len == 0 || p[0] != '{' ||
        a->held.len == a->line)
        return false;
    if (a->line == 0)
        return a->held.len == 1;
    return !(last == 1 && p[a->line] == '}');
}

static void line_ends(struct event_stream *a, struct buf *to)
{
    if (a->cut) {
        buf_clear(&a->held);
        a->line = 0;
        a->cut = false;
        return;
    }
    if (within_document(a) && buf_addc(&a->held, '\n') == 0) {
        a->line = a->held.len;
        return;
    }
    release(a, to);
}

static void line_too_long(struct event_stream *a, struct buf *to)
{
    show_raw(a->held.data, a->held.len < CUT_SHOWN ? a->held.len : CUT_SHOWN, to);
    buf_adds(to, " ... (the line goes on; --raw has all of it)\n");
    buf_clear(&a->held);
    a->line = 0;
    a->cut = true;
}

int event_stream_feed(struct event_stream *a, const void *bytes, size_t n, struct buf *to)
{
    const uint8_t *p = bytes;

    while (n > 0) {
        const uint8_t *nl = memchr(p, '\n', n);
        size_t part = nl ? (size_t)(nl - p) : n;

        if (part > PIECE) {
            part = PIECE;
            nl = NULL;
        }
        if (!a->cut && a->held.len + part > EVENTS_LINE_MAX - 1)
            line_too_long(a, to);
        if (!a->cut && buf_add(&a->held, p, part) < 0)
            return -1;
        if (nl)
            line_ends(a, to);
        part += nl != NULL;
        p += part;
        n -= part;
    }
    return to->failed ? -1 : 0;
}

int event_stream_end(struct event_stream *a, struct buf *to)
{
    if (a->held.len > 0 && !a->cut)
        release(a, to);
    return to->failed ? -1 : 0;
}
