/* creel budget: what was spent today against what a day may cost, the days before, the dearest tasks. */
#include <stdio.h>
#include <string.h>

#include "common/clock.h"
#include "controller/cli/spend_view.h"
#include "controller/cli/verbs.h"
#include "controller/spend_plan.h"
#include "proto/rfc3339.h"

#define DAYS     7
#define TASKS    10
#define DAY_S    86400
#define ROWS_MAX (DAYS * (PROVIDERS_MAX + 1))

struct budget_opts {
    bool json;
};

static const struct opt options[] = {
    {.name = "json",
     .kind = OPT_FLAG,
     .offset = offsetof(struct budget_opts, json),
     .help = "as one JSON object"},
    {.name = NULL},
};

struct view {
    struct spend_books books;
    struct ledger *l; /* NULL: nothing was ever spent */
    struct store *store;
    uint64_t today;
    bool json;
    struct buf *b;
    uint64_t rows;
};

static void date_of(uint64_t day, char out[static DATE_SIZE])
{
    char text[RFC3339_SIZE];
    rfc3339_format(day * DAY_S, text);
    snprintf(out, DATE_SIZE, "%.10s", text);
}

/* ---- today ---- */

static void today_text(struct view *v, const struct provider *p, const struct ledger_sum *s)
{
    if (v->rows++ == 0)
        buf_addf(v->b, "%-14s %12s %12s %12s %9s %9s %9s\n", "TODAY (UTC)", "SPENT", "HELD",
                 "A DAY", "CALLS", "A DAY", "REFUSED");
    buf_addf(v->b, "%-14s ", p->name);
    spend_usd(s->spent_micros, 12, v->b);
    buf_addc(v->b, ' ');
    spend_usd(s->held_micros, 12, v->b);
    buf_addc(v->b, ' ');
    spend_usd(p->day_usd_micros, 12, v->b);
    buf_addf(v->b, " %9llu %9llu %9llu\n", (unsigned long long)s->calls,
             (unsigned long long)p->day_calls, (unsigned long long)s->refused);
}

static void today_json(struct view *v, const struct provider *p, const struct ledger_sum *s)
{
    emit_open(v->b, NULL, '{');
    emit_text(v->b, "provider", p->name);
    emit_uint(v->b, "day_usd_micros", p->day_usd_micros);
    emit_uint(v->b, "day_calls", p->day_calls);
    spend_sum_json(s, v->b);
    emit_close(v->b, '}');
}

static int today(struct view *v, struct err *err)
{
    const struct provider *p = v->books.providers.list.items;
    int rc = 0;
    for (size_t i = 0; i < v->books.providers.list.n && rc == 0; i++, p++) {
        struct ledger_sum s = {0};
        if (v->l)
            rc = ledger_day_sum(v->l, p->name, v->today, &s, err);
        if (v->json)
            today_json(v, p, &s);
        else
            today_text(v, p, &s);
    }
    return rc;
}

/* ---- days before ---- */

static int on_day(void *arg, const struct ledger_day *d, struct err *err)
{
    struct view *v = arg;
    char date[DATE_SIZE];
    uint64_t tokens_in = d->sum.input + d->sum.cache_read + d->sum.cache_write;
    date_of(d->day, date);
    if (v->rows++ >= ROWS_MAX) /* providers that came and went */
        return 0;
    if (v->json) {
        emit_open(v->b, NULL, '{');
        emit_text(v->b, "date", date);
        emit_text(v->b, "provider", d->provider);
        spend_sum_json(&d->sum, v->b);
        emit_close(v->b, '}');
        return 0;
    }
    if (v->rows == 1)
        buf_addf(v->b, "\n%-14s %-14s %12s %9s %12s %12s\n", "DAY (UTC)", "PROVIDER", "SPENT",
                 "CALLS", "TOKENS IN", "OUT");
    buf_addf(v->b, "%-14s %-14s ", date, d->provider);
    spend_usd(d->sum.spent_micros + d->sum.held_micros, 12, v->b);
    buf_addf(v->b, " %9llu %12llu %12llu\n", (unsigned long long)d->sum.calls,
             (unsigned long long)tokens_in, (unsigned long long)d->sum.output);
    return 0;
}

/* ---- tasks ---- */

static int on_task(void *arg, const struct ledger_task *t, struct err *err)
{
    struct view *v = arg;
    struct task_row row;
    bool known = store_task_get(v->store, t->task, &row, &(struct err){0}) == 0;
    const char *title = known ? row.title : "";
    if (v->json) {
        emit_open(v->b, NULL, '{');
        emit_text(v->b, "id", t->task);
        emit_text(v->b, "title", title);
        emit_uint(v->b, "charged_micros", t->charged);
        emit_uint(v->b, "calls", t->calls);
        emit_close(v->b, '}');
    } else {
        if (v->rows++ == 0)
            buf_addf(v->b, "\n%-26s %12s %9s  %s\n", "DEAREST TASKS", "SPENT", "CALLS", "TITLE");
        buf_addf(v->b, "%-26s ", t->task);
        spend_usd(t->charged, 12, v->b);
        buf_addf(v->b, " %9llu  ", (unsigned long long)t->calls);
        cli_text(v->b, title);
        buf_addc(v->b, '\n');
    }
    if (known)
        task_row_done(&row);
    return 0;
}

static void open_list(struct view *v, const char *key)
{
    v->rows = 0;
    if (v->json)
        emit_open(v->b, key, '[');
}

static void close_list(struct view *v)
{
    if (v->json)
        emit_close(v->b, ']');
}

static int print(struct view *v, struct err *err)
{
    uint64_t first = v->today - (DAYS - 1);
    if (v->json) {
        emit_open(v->b, NULL, '{');
        emit_int(v->b, "version", 1);
    }
    open_list(v, "today");
    int rc = today(v, err);
    close_list(v);
    open_list(v, "days");
    rc = rc < 0 || !v->l ? rc : ledger_each_day(v->l, first, on_day, v, err);
    close_list(v);
    open_list(v, "tasks");
    rc = rc < 0 || !v->l ? rc : ledger_top_tasks(v->l, first, TASKS, on_task, v, err);
    close_list(v);
    if (v->json) {
        emit_close(v->b, '}');
        buf_addc(v->b, '\n');
    }
    return rc;
}

static int budget(struct cli *cli, void *opts, char **args, size_t nargs, struct err *err)
{
    const struct budget_opts *o = opts;
    struct paths p = {.rootfd = -1};
    struct buf b;
    struct view v = {.today = clock_wall_s() / DAY_S, .json = o->json, .b = &b};
    int rc = cli_nargs(nargs, 0, "budget takes options only", err);
    (void)args;
    rc = rc < 0 ? rc : cli_open(cli, &p, &v.store, err);
    if (rc < 0)
        return rc;
    buf_init(&b, CLI_OUT_MAX);
    rc = spend_books_peek(&p, &v.books, err);
    rc = rc < 0 ? rc : spend_view_open(&p, &v.l, err);
    rc = rc < 0 ? rc : print(&v, err);
    rc = rc < 0 ? rc : cli_out(&b, err);
    if (rc == 0 && !o->json && v.books.providers.list.n == 0)
        cli_say("no model provider is configured: creel provider add openai");
    ledger_close(v.l);
    spend_books_done(&v.books);
    buf_done(&b);
    cli_close(&p, v.store);
    return rc;
}

const struct cmd cmd_budget = {
    .name = "budget",
    .args = "[--json]",
    .summary = "What model calls cost: today against its limits, 7 days, the dearest tasks.",
    .help =
        "What is held for calls under way counts as spent. A task's calls: creel show ID --spend.\n"
        "Limits of a day: creel provider add NAME --day-budget USD --day-calls N.\n",
    .opts = options,
    .opts_size = sizeof(struct budget_opts),
    .run = budget,
};
