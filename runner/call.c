/* The broker's door as a whole: who waits, which channels stand ready, how many are asked for. */
#include "runner/call_internal.h"

#include <stdlib.h>

#include "common/file.h"

void calls_handle_gone(struct calls *cs)
{
    if (--cs->handles > 0 || !cs->closing)
        return;
    free(cs->scratch);
    free(cs);
}

void calls_count(struct calls *cs, enum call_phase phase, int by)
{
    unsigned *n = phase == CALL_WAITS  ? &cs->nwaiting
                  : phase == CALL_OPEN ? &cs->nopen
                                       : &cs->nleaving;
    *n += (unsigned)by;
}

/* One channel ahead of need: what is neither there nor on its way is asked for. */
static void ask_more(struct calls *cs)
{
    unsigned need = cs->nwaiting + 1, have = cs->nidle + cs->asked;
    if (cs->closing || have >= need)
        return;
    cs->asked += need - have;
    cs->asked_ms = uv_now(cs->setup.loop);
    cs->setup.ask(cs->setup.arg, need - have);
}

/* ---- channels that wait ---- */

void calls_forget_idle(struct calls *cs, struct stream *s)
{
    struct stream **at = &cs->idle;
    while (*at && *at != s)
        at = &(*at)->next_idle;
    if (!*at)
        return;
    *at = s->next_idle;
    s->next_idle = NULL;
    cs->nidle--;
}

static void idle_add(struct calls *cs, struct stream *s)
{
    struct stream **at = &cs->idle;
    while (*at)
        at = &(*at)->next_idle;
    *at = s;
    s->next_idle = NULL;
    cs->nidle++;
}

static struct call *oldest_waiter(const struct calls *cs)
{
    struct call *c = cs->list;
    while (c && c->phase != CALL_WAITS)
        c = c->next;
    return c;
}

void calls_channel(struct calls *cs, struct stream *s, const char *attempt)
{
    struct call *c = oldest_waiter(cs);
    if (!c && cs->nidle >= CALLS_IDLE_MAX) {
        stream_refuse(s, attempt, REFUSED_BUSY, "enough call channels wait already");
        return;
    }
    cs->asked -= cs->asked > 0;
    s->calls = cs;
    stream_open(s, CHANNEL_CALL, &call_kind);
    if (c)
        call_begin(c, s);
    else
        idle_add(cs, s);
}

void calls_again(struct calls *cs)
{
    cs->asked = 0;
    ask_more(cs);
}

/* ---- time ---- */

static void on_tick(uv_timer_t *t)
{
    struct calls *cs = t->data;
    uint64_t now = uv_now(cs->setup.loop);
    if (cs->nwaiting > 0 && now - cs->asked_ms >= CALL_ASK_MS)
        calls_again(cs); /* a channel can be lost on its way; who opens them bounds their number */
    for (struct call *c = cs->list, *next; c; c = next) {
        next = c->next;
        if (c->deadline && now >= c->deadline)
            call_late(c, now);
    }
    if (!cs->list) {
        uv_timer_stop(t);
        cs->ticking = false;
    }
}

static void tick_start(struct calls *cs)
{
    if (!cs->ticking)
        uv_timer_start(&cs->tick, on_tick, CALL_TICK_MS, CALL_TICK_MS);
    cs->ticking = true;
}

/* ---- the door ---- */

static void turn_away(struct calls *cs, int fd, const char *why)
{
    struct call *c = cs->nleaving < CALLS_GOODBYE_MAX ? call_new(cs, fd, CALL_LEAVES) : NULL;
    if (c)
        call_dismiss(c, "429 Too Many Requests", why);
    else if (cs->nleaving >= CALLS_GOODBYE_MAX)
        fd_close(&fd);
}

void calls_take(struct calls *cs, int fd)
{
    tick_start(cs);
    if (cs->nopen + cs->nwaiting >= cs->setup.max) {
        turn_away(cs, fd, "too many connections to the broker are open at once");
        return;
    }
    if (!cs->idle && cs->nwaiting >= CALLS_WAITING_MAX) {
        turn_away(cs, fd, "too many connections wait for the broker");
        return;
    }
    struct call *c = call_new(cs, fd, CALL_WAITS);
    struct stream *s = c ? cs->idle : NULL;
    if (s) {
        calls_forget_idle(cs, s);
        call_begin(c, s);
    }
    ask_more(cs);
}

/* ---- life ---- */

int calls_open(const struct calls_setup *setup, struct calls **ret, struct err *err)
{
    struct calls *cs = calloc(1, sizeof *cs);
    if (cs)
        cs->scratch = malloc(STREAM_CHUNK);
    if (!cs || !cs->scratch) {
        free(cs);
        return err_set(err, ERR_FAIL, "out of memory");
    }
    cs->setup = *setup;
    if (cs->setup.wait_ms == 0)
        cs->setup.wait_ms = CALLS_WAIT_MS;
    cs->list_end = &cs->list;
    uv_timer_init(setup->loop, &cs->tick);
    cs->tick.data = cs;
    cs->handles = 1;
    *ret = cs;
    ask_more(cs);
    return 0;
}

static void on_tick_closed(uv_handle_t *h)
{
    calls_handle_gone(h->data);
}

void calls_close(struct calls *cs)
{
    if (!cs)
        return;
    cs->closing = true;
    while (cs->list)
        call_end(cs->list, false);
    while (cs->idle)
        stream_close(cs->idle); /* gone() takes it from the list */
    uv_close((uv_handle_t *)&cs->tick, on_tick_closed);
}
