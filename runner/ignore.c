/* gitignore(5): the last rule that matches decides, nearer files over farther ones. The patterns
 * are the agent's: matching takes a bounded number of steps, whatever they say. */
#include "runner/ignore.h"

#include <stdlib.h>
#include <string.h>

#define GLOB_STEPS_MAX 20000

/* One character class after '['. Returns what follows ']' or NULL when there is none. */
static const char *glob_class(const char *p, char c, bool *ret_hit)
{
    bool negated = *p == '!' || *p == '^';
    bool hit = false;
    p += negated ? 1 : 0;
    for (bool first = true; first || *p != ']'; first = false) {
        if (*p == '\\' && p[1] != '\0') {
            p++;
        }
        if (*p == '\0') {
            return NULL;
        }
        unsigned char lo = (unsigned char)*p++, hi = lo;
        if (*p == '-' && p[1] != ']' && p[1] != '\0') {
            p += p[1] == '\\' && p[2] != '\0' ? 2 : 1;
            hi = (unsigned char)*p++;
        }
        hit = hit || (lo <= (unsigned char)c && (unsigned char)c <= hi);
    }
    *ret_hit = hit != negated && c != '/';
    return p + 1;
}

static bool glob_at(const char *start, const char *p, const char *t, unsigned *steps);

/* `p` stands at a run of stars. */
static bool glob_star(const char *start, const char *p, const char *t, unsigned *steps)
{
    const char *after = p;
    while (*after == '*') {
        after++;
    }
    bool whole =
        after - p == 2 && (p == start || p[-1] == '/') && (*after == '/' || *after == '\0');
    if (whole && *after == '/' && glob_at(start, after + 1, t, steps)) {
        return true; /* "**" + slash stands for no directory at all */
    }
    for (;; t++) {
        if (glob_at(start, after, t, steps)) {
            return true;
        }
        if (*t == '\0' || (*t == '/' && !whole) || *steps == 0) {
            return false;
        }
    }
}

/* Recursion only at stars, and each of those steps is counted. */
static bool glob_at(const char *start, const char *p, const char *t, unsigned *steps)
{
    for (; *p != '\0'; t++) {
        if (*steps == 0) {
            return false;
        }
        --*steps;
        if (*p == '*') {
            return glob_star(start, p, t, steps);
        }
        bool hit = *t == *p;
        if (*p == '?') {
            hit = *t != '\0' && *t != '/';
        } else if (*p == '[') {
            const char *next = glob_class(p + 1, *t, &hit);
            if (next == NULL || *t == '\0') {
                return false;
            }
            p = next - 1;
        } else if (*p == '\\' && p[1] != '\0') {
            hit = *t == *++p;
        }
        if (!hit || *t == '\0') {
            return false;
        }
        p++;
    }
    return *t == '\0';
}

bool ignore_glob(const char *pattern, const char *text)
{
    unsigned steps = GLOB_STEPS_MAX;
    return glob_at(pattern, pattern, text, &steps);
}

/* Cuts blanks at the end, but for one that a backslash keeps. */
static void trim_blanks(char *line)
{
    size_t n = strlen(line);
    while (n > 0 && line[n - 1] == ' ' && !(n > 1 && line[n - 2] == '\\')) {
        line[--n] = '\0';
    }
}

/* False when the line holds no rule. */
static bool parse_rule(char *line, struct ignore_rule *ret)
{
    struct ignore_rule rule = {0};
    trim_blanks(line);
    if (*line == '#' || *line == '\0') {
        return false;
    }
    if (*line == '!') {
        rule.negated = true;
        line++;
    }
    size_t n = strlen(line);
    if (n > 0 && line[n - 1] == '/') {
        rule.dir_only = true;
        line[--n] = '\0';
    }
    rule.anchored = strchr(line, '/') != NULL;
    if (*line == '/') {
        line++;
    }
    if (*line == '\0') {
        return false;
    }
    rule.pattern = line;
    *ret = rule;
    return true;
}

int ignore_init(struct ignore *ig, const struct ignore *up, size_t dir_len, const char *bytes,
                size_t len)
{
    static const char bom[] = "\xef\xbb\xbf";
    *ig = (struct ignore){.up = up, .dir_len = dir_len};
    if (len >= 3 && memcmp(bytes, bom, 3) == 0) {
        bytes += 3;
        len -= 3;
    }
    if (len == 0) {
        return 0;
    }
    ig->text = malloc(len + 1);
    ig->rules = calloc(IGNORE_RULES_MAX < len ? IGNORE_RULES_MAX : len, sizeof(*ig->rules));
    if (ig->text == NULL || ig->rules == NULL) {
        ignore_done(ig);
        return -1;
    }
    memcpy(ig->text, bytes, len);
    ig->text[len] = '\0';
    for (char *line = ig->text, *end = line + len; line < end && ig->n < IGNORE_RULES_MAX;) {
        char *next = memchr(line, '\n', (size_t)(end - line));
        next = next == NULL ? end : next;
        *next = '\0';
        if (next > line && next[-1] == '\r') {
            next[-1] = '\0';
        }
        ig->n += parse_rule(line, &ig->rules[ig->n]) ? 1 : 0;
        line = next + 1;
    }
    return 0;
}

void ignore_done(struct ignore *ig)
{
    free(ig->text);
    free(ig->rules);
    *ig = (struct ignore){0};
}

bool ignore_match(const struct ignore *ig, const char *path, bool is_dir)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    for (; ig != NULL; ig = ig->up) {
        for (size_t i = ig->n; i > 0; i--) {
            const struct ignore_rule *r = &ig->rules[i - 1];
            if (r->dir_only && !is_dir) {
                continue;
            }
            if (ignore_glob(r->pattern, r->anchored ? path + ig->dir_len : name)) {
                return !r->negated;
            }
        }
    }
    return false;
}
