/* The table of dialects, and what is looked up in it. */
#include "controller/broker/dialect.h"

#include <string.h>
#include <strings.h>

#include "controller/broker/dialect_internal.h"

static const struct dialect *const dialects[DIALECT_COUNT] = {
    [DIALECT_RESPONSES] = &dialect_responses,
    [DIALECT_CHAT] = &dialect_chat,
    [DIALECT_MESSAGES] = &dialect_messages,
};

static bool span_is(const char *p, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(p, text, n) == 0;
}

static bool target_is(const struct dialect *d, const char *target, size_t n)
{
    const char *query = memchr(target, '?', n);
    size_t path = query ? (size_t)(query - target) : n;

    if (!span_is(target, path, d->path))
        return false;
    return !query || (d->query && span_is(query + 1, n - path - 1, d->query));
}

const struct dialect *dialect_find(const char *method, size_t nmethod, const char *target,
                                   size_t ntarget)
{
    if (!span_is(method, nmethod, "POST"))
        return NULL;
    for (size_t i = 0; i < DIALECT_COUNT; i++) {
        if (target_is(dialects[i], target, ntarget))
            return dialects[i];
    }
    return NULL;
}

const struct dialect *dialect_of(enum dialect_id id)
{
    return dialects[id];
}

enum dialect_id dialect_id_of(const struct dialect *d)
{
    return d->id;
}

const char *dialect_path(const struct dialect *d)
{
    return d->path;
}

/* Names of headers, without regard to case; one that ends in '*' is a prefix. */
static bool header_among(const char *const *names, const char *name, size_t n)
{
    for (; *names; names++) {
        size_t want = strlen(*names);

        if ((*names)[want - 1] == '*' ? n >= want && strncasecmp(*names, name, want - 1) == 0
                                      : n == want && strncasecmp(*names, name, n) == 0)
            return true;
    }
    return false;
}

bool dialect_sends(const struct dialect *d, const char *name, size_t n)
{
    static const char *const usual[] = {"content-type", "accept", NULL};

    return header_among(usual, name, n) || header_among(d->sends, name, n);
}

bool dialect_returns(const struct dialect *d, const char *name, size_t n)
{
    static const char *const usual[] = {"content-type", "retry-after", "retry-after-ms",
                                        "x-should-retry", NULL};

    return header_among(usual, name, n) || header_among(d->returns, name, n);
}

int dialect_refusal(const struct dialect *d, const char *message, struct buf *to)
{
    d->refusal(message, to);
    return to->failed ? -1 : 0;
}

int dialect_failure(const struct dialect *d, const char *message, struct buf *to)
{
    buf_adds(to, "\n\n"); /* ends an event that was cut */
    d->failure(message, to);
    return to->failed ? -1 : 0;
}
