/* Lists of owned strings, and the list of structs that JSON tables fill. */
#include "proto/json.h"

#include <stdlib.h>
#include <string.h>

int strv_add(struct strv *s, const char *text)
{
    char **v, *copy;

    if (s->n > SIZE_MAX / sizeof(*v) - 2)
        return -1;
    copy = strdup(text);
    v = copy ? realloc(s->v, (s->n + 2) * sizeof(*v)) : NULL;
    if (!v) {
        free(copy);
        return -1;
    }
    v[s->n++] = copy;
    v[s->n] = NULL;
    s->v = v;
    return 0;
}

void strv_done(struct strv *s)
{
    for (size_t i = 0; i < s->n; i++)
        free(s->v[i]);
    free(s->v);
    *s = (struct strv){0};
}

bool strv_has(const struct strv *s, const char *text)
{
    for (size_t i = 0; i < s->n; i++) {
        if (strcmp(s->v[i], text) == 0)
            return true;
    }
    return false;
}

int strv_copy(struct strv *to, const struct strv *from)
{
    struct strv copy = {0};

    for (size_t i = 0; i < from->n; i++) {
        if (strv_add(&copy, from->v[i]) < 0) {
            strv_done(&copy);
            return -1;
        }
    }
    strv_done(to);
    *to = copy;
    return 0;
}

void *json_list_push(struct json_list *l, const struct json_shape *shape)
{
    uint8_t *items, *item;

    if (l->n >= SIZE_MAX / shape->size - 1)
        return NULL;
    items = realloc(l->items, (l->n + 1) * shape->size);
    if (!items)
        return NULL;
    item = items + l->n * shape->size;
    memset(item, 0, shape->size);
    l->items = items;
    l->n++;
    return item;
}
