/* Growable bytes with a ceiling.
 *
 * Invariant: `data` is never NULL after buf_init and data[len] is always 0 (so text can be used as
 * a C string); len <= max. No buffer exists without a ceiling, chosen by whoever makes it. Adding
 * over the ceiling (or out of memory) fails, changes nothing and marks the buffer `failed`, so a
 * run of additions may be checked once at its end.
 */
#ifndef PROTO_BUF_H
#define PROTO_BUF_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    uint8_t *data; /* owned (or a static empty string while len == cap == 0) */
    size_t len, cap, max;
    bool failed;
};

/* No allocation. `max` in bytes. */
void buf_init(struct buf *b, size_t max);
/* Frees; zeroes the struct; safe on a zeroed struct and twice. */
void buf_done(struct buf *b);
/* As buf_done, wiping the bytes first (secrets). */
void buf_wipe(struct buf *b);
/* 0, or -1 when over the ceiling or out of memory (then nothing was added, `failed` is set). */
int buf_add(struct buf *b, const void *bytes, size_t n);
int buf_addc(struct buf *b, char c);
int buf_adds(struct buf *b, const char *text);
int buf_addf(struct buf *b, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Makes room for n more and returns where to write them, or NULL. Follow by buf_wrote(). */
uint8_t *buf_room(struct buf *b, size_t n);
void buf_wrote(struct buf *b, size_t n);
/* Drops the first n bytes (n <= len), keeping the rest. */
void buf_drop(struct buf *b, size_t n);
void buf_clear(struct buf *b); /* len = 0, failed = false, memory kept */
const char *buf_str(const struct buf *b);
/* Hands the bytes to the caller (free()), leaves the buffer empty with the same ceiling. */
char *buf_steal(struct buf *b);

#endif
