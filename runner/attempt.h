/* One attempt on this host, from the admitted envelope to the receipt.
 *
 * Its life is the table at the end of attempt.c (state x event). One struct is one slot of the warden;
 * a slot is free again only when the warden said that everything of the attempt is gone. A controller
 * that goes away changes nothing: the attempt goes on, and its result waits until it is fetched and
 * the wipe is asked for, at most ATTEMPT_KEEP_S after the envelope expired.
 */
#ifndef RUNNER_ATTEMPT_H
#define RUNNER_ATTEMPT_H

#include <uv.h>

#include "proto/message.h"
#include "proto/result.h"
#include "runner/admit.h"
#include "runner/call.h"
#include "runner/gate.h"
#include "runner/receipts.h"
#include "runner/spool.h"
#include "runner/warden_client.h"

#define ATTEMPT_PACK_MS     (10 * 60 * 1000)
#define ATTEMPT_CHECKOUT_MS (15 * 60 * 1000)
#define ATTEMPT_COLLECT_MS  (5 * 60 * 1000)
#define ATTEMPT_KILL_MS     (2 * 60 * 1000) /* the warden's time for killing or wiping */
#define ATTEMPT_KEEP_S      (24 * 3600)
#define ATTEMPT_SAID_MAX    512 /* bytes kept of what a tool prints */

enum attempt_at {
    AT_FREE,
    AT_OPENING, /* the warden makes the slot ready */
    AT_PACK,    /* waits for the source pack */
    AT_CHECKOUT,
    AT_RUNNING,
    AT_COLLECTING,
    AT_HASHING, /* the patch pack is being hashed */
    AT_ENDED,   /* result signed, waits to be fetched and wiped */
    AT_WIPING,
    AT_TAINTED, /* the wipe failed: this slot is never used again */
    AT_COUNT,
};

enum attempt_event {
    EV_OPENED, /* replies of the warden */
    EV_STARTED,
    EV_EXITED,
    EV_WIPED,
    EV_PACKED,   /* the source pack is whole and right */
    EV_PACK_BAD, /* it is not: refusal set */
    EV_HASHED,
    EV_CANCEL,
    EV_WIPE,
    EV_DEADLINE,
    EV_STOP, /* the runner ends */
    EV_COUNT,
};

struct attempt;

/* What an attempt needs from serve. */
struct attempt_owner {
    uv_loop_t *loop;
    struct warden_client *warden;
    const struct identity *identity;
    int spool_dir;
    struct receipts receipts;
    struct gate_host gate_host;
    struct presets *presets;
    void *arg;
    void (*tell)(void *arg, const struct msg *m);             /* to every control channel */
    void (*drop_streams)(void *arg, const struct attempt *a); /* close its log and result streams */
    void (*slot_over)(void *arg, const struct attempt *a);    /* free or tainted */
    void (*fatal)(void *arg, const struct err *err);
};

enum pipe_role { PIPE_OUT, PIPE_ERR, PIPE_STATUS, PIPE_COUNT };

struct attempt_pipe; /* a read end from the warden, in the loop */

struct attempt {
    struct attempt_owner *owner;
    unsigned slot;
    uv_timer_t timer;
    uv_idle_t hasher;

    /* From here on: of one attempt, zeroed between two. */
    enum attempt_at at;
    struct task task;
    uint8_t envelope_sha256[32];
    uint8_t proofs[PROOF_COUNT][PROOF_BYTES]; /* that somebody has the envelope */
    uint64_t t0_us;                           /* monotonic: zero of the log's clock */
    uint64_t started, finished;               /* Unix seconds */
    bool cancelled, late, timed_out, killing;
    bool begun; /* the run's processes were made: its wall clock counts */

    bool refused; /* ends wiped without a result */
    enum refusal refusal;
    char why[301];   /* the refusal's detail */
    char error[301]; /* why the runner could not go on */

    struct spool *spool;
    struct attempt_pipe *pipes[PIPE_COUNT];
    struct buf said, complaint; /* what checkout and collect print */

    struct step_result *steps; /* owned, in the order they run */
    size_t nsteps, nsetup;
    int step_now; /* index of what runs, or -1 */
    uint64_t step_began_us;
    int run_exit, run_signal;
    struct warden_usage usage; /* of the run; disk_peak of all phases */
    bool collect_oom;          /* collecting was ended by the memory limit */
    uint64_t collect_mem_peak;

    struct egress_rule *rules; /* of the gate, until it is open; owned */
    size_t nrules;
    struct gate *gate; /* of the run; NULL again when the last of its sockets is closed */
    unsigned gate_doors;
    bool gate_ending, gate_awaited;
    struct calls *calls;   /* of the run, when its policy has calls */
    struct result account; /* what the gate did: its members of a result, owned */

    int pack_fd; /* where the source pack goes */
    uint64_t pack_got;
    struct sha256 *pack_hash;
    struct stream *pack_stream; /* who sends it */

    int token_dir;  /* where a token for the repository goes; -1: no run has it */
    uint8_t *token; /* the newest, in locked memory; owned */
    size_t token_len;

    int patch_fd;
    char commit[TASK_OID_SIZE];
    char cache[65]; /* of the dependency cache that was kept, or empty */
    uint64_t patch_bytes, patch_hashed;
    struct sha256 *patch_hash;
    uint8_t patch_sha256[32];

    struct buf result; /* the DSSE document */
    uint8_t result_sha256[32];
    bool spool_gone, spool_in_memory;
};

void attempt_init(struct attempt *a, struct attempt_owner *owner, unsigned slot);
/* Lets go of everything and closes the handles; the struct must live until the loop has run once more.
 * What is left at the warden, the warden's end wipes. */
void attempt_close(struct attempt *a);

/* Begins with an envelope that was admitted and recorded (task is taken from `in`, the token wiped).
 * When it cannot begin, nothing of it is left and the message says why. */
int attempt_begin(struct attempt *a, struct admitted *in, const void *envelope, size_t len,
                  struct err *err);
/* Feeds the table. -ERR_FAIL when the event is not legal in the present state: then nothing happened. */
int attempt_event(struct attempt *a, enum attempt_event ev);
/* A reply of the warden about this slot; takes the descriptors. */
void attempt_reply(struct attempt *a, const struct warden_reply *r, int *fds, size_t nfds);

/* A token for its repository, sealed and in base64; replaces an earlier one. What comes after its run is
 * dropped. -ERR_REFUSED, -ERR_TRUST. */
int attempt_token(struct attempt *a, const char *sealed_b64, struct err *err);

/* The wire's name for where it is. */
enum attempt_state attempt_state(const struct attempt *a);
bool attempt_busy(const struct attempt *a); /* not free */
/* Does this proof show that whoever gave it sent the attempt's envelope? */
bool attempt_proven(const struct attempt *a, enum proof use,
                    const uint8_t proof[static PROOF_BYTES]);

/* The pack stream: begin (a newer stream takes over, from the first byte), bytes, and its loss. */
int attempt_pack_begin(struct attempt *a, struct stream *s, struct err *err);
void attempt_pack_bytes(struct attempt *a, const uint8_t *bytes, size_t n);
/* Its sender says that there is no more. */
void attempt_pack_eof(struct attempt *a);
void attempt_pack_lost(struct attempt *a, const struct stream *s);

#endif
