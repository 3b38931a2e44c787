/* The store: blocks of slots, each block one piece of guarded memory, made when needed, so that a
 * broker with a few attempts locks a page or two. A dead slot is wiped at once and used again. */
#include "controller/broker/tokens.h"

#include <stdlib.h>
#include <string.h>

#include <sodium.h>

#include "common/secret.h"

#define BLOCK_SLOTS 64
#define BLOCKS      (TOKENS_MAX / BLOCK_SLOTS)

struct slot {
    char attempt[ATTEMPT_ID_SIZE]; /* "": free */
    uint8_t token[TASK_TOKEN_BYTES];
};

struct tokens {
    struct slot *blocks[BLOCKS]; /* filled from the front */
};

struct tokens *tokens_new(struct err *err)
{
    struct tokens *t = calloc(1, sizeof *t);
    if (!t)
        err_set(err, ERR_FAIL, "out of memory");
    return t;
}

void tokens_free(struct tokens *t)
{
    if (!t)
        return;
    for (size_t i = 0; i < BLOCKS; i++)
        secret_free(t->blocks[i]);
    free(t);
}

/* The slot of `attempt`; "" finds a free one. */
static struct slot *find(const struct tokens *t, const char *attempt)
{
    for (size_t i = 0; i < BLOCKS && t->blocks[i]; i++) {
        for (size_t j = 0; j < BLOCK_SLOTS; j++) {
            if (strcmp(t->blocks[i][j].attempt, attempt) == 0)
                return &t->blocks[i][j];
        }
    }
    return NULL;
}

static struct slot *new_block(struct tokens *t, struct err *err)
{
    size_t i = 0;
    while (i < BLOCKS && t->blocks[i])
        i++;
    if (i == BLOCKS) {
        err_set(err, ERR_REFUSED, "more than %d attempts at once", TOKENS_MAX);
        return NULL;
    }
    t->blocks[i] = secret_new(BLOCK_SLOTS * sizeof(struct slot), err);
    if (t->blocks[i])
        memset(t->blocks[i], 0, BLOCK_SLOTS * sizeof(struct slot));
    return t->blocks[i];
}

const uint8_t *tokens_make(struct tokens *t, const char *attempt, struct err *err)
{
    struct slot *s = find(t, attempt);
    if (!s)
        s = find(t, "");
    if (!s)
        s = new_block(t, err);
    if (!s)
        return NULL;
    snprintf(s->attempt, sizeof s->attempt, "%s", attempt);
    randombytes_buf(s->token, sizeof s->token);
    return s->token;
}

bool tokens_alive(const struct tokens *t, const char *attempt,
                  const uint8_t token[static TASK_TOKEN_BYTES])
{
    const struct slot *s = attempt[0] ? find(t, attempt) : NULL;
    return s && sodium_memcmp(s->token, token, TASK_TOKEN_BYTES) == 0;
}

void tokens_end(struct tokens *t, const char *attempt)
{
    struct slot *s = attempt[0] ? find(t, attempt) : NULL;
    if (s)
        sodium_memzero(s, sizeof *s);
}
