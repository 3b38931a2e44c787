/* The egress gate of an attempt's run: opened with its START's sockets, ended with the run, its account
 * kept for the result; and what it does as lines of the log. */
#include "runner/attempt_internal.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "runner/fdpass.h"

static void add_target(struct buf *to, int verdict, const char *name, unsigned port)
{
    buf_addf(to, "egress: %s %s", egress_verdict_names[verdict], name);
    if (port)
        buf_addf(to, ":%u", port);
}

static void add_traffic(struct buf *to, uint64_t sent, uint64_t received)
{
    buf_adds(to, ", ");
    limit_format(LIMIT_SENT, sent, to);
    buf_adds(to, " out, ");
    limit_format(LIMIT_SENT, received, to);
    buf_adds(to, " in");
}

/* Why, and what the operator could do about it. */
static void add_why(struct buf *to, int verdict, const char *name, unsigned port, const char *why)
{
    char canon[DNS_NAME_SIZE];
    buf_addf(to, ": %s", why);
    if (verdict != EGRESS_DENIED || !dns_name_canon(name, strlen(name), canon))
        return;
    buf_adds(to, "; ");
    egress_flag(canon, (uint16_t)port, to);
    buf_adds(to, " would");
}

/* The log shows the first of each name, port and verdict; the rest is summed up at the end. */
static void on_event(void *arg, const struct gate_event *e)
{
    struct attempt *a = arg;
    struct buf line;
    if (!e->first)
        return;
    buf_init(&line, SPOOL_NOTE_MAX);
    add_target(&line, (int)e->verdict, e->name, e->port);
    if (e->verdict == EGRESS_ALLOWED) {
        add_traffic(&line, e->sent, e->received);
        buf_addf(&line, ", %.1f s", (double)e->ms / 1000);
    } else {
        add_why(&line, (int)e->verdict, e->name, e->port, e->why);
    }
    spool_note(a->spool, attempt_now_us(a), "%s", buf_str(&line));
    spool_wake(a->spool);
    buf_done(&line);
}

static void note_sum(struct attempt *a, const struct egress_entry *e)
{
    struct buf line;
    if (e->count < 2)
        return;
    buf_init(&line, SPOOL_NOTE_MAX);
    add_target(&line, e->verdict, e->name, (unsigned)e->port);
    buf_addf(&line, ", %" PRIu64 " times in all", e->count);
    if (e->verdict == EGRESS_ALLOWED)
        add_traffic(&line, e->sent, e->received);
    spool_note(a->spool, attempt_now_us(a), "%s", buf_str(&line));
    buf_done(&line);
}

static void note_account(struct attempt *a)
{
    const struct egress_entry *e = a->account.egress.items;
    for (size_t i = 0; i < a->account.egress.n; i++)
        note_sum(a, &e[i]);
    if (a->account.egress_more)
        spool_note(a->spool, attempt_now_us(a),
                   "egress: %" PRIu64 " more connections and questions, to other names",
                   a->account.egress_more);
}

static void on_closed(void *arg)
{
    struct attempt *a = arg;
    a->gate = NULL;
    if (a->gate_awaited)
        attempt_gate_gone(a);
}

int attempt_gate_prepare(struct attempt *a, struct err *err)
{
    a->rules = calloc(EGRESS_RULES_MAX, sizeof *a->rules);
    if (!a->rules)
        return err_set(err, ERR_FAIL, "out of memory");
    int rc = egress_parse_all(&a->task.policy.egress, a->rules, &a->nrules, err);
    if (rc == 0)
        presets_ask(a->owner->presets, a->rules, a->nrules);
    return rc;
}

int attempt_gate_resolve(struct attempt *a, struct err *err)
{
    struct egress_rule *here = calloc(EGRESS_RULES_MAX, sizeof *here);
    int rc = here ? presets_resolve(a->owner->presets, a->rules, a->nrules, here, &a->nrules, err)
                  : err_set(err, ERR_FAIL, "out of memory");
    free(a->rules);
    a->rules = here;
    return rc;
}

/* ---- the broker's door ---- */

static void on_call(void *arg, int fd)
{
    struct attempt *a = arg;
    calls_take(a->calls, fd);
}

static void on_ask(void *arg, unsigned wanted)
{
    struct attempt *a = arg;
    struct msg m = {.type = MSG_CALLS};
    memcpy(m.u.calls.attempt, a->task.attempt, sizeof m.u.calls.attempt);
    m.u.calls.wanted = wanted < CALLS_WANTED_MAX ? (int)wanted : CALLS_WANTED_MAX;
    a->owner->tell(a->owner->arg, &m);
}

static int calls_begin(struct attempt *a, struct err *err)
{
    const struct calls_setup setup = {
        .loop = a->owner->loop,
        .max = policy_calls(&a->task.policy),
        .arg = a,
        .ask = on_ask,
    };
    return setup.max > 0 ? calls_open(&setup, &a->calls, err) : 0;
}

int attempt_gate_open(struct attempt *a, int *fds, size_t nfds, struct err *err)
{
    int rc = calls_begin(a, err);
    if (rc < 0)
        return rc; /* the caller closes what is left */
    const struct gate_setup setup = {
        .loop = a->owner->loop,
        .host = &a->owner->gate_host,
        .policy = &a->task.policy,
        .rules = a->rules,
        .nrules = a->nrules,
        .arg = a,
        .event = on_event,
        .closed = on_closed,
        .call = a->calls ? on_call : NULL,
    };
    rc = gate_open(&setup, fds, nfds, &a->gate, err);
    for (size_t i = 0; i < nfds; i++)
        fds[i] = -1;
    a->gate_doors = rc == 0 ? (unsigned)nfds : 0;
    free(a->rules);
    a->rules = NULL;
    return rc;
}

void attempt_gate_end(struct attempt *a)
{
    calls_close(a->calls);
    a->calls = NULL;
    if (!a->gate || a->gate_ending)
        return;
    a->gate_ending = true;
    gate_close(a->gate);
    if (gate_report(a->gate, &a->account) < 0)
        attempt_set_error(a, "no memory for the account of the egress gate");
    note_account(a);
}
