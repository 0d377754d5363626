/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Sleeping and waking across threads. Each sleep may last a minute, so a wake-up that is lost is one that this test
 * waits for longer than it allows itself.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "../../../dataplane/core/spsc.h"
#include "clock.h"
#include "idle.h"

#define ROUNDS     20000
#define FOREVER_NS 60000000000ull

struct side {
    struct ls_waker waker;
    struct ls_spsc queue;
    uint64_t slots[4];
    uint64_t received;
};
static struct side sides[2];

static void side_take(struct side *side, uint64_t *value, uint64_t *random)
{
    for (;;) {
        /* A different time between the looks each round, so that wakers hit every place of the protocol. */
        *random = *random * 6364136223846793005ull + 1442695040888963407ull;
        for (uint64_t spin = *random >> 58; spin > 0; spin--)
            if (ls_spsc_pop(&side->queue, value))
                return;
        ls_waker_announce(&side->waker);
        if (ls_spsc_pop(&side->queue, value)) {
            ls_waker_cancel(&side->waker);
            return;
        }
        (void)ls_waker_wait(&side->waker, -1, FOREVER_NS);
    }
}

static void give(struct side *side, uint64_t value)
{
    while (!ls_spsc_push(&side->queue, &value))
        ;
    ls_waker_wake(&side->waker);
}

static void *answer(void *argument)
{
    uint64_t value = 0, random = 7;

    (void)argument;
    while (value < ROUNDS) {
        side_take(&sides[1], &value, &random);
        give(&sides[0], value);
    }
    return NULL;
}

static void test_no_wake_up_lost(void **state)
{
    uint64_t value = 0, random = 3, begin = ls_now_ns();
    pthread_t thread;

    (void)state;
    for (int i = 0; i < 2; i++) {
        assert_int_equal(ls_waker_init(&sides[i].waker), 0);
        ls_spsc_init(&sides[i].queue, sides[i].slots, 4, sizeof(uint64_t));
    }
    assert_int_equal(pthread_create(&thread, NULL, answer, NULL), 0);
    for (uint64_t i = 1; i <= ROUNDS; i++) {
        give(&sides[1], i);
        side_take(&sides[0], &value, &random);
        assert_int_equal(value, i);
    }
    pthread_join(thread, NULL);
    assert_true(ls_now_ns() - begin < FOREVER_NS);
    for (int i = 0; i < 2; i++)
        ls_waker_free(&sides[i].waker);
}

static void test_wait(void **state)
{
    struct ls_waker waker;
    uint64_t begin;
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    assert_int_equal(ls_waker_init(&waker), 0);
    /* time */
    ls_waker_announce(&waker);
    begin = ls_now_ns();
    assert_false(ls_waker_wait(&waker, ends[0], 3000000));
    assert_true(ls_now_ns() - begin >= 3000000);
    assert_int_equal(atomic_load(&waker.asleep), 0);
    /* awake: no signal is left behind */
    ls_waker_wake(&waker);
    ls_waker_announce(&waker);
    begin = ls_now_ns();
    assert_false(ls_waker_wait(&waker, ends[0], 3000000));
    assert_true(ls_now_ns() - begin >= 3000000);
    /* announced, then woken before the wait: at once; two wakers, one signal */
    ls_waker_announce(&waker);
    ls_waker_wake(&waker);
    ls_waker_wake(&waker);
    begin = ls_now_ns();
    assert_false(ls_waker_wait(&waker, ends[0], FOREVER_NS));
    assert_true(ls_now_ns() - begin < FOREVER_NS);
    /* the port */
    assert_int_equal(write(ends[1], "x", 1), 1);
    ls_waker_announce(&waker);
    assert_true(ls_waker_wait(&waker, ends[0], FOREVER_NS));
    ls_waker_free(&waker);
    close(ends[0]);
    close(ends[1]);
}

/* A descriptor that is in error without ever becoming readable must not burn the core. */
static void test_broken(void **state)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof(address);
    struct ls_waker waker;
    int gone, fd, ends[2];
    uint64_t begin;

    (void)state;
    assert_int_equal(ls_waker_init(&waker), 0);
    /* an error that goes away when it is asked for: a datagram to a port where nobody is */
    gone = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(bind(gone, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(gone, (struct sockaddr *)&address, &size), 0);
    close(gone);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(send(fd, "x", 1, 0), 1);
    ls_waker_announce(&waker);
    assert_true(ls_waker_wait(&waker, fd, FOREVER_NS));
    ls_waker_announce(&waker);
    begin = ls_now_ns();
    assert_false(ls_waker_wait(&waker, fd, 3000000));
    assert_true(ls_now_ns() - begin >= 3000000);
    close(fd);
    /* one that stays: a pipe without a reader; a waker still ends the nap */
    assert_int_equal(pipe(ends), 0);
    close(ends[0]);
    begin = ls_now_ns();
    for (int i = 0; i < 20; i++) {
        ls_waker_announce(&waker);
        assert_true(ls_waker_wait(&waker, ends[1], FOREVER_NS));
    }
    assert_true(ls_now_ns() - begin >= 20 * LS_IDLE_NAP_NS);
    assert_true(ls_now_ns() - begin < FOREVER_NS);
    close(ends[1]);
    ls_waker_free(&waker);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_wait), cmocka_unit_test(test_broken),
                                       cmocka_unit_test(test_no_wake_up_lost)};

    alarm(50);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
