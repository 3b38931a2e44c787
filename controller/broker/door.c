/* The connections of jails: read into one buffer, answered at the end of each turn of the loop with one
 * write, so that a head, its first bytes and its end travel together when they come together. */
#include "controller/broker/door.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "controller/broker/door_internal.h"

#define DOORS_MAX      320  /* of one attempt: 256 calls at once, and git */
#define DOORS_ALL_MAX  4096 /* of the process */
#define FILES_OURS     128  /* descriptors for everything else */
#define OUT_MAX        (64u << 20)
#define WRITABLE_BELOW (64u << 10)
#define HEAD_MS        30000
#define IDLE_MS        600000
#define BODY_MS        60000   /* between pieces of it */
#define BODY_ALL_MS    3600000 /* of all of it: 64 MiB over a slow line */
#define STALL_MS       300000  /* a jail that takes nothing of its answer */

struct piece { /* what the socket did not take at once */
    uv_write_t write;
    struct door *door;
    uint8_t *bytes;
    size_t n;
};

static void on_closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* Closes the connection; whoever serves it is told that nobody listens. */
static void door_gone(struct door *d)
{
    if (d->closing)
        return;
    d->closing = true;
    if (d->rq.state) {
        void *state = d->rq.state;
        d->rq.state = NULL;
        d->rq.service->done(state, !d->rq.ended);
    }
    if (d->next)
        d->next->prev = d->prev;
    if (d->prev)
        d->prev->next = d->next;
    else
        d->p->doors = d->next;
    attempt_holds(d->p, d->live, door_pending(d), 0);
    d->live->doors--;
    door_kept_done(d);
    buf_done(&d->out);
    uv_close((uv_handle_t *)&d->pipe, on_closed);
}

size_t door_pending(const struct door *d)
{
    return d->out.len + d->queued;
}

void door_put(struct door *d, const void *bytes, size_t n)
{
    if (d->broken)
        return;
    if (!attempt_room(d->p, d->live, n, ANSWERS_SPARE) || door_pending(d) + n > OUT_MAX ||
        buf_add(&d->out, bytes, n) < 0) {
        d->broken = true;
        return;
    }
    attempt_holds(d->p, d->live, 0, n);
}

static void on_alloc(uv_handle_t *handle, size_t hint, uv_buf_t *buf)
{
    const struct door *d = handle->data;
    *buf = uv_buf_init((char *)d->p->chunk, sizeof d->p->chunk);
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct door *d = stream->data;
    if (n < 0) {
        door_gone(d);
        return;
    }
    if (n > 0)
        door_feed(d, (const uint8_t *)buf->base, (size_t)n);
    /* One request at a time: what came beyond it waits, and the rest with its sender. */
    if (d->phase == DOOR_WAIT && d->in.len > 0 && d->reading) {
        uv_read_stop(stream);
        d->reading = false;
    }
}

static void on_written(uv_write_t *write, int status)
{
    struct piece *piece = write->data;
    struct door *d = piece->door;
    size_t n = piece->n;
    free(piece->bytes);
    free(piece);
    if (d->closing)
        return;
    d->queued -= n;
    attempt_holds(d->p, d->live, n, 0);
    d->written_ms = uv_now(&d->p->loop);
    if (status < 0) {
        door_gone(d);
        return;
    }
    if (d->cut && d->queued == 0) {
        door_gone(d);
        return;
    }
    d->woken = true; /* writable() at the turn's end */
}

/* Gives what the socket does not take at once to the loop. */
static int queue_rest(struct door *d, size_t from)
{
    struct piece *piece = calloc(1, sizeof *piece);
    if (!piece)
        return -1;
    piece->n = d->out.len - from;
    piece->door = d;
    piece->write.data = piece;
    buf_drop(&d->out, from);
    piece->bytes = (uint8_t *)buf_steal(&d->out);
    uv_buf_t buf = uv_buf_init((char *)piece->bytes, (unsigned)piece->n);
    if (uv_write(&piece->write, (uv_stream_t *)&d->pipe, &buf, 1, on_written) < 0) {
        attempt_holds(d->p, d->live, piece->n, 0);
        free(piece->bytes);
        free(piece);
        return -1;
    }
    if (d->queued == 0)
        d->written_ms = uv_now(&d->p->loop);
    d->queued += piece->n;
    return 0;
}

static int flush(struct door *d)
{
    size_t from = 0;
    if (d->out.len == 0)
        return 0;
    if (d->queued == 0) {
        uv_buf_t buf = uv_buf_init((char *)d->out.data, (unsigned)d->out.len);
        int n = uv_try_write((uv_stream_t *)&d->pipe, &buf, 1);
        if (n < 0 && n != UV_EAGAIN)
            return -1;
        from = n > 0 ? (size_t)n : 0;
        attempt_holds(d->p, d->live, from, 0);
    }
    if (from < d->out.len)
        return queue_rest(d, from);
    buf_clear(&d->out);
    return 0;
}

/* Another request may be read: first of what came already. */
static void read_on(struct door *d)
{
    if (d->in.len > 0) {
        struct buf early = d->in;
        buf_init(&d->in, DOOR_KEPT_MAX);
        door_feed(d, early.data, early.len);
        attempt_holds(d->p, d->live, early.cap, 0);
        buf_done(&early);
    }
    if (d->reading || (d->phase == DOOR_WAIT && d->in.len > 0) || d->broken || d->cut)
        return;
    if (uv_read_start((uv_stream_t *)&d->pipe, on_alloc, on_read) < 0)
        d->broken = true;
    else
        d->reading = true;
}

static void door_turn(struct door *d)
{
    while (d->rq.active && d->rq.ended && !d->broken && !d->cut) {
        request_finish(d);
        if (d->phase == DOOR_HEAD && !d->cut)
            read_on(d);
    }
    int rc = d->broken ? -1 : flush(d);
    while (rc == 0 && d->rq.full && d->rq.state && door_pending(d) < WRITABLE_BELOW) {
        d->rq.full = false;
        d->rq.service->writable(d->rq.state);
        rc = d->broken ? -1 : flush(d);
    }
    if (rc < 0 || (d->cut && d->queued == 0))
        door_gone(d);
}

void doors_turn(struct process *p)
{
    for (struct door *d = p->doors, *next; d; d = next) {
        next = d->next;
        if (d->out.len > 0 || d->woken || d->broken || d->cut || (d->rq.active && d->rq.ended))
            door_turn(d);
        d->woken = false;
    }
}

static bool late(const struct door *d, uint64_t now)
{
    uint64_t limit = d->phase == DOOR_BODY ? BODY_MS : d->in.len > 0 ? HEAD_MS : IDLE_MS;
    if (d->phase == DOOR_BODY && now > d->begun_ms + BODY_ALL_MS)
        return true;
    if (d->queued > 0)
        return now > d->written_ms + STALL_MS;
    return d->phase != DOOR_WAIT && now > d->since_ms + limit;
}

void doors_tick(struct process *p)
{
    uint64_t now = uv_now(&p->loop);
    for (struct door *d = p->doors, *next; d; d = next) {
        next = d->next;
        if (late(d, now))
            door_gone(d);
    }
}

static size_t doors_count(const struct process *p)
{
    size_t n = 0;
    for (const struct live_attempt *l = p->attempts; l; l = l->next)
        n += l->doors;
    return n;
}

static struct door *door_new(struct process *p, struct live_attempt *live)
{
    struct door *d = calloc(1, sizeof *d);
    if (!d)
        return NULL;
    d->p = p;
    d->live = live;
    d->rq.door = d;
    buf_init(&d->in, DOOR_KEPT_MAX);
    buf_init(&d->out, OUT_MAX + (64u << 10));
    d->since_ms = uv_now(&p->loop);
    uv_pipe_init(&p->loop, &d->pipe, 0);
    d->pipe.data = d;
    live->doors++;
    if ((d->next = p->doors))
        d->next->prev = d;
    p->doors = d;
    return d;
}

/* Each may have a connection to a provider beside it. */
static size_t doors_most(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur <= FILES_OURS)
        return 0;
    rlim_t most = (r.rlim_cur - FILES_OURS) / 2;
    return most < DOORS_ALL_MAX ? (size_t)most : DOORS_ALL_MAX;
}

/* A regular file would end the loop itself. */
static bool is_stream(int fd)
{
    int type = 0;
    socklen_t n = sizeof type;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &n) == 0 && type == SOCK_STREAM;
}

int door_open(struct process *p, const char *attempt, int fd, struct err *err)
{
    struct live_attempt *live;
    struct door *d = NULL;
    int rc = attempts_get(p, attempt, &live, err);
    if (rc == 0 && (live->doors >= DOORS_MAX || doors_count(p) >= doors_most()))
        rc = err_set(err, ERR_REFUSED, "too many connections of the attempt at once");
    if (rc == 0 && !(d = door_new(p, live)))
        rc = err_set(err, ERR_FAIL, "out of memory");
    if (rc == 0 && (!is_stream(fd) || uv_pipe_open(&d->pipe, fd) < 0))
        rc = err_set(err, ERR_FAIL, "a call came with something that is no stream socket");
    if (rc == 0) {
        read_on(d);
        return 0;
    }
    close(fd);
    if (d)
        door_gone(d);
    return rc;
}

void doors_end(struct process *p, const char *attempt)
{
    for (struct door *d = p->doors, *next; d; d = next) {
        next = d->next;
        if (strcmp(d->live->a.attempt, attempt) == 0)
            door_gone(d);
    }
}

void doors_close(struct process *p)
{
    while (p->doors)
        door_gone(p->doors);
}
