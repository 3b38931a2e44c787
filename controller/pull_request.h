/* From an approved branch to a pull request: the remote, the push, and the process that speaks with the forge. */
#ifndef CONTROLLER_PULL_REQUEST_H
#define CONTROLLER_PULL_REQUEST_H

#include "controller/broker/forge_pull.h"
#include "controller/paths.h"
#include "controller/store.h"

#define REMOTE_NAME_SIZE 129
#define REMOTE_URL_SIZE  1025

struct remote {
    char name[REMOTE_NAME_SIZE];
    char url[REMOTE_URL_SIZE];   /* as it is configured, before any rewriting by insteadOf */
    char base[TASK_BRANCH_SIZE]; /* its default branch, if the repository remembers it; else "" */
};
/* The remote called `name` of the operator's repository; NULL: "origin", or the only one. -ERR_USAGE. */
int remote_find(const char *repo, const char *name, struct remote *out, struct err *err);

/* Pushes t->commit to refs/heads/<t->branch> of the remote by the operator's own git: his helpers, keys and
 * settings; no hook, nothing forced, no tag, no submodule. What is there already at that commit is success. */
int pull_request_push(const struct task_row *t, const struct remote *remote, struct err *err);

/* Finds or opens it, by `creel forge-call`, a process of its own. `dir`: the broker's directory. */
int pull_request_open(const char *dir, const struct pull_ask *ask, struct pull *out,
                      struct err *err);

/* tasks/ID/pr.json. read: false when there is none that makes sense. */
int pull_request_save(const struct paths *p, const char *id, const struct pull *pull,
                      struct err *err);
bool pull_request_load(const struct paths *p, const char *id, struct pull *out);

#endif
