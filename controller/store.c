/* The database itself: opening, schema and its versions, queries, transactions, settings.
 *
 * Any number of commands and one engine have it open at once: WAL lets them read while one writes,
 * every write transaction is taken at once (BEGIN IMMEDIATE) and waits its turn. SQL text is ours,
 * values are always bound.
 */
#include "controller/store_internal.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define STORE_VERSION 3
#define STORE_BUSY_MS 20000

/* JSON columns hold what SQL never asks about. An attempt is one row: retries keep their history. A
 * fence belongs to a host key, not to a name, so that it survives `host rm` and `host add`. */
static const char schema_1[] =
    "CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;"
    "CREATE TABLE hosts ("
    " name TEXT PRIMARY KEY, user TEXT NOT NULL, addr TEXT NOT NULL, port INTEGER NOT NULL,"
    " host_key TEXT NOT NULL, host_key_fpr TEXT NOT NULL,"
    " runner_key_known INTEGER NOT NULL, runner_key BLOB NOT NULL,"
    " program TEXT NOT NULL, kernel TEXT NOT NULL, unenforceable_why TEXT NOT NULL,"
    " slots INTEGER NOT NULL, unenforceable INTEGER NOT NULL,"
    " rooted INTEGER NOT NULL, memory_cleared INTEGER NOT NULL,"
    " added INTEGER NOT NULL, last_seen INTEGER NOT NULL) STRICT;"
    "CREATE TABLE fences (host_key_fpr TEXT PRIMARY KEY, last INTEGER NOT NULL)"
    " STRICT, WITHOUT ROWID;"
    "CREATE TABLE tasks ("
    " id TEXT PRIMARY KEY, title TEXT NOT NULL, repo TEXT NOT NULL, base TEXT NOT NULL,"
    " root TEXT NOT NULL, branch TEXT NOT NULL, pack TEXT NOT NULL, pack_bytes INTEGER NOT NULL,"
    " pack_sha256 BLOB NOT NULL, host TEXT NOT NULL, state INTEGER NOT NULL, reason TEXT NOT NULL,"
    " code INTEGER NOT NULL, cancel INTEGER NOT NULL, review INTEGER NOT NULL,"
    " created_ms INTEGER NOT NULL, updated_ms INTEGER NOT NULL, attempt_n INTEGER NOT NULL,"
    " imported INTEGER NOT NULL, commit_oid TEXT NOT NULL,"
    " work TEXT NOT NULL, policy TEXT NOT NULL) STRICT;"
    "CREATE TABLE attempts ("
    " task TEXT NOT NULL REFERENCES tasks (id), n INTEGER NOT NULL, attempt_host TEXT NOT NULL,"
    " fence INTEGER NOT NULL, runner_key BLOB NOT NULL, leased_ms INTEGER NOT NULL, sent INTEGER "
    "NOT NULL DEFAULT 0,"
    " log_bytes INTEGER NOT NULL DEFAULT 0, result_stored INTEGER NOT NULL DEFAULT 0,"
    " outcome INTEGER NOT NULL DEFAULT -1, wiped INTEGER NOT NULL DEFAULT 0,"
    " PRIMARY KEY (task, n)) STRICT, WITHOUT ROWID;"
    "PRAGMA user_version = 1;";

/* What hosts tell of themselves, dependency caches, and the policy's newer members for tasks that were
 * made without them. */
static const char schema_2[] =
    "ALTER TABLE hosts ADD COLUMN disk_images INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE hosts ADD COLUMN disk_images_why TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE hosts ADD COLUMN landlock_abi INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE hosts ADD COLUMN presets INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE hosts ADD COLUMN images TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE hosts ADD COLUMN reach TEXT NOT NULL DEFAULT '';"
    "ALTER TABLE tasks ADD COLUMN cache TEXT NOT NULL DEFAULT '';"
    "UPDATE tasks SET policy = json_set(policy, '$.limits.conns', '10000',"
    " '$.limits.sent_bytes', '1073741824', '$.limits.dns', '10000', '$.image', '', '$.cache', '',"
    " '$.cache_keep', json('false'), '$.nested_userns', json('false'));"
    "CREATE TABLE caches (host_key_fpr TEXT NOT NULL, name TEXT NOT NULL, digest TEXT NOT NULL,"
    " task TEXT NOT NULL, kept INTEGER NOT NULL, PRIMARY KEY (host_key_fpr, name))"
    " STRICT, WITHOUT ROWID;"
    "PRAGMA user_version = 2;";

/* The tool layer that a host has for agents. */
static const char schema_3[] = "ALTER TABLE hosts ADD COLUMN tools TEXT NOT NULL DEFAULT '';"
                               "PRAGMA user_version = 3;";

/* schemas[v] leads from version v to v + 1. */
static const char *const schemas[STORE_VERSION] = {schema_1, schema_2, schema_3};

int store_fail(struct store *s, const char *what, struct err *err)
{
    return err_set(err, ERR_FAIL, "creel.db: %s: %s", what,
                   s->db ? sqlite3_errmsg(s->db) : "out of memory");
}

static int exec(struct store *s, const char *sql, struct err *err)
{
    if (sqlite3_exec(s->db, sql, NULL, NULL, NULL) != SQLITE_OK)
        return store_fail(s, "setting up", err);
    return 0;
}

int query_init(struct query *q, struct store *s, const char *sql, struct err *err)
{
    *q = (struct query){.s = s};
    if (sqlite3_prepare_v2(s->db, sql, -1, &q->stmt, NULL) != SQLITE_OK)
        return store_fail(s, "preparing", err);
    return 0;
}

void query_done(struct query *q)
{
    sqlite3_finalize(q->stmt);
    q->stmt = NULL;
}

static void keep(struct query *q, int rc)
{
    if (q->rc == SQLITE_OK)
        q->rc = rc;
}

void query_text(struct query *q, const char *text)
{
    keep(q, sqlite3_bind_text(q->stmt, ++q->bound, text, -1, SQLITE_TRANSIENT));
}

void query_int(struct query *q, int64_t v)
{
    keep(q, sqlite3_bind_int64(q->stmt, ++q->bound, v));
}

void query_blob(struct query *q, const void *bytes, size_t n)
{
    keep(q, sqlite3_bind_blob64(q->stmt, ++q->bound, bytes, n, SQLITE_TRANSIENT));
}

int query_step(struct query *q, struct err *err)
{
    int rc;

    if (q->rc != SQLITE_OK)
        return store_fail(q->s, "binding", err);
    rc = sqlite3_step(q->stmt);
    if (rc == SQLITE_ROW)
        return 1;
    if (rc == SQLITE_DONE)
        return 0;
    return store_fail(q->s, "query", err);
}

int query_run(struct query *q, int *ret_changed, struct err *err)
{
    int rc = query_step(q, err);

    if (rc == 0 && ret_changed)
        *ret_changed = sqlite3_changes(q->s->db);
    return rc;
}

int store_begin(struct store *s, bool durable, struct err *err)
{
    /* In WAL mode FULL syncs the log at every commit, NORMAL only at checkpoints. */
    int rc = exec(s, durable ? "PRAGMA synchronous = FULL" : "PRAGMA synchronous = NORMAL", err);

    return rc < 0 ? rc : exec(s, "BEGIN IMMEDIATE", err);
}

int store_end(struct store *s, int rc, struct err *err)
{
    if (rc == 0) {
        if (sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK)
            return 0;
        rc = store_fail(s, "commit", err);
    }
    sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int user_version(struct store *s, int *ret, struct err *err)
{
    struct query q;
    int rc = query_init(&q, s, "PRAGMA user_version", err);

    rc = rc < 0 ? rc : query_step(&q, err);
    if (rc == 1) {
        *ret = sqlite3_column_int(q.stmt, 0);
        rc = 0;
    }
    query_done(&q);
    return rc;
}

/* Two first commands may come here at once: the version is read again inside the transaction. */
static int schema_make(struct store *s, struct err *err)
{
    int version = 0;
    int rc = exec(s, "PRAGMA journal_mode = WAL", err);

    rc = rc < 0 ? rc : store_begin(s, true, err);
    if (rc < 0)
        return rc;
    rc = user_version(s, &version, err);
    for (; rc == 0 && version >= 0 && version < STORE_VERSION; version++)
        rc = exec(s, schemas[version], err);
    return store_end(s, rc, err);
}

static int schema_check(struct store *s, bool create, struct err *err)
{
    int version = 0;
    int rc = user_version(s, &version, err);

    if (rc < 0 || version == STORE_VERSION)
        return rc;
    if (version > STORE_VERSION)
        return err_set(err, ERR_FAIL,
                       "creel.db was made by a newer creel (schema %d, this one knows %d)", version,
                       STORE_VERSION);
    if (version == 0 && !create)
        return err_set(err, ERR_USAGE, "creel.db is empty: run 'creel init'");
    return schema_make(s, err);
}

int store_open(const char *path, bool create, struct store **ret, struct err *err)
{
    struct store *s = calloc(1, sizeof(*s));
    int flags = SQLITE_OPEN_READWRITE | (create ? SQLITE_OPEN_CREATE : 0);
    int rc = 0;

    if (!s)
        return err_set(err, ERR_FAIL, "out of memory");
    if (!create && access(path, F_OK) < 0)
        rc = err_set(err, ERR_USAGE, "no database at %s: run 'creel init'", path);
    else if (sqlite3_open_v2(path, &s->db, flags, NULL) != SQLITE_OK)
        rc = store_fail(s, path, err);
    if (rc == 0) {
        sqlite3_busy_timeout(s->db, STORE_BUSY_MS);
        sqlite3_extended_result_codes(s->db, 1);
        /* trusted_schema off: the file cannot bring functions or views to life. */
        rc = exec(s, "PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF", err);
    }
    rc = rc < 0 ? rc : schema_check(s, create, err);
    if (rc < 0) {
        store_close(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void store_close(struct store *s)
{
    if (!s)
        return;
    sqlite3_close(s->db);
    free(s);
}

/* What is written again every few seconds and means nothing after a crash. */
static bool meta_fleeting(const char *key)
{
    return strcmp(key, "heartbeat_ms") == 0 || strcmp(key, "engine_pid") == 0;
}

int store_meta_set(struct store *s, const char *key, const char *value, struct err *err)
{
    struct query q = {0};
    int rc = store_begin(s, !meta_fleeting(key), err);

    if (rc < 0)
        return rc;
    rc = query_init(&q, s,
                    "INSERT INTO meta (key, value) VALUES (?, ?)"
                    " ON CONFLICT (key) DO UPDATE SET value = excluded.value",
                    err);
    if (rc == 0) {
        query_text(&q, key);
        query_text(&q, value);
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    return store_end(s, rc, err);
}

int store_meta_get(struct store *s, const char *key, struct buf *to, struct err *err)
{
    struct query q;
    int rc = query_init(&q, s, "SELECT value FROM meta WHERE key = ?", err);

    if (rc == 0) {
        query_text(&q, key);
        rc = query_step(&q, err);
    }
    if (rc == 1) {
        const void *text = sqlite3_column_text(q.stmt, 0);

        rc = buf_add(to, text ? text : "", (size_t)sqlite3_column_bytes(q.stmt, 0));
        if (rc < 0)
            rc = err_set(err, ERR_FAIL, "creel.db: setting %s is too long", key);
    }
    query_done(&q);
    return rc;
}
