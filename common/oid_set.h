/* A set of SHA-1 object ids: which objects were seen. Grows by doubling, up to a ceiling. */
#ifndef COMMON_OID_SET_H
#define COMMON_OID_SET_H

#include <stddef.h>
#include <stdint.h>

#define OID_SET_MAX 4000000u

struct oid_set {
    uint8_t (*slots)[20]; /* owned; all zero: free (no object has that id) */
    size_t n, cap;
};

/* 1 added, 0 was there, -1 out of memory or over OID_SET_MAX. A zeroed struct is an empty set. */
int oid_set_add(struct oid_set *s, const uint8_t oid[static 20]);
void oid_set_done(struct oid_set *s);

#endif
