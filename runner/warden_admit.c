/* The warden's own judgement of an envelope. serve has judged it before; the warden believes nothing
 * of that, since serve is what the network talks to. Only replay and fencing stay serve's alone: they
 * need its store. */
#include "runner/warden_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <sodium.h>

#include "common/clock.h"
#include "common/sha256.h"
#include "proto/dsse.h"

/* Only memory of a memfd: a file of another kind could make the warden wait for whoever serves it.
 * Copied before it is looked at, so that nothing changes between check and use. */
static int read_envelope(int fd, struct buf *to, struct err *err)
{
    struct stat st;
    if (fcntl(fd, F_GET_SEALS) < 0 || fstat(fd, &st) < 0)
        return err_set(err, ERR_FAIL, "the envelope is not in a memfd");
    if (st.st_size <= 0 || st.st_size > DSSE_BYTES_MAX)
        return err_set(err, ERR_REFUSED, "the envelope is empty or too large");
    size_t n = (size_t)st.st_size;
    uint8_t *room = buf_room(to, n);
    if (!room || pread(fd, room, n, 0) != (ssize_t)n)
        return err_set(err, ERR_FAIL, "the envelope cannot be read");
    buf_wrote(to, n);
    return 0;
}

static int verify(const struct warden_setup *setup, const struct buf *doc, struct dsse *dsse,
                  struct err *err)
{
    size_t key;
    int rc = dsse_parse(doc->data, doc->len, dsse, err);
    if (rc == 0)
        rc = dsse_verify(dsse, setup->keys.keys, setup->keys.n, &key, err);
    if (rc == 0 && strcmp(dsse->type, DSSE_TYPE_TASK) != 0)
        rc = err_set(err, ERR_REFUSED, "the envelope's type is not a task's");
    return rc;
}

static bool token_matches(const uint8_t token[static TASK_TOKEN_BYTES], const struct task *task)
{
    char hex[2 * TASK_TOKEN_BYTES + 1];
    uint8_t hash[SHA256_BYTES];
    sodium_bin2hex(hex, sizeof hex, token, TASK_TOKEN_BYTES);
    sha256_of(hex, sizeof hex - 1, hash);
    sodium_memzero(hex, sizeof hex);
    return sodium_memcmp(hash, task->token_sha256, sizeof hash) == 0;
}

static int check_task(const struct warden_setup *setup, const struct warden_request *req,
                      const struct task *t, struct err *err)
{
    uint64_t now = clock_wall_s();
    if (strcmp(t->aud_host_key, setup->host_key) != 0)
        return err_set(err, ERR_REFUSED, "the envelope is for another host");
    if (t->nbf > now + TASK_SKEW_S || t->exp + TASK_SKEW_S <= now)
        return err_set(err, ERR_REFUSED, "the envelope is not valid now");
    if (strcmp(t->attempt, req->attempt) != 0)
        return err_set(err, ERR_REFUSED, "the envelope is for another attempt");
    if (!token_matches(req->token, t))
        return err_set(err, ERR_REFUSED, "the task token is not the signed one");
    return 0;
}

static int check_limits(const struct policy *p, unsigned unenforceable, const char *why,
                        struct err *err)
{
    unsigned refused = unenforceable & ~p->allow_unenforced;
    struct buf names;
    if (refused == 0)
        return 0;
    buf_init(&names, 128);
    limit_list(refused, &names);
    int rc = err_set(err, ERR_REFUSED, "limits that cannot be enforced on this host: %s (%s)",
                     buf_str(&names), why);
    buf_done(&names);
    return rc;
}

int warden_admit(const struct warden_setup *setup, const struct warden_request *req, int envelope,
                 unsigned unenforceable, const char *why, struct task *out, struct err *err)
{
    struct task task = {0};
    struct dsse dsse = {0};
    struct buf doc;
    buf_init(&doc, DSSE_BYTES_MAX);
    int rc = read_envelope(envelope, &doc, err);
    if (rc == 0)
        rc = verify(setup, &doc, &dsse, err);
    if (rc == 0) {
        rc = task_decode(dsse.body.data, dsse.body.len, &task, err);
        if (rc == 0)
            rc = check_task(setup, req, &task, err);
        if (rc == 0)
            rc = check_limits(&task.policy, unenforceable, why, err);
        if (rc < 0)
            task_done(&task);
        else
            *out = task;
    }
    dsse_done(&dsse);
    buf_done(&doc);
    return rc;
}
