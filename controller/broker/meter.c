/* Reading an answer while it passes: events as they come, a whole document at its end. It keeps one event
 * or one document, never the stream. */
#include <stdlib.h>
#include <string.h>

#include "controller/broker/dialect_internal.h"
#include "controller/broker/sse.h"

static const struct json_bounds bounds = {
    .bytes = CALL_ANSWER_MAX, .items = 1u << 18, .loose_escapes = true};

struct meter {
    const struct dialect *d;
    bool stream;
    uint64_t bytes;
    struct sse sse;
    struct buf whole; /* of an answer without stream */
    struct reading reading;
};

struct meter *meter_new(const struct dialect *d, bool stream)
{
    struct meter *m = calloc(1, sizeof(*m));

    if (!m)
        return NULL;
    m->d = d;
    m->stream = stream;
    sse_init(&m->sse, CALL_EVENT_MAX);
    buf_init(&m->whole, CALL_ANSWER_MAX);
    for (size_t i = 0; i < SAID_COUNT; i++)
        crypto_generichash_init(&m->reading.said[i], NULL, 0, 32);
    return m;
}

void meter_free(struct meter *m)
{
    if (!m)
        return;
    sse_done(&m->sse);
    buf_done(&m->whole);
    free(m);
}

void said(struct reading *r, int which, struct json_view text)
{
    char type = json_view_type(text);

    if (type == '"') { /* pieces of one text add up, wherever they were cut */
        text.p++;
        text.n -= 2;
    } else if (type != '{' && type != '[') {
        return;
    }
    if (text.n == 0)
        return;
    r->said_any[which] = true;
    crypto_generichash_update(&r->said[which], (const unsigned char *)text.p, text.n);
}

static int read_event(void *arg, const void *data, size_t n, struct err *err)
{
    struct meter *m = arg;
    struct err why = ERR_INIT;

    if (n == 0)
        return 0;
    if (n == 6 && memcmp(data, "[DONE]", 6) == 0) {
        m->d->event(&m->reading, (struct json_view){0}, true);
        return 0;
    }
    if (json_check_within(data, n, &bounds, &why) < 0)
        return err_set(err, ERR_REFUSED, "an event of the answer is not JSON: %s", why.msg);
    m->d->event(&m->reading, json_view_root(data, n), false);
    return 0;
}

int meter_feed(struct meter *m, const void *bytes, size_t n, struct err *err)
{
    if (n > CALL_ANSWER_MAX - m->bytes)
        return err_set(err, ERR_REFUSED, "the answer is over %u MiB", CALL_ANSWER_MAX >> 20);
    m->bytes += n;
    if (m->stream)
        return sse_feed(&m->sse, bytes, n, read_event, m, err);
    if (buf_add(&m->whole, bytes, n) < 0)
        return err_set(err, ERR_REFUSED, "there is no memory for the answer");
    return 0;
}

size_t meter_keeps(const struct meter *m)
{
    return m->sse.line.cap + m->sse.data.cap + m->whole.cap;
}

/* What is worth a charge: an input there always is, and an output whenever something was said. */
static bool usage_counts(const struct reading *r)
{
    const struct usage *u = &r->usage;
    uint64_t input = u->input + u->cache_read + u->cache_write + u->cache_write_1h;
    bool any = false;

    for (size_t i = 0; i < SAID_COUNT; i++)
        any |= r->said_any[i];
    return r->have_usage && !r->bad_usage && input > 0 && (u->output > 0 || !any);
}

static void finish_fingerprint(struct reading *r, uint8_t out[static 32])
{
    uint8_t parts[SAID_COUNT][32];
    bool any = false;

    for (size_t i = 0; i < SAID_COUNT; i++) {
        any |= r->said_any[i];
        crypto_generichash_final(&r->said[i], parts[i], sizeof(parts[i]));
    }
    if (any)
        crypto_generichash(out, 32, parts[0], sizeof(parts), NULL, 0);
    else
        memset(out, 0, 32);
}

void meter_finish(struct meter *m, struct meter_end *ret)
{
    struct reading *r = &m->reading;

    if (m->stream)
        sse_end(&m->sse, read_event, m, NULL); /* an event that is none is no end either */
    else if (json_check_within(m->whole.data, m->whole.len, &bounds, NULL) == 0)
        m->d->whole(r, json_view_root(m->whole.data, m->whole.len));
    *ret = (struct meter_end){.complete = r->complete, .failed = r->failed};
    if (usage_counts(r)) {
        ret->have_usage = true;
        ret->usage = r->usage;
    }
    finish_fingerprint(r, ret->fingerprint);
}
