/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Histogram: memory, merging and everything that walks the counts. Recording is in the header. Called by whoever owns
 * the histogram, on its thread.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "histogram.h"

/* First and last value of a count. */
static uint64_t step_first(const struct ls_histogram *h, uint32_t index)
{
    uint32_t power = index >> h->half_bits;
    if (power < 2)
        return index;
    uint32_t shift = power - 1;
    return (uint64_t)(index - (shift << h->half_bits)) << shift;
}

static uint64_t step_last(const struct ls_histogram *h, uint32_t index)
{
    uint32_t power = index >> h->half_bits;
    return step_first(h, index) + (power < 2 ? 0 : (UINT64_C(1) << (power - 1)) - 1);
}

int ls_histogram_init(struct ls_histogram *h, uint64_t range, uint32_t digits)
{
    memset(h, 0, sizeof(*h));
    if (digits < 1 || digits > LS_HISTOGRAM_DIGITS_MAX || range < 1 || range > LS_HISTOGRAM_RANGE_MAX)
        return -EINVAL;

    /* A step must be at most 10^-digits of the values in it, and these begin at half the steps of a power pair. */
    uint64_t steps = 1;
    for (uint32_t i = 0; i < digits; i++)
        steps *= 10;
    uint32_t half_bits = 0;
    while ((UINT64_C(1) << half_bits) < steps)
        half_bits++;

    h->half_bits = half_bits;
    h->digits = digits;
    h->range = range;
    h->counts = ls_histogram_index(h, range) + 1;
    h->count = calloc(h->counts, sizeof(*h->count));
    if (h->count == NULL)
        return -ENOMEM;
    h->min = UINT64_MAX;
    return 0;
}

void ls_histogram_free(struct ls_histogram *h)
{
    free(h->count);
    memset(h, 0, sizeof(*h));
}

void ls_histogram_reset(struct ls_histogram *h)
{
    memset(h->count, 0, h->counts * sizeof(*h->count));
    h->total = 0;
    h->over = 0;
    h->min = UINT64_MAX;
    h->max = 0;
    h->sum = 0;
}

int ls_histogram_merge(struct ls_histogram *into, const struct ls_histogram *from)
{
    if (into->range != from->range || into->half_bits != from->half_bits)
        return -EINVAL;
    for (uint32_t i = 0; i < into->counts; i++)
        into->count[i] += from->count[i];
    into->total += from->total;
    into->over += from->over;
    into->sum += from->sum;
    if (from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
    return 0;
}

/* End of a count's step as it is reported: never beyond what was really seen. */
static uint64_t reported(const struct ls_histogram *h, uint32_t index)
{
    uint64_t last = step_last(h, index);
    return last > h->max ? h->max : last;
}

uint64_t ls_histogram_percentile(const struct ls_histogram *h, double percentile)
{
    if (h->total == 0)
        return 0;
    if (!(percentile > 0))
        percentile = 0;
    if (percentile >= 100)
        return h->max;
    uint64_t rank = (uint64_t)ceil((double)h->total * (percentile / 100.0) - 1e-9);
    if (rank < 1)
        rank = 1;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < h->counts; i++) {
        seen += h->count[i];
        if (seen >= rank) {
            /* The last count also stands for everything above the range. */
            return i == h->counts - 1 && h->over > 0 ? h->max : reported(h, i);
        }
    }
    return h->max;
}

double ls_histogram_mean(const struct ls_histogram *h)
{
    return h->total == 0 ? 0 : (double)h->sum / (double)h->total;
}

double ls_histogram_deviation(const struct ls_histogram *h)
{
    if (h->total == 0)
        return 0;
    double mean = ls_histogram_mean(h), sum = 0;
    for (uint32_t i = 0; i < h->counts; i++) {
        if (h->count[i] == 0)
            continue;
        double middle = ((double)step_first(h, i) + (double)step_last(h, i)) / 2;
        sum += (middle - mean) * (middle - mean) * (double)h->count[i];
    }
    return sqrt(sum / (double)h->total);
}

void ls_histogram_print(const struct ls_histogram *h, FILE *to, const char *unit, double scale)
{
    static const double percentiles[] = {50, 75, 90, 99, 99.9, 99.99};
    fprintf(to, "  %-8s %14llu\n", "count", (unsigned long long)h->total);
    if (h->total == 0)
        return;
    fprintf(to, "  %-8s %14.2f %s\n", "min", (double)h->min / scale, unit);
    fprintf(to, "  %-8s %14.2f %s\n", "mean", ls_histogram_mean(h) / scale, unit);
    for (size_t i = 0; i < sizeof(percentiles) / sizeof(percentiles[0]); i++) {
        char name[16];
        snprintf(name, sizeof(name), "p%g", percentiles[i]);
        fprintf(to, "  %-8s %14.2f %s\n", name, (double)ls_histogram_percentile(h, percentiles[i]) / scale, unit);
    }
    fprintf(to, "  %-8s %14.2f %s\n", "max", (double)h->max / scale, unit);
}

#define BARS_MAX  160u /* two per power of two */
#define BAR_WIDTH 50u

/* Half powers of two: value v belongs to bar 2*log2(v), rounded down. */
static uint32_t bar_of(uint64_t value)
{
    uint32_t bar = value < 1 ? 0 : (uint32_t)floor(2 * log2((double)value));
    return bar < BARS_MAX ? bar : BARS_MAX - 1;
}

void ls_histogram_print_bars(const struct ls_histogram *h, FILE *to, const char *unit, double scale)
{
    uint64_t bars[BARS_MAX] = {0}, highest = 1;
    for (uint32_t i = 0; i < h->counts; i++) {
        if (h->count[i] > 0)
            bars[bar_of(step_first(h, i))] += h->count[i];
    }
    uint32_t first = BARS_MAX, last = 0;
    for (uint32_t i = 0; i < BARS_MAX; i++) {
        if (bars[i] == 0)
            continue;
        first = first < i ? first : i;
        last = i;
        highest = highest > bars[i] ? highest : bars[i];
    }
    for (uint32_t i = first; i <= last && h->total > 0; i++) {
        char bar[BAR_WIDTH + 1];
        uint32_t width = (uint32_t)(((unsigned __int128)bars[i] * BAR_WIDTH + highest - 1) / highest);
        memset(bar, '#', width);
        bar[width] = 0;
        fprintf(to, "  from %10.2f %s %7.3f %% %s\n", exp2(i / 2.0) / scale, unit,
                100.0 * (double)bars[i] / (double)h->total, bar);
    }
}

int ls_histogram_write_hgrm(const struct ls_histogram *h, FILE *to, double scale, uint32_t ticks)
{
    fprintf(to, "%12s %14s %10s %14s\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");

    /* Levels: `ticks` per halving of what is left to 100 %; a line for each level that the counts pass. */
    double level = 0;
    uint64_t seen = 0;
    for (uint32_t i = 0; i < h->counts && h->total > 0; i++) {
        if (h->count[i] == 0)
            continue;
        seen += h->count[i];
        double at = 100.0 * (double)seen / (double)h->total;
        if (seen == h->total)
            break;
        while (level <= at) {
            fprintf(to, "%12.3f %2.12f %10llu %14.2f\n", (double)reported(h, i) / scale, level / 100.0,
                    (unsigned long long)seen, 1 / (1 - level / 100.0));
            double halvings = floor(log2(100.0 / (100.0 - level))) + 1;
            level += 100.0 / ((double)ticks * exp2(halvings));
        }
    }
    if (h->total > 0)
        fprintf(to, "%12.3f %2.12f %10llu\n", (double)h->max / scale, 1.0, (unsigned long long)h->total);
    fprintf(to, "#[Mean    = %12.3f, StdDeviation   = %12.3f]\n", ls_histogram_mean(h) / scale,
            ls_histogram_deviation(h) / scale);
    fprintf(to, "#[Max     = %12.3f, Total count    = %12llu]\n", (double)h->max / scale, (unsigned long long)h->total);
    fprintf(to, "#[Buckets = %12u, SubBuckets     = %12u]\n", (h->counts >> h->half_bits) + 1, 2u << h->half_bits);
    return ferror(to) ? -EIO : 0;
}
