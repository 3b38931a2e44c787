/* The operator's model providers: providers.json in the broker's directory.
 *
 *   {"providers":[{"name":"openai","base_url":"https://api.openai.com","secret":"openai",
 *     "auth":"bearer","dialects":["responses","chat"],"day_usd_micros":"20000000","day_calls":"5000",
 *     "models":[".."],"ca_file":""}]}
 *
 * `creel provider add|ls|rm` edits it. Parsing is pure; load and save are the only I/O here. */
#ifndef CONTROLLER_BROKER_PROVIDER_H
#define CONTROLLER_BROKER_PROVIDER_H

#include "proto/spend.h"

#define PROVIDERS_MAX          64
#define PROVIDER_DAY_USD       20000000u /* of one that is known, unless its operator says */
#define PROVIDER_DAY_CALLS     5000u
#define PROVIDER_DAY_CALLS_MAX 1000000000u

enum provider_auth {
    AUTH_BEARER,    /* Authorization: Bearer KEY */
    AUTH_X_API_KEY, /* x-api-key: KEY, and anthropic-version as the agent said */
    AUTH_COUNT,
};
extern const char *const provider_auth_names[AUTH_COUNT + 1]; /* "bearer" "x-api-key" */

struct provider {
    char name[PROVIDER_NAME_SIZE];
    char base_url[513]; /* https://HOST[:PORT][/PREFIX], before "/v1/..."; http only towards
                            loopback */
    char secret[65];    /* name of the secret that is its key (controller/broker/secrets.h) */
    int auth;           /* enum provider_auth */
    unsigned dialects;  /* 1u << enum dialect_id: those it is called in */
    uint64_t day_usd_micros, day_calls; /* for all tasks of one UTC day; 0: no calls at all */
    struct strv models;                 /* that may be asked for; empty: each with a price */
    char ca_file[513];                  /* PEM of further authorities; empty: the system's */
};

struct providers {
    struct json_list list; /* struct provider */
};

extern const struct json_shape provider_shape, providers_shape;

/* What the operator gets without saying: "openai", "anthropic" (base_url, auth, dialects); day limits
 * 20 USD and 5000 calls. False: not a known name. */
bool provider_known(const char *name, struct provider *out);
/* -ERR_USAGE naming what. */
int provider_check(const struct provider *p, struct err *err);
/* From inside of the broker process, which is shut in. */
int provider_ca_readable(const struct provider *p, struct err *err);
/* `dirfd`: the broker's directory. A file that is not there is an empty list. Decoded and checked, names
 * unique. */
int providers_load(int dirfd, struct providers *out, struct err *err);
int providers_save(int dirfd, const struct providers *p, struct err *err); /* atomic, 0600 */
void providers_done(struct providers *p);
const struct provider *providers_find(const struct providers *p, const char *name); /* or NULL */

#endif
