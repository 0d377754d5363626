/* SPDX-License-Identifier: BSD-3-Clause */
/* Wasted time: at least what is asked for, a pause once, and none of it once the worker is to stop. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "clock.h"
#include "slow.h"

static void test_turn(void **state)
{
    struct ls_slow slow = {0};
    _Atomic bool stop = false;
    uint64_t begin;

    (void)state;
    assert_false(ls_slow_is_set(&slow));
    atomic_store(&slow.turn_ns, 2000000);
    for (int i = 0; i < 3; i++) { /* every turn */
        assert_true(ls_slow_is_set(&slow));
        begin = ls_now_ns();
        ls_slow_waste(&slow, &stop);
        assert_true(ls_now_ns() - begin >= 2000000);
    }
    atomic_store(&slow.turn_ns, 0);
    assert_false(ls_slow_is_set(&slow));
}

static void test_pause(void **state)
{
    struct ls_slow slow = {.pause_ns = 12000000};
    _Atomic bool stop = false;
    uint64_t begin = ls_now_ns();

    (void)state;
    assert_true(ls_slow_is_set(&slow));
    ls_slow_waste(&slow, &stop);
    assert_true(ls_now_ns() - begin >= 12000000);
    assert_false(ls_slow_is_set(&slow)); /* once */
    atomic_store(&slow.pause_ns, LS_SLOW_PAUSE_MAX_NS);
    atomic_store(&stop, true);
    ls_slow_waste(&slow, &stop); /* the test would not end otherwise */
    assert_false(ls_slow_is_set(&slow));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_turn), cmocka_unit_test(test_pause)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
