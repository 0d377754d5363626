/* SPDX-License-Identifier: BSD-3-Clause */
/* What turns of known length leave in a worker's page. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "meter.h"

static void test_turns(void **state)
{
    static struct ls_worker_page page;
    struct ls_meter meter;

    (void)state;
    atomic_store(&page.cpu, UINT64_MAX);
    ls_meter_start(&meter, &page, 3, 1000);
    assert_int_equal(atomic_load(&page.cpu), 3);
    assert_int_equal(atomic_load(&page.heartbeat), 0);
    ls_meter_turn(&meter, 1000, 1100, 0);
    assert_int_equal(atomic_load(&page.heartbeat), 1);
    assert_int_equal(atomic_load(&page.heartbeat_ns), 1100);
    assert_int_equal(atomic_load(&page.busy_ns), 0);
    assert_int_equal(atomic_load(&page.total_ns), 100);
    assert_int_equal(atomic_load(&page.longest_turn_ns), 100);
    ls_meter_turn(&meter, 1100, 1400, 2);
    assert_int_equal(atomic_load(&page.busy_ns), 300);
    assert_int_equal(atomic_load(&page.longest_turn_ns), 300);
    ls_meter_turn(&meter, 5000, 5010, 1); /* asleep in between */
    assert_int_equal(atomic_load(&page.heartbeat), 3);
    assert_int_equal(atomic_load(&page.busy_ns), 310);
    assert_int_equal(atomic_load(&page.total_ns), 4010);
    assert_int_equal(atomic_load(&page.longest_turn_ns), 300);
    ls_meter_stop(&meter);
    assert_int_equal(atomic_load(&page.cpu), UINT64_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_turns)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
