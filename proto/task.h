/* The signed payload of an envelope: one attempt of one task, for one host, once.
 *
 * The payload's bytes are what the controller signed (DSSE_TYPE_TASK). The runner decodes them only
 * after the signature held, and refuses unknown keys. All times are Unix seconds.
 */
#ifndef PROTO_TASK_H
#define PROTO_TASK_H

#include "proto/id.h"
#include "proto/key.h"
#include "proto/policy.h"

#define TASK_TYPE         "https://creel.dev/task/v1"
#define TASK_SKEW_S       60
#define TASK_LIFE_MAX_S   (24 * 3600)
#define TASK_NONCE_BYTES  16
#define TASK_TOKEN_BYTES  32
#define TASK_SEALED_BYTES (TASK_TOKEN_BYTES + 48) /* crypto_box_SEALBYTES */
#define TASK_OID_SIZE     41                      /* SHA-1 hex + NUL */
#define TASK_BRANCH_SIZE  256
#define TASK_PACK_MAX     (4ull << 30) /* bytes of a source or result pack */
#define TASK_ARGS_MAX     1024
#define TASK_TESTS_MAX    64
#define TASK_FILES_MAX    32
#define TASK_FILE_BYTES   (64u << 10)
#define TASK_ENV_MAX      64
#define TASK_AGENT_SIZE   65

/* A file placed in the jail's home before the first step, owned by the job: an agent's settings. */
struct task_file {
    char path
        [257]; /* below the home: "/"-separated, no empty, "." or ".." segment, no leading "/" */
    struct strv lines; /* its text, a newline after each; together at most TASK_FILE_BYTES */
};

/* Where it stands in a file or in a value of env, the task token's 64 hex digits are put. */
#define TASK_TOKEN_MARK "${CREEL_TASK_TOKEN}"

/* A test: a shell line, run by `/bin/sh -c` in /task after the agent and everything it started is
 * dead. Exit 0 passes. */
struct task {
    char id[ID_SIZE];
    char attempt[ATTEMPT_ID_SIZE];
    char title[201];
    char iss[KEY_FPR_SIZE];          /* fingerprint of the signing controller key */
    char aud_host[65];               /* the host's name at the controller: for people */
    char aud_host_key[KEY_FPR_SIZE]; /* fingerprint of the host's SSH host key: what counts */
    uint64_t iat, nbf, exp;
    uint8_t nonce[TASK_NONCE_BYTES];
    uint64_t fence;                /* rises with every lease of this host */
    char base[TASK_OID_SIZE];      /* the true base commit, for the record */
    char root[TASK_OID_SIZE];      /* the commit in the pack: base's tree, no parent */
    char branch[TASK_BRANCH_SIZE]; /* "creel/<id>" */
    uint64_t pack_bytes;
    uint8_t pack_sha256[32];
    struct strv setup;           /* shell lines, run before the command; may be empty */
    struct strv command;         /* argv; command.v[0] found by PATH in the jail */
    struct strv tests;           /* shell lines */
    char agent[TASK_AGENT_SIZE]; /* the profile's name, for the record; empty: a plain command */
    struct strv env;             /* "NAME=value", for setup and the command */
    struct json_list files;      /* struct task_file */
    struct policy policy;
    uint8_t token_sha256[32];                /* of the task token's 64 hex digits */
    uint8_t token_sealed[TASK_SEALED_BYTES]; /* crypto_box_seal of the 32 raw bytes to the runner */
};

extern const struct json_shape task_shape, task_file_shape;

/* Decodes and checks what the table alone cannot: id and attempt agree, oids and fingerprints have
 * their form, branch is "creel/<id>", lists within bounds, nbf <= exp <= iat + TASK_LIFE_MAX_S. */
int task_decode(const void *bytes, size_t len, struct task *out, struct err *err);
/* The same checks on a task made here. */
int task_check(const struct task *t, struct err *err);
int task_encode(const struct task *t, struct buf *to, struct err *err);
void task_done(struct task *t);
/* Lists of struct task_file. copy: -1 out of memory, `to` as it was; `to` is zeroed. */
int task_files_copy(struct json_list *to, const struct json_list *from);
void task_files_done(struct json_list *files);
/* What task_check wants of env and files, for those who make them: -ERR_FAIL. */
int task_extras_check(const struct strv *env, const struct json_list *files, struct err *err);
/* True for 40 lower-case hex digits. */
bool oid_valid(const char *oid);

#endif
