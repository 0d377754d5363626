/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * perf/histogram.c against brute force: every percentile of random values of all magnitudes must lie within the
 * promised precision of the sorted array's, and counts, minimum, maximum and mean must be exact.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "histogram.h"

static uint64_t random_state;

/* SplitMix64 */
static uint64_t next_random(void)
{
    uint64_t z = (random_state += UINT64_C(0x9e3779b97f4a7c15));
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

/* As many small values as large ones: a random number of bits first. */
static uint64_t random_value(uint32_t bits)
{
    uint32_t n = (uint32_t)(next_random() % (bits + 1));
    return n == 0 ? 0 : next_random() >> (64 - n);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return x < y ? -1 : x > y;
}

static void check_percentiles(const struct ls_histogram *h, uint64_t *values, size_t n, uint32_t digits)
{
    static const double wanted[] = {0, 0.1, 1, 10, 25, 50, 75, 90, 99, 99.9, 99.99, 99.999, 100};
    qsort(values, n, sizeof(*values), compare);
    for (size_t i = 0; i < sizeof(wanted) / sizeof(wanted[0]); i++) {
        size_t rank = (size_t)ceil((double)n * wanted[i] / 100.0 - 1e-9);
        uint64_t exact = values[rank < 1 ? 0 : rank - 1];
        uint64_t got = ls_histogram_percentile(h, wanted[i]);
        uint64_t slack = (uint64_t)((double)exact * pow(10, -(double)digits));
        if (got < exact || got > exact + slack)
            fail_msg("p%g of %zu values at %u digits: %" PRIu64 ", exactly %" PRIu64 " (allowed +%" PRIu64 ")",
                     wanted[i], n, digits, got, exact, slack);
    }
}

static void test_against_sorted_array(void **state)
{
    static const size_t sizes[] = {1, 2, 3, 10, 1000, 50000};
    uint64_t *values = malloc(50000 * sizeof(*values));
    assert_non_null(values);
    random_state = 1;
    for (uint32_t digits = 1; digits <= 4; digits++) {
        for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
            for (uint32_t bits = 4; bits <= 44; bits += 8) {
                struct ls_histogram h;
                assert_int_equal(ls_histogram_init(&h, (UINT64_C(1) << 44) - 1, digits), 0);
                long double sum = 0;
                for (size_t i = 0; i < sizes[s]; i++) {
                    values[i] = random_value(bits);
                    sum += (long double)values[i];
                    ls_histogram_record(&h, values[i]);
                }
                check_percentiles(&h, values, sizes[s], digits);
                assert_int_equal(h.total, sizes[s]);
                assert_int_equal(h.over, 0);
                assert_int_equal(h.min, values[0]);
                assert_int_equal(h.max, values[sizes[s] - 1]);
                assert_true(fabsl(sum / (long double)sizes[s] - (long double)ls_histogram_mean(&h)) <=
                            1e-9L * (1 + sum / (long double)sizes[s]));
                ls_histogram_free(&h);
            }
        }
    }
    free(values);
}

/* Every step of the range is hit by exactly the values that belong to it, in order and without gaps. */
static void test_every_value_of_a_small_range(void **state)
{
    struct ls_histogram h;
    assert_int_equal(ls_histogram_init(&h, 100000, 2), 0);
    uint32_t before = 0;
    for (uint64_t v = 0; v <= 100000; v++) {
        uint32_t index = ls_histogram_index(&h, v);
        assert_in_range(index, 0, h.counts - 1);
        assert_true(index == before || index == before + 1 || v == 0);
        before = index;
    }
    assert_int_equal(before, h.counts - 1);
    ls_histogram_free(&h);
}

static void test_above_range(void **state)
{
    struct ls_histogram h;
    assert_int_equal(ls_histogram_init(&h, 1000, 3), 0);
    for (int i = 0; i < 99; i++)
        ls_histogram_record(&h, 10);
    ls_histogram_record(&h, 123456789);
    assert_int_equal(h.over, 1);
    assert_int_equal(ls_histogram_percentile(&h, 99), 10);
    assert_int_equal(ls_histogram_percentile(&h, 99.99), 123456789);
    assert_int_equal(h.max, 123456789);
    ls_histogram_record(&h, UINT64_MAX);
    assert_int_equal(h.max, UINT64_MAX);
    assert_int_equal(h.total, 101);
    ls_histogram_free(&h);
}

static void test_merge_equals_one(void **state)
{
    struct ls_histogram one, a, b, other;
    assert_int_equal(ls_histogram_init(&one, UINT64_C(1) << 40, 3), 0);
    assert_int_equal(ls_histogram_init(&a, UINT64_C(1) << 40, 3), 0);
    assert_int_equal(ls_histogram_init(&b, UINT64_C(1) << 40, 3), 0);
    assert_int_equal(ls_histogram_init(&other, UINT64_C(1) << 40, 2), 0);
    random_state = 7;
    for (int i = 0; i < 20000; i++) {
        uint64_t v = random_value(42);
        ls_histogram_record(&one, v);
        ls_histogram_record(i % 3 == 0 ? &a : &b, v);
    }
    assert_int_equal(ls_histogram_merge(&a, &other), -EINVAL);
    assert_int_equal(ls_histogram_merge(&a, &b), 0);
    assert_memory_equal(a.count, one.count, one.counts * sizeof(*one.count));
    assert_int_equal(a.total, one.total);
    assert_int_equal(a.over, one.over);
    assert_true(a.over > 0);
    assert_int_equal(a.min, one.min);
    assert_int_equal(a.max, one.max);
    assert_true(a.sum == one.sum);
    ls_histogram_reset(&a);
    assert_int_equal(a.total, 0);
    assert_int_equal(ls_histogram_percentile(&a, 50), 0);
    ls_histogram_record_n(&a, 5, 3);
    assert_int_equal(a.total, 3);
    assert_int_equal(a.min, 5);
    ls_histogram_free(&one);
    ls_histogram_free(&a);
    ls_histogram_free(&b);
    ls_histogram_free(&other);
}

static void test_refuses_nonsense(void **state)
{
    struct ls_histogram h;
    assert_int_equal(ls_histogram_init(&h, 1000, 0), -EINVAL);
    assert_int_equal(ls_histogram_init(&h, 1000, 6), -EINVAL);
    assert_int_equal(ls_histogram_init(&h, 0, 3), -EINVAL);
    assert_int_equal(ls_histogram_init(&h, UINT64_MAX, 3), -EINVAL);
    assert_int_equal(ls_histogram_init(&h, LS_HISTOGRAM_RANGE_MAX, 3), 0);
    ls_histogram_record(&h, LS_HISTOGRAM_RANGE_MAX);
    assert_int_equal(h.over, 0);
    ls_histogram_free(&h);
}

/* The plotter skips the head line and lines that begin with '#', and reads value and percentile from the rest: both
 * must grow, the last line must be the maximum at 1. */
static void test_hgrm(void **state)
{
    struct ls_histogram h;
    assert_int_equal(ls_histogram_init(&h, UINT64_C(1) << 40, 3), 0);
    for (uint64_t v = 1; v <= 10000; v++)
        ls_histogram_record(&h, v * 1000);
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    assert_int_equal(ls_histogram_write_hgrm(&h, to, 1000, 5), 0);
    fclose(to);

    double value_before = -1, percentile_before = -1;
    int lines = 0, comments = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        double value, percentile, inverse;
        unsigned long long count;
        if (line[0] == '#') {
            comments++;
            continue;
        }
        int n = sscanf(line, "%lf %lf %llu %lf", &value, &percentile, &count, &inverse);
        if (n < 3) {
            assert_int_equal(lines, 0);
            assert_non_null(strstr(line, "Percentile"));
            continue;
        }
        assert_true(value >= value_before);
        assert_true(percentile > percentile_before);
        if (n == 4)
            assert_true(fabs(inverse - 1 / (1 - percentile)) < 0.01 * inverse);
        /* values are 1..10000 (scaled): the value is its own rank */
        assert_true(fabs(value - (double)count) <= 0.001 * value + 1);
        assert_true((double)count >= percentile * 10000 - 1e-6);
        value_before = value;
        percentile_before = percentile;
        lines++;
    }
    assert_true(lines > 30);
    assert_int_equal(comments, 3);
    assert_true(value_before == 10000);
    assert_true(percentile_before == 1);
    free(text);
    ls_histogram_free(&h);
}

/* Shares add up to all, the highest bar is the widest. */
static void test_bars(void **state)
{
    struct ls_histogram h;
    assert_int_equal(ls_histogram_init(&h, UINT64_C(1) << 40, 3), 0);
    ls_histogram_record_n(&h, 0, 10);
    ls_histogram_record_n(&h, 1000, 70);
    ls_histogram_record_n(&h, 100000, 20);
    char *text = NULL;
    size_t size = 0;
    FILE *to = open_memstream(&text, &size);
    assert_non_null(to);
    ls_histogram_print_bars(&h, to, "us", 1000);
    fclose(to);
    double share, sum = 0;
    size_t widest = 0;
    char *save = NULL;
    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        double from;
        char bar[64] = "";
        assert_true(sscanf(line, " from %lf us %lf %% %63s", &from, &share, bar) >= 2);
        sum += share;
        if (strlen(bar) > widest) {
            widest = strlen(bar);
            assert_true(share == (from < 0.5 ? 10.0 : 70.0));
            assert_true(from < 1.0);
        }
    }
    assert_true(fabs(sum - 100) < 0.01);
    assert_int_equal(widest, 50);
    free(text);
    ls_histogram_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_against_sorted_array),
        cmocka_unit_test(test_every_value_of_a_small_range),
        cmocka_unit_test(test_above_range),
        cmocka_unit_test(test_merge_equals_one),
        cmocka_unit_test(test_refuses_nonsense),
        cmocka_unit_test(test_hgrm),
        cmocka_unit_test(test_bars),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
