/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What control asks of the sequencer beside ordering: to admit a new incarnation of a member, to order another
 * membership, to hand the epoch's end over to another voter. Net thread.
 *
 * What must hold here: two incarnations of one node never count together, and a new one never by what the old one said
 * (M4); one change is in flight, behind a commit of this epoch (M1); neighbouring memberships differ by one voter, so
 * their majorities intersect (M2, E5).
 */
#include "replica_internal.h"

#include <errno.h>
#include <string.h>

/* ---- admitting ---- */

static uint32_t admit_check(const struct ls_replica *r, const struct ls_order *order)
{
    if (!ls_replica_is_sequencer(r) || order->epoch != r->epoch || order->incarnation != r->config.incarnation)
        return 1;
    uint32_t index = order->node <= LS_NODE_ID_MAX ? r->peer_of[order->node] : 0;
    if (index == 0)
        return 2;
    if (order->other == 0 || order->other < r->peer[index - 1].incarnation)
        return 3;
    return order->position > r->epoch ? 4 : 0;
}

void ls_change_replace(struct ls_replica *r, struct ls_peer *peer, uint64_t incarnation)
{
    *peer = (struct ls_peer){
        .node = peer->node, .voter = peer->voter, .addr = peer->addr, .incarnation = incarnation, .bound = true};
    atomic_store_explicit(&r->page->acked[peer->node], 0, memory_order_relaxed);
    atomic_store_explicit(&r->page->acked_seq[peer->node], 0, memory_order_relaxed);
}

/* In one step all that the old incarnation acknowledged is forgotten and the position to reach is named: whatever was
 * committed with the old one's help, or still could be, ends below it. */
static void admit(struct ls_replica *r, struct ls_peer *peer, uint64_t joining)
{
    if (peer->bound && peer->incarnation == joining)
        return; /* asked again: what this incarnation acknowledges is its own */
    if (ls_mutant(ADMIT_KEEPS_ACKS)) {
        peer->incarnation = joining;
        peer->bound = true;
        peer->parting_number = 0; /* it asks anew all the same */
        return;
    }
    ls_change_replace(r, peer, joining);
}

void ls_change_admit(struct ls_replica *r, const struct ls_order *order)
{
    uint32_t refused = admit_check(r, order);
    uint64_t reach = 0;
    if (refused == 0) {
        admit(r, &r->peer[r->peer_of[order->node] - 1], order->other);
        reach = ls_mutant(ADMIT_REACH_COMMIT) ? r->commit : r->log->end;
    }
    (void)ls_replica_event(r, &(struct ls_event){.kind = LS_EVENT_ADMITTED,
                                                 .id = order->id,
                                                 .epoch = r->epoch,
                                                 .last = reach,
                                                 .last_seq = order->other,
                                                 .node = order->node,
                                                 .code = refused});
}

/* ---- changing the membership ---- */

uint32_t ls_change_pack(const struct ls_membership *members, uint8_t *to)
{
    struct ls_entry_members head = {.members = (uint16_t)members->count};
    memcpy(to, &head, sizeof(head));
    ls_membership_write(members, (struct ls_member_record *)(to + sizeof(head)));
    return (uint32_t)(sizeof(head) + members->count * sizeof(struct ls_member_record));
}

static uint32_t change_check(const struct ls_replica *r, const struct ls_order *order, uint64_t now_ns)
{
    const struct ls_log *log = r->log;
    bool early = ls_mutant(CHANGE_EARLY);
    bool serving = r->role == LS_ROLE_SEQUENCER && r->commit >= r->epoch_end && r->handing == 0;
    if (order->epoch != r->epoch || !(serving || (early && ls_replica_is_sequencer(r))))
        return 1;
    if (order->position != ls_log_members(log)->seq)
        return 3;
    if (log->membership[log->memberships - 1].end > r->commit && !early && !ls_mutant(CHANGE_TWO))
        return 2;
    /* Before what cannot be written: it may hold no voter, or too many. */
    if (order->members.count > LS_MEMBERS_MAX)
        return 5;
    uint32_t step = ls_membership_step(ls_log_members(log), &order->members);
    if (step != 0)
        return step;
    if (!ls_membership_is_voter(&order->members, r->config.node))
        return 6;
    if (!ls_standing_is_well_formed(&order->members))
        return 8;
    return ls_sequencer_has_room(r, LS_MEMBERS_BYTES, now_ns) ? 0 : 7;
}

void ls_change_members(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns)
{
    uint32_t refused = change_check(r, order, now_ns);
    uint64_t seq = 0;
    if (refused == 0) {
        uint8_t bytes[LS_MEMBERS_BYTES];
        struct ls_entry header = {.kind = LS_ENTRY_MEMBERS};
        uint32_t length = ls_change_pack(&order->members, bytes);
        ls_sequencer_append(r, &header, bytes, length, now_ns);
        seq = r->log->last_seq;
    }
    (void)ls_replica_event(
        r, &(struct ls_event){
               .kind = LS_EVENT_CHANGED, .id = order->id, .epoch = r->epoch, .last_seq = seq, .code = refused});
}

/* ---- handing over ---- */

static uint32_t handover_check(const struct ls_replica *r, const struct ls_order *order)
{
    if (order->epoch != r->epoch || r->role != LS_ROLE_SEQUENCER)
        return ESTALE;
    if (r->handing != 0)
        return EBUSY;
    uint32_t index = order->node <= LS_NODE_ID_MAX ? r->peer_of[order->node] : 0;
    if (index == 0 || !r->peer[index - 1].voter)
        return ENOENT;
    const struct ls_peer *peer = &r->peer[index - 1];
    return peer->verified && peer->counts ? 0 : EAGAIN; /* it cannot be elected as it is */
}

void ls_change_handover(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns)
{
    uint32_t refused = handover_check(r, order);
    if (refused != 0) {
        ls_replica_done(r, order->id, refused);
        return;
    }
    r->handing = order->node;
    r->handed = false;
    r->handing_id = order->id;
    r->handing_ends = order->position < UINT64_MAX - now_ns ? now_ns + order->position : UINT64_MAX;
}

void ls_change_turn(struct ls_replica *r, uint64_t now_ns)
{
    if (r->handing == 0)
        return;
    uint32_t index = r->peer_of[r->handing];
    const struct ls_peer *peer = index == 0 ? NULL : &r->peer[index - 1];
    if (!r->handed && peer != NULL && peer->verified && peer->counts && peer->acked == r->log->end &&
        r->commit == r->log->end) {
        r->handed = true;
        (void)ls_replica_event(
            r, &(struct ls_event){.kind = LS_EVENT_HANDED, .id = r->handing_id, .epoch = r->epoch, .node = r->handing});
    }
    if (now_ns < r->handing_ends)
        return;
    /* No new epoch came: requests are taken again. */
    if (!r->handed)
        ls_replica_done(r, r->handing_id, ETIMEDOUT);
    r->handing = 0;
}

void ls_change_clear(struct ls_replica *r)
{
    if (r->handing != 0 && !r->handed)
        ls_replica_done(r, r->handing_id, ECANCELED);
    r->handing = 0;
    r->handed = false;
}
