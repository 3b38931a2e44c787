/* The live view of a task. Log bytes go out as they came, unless a terminal would read them: then
 * control sequences are made visible first. With --json stdout holds nothing but events.
 */
#include "controller/cli/run_view.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/events/event_stream.h"

#define VIEW_MAX   (16u << 20)
#define VIEW_FLUSH (256u << 10)

void run_view_init(struct run_view *v, const struct cli *cli, bool json)
{
    *v = (struct run_view){.cli = cli, .json = json};
    buf_init(&v->out, VIEW_MAX);
    buf_init(&v->other, VIEW_MAX);
    log_view_init(&v->view, true, cli->tty_out, cli->tty_err);
}

void run_view_done(struct run_view *v)
{
    event_stream_free(v->view.events);
    buf_done(&v->out);
    buf_done(&v->other);
}

void run_progress_clear(struct run_view *v)
{
    static const char erase[] = "\r\033[K";

    if (v->progress)
        (void)!write_all(STDERR_FILENO, erase, sizeof(erase) - 1);
    v->progress = false;
}

void run_progress(struct run_view *v, const char *fmt, ...)
{
    char text[512];
    struct buf line;
    va_list ap;

    if (v->json)
        return;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    run_progress_clear(v);
    buf_init(&line, 16 * sizeof(text));
    cli_text(&line, text);
    if (!v->cli->tty_err)
        buf_addc(&line, '\n');
    (void)!write_all(STDERR_FILENO, line.data, line.len);
    v->progress = v->cli->tty_err;
    buf_done(&line);
}

void run_event(struct run_view *v, const char *name)
{
    emit_open(&v->out, NULL, '{');
    emit_int(&v->out, "version", 1);
    emit_text(&v->out, "event", name);
}

static int write_out(struct run_view *v, struct err *err)
{
    int rc = cli_out(&v->out, err);

    buf_clear(&v->out);
    return rc;
}

int run_event_end(struct run_view *v, struct err *err)
{
    emit_close(&v->out, '}');
    buf_addc(&v->out, '\n');
    return write_out(v, err);
}

static int on_flush(void *arg, struct err *err)
{
    struct run_view *v = arg;
    int rc = 0;

    if (v->out.len || v->other.len)
        run_progress_clear(v);
    if (v->out.len)
        rc = write_out(v, err);
    if (rc == 0 && v->other.len && write_all(STDERR_FILENO, v->other.data, v->other.len) < 0)
        rc = err_errno(err, ERR_FAIL, "cannot write to stderr");
    buf_clear(&v->other);
    return rc;
}

static void log_event(struct run_view *v, const struct log_frame *f)
{
    static const char *const streams[LOG_STREAM_COUNT] = {"note", "stdout", "stderr"};

    run_event(v, "log");
    emit_text(&v->out, "stream", streams[f->stream]);
    emit_uint(&v->out, "at_us", f->at_us);
    emit_key(&v->out, "text");
    json_quote(&v->out, (const char *)f->payload, f->len);
    emit_close(&v->out, '}');
    buf_addc(&v->out, '\n');
}

static int on_frame(void *arg, const struct log_frame *f, struct err *err)
{
    struct run_view *v = arg;

    if (v->json) {
        log_event(v, f);
    } else {
        /* stdout and stderr may be one terminal: what came first is written first. */
        if (f->stream == LOG_OUT ? v->other.len : v->out.len) {
            int rc = on_flush(v, err);

            if (rc < 0)
                return rc;
        }
        log_view_frame(&v->view, f, &v->out, &v->other);
    }
    if (v->out.failed || v->other.failed)
        return err_set(err, ERR_FAIL, "out of memory");
    return v->out.len + v->other.len > VIEW_FLUSH ? on_flush(v, err) : 0;
}

static int on_state(void *arg, const struct task_row *row, struct err *err)
{
    struct run_view *v = arg;

    if (!v->json && !v->view.events && row->events != AGENT_TEXT) {
        v->view.events = event_stream_new((enum agent_events)row->events);
        if (!v->view.events)
            return err_set(err, ERR_FAIL, "out of memory");
    }
    if (v->json) {
        run_event(v, "state");
        emit_text(&v->out, "id", row->id);
        emit_text(&v->out, "state", task_state_names[row->state]);
        emit_text(&v->out, "reason", row->reason);
        emit_text(&v->out, "host", row->attempt_n ? row->attempt_host : row->host);
        return run_event_end(v, err);
    }
    if (!task_state_final((enum task_state)row->state))
        run_progress(v, "%s%s%s%s%s", task_state_names[row->state], row->attempt_n ? " on " : "",
                     row->attempt_n ? row->attempt_host : "", row->reason[0] ? ": " : "",
                     row->reason);
    return 0;
}

int run_view_finish(struct run_view *v, struct err *err)
{
    if (!v->json)
        log_view_end(&v->view, &v->out, &v->other);
    run_progress_clear(v);
    return on_flush(v, err);
}

void run_view_follow(struct run_view *v, struct follow *f)
{
    f->frame = on_frame;
    f->flush = on_flush;
    f->state = on_state;
    f->arg = v;
}
