/* Text that came from an agent, a host or a repository, made safe for a terminal: C0 and C1 controls
 * (but \n and \t), DEL, invalid UTF-8, bidirectional controls and other invisible format characters
 * come out as visible \xHH or \u{HHHH}. State is kept across calls, so a sequence or a character cut
 * by a chunk border is caught. */
#ifndef COMMON_TERM_H
#define COMMON_TERM_H

#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"

struct term_filter {
    uint8_t held[4];
    size_t nheld;
};

/* Appends the neutral form of bytes to `to` (at most 8 bytes out for 1 in). */
int term_neutral(struct term_filter *f, const void *bytes, size_t n, struct buf *to);
/* Flushes a held incomplete character at the end. */
int term_neutral_end(struct term_filter *f, struct buf *to);
/* Whole text, one line: \n and \t too come out visible. */
int term_line(const char *text, struct buf *to);

#endif
