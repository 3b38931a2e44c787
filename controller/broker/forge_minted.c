/* Bodies and answers of minting, kind by kind, see the header. */
#include "controller/broker/forge_minted.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include <sodium.h>

#include "common/secret.h"
#include "proto/rfc3339.h"

#define HOUR_S  3600ull
#define DAY_S   86400ull
#define LEAST_S 60 /* of a token that is worth having */

struct permissions {
    char contents[17], metadata[17];
};

struct repository {
    char full_name[REPO_URL_SIZE];
};

/* Of all kinds; a kind's own checks say which members must be there. */
struct answer {
    char token[REPO_TOKEN_MAX + 1];
    char expires_at[33];
    struct permissions permissions; /* GitHub */
    struct json_list repositories;  /* struct repository */
    int id, access_level;           /* GitLab */
    struct strv scopes;
};

/* Closed: a permission that is not known here was not asked for. */
static const struct json_field permissions_fields[] = {
    JSON_ROW(struct permissions, TEXT, contents, .optional = true),
    JSON_ROW(struct permissions, TEXT, metadata, .optional = true),
    JSON_END,
};
static const struct json_shape permissions_shape = {.size = sizeof(struct permissions),
                                                    .fields = permissions_fields};

static const struct json_field repository_fields[] = {
    JSON_ROW(struct repository, TEXT, full_name),
    JSON_END,
};
static const struct json_shape repository_shape = {
    .size = sizeof(struct repository), .fields = repository_fields, .open = true};

/* What is needed to revoke, read first and alone: whatever else is wrong, the token must not live on. */
static const struct json_field bare_fields[] = {
    JSON_ROW(struct answer, TEXT, token),
    JSON_ROW(struct answer, TEXT, expires_at, .optional = true),
    JSON_ROW(struct answer, INT, id, .optional = true),
    JSON_END,
};
static const struct json_shape bare_shape = {
    .size = sizeof(struct answer), .fields = bare_fields, .open = true};

static const struct json_field github_fields[] = {
    JSON_ROW(struct answer, TEXT, token),
    JSON_ROW(struct answer, TEXT, expires_at),
    JSON_ROW(struct answer, OBJ, permissions, .shape = &permissions_shape),
    JSON_ROW(struct answer, LIST, repositories, .shape = &repository_shape, .max = 16),
    JSON_END,
};
static const struct json_field gitlab_fields[] = {
    JSON_ROW(struct answer, TEXT, token),
    JSON_ROW(struct answer, TEXT, expires_at),
    JSON_ROW(struct answer, INT, id),
    JSON_ROW(struct answer, INT, access_level),
    JSON_ROW(struct answer, STRS, scopes, .max = 64),
    JSON_END,
};
static const struct json_shape shapes[FORGE_KIND_COUNT] = {
    [FORGE_GITHUB] = {.size = sizeof(struct answer), .fields = github_fields, .open = true},
    [FORGE_GITLAB] = {.size = sizeof(struct answer), .fields = gitlab_fields, .open = true},
};

#define GITLAB_DEVELOPER 30 /* the least role that may push */

static void add_date(struct buf *to, uint64_t at)
{
    char text[RFC3339_SIZE];
    rfc3339_format(at, text);
    buf_addf(to, "%.10s", text);
}

int forge_mint_body(enum forge_kind kind, const struct forge_repo *repo, const char *label,
                    uint64_t until, struct buf *to, struct err *err)
{
    switch (kind) {
    case FORGE_GITHUB:
        buf_adds(to, "{\"repositories\":[");
        json_quotes(to, repo->name);
        buf_adds(to, "],\"permissions\":{\"contents\":\"write\"}}");
        break;
    case FORGE_GITLAB:
        buf_adds(to, "{\"name\":");
        json_quotes(to, label);
        buf_addf(to, ",\"scopes\":[\"write_repository\"],\"access_level\":%d,\"expires_at\":\"",
                 GITLAB_DEVELOPER);
        /* It ends when that day begins. */
        add_date(to, until + DAY_S - 1);
        buf_adds(to, "\"}");
        break;
    case FORGE_FORGEJO:
    case FORGE_KIND_COUNT:
        return err_set(err, ERR_REFUSED, "a %s forge has no token for a single repository",
                       forge_kind_names[kind]);
    }
    return to->failed ? err_set(err, ERR_FAIL, "out of memory") : 0;
}

/* "2026-11-23T13:41:57Z", or a day, which is when it begins. */
static bool read_time(const char *text, uint64_t *ret)
{
    char whole[RFC3339_SIZE + 16];
    if (strlen(text) != 10)
        return rfc3339_parse(text, ret);
    snprintf(whole, sizeof whole, "%.10sT00:00:00Z", text);
    return rfc3339_parse(whole, ret);
}

static int check_github(const struct answer *a, const struct forge_repo *repo, struct err *err)
{
    const struct repository *r = a->repositories.items;
    if (a->repositories.n != 1 || strcasecmp(r[0].full_name, repo->path) != 0)
        return err_set(err, ERR_REFUSED, "the forge's token is not for %.200s alone", repo->path);
    if (strcmp(a->permissions.contents, "write") != 0 ||
        (a->permissions.metadata[0] && strcmp(a->permissions.metadata, "read") != 0))
        return err_set(err, ERR_REFUSED, "the forge's token has other permissions than asked for");
    return 0;
}

static int check_gitlab(const struct answer *a, struct err *err)
{
    if (a->scopes.n != 1 || strcmp(a->scopes.v[0], "write_repository") != 0 ||
        a->access_level > GITLAB_DEVELOPER)
        return err_set(err, ERR_REFUSED, "the forge's token has other rights than asked for");
    return 0;
}

static int check(enum forge_kind kind, const struct answer *a, const struct forge_repo *repo,
                 uint64_t now, struct err *err)
{
    uint64_t expires = 0, most = kind == FORGE_GITHUB ? 2 * HOUR_S : 4 * DAY_S;
    int rc = kind == FORGE_GITHUB ? check_github(a, repo, err) : check_gitlab(a, err);
    if (rc < 0)
        return rc;
    for (const char *c = a->token; *c; c++)
        if (*c <= ' ' || *c >= 0x7f)
            return err_set(err, ERR_REFUSED, "the forge's token is not one word");
    if (!read_time(a->expires_at, &expires) || expires < now + LEAST_S)
        return err_set(err, ERR_REFUSED, "the forge's token has ended already");
    if (expires > now + most)
        return err_set(err, ERR_REFUSED, "the forge's token lives too long");
    return 0;
}

/* Moves the token into guarded memory. */
static int take(struct answer *a, enum forge_kind kind, uint64_t now, struct forge_token *out,
                struct err *err)
{
    out->len = strlen(a->token);
    if (out->len == 0)
        return err_set(err, ERR_FAIL, "the forge's answer holds no token");
    out->value = secret_new(out->len + 1, err);
    if (!out->value)
        return -ERR_FAIL;
    memcpy(out->value, a->token, out->len + 1);
    if (a->id > 0)
        snprintf(out->handle, sizeof out->handle, "%d", a->id);
    if (!read_time(a->expires_at, &out->expires) || out->expires < now)
        out->expires = forge_mint_longest(kind, now);
    return 0;
}

static int read_as(const struct json_shape *shape, const void *bytes, size_t len, struct answer *a,
                   struct err *err)
{
    int rc = json_decode(shape, bytes, len, a, err);
    return rc < 0 ? err_wrap(err, "the forge's answer") : 0;
}

static void forget(const struct json_shape *shape, struct answer *a)
{
    sodium_memzero(a->token, sizeof a->token);
    json_release(shape, a);
}

int forge_mint_read(enum forge_kind kind, const struct forge_repo *repo, const void *bytes,
                    size_t len, uint64_t now, struct forge_token *out, struct err *err)
{
    *out = (struct forge_token){0};
    struct answer *a = secret_new(sizeof *a, err);
    if (!a)
        return -ERR_FAIL;
    int rc = read_as(&bare_shape, bytes, len, a, err);
    if (rc == 0) {
        rc = take(a, kind, now, out, err);
        forget(&bare_shape, a);
    }
    if (rc == 0) {
        struct err why = ERR_INIT;
        rc = shapes[kind].fields ? read_as(&shapes[kind], bytes, len, a, &why)
                                 : err_set(&why, ERR_REFUSED, "not a kind that mints");
        if (rc == 0) {
            rc = check(kind, a, repo, now, &why);
            forget(&shapes[kind], a);
        }
        if (rc < 0)
            rc = err_set(err, ERR_REFUSED, "%s", why.msg);
    }
    secret_free(a);
    return rc;
}

uint64_t forge_mint_longest(enum forge_kind kind, uint64_t asked)
{
    return asked + (kind == FORGE_GITHUB ? HOUR_S + 300 : 4 * DAY_S);
}

struct listed {
    int id;
    char name[256];
};
static const struct json_field listed_fields[] = {
    JSON_ROW(struct listed, INT, id),
    JSON_ROW(struct listed, TEXT, name),
    JSON_END,
};
static const struct json_shape listed_shape = {
    .size = sizeof(struct listed), .fields = listed_fields, .open = true};

struct listing {
    struct json_list list;
};
static const struct json_field listing_fields[] = {
    JSON_ROW(struct listing, LIST, list, .shape = &listed_shape),
    JSON_END,
};
static const struct json_shape listing_shape = {.size = sizeof(struct listing),
                                                .fields = listing_fields};

int forge_minted_find(const void *bytes, size_t len, const char *label, struct strv *ids,
                      struct err *err)
{
    struct listing l;
    char id[FORGE_HANDLE_SIZE];
    int rc = forge_list_decode(&listing_shape, bytes, len, &l, err);
    if (rc < 0)
        return rc;
    const struct listed *items = l.list.items;
    for (size_t i = 0; i < l.list.n && rc == 0; i++) {
        if (items[i].id <= 0 || strcmp(items[i].name, label) != 0)
            continue;
        snprintf(id, sizeof id, "%d", items[i].id);
        rc = strv_add(ids, id);
    }
    json_release(&listing_shape, &l);
    return rc < 0 ? err_set(err, ERR_FAIL, "out of memory") : 0;
}

int forge_list_decode(const struct json_shape *shape, const void *bytes, size_t len, void *out,
                      struct err *err)
{
    struct buf whole;
    buf_init(&whole, len + 16);
    buf_adds(&whole, "{\"list\":");
    buf_add(&whole, bytes, len);
    buf_addc(&whole, '}');
    int rc = whole.failed ? err_set(err, ERR_FAIL, "out of memory")
                          : json_decode(shape, whole.data, whole.len, out, err);
    buf_done(&whole);
    return rc < 0 ? err_wrap(err, "the forge's answer") : 0;
}
