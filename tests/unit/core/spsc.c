/* SPDX-License-Identifier: BSD-3-Clause */
/* The queue between two threads: order, bounds, the wrap of its indexes, and two real threads; and the seam made of it.
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include <lockstep/limits.h>

#include "seam.h"

struct element {
    uint64_t number;
    uint32_t twice;
} __attribute__((packed));

static struct element memory[8];

static struct element element(uint64_t number)
{
    return (struct element){.number = number, .twice = (uint32_t)(number * 2)};
}

static void test_order_and_bounds(void **state)
{
    struct ls_spsc q;
    struct element e;
    ls_spsc_init(&q, memory, 8, sizeof(e));
    assert_true(ls_spsc_is_empty(&q));
    assert_false(ls_spsc_pop(&q, &e));
    assert_int_equal(ls_spsc_room(&q), 8);
    for (uint64_t i = 0; i < 8; i++) {
        e = element(i);
        assert_true(ls_spsc_push(&q, &e));
    }
    assert_int_equal(ls_spsc_room(&q), 0);
    e = element(99);
    assert_false(ls_spsc_push(&q, &e));
    assert_false(ls_spsc_is_empty(&q));
    for (uint64_t i = 0; i < 8; i++) {
        assert_true(ls_spsc_pop(&q, &e));
        assert_int_equal(e.number, i);
        assert_int_equal(e.twice, i * 2);
    }
    assert_false(ls_spsc_pop(&q, &e));
    assert_true(ls_spsc_is_empty(&q));
}

static void test_indexes_wrap(void **state)
{
    struct ls_spsc q;
    ls_spsc_init(&q, memory, 8, sizeof(struct element));
    uint32_t begin = UINT32_MAX - 2;
    atomic_store(&q.head, begin);
    atomic_store(&q.tail, begin);
    q.head_seen = q.tail_seen = begin;
    uint64_t in = 0, out = 0;
    for (int round = 0; round < 10; round++) {
        struct element e = element(in);
        while (ls_spsc_push(&q, &e))
            e = element(++in);
        assert_int_equal(in - out, 8);
        for (int i = 0; i < 5; i++) {
            assert_true(ls_spsc_pop(&q, &e));
            assert_int_equal(e.number, out++);
        }
        assert_int_equal(ls_spsc_room(&q), 5);
    }
    assert_true(atomic_load(&q.tail) < 1000);
}

#define PASSED 300000

static void *produce(void *queue)
{
    for (uint64_t i = 0; i < PASSED;) {
        struct element e = element(i);
        if (ls_spsc_push(queue, &e))
            i++;
        else
            sched_yield();
    }
    return NULL;
}

static void test_two_threads(void **state)
{
    struct ls_spsc q;
    ls_spsc_init(&q, memory, 8, sizeof(struct element));
    pthread_t producer;
    assert_int_equal(pthread_create(&producer, NULL, produce, &q), 0);
    for (uint64_t i = 0; i < PASSED;) {
        struct element e;
        if (!ls_spsc_pop(&q, &e)) {
            sched_yield();
            continue;
        }
        assert_int_equal(e.number, i);
        assert_int_equal(e.twice, (uint32_t)(i * 2));
        i++;
    }
    pthread_join(producer, NULL);
    assert_true(ls_spsc_is_empty(&q));
}

static void test_seam_has_its_room(void **state)
{
    static const uint32_t counts[] = {1, 64, LS_SESSIONS_MAX};
    for (int i = 0; i < 3; i++) {
        struct ls_seam seam;
        assert_int_equal(ls_seam_init(&seam, counts[i]), 0);
        assert_int_equal(seam.sessions_max, counts[i]);
        assert_int_equal(atomic_load(&seam.sessions[counts[i] - 1].session), 0);
        assert_int_equal(ls_spsc_room(&seam.repeats), LS_REPEATS_QUEUE);
        assert_int_equal(ls_spsc_room(&seam.replies), LS_REPLIES_QUEUE);
        assert_int_equal(ls_spsc_room(&seam.orders), LS_ORDERS_QUEUE);
        assert_int_equal(ls_spsc_room(&seam.events), LS_EVENTS_QUEUE);
        /* every queue full at once, and the array behind them unharmed */
        struct ls_repeat repeat = {.number = 1};
        struct ls_reply_frame reply = {.hold = 2};
        struct ls_order order = {.id = 3};
        struct ls_event event = {.id = 4};
        while (ls_spsc_push(&seam.repeats, &repeat))
            continue;
        while (ls_spsc_push(&seam.replies, &reply))
            continue;
        while (ls_spsc_push(&seam.orders, &order))
            continue;
        while (ls_spsc_push(&seam.events, &event))
            continue;
        assert_int_equal(atomic_load(&seam.sessions[counts[i] - 1].next), 0);
        while (ls_spsc_pop(&seam.repeats, &repeat))
            assert_int_equal(repeat.number, 1);
        while (ls_spsc_pop(&seam.replies, &reply))
            assert_int_equal(reply.hold, 2);
        while (ls_spsc_pop(&seam.orders, &order))
            assert_int_equal(order.id, 3);
        while (ls_spsc_pop(&seam.events, &event))
            assert_int_equal(event.id, 4);
        ls_seam_free(&seam);
        ls_seam_free(&seam); /* of an empty one: nothing */
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order_and_bounds),
        cmocka_unit_test(test_indexes_wrap),
        cmocka_unit_test(test_two_threads),
        cmocka_unit_test(test_seam_has_its_room),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
