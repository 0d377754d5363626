/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop of a core under each idle policy: nothing that is pushed stays unseen, stop ends it, sleep spares the CPU.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../dataplane/core/spsc.h"
#include "clock.h"
#include "lcore.h"

#define VALUES 300

static struct {
    struct ls_lcore lcore;
    struct ls_spsc queue;
    uint64_t slots[16];
    _Atomic uint64_t taken;
    _Atomic bool stop;
    struct ls_worker_page page[2];
    clockid_t cpu_clock;
} box;

static uint32_t queue_poll(void *self, uint64_t now_ns)
{
    uint64_t value;
    uint32_t n = 0;

    (void)self;
    (void)now_ns;
    while (ls_spsc_pop(&box.queue, &value)) {
        assert_int_equal(value, atomic_load(&box.taken));
        atomic_fetch_add(&box.taken, 1);
        n++;
    }
    return n;
}

static uint64_t never(void *self, uint64_t now_ns)
{
    (void)self;
    (void)now_ns;
    return UINT64_MAX;
}

/* A worker with a timer every 5 ms. */
static uint64_t due_ns;
static uint32_t timer_poll(void *self, uint64_t now_ns)
{
    (void)self;
    if (now_ns < due_ns)
        return 0;
    due_ns = now_ns + 5000000;
    return 1;
}

static uint64_t timer_next(void *self, uint64_t now_ns)
{
    (void)self;
    (void)now_ns;
    return due_ns;
}

static void *lcore_main(void *argument)
{
    ls_lcore_run(argument);
    return NULL;
}

static uint64_t cpu_ns(void)
{
    struct timespec spent;

    assert_int_equal(clock_gettime(box.cpu_clock, &spent), 0);
    return (uint64_t)spent.tv_sec * 1000000000 + (uint64_t)spent.tv_nsec;
}

static void run(enum ls_idle_policy policy, int port_fd)
{
    pthread_t thread;
    uint64_t begin, spent;

    memset(&box, 0, sizeof(box));
    due_ns = 0;
    ls_spsc_init(&box.queue, box.slots, 16, sizeof(uint64_t));
    box.lcore = (struct ls_lcore){
        .worker = {{.poll = queue_poll, .next_ns = never, .page = &box.page[0]},
                   {.poll = timer_poll, .next_ns = timer_next, .page = &box.page[1]}},
        .workers = 2,
        .cpu = 1,
        .idle = policy,
        .port_fd = port_fd,
        .sleep_max_ns = port_fd >= 0 ? LS_IDLE_SLEEP_MAX_NS : LS_IDLE_NAP_NS,
        .stop = &box.stop,
    };
    assert_int_equal(ls_waker_init(&box.lcore.waker), 0);
    assert_int_equal(pthread_create(&thread, NULL, lcore_main, &box.lcore), 0);
    assert_int_equal(pthread_getcpuclockid(thread, &box.cpu_clock), 0);
    for (uint64_t i = 0; i < VALUES; i++) {
        while (!ls_spsc_push(&box.queue, &i))
            usleep(10);
        ls_waker_wake(&box.lcore.waker);
        if (i % 3 == 0)
            usleep((useconds_t)(i * 37 % 400));
    }
    begin = ls_now_ns();
    while (atomic_load(&box.taken) < VALUES && ls_now_ns() - begin < 20000000000ull)
        usleep(100);
    assert_int_equal(atomic_load(&box.taken), VALUES);
    begin = ls_now_ns();
    spent = cpu_ns();
    usleep(200000);
    spent = cpu_ns() - spent;
    if (policy == LS_IDLE_SLEEP) {
        assert_true(spent < (ls_now_ns() - begin) / 2);
        assert_true(atomic_load(&box.page[0].sleeps) > 5);
        /* only the timer's turns and those around them: not an endless loop */
        assert_true(atomic_load(&box.page[1].heartbeat) > 10);
    } else {
        assert_int_equal(atomic_load(&box.page[0].sleeps), 0);
    }
    assert_int_equal(atomic_load(&box.page[0].cpu), 1);
    atomic_store(&box.stop, true);
    ls_waker_wake(&box.lcore.waker);
    pthread_join(thread, NULL);
    assert_int_equal(atomic_load(&box.page[0].cpu), UINT64_MAX);
    ls_waker_free(&box.lcore.waker);
}

static void test_yield(void **state)
{
    (void)state;
    run(LS_IDLE_YIELD, -1);
}

static void test_poll(void **state)
{
    (void)state;
    run(LS_IDLE_POLL, -1);
}

static void test_sleep(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    run(LS_IDLE_SLEEP, ends[0]);
    close(ends[0]);
    close(ends[1]);
}

static void test_nap(void **state)
{
    (void)state;
    run(LS_IDLE_SLEEP, -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_yield), cmocka_unit_test(test_poll),
                                       cmocka_unit_test(test_sleep), cmocka_unit_test(test_nap)};

    alarm(100);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
