/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults: partitions, links cut one way, processes that stop for a while, crashes of dataplane, ctrl or both, networks
 * between ctrls that are cut, records that are lost. Several at once; all end when the schedule heals.
 */
#include <string.h>

#include "sim.h"

const char *sim_fault_name(enum sim_fault_kind kind)
{
    static const char *const name[SIM_FAULTS] = {
        "partition",       "one-way",    "isolated",   "bridge",     "pause",        "slow",        "lossy",
        "dataplane crash", "ctrl crash", "node crash", "ctrl pause", "ctrl network", "record lost", "disk"};
    return kind < SIM_FAULTS ? name[kind] : "?";
}

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

/* Half of the partitions cut the ctrls' network in the same way, for it is often the same one. */
static void cut_ctrls(struct sim *sim, struct sim_fault *fault)
{
    if (sim_rng_below(&sim->rng_faults, 2) == 0)
        return;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        fault->ctrl_cut[i] = fault->cut[i] & ((1u << SIM_NODES_MAX) - 1);
}

static void partition_ctrls(struct sim *sim, struct sim_fault *fault)
{
    uint32_t side = ends_random(sim) & ((1u << SIM_NODES_MAX) - 1);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        fault->ctrl_cut[i] = side >> i & 1 ? ~side : side;
}

static uint64_t away(struct sim *sim)
{
    return SIM_MS + sim_rng_spread(&sim->rng_faults, 15 * SIM_MS);
}

/* ---- disks ---- */

/* Errors end what the process has in memory. */
static bool may_fail(struct sim *sim, uint32_t node)
{
    if (sim->ledger.canon_seq == 0)
        return false; /* an empty log is opened by all voters together */
    if (sim->journal)
        return sim_may_crash(sim, node);
    /* It may be spared now, and when it fails: the voters stay who they are. */
    return sim->config.command_every_ns == 0 && sim_counts(sim, node) && sim_may_lose(sim, node);
}

static void disk_draw(struct sim *sim, struct sim_fault *fault)
{
    struct sim_rng *rng = &sim->rng_rot;
    struct ls_control_disk_fault *disk = &fault->disk;
    uint64_t kind = sim_rng_below(rng, 8);
    disk->seed = sim_rng_next(rng);
    if (kind < 4) {
        disk->delay = sim_rng_spread(rng, 10 * sim->config.disk_ns);
        disk->jitter = sim_rng_spread(rng, 10 * sim->config.disk_ns);
        disk->torn = kind < 2 ? 500000 : 0;
    } else if (kind == 4) {
        disk->hang = 1;
    } else if (!may_fail(sim, fault->node)) {
        disk->torn = 1000000;
    } else if (kind == 5) {
        disk->full = 1;
    } else {
        *(kind == 6 ? &disk->error : &disk->cut) = 1 + (uint32_t)sim_rng_below(rng, 200000);
    }
}

/* The newest of the faults at this disk, or none. */
void sim_fault_disk_set(struct sim *sim, uint32_t node)
{
    static const struct ls_control_disk_fault off;
    const struct sim_fault *newest = NULL;
    if (sim->node[node].disk_fault == NULL)
        return;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++) {
        const struct sim_fault *fault = &sim->fault[i];
        if (fault->until != 0 && fault->kind == SIM_FAULT_DISK && fault->node == node &&
            (newest == NULL || fault->since > newest->since))
            newest = fault;
    }
    (void)ls_disk_fault_set(sim->node[node].disk_fault, newest != NULL ? &newest->disk : &off);
    sim_node_wake_journal(sim, &sim->node[node]);
    if (newest != NULL && (newest->disk.error | newest->disk.cut | newest->disk.full) != 0)
        sim->node[node].disk.failed = true;
}

/* While a node is away its disk rots, or somebody puts an older copy in its place: it has lost its memory. */
static void disk_age(struct sim *sim, uint32_t index, bool may_lose)
{
    struct sim_disk *disk = &sim->node[index].disk;
    if (!sim->disk_faults || !may_lose || disk->rotten || sim_rng_below(&sim->rng_rot, 4) != 0)
        return;
    sim->node[index].disk_once = sim->node[index].disk_seq;
    if (sim_rng_below(&sim->rng_rot, 2) == 0)
        sim->stats.disks_rotten += sim_disk_rot(disk, index);
    else
        sim->stats.disks_old += sim_disk_roll_back(disk);
    SIM_TRACE(sim, "n%u: its disk is %s", index + 1, disk->rotten ? "rotten" : "an older one");
}

/* ---- crashes ---- */

/* What is in memory goes. More losses than the majority allows are out of the promise: a schedule that makes them on
 * purpose demands that the cluster stops. */
static void crash(struct sim *sim, uint32_t index, enum sim_fault_kind kind)
{
    struct sim_host *host = &sim->host[index];
    if (!host->on)
        return;
    if (kind == SIM_FAULT_CRASH_CTRL) {
        sim_host_ctrl_ends(sim, host, away(sim));
        return;
    }
    if (!sim_may_crash(sim, index)) {
        if (!sim->config.disaster || sim->journal || sim->ledger.canon_seq == 0)
            return;
        /* Then the sequencer goes with it: who leads still knows everything. */
        for (uint32_t i = 0; i < sim->config.nodes; i++) {
            if (i == sim_sequencer(sim))
                sim_host_dataplane_ends(sim, &sim->host[i], "it crashed");
        }
    }
    sim->stats.crashes++;
    bool may_lose = sim_counts(sim, index) && sim_may_lose(sim, index);
    if (kind == SIM_FAULT_CRASH_DATAPLANE)
        sim_host_dataplane_ends(sim, host, "it crashed");
    else
        sim_host_crash(sim, host, away(sim));
    if (kind == SIM_FAULT_CRASH_NODE)
        disk_age(sim, index, may_lose);
    sim_check_lost(sim);
}

/* Everywhere at once; those come back in any order. */
static void power_fails(struct sim *sim)
{
    SIM_TRACE(sim, "power fails");
    sim->stats.power++;
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        if (sim->host[i].on)
            crash(sim, i, SIM_FAULT_CRASH_NODE);
}

/* The record goes, and somebody makes it anew, or puts a copy of an older one in its place. */
static void record_lose(struct sim *sim, uint32_t index)
{
    struct sim_host *host = &sim->host[index];
    if (!host->on || host->forged || host->disk.promise == 0 || !sim_may_lose(sim, index))
        return;
    /* Who founded alone and is cut off has nobody who could contradict it. */
    if (index < sim->config.founders && sim->config.founders - sim->config.learners == 1)
        return;
    /* What a learner promised counts nowhere: one that nobody remembers may as well be new. */
    if (!(sim_voters(sim) >> index & 1))
        return;
    /* A node that is gone for good is one voter less for ever. */
    uint32_t forged = 0;
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        forged += sim->host[i].forged;
    if (forged > 0 || __builtin_popcount(sim_voters(sim)) < 3)
        return;
    /* The first commit of all needs every voter: whoever leads next must know of it. */
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        bool knows = node->view.commit > 0 && (!sim->journal || atomic_load(&node->seam.marked) > 0);
        if ((sim_voters(sim) >> i & 1) && !knows)
            return;
    }
    SIM_TRACE(sim, "n%u: its record is lost and bootstrapped again", index + 1);
    sim_host_crash(sim, host, away(sim));
    sim_host_bootstrap(sim, host);
    host->forged = true;
    sim->node[index].promised = 0; /* it may be started: it may not take part */
}

/* Who stands still for longer than ctrl's patience is killed: that is a loss of memory like another. */
static void pause_bound(struct sim *sim, struct sim_fault *fault)
{
    struct sim_node *node = &sim->node[fault->node];
    uint64_t most = sim->now + sim->config.times.stall_kill / 2;
    if (fault->until > most && !node->paused && sim_may_lose(sim, fault->node)) {
        node->doomed = true;
        return;
    }
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++) {
        const struct sim_fault *other = &sim->fault[i];
        if (other != fault && other->until != 0 && other->kind == SIM_FAULT_PAUSE && other->node == fault->node)
            most = other->until;
    }
    if (fault->until > most)
        fault->until = most;
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
    for (uint32_t i = 0; i < SIM_FAULTS; i++)
        total += c->fault_weight[i];
    if (total == 0)
        return;
    uint32_t draw = (uint32_t)sim_rng_below(&sim->rng_faults, total);
    uint32_t kind = 0;
    while (draw >= c->fault_weight[kind])
        draw -= c->fault_weight[kind++];
    uint32_t node = (uint32_t)sim_rng_below(&sim->rng_faults, c->nodes);
    uint32_t sequencer = sim_sequencer(sim);
    if (sequencer != SIM_NONE && kind != SIM_FAULT_RECORD && sim_rng_below(&sim->rng_faults, 2) == 0)
        node = sequencer;
    memset(fault, 0, sizeof(*fault));
    fault->kind = (enum sim_fault_kind)kind;
    fault->node = node;
    fault->since = sim->now;
    fault->until = sim->now + SIM_MS + sim_rng_spread(&sim->rng_faults, c->fault_ns);
    sim->stats.faults[kind]++;
    SIM_TRACE(sim, "fault: %s at node %u until %lu", sim_fault_name(fault->kind), node + 1, fault->until);
    switch (fault->kind) {
    case SIM_FAULT_PARTITION:
        partition(sim, fault);
        cut_ctrls(sim, fault);
        break;
    case SIM_FAULT_ONE_WAY:
        one_way(sim, fault, node);
        break;
    case SIM_FAULT_ISOLATE:
        cut_between(fault, 1u << node, ~(1u << node));
        cut_ctrls(sim, fault);
        break;
    case SIM_FAULT_BRIDGE:
        bridge(sim, fault, node);
        cut_ctrls(sim, fault);
        break;
    case SIM_FAULT_PAUSE:
        pause_bound(sim, fault);
        if (sim_rng_below(&sim->rng_faults, 2) == 0)
            sim->host[node].paused_until = fault->until; /* the whole machine */
        sim_node_pause(sim, &sim->node[node], true);
        break;
    case SIM_FAULT_SLOW:
        sim->node[node].slow_ns = 500 * SIM_US;
        break;
    case SIM_FAULT_LOSSY:
        break;
    case SIM_FAULT_CRASH_DATAPLANE:
    case SIM_FAULT_CRASH_CTRL:
    case SIM_FAULT_CRASH_NODE:
        fault->until = 0;
        if (sim->journal && sim->ledger.canon_seq > 0 && sim_rng_below(&sim->rng_disk, 3) == 0)
            power_fails(sim);
        crash(sim, node, fault->kind);
        break;
    case SIM_FAULT_PAUSE_CTRL:
        sim->host[node].paused_until = fault->until;
        break;
    case SIM_FAULT_CTRL_NET:
        partition_ctrls(sim, fault);
        break;
    case SIM_FAULT_RECORD:
        fault->until = 0;
        record_lose(sim, node);
        break;
    case SIM_FAULT_DISK:
        disk_draw(sim, fault);
        sim_fault_disk_set(sim, node);
        break;
    case SIM_FAULTS:
        break;
    }
}

static void end(struct sim *sim, struct sim_fault *fault)
{
    fault->until = 0;
    SIM_TRACE(sim, "fault ends: %s at node %u", sim_fault_name(fault->kind), fault->node + 1);
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
    if (fault->kind == SIM_FAULT_DISK)
        sim_fault_disk_set(sim, fault->node);
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

/* The sequencer is cut off, or dies, with an entry in its log that hardly anybody else has. */
void sim_fault_now(struct sim *sim, uint32_t node)
{
    if (sim->healed || sim->script != NULL || sim->config.fault_every_ns == 0 || sim->config.command_every_ns == 0 ||
        sim_rng_below(&sim->rng_faults, 2) == 0)
        return;
    struct sim_fault *fault = NULL;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX && fault == NULL; i++)
        fault = sim->fault[i].until == 0 ? &sim->fault[i] : NULL;
    if (fault == NULL)
        return;
    memset(fault, 0, sizeof(*fault));
    fault->kind = SIM_FAULT_PARTITION;
    fault->node = node;
    fault->until = sim->now + SIM_MS + sim_rng_spread(&sim->rng_faults, sim->config.fault_ns);
    uint32_t nodes = (1u << sim->config.nodes) - 1;
    uint32_t with = (ends_random(sim) & ends_random(sim) & nodes) | 1u << node;
    cut_between(fault, with, nodes & ~with);
    cut_ctrls(sim, fault);
    SIM_TRACE(sim, "fault: node %u and %x are cut off until %lu", node + 1, with, fault->until);
    sim_net_cuts_update(sim);
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
    sim->healed_at = sim->now;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (sim->host[i].paused_until > sim->now)
            sim->host[i].paused_until = sim->now;
    }
    sim_net_cuts_update(sim);
}
