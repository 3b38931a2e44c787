/* The money: what was reserved and what was spent, by attempt, task, provider and UTC day, in SQLite
 * (spend.db in the broker's directory). Only the broker writes; `creel budget` and `creel show --spend`
 * read.
 *
 * A call is first held (the most it can cost), then settled (what it did cost). The sum on disk is never
 * below what was spent: nothing may be forwarded before ledger_flush() made its hold durable, a hold is
 * never shrunk to fit, and one that is never settled (crash, cut, lost usage) stays charged in full. A
 * settlement that a crash loses leaves the hold, which is more. Every sum is checked against overflow.
 *
 * What is durable for a running attempt also outlives the broker process: its token's digest and its
 * policy, so that a new process goes on where the old one died. */
#ifndef CONTROLLER_BROKER_LEDGER_H
#define CONTROLLER_BROKER_LEDGER_H

#include "controller/broker/price.h"
#include "controller/broker/provider.h"
#include "proto/policy.h"
#include "proto/task.h"

struct ledger;

/* An attempt whose envelope was signed. */
struct ledger_attempt {
    char task[ID_SIZE], attempt[ATTEMPT_ID_SIZE];
    uint8_t token_sha256[32];
    struct spend spend; /* owned */
    struct repo_access repo;
    char branch[TASK_BRANCH_SIZE];
    uint8_t runner_key[KEY_PUB_BYTES]; /* repository tokens are sealed to it */
    uint64_t exp;      /* Unix seconds: envelope's end plus the policy's wall clock; dead after */
    bool over;         /* the attempt has ended: nothing is held for it any more */
    char stopped[201]; /* why everything is refused; empty: it is not */
};
void ledger_attempt_done(struct ledger_attempt *a);

/* Opens or makes spend.db below `dir` and takes its lock: -ERR_FAIL when another process has it. Calls
 * held by an earlier process are charged in full by this. */
int ledger_open(const char *dir, struct ledger **ret, struct err *err);
/* For reading only, beside a broker. */
int ledger_view(const char *dir, struct ledger **ret, struct err *err);
void ledger_close(struct ledger *l);

/* Durable when it returns. The same attempt again replaces nothing: -ERR_REFUSED. */
int ledger_begin(struct ledger *l, const struct ledger_attempt *a, struct err *err);
/* -ERR_USAGE when there is none. */
int ledger_get(struct ledger *l, const char *attempt, struct ledger_attempt *out, struct err *err);
int ledger_over(struct ledger *l, const char *attempt, struct err *err); /* unknown is fine */
/* From now on everything of the attempt is refused; the first reason counts. */
int ledger_stop(struct ledger *l, const char *attempt, const char *why, struct err *err);

/* Why a hold was refused, for what follows from it. */
enum ledger_no {
    LEDGER_NO_NOT,     /* it was not */
    LEDGER_NO_ATTEMPT, /* unknown, over, stopped, too late, of another provider: for good */
    LEDGER_NO_BUDGET,  /* the task's money or calls do not suffice: for good */
    LEDGER_NO_DAY,     /* the provider's of this UTC day do not: not before tomorrow */
    LEDGER_NO_HELD,    /* the money is there, but reserved for calls under way */
    LEDGER_NO_RATE,    /* calls a minute, calls at once: again a little later */
};

struct ledger_ask {
    const char *attempt;
    const struct provider *provider;
    const char *model, *dialect;
    uint64_t reserve_micros;
    uint64_t now_s; /* Unix seconds */
    uint8_t prices_sha256[32];
};

/* Reserves, or -ERR_REFUSED with the reason in words that an agent's user understands ("budget: $2.50 of
 * the task, $2.31 spent, $0.12 held; this call may cost $0.40"). Checked: not over, not stopped, the
 * task's money and calls, calls in the last 60 s, calls in flight, the provider's money and calls of the
 * UTC day. Not durable yet: see ledger_flush. *ret_call names it from now on. */
int ledger_hold(struct ledger *l, const struct ledger_ask *ask, uint64_t *ret_call,
                struct err *err);
/* Of the last ledger_hold() that was refused. */
enum ledger_no ledger_why(const struct ledger *l);

enum ledger_end {               /* why a call's price is what it is */
                  CALL_HELD,    /* under way, or never heard of again */
                  CALL_SETTLED, /* from the usage that the provider told */
                  CALL_WHOLE,   /* usage missing, zero, or the answer cut: the whole reservation */
                  CALL_UNSENT, /* never left this machine (refused, no connection): nothing. Only when it is certain
                       that no byte of the request was sent */
                  CALL_OVER, /* usage over the reservation: what it said */
                  CALL_FAILED, /* the provider answered with an error status: nothing, but it is a call */
                  CALL_END_COUNT,
};
extern const char *const ledger_end_names[CALL_END_COUNT + 1];

/* Settles a call; usage NULL: CALL_WHOLE or CALL_UNSENT as `end` says. Durable with the next flush;
 * one that a failed flush took back is tried again with the next. */
int ledger_settle(struct ledger *l, uint64_t call, enum ledger_end end, const struct usage *usage,
                  uint64_t micros, int http_status, uint64_t first_byte_ms, uint64_t ms,
                  struct err *err);
/* Makes all that was held and settled since the last one durable (one fsync for all of them). On failure
 * nothing of it may be forwarded: each hold since then is void. Call once a turn of the loop. */
int ledger_flush(struct ledger *l, struct err *err);
/* The same in two steps, so that whoever waits for the disk need not be the loop: after the first, which
 * may fail as a flush may, ledger_sync() makes it durable, in any thread, and what it returned is told
 * by ledger_synced(). When that is a failure, nothing that was committed may be forwarded, all of it stays
 * charged, and the ledger takes nothing more: after it, no later sync says anything about the bytes. */
int ledger_commit(struct ledger *l, struct err *err);
#define LEDGER_SYNCS 4                                    /* by as many threads at once */
int ledger_sync(const struct ledger *l, unsigned thread); /* 0 ... LEDGER_SYNCS - 1; 0 or -errno */
int ledger_synced(struct ledger *l, int rc, struct err *err);
bool ledger_dirty(const struct ledger *l);

struct ledger_sum {
    uint64_t spent_micros, held_micros, calls, refused;
    uint64_t input, cache_read, cache_write, output; /* tokens of settled calls */
};
int ledger_task_sum(struct ledger *l, const char *task, struct ledger_sum *out, struct err *err);
/* `day`: days since 1970-01-01 UTC; provider NULL: all. */
int ledger_day_sum(struct ledger *l, const char *provider, uint64_t day, struct ledger_sum *out,
                   struct err *err);
/* A call that was refused, for the record; not durable by itself. */
int ledger_refused(struct ledger *l, const char *attempt, const char *why, uint64_t now_s,
                   struct err *err);
/* 0, 80, 90 or 100: the highest mark of the task's money that its sum (spent and held) has reached and
 * that was not returned before. */
int ledger_mark(struct ledger *l, const char *attempt, unsigned *ret_percent, struct err *err);

#endif
