/* What happens to a task, in the store: each function is one legal step, refused when the row is not
 * where that step starts. The states' own table (proto/state.h) is the judge.
 */
#include "controller/store_internal.h"

#include <string.h>

#include "common/clock.h"

/* What `creel run` exits with when nobody said anything better. */
static const int default_code[TASK_STATE_COUNT] = {
    [TASK_SUCCEEDED] = ERR_NONE,      [TASK_FAILED] = ERR_TASK,
    [TASK_TIMED_OUT] = ERR_CANCELLED, [TASK_STUCK] = ERR_CANCELLED,
    [TASK_CANCELLED] = ERR_CANCELLED, [TASK_REFUSED] = ERR_REFUSED,
    [TASK_LOST] = ERR_HOST,
};

struct task_at {
    int state, review;
    unsigned n;
    char reason[sizeof(((struct task_row *)0)->reason)];
};

static const struct column task_at_columns[] = {
    COLUMN(struct task_at, INT, state),
    COLUMN(struct task_at, INT, review),
    COLUMN_AS(struct task_at, UINT, n, "attempt_n"),
    COLUMN(struct task_at, TEXT, reason),
};

static int task_at(struct store *s, const char *id, struct task_at *out, struct err *err)
{
    struct query q;
    int rc =
        query_init(&q, s, "SELECT state, review, attempt_n, reason FROM tasks WHERE id = ?", err);

    *out = (struct task_at){0};
    if (rc == 0) {
        query_text(&q, id);
        rc = query_step(&q, err);
    }
    if (rc == 0)
        rc = err_set(err, ERR_USAGE, "no task '%.40s'", id);
    else if (rc == 1)
        rc = columns_read(task_at_columns, 4, &q, 0, out, err);
    query_done(&q);
    return rc;
}

/* Whole characters only: a cut inside one would make the row's text invalid. */
static void reason_fit(const char *reason, char out[static 301])
{
    size_t n = strlen(reason);

    if (n > 300) {
        n = 300;
        while (n > 0 && ((unsigned char)reason[n] & 0xc0) == 0x80)
            n--;
    }
    memcpy(out, reason, n);
    out[n] = 0;
}

static int move(struct store *s, const char *id, const struct task_at *at, enum task_state to,
                int code, const char *reason, struct err *err)
{
    char fitted[301];
    struct query q;
    int rc;

    if (!task_state_may((enum task_state)at->state, to))
        return err_set(err, ERR_FAIL, "task %s: cannot go from %s to %s", id,
                       task_state_names[at->state], task_state_names[to]);
    reason_fit(reason ? reason : at->reason, fitted);
    rc = query_init(&q, s,
                    "UPDATE tasks SET state = ?, code = ?, reason = ?, updated_ms = ? WHERE id = ?",
                    err);
    if (rc == 0) {
        query_int(&q, to);
        query_int(&q, code);
        query_text(&q, fitted);
        query_int(&q, (int64_t)clock_wall_ms());
        query_text(&q, id);
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    return rc;
}

/* The envelope may reach the runner from here on: what is live afterwards depends on it. */
static int mark_sent(struct store *s, const char *id, unsigned n, struct err *err)
{
    struct query q;
    int rc = query_init(&q, s, "UPDATE attempts SET sent = 1 WHERE task = ? AND n = ?", err);

    if (rc == 0) {
        query_text(&q, id);
        query_int(&q, n);
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    return rc;
}

/* Running, collecting and imported are seen, not intended: an engine that comes back sees them again,
 * so they need not wait for the disk. */
static bool intended(enum task_state to)
{
    return to != TASK_RUNNING && to != TASK_COLLECTING && to != TASK_IMPORTED;
}

static int state_to(struct store *s, const char *id, enum task_state to, int code,
                    const char *reason, struct err *err)
{
    struct task_at at;
    int rc = task_at(s, id, &at, err);

    /* Saying the same again costs no write. */
    if (rc == 0 && at.state == (int)to && (!reason || strcmp(reason, at.reason) == 0))
        return 0;
    rc = rc < 0 ? rc : store_begin(s, intended(to), err);
    if (rc < 0)
        return rc;
    rc = task_at(s, id, &at, err);
    rc = rc < 0 ? rc : move(s, id, &at, to, code, reason, err);
    if (rc == 0 && to == TASK_SENDING)
        rc = mark_sent(s, id, at.n, err);
    return store_end(s, rc, err);
}

int store_task_state(struct store *s, const char *id, enum task_state to, const char *reason,
                     struct err *err)
{
    return state_to(s, id, to, default_code[to], reason, err);
}

int store_task_end(struct store *s, const char *id, enum task_state to, int code,
                   const char *reason, struct err *err)
{
    if (!task_state_final(to))
        return err_set(err, ERR_FAIL, "task %s: %s is not a final state", id, task_state_names[to]);
    return state_to(s, id, to, code, reason, err);
}

/* One UPDATE of one task: `sql` takes the values bound by `bind` and the id last. */
struct change {
    const char *sql;
    const char *text; /* first value, when not NULL */
    int64_t number;   /* next value, when `has_number` */
    bool has_number, durable;
};

static int change_run(struct store *s, const char *id, const struct change *c, struct err *err)
{
    struct query q = {0};
    int changed = 0;
    int rc = store_begin(s, c->durable, err);

    if (rc < 0)
        return rc;
    rc = query_init(&q, s, c->sql, err);
    if (rc == 0) {
        if (c->text)
            query_text(&q, c->text);
        if (c->has_number)
            query_int(&q, c->number);
        query_text(&q, id);
        rc = query_run(&q, &changed, err);
    }
    query_done(&q);
    if (rc == 0 && !changed)
        rc = err_set(err, ERR_USAGE, "no task '%.40s', or it has no attempt", id);
    return store_end(s, rc, err);
}

int store_task_reason(struct store *s, const char *id, const char *reason, struct err *err)
{
    char fitted[301];

    reason_fit(reason, fitted);
    return change_run(
        s, id, &(struct change){.sql = "UPDATE tasks SET reason = ? WHERE id = ?", .text = fitted},
        err);
}

int store_task_cancel(struct store *s, const char *id, struct err *err)
{
    return change_run(
        s, id, &(struct change){.sql = "UPDATE tasks SET cancel = 1 WHERE id = ?", .durable = true},
        err);
}

#define CURRENT_ATTEMPT " WHERE task = ? AND n = (SELECT attempt_n FROM tasks WHERE id = task)"

int store_task_log_bytes(struct store *s, const char *id, uint64_t bytes, struct err *err)
{
    return change_run(s, id,
                      &(struct change){.sql = "UPDATE attempts SET log_bytes = ?" CURRENT_ATTEMPT,
                                       .number = (int64_t)bytes,
                                       .has_number = true},
                      err);
}

int store_task_result(struct store *s, const char *id, enum outcome outcome, struct err *err)
{
    return change_run(
        s, id,
        &(struct change){.sql =
                             "UPDATE attempts SET result_stored = 1, outcome = ?" CURRENT_ATTEMPT,
                         .number = outcome,
                         .has_number = true,
                         .durable = true},
        err);
}

int store_task_wiped(struct store *s, const char *id, struct err *err)
{
    return change_run(
        s, id,
        &(struct change){.sql = "UPDATE attempts SET wiped = 1" CURRENT_ATTEMPT, .durable = true},
        err);
}

/* An import that is done again after a crash does not reopen a decided review. */
int store_task_imported(struct store *s, const char *id, const char *commit, struct err *err)
{
    static const char sql[] = "UPDATE tasks SET imported = 1, commit_oid = ?,"
                              " review = CASE review WHEN 0 THEN ? ELSE review END WHERE id = ?";

    _Static_assert(REVIEW_NONE == 0, "the statement above says so");
    if (commit[0] && !oid_valid(commit))
        return err_set(err, ERR_FAIL, "task %s: '%.40s' is not a commit", id, commit);
    return change_run(s, id,
                      &(struct change){.sql = sql,
                                       .text = commit,
                                       .has_number = true,
                                       .number = commit[0] ? REVIEW_PENDING : REVIEW_NONE,
                                       .durable = true},
                      err);
}

static int review_may(const struct task_at *at, const char *id, enum review_state to,
                      struct err *err)
{
    if (to != REVIEW_APPROVED && to != REVIEW_REJECTED)
        return err_set(err, ERR_FAIL, "task %s: that is not a decision", id);
    if (at->review == REVIEW_PENDING || at->review == (int)to)
        return 0;
    if (at->review == REVIEW_NONE)
        return err_set(err, ERR_USAGE, "task %s has nothing to review", id);
    return err_set(err, ERR_USAGE, "task %s is %s already", id, review_state_names[at->review]);
}

int store_task_review(struct store *s, const char *id, enum review_state to, struct err *err)
{
    struct query q = {0};
    struct task_at at;
    int rc = store_begin(s, true, err);

    if (rc < 0)
        return rc;
    rc = task_at(s, id, &at, err);
    rc = rc < 0 ? rc : review_may(&at, id, to, err);
    rc = rc < 0 ? rc : query_init(&q, s, "UPDATE tasks SET review = ? WHERE id = ?", err);
    if (rc == 0) {
        query_int(&q, to);
        query_text(&q, id);
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    return store_end(s, rc, err);
}

static int fence_next(struct store *s, const char *host_key_fpr, uint64_t *ret, struct err *err)
{
    struct query q;
    int rc = query_init(&q, s,
                        "INSERT INTO fences (host_key_fpr, last) VALUES (?1, ?2)"
                        " ON CONFLICT (host_key_fpr) DO UPDATE SET last = max(last + 1, ?2)"
                        " RETURNING last",
                        err);

    if (rc == 0) {
        query_text(&q, host_key_fpr);
        query_int(&q, (int64_t)clock_wall_ms());
        rc = query_step(&q, err);
    }
    if (rc == 1) {
        *ret = (uint64_t)sqlite3_column_int64(q.stmt, 0);
        rc = query_step(&q, err);
    }
    query_done(&q);
    return rc;
}

static int attempt_add(struct store *s, const char *id, const struct host_row *host, unsigned n,
                       uint64_t fence, struct err *err)
{
    struct query q;
    int rc = query_init(&q, s,
                        "INSERT INTO attempts (task, n, attempt_host, runner_key, fence, leased_ms)"
                        " VALUES (?, ?, ?, ?, ?, ?)",
                        err);

    if (rc == 0) {
        query_text(&q, id);
        query_int(&q, n);
        query_text(&q, host->name);
        query_blob(&q, host->runner_key, KEY_PUB_BYTES);
        query_int(&q, (int64_t)fence);
        query_int(&q, (int64_t)clock_wall_ms());
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    return rc;
}

static int attempt_number(struct store *s, const char *id, unsigned n, struct err *err)
{
    struct query q;
    int rc = query_init(&q, s, "UPDATE tasks SET attempt_n = ? WHERE id = ?", err);

    if (rc == 0) {
        query_int(&q, n);
        query_text(&q, id);
        rc = query_run(&q, NULL, err);
    }
    query_done(&q);
    return rc;
}

static int lease(struct store *s, const char *id, const char *host, unsigned *ret_n,
                 uint64_t *ret_fence, struct err *err)
{
    struct host_row h;
    struct task_at at;
    int rc = task_at(s, id, &at, err);

    rc = rc < 0 ? rc : store_host_get(s, host, &h, err);
    if (rc == 0 && at.state != TASK_QUEUED)
        rc = err_set(err, ERR_FAIL, "task %s is %s, only a queued one can be leased", id,
                     task_state_names[at.state]);
    rc = rc < 0 ? rc : fence_next(s, h.host_key_fpr, ret_fence, err);
    rc = rc < 0 ? rc : attempt_add(s, id, &h, at.n + 1, *ret_fence, err);
    rc = rc < 0 ? rc : attempt_number(s, id, at.n + 1, err);
    rc = rc < 0 ? rc : move(s, id, &at, TASK_LEASED, 0, "", err);
    *ret_n = at.n + 1;
    return rc;
}

int store_task_lease(struct store *s, const char *id, const char *host, unsigned *ret_n,
                     uint64_t *ret_fence, struct err *err)
{
    uint64_t fence = 0;
    unsigned n = 0;
    int rc = store_begin(s, true, err);

    if (rc < 0)
        return rc;
    rc = store_end(s, lease(s, id, host, &n, &fence, err), err);
    if (rc == 0) {
        *ret_n = n;
        *ret_fence = fence;
    }
    return rc;
}
