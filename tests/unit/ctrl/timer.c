/* SPDX-License-Identifier: BSD-3-Clause */
/* Timers of the loop: that they come, how often, and that one which is off does not. When is not asserted. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "timer.h"

static struct event_base *base;
static struct ls_timer timer;
static uint32_t times;

static void expired(void *user)
{
    assert_ptr_equal(user, &timer);
    if (++times == 3)
        event_base_loopbreak(base);
}

static int setup(void **state)
{
    (void)state;
    times = 0;
    base = event_base_new();
    return base != NULL && ls_timer_init(&timer, base, expired, &timer) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    ls_timer_free(&timer);
    ls_timer_free(&timer); /* of one that is zero */
    event_base_free(base);
    return 0;
}

static void test_once(void **state)
{
    (void)state;
    ls_timer_set(&timer, 0); /* long past */
    event_base_loop(base, EVLOOP_ONCE);
    assert_int_equal(times, 1);
    assert_true(timer.at_ns == UINT64_MAX);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(times, 1);
    ls_timer_set(&timer, 1); /* again, and taken back before it is seen */
    ls_timer_set(&timer, UINT64_MAX);
    event_base_loop(base, EVLOOP_NONBLOCK);
    assert_int_equal(times, 1);
}

static void test_every(void **state)
{
    (void)state;
    ls_timer_every(&timer, 100000);
    event_base_dispatch(base);
    assert_int_equal(times, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup_teardown(test_once, setup, teardown),
                                       cmocka_unit_test_setup_teardown(test_every, setup, teardown)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
