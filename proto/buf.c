/* Growable bytes with a ceiling. Memory comes from malloc; nothing here aborts or prints. */
#include "proto/buf.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CAP_MIN 64
/* Up to this size a block is wiped when the buffer outgrows it: secrets are small, and realloc()
 * would leave copies of them behind. Larger blocks are left to realloc(), which can move pages. */
#define WIPE_MAX (64u << 10)

/* The bytes of an empty buffer. Never written: every write is preceded by an allocation. */
static uint8_t *nothing(void)
{
    return (uint8_t *)(uintptr_t) "";
}

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.data = nothing(), .max = max};
}

void buf_done(struct buf *b)
{
    if (b->cap > 0)
        free(b->data);
    *b = (struct buf){0};
}

void buf_wipe(struct buf *b)
{
    if (b->cap > 0)
        explicit_bzero(b->data, b->cap + 1);
    buf_done(b);
}

static uint8_t *move_small(const struct buf *b, size_t cap)
{
    uint8_t *data = malloc(cap + 1);

    if (!data)
        return NULL;
    if (b->len > 0)
        memcpy(data, b->data, b->len);
    data[b->len] = 0;
    if (b->cap > 0) {
        explicit_bzero(b->data, b->cap + 1);
        free(b->data);
    }
    return data;
}

static int grow(struct buf *b, size_t need)
{
    size_t cap = b->cap < CAP_MIN ? CAP_MIN : b->cap;
    uint8_t *data;

    while (cap < need)
        cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > b->max)
        cap = b->max;
    if (cap >= SIZE_MAX)
        return -1;
    data = b->cap <= WIPE_MAX ? move_small(b, cap) : realloc(b->data, cap + 1);
    if (!data)
        return -1;
    b->data = data;
    b->cap = cap;
    return 0;
}

uint8_t *buf_room(struct buf *b, size_t n)
{
    if (n > b->max - b->len || (b->len + n > b->cap && grow(b, b->len + n) < 0)) {
        b->failed = true;
        return NULL;
    }
    return b->data + b->len;
}

void buf_wrote(struct buf *b, size_t n)
{
    if (n == 0)
        return;
    b->len += n;
    b->data[b->len] = 0;
}

int buf_add(struct buf *b, const void *bytes, size_t n)
{
    uint8_t *room = buf_room(b, n);

    if (!room)
        return -1;
    if (n > 0)
        memcpy(room, bytes, n);
    buf_wrote(b, n);
    return 0;
}

int buf_addc(struct buf *b, char c)
{
    return buf_add(b, &c, 1);
}

int buf_adds(struct buf *b, const char *text)
{
    return buf_add(b, text, strlen(text));
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list args;
    uint8_t *room;
    int n;

    va_start(args, fmt);
    n = vsnprintf(NULL, 0, fmt, args);
    va_end(args);
    room = n < 0 ? NULL : buf_room(b, (size_t)n);
    if (!room) {
        b->failed = true;
        return -1;
    }
    if (n > 0) {
        va_start(args, fmt);
        vsnprintf((char *)room, (size_t)n + 1, fmt, args);
        va_end(args);
        buf_wrote(b, (size_t)n);
    }
    return 0;
}

void buf_drop(struct buf *b, size_t n)
{
    if (n == 0)
        return;
    memmove(b->data, b->data + n, b->len - n);
    b->len -= n;
    b->data[b->len] = 0;
}

void buf_clear(struct buf *b)
{
    b->len = 0;
    b->failed = false;
    if (b->cap > 0)
        b->data[0] = 0;
}

const char *buf_str(const struct buf *b)
{
    return b->data ? (const char *)b->data : "";
}

char *buf_steal(struct buf *b)
{
    char *text = b->cap > 0 ? (char *)b->data : calloc(1, 1);

    if (text)
        buf_init(b, b->max);
    return text;
}
