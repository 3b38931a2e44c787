/* What every verb needs: the state directory opened, output that is either whole or an error. */
#include "controller/cli/cmd.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "common/clock.h"
#include "common/file.h"
#include "common/term.h"

int cli_open(struct cli *cli, struct paths *paths, struct store **store, struct err *err)
{
    char db[PATH_MAX];
    int rc = paths_open(cli->state, false, paths, err);

    if (rc < 0)
        return rc;
    rc = paths_at(paths, "creel.db", db, err);
    rc = rc < 0 ? rc : store_open(db, false, store, err);
    if (rc < 0)
        paths_close(paths);
    return rc;
}

void cli_close(struct paths *paths, struct store *store)
{
    store_close(store);
    if (paths->rootfd > 0)
        paths_close(paths);
}

int cli_with_task(struct cli *cli, char **args, size_t nargs, const char *usage, cli_task_cb *act,
                  void *arg, struct err *err)
{
    struct paths p = {.rootfd = -1};
    struct store *s = NULL;
    struct task_row t;
    int rc = cli_nargs(nargs, 1, usage, err);

    rc = rc < 0 ? rc : cli_open(cli, &p, &s, err);
    if (rc < 0)
        return rc;
    rc = store_task_get(s, args[0], &t, err);
    if (rc == 0) {
        rc = act(arg, &p, s, &t, err);
        task_row_done(&t);
    }
    cli_close(&p, s);
    return rc;
}

int cli_out(const struct buf *b, struct err *err)
{
    if (b->failed)
        return err_set(err, ERR_FAIL, "output over %u MiB", CLI_OUT_MAX >> 20);
    if (write_all(STDOUT_FILENO, b->data, b->len) == 0)
        return 0;
    if (errno == EPIPE)
        return err_set(err, ERR_FAIL, "%s", "");
    return err_errno(err, ERR_FAIL, "cannot write to stdout");
}

static int read_all(int fd, struct buf *to)
{
    for (;;) {
        uint8_t *room = buf_room(to, 1);
        ssize_t n = room ? read(fd, room, to->cap > to->len ? to->cap - to->len : 1) : -1;

        if (n < 0 && room && errno == EINTR)
            continue;
        if (n <= 0)
            return (int)n;
        buf_wrote(to, (size_t)n);
    }
}

int cli_read(const char *file, struct buf *to, struct err *err)
{
    int fd = strcmp(file, "-") == 0 ? dup(STDIN_FILENO) : open(file, O_RDONLY | O_CLOEXEC);
    int rc = fd < 0 ? -1 : read_all(fd, to);

    if (rc < 0 && to->failed)
        rc = err_set(err, ERR_USAGE, "%s is over %zu KiB", file, to->max >> 10);
    else if (rc < 0)
        rc = err_errno(err, ERR_USAGE, "%s", file);
    fd_close(&fd);
    return rc;
}

void cli_say(const char *fmt, ...)
{
    char text[2048];
    struct buf line;
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    buf_init(&line, 16 * sizeof(text));
    term_line(text, &line);
    buf_addc(&line, '\n');
    /* Nobody left to tell when this fails. */
    (void)!write_all(STDERR_FILENO, line.data, line.len);
    buf_done(&line);
}

void cli_text(struct buf *to, const char *text)
{
    term_line(text, to);
}

int cli_nargs(size_t nargs, size_t n, const char *what, struct err *err)
{
    if (nargs == n)
        return 0;
    return err_set(err, ERR_USAGE, nargs < n ? "missing argument: %s" : "too many arguments: %s",
                   what);
}

void cli_ago(uint64_t wall_ms, char out[static 32])
{
    uint64_t now = clock_wall_ms();
    uint64_t s = now > wall_ms ? (now - wall_ms) / 1000 : 0;
    time_t t = (time_t)(wall_ms / 1000);
    struct tm tm;

    if (wall_ms == 0)
        snprintf(out, 32, "never");
    else if (s < 60)
        snprintf(out, 32, "%u s ago", (unsigned)s);
    else if (s < 3600)
        snprintf(out, 32, "%u min ago", (unsigned)(s / 60));
    else if (s < 24 * 3600)
        snprintf(out, 32, "%u h ago", (unsigned)(s / 3600));
    else if (!localtime_r(&t, &tm) || strftime(out, 32, "%Y-%m-%d %H:%M", &tm) == 0)
        snprintf(out, 32, "long ago");
}

/* ---- JSON ---- */

/* What came last says whether a comma is due: after a key or a comma none is. */
void emit_key(struct buf *b, const char *key)
{
    char last = b->len ? (char)b->data[b->len - 1] : '\n';

    if (!strchr("{[\n:,", last))
        buf_addc(b, ',');
    if (key) {
        json_quotes(b, key);
        buf_addc(b, ':');
    }
}

void emit_text(struct buf *b, const char *key, const char *value)
{
    emit_key(b, key);
    json_quotes(b, value);
}

void emit_uint(struct buf *b, const char *key, uint64_t value)
{
    emit_key(b, key);
    buf_addf(b, "%llu", (unsigned long long)value);
}

void emit_int(struct buf *b, const char *key, int value)
{
    emit_key(b, key);
    buf_addf(b, "%d", value);
}

void emit_bool(struct buf *b, const char *key, bool value)
{
    emit_key(b, key);
    buf_adds(b, value ? "true" : "false");
}

void emit_hex(struct buf *b, const char *key, const uint8_t *bytes, size_t n)
{
    emit_key(b, key);
    buf_addc(b, '"');
    for (size_t i = 0; i < n; i++)
        buf_addf(b, "%02x", bytes[i]);
    buf_addc(b, '"');
}

void emit_strs(struct buf *b, const char *key, const struct strv *v)
{
    emit_open(b, key, '[');
    for (size_t i = 0; i < v->n; i++)
        emit_text(b, NULL, v->v[i]);
    emit_close(b, ']');
}

void emit_limit_names(struct buf *b, const char *key, unsigned bits)
{
    emit_open(b, key, '[');
    for (int i = 0; i < LIMIT_COUNT; i++)
        if (bits & LIMIT_BIT(i))
            emit_text(b, NULL, limit_names[i]);
    emit_close(b, ']');
}

void emit_open(struct buf *b, const char *key, char bracket)
{
    emit_key(b, key);
    buf_addc(b, bracket);
}

void emit_close(struct buf *b, char bracket)
{
    buf_addc(b, bracket);
}
