/* What a runner signs at the end of an attempt, and what it signs after the wipe.
 *
 * The result is an in-toto Statement v1 whose predicate is SLSA provenance v1; what those formats
 * have no place for stands in `creel_*` extension members of the predicate's runDetails. The C
 * struct is flat; result.c knows the document's form.
 */
#ifndef PROTO_RESULT_H
#define PROTO_RESULT_H

#include "proto/task.h"
#include "proto/state.h"

#define RESULT_STATEMENT_TYPE "https://in-toto.io/Statement/v1"
#define RESULT_PREDICATE_TYPE "https://slsa.dev/provenance/v1"
#define RESULT_STEPS_MAX      256
#define RECEIPT_TYPE          "https://creel.dev/receipt/v1"

enum step_kind {
    STEP_CHECKOUT,
    STEP_SETUP,
    STEP_COMMAND,
    STEP_TEST,
    STEP_COLLECT,
    STEP_KIND_COUNT,
};
extern const char *const step_kind_names[STEP_KIND_COUNT + 1];

struct step_result {
    int kind;       /* enum step_kind */
    char name[201]; /* the shell line or the command's words, cut */
    bool ran;       /* false: skipped because an earlier step ended the attempt */
    int exit;       /* exit status; -1 when a signal ended it */
    int signal;     /* 0, or the signal */
    uint64_t ms;
};

/* What the gate did with connections to one name and port, counted together. */
enum egress_verdict {
    EGRESS_ALLOWED,
    EGRESS_DENIED, /* no rule allows it */
    EGRESS_REFUSED, /* a rule does, but the address, the TLS name or the request was not acceptable */
    EGRESS_FAILED,  /* allowed, and the network failed: no address, no answer */
    EGRESS_LIMITED, /* a limit of the policy was reached */
    EGRESS_VERDICT_COUNT,
};
extern const char *const egress_verdict_names[EGRESS_VERDICT_COUNT + 1];
#define RESULT_EGRESS_MAX 256 /* entries; what is more is only counted */

struct egress_entry {
    char name[254]; /* canonical host name, or what was asked for when it is none; never empty.
                     * Printable ASCII, as `why`: result_encode writes '?' for other bytes */
    int port;       /* 0: a name was asked for, no connection made */
    int verdict;    /* enum egress_verdict */
    char why[121];  /* for a person; empty when allowed. The last one's */
    uint64_t count, sent, received; /* connections or questions; payload bytes out and in */
};
extern const struct json_shape egress_entry_shape;

/* A limit that was met, whether or not it ended the attempt. */
struct limit_hit {
    int limit;      /* enum limit */
    uint64_t peak;  /* in the limit's unit; 0: not measured */
    uint64_t count; /* how often: process groups killed, forks, connections or questions refused,
                     * writes that found the disk full (0: not counted), bytes of log dropped */
};
extern const struct json_shape limit_hit_shape;
/* Appends the sentence for a person, without a full stop: "memory limit 512 MiB reached, peak 512 MiB,
 * 1 process group killed". h->limit is one of enum limit. */
int limit_hit_words(const struct limit_hit *h, const struct policy *p, struct buf *to);

struct result {
    char task[ID_SIZE], attempt[ATTEMPT_ID_SIZE];
    char runner[KEY_FPR_SIZE];   /* who ran it: fingerprint of the signing runner key */
    char program[65];            /* "creel-runner 0.1.0" */
    uint8_t envelope_sha256[32]; /* of the DSSE document as received */
    uint8_t pack_sha256[32];     /* source pack, as checked */
    char base[TASK_OID_SIZE], root[TASK_OID_SIZE];
    int outcome;            /* enum outcome */
    char reason[301];       /* one line for a person; empty when succeeded */
    struct json_list steps; /* struct step_result */
    /* patch: absent (commit[0] == 0, patch_bytes 0) when the tree is as it was */
    char commit[TASK_OID_SIZE]; /* one commit on `root`, made by the collector */
    uint64_t patch_bytes;
    uint8_t patch_sha256[32];   /* of the patch pack's bytes */
    uint64_t log_bytes;         /* frames, heads included, as streamed */
    uint64_t log_dropped_bytes; /* payload over the log limit, counted, not kept */
    uint8_t log_chain[32];      /* h = SHA256(h || frame) over all frames, from 32 zero bytes */
    uint64_t started, finished; /* Unix seconds */
    uint64_t wall_ms, cpu_ms;
    uint64_t mem_peak, pids_peak, disk_peak; /* 0: not measured here */
    uint64_t conns, sent, received, dns;     /* the gate's counts */
    struct json_list egress;                 /* struct egress_entry, at most RESULT_EGRESS_MAX */
    uint64_t egress_more;                    /* connections and questions that are in no entry */
    struct json_list hits;                   /* struct limit_hit, each limit at most once */
    char cache
        [CACHE_DIGEST_SIZE]; /* SHA-256 in hex of the cache kept at the runner; empty: none was */
    struct policy policy;    /* echoed */
    unsigned unenforced;     /* LIMIT_BIT()s that did not hold here */
};

int result_encode(const struct result *r, struct buf *to, struct err *err);
int result_decode(const void *bytes, size_t len, struct result *out, struct err *err);
void result_done(struct result *r);

struct receipt_item {
    char what[65]; /* "processes", "work tree", "log spool", "token", ... */
    char how[201]; /* how it was removed and how that was checked */
    bool gone;
};

struct receipt {
    char task[ID_SIZE], attempt[ATTEMPT_ID_SIZE];
    char runner[KEY_FPR_SIZE];
    uint8_t result_sha256[32];
    uint64_t wiped; /* Unix seconds */
    bool memory_cleared;
    char note[301];         /* says that this is evidence, not proof, and what was not cleared */
    struct json_list items; /* struct receipt_item */
};

extern const struct json_shape receipt_shape;
int receipt_encode(const struct receipt *r, struct buf *to, struct err *err);
int receipt_decode(const void *bytes, size_t len, struct receipt *out, struct err *err);
void receipt_done(struct receipt *r);
bool receipt_clean(const struct receipt *r); /* every item gone */

#endif
