/* The clocks. Wall time may jump; nothing here hides that. */
#include "common/clock.h"

#include <time.h>

static uint64_t now(clockid_t clock, uint64_t per_s)
{
    struct timespec t;
    clock_gettime(clock, &t); /* cannot fail for these clocks */
    return (uint64_t)t.tv_sec * per_s + (uint64_t)t.tv_nsec / (1000000000u / per_s);
}

uint64_t clock_wall_s(void)
{
    return now(CLOCK_REALTIME, 1);
}

uint64_t clock_wall_ms(void)
{
    return now(CLOCK_REALTIME, 1000);
}

uint64_t clock_mono_us(void)
{
    return now(CLOCK_MONOTONIC, 1000000);
}
