/* forges.json: read strictly, checked, written atomically; and which forge a repository is at. */
#include "controller/broker/forge.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "common/file.h"

#define FILE_NAME "forges.json"

static const struct json_field forge_fields[] = {
    JSON_ROW(struct forge, TEXT, name),
    JSON_ROW(struct forge, ENUM, kind, .names = forge_kind_names),
    JSON_ROW(struct forge, TEXT, web),
    JSON_ROW(struct forge, TEXT, api),
    JSON_ROW(struct forge, TEXT, app_id, .optional = true),
    JSON_ROW(struct forge, TEXT, installation, .optional = true),
    JSON_ROW(struct forge, TEXT, key, .optional = true),
    JSON_ROW(struct forge, TEXT, token, .optional = true),
    JSON_ROW(struct forge, TEXT, ca_file, .optional = true),
    JSON_END,
};
const struct json_shape forge_shape = {.size = sizeof(struct forge), .fields = forge_fields};

static const struct json_field forges_fields[] = {
    JSON_ROW_AS(struct forges, LIST, list, "forges", .shape = &forge_shape, .max = FORGES_MAX),
    JSON_END,
};
const struct json_shape forges_shape = {.size = sizeof(struct forges), .fields = forges_fields};

void forge_defaults(struct forge *f)
{
    static const struct {
        const char *web, *api, *below; /* below: of another web address, where its API is */
    } known[FORGE_KIND_COUNT] = {
        [FORGE_GITHUB] = {"https://github.com", "https://api.github.com", "/api/v3"},
        [FORGE_GITLAB] = {"https://gitlab.com", "https://gitlab.com/api/v4", "/api/v4"},
        [FORGE_FORGEJO] = {"", "", "/api/v1"},
    };
    if (!f->web[0])
        snprintf(f->web, sizeof f->web, "%s", known[f->kind].web);
    if (!f->api[0] && strcmp(f->web, known[f->kind].web) == 0)
        snprintf(f->api, sizeof f->api, "%s", known[f->kind].api);
    else if (!f->api[0] && strlen(f->web) + 8 < sizeof f->api)
        snprintf(f->api, sizeof f->api, "%.500s%s", f->web, known[f->kind].below);
}

static bool loopback(const char *host)
{
    size_t n = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/");
    return (n == 9 && (strncmp(host, "127.0.0.1", n) == 0 || strncmp(host, "localhost", n) == 0)) ||
           (n == 5 && strncmp(host, "[::1]", n) == 0);
}

/* https://HOST[:PORT][/PREFIX], nothing in it that two readers could read differently. */
static bool address_valid(const char *url)
{
    struct repo_access r = {.mode = REPO_READ};
    bool secure = strncmp(url, "https://", 8) == 0;
    if (!secure && (strncmp(url, "http://", 7) != 0 || !loopback(url + 7)))
        return false;
    size_t n = strlen(url);
    if (n > FORGE_URL_SIZE - 8 || url[n - 1] == '/')
        return false;
    /* A repository below it must be an address in the policy's own form. */
    snprintf(r.url, sizeof r.url, "%.500s/r", url);
    return repo_access_check(&r, NULL) == 0;
}

static bool all_of(const char *text, const char *set)
{
    return text[0] && !text[strspn(text, set)];
}

static int check_app(const struct forge *f, struct err *err)
{
    int have = (f->app_id[0] != 0) + (f->installation[0] != 0) + (f->key[0] != 0);
    if (have == 0)
        return 0;
    if (f->kind != FORGE_GITHUB)
        return err_set(err, ERR_USAGE, "forge %s: an App is GitHub's alone", f->name);
    if (have != 3)
        return err_set(err, ERR_USAGE,
                       "forge %s: an App needs all three: app id, installation and key", f->name);
    if (!all_of(f->app_id, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-"))
        return err_set(err, ERR_USAGE, "forge %s: '%s' is not an App's id", f->name, f->app_id);
    if (!all_of(f->installation, "0123456789"))
        return err_set(err, ERR_USAGE, "forge %s: '%s' is not an installation's number", f->name,
                       f->installation);
    return 0;
}

int forge_check(const struct forge *f, struct err *err)
{
    if (!provider_name_valid(f->name))
        return err_set(err, ERR_USAGE,
                       "forge: '%s' is not a name (small letters, digits, '.', '_', '-')", f->name);
    if (f->kind < 0 || f->kind >= FORGE_KIND_COUNT)
        return err_set(err, ERR_USAGE, "forge %s: no known kind", f->name);
    const struct {
        const char *what, *url;
    } urls[] = {{"web", f->web}, {"api", f->api}};
    for (size_t i = 0; i < 2; i++)
        if (!address_valid(urls[i].url))
            return err_set(err, ERR_USAGE,
                           "forge %s: %s: '%.200s' is not https://HOST[/PREFIX] (http towards this "
                           "machine alone)",
                           f->name, urls[i].what, urls[i].url);
    const char *secrets[] = {f->key, f->token};
    for (size_t i = 0; i < 2; i++)
        if (secrets[i][0] && !provider_name_valid(secrets[i]))
            return err_set(err, ERR_USAGE,
                           "forge %s: '%s' is not a secret's name (creel secret ls)", f->name,
                           secrets[i]);
    if (!f->key[0] && !f->token[0])
        return err_set(err, ERR_USAGE, "forge %s: no secret: say --token, or --key of an App",
                       f->name);
    if (f->ca_file[0] && f->ca_file[0] != '/')
        return err_set(err, ERR_USAGE, "forge %s: ca_file is not an absolute path", f->name);
    return check_app(f, err);
}

static const struct forge *at(const struct forges *f, size_t i)
{
    return (const struct forge *)f->list.items + i;
}

const struct forge *forges_find(const struct forges *f, const char *name)
{
    for (size_t i = 0; i < f->list.n; i++)
        if (strcmp(at(f, i)->name, name) == 0)
            return at(f, i);
    return NULL;
}

static int check_all(const struct forges *f, struct err *err)
{
    if (f->list.n > FORGES_MAX)
        return err_set(err, ERR_USAGE, "more than %d forges", FORGES_MAX);
    for (size_t i = 0; i < f->list.n; i++) {
        int rc = forge_check(at(f, i), err);
        if (rc < 0)
            return rc;
        for (size_t j = 0; j < i; j++) {
            if (strcmp(at(f, i)->name, at(f, j)->name) == 0)
                return err_set(err, ERR_USAGE, "forge %s is there twice", at(f, i)->name);
            if (strcmp(at(f, i)->web, at(f, j)->web) == 0)
                return err_set(err, ERR_USAGE, "forges %s and %s have one address: %.200s",
                               at(f, j)->name, at(f, i)->name, at(f, i)->web);
        }
    }
    return 0;
}

int forges_load(int dirfd, struct forges *out, struct err *err)
{
    struct forges f = {0};
    struct buf text;
    if (faccessat(dirfd, FILE_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT) {
        *out = f;
        return 0;
    }
    buf_init(&text, JSON_BYTES_MAX);
    int rc = file_read(dirfd, FILE_NAME, &text, err);
    if (rc == 0 && (rc = json_decode(&forges_shape, text.data, text.len, &f, err)) < 0)
        rc = err_wrap(err, FILE_NAME);
    if (rc == 0 && (rc = check_all(&f, err)) < 0) {
        rc = err_wrap(err, FILE_NAME);
        forges_done(&f);
    }
    buf_done(&text);
    if (rc == 0)
        *out = f;
    return rc;
}

int forges_save(int dirfd, const struct forges *f, struct err *err)
{
    struct buf text;
    int rc = check_all(f, err);
    if (rc < 0)
        return rc;
    buf_init(&text, JSON_BYTES_MAX);
    rc = json_encode(&forges_shape, f, &text, err);
    if (rc == 0)
        buf_addc(&text, '\n');
    if (rc == 0)
        rc = file_replace(dirfd, FILE_NAME, text.data, text.len, 0600, err);
    buf_done(&text);
    return rc;
}

void forges_done(struct forges *f)
{
    json_release(&forges_shape, f);
}

int forge_repo_parse(enum forge_kind kind, const char *path, struct forge_repo *out,
                     struct err *err)
{
    struct repo_access plain = {.mode = REPO_READ};
    size_t n = strlen(path);
    if (n > 4 && strcmp(path + n - 4, ".git") == 0)
        n -= 4;
    if (n > 400)
        return err_set(err, ERR_USAGE, "'%.200s...' is too long for a repository", path);
    snprintf(plain.url, sizeof plain.url, "https://h/%.*s", (int)n, path);
    const char *own = plain.url + 10;
    const char *slash = strrchr(own, '/');
    if (repo_access_check(&plain, NULL) < 0 || !slash ||
        (kind != FORGE_GITLAB && strchr(own, '/') != slash))
        return err_set(err, ERR_USAGE, "'%.200s' is not a repository of a %s forge (OWNER/NAME)",
                       path, forge_kind_names[kind]);
    snprintf(out->path, sizeof out->path, "%s", own);
    snprintf(out->owner, sizeof out->owner, "%.*s", (int)(slash - own), own);
    snprintf(out->name, sizeof out->name, "%s", slash + 1);
    return 0;
}

/* The path of `url` below a forge's web address, or NULL. Names of hosts have no case. */
static const char *below(const struct forge *f, const char *url)
{
    const char *host = strstr(f->web, "://") + 3;
    size_t origin = (size_t)(host - f->web) + strcspn(host, "/"), all = strlen(f->web);
    if (strncasecmp(f->web, url, origin) != 0 ||
        strncmp(f->web + origin, url + origin, all - origin) != 0 || url[all] != '/')
        return NULL;
    return url + all + 1;
}

static int none(const struct forges *fs, const char *url, struct err *err)
{
    /* A password may stand in it. */
    const char *shown = strrchr(url, '@');
    return err_set(err, ERR_USAGE, "%.200s is at no forge that is known here%s",
                   shown ? shown + 1 : url,
                   fs->list.n ? " (creel forge ls)" : ": creel forge add ...");
}

int forge_find(const struct forges *fs, const char *url, const struct forge **ret,
               struct forge_repo *repo, struct err *err)
{
    const struct forge *best = NULL;
    const char *path = NULL;
    for (size_t i = 0; i < fs->list.n; i++) {
        const char *p = below(at(fs, i), url);
        if (p && (!best || strlen(at(fs, i)->web) > strlen(best->web))) {
            best = at(fs, i);
            path = p;
        }
    }
    if (!best)
        return none(fs, url, err);
    int rc = forge_repo_parse((enum forge_kind)best->kind, path, repo, err);
    if (rc == 0)
        *ret = best;
    return rc;
}

/* "git@host:owner/name", "ssh://git@host:22/owner/name": where its host and its path begin. */
static bool ssh_split(const char *remote, const char **ret_host, size_t *ret_n,
                      const char **ret_path)
{
    bool url = strncmp(remote, "ssh://", 6) == 0;
    const char *host = remote + (url ? 6 : 0);
    const char *end = host + strcspn(host, url ? "/" : ":/");
    if (!*end || (!url && *end != ':'))
        return false;
    const char *user = memchr(host, '@', (size_t)(end - host));
    host = user ? user + 1 : host;
    *ret_host = host;
    *ret_n = strcspn(host, url ? ":/" : ":");
    *ret_path = end + 1 + strspn(end + 1, "/");
    return *ret_n > 0;
}

static bool same_host(const struct forge *f, const char *host, size_t n)
{
    const char *own = strstr(f->web, "://") + 3;
    return strcspn(own, ":/") == n && strncasecmp(own, host, n) == 0;
}

/* Without "user[:password]@", which some keep in a remote's address; it is nobody's business here. */
static int find_web(const struct forges *fs, const char *remote, const struct forge **ret,
                    struct forge_repo *repo, struct err *err)
{
    char plain[2 * FORGE_URL_SIZE];
    size_t scheme = strncmp(remote, "https://", 8) == 0 ? 8 : 7;
    size_t host = strcspn(remote + scheme, "/");
    const char *user = memchr(remote + scheme, '@', host);
    const char *rest = user ? user + 1 : remote + scheme;
    if (strlen(rest) > sizeof plain - 16)
        return err_set(err, ERR_USAGE, "the remote's address is too long");
    snprintf(plain, sizeof plain, "%.*s%s", (int)scheme, remote, rest);
    return forge_find(fs, plain, ret, repo, err);
}

static int find_ssh(const struct forges *fs, const char *only, const char *remote,
                    const struct forge **ret, struct forge_repo *repo, struct err *err)
{
    const char *host, *path;
    size_t n;
    if (!ssh_split(remote, &host, &n, &path))
        return none(fs, remote, err);
    for (size_t i = 0; i < fs->list.n; i++) {
        const struct forge *f = at(fs, i);
        if (!same_host(f, host, n) || (only && strcmp(f->name, only) != 0))
            continue;
        int rc = forge_repo_parse((enum forge_kind)f->kind, path, repo, err);
        if (rc == 0)
            *ret = f;
        return rc;
    }
    return none(fs, remote, err);
}

int forge_find_remote(const struct forges *fs, const char *only, const char *remote,
                      const struct forge **ret, struct forge_repo *repo, struct err *err)
{
    const struct forge *f = NULL;
    bool web = strncmp(remote, "https://", 8) == 0 || strncmp(remote, "http://", 7) == 0;
    if (only && !forges_find(fs, only))
        return err_set(err, ERR_USAGE, "no forge is called %.64s (creel forge ls)", only);
    int rc = web ? find_web(fs, remote, &f, repo, err) : find_ssh(fs, only, remote, &f, repo, err);
    if (rc < 0)
        return rc;
    if (only && strcmp(f->name, only) != 0)
        return err_set(err, ERR_USAGE, "the remote is at forge %s, not %.64s", f->name, only);
    *ret = f;
    return 0;
}
