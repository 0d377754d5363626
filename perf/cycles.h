/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The processor's own counter of time, for measuring short stretches of code. On x86 it runs at the nominal frequency
 * whatever the core's clock does just now, so "cycles" here are nominal ones. Any thread.
 */
#ifndef LOCKSTEP_PERF_CYCLES_H
#define LOCKSTEP_PERF_CYCLES_H

#include <stdint.h>
#include <time.h>

static inline uint64_t ls_clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

/* Not ordered against the code around it: stretches of a few hundred cycles are blurred by some tens. */
static inline uint64_t ls_cycles(void)
{
#if defined(__x86_64__)
    return __builtin_ia32_rdtsc();
#elif defined(__aarch64__)
    uint64_t value;
    __asm__ __volatile__("mrs %0, cntvct_el0" : "=r"(value));
    return value;
#else
    return ls_clock_ns();
#endif
}

/* Counts per second, measured against the monotonic clock for 50 ms. */
static inline double ls_cycles_per_second(void)
{
    uint64_t t0 = ls_clock_ns(), c0 = ls_cycles(), t1;
    do {
        t1 = ls_clock_ns();
    } while (t1 - t0 < 50000000);
    return (double)(ls_cycles() - c0) * 1e9 / (double)(t1 - t0);
}

#endif
