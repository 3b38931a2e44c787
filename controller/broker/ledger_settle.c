/* A call's end: what it cost in the place of what was held for it. */
#include "controller/broker/ledger_internal.h"

#include <stdlib.h>
#include <string.h>

#define CHARGE_MAX \
    ((uint64_t)1000000000000000) /* a billion dollars: thousands of them still add up */

struct held {
    char task[ID_SIZE], provider[PROVIDER_NAME_SIZE];
    uint64_t day, reserve;
};

static int held_get(struct ledger *l, uint64_t call, struct held *out, struct err *err)
{
    struct run r = sql_run(l, SQL_CALL_GET);
    run_u64(&r, call);
    int rc = run_step(&r, err);
    if (rc == 1) {
        bool ok = run_get_text(&r, out->task, sizeof out->task) &&
                  run_get_text(&r, out->provider, sizeof out->provider);
        out->day = run_get_u64(&r);
        out->reserve = run_get_u64(&r);
        if (!ok)
            rc = err_set(err, ERR_FAIL, "spend.db: call %llu has no valid names",
                         (unsigned long long)call);
    }
    run_end(&r);
    return rc;
}

static bool nothing(const struct usage *u)
{
    return (u->input | u->cache_read | u->cache_write | u->cache_write_1h | u->output) == 0;
}

/* What is charged, and why: in doubt the whole reservation. */
static enum ledger_end judge_end(const struct settled *s, uint64_t reserve, uint64_t *ret_charged)
{
    if (s->end == CALL_UNSENT || s->end == CALL_FAILED) {
        *ret_charged = 0;
        return s->end;
    }
    *ret_charged = reserve;
    if ((s->end != CALL_SETTLED && s->end != CALL_OVER) || !s->have_usage || nothing(&s->usage))
        return CALL_WHOLE;
    *ret_charged = s->micros < CHARGE_MAX ? s->micros : CHARGE_MAX;
    return *ret_charged > reserve ? CALL_OVER : CALL_SETTLED;
}

static int put_end(struct ledger *l, const struct settled *s, enum ledger_end end, uint64_t charged,
                   struct err *err)
{
    struct run r = sql_run(l, SQL_CALL_SETTLE);
    run_u64(&r, charged);
    run_u64(&r, end);
    run_u64(&r, s->http_status > 0 ? (uint64_t)s->http_status : 0);
    run_u64(&r, s->usage.input);
    run_u64(&r, s->usage.cache_read);
    run_u64(&r, s->usage.cache_write);
    run_u64(&r, s->usage.cache_write_1h);
    run_u64(&r, s->usage.output);
    run_u64(&r, s->first_byte_ms);
    run_u64(&r, s->ms);
    run_u64(&r, s->call);
    return run_once(&r, err);
}

static uint64_t less(uint64_t a, uint64_t b)
{
    return a > b ? a - b : 0;
}

static void move(struct sums *to, const struct settled *s, enum ledger_end end, uint64_t reserve,
                 uint64_t charged)
{
    to->held = less(to->held, reserve);
    to->in_flight = less(to->in_flight, 1);
    to->calls = less(to->calls, end == CALL_UNSENT);
    to->spent = add_capped(to->spent, charged);
    to->input = add_capped(to->input, s->usage.input);
    to->cache_read = add_capped(to->cache_read, s->usage.cache_read);
    to->cache_write =
        add_capped(add_capped(to->cache_write, s->usage.cache_write), s->usage.cache_write_1h);
    to->output = add_capped(to->output, s->usage.output);
}

int settle_row(struct ledger *l, const struct settled *s, struct err *err)
{
    struct held h = {0};
    struct sums sums;
    uint64_t charged;
    int rc = held_get(l, s->call, &h, err);
    if (rc <= 0)
        return rc;
    enum ledger_end end = judge_end(s, h.reserve, &charged);
    rc = put_end(l, s, end, charged, err);
    rc = rc < 0 ? rc : task_get(l, h.task, &sums, err);
    if (rc < 0)
        return rc;
    move(&sums, s, end, h.reserve, charged);
    rc = task_put(l, h.task, &sums, err);
    rc = rc < 0 ? rc : day_get(l, h.provider, h.day, &sums, err);
    if (rc < 0)
        return rc;
    move(&sums, s, end, h.reserve, charged);
    rc = day_put(l, h.provider, h.day, &sums, err);
    return rc < 0 ? rc : 1;
}

static int remember(struct ledger *l, const struct settled *s, struct err *err)
{
    if (l->nsettled == l->room) {
        size_t room = l->room ? 2 * l->room : 64;
        struct settled *more = reallocarray(l->settled, room, sizeof *more);
        if (!more)
            return err_set(err, ERR_FAIL, "out of memory");
        l->settled = more;
        l->room = room;
    }
    l->settled[l->nsettled++] = *s;
    return 0;
}

int ledger_settle(struct ledger *l, uint64_t call, enum ledger_end end, const struct usage *usage,
                  uint64_t micros, int http_status, uint64_t first_byte_ms, uint64_t ms,
                  struct err *err)
{
    struct settled s = {.call = call,
                        .end = end,
                        .have_usage = usage != NULL,
                        .micros = micros,
                        .http_status = http_status,
                        .first_byte_ms = first_byte_ms,
                        .ms = ms};
    if (usage)
        s.usage = *usage;
    int rc = turn_begin(l, err);
    if (rc == 0 && (rc = settle_row(l, &s, err)) == 0)
        return err_set(err, ERR_FAIL, "spend.db: call %llu is not held", (unsigned long long)call);
    /* Also when it could not be written: it is tried again with the next turn. */
    int kept = remember(l, &s, err);
    if (rc < 0)
        l->redo = true;
    if (rc < 0 && l->begun)
        return turn_fail(l, rc);
    l->dirty = true;
    return rc < 0 ? rc : kept;
}
