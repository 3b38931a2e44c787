/* An attempt's result coming in: the signed document, then the patch pack, verified against what was
 * sent, written and fsynced before the runner may wipe; then handed to the importer.
 *
 * The document is believed only after the pinned runner key verified and every digest in it agrees
 * with ours. The pack's bytes are hashed and stored, never parsed here.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/diag.h"
#include "common/file.h"
#include "controller/engine_internal.h"

#define FETCH_STALL_S  120
#define IMPORT_TRIES   3
#define IMPORT_AGAIN_S 20

/* Opens the document, checks signature and form. */
static int result_verify(struct attempt *a, const void *doc, size_t len, struct result *ret,
                         struct err *err)
{
    struct dsse d = {0};
    int r = dsse_parse(doc, len, &d, err);
    if (r == 0 && strcmp(d.type, DSSE_TYPE_RESULT) != 0)
        r = err_set(err, ERR_TRUST, "its type is not a result's");
    if (r == 0)
        r = dsse_verify(&d, (const uint8_t(*)[KEY_PUB_BYTES]) & a->runner_key, 1, &(size_t){0},
                        err);
    if (r == 0)
        r = result_decode(d.body.data, d.body.len, ret, err);
    dsse_done(&d);
    if (r < 0) {
        err->code = ERR_TRUST;
        err_wrap(err, "result from host %s", a->host->name);
    }
    return r < 0 ? -ERR_TRUST : 0;
}

static const char *result_mismatch(const struct attempt *a, const struct result *r)
{
    uint8_t envelope[32];
    sha256_of(a->envelope.data, a->envelope.len, envelope);
    if (strcmp(r->task, a->row.id) != 0 || strcmp(r->attempt, a->id) != 0)
        return "another task";
    if (memcmp(r->envelope_sha256, envelope, 32) != 0)
        return "another envelope";
    if (memcmp(r->pack_sha256, a->row.pack_sha256, 32) != 0 || strcmp(r->root, a->row.root) != 0 ||
        strcmp(r->base, a->row.base) != 0)
        return "another source";
    if (!policy_same(&r->policy, &a->row.policy))
        return "another policy";
    if (r->log_bytes != a->log.bytes || memcmp(r->log_chain, a->log.chain, 32) != 0)
        return "another log than the one received";
    if (r->patch_bytes > TASK_PACK_MAX || (r->patch_bytes > 0) != (r->commit[0] != 0))
        return "an impossible patch";
    return NULL;
}

static int begin_pack(struct attempt *a, struct err *err)
{
    int dir = paths_task_dir(a->e->paths, a->row.id, false, err);
    if (dir < 0)
        return dir;
    unlinkat(dir, "patch.pack.tmp", 0);
    a->fetch.fd =
        openat(dir, "patch.pack.tmp", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    close(dir);
    if (a->fetch.fd < 0)
        return err_errno(err, ERR_FAIL, "task %s: patch.pack", a->row.id);
    a->fetch.pack_bytes = 0;
    sha256_free(a->fetch.hash);
    a->fetch.hash = sha256_new();
    return a->fetch.hash != NULL ? 0 : err_set(err, ERR_FAIL, "out of memory");
}

/* Takes the RESULT frame out of the head once it is whole; the rest of the head is pack. */
static int take_document(struct attempt *a, struct err *err)
{
    struct result_fetch *f = &a->fetch;
    struct frame frame;
    size_t used;
    struct msg m;
    int r = frame_get(f->head.data, f->head.len, &frame, &used, err);
    if (r <= 0)
        return r;
    r = msg_decode(&frame, &m, err);
    if (r == 0 && m.type == MSG_REFUSED)
        r = err_set(err, ERR_HOST, "host %s has no result: %s", a->host->name, m.u.refused.detail);
    else if (r == 0 && m.type != MSG_RESULT)
        r = err_set(err, ERR_TRUST, "host %s sent no result document", a->host->name);
    if (r == 0 && buf_add(&f->doc, m.u.doc.bytes, m.u.doc.len) < 0)
        r = err_set(err, ERR_FAIL, "out of memory");
    msg_done(&m);
    if (r == 0)
        r = result_verify(a, f->doc.data, f->doc.len, &f->result, err);
    if (r < 0)
        return r;
    f->have_result = true;
    const char *what = result_mismatch(a, &f->result);
    if (what != NULL)
        return err_set(err, ERR_TRUST, "the result from host %s is about %s", a->host->name, what);
    buf_drop(&f->head, used);
    return begin_pack(a, err);
}

static int take_pack(struct attempt *a, const uint8_t *bytes, size_t n, struct err *err)
{
    struct result_fetch *f = &a->fetch;
    if (f->pack_bytes + n > f->result.patch_bytes)
        return err_set(err, ERR_TRUST, "host %s sent a longer patch than it signed", a->host->name);
    if (write_all(f->fd, bytes, n) < 0)
        return err_errno(err, ERR_FAIL, "the patch cannot be written here");
    sha256_add(f->hash, bytes, n);
    f->pack_bytes += n;
    return 0;
}

/* Failures that are ours or the network's are tried again; what a host did wrong is not. */
static void fetch_failed(struct attempt *a, const struct err *err)
{
    if (err->code == ERR_TRUST) {
        attempt_distrust(a, err);
        return;
    }
    diag(DIAG_WARN, "task %s: %s", a->row.id, err->msg);
    engine_host_reset(a->host, err->msg);
}

static size_t on_result_data(void *arg, const uint8_t *bytes, size_t n)
{
    struct attempt *a = arg;
    struct result_fetch *f = &a->fetch;
    struct err err = ERR_INIT;
    int r = 0;
    attempt_phase(a, PHASE_FETCHING, FETCH_STALL_S);
    if (f->have_result) {
        r = take_pack(a, bytes, n, &err);
    } else {
        r = buf_add(&f->head, bytes, n) < 0 ? err_set(&err, ERR_TRUST, "too long a result") : 0;
        if (r == 0)
            r = take_document(a, &err);
        if (r == 0 && f->have_result && f->head.len > 0)
            r = take_pack(a, f->head.data, f->head.len, &err);
    }
    if (r < 0)
        fetch_failed(a, &err);
    return n;
}

static int rename_pack(struct attempt *a, int dir, struct err *err)
{
    if (fsync(a->fetch.fd) < 0 || renameat(dir, "patch.pack.tmp", dir, "patch.pack") < 0)
        return err_errno(err, ERR_FAIL, "task %s: patch.pack", a->row.id);
    return 0;
}

/* Everything is on disk before the store says so, and the store before the runner may wipe. The
 * document comes last: where result.json is, patch.pack and the log are whole. */
static int store_result(struct attempt *a, struct err *err)
{
    struct result_fetch *f = &a->fetch;
    int dir = paths_task_dir(a->e->paths, a->row.id, false, err);
    if (dir < 0)
        return dir;
    int r = fsync(a->log.fd) == 0 ? 0 : err_errno(err, ERR_FAIL, "task %s: log", a->row.id);
    if (r == 0 && f->result.patch_bytes > 0)
        r = rename_pack(a, dir, err);
    else
        unlinkat(dir, "patch.pack.tmp", 0);
    if (r == 0)
        r = file_replace(dir, "result.json", f->doc.data, f->doc.len, 0600, err);
    close(dir);
    if (r == 0)
        r = store_task_log_bytes(a->e->store, a->row.id, a->log.bytes, err);
    if (r == 0)
        r = store_task_result(a->e->store, a->row.id, (enum outcome)f->result.outcome, err);
    return r;
}

static void on_result_end(void *arg, const struct err *end)
{
    struct attempt *a = arg;
    struct result_fetch *f = &a->fetch;
    struct err err = ERR_INIT;
    uint8_t digest[32];
    f->stream = NULL;
    if (end != NULL) {
        engine_host_reset(a->host, end->msg); /* the next welcome starts over */
        return;
    }
    if (!f->have_result || f->pack_bytes != f->result.patch_bytes) {
        engine_host_reset(a->host, "the result broke off");
        return;
    }
    sha256_end(f->hash, digest);
    f->hash = NULL;
    if (f->result.patch_bytes > 0 && memcmp(digest, f->result.patch_sha256, 32) != 0) {
        err_set(&err, ERR_TRUST, "the patch from host %s is not the one it signed", a->host->name);
        attempt_distrust(a, &err);
        return;
    }
    if (store_result(a, &err) < 0) {
        fetch_failed(a, &err);
        return;
    }
    fd_close(&f->fd);
    sha256_of(f->doc.data, f->doc.len, a->result_sha256);
    a->row.result_stored = true;
    a->row.outcome = f->result.outcome;
    attempt_stored(a);
}

int result_start(struct attempt *a, struct err *err)
{
    static const struct stream_callbacks callbacks = {.data = on_result_data, .end = on_result_end};
    struct msg_hello hello = {.version = PROTO_VERSION, .channel = CHANNEL_RESULT};
    result_stop(a);
    buf_init(&a->fetch.doc, DSSE_BYTES_MAX);
    snprintf(hello.program, sizeof(hello.program), "creel");
    snprintf(hello.attempt, sizeof(hello.attempt), "%s", a->id);
    attempt_phase(a, PHASE_FETCHING, FETCH_STALL_S);
    return host_stream_open(a->host->link, &hello, &callbacks, a, &a->fetch.stream, err);
}

void result_stop(struct attempt *a)
{
    struct result_fetch *f = &a->fetch;
    if (f->stream != NULL)
        host_stream_close(f->stream);
    f->stream = NULL;
    fd_close(&f->fd);
    sha256_free(f->hash);
    f->hash = NULL;
    if (f->have_result)
        result_done(&f->result);
    f->have_result = false;
    buf_done(&f->doc);
    buf_clear(&f->head);
}

int result_load(struct attempt *a, struct err *err)
{
    struct result_fetch *f = &a->fetch;
    int dir = paths_task_dir(a->e->paths, a->row.id, false, err);
    if (dir < 0)
        return dir;
    buf_init(&f->doc, DSSE_BYTES_MAX);
    int r = file_read(dir, "result.json", &f->doc, err);
    close(dir);
    if (r == 0)
        r = result_verify(a, f->doc.data, f->doc.len, &f->result, err);
    if (r == 0) {
        f->have_result = true;
        sha256_of(f->doc.data, f->doc.len, a->result_sha256);
    }
    return r;
}

/* ---- import ---- */

/* Only a task that its operator trusts names what later tasks start with, and only when it ended
 * well. The result is verified, and its policy is the one that was signed. */
static void keep_cache(struct attempt *a)
{
    const struct result *r = &a->fetch.result;
    struct err err = ERR_INIT;
    if (!a->row.cache[0] || !a->row.policy.cache_keep || !r->cache[0] ||
        r->outcome != OUTCOME_SUCCEEDED)
        return;
    if (store_cache_keep(a->e->store, a->host->name, a->row.cache, r->cache, a->row.id, &err) < 0)
        engine_store_failed(a->e, "cache", &err);
}

static void finish(struct attempt *a, const char *note)
{
    static const enum err_code codes[OUTCOME_COUNT] = {
        [OUTCOME_SUCCEEDED] = ERR_NONE,      [OUTCOME_FAILED] = ERR_TASK,
        [OUTCOME_TIMED_OUT] = ERR_CANCELLED, [OUTCOME_CANCELLED] = ERR_CANCELLED,
        [OUTCOME_LIMIT] = ERR_TASK,          [OUTCOME_ERROR] = ERR_FAIL,
    };
    enum outcome o = (enum outcome)a->fetch.result.outcome;
    const char *reason = a->fetch.result.reason;
    if (a->stopped[0] != 0) { /* whatever the job made of it: what it did is there for review */
        attempt_end(a, TASK_REFUSED, ERR_REFUSED, "%.200s%s%.80s", a->stopped,
                    note[0] != 0 ? "; " : "", note);
        return;
    }
    keep_cache(a);
    /* An agent that ends well may have done nothing at all. */
    if (note[0] == 0 && a->fetch.result.commit[0] == 0 &&
        (o == OUTCOME_SUCCEEDED || o == OUTCOME_FAILED))
        note = ATTEMPT_NO_CHANGE;
    if (note[0] != 0 && reason[0] != 0)
        attempt_end(a, outcome_state(o), codes[o], "%.140s; %.150s", reason, note);
    else
        attempt_end(a, outcome_state(o), codes[o], "%.290s", note[0] != 0 ? note : reason);
}

static void record_import(struct attempt *a, const char *commit, const char *note)
{
    struct err err = ERR_INIT;
    if (store_task_imported(a->e->store, a->row.id, commit, &err) < 0 ||
        store_task_state(a->e->store, a->row.id, TASK_IMPORTED, NULL, &err) < 0) {
        engine_store_failed(a->e, "imported", &err);
        attempt_phase(a, PHASE_STORED, IMPORT_AGAIN_S);
        return;
    }
    a->row.imported = true;
    finish(a, note);
}

/* Imports that waited for a free place. */
static void import_next(struct engine *e)
{
    for (struct attempt *a = e->attempts; a != NULL; a = a->next)
        if (!a->dead && a->row.result_stored)
            result_import(a);
}

static void on_imported(void *arg, const struct import_result *r, const struct err *failed)
{
    struct attempt *a = arg;
    struct engine *e = a->e;
    char note[301] = "";
    a->importing = false;
    e->imports--;
    if (!attempt_unhold(a))
        return;
    if (failed != NULL && ++a->import_tries < IMPORT_TRIES) {
        /* Ours, not the patch's fault: a full disk, say. The work is safe, so there is time. */
        diag(DIAG_ERROR, "task %s: import: %s", a->row.id, failed->msg);
        snprintf(note, sizeof(note), "the import failed: %.200s; tried again in %d s", failed->msg,
                 IMPORT_AGAIN_S);
        attempt_set_state(a, (enum task_state)a->row.state, note);
        attempt_phase(a, PHASE_STORED, IMPORT_AGAIN_S);
        return;
    }
    if (failed != NULL)
        snprintf(note, sizeof(note), "the patch is kept but could not be imported: %.220s",
                 failed->msg);
    else if (r->refused)
        snprintf(note, sizeof(note), "the patch is kept but cannot be approved: %.220s", r->reason);
    else if (r->secret[0] != 0)
        snprintf(note, sizeof(note), "the patch cannot be approved: %.240s", r->secret);
    record_import(a, failed == NULL && !r->refused ? r->commit : "", note);
    import_next(e);
}

void result_resume(struct attempt *a)
{
    if (!a->row.imported)
        result_import(a);
    else if (attempt_set_state(a, TASK_IMPORTED, NULL) ==
             0) /* an engine may have died before it said so */
        finish(a, "");
    else
        attempt_phase(a, PHASE_STORED, IMPORT_AGAIN_S);
}

void result_import(struct attempt *a)
{
    struct err err = ERR_INIT;
    char dir[PATH_MAX];
    const struct result *res = &a->fetch.result;
    if (a->row.imported || a->importing)
        return;
    if (res->commit[0] == 0) {
        record_import(a, "", "");
        return;
    }
    if (a->e->imports >= ENGINE_IMPORTS_MAX)
        return; /* the one that ends starts the next */
    int r = paths_task(a->e->paths, a->row.id, "", dir, &err);
    if (r == 0)
        r = import_start(&a->e->loop, a->e->self, dir, a->row.base, a->row.root, res->commit,
                         a->row.branch, a->row.title, a->e->needles, on_imported, a, &err);
    if (r < 0) {
        char note[301];
        snprintf(note, sizeof(note), "the patch is kept but could not be imported: %.220s",
                 err.msg);
        record_import(a, "", note);
        return;
    }
    a->importing = true;
    a->holds++;
    a->e->imports++;
}
