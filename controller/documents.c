/* Reading the signed documents of a task: bounded read, signature, payload type, strict decode, and
 * that the document names as its signer the key that signed it. In that order, always.
 */
#include "controller/documents.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "common/sha256.h"

const char *const document_names[DOCUMENT_KIND_COUNT + 1] = {"envelope", "result", "receipt", NULL};

static const char *const files[] = {"envelope.json", "result.json", "receipt.json"};
static const char *const types[] = {DSSE_TYPE_TASK, DSSE_TYPE_RESULT, DSSE_TYPE_RECEIPT};
static const char *const missing[] = {
    "it was not signed yet",
    "none came back",
    "its host has not said that it wiped",
};

const char *document_file(enum document_kind kind)
{
    return files[kind];
}

int document_read(const struct paths *p, const char *id, enum document_kind kind, struct buf *to,
                  struct err *err)
{
    int rc, dirfd = paths_task_dir(p, id, false, err);

    if (dirfd < 0)
        return dirfd;
    if (faccessat(dirfd, files[kind], F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        rc = err_set(err, ERR_USAGE, "task %s has no %s: %s", id, document_names[kind],
                     missing[kind]);
    else
        rc = file_read(dirfd, files[kind], to, err);
    fd_close(&dirfd);
    return rc;
}

static int kind_of(const char *type, enum document_kind *ret, struct err *err)
{
    for (int i = 0; i < DOCUMENT_KIND_COUNT; i++) {
        if (strcmp(type, types[i]) == 0) {
            *ret = (enum document_kind)i;
            return 0;
        }
    }
    return err_set(err, ERR_FAIL, "payload type '%.100s' is none of creel's", type);
}

static int decode(struct document *d, struct err *err)
{
    switch (d->kind) {
    case DOCUMENT_ENVELOPE:
        return task_decode(d->dsse.body.data, d->dsse.body.len, &d->u.task, err);
    case DOCUMENT_RESULT:
        return result_decode(d->dsse.body.data, d->dsse.body.len, &d->u.result, err);
    case DOCUMENT_RECEIPT:
        return receipt_decode(d->dsse.body.data, d->dsse.body.len, &d->u.receipt, err);
    case DOCUMENT_KIND_COUNT:
        break;
    }
    return err_set(err, ERR_FAIL, "no such document");
}

/* A document says who signed it; a key that signs under another's name is not to be believed. */
static int signer_check(const struct document *d, const uint8_t key[static KEY_PUB_BYTES],
                        struct err *err)
{
    const char *named = d->kind == DOCUMENT_ENVELOPE ? d->u.task.iss
                        : d->kind == DOCUMENT_RESULT ? d->u.result.runner
                                                     : d->u.receipt.runner;
    char signer[KEY_FPR_SIZE];

    key_fingerprint(key, signer);
    if (strcmp(named, signer) != 0)
        return err_set(err, ERR_TRUST, "the %s names %s as its signer, but %s signed it",
                       document_names[d->kind], named, signer);
    return 0;
}

int document_open(const void *bytes, size_t len, const uint8_t (*keys)[KEY_PUB_BYTES], size_t n,
                  struct document *out, struct err *err)
{
    int rc;

    *out = (struct document){0};
    sha256_of(bytes, len, out->sha256);
    rc = dsse_parse(bytes, len, &out->dsse, err);
    rc = rc < 0 ? rc : dsse_verify(&out->dsse, keys, n, &out->key, err);
    rc = rc < 0 ? rc : kind_of(out->dsse.type, &out->kind, err);
    rc = rc < 0 ? rc : decode(out, err);
    return rc < 0 ? rc : signer_check(out, keys[out->key], err);
}

int document_load(const struct paths *p, const char *id, enum document_kind kind,
                  const uint8_t key[static KEY_PUB_BYTES], struct document *out, struct err *err)
{
    uint8_t keys[1][KEY_PUB_BYTES];
    struct buf text;
    int rc;

    *out = (struct document){0};
    memcpy(keys[0], key, KEY_PUB_BYTES);
    buf_init(&text, DSSE_BYTES_MAX);
    rc = document_read(p, id, kind, &text, err);
    if (rc == 0) {
        rc = document_open(text.data, text.len, keys, 1, out, err);
        if (rc == 0 && (out->kind != kind || strcmp(document_task(out), id) != 0))
            rc = err_set(err, ERR_TRUST, "it is the %s of task %s", document_names[out->kind],
                         document_task(out));
        if (rc < 0)
            rc = err_wrap(err, "%s of task %s", document_names[kind], id);
    }
    buf_done(&text);
    return rc;
}

void document_done(struct document *d)
{
    switch (d->kind) {
    case DOCUMENT_ENVELOPE:
        task_done(&d->u.task);
        break;
    case DOCUMENT_RESULT:
        result_done(&d->u.result);
        break;
    case DOCUMENT_RECEIPT:
        receipt_done(&d->u.receipt);
        break;
    case DOCUMENT_KIND_COUNT:
        break;
    }
    dsse_done(&d->dsse);
}

const char *document_task(const struct document *d)
{
    return d->kind == DOCUMENT_ENVELOPE ? d->u.task.id
           : d->kind == DOCUMENT_RESULT ? d->u.result.task
                                        : d->u.receipt.task;
}
