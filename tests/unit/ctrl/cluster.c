/* SPDX-License-Identifier: BSD-3-Clause */
/* Several ctrls of one cluster in one process, event by event (world.h): elections, admission, what ends a node. */
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

static bool serves_within(uint64_t ns)
{
    uint64_t end = w.now + ns;

    while (w.now < end && world_sequencer(&w) == 0)
        world_run(&w, 100000);
    return world_sequencer(&w) != 0;
}

static void opened(uint16_t nodes, uint16_t voters)
{
    begin(nodes, voters);
    assert_true(world_settle(&w, voters, 300 * MS));
    grow();
}

/* A founder waits for all the others: an empty log is opened by all. */
static void test_founders_wait(void **state)
{
    (void)state;
    world_begin(&w, 3, 3);
    world_start(&w, 1, false);
    world_start(&w, 2, false);
    world_run(&w, 500 * MS);
    assert_int_equal(world_view(&w, 1).phase, LS_CTRL_OUTSIDE);
    assert_int_equal(w.node[1].disk.promise, 0);
    world_start(&w, 3, false);
    assert_true(world_settle(&w, 3, 100 * MS));
    world_end(&w);
}

static void test_one_node(void **state)
{
    (void)state;
    opened(1, 1);
    assert_int_equal(world_sequencer(&w), 1);
    world_end(&w);
}

/* The data network is dead and the word of its ctrl is missing, too: the detector finds it. */
static void test_sequencer_vanishes(void **state)
{
    uint64_t gone;

    (void)state;
    opened(3, 3);
    gone = w.now;
    world_isolate(&w, 1, true, true, true);
    while (w.now < gone + 1000 * MS && (world_sequencer(&w) == 0 || world_sequencer(&w) == 1))
        world_run(&w, MS);
    assert_int_equal(world_sequencer(&w), 2);
    assert_true(w.now - gone < 60 * MS);
    world_run(&w, 200 * MS);
    assert_int_equal(w.node[1].dp.role, LS_ROLE_SUSPENDED);
    grow();
    world_isolate(&w, 1, true, true, false);
    assert_true(world_settle(&w, 3, 500 * MS));
    assert_int_equal(w.node[1].dp.epoch, 2);
    assert_int_equal(w.node[1].spawned, 1); /* it kept its memory, and follows */
    world_end(&w);
}

/* Five nodes, the sequencer dies, and its followers hear of it in the same moment: it takes one epoch. */
static void test_no_split(void **state)
{
    (void)state;
    opened(5, 5);
    world_crash(&w, 1);
    w.node[1].dp.role = LS_ROLE_OUTSIDE;
    assert_true(serves_within(60 * MS));
    assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, 2);
    world_end(&w);
}

/* Two stand at once, one vote each: both try again, at different moments. */
static void test_split_vote(void **state)
{
    (void)state;
    opened(5, 5);
    world_crash(&w, 5);
    /* 2 and 3 stand in the same moment, for 1 and 4 see neither's question before they have asked. */
    for (uint16_t a = 2; a <= 3; a++)
        for (uint16_t b = 2; b <= 3; b++)
            w.link_cut[a][b] = a != b;
    world_link(&w, 2, 3, false);
    world_kill_dataplane(&w, 1);
    assert_true(serves_within(500 * MS));
    assert_true(w.node[world_sequencer(&w)].dp.epoch <= 6);
    world_end(&w);
}

/* Node 2 would stand first; node 3's log is longer: it says so, and stands at once. */
static void test_better_log_stands(void **state)
{
    uint32_t had;

    (void)state;
    opened(3, 3);
    for (uint16_t node = 1; node < NODES; node++)
        w.data_cut[1][2] = true;
    world_append(&w, 1, 5);
    world_run(&w, 2 * MS);
    had = w.node[3].dp.last;
    assert_true(had > w.node[2].dp.last);
    world_kill_dataplane(&w, 1);
    assert_true(serves_within(20 * MS));
    assert_int_equal(world_sequencer(&w), 3);
    assert_true(w.committed > had);
    world_end(&w);
}

/* The others hear the sequencer, one node does not: it raises nobody's epoch, however long it lasts. */
static void test_one_way_loss(void **state)
{
    (void)state;
    opened(3, 3);
    w.data_cut[1][3] = true;
    world_run(&w, 3000 * MS);
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 1);
    assert_int_equal(w.node[3].disk.promise, 1);
    w.data_cut[1][3] = false;
    assert_true(world_settle(&w, 3, 100 * MS));
    assert_int_equal(w.node[1].dp.epoch, 1);
    world_end(&w);
}

/* A stuck sequencer leaves it to the others, who find that they need its log: it stands again. */
static void test_stuck_and_needed(void **state)
{
    (void)state;
    opened(3, 3);
    w.data_cut[1][3] = w.data_cut[3][1] = w.data_cut[2][3] = w.data_cut[3][2] = true;
    world_append(&w, 1, 5); /* nodes 1 and 2 hold it */
    world_run(&w, 5 * MS);
    w.data_cut[1][2] = w.data_cut[2][1] = true;
    for (uint64_t end = w.now + 2000 * MS; w.now < end && w.node[3].disk.promise < 2;)
        world_run(&w, 100000);
    assert_int_equal(w.node[3].disk.promise, 2);
    world_kill_dataplane(&w, 2);
    world_run(&w, 1000 * MS);
    memset(w.data_cut, 0, sizeof(w.data_cut));
    assert_true(world_settle(&w, 3, 2000 * MS));
    assert_int_equal(world_sequencer(&w), 1);
    world_end(&w);
}

/* The sequencer is heard and hears nobody: it says that it is stuck, another one is elected, and it stays so. */
static void test_deaf_sequencer(void **state)
{
    uint64_t epoch;

    (void)state;
    opened(3, 3);
    w.data_cut[2][1] = w.data_cut[3][1] = true;
    world_run(&w, 2500 * MS);
    assert_true(world_sequencer(&w) == 2 || world_sequencer(&w) == 3);
    epoch = w.node[world_sequencer(&w)].dp.epoch;
    assert_int_equal(epoch, 2);
    world_run(&w, 3000 * MS);
    assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, epoch);
    w.data_cut[2][1] = w.data_cut[3][1] = false;
    assert_true(world_settle(&w, 3, 500 * MS));
    assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, epoch);
    world_end(&w);
}

/* A voter's ctrl dies between the durable promise and its vote. It remembers the promise and votes again. */
static void test_voter_restarts(void **state)
{
    (void)state;
    opened(3, 3);
    w.node[3].persist_ns = 400000;
    world_kill_dataplane(&w, 1);
    world_stop_ctrl(&w, 1);
    world_run(&w, 300000);
    w.node[3].persist_ns = 0;
    w.node[3].crash_on_persist = true;
    for (int i = 0; i < 100 && w.node[3].ctrl != NULL; i++)
        world_run(&w, 1 * MS);
    assert_null(w.node[3].ctrl);
    assert_int_equal(w.node[3].disk.promise, 2);
    world_start(&w, 3, false);
    world_start(&w, 1, false);
    world_run(&w, 3000 * MS);
    /* The dataplanes of two of three are gone: nobody guesses. */
    assert_int_equal(world_sequencer(&w), 0);
    assert_true(world_view(&w, 2).majority_lost);
    assert_true(said(2, "A MAJORITY OF THE VOTERS HAS LOST ITS MEMORY"));
    world_end(&w);
}

/* The same, but its dataplane goes on: the new ctrl takes it over and votes again. */
static void test_voter_ctrl_restarts(void **state)
{
    (void)state;
    opened(3, 3);
    world_crash(&w, 1);
    for (int i = 0; i < 2000 && w.node[3].disk.promise < 2; i++)
        world_run(&w, 50000);
    assert_int_equal(w.node[3].disk.promise, 2);
    world_stop_ctrl(&w, 3);
    world_run(&w, 30 * MS);
    world_start(&w, 3, true);
    assert_true(serves_within(400 * MS));
    assert_int_equal(w.node[3].spawned, 1);
    world_end(&w);
}

static void test_record_fails(void **state)
{
    (void)state;
    opened(3, 3);
    w.node[2].persist_fails = true;
    world_kill_dataplane(&w, 1);
    world_run(&w, 500 * MS);
    assert_int_equal(world_view(&w, 2).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(world_view(&w, 2).problem, "record cannot be written"));
    assert_false(w.node[2].dp.running);
    world_end(&w);
}

/* All at once, kept records: nobody has memory. */
static void test_majority_lost(void **state)
{
    (void)state;
    opened(3, 3);
    for (uint16_t node = 1; node <= 3; node++)
        world_crash(&w, node);
    for (uint16_t node = 1; node <= 3; node++)
        world_start(&w, node, false);
    world_run(&w, 3000 * MS);
    for (uint16_t node = 1; node <= 3; node++) {
        assert_true(world_view(&w, node).majority_lost);
        assert_int_equal(world_view(&w, node).phase, LS_CTRL_OUTSIDE);
        assert_int_equal(w.node[node].disk.promise, 1);
    }
    world_end(&w);
}

/* A minority without memory is brought in while the sequencer lives. */
static void test_followers_rejoin(void **state)
{
    (void)state;
    opened(3, 3);
    world_kill_dataplane(&w, 2);
    world_kill_dataplane(&w, 3);
    world_run(&w, 10 * MS);
    assert_true(world_settle(&w, 3, 1000 * MS));
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 1);
    assert_int_equal(world_view(&w, 1).admissions, 2);
    grow();
    world_end(&w);
}

/* The epoch changes while a node is being admitted: it begins again, at the new sequencer. */
static void test_rejoin_epoch_changes(void **state)
{
    (void)state;
    opened(5, 5);
    world_kill_dataplane(&w, 5);
    for (int i = 0; i < 200000 && world_view(&w, 5).phase != LS_CTRL_OUTSIDE; i++)
        world_run(&w, 10000);
    w.data_cut[1][5] = true; /* admitted, it hears nothing */
    for (int i = 0; i < 2000 && world_view(&w, 5).phase != LS_CTRL_JOINING; i++)
        world_run(&w, 10000);
    assert_int_equal(world_view(&w, 5).phase, LS_CTRL_JOINING);
    world_kill_dataplane(&w, 1);
    world_run(&w, 20 * MS);
    assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, 2);
    assert_true(world_settle(&w, 4, 1000 * MS));
    world_run(&w, 200 * MS);
    assert_int_equal(world_view(&w, 5).phase, LS_CTRL_FULL);
    assert_int_equal(w.node[5].disk.promise, 2);
    assert_int_equal(w.node[5].spawned, 2);
    world_end(&w);
}

/* The joiner has promised more than the cluster's epoch: the sequencer stands above it. */
static void test_rejoin_promise_above(void **state)
{
    (void)state;
    opened(3, 3);
    world_crash(&w, 3);
    w.node[3].disk.promise = 9;
    w.node[3].disk.vote = 3;
    world_start(&w, 3, false);
    assert_true(world_settle(&w, 3, 1000 * MS));
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 10);
    world_end(&w);
}

/* One joiner has promised more, and only with the other one's help can the sequencer stand above: that one is let in,
 * for a majority has promised no more. */
static void test_rejoin_beside_promise_above(void **state)
{
    (void)state;
    opened(4, 4);
    world_crash(&w, 2);
    world_crash(&w, 3);
    w.node[2].disk.promise = 9;
    w.node[2].disk.vote = 2;
    world_start(&w, 2, false);
    world_start(&w, 3, false);
    assert_true(world_settle(&w, 4, 1000 * MS));
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 10);
    world_end(&w);
}

static void test_rejoin_by_checkpoint(void **state)
{
    (void)state;
    opened(3, 3);
    w.node[3].checkpoint_fails = true;
    world_append(&w, 1, 50);
    world_run(&w, 5 * MS);
    w.node[1].dp.oldest = 40;
    w.node[2].dp.oldest = 40;
    world_kill_dataplane(&w, 3);
    world_run(&w, 800 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_JOINING);
    assert_true(said(3, "no checkpoint could be taken (the transfer broke)"));
    w.node[3].checkpoint_fails = false;
    assert_true(world_settle(&w, 3, 3000 * MS));
    assert_int_equal(w.node[3].checkpoints, 1);
    world_end(&w);
}

/* The others' logs have passed the checkpoint by the time it is restored. */
static void test_outrun(void **state)
{
    (void)state;
    opened(3, 3);
    world_append(&w, 1, 50);
    world_run(&w, 5 * MS);
    w.node[1].dp.oldest = w.node[2].dp.oldest = 40;
    world_kill_dataplane(&w, 3);
    for (int ms = 0; ms < 3000 && w.node[3].checkpoints == 0; ms++)
        world_run(&w, 1 * MS);
    w.data_cut[1][3] = true;
    world_append(&w, 1, 50);
    world_run(&w, 5 * MS);
    w.node[1].dp.oldest = w.node[2].dp.oldest = 90;
    w.data_cut[1][3] = false;
    world_run(&w, 300 * MS);
    assert_true(said(3, "raise limits.log_size"));
    assert_true(world_settle(&w, 3, 3000 * MS)); /* the load has ended: it catches up */
    assert_int_equal(w.node[3].checkpoints, 2);
    world_end(&w);
}

/* ctrl alone dies and comes back: nothing happens to anybody. */
static void test_takeover(void **state)
{
    (void)state;
    opened(3, 3);
    for (uint16_t node = 1; node <= 3; node++) {
        world_stop_ctrl(&w, node);
        world_run(&w, 300 * MS);
        world_start(&w, node, true);
        world_run(&w, 50 * MS);
        assert_int_equal(world_view(&w, node).phase, LS_CTRL_FULL);
        assert_int_equal(w.node[node].spawned, 1);
        assert_int_equal(world_sequencer(&w), 1);
        assert_int_equal(w.node[1].dp.epoch, 1);
        grow();
    }
    world_end(&w);
}

static void test_takeover_refused(void **state)
{
    (void)state;
    opened(3, 3);
    world_stop_ctrl(&w, 3);
    w.node[3].disk.incarnation++;
    world_start(&w, 3, true);
    world_run(&w, 10 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(world_view(&w, 3).problem, "second lockstep-dataplane"));
    world_stop_ctrl(&w, 3);
    world_end(&w);

    opened(3, 3);
    world_stop_ctrl(&w, 3);
    w.node[3].disk.promise = 0;
    world_start(&w, 3, true);
    world_run(&w, 10 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(world_view(&w, 3).problem, "rolled back"));
    world_end(&w);

    opened(3, 3);
    world_stop_ctrl(&w, 3);
    w.node[3].disk.counts = 0;
    world_isolate(&w, 3, true, false, true);
    world_start(&w, 3, true);
    world_run(&w, 10 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(world_view(&w, 3).problem, "does not know of it"));
    world_end(&w);
}

/* The record is gone, or older than what the others remember: never under the same id again. */
static void test_record_gone(void **state)
{
    (void)state;
    opened(3, 3);
    world_crash(&w, 3);
    world_record(&w, 3, true); /* bootstrap once more */
    world_start(&w, 3, false);
    world_run(&w, 100 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_int_equal(w.node[3].disk.promise, 0);
    world_crash(&w, 3);
    /* The others have forgotten what they knew of it: their committed log says enough. */
    for (uint16_t node = 1; node <= 2; node++) {
        world_stop_ctrl(&w, node);
        world_start(&w, node, true);
    }
    world_run(&w, 50 * MS);
    world_record(&w, 3, true);
    world_start(&w, 3, false);
    world_run(&w, 100 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(world_view(&w, 3).problem, "made anew"));
    world_crash(&w, 3);
    for (uint16_t node = 1; node <= 2; node++) {
        world_stop_ctrl(&w, node);
        world_start(&w, node, true);
    }
    world_run(&w, 50 * MS);
    world_record(&w, 3, false); /* as if it were a new member */
    world_start(&w, 3, false);
    world_run(&w, 100 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(world_view(&w, 3).problem, "never promised"));
    assert_int_equal(world_sequencer(&w), 1);
    world_end(&w);
}

static void test_rolled_back(void **state)
{
    struct ls_durable old;

    (void)state;
    opened(3, 3);
    old = w.node[3].disk;
    world_kill_dataplane(&w, 1);
    assert_true(world_settle(&w, 3, 500 * MS));
    world_crash(&w, 3);
    w.node[3].disk = old;
    world_start(&w, 3, false);
    world_run(&w, 100 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_non_null(strstr(world_view(&w, 3).problem, "rolled back"));
    world_end(&w);
}

/* A hung sequencer says so itself; the others do not wait for the detector, and it fences itself in the end. */
static void test_stall(void **state)
{
    (void)state;
    opened(3, 3);
    w.node[1].dp.hung = true;
    for (int i = 0; i < 100 && world_sequencer(&w) == 1; i++) {
        world_run(&w, MS);
        if (w.node[2].dp.role == LS_ROLE_SEQUENCER)
            break;
    }
    world_run(&w, 60 * MS);
    assert_int_equal(w.node[2].dp.role, LS_ROLE_SEQUENCER);
    world_run(&w, 3500 * MS);
    assert_true(said(1, "it is killed"));
    assert_true(world_settle(&w, 3, 1000 * MS));
    assert_int_equal(w.node[1].spawned, 2);
    world_end(&w);
}

/* A ctrl that gets no time suspects nobody when it wakes. */
static void test_late_detector(void **state)
{
    (void)state;
    opened(3, 3);
    for (int i = 0; i < 10; i++) {
        for (uint16_t node = 2; node <= 3; node++)
            w.node[node].late = true;
        world_run(&w, 150 * MS);
        for (uint16_t node = 2; node <= 3; node++)
            w.node[node].late = false;
        world_run(&w, 50 * MS);
    }
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 1);
    assert_int_equal(world_view(&w, 2).elections, 0);
    world_end(&w);
}

static void test_restart_back_off(void **state)
{
    (void)state;
    opened(3, 3);
    for (int i = 0; i < 4; i++) {
        world_kill_dataplane(&w, 3);
        world_run(&w, MS);
        assert_int_equal(world_view(&w, 3).phase, LS_CTRL_WAITING);
        assert_int_equal((world_view(&w, 3).restart_ns - w.now + 2 * MS) / (50 * MS), 1u << i);
        assert_true(world_settle(&w, 3, 1000 * MS));
    }
    assert_int_equal(world_view(&w, 3).restarts, 4);
    world_end(&w);
}

static void test_damaged(void **state)
{
    (void)state;
    opened(3, 3);
    w.node[1].dp.damaged = 1;
    world_run(&w, 100 * MS);
    assert_int_equal(world_sequencer(&w), 2);
    assert_true(world_settle(&w, 3, 1000 * MS));
    assert_int_equal(w.node[1].spawned, 2);
    assert_true(said(1, "damaged"));
    /* Not if the others are no majority without it. */
    world_crash(&w, 3);
    w.node[1].dp.damaged = 2;
    world_run(&w, 300 * MS);
    assert_int_equal(w.node[1].spawned, 2);
    assert_true(w.node[1].dp.running);
    world_end(&w);
}

/* How many of nodes 1 to 3 hold what they acknowledged. */
static uint32_t whole(void)
{
    uint32_t n = 0;

    for (uint16_t node = 1; node <= 3; node++)
        n += w.node[node].dp.running && w.node[node].dp.counts;
    return n;
}

/* Two of three at once are rebuilt one after the other: never is the memory of a majority gone. */
static void rebuilt_in_turn(uint64_t ns)
{
    for (uint64_t end = w.now + ns; w.now < end; world_run(&w, 20000))
        assert_true(whole() >= 2);
    for (uint16_t node = 1; node <= 2; node++)
        assert_int_equal(w.node[node].spawned, 2);
    assert_true(world_settle(&w, 3, 1000 * MS));
    grow();
}

static void test_two_damaged(void **state)
{
    (void)state;
    opened(3, 3);
    w.node[1].dp.damaged = w.node[2].dp.damaged = 1; /* found in the same moment */
    rebuilt_in_turn(2000 * MS);
    world_end(&w);

    opened(3, 3);
    w.data_cut[1][3] = true;
    world_append(&w, 1, 5);
    world_run(&w, 2 * MS);
    w.node[1].dp.damaged = w.node[2].dp.damaged = 1; /* and only they hold what was acknowledged last */
    for (int i = 0; i < 1000 && w.node[1].dp.running; i++)
        world_run(&w, MS);
    w.data_cut[1][3] = false;
    rebuilt_in_turn(3000 * MS);
    world_end(&w);

    opened(3, 3);
    world_crash(&w, 3);
    world_run(&w, 10 * MS);
    w.node[1].dp.damaged = w.node[2].dp.damaged = 1; /* both wait for the third one */
    world_run(&w, 300 * MS);
    assert_int_equal(w.node[1].spawned + w.node[2].spawned, 2);
    world_start(&w, 3, false);
    world_run(&w, 8 * MS);
    while (world_view(&w, 3).phase != LS_CTRL_FULL)
        world_run(&w, 20000);
    rebuilt_in_turn(2000 * MS);
    world_end(&w);
}

/* ctrl dies alone after its dataplane has found the damage: the next one looks at what was counted. */
static void test_damaged_takeover(void **state)
{
    (void)state;
    opened(3, 3);
    world_stop_ctrl(&w, 2);
    w.node[2].dp.damaged = 1;
    world_start(&w, 2, true);
    world_run(&w, 300 * MS);
    assert_true(world_settle(&w, 3, 1000 * MS));
    assert_int_equal(w.node[2].spawned, 2);
    world_end(&w);
}

/* What one sequencer sends halts all that follow it in the same moment. */
static void test_two_halted(void **state)
{
    (void)state;
    opened(3, 3);
    world_command(&w, 1, LS_COMMAND_SEQUENCER_MOVE, 3, 0, false, 1);
    world_run(&w, 20 * MS);
    assert_int_equal(world_sequencer(&w), 3);
    for (uint16_t node = 1; node <= 2; node++) {
        w.node[node].dp.role = LS_ROLE_HALTED;
        w.node[node].dp.halt = LS_HALT_LOG_DAMAGED;
    }
    rebuilt_in_turn(2000 * MS);
    world_end(&w);
}

/* The sequencer loses the data network alone: its ctrl still talks, stands above who stands against it, and wins. */
static void test_sequencer_without_data(void **state)
{
    (void)state;
    for (uint32_t stagger = 0; stagger < 40; stagger += getenv("LS_SANITIZED") != NULL ? 8 : 1) {
        opened(3, 3);
        world_run(&w, 3 * MS + stagger * 250000);
        world_isolate(&w, 1, false, true, true);
        /* as when the others' candidate is not elected at once: the old one has learned of its promise */
        world_link(&w, 2, 3, false);
        world_run(&w, 40 * MS);
        world_link(&w, 2, 3, true);
        world_run(&w, 4000 * MS);
        assert_int_not_equal(world_sequencer(&w), 0);
        assert_int_not_equal(world_sequencer(&w), 1);
        world_end(&w);
    }
}

static void test_drift(void **state)
{
    (void)state;
    opened(3, 3);
    world_append(&w, 1, 40);
    world_run(&w, 5 * MS);
    w.node[3].dp.digest_flip = 1;
    world_run(&w, 500 * MS);
    assert_int_equal(w.node[3].spawned, 2);
    assert_true(said(1, "state of node 3 differs"));
    assert_true(world_settle(&w, 3, 1000 * MS));
    world_end(&w);
}

/* Two of two differ: nobody can say who is wrong. */
static void test_drift_split(void **state)
{
    (void)state;
    opened(3, 3);
    world_crash(&w, 3);
    world_append(&w, 1, 40);
    world_run(&w, 5 * MS);
    w.node[2].dp.digest_flip = 1;
    world_run(&w, 1500 * MS);
    assert_false(said(1, "no majority of them agrees")); /* the third may yet judge */
    world_run(&w, 1000 * MS);
    assert_true(said(1, "no majority of them agrees"));
    assert_int_equal(w.node[1].spawned + w.node[2].spawned, 2);
    world_end(&w);
}

static void test_halted(void **state)
{
    (void)state;
    opened(3, 3);
    w.node[3].dp.role = LS_ROLE_HALTED;
    w.node[3].dp.halt = LS_HALT_LOG_DAMAGED;
    world_run(&w, 200 * MS);
    assert_int_equal(w.node[3].spawned, 2);
    assert_true(world_settle(&w, 3, 1000 * MS));
    w.node[3].dp.role = LS_ROLE_HALTED;
    w.node[3].dp.halt = LS_HALT_PARTING_BELOW_COMMIT;
    world_run(&w, 200 * MS);
    assert_int_equal(world_view(&w, 3).phase, LS_CTRL_REFUSED);
    assert_true(w.node[3].dp.running); /* to be read */
    world_end(&w);
}

/* A majority of ctrls cut off from each other: their dataplanes serve, and nothing moves. */
static void test_links_cut(void **state)
{
    (void)state;
    opened(3, 3);
    for (uint16_t node = 1; node <= 3; node++)
        world_isolate(&w, node, true, false, true);
    world_run(&w, 1000 * MS);
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 1);
    for (uint16_t node = 1; node <= 3; node++)
        world_isolate(&w, node, true, false, false);
    world_run(&w, 100 * MS);
    assert_int_equal(w.node[1].dp.epoch, 1);
    world_end(&w);
}

/* Epochs beyond anything a cluster can reach are refused by name. */
static void test_absurd_epoch(void **state)
{
    struct ls_control_header h = {
        .version = LS_CONTROL_VERSION, .type = LS_CONTROL_EPOCH_SEEN, .size = sizeof(struct ls_control_epoch)};
    struct ls_control_epoch seen = {.epoch = 1ull << 40, .node = 2};

    (void)state;
    opened(3, 3);
    ls_ctrl_dataplane_message(w.node[3].ctrl, &h, (const uint8_t *)&seen, w.now);
    world_run(&w, 10 * MS);
    assert_int_equal(w.node[3].disk.promise, 1);
    assert_non_null(strstr(world_view(&w, 3).problem, "no cluster gets so far ahead"));
    seen.epoch = 5;
    ls_ctrl_dataplane_message(w.node[3].ctrl, &h, (const uint8_t *)&seen, w.now);
    world_run(&w, 500 * MS);
    assert_true(w.node[3].disk.promise > 5); /* and the sequencer stood above it */
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 6);
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_first_election),
        cmocka_unit_test(test_sequencer_killed),
        cmocka_unit_test(test_founders_wait),
        cmocka_unit_test(test_one_node),
        cmocka_unit_test(test_sequencer_vanishes),
        cmocka_unit_test(test_no_split),
        cmocka_unit_test(test_split_vote),
        cmocka_unit_test(test_better_log_stands),
        cmocka_unit_test(test_one_way_loss),
        cmocka_unit_test(test_deaf_sequencer),
        cmocka_unit_test(test_stuck_and_needed),
        cmocka_unit_test(test_voter_restarts),
        cmocka_unit_test(test_voter_ctrl_restarts),
        cmocka_unit_test(test_record_fails),
        cmocka_unit_test(test_majority_lost),
        cmocka_unit_test(test_followers_rejoin),
        cmocka_unit_test(test_rejoin_epoch_changes),
        cmocka_unit_test(test_rejoin_promise_above),
        cmocka_unit_test(test_rejoin_beside_promise_above),
        cmocka_unit_test(test_rejoin_by_checkpoint),
        cmocka_unit_test(test_outrun),
        cmocka_unit_test(test_takeover),
        cmocka_unit_test(test_takeover_refused),
        cmocka_unit_test(test_record_gone),
        cmocka_unit_test(test_rolled_back),
        cmocka_unit_test(test_stall),
        cmocka_unit_test(test_late_detector),
        cmocka_unit_test(test_restart_back_off),
        cmocka_unit_test(test_damaged),
        cmocka_unit_test(test_two_damaged),
        cmocka_unit_test(test_damaged_takeover),
        cmocka_unit_test(test_two_halted),
        cmocka_unit_test(test_drift),
        cmocka_unit_test(test_drift_split),
        cmocka_unit_test(test_halted),
        cmocka_unit_test(test_sequencer_without_data),
        cmocka_unit_test(test_links_cut),
        cmocka_unit_test(test_absurd_epoch),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
