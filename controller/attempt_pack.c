/* An attempt's source pack going out: the file's bytes, as fast as the channel takes them. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/file.h"
#include "controller/engine_internal.h"

#define PACK_CHUNK   (256u << 10)
#define SEND_STALL_S 300

static int next_chunk(struct attempt *a)
{
    struct pack_sender *p = &a->pack;
    uint64_t left = a->row.pack_bytes - p->sent;
    size_t want = left < PACK_CHUNK ? (size_t)left : PACK_CHUNK;
    ssize_t n = want > 0 ? pread(p->fd, p->chunk, want, (off_t)p->sent) : 0;
    if (n < 0 || (size_t)n != want)
        return -1;
    p->chunk_len = (size_t)n;
    p->chunk_off = 0;
    return 0;
}

static void on_pack_writable(void *arg)
{
    struct attempt *a = arg;
    struct pack_sender *p = &a->pack;
    while (p->stream != NULL && p->fd >= 0) {
        if (p->chunk_off == p->chunk_len && next_chunk(a) < 0) {
            struct err err = ERR_INIT;
            err_errno(&err, ERR_FAIL, "%s", a->row.pack);
            pack_stop(a);
            attempt_source_lost(a, &err);
            return;
        }
        if (p->chunk_len == 0) { /* all sent */
            fd_close(&p->fd);
            host_stream_eof(p->stream);
            return;
        }
        size_t n =
            host_stream_write(p->stream, p->chunk + p->chunk_off, p->chunk_len - p->chunk_off);
        if (n == 0)
            return;
        p->chunk_off += n;
        p->sent += n;
        attempt_phase(a, a->phase, SEND_STALL_S); /* it takes as long as it takes, if it goes on */
        /* The whole chunk left: the next is read from where `sent` now stands. */
        if (p->chunk_off < p->chunk_len)
            continue;
        p->chunk_len = p->chunk_off = 0;
    }
}

/* The runner's answer on this channel: PACK_OK or REFUSED, one frame. */
static size_t on_pack_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct attempt *a = arg;
    struct frame f;
    size_t used;
    struct msg m;
    struct err err = ERR_INIT;
    if (buf_add(&a->fetch.head, bytes, n) < 0) {
        engine_host_reset(a->host, "too long an answer to the source pack");
        return n;
    }
    int r = frame_get(a->fetch.head.data, a->fetch.head.len, &f, &used, &err);
    if (r == 0)
        return n;
    if (r < 0 || msg_decode(&f, &m, &err) < 0) {
        engine_host_reset(a->host, "no valid answer to the source pack");
        return n;
    }
    if (!msg_legal(SIDE_RUNNER, CHANNEL_PACK, m.type))
        engine_host_reset(a->host, "an answer that is not legal on a pack channel");
    else
        attempt_message(a, &m);
    msg_done(&m);
    buf_clear(&a->fetch.head);
    return n;
}

static void on_pack_end(void *arg, const struct err *err)
{
    struct attempt *a = arg;
    a->pack.stream = NULL;
    pack_stop(a);
    if (a->phase == PHASE_SENDING)
        engine_host_reset(a->host, err != NULL ? err->msg
                                               : "it closed the source channel without an answer");
}

int pack_start(struct attempt *a, struct err *err)
{
    static const struct stream_callbacks callbacks = {
        .data = on_pack_data, .writable = on_pack_writable, .end = on_pack_end};
    struct msg_hello hello = {.version = PROTO_VERSION, .channel = CHANNEL_PACK};
    char rel[128], path[PATH_MAX];
    pack_stop(a);
    snprintf(rel, sizeof(rel), "quarantine.git/objects/pack/%s", a->row.pack);
    int r = paths_task(a->e->paths, a->row.id, rel, path, err);
    if (r < 0)
        return r;
    a->pack.fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    a->pack.chunk = malloc(PACK_CHUNK);
    if (a->pack.fd < 0 || a->pack.chunk == NULL)
        return err_errno(err, ERR_FAIL, "%s", path);
    snprintf(hello.program, sizeof(hello.program), "creel");
    snprintf(hello.attempt, sizeof(hello.attempt), "%s", a->id);
    proof_make(PROOF_PACK, a->envelope.data, a->envelope.len, hello.proof);
    r = host_stream_open(a->host->link, &hello, &callbacks, a, &a->pack.stream, err);
    if (r == 0)
        on_pack_writable(a);
    return r;
}

void pack_stop(struct attempt *a)
{
    if (a->pack.stream != NULL)
        host_stream_close(a->pack.stream);
    a->pack.stream = NULL;
    fd_close(&a->pack.fd);
    free(a->pack.chunk);
    a->pack.chunk = NULL;
    a->pack.sent = 0;
    a->pack.chunk_len = a->pack.chunk_off = 0;
    buf_clear(&a->fetch.head);
}
