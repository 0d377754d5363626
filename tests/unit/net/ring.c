/* SPDX-License-Identifier: BSD-3-Clause */
/* Tests of dataplane/net/ring.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include <cmocka.h>

#include "ring.h"

#define PORTS   4
#define BUFFERS 64
#define DEPTH   32
#define BURST   16

static const struct ls_addr addr[PORTS] = {
    {0x0a000001, 7400}, {0x0a000002, 7400}, {0x0a000003, 7400}, {0x0a000001, 7401}};
static struct ls_ring_switch *net;
static struct ls_port *port[PORTS];
static struct ls_counters counters[PORTS];

static int setup(void **state)
{
    memset(counters, 0, sizeof(counters));
    net = ls_ring_switch_create(
        &(struct ls_ring_config){.ports = PORTS, .addr = addr, .buffers = BUFFERS, .depth = DEPTH});
    assert_non_null(net);
    for (uint32_t i = 0; i < PORTS; i++)
        port[i] = ls_ring_port_open(net, i, &counters[i]);
    return 0;
}

/* No test leaves a buffer behind. */
static int teardown(void **state)
{
    uint32_t free_buffers, total;
    for (uint32_t i = 0; i < PORTS; i++) {
        ls_ring_port_buffers(port[i], &free_buffers, &total);
        assert_int_equal(total, BUFFERS);
        assert_int_equal(free_buffers, total);
    }
    ls_ring_switch_destroy(net);
    return 0;
}

/* Sends a frame that carries `value`; false: no buffer. */
static bool send_value(uint32_t from, struct ls_addr to, uint32_t value)
{
    struct ls_io *io = &port[from]->io;
    struct ls_frame frame;
    if (!io->alloc(io, &frame))
        return false;
    memcpy(frame.data, &value, 4);
    memset(frame.data + 4, (int)value, LS_FRAME_MAX - 4);
    frame.length = 4 + value % (LS_FRAME_MAX - 3);
    frame.peer = to;
    io->send(io, &frame);
    return true;
}

static uint32_t value_of(const struct ls_frame *frame)
{
    uint32_t value;
    memcpy(&value, frame->data, 4);
    assert_int_equal(frame->length, 4 + value % (LS_FRAME_MAX - 3));
    return value;
}

static void test_order(void **state)
{
    struct ls_frame frames[BURST];
    uint32_t next = 0, sent = 0;

    while (next < 10000) {
        for (uint32_t i = 0; i < next % 7 + 1; i++)
            assert_true(send_value(0, addr[2], sent++));
        assert_int_equal(port[2]->receive(port[2], frames, BURST, 0), 0); /* not before the flush */
        port[0]->flush(port[0], 0);
        uint32_t n = port[2]->receive(port[2], frames, BURST, 0);
        for (uint32_t i = 0; i < n; i++) {
            assert_int_equal(value_of(&frames[i]), next++);
            assert_true(ls_addr_equal(frames[i].peer, addr[0]));
        }
        port[2]->done(port[2], frames, n);
        assert_int_equal(next, sent);
    }
    assert_int_equal(ls_counter_get(&counters[0], LS_COUNT_frames_out), sent);
    assert_int_equal(ls_counter_get(&counters[0], LS_COUNT_drop_tx_full), 0);
}

/* Equal IP addresses, different ports; and a port to itself. */
static void test_addresses(void **state)
{
    struct ls_frame frames[BURST];

    for (uint32_t from = 0; from < PORTS; from++)
        for (uint32_t to = 0; to < PORTS; to++)
            assert_true(send_value(from, addr[to], from * 10 + to));
    for (uint32_t from = 0; from < PORTS; from++)
        port[from]->flush(port[from], 0);
    for (uint32_t to = 0; to < PORTS; to++) {
        uint32_t seen = 0;
        assert_int_equal(port[to]->receive(port[to], frames, BURST, 0), PORTS);
        for (uint32_t i = 0; i < PORTS; i++) {
            uint32_t from = value_of(&frames[i]) / 10;
            assert_int_equal(value_of(&frames[i]) % 10, to);
            assert_true(ls_addr_equal(frames[i].peer, addr[from]));
            seen |= 1u << from;
        }
        assert_int_equal(seen, (1u << PORTS) - 1);
        port[to]->done(port[to], frames, PORTS);
    }
    /* nobody's address */
    assert_true(send_value(0, (struct ls_addr){0x0a000009, 7400}, 1));
    assert_true(send_value(0, (struct ls_addr){0x0a000002, 7401}, 1));
    assert_int_equal(ls_counter_get(&counters[0], LS_COUNT_arp_unresolved), 2);
}

static void test_full(void **state)
{
    struct ls_frame frames[BUFFERS], kept;
    struct ls_io *io = &port[1]->io;

    /* the queue is full: what does not fit is lost, counted, and its buffer free again */
    for (uint32_t i = 0; i < DEPTH + 5; i++)
        assert_true(send_value(1, addr[0], i));
    assert_int_equal(ls_counter_get(&counters[1], LS_COUNT_drop_tx_full), 5);
    port[1]->flush(port[1], 0);

    /* the rest of the buffers: then none, until the receiver gives some back */
    for (uint32_t i = 0; i < BUFFERS - DEPTH; i++)
        assert_true(send_value(1, addr[2 + i % 2], i));
    assert_false(io->alloc(io, &kept));
    port[1]->flush(port[1], 0);
    assert_false(io->alloc(io, &kept));
    assert_int_equal(port[0]->receive(port[0], frames, BUFFERS, 0), DEPTH);
    assert_false(io->alloc(io, &kept));
    port[0]->done(port[0], frames, 1);
    assert_true(io->alloc(io, &kept));
    io->release(io, &kept);
    port[0]->done(port[0], frames + 1, DEPTH - 1);
    for (uint32_t to = 2; to < 4; to++) {
        uint32_t n = port[to]->receive(port[to], frames, BUFFERS, 0);
        assert_int_equal(n, (BUFFERS - DEPTH) / 2);
        port[to]->done(port[to], frames, n);
    }
    assert_int_equal(ls_counter_get(&counters[1], LS_COUNT_frames_out), BUFFERS);
}

/* Frames may be given back in any order, over several bursts; again and again with the same buffers. */
static void test_done_out_of_order(void **state)
{
    struct ls_frame frames[DEPTH];
    uint32_t free_buffers, total;

    for (int round = 0; round < 5; round++) {
        for (uint32_t i = 0; i < DEPTH; i++)
            assert_true(send_value(0, addr[1], i));
        port[0]->flush(port[0], 0);
        assert_int_equal(port[1]->receive(port[1], frames, 10, 0), 10);
        assert_int_equal(port[1]->receive(port[1], frames + 10, DEPTH, 0), DEPTH - 10);
        for (uint32_t i = 0; i < DEPTH; i++) {
            ls_ring_port_buffers(port[0], &free_buffers, &total);
            assert_int_equal(free_buffers, BUFFERS - DEPTH); /* the first one is still out */
            port[1]->done(port[1], &frames[DEPTH - 1 - i], 1);
        }
        ls_ring_port_buffers(port[0], &free_buffers, &total);
        assert_int_equal(free_buffers, BUFFERS);
    }
}

/* A sender that always fills the receiver's burst does not keep another one waiting. */
static void test_fairness(void **state)
{
    struct ls_frame frames[4];
    uint32_t n, others = 0;

    for (uint32_t round = 0; round < 100; round++) {
        for (uint32_t i = 0; i < 5; i++)
            assert_true(send_value(0, addr[1], 0)); /* more than is taken: in the end the queue is always full */
        assert_true(send_value(2, addr[1], 7));
        port[0]->flush(port[0], 0);
        port[2]->flush(port[2], 0);
        assert_int_equal(port[1]->receive(port[1], frames, 4, 0), 4);
        for (uint32_t i = 0; i < 4; i++)
            others += value_of(&frames[i]) == 7;
        port[1]->done(port[1], frames, 4);
    }
    assert_in_range(others, 90, 100);
    while ((n = port[1]->receive(port[1], frames, 4, 0)) > 0)
        port[1]->done(port[1], frames, n);
}

static void test_config(void **state)
{
    struct ls_addr same[2] = {{1, 2}, {1, 2}};
    assert_null(ls_ring_switch_create(&(struct ls_ring_config){.ports = 2, .addr = same}));
    assert_int_equal(errno, EINVAL);
    assert_null(ls_ring_switch_create(&(struct ls_ring_config){.ports = 0, .addr = same}));
    assert_null(ls_ring_switch_create(&(struct ls_ring_config){.ports = LS_RING_PORTS_MAX + 1, .addr = same}));
    struct ls_addr many[LS_RING_PORTS_MAX];
    for (uint32_t i = 0; i < LS_RING_PORTS_MAX; i++)
        many[i] = (struct ls_addr){0x0a000001, (uint16_t)(1000 + i)};
    struct ls_ring_switch *big = ls_ring_switch_create(
        &(struct ls_ring_config){.ports = LS_RING_PORTS_MAX, .addr = many, .buffers = 4, .depth = 3});
    assert_non_null(big);
    struct ls_port *first = ls_ring_port_open(big, 0, &counters[0]);
    struct ls_port *last = ls_ring_port_open(big, LS_RING_PORTS_MAX - 1, &counters[1]);
    struct ls_frame frame;
    assert_true(first->io.alloc(&first->io, &frame));
    frame.peer = many[LS_RING_PORTS_MAX - 1];
    first->io.send(&first->io, &frame);
    first->flush(first, 0);
    assert_int_equal(last->receive(last, &frame, 1, 0), 1);
    last->done(last, &frame, 1);
    ls_ring_switch_destroy(big);
    ls_ring_switch_destroy(NULL);
}

#define TRAFFIC 200000u

/* The echoing side of test_threads: answers every frame, and stops after the last one. Returns how many it saw out of
 * order or damaged; cmocka's assertions belong to the main thread. */
static void *echo(void *arg)
{
    struct ls_port *own = port[1];
    struct ls_frame frames[BURST], back;
    uint32_t expected = 0;
    uintptr_t wrong = 0;

    while (expected < TRAFFIC) {
        uint32_t n = own->receive(own, frames, BURST, 0);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t value;
            memcpy(&value, frames[i].data, 4);
            wrong += value != expected++;
            for (uint32_t at = 4; at < frames[i].length; at++)
                wrong += frames[i].data[at] != (uint8_t)value;
            while (!own->io.alloc(&own->io, &back)) {
                own->flush(own, 0);
                sched_yield();
            }
            memcpy(back.data, &value, 4);
            back.length = 4;
            back.peer = frames[i].peer;
            own->io.send(&own->io, &back);
        }
        own->done(own, frames, n);
        own->flush(own, 0);
        if (n == 0)
            sched_yield();
    }
    return (void *)wrong;
}

static void test_threads(void **state)
{
    struct ls_frame frames[BURST], frame;
    uint32_t sent = 0, got = 0;
    pthread_t thread;
    void *wrong;

    assert_int_equal(pthread_create(&thread, NULL, echo, NULL), 0);
    while (got < TRAFFIC) {
        /* never more under way than a queue holds: nothing may be lost here */
        while (sent < TRAFFIC && sent - got < DEPTH && port[0]->io.alloc(&port[0]->io, &frame)) {
            memcpy(frame.data, &sent, 4);
            memset(frame.data + 4, (int)sent, 60);
            frame.length = 64;
            frame.peer = addr[1];
            port[0]->io.send(&port[0]->io, &frame);
            sent++;
        }
        port[0]->flush(port[0], 0);
        uint32_t n = port[0]->receive(port[0], frames, BURST, 0);
        for (uint32_t i = 0; i < n; i++) {
            uint32_t value;
            memcpy(&value, frames[i].data, 4);
            assert_int_equal(value, got++);
        }
        port[0]->done(port[0], frames, n);
        if (n == 0)
            sched_yield();
    }
    assert_int_equal(pthread_join(thread, &wrong), 0);
    assert_int_equal((uintptr_t)wrong, 0);
    assert_int_equal(ls_counter_get(&counters[0], LS_COUNT_drop_tx_full), 0);
    assert_int_equal(ls_counter_get(&counters[1], LS_COUNT_drop_tx_full), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_addresses, setup, teardown),
        cmocka_unit_test_setup_teardown(test_full, setup, teardown),
        cmocka_unit_test_setup_teardown(test_done_out_of_order, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fairness, setup, teardown),
        cmocka_unit_test_setup_teardown(test_config, setup, teardown),
        cmocka_unit_test_setup_teardown(test_threads, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
