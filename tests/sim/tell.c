/* SPDX-License-Identifier: BSD-3-Clause */
/* What a script tells nodes that have no ctrl, and what becomes of their answers. */
#include <string.h>

#include "sim.h"

#define ORDERS_MAX (sizeof(((struct sim *)NULL)->order) / sizeof(((struct sim *)NULL)->order[0]))

void sim_tell(struct sim *sim, uint32_t index, const struct ls_order *order)
{
    uint32_t slot = 0;
    while (slot < ORDERS_MAX && sim->order[slot].used)
        slot++;
    if (slot == ORDERS_MAX)
        return;
    sim->order[slot] = (struct sim_order){
        .used = true, .node = (uint16_t)index, .incarnation = sim->node[index].incarnation, .order = *order};
    sim->order[slot].order.id = ++sim->script_id;
    sim_queue_push(&sim->queue, (struct sim_event){.time = sim->now + 1, .type = SIM_EVENT_ORDER, .argument = slot});
}

void sim_tell_arrives(struct sim *sim, uint32_t slot)
{
    struct sim_order *order = &sim->order[slot];
    struct sim_node *node = &sim->node[order->node];
    if (node->replica == NULL || node->incarnation != order->incarnation) {
        order->used = false;
        return; /* the process that it was meant for is gone */
    }
    if (!ls_spsc_push(&node->seam.orders, &order->order)) {
        sim_queue_push(&sim->queue,
                       (struct sim_event){.time = sim->now + SIM_MS, .type = SIM_EVENT_ORDER, .argument = slot});
        return;
    }
    order->used = false;
    if (order->order.kind != LS_ORDER_FOUND)
        SIM_TRACE(sim, "ctrl tells node %u to %s epoch %lu", node->id,
                  order->order.kind == LS_ORDER_SEAL     ? "seal at"
                  : order->order.kind == LS_ORDER_CHANGE ? "change the membership in"
                                                         : "open",
                  order->order.epoch);
    sim_node_wake_net(sim, node);
}

void sim_tell_events(struct sim *sim, struct sim_node *node)
{
    struct ls_event event;
    while (node->replica != NULL && ls_spsc_pop(&node->seam.events, &event)) {
        sim_check_event(sim, node, &event);
        if (event.kind == LS_EVENT_EPOCH_SEEN)
            sim_tell(sim, node->index, &(struct ls_order){.kind = LS_ORDER_SEAL, .epoch = event.epoch});
    }
}
