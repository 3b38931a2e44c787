/* What the ledger's files share: the connection, its statements, the one open transaction. Nothing outside
 * ledger*.c includes this.
 *
 * A turn: the first change begins a transaction, ledger_flush() commits it. Whatever fails in between rolls
 * all of it back, and the flush then says so: nothing is ever half in. */
#ifndef CONTROLLER_BROKER_LEDGER_INTERNAL_H
#define CONTROLLER_BROKER_LEDGER_INTERNAL_H

#include "controller/broker/ledger.h"

#include <sqlite3.h>

#define WINDOW_S  60
#define COUNT_MAX (((uint64_t)1 << 62) - 1) /* sums stop there: two of them fit SQLite's integers */

/* A task's, or a provider's of one day, as it stands in its table. */
struct sums {
    uint64_t spent, held, in_flight, calls, refused, input, cache_read, cache_write, output;
};

/* An attempt that something happened to lately, so that a hold need not read its policy again. */
struct live {
    struct live *next;
    struct ledger_attempt a;
    uint64_t newest; /* second of the newest call of its task */
    uint32_t
        made[WINDOW_S + 1]; /* calls of its task by second, modulo; one more: see window_count */
};

/* What was settled in the open transaction: done again after a rollback, so that only holds are lost. */
struct settled {
    uint64_t call;
    enum ledger_end end;
    bool have_usage;
    struct usage usage;
    uint64_t micros, first_byte_ms, ms;
    int http_status;
};

enum sql {
    SQL_BEGIN,
    SQL_COMMIT,
    SQL_ROLLBACK,
    SQL_ATTEMPT_GET,
    SQL_ATTEMPT_PUT,
    SQL_ATTEMPT_OVER,
    SQL_ATTEMPT_STOP,
    SQL_ATTEMPT_REFUSED,
    SQL_TASK_GET,
    SQL_TASK_PUT,
    SQL_TASK_MARK,
    SQL_MARK_GET,
    SQL_DAY_GET,
    SQL_DAY_PUT,
    SQL_DAY_ALL,
    SQL_CALL_PUT,
    SQL_CALL_GET,
    SQL_CALL_SETTLE,
    SQL_CALL_NEWEST,
    SQL_CALLS_SINCE,
    SQL_CALL_LAST,
    SQL_REFUSAL_PUT,
    SQL_EACH_CALL,
    SQL_EACH_REFUSAL,
    SQL_EACH_DAY,
    SQL_EACH_TASK,
    SQL_COUNT,
};

struct ledger {
    sqlite3 *db;
    sqlite3_stmt *stmts[SQL_COUNT]; /* prepared when first wanted */
    int lock;                       /* spend.lock, held; -1: for reading only */
    /* spend.db-wal, which we sync ourselves; -1 likewise. Opened once for the loop and once for each thread: the
     * kernel tells a lost write to one sync of each open file, and to the others that all is well. */
    int wal[1 + LEDGER_SYNCS];
    bool unsynced;      /* something was committed that no flush of ours synced */
    bool lost;          /* a sync failed: what is on the disk, nobody knows */
    bool begun;         /* a transaction is open */
    bool dirty;         /* and has what somebody waits for */
    bool voided;        /* holds were rolled back: the next flush says so */
    bool redo;          /* `settled` must be done again */
    unsigned holds;     /* in the open transaction */
    uint64_t next_call; /* never used twice in one process, whatever is rolled back */
    struct settled *settled;
    size_t nsettled, room;
    struct live *live;
    enum ledger_no no;
};

/* ---- ledger_db.c ---- */

/* One run of a statement. Values are bound in order and borrowed until it ends. */
struct run {
    struct ledger *l;
    sqlite3_stmt *s;
    int at, rc;
};
struct run sql_run(struct ledger *l, enum sql which);
void run_text(struct run *r, const char *text);
void run_u64(struct run *r, uint64_t v); /* at most COUNT_MAX is kept */
void run_blob(struct run *r, const void *bytes, size_t n);
int run_step(struct run *r, struct err *err); /* 1: a row, 0: done, -ERR_FAIL */
void run_end(struct run *r);
/* Steps a statement without rows, and ends it. */
int run_once(struct run *r, struct err *err);
/* Columns of the current row, counted by r->at from 0 again. */
uint64_t run_get_u64(struct run *r);
/* False: not a text of fewer than `size` bytes. */
bool run_get_text(struct run *r, char *to, size_t size);
bool run_get_blob(struct run *r, void *to, size_t size);

/* Begins the turn's transaction unless it is open. */
int turn_begin(struct ledger *l, struct err *err);
/* After a failure: nothing of the turn happened. Returns rc. */
int turn_fail(struct ledger *l, int rc);
/* turn_fail when rc is a failure of the database, not a refusal. Returns rc. */
int turn_judge(struct ledger *l, int rc);
/* Ends the transaction, which is not durable by that. */
int turn_commit(struct ledger *l, struct err *err);
/* As ledger_flush, but what it makes void is told by the next flush and not here. */
int turn_flush(struct ledger *l, struct err *err);
int db_fail(struct ledger *l, struct err *err);
/* Opens, checks, migrates. */
int db_open(struct ledger *l, const char *dir, bool write, struct err *err);

int task_get(struct ledger *l, const char *task, struct sums *out, struct err *err);
int task_put(struct ledger *l, const char *task, const struct sums *s, struct err *err);
int day_get(struct ledger *l, const char *provider, uint64_t day, struct sums *out,
            struct err *err);
int day_put(struct ledger *l, const char *provider, uint64_t day, const struct sums *s,
            struct err *err);
void run_get_sums(struct run *r, struct sums *out);
uint64_t add_capped(uint64_t a, uint64_t b); /* at most COUNT_MAX */

/* ---- ledger_attempts.c ---- */

/* 1: found, 0: there is none. Borrowed until the next rollback or the attempt's end. */
int live_find(struct ledger *l, const char *attempt, struct live **ret, struct err *err);
void live_clear(struct ledger *l);

/* ---- ledger_settle.c ---- */

/* In the open transaction. 1: done, 0: no such call is held. */
int settle_row(struct ledger *l, const struct settled *s, struct err *err);

#endif
