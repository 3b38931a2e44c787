/* Tokens for one repository: what a forge is asked for, and whether it gave that and no more. Pure; answers
 * are hostile. */
#ifndef CONTROLLER_BROKER_FORGE_MINTED_H
#define CONTROLLER_BROKER_FORGE_MINTED_H

#include "controller/broker/forge.h"
#include "proto/message.h"

#define FORGE_ANSWER_MAX  (1u << 20)
#define FORGE_HANDLE_SIZE 24 /* by what a token is revoked, where that is not the token */
#define FORGE_LABEL_SIZE  96 /* what a token is called at the forge */

struct forge_token {
    char *value; /* NUL-terminated, in guarded memory: secret_free */
    size_t len;
    char handle[FORGE_HANDLE_SIZE];
    uint64_t expires; /* Unix seconds */
};

/* Appends the body that asks for a token: to read and write the contents of this repository, nothing else.
 * `label` names it where tokens have names; `until` (Unix seconds) is when it is wanted to end, where that can
 * be said: by days, there. */
int forge_mint_body(enum forge_kind kind, const struct forge_repo *repo, const char *label,
                    uint64_t until, struct buf *to, struct err *err);
/* Reads the answer. 0: it is for exactly that repository, with exactly what was asked for, and ends within
 * reason. -ERR_REFUSED: it is not, `out` is filled all the same: revoke it. -ERR_FAIL: nothing can be read
 * from it, out->value is NULL. */
int forge_mint_read(enum forge_kind kind, const struct forge_repo *repo, const void *bytes,
                    size_t len, uint64_t now, struct forge_token *out, struct err *err);
/* When a token that was asked for at `asked` and never seen has surely ended; 0: nobody can say. */
uint64_t forge_mint_longest(enum forge_kind kind, uint64_t asked);
/* Reads a list of tokens (FORGE_FIND_MINTED): the handles of those called `label`, added to `ids`. */
int forge_minted_find(const void *bytes, size_t len, const char *label, struct strv *ids,
                      struct err *err);

/* A list at the top of a document, which the tables of proto/json.h do not have: decoded as the member "list"
 * of an object. */
int forge_list_decode(const struct json_shape *shape, const void *bytes, size_t len, void *out,
                      struct err *err);

#endif
