/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests of dataplane/net/fault.c over the in-process ring: nodes 1 and 2 each behind a decorator, and a client without.
 * Time is a variable of the test.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "fault.h"
#include "ring.h"

#define MS      1000000ull
#define SECOND  (1000 * MS)
#define BURST   32
#define BUFFERS 512
#define LENGTH  200 /* of a frame */

enum { NODE1, NODE2, CLIENT, PORTS };

static const struct ls_addr addr[PORTS] = {{0x0a000001, 7400}, {0x0a000002, 7400}, {0x0a000003, 40000}};
static struct ls_ring_switch *net;
static struct ls_port *bare[PORTS];
static struct ls_port *port[PORTS]; /* decorated: NODE1, NODE2 */
static struct ls_fault *fault[2];
static struct ls_counters counters[PORTS];
static uint64_t now;

static uint64_t count(int who, enum ls_counter which)
{
    return ls_counter_get(&counters[who], which);
}

static void setup_with(uint32_t buffers)
{
    memset(counters, 0, sizeof(counters));
    now = SECOND;
    net = ls_ring_switch_create(&(struct ls_ring_config){.ports = PORTS, .addr = addr, .buffers = 1024});
    assert_non_null(net);
    for (uint32_t i = 0; i < PORTS; i++)
        port[i] = bare[i] = ls_ring_port_open(net, i, &counters[i]);
    for (uint32_t i = 0; i < 2; i++) {
        fault[i] = ls_fault_create(bare[i], buffers, &counters[i]);
        assert_non_null(fault[i]);
        for (uint16_t node = 1; node <= 2; node++)
            ls_fault_set_node(fault[i], node, addr[node - 1]);
        port[i] = ls_fault_port(fault[i]);
    }
}

static int setup(void **state)
{
    setup_with(BUFFERS);
    return 0;
}

static void set(int who, struct ls_control_fault settings)
{
    assert_int_equal(ls_fault_set(fault[who], &settings), 0);
}

static uint32_t turn(int who, struct ls_frame *frames)
{
    uint32_t n = port[who]->receive(port[who], frames, BURST, now);
    assert_in_range(n, 0, BURST);
    return n;
}

/* Takes and forgets all that arrives at `who` now. Returns the number. */
static uint32_t drain(int who)
{
    struct ls_frame frames[BURST];
    uint32_t n, all = 0;
    do {
        n = turn(who, frames);
        port[who]->done(port[who], frames, n);
        port[who]->flush(port[who], now);
        all += n;
    } while (n > 0);
    return all;
}

/* Faults off: what is held comes out; afterwards nobody keeps a buffer, and the decorator steps aside. */
static int teardown(void **state)
{
    struct ls_fault_status status;
    uint32_t free_buffers, total;

    for (int i = 0; i < 2; i++)
        set(i, (struct ls_control_fault){0});
    for (int round = 0; round < 4; round++) {
        now += 2 * LS_FAULT_DELAY_MAX_NS;
        for (int i = 0; i < PORTS; i++)
            drain(i);
    }
    for (int i = 0; i < 2; i++) {
        ls_fault_status(fault[i], &status);
        assert_false(status.active);
        assert_int_equal(status.held, 0);
        assert_int_equal(status.free, status.total);
        assert_int_equal(ls_fault_next_ns(fault[i]), UINT64_MAX);
    }
    for (int i = 0; i < PORTS; i++) {
        ls_ring_port_buffers(bare[i], &free_buffers, &total);
        assert_int_equal(free_buffers, total);
    }
    ls_fault_destroy(fault[0]);
    ls_fault_destroy(fault[1]);
    ls_ring_switch_destroy(net);
    return 0;
}

static void send_value(int from, int to, uint32_t value)
{
    struct ls_io *io = &port[from]->io;
    struct ls_frame frame;
    assert_true(io->alloc(io, &frame));
    memset(frame.data, (int)(value * 31), LENGTH);
    memcpy(frame.data, &value, 4);
    frame.length = LENGTH;
    frame.peer = addr[to];
    io->send(io, &frame);
}

/* True: as it was sent. */
static bool is_whole(const struct ls_frame *frame, uint32_t *value)
{
    assert_int_equal(frame->length, LENGTH);
    memcpy(value, frame->data, 4);
    for (uint32_t i = 4; i < LENGTH; i++) {
        if (frame->data[i] != (uint8_t)(*value * 31))
            return false;
    }
    return true;
}

/* Sends `n` frames in bursts, a microsecond apart, and receives them. Returns how many came, and the damaged ones. */
static uint32_t traffic(int from, int to, uint32_t n, uint32_t *damaged)
{
    struct ls_frame frames[BURST];
    uint32_t got = 0, bad = 0, value;
    for (uint32_t sent = 0; sent < n;) {
        for (uint32_t i = 0; i < 16 && sent < n; i++)
            send_value(from, to, sent++);
        port[from]->flush(port[from], now);
        uint32_t came = turn(to, frames);
        for (uint32_t i = 0; i < came; i++)
            bad += !is_whole(&frames[i], &value);
        port[to]->done(port[to], frames, came);
        got += came;
        now += 1000;
    }
    /* What is held, at most: */
    for (int i = 0; i < 3; i++) {
        now += LS_FAULT_REORDER_MAX_NS;
        port[from]->flush(port[from], now);
        got += drain(to);
    }
    if (damaged != NULL)
        *damaged = bad;
    return got;
}

/* Six standard deviations around n * rate: with the fixed seeds it either holds or it does not. */
static void near(uint64_t value, uint64_t n, double rate)
{
    double mean = (double)n * rate, bound = 36 * mean * (1 - rate);
    double off = (double)value - mean;
    if (off * off > bound)
        print_error("%llu is far from %.0f\n", (unsigned long long)value, mean);
    assert_true(off * off <= bound);
}

static void test_off(void **state)
{
    struct ls_frame frames[BURST], direct[BURST];
    struct ls_fault_status status;
    uint32_t value;

    for (uint32_t i = 0; i < BURST; i++)
        send_value(NODE1, NODE2, i);
    port[NODE1]->flush(port[NODE1], now);
    assert_int_equal(turn(NODE2, frames), BURST);
    for (uint32_t i = 0; i < BURST; i++) {
        assert_true(is_whole(&frames[i], &value));
        assert_int_equal(value, i);
        assert_true(ls_addr_equal(frames[i].peer, addr[NODE1]));
    }
    ls_fault_status(fault[NODE2], &status);
    assert_int_equal(status.free, BUFFERS); /* nothing was copied */
    assert_false(status.active);
    port[NODE2]->done(port[NODE2], frames, BURST);
    assert_int_equal(bare[NODE2]->receive(bare[NODE2], direct, BURST, now), 0);
    for (int i = 0; i < 2; i++)
        for (enum ls_counter c = LS_COUNT_fault_dropped; c <= LS_COUNT_fault_corrupted; c++)
            assert_int_equal(count(i, c), 0);
}

/* "1 % everywhere" is 1 % on each link and direction, between nodes and with clients. */
static void test_drop_rates(void **state)
{
    const uint32_t n = 200000;
    struct ls_control_fault one_percent = {.seed = 7, .drop = 10000};
    static const int links[][2] = {{NODE1, NODE2}, {NODE2, NODE1}, {CLIENT, NODE1}, {NODE1, CLIENT}};

    for (unsigned i = 0; i < sizeof(links) / sizeof(links[0]); i++) {
        one_percent.seed = 7 + i;
        set(NODE1, one_percent);
        one_percent.seed += 100;
        set(NODE2, one_percent);
        near(n - traffic(links[i][0], links[i][1], n, NULL), n, 0.01);
    }
    near(count(NODE1, LS_COUNT_fault_dropped), 3 * n, 0.01);
    near(count(NODE2, LS_COUNT_fault_dropped), n, 0.01);
    set(NODE2, (struct ls_control_fault){.drop = 1000000});
    assert_int_equal(traffic(NODE1, NODE2, 1000, NULL), 0);
}

static void test_duplicate_and_corrupt(void **state)
{
    const uint32_t n = 100000;
    uint32_t damaged;

    set(NODE2, (struct ls_control_fault){.seed = 3, .duplicate = 50000});
    uint32_t got = traffic(NODE1, NODE2, n, &damaged);
    assert_int_equal(damaged, 0);
    near(got - n, n, 0.05);
    assert_int_equal(count(NODE2, LS_COUNT_fault_duplicated), got - n);

    set(NODE2, (struct ls_control_fault){.seed = 4, .corrupt = 20000});
    got = traffic(NODE1, NODE2, n, &damaged);
    assert_int_equal(got, n);
    near(count(NODE2, LS_COUNT_fault_corrupted), n, 0.02);
    /* some flips hit the value itself, which then still looks like one */
    assert_in_range(damaged, count(NODE2, LS_COUNT_fault_corrupted) * 9 / 10, count(NODE2, LS_COUNT_fault_corrupted));

    /* every copy of a frame has its own luck; to a client too */
    set(NODE1, (struct ls_control_fault){.seed = 5, .duplicate = 1000000, .corrupt = 500000});
    got = traffic(NODE1, CLIENT, 10000, &damaged);
    assert_int_equal(got, 20000);
    near(count(NODE1, LS_COUNT_fault_corrupted), 20000, 0.5);
}

static void test_delay(void **state)
{
    struct ls_frame frames[BURST];
    uint32_t next = 0, value, sent = 0;
    uint64_t sent_at[1000], early = UINT64_MAX, late = 0;

    /* constant: exactly that late, in order; next_ns says when */
    set(NODE2, (struct ls_control_fault){.seed = 1, .delay = 100 * 1000});
    while (next < 1000) {
        for (int i = 0; i < 5 && sent < 1000; i++) { /* equal times keep their order */
            sent_at[sent] = now;
            send_value(NODE1, NODE2, sent++);
        }
        port[NODE1]->flush(port[NODE1], now);
        uint32_t n = turn(NODE2, frames);
        for (uint32_t i = 0; i < n; i++) {
            assert_true(is_whole(&frames[i], &value));
            assert_int_equal(value, next++);
            assert_int_equal(now, sent_at[value] + 100 * 1000);
        }
        port[NODE2]->done(port[NODE2], frames, n);
        if (next < sent)
            assert_int_equal(ls_fault_next_ns(fault[NODE2]), sent_at[next] + 100 * 1000);
        now += 2000;
    }
    assert_int_equal(count(NODE2, LS_COUNT_fault_reordered), 1000);

    /* jitter: within its bounds, and out of order; on the way to a client */
    set(NODE1, (struct ls_control_fault){.seed = 2, .delay = 100 * 1000, .jitter = 200 * 1000});
    uint32_t got = 0, disorder = 0, last = 0;
    for (sent = 0; got < 1000; now += 2000) {
        if (sent < 1000) {
            sent_at[sent] = now;
            port[NODE1]->receive(port[NODE1], frames, BURST, now);
            send_value(NODE1, CLIENT, sent++);
        }
        port[NODE1]->flush(port[NODE1], now);
        uint32_t n = turn(CLIENT, frames);
        for (uint32_t i = 0; i < n; i++, got++) {
            assert_true(is_whole(&frames[i], &value));
            uint64_t delay = now - sent_at[value];
            early = delay < early ? delay : early;
            late = delay > late ? delay : late;
            disorder += value < last;
            last = value;
        }
        port[CLIENT]->done(port[CLIENT], frames, n);
    }
    assert_in_range(early, 100 * 1000, 110 * 1000);
    assert_in_range(late, 290 * 1000, 302 * 1000);
    assert_true(disorder > 100);
}

static void test_reorder(void **state)
{
    const uint32_t n = 50000;
    struct ls_frame frames[BURST];
    uint32_t value, got = 0, moved = 0, sent = 0;
    static uint32_t at[50000];

    set(NODE2, (struct ls_control_fault){.seed = 9, .reorder = 20000, .reorder_span = 5});
    for (; got < n; now += 100) {
        for (uint32_t i = 0; i < 20 && sent < n; i++)
            send_value(NODE1, NODE2, sent++);
        if (sent == n)
            now += LS_FAULT_REORDER_MAX_NS;
        port[NODE1]->flush(port[NODE1], now);
        uint32_t came = turn(NODE2, frames);
        for (uint32_t i = 0; i < came; i++) {
            assert_true(is_whole(&frames[i], &value));
            at[value] = got++;
        }
        port[NODE2]->done(port[NODE2], frames, came);
    }
    uint64_t held = count(NODE2, LS_COUNT_fault_reordered);
    near(held, n, 0.02);
    for (uint32_t i = 0; i < n - 1; i++) {
        if (at[i] > at[i + 1])
            moved++;
        assert_true(at[i] <= i + 5); /* at most the span late */
    }
    assert_in_range(moved, held * 9 / 10, held); /* two neighbours may be held together */

    /* reordered frames are delayed too, and still out of order */
    set(NODE2, (struct ls_control_fault){.seed = 9, .reorder = 500000, .reorder_span = 3, .delay = MS});
    uint32_t last = 0, disorder = 0;
    uint64_t start = now;
    for (sent = 0, got = 0; got < 500; now += 10000) {
        if (sent < 500)
            send_value(NODE1, NODE2, sent++);
        port[NODE1]->flush(port[NODE1], now);
        uint32_t came = turn(NODE2, frames);
        for (uint32_t i = 0; i < came; i++, got++) {
            assert_true(is_whole(&frames[i], &value));
            assert_true(now - start >= value * 10000 + MS);
            disorder += value < last;
            last = value;
        }
        port[NODE2]->done(port[NODE2], frames, came);
    }
    assert_true(disorder > 50);

    /* with nothing behind it, a frame comes after a while by itself */
    set(NODE2, (struct ls_control_fault){.seed = 9, .reorder = 1000000, .reorder_span = 1000});
    send_value(NODE1, NODE2, 1);
    port[NODE1]->flush(port[NODE1], now);
    assert_int_equal(drain(NODE2), 0);
    assert_int_equal(ls_fault_next_ns(fault[NODE2]), now + LS_FAULT_REORDER_MAX_NS);
    now += LS_FAULT_REORDER_MAX_NS - 1;
    assert_int_equal(drain(NODE2), 0);
    now += 1;
    assert_int_equal(drain(NODE2), 1);
}

static void test_cuts(void **state)
{
    set(NODE2, (struct ls_control_fault){.cut_in = 1u << 1});
    assert_int_equal(traffic(NODE1, NODE2, 100, NULL), 0);
    assert_int_equal(traffic(NODE2, NODE1, 100, NULL), 100);
    assert_int_equal(traffic(CLIENT, NODE2, 100, NULL), 100);
    assert_int_equal(count(NODE2, LS_COUNT_fault_dropped), 100);

    set(NODE2, (struct ls_control_fault){.cut_out = 1u << 1});
    assert_int_equal(traffic(NODE1, NODE2, 100, NULL), 100);
    assert_int_equal(traffic(NODE2, NODE1, 100, NULL), 0);
    assert_int_equal(traffic(NODE2, CLIENT, 100, NULL), 100);

    set(NODE2, (struct ls_control_fault){.cut_in = 1, .cut_out = 1}); /* clients */
    assert_int_equal(traffic(NODE1, NODE2, 100, NULL), 100);
    assert_int_equal(traffic(NODE2, NODE1, 100, NULL), 100);
    assert_int_equal(traffic(CLIENT, NODE2, 100, NULL), 0);
    assert_int_equal(traffic(NODE2, CLIENT, 100, NULL), 0);
    ls_fault_set_node(fault[NODE2], 1, (struct ls_addr){0}); /* node 1 is like a client then */
    assert_int_equal(traffic(NODE1, NODE2, 100, NULL), 0);
}

/* A node that joined after the start is cut like the others, and the others stay known. */
static void test_post_nodes(void **state)
{
    const struct ls_member later[] = {{.node = 9, .addr = {.ip = 0x0a00ff09, .port = 7400}}};

    ls_fault_set_node(fault[NODE2], 1, (struct ls_addr){0});
    assert_int_equal(ls_fault_post_nodes(fault[NODE2], later, 1), 0);
    assert_int_equal(ls_fault_post_nodes(fault[NODE2], later, 1), -EAGAIN);
    assert_int_equal(ls_fault_post(fault[NODE2], &(struct ls_control_fault){.seed = 1}), -EAGAIN);
    assert_int_equal(drain(NODE2), 0); /* taken now */
    const struct ls_member again[] = {{.node = 1, .addr = addr[0]}};
    assert_int_equal(ls_fault_post_nodes(fault[NODE2], again, 1), 0);
    assert_int_equal(drain(NODE2), 0);
    set(NODE2, (struct ls_control_fault){.cut_in = 1u << 1});
    assert_int_equal(traffic(NODE1, NODE2, 100, NULL), 0);
    assert_int_equal(traffic(CLIENT, NODE2, 100, NULL), 100);
}

static void test_bandwidth(void **state)
{
    struct ls_fault_status status;
    const struct ls_control_fault slow = {.bytes_per_second = 1000 * LENGTH}; /* a frame a millisecond */
    uint64_t start = now;
    uint32_t got = 0;

    /* on both sides, and still that rate */
    set(NODE1, slow);
    set(NODE2, slow);
    assert_int_equal(drain(NODE1), 0);
    for (uint32_t i = 0; i < 100; i++)
        send_value(NODE1, NODE2, i);
    while (got < 100) {
        port[NODE1]->flush(port[NODE1], now);
        got += drain(NODE2);
        now += MS / 10;
    }
    assert_in_range(now - start, 100 * MS, 103 * MS);

    /* more than can be held: dropped and counted */
    for (uint32_t i = 0; i < BUFFERS + 40; i++)
        send_value(NODE1, NODE2, i);
    ls_fault_status(fault[NODE1], &status);
    assert_int_equal(status.held, BUFFERS);
    assert_int_equal(status.overflows, 40);
    assert_int_equal(count(NODE1, LS_COUNT_fault_dropped), 40);
}

/* All faults at once, small bursts, few buffers: a fingerprint of everything that happened. */
static uint64_t chaos(uint64_t seed)
{
    struct ls_frame frames[BURST];
    uint64_t print = 1469598103934665603ull;
    struct ls_control_fault all = {.seed = seed,
                                   .drop = 20000,
                                   .duplicate = 30000,
                                   .reorder = 40000,
                                   .reorder_span = 9,
                                   .corrupt = 10000,
                                   .delay = 3000,
                                   .jitter = 30000,
                                   .bytes_per_second = 250000000};
    set(NODE1, all);
    all.seed++;
    set(NODE2, all);
    for (uint32_t round = 0; round < 20000; round++, now += 500 + round % 3 * 700) {
        for (int who = 0; who < PORTS; who++) {
            uint32_t n = turn(who, frames);
            for (uint32_t i = 0; i < n; i++) {
                for (uint32_t at = 0; at < 16; at++)
                    print = (print ^ frames[i].data[at]) * 1099511628211ull;
                print = (print ^ now) * 1099511628211ull;
            }
            send_value(who, (who + 1) % PORTS, round);
            if (round % 7 == 0)
                send_value(who, (who + 2) % PORTS, round);
            port[who]->done(port[who], frames, n);
            port[who]->flush(port[who], now);
        }
    }
    return print;
}

static void test_deterministic(void **state)
{
    uint64_t seed = getenv("LS_SEED") != NULL ? strtoull(getenv("LS_SEED"), NULL, 0) : 1;
    uint64_t print[3];

    print_message("seed %llu\n", (unsigned long long)seed);
    for (int i = 0; i < 3; i++) {
        setup_with(64);
        print[i] = chaos(i < 2 ? seed : seed + 1000);
        for (enum ls_counter c = LS_COUNT_fault_dropped; c <= LS_COUNT_fault_corrupted; c++)
            assert_true(count(NODE1, c) > 0 && count(NODE2, c) > 0);
        teardown(state);
    }
    assert_true(print[0] == print[1]);
    assert_true(print[0] != print[2]);
}

/* The caller's arrays of any size, frames given back in any order and later than the next receive(). */
static void test_mixed_done(void **state)
{
    struct ls_frame frames[4][BURST];
    uint32_t n[4] = {0}, got = 0;

    set(NODE2, (struct ls_control_fault){.seed = 2, .duplicate = 500000, .reorder = 100000, .reorder_span = 3});
    for (uint32_t round = 0; round < 5000; round++, now += 1000) {
        uint32_t at = round % 4;
        for (uint32_t i = 0; i < n[at]; i++)
            port[NODE2]->done(port[NODE2], &frames[at][n[at] - 1 - i], 1);
        for (uint32_t i = 0; i < round % 3; i++)
            send_value(NODE1, NODE2, round);
        port[NODE1]->flush(port[NODE1], now);
        uint32_t room = round % 11;
        n[at] = port[NODE2]->receive(port[NODE2], frames[at], room, now);
        assert_true(n[at] <= room);
        got += n[at];
    }
    for (uint32_t at = 0; at < 4; at++)
        port[NODE2]->done(port[NODE2], frames[at], n[at]);
    got += drain(NODE2);
    now += LS_FAULT_REORDER_MAX_NS;
    got += drain(NODE2);
    assert_int_equal(got, 4999 + count(NODE2, LS_COUNT_fault_duplicated) - count(NODE2, LS_COUNT_fault_dropped));
}

static void *post_drop_all(void *arg)
{
    struct ls_control_fault settings = {.drop = 1000000};
    return (void *)(intptr_t)ls_fault_post(fault[NODE2], &settings);
}

static void test_post(void **state)
{
    struct ls_control_fault settings = {.drop = 1000001};
    struct ls_fault_status status;
    pthread_t thread;
    void *result;

    assert_int_equal(ls_fault_post(fault[NODE2], &settings), -EINVAL);
    assert_int_equal(pthread_create(&thread, NULL, post_drop_all, NULL), 0);
    assert_int_equal(pthread_join(thread, &result), 0);
    assert_int_equal((intptr_t)result, 0);
    settings.drop = 0;
    assert_int_equal(ls_fault_post(fault[NODE2], &settings), -EAGAIN);
    assert_int_equal(traffic(NODE1, NODE2, 100, NULL), 0);
    ls_fault_status(fault[NODE2], &status);
    assert_true(status.active);
    assert_int_equal(ls_fault_post(fault[NODE2], &settings), 0);
    assert_int_equal(traffic(NODE1, NODE2, 100, NULL), 100);
    ls_fault_status(fault[NODE2], &status);
    assert_false(status.active);
}

static void test_settings(void **state)
{
    char error[200];
    const struct {
        struct ls_control_fault settings;
        const char *says;
    } bad[] = {
        {{.drop = 1000001}, "drop (per million) is 1000001: allowed are 0 to 1000000"},
        {{.duplicate = UINT32_MAX}, "duplicate"},
        {{.reorder = 1000001, .reorder_span = 1}, "reorder (per million)"},
        {{.reorder = 1}, "reorder span is 0"},
        {{.reorder = 1, .reorder_span = LS_FAULT_SPAN_MAX + 1}, "reorder span"},
        {{.corrupt = 1000001}, "corrupt"},
        {{.delay = LS_FAULT_DELAY_MAX_NS + 1}, "delay"},
        {{.jitter = UINT64_MAX}, "jitter"},
        {{.zero = 1}, "reserved"},
    };
    for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(ls_fault_check(&bad[i].settings, error, sizeof(error)), -EINVAL);
        assert_non_null(strstr(error, bad[i].says));
        assert_int_equal(ls_fault_set(fault[NODE1], &bad[i].settings), -EINVAL);
    }
    assert_int_equal(traffic(CLIENT, NODE1, 100, NULL), 100);
    assert_null(ls_fault_create(NULL, 0, &counters[0]));
    assert_int_equal(errno, EINVAL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_off, setup, teardown),
        cmocka_unit_test_setup_teardown(test_drop_rates, setup, teardown),
        cmocka_unit_test_setup_teardown(test_duplicate_and_corrupt, setup, teardown),
        cmocka_unit_test_setup_teardown(test_delay, setup, teardown),
        cmocka_unit_test_setup_teardown(test_reorder, setup, teardown),
        cmocka_unit_test_setup_teardown(test_cuts, setup, teardown),
        cmocka_unit_test_setup_teardown(test_bandwidth, setup, teardown),
        cmocka_unit_test(test_deterministic),
        cmocka_unit_test_setup_teardown(test_mixed_done, setup, teardown),
        cmocka_unit_test_setup_teardown(test_post, setup, teardown),
        cmocka_unit_test_setup_teardown(test_post_nodes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_settings, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
