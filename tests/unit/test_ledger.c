/* The ledger: what bounds a call, what each end of it charges, and that nothing which goes wrong between a
 * hold and its settlement (crash, full disk, damage) makes the sum on disk less than what was spent. */
#include "tests/unit/cm.h"

#include <poll.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>

#include <sqlite3.h>

#include "tests/unit/ledger_fixture.h"

static struct err err;

static int setup(void **state)
{
    struct money *m = malloc(sizeof *m);
    money_init(m);
    *state = m;
    return ledger_open(m->dir, &m->l, &err);
}

static void size_limit(rlim_t bytes)
{
    struct rlimit r;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &r);
    r.rlim_cur = bytes;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &r), 0);
}

static int teardown(void **state)
{
    size_limit(RLIM_INFINITY); /* when a test failed in the middle */
    money_done(*state);
    free(*state);
    return 0;
}

static void reopen(struct money *m)
{
    ledger_close(m->l);
    m->l = NULL;
    assert_ok(ledger_open(m->dir, &m->l, &err));
}

static void sql(struct money *m, const char *text)
{
    char path[PATH_MAX];
    sqlite3 *db;
    fixture_path(m->dir, "spend.db", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void begin(struct money *m, const struct ledger_attempt *a)
{
    assert_ok(ledger_begin(m->l, a, &err));
}

static uint64_t hold_at(struct money *m, const char *attempt, uint64_t reserve, uint64_t now_s)
{
    struct ledger_ask ask = money_ask(m, attempt, reserve, now_s);
    uint64_t call = 0;
    assert_ok(ledger_hold(m->l, &ask, &call, &err));
    assert_int_equal(ledger_why(m->l), LEDGER_NO_NOT);
    return call;
}

static uint64_t hold(struct money *m, uint64_t reserve)
{
    return hold_at(m, TASK_A ".1", reserve, AT);
}

static void refused_at(struct money *m, const char *attempt, uint64_t reserve, uint64_t now_s,
                       enum ledger_no why, const char *says)
{
    struct ledger_ask ask = money_ask(m, attempt, reserve, now_s);
    uint64_t call;
    assert_says(ledger_hold(m->l, &ask, &call, &err), says);
    assert_int_equal(err.code, ERR_REFUSED);
    assert_int_equal(ledger_why(m->l), why);
}

static void settle(struct money *m, uint64_t call, uint64_t micros)
{
    const struct usage u = {.input = 10, .cache_read = 4, .cache_write = 2, .output = 3};
    assert_ok(ledger_settle(m->l, call, CALL_SETTLED, &u, micros, 200, 5, 9, &err));
}

static void end_as(struct money *m, uint64_t call, enum ledger_end end)
{
    assert_ok(ledger_settle(m->l, call, end, NULL, 0, 0, 0, 0, &err));
}

static struct ledger_sum task_sum(struct money *m, const char *task)
{
    struct ledger_sum s;
    assert_ok(ledger_task_sum(m->l, task, &s, &err));
    return s;
}

static void attempts_are_kept(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), got;
    strv_add(&a.spend.models, "gpt-5.5");
    a.repo.mode = REPO_PUSH;
    snprintf(a.repo.url, sizeof a.repo.url, "https://example.org/o/r");
    begin(m, &a);
    assert_says(ledger_begin(m->l, &a, &err), "begun already");
    assert_int_equal(err.code, ERR_REFUSED);
    assert_says(ledger_get(m->l, TASK_A ".2", &got, &err), "no attempt");
    assert_ok(ledger_stop(m->l, TASK_A ".1", "budget: gone", &err));
    assert_ok(ledger_stop(m->l, TASK_A ".1", "another reason", &err));
    assert_ok(ledger_over(m->l, TASK_A ".2", &err)); /* unknown */
    for (int round = 0; round < 2; round++) {
        assert_ok(ledger_get(m->l, TASK_A ".1", &got, &err));
        assert_string_equal(got.task, TASK_A);
        assert_string_equal(got.attempt, TASK_A ".1");
        assert_memory_equal(got.token_sha256, a.token_sha256, 32);
        assert_memory_equal(got.runner_key, a.runner_key, sizeof a.runner_key);
        assert_true(spend_same(&got.spend, &a.spend));
        assert_int_equal(got.repo.mode, REPO_PUSH);
        assert_string_equal(got.repo.url, a.repo.url);
        assert_string_equal(got.branch, a.branch);
        assert_int_equal(got.exp, a.exp);
        assert_int_equal(got.over, round);
        assert_string_equal(got.stopped, "budget: gone");
        ledger_attempt_done(&got);
        if (round == 0)
            assert_ok(ledger_over(m->l, TASK_A ".1", &err));
        reopen(m);
    }
    ledger_attempt_done(&a);
}

static void ends_charge_what_they_should(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    const struct usage zero = {0}, some = {.output = 1};
    begin(m, &a);
    settle(m, hold(m, 1000), 400);
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 400);
    end_as(m, hold(m, 1000), CALL_UNSENT);
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 400);
    assert_int_equal(task_sum(m, TASK_A).calls, 1);
    end_as(m, hold(m, 1000), CALL_WHOLE);
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 1400);
    end_as(m, hold(m, 1000), CALL_SETTLED); /* without usage */
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 2400);
    assert_ok(ledger_settle(m->l, hold(m, 1000), CALL_SETTLED, &zero, 0, 200, 0, 0, &err));
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 3400);
    assert_ok(ledger_settle(m->l, hold(m, 1000), CALL_SETTLED, &some, 5000, 200, 0, 0, &err));
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 8400); /* over: what it said */
    assert_ok(ledger_settle(m->l, hold(m, 1000), CALL_WHOLE, &some, 5, 200, 0, 0, &err));
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 9400);
    uint64_t call = hold(m, 1000);
    assert_int_equal(task_sum(m, TASK_A).held_micros, 1000);
    settle(m, call, 0);
    assert_says(ledger_settle(m->l, call, CALL_UNSENT, NULL, 0, 0, 0, 0, &err), "is not held");
    struct ledger_sum s = task_sum(m, TASK_A), day;
    assert_int_equal(s.spent_micros, 9400);
    assert_int_equal(s.held_micros, 0);
    assert_int_equal(s.calls, 7);
    assert_int_equal(s.input, 20);
    assert_int_equal(s.cache_read, 8);
    assert_int_equal(s.cache_write, 4);
    assert_int_equal(s.output, 8);
    assert_ok(ledger_flush(m->l, &err));
    reopen(m);
    assert_ok(ledger_day_sum(m->l, "openai", AT_DAY, &day, &err));
    assert_memory_equal(&day, &s, sizeof s);
    assert_ok(ledger_day_sum(m->l, NULL, AT_DAY, &day, &err));
    assert_memory_equal(&day, &s, sizeof s);
    assert_ok(ledger_day_sum(m->l, NULL, AT_DAY + 1, &day, &err));
    assert_int_equal(day.spent_micros, 0);
}

static void budgets_hold(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), b = money_attempt(TASK_A, 2);
    a.spend.calls = b.spend.calls = 4;
    begin(m, &a);
    begin(m, &b);
    refused_at(m, TASK_A ".1", USD(2.50) + 1, AT, LEDGER_NO_BUDGET,
               "budget: $2.50 of the task, $0.00 spent, $0.00 held; this call may cost $2.500001");
    refused_at(m, TASK_A ".1", UINT64_MAX, AT, LEDGER_NO_BUDGET, "budget");
    uint64_t first = hold(m, USD(2.31)), second = hold(m, USD(0.12));
    refused_at(m, TASK_A ".1", USD(0.40), AT, LEDGER_NO_HELD, "$0.00 spent, $2.43 held");
    settle(m, first, USD(2.31));
    refused_at(m, TASK_A ".2", USD(0.40), AT, LEDGER_NO_BUDGET,
               "budget: $2.50 of the task, $2.31 spent, $0.12 held; this call may cost $0.40");
    settle(m, second, USD(0.10));
    (void)hold_at(m, TASK_A ".2", USD(0.09), AT); /* to the cent */
    refused_at(m, TASK_A ".1", 1, AT, LEDGER_NO_HELD, "budget");
    (void)hold(m, 0);
    refused_at(m, TASK_A ".1", 0, AT, LEDGER_NO_BUDGET, "all 4 calls of the task");
}

static void attempts_end(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), b = money_attempt(TASK_B, 1);
    begin(m, &a);
    snprintf(b.spend.provider, sizeof b.spend.provider, "anthropic");
    begin(m, &b);
    refused_at(m, TASK_B ".1", 1, AT, LEDGER_NO_ATTEMPT, "may not call the provider openai");
    refused_at(m, TASK_B ".2", 1, AT, LEDGER_NO_ATTEMPT, "no such attempt");
    (void)hold_at(m, TASK_A ".1", 1, a.exp);
    refused_at(m, TASK_A ".1", 1, a.exp + 1, LEDGER_NO_ATTEMPT, "time of this task is over");
    assert_ok(ledger_stop(m->l, TASK_A ".1", "the same call 16 times", &err));
    refused_at(m, TASK_A ".1", 1, AT, LEDGER_NO_ATTEMPT, "the same call 16 times");
    assert_ok(ledger_over(m->l, TASK_A ".1", &err));
    refused_at(m, TASK_A ".1", 1, AT, LEDGER_NO_ATTEMPT, "attempt of the task has ended");
    reopen(m);
    refused_at(m, TASK_A ".1", 1, AT, LEDGER_NO_ATTEMPT, "attempt of the task has ended");
}

static void rates_hold(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), b = money_attempt(TASK_A, 2);
    a.spend.calls_per_minute = b.spend.calls_per_minute = 3;
    a.spend.in_flight = b.spend.in_flight = 2;
    begin(m, &a);
    begin(m, &b);
    uint64_t one = hold(m, 1), two = hold_at(m, TASK_A ".1", 1, AT + 30);
    refused_at(m, TASK_A ".2", 1, AT + 30, LEDGER_NO_RATE, "2 calls at once");
    settle(m, one, 1);
    end_as(m, two, CALL_UNSENT); /* it counts here all the same */
    settle(m, hold_at(m, TASK_A ".2", 1, AT + 59), 1);
    refused_at(m, TASK_A ".1", 1, AT + 59, LEDGER_NO_RATE, "3 calls a minute");
    refused_at(m, TASK_A ".2", 1, AT + 60, LEDGER_NO_RATE, "3 calls a minute");
    assert_ok(ledger_flush(m->l, &err));
    reopen(m); /* forgets nothing of it */
    refused_at(m, TASK_A ".1", 1, AT + 60, LEDGER_NO_RATE, "3 calls a minute");
    refused_at(m, TASK_A ".1", 1, AT + 1, LEDGER_NO_RATE, "3 calls a minute"); /* clock set back */
    settle(m, hold_at(m, TASK_A ".1", 1, AT + 61), 1);
    refused_at(m, TASK_A ".1", 1, AT + 90, LEDGER_NO_RATE, "3 calls a minute");
    settle(m, hold_at(m, TASK_A ".1", 1, AT + 91), 1);
    for (int i = 0; i < 3; i++)
        settle(m, hold_at(m, TASK_A ".1", 1, AT + 2000), 1);
    refused_at(m, TASK_A ".1", 1, AT + 1000, LEDGER_NO_RATE, "3 calls a minute");
    refused_at(m, TASK_A ".1", 1, AT + 1060, LEDGER_NO_RATE, "3 calls a minute");
    settle(m, hold_at(m, TASK_A ".1", 1, AT + 1061),
           1); /* set back for a minute, not for as long */
}

static void days_hold(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), b = money_attempt(TASK_B, 1);
    uint64_t next = (uint64_t)(AT_DAY + 1) * 86400;
    struct ledger_sum s;
    a.exp = b.exp = next + 10;
    a.spend.usd_micros = b.spend.usd_micros = USD(100);
    begin(m, &a);
    begin(m, &b);
    m->provider.day_usd_micros = USD(3);
    uint64_t call = hold(m, USD(2));
    refused_at(m, TASK_B ".1", USD(2), AT, LEDGER_NO_HELD,
               "budget: $3.00 a day at openai, $0.00 spent, $2.00 held today; this call may cost "
               "$2.00");
    (void)hold_at(m, TASK_B ".1", USD(2), next); /* another UTC day */
    settle(m, call, USD(2));                     /* the day of its hold */
    assert_ok(ledger_day_sum(m->l, "openai", AT_DAY, &s, &err));
    assert_int_equal(s.spent_micros, USD(2));
    refused_at(m, TASK_B ".1", USD(1) + 1, next - 1, LEDGER_NO_DAY, "a day at openai");
    m->provider.day_calls = 1;
    refused_at(m, TASK_B ".1", 1, next - 1, LEDGER_NO_DAY, "all 1 calls a day at openai");
    m->provider.day_calls = 0;
    refused_at(m, TASK_B ".1", 1, next + 1, LEDGER_NO_DAY, "all 0 calls");
}

static void many_at_once(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    unsigned passed = 0;
    a.spend.in_flight = 256;
    a.spend.calls_per_minute = 1000;
    begin(m, &a);
    for (int i = 0; i < 64; i++) {
        struct ledger_ask ask = money_ask(m, TASK_A ".1", USD(0.25), AT);
        uint64_t call;
        passed += ledger_hold(m->l, &ask, &call, &err) == 0;
    }
    assert_int_equal(passed, 10);
    assert_ok(ledger_flush(m->l, &err));
}

static void marks_are_said_once(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    static const struct {
        double usd;
        unsigned percent;
    } steps[] = {{1.99, 0}, {0.01, 80}, {0.01, 0}, {0.24, 90}, {0.25, 100}, {0, 0}};
    unsigned percent;
    begin(m, &a);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        settle(m, hold(m, USD(steps[i].usd)), USD(steps[i].usd));
        assert_ok(ledger_mark(m->l, TASK_A ".1", &percent, &err));
        assert_int_equal(percent, steps[i].percent);
        assert_ok(ledger_flush(m->l, &err));
        reopen(m);
    }
    assert_says(ledger_mark(m->l, TASK_B ".1", &percent, &err), "no attempt");
}

struct seen {
    unsigned n;
    char last[ERR_MSG_MAX];
};

static int see_refusal(void *arg, const struct ledger_refusal *r, struct err *e)
{
    struct seen *s = arg;
    s->n++;
    snprintf(s->last, sizeof s->last, "%s", r->why);
    return 0;
}

static void refusals_are_recorded(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    struct seen seen = {0};
    struct ledger_sum day;
    begin(m, &a);
    assert_says(ledger_refused(m->l, TASK_B ".1", "x", AT, &err), "no attempt");
    assert_ok(ledger_refused(m->l, TASK_A ".1", "wrong token", AT, &err));
    assert_true(ledger_dirty(m->l));
    for (int i = 0; i < 150; i++)
        assert_ok(ledger_refused(m->l, TASK_A ".1", "again", AT, &err));
    assert_ok(ledger_flush(m->l, &err));
    assert_ok(ledger_refused(m->l, TASK_A ".1", "again", AT, &err));
    assert_false(ledger_dirty(m->l)); /* counted, but nobody is made to wait for it */
    assert_ok(ledger_each_refusal(m->l, TASK_A, see_refusal, &seen, &err));
    assert_int_equal(seen.n, 100);
    assert_string_equal(seen.last, "again");
    assert_int_equal(task_sum(m, TASK_A).refused, 152);
    assert_ok(ledger_day_sum(m->l, "openai", AT_DAY, &day, &err));
    assert_int_equal(day.refused, 152);
}

/* ---- what goes wrong ---- */

static void what_was_held_is_charged(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    struct ledger_sum day;
    begin(m, &a);
    uint64_t held = hold(m, 700), unsettled = hold(m, 200);
    assert_ok(ledger_flush(m->l, &err));
    settle(m, unsettled, 1);
    struct ledger *dead = m->l;
    m->l = NULL;
    assert_says(ledger_open(m->dir, &m->l, &err), "another broker has it");
    ledger_close(dead); /* in order: the settlement is kept */
    assert_ok(ledger_open(m->dir, &m->l, &err));
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 701);
    assert_int_equal(task_sum(m, TASK_A).held_micros, 0);
    assert_ok(ledger_day_sum(m->l, "openai", AT_DAY, &day, &err));
    assert_int_equal(day.spent_micros, 701);
    assert_int_equal(day.calls, 2);
    assert_says(ledger_settle(m->l, held, CALL_UNSENT, NULL, 0, 0, 0, 0, &err), "is not held");
}

/* No file may grow: the flush fails, all its holds are void and say so once, a settlement is not lost, and
 * when there is room again everything goes on. */
static void a_full_disk_forwards_nothing(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    begin(m, &a);
    uint64_t kept = hold(m, 500);
    assert_ok(ledger_flush(m->l, &err));
    settle(m, kept, 123);
    uint64_t lost = hold(m, 1000);
    size_limit(1);
    err = ERR_INIT;
    assert_true(ledger_flush(m->l, &err) < 0);
    assert_non_null(strstr(err.msg, "spend.db"));
    assert_true(ledger_dirty(m->l)); /* the settlement still is to be written */
    assert_true(ledger_flush(m->l, &err) < 0);
    size_limit(RLIM_INFINITY);
    assert_ok(ledger_flush(m->l, &err));
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 123);
    assert_int_equal(task_sum(m, TASK_A).held_micros, 0);
    assert_int_equal(task_sum(m, TASK_A).calls, 1);
    assert_says(ledger_settle(m->l, lost, CALL_WHOLE, NULL, 0, 0, 0, 0, &err), "is not held");
    uint64_t next = hold(m, 1);
    assert_true(next != lost); /* a void call's number is nobody else's */
    assert_ok(ledger_flush(m->l, &err));
}

/* Something else of the turn fails to be written: it says so itself, and whoever held before it hears of it
 * with its own flush, even when there is room again by then. */
static void a_hold_is_void_when_its_turn_fails(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), b = money_attempt(TASK_A, 2);
    begin(m, &a);
    uint64_t lost = hold(m, 1000);
    size_limit(1);
    assert_true(ledger_begin(m->l, &b, &err) < 0);
    size_limit(RLIM_INFINITY);
    struct ledger_ask ask = money_ask(m, TASK_A ".1", 1000, AT);
    uint64_t call;
    assert_true(ledger_dirty(m->l));
    assert_says(ledger_hold(m->l, &ask, &call, &err), "nothing can be written");
    assert_says(ledger_flush(m->l, &err), "could not be written");
    assert_ok(ledger_flush(m->l, &err));
    assert_int_equal(task_sum(m, TASK_A).held_micros, 0);
    assert_true(hold(m, 1) > lost);
    begin(m, &b);
    assert_ok(ledger_flush(m->l, &err));
    reopen(m);
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 1);
}

/* The disk said that it has lost something, in a thread meanwhile: nothing is held any more, a sync that goes
 * well later is not believed, and what was committed stays charged. */
static void a_sync_that_failed_ends_it(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), b = money_attempt(TASK_A, 2);
    struct ledger_ask ask = money_ask(m, TASK_A ".1", 1000, AT);
    uint64_t call;
    begin(m, &a);
    (void)hold(m, 500);
    assert_ok(ledger_commit(m->l, &err));
    assert_false(ledger_dirty(m->l));
    assert_says(ledger_synced(m->l, -EIO, &err), "could not be synced");
    assert_says(ledger_hold(m->l, &ask, &call, &err), "nothing can be written");
    assert_int_equal(ledger_sync(m->l, 0), 0);
    assert_says(ledger_synced(m->l, 0, &err), "could not be synced");
    assert_says(ledger_flush(m->l, &err), "could not be synced");
    assert_true(ledger_begin(m->l, &b, &err) < 0);
    reopen(m);
    assert_int_equal(task_sum(m, TASK_A).spent_micros, 500);
    (void)hold(m, 1);
    assert_ok(ledger_flush(m->l, &err));
}

static void a_wrong_database_is_refused(void **state)
{
    struct money *m = *state;
    char path[PATH_MAX];
    ledger_close(m->l);
    m->l = NULL;
    sql(m, "PRAGMA user_version = 2");
    assert_says(ledger_open(m->dir, &m->l, &err), "made by a newer creel (schema 2");
    assert_says(ledger_view(m->dir, &m->l, &err), "made by a newer creel");
    sql(m, "PRAGMA user_version = 0");
    assert_says(ledger_open(m->dir, &m->l, &err), "not a ledger of creel's");
    sql(m, "PRAGMA user_version = 1");
    fixture_path(m->dir, "spend.db", path);
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "damaged", 7, 0), 7);
    assert_says(ledger_open(m->dir, &m->l, &err), "is damaged");
    assert_int_equal(ftruncate(fd, 0), 0);
    close(fd);
    assert_says(ledger_view(m->dir, &m->l, &err), "empty");
    assert_ok(ledger_open(m->dir, &m->l, &err)); /* as one that was moved away */
    ledger_close(m->l);
    m->l = NULL;
    assert_int_equal(chmod(m->dir, 0750), 0);
    assert_says(ledger_open(m->dir, &m->l, &err), "open to others");
    assert_int_equal(chmod(m->dir, 0700), 0);
}

static int take_int(void *arg, int n, char **values, char **names)
{
    *(int *)arg = (int)strtol(values[0], NULL, 10);
    return 0;
}

/* A page that nothing at the start reads otherwise. */
static void damaged_pages_are_found(void **state)
{
    struct money *m = *state;
    char path[PATH_MAX], junk[4096];
    sqlite3 *db;
    int page = 0;
    ledger_close(m->l);
    m->l = NULL;
    fixture_path(m->dir, "spend.db", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "SELECT rootpage FROM sqlite_schema WHERE name = 'refusals'",
                                  take_int, &page, NULL),
                     SQLITE_OK);
    sqlite3_close(db);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    memset(junk, 0xa5, sizeof junk);
    assert_true(page > 1);
    assert_int_equal(pwrite(fd, junk, 4096, (page - 1) * 4096), 4096);
    close(fd);
    assert_says(ledger_open(m->dir, &m->l, &err), "spend.db");
}

static int count_call(void *arg, const struct ledger_call *c, struct err *e)
{
    *(uint64_t *)arg += c->charged;
    return 0;
}

static void beside_a_broker_it_can_be_read(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    struct ledger *view = NULL;
    struct ledger_sum s;
    uint64_t charged = 0;
    begin(m, &a);
    settle(m, hold(m, 900), 100);
    (void)hold(m, 30);
    assert_ok(ledger_flush(m->l, &err));
    (void)hold(m, 7); /* in a transaction that is open */
    assert_ok(ledger_view(m->dir, &view, &err));
    assert_ok(ledger_task_sum(view, TASK_A, &s, &err));
    assert_int_equal(s.spent_micros + s.held_micros, 130);
    assert_ok(ledger_each_call(view, TASK_A, count_call, &charged, &err));
    assert_int_equal(charged, 130);
    assert_true(ledger_over(view, TASK_A ".1", &err) < 0); /* it cannot write */
    ledger_close(view);
    assert_ok(ledger_flush(m->l, &err));
}

/* ---- any order of it all ---- */

static uint64_t one_number(struct money *m, const char *text)
{
    char path[PATH_MAX];
    sqlite3 *db;
    sqlite3_stmt *q;
    fixture_path(m->dir, "spend.db", path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_prepare_v2(db, text, -1, &q, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_step(q), SQLITE_ROW);
    uint64_t n = (uint64_t)sqlite3_column_int64(q, 0);
    sqlite3_finalize(q);
    sqlite3_close(db);
    return n;
}

/* The sums that limits are judged by are those of the rows. */
static void sums_are_the_rows(struct money *m)
{
    static const char *const pairs[][2] = {
        {"SELECT sum(spent + held) FROM tasks", "SELECT sum(charged) FROM calls"},
        {"SELECT sum(spent + held) FROM days", "SELECT sum(charged) FROM calls"},
        {"SELECT sum(held) FROM tasks",
         "SELECT coalesce(sum(reserve), 0) FROM calls WHERE end = 0"},
        {"SELECT sum(in_flight) FROM days", "SELECT count(*) FROM calls WHERE end = 0"},
        {"SELECT sum(calls) FROM tasks", "SELECT count(*) FROM calls WHERE end <> 3"},
        {"SELECT sum(input) FROM tasks", "SELECT sum(input) FROM calls"},
    };
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++)
        if (one_number(m, pairs[i][0]) != one_number(m, pairs[i][1]))
            fail_msg("%s: %llu, but %s: %llu", pairs[i][0],
                     (unsigned long long)one_number(m, pairs[i][0]), pairs[i][1],
                     (unsigned long long)one_number(m, pairs[i][1]));
}

static void sums_follow_the_rows_whatever_happens(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1), b = money_attempt(TASK_B, 1);
    uint64_t x = 88172645463325252u, open[64], now = AT;
    size_t n = 0;
    a.exp = b.exp = UINT32_MAX;
    a.spend.in_flight = b.spend.in_flight = 64;
    begin(m, &a);
    begin(m, &b);
    settle(m, hold(m, 1), 1);
    for (int i = 0; i < 3000; i++) {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        struct ledger_ask ask = money_ask(m, x & 1 ? TASK_A ".1" : TASK_B ".1", (x >> 8) % 3000,
                                          now += (x >> 20) % 900);
        const struct usage u = {.input = (x >> 9) % 50};
        size_t at = n > 0 ? (x >> 30) % n : 0;
        bool full = (x >> 3) % 40 == 0;
        if ((x >> 12) % 5 < 2 && n < 64) {
            n += ledger_hold(m->l, &ask, &open[n], &err) == 0;
        } else if ((x >> 12) % 5 < 4 && n > 0) {
            (void)ledger_settle(m->l, open[at], (enum ledger_end)(1 + (x >> 40) % 4), &u,
                                (x >> 50) % 4000, 200, 0, 0, &err);
            open[at] = open[--n];
        } else {
            size_limit(full ? 1 : RLIM_INFINITY);
            (void)ledger_flush(m->l, &err);
            size_limit(RLIM_INFINITY);
            if ((x >> 45) % 16 == 0) {
                reopen(m);
                n = 0;
            }
        }
        if (i % 50 == 0 && ledger_flush(m->l, &err) == 0)
            sums_are_the_rows(m);
    }
    assert_true(one_number(m, "SELECT count(*) FROM calls") > 200); /* else nothing was tried */
}

/* ---- killed at any point ---- */

struct mock { /* what the provider was really asked, in micro-dollars */
    int from;
    uint64_t saw;
};

/* Either way of it. */
static bool made_durable(struct ledger *l, bool in_steps, struct err *e)
{
    if (!in_steps)
        return ledger_flush(l, e) == 0;
    return ledger_commit(l, e) == 0 && ledger_synced(l, ledger_sync(l, 0), e) == 0;
}

/* Holds, flushes, forwards (a pipe: whatever is written in it happened), settles; as fast as it can. */
static void spender(struct money *m, int to, unsigned round)
{
    struct ledger *l = NULL;
    struct err e = ERR_INIT;
    uint64_t x = 0x9e3779b97f4a7c15u * (round + 1);
    if (ledger_open(m->dir, &l, &e) < 0)
        _exit(1);
    for (unsigned i = 0;; i++) {
        uint64_t calls[4], costs[4];
        unsigned n = 1 + (unsigned)(x % 4);
        for (unsigned k = 0; k < n; k++) {
            struct ledger_ask ask = money_ask(m, TASK_A ".1", 1000, AT);
            costs[k] = 1 + (x >> (8 * k + 8)) % 1000;
            if (ledger_hold(l, &ask, &calls[k], &e) < 0)
                _exit(2);
        }
        if (!made_durable(l, round % 2, &e))
            _exit(3);
        if (write(to, costs, n * sizeof costs[0]) < 0)
            _exit(4);
        for (unsigned k = 0; k < n; k++) {
            const struct usage u = {.output = 1};
            if (ledger_settle(l, calls[k], CALL_SETTLED, &u, costs[k], 200, 0, 0, &e) < 0)
                _exit(5);
        }
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
}

static void drain(struct mock *k)
{
    uint64_t cost;
    while (read(k->from, &cost, sizeof cost) == sizeof cost)
        k->saw += cost;
}

static void a_killed_broker_never_forgets_money(void **state)
{
    struct money *m = *state;
    struct ledger_attempt a = money_attempt(TASK_A, 1);
    struct mock mock = {0};
    unsigned lived = 0;
    a.spend = (struct spend){.usd_micros = SPEND_USD_MAX,
                             .calls = 1000000,
                             .calls_per_minute = 10000,
                             .in_flight = 256,
                             .output_tokens = 1,
                             .repeats = 2};
    snprintf(a.spend.provider, sizeof a.spend.provider, "openai");
    m->provider.day_usd_micros = SPEND_USD_MAX;
    m->provider.day_calls = 1000000;
    begin(m, &a);
    ledger_close(m->l);
    m->l = NULL;
    for (unsigned round = 0; round < 100; round++) {
        uint64_t before = mock.saw;
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0) {
            close(fds[0]);
            spender(m, fds[1], round);
        }
        close(fds[1]);
        if (round / 2 % 2) /* else it may be killed before it did anything */
            poll(&(struct pollfd){.fd = fds[0], .events = POLLIN}, 1, -1);
        struct timespec nap = {.tv_nsec = 3000000 + (long)(round * 7919 % 100) * 150000};
        nanosleep(&nap, NULL);
        kill(pid, SIGKILL);
        int status;
        waitpid(pid, &status, 0);
        if (!WIFSIGNALED(status))
            fail_msg("round %u: the spender ended by itself: %d", round, WEXITSTATUS(status));
        mock.from = fds[0];
        drain(&mock);
        close(fds[0]);
        lived += mock.saw > before;
        assert_ok(ledger_open(m->dir, &m->l, &err));
        struct ledger_sum s = task_sum(m, TASK_A);
        if (s.spent_micros < mock.saw || s.held_micros != 0)
            fail_msg("round %u: %llu on disk, but %llu were spent", round,
                     (unsigned long long)s.spent_micros, (unsigned long long)mock.saw);
        ledger_close(m->l);
        m->l = NULL;
        sql(m, "UPDATE calls SET at = 0"); /* so that the minute is never full */
    }
    assert_true(lived > 20); /* else nothing was tried */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(attempts_are_kept, setup, teardown),
        cmocka_unit_test_setup_teardown(ends_charge_what_they_should, setup, teardown),
        cmocka_unit_test_setup_teardown(budgets_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(attempts_end, setup, teardown),
        cmocka_unit_test_setup_teardown(rates_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(days_hold, setup, teardown),
        cmocka_unit_test_setup_teardown(many_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(marks_are_said_once, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals_are_recorded, setup, teardown),
        cmocka_unit_test_setup_teardown(what_was_held_is_charged, setup, teardown),
        cmocka_unit_test_setup_teardown(a_full_disk_forwards_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(a_hold_is_void_when_its_turn_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(a_sync_that_failed_ends_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_wrong_database_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_pages_are_found, setup, teardown),
        cmocka_unit_test_setup_teardown(beside_a_broker_it_can_be_read, setup, teardown),
        cmocka_unit_test_setup_teardown(sums_follow_the_rows_whatever_happens, setup, teardown),
        cmocka_unit_test_setup_teardown(a_killed_broker_never_forgets_money, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
