/* The operator's forges: forges.json in the broker's directory, and what differs between their kinds.
 *
 *   {"forges":[{"name":"github","kind":"github","web":"https://github.com","api":"https://api.github.com",
 *     "app_id":"12345","installation":"678","key":"app-key","token":"forge-token","ca_file":""}]}
 *
 * `key` and `token` are names of secrets (controller/broker/secrets.h), never values: `key` is the private
 * key of a GitHub App, which mints tokens for tasks; `token` is the operator's own, for pull requests, for
 * the git broker, and where tokens are minted with it (GitLab). `creel forge add|ls|rm` edits the file.
 * Parsing and the table are pure; load and save are the only I/O here. */
#ifndef CONTROLLER_BROKER_FORGE_H
#define CONTROLLER_BROKER_FORGE_H

#include "proto/repo_access.h"
#include "proto/spend.h"

#define FORGE_NAME_SIZE PROVIDER_NAME_SIZE
#define FORGE_URL_SIZE  513
#define FORGES_MAX      64

enum forge_kind { FORGE_GITHUB, FORGE_GITLAB, FORGE_FORGEJO, FORGE_KIND_COUNT };
extern const char *const forge_kind_names[FORGE_KIND_COUNT + 1]; /* "github" "gitlab" "forgejo" */

struct forge {
    char name[FORGE_NAME_SIZE]; /* provider_name_valid */
    int kind;                   /* enum forge_kind */
    char web
        [FORGE_URL_SIZE]; /* https://HOST[:PORT][/PREFIX], without a slash at its end: repositories
                                 are below it; http only towards loopback */
    char api[FORGE_URL_SIZE]; /* likewise */
    char app_id[65];          /* GitHub App: its id or client id */
    char installation[21];    /* digits */
    char key[PROVIDER_NAME_SIZE];
    char token[PROVIDER_NAME_SIZE];
    char ca_file[513]; /* PEM of further authorities; empty: the system's */
};

struct forges {
    struct json_list list; /* struct forge */
};

extern const struct json_shape forge_shape, forges_shape;

/* Fills what is empty and follows from the kind: web and api. */
void forge_defaults(struct forge *f);
/* -ERR_USAGE naming what. */
int forge_check(const struct forge *f, struct err *err);
/* `dirfd`: the broker's directory. A file that is not there is an empty list. Decoded and checked, names
 * and web addresses unique. */
int forges_load(int dirfd, struct forges *out, struct err *err);
int forges_save(int dirfd, const struct forges *f, struct err *err); /* atomic, 0600 */
void forges_done(struct forges *f);
const struct forge *forges_find(const struct forges *f, const char *name); /* or NULL */

/* A repository of a forge. */
struct forge_repo {
    char path[REPO_URL_SIZE];  /* "owner/name", at GitLab also "group/sub/name"; without ".git" */
    char owner[REPO_URL_SIZE]; /* all but the last segment */
    char name[REPO_URL_SIZE];  /* the last */
};
/* Splits "owner/name[.git]" as the kind has them. -ERR_USAGE in words. */
int forge_repo_parse(enum forge_kind kind, const char *path, struct forge_repo *out,
                     struct err *err);
/* The forge that a repository's address (struct repo_access) is at, and the repository. -ERR_USAGE: none
 * of the list's, or not a repository there. */
int forge_find(const struct forges *fs, const char *url, const struct forge **ret,
               struct forge_repo *repo, struct err *err);
/* Likewise for what git calls a remote: besides addresses "user@host:path" and "ssh://[user@]host[:port]/path",
 * whose host must be the forge's. `only`: NULL, or the name of the forge that it must be. */
int forge_find_remote(const struct forges *fs, const char *only, const char *remote,
                      const struct forge **ret, struct forge_repo *repo, struct err *err);
/* What git sends as user name beside a token, over HTTPS: "x-access-token", "oauth2". */
const char *forge_git_user(enum forge_kind kind);

/* One call of a forge's API, made from the row of its kind. */
enum forge_call {
    FORGE_MINT,   /* a token for one repository */
    FORGE_REVOKE, /* with that token, or by its id */
    FORGE_FIND_MINTED, /* those that a broker made which died before it heard of them; empty: the kind has no list */
    FORGE_REPO,      /* what it says of the repository: its default branch */
    FORGE_PULL_FIND, /* pull requests of a branch */
    FORGE_PULL_OPEN,
    FORGE_CALL_COUNT,
};

/* Values for the marks of a row's address: {owner} {name} {path} {project} (the path as one segment)
 * {installation} {id} {branch} {base} {label}. Each value is written percent-encoded but for {path}'s slashes. */
struct forge_marks {
    const struct forge *forge;
    const struct forge_repo *repo;
    const char *id, *branch, *base, *label; /* NULL where not wanted */
};

struct forge_call_row {
    const char *method; /* NULL: this kind cannot */
    const char *path;   /* below the forge's api */
    int done[3];        /* statuses that mean success; 0 ends */
};
const struct forge_call_row *forge_call_row(enum forge_kind kind, enum forge_call call);
/* Appends the whole address. -ERR_REFUSED when the kind has no such call, in words. */
int forge_call_url(enum forge_call call, const struct forge_marks *m, struct buf *to,
                   struct err *err);
/* The headers of every call: accept, credential, version. `secret` is any bytes of a header's value; one with
 * others is -ERR_USAGE. The list then holds it: forge_headers_wipe. */
int forge_headers(enum forge_kind kind, const char *secret, size_t len, struct strv *to,
                  struct err *err);
void forge_headers_wipe(struct strv *headers);

#endif
