/* The warden: the one process of a host that makes and destroys jails.
 *
 * warden_start() forks it while the runner is still single-threaded and, on a provisioned host, still
 * root; then serve drops root and speaks to it over a SOCK_SEQPACKET socketpair in fixed-size
 * requests and replies, descriptors by SCM_RIGHTS. The warden trusts serve for nothing that the
 * envelope says: it gets the envelope's own bytes, verifies the signature again by itself against the
 * controller keys it read at start, and takes limits and commands only from there. If serve dies the
 * warden kills and wipes every attempt and exits; if the warden dies, so do the jails, and serve exits.
 *
 * A slot goes  free -OPEN-> open -START checkout-> open -START run-> open -START collect-> open
 * -WIPE-> free.  KILL is legal in every state but free. A START's phase runs until its EXITED event.
 */
#ifndef RUNNER_WARDEN_H
#define RUNNER_WARDEN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/id.h"
#include "proto/err.h"
#include "proto/task.h"
#include "runner/config.h"

enum warden_op {
    WARDEN_FACTS = 1, /* -> facts. What this host can enforce */
    WARDEN_OPEN,      /* fds: [envelope memfd]. -> OK, fds: [pack: write the source pack here] */
    WARDEN_START, /* phase. -> OK, fds: [stdout, stderr] read ends; of a run also [status], then, when
                       * the policy has a token for the repository, [its place] (repo_token.h), then the
                       * gate's sockets in the order of enum gate_socket (runner/gate.h) */
    WARDEN_EXITED, /* event: a phase is over and nothing of it lives; collect: fds: [patch pack] */
    WARDEN_KILL,   /* -> OK at once; EXITED follows when the jail is empty */
    WARDEN_WIPE,   /* -> OK with `wiped`. Kills first if needed */
};

enum warden_phase { WARDEN_CHECKOUT, WARDEN_RUN, WARDEN_COLLECT };

struct warden_request {
    uint32_t op, slot, phase;
    char attempt[ATTEMPT_ID_SIZE];
    uint8_t token[TASK_TOKEN_BYTES]; /* OPEN: the unsealed task token; hash checked by the warden */
};

struct warden_facts {
    uint32_t unenforceable; /* LIMIT_BIT()s */
    uint8_t rooted, memory_cleared;
    char why[201];       /* why those are unenforceable and what to do */
    uint8_t swaps;       /* a task's memory may be written to the host's swap */
    uint8_t disk_images; /* disks that do not fit in an attempt's memory are encrypted images */
    char disks_why[201]; /* why not */
};

struct warden_usage {
    uint64_t wall_ms, cpu_ms, mem_peak, pids_peak, disk_peak; /* 0: not measured */
    uint32_t oom_kills, pids_hits;
};

/* A network namespace lives as long as a process or a socket of it. `network` says that no process of the
 * attempt is left; its only sockets outside are the gate's, which a run's START gave to serve: serve
 * closes them before it asks for the WIPE, and answers for that in the receipt. */
struct warden_wiped {
    uint8_t processes, disk, cgroup, network; /* 1: gone, and checked */
    uint8_t encrypted; /* the disk was an image, whose key went with its mapping */
};

struct warden_reply {
    uint32_t op, slot, phase;
    int32_t status; /* 0, or enum err_code; then detail says why */
    int32_t exit;   /* EXITED: exit status of the phase's first process, -1 by a signal */
    int32_t signal;
    char detail[301];
    char
        cache[65]; /* EXITED of a collect: digest of the dependency cache that was kept, or empty */
    union {
        struct warden_facts facts;
        struct warden_usage usage; /* EXITED */
        struct warden_wiped wiped; /* WIPE */
    } u;
};

#define WARDEN_FDS_MAX 24

/* What the jail's pid 1 writes on the status pipe as the steps of a run go by: at each step's start
 * (`ended` 0) and end. Only setup, command and test steps; index counts from 0 within its kind. */
struct warden_step {
    uint32_t kind, index; /* enum step_kind (proto/result.h) */
    uint32_t ended;
    int32_t exit, signal;
    uint64_t ms;
};

/* What the checkout and collect phases print on stdout, one line, parsed strictly by serve:
 *   checkout: "ok <root commit oid>\n"
 *   collect:  "patch <commit oid> <pack bytes>\n" or "unchanged\n"
 * On failure they exit non-zero and say why on stderr (one line; hostile data). */

/* Forks the warden (see above). On success *ret_fd is serve's end of the socketpair and *ret_pid the
 * warden's pid. Call before any thread exists. */
int warden_start(const struct runner_config *cfg, int *ret_fd, pid_t *ret_pid, struct err *err);
/* One request with descriptors (borrowed: the caller still closes its own). */
int warden_send(int fd, const struct warden_request *req, const int *fds, size_t nfds,
                struct err *err);
/* One reply or event; descriptors become the caller's. Returns 1, 0 when the socket is non-blocking
 * and nothing is there, or -code (peer gone: ERR_FAIL). */
int warden_recv(int fd, struct warden_reply *ret, int fds[static WARDEN_FDS_MAX], size_t *ret_nfds,
                struct err *err);

#endif
