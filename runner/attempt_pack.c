/* The two packs of an attempt: the source coming in (counted, hashed, written as it comes) and the
 * patch going out (hashed a piece a turn of the loop, so that a large one stalls nobody). What the
 * packs hold is never looked at here. */
#include "runner/attempt_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "common/file.h"
#include "runner/stream.h"

#define HASH_PIECE     (64u << 10)
#define HASH_A_TURN    16 /* pieces */
#define LEFT_OUT_LINES 12 /* told of what was not collected */

/* ---- source ---- */

void attempt_pack_close(struct attempt *a)
{
    sha256_free(a->pack_hash);
    a->pack_hash = NULL;
    a->pack_stream = NULL;
    fd_close(&a->pack_fd);
}

int attempt_pack_begin(struct attempt *a, struct stream *s, struct err *err)
{
    if (a->at != AT_PACK)
        return err_set(err, ERR_REFUSED, "attempt %s waits for no source pack", a->task.attempt);
    if (a->pack_stream)
        stream_close(a->pack_stream); /* of a connection that is dead but not yet known to be */
    if (a->pack_got > 0 && (lseek(a->pack_fd, 0, SEEK_SET) < 0 || ftruncate(a->pack_fd, 0) < 0))
        return err_errno(err, ERR_FAIL, "source pack");
    sha256_free(a->pack_hash);
    a->pack_hash = sha256_new();
    if (!a->pack_hash)
        return err_set(err, ERR_FAIL, "out of memory");
    a->pack_got = 0;
    a->pack_stream = s;
    return 0;
}

static void pack_bad(struct attempt *a)
{
    attempt_event(a, EV_PACK_BAD);
}

static void pack_whole(struct attempt *a)
{
    uint8_t digest[SHA256_BYTES];
    struct stream *s = a->pack_stream;
    struct msg m = {.type = MSG_PACK_OK};
    sha256_end(a->pack_hash, digest);
    a->pack_hash = NULL;
    if (sodium_memcmp(digest, a->task.pack_sha256, sizeof digest) != 0) {
        attempt_set_refusal(a, REFUSED_PACK_DIGEST,
                            "the source pack's SHA-256 is not the signed one");
        pack_bad(a);
        return;
    }
    memcpy(m.u.pack_ok.attempt, a->task.attempt, sizeof m.u.pack_ok.attempt);
    a->pack_stream = NULL;
    stream_send(s, &m);
    stream_finish(s);
    attempt_event(a, EV_PACKED);
}

void attempt_pack_bytes(struct attempt *a, const uint8_t *bytes, size_t n)
{
    if (a->at != AT_PACK || !a->pack_hash)
        return;
    if (n > a->task.pack_bytes - a->pack_got) {
        attempt_set_refusal(a, REFUSED_PACK_SIZE,
                            "the source pack is longer than the signed %" PRIu64 " bytes",
                            a->task.pack_bytes);
        pack_bad(a);
        return;
    }
    if (write_all(a->pack_fd, bytes, n) < 0) {
        attempt_set_refusal(a, REFUSED_INTERNAL, "the source pack cannot be kept: %s",
                            errno == ENOSPC ? "it does not fit the disk limit" : strerror(errno));
        pack_bad(a);
        return;
    }
    sha256_add(a->pack_hash, bytes, n);
    a->pack_got += n;
    if (a->pack_got == a->task.pack_bytes)
        pack_whole(a);
}

void attempt_pack_eof(struct attempt *a)
{
    if (a->at != AT_PACK)
        return;
    attempt_set_refusal(a, REFUSED_PACK_SIZE,
                        "the source pack ended after %" PRIu64 " of %" PRIu64 " bytes", a->pack_got,
                        a->task.pack_bytes);
    pack_bad(a);
}

void attempt_pack_lost(struct attempt *a, const struct stream *s)
{
    if (a->pack_stream == s)
        a->pack_stream = NULL; /* a next one begins anew, until the deadline */
}

/* ---- patch ---- */

void attempt_patch_close(struct attempt *a)
{
    sha256_free(a->patch_hash);
    a->patch_hash = NULL;
    fd_close(&a->patch_fd);
}

/* "patch OID BYTES\n", nothing more and nothing less. */
static bool patch_parse(const char *line, char oid[static TASK_OID_SIZE], uint64_t *ret_bytes)
{
    const char *word = "patch ";
    uint64_t bytes = 0;
    if (strncmp(line, word, strlen(word)) != 0)
        return false;
    line += strlen(word);
    size_t n = strcspn(line, " ");
    if (n != TASK_OID_SIZE - 1 || line[n] != ' ')
        return false;
    memcpy(oid, line, n);
    oid[n] = 0;
    line += n + 1;
    if (!oid_valid(oid) || *line < '1' || *line > '9')
        return false;
    for (; *line >= '0' && *line <= '9' && bytes <= TASK_PACK_MAX; line++)
        bytes = bytes * 10 + (uint64_t)(*line - '0');
    *ret_bytes = bytes;
    return strcmp(line, "\n") == 0;
}

/* Hashes one piece: 1 when there is more, 0 at the end, -1 when the file is not what it was. */
static int hash_piece(struct attempt *a)
{
    uint8_t bytes[HASH_PIECE];
    ssize_t n = pread(a->patch_fd, bytes, sizeof bytes, (off_t)a->patch_hashed);
    if (n <= 0 || (uint64_t)n > a->patch_bytes - a->patch_hashed)
        return -1;
    sha256_add(a->patch_hash, bytes, (size_t)n);
    a->patch_hashed += (uint64_t)n;
    return a->patch_hashed < a->patch_bytes;
}

static void on_hasher(uv_idle_t *idle)
{
    struct attempt *a = idle->data;
    int more = 1;
    for (int i = 0; more > 0 && i < HASH_A_TURN; i++)
        more = hash_piece(a);
    if (more > 0)
        return;
    uv_idle_stop(idle);
    if (more == 0) {
        sha256_end(a->patch_hash, a->patch_sha256);
        a->patch_hash = NULL;
    } else {
        attempt_set_error(a, "the patch pack could not be read whole");
        attempt_patch_close(a);
        a->patch_bytes = 0;
        a->commit[0] = 0;
    }
    attempt_event(a, EV_HASHED);
}

/* What the collector could not take: told in the log, for a tree of which nothing else changed has no
 * commit whose message could say so. */
static void tell_left_out(struct attempt *a)
{
    const char *line = buf_str(&a->complaint);
    for (int i = 0; *line && i < LEFT_OUT_LINES; i++) {
        size_t n = strcspn(line, "\n");
        spool_note(a->spool, attempt_now_us(a), "collect: left out %.*s", (int)(n < 300 ? n : 300),
                   line);
        line += n + (line[n] == '\n');
    }
}

int attempt_patch_begin(struct attempt *a, const int *fds, size_t nfds)
{
    struct stat st;
    const char *line = buf_str(&a->said);
    double secs = (double)attempt_step(a, STEP_COLLECT, 0)->ms / 1000;
    tell_left_out(a);
    if (a->said.len == strlen(line) && strcmp(line, "unchanged\n") == 0) {
        spool_note(a->spool, attempt_now_us(a), "collect: the tree is unchanged, in %.2f s", secs);
        return 0;
    }
    if (a->said.len != strlen(line) || !patch_parse(line, a->commit, &a->patch_bytes) ||
        nfds != 1 || a->patch_bytes > TASK_PACK_MAX || fstat(fds[0], &st) < 0 ||
        !S_ISREG(st.st_mode) || (uint64_t)st.st_size != a->patch_bytes ||
        !(a->patch_hash = sha256_new())) {
        attempt_set_error(a, "collect gave no usable patch: '%.100s'", line);
        a->commit[0] = 0;
        a->patch_bytes = 0;
        return -1;
    }
    a->patch_fd = fds[0];
    a->patch_hashed = 0;
    uv_idle_start(&a->hasher, on_hasher);
    spool_note(a->spool, attempt_now_us(a), "collect: a patch of %" PRIu64 " bytes, in %.2f s",
               a->patch_bytes, secs);
    return 1;
}
