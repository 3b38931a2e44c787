/* Takes secrets out of logs and finds them in patches, without knowing them.
 *
 * The broker, which has the secrets, makes needles: for each secret and each form that it may appear in
 * (raw, JSON string, URI component, base64 at its three shifts without the edge characters, hex in both
 * cases; of text with newlines each line) a keyed hash of its first NEEDLE_WINDOW bytes, its length, and
 * the keyed BLAKE2b of the whole. Forms longer than NEEDLE_MAX are needles piece by piece, so that a
 * part of a long secret is found too; base64 also in lines of 64 and of 76 digits, as programs wrap it.
 * Engine and importer get those alone: the window's hash at each position of the input, then the
 * whole at a hit. Secrets shorter than NEEDLE_WINDOW have no needle; `creel secret set` says so.
 *
 * What a set gives away: whoever has it can test guesses, first of NEEDLE_WINDOW bytes, then of a whole
 * piece. Of a random key of 20 characters or more that is nothing; a word a person chose it is not
 * safe for. A needle holds no CR or LF, so a line's end is always certain. */
#ifndef CONTROLLER_REDACT_H
#define CONTROLLER_REDACT_H

#include "proto/json.h"

#define NEEDLE_WINDOW    12
#define NEEDLE_MAX       128         /* bytes of one needle */
#define NEEDLE_VALUE_MAX (16u << 10) /* bytes of one secret */
#define NEEDLES_MAX      4096
#define NEEDLE_NAME_SIZE 65 /* of letters, digits and ._:@/- */
/* "[redacted:NAME]" at its longest, in the place of NEEDLE_WINDOW bytes or more. */
#define REDACT_MARK_MAX (11 + NEEDLE_NAME_SIZE)

enum needle_form {
    NEEDLE_RAW,
    NEEDLE_JSON,
    NEEDLE_URI,
    NEEDLE_BASE64,
    NEEDLE_HEX,
    NEEDLE_FORM_COUNT,
};
extern const char *const needle_form_names[NEEDLE_FORM_COUNT + 1];
/* 1u << form for each form of this value that would be found; 0: it is too short. */
unsigned needle_forms(const void *value, size_t len, struct err *err);

struct needles;                               /* a set; owned */
struct needles *needles_new(struct err *err); /* with a random key; NULL: out of memory */
void needles_free(struct needles *n);
/* Adds all forms of one secret, at most NEEDLE_VALUE_MAX bytes. The same again is nothing; one that is too
 * short is nothing, too. When there are more than NEEDLES_MAX those that were added first go. */
int needles_add(struct needles *n, const char *name, const void *value, size_t len,
                struct err *err);
size_t needles_count(const struct needles *n);
/* The set in a form for another process, and back (strict, bounded). */
int needles_encode(const struct needles *n, struct buf *to, struct err *err);
int needles_decode(const void *bytes, size_t len, struct needles **ret, struct err *err);
/* A set that outlives its process, in the broker's directory: what was seen once is looked for also by the
 * next engine, in logs that come again and patches that come late. A new set when there is none. */
int needles_load(int dirfd, struct needles **ret, struct err *err);
int needles_save(int dirfd, const struct needles *n, struct err *err); /* atomic, 0600 */

/* One stream of text. The set is borrowed and may be exchanged between two feeds. */
struct redactor;
struct redactor *redactor_new(const struct needles *set); /* NULL: out of memory */
void redactor_free(struct redactor *r);
void redactor_set(struct redactor *r, const struct needles *set); /* NULL: nothing is hidden */
/* Appends to `out` what is certain by now, with "[redacted:NAME]" in the place of each needle; keeps back
 * only what may still be the beginning of one (nothing after a newline). */
int redactor_feed(struct redactor *r, const void *bytes, size_t n, struct buf *out);
int redactor_end(struct redactor *r, struct buf *out); /* the rest */
uint64_t redactor_hits(const struct redactor *r);      /* places marked so far */
size_t redactor_held(const struct redactor *r);        /* bytes fed and not yet decided about */
/* For a stream that goes on in another process, from the first held byte: how many of what is held belong to
 * the place marked last, and its name. */
size_t redactor_covered(const struct redactor *r, char ret_name[static NEEDLE_NAME_SIZE]);
void redactor_resume(struct redactor *r, size_t cover, const char *name);
/* Needles that overlap or, being of one secret, touch, are one place; of those that begin at one byte the
 * longest names it. So the output does not depend on how the input is cut. */

/* The first needle in one piece of memory: its name, and where; NULL: none. */
const char *needles_find(const struct needles *n, const void *bytes, size_t len, size_t *ret_at);

#endif
