/* SPDX-License-Identifier: BSD-3-Clause */
/* Simulated readings of a counters page, with jitter, silences, late readers and standing workers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "detector.h"

#define MS 1000000ull

static struct ls_detector d;
static struct ls_ctrl_sample page;
static uint64_t now;

static void begin(void)
{
    struct ls_ctrl_times times = {0};

    memset(&page, 0, sizeof(page));
    page.turns[LS_WORKER_JOURNAL] = UINT64_MAX;
    now = 1000 * MS;
    ls_detector_init(&d, &times, now);
}

/* Node `node` heard (0: none), workers turning. */
static void step(uint64_t ns, uint16_t node)
{
    now += ns;
    if (node != 0)
        page.heard_ns[node] = now + 5; /* a clock of its own */
    page.turns[LS_WORKER_NET]++;
    page.turns[LS_WORKER_APPLY]++;
    ls_detector_sample(&d, &page, now);
}

static void hear(uint16_t node, int ms)
{
    for (int i = 0; i < ms; i++)
        step(1 * MS, node);
}

/* ms until `node` is suspected, watched on time. */
static int silence(uint16_t node)
{
    for (int ms = 0; ms < 1000; ms++) {
        if (!ls_detector_hears(&d, node, now))
            return ms;
        step(1 * MS, 0);
    }
    return -1;
}

static void test_beginning(void **state)
{
    (void)state;
    begin();
    assert_true(ls_detector_suspended(&d, now));
    assert_false(ls_detector_hears(&d, 2, now));
    assert_int_equal(ls_detector_timeout(&d, 2), 20 * MS);
    /* what stood in the page before is not news */
    page.heard_ns[2] = 77;
    step(1 * MS, 0);
    step(1 * MS, 0);
    assert_false(ls_detector_hears(&d, 2, now));
    assert_true(ls_detector_suspended(&d, now));
    step(1 * MS, 2);
    assert_true(ls_detector_hears(&d, 2, now));
    assert_false(ls_detector_suspended(&d, now));
    /* without any news it judges after a time-out all the same */
    begin();
    hear(0, 30);
    assert_false(ls_detector_suspended(&d, now));
}

static void test_steady(void **state)
{
    int ms;

    (void)state;
    begin();
    hear(2, 3000);
    ms = silence(2);
    assert_in_range(ms, 20, 40);
    assert_false(ls_detector_suspended(&d, now));
    /* gone for long, and back: nothing learnt from that */
    hear(0, 500);
    hear(2, 1);
    assert_true(ls_detector_hears(&d, 2, now));
    assert_int_equal(ls_detector_timeout(&d, 2), 20 * MS);
}

/* Silences of up to 20 ms at random never make a suspicion, and detection stays below 100 ms. */
static void test_jitter(void **state)
{
    uint64_t random = 7;

    (void)state;
    begin();
    hear(2, 10);
    for (int round = 0; round < 20000; round++) {
        uint64_t ms;

        random = random * 6364136223846793005ull + 1442695040888963407ull;
        ms = (random >> 33) % 20;
        for (uint64_t i = 0; i < ms; i++) {
            step(1 * MS, 0);
            assert_true(ls_detector_hears(&d, 2, now));
        }
        step(1 * MS, 2);
    }
    assert_in_range(silence(2), 20, 60);
}

static void test_adapts(void **state)
{
    (void)state;
    begin();
    hear(2, 1000);
    for (int round = 0; round < 40; round++) { /* a link whose silences last 60 ms */
        hear(0, 60);
        hear(2, 1);
    }
    assert_in_range(ls_detector_timeout(&d, 2), 60 * MS, 200 * MS);
    hear(2, 6000);
    assert_int_equal(ls_detector_timeout(&d, 2), 20 * MS);
}

/* One who overslept has seen nothing. */
static void test_late(void **state)
{
    (void)state;
    begin();
    hear(2, 100);
    assert_true(ls_detector_suspended(&d, now + 300 * MS)); /* not sampled for so long */
    step(5000 * MS, 0);
    assert_true(ls_detector_suspended(&d, now));
    assert_true(ls_detector_hears(&d, 2, now));
    step(12 * MS, 0); /* late again */
    assert_true(ls_detector_hears(&d, 2, now));
    assert_in_range(silence(2), 20, 30); /* a whole time-out on time */
    assert_false(ls_detector_suspended(&d, now));
    /* one that was silent before is not made alive by that */
    step(5000 * MS, 0);
    assert_false(ls_detector_hears(&d, 2, now));
    hear(2, 1);
    assert_true(ls_detector_hears(&d, 2, now));
    /* news end the suspension */
    step(5000 * MS, 2);
    assert_true(ls_detector_suspended(&d, now));
    step(1 * MS, 2);
    assert_false(ls_detector_suspended(&d, now));
    /* a reader that is always late finds a dead node in the end */
    for (int i = 0; i < 40 && ls_detector_hears(&d, 2, now); i++)
        step(12 * MS, 0);
    assert_false(ls_detector_hears(&d, 2, now));
}

/* While the own net worker stands still nobody can be heard. */
static void test_deaf(void **state)
{
    (void)state;
    begin();
    hear(2, 100);
    for (int i = 0; i < 300; i++) {
        now += 1 * MS;
        page.turns[LS_WORKER_APPLY]++;
        ls_detector_sample(&d, &page, now);
        assert_true(i < 12 || ls_detector_suspended(&d, now));
    }
    assert_true(ls_detector_stalled(&d, now));
    step(1 * MS, 0);
    assert_false(ls_detector_stalled(&d, now));
    assert_true(ls_detector_suspended(&d, now));
    assert_true(ls_detector_hears(&d, 2, now));
    assert_in_range(silence(2), 20, 30);
}

static void test_stalled(void **state)
{
    (void)state;
    begin();
    hear(2, 10);
    for (int i = 0; i < 39; i++) {
        now += 1 * MS;
        page.turns[LS_WORKER_NET]++;
        ls_detector_sample(&d, &page, now);
    }
    assert_int_equal(ls_detector_stalled_ns(&d, now), 39 * MS);
    assert_false(ls_detector_stalled(&d, now));
    assert_true(ls_detector_stalled(&d, now + 2 * MS));
    /* time in which nobody looked counts only as far as it was on time */
    now += 1000 * MS;
    page.turns[LS_WORKER_NET]++;
    ls_detector_sample(&d, &page, now);
    assert_int_equal(ls_detector_stalled_ns(&d, now), 50 * MS);
    page.asleep[LS_WORKER_APPLY] = true;
    page.turns[LS_WORKER_NET]++;
    now += 1 * MS;
    ls_detector_sample(&d, &page, now);
    assert_int_equal(ls_detector_stalled_ns(&d, now), 0);
    page.asleep[LS_WORKER_APPLY] = false;
    page.turns[LS_WORKER_APPLY] = UINT64_MAX; /* does not run */
    hear(2, 100);
    assert_false(ls_detector_stalled(&d, now));
}

static void test_forget(void **state)
{
    (void)state;
    begin();
    hear(2, 100);
    hear(3, 1);
    ls_detector_forget(&d, 2);
    assert_false(ls_detector_hears(&d, 2, now));
    assert_true(ls_detector_hears(&d, 3, now));
    step(1 * MS, 0); /* the old word in the page is not news */
    assert_false(ls_detector_hears(&d, 2, now));
    step(1 * MS, 2);
    assert_true(ls_detector_hears(&d, 2, now));
}

static void test_bounds(void **state)
{
    struct ls_ctrl_times times = {.suspect_min = 5 * MS, .suspect_max = 3 * MS, .poll = 1 * MS};

    (void)state;
    begin();
    ls_detector_init(&d, &times, now);
    assert_int_equal(ls_detector_timeout(&d, 1), 5 * MS);
    hear(LS_NODE_ID_MAX, 10);
    assert_true(ls_detector_hears(&d, LS_NODE_ID_MAX, now));
    page.heard_ns[LS_NODE_ID_MAX] = 0; /* a new page: nothing heard yet */
    step(1 * MS, 0);
    assert_true(ls_detector_hears(&d, LS_NODE_ID_MAX, now));
    assert_in_range(silence(LS_NODE_ID_MAX), 4, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_beginning), cmocka_unit_test(test_steady), cmocka_unit_test(test_jitter),
        cmocka_unit_test(test_adapts),    cmocka_unit_test(test_late),   cmocka_unit_test(test_deaf),
        cmocka_unit_test(test_stalled),   cmocka_unit_test(test_forget), cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
