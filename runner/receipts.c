/* Kept receipts; see receipts.h. */
#include "runner/receipts.h"

#include <stdlib.h>
#include <string.h>

static void drop(struct receipts *r, size_t i)
{
    buf_done(&r->items[i]->doc);
    free(r->items[i]);
    r->n--;
    memmove(&r->items[i], &r->items[i + 1], (r->n - i) * sizeof r->items[0]);
}

int receipts_keep(struct receipts *r, const char *attempt, const uint8_t result_sha256[static 32],
                  uint64_t until, struct buf *doc)
{
    struct receipt_kept *k = calloc(1, sizeof *k);
    if (!k)
        return -1;
    if (r->n == RECEIPTS_MAX)
        drop(r, 0);
    strncpy(k->attempt, attempt, sizeof k->attempt - 1);
    memcpy(k->result_sha256, result_sha256, sizeof k->result_sha256);
    k->until = until;
    k->doc = *doc;
    buf_init(doc, doc->max);
    r->items[r->n++] = k;
    return 0;
}

const struct receipt_kept *receipts_find(const struct receipts *r, const char *attempt)
{
    for (size_t i = 0; i < r->n; i++)
        if (strcmp(r->items[i]->attempt, attempt) == 0)
            return r->items[i];
    return NULL;
}

void receipts_expire(struct receipts *r, uint64_t now)
{
    for (size_t i = r->n; i-- > 0;)
        if (r->items[i]->until < now)
            drop(r, i);
}

void receipts_done(struct receipts *r)
{
    while (r->n > 0)
        drop(r, r->n - 1);
}
