/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A histogram of unsigned 64-bit values (latencies in nanoseconds, cycles, sizes) with a fixed number of significant
 * decimal digits over its whole range, after Gil Tene's HdrHistogram: the range is cut at powers of two, and each part
 * into the same number of equal steps, so that a value's place follows from its highest bit, by shifts alone.
 *
 * Memory is taken once. Used by the load generator, the benchmarks and the demo; one thread each, merged afterwards.
 */
#ifndef LOCKSTEP_PERF_HISTOGRAM_H
#define LOCKSTEP_PERF_HISTOGRAM_H

#include <assert.h>
#include <stdint.h>
#include <stdio.h>

#define LS_HISTOGRAM_DIGITS_MAX 5
/* Largest range: 2^62 - 1. A nanosecond count needs 42 bits for an hour. */
#define LS_HISTOGRAM_RANGE_MAX ((UINT64_C(1) << 62) - 1)

struct ls_histogram {
    uint64_t *count; /* owned */
    uint32_t counts;
    uint32_t half_bits; /* log2 of the steps that a power of two is cut into */
    uint32_t digits;
    uint64_t range; /* largest value that keeps its precision */
    uint64_t total;
    uint64_t over; /* of `total`: values above range, counted at range */
    uint64_t min;  /* exact; UINT64_MAX while empty */
    uint64_t max;  /* exact, also above range; 0 while empty */
    unsigned __int128 sum;
};

/* Values 0..range are kept to `digits` (1..LS_HISTOGRAM_DIGITS_MAX) significant decimal digits. 0, -EINVAL, -ENOMEM. */
int ls_histogram_init(struct ls_histogram *h, uint64_t range, uint32_t digits);
void ls_histogram_free(struct ls_histogram *h);
void ls_histogram_reset(struct ls_histogram *h);

/* Which count a value in range belongs to. Values below two powers' worth of steps have a count each; above, the
 * highest bit names the power and the bits behind it the step. */
static inline uint32_t ls_histogram_index(const struct ls_histogram *h, uint64_t value)
{
    uint64_t steps_mask = (UINT64_C(2) << h->half_bits) - 1;
    uint32_t shift = 63u - (uint32_t)__builtin_clzll(value | steps_mask) - h->half_bits;
    return (shift << h->half_bits) + (uint32_t)(value >> shift);
}

static inline void ls_histogram_record_n(struct ls_histogram *h, uint64_t value, uint64_t n)
{
    uint64_t kept = value;
    if (__builtin_expect(value > h->range, 0)) {
        kept = h->range;
        h->over += n;
    }
    h->count[ls_histogram_index(h, kept)] += n;
    h->total += n;
    h->sum += (unsigned __int128)value * n;
    if (value < h->min)
        h->min = value;
    if (value > h->max)
        h->max = value;
}

static inline void ls_histogram_record(struct ls_histogram *h, uint64_t value)
{
    ls_histogram_record_n(h, value, 1);
}

/* Adds what `from` holds. -EINVAL where the two were not made with the same range and digits. */
int ls_histogram_merge(struct ls_histogram *into, const struct ls_histogram *from);

/* The value that `percentile` (0..100) percent of all values do not exceed, rounded up to the end of its step, never
 * above the largest value recorded. 0 while empty. */
uint64_t ls_histogram_percentile(const struct ls_histogram *h, double percentile);
double ls_histogram_mean(const struct ls_histogram *h);
double ls_histogram_deviation(const struct ls_histogram *h);

/* One line per common percentile (50 to 99.99, max). `unit` is printed behind values, which are divided by `scale`. */
void ls_histogram_print(const struct ls_histogram *h, FILE *to, const char *unit, double scale);

/* Bars, one line per half power of two from the smallest to the largest value, with the share of all in percent. */
void ls_histogram_print_bars(const struct ls_histogram *h, FILE *to, const char *unit, double scale);

/* The percentile distribution as HdrHistogram's plotter reads it (.hgrm), with `ticks` (usually 5) lines per halving
 * of the distance to 100 %. 0 or -errno of the stream. */
int ls_histogram_write_hgrm(const struct ls_histogram *h, FILE *to, double scale, uint32_t ticks);

#endif
