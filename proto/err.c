/* Making errors: formatting into the caller's struct, neutral for terminals and for JSON whatever
 * the arguments were. Never allocates, never prints. */
#include "proto/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/utf8.h"

#undef err_set
#undef err_errno
#undef err_wrap

/* Formats beside the struct first: an argument may point into err->msg itself. */
static void fill(struct err *err, enum err_code code, const char *fmt, va_list args)
    __attribute__((format(printf, 3, 0)));
static void fill(struct err *err, enum err_code code, const char *fmt, va_list args)
{
    char text[ERR_MSG_MAX + 8];

    if (vsnprintf(text, sizeof(text), fmt, args) < 0)
        text[0] = 0;
    err->code = code;
    utf8_copy(err->msg, sizeof(err->msg), text);
    utf8_repair(err->msg, false);
}

int err_set(struct err *err, enum err_code code, const char *fmt, ...)
{
    va_list args;

    if (err) {
        va_start(args, fmt);
        fill(err, code, fmt, args);
        va_end(args);
    }
    return -(int)code;
}

int err_errno(struct err *err, enum err_code code, const char *fmt, ...)
{
    int number = errno;
    char reason[128], head[ERR_MSG_MAX];
    va_list args;

    if (!err)
        return -(int)code;
    va_start(args, fmt);
    if (vsnprintf(head, sizeof(head), fmt, args) < 0)
        head[0] = 0;
    va_end(args);
    return err_set(err, code, "%s: %s", head, strerror_r(number, reason, sizeof(reason)));
}

int err_wrap(struct err *err, const char *fmt, ...)
{
    char head[ERR_MSG_MAX];
    va_list args;

    if (!err)
        return -(int)ERR_FAIL;
    va_start(args, fmt);
    if (vsnprintf(head, sizeof(head), fmt, args) < 0)
        head[0] = 0;
    va_end(args);
    return err_set(err, err->code, "%s: %s", head, err->msg);
}

int err_exit(const struct err *err)
{
    return err->code >= ERR_NONE && err->code <= ERR_REFUSED ? (int)err->code : (int)ERR_FAIL;
}
