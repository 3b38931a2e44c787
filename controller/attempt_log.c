/* An attempt's log coming in: frames written byte for byte as the runner has them.
 *
 * The file is the truth about how far we are: after any break the stream is asked for from its size
 * on. The hash chain is carried along over whole frames and compared with the signed result's. The
 * frames' payload is not looked at here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/engine_internal.h"
#include "proto/frame.h"

#define LOG_SCAN_BYTES (256u << 10)
#define LOG_STALL_S    120
/* A log holds at most the policy's payload, plus heads and notes: a frame may carry as little as one
 * byte, so the heads alone can be thirteen times the payload. */
#define LOG_MAX(policy_bytes) ((policy_bytes) * (LOG_FRAME_HEAD_BYTES + 1) + (16u << 20))

/* Advances the chain over the whole frames in bytes; what is left of a frame stays in the tail. */
static int chain_feed(struct log_sink *l, const uint8_t *bytes, size_t n, struct err *err)
{
    struct log_frame f;
    size_t used;
    int r = 0;
    if (l->tail.len > 0) { /* at most one frame is ever in the tail */
        if (buf_add(&l->tail, bytes, n) < 0)
            return err_set(err, ERR_FAIL, "log: out of memory");
        bytes = l->tail.data;
        n = l->tail.len;
    }
    size_t at = 0;
    while ((r = log_frame_get(bytes + at, n - at, &f, &used, err)) == 1) {
        sha256_link(l->chain, bytes + at, used);
        at += used;
    }
    if (r < 0)
        return err_wrap(err, "log");
    if (l->tail.len > 0)
        buf_drop(&l->tail, at);
    else if (buf_add(&l->tail, bytes + at, n - at) < 0)
        return err_set(err, ERR_FAIL, "log: out of memory");
    return 0;
}

static int scan_existing(struct log_sink *l, struct err *err)
{
    uint8_t *chunk = malloc(LOG_SCAN_BYTES);
    ssize_t n = 0;
    int r = chunk != NULL ? 0 : err_set(err, ERR_FAIL, "out of memory");
    while (r == 0 && (n = pread(l->fd, chunk, LOG_SCAN_BYTES, (off_t)l->bytes)) > 0) {
        r = chain_feed(l, chunk, (size_t)n, err);
        l->bytes += (uint64_t)n;
    }
    if (r == 0 && n < 0)
        r = err_errno(err, ERR_FAIL, "log");
    free(chunk);
    return r;
}

int log_open(struct attempt *a, struct err *err)
{
    struct log_sink *l = &a->log;
    if (l->fd >= 0)
        return 0;
    int dir = paths_task_dir(a->e->paths, a->row.id, true, err);
    if (dir < 0)
        return dir;
    l->fd = openat(dir, "log", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    close(dir);
    if (l->fd < 0)
        return err_errno(err, ERR_FAIL, "task %s: log", a->row.id);
    l->bytes = 0;
    l->max = LOG_MAX(a->row.policy.limits[LIMIT_LOG]);
    buf_done(&l->tail);
    buf_init(&l->tail, LOG_FRAME_HEAD_BYTES + LOG_PAYLOAD_MAX + LOG_SCAN_BYTES * 8);
    for (size_t i = 0; i < sizeof(l->chain); i++)
        l->chain[i] = 0;
    return scan_existing(l, err);
}

static size_t on_log_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct attempt *a = arg;
    struct log_sink *l = &a->log;
    struct err err = ERR_INIT;
    if (l->bytes + n > l->max) {
        err_set(&err, ERR_TRUST, "host %s sent more log than the policy's limit allows",
                a->host->name);
        attempt_distrust(a, &err);
        return n;
    }
    if (pwrite(l->fd, bytes, n, (off_t)l->bytes) != (ssize_t)n) {
        /* A full disk here must not lose the attempt: the runner keeps the log, we come back. */
        engine_host_reset(a->host, "the log cannot be written here; is the disk full?");
        return n;
    }
    l->bytes += n;
    if (chain_feed(l, bytes, n, &err) < 0) {
        attempt_distrust(a, &err);
        return n;
    }
    if (a->phase == PHASE_DRAINING)
        attempt_phase(a, PHASE_DRAINING, LOG_STALL_S);
    engine_notify(a->e);
    return n;
}

static void on_log_end(void *arg, const struct err *err)
{
    struct attempt *a = arg;
    a->log_stream = NULL;
    if (err != NULL) {
        engine_host_reset(a->host, err->msg); /* the next welcome asks for the rest */
        return;
    }
    attempt_log_complete(a);
}

int log_follow(struct attempt *a, struct err *err)
{
    static const struct stream_callbacks callbacks = {.data = on_log_data, .end = on_log_end};
    struct msg_hello hello = {.version = PROTO_VERSION, .channel = CHANNEL_LOG};
    int r = log_open(a, err);
    if (r < 0 || a->log_stream != NULL)
        return r;
    snprintf(hello.program, sizeof(hello.program), "creel");
    snprintf(hello.attempt, sizeof(hello.attempt), "%s", a->id);
    hello.offset = a->log.bytes;
    return host_stream_open(a->host->link, &hello, &callbacks, a, &a->log_stream, err);
}

void log_stop(struct attempt *a)
{
    if (a->log_stream != NULL)
        host_stream_close(a->log_stream);
    a->log_stream = NULL;
}

void log_close(struct attempt *a)
{
    log_stop(a);
    fd_close(&a->log.fd);
    buf_done(&a->log.tail);
}
