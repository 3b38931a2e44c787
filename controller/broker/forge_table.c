/* One table of differences between kinds of forges: addresses of calls, headers, what success is. */
#include "controller/broker/forge.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include <sodium.h>

const char *const forge_kind_names[FORGE_KIND_COUNT + 1] = {
    [FORGE_GITHUB] = "github",
    [FORGE_GITLAB] = "gitlab",
    [FORGE_FORGEJO] = "forgejo",
    [FORGE_KIND_COUNT] = NULL,
};

struct forge_row {
    const char *git_user;
    const char *credential; /* the header that carries it, up to the value */
    const char *headers[3]; /* the others; NULL ends */
    struct forge_call_row calls[FORGE_CALL_COUNT];
};

static const struct forge_row rows[FORGE_KIND_COUNT] = {
    [FORGE_GITHUB] =
        {
            .git_user = "x-access-token",
            .credential = "authorization: Bearer ",
            /* With the first alone, what is strict about Accept answers 406. */
            .headers = {"accept: application/vnd.github+json, application/json;q=0.9",
                        "x-github-api-version: 2022-11-28"},
            .calls =
                {
                    [FORGE_MINT] = {"POST",
                                    "/app/installations/{installation}/access_tokens",
                                    {201}},
                    /* 401: it is no token any more. */
                    [FORGE_REVOKE] = {"DELETE", "/installation/token", {204, 401}},
                    [FORGE_REPO] = {"GET", "/repos/{owner}/{name}", {200}},
                    [FORGE_PULL_FIND] =
                        {"GET",
                         "/repos/{owner}/{name}/pulls?head={label}&state=all&per_page=30",
                         {200}},
                    [FORGE_PULL_OPEN] = {"POST", "/repos/{owner}/{name}/pulls", {201}},
                },
        },
    [FORGE_GITLAB] =
        {
            .git_user = "oauth2",
            .credential = "private-token: ",
            .headers = {"accept: application/json"},
            .calls =
                {
                    [FORGE_MINT] = {"POST", "/projects/{project}/access_tokens", {201}},
                    [FORGE_REVOKE] = {"DELETE",
                                      "/projects/{project}/access_tokens/{id}",
                                      {204, 404}},
                    [FORGE_FIND_MINTED] =
                        {"GET",
                         "/projects/{project}/access_tokens?state=active&per_page=100",
                         {200}},
                    [FORGE_REPO] = {"GET", "/projects/{project}", {200}},
                    [FORGE_PULL_FIND] =
                        {"GET",
                         "/projects/{project}/merge_requests?source_branch={branch}&state=all"
                         "&per_page=30",
                         {200}},
                    [FORGE_PULL_OPEN] = {"POST", "/projects/{project}/merge_requests", {201}},
                },
        },
    [FORGE_FORGEJO] =
        {
            .git_user = "oauth2",
            .credential = "authorization: token ",
            .headers = {"accept: application/json"},
            .calls =
                {
                    /* No token of it is tied to one repository: what would be minted could do more
                     * than the task may. The git broker is the way there. */
                    [FORGE_REPO] = {"GET", "/repos/{owner}/{name}", {200}},
                    [FORGE_PULL_FIND] =
                        {"GET",
                         "/repos/{owner}/{name}/pulls?state=all&sort=recentupdate&limit=50",
                         {200}},
                    [FORGE_PULL_OPEN] = {"POST", "/repos/{owner}/{name}/pulls", {201}},
                },
        },
};

const char *forge_git_user(enum forge_kind kind)
{
    return rows[kind].git_user;
}

const struct forge_call_row *forge_call_row(enum forge_kind kind, enum forge_call call)
{
    return &rows[kind].calls[call];
}

/* RFC 3986, everything but unreserved characters encoded. */
static void add_encoded(struct buf *to, const char *text, bool slashes)
{
    for (; *text; text++) {
        unsigned char c = (unsigned char)*text;
        if (isalnum(c) || strchr("-._~", c) || (slashes && c == '/'))
            buf_addc(to, (char)c);
        else
            buf_addf(to, "%%%02X", c);
    }
}

/* Appends the value of the mark that `at` begins with; returns its length, 0 when there is none. */
static size_t add_mark(struct buf *to, const char *at, const struct forge_marks *m)
{
    const struct {
        const char *mark, *value;
    } marks[] = {
        {"{owner}", m->repo ? m->repo->owner : NULL},
        {"{name}", m->repo ? m->repo->name : NULL},
        {"{project}", m->repo ? m->repo->path : NULL},
        {"{path}", m->repo ? m->repo->path : NULL},
        {"{installation}", m->forge->installation},
        {"{id}", m->id},
        {"{branch}", m->branch},
        {"{base}", m->base},
        {"{label}", m->label},
    };
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++) {
        size_t n = strlen(marks[i].mark);
        if (strncmp(at, marks[i].mark, n) == 0 && marks[i].value) {
            add_encoded(to, marks[i].value, strcmp(marks[i].mark, "{path}") == 0);
            return n;
        }
    }
    return 0;
}

int forge_call_url(enum forge_call call, const struct forge_marks *m, struct buf *to,
                   struct err *err)
{
    const struct forge_call_row *row = forge_call_row((enum forge_kind)m->forge->kind, call);
    if (!row->method)
        return err_set(err, ERR_REFUSED, "forge %s: %s", m->forge->name,
                       call == FORGE_MINT ? "its kind has no token for a single repository; use "
                                            "--repo-access push, which needs none"
                                          : "its kind has no such call");
    buf_adds(to, m->forge->api);
    for (const char *at = row->path; *at;) {
        size_t n = *at == '{' ? add_mark(to, at, m) : 0;
        if (n == 0)
            buf_addc(to, *at++);
        at += n;
    }
    return to->failed ? err_set(err, ERR_FAIL, "forge %s: the address is too long", m->forge->name)
                      : 0;
}

/* What a header's value may be without a second reading. */
static bool value_plain(const char *secret, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (secret[i] <= ' ' || secret[i] >= 0x7f)
            return false;
    return len > 0;
}

int forge_headers(enum forge_kind kind, const char *secret, size_t len, struct strv *to,
                  struct err *err)
{
    const struct forge_row *row = &rows[kind];
    struct buf line;
    int rc = 0;
    if (!value_plain(secret, len))
        return err_set(err, ERR_USAGE, "the forge's secret is not one word of printable ASCII");
    buf_init(&line, len + 64);
    (void)buf_room(&line, len + 63); /* grown once: no copy is left behind */
    buf_adds(&line, row->credential);
    buf_add(&line, secret, len);
    rc = line.failed ? -1 : strv_add(to, buf_str(&line));
    for (size_t i = 0; i < 3 && row->headers[i] && rc == 0; i++)
        rc = strv_add(to, row->headers[i]);
    buf_wipe(&line);
    if (rc < 0) {
        forge_headers_wipe(to);
        return err_set(err, ERR_FAIL, "out of memory");
    }
    return 0;
}

void forge_headers_wipe(struct strv *headers)
{
    for (size_t i = 0; i < headers->n; i++)
        sodium_memzero(headers->v[i], strlen(headers->v[i]));
    strv_done(headers);
}
