/* SPDX-License-Identifier: BSD-3-Clause */
/* Nodes that come back with their logs, in a small world (world.h): who counts again, and when. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;

static void opened(void)
{
    world_begin(&w, 3, 3);
    for (uint16_t node = 1; node <= 3; node++) {
        w.node[node].journal = true;
        world_start(&w, node, false);
    }
    assert_true(world_settle(&w, 3, 300 * MS));
    world_append(&w, 1, 5);
    world_run(&w, 5 * MS);
    assert_int_equal(world_sequencer(&w), 1);
}

static void appended_again(void)
{
    uint32_t committed = w.committed;

    world_append(&w, world_sequencer(&w), 5);
    world_run(&w, 10 * MS);
    assert_true(w.committed > committed);
}

/* One dataplane dies: it is back as soon as it is started, in the same epoch, with nobody's leave. */
static void test_follower(void **state)
{
    (void)state;
    opened();
    world_kill_dataplane(&w, 3);
    world_run(&w, 5 * MS);
    assert_false(w.node[3].dp.running);
    assert_true(world_settle(&w, 3, 300 * MS));
    assert_int_equal(w.node[1].dp.epoch, 1);
    assert_int_equal(w.node[1].dp.admitted[3], 0);
    assert_null(strstr(w.node[1].said, "may join"));
    appended_again();
    world_end(&w);
}

/* Power fails everywhere: all come back by themselves, in any order, and nothing is lost (the world looks). */
static void test_power_fails(void **state)
{
    (void)state;
    for (uint16_t first = 1; first <= 3; first++) {
        opened();
        for (uint16_t node = 1; node <= 3; node++)
            world_crash(&w, node);
        world_run(&w, 100 * MS);
        world_start(&w, first, false);
        world_run(&w, 1500 * MS);
        assert_int_equal(w.node[first].disk.counts == w.node[first].disk.incarnation, 0); /* who could know better? */
        world_start(&w, first % 3 + 1, false);
        assert_true(world_settle(&w, 2, 500 * MS));
        appended_again();
        world_start(&w, (first + 1) % 3 + 1, false);
        assert_true(world_settle(&w, 3, 500 * MS));
        for (uint16_t node = 1; node <= 3; node++)
            assert_null(strstr(w.node[node].said, "LOST ITS MEMORY"));
        world_end(&w);
    }
}

/* They take long to start. That is not yet a loss of memory: nobody is called for help. */
static void test_slow_starts(void **state)
{
    (void)state;
    opened();
    for (uint16_t node = 1; node <= 3; node++) {
        world_crash(&w, node);
        w.node[node].persist_ns = 3000 * MS;
    }
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    world_run(&w, 3200 * MS); /* the incarnations are durable */
    for (uint16_t node = 1; node <= 3; node++) {
        assert_null(strstr(w.node[node].said, "LOST ITS MEMORY"));
        w.node[node].persist_ns = 0;
    }
    assert_true(world_settle(&w, 3, 20000 * MS));
    for (uint16_t node = 1; node <= 3; node++)
        assert_null(strstr(w.node[node].said, "LOST ITS MEMORY"));
    world_end(&w);
}

/* The record was put back to an older one, and the journal with it: who remembers says so before the node counts. */
static void test_rolled_back(void **state)
{
    struct ls_durable before;

    (void)state;
    opened();
    before = w.node[3].disk;
    world_kill_dataplane(&w, 1);
    assert_true(world_settle(&w, 3, 300 * MS));
    world_crash(&w, 3);
    w.node[3].disk = before;
    w.node[3].dp.incarnation = before.counts;
    world_start(&w, 3, false);
    world_run(&w, 500 * MS);
    assert_int_not_equal(w.node[3].disk.counts, w.node[3].disk.incarnation);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(w.node[3].said, "rolled back"));
    world_end(&w);
}

/* A journal that does not hold all of it is a log like any other: the node is admitted with it. */
static void test_not_whole(void **state)
{
    (void)state;
    opened();
    w.node[3].journal = false;
    world_kill_dataplane(&w, 3);
    world_run(&w, 5 * MS);
    assert_false(w.node[3].dp.running);
    assert_true(world_settle(&w, 3, 500 * MS));
    assert_int_equal(w.node[1].dp.admitted[3], w.node[3].dp.incarnation);
    world_end(&w);
}

/* All disks are full at once: nobody has to be spared, for everything is on them, and each goes on with that. */
static void test_disks_full(void **state)
{
    (void)state;
    opened();
    for (uint16_t node = 1; node <= 3; node++) {
        w.node[node].dp.role = LS_ROLE_HALTED;
        w.node[node].dp.halt = LS_HALT_DISK;
    }
    world_run(&w, 10 * MS);
    for (uint16_t node = 1; node <= 3; node++)
        assert_non_null(strstr(w.node[node].said, "It is started again, with what its disk has"));
    assert_true(world_settle(&w, 3, 2000 * MS));
    appended_again();
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_follower),    cmocka_unit_test(test_power_fails), cmocka_unit_test(test_slow_starts),
        cmocka_unit_test(test_rolled_back), cmocka_unit_test(test_not_whole),   cmocka_unit_test(test_disks_full),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
