/* A task's calls as the broker's ledger has them, one a line. */
#include "controller/cli/spend_view.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/sha256.h"
#include "controller/spend_plan.h"
#include "proto/rfc3339.h"

void spend_usd(uint64_t micros, int width, struct buf *to)
{
    struct buf b;
    buf_init(&b, 64);
    usd_format(micros, &b);
    buf_addf(to, "%*s", width, buf_str(&b));
    buf_done(&b);
}

int spend_view_open(const struct paths *p, struct ledger **ret, struct err *err)
{
    char dir[PATH_MAX], db[PATH_MAX];
    *ret = NULL;
    int rc = paths_broker(p, dir, err);
    rc = rc < 0 ? rc : paths_at(p, "broker/spend.db", db, err);
    if (rc < 0 || access(db, F_OK) < 0)
        return rc;
    return ledger_view(dir, ret, err);
}

void spend_sum_json(const struct ledger_sum *s, struct buf *b)
{
    emit_uint(b, "spent_micros", s->spent_micros);
    emit_uint(b, "held_micros", s->held_micros);
    emit_uint(b, "calls", s->calls);
    emit_uint(b, "refused", s->refused);
    emit_uint(b, "input_tokens", s->input);
    emit_uint(b, "cache_read_tokens", s->cache_read);
    emit_uint(b, "cache_write_tokens", s->cache_write);
    emit_uint(b, "output_tokens", s->output);
}

/* ---- one task ---- */

struct show {
    struct buf *b;
    bool json;
    bool named;               /* the table's head is printed */
    uint8_t prices[32];       /* of the newest call */
    const struct prices *now; /* as they are now, or NULL */
};

static void call_json(const struct ledger_call *c, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_uint(b, "call", c->id);
    emit_uint(b, "at", c->at);
    emit_text(b, "attempt", c->attempt);
    emit_text(b, "provider", c->provider);
    emit_text(b, "model", c->model);
    emit_text(b, "dialect", c->dialect);
    emit_hex(b, "prices_sha256", c->prices_sha256, sizeof c->prices_sha256);
    emit_uint(b, "reserved_micros", c->reserve);
    emit_uint(b, "charged_micros", c->charged);
    emit_text(b, "end", ledger_end_names[c->end]);
    emit_int(b, "http_status", c->http_status);
    emit_uint(b, "input_tokens", c->usage.input);
    emit_uint(b, "cache_read_tokens", c->usage.cache_read);
    emit_uint(b, "cache_write_tokens", c->usage.cache_write);
    emit_uint(b, "cache_write_1h_tokens", c->usage.cache_write_1h);
    emit_uint(b, "output_tokens", c->usage.output);
    emit_uint(b, "first_byte_ms", c->first_byte_ms);
    emit_uint(b, "ms", c->ms);
    emit_close(b, '}');
}

/* "12:41:57", of a day that the head names. */
static void clock_text(uint64_t at, struct buf *b)
{
    char text[RFC3339_SIZE];
    if (rfc3339_format(at, text))
        buf_addf(b, "%.5s %.8s", text + 5, text + 11);
    else
        buf_adds(b, "?");
}

static void call_text(struct show *s, const struct ledger_call *c)
{
    uint64_t written = c->usage.cache_write + c->usage.cache_write_1h;
    if (!s->named)
        buf_addf(s->b, "%-14s %-28s %9s %9s %9s %9s %12s %-8s %4s %8s\n", "UTC", "MODEL", "IN",
                 "CACHED", "WRITTEN", "OUT", "CHARGED", "END", "HTTP", "MS");
    s->named = true;
    clock_text(c->at, s->b);
    buf_addf(s->b, " %-28s %9llu %9llu %9llu %9llu ", c->model, (unsigned long long)c->usage.input,
             (unsigned long long)c->usage.cache_read, (unsigned long long)written,
             (unsigned long long)c->usage.output);
    spend_usd(c->charged, 12, s->b);
    buf_addf(s->b, " %-8s %4d %8llu\n", ledger_end_names[c->end], c->http_status,
             (unsigned long long)c->ms);
}

static int on_call(void *arg, const struct ledger_call *c, struct err *err)
{
    struct show *s = arg;
    memcpy(s->prices, c->prices_sha256, sizeof s->prices);
    if (s->json)
        call_json(c, s->b);
    else
        call_text(s, c);
    return s->b->failed ? err_set(err, ERR_FAIL, "too many calls to show") : 0;
}

static int on_refusal(void *arg, const struct ledger_refusal *r, struct err *err)
{
    struct show *s = arg;
    if (s->json) {
        emit_open(s->b, NULL, '{');
        emit_uint(s->b, "at", r->at);
        emit_text(s->b, "attempt", r->attempt);
        emit_text(s->b, "why", r->why);
        emit_close(s->b, '}');
        return 0;
    }
    clock_text(r->at, s->b);
    buf_adds(s->b, " refused: ");
    cli_text(s->b, r->why);
    buf_addc(s->b, '\n');
    return 0;
}

/* The date of the prices is known while they are still the ones that were used. */
static const char *as_of(const struct show *s)
{
    bool same = s->now && memcmp(prices_sha256(s->now), s->prices, sizeof s->prices) == 0;
    return same ? prices_as_of(s->now) : "";
}

static void sum_text(struct show *s, const struct task_row *t, const struct ledger_sum *sum)
{
    const struct spend *limit = &t->policy.spend;
    char hex[65];
    sha256_hex(s->prices, hex);
    spend_usd(sum->spent_micros, 0, s->b);
    buf_adds(s->b, " spent");
    if (sum->held_micros) {
        buf_adds(s->b, ", ");
        spend_usd(sum->held_micros, 0, s->b);
        buf_adds(s->b, " held for calls under way");
    }
    buf_adds(s->b, " of ");
    spend_usd(limit->usd_micros, 0, s->b);
    buf_addf(s->b, " at %s; %llu of %llu calls, %llu refused\n", limit->provider,
             (unsigned long long)sum->calls, (unsigned long long)limit->calls,
             (unsigned long long)sum->refused);
    buf_addf(s->b, "%llu tokens in, %llu read from a cache, %llu written to one, %llu out\n",
             (unsigned long long)sum->input, (unsigned long long)sum->cache_read,
             (unsigned long long)sum->cache_write, (unsigned long long)sum->output);
    if (s->named)
        buf_addf(s->b, "prices sha256 %.16s%s%s\n", hex,
                 as_of(s)[0] ? ", as of " : ", changed since", as_of(s));
}

static int rows(struct ledger *l, struct show *s, const struct task_row *t, struct err *err)
{
    int rc = 0;
    if (s->json)
        emit_open(s->b, "calls", '[');
    if (l)
        rc = ledger_each_call(l, t->id, on_call, s, err);
    if (s->json) {
        emit_close(s->b, ']');
        emit_open(s->b, "refusals", '[');
    }
    if (l && rc == 0)
        rc = ledger_each_refusal(l, t->id, on_refusal, s, err);
    if (s->json)
        emit_close(s->b, ']');
    return rc;
}

static void head_json(const struct task_row *t, const struct ledger_sum *sum, struct buf *b)
{
    emit_open(b, NULL, '{');
    emit_int(b, "version", 1);
    emit_text(b, "id", t->id);
    emit_text(b, "provider", t->policy.spend.provider);
    emit_uint(b, "usd_micros", t->policy.spend.usd_micros);
    emit_hex(b, "plan_prices_sha256", t->policy.spend.prices_sha256,
             sizeof t->policy.spend.prices_sha256);
    emit_open(b, "sum", '{');
    spend_sum_json(sum, b);
    emit_close(b, '}');
}

int spend_show(const struct paths *p, const struct task_row *t, bool json, struct buf *b,
               struct err *err)
{
    struct spend_books books = {0};
    struct ledger *l = NULL;
    struct ledger_sum sum = {0};
    struct show s = {.b = b, .json = json};
    if (!spend_any(&t->policy.spend))
        return err_set(err, ERR_USAGE, "task %s may not call a model provider: nothing was spent",
                       t->id);
    memcpy(s.prices, t->policy.spend.prices_sha256, sizeof s.prices);
    int rc = spend_view_open(p, &l, err);
    if (rc == 0 && spend_books_peek(p, &books, &(struct err){0}) == 0)
        s.now = books.prices;
    rc = rc < 0 || !l ? rc : ledger_task_sum(l, t->id, &sum, err);
    if (rc == 0 && json)
        head_json(t, &sum, b);
    rc = rc < 0 ? rc : rows(l, &s, t, err);
    if (rc == 0 && json) {
        emit_text(b, "prices_as_of", as_of(&s));
        emit_close(b, '}');
        buf_addc(b, '\n');
    } else if (rc == 0) {
        sum_text(&s, t, &sum);
    }
    ledger_close(l);
    spend_books_done(&books);
    return rc;
}
