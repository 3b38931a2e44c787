/* SSH's data types (RFC 4251, section 5): uint32 and string, read from borrowed bytes or appended. */
#ifndef PROTO_WIRE_H
#define PROTO_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "proto/buf.h"

/* A cursor over bytes that stay the caller's. */
struct wire {
    const uint8_t *at;
    size_t left;
};

/* Each takes its bytes and returns true, or takes nothing and returns false. */
bool wire_u32(struct wire *w, uint32_t *ret);
bool wire_string(struct wire *w, const uint8_t **ret,
                 size_t *ret_len); /* borrowed from the bytes */
/* Takes a string and compares it. */
bool wire_expect(struct wire *w, const void *bytes, size_t n);
bool wire_expects(struct wire *w, const char *text);

/* Append; 0, or -1 when `to` is full. */
int wire_put_u32(struct buf *to, uint32_t v);
int wire_put(struct buf *to, const void *bytes, size_t n);
int wire_puts(struct buf *to, const char *text);

#endif
