/* Access to a repository: its table, and the form of the one address that it may have. */
#include "proto/repo_access.h"

#include <string.h>

const char *const repo_mode_names[REPO_MODE_COUNT + 1] = {
    [REPO_NONE] = "none",   [REPO_READ] = "read",     [REPO_PUSH] = "push",
    [REPO_TOKEN] = "token", [REPO_MODE_COUNT] = NULL,
};

static const struct json_field repo_access_fields[] = {
    JSON_ROW(struct repo_access, ENUM, mode, .names = repo_mode_names),
    JSON_ROW(struct repo_access, TEXT, url, .optional = true),
    JSON_END,
};
const struct json_shape repo_access_shape = {.size = sizeof(struct repo_access),
                                             .fields = repo_access_fields};

/* "/owner/name.git": two readers must see the same path in it. */
static bool path_plain(const char *path)
{
    if (path[0] != '/' || !path[1] ||
        path[strspn(path, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._~/-")])
        return false;
    while (*path) {
        size_t n = strcspn(++path, "/");
        if (n == 0 || (n == 1 && path[0] == '.') || (n == 2 && path[0] == '.' && path[1] == '.'))
            return false;
        path += n;
    }
    return true;
}

static bool url_valid(const char *url)
{
    size_t scheme = strncmp(url, "https://", 8) == 0 ? 8 : strncmp(url, "http://", 7) == 0 ? 7 : 0;
    size_t host = strspn(url + scheme, "abcdefghijklmnopqrstuvwxyz0123456789.-:[]");
    return scheme && host && path_plain(url + scheme + host);
}

int repo_access_check(const struct repo_access *r, struct err *err)
{
    if (r->mode == REPO_NONE)
        return r->url[0] ? err_set(err, ERR_USAGE, "repo: an address, but no access") : 0;
    if (!url_valid(r->url))
        return err_set(err, ERR_USAGE,
                       "repo.url: '%.200s' is not https://HOST/PATH, without user and query",
                       r->url);
    return 0;
}
