/* Judging a model call's request: a table of the members that may stand in it, and the rules on models,
 * caps and tiers that all dialects share.
 *
 * The body that is sent is made of the agent's own bytes, member by member: what a table does not know is
 * left out, so that no member of tomorrow can spend or reach out before somebody has thought about it. */
#include "controller/broker/dialect_internal.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct json_bounds bounds = {
    .bytes = CALL_BODY_MAX, .items = 1u << 18, .loose_escapes = true};

int refuse(struct judge *j, const char *fmt, ...)
{
    char what[256];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(what, sizeof(what), fmt, ap);
    va_end(ap);
    return err_set(j->err, ERR_REFUSED, "the request's %s: %s", j->name, what);
}

bool is_nothing(struct json_view v)
{
    char type = json_view_type(v);
    struct json_walk w = json_walk_into(v);

    if (type == '{' || type == '[')
        return !json_walk_next(&w);
    return type == 'n' || type == 'f' || (type == '"' && v.n == 2);
}

int look_nothing(struct judge *j, struct json_view v)
{
    return is_nothing(v) ? 0 : refuse(j, "is not allowed");
}

bool write_nothing(const struct judge *j, struct json_view v, struct buf *out)
{
    (void)j, (void)v, (void)out;
    return false;
}

static bool printable(const char *text)
{
    for (; *text; text++) {
        if (*text <= ' ' || *text > '~')
            return false;
    }
    return true;
}

int look_model(struct judge *j, struct json_view v)
{
    const struct strv *task = j->rules->models, *more = j->rules->more_models;
    char name[MODEL_NAME_SIZE];

    if (!json_view_text(v, name, sizeof(name)) || !name[0] || !printable(name))
        return refuse(j, "is not a model's name");
    if (task && task->n > 0 && !strv_has(task, name))
        return refuse(j, "'%s' is not one of the models that the task may use", name);
    if (more && more->n > 0 && !strv_has(more, name))
        return refuse(j, "'%s' is not one of the models that the provider may be asked for", name);
    memcpy(j->ask->model, name, sizeof(name));
    return 0;
}

int look_stream(struct judge *j, struct json_view v)
{
    char type = json_view_type(v);

    if (type != 't' && type != 'f' && type != 'n')
        return refuse(j, "is neither true nor false");
    j->ask->stream = type == 't';
    return 0;
}

int look_cap(struct judge *j, struct json_view v)
{
    uint64_t cap;

    if (json_view_type(v) == 'n')
        return 0;
    if (!json_view_u64(v, &cap))
        return refuse(j, "is not a whole number");
    if (cap == 0) /* some providers read it as: as much as there is */
        return refuse(j, "is zero");
    j->has_cap = true;
    if (cap > j->cap_asked)
        j->cap_asked = cap;
    return 0;
}

bool write_cap(const struct judge *j, struct json_view v, struct buf *out)
{
    uint64_t cap;

    if (!json_view_u64(v, &cap))
        return false;
    buf_addf(out, "%" PRIu64, cap < j->ask->output_cap ? cap : j->ask->output_cap);
    return true;
}

int look_tier(struct judge *j, struct json_view v)
{
    if (is_nothing(v) || json_view_is(v, "auto") || json_view_is(v, "default") ||
        json_view_is(v, "standard_only"))
        return 0;
    return refuse(j, "only the usual tier has a price here");
}

static const struct member *find_member(const struct dialect *d, struct json_view key)
{
    for (const struct member *m = d->members; m->name; m++) {
        if (json_view_is(key, m->name))
            return m;
    }
    return NULL;
}

static void hash_view(crypto_generichash_state *h, struct json_view v)
{
    uint64_t n = v.n;

    crypto_generichash_update(h, (const unsigned char *)&n, sizeof(n));
    crypto_generichash_update(h, (const unsigned char *)v.p, v.n);
}

static int look_members(struct judge *j, struct json_view request)
{
    struct json_walk w = json_walk_into(request);
    int rc = 0;

    while (rc == 0 && json_walk_next(&w)) {
        const struct member *m = find_member(j->d, w.key);

        if (!m) {
            if (!j->ask->left_out[0])
                json_view_text(w.key, j->ask->left_out, sizeof(j->ask->left_out));
            continue;
        }
        j->name = m->name;
        if (m->look)
            rc = m->look(j, w.value);
        if (m->asked) {
            hash_view(&j->asked, w.key);
            hash_view(&j->asked, w.value);
        }
    }
    return rc;
}

static void cut(struct buf *b, size_t len)
{
    if (b->len > len) {
        b->len = len;
        b->data[len] = 0;
    }
}

static void write_members(const struct judge *j, struct json_view request, struct buf *out)
{
    struct json_walk w = json_walk_into(request);
    size_t first;

    buf_addc(out, '{');
    first = out->len;
    while (json_walk_next(&w)) {
        const struct member *m = find_member(j->d, w.key);
        size_t before = out->len;

        if (!m)
            continue;
        if (before > first)
            buf_addc(out, ',');
        buf_add(out, w.key.p, w.key.n);
        buf_addc(out, ':');
        if (!m->write)
            buf_add(out, w.value.p, w.value.n);
        else if (!m->write(j, w.value, out))
            cut(out, before);
    }
    j->d->add(j, request, out);
    buf_addc(out, '}');
}

/* What is bounded by the rules rather than by one member. */
static int settle(struct judge *j)
{
    struct call_ask *ask = j->ask;

    j->name = "body";
    if (!ask->model[0])
        return refuse(j, "names no model");
    if (j->rules->output_tokens == 0)
        return refuse(j, "no output tokens are allowed");
    ask->output_cap = j->has_cap && j->cap_asked < j->rules->output_tokens
                          ? j->cap_asked
                          : j->rules->output_tokens;
    return 0;
}

static uint64_t input_bound(const struct judge *j, size_t bytes)
{
    return bytes + INPUT_EXTRA_TOKENS + j->pictures * PICTURE_TOKENS +
           (j->has_hosted ? HOSTED_TOKENS : 0);
}

static int judge_checked(struct judge *j, struct json_view request, struct buf *out)
{
    size_t before = out->len;
    int rc;

    if (json_view_type(request) != '{')
        return refuse(j, "is not an object");
    crypto_generichash_init(&j->asked, NULL, 0, sizeof(j->ask->fingerprint));
    crypto_generichash_update(&j->asked, (const unsigned char *)&j->d->id, sizeof(j->d->id));
    rc = look_members(j, request);
    if (rc == 0)
        rc = settle(j);
    if (rc < 0)
        return rc;
    crypto_generichash_final(&j->asked, j->ask->fingerprint, sizeof(j->ask->fingerprint));
    write_members(j, request, out);
    if (out->failed) {
        cut(out, before);
        return refuse(j, "is too long, or there is no memory for it");
    }
    j->ask->input_bound = input_bound(j, out->len - before);
    return 0;
}

int dialect_request(const struct dialect *d, const struct call_rules *rules, const void *body,
                    size_t len, struct call_ask *ret, struct buf *out, struct err *err)
{
    struct call_ask ask = {0};
    struct judge j = {.d = d, .rules = rules, .ask = &ask, .name = "body", .err = err};
    struct err why = ERR_INIT;
    int rc;

    if (json_check_within(body, len, &bounds, &why) < 0)
        return refuse(&j, "%s", why.msg);
    rc = judge_checked(&j, json_view_root(body, len), out);
    if (rc == 0)
        *ret = ask;
    return rc;
}
