/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A stand-in for ctrl on all nodes at once: omniscient and correct. It makes promises durable before it seals, seals a
 * majority, installs the one whose log is best among a majority's answers, under an epoch that is used once. It is
 * hasty on purpose: elections without need, overlapping ones, orders late and twice.
 */
#include <string.h>

#include "sim.h"

#define ELECTION_PATIENCE (30 * SIM_MS)
#define WATCH_EVERY       SIM_MS

static uint32_t majority(const struct sim *sim)
{
    return (sim->config.nodes - sim->config.learners) / 2 + 1;
}

static void order_send(struct sim *sim, const struct sim_node *node, enum ls_order_kind kind, uint64_t epoch,
                       uint64_t incarnation)
{
    struct sim_ctrl *ctrl = &sim->ctrl;
    uint32_t slot = 0;
    while (slot < sizeof(ctrl->order) / sizeof(ctrl->order[0]) && ctrl->order[slot].used)
        slot++;
    if (slot == sizeof(ctrl->order) / sizeof(ctrl->order[0]))
        return;
    ctrl->order[slot] = (struct sim_order){
        .used = true,
        .node = (uint16_t)node->index,
        .incarnation = node->incarnation,
        .order = {.id = ++ctrl->id, .epoch = epoch, .incarnation = incarnation, .kind = kind},
    };
    sim_queue_push(&sim->queue,
                   (struct sim_event){.time = sim->now + 1 + sim_rng_spread(&sim->rng_ctrl, sim->config.ctrl_ns),
                                      .type = SIM_EVENT_ORDER,
                                      .argument = slot});
}

void sim_ctrl_tell(struct sim *sim, uint32_t index, enum ls_order_kind kind, uint64_t epoch)
{
    struct sim_ctrl *ctrl = &sim->ctrl;
    if (epoch > ctrl->epoch_max)
        ctrl->epoch_max = epoch;
    if (ctrl->promise[index] < epoch)
        ctrl->promise[index] = epoch;
    order_send(sim, &sim->node[index], kind, epoch, sim->node[index].incarnation);
}

static void seal(struct sim *sim, uint32_t index, uint64_t epoch)
{
    if (sim->ctrl.promise[index] < epoch)
        sim->ctrl.promise[index] = epoch; /* durable first */
    order_send(sim, &sim->node[index], LS_ORDER_SEAL, epoch, 0);
    if (sim->script == NULL && sim_rng_below(&sim->rng_ctrl, 8) == 0)
        order_send(sim, &sim->node[index], LS_ORDER_SEAL, epoch, 0);
}

void sim_ctrl_order_arrives(struct sim *sim, uint32_t slot)
{
    struct sim_order *order = &sim->ctrl.order[slot];
    struct sim_node *node = &sim->node[order->node];
    order->used = false;
    if (node->replica == NULL || node->incarnation != order->incarnation)
        return; /* the process that it was meant for is gone */
    if (!ls_spsc_push(&node->seam.orders, &order->order)) {
        order->used = true;
        sim_queue_push(&sim->queue,
                       (struct sim_event){.time = sim->now + SIM_MS, .type = SIM_EVENT_ORDER, .argument = slot});
        return;
    }
    SIM_TRACE(sim, "ctrl tells node %u to %s epoch %lu", node->id,
              order->order.kind == LS_ORDER_SEAL ? "seal at" : "open", order->order.epoch);
    sim_node_wake_net(sim, node);
}

/* ---- what the dataplanes say ---- */

static void event_take(struct sim *sim, struct sim_node *node, const struct ls_event *event)
{
    struct sim_ctrl *ctrl = &sim->ctrl;
    switch (event->kind) {
    case LS_EVENT_SEALED:
        sim_check_sealed(sim, node, event);
        if (ctrl->electing && event->epoch == ctrl->epoch && node->voter && node->counts) {
            ctrl->answered |= 1u << node->index;
            ctrl->answer[node->index] =
                (struct sim_answer){.last_epoch = event->last_epoch, .last = event->last, .last_seq = event->last_seq};
        }
        break;
    case LS_EVENT_INSTALLED:
        ctrl->installs += event->code == 0;
        ctrl->refused += event->code != 0;
        sim->stats.install_refused[event->code < 8 ? event->code : 7]++;
        break;
    case LS_EVENT_EPOCH_SEEN:
        if (event->epoch > ctrl->epoch_max)
            sim_violate(sim, "O3", "node %u saw a sequencer of epoch %lu, which nobody asked for", node->id,
                        event->epoch);
        seal(sim, node->index, event->epoch);
        break;
    default:
        break;
    }
}

static void events_take(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        struct sim_node *node = &sim->node[i];
        struct ls_event event;
        while (node->replica != NULL && ls_spsc_pop(&node->seam.events, &event))
            event_take(sim, node, &event);
    }
}

/* ---- elections ---- */

void sim_ctrl_elect(struct sim *sim, uint32_t asked)
{
    struct sim_ctrl *ctrl = &sim->ctrl;
    /* With a careless ctrl the guard is what its sequencer remembers of the others in its epoch: both must stay. */
    if (sim->careless && sim_sequencer(sim) != SIM_NONE)
        return;
    ctrl->electing = true;
    ctrl->elections++;
    ctrl->epoch_max += 1 + (sim_rng_below(&sim->rng_ctrl, 8) == 0);
    ctrl->epoch = ctrl->epoch_max;
    ctrl->since = sim->now;
    ctrl->decide_at = 0;
    ctrl->answered = 0;
    SIM_TRACE(sim, "election of epoch %lu among %x", ctrl->epoch, asked);
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (asked >> i & 1)
            seal(sim, i, ctrl->epoch);
    }
}

static bool better(const struct sim_answer *a, const struct sim_answer *b)
{
    return a->last_epoch != b->last_epoch ? a->last_epoch > b->last_epoch : a->last > b->last;
}

static void decide(struct sim *sim)
{
    struct sim_ctrl *ctrl = &sim->ctrl;
    uint32_t best = SIM_NONE;
    uint32_t first = (uint32_t)sim_rng_below(&sim->rng_ctrl, sim->config.nodes);
    if (sim->careless && ctrl->decided)
        first = ctrl->sequencer;
    for (uint32_t k = 0; k < sim->config.nodes; k++) {
        uint32_t i = (first + k) % sim->config.nodes;
        if ((ctrl->answered >> i & 1) && (best == SIM_NONE || better(&ctrl->answer[i], &ctrl->answer[best])))
            best = i;
    }
    ctrl->electing = false;
    ctrl->decided = true;
    ctrl->sequencer = best;
    ctrl->leaderless_since = sim->now;
    const struct sim_node *node = &sim->node[best];
    SIM_TRACE(sim, "n%u is elected for epoch %lu by %x", node->id, ctrl->epoch, ctrl->answered);
    if (sim_rng_below(&sim->rng_ctrl, 8) == 0)
        order_send(sim, node, LS_ORDER_INSTALL, ctrl->epoch, node->incarnation + 1); /* must be refused */
    order_send(sim, node, LS_ORDER_INSTALL, ctrl->epoch, node->incarnation);
    if (sim_rng_below(&sim->rng_ctrl, 8) == 0)
        order_send(sim, node, LS_ORDER_INSTALL, ctrl->epoch, node->incarnation);
}

static bool eligible(const struct sim_node *node)
{
    return node->replica != NULL && node->voter && node->counts && !node->paused && !sim_gave_up(node);
}

static bool linked(const struct sim *sim, uint32_t a, uint32_t b)
{
    return !(sim->cut[a] >> b & 1) && !(sim->cut[b] >> a & 1);
}

/* Voters that this one can talk with, itself among them. */
static uint32_t circle(const struct sim *sim, uint32_t index)
{
    uint32_t mask = 0;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (eligible(&sim->node[i]) && (i == index || linked(sim, i, index)))
            mask |= 1u << i;
    }
    return mask;
}

uint32_t sim_sequencer(const struct sim *sim)
{
    uint32_t found = SIM_NONE;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        enum ls_role role = node->view.role;
        if (node->replica == NULL ||
            (role != LS_ROLE_OPENING && role != LS_ROLE_SEQUENCER && role != LS_ROLE_SUSPENDED))
            continue;
        if (found == SIM_NONE || node->view.epoch > sim->node[found].view.epoch)
            found = i;
    }
    return found;
}

static bool is_led(const struct sim *sim)
{
    uint32_t index = sim_sequencer(sim);
    if (index == SIM_NONE || !eligible(&sim->node[index]))
        return false;
    if ((uint32_t)__builtin_popcount(circle(sim, index)) < majority(sim))
        return false;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (sim->ctrl.promise[i] > sim->node[index].view.epoch && sim->node[i].counts)
            return false; /* it will not listen any more: stand above its promise */
    }
    return true;
}

static void elect_for_need(struct sim *sim)
{
    uint32_t first = (uint32_t)sim_rng_below(&sim->rng_ctrl, sim->config.nodes);
    for (uint32_t k = 0; k < sim->config.nodes; k++) {
        uint32_t i = (first + k) % sim->config.nodes;
        if (!eligible(&sim->node[i]))
            continue;
        uint32_t mask = circle(sim, i);
        if ((uint32_t)__builtin_popcount(mask) >= majority(sim)) {
            sim_ctrl_elect(sim, mask);
            return;
        }
    }
}

/* Any majority, whether it can talk with each other or not. */
static void elect_for_fun(struct sim *sim)
{
    uint32_t voters = sim->config.nodes - sim->config.learners;
    uint32_t wanted = (uint32_t)sim_rng_between(&sim->rng_ctrl, majority(sim), voters);
    uint32_t mask = 0;
    for (uint32_t tries = 0; tries < 32 && (uint32_t)__builtin_popcount(mask) < wanted; tries++) {
        uint32_t i = (uint32_t)sim_rng_below(&sim->rng_ctrl, voters);
        if (sim->node[i].counts)
            mask |= 1u << i;
    }
    sim_ctrl_elect(sim, mask);
}

void sim_ctrl_start(struct sim *sim)
{
    struct sim_ctrl *ctrl = &sim->ctrl;
    memset(ctrl, 0, sizeof(*ctrl));
    ctrl->actor.at = UINT64_MAX;
    ctrl->leaderless_since = 1;
    ctrl->elect_at = sim->config.elect_every_ns == 0
                         ? UINT64_MAX
                         : 5 * SIM_MS + sim_rng_spread(&sim->rng_ctrl, sim->config.elect_every_ns);
    if (sim->script == NULL)
        sim_plan(sim, &ctrl->actor, SIM_EVENT_CTRL, 0, 1000);
}

void sim_ctrl_turn(struct sim *sim)
{
    struct sim_ctrl *ctrl = &sim->ctrl;
    ctrl->actor.at = UINT64_MAX;
    events_take(sim);
    if (ctrl->electing) {
        bool enough = (uint32_t)__builtin_popcount(ctrl->answered) >= majority(sim);
        if (enough && ctrl->decide_at == 0)
            ctrl->decide_at = sim->now + sim_rng_spread(&sim->rng_ctrl, sim->config.ctrl_ns);
        if (sim->careless && ctrl->decided && !(ctrl->answered >> ctrl->sequencer & 1))
            enough = false;
        if (enough && sim->now >= ctrl->decide_at)
            decide(sim);
        else if (sim->now - ctrl->since > ELECTION_PATIENCE)
            ctrl->electing = false;
    }
    if (sim->script != NULL)
        return;
    if (is_led(sim))
        ctrl->leaderless_since = 0;
    else if (ctrl->leaderless_since == 0)
        ctrl->leaderless_since = sim->now;
    /* At the end it waits for what it began: haste would only begin it again. */
    uint64_t patience = sim->config.detect_ns + (sim->healed ? 20 * sim->config.ctrl_ns + 5 * SIM_MS : 0);
    if (!sim->healed && sim->now >= ctrl->elect_at) {
        ctrl->elect_at = sim->now + SIM_MS + sim_rng_spread(&sim->rng_ctrl, sim->config.elect_every_ns);
        elect_for_fun(sim);
    } else if (ctrl->leaderless_since != 0 && !ctrl->electing && sim->now - ctrl->leaderless_since >= patience) {
        ctrl->leaderless_since = sim->now;
        elect_for_need(sim);
    }
    sim_plan(sim, &ctrl->actor, SIM_EVENT_CTRL, 0, sim->now + WATCH_EVERY);
}
