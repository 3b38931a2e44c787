/* Pull requests (merge requests) at each kind of forge: what is asked, what is read. Pure; answers are hostile. */
#ifndef CONTROLLER_BROKER_FORGE_PULL_H
#define CONTROLLER_BROKER_FORGE_PULL_H

#include "controller/broker/forge.h"
#include "proto/task.h"

#define PULL_TITLE_SIZE 301
#define PULL_BODY_SIZE  (60u << 10) /* the least that a forge takes is 64 KiB */

/* What the command line asks its helper process for (controller/broker/forge_call.h). */
struct pull_ask {
    char forge[FORGE_NAME_SIZE];
    char repo[REPO_URL_SIZE];      /* forge_repo::path */
    char branch[TASK_BRANCH_SIZE]; /* that was pushed there */
    char base[TASK_BRANCH_SIZE];   /* empty: the repository's default branch */
    char title[PULL_TITLE_SIZE];
    char body[PULL_BODY_SIZE];
    bool draft;
};
extern const struct json_shape pull_ask_shape;

/* A pull request that is there. Also tasks/ID/pr.json. */
struct pull {
    char url[FORGE_URL_SIZE + REPO_URL_SIZE + 64]; /* below the forge's web address */
    char state[17];                                /* "open", "closed", "merged", "locked" */
    char base[TASK_BRANCH_SIZE];
    uint64_t number;
    bool was_there; /* found, not opened */
    char forge[FORGE_NAME_SIZE], repo[REPO_URL_SIZE], branch[TASK_BRANCH_SIZE]; /* where */
};
extern const struct json_shape pull_shape;

/* Appends the body that opens one. */
int forge_pull_body(enum forge_kind kind, const struct pull_ask *ask, struct buf *to,
                    struct err *err);
/* Reads the answer to FORGE_PULL_OPEN. What it says is about another branch, or its address is not below the
 * forge's: -ERR_REFUSED. */
int forge_pull_read(const struct forge *f, const struct forge_repo *repo, const char *branch,
                    const void *bytes, size_t len, struct pull *out, struct err *err);
/* Reads the answer to FORGE_PULL_FIND: 1 and the pull request of that very branch of that very repository, an open
 * one before others; 0: there is none. */
int forge_pull_find(const struct forge *f, const struct forge_repo *repo, const char *branch,
                    const void *bytes, size_t len, struct pull *out, struct err *err);
/* Reads the answer to FORGE_REPO: its default branch. */
int forge_repo_read(const void *bytes, size_t len, char base[static TASK_BRANCH_SIZE],
                    struct err *err);
/* Appends in a few words why a forge refused, from its answer's own message; nothing when it has none, or when it
 * holds the secret. */
void forge_words(const void *bytes, size_t len, const char *secret, size_t nsecret, struct buf *to);
/* A branch's name as git has them, and no more: no control, no "..", no "~^:?*[\\". */
bool forge_branch_valid(const char *name);

#endif
