/* The operator's model providers: what is known without saying, what may be said, and the file. */
#include "controller/broker/provider.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/file.h"
#include "controller/broker/dialect.h"

#define FILE_NAME "providers.json"
#define FILE_MODE 0600

const char *const provider_auth_names[AUTH_COUNT + 1] = {"bearer", "x-api-key", NULL};

static const struct json_field provider_fields[] = {
    JSON_ROW(struct provider, TEXT, name),
    JSON_ROW(struct provider, TEXT, base_url),
    JSON_ROW(struct provider, TEXT, secret),
    JSON_ROW(struct provider, ENUM, auth, .names = provider_auth_names),
    JSON_ROW(struct provider, BITS, dialects, .names = dialect_names),
    JSON_ROW(struct provider, U64, day_usd_micros),
    JSON_ROW(struct provider, U64, day_calls),
    JSON_ROW(struct provider, STRS, models, .max = MODEL_NAME_SIZE - 1),
    JSON_ROW(struct provider, TEXT, ca_file),
    JSON_END,
};
const struct json_shape provider_shape = {sizeof(struct provider), provider_fields};

static const struct json_field providers_fields[] = {
    JSON_ROW_AS(struct providers, LIST, list, "providers", .shape = &provider_shape,
                .max = PROVIDERS_MAX),
    JSON_END,
};
const struct json_shape providers_shape = {sizeof(struct providers), providers_fields};

static const struct {
    const char *name, *base_url;
    enum provider_auth auth;
    unsigned dialects;
} known[] = {
    {"openai", "https://api.openai.com", AUTH_BEARER, 1u << DIALECT_RESPONSES | 1u << DIALECT_CHAT},
    {"anthropic", "https://api.anthropic.com", AUTH_X_API_KEY, 1u << DIALECT_MESSAGES},
};

bool provider_known(const char *name, struct provider *out)
{
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        if (strcmp(known[i].name, name) != 0)
            continue;
        *out = (struct provider){.auth = known[i].auth,
                                 .dialects = known[i].dialects,
                                 .day_usd_micros = PROVIDER_DAY_USD,
                                 .day_calls = PROVIDER_DAY_CALLS};
        snprintf(out->name, sizeof out->name, "%s", name);
        snprintf(out->secret, sizeof out->secret, "%s", name);
        snprintf(out->base_url, sizeof out->base_url, "%s", known[i].base_url);
        return true;
    }
    return false;
}

/* ---- the address ---- */

/* Names and addresses that cannot leave this machine. */
static bool loopback(const char *host, size_t n)
{
    static const char *const exact[] = {"localhost", "[::1]"};
    unsigned part = 0, parts = 1;
    for (size_t i = 0; i < sizeof exact / sizeof exact[0]; i++)
        if (n == strlen(exact[i]) && memcmp(host, exact[i], n) == 0)
            return true;
    if (n < 4 || memcmp(host, "127.", 4) != 0)
        return false;
    for (size_t i = 4, digits = 0; i <= n; i++) {
        if (i < n && host[i] >= '0' && host[i] <= '9' && ++digits <= 3) {
            part = part * 10 + (unsigned)(host[i] - '0');
            continue;
        }
        if (digits == 0 || part > 255 || (i < n && host[i] != '.'))
            return false;
        parts++;
        part = 0;
        digits = 0;
    }
    return parts == 4;
}

static bool port_valid(const char *p, size_t n)
{
    unsigned value = 0;
    for (size_t i = 0; i < n && i < 6; i++) {
        if (p[i] < '0' || p[i] > '9')
            return false;
        value = value * 10 + (unsigned)(p[i] - '0');
    }
    return n > 0 && n < 6 && value > 0 && value <= 65535;
}

#define HOST_CHARS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-"

/* "HOST[:PORT]"; the host's length in *ret_n. */
static bool authority_valid(const char *p, size_t n, size_t *ret_n)
{
    size_t host =
        p[0] == '[' ? 1 + strspn(p + 1, "0123456789abcdefABCDEF:.") : strspn(p, HOST_CHARS);
    if (p[0] == '[' && p[host++] != ']')
        return false;
    if (host == 0 || host > n || p[0] == '.' || p[0] == '-' || (p[0] == '[' && host < 4))
        return false;
    *ret_n = host;
    return host == n || (p[host] == ':' && port_valid(p + host + 1, n - host - 1));
}

/* NULL, or what is wrong. */
static const char *url_fault(const char *url)
{
    bool tls = strncmp(url, "https://", 8) == 0;
    if (!tls && strncmp(url, "http://", 7) != 0)
        return "it must begin with https://";
    const char *host = url + (tls ? 8 : 7), *path = host + strcspn(host, "/");
    size_t nhost, npath = strlen(path);
    if (!authority_valid(host, (size_t)(path - host), &nhost))
        return "it must be https://HOST[:PORT][/PREFIX], without user, query or fragment";
    if (!tls && !loopback(host, nhost))
        return "http is for addresses of this machine only (127.0.0.1, localhost, [::1])";
    if (path[strspn(path, HOST_CHARS "/_~")] || strstr(path, "//") || strstr(path, "/.") ||
        (npath > 0 && path[npath - 1] == '/'))
        return "its prefix has an empty segment, one that begins with a dot, or a strange "
               "character";
    if (npath >= 3 && strcmp(path + npath - 3, "/v1") == 0)
        return "leave out the last /v1: creel adds it";
    return NULL;
}

/* ---- checks ---- */

static int check_models(const struct provider *p, struct err *err)
{
    if (p->models.n > SPEND_NAMES_MAX)
        return err_set(err, ERR_USAGE, "provider %s: more than %d models", p->name,
                       SPEND_NAMES_MAX);
    for (size_t i = 0; i < p->models.n; i++)
        if (!model_name_valid(p->models.v[i]) || strlen(p->models.v[i]) >= MODEL_NAME_SIZE)
            return err_set(err, ERR_USAGE, "provider %s: '%.64s' is not the name of a model",
                           p->name, p->models.v[i]);
    return 0;
}

int provider_check(const struct provider *p, struct err *err)
{
    if (!provider_name_valid(p->name))
        return err_set(err, ERR_USAGE,
                       "'%.64s' is not a name for a provider: lower-case letters, digits and ._-",
                       p->name);
    const char *wrong = url_fault(p->base_url);
    if (wrong)
        return err_set(err, ERR_USAGE, "provider %s: base URL '%.128s': %s", p->name, p->base_url,
                       wrong);
    /* Secrets have the same kind of names (controller/broker/secrets.h). */
    if (!provider_name_valid(p->secret))
        return err_set(err, ERR_USAGE, "provider %s: '%.64s' is not the name of a secret", p->name,
                       p->secret);
    if (p->auth < 0 || p->auth >= AUTH_COUNT)
        return err_set(err, ERR_USAGE, "provider %s: no such way to authenticate", p->name);
    if (p->dialects == 0 || p->dialects >> DIALECT_COUNT)
        return err_set(err, ERR_USAGE,
                       "provider %s: name at least one dialect: responses, chat, messages",
                       p->name);
    if (p->day_usd_micros > SPEND_USD_MAX)
        return err_set(err, ERR_USAGE, "provider %s: more than %llu dollars a day", p->name,
                       SPEND_USD_MAX / 1000000);
    if (p->day_calls > PROVIDER_DAY_CALLS_MAX)
        return err_set(err, ERR_USAGE, "provider %s: more than %u calls a day", p->name,
                       PROVIDER_DAY_CALLS_MAX);
    if (p->ca_file[0] && p->ca_file[0] != '/')
        return err_set(err, ERR_USAGE, "provider %s: the CA file's path must be absolute", p->name);
    return check_models(p, err);
}

int provider_ca_readable(const struct provider *p, struct err *err)
{
    int fd = p->ca_file[0] ? open(p->ca_file, O_RDONLY | O_CLOEXEC) : -1;
    if (p->ca_file[0] && fd < 0)
        return err_set(
            err, ERR_FAIL,
            "provider %s: its CA file %s cannot be read (%s); the broker reads those outside of "
            "/etc and /usr that were named when it started: start creel anew",
            p->name, p->ca_file, strerror(errno));
    fd_close(&fd);
    return 0;
}

static int check_all(const struct providers *p, struct err *err)
{
    const struct provider *items = p->list.items;
    for (size_t i = 0; i < p->list.n; i++) {
        int rc = provider_check(&items[i], err);
        if (rc < 0)
            return rc;
        if (providers_find(p, items[i].name) != &items[i])
            return err_set(err, ERR_USAGE, "provider %s stands there twice", items[i].name);
    }
    return 0;
}

/* ---- the file ---- */

int providers_load(int dirfd, struct providers *out, struct err *err)
{
    struct err why = ERR_INIT;
    struct buf b;
    *out = (struct providers){0};
    if (faccessat(dirfd, FILE_NAME, F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    buf_init(&b, JSON_BYTES_MAX);
    int rc = file_read(dirfd, FILE_NAME, &b, err);
    if (rc == 0 &&
        (json_decode(&providers_shape, b.data, b.len, out, &why) < 0 || check_all(out, &why) < 0)) {
        providers_done(out);
        rc = err_set(err, ERR_USAGE, FILE_NAME ": %s", why.msg);
    }
    buf_done(&b);
    return rc;
}

int providers_save(int dirfd, const struct providers *p, struct err *err)
{
    struct buf b;
    int rc = check_all(p, err);
    if (rc < 0)
        return rc;
    buf_init(&b, JSON_BYTES_MAX);
    rc = json_encode(&providers_shape, p, &b, err);
    if (rc == 0 && buf_addc(&b, '\n') < 0)
        rc = err_set(err, ERR_FAIL, FILE_NAME " would be over %u bytes", JSON_BYTES_MAX);
    if (rc == 0)
        rc = file_replace(dirfd, FILE_NAME, b.data, b.len, FILE_MODE, err);
    buf_done(&b);
    return rc;
}

void providers_done(struct providers *p)
{
    json_release(&providers_shape, p);
}

const struct provider *providers_find(const struct providers *p, const char *name)
{
    const struct provider *items = p->list.items;
    for (size_t i = 0; i < p->list.n; i++)
        if (strcmp(items[i].name, name) == 0)
            return &items[i];
    return NULL;
}
