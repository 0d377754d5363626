/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Orders that no ctrl would give, given at the worst moment: a dataplane must refuse each of them by itself. Their
 * answers are for nobody. What a right dataplane may take after all (a spare node as learner) harms nobody.
 */
#include "sim.h"

#define STRAY_ID (1ull << 60)

static bool may(struct sim *sim, struct sim_node *node, uint32_t one_of)
{
    return sim->script == NULL && !sim->healed && ls_spsc_room(&node->seam.orders) > 0 &&
           sim_rng_below(&sim->rng_operator, one_of) == 0;
}

static void push(struct sim *sim, struct sim_node *node, struct ls_order *order, const char *what)
{
    order->id = STRAY_ID + ++sim->script_id;
    SIM_TRACE(sim, "n%u gets a stray order: %s", node->id, what);
    (void)ls_spsc_push(&node->seam.orders, order);
    sim_node_wake_net(sim, node);
}

/* The newest membership with one learner more. */
static bool change_draw(struct sim *sim, const struct sim_node *node, struct ls_order *order)
{
    const struct ls_membership *now = ls_log_members(node->log);
    if (now->count == 0 || now->count >= LS_MEMBERS_MAX)
        return false;
    uint32_t spare = sim_operator_spare(sim);
    if (spare == SIM_NONE)
        return false;
    *order =
        (struct ls_order){.kind = LS_ORDER_CHANGE, .epoch = node->view.epoch, .position = now->seq, .members = *now};
    order->members.member[order->members.count++] = sim_member(sim, spare, LS_MEMBER_LEARNER);
    return true;
}

/* Right behind an order of ctrl's, so that both are taken in one turn. */
void sim_stray_behind(struct sim *sim, struct sim_host *host, const struct ls_order *order)
{
    struct sim_node *node = &sim->node[host->index];
    struct ls_order stray;
    if (order->kind == LS_ORDER_JOIN && host->joins++ == 0 && may(sim, node, 8)) {
        stray = (struct ls_order){.kind = LS_ORDER_COUNT, .incarnation = node->incarnation};
        push(sim, node, &stray, "count, before anything is reached");
    } else if (order->kind == LS_ORDER_INSTALL && may(sim, node, 8) && change_draw(sim, node, &stray)) {
        stray.epoch = order->epoch;
        push(sim, node, &stray, "another membership, before the epoch is open");
    } else if (order->kind == LS_ORDER_SEAL && may(sim, node, 8)) {
        stray =
            (struct ls_order){.kind = LS_ORDER_INSTALL, .epoch = order->epoch, .incarnation = node->incarnation + 1};
        push(sim, node, &stray, "open the epoch, for another incarnation");
    }
}

/* After a turn of net: what must be refused as things stand now. */
void sim_stray_turn(struct sim *sim, struct sim_host *host)
{
    struct sim_node *node = &sim->node[host->index];
    const struct ls_log *log = node->log;
    struct ls_order stray;
    if (node->replica == NULL || sim->script != NULL || sim->healed)
        return;
    bool changing = log->memberships > 0 && log->membership[log->memberships - 1].end > node->view.commit;
    if (node->view.role == LS_ROLE_SEQUENCER && changing && may(sim, node, 4) && change_draw(sim, node, &stray)) {
        push(sim, node, &stray, "another membership, before the one before is committed");
    } else if ((node->view.role == LS_ROLE_FOLLOWER || node->view.role == LS_ROLE_SEALED) &&
               host->disk.promise == node->view.epoch && (!host->writing || host->next.promise == host->disk.promise) &&
               ls_spsc_is_empty(&node->seam.orders) && may(sim, node, 4000)) {
        stray = (struct ls_order){
            .kind = LS_ORDER_INSTALL, .epoch = node->view.epoch + 1, .incarnation = node->incarnation};
        push(sim, node, &stray, "open an epoch that it is not sealed at");
    } else if (node->counts && node->view.role == LS_ROLE_FOLLOWER && may(sim, node, 4000)) {
        sim_bulk_stray(sim, host);
    } else if (node->counts &&
               (node->view.role == LS_ROLE_UNVERIFIED || node->view.role == LS_ROLE_SEALED ||
                node->view.role == LS_ROLE_BEHIND) &&
               may(sim, node, 100)) {
        sim_bulk_stray(sim, host); /* what comes and is not older than its log is dropped on the way */
    }
}
