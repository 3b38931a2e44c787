/* Open addressing over object ids, which are hashes already: their first bytes pick the slot.
 * Someone who makes ids collide there costs us time only, and the ceiling bounds that. */
#include "common/oid_set.h"

#include <stdlib.h>
#include <string.h>

static const uint8_t none[20];

/* The slot that holds `oid`, or the free one where it belongs. */
static uint8_t *slot_of(uint8_t (*slots)[20], size_t cap, const uint8_t *oid)
{
    uint64_t h;
    memcpy(&h, oid, sizeof(h));
    for (size_t i = h & (cap - 1);; i = (i + 1) & (cap - 1)) {
        if (memcmp(slots[i], none, 20) == 0 || memcmp(slots[i], oid, 20) == 0) {
            return slots[i];
        }
    }
}

static int grow(struct oid_set *s)
{
    size_t cap = s->cap == 0 ? 256 : s->cap * 2;
    uint8_t(*slots)[20] = calloc(cap, sizeof(*slots));
    if (slots == NULL) {
        return -1;
    }
    for (size_t i = 0; i < s->cap; i++) {
        if (memcmp(s->slots[i], none, 20) != 0) {
            memcpy(slot_of(slots, cap, s->slots[i]), s->slots[i], 20);
        }
    }
    free(s->slots);
    s->slots = slots;
    s->cap = cap;
    return 0;
}

int oid_set_add(struct oid_set *s, const uint8_t oid[static 20])
{
    if (s->n >= OID_SET_MAX || (s->n >= s->cap / 2 && grow(s) < 0)) {
        return -1;
    }
    uint8_t *slot = slot_of(s->slots, s->cap, oid);
    if (memcmp(slot, oid, 20) == 0) {
        return 0;
    }
    memcpy(slot, oid, 20);
    s->n++;
    return 1;
}

void oid_set_done(struct oid_set *s)
{
    free(s->slots);
    *s = (struct oid_set){0};
}
