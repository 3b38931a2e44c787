/* The signed documents of a task: envelope, result, receipt. Read, verified, decoded; never made here.
 *
 * A document is decoded only after one of the given keys has signed it. What it says is then what its
 * signer claims, nothing more: text in it is still hostile to a terminal.
 */
#ifndef CONTROLLER_DOCUMENTS_H
#define CONTROLLER_DOCUMENTS_H

#include "controller/paths.h"
#include "proto/dsse.h"
#include "proto/result.h"
#include "proto/task.h"

enum document_kind { DOCUMENT_ENVELOPE, DOCUMENT_RESULT, DOCUMENT_RECEIPT, DOCUMENT_KIND_COUNT };

/* "envelope", "result", "receipt" */
extern const char *const document_names[DOCUMENT_KIND_COUNT + 1];

struct document {
    enum document_kind kind;
    struct dsse dsse;   /* `body` holds the signed bytes, `type` what they are */
    size_t key;         /* index of the key that signed, among those given */
    uint8_t sha256[32]; /* of the whole document */
    union {
        struct task task;
        struct result result;
        struct receipt receipt;
    } u; /* by kind */
};

/* File of a kind in a task's directory: "envelope.json" ... */
const char *document_file(enum document_kind kind);
/* Appends the document of a task as it was signed. -ERR_USAGE, in words, when there is none yet. */
int document_read(const struct paths *p, const char *id, enum document_kind kind, struct buf *to,
                  struct err *err);
/* Verifies with any of the n keys, then decodes by payload type. -ERR_FAIL: not a document of creel;
 * -ERR_TRUST: none of the keys signed it, or what it says of itself is not its signer's.
 * document_done() frees, also after failure. */
int document_open(const void *bytes, size_t len, const uint8_t (*keys)[KEY_PUB_BYTES], size_t n,
                  struct document *out, struct err *err);
/* read + open with one key; the kind must be the one asked for and the task must be `id`. */
int document_load(const struct paths *p, const char *id, enum document_kind kind,
                  const uint8_t key[static KEY_PUB_BYTES], struct document *out, struct err *err);
void document_done(struct document *d);
/* The task that a document is about; borrowed. */
const char *document_task(const struct document *d);

#endif
