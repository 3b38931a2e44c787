/* What people ask of the ledger: the calls of a task, days, the dearest tasks. Beside a broker that
 * writes, through ledger_view(). */
#ifndef CONTROLLER_BROKER_LEDGER_REPORT_H
#define CONTROLLER_BROKER_LEDGER_REPORT_H

#include "controller/broker/ledger.h"

struct ledger_call {
    uint64_t id, at; /* Unix seconds */
    char attempt[ATTEMPT_ID_SIZE], provider[PROVIDER_NAME_SIZE], model[MODEL_NAME_SIZE],
        dialect[17];
    uint8_t prices_sha256[32];
    uint64_t reserve, charged; /* micro-dollars */
    enum ledger_end end;
    int http_status;
    struct usage usage;
    uint64_t first_byte_ms, ms;
};
struct ledger_refusal {
    char attempt[ATTEMPT_ID_SIZE];
    uint64_t at;
    char why[ERR_MSG_MAX];
};
struct ledger_day {
    uint64_t day;
    char provider[PROVIDER_NAME_SIZE];
    struct ledger_sum sum;
};
struct ledger_task {
    char task[ID_SIZE];
    uint64_t charged, calls; /* what is held counts as charged */
};

/* Each calls back row by row, in order; what a callback returns below 0 ends it and is returned. */
typedef int ledger_call_cb(void *arg, const struct ledger_call *c, struct err *err);
int ledger_each_call(struct ledger *l, const char *task, ledger_call_cb *cb, void *arg,
                     struct err *err);
typedef int ledger_refusal_cb(void *arg, const struct ledger_refusal *r, struct err *err);
int ledger_each_refusal(struct ledger *l, const char *task, ledger_refusal_cb *cb, void *arg,
                        struct err *err);
/* From `first` on, newest first; providers by name. */
typedef int ledger_day_cb(void *arg, const struct ledger_day *d, struct err *err);
int ledger_each_day(struct ledger *l, uint64_t first, ledger_day_cb *cb, void *arg,
                    struct err *err);
/* The `n` that spent most since that day, dearest first. */
typedef int ledger_task_cb(void *arg, const struct ledger_task *t, struct err *err);
int ledger_top_tasks(struct ledger *l, uint64_t first, uint64_t n, ledger_task_cb *cb, void *arg,
                     struct err *err);

#endif
