/* Failure as a value.
 *
 * Every fallible function of creel takes a `struct err *` last and returns 0 on success or a
 * negative `enum err_code` on failure. Success leaves `*err` untouched. The struct lives in the
 * caller, so failing never allocates. Nothing below a program's top level prints: whoever handles
 * an error says it, once. Codes are the documented exit statuses of `creel` (README, "Exit codes").
 */
#ifndef PROTO_ERR_H
#define PROTO_ERR_H

enum err_code {
    ERR_NONE = 0,
    ERR_FAIL = 1,      /* anything not named below */
    ERR_USAGE = 2,     /* the command line or an input file is wrong */
    ERR_CANCELLED = 3, /* cancelled, or out of time */
    ERR_TRUST = 4,     /* authentication, signature, pinned key */
    ERR_TASK = 5,      /* the task's own command or tests failed */
    ERR_HOST = 6,      /* host unreachable or its runner is not answering */
    ERR_REFUSED = 7,   /* refused by policy, or a limit that cannot be enforced */
};

#define ERR_MSG_MAX 512

struct err {
    enum err_code code;
    char msg[ERR_MSG_MAX]; /* one line, no newline, no control bytes */
};

#define ERR_INIT ((struct err){0})

/* Fills `err` (which may be NULL) and returns -code, never 0. The text is one clear line: what was wrong,
 * where, what to do. Control bytes that arguments bring in are replaced by '?'. */
int err_set(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* As err_set, with ": strerror(errno)" appended. errno is read at entry. */
int err_errno(struct err *err, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Puts "PREFIX: " before the message, keeps the code, returns -code. */
int err_wrap(struct err *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* A failure never reads as success, whatever code it was given: for the reader, for analysers, for a code that came
 * from elsewhere. */
static inline int err_failed(int rc)
{
    return rc < 0 ? rc : -(int)ERR_FAIL;
}
#define err_set(...)   err_failed(err_set(__VA_ARGS__))
#define err_errno(...) err_failed(err_errno(__VA_ARGS__))
#define err_wrap(...)  err_failed(err_wrap(__VA_ARGS__))

/* Exit status of a program that ends with `err`: 0..7. */
int err_exit(const struct err *err);

#endif
