/* Time. Wall time is for people and envelopes, monotonic time for everything that is measured. */
#ifndef COMMON_CLOCK_H
#define COMMON_CLOCK_H

#include <stdint.h>

uint64_t clock_wall_s(void);
uint64_t clock_wall_ms(void);
uint64_t clock_mono_us(void);

#endif
