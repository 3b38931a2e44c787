/* Holds a second: the ledger's part of a call, each with its settlement, by calls that share one flush.
 *
 *   ledger_bench DIR     prints "hold N us" (the hold alone) and "pair N_PER_FLUSH PER_SECOND" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "controller/broker/ledger.h"

#define ATTEMPT "01m849wtg9myrxjg9tpa7ab25f.1"
#define FOR_US  2000000

static void die(const struct err *err)
{
    fprintf(stderr, "ledger_bench: %s\n", err->msg);
    exit(1);
}

static void begin(struct ledger *l, struct err *err)
{
    struct ledger_attempt a = {.attempt = ATTEMPT, .exp = UINT32_MAX};
    spend_init(&a.spend);
    snprintf(a.task, sizeof a.task, "%.26s", ATTEMPT);
    snprintf(a.spend.provider, sizeof a.spend.provider, "openai");
    a.spend.usd_micros = SPEND_USD_MAX;
    a.spend.calls = 1000000;
    a.spend.calls_per_minute = 10000;
    a.spend.in_flight = 256;
    if (ledger_begin(l, &a, err) < 0)
        die(err);
}

/* `each` calls at once, one flush for their holds, and one for their settlements as the next turn's. */
static void turn(struct ledger *l, struct ledger_ask *ask, unsigned each, uint64_t *hold_us,
                 struct err *err)
{
    const struct usage u = {.input = 1, .output = 1};
    uint64_t calls[256], from = clock_mono_us();
    for (unsigned i = 0; i < each; i++)
        if (ledger_hold(l, ask, &calls[i], err) < 0)
            die(err);
    *hold_us += clock_mono_us() - from;
    if (ledger_flush(l, err) < 0)
        die(err);
    for (unsigned i = 0; i < each; i++)
        if (ledger_settle(l, calls[i], CALL_SETTLED, &u, 1, 200, 1, 1, err) < 0)
            die(err);
    ask->now_s += 1 + each / 100; /* so that no minute is full */
}

int main(int argc, char **argv)
{
    static const unsigned each[] = {1, 16, 256};
    struct err err = ERR_INIT;
    struct ledger *l = NULL;
    struct provider p;
    if (argc != 2 || !provider_known("openai", &p) || ledger_open(argv[1], &l, &err) < 0)
        die(&err);
    begin(l, &err);
    p.day_usd_micros = SPEND_USD_MAX;
    p.day_calls = PROVIDER_DAY_CALLS_MAX;
    struct ledger_ask ask = {.attempt = ATTEMPT,
                             .provider = &p,
                             .model = "gpt-5.5",
                             .dialect = "responses",
                             .reserve_micros = 1000,
                             .now_s = 1700000000};
    for (size_t k = 0; k < sizeof each / sizeof each[0]; k++) {
        uint64_t from = clock_mono_us(), took, hold_us = 0, n = 0;
        do {
            turn(l, &ask, each[k], &hold_us, &err);
            ask.now_s += 61;
            n += each[k];
            took = clock_mono_us() - from;
        } while (took < FOR_US);
        printf("%3u a flush: %8.0f calls a second, %5.1f us a hold\n", each[k],
               (double)n * 1e6 / (double)took, (double)hold_us / (double)n);
    }
    ledger_close(l);
    return 0;
}
