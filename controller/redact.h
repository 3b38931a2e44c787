/* Takes secrets out of logs and finds them in patches, without knowing them.
 *
 * The broker, which has the secrets, makes needles: for each secret and each form that it may appear in
 * (raw, JSON string, URI component, base64 at its three shifts without the edge characters, hex in both
 * cases; of text with newlines each line) the keyed hash of its first NEEDLE_WINDOW bytes, its length, and
 * the keyed hash of the whole. Engine and importer get those alone: a rolling hash over each window of the
 * input, then the whole at a hit. Secrets shorter than NEEDLE_WINDOW have no needle; `creel secret set`
 * says so. */
#ifndef CONTROLLER_REDACT_H
#define CONTROLLER_REDACT_H

#include "proto/json.h"

#define NEEDLE_WINDOW 12
#define NEEDLE_MAX    (64u << 10) /* bytes of one needle */
#define NEEDLES_MAX   4096

struct needle {
    uint64_t window; /* rolling hash of the first NEEDLE_WINDOW bytes */
    uint32_t len;
    uint8_t whole[16]; /* BLAKE2b keyed with the set's key */
    char name[65];     /* of the secret */
};

struct needles;                               /* a set; owned */
struct needles *needles_new(struct err *err); /* with a random key; NULL: out of memory */
void needles_free(struct needles *n);
/* Adds all forms of one secret. The same again is nothing. */
int needles_add(struct needles *n, const char *name, const void *value, size_t len,
                struct err *err);
size_t needles_count(const struct needles *n);
/* The set in a form for another process, and back (strict, bounded). */
int needles_encode(const struct needles *n, struct buf *to, struct err *err);
int needles_decode(const void *bytes, size_t len, struct needles **ret, struct err *err);

/* One stream of text. The set is borrowed and may be exchanged between two feeds. */
struct redactor;
struct redactor *redactor_new(const struct needles *set); /* NULL: out of memory */
void redactor_free(struct redactor *r);
void redactor_set(struct redactor *r, const struct needles *set);
/* Appends to `out` what is certain by now, with "[redacted:NAME]" in the place of each needle; keeps back
 * only what may still be the beginning of one (nothing after a newline). */
int redactor_feed(struct redactor *r, const void *bytes, size_t n, struct buf *out);
int redactor_end(struct redactor *r, struct buf *out); /* the rest */
uint64_t redactor_hits(const struct redactor *r);

/* The first needle in one piece of memory: its name, and where; NULL: none. */
const char *needles_find(const struct needles *n, const void *bytes, size_t len, size_t *ret_at);

#endif
