/* SPDX-License-Identifier: BSD-3-Clause */
/* A majority lost its memory, and one node begins a new generation alone, in a small world (world.h). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;

static bool said(uint16_t node, const char *part)
{
    return strstr(w.node[node].said, part) != NULL;
}

static uint32_t voters(uint16_t node)
{
    struct ls_ctrl_view view = world_view(&w, node);

    return ls_membership_voters(&view.members);
}

/* Three nodes that serve, node 1 first, and entries. */
static void serving(void)
{
    world_begin(&w, 3, 3);
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    assert_true(world_settle(&w, 3, 300 * MS));
    world_append(&w, world_sequencer(&w), 20);
    world_run(&w, 10 * MS);
    assert_true(w.committed >= 20);
}

/* ... and all of them lose their memory. */
static void lost(void)
{
    serving();
    for (uint16_t node = 1; node <= 3; node++)
        world_crash(&w, node);
}

/* As lockstep-ctrl recover writes the record. */
static void choose(uint16_t node, uint32_t entries)
{
    struct ls_durable *disk = &w.node[node].disk;

    disk->generation++;
    disk->vote = 0;
    disk->counts = 0;
    disk->founder = false;
    disk->recovers = true;
    disk->members = (struct ls_membership){.count = 1};
    world_member(&disk->members.member[0], node, LS_MEMBER_VOTER);
    w.node[node].recover_entries = w.committed = entries;
}

static void test_one_begins_and_others_come_wiped(void **state)
{
    (void)state;
    lost();
    choose(2, 10);
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    assert_true(world_settle(&w, 1, 500 * MS));
    assert_int_equal(world_sequencer(&w), 2);
    assert_int_equal(w.node[2].recovers, 1);
    assert_true(said(2, "generation 2 of the cluster begins with this node alone"));
    assert_false(said(2, "MAJORITY"));
    assert_false(w.node[2].disk.recovers); /* from its first promise on it may not be done again */
    assert_int_equal(w.node[2].disk.promise, 2);
    assert_int_equal(world_view(&w, 2).members.count, 1);
    /* the others know nothing of it, and what they say is not listened to */
    world_run(&w, 1500 * MS);
    assert_true(world_view(&w, 1).majority_lost && world_view(&w, 3).majority_lost);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 1, true, 1);
    world_run(&w, 300 * MS);
    assert_int_equal(world_view(&w, 1).phase, LS_CTRL_OUTSIDE);
    assert_int_equal(w.node[1].disk.promise, 1);
    assert_int_equal(voters(2), 1);
    /* wiped they are new members */
    for (uint16_t node = 1; node <= 3; node += 2) {
        world_crash(&w, node);
        world_record(&w, node, false);
        w.node[node].disk.generation = 2;
        world_start(&w, node, false);
        if (node == 3)
            world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 3, true, 2);
        world_run(&w, 1000 * MS);
    }
    assert_true(world_settle(&w, 3, 1000 * MS));
    assert_int_equal(voters(2), 3);
    /* whole again: the first one is not needed */
    world_crash(&w, 2);
    world_run(&w, 500 * MS);
    assert_int_not_equal(world_sequencer(&w), 0);
    world_end(&w);
}

static void test_empty(void **state)
{
    (void)state;
    lost();
    choose(1, 0);
    world_start(&w, 1, false);
    assert_true(world_settle(&w, 1, 500 * MS));
    assert_int_equal(world_view(&w, 1).members.count, 1);
    world_end(&w);
}

/* Until an epoch is promised every start of the dataplane, and every ctrl, begins it again. */
static void test_interrupted(void **state)
{
    (void)state;
    for (uint64_t at = 0; at < 14 * MS; at += MS / 2) {
        lost();
        choose(1, 10);
        world_start(&w, 1, false);
        world_run(&w, at);
        if (w.node[1].disk.recovers) {
            world_kill_dataplane(&w, 1);
            assert_true(world_settle(&w, 1, 500 * MS));
        }
        world_end(&w);
        lost();
        choose(1, 10);
        world_start(&w, 1, false);
        world_run(&w, at);
        if (w.node[1].dp.running && w.node[1].dp.ready) {
            world_stop_ctrl(&w, 1);
            world_run(&w, 5 * MS);
            world_start(&w, 1, true);
            assert_true(world_settle(&w, 1, 500 * MS));
            assert_int_equal(w.node[1].spawned, 2); /* before the loss, and now */
        }
        world_end(&w);
    }
}

/* What the operator chose is damaged: nothing is served, and that is said, until he chooses again. */
static void test_damaged(void **state)
{
    (void)state;
    lost();
    choose(1, 10);
    w.node[1].recover_fails = true;
    world_start(&w, 1, false);
    world_run(&w, 2000 * MS);
    assert_int_equal(world_sequencer(&w), 0);
    assert_int_equal(world_view(&w, 1).phase, LS_CTRL_OUTSIDE);
    assert_non_null(strstr(world_view(&w, 1).problem, "is not restored: damaged"));
    assert_true(w.node[1].disk.recovers);
    assert_int_not_equal(w.node[1].disk.counts, w.node[1].disk.incarnation);
    assert_true(w.node[1].recovers > 1 && w.node[1].recovers < 20); /* now and then */
    w.node[1].recover_fails = false;
    assert_true(world_settle(&w, 1, 6000 * MS));
    assert_string_equal(world_view(&w, 1).problem, "");
    world_end(&w);
}

/* It has promised an epoch, perhaps answered clients, and loses its memory again: that is the operator's, again. */
static void test_lost_again(void **state)
{
    (void)state;
    lost();
    choose(1, 10);
    world_start(&w, 1, false);
    assert_true(world_settle(&w, 1, 500 * MS));
    world_kill_dataplane(&w, 1);
    world_run(&w, 3000 * MS);
    assert_true(world_view(&w, 1).majority_lost);
    assert_int_equal(world_sequencer(&w), 0);
    assert_int_equal(w.node[1].recovers, 1);
    world_end(&w);
}

/* One voter's record is made anew, another one lost its memory: what is left is no majority, whatever the first one
 * says that it promised. */
static void test_record_gone(void **state)
{
    (void)state;
    for (int forgotten = 0; forgotten <= 2; forgotten++) {
        serving();
        world_crash(&w, 1);
        world_kill_dataplane(&w, 2);
        world_record(&w, 1, forgotten != 2); /* 2: by join, as if it were new */
        if (forgotten != 0) {                /* nobody remembers what node 1 promised: the log says it */
            world_stop_ctrl(&w, 3);
            world_stop_ctrl(&w, 2);
            world_start(&w, 3, true);
            world_start(&w, 2, false);
        }
        world_start(&w, 1, false);
        world_run(&w, 3000 * MS);
        assert_int_equal(world_sequencer(&w), 0);
        assert_int_equal(world_view(&w, 1).durable.promise, 0);
        assert_int_equal(world_view(&w, 2).phase, LS_CTRL_OUTSIDE);
        assert_int_equal(world_view(&w, 3).phase, LS_CTRL_FULL);
        assert_true(world_view(&w, 3).majority_lost);
        assert_true(said(3, "A MAJORITY OF THE VOTERS HAS LOST ITS MEMORY"));
        world_end(&w);
    }
}

/* A sequencer lives, and those who could make a majority with it cannot be admitted: they are gone for good. One that
 * has its record can, and is, though it promised an epoch. */
static void test_records_gone_under_a_sequencer(void **state)
{
    (void)state;
    serving();
    assert_int_equal(world_sequencer(&w), 1);
    world_crash(&w, 3);
    world_record(&w, 3, true);
    world_kill_dataplane(&w, 2);
    world_start(&w, 3, false);
    world_run(&w, 3000 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(world_view(&w, 2).phase, LS_CTRL_FULL);
    assert_false(said(1, "MAJORITY"));
    world_crash(&w, 2);
    world_record(&w, 2, true);
    world_start(&w, 2, false);
    world_run(&w, 3000 * MS);
    assert_int_equal(world_view(&w, 2).phase, LS_CTRL_REFUSED);
    assert_true(world_view(&w, 1).majority_lost);
    world_end(&w);
}

/* The time of day went back too: the others do not believe a word of it, and know what that means. */
static void test_record_runs_backwards(void **state)
{
    struct ls_durable old;

    (void)state;
    serving();
    old = w.node[3].disk;
    for (int i = 0; i < 3; i++) { /* newer incarnations, which the others learn of */
        world_kill_dataplane(&w, 3);
        world_run(&w, 10 * MS);
        assert_true(world_settle(&w, 3, 1000 * MS));
    }
    world_crash(&w, 3);
    world_crash(&w, 1);
    w.node[3].disk = old;
    w.node[3].clock_back_ns = 4000 * MS;
    world_start(&w, 3, false);
    world_start(&w, 1, false);
    world_run(&w, 3000 * MS);
    assert_int_equal(world_sequencer(&w), 0);
    assert_true(world_view(&w, 2).majority_lost);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_begins_and_others_come_wiped),
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_interrupted),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_lost_again),
        cmocka_unit_test(test_record_gone),
        cmocka_unit_test(test_records_gone_under_a_sequencer),
        cmocka_unit_test(test_record_runs_backwards),
    };

    return cmocka_run_group_tests_name("generation", tests, NULL, NULL);
}
