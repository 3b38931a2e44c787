/* Attempts in the ledger: durable before their envelope is given out, so that a broker which starts anew
 * knows what each of them may still spend. */
#include "controller/broker/ledger_internal.h"

#include <stdlib.h>
#include <string.h>

#include "proto/utf8.h"

#define REFUSALS_KEPT 100 /* of one attempt, with words; all are counted */

void ledger_attempt_done(struct ledger_attempt *a)
{
    spend_done(&a->spend);
}

/* ---- rows ---- */

static int get_json(struct run *r, const struct json_shape *shape, void *out, struct err *err)
{
    const void *text = sqlite3_column_text(r->s, r->at);
    size_t n = (size_t)sqlite3_column_bytes(r->s, r->at++);
    return json_decode(shape, text ? text : "", n, out, err);
}

static int get_row(struct run *r, struct ledger_attempt *out, struct err *err)
{
    struct err why = ERR_INIT;
    bool ok = run_get_text(r, out->task, sizeof out->task) &&
              run_get_blob(r, out->token_sha256, sizeof out->token_sha256);
    ok = ok && get_json(r, &spend_shape, &out->spend, &why) == 0 &&
         spend_check(&out->spend, &why) == 0;
    ok = ok && get_json(r, &repo_access_shape, &out->repo, &why) == 0;
    ok = ok && run_get_text(r, out->branch, sizeof out->branch) &&
         run_get_blob(r, out->runner_key, sizeof out->runner_key);
    out->exp = ok ? run_get_u64(r) : 0;
    out->over = !ok || run_get_u64(r) != 0;
    if (ok && run_get_text(r, out->stopped, sizeof out->stopped))
        return 0;
    spend_done(&out->spend);
    return err_set(err, ERR_FAIL, "spend.db: attempt %s cannot be read: %s", out->attempt,
                   why.msg[0] ? why.msg : "a column is not what it should be");
}

/* 1: found. */
static int read_attempt(struct ledger *l, const char *attempt, struct ledger_attempt *out,
                        struct err *err)
{
    struct run r = sql_run(l, SQL_ATTEMPT_GET);
    *out = (struct ledger_attempt){0};
    utf8_copy(out->attempt, sizeof out->attempt, attempt);
    run_text(&r, attempt);
    int rc = run_step(&r, err);
    if (rc == 1 && get_row(&r, out, err) < 0)
        rc = -ERR_FAIL;
    run_end(&r);
    return rc;
}

static int put_row(struct ledger *l, const struct ledger_attempt *a, const struct buf *spend,
                   const struct buf *repo, struct err *err)
{
    struct run r = sql_run(l, SQL_ATTEMPT_PUT);
    run_text(&r, a->attempt);
    run_text(&r, a->task);
    run_blob(&r, a->token_sha256, sizeof a->token_sha256);
    run_text(&r, buf_str(spend));
    run_text(&r, buf_str(repo));
    run_text(&r, a->branch);
    run_blob(&r, a->runner_key, sizeof a->runner_key);
    run_u64(&r, a->exp);
    run_u64(&r, a->over);
    run_text(&r, a->stopped);
    return run_once(&r, err);
}

/* ---- those in memory ---- */

/* What its task called in the last minute, also by an attempt before. */
static int load_window(struct ledger *l, struct live *v, struct err *err)
{
    struct run last = sql_run(l, SQL_CALL_NEWEST);
    run_text(&last, v->a.task);
    int rc = run_step(&last, err);
    v->newest = rc == 1 ? run_get_u64(&last) : 0;
    run_end(&last);
    if (rc < 0)
        return rc;
    struct run r = sql_run(l, SQL_CALLS_SINCE);
    run_text(&r, v->a.task);
    run_u64(&r, v->newest > WINDOW_S ? v->newest - WINDOW_S : 0);
    while ((rc = run_step(&r, err)) == 1)
        v->made[run_get_u64(&r) % (WINDOW_S + 1)]++;
    run_end(&r);
    return rc;
}

int live_find(struct ledger *l, const char *attempt, struct live **ret, struct err *err)
{
    struct live *v = l->live;
    for (; v; v = v->next) {
        if (strcmp(v->a.attempt, attempt) == 0) {
            *ret = v;
            return 1;
        }
    }
    v = calloc(1, sizeof *v);
    if (!v)
        return err_set(err, ERR_FAIL, "out of memory");
    int rc = read_attempt(l, attempt, &v->a, err);
    if (rc == 1 && load_window(l, v, err) < 0)
        rc = -ERR_FAIL;
    if (rc <= 0) {
        ledger_attempt_done(&v->a);
        free(v);
        return rc;
    }
    v->next = l->live;
    l->live = v;
    *ret = v;
    return 1;
}

void live_clear(struct ledger *l)
{
    while (l->live) {
        struct live *next = l->live->next;
        ledger_attempt_done(&l->live->a);
        free(l->live);
        l->live = next;
    }
}

/* Read again when something happens to it next. */
static void live_drop(struct ledger *l, const char *attempt)
{
    for (struct live **at = &l->live; *at; at = &(*at)->next) {
        struct live *v = *at;
        if (strcmp(v->a.attempt, attempt) != 0)
            continue;
        *at = v->next;
        ledger_attempt_done(&v->a);
        free(v);
        return;
    }
}

/* ---- what the broker does with them ---- */

static int begin(struct ledger *l, const struct ledger_attempt *a, const struct buf *spend,
                 const struct buf *repo, struct err *err)
{
    struct live *there;
    int rc = turn_begin(l, err);
    rc = rc < 0 ? rc : live_find(l, a->attempt, &there, err);
    if (rc == 1)
        return err_set(err, ERR_REFUSED, "attempt %s was begun already", a->attempt);
    rc = rc < 0 ? rc : put_row(l, a, spend, repo, err);
    /* Holds of this turn become durable with it. */
    return rc < 0 ? turn_judge(l, rc) : turn_flush(l, err);
}

int ledger_begin(struct ledger *l, const struct ledger_attempt *a, struct err *err)
{
    struct buf spend, repo;
    int rc = spend_check(&a->spend, err);
    rc = rc < 0 ? rc : repo_access_check(&a->repo, err);
    if (rc < 0)
        return rc;
    buf_init(&spend, JSON_BYTES_MAX);
    buf_init(&repo, JSON_BYTES_MAX);
    rc = json_encode(&spend_shape, &a->spend, &spend, err);
    rc = rc < 0 ? rc : json_encode(&repo_access_shape, &a->repo, &repo, err);
    rc = rc < 0 ? rc : begin(l, a, &spend, &repo, err);
    buf_done(&spend);
    buf_done(&repo);
    return rc;
}

int ledger_get(struct ledger *l, const char *attempt, struct ledger_attempt *out, struct err *err)
{
    int rc = read_attempt(l, attempt, out, err);
    if (rc == 0)
        return err_set(err, ERR_USAGE, "no attempt %.40s in spend.db", attempt);
    return rc < 0 ? rc : 0;
}

/* One change of one attempt's row, durable at once. */
static int change(struct ledger *l, struct run r, const char *attempt, struct err *err)
{
    run_text(&r, attempt);
    int rc = run_once(&r, err);
    if (rc < 0)
        return turn_fail(l, rc);
    live_drop(l, attempt);
    return turn_flush(l, err);
}

int ledger_over(struct ledger *l, const char *attempt, struct err *err)
{
    int rc = turn_begin(l, err);
    return rc < 0 ? rc : change(l, sql_run(l, SQL_ATTEMPT_OVER), attempt, err);
}

int ledger_stop(struct ledger *l, const char *attempt, const char *why, struct err *err)
{
    struct ledger_attempt fit;
    int rc = turn_begin(l, err);
    if (rc < 0)
        return rc;
    utf8_copy(fit.stopped, sizeof fit.stopped, why);
    struct run r = sql_run(l, SQL_ATTEMPT_STOP);
    run_text(&r, fit.stopped);
    return change(l, r, attempt, err);
}

/* ---- refusals ---- */

static int count_in_sums(struct ledger *l, const struct ledger_attempt *a, uint64_t day,
                         struct err *err)
{
    struct sums s;
    int rc = task_get(l, a->task, &s, err);
    s.refused = add_capped(s.refused, 1);
    rc = rc < 0 ? rc : task_put(l, a->task, &s, err);
    if (rc < 0 || !spend_any(&a->spend))
        return rc;
    rc = day_get(l, a->spend.provider, day, &s, err);
    s.refused = add_capped(s.refused, 1);
    return rc < 0 ? rc : day_put(l, a->spend.provider, day, &s, err);
}

/* *ret_n: how many of the attempt's by now. */
static int count_refusal(struct ledger *l, const char *attempt, uint64_t *ret_n, struct err *err)
{
    struct run r = sql_run(l, SQL_ATTEMPT_REFUSED);
    run_text(&r, attempt);
    int rc = run_step(&r, err);
    *ret_n = rc == 1 ? run_get_u64(&r) : 0;
    /* RETURNING hands its row out before the statement is done. */
    if (rc == 1)
        rc = run_step(&r, err);
    run_end(&r);
    return rc;
}

static int put_refusal(struct ledger *l, const char *attempt, const char *why, uint64_t now_s,
                       struct err *err)
{
    char words[ERR_MSG_MAX];
    struct run r = sql_run(l, SQL_REFUSAL_PUT);
    utf8_copy(words, sizeof words, why);
    run_text(&r, attempt);
    run_u64(&r, now_s);
    run_text(&r, words);
    return run_once(&r, err);
}

int ledger_refused(struct ledger *l, const char *attempt, const char *why, uint64_t now_s,
                   struct err *err)
{
    struct live *v = NULL;
    uint64_t n = 0;
    int rc = turn_begin(l, err);
    rc = rc < 0 ? rc : live_find(l, attempt, &v, err);
    if (rc == 0)
        return err_set(err, ERR_USAGE, "no attempt %.40s in spend.db", attempt);
    rc = rc < 0 ? rc : count_refusal(l, attempt, &n, err);
    rc = rc < 0 ? rc : count_in_sums(l, &v->a, now_s / 86400, err);
    if (rc == 0 && n <= REFUSALS_KEPT) {
        rc = put_refusal(l, attempt, why, now_s, err);
        /* More than that wait for whatever is written next: nobody makes us sync by being refused. */
        l->dirty = true;
    }
    return turn_judge(l, rc);
}
