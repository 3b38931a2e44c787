/* The ledger opened and closed, and a call held: judged against everything that bounds it, then written in
 * one turn with what else comes in it. */
#include "controller/broker/ledger_internal.h"

#include <stdlib.h>
#include <string.h>

#include "common/file.h"

const char *const ledger_end_names[CALL_END_COUNT + 1] = {"held", "settled", "whole", "unsent",
                                                          "over", "failed",  NULL};

static int open_any(const char *dir, bool write, struct ledger **ret, struct err *err)
{
    struct ledger *l = calloc(1, sizeof *l);
    if (!l)
        return err_set(err, ERR_FAIL, "out of memory");
    l->lock = -1;
    memset(l->wal, -1, sizeof l->wal);
    int rc = db_open(l, dir, write, err);
    if (rc == 0 && write) {
        struct run r = sql_run(l, SQL_CALL_LAST);
        rc = run_step(&r, err);
        l->next_call = rc == 1 ? run_get_u64(&r) + 1 : 0;
        run_end(&r);
    }
    if (rc < 0) {
        ledger_close(l);
        return rc;
    }
    *ret = l;
    return 0;
}

int ledger_open(const char *dir, struct ledger **ret, struct err *err)
{
    return open_any(dir, true, ret, err);
}

int ledger_view(const char *dir, struct ledger **ret, struct err *err)
{
    return open_any(dir, false, ret, err);
}

void ledger_close(struct ledger *l)
{
    struct err unheard = ERR_INIT;
    if (!l)
        return;
    if (l->begun)
        (void)ledger_flush(l, &unheard);
    live_clear(l);
    for (int i = 0; i < SQL_COUNT; i++)
        sqlite3_finalize(l->stmts[i]);
    sqlite3_close(l->db);
    for (size_t i = 0; i < sizeof l->wal / sizeof l->wal[0]; i++)
        fd_close(&l->wal[i]);
    fd_close(&l->lock);
    free(l->settled);
    free(l);
}

enum ledger_no ledger_why(const struct ledger *l)
{
    return l->no;
}

/* ---- what bounds a call ---- */

struct usd {
    char text[40];
};

static struct usd usd(uint64_t micros)
{
    struct usd u = {{0}};
    struct buf b;
    buf_init(&b, sizeof u.text - 1);
    usd_format(micros, &b);
    memcpy(u.text, b.data, b.len);
    buf_done(&b);
    return u;
}

#define USD(micros) usd(micros).text

static int no(struct ledger *l, enum ledger_no why)
{
    l->no = why;
    return -ERR_REFUSED;
}

static int judge_attempt(struct ledger *l, const struct ledger_attempt *a,
                         const struct ledger_ask *ask, struct err *err)
{
    if (a->over)
        err_set(err, ERR_REFUSED, "this attempt of the task has ended");
    else if (a->stopped[0])
        err_set(err, ERR_REFUSED, "%s", a->stopped);
    else if (ask->now_s > a->exp)
        err_set(err, ERR_REFUSED, "the time of this task is over");
    else if (!spend_any(&a->spend) || strcmp(a->spend.provider, ask->provider->name) != 0)
        err_set(err, ERR_REFUSED, "this task may not call the provider %s", ask->provider->name);
    else
        return 0;
    return no(l, LEDGER_NO_ATTEMPT);
}

/* Calls of the task in this second and the 60 before it: no 60 s hold more than were counted. */
static uint64_t window_count(struct live *v, uint64_t now_s)
{
    uint64_t sum = 0;
    if (v->newest > now_s + WINDOW_S + 1) { /* the clock was set back: they count as made now */
        for (size_t i = 0; i <= WINDOW_S; i++) {
            sum += v->made[i];
            v->made[i] = 0;
        }
        v->made[now_s % (WINDOW_S + 1)] = (typeof(v->made[0]))sum;
        v->newest = now_s;
        return sum;
    }
    for (; v->newest < now_s; v->newest++) {
        if (now_s - v->newest > WINDOW_S + 1)
            v->newest = now_s - WINDOW_S - 1;
        v->made[(v->newest + 1) % (WINDOW_S + 1)] = 0;
    }
    for (size_t i = 0; i <= WINDOW_S; i++)
        sum += v->made[i];
    return sum;
}

/* An attempt before may still be in memory: the minute is the task's. */
static void window_add(struct ledger *l, const char *task, uint64_t now_s)
{
    for (struct live *v = l->live; v; v = v->next) {
        if (strcmp(v->a.task, task) != 0)
            continue;
        (void)window_count(v, now_s);
        v->made[v->newest % (WINDOW_S + 1)]++;
    }
}

static int judge_rate(struct ledger *l, struct live *v, const struct sums *task, uint64_t now_s,
                      struct err *err)
{
    const struct spend *s = &v->a.spend;
    if (task->in_flight >= s->in_flight)
        err_set(err, ERR_REFUSED, "%llu calls at once are allowed, and as many are under way",
                (unsigned long long)s->in_flight);
    else if (window_count(v, now_s) >= s->calls_per_minute)
        err_set(err, ERR_REFUSED, "%llu calls a minute are allowed, and as many were made in it",
                (unsigned long long)s->calls_per_minute);
    else
        return 0;
    return no(l, LEDGER_NO_RATE);
}

/* Is there room for `more` beside what is spent and held? No sum here can wrap: all are below 2^63. */
static bool fits(uint64_t limit, const struct sums *s, uint64_t more)
{
    return s->spent + s->held <= limit && more <= limit - s->spent - s->held;
}

static int judge_task(struct ledger *l, const struct spend *s, const struct sums *task,
                      uint64_t reserve, struct err *err)
{
    if (task->calls >= s->calls) {
        err_set(err, ERR_REFUSED, "budget: all %llu calls of the task are made",
                (unsigned long long)s->calls);
        return no(l, LEDGER_NO_BUDGET);
    }
    if (fits(s->usd_micros, task, reserve))
        return 0;
    err_set(err, ERR_REFUSED, "budget: %s of the task, %s spent, %s held; this call may cost %s",
            USD(s->usd_micros), USD(task->spent), USD(task->held), USD(reserve));
    const struct sums quiet = {.spent = task->spent};
    return no(l, fits(s->usd_micros, &quiet, reserve) ? LEDGER_NO_HELD : LEDGER_NO_BUDGET);
}

static int judge_day(struct ledger *l, const struct provider *p, const struct sums *day,
                     uint64_t reserve, struct err *err)
{
    if (day->calls >= p->day_calls) {
        err_set(err, ERR_REFUSED, "budget: all %llu calls a day at %s are made",
                (unsigned long long)p->day_calls, p->name);
        return no(l, LEDGER_NO_DAY);
    }
    if (fits(p->day_usd_micros, day, reserve))
        return 0;
    err_set(err, ERR_REFUSED,
            "budget: %s a day at %s, %s spent, %s held today; this call may cost %s",
            USD(p->day_usd_micros), p->name, USD(day->spent), USD(day->held), USD(reserve));
    const struct sums quiet = {.spent = day->spent};
    return no(l, fits(p->day_usd_micros, &quiet, reserve) ? LEDGER_NO_HELD : LEDGER_NO_DAY);
}

/* ---- holding ---- */

struct hold {
    struct live *live;
    struct sums task, day;
    uint64_t at_day;
};

static int judge(struct ledger *l, const struct ledger_ask *ask, struct hold *h, struct err *err)
{
    int rc = live_find(l, ask->attempt, &h->live, err);
    if (rc < 0)
        return rc;
    if (rc == 0) {
        err_set(err, ERR_REFUSED, "no such attempt is known");
        return no(l, LEDGER_NO_ATTEMPT);
    }
    h->at_day = ask->now_s / 86400;
    rc = judge_attempt(l, &h->live->a, ask, err);
    rc = rc < 0 ? rc : task_get(l, h->live->a.task, &h->task, err);
    rc = rc < 0 ? rc : day_get(l, ask->provider->name, h->at_day, &h->day, err);
    rc = rc < 0 ? rc : judge_task(l, &h->live->a.spend, &h->task, ask->reserve_micros, err);
    rc = rc < 0 ? rc : judge_day(l, ask->provider, &h->day, ask->reserve_micros, err);
    return rc < 0 ? rc : judge_rate(l, h->live, &h->task, ask->now_s, err);
}

static int put_call(struct ledger *l, const struct ledger_ask *ask, const struct hold *h,
                    struct err *err)
{
    struct run r = sql_run(l, SQL_CALL_PUT);
    run_u64(&r, l->next_call);
    run_text(&r, ask->attempt);
    run_text(&r, h->live->a.task);
    run_text(&r, ask->provider->name);
    run_text(&r, ask->model);
    run_text(&r, ask->dialect);
    run_blob(&r, ask->prices_sha256, sizeof ask->prices_sha256);
    run_u64(&r, ask->now_s);
    run_u64(&r, h->at_day);
    run_u64(&r, ask->reserve_micros);
    run_u64(&r, ask->reserve_micros);
    return run_once(&r, err);
}

static int write_hold(struct ledger *l, const struct ledger_ask *ask, struct hold *h,
                      struct err *err)
{
    struct sums *const both[] = {&h->task, &h->day};
    for (int i = 0; i < 2; i++) {
        both[i]->held = add_capped(both[i]->held, ask->reserve_micros);
        both[i]->calls = add_capped(both[i]->calls, 1);
        both[i]->in_flight = add_capped(both[i]->in_flight, 1);
    }
    int rc = put_call(l, ask, h, err);
    rc = rc < 0 ? rc : task_put(l, h->live->a.task, &h->task, err);
    return rc < 0 ? rc : day_put(l, ask->provider->name, h->at_day, &h->day, err);
}

int ledger_hold(struct ledger *l, const struct ledger_ask *ask, uint64_t *ret_call, struct err *err)
{
    struct hold h = {0};
    l->no = LEDGER_NO_NOT;
    int rc = turn_begin(l, err);
    rc = rc < 0 ? rc : judge(l, ask, &h, err);
    rc = rc < 0 ? rc : write_hold(l, ask, &h, err);
    if (rc < 0)
        return turn_judge(l, rc);
    window_add(l, h.live->a.task, ask->now_s);
    l->holds++;
    l->dirty = true;
    *ret_call = l->next_call++;
    return 0;
}
