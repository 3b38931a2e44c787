/* Naming the place of a fault, and the bounds that reader and writer must judge alike. */
#include "proto/json_internal.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "proto/utf8.h"

#define KEY_SHOWN_MAX 64 /* bytes of one key in a path: keys are as hostile as the rest */

static size_t path_add(struct json_path *p, const char *text)
{
    size_t old = p->len, room = sizeof(p->text) - p->len;
    int n = snprintf(p->text + p->len, room, "%s", text);

    if (n > 0)
        p->len += (size_t)n < room ? (size_t)n : room - 1;
    return old;
}

size_t json_path_push(struct json_path *p, const char *key)
{
    char segment[KEY_SHOWN_MAX + 2];

    snprintf(segment, sizeof(segment), "%s%.*s", p->len > 0 ? "." : "", KEY_SHOWN_MAX, key);
    return path_add(p, segment);
}

size_t json_path_push_index(struct json_path *p, size_t i)
{
    char segment[32];

    snprintf(segment, sizeof(segment), "[%zu]", i);
    return path_add(p, segment);
}

void json_path_pop(struct json_path *p, size_t len)
{
    p->len = len;
    p->text[len] = 0;
}

int json_path_fail(struct json_path *p, const char *fmt, ...)
{
    char what[256];
    va_list args;

    va_start(args, fmt);
    if (vsnprintf(what, sizeof(what), fmt, args) < 0)
        what[0] = 0;
    va_end(args);
    return err_set(p->err, ERR_FAIL, "%s%s%s", p->text, p->len > 0 ? ": " : "", what);
}

const char *json_text_fault(const char *text, size_t n, bool prose)
{
    for (size_t i = 0; i < n; i++) {
        unsigned char c = (unsigned char)text[i];
        if (prose && (c == '\n' || c == '\t'))
            continue;
        if (c < 0x20 || c == 0x7f)
            return "holds a control character";
    }
    return utf8_valid(text, n) ? NULL : "is not valid UTF-8";
}

size_t json_strs_max(const struct json_field *f)
{
    return f->max > 0 ? f->max : JSON_STR_MAX;
}

size_t json_items_max(const struct json_field *f)
{
    return f->kind == JSON_LIST && f->max > 0 ? f->max : JSON_ITEMS_MAX;
}
