/* SPDX-License-Identifier: BSD-3-Clause */
/* Creating: what limits are possible, and that a small store is cheap. */
#include "rig.h"

#include <errno.h>
#include <time.h>

static void impossible_limits(void **state)
{
    static const struct ls_machine_limits limits[] = {
        {.keys = 0, .bytes = 1},          {.keys = 1, .bytes = 0},          {.keys = 1ull << 40, .bytes = 1},
        {.keys = 1, .bytes = 1ull << 50}, {.keys = UINT64_MAX, .bytes = 1}, {.keys = 1, .bytes = UINT64_MAX},
    };
    struct ls_grace grace = {0};

    (void)state;
    for (size_t i = 0; i < sizeof(limits) / sizeof(limits[0]); i++) {
        errno = 0;
        assert_null(ls_kv.create(&limits[i], &grace));
        assert_int_equal(errno, EINVAL);
    }
}

static void the_smallest_store(void **state)
{
    struct rig rig;

    (void)state;
    rig_open(&rig, 1, 1);
    assert_int_equal(rig_put(&rig, "a", "x"), LS_STATUS_NO_SPACE);
    assert_int_equal(rig_put(&rig, "a", ""), LS_STATUS_OK);
    assert_int_equal(rig_put(&rig, "b", ""), LS_STATUS_NO_SPACE);
    for (int i = 0; i < 20000; i++) {
        assert_int_equal(rig_delete(&rig, "a"), LS_STATUS_OK);
        assert_int_equal(rig_put(&rig, "a", ""), LS_STATUS_OK);
    }
    rig_close(&rig);
}

/* The simulator makes thousands of them a minute: well under 200 us each. Ten times that fails, to bear a busy host. */
static void a_small_store_is_cheap(void **state)
{
    struct timespec from, to;
    struct rig rig;
    double us;

    (void)state;
    clock_gettime(CLOCK_MONOTONIC, &from);
    for (int i = 0; i < 100; i++) {
        rig_open(&rig, 512, 1 << 20);
        rig_close(&rig);
    }
    clock_gettime(CLOCK_MONOTONIC, &to);
    us = ((double)(to.tv_sec - from.tv_sec) * 1e9 + (double)(to.tv_nsec - from.tv_nsec)) / 1e3 / 100;
    print_message("create and destroy: %.1f us\n", us);
    assert_true(us < 2000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(impossible_limits),
        cmocka_unit_test(the_smallest_store),
        cmocka_unit_test(a_small_store_is_cheap),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
