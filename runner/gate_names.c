/* A hash table of names whose index is their address. */
#include "runner/gate_names.h"

#include <stdlib.h>
#include <string.h>

#define FIRST   0x7f400001u /* 127.64.0.1 */
#define BUCKETS 1024

struct entry {
    char *name;
    uint32_t next; /* index + 1 of the next in its bucket; 0: none */
};

struct gate_names {
    struct entry *entries;
    uint32_t n, room;
    uint32_t buckets[BUCKETS]; /* index + 1 */
};

struct gate_names *gate_names_new(void)
{
    return calloc(1, sizeof(struct gate_names));
}

void gate_names_free(struct gate_names *n)
{
    if (!n)
        return;
    for (uint32_t i = 0; i < n->n; i++)
        free(n->entries[i].name);
    free(n->entries);
    free(n);
}

/* FNV-1a. A jail that makes its names collide slows a list of at most GATE_NAMES_MAX down. */
static uint32_t bucket_of(const char *name)
{
    uint32_t h = 2166136261u;
    for (; *name; name++)
        h = (h ^ (uint8_t)*name) * 16777619u;
    return h % BUCKETS;
}

static int grow(struct gate_names *n)
{
    uint32_t room = n->room ? n->room * 2 : 16;
    struct entry *entries = realloc(n->entries, room * sizeof *entries);
    if (!entries)
        return -1;
    n->entries = entries;
    n->room = room;
    return 0;
}

uint32_t gate_names_address(struct gate_names *n, const char *name)
{
    uint32_t *bucket = &n->buckets[bucket_of(name)];
    for (uint32_t i = *bucket; i; i = n->entries[i - 1].next)
        if (strcmp(n->entries[i - 1].name, name) == 0)
            return FIRST + i - 1;
    if (n->n == GATE_NAMES_MAX || (n->n == n->room && grow(n) < 0))
        return 0;
    struct entry *e = &n->entries[n->n];
    e->name = strdup(name);
    if (!e->name)
        return 0;
    e->next = *bucket;
    *bucket = ++n->n;
    return FIRST + n->n - 1;
}

const char *gate_names_name(const struct gate_names *n, uint32_t address)
{
    uint32_t i = address - FIRST;
    return address >= FIRST && i < n->n ? n->entries[i].name : NULL;
}
