/* clock.h: the three clocks, kept apart by type names.
 *
 *   mono_us_t / mono_ms_t  CLOCK_MONOTONIC: deadlines, durations, latencies. Never shown to people.
 *   wall_s_t  / wall_ms_t  CLOCK_REALTIME: HTTP dates, Age arithmetic, log lines. May jump.
 *   dur_ms_t               a length of time.
 *
 * Functions that decide something take the time as an argument (so tests bring their own); only the
 * edges of the program read a clock. */
#ifndef CORE_CLOCK_H
#define CORE_CLOCK_H

#include "core/base.h"

#include <time.h>

typedef int64_t mono_us_t;
typedef int64_t mono_ms_t;
typedef int64_t wall_ms_t;
typedef int64_t wall_s_t;
typedef int64_t dur_ms_t;

static inline mono_us_t clock_mono_us(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (mono_us_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static inline mono_ms_t clock_mono_ms(void)
{
    return clock_mono_us() / 1000;
}

static inline wall_ms_t clock_wall_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME, &ts);
    return (wall_ms_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* The same to the kernel's tick (1 to 4 ms), without reading the hardware. */
static inline wall_ms_t clock_wall_coarse_ms(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_REALTIME_COARSE, &ts);
    return (wall_ms_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static inline wall_s_t clock_wall_s(void)
{
    return clock_wall_ms() / 1000;
}

#endif
