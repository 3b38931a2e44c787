/* An agent's event stream of any bytes, in each form: never a crash, the output is harmless (it passes the
 * terminal filter unchanged) and made of whole lines, and where the input is cut makes no difference. The
 * first byte says which form, the second where to cut. */
#include <string.h>

#include "common/term.h"
#include "controller/events/event_stream.h"
#include "tests/fuzz/fuzz.h"

static void show(enum agent_events format, const uint8_t *p, size_t n, size_t cut, struct buf *out)
{
    struct event_stream *a = event_stream_new(format);

    MUST(a);
    buf_init(out, EVENTS_ROOM + 64 * n);
    MUST(event_stream_feed(a, p, cut, out) == 0);
    MUST(event_stream_feed(a, p + cut, n - cut, out) == 0);
    MUST(event_stream_end(a, out) == 0);
    event_stream_free(a);
}

static void judge(const struct buf *out)
{
    struct term_filter f = {0};
    struct buf again;

    buf_init(&again, 8 * out->len + 8);
    MUST(term_neutral(&f, out->data, out->len, &again) == 0);
    MUST(term_neutral_end(&f, &again) == 0);
    MUST(again.len == out->len && memcmp(again.data, out->data, out->len) == 0);
    MUST(out->len == 0 || out->data[out->len - 1] == '\n');
    buf_done(&again);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct buf whole, parts;
    enum agent_events format;
    size_t n;

    if (size < 2)
        return 0;
    n = size - 2;
    format = (enum agent_events)(data[0] % AGENT_EVENTS_COUNT);
    show(format, data + 2, n, n, &whole);
    show(format, data + 2, n, n ? data[1] % n : 0, &parts);
    judge(&whole);
    MUST(whole.len == parts.len && memcmp(whole.data, parts.data, whole.len) == 0);
    buf_done(&whole);
    buf_done(&parts);
    return 0;
}
