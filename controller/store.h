/* The controller's durable state, behind one small interface (SQLite, WAL, synchronous=FULL).
 *
 * Every state is written before the act it names. Rows are plain structs, copied out; strings and
 * lists in them are owned by the caller's struct and freed by the *_done functions. Each function is
 * one transaction. Errors: ERR_FAIL with SQLite's words, or as said.
 * A task or host that a function names and that is not there is -ERR_USAGE. What is only observed (a
 * reason, a log position, the states running, collecting and imported, a host's facts, the engine's
 * heartbeat) is written without waiting for the disk; everything else is durable when its function
 * returns.
 */
#ifndef CONTROLLER_STORE_H
#define CONTROLLER_STORE_H

#include <limits.h>

#include "proto/message.h"
#include "proto/result.h"
#include "proto/state.h"
#include "proto/task.h"

struct store;

#define HOST_NAME_SIZE  65
#define CACHE_NAME_SIZE 65

struct host_row {
    char name[HOST_NAME_SIZE]; /* [a-z0-9][a-z0-9.-]{0,63} */
    char user[65], addr[256];
    unsigned port;
    char host_key[KEY_LINE_MAX];     /* "TYPE BASE64", or "" when only the fingerprint is pinned */
    char host_key_fpr[KEY_FPR_SIZE]; /* always */
    bool runner_key_known;
    uint8_t runner_key[KEY_PUB_BYTES]; /* pinned at enrolment, over the pinned SSH connection */
    /* as the runner last said: */
    char program[65], kernel[129], unenforceable_why[201];
    unsigned slots, unenforceable;
    bool rooted, memory_cleared;
    bool disk_images;                        /* can make encrypted disks larger than its memory */
    char disk_images_why[201];               /* why not */
    unsigned landlock_abi;                   /* 0: none */
    unsigned presets;                        /* 1u << enum egress_preset */
    char images[WELCOME_NAMES_MAX * 65 + 1]; /* names with a space after each */
    char reach[WELCOME_NAMES_MAX * 50 + 1];  /* likewise: networks that its gate may reach */
    char tools[WELCOME_NAMES_MAX * 65 + 1];  /* likewise: programs of its tool layer */
    uint64_t fence;                          /* last one given out */
    uint64_t added, last_seen;               /* Unix seconds; 0 never */
};

/* A task's reason when it ended as it should and its tree is as it was. */
#define ATTEMPT_NO_CHANGE "no change"

struct task_row {
    char id[ID_SIZE];
    char title[201];
    char repo[PATH_MAX]; /* absolute path of the operator's repository (its git dir's worktree) */
    char base[TASK_OID_SIZE], root[TASK_OID_SIZE];
    char branch[TASK_BRANCH_SIZE];
    char pack[64]; /* file name in quarantine.git/objects/pack: "pack-<hex>.pack" */
    uint64_t pack_bytes;
    uint8_t pack_sha256[32];
    struct strv setup, command, tests;
    char agent[TASK_AGENT_SIZE]; /* the profile's name; "" a plain command */
    int events;                  /* enum agent_events: what its stdout is, for people */
    char tool[65];               /* that it wants in the host's tool layer; "" none */
    struct strv env;             /* as struct task has them */
    struct json_list files;
    struct policy policy;
    char cache[CACHE_NAME_SIZE]; /* the operator's name of its dependency cache; "" none */
    char host[HOST_NAME_SIZE];   /* wanted: "" = any */
    int state;                   /* enum task_state */
    char reason[301];            /* why it waits, or why it ended so; for people, neutralised */
    int code;                    /* once final: enum err_code, what `creel run` exits with */
    bool cancel;                 /* the operator wants it cancelled */
    int review;                  /* enum review_state */
    uint64_t created_ms, updated_ms;
    /* the current (last) attempt; n == 0: none yet */
    unsigned attempt_n;
    char attempt_host[HOST_NAME_SIZE];
    uint64_t fence;
    uint64_t log_bytes;         /* log frames on disk and fsynced or at least written */
    bool result_stored;         /* result.json and patch.pack are on disk, fsynced */
    bool imported;              /* the importer has finished (review.json) */
    bool wiped;                 /* a receipt is stored */
    int outcome;                /* enum outcome, once result_stored; else -1 */
    char commit[TASK_OID_SIZE]; /* re-parented commit in quarantine; "" none */
};

/* Opens (and with `create` makes) creel.db. A database of a newer schema is refused. */
int store_open(const char *path, bool create, struct store **ret, struct err *err);
void store_close(struct store *s);

bool store_host_name_valid(const char *name);
/* Hosts. put inserts; a name that exists is -ERR_USAGE. get: -ERR_USAGE when there is none. */
int store_host_put(struct store *s, const struct host_row *h, struct err *err);
int store_host_get(struct store *s, const char *name, struct host_row *out, struct err *err);
int store_host_list(struct store *s, struct host_row **ret, size_t *ret_n,
                    struct err *err); /* free() */
int store_host_remove(struct store *s, const char *name, struct err *err);
/* Copies what a WELCOME said into a row: program .. tools. */
void store_host_facts(const struct msg_welcome *w, struct host_row *h);
/* Is there an image of that name, as its runner last said? */
bool store_host_image(const struct host_row *h, const char *name);
/* Likewise a program in its tool layer. */
bool store_host_tool(const struct host_row *h, const char *name);
/* Records what a WELCOME said (store_host_facts, last_seen), and with `pin` the runner key;
 * without it a runner key that differs from the pinned one is -ERR_TRUST and changes nothing. */
int store_host_seen(struct store *s, const char *name, const struct msg_welcome *w, bool pin,
                    struct err *err);
/* Records a pinned host key's full line once it was seen to match its fingerprint. */
int store_host_key(struct store *s, const char *name, const char *line, struct err *err);

/* Keys that hosts were enrolled with, also of hosts that were forgotten since: each attempt keeps the
 * one that was pinned when it was leased. */
struct runner_key_row {
    char host[HOST_NAME_SIZE];
    uint8_t key[KEY_PUB_BYTES];
};
int store_runner_keys(struct store *s, struct runner_key_row **ret, size_t *ret_n,
                      struct err *err); /* free() */
/* The key that signs for the current attempt. -ERR_USAGE when there is no attempt. */
int store_task_runner_key(struct store *s, const char *id, uint8_t out[static KEY_PUB_BYTES],
                          struct err *err);

/* Tasks. */
int store_task_add(struct store *s, const struct task_row *t, struct err *err);
/* By id, by its first or last characters (4 or more; ids made close in time differ at their end), or
 * "last" for the newest: -ERR_USAGE when none or several match. */
int store_task_get(struct store *s, const char *id, struct task_row *out, struct err *err);
void task_row_done(struct task_row *t);
/* Newest first. `live`: only what an engine still has to act on: not final, or sent to a host that
 * is still enrolled and not refused there, and its result not imported or the host not wiped. Free
 * with task_rows_free. */
int store_task_list(struct store *s, bool live, struct task_row **ret, size_t *ret_n,
                    struct err *err);
void task_rows_free(struct task_row *rows, size_t n);
/* Moves the state (task_state_may or -ERR_FAIL) and sets the reason ("" clears, NULL keeps). */
/* Appends the ids of attempts, leased since then, of which nothing can come any more. */
int store_attempts_over(struct store *s, uint64_t since_ms, struct strv *out, struct err *err);
int store_task_state(struct store *s, const char *id, enum task_state to, const char *reason,
                     struct err *err);
/* Moves to a final state and records its exit code (enum err_code) and reason. */
int store_task_end(struct store *s, const char *id, enum task_state to, int code,
                   const char *reason, struct err *err);
int store_task_reason(struct store *s, const char *id, const char *reason, struct err *err);
/* Takes a lease: state leased, attempt_n + 1, host, fence = that host's next; all in one. A fence is
 * above every earlier one of the same host key, also after `host rm` and `host add`, and never below
 * the clock in milliseconds, so that a rebuilt state directory is not locked out. */
int store_task_lease(struct store *s, const char *id, const char *host, unsigned *ret_n,
                     uint64_t *ret_fence, struct err *err);
int store_task_cancel(struct store *s, const char *id, struct err *err);
int store_task_log_bytes(struct store *s, const char *id, uint64_t bytes, struct err *err);
int store_task_result(struct store *s, const char *id, enum outcome outcome, struct err *err);
/* imported; commit "" when there is no patch; review pending when there is one, else none. */
int store_task_imported(struct store *s, const char *id, const char *commit, struct err *err);
int store_task_wiped(struct store *s, const char *id, struct err *err);
/* pending -> approved | rejected; the same decision again is success, the other -ERR_USAGE. */
int store_task_review(struct store *s, const char *id, enum review_state to, struct err *err);

/* Dependency caches: the operator's name for what was last kept under it on a host, by digest. They
 * belong to a host key, as fences do. */
struct cache_row {
    char host[HOST_NAME_SIZE]; /* "" when that host is no longer enrolled */
    char name[CACHE_NAME_SIZE];
    char digest[65]; /* SHA-256 in hex */
    char task[ID_SIZE];
    uint64_t kept; /* Unix seconds */
};
/* Small letters, digits, '.', '_', '-', not beginning with '.' or '-', at most 64. */
bool store_cache_name_valid(const char *name);
/* The digest kept under a name for a host; "" when there is none. */
int store_cache_get(struct store *s, const char *host, const char *name, char out[static 65],
                    struct err *err);
/* Records what a task left. Nothing when the host is no longer enrolled. */
int store_cache_keep(struct store *s, const char *host, const char *name, const char *digest,
                     const char *task, struct err *err);
int store_cache_list(struct store *s, struct cache_row **ret, size_t *ret_n,
                     struct err *err); /* free() */
/* Forgets a name, on one host or (host NULL) on all; -ERR_USAGE when there is none. */
int store_cache_remove(struct store *s, const char *host, const char *name, struct err *err);

/* Free-form settings: store_meta_get appends nothing when absent. Keys: "heartbeat_ms", "engine_pid". */
int store_meta_set(struct store *s, const char *key, const char *value, struct err *err);
int store_meta_get(struct store *s, const char *key, struct buf *to, struct err *err);

#endif
