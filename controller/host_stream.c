/* The channels of a session: control, the streams in use, and the spares kept open ahead of need.
 *
 * Every channel runs the forced command. A stream that is wanted takes a spare and says its hello
 * on it, so it starts without a round trip. Bytes go to the owner straight from libssh; what an
 * owner holds back is bounded by the SSH window, and a server that ignores the window is cut off.
 */
#include "controller/host_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/term.h"

#define FORCED_COMMAND \
    "creel-runner attach" /* sshd puts its own in the place; this is for people */
#define WRITE_CHUNK   (64u << 10)
#define RESUME_BUDGET 4
/* A runner hangs up on who says nothing, so a spare is not kept that long. */
#define SPARE_AGE_MS 20000
#define REFUSALS_MAX 30 /* three seconds of asking again */

static uint32_t held_max(const struct host_stream *st)
{
    return (st->bulk && st->h->long_line ? HOST_WINDOW_WIDE : HOST_WINDOW_LIBSSH) +
           HOST_WINDOW_SLACK;
}

static int on_data(ssh_session session, ssh_channel ch, void *data, uint32_t len, int is_stderr,
                   void *arg)
{
    struct host_stream *st = arg;
    st->h->active = true;
    if (is_stderr) {
        size_t room = HOST_NOTE_MAX - st->note.len;
        buf_add(&st->note, data, len < room ? len : room);
        return (int)len;
    }
    if (st->dropped)
        return (int)len;
    if (!st->owned) { /* nothing was asked of a spare yet */
        st->dropped = true;
        return (int)len;
    }
    if (len > held_max(st)) {
        host_fail(st->h, ERR_HOST, "host %s: sends more than it was allowed to",
                  st->h->target.name);
        return (int)len;
    }
    if (st->paused)
        return 0;
    size_t n = st->cb.data(st->arg, data, len);
    st->received += n;
    st->ungranted += (uint32_t)n;
    st->paused = n < len;
    return (int)n;
}

static void on_eof(ssh_session session, ssh_channel ch, void *arg)
{
    struct host_stream *st = arg;
    st->remote_eof = st->h->active = true;
}

static void on_close(ssh_session session, ssh_channel ch, void *arg)
{
    struct host_stream *st = arg;
    st->remote_closed = st->h->active = true;
}

static void on_exit_status(ssh_session session, ssh_channel ch, int status, void *arg)
{
    struct host_stream *st = arg;
    st->exit_status = status & 0xff;
    st->h->active = true;
}

static int stream_channel(struct host_stream *st)
{
    st->ch = ssh_channel_new(st->h->session);
    if (!st->ch)
        return -1;
    st->hooks.userdata = st;
    st->hooks.channel_data_function = on_data;
    st->hooks.channel_eof_function = on_eof;
    st->hooks.channel_close_function = on_close;
    st->hooks.channel_exit_status_function = on_exit_status;
    ssh_callbacks_init(&st->hooks);
    ssh_set_channel_callbacks(st->ch, &st->hooks);
    st->h->nchannels++;
    st->state = STREAM_OPENING;
    return 0;
}

static struct host_stream *stream_new(struct host_link *h, size_t out_max)
{
    struct host_stream *st = calloc(1, sizeof *st);
    if (!st)
        return NULL;
    st->h = h;
    st->exit_status = -1;
    buf_init(&st->out, out_max);
    buf_init(&st->held, HOST_WINDOW_WIDE + HOST_WINDOW_SLACK);
    buf_init(&st->note, HOST_NOTE_MAX);
    struct host_stream **at = &h->streams;
    while (*at) {
        st->prev = *at;
        at = &(*at)->next;
    }
    *at = st;
    return st;
}

static void stream_channel_free(struct host_stream *st)
{
    if (!st->ch)
        return;
    ssh_channel_free(st->ch);
    st->ch = NULL;
    st->h->nchannels--;
}

static void stream_free(struct host_stream *st)
{
    struct host_link *h = st->h;
    stream_channel_free(st);
    if (st->prev)
        st->prev->next = st->next;
    else
        h->streams = st->next;
    if (st->next)
        st->next->prev = st->prev;
    if (h->control == st)
        h->control = NULL;
    buf_done(&st->out);
    buf_done(&st->held);
    buf_done(&st->note);
    free(st);
}

static void stream_end(struct host_stream *st, const struct err *err)
{
    bool tell = st->owned;
    st->owned = false;
    st->dropped = true;
    if (tell)
        st->cb.end(st->arg, err);
}

void stream_excuse(const struct host_stream *st, char out[static 400])
{
    struct buf line;
    size_t n = st->note.len;
    buf_init(&line, 300); /* a note that does not fit is cut at a whole character */
    while (n && strchr("\r\n\t ", st->note.data[n - 1]))
        n--;
    char text[HOST_NOTE_MAX + 1];
    memcpy(text, st->note.data, n);
    text[n] = 0;
    for (size_t i = 0; i < n; i++)
        if (text[i] == '\n' || text[i] == '\r' || text[i] == 0)
            text[i] = ' ';
    while (n && term_line(text, &line) < 0) {
        buf_clear(&line);
        text[n /= 2] = 0;
    }
    if (st->exit_status > 0)
        snprintf(out, 400, "%s%s (exit status %d)", line.len ? ": " : "", buf_str(&line),
                 st->exit_status);
    else
        snprintf(out, 400, "%s%s", line.len ? ": " : "", buf_str(&line));
    buf_done(&line);
}

static bool connected(struct host_link *h)
{
    if (ssh_is_connected(h->session))
        return true;
    host_fail(h, ERR_HOST, "host %s: connection lost: %s", h->target.name,
              ssh_get_error(h->session));
    return false;
}

/* The server opened no channel for this stream: sshd's MaxSessions, most likely. */
static void stream_refused(struct host_stream *st)
{
    struct host_link *h = st->h;
    stream_channel_free(st);
    if (st == h->control) {
        host_fail(h, ERR_HOST, "host %s: no SSH channel was granted: %s", h->target.name,
                  ssh_get_error(h->session));
        return;
    }
    h->max_channels = h->nchannels;
    st->state = STREAM_WAITING;
    if (!st->owned) {
        st->dropped = true;
    } else if (h->nchannels <= 1 && ++st->refusals < REFUSALS_MAX) {
        /* sshd counts a session that we closed until it has reaped the session's process. */
        host_ask_again(h);
    } else if (h->nchannels <= 1) {
        struct err err = ERR_INIT;
        err_set(&err, ERR_HOST, "host %s: sshd grants a single session; raise its MaxSessions",
                h->target.name);
        stream_end(st, &err);
    }
}

static void stream_no_command(struct host_stream *st)
{
    struct host_link *h = st->h;
    struct err err = ERR_INIT;
    err_set(&err, ERR_HOST, "host %s: sshd would not start the forced command", h->target.name);
    if (st == h->control)
        host_fail(h, ERR_HOST, "%s", err.msg);
    else
        stream_end(st, &err);
}

/* Opens the channel, then asks for the command; each may take several looks. */
static void stream_advance(struct host_stream *st)
{
    struct host_link *h = st->h;
    int rc;
    if (st->state == STREAM_WAITING && !st->dropped && h->nchannels < h->max_channels &&
        stream_channel(st) < 0)
        host_fail(h, ERR_FAIL, "host %s: out of memory", h->target.name);
    if (st->state == STREAM_OPENING) {
        rc = ssh_channel_open_session(st->ch);
        if (rc == SSH_AGAIN)
            return;
        if (rc != SSH_OK) {
            if (connected(h))
                stream_refused(st);
            return;
        }
        st->state = STREAM_REQUESTING;
    }
    if (st->state == STREAM_REQUESTING) {
        rc = ssh_channel_request_exec(st->ch, FORCED_COMMAND);
        if (rc == SSH_AGAIN)
            return;
        if (rc != SSH_OK) {
            if (connected(h))
                stream_no_command(st);
            return;
        }
        st->state = STREAM_OPEN;
        st->opened_ms = uv_now(h->loop);
    }
}

/* Hands queued bytes to libssh, which looks only at the channel's window: what the socket does not
 * take would pile up in its memory, so nothing is given while some is pending there. */
static void stream_flush(struct host_stream *st)
{
    struct host_link *h = st->h;
    size_t done = 0;
    while (done < st->out.len && !(ssh_get_status(h->session) & SSH_WRITE_PENDING)) {
        size_t n = st->out.len - done;
        uint32_t window = ssh_channel_window_size(st->ch);
        n = n < WRITE_CHUNK ? n : WRITE_CHUNK;
        n = n < window ? n : window;
        int rc = n ? ssh_channel_write(st->ch, st->out.data + done, (uint32_t)n) : 0;
        if (rc < 0)
            connected(h); /* else the channel is closed: its end is told by on_close */
        if (rc <= 0)
            break;
        done += (size_t)rc;
    }
    buf_drop(&st->out, done);
    if (st->eof_wanted && !st->eof_sent && !st->out.len)
        st->eof_sent = ssh_channel_send_eof(st->ch) == SSH_OK;
    if (st->room_wanted && st->out.len <= HOST_OUT_MAX / 2 && st->owned && !st->eof_wanted) {
        st->room_wanted = false;
        st->cb.writable(st->arg);
    }
}

static size_t offer(struct host_stream *st, const uint8_t *bytes, size_t n)
{
    size_t took = st->cb.data(st->arg, bytes, n);
    st->received += took;
    st->ungranted += (uint32_t)took;
    return took;
}

/* The owner wants what was held back: first what we hold, then what libssh holds. That is moved
 * over in one piece, for every read makes libssh grant its whole window anew, whatever it still
 * holds; so there is at most one window here and one there. on_data hands over nothing meanwhile
 * (`paused` stays set), which keeps the order. */
static void stream_resume(struct host_stream *st)
{
    st->resume = false;
    for (int i = 0; i < RESUME_BUDGET && st->owned; i++) {
        buf_drop(&st->held, st->held.len ? offer(st, st->held.data, st->held.len) : 0);
        if (st->held.len || !st->owned)
            return;
        int n = ssh_channel_poll(st->ch, 0);
        if (n <= 0) { /* nothing left, or EOF */
            st->paused = false;
            return;
        }
        uint8_t *room = (uint32_t)n <= held_max(st) ? buf_room(&st->held, (size_t)n) : NULL;
        n = room ? ssh_channel_read_nonblocking(st->ch, room, (uint32_t)n, 0) : -1;
        if (n < 0) {
            host_fail(st->h, ERR_HOST, "host %s: a stream cannot be read", st->h->target.name);
            return;
        }
        buf_wrote(&st->held, (size_t)n);
    }
    st->resume = st->h->active = true;
}

/* Over a long line libssh's own window caps a download at 640 kB a round trip. Asking to read more
 * than the window makes it grant that much; there is nothing to read, for on_data took it all. */
static void stream_widen(struct host_stream *st)
{
    struct host_link *h = st->h;
    if (!st->bulk || !h->long_line || st->paused || st->ungranted < HOST_WINDOW_WIDE / 4)
        return;
    st->ungranted = 0;
    if (!h->scratch)
        h->scratch = malloc(HOST_WINDOW_WIDE);
    if (!h->scratch)
        return;
    int n = ssh_channel_read_timeout(st->ch, h->scratch, HOST_WINDOW_WIDE, 0, 0);
    if (n > 0) { /* came in just now, and the owner took less than all of it */
        buf_add(&st->held, h->scratch, (size_t)n);
        st->paused = true;
    }
}

static void stream_check_end(struct host_stream *st)
{
    struct err err = ERR_INIT;
    char excuse[400];
    if (st->paused || st->held.len || !(st->remote_eof || st->remote_closed))
        return;
    if (st->cb.eof && st->remote_eof && !st->remote_closed) {
        if (!st->eof_told) {
            st->eof_told = true;
            st->cb.eof(st->arg);
        } else if (st->eof_sent) {
            stream_end(st, NULL);
        }
        return;
    }
    if (st->remote_eof && st->received && st != st->h->control) {
        stream_end(st, NULL);
        return;
    }
    /* It ended without a byte: the command's exit status and words say whether that was meant. */
    if (!st->remote_closed) {
        st->eof_wanted = true;
        return;
    }
    if (st->remote_eof && st->exit_status == 0 && st != st->h->control) {
        stream_end(st, NULL);
        return;
    }
    stream_excuse(st, excuse);
    err_set(&err, ERR_HOST, "host %s: the runner's side of the stream ended early%s",
            st->h->target.name, excuse);
    stream_end(st, &err);
}

static bool stale(const struct host_stream *st)
{
    return !st->owned && st->state == STREAM_OPEN &&
           (st->remote_eof || st->remote_closed ||
            uv_now(st->h->loop) - st->opened_ms >= SPARE_AGE_MS);
}

static void stream_step(struct host_stream *st)
{
    stream_advance(st);
    if (st->state != STREAM_OPEN || st->dropped)
        return;
    stream_flush(st);
    if (st->resume && st->owned && st->paused)
        stream_resume(st);
    if (!st->dropped)
        stream_widen(st);
    if (st->owned && !st->dropped)
        stream_check_end(st);
    if (stale(st))
        st->dropped = true;
}

/* Frees a dropped stream; its channel counts until the server closed it too, for sshd counts so. */
static void stream_reap(struct host_stream *st)
{
    if (st->ch && st->state == STREAM_OPEN && !st->remote_closed) {
        if (!st->close_sent)
            ssh_channel_close(st->ch);
        st->close_sent = true;
        return;
    }
    stream_free(st);
}

static void refill(struct host_link *h)
{
    unsigned spares = 0;
    for (const struct host_stream *st = h->streams; st; st = st->next) {
        if (st->state == STREAM_WAITING)
            return;
        spares += !st->owned && !st->dropped;
    }
    for (; spares < HOST_SPARES && h->nchannels < h->max_channels; spares++) {
        struct host_stream *st = stream_new(h, HOST_OUT_MAX);
        if (!st)
            return;
        if (stream_channel(st) < 0) {
            stream_free(st);
            return;
        }
        h->active = true;
    }
}

void host_streams_step(struct host_link *h)
{
    struct host_stream *st, *next;
    for (st = h->streams; st && !h->why.code && !h->closing; st = st->next)
        stream_step(st);
    for (st = h->streams; st && !h->closing; st = next) {
        next = st->next;
        if (st->dropped)
            stream_reap(st);
    }
    if (!h->why.code && !h->closing && h->refill)
        refill(h);
    h->refill = false;
}

void host_streams_detach(struct host_link *h)
{
    for (struct host_stream *st = h->streams; st; st = st->next)
        stream_channel_free(st);
}

void host_streams_end(struct host_link *h, const struct err *err)
{
    for (struct host_stream *st = h->streams; st && !h->closing; st = st->next)
        if (err)
            stream_end(st, err);
    while (h->streams)
        stream_free(h->streams); /* NOLINT(clang-analyzer-unix.Malloc): it leaves the list */
}

static struct host_stream *stream_own(struct host_stream *st, const struct stream_callbacks *cb,
                                      void *arg)
{
    st->cb = *cb;
    st->arg = arg;
    st->owned = true;
    return st;
}

int host_control_open(struct host_link *h, const struct stream_callbacks *cb, struct err *err)
{
    struct host_stream *st = stream_new(h, HOST_CONTROL_MAX);
    if (!st)
        return err_set(err, ERR_FAIL, "out of memory");
    h->control = stream_own(st, cb, h);
    return 0;
}

/* The spare that is furthest, or a stream that waits for its own channel. */
static struct host_stream *spare(struct host_link *h)
{
    struct host_stream *best = NULL;
    for (struct host_stream *st = h->streams; st; st = st->next) {
        if (st->owned || st->dropped || stale(st))
            continue;
        if (!best || st->state > best->state)
            best = st;
    }
    return best ? best : stream_new(h, HOST_OUT_MAX);
}

int host_stream_open(struct host_link *h, const struct msg_hello *hello,
                     const struct stream_callbacks *cb, void *arg, struct host_stream **ret,
                     struct err *err)
{
    struct msg m = {.type = MSG_HELLO, .u.hello = *hello};
    if (h->state != HOST_READY || h->why.code || h->closing)
        return err_set(err, ERR_HOST, "host %s: not connected", h->target.name);
    struct host_stream *st = spare(h);
    if (!st)
        return err_set(err, ERR_FAIL, "out of memory");
    int rc = msg_put(&st->out, &m, err);
    if (rc < 0) {
        buf_clear(&st->out);
        return rc;
    }
    st->bulk = hello->channel == CHANNEL_LOG || hello->channel == CHANNEL_RESULT;
    *ret = stream_own(st, cb, arg);
    h->refill = true;
    host_kick(h);
    return 0;
}

unsigned host_streams_room(const struct host_link *h)
{
    unsigned used = 0;
    for (const struct host_stream *st = h->streams; st; st = st->next)
        used +=
            st->owned; /* spares are there to be taken; those that end make room, or are waited for */
    return h->max_channels > used ? h->max_channels - used : 0;
}

size_t host_stream_write(struct host_stream *st, const void *bytes, size_t n)
{
    size_t room = st->out.len < HOST_OUT_MAX ? HOST_OUT_MAX - st->out.len : 0;
    size_t take = n < room ? n : room;
    if (!st->owned || st->eof_wanted || (take && buf_add(&st->out, bytes, take) < 0))
        take = 0;
    st->room_wanted = take < n;
    host_kick(st->h);
    return take;
}

void host_stream_eof(struct host_stream *st)
{
    st->eof_wanted = true;
    host_kick(st->h);
}

void host_stream_resume(struct host_stream *st)
{
    st->resume = true;
    host_kick(st->h);
}

void host_stream_close(struct host_stream *st)
{
    st->owned = false;
    if (st->state == STREAM_OPENING || st->state == STREAM_REQUESTING) {
        /* Nothing was said on it yet: it becomes a spare. */
        st->eof_wanted = st->room_wanted = st->bulk = false;
        buf_clear(&st->out);
    } else {
        st->dropped = true;
    }
    host_kick(st->h);
}
