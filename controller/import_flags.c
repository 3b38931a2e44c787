/* What a reviewer must look at: rules over paths, and over lines that look like secrets. Rules as
 * data; a flag never refuses anything by itself. */
#include "controller/import.h"

#include <ctype.h>
#include <fnmatch.h>
#include <string.h>

#include "common/term.h"
#include "proto/utf8.h"

struct path_rule {
    const char *kind;
    const char *pattern; /* with a slash: the whole path, `*` crosses slashes; else any last name */
    const char *why;
};

static const struct path_rule rules[] = {
    {"ci", ".github/*", "runs on, or configures, the forge's own machines"},
    {"ci", ".gitlab-ci.yml", "runs in CI"},
    {"ci", ".gitlab/*", "configures the forge"},
    {"ci", ".circleci/*", "runs in CI"},
    {"ci", ".buildkite/*", "runs in CI"},
    {"ci", ".drone.yml", "runs in CI"},
    {"ci", ".travis.yml", "runs in CI"},
    {"ci", ".woodpecker*", "runs in CI"},
    {"ci", ".ci/*", "runs in CI"},
    {"ci", ".forgejo/*", "runs in CI"},
    {"ci", ".gitea/*", "runs in CI"},
    {"ci", "Jenkinsfile", "runs in CI"},
    {"ci", "azure-pipelines.yml", "runs in CI"},
    {"ci", "bitbucket-pipelines.yml", "runs in CI"},
    {"ci", "appveyor.yml", "runs in CI"},
    {"ci", "CODEOWNERS", "says whose approval the forge asks for"},
    {"hook", ".husky/*", "runs on git operations once installed"},
    {"hook", ".githooks/*", "runs on git operations once installed"},
    {"hook", "*/hooks/*", "a directory named hooks"},
    {"hook", "hooks/*", "a directory named hooks"},
    {"hook", ".pre-commit-config.yaml", "runs on git operations once installed"},
    {"hook", "lefthook.yml", "runs on git operations once installed"},
    {"gitattributes", ".gitattributes", "may run configured filters, hide changes from diffs"},
    {"gitattributes", ".lfsconfig", "may send git-lfs to another server"},
    {"submodule", ".gitmodules", "names repositories to fetch"},
    {"tooling", ".vscode/*", "an editor may run what it says"},
    {"tooling", ".idea/*", "an editor may run what it says"},
    {"tooling", ".devcontainer/*", "an editor may run what it says"},
    {"tooling", ".envrc", "a shell may run it on entering the directory"},
    {"tooling", ".npmrc", "may change where packages come from"},
    {"tooling", ".yarnrc*", "may change where packages come from"},
    {"tooling", "pip.conf", "may change where packages come from"},
    {"tooling", ".cargo/*", "may change what the build runs"},
    {"tooling", "*/.cargo/*", "may change what the build runs"},
    {"lockfile", "package-lock.json", "pins dependencies"},
    {"lockfile", "npm-shrinkwrap.json", "pins dependencies"},
    {"lockfile", "yarn.lock", "pins dependencies"},
    {"lockfile", "pnpm-lock.yaml", "pins dependencies"},
    {"lockfile", "bun.lock*", "pins dependencies"},
    {"lockfile", "Cargo.lock", "pins dependencies"},
    {"lockfile", "go.sum", "pins dependencies"},
    {"lockfile", "poetry.lock", "pins dependencies"},
    {"lockfile", "uv.lock", "pins dependencies"},
    {"lockfile", "Pipfile.lock", "pins dependencies"},
    {"lockfile", "Gemfile.lock", "pins dependencies"},
    {"lockfile", "composer.lock", "pins dependencies"},
    {"lockfile", "flake.lock", "pins dependencies"},
};

int import_flag(struct import *im, const char *kind, const char *path, const char *why,
                struct err *err)
{
    struct buf clean;
    size_t room = 2 * (strnlen(path, 1024) + strnlen(why, 200)) + 96;
    if (im->record.flags.n >= IMPORT_FLAGS_MAX || room > im->flags_left) {
        im->unlisted++;
        return 0;
    }
    im->flags_left -= room;
    const struct json_shape shape = {.size = sizeof(struct import_flag)};
    struct import_flag *f = json_list_push(&im->record.flags, &shape);
    if (f == NULL) {
        return err_set(err, ERR_FAIL, "out of memory");
    }
    buf_init(&clean, 8 * (TREE_PATH_MAX + 1));
    term_line(path, &clean);
    utf8_copy(f->kind, sizeof(f->kind), kind);
    utf8_copy(f->path, sizeof(f->path), buf_str(&clean));
    buf_clear(&clean);
    term_line(why, &clean);
    utf8_copy(f->why, sizeof(f->why), buf_str(&clean));
    buf_done(&clean);
    return 0;
}

/* A name that shows as something else than it is. */
static bool shows_wrong(const char *path)
{
    struct buf shown;
    buf_init(&shown, 8 * (TREE_PATH_MAX + 1));
    bool wrong = term_line(path, &shown) < 0 || strcmp(buf_str(&shown), path) != 0;
    buf_done(&shown);
    return wrong;
}

/* A blank or dot at the end of a component, or a backslash: not the same path everywhere. */
static bool odd_name(const char *path)
{
    for (const char *p = path; *p != '\0'; p++) {
        bool last = p[1] == '\0' || p[1] == '/';
        if (*p == '\\' || *p == ':' || (last && (*p == ' ' || *p == '.'))) {
            return true;
        }
    }
    return false;
}

int import_flag_path(struct import *im, const char *path, struct err *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    int rc = 0;
    if (shows_wrong(path)) {
        rc = import_flag(im, "path", path, "the name holds invisible or control characters", err);
    } else if (odd_name(path)) {
        rc = import_flag(im, "path", path, "the name means something else on other systems", err);
    }
    for (size_t i = 0; i < sizeof(rules) / sizeof(rules[0]) && rc == 0; i++) {
        const char *subject = strchr(rules[i].pattern, '/') != NULL ? path : name;
        if (fnmatch(rules[i].pattern, subject, FNM_CASEFOLD) == 0) {
            return import_flag(im, rules[i].kind, path, rules[i].why, err);
        }
    }
    return rc;
}

struct secret_rule {
    const char *prefix;
    size_t tail; /* characters of a token that must follow */
    const char *what;
};

static const struct secret_rule secrets[] = {
    {"AKIA", 16, "an AWS access key id"},
    {"ASIA", 16, "an AWS access key id"},
    {"ghp_", 30, "a GitHub token"},
    {"gho_", 30, "a GitHub token"},
    {"ghs_", 30, "a GitHub token"},
    {"github_pat_", 30, "a GitHub token"},
    {"glpat-", 16, "a GitLab token"},
    {"xoxb-", 20, "a Slack token"},
    {"xoxp-", 20, "a Slack token"},
    {"npm_", 30, "a registry token"},
    {"sk-", 32, "an API key"},
    {"sk_live_", 16, "a payment key"},
    {"AIza", 30, "a Google API key"},
    {"eyJhbGciOi", 30, "a signed web token"},
};

static bool token_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

const char *import_secret(const char *line, size_t len)
{
    if (memmem(line, len, "-----BEGIN ", 11) != NULL &&
        memmem(line, len, "PRIVATE KEY", 11) != NULL) {
        return "a private key";
    }
    for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
        const struct secret_rule *r = &secrets[i];
        size_t plen = strlen(r->prefix);
        const char *at = memmem(line, len, r->prefix, plen);
        if (at == NULL || (at > line && token_char(at[-1]))) {
            continue;
        }
        size_t n = 0, left = len - (size_t)(at - line) - plen;
        while (n < left && token_char(at[plen + n])) {
            n++;
        }
        if (n >= r->tail) {
            return r->what;
        }
    }
    return NULL;
}
