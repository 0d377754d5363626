/* SPDX-License-Identifier: BSD-3-Clause */
/* Cluster views: readers see one instant, and slots come back only after their grace period. */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "gp.h"
#include "view.h"

static struct ls_view_holder holder;

static struct ls_view view_of(uint64_t n)
{
    struct ls_view view = {.epoch = n, .sequencer = (uint16_t)(n % 7), .members = 1 + (uint32_t)(n % LS_MEMBERS_MAX)};

    for (uint32_t i = 0; i < view.members; i++)
        view.member[i].addr.ip = (uint32_t)n + i;
    return view;
}

static void test_slots(void **state)
{
    struct ls_grace grace = {0};
    struct ls_view view = view_of(1);

    (void)state;
    ls_view_init(&holder, &grace, &view);
    assert_int_equal(ls_view_get(&holder)->version, 1);
    assert_int_equal(ls_view_get(&holder)->epoch, 1);
    for (uint32_t i = 1; i < LS_VIEWS; i++) {
        view = view_of(1 + i);
        assert_int_equal(ls_view_publish(&holder, &view), 0);
        assert_int_equal(ls_view_get(&holder)->version, 1 + i);
    }
    assert_int_equal(ls_view_publish(&holder, &view), -EAGAIN);
    ls_grace_begin(&grace); /* begun, not over */
    assert_int_equal(ls_view_publish(&holder, &view), -EAGAIN);
    ls_grace_end(&grace);
    assert_int_equal(ls_view_publish(&holder, &view), 0);
    assert_int_equal(ls_view_get(&holder)->version, LS_VIEWS + 1);
}

static _Atomic bool stop;
static _Atomic uint64_t torn, looked;

static void *reader_main(void *argument)
{
    uint64_t last = 0;

    (void)argument;
    ls_rcu_register();
    while (!atomic_load(&stop)) {
        const struct ls_view *view = ls_view_get(&holder);
        struct ls_view expected = view_of(view->epoch);
        bool bad = view->version < last || view->members != expected.members || view->sequencer != expected.sequencer;

        for (uint32_t i = 0; i < expected.members && !bad; i++)
            bad = view->member[i].addr.ip != expected.member[i].addr.ip;
        if (bad)
            atomic_fetch_add(&torn, 1);
        last = view->version;
        atomic_fetch_add(&looked, 1);
        ls_rcu_quiescent();
    }
    ls_rcu_unregister();
    return NULL;
}

static void test_readers(void **state)
{
    static struct ls_gp gp;
    struct ls_view view = view_of(0);
    pthread_t threads[2];

    (void)state;
    assert_int_equal(ls_gp_start(&gp, NULL), 0);
    ls_view_init(&holder, &gp.grace, &view);
    for (int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader_main, NULL), 0);
    for (uint64_t n = 1; n <= 500; n++) {
        view = view_of(n);
        while (ls_view_publish(&holder, &view) != 0) {
            ls_gp_want(&gp);
            usleep(100);
        }
        if (n % 16 == 0)
            sched_yield();
    }
    while (atomic_load(&looked) < 1000)
        usleep(100);
    atomic_store(&stop, true);
    for (int i = 0; i < 2; i++)
        pthread_join(threads[i], NULL);
    ls_gp_stop(&gp);
    assert_int_equal(atomic_load(&torn), 0);
    assert_int_equal(ls_view_get(&holder)->version, 501);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_slots), cmocka_unit_test(test_readers)};

    alarm(100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
