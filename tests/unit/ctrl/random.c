/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Drawn faults on a small world (world.h checks safety all the time): deaths, cuts of links and data network, one way
 * too, ctrls that die alone, slow disks and links, damage, commands. In the end everything heals: then the cluster
 * serves again with all its members, or a majority has lost its memory and says so. One seed is one schedule:
 * `unit-ctrl-random SEED [N]`.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "world.h"

static struct world w;
static uint64_t state;

static uint32_t draw(uint32_t below)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (uint32_t)(state >> 11) % below;
}

static uint16_t any(uint16_t nodes)
{
    return (uint16_t)(1 + draw(nodes));
}

static void fault(uint16_t nodes, uint16_t voters)
{
    uint16_t a = any(nodes), b = any(nodes);

    switch (draw(15)) {
    case 0:
    case 1:
        world_kill_dataplane(&w, a);
        break;
    case 2:
        world_crash(&w, a);
        break;
    case 3:
        world_stop_ctrl(&w, a);
        break;
    case 4:
        if (a != b)
            w.data_cut[a][b] = true;
        break;
    case 5:
        if (a != b) {
            w.link_cut[a][b] = w.link_cut[b][a] = true;
            world_link(&w, a, b, false);
        }
        break;
    case 6:
        world_isolate(&w, a, draw(2), true, true);
        break;
    case 7:
        world_isolate(&w, a, true, true, false);
        break;
    case 8:
        w.node[a].persist_ns = 100000 * (1 + draw(50));
        break;
    case 9:
        w.node[a].dp.hung = w.node[a].dp.running && draw(2);
        break;
    case 10:
        if (w.node[a].ctrl != NULL)
            w.node[a].crash_on_persist = true;
        break;
    case 11:
        if (w.node[a].ctrl != NULL)
            world_command(&w, a, LS_COMMAND_SEQUENCER_MOVE, b, 0, false, 1);
        break;
    case 12:
        w.node[a].late = draw(2);
        break;
    case 13:
        w.node[a].dp.damaged += w.node[a].dp.running;
        break;
    default:
        if (w.node[a].ctrl == NULL)
            break;
        if (draw(2))
            world_command(&w, a, LS_COMMAND_MEMBER_ADD, 0, (uint16_t)(voters + 1), draw(2), 2);
        else
            world_command(&w, a, LS_COMMAND_MEMBER_REMOVE, (uint16_t)(voters + 1), 0, false, 3);
    }
    for (uint16_t node = 1; node <= nodes; node++)
        if (w.node[node].ctrl == NULL && draw(3) == 0)
            world_start(&w, node, w.node[node].dp.running);
    if (world_sequencer(&w) != 0 && w.node[world_sequencer(&w)].dp.last < ENTRIES - 200)
        world_append(&w, world_sequencer(&w), draw(3));
}

static void heal(uint16_t nodes)
{
    memset(w.data_cut, 0, sizeof(w.data_cut));
    memset(w.link_cut, 0, sizeof(w.link_cut));
    for (uint16_t node = 1; node <= nodes; node++) {
        w.node[node].dp.hung = w.node[node].late = w.node[node].crash_on_persist = false;
        w.node[node].persist_ns = 0;
        if (w.node[node].ctrl == NULL)
            world_start(&w, node, w.node[node].dp.running);
    }
    for (uint16_t a = 1; a <= nodes; a++)
        for (uint16_t b = 1; b < a; b++)
            world_link(&w, a, b, true);
}

/* Every member takes part. */
static bool whole(void)
{
    uint16_t sequencer = world_sequencer(&w);

    if (sequencer == 0)
        return false;
    for (uint32_t i = 0; i < w.node[sequencer].dp.members.count; i++) {
        uint16_t node = w.node[sequencer].dp.members.member[i].node;
        if (w.node[node].ctrl == NULL || world_view(&w, node).phase != LS_CTRL_FULL ||
            w.node[node].dp.commit != w.committed || w.node[node].dp.epoch != w.node[sequencer].dp.epoch)
            return false;
    }
    return true;
}

static void schedule(uint64_t seed)
{
    uint16_t voters, nodes;
    uint32_t faults;
    uint64_t epoch, end;
    bool lost = false;

    state = seed * 0x9e3779b97f4a7c15u + 1;
    voters = (uint16_t)(2 + draw(3));
    nodes = (uint16_t)(voters + 1);
    world_begin(&w, nodes, voters);
    w.link_ns = draw(3) == 0 ? draw(40) * MS : 0;
    for (uint16_t node = 1; node <= nodes; node++)
        world_start(&w, node, false);
    assert_true(world_settle(&w, voters, 1000 * MS));
    faults = 5 + draw(20);
    while (faults-- > 0) {
        fault(nodes, voters);
        world_run(&w, 1000ull * draw(draw(4) ? 5000 : 400000));
    }
    heal(nodes);
    end = w.now + 60000 * MS;
    while (w.now < end && !whole() && !lost) {
        world_run(&w, 10 * MS);
        for (uint16_t node = 1; node <= nodes; node++)
            lost = lost || (w.node[node].ctrl != NULL && world_view(&w, node).majority_lost);
    }
    if (!whole() && !lost) {
        for (uint16_t node = 1; node <= nodes; node++)
            printf("node %u: %s, role %s, epoch %lu, promise %lu: %s\n", node,
                   ls_ctrl_phase_name(world_view(&w, node).phase), ls_role_name(w.node[node].dp.role),
                   (unsigned long)w.node[node].dp.epoch, (unsigned long)w.node[node].disk.promise,
                   world_view(&w, node).problem);
        fail_msg("seed %lu: not whole a minute after everything healed", (unsigned long)seed);
    }
    if (!lost) { /* and it stays so, once the operator's last commands are done */
        world_run(&w, 1000 * MS);
        assert_int_not_equal(world_sequencer(&w), 0);
        epoch = w.node[world_sequencer(&w)].dp.epoch;
        world_run(&w, 2000 * MS);
        if (world_sequencer(&w) == 0 || w.node[world_sequencer(&w)].dp.epoch != epoch)
            fail_msg("seed %lu: the epoch changed in peace", (unsigned long)seed);
    }
    world_end(&w);
}

static uint64_t first = 1, count = 40;
static uint64_t at;

static void test_schedules(void **unused)
{
    (void)unused;
    for (at = first; at < first + count; at++) {
        if (count > 1000 && at % 100 == 0)
            printf("seed %lu\n", (unsigned long)at);
        schedule(at);
    }
}

static int said(void **unused)
{
    (void)unused;
    printf("seeds %lu to %lu, last one begun %lu\n", (unsigned long)first, (unsigned long)(first + count - 1),
           (unsigned long)(at < first + count ? at : at - 1));
    return 0;
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_teardown(test_schedules, said)};

    if (getenv("LS_SANITIZED") != NULL)
        count = 12;
    if (argc > 1) {
        first = strtoull(argv[1], NULL, 10);
        count = argc > 2 ? strtoull(argv[2], NULL, 10) : 1;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
