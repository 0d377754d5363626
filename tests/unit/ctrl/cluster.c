/* SPDX-License-Identifier: BSD-3-Clause */
/* Several ctrls of one cluster in one process, event by event (world.h): elections, admission, membership. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;

static void begin(uint16_t nodes, uint16_t voters)
{
    world_begin(&w, nodes, voters);
    for (uint16_t node = 1; node <= voters; node++)
        world_start(&w, node, false);
}

static void grow(void)
{
    uint16_t sequencer = world_sequencer(&w);

    assert_int_not_equal(sequencer, 0);
    world_append(&w, sequencer, 5);
    world_run(&w, 5 * MS);
}

static bool said(uint16_t node, const char *what)
{
    return strstr(w.node[node].said, what) != NULL;
}

static void test_first_election(void **state)
{
    (void)state;
    begin(3, 3);
    assert_true(world_settle(&w, 3, 200 * MS));
    assert_int_equal(world_sequencer(&w), 1); /* the one that the cluster file names */
    assert_int_equal(w.node[1].dp.epoch, 1);
    grow();
    assert_int_equal(w.committed, 7);
    world_end(&w);
}

static void test_sequencer_killed(void **state)
{
    uint64_t killed;

    (void)state;
    begin(3, 3);
    assert_true(world_settle(&w, 3, 200 * MS));
    grow();
    killed = w.now;
    world_kill_dataplane(&w, 1);
    while (world_sequencer(&w) == 0)
        world_run(&w, 100000);
    assert_true(w.now - killed < 5 * MS); /* told at once, not waited for */
    assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, 2);
    assert_true(world_settle(&w, 3, 400 * MS)); /* and the dead one is brought in */
    assert_int_equal(w.node[1].disk.counts, w.node[1].disk.incarnation);
    assert_int_equal(w.node[1].spawned, 2);
    grow();
    assert_true(w.node[1].dp.commit > 7);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_election),
        cmocka_unit_test(test_sequencer_killed),
    };
    (void)said;
    return cmocka_run_group_tests(tests, NULL, NULL);
}
