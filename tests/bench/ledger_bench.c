/* Holds a second: the ledger's part of a call, each with its settlement, by calls that share one flush.
 *
 *   ledger_bench DIR     prints calls a second by calls a flush, and what a hold takes without its flush; then
 *                        a flush beside a bare write and sync of as many bytes to the same disk, by turns */
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/clock.h"
#include "controller/broker/ledger.h"

#define ATTEMPT "01m849wtg9myrxjg9tpa7ab25f.1"
#define FOR_US  2000000
#define PAIRS   500
#define BARE    20480 /* five pages: what a call's flush writes */

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

static int by_size(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

/* Blocks that are there, so that nothing but the bytes is written. */
static int bare_open(const char *dir)
{
    static const char zeros[BARE];
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/bare", dir);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    for (off_t i = 0; i < PAIRS; i++)
        if (fd < 0 || pwrite(fd, zeros, BARE, i * BARE) != BARE) {
            perror(path);
            exit(1);
        }
    fsync(fd);
    unlink(path);
    return fd;
}

static void beside_bare(struct ledger *l, struct ledger_ask *ask, const char *dir, struct err *err)
{
    static uint64_t flush[PAIRS], bare[PAIRS];
    static char bytes[BARE];
    int fd = bare_open(dir);
    for (off_t i = 0; i < PAIRS; i++) {
        uint64_t call, from;
        ask->now_s += 61;
        if (ledger_hold(l, ask, &call, err) < 0)
            die(err);
        from = clock_mono_us();
        if (ledger_flush(l, err) < 0)
            die(err);
        flush[i] = clock_mono_us() - from;
        if (ledger_settle(l, call, CALL_FAILED, NULL, 0, 500, 1, 1, err) < 0)
            die(err);
        memset(bytes, (int)i, sizeof bytes);
        from = clock_mono_us();
        if (pwrite(fd, bytes, BARE, i * BARE) != BARE || fdatasync(fd) < 0)
            perror("bare");
        bare[i] = clock_mono_us() - from;
    }
    close(fd);
    qsort(flush, PAIRS, sizeof flush[0], by_size);
    qsort(bare, PAIRS, sizeof bare[0], by_size);
    printf("a flush: median %llu us, 9 of 10 in %llu; a bare write and sync: %llu, %llu\n",
           (unsigned long long)flush[PAIRS / 2], (unsigned long long)flush[PAIRS * 9 / 10],
           (unsigned long long)bare[PAIRS / 2], (unsigned long long)bare[PAIRS * 9 / 10]);
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
    beside_bare(l, &ask, argv[1], &err);
    ledger_close(l);
    return 0;
}
