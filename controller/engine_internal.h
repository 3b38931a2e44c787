/* What the engine's files share. One owner: `struct engine`, on engine_run()'s stack.
 *
 *   engine.c        lock, loop, store scan, dispatch, followers, shutdown
 *   engine_host.c   one host: its session, reconnects, who waits for it
 *   attempt.c       one attempt, from lease to receipt: a table of phases and messages
 *   attempt_pack.c  its source pack going out     attempt_log.c  its log coming in
 *   engine_broker.c  what the broker says unasked
 *   attempt_notes.c  the controller's own lines beside the log, and the broker's word to end it
 *   attempt_call.c  its jail's calls, passed between host and broker
 *   attempt_result.c  its result coming in, verified, fsynced, imported
 */
#ifndef CONTROLLER_ENGINE_INTERNAL_H
#define CONTROLLER_ENGINE_INTERNAL_H

#include <uv.h>

#include "common/sha256.h"
#include "controller/broker.h"
#include "controller/engine.h"
#include "controller/host.h"
#include "controller/importer.h"
#include "controller/log_sink.h"
#include "controller/store.h"
#include "proto/dsse.h"
#include "proto/result.h"

#define ENGINE_FOLLOWERS_MAX 256
#define ENGINE_IMPORTS_MAX   2
#define ENVELOPE_LIFE_S      3600
#define ANSWER_MAX           (FRAME_HEAD_BYTES + FRAME_PAYLOAD_MAX + (4u << 20))
#define HOST_TRIES_MAX       5 /* connects that fail before a task that never began gives up */

struct attempt;
struct call; /* attempt_call.c */
struct engine_host;

struct engine {
    const struct paths *paths;
    struct store *store;
    char self[PATH_MAX];
    uv_loop_t loop;
    struct broker *broker;
    unsigned sign_deaths;    /* of the broker in a row, while it was asked to sign a task */
    struct needles *needles; /* what logs and patches must not hold; NULL until the broker said */
    int lockfd;
    uv_pipe_t listener;
    uv_prepare_t settle; /* once an iteration: scan and notify when asked to */
    uv_timer_t beat;     /* heartbeat, idle exit */
    uv_signal_t sigterm, sigint;
    struct follower *followers;
    unsigned nfollowers;
    struct engine_host *hosts; /* list, by engine_host.next */
    struct attempt *attempts;  /* list, by attempt.next */
    unsigned imports;          /* importer children running */
    bool scan_wanted, notify_wanted, stopping;
    bool rescan; /* the store failed: scan again at the next beat */
    unsigned idle_exit_s;
    uint64_t idle_since_ms; /* loop time; 0: busy */
};

/* The store is to be looked at again, this iteration. */
void engine_scan_soon(struct engine *e);
/* Something followers can see has changed. */
void engine_notify(struct engine *e);
/* A store call failed: say it once on the log and look at the store again at the next beat; the
 * caller goes on as its state allows. */
void engine_store_failed(struct engine *e, const char *what, const struct err *err);

/* ---- engine_host.c ---- */

enum host_state { HOST_IDLE, HOST_CONNECTING, HOST_READY, HOST_BACKOFF };

struct engine_host {
    struct engine_host *next;
    struct engine *e;
    char name[HOST_NAME_SIZE];
    struct host_row row;
    struct host_link *link;
    enum host_state state;
    unsigned tries;         /* sessions in a row that brought nothing */
    uint64_t ready_ms;      /* loop time at which this session became ready */
    struct err last;        /* why the last one failed */
    uv_timer_t retry;       /* backoff, or idle disconnect */
    unsigned attempts;      /* attached to this host and not done */
    unsigned slots_used;    /* of those, how many hold a slot there */
    unsigned full_tries;    /* offers in a row that it had no free slot for */
    uint64_t full_until_ms; /* loop time of the next offer then; 0: now */
};

/* The host by name, made on first use from the store; NULL with err when there is none. */
struct engine_host *engine_host_get(struct engine *e, const char *name, struct err *err);
/* The same also for one that is no longer enrolled: attempts that were there still need a place. */
struct engine_host *engine_host_any(struct engine *e, const char *name, struct err *err);
/* The operator has removed it: whatever of ours was only there is lost. */
void engine_host_forgotten(struct engine_host *h);
/* Connects unless connected or waiting to. */
void engine_host_need(struct engine_host *h);
/* It had no free slot, though none of ours is known to hold it: offer again later, not at once. */
void engine_host_full(struct engine_host *h);
/* The peer broke the protocol or went silent on us: drop the session and come back. */
void engine_host_reset(struct engine_host *h, const char *why);
void engine_hosts_close(struct engine *e);

/* ---- attempt.c ---- */

/* Where an attempt is from here; the store has the coarser task_state. */
enum phase {
    PHASE_DETACHED, /* no session, or none reconciled yet: wait for the host's WELCOME */
    PHASE_SIGNING,  /* the broker has it */
    PHASE_OFFERED,  /* ENVELOPE sent */
    PHASE_SENDING,  /* ACCEPTED; the source pack is going out */
    PHASE_RUNNING,  /* PACK_OK; the log comes in */
    PHASE_DRAINING, /* ENDED; the rest of the log comes in */
    PHASE_FETCHING, /* the result and the patch come in */
    PHASE_STORED,   /* on disk, fsynced: WIPE sent, import running, in parallel */
    PHASE_DONE,     /* over, but kept in the list: parked, or not trusted */
    PHASE_COUNT,
};

struct notes_sink {
    int fd;
    uint64_t bytes, last_us;
    uint64_t t0_us; /* when the log's clock began, by ours; 0: not known */
};

struct pack_sender {
    struct host_stream *stream;
    int fd;
    uint64_t sent;
    uint8_t *chunk; /* PACK_CHUNK bytes, while sending */
    size_t chunk_len, chunk_off;
};

struct result_fetch {
    struct host_stream *stream;
    struct buf head; /* until the RESULT frame is whole */
    struct buf doc;  /* the DSSE document */
    struct result result;
    bool have_result; /* verified and decoded */
    int fd;           /* patch.pack.tmp */
    uint64_t pack_bytes;
    struct sha256 *hash;
};

struct attempt {
    struct attempt *next;
    struct engine *e;
    struct engine_host *host;
    struct task_row row; /* as last read or written */
    char id[ATTEMPT_ID_SIZE];
    enum phase phase;
    bool attached; /* counted in host->attempts */
    bool slot;     /* counted in host->slots_used */
    bool cancel_sent;
    bool wipe_unsigned; /* to be asked for again at the deadline */
    bool offered_again; /* the envelope was sent before, by an earlier session or engine */
    uint8_t runner_key[KEY_PUB_BYTES]; /* pinned when it was leased: signs its result and receipt */
    unsigned import_tries;
    bool importing, wipe_sent;
    bool dead;           /* no callback may touch it but those that free it */
    unsigned holds;      /* async work that still points here: signing, import, timer */
    struct buf envelope; /* the DSSE document, once signed */
    struct log_sink log;
    struct notes_sink notes;
    char stopped[301]; /* why the broker wants it ended; it then ends as refused */
    uv_timer_t grace;  /* until it is */
    char *repo_token;  /* sealed to the runner, base64; owned; NULL: none */
    struct host_stream *log_stream;
    uint64_t ended_log_bytes;
    struct pack_sender pack;
    struct result_fetch fetch;
    struct call *calls; /* list */
    unsigned ncalls, calls_wanted, calls_max;
    uint8_t result_sha256[32]; /* of result.json */
    uv_timer_t deadline;
};

/* A queued task gets a lease on a READY host and starts. */
void attempt_begin(struct engine_host *h, struct task_row *row);
/* A task found in the store that began under an earlier engine. Takes over *row. */
void attempt_resume(struct engine *e, struct task_row *row);
struct attempt *attempt_find(struct engine *e, const char *attempt_id);
/* Events from the host. */
void attempt_welcome(struct attempt *a, const struct msg_welcome *w);
void attempt_message(struct attempt *a, const struct msg *m);
/* A receipt whose signature held: taken when it is this attempt's and its result is stored. */
void attempt_receipt(struct attempt *a, const struct receipt *rc, const struct msg *m);
void attempt_host_forgotten(struct attempt *a);
void attempt_host_gone(struct attempt *a, const struct err *err);
/* The store says that the operator wants it cancelled. */
void attempt_cancel(struct attempt *a);
void attempt_free_all(struct engine *e);
/* One async call that pointed at it is over. False: it was dropped meanwhile and may be freed now. */
bool attempt_unhold(struct attempt *a);

/* For attempt_*.c: */
#define ATTEMPT_WIPE_S  300 /* for a host to confirm that it wiped */
#define ATTEMPT_AGAIN_S 5   /* after the store, the importer or the broker failed */
/* One more in the list, with a slot of its host; NULL: out of memory. */
struct attempt *attempt_new(struct engine *e, struct engine_host *h);
/* Lets go of host, streams and files; the store is not touched. */
void attempt_drop(struct attempt *a);
int attempt_set_state(struct attempt *a, enum task_state state, const char *reason);
/* A message to its host, when that is there. */
void attempt_send(struct attempt *a, const struct msg *m);
void attempt_send_document(struct attempt *a, enum msg_type type, const struct buf *doc);
/* Its envelope, which is signed and kept. */
void attempt_offer(struct attempt *a);
void attempt_send_pack(struct attempt *a);
/* The source cannot be read here: the attempt is cancelled and ends as any cancelled one. */
void attempt_source_lost(struct attempt *a, const struct err *err);
void attempt_follow_log(struct attempt *a);
/* It runs there; how long it may is counted here too, in case the host never says. */
void attempt_running(struct attempt *a);
/* The runner says that the attempt is over and how long its log is. */
void attempt_ended(struct attempt *a, uint64_t log_bytes);
void attempt_phase(struct attempt *a, enum phase phase, unsigned deadline_s);
/* Ends the task: final state, exit code, reason; then DONE. */
void attempt_end(struct attempt *a, enum task_state state, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 4, 5)));
/* What came from the host cannot be trusted: the task ends so, what came is kept, nothing is wiped. */
void attempt_distrust(struct attempt *a, const struct err *err);
void attempt_log_complete(struct attempt *a);
void attempt_stored(struct attempt *a);

/* ---- attempt_begin.c ---- */
/* Evidence that it never began: the task is queued again, for another lease. */
void attempt_give_back(struct attempt *a, const char *reason);

/* ---- attempt_orders.c ---- */
/* Each is signed first, and sent when that is done; when it cannot be, it is asked for again. */
void attempt_send_cancel(struct attempt *a);
void attempt_send_wipe(struct attempt *a);

/* ---- attempt_token.c ---- */
/* The newest token for its repository, passed on to the runner now, or when its host is back. */
void attempt_repo_token(struct attempt *a, const char *sealed_b64);
/* Only to a jail that may still run there. */
void attempt_send_repo_token(struct attempt *a);

/* ---- attempt_pack.c, attempt_log.c, attempt_result.c ---- */
int pack_start(struct attempt *a, struct err *err);
void pack_stop(struct attempt *a);
int log_open(struct attempt *a, struct err *err);   /* the files; looks at what is there */
int log_follow(struct attempt *a, struct err *err); /* the stream, from log.bytes on */
void log_stop(struct attempt *a);
int log_finish(struct attempt *a, struct err *err); /* all of it came */
void log_close(struct attempt *a);
int result_start(struct attempt *a, struct err *err);
void result_stop(struct attempt *a);
/* ---- attempt_notes.c ---- */

/* A line of the controller's own in the task's log. */
void attempt_note(struct attempt *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Frames came in just now. */
void notes_clock(struct attempt *a);
void notes_close(struct attempt *a);
/* The broker refuses everything from now on: ended after a grace period, as refused. The first counts. */
void attempt_stop(struct attempt *a, const char *reason);
void stop_resume(struct attempt *a);

/* ---- engine_broker.c ---- */
void engine_listen_broker(struct engine *e);

/* ---- attempt_call.c ---- */

/* The runner wants so many more channels for calls. */
void calls_want(struct attempt *a, unsigned wanted);
/* The session has room again: attempts that wait for channels get them. */
void calls_continue(struct engine_host *h);
/* Ends all of them. */
void calls_stop(struct attempt *a);

/* Reads result.json back (an engine restarted after it was stored). */
int result_load(struct attempt *a, struct err *err);
/* Goes on from a stored result: the import, or only the end when that was done. */
void result_resume(struct attempt *a);
/* Import what is stored, or finish at once when there is no patch. */
void result_import(struct attempt *a);

#endif
