/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Founding learners, in a small world (world.h): members of the first list without a vote, who come when the founding
 * voters have opened the log already, and perhaps changed the list.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;

/* Voters 1..3 serve; the other founders, up to `nodes`, are not started yet. */
static void opened(uint16_t nodes)
{
    world_begin(&w, nodes, 3);
    for (uint16_t node = 4; node <= nodes; node++)
        world_member(&w.founders.member[w.founders.count++], node, LS_MEMBER_LEARNER);
    for (uint16_t node = 1; node <= nodes; node++)
        world_record(&w, node, true);
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    assert_true(world_settle(&w, 3, 300 * MS));
    world_append(&w, world_sequencer(&w), 5);
    world_run(&w, 5 * MS);
}

/* What a log holds is not founded a second time, also where the newest change of membership is not committed when the
 * learner looks: the sequencer listens to no incarnation that it has not admitted. */
static void test_learner_is_admitted(void **state)
{
    (void)state;
    opened(4);
    assert_int_equal(world_sequencer(&w), 1);
    w.data_cut[1][2] = w.data_cut[1][3] = true; /* no more commits */
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 3, 0, false, 1);
    world_run(&w, 1 * MS);
    assert_int_equal(w.node[1].dp.members.count, 3);
    world_start(&w, 4, false);
    for (int i = 0; i < 20; i++) {
        world_run(&w, 1 * MS);
        if (w.node[4].dp.counts)
            assert_int_equal(w.node[1].dp.admitted[4], w.node[4].dp.incarnation);
    }
    w.data_cut[1][2] = w.data_cut[1][3] = false;
    assert_true(world_settle(&w, 3, 500 * MS));
    assert_true(w.node[4].dp.counts);
    world_end(&w);
}

/* Also where it was there from the beginning: only voters open a log. */
static void test_learner_from_the_start(void **state)
{
    (void)state;
    world_begin(&w, 4, 3);
    world_member(&w.founders.member[w.founders.count++], 4, LS_MEMBER_LEARNER);
    for (uint16_t node = 1; node <= 4; node++) {
        world_record(&w, node, true);
        world_start(&w, node, false);
    }
    assert_true(world_settle(&w, 4, 1000 * MS));
    assert_int_equal(w.node[world_sequencer(&w)].dp.admitted[4], w.node[4].dp.incarnation);
    world_end(&w);
}

/* Two of them who have heard more and less of what became of the list are no reason to quarrel. */
static void test_learners_at_odds(void **state)
{
    (void)state;
    opened(5);
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 3, 0, false, 1);
    world_run(&w, 10 * MS);
    assert_int_equal(w.done_error, 0);
    w.node[5].persist_ns = 200 * MS; /* it knows the new list long before its record promises anything */
    for (uint16_t node = 1; node <= 3; node++)
        w.link_cut[4][node] = w.link_cut[node][4] = true;
    w.link_cut[4][5] = w.link_cut[5][4] = true;
    world_start(&w, 5, false);
    world_start(&w, 4, false);
    world_run(&w, 20 * MS);
    assert_int_equal(world_view(&w, 5).members.count, 4);
    assert_int_equal(w.node[5].disk.promise, 0);
    assert_int_equal(world_view(&w, 4).members.count, 5);
    w.link_cut[4][5] = w.link_cut[5][4] = false;
    world_link(&w, 4, 5, true);
    world_run(&w, 5 * MS);
    assert_null(strstr(w.node[4].said, "another list"));
    assert_null(strstr(w.node[5].said, "another list"));
    for (uint16_t node = 1; node <= 3; node++) {
        w.link_cut[4][node] = w.link_cut[node][4] = false;
        world_link(&w, 4, node, true);
    }
    assert_true(world_settle(&w, 4, 1000 * MS));
    world_end(&w);
}

/* Whoever would found with another list is refused, by name. */
static void test_other_list(void **state)
{
    (void)state;
    world_begin(&w, 3, 3);
    w.node[3].disk.members.count = 2;
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    world_run(&w, 100 * MS);
    assert_int_equal(world_sequencer(&w), 0);
    assert_non_null(strstr(w.node[1].said, "a founder with another list of nodes"));
    world_end(&w);
}

/* Power fails everywhere, and one record is made anew: the others know of promises and hold no log that could tell
 * whether anything was committed. An empty log is not right then. */
static void test_nobody_remembers(void **state)
{
    (void)state;
    opened(3);
    for (uint16_t node = 1; node <= 3; node++)
        world_crash(&w, node);
    world_record(&w, 1, true);
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    world_run(&w, 3000 * MS);
    assert_int_equal(w.node[1].disk.counts, 0);
    assert_int_equal(world_sequencer(&w), 0);
    assert_non_null(strstr(w.node[2].said, "HAS LOST ITS MEMORY"));
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_learner_is_admitted), cmocka_unit_test(test_learner_from_the_start),
        cmocka_unit_test(test_learners_at_odds),    cmocka_unit_test(test_other_list),
        cmocka_unit_test(test_nobody_remembers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
