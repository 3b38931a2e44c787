/* One stream of text through the needles. Bytes are kept back only while they may begin a needle whose
 * end has not come; a place once marked is remembered, for needles that overlap or touch it. */
#include "controller/redact.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/redact_internal.h"

#define SLICE (64u << 10)

struct redactor {
    const struct needles *set;   /* borrowed */
    struct buf held;             /* fed, not decided about yet */
    size_t cover;                /* held's first bytes that a place already marked covers */
    bool marked;                 /* a marked place reaches up to what is held */
    char name[NEEDLE_NAME_SIZE]; /* its name */
    uint64_t hits;
};

struct redactor *redactor_new(const struct needles *set)
{
    struct redactor *r = calloc(1, sizeof *r);
    if (r) {
        r->set = set;
        buf_init(&r->held, SLICE + NEEDLE_MAX);
    }
    return r;
}

void redactor_free(struct redactor *r)
{
    if (!r)
        return;
    buf_wipe(&r->held);
    free(r);
}

void redactor_set(struct redactor *r, const struct needles *set)
{
    r->set = set;
}

uint64_t redactor_hits(const struct redactor *r)
{
    return r->hits;
}

size_t redactor_held(const struct redactor *r)
{
    return r->held.len;
}

size_t redactor_covered(const struct redactor *r, char ret_name[static NEEDLE_NAME_SIZE])
{
    memset(ret_name, 0, NEEDLE_NAME_SIZE);
    if (r->marked)
        memcpy(ret_name, r->name, NEEDLE_NAME_SIZE);
    return r->cover;
}

void redactor_resume(struct redactor *r, size_t cover, const char *name)
{
    buf_clear(&r->held);
    r->cover = cover;
    r->marked = name[0] != 0;
    snprintf(r->name, sizeof r->name, "%s", name);
}

/* Behind the last byte that no needle holds: from there on one may have begun. */
static size_t line_start(const uint8_t *bytes, size_t n)
{
    const uint8_t *lf = memrchr(bytes, '\n', n);
    size_t at = lf ? (size_t)(lf - bytes) + 1 : 0;
    const uint8_t *cr = memrchr(bytes + at, '\r', n - at);
    return cr ? (size_t)(cr - bytes) + 1 : at;
}

/* The needle `v` begins at `at`; up to *end all has been written or marked. */
static void mark(struct redactor *r, const struct needle *v, const uint8_t *bytes, size_t at,
                 size_t *end, struct buf *out)
{
    bool same_place = at < *end || (at == *end && r->marked && strcmp(r->name, v->name) == 0);
    if (!same_place) {
        if (at > *end)
            buf_add(out, bytes + *end, at - *end);
        buf_addf(out, "[redacted:%s]", v->name);
        memcpy(r->name, v->name, sizeof r->name);
        r->marked = true;
        r->hits++;
    }
    if (at + (size_t)v->len > *end)
        *end = at + (size_t)v->len;
}

/* Decides about the first bytes of [0, n), all when `last`; returns how many. */
static size_t decide(struct redactor *r, const uint8_t *bytes, size_t n, bool last, struct buf *out)
{
    size_t end = r->cover, stop = n;
    if (needles_count(r->set) > 0) {
        size_t windows = n >= NEEDLE_WINDOW ? n - NEEDLE_WINDOW + 1 : 0;
        size_t line = line_start(bytes, n);
        if (!last)
            stop = line > windows ? line : windows;
        for (size_t i = 0; (i = needles_next(r->set, bytes, i, windows)) < windows; i++) {
            bool open;
            const struct needle *v = needle_at(r->set, bytes + i, n - i, &open);
            if (open && !last && i >= line) {
                stop = i;
                break;
            }
            if (v)
                mark(r, v, bytes, i, &end, out);
        }
    }
    if (stop > end) {
        buf_add(out, bytes + end, stop - end);
        r->marked = false;
    }
    r->cover = stop > end ? 0 : end - stop;
    return stop;
}

static int feed(struct redactor *r, const uint8_t *bytes, size_t n, bool last, struct buf *out)
{
    if (r->held.len == 0) {
        size_t used = decide(r, bytes, n, last, out);
        if (buf_add(&r->held, bytes + used, n - used) < 0)
            return -1;
    } else {
        if (buf_add(&r->held, bytes, n) < 0)
            return -1;
        buf_drop(&r->held, decide(r, r->held.data, r->held.len, last, out));
    }
    return out->failed ? -1 : 0;
}

int redactor_feed(struct redactor *r, const void *bytes, size_t n, struct buf *out)
{
    int rc = 0;
    for (size_t at = 0; at < n && rc == 0; at += SLICE)
        rc = feed(r, (const uint8_t *)bytes + at, n - at < SLICE ? n - at : SLICE, false, out);
    return rc;
}

int redactor_end(struct redactor *r, struct buf *out)
{
    int rc = feed(r, (const uint8_t *)"", 0, true, out);
    r->marked = false;
    r->cover = 0;
    return rc;
}
