/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Elections on busy machines, in a small world (world.h): slow disks, links and ctrls that get no time. Fail-over shall
 * take one epoch and one round, whoever notices first.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <peer_message.h>

#include "world.h"

static struct world w;

static void opened(uint16_t voters)
{
    world_begin(&w, voters, voters);
    for (uint16_t node = 1; node <= voters; node++)
        world_start(&w, node, false);
    assert_true(world_settle(&w, voters, 300 * MS));
    world_append(&w, world_sequencer(&w), 5);
    world_run(&w, 5 * MS);
}

/* Kills the sequencer's dataplane, or all of it; within how long another one serves in the next epoch. */
static void fail_over(bool all, uint64_t within_ns)
{
    uint16_t sequencer = world_sequencer(&w);
    uint64_t killed = w.now, epoch = w.node[sequencer].dp.epoch;

    if (all)
        world_crash(&w, sequencer);
    else
        world_kill_dataplane(&w, sequencer);
    while (w.now < killed + within_ns && world_sequencer(&w) == 0)
        world_run(&w, 20000);
    assert_int_not_equal(world_sequencer(&w), 0);
    assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, epoch + 1);
}

/* Disks that take as long as several places in the queue of candidates: the second one still waits for the first, and
 * two writes, one at the candidate and one at its voters, are all that is waited for. */
static void test_slow_disks(void **state)
{
    (void)state;
    for (uint16_t voters = 3; voters <= 5; voters++)
        for (uint64_t disk = 1; disk <= 12; disk++)
            for (int all = 0; all <= 1; all++) {
                opened(voters);
                for (uint16_t node = 1; node <= voters; node++)
                    w.node[node].persist_ns = disk * MS;
                fail_over(all, 2 * disk * MS + (all ? 40 : 2) * MS);
                world_end(&w);
            }
}

/* Each disk another one. */
static void test_uneven_disks(void **state)
{
    (void)state;
    for (uint64_t draw = 0; draw < 7 * 7 * 7; draw++) {
        opened(4);
        w.node[2].persist_ns = (1 + 2 * (draw % 7)) * MS;
        w.node[3].persist_ns = (1 + 2 * (draw / 7 % 7)) * MS;
        w.node[4].persist_ns = (1 + 2 * (draw / 49)) * MS;
        fail_over(draw % 2, 70 * MS);
        world_end(&w);
    }
}

/* Answers that take longer than a question's time are waited for longer and longer, not asked for again and again. */
static void test_slow_links(void **state)
{
    (void)state;
    opened(3);
    w.link_ns = 40 * MS;
    world_kill_dataplane(&w, 3);
    world_run(&w, 10 * MS);
    assert_true(world_settle(&w, 3, 2000 * MS));
    world_kill_dataplane(&w, 1);
    world_run(&w, 10 * MS);
    assert_true(world_settle(&w, 3, 5000 * MS));
    assert_int_not_equal(world_sequencer(&w), 1);
    world_end(&w);
}

/* The ctrls of these nodes are late at a reading, so that their detectors judge nothing for a while. */
static void late_once(uint16_t from, uint16_t to)
{
    for (uint16_t node = from; node <= to; node++)
        w.node[node].late = true;
    world_run(&w, 14 * MS);
    for (uint16_t node = from; node <= to; node++)
        w.node[node].late = false;
    world_run(&w, 1 * MS);
}

/* And so at each, until there is a sequencer. */
static void run_late(uint16_t from, uint16_t to, uint64_t ns)
{
    for (uint64_t end = w.now + ns; w.now < end && world_sequencer(&w) == 0;)
        late_once(from, to);
}

/* The candidate dies when its voters have promised, and they are all that is left of a majority. */
static void test_late_voters(void **state)
{
    (void)state;
    opened(5);
    for (uint16_t node = 3; node <= 5; node++)
        w.node[node].persist_ns = 5 * MS;
    late_once(3, 5);
    world_kill_dataplane(&w, 1);
    while (w.node[2].disk.promise < 2)
        world_run(&w, 20000);
    world_run(&w, 1 * MS);
    world_kill_dataplane(&w, 2);
    run_late(3, 5, 3000 * MS);
    assert_in_range(world_sequencer(&w), 3, 5);
    assert_true(world_settle(&w, 5, 2000 * MS));
    world_end(&w);
}

/* Nor does a node that was cut off stay the sequencer because those who miss it are late. */
static void test_late_followers(void **state)
{
    (void)state;
    opened(3);
    world_isolate(&w, 1, true, true, true);
    world_run(&w, 1 * MS);
    w.node[1].dp.role = LS_ROLE_SUSPENDED;
    run_late(2, 3, 3000 * MS);
    assert_in_range(world_sequencer(&w), 2, 3);
    world_isolate(&w, 1, true, true, false);
    assert_true(world_settle(&w, 3, 2000 * MS));
    world_end(&w);
}

static void vote_say(uint16_t from, uint16_t to, struct ls_peer_vote vote)
{
    struct {
        struct ls_peer_header header;
        struct ls_peer_vote vote;
    } LS_PACKED m = {.header = {.magic = LS_PEER_MAGIC,
                                .version = LS_PEER_VERSION,
                                .type = LS_PEER_VOTE,
                                .size = sizeof(m),
                                .generation = 1,
                                .cluster = 7,
                                .id = LS_CTRL_ID | 77,
                                .incarnation = w.node[from].disk.incarnation,
                                .from = from,
                                .to = to},
                     .vote = vote};

    assert_null(ls_ctrl_peer_message(w.node[to].ctrl, from, (const uint8_t *)&m, sizeof(m), w.now));
}

/* A repeated request that comes when the epoch is open, and one of a candidate that was not elected in it: the voter's
 * log is better by what that epoch has ordered since, and that is no reason to end it. */
static void test_late_request(void **state)
{
    struct ls_peer_vote vote = {.epoch = 2, .last_epoch = 1, .last = STEP};

    (void)state;
    opened(3);
    world_kill_dataplane(&w, 1);
    world_run(&w, 10 * MS);
    assert_true(world_settle(&w, 3, 500 * MS));
    assert_int_equal(world_sequencer(&w), 2);
    vote_say(2, 3, vote);
    world_run(&w, 100 * MS);
    vote_say(1, 3, vote);
    world_run(&w, 100 * MS);
    assert_int_equal(world_sequencer(&w), 2);
    assert_int_equal(w.node[2].dp.epoch, 2);
    assert_int_equal(w.node[3].disk.promise, 2);
    world_end(&w);
}

/* The clock was set back before this ctrl was started, and the dataplane answers what the one before it has asked. */
static void test_answer_to_another(void **state)
{
    struct ls_control_header h = {.version = LS_CONTROL_VERSION,
                                  .type = LS_CONTROL_SEALED,
                                  .id = UINT64_MAX,
                                  .size = sizeof(struct ls_control_sealed)};

    (void)state;
    opened(3);
    for (uint16_t node = 2; node <= 3; node++) {
        struct ls_control_sealed sealed = {.epoch = 1, .incarnation = w.node[node].disk.incarnation, .counts = 1};
        ls_ctrl_dataplane_message(w.node[node].ctrl, &h, (const uint8_t *)&sealed, w.now);
    }
    fail_over(false, 10 * MS);
    world_end(&w);
}

/* Each sequencer in turn hears nobody until it is stuck; then the third loses its memory as it opens. The two that are
 * left were stuck both: they do not go on waiting for each other. */
static void test_all_were_stuck(void **state)
{
    (void)state;
    opened(3);
    for (uint16_t deaf = 1; deaf <= 2; deaf++) {
        memset(w.data_cut, 0, sizeof(w.data_cut));
        assert_true(world_settle(&w, 3, 300 * MS)); /* all hold the same log */
        assert_int_equal(world_sequencer(&w), deaf);
        for (uint16_t node = 1; node <= 3; node++)
            w.data_cut[node][deaf] = node != deaf;
        for (int i = 0; i < 60000 && w.node[deaf + 1].dp.role != LS_ROLE_OPENING; i++)
            world_run(&w, MS / 10);
        assert_int_equal(w.node[deaf + 1].dp.role, LS_ROLE_OPENING);
        assert_non_null(strstr(w.node[deaf].said, "another one may try"));
    }
    memset(w.data_cut, 0, sizeof(w.data_cut));
    world_kill_dataplane(&w, 3);
    assert_true(world_settle(&w, 3, 2000 * MS));
    world_end(&w);
}

/* A status that says a promise, as a voter sends it who lost an election or is just electing somebody. */
static void promise_say(uint16_t from, uint16_t to, uint64_t promise)
{
    struct {
        struct ls_peer_header header;
        struct ls_peer_status status;
    } LS_PACKED m = {.header = {.magic = LS_PEER_MAGIC,
                                .version = LS_PEER_VERSION,
                                .type = LS_PEER_STATUS,
                                .size = sizeof(m),
                                .generation = 1,
                                .cluster = 7,
                                .incarnation = w.node[from].disk.incarnation,
                                .from = from,
                                .to = to},
                     .status = {.promise = promise, .flags = LS_PEER_ALIVE | LS_PEER_COUNTS | LS_PEER_FULL}};

    assert_null(ls_ctrl_peer_message(w.node[to].ctrl, from, (const uint8_t *)&m, sizeof(m), w.now));
}

/* A sequencer hears of a higher promise. While a majority acknowledges it, the election came to nothing: it stands
 * above at once, so that the node which lost it is heard again. */
static void test_stands_above_at_once(void **state)
{
    (void)state;
    opened(3);
    promise_say(3, 1, 2);
    world_run(&w, 5 * MS);
    assert_int_equal(w.node[1].disk.promise, 3);
    assert_true(world_settle(&w, 3, 100 * MS));
    assert_int_equal(world_sequencer(&w), 1);
    assert_int_equal(w.node[1].dp.epoch, 3);
    world_end(&w);
}

/* One that nobody acknowledges leaves a running election its time: it would depose whoever is being elected. */
static void test_leaves_an_election_its_time(void **state)
{
    (void)state;
    opened(3);
    for (uint16_t node = 2; node <= 3; node++) {
        w.data_cut[1][node] = w.data_cut[node][1] = true;
        w.node[node].persist_ns = 12 * MS;
    }
    for (int i = 0; i < 1000 && w.node[1].disk.promise == 1 && world_sequencer(&w) < 2; i++)
        world_run(&w, 1 * MS);
    assert_int_not_equal(world_sequencer(&w), 1);
    world_run(&w, 300 * MS);
    assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, 2);
    assert_true(w.node[1].disk.promise <= 2);
    world_end(&w);
}

/* The highest that is still believed leaves room to stand above it, also with voters who have promised less. */
static void test_highest_sane_epoch(void **state)
{
    uint64_t promise;

    (void)state;
    for (uint64_t half = 0; half < 2; half++) {
        opened(3);
        promise = 1 + ((1ull << 20) >> half);
        promise_say(3, 2, promise); /* a damaged node says so */
        world_kill_dataplane(&w, 1);
        world_run(&w, 10 * MS);
        assert_true(world_settle(&w, 3, 3000 * MS));
        assert_int_equal(w.node[world_sequencer(&w)].dp.epoch, half ? promise + 1 : 2);
        world_end(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_slow_disks),
        cmocka_unit_test(test_uneven_disks),
        cmocka_unit_test(test_late_voters),
        cmocka_unit_test(test_late_followers),
        cmocka_unit_test(test_slow_links),
        cmocka_unit_test(test_late_request),
        cmocka_unit_test(test_answer_to_another),
        cmocka_unit_test(test_highest_sane_epoch),
        cmocka_unit_test(test_all_were_stuck),
        cmocka_unit_test(test_stands_above_at_once),
        cmocka_unit_test(test_leaves_an_election_its_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
