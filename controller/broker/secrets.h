/* The operator's long-lived secrets: by reference in secrets.json, resolved when first wanted, values in
 * locked memory of the broker process only, wiped when they have not been used for a while.
 *
 *   {"secrets":[{"name":"openai","ref":"cmd:pass show openai/key"}]}
 *
 *   cmd:LINE             stdout of `sh -c LINE` without its last newline; in "/", without a terminal
 *   file:PATH            a regular file of the operator's own, mode 0600 or tighter, else refused
 *   env:NAME             of the process that started creel (so the engine's environment has it, too)
 *   git-credential:URL   the password that `git credential fill` gives for it
 *
 * References are resolved by a helper process that is forked before the broker closes its fences: it
 * alone can run programs and read files, and forgets what it sent. Values are any text without NUL: who
 * puts one into a header checks that it is one line. */
#ifndef CONTROLLER_BROKER_SECRETS_H
#define CONTROLLER_BROKER_SECRETS_H

#include <uv.h>

#include "proto/json.h"

#define SECRET_NAME_SIZE 65 /* [a-z0-9][a-z0-9._-]{0,63} */
#define SECRET_REF_SIZE  1025
#define SECRET_VALUE_MAX (16u << 10) /* a private key in PEM fits */
#define SECRET_RESOLVE_S 60          /* for a command that asks a person */

struct secret_ref {
    char name[SECRET_NAME_SIZE];
    char ref[SECRET_REF_SIZE];
};
struct secret_refs {
    struct json_list list; /* struct secret_ref */
};
extern const struct json_shape secret_refs_shape;
bool secret_name_valid(const char *name);
int secret_ref_check(const char *ref, struct err *err); /* its form; -ERR_USAGE */
/* secrets.json's text, decoded and checked, names unique. -ERR_USAGE naming what. */
int secret_refs_parse(const void *bytes, size_t len, struct secret_refs *out, struct err *err);
int secret_refs_load(int dirfd, struct secret_refs *out, struct err *err); /* absent file: empty */
int secret_refs_save(int dirfd, const struct secret_refs *r, struct err *err); /* atomic, 0600 */
void secret_refs_done(struct secret_refs *r);

/* Resolves one reference here and now, in this process, blocking: what the helper does, and `creel secret
 * test`. Appends the value to `to`, which buf_wipe()s it. ERR_USAGE or ERR_FAIL; the message never holds
 * the value or what the command printed. */
int secret_resolve(const char *ref, struct buf *to, struct err *err);

/* The helper: forks; returns its socket. Before threads, before broker_confine, before any key is loaded. `dir`: the broker's
 * directory, where it reads secrets.json each time. Ends when the socket closes. */
int secret_helper_start(const char *dir, int *ret_fd, struct err *err);

struct secrets; /* the broker's end */
int secrets_new(uv_loop_t *loop, int helper_fd, struct secrets **ret, struct err *err);
void secrets_close(struct secrets *s); /* wipes; no callback comes after */

/* `value` is locked memory, good during the call. err set: it cannot be had, and why. */
typedef void secret_cb(void *arg, const char *value, size_t len, const struct err *err);
/* May call back at once. Several wants for one name share one resolution. */
void secrets_get(struct secrets *s, const char *name, secret_cb *cb, void *arg);
/* The value did not do (whoever it is for refused it): the next secrets_get resolves it anew, unless that was
 * so a moment ago. */
void secrets_drop(struct secrets *s, const char *name);
/* The owner of these callbacks is going: none comes any more. */
void secrets_forget(struct secrets *s, void *arg);
/* Called whenever there is a value that logs must not hold, by its name; also for those made here
 * (secrets_add: minted tokens). For the needles. Where it fails the value cannot be had: what is not hidden is
 * not used. */
typedef int secret_seen_cb(void *arg, const char *name, const char *value, size_t len,
                           struct err *err);
void secrets_on_new(struct secrets *s, secret_seen_cb *cb, void *arg);
int secrets_add(struct secrets *s, const char *name, const char *value, size_t len,
                struct err *err);

#endif
