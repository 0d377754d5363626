/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who takes part: this node's own standing (outside, joining, counting), and the table of the other members, which
 * follows the log's newest membership in the same step as the log changes. Net thread.
 *
 * What must hold here: a new incarnation counts only as a founder, whose empty log is right, or after it has held,
 * verified, what the sequencer that admitted it named (C5, C6); membership has no other source than the log once the
 * log has one (M3, M6).
 */
#include "replica_internal.h"

#include <errno.h>
#include <string.h>

#define EVENTS_SPARE 8 /* places of the queue that are left to answers */

enum ls_role ls_standing_rest(const struct ls_replica *r)
{
    return r->counts ? LS_ROLE_SEALED : LS_ROLE_OUTSIDE;
}

const struct ls_membership *ls_standing_members(const struct ls_replica *r)
{
    const struct ls_membership *members = ls_log_members(r->log);
    if (ls_mutant(MEMBERS_LAG)) {
        uint32_t i = r->log->memberships;
        while (i > 1 && r->log->membership[i - 1].end > r->commit)
            i--;
        members = i > 0 ? &r->log->membership[i - 1].members : members;
    }
    return members->count > 0 ? members : &r->joined;
}

static void peers_tell(struct ls_replica *r)
{
    struct ls_addr addr[LS_MEMBERS_MAX];
    if (r->io->peers == NULL)
        return;
    for (uint32_t i = 0; i < r->peers; i++)
        addr[i] = r->peer[i].addr;
    r->io->peers(r->io, addr, r->peers);
}

/* What is known of a node is kept by its id. Of one that is no member any more, too: it may be taken back while it
 * still follows this epoch, verified, and would never ask again; and its older incarnations must not be taken for it.
 */
static void peers_follow(struct ls_replica *r, const struct ls_membership *members)
{
    struct ls_peer before[LS_MEMBERS_MAX];
    uint8_t before_of[LS_NODE_ID_MAX + 1];
    memcpy(before, r->peer, r->peers * sizeof(before[0]));
    memcpy(before_of, r->peer_of, sizeof(before_of));
    for (uint32_t i = 0; i < r->peers; i++) {
        atomic_store_explicit(&r->page->acked[r->peer[i].node], 0, memory_order_relaxed);
        if (ls_membership_find(members, r->peer[i].node) == NULL)
            r->left[r->peer[i].node] = r->peer[i];
    }
    memset(r->peer_of, 0, sizeof(r->peer_of));
    r->peers = r->voters = 0;
    r->member = r->voter = false;
    for (uint32_t i = 0; i < members->count; i++) {
        const struct ls_member *m = &members->member[i];
        bool voter = m->role == LS_MEMBER_VOTER || ls_mutant(LEARNER_COUNTS);
        r->voters += voter;
        if (m->node == r->config.node) {
            r->member = true;
            r->voter = voter;
            continue;
        }
        struct ls_peer *peer = &r->peer[r->peers++];
        *peer = before_of[m->node] != 0 ? before[before_of[m->node] - 1] : r->left[m->node];
        peer->node = m->node;
        peer->voter = voter;
        peer->addr = m->addr;
        r->peer_of[m->node] = (uint8_t)r->peers;
        atomic_store_explicit(&r->page->acked[m->node], peer->acked, memory_order_relaxed);
    }
    peers_tell(r);
}

void ls_standing_follow(struct ls_replica *r)
{
    if (r->members_change == r->log->memberships_changes && !ls_mutant(MEMBERS_LAG))
        return;
    r->members_change = r->log->memberships_changes;
    peers_follow(r, ls_standing_members(r));
    r->disks = 0;
    r->acks_changed = true;       /* another majority may hold what the old one did not */
    r->view_due = r->view_opened; /* clients are told of a change, once the epoch is open */
    r->view_next = 0;
}

/* ---- orders ---- */

bool ls_standing_is_well_formed(const struct ls_membership *members)
{
    struct ls_member_record record[LS_MEMBERS_MAX];
    struct ls_membership back;
    if (members->count > LS_MEMBERS_MAX)
        return false;
    ls_membership_write(members, record);
    return ls_membership_read(&back, record, members->count);
}

static bool names_self(const struct ls_replica *r, const struct ls_membership *members)
{
    return ls_standing_is_well_formed(members) && ls_membership_find(members, r->config.node) != NULL;
}

static uint32_t found_check(const struct ls_replica *r, const struct ls_order *order)
{
    bool disowned = r->log->disowned;
    if (r->role != LS_ROLE_OUTSIDE)
        return EBUSY;
    if (r->log->last_seq != 0 && !disowned)
        return ENOTEMPTY;
    if (!names_self(r, &order->members))
        return EINVAL;
    /* Nobody else holds what this log begins behind: the others are brought in one by one. */
    return disowned && order->members.count != 1 ? EPERM : 0;
}

void ls_standing_found(struct ls_replica *r, const struct ls_order *order)
{
    uint32_t refused = found_check(r, order);
    if (refused != 0) {
        ls_replica_done(r, order->id, refused);
        return;
    }
    ls_log_found(r->log, &order->members);
    r->counts = true;
    ls_standing_follow(r);
    ls_replica_set_role(r, LS_ROLE_SEALED);
    ls_replica_done(r, order->id, 0);
}

static uint32_t join_check(const struct ls_replica *r, const struct ls_order *order)
{
    if (r->role == LS_ROLE_HALTED)
        return EIO;
    if (r->counts)
        return EALREADY;
    if (r->log->disowned)
        return EPERM; /* whatever is behind that checkpoint elsewhere is another history */
    if (order->incarnation != r->config.incarnation || order->epoch != r->epoch || r->epoch == 0)
        return ESTALE;
    if (order->node == r->config.node || order->other == 0 || !names_self(r, &order->members) ||
        ls_membership_find(&order->members, order->node) == NULL)
        return EINVAL;
    /* One sequencer an epoch: another one than before is a mistake somewhere. */
    if (r->joining && (order->node != r->sequencer || order->other != r->sequencer_incarnation))
        return ESTALE;
    return 0;
}

void ls_standing_join(struct ls_replica *r, const struct ls_order *order)
{
    uint32_t refused = join_check(r, order);
    ls_replica_done(r, order->id, refused);
    if (refused != 0)
        return;
    r->joined = order->members;
    r->members_change = r->log->memberships_changes - 1; /* who is who may have changed without the log */
    ls_standing_follow(r);
    r->reach = order->position;
    r->reached_due = r->reached; /* said again with each JOIN */
    if (r->joining)
        return; /* asked again: what is under way goes on */
    r->joining = true;
    r->sequencer = order->node;
    r->sequencer_incarnation = order->other;
    r->sequencer_addr = ls_membership_find(&order->members, order->node)->addr;
    ls_replica_set_role(r, LS_ROLE_UNVERIFIED);
}

void ls_standing_count(struct ls_replica *r, const struct ls_order *order)
{
    if (r->role == LS_ROLE_HALTED) {
        ls_replica_done(r, order->id, EIO);
        return;
    }
    if (order->incarnation != r->config.incarnation) {
        ls_replica_done(r, order->id, ESTALE);
        return;
    }
    if (!r->counts && !r->config.resumed && !r->reached && !ls_mutant(COUNT_EARLY)) {
        ls_replica_done(r, order->id, EAGAIN);
        return;
    }
    r->counts = true;
    r->joining = false;
    r->ack_due = true; /* as one that counts */
    /* The epoch in which it was admitted may be over: it takes part in the next one like anybody. */
    if (r->role == LS_ROLE_OUTSIDE)
        ls_replica_set_role(r, LS_ROLE_SEALED);
    ls_replica_done(r, order->id, 0);
}

/* ---- the turn ---- */

static bool newest_is_committed(const struct ls_replica *r)
{
    const struct ls_log *log = r->log;
    uint32_t n = log->memberships;
    return n > 0 && log->membership[n - 1].members.seq != 0 && log->membership[n - 1].end <= r->commit;
}

/* What is told here is looked at and not remembered from when it happened: a full queue only delays it. */
uint32_t ls_standing_turn(struct ls_replica *r)
{
    ls_replica_role_tell(r);
    if (r->joining && !r->reached && r->role == LS_ROLE_FOLLOWER && ls_durable_end(r) >= r->reach)
        r->reached = r->reached_due = true;
    bool committed = newest_is_committed(r);
    bool members_due = r->told_change != r->log->memberships_changes || r->told_committed != committed;
    if ((!r->reached_due && !members_due) || ls_spsc_room(&r->seam->events) <= EVENTS_SPARE)
        return 0;
    if (r->reached_due) {
        r->reached_due = false;
        (void)ls_replica_event(r, &(struct ls_event){.kind = LS_EVENT_REACHED, .epoch = r->epoch});
    }
    if (members_due) {
        r->told_change = r->log->memberships_changes;
        r->told_committed = committed;
        (void)ls_replica_event(
            r, &(struct ls_event){
                   .kind = LS_EVENT_MEMBERS, .epoch = r->epoch, .code = committed, .members = *ls_log_members(r->log)});
    }
    return 1;
}
