/* A ledger in a scratch directory, an attempt that may spend, and a provider: for tests of the money. */
#ifndef TESTS_UNIT_LEDGER_FIXTURE_H
#define TESTS_UNIT_LEDGER_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "controller/broker/ledger_report.h"
#include "tests/unit/fixture.h"

#define TASK_A "01m849wtg9myrxjg9tpa7ab25f"
#define TASK_B "01m849x41wjd5pgktbr30b1p23"
#define AT     1700000000u
#define AT_DAY (AT / 86400)
#define USD(n) ((uint64_t)((n)*1000000.0 + 0.5))

struct money {
    char dir[64];
    struct ledger *l;
    struct provider provider;
};

static inline void money_init(struct money *m)
{
    *m = (struct money){0};
    snprintf(m->dir, sizeof m->dir, "/tmp/creel-ledger-XXXXXX");
    if (!mkdtemp(m->dir) || !provider_known("openai", &m->provider))
        abort();
}

static inline void money_done(struct money *m)
{
    ledger_close(m->l);
    fixture_remove(m->dir);
}

static inline struct ledger_attempt money_attempt(const char *task, unsigned n)
{
    struct ledger_attempt a = {.exp = AT + 3600};
    snprintf(a.task, sizeof a.task, "%s", task);
    snprintf(a.attempt, sizeof a.attempt, "%s.%u", task, n);
    snprintf(a.branch, sizeof a.branch, "creel/%s", task);
    memset(a.token_sha256, 7, sizeof a.token_sha256);
    memset(a.runner_key, 9, sizeof a.runner_key);
    spend_init(&a.spend);
    snprintf(a.spend.provider, sizeof a.spend.provider, "openai");
    a.spend.usd_micros = USD(2.50);
    return a;
}

static inline struct ledger_ask money_ask(const struct money *m, const char *attempt,
                                          uint64_t reserve, uint64_t now_s)
{
    return (struct ledger_ask){.attempt = attempt,
                               .provider = &m->provider,
                               .model = "gpt-5.5",
                               .dialect = "responses",
                               .reserve_micros = reserve,
                               .now_s = now_s};
}

#endif
