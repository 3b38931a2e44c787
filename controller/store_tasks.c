/* Tasks in the store: what was asked for, as rows read and listed. Their changes of state are in
 * store_states.c.
 */
#include "controller/store_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "controller/agent_profile.h"

#define TASKS_MAX 1000000

static const struct column task_columns[] = {
    COLUMN(struct task_row, TEXT, id),
    COLUMN(struct task_row, TEXT, title),
    COLUMN(struct task_row, TEXT, repo),
    COLUMN(struct task_row, TEXT, base),
    COLUMN(struct task_row, TEXT, root),
    COLUMN(struct task_row, TEXT, branch),
    COLUMN(struct task_row, TEXT, pack),
    COLUMN(struct task_row, U64, pack_bytes),
    COLUMN(struct task_row, BLOB, pack_sha256),
    COLUMN(struct task_row, TEXT, host),
    COLUMN(struct task_row, TEXT, cache),
    COLUMN(struct task_row, INT, state),
    COLUMN(struct task_row, TEXT, reason),
    COLUMN(struct task_row, INT, code),
    COLUMN(struct task_row, BOOL, cancel),
    COLUMN(struct task_row, INT, review),
    COLUMN(struct task_row, U64, created_ms),
    COLUMN(struct task_row, U64, updated_ms),
    COLUMN(struct task_row, UINT, attempt_n),
    COLUMN(struct task_row, BOOL, imported),
    COLUMN_AS(struct task_row, TEXT, commit, "commit_oid"),
};
#define TASK_COLUMNS (sizeof(task_columns) / sizeof(task_columns[0]))

static const struct column attempt_columns[] = {
    COLUMN(struct task_row, TEXT, attempt_host), COLUMN(struct task_row, U64, fence),
    COLUMN(struct task_row, U64, log_bytes),     COLUMN(struct task_row, BOOL, result_stored),
    COLUMN(struct task_row, BOOL, wiped),        COLUMN(struct task_row, INT, outcome),
};
#define ATTEMPT_COLUMNS (sizeof(attempt_columns) / sizeof(attempt_columns[0]))

/* Column `work`: what is to be run, as one JSON object. */
static const struct json_field work_fields[] = {
    JSON_ROW(struct task_row, STRS, setup),
    JSON_ROW(struct task_row, STRS, command),
    JSON_ROW(struct task_row, STRS, tests),
    JSON_ROW(struct task_row, TEXT, agent, .optional = true),
    JSON_ROW(struct task_row, ENUM, events, .names = agent_events_names, .optional = true),
    JSON_ROW(struct task_row, TEXT, tool, .optional = true),
    JSON_ROW(struct task_row, STRS, env, .optional = true),
    JSON_ROW(struct task_row, LIST, files, .shape = &task_file_shape, .optional = true),
    JSON_END,
};
static const struct json_shape work_shape = {.size = sizeof(struct task_row),
                                             .fields = work_fields};

void task_row_done(struct task_row *t)
{
    strv_done(&t->setup);
    strv_done(&t->command);
    strv_done(&t->tests);
    strv_done(&t->env);
    task_files_done(&t->files);
    policy_done(&t->policy);
}

/* "SELECT <work>, <policy>, <task columns>, <attempt columns> FROM ... " + tail */
static int task_select(struct query *q, struct store *s, const char *tail, struct err *err)
{
    struct buf sql;
    int rc;

    buf_init(&sql, STORE_SQL_MAX);
    buf_adds(&sql, "SELECT work, policy, ");
    columns_sql(task_columns, TASK_COLUMNS, false, &sql);
    buf_adds(&sql, ", ");
    columns_sql(attempt_columns, ATTEMPT_COLUMNS, false, &sql);
    buf_adds(&sql, " FROM tasks LEFT JOIN attempts ON task = id AND n = attempt_n ");
    buf_adds(&sql, tail);
    rc = query_init(q, s, buf_str(&sql), err);
    buf_done(&sql);
    return rc;
}

static int json_column(struct query *q, int i, const struct json_shape *shape, void *out,
                       struct err *err)
{
    const void *text = sqlite3_column_text(q->stmt, i);
    int rc =
        json_decode(shape, text ? text : "", (size_t)sqlite3_column_bytes(q->stmt, i), out, err);

    return rc < 0 ? err_wrap(err, "creel.db: column %s", sqlite3_column_name(q->stmt, i)) : 0;
}

static int states_check(const struct task_row *t, struct err *err)
{
    if (t->state < 0 || t->state >= TASK_STATE_COUNT || t->review < 0 ||
        t->review >= REVIEW_STATE_COUNT || t->outcome < -1 || t->outcome >= OUTCOME_COUNT)
        return err_set(err, ERR_FAIL, "creel.db: task %s is in no known state", t->id);
    return 0;
}

/* json_decode zeroes the whole struct of its shape, so the lists come first. */
static int task_read(struct query *q, struct task_row *out, struct err *err)
{
    int rc = json_column(q, 0, &work_shape, out, err);

    if (rc < 0)
        return rc;
    out->outcome = -1;
    rc = json_column(q, 1, &policy_shape, &out->policy, err);
    rc = rc < 0 ? rc : columns_read(task_columns, TASK_COLUMNS, q, 2, out, err);
    rc =
        rc < 0 ? rc : columns_read(attempt_columns, ATTEMPT_COLUMNS, q, 2 + TASK_COLUMNS, out, err);
    rc = rc < 0 ? rc : states_check(out, err);
    if (rc < 0)
        task_row_done(out);
    return rc;
}

static int task_insert(struct store *s, const struct task_row *t, const char *work,
                       const char *policy, struct err *err)
{
    struct query q = {0};
    struct buf sql;
    int rc;

    buf_init(&sql, STORE_SQL_MAX);
    buf_adds(&sql, "INSERT INTO tasks (work, policy, ");
    columns_sql(task_columns, TASK_COLUMNS, false, &sql);
    buf_adds(&sql, ") VALUES (?, ?, ");
    columns_sql(task_columns, TASK_COLUMNS, true, &sql);
    buf_adds(&sql, ")");
    rc = store_begin(s, true, err);
    if (rc == 0) {
        rc = query_init(&q, s, buf_str(&sql), err);
        if (rc == 0) {
            query_text(&q, work);
            query_text(&q, policy);
            columns_bind(task_columns, TASK_COLUMNS, &q, t);
            rc = query_run(&q, NULL, err);
        }
        query_done(&q);
        rc = store_end(s, rc, err);
    }
    buf_done(&sql);
    return rc;
}

int store_task_add(struct store *s, const struct task_row *t, struct err *err)
{
    struct task_row row = *t; /* borrows t's lists */
    struct buf work, policy;
    int rc;

    if (!id_valid(t->id))
        return err_set(err, ERR_USAGE, "'%.40s' is not a task id", t->id);
    row.created_ms = row.created_ms ? row.created_ms : clock_wall_ms();
    row.updated_ms = row.created_ms;
    row.attempt_n = 0;
    buf_init(&work, JSON_BYTES_MAX);
    buf_init(&policy, JSON_BYTES_MAX);
    rc = json_encode(&work_shape, &row, &work, err);
    rc = rc < 0 ? rc : json_encode(&policy_shape, &row.policy, &policy, err);
    rc = rc < 0 ? rc : task_insert(s, &row, buf_str(&work), buf_str(&policy), err);
    buf_done(&work);
    buf_done(&policy);
    return rc;
}

/* Characters of an id, as the operator may have typed them. */
static bool part_fold(const char *typed, char out[static ID_SIZE])
{
    size_t n = strlen(typed);

    if (n >= ID_SIZE)
        return false;
    for (size_t i = 0; i <= n; i++) {
        char c = typed[i];

        if (c >= 'A' && c <= 'Z')
            c = (char)(c - 'A' + 'a');
        if (c && !(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9'))
            return false;
        out[i] = c;
    }
    return true;
}

static int task_one(struct query *q, const char *what, struct task_row *out, struct err *err)
{
    struct task_row row;
    int rc = query_step(q, err);

    if (rc == 0)
        return err_set(err, ERR_USAGE, "no task '%.40s': see 'creel ps --all'", what);
    rc = rc < 0 ? rc : task_read(q, &row, err);
    if (rc < 0)
        return rc;
    rc = query_step(q, err);
    if (rc == 1)
        rc = err_set(err, ERR_USAGE,
                     "several tasks match '%.40s': give more characters (see 'creel ps --all')",
                     what);
    if (rc < 0)
        task_row_done(&row);
    else
        *out = row;
    return rc;
}

int store_task_get(struct store *s, const char *id, struct task_row *out, struct err *err)
{
    static const char by_part[] =
        "WHERE substr(id, 1, length(?1)) = ?1 OR substr(id, -length(?1)) = ?1 LIMIT 2";
    bool last = strcmp(id, "last") == 0;
    char part[ID_SIZE] = "";
    struct query q;
    int rc;

    if (!last && (!part_fold(id, part) || strlen(part) < 4))
        return err_set(err, ERR_USAGE,
                       "'%.40s' is not a task id: give 4 or more of its characters, or 'last'", id);
    rc = task_select(&q, s,
                     last             ? "ORDER BY id DESC LIMIT 1"
                     : id_valid(part) ? "WHERE id = ?1"
                                      : by_part,
                     err);
    if (rc == 0 && !last)
        query_text(&q, part);
    rc = rc < 0 ? rc : task_one(&q, id, out, err);
    query_done(&q);
    return rc;
}

static int rows_grow(struct task_row **rows, size_t n, struct err *err)
{
    struct task_row *more;

    if (n & (n - 1)) /* doubles at 1, 2, 4, ... */
        return 0;
    if (n >= TASKS_MAX)
        return err_set(err, ERR_FAIL, "creel.db: too many tasks");
    more = realloc(*rows, (n ? 2 * n : 1) * sizeof(**rows));
    if (!more) {
        err_set(err, ERR_FAIL, "out of memory");
        return -ERR_FAIL;
    }
    *rows = more;
    return 0;
}

int store_task_list(struct store *s, bool live, struct task_row **ret, size_t *ret_n,
                    struct err *err)
{
    static const char only_live[] =
        "WHERE state < ?1 OR (sent AND state != ?2"
        " AND attempt_host IN (SELECT name FROM hosts)"
        " AND (NOT wiped OR (result_stored AND NOT imported))) ORDER BY id DESC";
    struct task_row *rows = NULL;
    struct query q;
    size_t n = 0;
    int rc = task_select(&q, s, live ? only_live : "ORDER BY id DESC", err);

    if (rc == 0 && live) {
        query_int(&q, TASK_SUCCEEDED);
        query_int(&q, TASK_REFUSED);
    }
    while (rc == 0 && (rc = query_step(&q, err)) == 1) {
        rc = rows_grow(&rows, n, err);
        rc = rc < 0 ? rc : task_read(&q, &rows[n], err);
        n += rc == 0;
    }
    query_done(&q);
    if (rc < 0) {
        task_rows_free(rows, n);
        return rc;
    }
    *ret = rows;
    *ret_n = n;
    return 0;
}

int store_attempts_over(struct store *s, uint64_t since_ms, struct strv *out, struct err *err)
{
    static const char sql[] =
        "SELECT task, n FROM attempts JOIN tasks ON id = task"
        " WHERE leased_ms >= ?1 AND (n < attempt_n OR state >= ?2 OR state = ?3)";
    char attempt[ATTEMPT_ID_SIZE];
    struct query q;
    int rc = query_init(&q, s, sql, err);

    query_int(&q, (int64_t)since_ms);
    query_int(&q, TASK_SUCCEEDED);
    query_int(&q, TASK_QUEUED);
    while (rc == 0 && (rc = query_step(&q, err)) == 1) {
        const char *task = (const char *)sqlite3_column_text(q.stmt, 0);
        attempt_id_make(task ? task : "", (unsigned)sqlite3_column_int64(q.stmt, 1), attempt);
        rc = attempt[0] && strv_add(out, attempt) < 0 ? err_set(err, ERR_FAIL, "out of memory") : 0;
    }
    query_done(&q);
    return rc;
}

void task_rows_free(struct task_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++)
        task_row_done(&rows[i]);
    free(rows);
}
