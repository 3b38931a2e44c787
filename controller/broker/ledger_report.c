/* Reading the ledger: sums, marks, and its rows for people. */
#include "controller/broker/ledger_report.h"

#include <string.h>

#include "controller/broker/ledger_internal.h"

static void sum_add(struct ledger_sum *to, const struct sums *s)
{
    to->spent_micros = add_capped(to->spent_micros, s->spent);
    to->held_micros = add_capped(to->held_micros, s->held);
    to->calls = add_capped(to->calls, s->calls);
    to->refused = add_capped(to->refused, s->refused);
    to->input = add_capped(to->input, s->input);
    to->cache_read = add_capped(to->cache_read, s->cache_read);
    to->cache_write = add_capped(to->cache_write, s->cache_write);
    to->output = add_capped(to->output, s->output);
}

int ledger_task_sum(struct ledger *l, const char *task, struct ledger_sum *out, struct err *err)
{
    struct sums s;
    *out = (struct ledger_sum){0};
    int rc = task_get(l, task, &s, err);
    if (rc == 0)
        sum_add(out, &s);
    return rc;
}

int ledger_day_sum(struct ledger *l, const char *provider, uint64_t day, struct ledger_sum *out,
                   struct err *err)
{
    struct sums s;
    int rc;
    *out = (struct ledger_sum){0};
    if (provider) {
        rc = day_get(l, provider, day, &s, err);
        if (rc == 0)
            sum_add(out, &s);
        return rc;
    }
    struct run r = sql_run(l, SQL_DAY_ALL);
    run_u64(&r, day);
    while ((rc = run_step(&r, err)) == 1) {
        run_get_sums(&r, &s);
        sum_add(out, &s);
    }
    run_end(&r);
    return rc;
}

/* ---- marks ---- */

static unsigned mark_of(uint64_t sum, uint64_t limit)
{
    static const unsigned marks[] = {100, 90, 80};
    for (size_t i = 0; i < sizeof marks / sizeof marks[0]; i++)
        if ((unsigned __int128)sum * 100 >= (unsigned __int128)limit * marks[i])
            return marks[i];
    return 0;
}

static int put_mark(struct ledger *l, const char *task, unsigned mark, struct err *err)
{
    int rc = turn_begin(l, err);
    if (rc < 0)
        return rc;
    struct run r = sql_run(l, SQL_TASK_MARK);
    run_u64(&r, mark);
    run_text(&r, task);
    rc = run_once(&r, err);
    if (rc < 0)
        return turn_fail(l, rc);
    l->dirty = true;
    return 0;
}

int ledger_mark(struct ledger *l, const char *attempt, unsigned *ret_percent, struct err *err)
{
    struct live *v;
    struct sums s;
    *ret_percent = 0;
    int rc = live_find(l, attempt, &v, err);
    if (rc <= 0)
        return rc < 0 ? rc : err_set(err, ERR_USAGE, "no attempt %.40s in spend.db", attempt);
    rc = task_get(l, v->a.task, &s, err);
    unsigned mark = rc == 0 ? mark_of(s.spent + s.held, v->a.spend.usd_micros) : 0;
    if (mark == 0 || v->a.spend.usd_micros == 0)
        return rc;
    struct run r = sql_run(l, SQL_MARK_GET);
    run_text(&r, v->a.task);
    rc = run_step(&r, err);
    uint64_t said = rc == 1 ? run_get_u64(&r) : 0;
    run_end(&r);
    if (rc < 0 || said >= mark)
        return rc < 0 ? rc : 0;
    *ret_percent = mark;
    return put_mark(l, v->a.task, mark, err);
}

/* ---- rows ---- */

static int bad_row(struct err *err)
{
    return err_set(err, ERR_FAIL, "spend.db: a row cannot be read");
}

static int take_call(struct run *r, struct ledger_call *c, struct err *err)
{
    *c = (struct ledger_call){.id = run_get_u64(r)};
    bool ok = run_get_text(r, c->attempt, sizeof c->attempt) &&
              run_get_text(r, c->provider, sizeof c->provider) &&
              run_get_text(r, c->model, sizeof c->model) &&
              run_get_text(r, c->dialect, sizeof c->dialect) &&
              run_get_blob(r, c->prices_sha256, sizeof c->prices_sha256);
    if (!ok)
        return bad_row(err);
    c->at = run_get_u64(r);
    c->reserve = run_get_u64(r);
    c->charged = run_get_u64(r);
    uint64_t end = run_get_u64(r), status = run_get_u64(r);
    if (end >= CALL_END_COUNT || status > 999)
        return bad_row(err);
    c->end = (enum ledger_end)end;
    c->http_status = (int)status;
    c->usage.input = run_get_u64(r);
    c->usage.cache_read = run_get_u64(r);
    c->usage.cache_write = run_get_u64(r);
    c->usage.cache_write_1h = run_get_u64(r);
    c->usage.output = run_get_u64(r);
    c->first_byte_ms = run_get_u64(r);
    c->ms = run_get_u64(r);
    return 0;
}

int ledger_each_call(struct ledger *l, const char *task, ledger_call_cb *cb, void *arg,
                     struct err *err)
{
    struct run r = sql_run(l, SQL_EACH_CALL);
    struct ledger_call c;
    int rc;
    run_text(&r, task);
    while ((rc = run_step(&r, err)) == 1)
        if ((rc = take_call(&r, &c, err)) < 0 || (rc = cb(arg, &c, err)) < 0)
            break;
    run_end(&r);
    return rc;
}

int ledger_each_refusal(struct ledger *l, const char *task, ledger_refusal_cb *cb, void *arg,
                        struct err *err)
{
    struct run r = sql_run(l, SQL_EACH_REFUSAL);
    struct ledger_refusal f;
    int rc;
    run_text(&r, task);
    while ((rc = run_step(&r, err)) == 1) {
        bool ok = run_get_text(&r, f.attempt, sizeof f.attempt);
        f.at = run_get_u64(&r);
        ok = ok && run_get_text(&r, f.why, sizeof f.why);
        if ((rc = ok ? cb(arg, &f, err) : bad_row(err)) < 0)
            break;
    }
    run_end(&r);
    return rc;
}

int ledger_each_day(struct ledger *l, uint64_t first, ledger_day_cb *cb, void *arg, struct err *err)
{
    struct run r = sql_run(l, SQL_EACH_DAY);
    int rc;
    run_u64(&r, first);
    while ((rc = run_step(&r, err)) == 1) {
        struct ledger_day d = {.day = run_get_u64(&r)};
        struct sums s;
        bool ok = run_get_text(&r, d.provider, sizeof d.provider);
        run_get_sums(&r, &s);
        sum_add(&d.sum, &s);
        if ((rc = ok ? cb(arg, &d, err) : bad_row(err)) < 0)
            break;
    }
    run_end(&r);
    return rc;
}

int ledger_top_tasks(struct ledger *l, uint64_t first, uint64_t n, ledger_task_cb *cb, void *arg,
                     struct err *err)
{
    struct run r = sql_run(l, SQL_EACH_TASK);
    struct ledger_task t;
    int rc;
    run_u64(&r, first);
    run_u64(&r, n);
    while ((rc = run_step(&r, err)) == 1) {
        bool ok = run_get_text(&r, t.task, sizeof t.task);
        t.charged = run_get_u64(&r);
        t.calls = run_get_u64(&r);
        if ((rc = ok ? cb(arg, &t, err) : bad_row(err)) < 0)
            break;
    }
    run_end(&r);
    return rc;
}
