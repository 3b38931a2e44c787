/* How an attempt ended, judged from what was observed. Pure. */
#ifndef RUNNER_OUTCOME_H
#define RUNNER_OUTCOME_H

#include "proto/result.h"
#include "runner/warden.h"

#define OUTCOME_REASON_SIZE 301

struct outcome_facts {
    const struct task *task;
    const struct step_result *steps; /* in order */
    size_t nsteps;
    const struct warden_usage *usage; /* of the run */
    bool collect_oom;                 /* collecting failed by the memory limit */
    uint64_t collect_mem_peak;
    uint64_t log_dropped;         /* bytes */
    const struct json_list *gate; /* the gate's own hits (struct limit_hit), or NULL */
    bool cancelled, timed_out;
    int run_exit, run_signal; /* of the jail's first process */
    const char *error;        /* why the runner could not go on, or "" */
};

/* The limits that were met, each once, in the order of enum limit: hits[0..n). */
size_t outcome_hits(const struct outcome_facts *f, struct limit_hit hits[static LIMIT_COUNT]);

/* cancelled > timed-out > limit > error > failed > succeeded. A limit counts only when something
 * failed: a job that survived it succeeded. `reason` is one line; empty when succeeded. */
enum outcome outcome_judge(const struct outcome_facts *f, char reason[static OUTCOME_REASON_SIZE]);

#endif
