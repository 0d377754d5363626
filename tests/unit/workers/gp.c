/* SPDX-License-Identifier: BSD-3-Clause */
/* The gp thread: periods end where there is demand, wait for online readers, and are few where there is none. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "clock.h"
#include "gp.h"
#include "rcu.h"

#define SECOND 1000000000ull

static bool over_within(struct ls_gp *gp, uint64_t ticket, uint64_t ns)
{
    uint64_t begin = ls_now_ns();

    while (!ls_grace_over(&gp->grace, ticket)) {
        if (ls_now_ns() - begin > ns)
            return false;
        usleep(200);
    }
    return true;
}

static void test_demand(void **state)
{
    static struct ls_gp gp;
    static _Atomic uint64_t activity;
    uint64_t before, begin;

    (void)state;
    assert_int_equal(ls_gp_start(&gp, &activity), 0);
    for (int i = 0; i < 5; i++) {
        uint64_t ticket = ls_grace_ticket(&gp.grace);

        atomic_fetch_add(&activity, 1);
        assert_true(over_within(&gp, ticket, 20 * SECOND));
        ticket = ls_grace_ticket(&gp.grace);
        ls_gp_want(&gp);
        assert_true(over_within(&gp, ticket, 20 * SECOND));
    }
    /* what is owed ends by itself, then there is peace */
    usleep(100000);
    before = atomic_load(&gp.grace.started);
    usleep(200000);
    assert_int_equal(atomic_load(&gp.grace.started), before);
    /* under constant demand: not more often than the interval */
    begin = ls_now_ns();
    while (ls_now_ns() - begin < SECOND / 5) {
        atomic_fetch_add(&activity, 1);
        ls_gp_want(&gp);
    }
    assert_true(atomic_load(&gp.grace.started) - before <= (ls_now_ns() - begin) / LS_GP_INTERVAL_NS + 2);
    assert_true(atomic_load(&gp.grace.started) > before);
    ls_gp_stop(&gp);
    assert_int_equal(atomic_load(&gp.grace.started), atomic_load(&gp.grace.completed));
}

static struct {
    _Atomic int step;
} reader;

static void step_wait(int step)
{
    while (atomic_load(&reader.step) < step)
        usleep(100);
}

static void *reader_main(void *argument)
{
    (void)argument;
    ls_rcu_register();
    atomic_store(&reader.step, 1);
    step_wait(2); /* online all the while */
    ls_rcu_quiescent();
    step_wait(3);
    ls_rcu_offline();
    atomic_store(&reader.step, 4);
    step_wait(5);
    ls_rcu_online();
    ls_rcu_unregister();
    return NULL;
}

static void test_waits_for_readers(void **state)
{
    static struct ls_gp gp;
    uint64_t ticket;
    pthread_t thread;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, reader_main, NULL), 0);
    step_wait(1);
    assert_int_equal(ls_gp_start(&gp, NULL), 0);
    ticket = ls_grace_ticket(&gp.grace);
    ls_gp_want(&gp);
    assert_false(over_within(&gp, ticket, SECOND / 20));
    atomic_store(&reader.step, 3); /* quiescent, then offline: holds nothing up any more */
    step_wait(4);
    assert_true(over_within(&gp, ticket, 20 * SECOND));
    ticket = ls_grace_ticket(&gp.grace);
    ls_gp_want(&gp);
    assert_true(over_within(&gp, ticket, 20 * SECOND));
    atomic_store(&reader.step, 5);
    pthread_join(thread, NULL);
    ls_gp_stop(&gp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_demand), cmocka_unit_test(test_waits_for_readers)};

    alarm(100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
