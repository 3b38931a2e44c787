/* What the files of redaction share: the forms of a secret, and the search for needles. */
#ifndef CONTROLLER_REDACT_INTERNAL_H
#define CONTROLLER_REDACT_INTERNAL_H

#include "controller/redact.h"

struct needle {
    uint64_t window; /* of its first NEEDLE_WINDOW bytes, 32 bits */
    int len;
    uint8_t whole[16]; /* BLAKE2b keyed with the set's key */
    char name[NEEDLE_NAME_SIZE];
    uint64_t
        added; /* by which needles_add, counted from 1: the oldest go when there are too many */
};

/* One needle's bytes; in locked memory, good during the call. Negative ends the walk. */
typedef int needle_form_cb(void *arg, enum needle_form form, const uint8_t *bytes, size_t n,
                           struct err *err);
/* Calls back with every needle of a value, some perhaps twice. */
int needle_forms_each(const void *value, size_t len, needle_form_cb *cb, void *arg,
                      struct err *err);

/* The first position in [from, to) whose window may be a needle's; `to` when there is none. The bytes
 * of each window must be there: up to to + NEEDLE_WINDOW - 1. */
size_t needles_next(const struct needles *n, const uint8_t *bytes, size_t from, size_t to);
/* The longest needle that begins at `bytes`, of which `avail` (>= NEEDLE_WINDOW) are there, or NULL.
 * *ret_open: there is a longer one that it could still become. */
const struct needle *needle_at(const struct needles *n, const uint8_t *bytes, size_t avail,
                               bool *ret_open);

#endif
