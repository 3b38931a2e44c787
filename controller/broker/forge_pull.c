/* Pull requests by one table of differences, see the header. */
#include "controller/broker/forge_pull.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "controller/broker/forge_minted.h"

static const struct json_field pull_ask_fields[] = {
    JSON_ROW(struct pull_ask, TEXT, forge),
    JSON_ROW(struct pull_ask, TEXT, repo),
    JSON_ROW(struct pull_ask, TEXT, branch),
    JSON_ROW(struct pull_ask, TEXT, base, .optional = true),
    JSON_ROW(struct pull_ask, TEXT, title),
    JSON_ROW(struct pull_ask, PROSE, body),
    JSON_ROW(struct pull_ask, BOOL, draft),
    JSON_END,
};
const struct json_shape pull_ask_shape = {.size = sizeof(struct pull_ask),
                                          .fields = pull_ask_fields};

static const struct json_field pull_fields[] = {
    JSON_ROW(struct pull, TEXT, url),
    JSON_ROW(struct pull, TEXT, state),
    JSON_ROW(struct pull, TEXT, base),
    JSON_ROW(struct pull, U64, number),
    JSON_ROW(struct pull, BOOL, was_there),
    JSON_ROW(struct pull, TEXT, forge),
    JSON_ROW(struct pull, TEXT, repo),
    JSON_ROW(struct pull, TEXT, branch),
    JSON_END,
};
const struct json_shape pull_shape = {.size = sizeof(struct pull), .fields = pull_fields};

/* The end of a pull request: a branch and, in some way, its repository. */
struct end {
    char ref[TASK_BRANCH_SIZE];
    char label[REPO_URL_SIZE + TASK_BRANCH_SIZE]; /* GitHub: "owner:branch" */
    int repo_id;                                  /* Forgejo */
};
/* An answer of any kind; each kind's table says which members it has. */
struct answer {
    char url[FORGE_URL_SIZE + REPO_URL_SIZE + 64], state[17];
    int number;
    struct end head, base;
    int head_project, base_project; /* GitLab */
};

static const struct json_field github_end_fields[] = {
    JSON_ROW(struct end, TEXT, ref),
    JSON_ROW(struct end, TEXT, label),
    JSON_END,
};
static const struct json_shape github_end = {
    .size = sizeof(struct end), .fields = github_end_fields, .open = true};
static const struct json_field github_fields[] = {
    JSON_ROW_AS(struct answer, TEXT, url, "html_url"),
    JSON_ROW(struct answer, TEXT, state),
    JSON_ROW(struct answer, INT, number),
    JSON_ROW(struct answer, OBJ, head, .shape = &github_end),
    JSON_ROW(struct answer, OBJ, base, .shape = &github_end),
    JSON_END,
};
static const struct json_field gitlab_fields[] = {
    JSON_ROW_AS(struct answer, TEXT, url, "web_url"),
    JSON_ROW(struct answer, TEXT, state),
    JSON_ROW_AS(struct answer, INT, number, "iid"),
    JSON_ROW_AS(struct answer, TEXT, head.ref, "source_branch"),
    JSON_ROW_AS(struct answer, TEXT, base.ref, "target_branch"),
    JSON_ROW_AS(struct answer, INT, head_project, "source_project_id"),
    JSON_ROW_AS(struct answer, INT, base_project, "target_project_id"),
    JSON_END,
};
static const struct json_field forgejo_end_fields[] = {
    JSON_ROW(struct end, TEXT, ref),
    JSON_ROW(struct end, INT, repo_id),
    JSON_END,
};
static const struct json_shape forgejo_end = {
    .size = sizeof(struct end), .fields = forgejo_end_fields, .open = true};
static const struct json_field forgejo_fields[] = {
    JSON_ROW_AS(struct answer, TEXT, url, "html_url"),
    JSON_ROW(struct answer, TEXT, state),
    JSON_ROW(struct answer, INT, number),
    JSON_ROW(struct answer, OBJ, head, .shape = &forgejo_end),
    JSON_ROW(struct answer, OBJ, base, .shape = &forgejo_end),
    JSON_END,
};

struct listing {
    struct json_list list; /* struct answer */
};

struct pull_row {
    const char *head, *base, *body; /* keys of what is sent; "title" is everybody's */
    const char *draft_key;          /* NULL: a draft is one by its title */
    const char *draft_title;
    struct json_shape shape;
    struct json_field list[2];
};
#define LIST_OF(kind)                                                                          \
    {                                                                                          \
        JSON_ROW(struct listing, LIST, list, .shape = &rows[kind].shape, .max = 100), JSON_END \
    }

static const struct pull_row rows[FORGE_KIND_COUNT] = {
    [FORGE_GITHUB] = {"head", "base", "body", .draft_key = "draft", .draft_title = "",
                      .shape = {.size = sizeof(struct answer),
                                .fields = github_fields,
                                .open = true},
                      .list = LIST_OF(FORGE_GITHUB)},
    [FORGE_GITLAB] = {"source_branch", "target_branch", "description", .draft_title = "Draft: ",
                      .shape = {.size = sizeof(struct answer),
                                .fields = gitlab_fields,
                                .open = true},
                      .list = LIST_OF(FORGE_GITLAB)},
    [FORGE_FORGEJO] = {"head", "base", "body", .draft_title = "WIP: ",
                       .shape = {.size = sizeof(struct answer),
                                 .fields = forgejo_fields,
                                 .open = true},
                       .list = LIST_OF(FORGE_FORGEJO)},
};

static void add_member(struct buf *to, const char *key, const char *value)
{
    json_quotes(to, key);
    buf_addc(to, ':');
    json_quotes(to, value);
    buf_addc(to, ',');
}

int forge_pull_body(enum forge_kind kind, const struct pull_ask *ask, struct buf *to,
                    struct err *err)
{
    const struct pull_row *row = &rows[kind];
    char title[PULL_TITLE_SIZE + 16];
    snprintf(title, sizeof title, "%s%s", ask->draft ? row->draft_title : "", ask->title);
    buf_addc(to, '{');
    add_member(to, "title", title);
    add_member(to, row->head, ask->branch);
    add_member(to, row->base, ask->base);
    if (row->draft_key)
        buf_addf(to, "\"%s\":%s,", row->draft_key, ask->draft ? "true" : "false");
    json_quotes(to, row->body);
    buf_addc(to, ':');
    json_quotes(to, ask->body);
    buf_addc(to, '}');
    return to->failed ? err_set(err, ERR_FAIL, "out of memory") : 0;
}

/* Is it of this branch, in this repository and not in somebody's copy of it? */
static bool is_of(enum forge_kind kind, const struct answer *a, const struct forge_repo *repo,
                  const char *branch)
{
    char label[REPO_URL_SIZE + TASK_BRANCH_SIZE];
    size_t owner = strlen(repo->owner);
    if (strcmp(a->head.ref, branch) != 0)
        return false;
    snprintf(label, sizeof label, "%s:%s", repo->owner, branch);
    switch (kind) {
    case FORGE_GITHUB:
        return strncasecmp(a->head.label, label, owner) == 0 &&
               strcmp(a->head.label + owner, label + owner) == 0;
    case FORGE_GITLAB:
        return a->head_project == a->base_project;
    case FORGE_FORGEJO:
        return a->head.repo_id == a->base.repo_id;
    case FORGE_KIND_COUNT:
        break;
    }
    return false;
}

static int take(const struct forge *f, const struct forge_repo *repo, const struct answer *a,
                struct pull *out, struct err *err)
{
    size_t web = strlen(f->web);
    if (strncasecmp(a->url, f->web, web) != 0 || a->url[web] != '/' || a->number <= 0)
        return err_set(err, ERR_REFUSED, "forge %s: its answer leads elsewhere: %.200s", f->name,
                       a->url);
    *out = (struct pull){.number = (uint64_t)a->number};
    snprintf(out->url, sizeof out->url, "%s", a->url);
    /* GitLab and Forgejo say "opened" and "open". */
    snprintf(out->state, sizeof out->state, "%s",
             strcmp(a->state, "opened") == 0 ? "open" : a->state);
    snprintf(out->base, sizeof out->base, "%s", a->base.ref);
    snprintf(out->branch, sizeof out->branch, "%s", a->head.ref);
    snprintf(out->forge, sizeof out->forge, "%s", f->name);
    snprintf(out->repo, sizeof out->repo, "%s", repo->path);
    return 0;
}

int forge_pull_read(const struct forge *f, const struct forge_repo *repo, const char *branch,
                    const void *bytes, size_t len, struct pull *out, struct err *err)
{
    struct answer a;
    int rc = json_decode(&rows[f->kind].shape, bytes, len, &a, err);
    if (rc < 0)
        return err_wrap(err, "the forge's answer");
    if (strcmp(a.head.ref, branch) != 0)
        return err_set(err, ERR_REFUSED, "forge %s: its answer is about branch %.200s", f->name,
                       a.head.ref);
    return take(f, repo, &a, out, err);
}

int forge_pull_find(const struct forge *f, const struct forge_repo *repo, const char *branch,
                    const void *bytes, size_t len, struct pull *out, struct err *err)
{
    const struct json_shape shape = {.size = sizeof(struct listing), .fields = rows[f->kind].list};
    const struct answer *best = NULL;
    struct listing l;
    int rc = forge_list_decode(&shape, bytes, len, &l, err);
    if (rc < 0)
        return rc;
    const struct answer *items = l.list.items;
    for (size_t i = 0; i < l.list.n; i++) {
        bool open = strncmp(items[i].state, "open", 4) == 0;
        if (is_of((enum forge_kind)f->kind, &items[i], repo, branch) &&
            (!best || (open && strncmp(best->state, "open", 4) != 0)))
            best = &items[i];
    }
    if (best && (rc = take(f, repo, best, out, err)) == 0) {
        out->was_there = true;
        rc = 1;
    }
    json_release(&shape, &l);
    return rc;
}

struct repo_answer {
    char default_branch[TASK_BRANCH_SIZE];
};
static const struct json_field repo_fields[] = {
    JSON_ROW(struct repo_answer, TEXT, default_branch),
    JSON_END,
};
static const struct json_shape repo_shape = {
    .size = sizeof(struct repo_answer), .fields = repo_fields, .open = true};

bool forge_branch_valid(const char *name)
{
    size_t n = strlen(name);
    return n > 0 && n < TASK_BRANCH_SIZE && name[0] != '-' && name[0] != '/' &&
           name[n - 1] != '/' && name[n - 1] != '.' && !strstr(name, "..") && !strstr(name, "//") &&
           !strpbrk(name, " ~^:?*[\\\x7f\t\r\n") && !strstr(name, "@{");
}

int forge_repo_read(const void *bytes, size_t len, char base[static TASK_BRANCH_SIZE],
                    struct err *err)
{
    struct repo_answer a;
    int rc = json_decode(&repo_shape, bytes, len, &a, err);
    if (rc < 0)
        return err_wrap(err, "the forge's answer");
    if (!forge_branch_valid(a.default_branch))
        return err_set(err, ERR_REFUSED, "the forge's default branch has no branch's name");
    memcpy(base, a.default_branch, TASK_BRANCH_SIZE);
    return 0;
}

/* {"message":"Validation Failed","errors":[{"message":"No commits between main and x"}]} */
struct words {
    char message[256], error[256];
    struct json_list errors; /* struct words */
};
static const struct json_field detail_fields[] = {
    JSON_ROW(struct words, PROSE, message, .optional = true),
    JSON_END,
};
static const struct json_shape detail_shape = {
    .size = sizeof(struct words), .fields = detail_fields, .open = true};
static const struct json_field plain_fields[] = {
    JSON_ROW(struct words, PROSE, message, .optional = true),
    JSON_ROW(struct words, PROSE, error, .optional = true),
    JSON_END,
};
static const struct json_field full_fields[] = {
    JSON_ROW(struct words, PROSE, message),
    JSON_ROW(struct words, LIST, errors, .shape = &detail_shape, .max = 16),
    JSON_END,
};
/* GitLab has lists of reasons. */
struct many {
    struct strv message;
};
static const struct json_field many_fields[] = {
    JSON_ROW(struct many, STRS, message, .max = 255),
    JSON_END,
};

void forge_words(const void *bytes, size_t len, const char *secret, size_t nsecret, struct buf *to)
{
    static const struct json_shape full = {
        .size = sizeof(struct words), .fields = full_fields, .open = true};
    static const struct json_shape plain = {
        .size = sizeof(struct words), .fields = plain_fields, .open = true};
    static const struct json_shape many = {
        .size = sizeof(struct many), .fields = many_fields, .open = true};
    struct words w;
    struct many m;
    if (nsecret > 0 && len > 0 && memmem(bytes, len, secret, nsecret))
        return;
    if (json_decode(&full, bytes, len, &w, NULL) == 0) {
        const struct words *detail = w.errors.items;
        buf_addf(to, ": %s", w.message);
        if (w.errors.n > 0 && detail[0].message[0])
            buf_addf(to, " (%s)", detail[0].message);
        json_release(&full, &w);
    } else if (json_decode(&plain, bytes, len, &w, NULL) == 0) {
        if (w.message[0] || w.error[0])
            buf_addf(to, ": %s", w.message[0] ? w.message : w.error);
    } else if (json_decode(&many, bytes, len, &m, NULL) == 0) {
        if (m.message.n > 0)
            buf_addf(to, ": %s", m.message.v[0]);
        json_release(&many, &m);
    }
}
