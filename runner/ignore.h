/* .gitignore files of a work tree, read as data: gitignore(5) matching with bounded work. */
#ifndef RUNNER_IGNORE_H
#define RUNNER_IGNORE_H

#include <stdbool.h>
#include <stddef.h>

#define IGNORE_FILE_MAX  (1u << 20)
#define IGNORE_RULES_MAX 20000

struct ignore_rule {
    const char *pattern; /* borrowed from `text` */
    bool negated, dir_only, anchored;
};

/* The rules of one directory, and of those above it. */
struct ignore {
    const struct ignore *up;   /* borrowed; the root's is NULL */
    size_t dir_len;            /* bytes of the directory's path and slash, in any path below it */
    char *text;                /* owned */
    struct ignore_rule *rules; /* owned */
    size_t n;
};

/* Parses one file's bytes (copied). An ignore with no rules is fine. 0, or -1 out of memory. */
int ignore_init(struct ignore *ig, const struct ignore *up, size_t dir_len, const char *bytes,
                size_t len);
void ignore_done(struct ignore *ig);
/* Is `path` (from the root of the work tree, no trailing slash) ignored by these rules? The caller
 * never asks about what lies in an ignored directory. */
bool ignore_match(const struct ignore *ig, const char *path, bool is_dir);

/* Wildcards of gitignore: `*` and `?` stop at slashes, a component `**` does not. Gives up (no
 * match) after a bounded number of steps. */
bool ignore_glob(const char *pattern, const char *text);

#endif
