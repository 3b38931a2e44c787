/* The ledger's database: its schema, its statements, and transactions that are whole or did not happen. */
#include "controller/broker/ledger_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/file.h"

#define DB_VERSION 1
#define DB_BUSY_MS 5000

/* The write-ahead log is written into blocks that are there: a file that grows costs another write and
 * more with each sync. */
#define WAL_PAGES   1000 /* copied back, and begun from its front, after as many */
#define WAL_FRAME   4120 /* a page and its head */
#define WAL_AHEAD   (64u << 10)
#define WAL_GROW_BY (256u << 10)

#define SUMS                                                                     \
    "spent INTEGER NOT NULL, held INTEGER NOT NULL, in_flight INTEGER NOT NULL," \
    " calls INTEGER NOT NULL, refused INTEGER NOT NULL, input INTEGER NOT NULL," \
    " cache_read INTEGER NOT NULL, cache_write INTEGER NOT NULL, output INTEGER NOT NULL"
#define SUM_NAMES "spent, held, in_flight, calls, refused, input, cache_read, cache_write, output"
#define SUM_MARKS "?, ?, ?, ?, ?, ?, ?, ?, ?"
#define SUM_SET                                                                     \
    "spent = excluded.spent, held = excluded.held, in_flight = excluded.in_flight," \
    " calls = excluded.calls, refused = excluded.refused, input = excluded.input,"  \
    " cache_read = excluded.cache_read, cache_write = excluded.cache_write,"        \
    " output = excluded.output"

/* `charged` of a call that is held is its whole reservation: the sum over all rows is never below what was
 * spent. tasks and days are the same sums, kept with every change. */
static const char schema[] =
    "CREATE TABLE attempts (attempt TEXT PRIMARY KEY, task TEXT NOT NULL,"
    " token_sha256 BLOB NOT NULL, spend TEXT NOT NULL, repo TEXT NOT NULL, branch TEXT NOT NULL,"
    " runner_key BLOB NOT NULL, exp INTEGER NOT NULL, over INTEGER NOT NULL,"
    " stopped TEXT NOT NULL, refused INTEGER NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE tasks (task TEXT PRIMARY KEY, " SUMS ", mark INTEGER NOT NULL DEFAULT 0)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE days (day INTEGER NOT NULL, provider TEXT NOT NULL, " SUMS ","
    " PRIMARY KEY (day, provider)) STRICT, WITHOUT ROWID;"
    "CREATE TABLE calls (id INTEGER PRIMARY KEY, attempt TEXT NOT NULL, task TEXT NOT NULL,"
    " provider TEXT NOT NULL, model TEXT NOT NULL, dialect TEXT NOT NULL, prices BLOB NOT NULL,"
    " at INTEGER NOT NULL, day INTEGER NOT NULL, reserve INTEGER NOT NULL,"
    " charged INTEGER NOT NULL, end INTEGER NOT NULL, status INTEGER NOT NULL DEFAULT 0,"
    " input INTEGER NOT NULL DEFAULT 0, cache_read INTEGER NOT NULL DEFAULT 0,"
    " cache_write INTEGER NOT NULL DEFAULT 0, cache_write_1h INTEGER NOT NULL DEFAULT 0,"
    " output INTEGER NOT NULL DEFAULT 0, first_ms INTEGER NOT NULL DEFAULT 0,"
    " ms INTEGER NOT NULL DEFAULT 0) STRICT;"
    "CREATE INDEX calls_task ON calls (task, at);"
    "CREATE INDEX calls_held ON calls (id) WHERE end = 0;"
    "CREATE TABLE refusals (attempt TEXT NOT NULL, at INTEGER NOT NULL, why TEXT NOT NULL) STRICT;"
    "CREATE INDEX refusals_attempt ON refusals (attempt);"
    "PRAGMA user_version = 1;";

/* A hold of a process that is gone may have been spent: it is charged in full, and says so. */
static const char charge_held[] = "UPDATE calls SET end = 2 WHERE end = 0;"
                                  "UPDATE tasks SET spent = spent + held, held = 0, in_flight = 0"
                                  " WHERE held > 0 OR in_flight > 0;"
                                  "UPDATE days SET spent = spent + held, held = 0, in_flight = 0"
                                  " WHERE held > 0 OR in_flight > 0;";

static const char *const texts[SQL_COUNT] = {
    [SQL_BEGIN] = "BEGIN IMMEDIATE",
    [SQL_COMMIT] = "COMMIT",
    [SQL_ROLLBACK] = "ROLLBACK",
    [SQL_ATTEMPT_GET] = "SELECT task, token_sha256, spend, repo, branch, runner_key, exp, over,"
                        " stopped FROM attempts WHERE attempt = ?",
    [SQL_ATTEMPT_PUT] = "INSERT INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
    [SQL_ATTEMPT_OVER] = "UPDATE attempts SET over = 1 WHERE attempt = ?",
    [SQL_ATTEMPT_STOP] = "UPDATE attempts SET stopped = ? WHERE attempt = ? AND stopped = ''",
    [SQL_ATTEMPT_REFUSED] = "UPDATE attempts SET refused = refused + 1 WHERE attempt = ?"
                            " RETURNING refused",
    [SQL_TASK_GET] = "SELECT " SUM_NAMES " FROM tasks WHERE task = ?",
    [SQL_TASK_PUT] = "INSERT INTO tasks (task, " SUM_NAMES ") VALUES (?, " SUM_MARKS ")"
                     " ON CONFLICT (task) DO UPDATE SET " SUM_SET,
    [SQL_TASK_MARK] = "UPDATE tasks SET mark = ? WHERE task = ?",
    [SQL_MARK_GET] = "SELECT mark FROM tasks WHERE task = ?",
    [SQL_DAY_GET] = "SELECT " SUM_NAMES " FROM days WHERE day = ? AND provider = ?",
    [SQL_DAY_PUT] = "INSERT INTO days (day, provider, " SUM_NAMES ") VALUES (?, ?, " SUM_MARKS ")"
                    " ON CONFLICT (day, provider) DO UPDATE SET " SUM_SET,
    [SQL_DAY_ALL] = "SELECT " SUM_NAMES " FROM days WHERE day = ?",
    [SQL_CALL_PUT] = "INSERT INTO calls (id, attempt, task, provider, model, dialect, prices, at,"
                     " day, reserve, charged, end) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",
    [SQL_CALL_GET] = "SELECT task, provider, day, reserve FROM calls WHERE id = ? AND end = 0",
    [SQL_CALL_SETTLE] = "UPDATE calls SET charged = ?, end = ?, status = ?, input = ?,"
                        " cache_read = ?, cache_write = ?, cache_write_1h = ?, output = ?,"
                        " first_ms = ?, ms = ? WHERE id = ?",
    [SQL_CALL_NEWEST] = "SELECT coalesce(max(at), 0) FROM calls WHERE task = ?",
    [SQL_CALLS_SINCE] = "SELECT at FROM calls WHERE task = ? AND at >= ?",
    [SQL_CALL_LAST] = "SELECT coalesce(max(id), 0) FROM calls",
    [SQL_REFUSAL_PUT] = "INSERT INTO refusals VALUES (?, ?, ?)",
    [SQL_EACH_CALL] = "SELECT id, attempt, provider, model, dialect, prices, at, reserve, charged,"
                      " end, status, input, cache_read, cache_write, cache_write_1h, output,"
                      " first_ms, ms FROM calls WHERE task = ? ORDER BY id",
    [SQL_EACH_REFUSAL] = "SELECT r.attempt, r.at, r.why FROM refusals r JOIN attempts a"
                         " ON a.attempt = r.attempt WHERE a.task = ? ORDER BY r.rowid",
    [SQL_EACH_DAY] = "SELECT day, provider, " SUM_NAMES " FROM days WHERE day >= ?"
                     " ORDER BY day DESC, provider",
    [SQL_EACH_TASK] = "SELECT task, sum(charged), count(*) FROM calls WHERE day >= ? AND end <> 3"
                      " GROUP BY task ORDER BY sum(charged) DESC, task LIMIT ?",
};

/* ---- statements ---- */

int db_fail(struct ledger *l, struct err *err)
{
    return err_set(err, ERR_FAIL, "spend.db: %s", l->db ? sqlite3_errmsg(l->db) : "out of memory");
}

struct run sql_run(struct ledger *l, enum sql which)
{
    struct run r = {.l = l, .rc = SQLITE_OK};
    if (!l->stmts[which])
        r.rc = sqlite3_prepare_v3(l->db, texts[which], -1, SQLITE_PREPARE_PERSISTENT,
                                  &l->stmts[which], NULL);
    r.s = l->stmts[which];
    return r;
}

static void keep(struct run *r, int rc)
{
    if (r->rc == SQLITE_OK)
        r->rc = rc;
}

void run_text(struct run *r, const char *text)
{
    keep(r, sqlite3_bind_text(r->s, ++r->at, text, -1, SQLITE_STATIC));
}

void run_u64(struct run *r, uint64_t v)
{
    keep(r, sqlite3_bind_int64(r->s, ++r->at, (int64_t)(v < COUNT_MAX ? v : COUNT_MAX)));
}

void run_blob(struct run *r, const void *bytes, size_t n)
{
    keep(r, sqlite3_bind_blob64(r->s, ++r->at, bytes, n, SQLITE_STATIC));
}

int run_step(struct run *r, struct err *err)
{
    if (r->rc != SQLITE_OK)
        return db_fail(r->l, err);
    r->at = 0;
    switch (sqlite3_step(r->s)) {
    case SQLITE_ROW:
        return 1;
    case SQLITE_DONE:
        return 0;
    default:
        return db_fail(r->l, err);
    }
}

void run_end(struct run *r)
{
    if (!r->s)
        return;
    sqlite3_reset(r->s);
    sqlite3_clear_bindings(r->s);
}

int run_once(struct run *r, struct err *err)
{
    int rc = run_step(r, err);
    run_end(r);
    return rc < 0 ? rc : 0;
}

uint64_t run_get_u64(struct run *r)
{
    int64_t v = sqlite3_column_int64(r->s, r->at++);
    return v < 0 ? COUNT_MAX : (uint64_t)v;
}

bool run_get_text(struct run *r, char *to, size_t size)
{
    const unsigned char *text = sqlite3_column_text(r->s, r->at);
    size_t n = (size_t)sqlite3_column_bytes(r->s, r->at++);
    if (!text || n >= size || memchr(text, 0, n))
        return false;
    memcpy(to, text, n + 1);
    return true;
}

bool run_get_blob(struct run *r, void *to, size_t size)
{
    const void *bytes = sqlite3_column_blob(r->s, r->at);
    if (!bytes || (size_t)sqlite3_column_bytes(r->s, r->at++) != size)
        return false;
    memcpy(to, bytes, size);
    return true;
}

/* ---- sums ---- */

uint64_t add_capped(uint64_t a, uint64_t b)
{
    return b >= COUNT_MAX || a >= COUNT_MAX - b ? COUNT_MAX : a + b;
}

void run_get_sums(struct run *r, struct sums *out)
{
    uint64_t *const to[] = {&out->spent,      &out->held,        &out->in_flight,
                            &out->calls,      &out->refused,     &out->input,
                            &out->cache_read, &out->cache_write, &out->output};
    for (size_t i = 0; i < sizeof to / sizeof to[0]; i++)
        *to[i] = run_get_u64(r);
}

static void bind_sums(struct run *r, const struct sums *s)
{
    const uint64_t from[] = {s->spent, s->held,       s->in_flight,   s->calls, s->refused,
                             s->input, s->cache_read, s->cache_write, s->output};
    for (size_t i = 0; i < sizeof from / sizeof from[0]; i++)
        run_u64(r, from[i]);
}

static int take_sums(struct run *r, struct sums *out, struct err *err)
{
    *out = (struct sums){0};
    int rc = run_step(r, err);
    if (rc == 1)
        run_get_sums(r, out);
    run_end(r);
    return rc < 0 ? rc : 0;
}

int task_get(struct ledger *l, const char *task, struct sums *out, struct err *err)
{
    struct run r = sql_run(l, SQL_TASK_GET);
    run_text(&r, task);
    return take_sums(&r, out, err);
}

int task_put(struct ledger *l, const char *task, const struct sums *s, struct err *err)
{
    struct run r = sql_run(l, SQL_TASK_PUT);
    run_text(&r, task);
    bind_sums(&r, s);
    return run_once(&r, err);
}

int day_get(struct ledger *l, const char *provider, uint64_t day, struct sums *out, struct err *err)
{
    struct run r = sql_run(l, SQL_DAY_GET);
    run_u64(&r, day);
    run_text(&r, provider);
    return take_sums(&r, out, err);
}

int day_put(struct ledger *l, const char *provider, uint64_t day, const struct sums *s,
            struct err *err)
{
    struct run r = sql_run(l, SQL_DAY_PUT);
    run_u64(&r, day);
    run_text(&r, provider);
    bind_sums(&r, s);
    return run_once(&r, err);
}

/* ---- turns ---- */

int turn_fail(struct ledger *l, int rc)
{
    if (!sqlite3_get_autocommit(l->db))
        (void)sqlite3_exec(l->db, "ROLLBACK", NULL, NULL, NULL);
    l->voided = l->voided || l->holds > 0;
    l->redo = l->redo || l->nsettled > 0;
    l->holds = 0;
    l->begun = l->dirty = false;
    live_clear(l);
    return rc;
}

int turn_judge(struct ledger *l, int rc)
{
    return rc == -ERR_FAIL ? turn_fail(l, rc) : rc;
}

static int redo_settled(struct ledger *l, struct err *err)
{
    for (size_t i = 0; l->redo && i < l->nsettled; i++) {
        int rc = settle_row(l, &l->settled[i], err); /* 0: its hold was void too */
        if (rc < 0)
            return rc;
        l->dirty = true;
    }
    l->redo = false;
    return 0;
}

int turn_begin(struct ledger *l, struct err *err)
{
    if (l->begun)
        return 0;
    if (l->voided || l->lost)
        return err_set(err, ERR_FAIL, "spend.db: nothing can be written");
    struct run r = sql_run(l, SQL_BEGIN);
    int rc = run_once(&r, err);
    if (rc < 0)
        return rc;
    l->begun = true;
    rc = redo_settled(l, err);
    return rc < 0 ? turn_fail(l, rc) : 0;
}

int turn_commit(struct ledger *l, struct err *err)
{
    int rc = l->redo ? turn_begin(l, err) : 0;
    if (rc < 0 || !l->begun)
        return rc;
    struct run r = sql_run(l, SQL_COMMIT);
    rc = run_once(&r, err);
    if (rc < 0)
        return turn_fail(l, rc);
    l->begun = l->dirty = false;
    l->unsynced = true;
    l->holds = 0;
    l->nsettled = 0;
    return 0;
}

static int sync_by(const struct ledger *l, unsigned who)
{
    return fdatasync(l->wal[who]) < 0 ? -errno : 0;
}

int turn_flush(struct ledger *l, struct err *err)
{
    int rc = turn_commit(l, err);
    if (rc < 0 || !l->unsynced)
        return rc;
    rc = ledger_synced(l, sync_by(l, 0), err);
    l->unsynced = rc < 0;
    return rc;
}

/* Whoever held since the last flush hears here, and only here, that its hold is void. */
static int end_turn(struct ledger *l, int (*end)(struct ledger *l, struct err *err),
                    struct err *err)
{
    int rc = l->voided ? err_set(err, ERR_FAIL, "spend.db: could not be written") : end(l, err);
    l->voided = false;
    return rc;
}

int ledger_flush(struct ledger *l, struct err *err)
{
    return end_turn(l, turn_flush, err);
}

int ledger_commit(struct ledger *l, struct err *err)
{
    return end_turn(l, turn_commit, err);
}

int ledger_sync(const struct ledger *l, unsigned thread)
{
    return sync_by(l, 1 + thread);
}

int ledger_synced(struct ledger *l, int rc, struct err *err)
{
    if (rc < 0)
        l->lost = true;
    return l->lost ? err_set(err, ERR_FAIL, "spend.db: could not be synced%s%s", rc < 0 ? ": " : "",
                             rc < 0 ? strerror(-rc) : "")
                   : 0;
}

bool ledger_dirty(const struct ledger *l)
{
    return l->dirty || l->voided || l->redo;
}

/* ---- opening ---- */

/* Runs a query of one number or word. */
static int ask(struct ledger *l, const char *sql, char *to, size_t size, struct err *err)
{
    sqlite3_stmt *s = NULL;
    int rc = 0;
    if (sqlite3_prepare_v2(l->db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        rc = db_fail(l, err);
    else
        snprintf(to, size, "%s", (const char *)sqlite3_column_text(s, 0));
    sqlite3_finalize(s);
    return rc;
}

static int exec(struct ledger *l, const char *sql, struct err *err)
{
    return sqlite3_exec(l->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : db_fail(l, err);
}

/* Nothing is built upon what an earlier process left in the log: a sync that failed there is told to nobody
 * again, and what it was about stands in memory as if it were on the disk. Whoever reads just now keeps it. */
static int begin_log(struct ledger *l, struct err *err)
{
    int rc = sqlite3_wal_checkpoint_v2(l->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    return rc == SQLITE_OK || rc == SQLITE_BUSY ? 0 : db_fail(l, err);
}

/* One transaction: schema or what a dead process left, and that writing works at all. It also opens all
 * files there are to open, for later none can be. */
static int start(struct ledger *l, bool fresh, struct err *err)
{
    char word[64];
    int rc = ask(l, "PRAGMA journal_mode = WAL", word, sizeof word, err);
    if (rc == 0 && strcmp(word, "wal") != 0)
        rc = err_set(err, ERR_FAIL, "spend.db: no write-ahead log is possible there (%s)", word);
    rc = rc < 0 ? rc : begin_log(l, err);
    rc = rc < 0 ? rc : exec(l, "BEGIN IMMEDIATE", err);
    rc = rc < 0 ? rc : exec(l, fresh ? schema : charge_held, err);
    return rc < 0 ? rc : exec(l, "COMMIT", err);
}

static int check(struct ledger *l, bool write, bool *ret_fresh, struct err *err)
{
    char version[32], tables[32], health[256];
    int rc = ask(l, "PRAGMA user_version", version, sizeof version, err);
    rc = rc < 0 ? rc : ask(l, "SELECT count(*) FROM sqlite_schema", tables, sizeof tables, err);
    if (rc < 0)
        return rc;
    *ret_fresh = strcmp(version, "0") == 0 && strcmp(tables, "0") == 0;
    if (*ret_fresh)
        return write ? 0 : err_set(err, ERR_FAIL, "spend.db: empty");
    if (strcmp(version, "0") == 0)
        return err_set(err, ERR_FAIL, "spend.db: not a ledger of creel's");
    if (strcmp(version, "1") != 0)
        return err_set(err, ERR_FAIL,
                       "spend.db was made by a newer creel (schema %s, this one knows %d)", version,
                       DB_VERSION);
    if (!write)
        return 0;
    rc = ask(l, "PRAGMA quick_check(1)", health, sizeof health, err);
    if (rc == 0 && strcmp(health, "ok") != 0)
        rc = err_set(err, ERR_FAIL, "spend.db: %s", health);
    return rc;
}

/* After a commit; n: the log's frames in use. A log that cannot grow ahead grows as it is written. */
static int on_wal(void *arg, sqlite3 *db, const char *name, int n)
{
    static const uint8_t zeros[WAL_GROW_BY];
    struct ledger *l = arg;
    struct stat st;
    off_t used = (off_t)n * WAL_FRAME;
    if (n >= WAL_PAGES) {
        (void)sqlite3_wal_checkpoint_v2(db, name, SQLITE_CHECKPOINT_PASSIVE, NULL, NULL);
        /* The next one would copy only what this one did not, and believe the rest. */
        if (sqlite3_extended_errcode(db) == SQLITE_IOERR_FSYNC)
            l->lost = true;
    } else if (fstat(l->wal[0], &st) == 0 && used + WAL_AHEAD > st.st_size) {
        (void)!pwrite(l->wal[0], zeros, sizeof zeros, st.st_size);
    }
    return SQLITE_OK;
}

/* The log is synced by us alone, once for all that a turn wrote; SQLite does so where it begins the log
 * anew and before it copies pages back. */
static int take_wal(struct ledger *l, const char *path, struct err *err)
{
    char wal[PATH_MAX + 8];
    snprintf(wal, sizeof wal, "%s-wal", path);
    for (size_t i = 0; i < sizeof l->wal / sizeof l->wal[0]; i++) {
        l->wal[i] = open(wal, O_WRONLY | O_NOFOLLOW | O_CLOEXEC);
        if (l->wal[i] < 0)
            return err_errno(err, ERR_FAIL, "%s", wal);
    }
    sqlite3_wal_hook(l->db, on_wal, l);
    return 0;
}

/* The lock outlives no process; the database file is ours alone. */
static int take_lock(struct ledger *l, const char *dir, struct err *err)
{
    int dirfd = dir_open(dir, false, true, err);
    if (dirfd < 0)
        return dirfd;
    const int flags = O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC;
    int rc = 0, db = openat(dirfd, "spend.db", flags, 0600);
    l->lock = openat(dirfd, "spend.lock", flags, 0600);
    if (db < 0 || l->lock < 0)
        rc = err_errno(err, ERR_FAIL, "%s/spend.db", dir);
    else if (flock(l->lock, LOCK_EX | LOCK_NB) < 0)
        rc = errno == EWOULDBLOCK
                 ? err_set(err, ERR_FAIL, "%s/spend.db: another broker has it", dir)
                 : err_errno(err, ERR_FAIL, "%s/spend.lock", dir);
    fd_close(&db);
    fd_close(&dirfd);
    return rc;
}

static int open_file(struct ledger *l, const char *path, bool write, struct err *err)
{
    bool fresh = false;
    if (sqlite3_open_v2(path, &l->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return db_fail(l, err);
    sqlite3_busy_timeout(l->db, DB_BUSY_MS);
    int rc = exec(l,
                  "PRAGMA trusted_schema = OFF; PRAGMA temp_store = MEMORY;"
                  " PRAGMA cache_spill = OFF; PRAGMA synchronous = NORMAL",
                  err);
    rc = rc < 0 ? rc : check(l, write, &fresh, err);
    if (rc == 0)
        rc = write ? start(l, fresh, err) : exec(l, "PRAGMA query_only = ON", err);
    return rc == 0 && write ? take_wal(l, path, err) : rc;
}

int db_open(struct ledger *l, const char *dir, bool write, struct err *err)
{
    char path[PATH_MAX];
    if (snprintf(path, sizeof path, "%s/spend.db", dir) >= (int)sizeof path)
        return err_set(err, ERR_USAGE, "path too long: %.60s...", dir);
    if (!write && access(path, F_OK) < 0 && errno == ENOENT)
        return err_set(err, ERR_USAGE, "nothing was spent yet: there is no %s", path);
    int rc = write ? take_lock(l, dir, err) : 0;
    rc = rc < 0 ? rc : open_file(l, path, write, err);
    int code = l->db ? sqlite3_errcode(l->db) : SQLITE_OK;
    if (rc < 0 && (code == SQLITE_CORRUPT || code == SQLITE_NOTADB))
        rc = err_set(err, ERR_FAIL,
                     "%s is damaged (%s): move spend.db* away to begin anew; what was spent until "
                     "now is forgotten then",
                     path, sqlite3_errmsg(l->db));
    return rc;
}
