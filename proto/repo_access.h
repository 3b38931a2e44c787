/* What a task may do with its repository's remote while it runs. Part of the policy. Most need
 * nothing: the source goes in as a snapshot and comes back as a patch. */
#ifndef PROTO_REPO_ACCESS_H
#define PROTO_REPO_ACCESS_H

#include "proto/json.h"

enum repo_mode {
    REPO_NONE,
    REPO_READ, /* the git broker: clone and fetch of this one repository */
    REPO_PUSH, /* and push to this task's branch, nothing else */
    REPO_TOKEN, /* a minted token of the forge for this one repository, in the jail, revoked at the end */
    REPO_MODE_COUNT,
};
extern const char *const repo_mode_names[REPO_MODE_COUNT + 1]; /* "none" "read" "push" "token" */

#define REPO_URL_SIZE 513

struct repo_access {
    int mode;                /* enum repo_mode */
    char url[REPO_URL_SIZE]; /* "https://HOST[:PORT]/PATH", without user, query or fragment; or http
                                towards a forge on the operator's own machine */
};

/* {"mode":"..","url":".."} */
extern const struct json_shape repo_access_shape;
/* With REPO_NONE no url; else one as said, of [A-Za-z0-9._~/-], no empty and no dot segment. -ERR_USAGE. */
int repo_access_check(const struct repo_access *r, struct err *err);

#endif
