/* Diagnostics: one line an event on stderr. Control bytes in what is printed are neutralised. Only a
 * program's top level and its long-lived loops call this; libraries return errors. */
#ifndef COMMON_DIAG_H
#define COMMON_DIAG_H

enum diag_level { DIAG_ERROR, DIAG_WARN, DIAG_INFO, DIAG_DEBUG };

/* Program name put before every line, and the highest level printed. Call once, at start. */
void diag_init(const char *program, enum diag_level max);
void diag(enum diag_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#endif
