/* Text that goes into a field of a message or a signed document: one line of valid UTF-8 without
 * control bytes, cut to fit at a character's border. What tools and jails wrote passes here before
 * it is told to anyone. */
#ifndef RUNNER_TEXT_H
#define RUNNER_TEXT_H

#include <stddef.h>

/* Writes the neutral form of text[0..len) to out, at most size - 1 bytes, always NUL-terminated.
 * Trailing line ends are dropped. */
void text_line(char *out, size_t size, const char *text, size_t len);
/* The same of a formatted text (cut at 1 KiB before it is made neutral). */
void text_linef(char *out, size_t size, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

#endif
