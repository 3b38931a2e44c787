/* UTF-8, strictly: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Text that people or hosts gave is cut and repaired here before it goes into a fixed field of a
 * signed document, so that a character cut in half can never make a result unwritable.
 */
#ifndef PROTO_UTF8_H
#define PROTO_UTF8_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Bytes (1..4) of the well-formed character at p[0..n), or 0 when there is none. */
size_t utf8_len(const uint8_t *p, size_t n);
bool utf8_valid(const void *bytes, size_t n);
/* Replaces, in place and byte for byte, what is not well-formed UTF-8 and every C0 control and DEL
 * by '?'. With `prose` \n and \t stay. */
void utf8_repair(char *text, bool prose);
/* Copies as much of `text` as fits in to[size], cut at a character's border, repaired as above
 * (prose). Always NUL-terminated; size > 0. */
void utf8_copy(char *to, size_t size, const char *text);

#endif
