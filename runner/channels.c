/* The streams of one attempt: source in, log and result out, calls both ways. A stream never changes what an attempt
 * is but by the table in attempt.c; a reader that goes away costs nothing. */
#include "runner/channels.h"

#include <stddef.h>
#include <string.h>

#include "common/diag.h"

#define PACK_EOF_GRACE_MS 1000

static struct serve *serve_of(struct stream *s)
{
    return s->owner->arg;
}

/* Nothing may come on a channel that only goes out. */
static void no_input(struct stream *s, const uint8_t *bytes, size_t n)
{
    stream_close(s);
}

/* A controller may close its sending side at once; what it asked for still goes out. */
static void eof_is_fine(struct stream *s)
{
}

/* ---- pack: raw bytes in, PACK_OK or REFUSED out ---- */

static void pack_bytes(struct stream *s, const uint8_t *bytes, size_t n)
{
    attempt_pack_bytes(s->attempt, bytes, n);
}

static void on_pack_short(uv_timer_t *t)
{
    struct stream *s = t->data;
    if (stream_hung_up(s))
        stream_close(s);
    else
        attempt_pack_eof(s->attempt);
}

/* Short of its end this is a truncated pack, or a connection that is just being lost: those close
 * both ways, so a moment later one can tell. A lost one may come again. */
static void pack_eof(struct stream *s)
{
    uv_timer_start(&s->deadline, on_pack_short, PACK_EOF_GRACE_MS, 0);
}

static void pack_gone(struct stream *s)
{
    attempt_pack_lost(s->attempt, s);
}

static const struct stream_kind pack_kind = {
    .bytes = pack_bytes, .eof = pack_eof, .gone = pack_gone};

/* False: it is refused, and logged. */
static bool proven(struct stream *s, const struct attempt *a, enum proof use,
                   const struct msg_hello *h)
{
    if (attempt_proven(a, use, h->proof))
        return true;
    const char *name = channel_names[h->channel];
    diag(DIAG_WARN, "refused (%s) attempt %s: a %s channel", refusal_names[REFUSED_PROOF],
         a->task.attempt, name);
    stream_refuse(s, h->attempt, REFUSED_PROOF,
                  "a %s channel is for who sent the attempt's envelope", name);
    return false;
}

static void pack_open(struct stream *s, struct attempt *a, const struct msg_hello *h)
{
    struct err err = ERR_INIT;
    if (!proven(s, a, PROOF_PACK, h))
        return;
    int r = attempt_pack_begin(a, s, &err);
    if (r < 0) {
        stream_refuse(s, h->attempt, r == -ERR_REFUSED ? REFUSED_PROTOCOL : REFUSED_INTERNAL, "%s",
                      err.msg);
        return;
    }
    s->attempt = a;
    stream_open(s, CHANNEL_PACK, &pack_kind);
}

/* ---- log: frames out, from an offset, live ---- */

static enum stream_more log_more(struct stream *s)
{
    const struct spool *sp = s->attempt->spool;
    uint64_t left = spool_bytes(sp) - s->offset;
    if (left == 0)
        return spool_complete(sp) ? STREAM_END : STREAM_IDLE;
    return stream_sendfile(s, spool_fd(sp), &s->offset, left);
}

static void log_wake(struct spool_follower *f)
{
    struct stream *s = (struct stream *)(void *)((char *)f - offsetof(struct stream, follower));
    if (!s->writing)
        stream_pump(s);
}

static void log_gone(struct stream *s)
{
    spool_unfollow(&s->follower);
}

static const struct stream_kind log_kind = {
    .bytes = no_input, .eof = eof_is_fine, .more = log_more, .gone = log_gone};

static void log_open(struct stream *s, struct attempt *a, const struct msg_hello *h)
{
    if (!a->spool || h->offset > spool_bytes(a->spool)) {
        stream_refuse(s, h->attempt, REFUSED_PROTOCOL, "the log has no byte %llu yet",
                      (unsigned long long)h->offset);
        return;
    }
    s->attempt = a;
    s->offset = h->offset;
    s->follower.wake = log_wake;
    spool_follow(a->spool, &s->follower);
    stream_open(s, CHANNEL_LOG, &log_kind);
    stream_pump(s);
}

/* ---- result: the document, then the patch pack ---- */

static enum stream_more result_more(struct stream *s)
{
    const struct attempt *a = s->attempt;
    if (s->offset >= a->patch_bytes)
        return STREAM_END;
    return stream_sendfile(s, a->patch_fd, &s->offset, a->patch_bytes - s->offset);
}

static const struct stream_kind result_kind = {
    .bytes = no_input, .eof = eof_is_fine, .more = result_more};

static void result_open(struct stream *s, struct attempt *a, const struct msg_hello *h)
{
    struct msg m = {.type = MSG_RESULT, .u.doc = {a->result.data, a->result.len}};
    if (a->at != AT_ENDED) {
        stream_refuse(s, h->attempt, REFUSED_PROTOCOL, "attempt %s has no result yet", h->attempt);
        return;
    }
    s->attempt = a;
    stream_open(s, CHANNEL_RESULT, &result_kind);
    stream_send(s, &m);
}

/* ---- call: the bytes of one connection of the jail, both ways ---- */

static void call_open(struct stream *s, struct attempt *a, const struct msg_hello *h)
{
    if (!proven(s, a, PROOF_CALL, h))
        return;
    if (a->calls)
        calls_channel(a->calls, s, h->attempt);
    else
        stream_refuse(s, h->attempt, REFUSED_PROTOCOL, "no jail of attempt %s may make calls now",
                      h->attempt);
}

/* ---- hello ---- */

/* The kinds that are about one attempt. */
static void (*const attempt_channels[CHANNEL_COUNT])(struct stream *, struct attempt *,
                                                     const struct msg_hello *) = {
    [CHANNEL_PACK] = pack_open,
    [CHANNEL_LOG] = log_open,
    [CHANNEL_RESULT] = result_open,
    [CHANNEL_CALL] = call_open,
};

void channel_hello(struct stream *s, const struct msg_hello *h)
{
    struct serve *sv = serve_of(s);
    if (h->channel == CHANNEL_CONTROL) {
        control_open(sv, s);
        return;
    }
    if (h->channel < 0 || h->channel >= CHANNEL_COUNT || !attempt_channels[h->channel]) {
        stream_refuse(s, h->attempt, REFUSED_PROTOCOL, "this runner offers no such channel");
        return;
    }
    struct attempt *a = attempt_id_valid(h->attempt) ? serve_attempt(sv, h->attempt) : NULL;
    if (!a)
        stream_refuse(s, h->attempt, REFUSED_UNKNOWN, "this runner has no attempt '%s'",
                      h->attempt);
    else
        attempt_channels[h->channel](s, a, h);
}
