/* A running attempt's token for its repository: unsealed here, kept in locked memory until there is a jail
 * to put it in, and wiped with the run. */
#include <string.h>

#include <sodium.h>

#include "common/file.h"
#include "common/secret.h"
#include "proto/b64.h"
#include "runner/attempt_internal.h"
#include "runner/identity.h"
#include "runner/repo_token.h"

#define SEALED_MAX (REPO_TOKEN_MAX + crypto_box_SEALBYTES)

static int place(struct attempt *a, struct err *err)
{
    if (a->token_dir < 0 || !a->token)
        return 0;
    int rc = repo_token_write(a->token_dir, a->token, a->token_len, err);
    if (rc == 0)
        spool_note(a->spool, attempt_now_us(a), "a token for the repository is in %s",
                   REPO_TOKEN_JAIL_PATH);
    spool_wake(a->spool);
    return rc;
}

static bool may_have(const struct attempt *a)
{
    return a->at >= AT_OPENING && a->at <= AT_RUNNING;
}

int attempt_token(struct attempt *a, const char *sealed_b64, struct err *err)
{
    struct buf sealed;
    size_t len = 0;
    if (a->task.policy.repo.mode != REPO_TOKEN)
        return err_set(err, ERR_REFUSED, "the task's policy has no token for its repository");
    if (!may_have(a))
        return 0; /* it crossed the end of the run */
    buf_init(&sealed, SEALED_MAX);
    int rc = b64_get(sealed_b64, strlen(sealed_b64), &sealed) < 0
                 ? err_set(err, ERR_REFUSED, "the token is not base64")
                 : 0;
    uint8_t *token = rc == 0 ? secret_new(REPO_TOKEN_MAX, err) : NULL;
    if (rc == 0)
        rc = token ? identity_open(a->owner->identity, sealed.data, sealed.len, token,
                                   REPO_TOKEN_MAX, &len, err)
                   : -ERR_FAIL;
    buf_done(&sealed);
    if (rc < 0) {
        secret_free(token);
        return rc;
    }
    secret_free(a->token);
    a->token = token;
    a->token_len = len;
    return place(a, err);
}

int attempt_token_place(struct attempt *a, int dir, struct err *err)
{
    a->token_dir = dir;
    return place(a, err);
}

void attempt_token_end(struct attempt *a)
{
    if (a->token_dir >= 0)
        repo_token_wipe(a->token_dir);
    fd_close(&a->token_dir);
    secret_free(a->token);
    a->token = NULL;
    a->token_len = 0;
}
