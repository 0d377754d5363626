/* SPDX-License-Identifier: BSD-3-Clause */
/* Planned handover and changes of membership, in a small world (world.h): what is done, what is refused and why. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;

static void opened(uint16_t nodes, uint16_t voters)
{
    world_begin(&w, nodes, voters);
    for (uint16_t node = 1; node <= voters; node++)
        world_start(&w, node, false);
    assert_true(world_settle(&w, voters, 300 * MS));
    world_append(&w, world_sequencer(&w), 5);
    world_run(&w, 5 * MS);
}

static void done_within(uint64_t ns)
{
    uint64_t end = w.now + ns;
    uint32_t had = w.done_count;

    while (w.now < end && w.done_count == had)
        world_run(&w, 100000);
    assert_int_equal(w.done_count, had + 1);
    world_run(&w, 5 * MS);
    assert_int_equal(w.done_count, had + 1); /* once */
}

static void expect(int error, const char *part)
{
    assert_int_equal(w.done_error, error);
    assert_non_null(strstr(w.done_text, part));
}

static void test_handover(void **state)
{
    (void)state;
    opened(3, 3);
    world_command(&w, 3, LS_COMMAND_SEQUENCER_MOVE, 2, 0, false, 1); /* forwarded */
    done_within(50 * MS);
    expect(0, "node 2 is the sequencer now");
    assert_int_equal(w.done_token, 1);
    assert_int_equal(world_sequencer(&w), 2);
    assert_int_equal(w.node[2].dp.epoch, 2);
    assert_true(world_settle(&w, 3, 50 * MS));
    assert_int_equal(w.node[1].spawned, 1);
    world_command(&w, 1, LS_COMMAND_SEQUENCER_MOVE, 2, 0, false, 2);
    done_within(50 * MS);
    expect(0, "already");
    world_command(&w, 2, LS_COMMAND_SEQUENCER_MOVE, 5, 0, false, 3);
    expect(EINVAL, "no voter");
    w.data_cut[2][3] = w.data_cut[3][2] = true;
    world_append(&w, 2, 3);
    world_run(&w, 10 * MS);
    world_command(&w, 2, LS_COMMAND_SEQUENCER_MOVE, 3, 0, false, 4); /* it does not get there */
    done_within(1000 * MS);
    expect(ETIMEDOUT, "stays at node 2");
    assert_int_equal(world_sequencer(&w), 2);
    assert_int_equal(w.node[2].dp.epoch, 2);
    world_run(&w, 400 * MS);
    world_command(&w, 2, LS_COMMAND_SEQUENCER_MOVE, 3, 0, false, 5);
    expect(EAGAIN, "not heard on the data network");
    world_end(&w);
}

static void test_add_promote_remove(void **state)
{
    (void)state;
    opened(4, 3);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 4, false, 1);
    done_within(50 * MS);
    expect(0, "node 4 is a learner now");
    world_command(&w, 2, LS_COMMAND_MEMBER_PROMOTE, 4, 0, false, 2);
    done_within(50 * MS);
    expect(EAGAIN, "its lockstep-ctrl is not linked");
    world_start(&w, 4, false);
    assert_true(world_settle(&w, 4, 300 * MS));
    assert_int_equal(ls_membership_voters(&w.node[4].dp.members), 3);
    world_command(&w, 1, LS_COMMAND_MEMBER_PROMOTE, 4, 0, false, 3);
    done_within(50 * MS);
    expect(0, "node 4 is a voter now");
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 1, 0, false, 4);
    expect(EBUSY, "move it first");
    world_command(&w, 3, LS_COMMAND_MEMBER_REMOVE, 3, 0, false, 5);
    done_within(50 * MS);
    expect(0, "node 3 is removed");
    world_run(&w, 50 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REMOVED);
    assert_false(w.node[3].dp.running);
    assert_int_equal(world_view(&w, 1).members.count, 3);
    assert_int_equal(w.node[1].disk.members.count, 3);
    assert_int_equal(w.node[4].disk.members.count, 3);
    /* The new member is a whole one: it elects, and may lead. */
    world_command(&w, 1, LS_COMMAND_SEQUENCER_MOVE, 4, 0, false, 6);
    done_within(50 * MS);
    expect(0, "node 4 is the sequencer");
    assert_true(world_settle(&w, 3, 100 * MS));
    /* The removed one comes back, and is no member to anybody. */
    world_crash(&w, 3);
    world_start(&w, 3, false);
    world_run(&w, 300 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REMOVED);
    assert_int_equal(w.node[4].dp.epoch, 2);
    /* Added again it is: its record was never lost. */
    world_command(&w, 4, LS_COMMAND_MEMBER_ADD, 0, 3, true, 7);
    done_within(1000 * MS);
    expect(0, "node 3 is a voter now");
    assert_true(world_settle(&w, 4, 100 * MS));
    world_end(&w);
}

static void test_add_and_promote(void **state)
{
    (void)state;
    opened(5, 3);
    world_start(&w, 4, false);
    world_run(&w, 50 * MS);
    assert_non_null(strstr(world_view(&w, 4).problem, "member add"));
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 4, true, 1);
    world_run(&w, 100000);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 5, true, 2);
    world_run(&w, 500000);
    expect(EBUSY, "one at a time");
    assert_int_equal(w.done_token, 2);
    done_within(500 * MS);
    expect(0, "node 4 is a voter now");
    assert_int_equal(w.done_token, 1);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 4, true, 3);
    done_within(50 * MS);
    expect(EEXIST, "already");
    world_end(&w);
}

/* A dataplane that was slow answers a question of before; what it was asked for again must not be asked for twice. */
static void test_add_answered_late(void **state)
{
    (void)state;
    opened(4, 3);
    w.node[1].dp.changed_late = true;
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 4, false, 1);
    done_within(500 * MS);
    expect(0, "node 4 is a learner now");
    assert_int_equal(world_view(&w, 1).members.count, 4);
    world_end(&w);
}

/* A removal that was ordered and never committed is all that its sequencer's record knows after a crash. The removed
 * one leads now: it has to be found all the same, by what the others say. */
static void test_undone_removal(void **state)
{
    (void)state;
    for (int alone = 0; alone <= 1; alone++) {
        world_begin(&w, 4, 4);
        w.links_wanted = true;
        for (uint16_t node = 1; node <= 4; node++)
            world_start(&w, node, false);
        assert_true(world_settle(&w, 4, 300 * MS));
        assert_int_equal(world_sequencer(&w), 1);
        w.data_cut[1][2] = w.data_cut[1][3] = w.data_cut[1][4] = true;
        world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 4, 0, false, 1);
        world_run(&w, 2 * MS);
        assert_int_equal(world_view(&w, 1).members.count, 3);
        assert_false(world_view(&w, 1).members_committed);
        assert_int_equal(w.node[1].disk.members.count, 3);
        world_crash(&w, 1);
        w.data_cut[1][2] = w.data_cut[1][3] = w.data_cut[1][4] = false;
        assert_true(world_settle(&w, 3, 500 * MS));
        if (world_sequencer(&w) != 4) {
            world_command(&w, 2, LS_COMMAND_SEQUENCER_MOVE, 4, 0, false, 2);
            done_within(100 * MS);
            expect(0, "node 4 is the sequencer");
        }
        assert_int_equal(ls_membership_voters(&w.node[4].dp.members), 4);
        if (alone) { /* of those that it knows only one is left, which has no log either just now */
            world_kill_dataplane(&w, 3);
            world_isolate(&w, 2, true, false, true);
            world_run(&w, MS);
        }
        world_start(&w, 1, false);
        world_run(&w, 20 * MS);
        assert_true((w.node[1].wanted >> 4 & 1) != 0);
        assert_int_equal(world_view(&w, 3).phase, alone ? LS_CTRL_WAITING : LS_CTRL_FULL);
        assert_true(world_settle(&w, 4, 1000 * MS));
        assert_int_equal(world_sequencer(&w), 4);
        assert_int_equal(world_view(&w, 1).members.count, 4);
        world_end(&w);
    }
}

/* A voter whose log is that of long ago does not name the one that can lead now, though it was told of it: it votes for
 * it all the same, and a link stands. */
static void test_candidate_unknown_to_a_log(void **state)
{
    (void)state;
    world_begin(&w, 4, 3);
    w.links_wanted = true;
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    assert_true(world_settle(&w, 3, 300 * MS));
    assert_int_equal(world_sequencer(&w), 1);
    w.data_cut[1][2] = true; /* node 2 gets nothing more into its log */
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 4, true, 1);
    world_run(&w, 5 * MS);
    world_start(&w, 4, false);
    done_within(500 * MS);
    expect(0, "node 4 is a voter now");
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 3, 0, false, 2);
    done_within(500 * MS);
    expect(0, "node 3 is removed");
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 1);
    assert_null(ls_membership_find(&w.node[2].dp.members, 4));
    world_crash(&w, 1);
    world_crash(&w, 3);
    w.data_cut[1][2] = false;
    world_run(&w, 1000 * MS);
    assert_int_equal(world_sequencer(&w), 4);
    assert_non_null(ls_membership_find(&w.node[2].dp.members, 4));
    world_start(&w, 1, false);
    assert_true(world_settle(&w, 3, 1000 * MS));
    world_end(&w);
}

static void test_replace(void **state)
{
    (void)state;
    opened(4, 3);
    world_crash(&w, 3);
    world_run(&w, 50 * MS);
    world_start(&w, 4, false);
    world_command(&w, 2, LS_COMMAND_MEMBER_REPLACE, 3, 4, false, 1);
    done_within(1000 * MS);
    expect(0, "node 4 took the place of node 3");
    assert_int_equal(world_view(&w, 1).members.count, 3);
    assert_null(ls_membership_find(&w.node[1].dp.members, 3));
    world_command(&w, 2, LS_COMMAND_MEMBER_REPLACE, 1, 5, false, 2);
    done_within(50 * MS);
    expect(EBUSY, "move it first");
    world_command(&w, 2, LS_COMMAND_MEMBER_REPLACE, 3, 5, false, 3);
    done_within(50 * MS);
    expect(ENOENT, "no member");
    world_end(&w);
}

/* As many voters as can be: whoever would be one more is refused before anything is done; a learner is taken. */
static void test_no_room_for_voters(void **state)
{
    (void)state;
    opened(8, 7);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 8, true, 1);
    done_within(50 * MS);
    expect(ENOSPC, "there are 7 voters already");
    world_command(&w, 1, LS_COMMAND_MEMBER_REPLACE, 3, 8, false, 2); /* at the sequencer: answered at once */
    expect(ENOSPC, "remove one first");
    assert_int_equal(world_view(&w, 1).members.count, 7);
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 8, false, 3);
    done_within(50 * MS);
    expect(0, "node 8 is a learner now");
    world_command(&w, 1, LS_COMMAND_MEMBER_REPLACE, 3, 8, false, 4); /* half done before: no reason to go on */
    expect(ENOSPC, "there are 7 voters already");
    world_end(&w);
}

static void test_removal_refused(void **state)
{
    (void)state;
    opened(3, 3);
    world_crash(&w, 3);
    world_run(&w, 50 * MS);
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 2, 0, false, 1);
    expect(EBUSY, "no majority");
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 9, 0, false, 2);
    expect(ENOENT, "no member");
    world_command(&w, 1, LS_COMMAND_MEMBER_PROMOTE, 2, 0, false, 3);
    expect(EEXIST, "voter already");
    world_command(&w, 1, LS_COMMAND_MEMBER_PROMOTE, 9, 0, false, 4);
    expect(ENOENT, "add it first");
    struct ls_ctrl_command same = {.kind = LS_COMMAND_MEMBER_ADD};
    world_member(&same.member, 2, LS_MEMBER_LEARNER);
    same.member.node = 4;
    ls_ctrl_command(w.node[1].ctrl, &same, 6, w.now);
    expect(EADDRINUSE, "address of node 2");
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 3, 0, false, 5);
    done_within(50 * MS);
    expect(0, "node 3 is removed");
    world_end(&w);
}

static void test_command_without_sequencer(void **state)
{
    (void)state;
    opened(3, 3);
    for (uint16_t node = 1; node <= 2; node++)
        world_crash(&w, node);
    world_run(&w, 50 * MS);
    world_command(&w, 3, LS_COMMAND_MEMBER_REMOVE, 1, 0, false, 1);
    expect(EAGAIN, "no sequencer is known");
    struct ls_ctrl_command bad = {.kind = LS_COMMAND_MEMBER_ADD};
    ls_ctrl_command(w.node[3].ctrl, &bad, 2, w.now);
    expect(EINVAL, "not whole");
    world_end(&w);
}

/* The command's sequencer goes while it works on it. */
static void test_command_cancelled(void **state)
{
    (void)state;
    opened(4, 3);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 4, true, 1); /* waits for node 4, which never comes */
    world_run(&w, 100 * MS);
    assert_int_equal(w.done_count, 0);
    assert_true(strlen(world_view(&w, 1).change) > 0);
    world_kill_dataplane(&w, 1);
    done_within(50 * MS);
    expect(ECANCELED, "ended meanwhile");
    assert_true(world_settle(&w, 3, 500 * MS));
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 4, 0, false, 2); /* taken back */
    done_within(50 * MS);
    expect(0, "removed");
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 4, true, 3);
    world_run(&w, 100 * MS);
    world_crash(&w, world_sequencer(&w));
    done_within(50 * MS);
    expect(ECANCELED, "link was lost");
    world_end(&w);
}

/* What a command left half done when its sequencer went is gone on with when it is given again. */
static void test_command_goes_on(void **state)
{
    struct ls_ctrl_command elsewhere = {.kind = LS_COMMAND_MEMBER_ADD, .promote = true};

    (void)state;
    opened(4, 3);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 4, true, 1); /* waits for node 4, which comes later */
    world_run(&w, 100 * MS);
    world_kill_dataplane(&w, 1);
    done_within(50 * MS);
    expect(ECANCELED, "ended meanwhile");
    assert_true(world_settle(&w, 3, 500 * MS));
    world_start(&w, 4, false);
    world_member(&elsewhere.member, 5, LS_MEMBER_LEARNER);
    elsewhere.member.node = 4;
    ls_ctrl_command(w.node[world_sequencer(&w)].ctrl, &elsewhere, 2, w.now);
    expect(EEXIST, "learner already, at other addresses");
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 4, true, 3);
    done_within(500 * MS);
    expect(0, "node 4 is a voter now");
    world_end(&w);
}

/* Added again before the dataplane that the removal stops is gone: what it was told meanwhile is not forgotten. */
static void test_removed_and_added(void **state)
{
    (void)state;
    opened(4, 4);
    w.node[4].down_ns = 200 * MS;
    world_command(&w, 1, LS_COMMAND_MEMBER_REMOVE, 4, 0, false, 1);
    done_within(50 * MS);
    expect(0, "node 4 is removed");
    assert_int_equal(world_view(&w, 4).phase, LS_CTRL_REMOVED);
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 4, true, 2);
    done_within(1000 * MS);
    expect(0, "node 4 is a voter now");
    assert_true(world_settle(&w, 4, 100 * MS));
    world_end(&w);
}

/* A replacement that ended after the new one became a voter has only the old one to remove. */
static void test_replace_goes_on(void **state)
{
    (void)state;
    opened(4, 3);
    world_start(&w, 4, false);
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 4, true, 1);
    done_within(500 * MS);
    expect(0, "node 4 is a voter now");
    world_command(&w, 1, LS_COMMAND_MEMBER_REPLACE, 3, 4, false, 2);
    done_within(500 * MS);
    expect(0, "node 4 took the place of node 3");
    assert_int_equal(world_view(&w, 1).members.count, 3);
    assert_null(ls_membership_find(&w.node[1].dp.members, 3));
    world_end(&w);
}

/* The dataplane of the node where the command was given goes meanwhile, its ctrl does not: the answer is still its own.
 */
static void test_command_outlives_dataplane(void **state)
{
    (void)state;
    opened(4, 3);
    world_command(&w, 2, LS_COMMAND_MEMBER_ADD, 0, 4, true, 1);
    world_run(&w, 100 * MS);
    world_kill_dataplane(&w, 2);
    world_run(&w, 10 * MS);
    assert_true(world_settle(&w, 3, 500 * MS));
    assert_int_equal(w.node[2].spawned, 2);
    assert_int_equal(w.done_count, 0);
    world_start(&w, 4, false);
    done_within(500 * MS);
    expect(0, "node 4 is a voter now");
    world_end(&w);
}

/* Node 1 alone holds the change that makes node 4 a voter; node 4, a learner by its own log, holds an entry of the
 * epoch that followed, whose sequencer has lost its memory. Nobody but node 4 can be elected. */
static void test_learner_is_needed(void **state)
{
    (void)state;
    opened(4, 3);
    world_command(&w, 1, LS_COMMAND_MEMBER_ADD, 0, 4, false, 1);
    done_within(50 * MS);
    world_start(&w, 4, false);
    assert_true(world_settle(&w, 4, 300 * MS));
    for (uint16_t node = 2; node <= 4; node++)
        w.data_cut[1][node] = w.data_cut[node][1] = true;
    w.data_cut[2][3] = true; /* what the next sequencer orders reaches the learner alone */
    world_command(&w, 1, LS_COMMAND_MEMBER_PROMOTE, 4, 0, false, 2);
    for (int i = 0; i < 1000 && w.node[4].dp.log[w.node[4].dp.last].epoch != 2; i++)
        world_run(&w, MS);
    assert_int_equal(w.node[4].dp.log[w.node[4].dp.last].epoch, 2);
    assert_int_equal(ls_membership_voters(&w.node[1].dp.members), 4);
    assert_int_equal(ls_membership_voters(&w.node[4].dp.members), 3);
    assert_int_equal(w.node[2].dp.epoch, 2);
    world_kill_dataplane(&w, 2);
    memset(w.data_cut, 0, sizeof(w.data_cut));
    assert_true(world_settle(&w, 4, 5000 * MS));
    assert_int_equal(world_sequencer(&w), 4);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_handover),
        cmocka_unit_test(test_add_promote_remove),
        cmocka_unit_test(test_add_and_promote),
        cmocka_unit_test(test_replace),
        cmocka_unit_test(test_removal_refused),
        cmocka_unit_test(test_no_room_for_voters),
        cmocka_unit_test(test_command_without_sequencer),
        cmocka_unit_test(test_command_cancelled),
        cmocka_unit_test(test_command_outlives_dataplane),
        cmocka_unit_test(test_add_answered_late),
        cmocka_unit_test(test_undone_removal),
        cmocka_unit_test(test_candidate_unknown_to_a_log),
        cmocka_unit_test(test_command_goes_on),
        cmocka_unit_test(test_replace_goes_on),
        cmocka_unit_test(test_removed_and_added),
        cmocka_unit_test(test_learner_is_needed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
