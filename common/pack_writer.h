/* Writes a git pack: whole objects only, no deltas, so that nothing in it refers outside of it and
 * a reader needs no more memory than the largest object.
 *
 * The file is readable and writable, empty, and stays the caller's. The number of objects is not
 * known before the end: it is filled in then, and the trailer's SHA-1 taken over the finished file.
 */
#ifndef COMMON_PACK_WRITER_H
#define COMMON_PACK_WRITER_H

#include <stddef.h>
#include <stdint.h>

#include "proto/err.h"

enum pack_type { PACK_COMMIT = 1, PACK_TREE = 2, PACK_BLOB = 3 };

struct pack_writer; /* opaque, owned by whoever called pack_writer_new */

/* `max` bounds the file's bytes: going over it is -ERR_REFUSED. */
int pack_writer_new(int fd, uint64_t max, struct pack_writer **ret, struct err *err);
void pack_writer_free(struct pack_writer *w); /* NULL is fine */

/* One object of `size` bytes, in as many pieces as the caller likes; end fails when they did not
 * add up. */
int pack_writer_begin(struct pack_writer *w, enum pack_type type, uint64_t size, struct err *err);
int pack_writer_feed(struct pack_writer *w, const void *bytes, size_t n, struct err *err);
int pack_writer_end(struct pack_writer *w, struct err *err);
/* All three at once. */
int pack_writer_put(struct pack_writer *w, enum pack_type type, const void *bytes, size_t n,
                    struct err *err);

uint32_t pack_writer_objects(const struct pack_writer *w);
/* Completes and fsyncs the file. Nothing may be added after. */
int pack_writer_finish(struct pack_writer *w, uint64_t *ret_bytes, struct err *err);

#endif
