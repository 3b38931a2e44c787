/* A forge for unit tests, in the test's own loop: a minimal HTTP/1.1 server that keeps what it was asked and
 * answers what the test says. One request a connection. */
#ifndef TESTS_UNIT_FORGE_FIXTURE_H
#define TESTS_UNIT_FORGE_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <uv.h>

#include "proto/buf.h"

struct fake_forge;
/* Called with the whole request; appends a whole answer, or nothing: then the connection is left hanging. */
typedef void fake_forge_cb(struct fake_forge *f, const char *request, struct buf *answer);

struct fake_forge {
    uv_loop_t *loop;
    uv_tcp_t listener;
    int port;
    fake_forge_cb *cb;
    void *arg;
    struct buf log; /* request lines and bodies, as they came */
    bool cut;       /* close the connection instead of answering */
};

struct fake_conn {
    uv_tcp_t tcp;
    struct fake_forge *f;
    struct buf in, out;
    uv_write_t write;
};

static inline void fake_conn_closed(uv_handle_t *h)
{
    struct fake_conn *c = h->data;
    buf_done(&c->in);
    buf_done(&c->out);
    free(c);
}

static inline void fake_close(struct fake_conn *c)
{
    if (!uv_is_closing((uv_handle_t *)&c->tcp))
        uv_close((uv_handle_t *)&c->tcp, fake_conn_closed);
}

static inline void fake_written(uv_write_t *w, int status)
{
    (void)status;
    fake_close(w->data);
}

static inline bool fake_whole(const char *text, size_t len)
{
    const char *end = strstr(text, "\r\n\r\n");
    const char *length = strcasestr(text, "\r\ncontent-length:");
    size_t body = length && length < end ? strtoul(length + 17, NULL, 10) : 0;
    return end && len >= (size_t)(end + 4 - text) + body;
}

static inline void fake_alloc(uv_handle_t *h, size_t size, uv_buf_t *b)
{
    struct fake_conn *c = h->data;
    (void)size;
    *b = uv_buf_init((char *)buf_room(&c->in, 65536), 65536);
}

static inline void fake_read(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct fake_conn *c = s->data;
    (void)b;
    if (n < 0) {
        fake_close(c);
        return;
    }
    buf_wrote(&c->in, (size_t)n);
    if (!fake_whole(buf_str(&c->in), c->in.len))
        return;
    uv_read_stop(s);
    buf_add(&c->f->log, c->in.data, c->in.len);
    buf_addc(&c->f->log, '\n');
    c->f->cb(c->f, buf_str(&c->in), &c->out);
    if (c->f->cut) {
        fake_close(c);
    } else if (c->out.len > 0) {
        uv_buf_t out = uv_buf_init((char *)c->out.data, (unsigned)c->out.len);
        c->write.data = c;
        uv_write(&c->write, s, &out, 1, fake_written);
    } else {
        uv_read_start(s, fake_alloc, fake_read); /* until the client goes */
    }
}

static inline void fake_accept(uv_stream_t *listener, int status)
{
    struct fake_forge *f = listener->data;
    struct fake_conn *c = calloc(1, sizeof *c);
    (void)status;
    c->f = f;
    buf_init(&c->in, 1 << 20);
    buf_init(&c->out, 1 << 20);
    uv_tcp_init(f->loop, &c->tcp);
    c->tcp.data = c;
    uv_accept(listener, (uv_stream_t *)&c->tcp);
    uv_read_start((uv_stream_t *)&c->tcp, fake_alloc, fake_read);
}

static inline void fake_forge_start(struct fake_forge *f, uv_loop_t *loop)
{
    struct sockaddr_in at;
    int n = sizeof at;
    f->loop = loop;
    buf_init(&f->log, 1 << 20);
    uv_ip4_addr("127.0.0.1", 0, &at);
    uv_tcp_init(loop, &f->listener);
    f->listener.data = f;
    if (uv_tcp_bind(&f->listener, (struct sockaddr *)&at, 0) < 0 ||
        uv_listen((uv_stream_t *)&f->listener, 64, fake_accept) < 0)
        abort();
    uv_tcp_getsockname(&f->listener, (struct sockaddr *)&at, &n);
    f->port = ntohs(at.sin_port);
}

static inline void fake_forge_stop(struct fake_forge *f)
{
    uv_close((uv_handle_t *)&f->listener, NULL);
    buf_done(&f->log);
}

static inline void fake_answer(struct buf *to, int status, const char *body)
{
    buf_addf(to,
             "HTTP/1.1 %d X\r\ncontent-type: application/json\r\ncontent-length: %zu\r\n"
             "connection: close\r\n\r\n%s",
             status, strlen(body), body);
}

#endif
