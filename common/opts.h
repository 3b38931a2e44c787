/* Option tables: parsing, --help and completion read the same rows. */
#ifndef COMMON_OPTS_H
#define COMMON_OPTS_H

#include <stdbool.h>
#include <stddef.h>

#include "proto/err.h"
#include "proto/json.h"

enum opt_kind {
    OPT_FLAG,  /* bool */
    OPT_TEXT,  /* const char *, borrowed from argv */
    OPT_MANY,  /* struct strv, owned by the caller: strv_done */
    OPT_UINT,  /* unsigned */
    OPT_COUNT, /* unsigned, at least 1; 0: it was not given */
};

struct opt {
    const char *name; /* "limit" is --limit */
    char letter;      /* 'f' is -f, or 0 */
    enum opt_kind kind;
    size_t offset;    /* into the options struct */
    const char *arg;  /* how help names the value, NULL for flags */
    const char *help; /* one line */
    const char *env;  /* environment variable that gives the default, or NULL */
};

/* Parses argv[1..] into `out` by the table (a row with a NULL name ends it). `--name value`,
 * `--name=value`, `-x value`, `--` ends options. Positional arguments go to `rest` in order
 * (borrowed pointers, NULL-terminated, *ret_nrest of them); with `stop_at_first` parsing stops at
 * the first positional. --help sets *ret_help. Unknown options: -ERR_USAGE, naming the nearest
 * known one. */
int opts_parse(const struct opt *table, int argc, char **argv, void *out, bool stop_at_first,
               char **rest, size_t *ret_nrest, bool *ret_help, struct err *err);
/* Appends the option lines of a help text. */
int opts_help(const struct opt *table, struct buf *to);

#endif
