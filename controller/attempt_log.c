/* An attempt's log coming in, over the host's log stream, into its sink (log_sink.h).
 *
 * The files are the truth about how far we are: after any break the stream is asked for from where they
 * end. The chain over what came is compared with the signed result's.
 */
#include "common/diag.h"
#include "controller/engine_internal.h"

#define LOG_STALL_S 120
/* A log holds at most the policy's payload, plus heads and notes: a frame may carry as little as one
 * byte, so the heads alone can be thirteen times the payload. */
#define LOG_MAX(policy_bytes) ((policy_bytes) * (LOG_FRAME_HEAD_BYTES + 1) + (16u << 20))

int log_open(struct attempt *a, struct err *err)
{
    if (a->log.fd >= 0)
        return 0;
    int dir = paths_task_dir(a->e->paths, a->row.id, true, err);
    if (dir < 0)
        return dir;
    int r = log_sink_open(&a->log, dir, LOG_MAX(a->row.policy.limits[LIMIT_LOG]), err);
    return r < 0 ? err_wrap(err, "task %s", a->row.id) : 0;
}

static size_t on_log_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct attempt *a = arg;
    struct err err = ERR_INIT;
    int r = log_sink_feed(&a->log, a->e->needles, bytes, n, &err);
    if (r == -ERR_TRUST) {
        err_wrap(&err, "host %s", a->host->name);
        attempt_distrust(a, &err);
        return n;
    }
    if (r < 0) {
        /* A full disk here must not lose the attempt: the runner keeps the log, we come back. */
        diag(DIAG_ERROR, "task %s: %s", a->row.id, err.msg);
        engine_host_reset(a->host, "the log cannot be written here; is the disk full?");
        return n;
    }
    notes_clock(a);
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
    log_sink_close(&a->log);
}

int log_finish(struct attempt *a, struct err *err)
{
    return log_sink_finish(&a->log, err);
}
