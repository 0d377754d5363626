/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults that last: partitions, links cut one way, processes that stop for a while or lose their memory. Several at
 * once; all end when the schedule heals.
 */
#include <string.h>

#include "sim.h"

static uint32_t ends_random(struct sim *sim)
{
    return (uint32_t)sim_rng_next(&sim->rng_faults);
}

static void cut_between(struct sim_fault *fault, uint32_t a, uint32_t b)
{
    for (uint32_t end = 0; end < SIM_ENDS_MAX; end++) {
        if (a >> end & 1)
            fault->cut[end] |= b;
        if (b >> end & 1)
            fault->cut[end] |= a;
    }
}

static void partition(struct sim *sim, struct sim_fault *fault)
{
    uint32_t side = ends_random(sim);
    /* Clients stand on either side, or see both. */
    if (sim_rng_below(&sim->rng_faults, 2) == 0)
        cut_between(fault, side & ((1u << SIM_NODES_MAX) - 1), ~side & ((1u << SIM_NODES_MAX) - 1));
    else
        cut_between(fault, side, ~side);
}

static void bridge(struct sim *sim, struct sim_fault *fault, uint32_t node)
{
    uint32_t nodes = (1u << sim->config.nodes) - 1;
    uint32_t side = ends_random(sim) & nodes & ~(1u << node);
    cut_between(fault, side, nodes & ~side & ~(1u << node));
}

static void one_way(struct sim *sim, struct sim_fault *fault, uint32_t node)
{
    uint32_t nodes = (1u << sim->config.nodes) - 1;
    uint32_t others = ends_random(sim) & nodes & ~(1u << node);
    if (sim_rng_below(&sim->rng_faults, 2) == 0) {
        fault->cut[node] |= others;
        return;
    }
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (others >> i & 1)
            fault->cut[i] |= 1u << node;
    }
}

static uint32_t voters_counting(const struct sim *sim)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        n += sim->node[i].voter && sim->node[i].counts;
    return n;
}

static uint32_t losses(const struct sim *sim)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        n += sim->node[i].losses;
    return n;
}

/* More losses than the majority allows are out of the promise. */
static void restart(struct sim *sim, uint32_t index)
{
    struct sim_node *node = &sim->node[index];
    uint32_t voters = sim->config.nodes - sim->config.learners;
    bool careless = sim->careless;
    if (losses(sim) >= sim->config.losses_max || node->replica == NULL)
        return;
    /* An empty log needs all voters: whoever is lost before ends the schedule. Not too many of those. */
    if (sim->ledger.canon_seq == 0 && sim_rng_below(&sim->rng_faults, 4) != 0)
        return;
    if (node->voter && node->counts && voters_counting(sim) - 1 < voters / 2 + 1)
        return;
    if (careless) {
        /* Nobody tells the node that it lost its memory. Its sequencer knows the old incarnation, and must notice. */
        uint32_t sequencer = sim_sequencer(sim);
        if (sequencer == SIM_NONE || sequencer == index || !node->voter ||
            atomic_load(&sim->node[sequencer].page.acked[node->id]) == 0)
            return;
    }
    node->losses++;
    sim_node_stop(sim, node);
    sim_node_start(sim, index, true, careless);
}

static void begin(struct sim *sim)
{
    const struct sim_config *c = &sim->config;
    struct sim_fault *fault = NULL;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX && fault == NULL; i++)
        fault = sim->fault[i].until == 0 ? &sim->fault[i] : NULL;
    if (fault == NULL)
        return;
    uint32_t total = 0;
    for (uint32_t i = 0; i < 8; i++)
        total += c->fault_weight[i];
    if (total == 0)
        return;
    uint32_t draw = (uint32_t)sim_rng_below(&sim->rng_faults, total);
    uint32_t kind = 0;
    while (draw >= c->fault_weight[kind])
        draw -= c->fault_weight[kind++];
    uint32_t node = (uint32_t)sim_rng_below(&sim->rng_faults, c->nodes);
    uint32_t sequencer = sim_sequencer(sim);
    if (sequencer != SIM_NONE && kind != SIM_FAULT_RESTART && sim_rng_below(&sim->rng_faults, 2) == 0)
        node = sequencer;
    memset(fault, 0, sizeof(*fault));
    fault->kind = (enum sim_fault_kind)kind;
    fault->node = node;
    fault->until = sim->now + SIM_MS + sim_rng_spread(&sim->rng_faults, c->fault_ns);
    sim->stats.faults[kind]++;
    SIM_TRACE(sim, "fault %u at node %u until %lu", kind, node + 1, fault->until);
    switch (fault->kind) {
    case SIM_FAULT_PARTITION:
        partition(sim, fault);
        break;
    case SIM_FAULT_ONE_WAY:
        one_way(sim, fault, node);
        break;
    case SIM_FAULT_ISOLATE:
        cut_between(fault, 1u << node, ~(1u << node));
        break;
    case SIM_FAULT_BRIDGE:
        bridge(sim, fault, node);
        break;
    case SIM_FAULT_PAUSE:
        sim_node_pause(sim, &sim->node[node], true);
        break;
    case SIM_FAULT_SLOW:
        sim->node[node].slow_ns = 500 * SIM_US;
        break;
    case SIM_FAULT_LOSSY:
        break;
    case SIM_FAULT_RESTART:
        fault->until = 0;
        restart(sim, node);
        break;
    }
}

static void end(struct sim *sim, struct sim_fault *fault)
{
    fault->until = 0;
    SIM_TRACE(sim, "fault %u at node %u ends", fault->kind, fault->node + 1);
    bool paused = false, slow = false;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++) {
        const struct sim_fault *other = &sim->fault[i];
        if (other->until != 0 && other->node == fault->node) {
            paused |= other->kind == SIM_FAULT_PAUSE;
            slow |= other->kind == SIM_FAULT_SLOW;
        }
    }
    struct sim_node *node = &sim->node[fault->node];
    if (!slow)
        node->slow_ns = 0;
    if (!paused && node->paused)
        sim_node_pause(sim, node, false);
}

void sim_fault_start(struct sim *sim)
{
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        sim->node[i].slow_ns = 0;
    if (sim->config.fault_every_ns > 0)
        sim_queue_push(&sim->queue, (struct sim_event){.time = 3 * SIM_MS + sim_rng_spread(&sim->rng_faults,
                                                                                           sim->config.fault_every_ns),
                                                       .type = SIM_EVENT_FAULT});
}

void sim_fault_turn(struct sim *sim)
{
    if (sim->healed)
        return;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++) {
        if (sim->fault[i].until != 0 && sim->fault[i].until <= sim->now)
            end(sim, &sim->fault[i]);
    }
    if (sim->now >= sim->fault_at) {
        begin(sim);
        sim->fault_at = sim->now + 100 * SIM_US + sim_rng_spread(&sim->rng_faults, sim->config.fault_every_ns);
    }
    sim_net_cuts_update(sim);
    uint64_t next = sim->fault_at;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++) {
        if (sim->fault[i].until != 0 && sim->fault[i].until < next)
            next = sim->fault[i].until;
    }
    sim_queue_push(&sim->queue, (struct sim_event){.time = next, .type = SIM_EVENT_FAULT});
}

void sim_heal(struct sim *sim)
{
    SIM_TRACE(sim, "all faults end");
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++) {
        if (sim->fault[i].until != 0)
            end(sim, &sim->fault[i]);
    }
    sim->healed = true;
    sim_net_cuts_update(sim);
}
