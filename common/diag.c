/* Diagnostics on stderr, one write() a line so that lines of several processes do not mix. Keeps the
 * program's name and level for the process; nothing else in creel has mutable file-scope state. */
#include "common/diag.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/term.h"
#include "proto/buf.h"

#define DIAG_TEXT_MAX 2048

static char diag_program[32] = "creel";
static enum diag_level diag_max = DIAG_INFO;

static const char *const level_words[] = {
    [DIAG_ERROR] = "error: ",
    [DIAG_WARN] = "warning: ",
    [DIAG_INFO] = "",
    [DIAG_DEBUG] = "debug: ",
};

void diag_init(const char *program, enum diag_level max)
{
    snprintf(diag_program, sizeof(diag_program), "%s", program);
    diag_max = max;
}

void diag(enum diag_level level, const char *fmt, ...)
{
    if (level > diag_max)
        return;
    int saved = errno;
    char text[DIAG_TEXT_MAX];
    va_list ap;
    va_start(ap, fmt);
    int n = vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (n >= (int)sizeof(text))
        memcpy(text + sizeof(text) - 4, "...", 4);

    struct buf line;
    buf_init(&line, sizeof(text) * 8 + 64);
    buf_addf(&line, "%s: %s", diag_program, level_words[level]);
    if (n >= 0)
        term_line(text, &line);
    buf_addc(&line, '\n');
    /* Out of memory leaves a shorter line, never one that was not neutralised. */
    if (write_all(STDERR_FILENO, line.data, line.len) != 0)
        errno = 0; /* nobody is left to tell */
    buf_done(&line);
    errno = saved;
}
