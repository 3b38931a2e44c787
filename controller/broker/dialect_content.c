/* Judging what stands in a request's lists: messages, their parts, tools. Each has a type; the tables of a
 * dialect say which may pass, because what is not text cannot be bounded by its bytes, and what runs at the
 * provider is outside of the egress gate. */
#include "controller/broker/dialect_internal.h"

#include <string.h>

#define TYPE_SIZE 65

/* "bash_*" begins as, "*" is any. */
static bool kind_is(const struct kind *k, const char *type)
{
    size_t n = strlen(k->type);

    if (n > 0 && k->type[n - 1] == '*')
        return type[0] && strncmp(k->type, type, n - 1) == 0;
    return strcmp(k->type, type) == 0;
}

/* The name as somebody reads it who has no regard to case. False: it was so already. */
static bool fold(char *name)
{
    char *to = name;
    bool folded = false;

    for (const char *p = name; *p; to++) {
        size_t n = strncmp(p, "\u017f", 2) == 0 ? 2 : strncmp(p, "\u212a", 3) == 0 ? 3 : 1;
        bool upper = *p >= 'A' && *p <= 'Z';

        folded |= n > 1 || upper;
        *to = n == 2 ? 's' : n == 3 ? 'k' : upper ? (char)(*p + 32) : *p;
        p += n;
    }
    *to = 0;
    return folded;
}

int look_names(struct judge *j, struct json_view object)
{
    static const char *const read[] = {
        "type",       "content",     "source", "image_url", "url",     "tools", "tool",
        "definition", "environment", "output", "execution", "file_id", "audio", "role"};
    struct json_walk w = json_walk_into(object);
    char name[TYPE_SIZE];

    while (w.object && json_walk_next(&w)) {
        if (!json_view_text(w.key, name, sizeof(name)) || !fold(name))
            continue;
        for (size_t i = 0; i < sizeof(read) / sizeof(read[0]); i++) {
            if (strcmp(name, read[i]) == 0)
                return refuse(j, "'%s' is spelt in another way", name);
        }
    }
    return 0;
}

int look_kind(struct judge *j, struct json_view v, const struct kind *kinds, const char *what)
{
    char type[TYPE_SIZE] = "";
    struct json_view named;

    if (json_view_type(v) != '{')
        return refuse(j, "%s is not an object", what);
    if (look_names(j, v) < 0)
        return -ERR_REFUSED;
    if (json_view_get(v, "type", &named) &&
        (!json_view_text(named, type, sizeof(type)) || !type[0]))
        return refuse(j, "%s has no proper type", what);
    for (; kinds->type; kinds++) {
        if (kind_is(kinds, type))
            return kinds->look ? kinds->look(j, v) : 0;
    }
    return refuse(j, "%s of type '%s' is not allowed", what, type);
}

int look_kinds(struct judge *j, struct json_view v, const struct kind *kinds, const char *what)
{
    struct json_walk w = json_walk_into(v);
    int rc = 0;

    if (json_view_type(v) == 'n')
        return 0;
    if (json_view_type(v) != '[')
        return refuse(j, "not a list, where %s is expected", what);
    while (rc == 0 && json_walk_next(&w))
        rc = look_kind(j, w.value, kinds, what);
    return rc;
}

int look_text_or_kinds(struct judge *j, struct json_view v, const struct kind *kinds,
                       const char *what)
{
    return json_view_type(v) == '"' ? 0 : look_kinds(j, v, kinds, what);
}

bool hosted_allowed(const struct call_rules *rules, const char *type)
{
    const struct strv *may = rules->hosted_tools;

    for (size_t i = 0; may && i < may->n; i++) {
        size_t n = strlen(may->v[i]);
        const char *rest = type + n;

        if (n == 0 || strncmp(type, may->v[i], n) != 0)
            continue;
        if (*rest == 0 || strncmp(rest, "_preview", 8) == 0 ||
            (*rest == '_' && strspn(rest + 1, "0123456789") == strlen(rest + 1)))
            return true;
    }
    return false;
}

int look_hosted(struct judge *j, struct json_view v)
{
    char type[TYPE_SIZE] = "";
    struct json_view named;

    if (json_view_get(v, "type", &named))
        json_view_text(named, type, sizeof(type));
    if (!hosted_allowed(j->rules, type))
        return refuse(j,
                      "'%s' would run at the provider, outside the egress gate, and the task's "
                      "policy does not allow it",
                      type);
    j->has_hosted = true;
    return 0;
}

int look_picture(struct judge *j)
{
    j->pictures++;
    return 0;
}

int look_picture_url(struct judge *j, struct json_view v)
{
    static const char here[] = "data:image/";
    char begins[sizeof(here)];

    json_view_text(v, begins, sizeof(begins));
    if (strcmp(begins, here) != 0)
        return refuse(j, "a picture by address is not allowed");
    return look_picture(j);
}
