/* An attempt's token for its repository: sealed to its runner by the broker, kept and passed on here.
 * With it goes a proof that it comes from who sent the envelope. */
#include <stdlib.h>
#include <string.h>

#include "common/diag.h"
#include "controller/engine_internal.h"

void attempt_send_repo_token(struct attempt *a)
{
    struct msg m = {.type = MSG_REPO_TOKEN};
    if (a->repo_token == NULL || a->phase < PHASE_SENDING || a->phase > PHASE_RUNNING)
        return;
    memcpy(m.u.repo_token.attempt, a->id, sizeof(m.u.repo_token.attempt));
    snprintf(m.u.repo_token.sealed, sizeof(m.u.repo_token.sealed), "%s", a->repo_token);
    proof_make(PROOF_REPO_TOKEN, a->envelope.data, a->envelope.len, m.u.repo_token.proof);
    attempt_send(a, &m);
}

void attempt_repo_token(struct attempt *a, const char *sealed_b64)
{
    char *copy =
        strlen(sealed_b64) < sizeof((struct msg_repo_token){0}.sealed) ? strdup(sealed_b64) : NULL;
    if (copy == NULL) {
        diag(DIAG_ERROR, "task %s: a repository token that cannot be passed on", a->row.id);
        return;
    }
    free(a->repo_token);
    a->repo_token = copy;
    attempt_send_repo_token(a);
}
