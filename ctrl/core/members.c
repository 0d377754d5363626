/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What follows from a membership: links, the record's copy, the others' knowledge, this node's own end. ctrl's one
 * thread.
 *
 * What must hold here: the own log's membership is what counts (P18); what others say serves to find them, and to learn
 * that this node was removed.
 */
#include "ctrl_internal.h"

#define LINGER_ANSWERS 30 /* x times.answer: so long a removed member is still told */

static bool same(const struct ls_membership *a, const struct ls_membership *b)
{
    return a->seq == b->seq && ls_membership_equal(a, b);
}

/* Without a log of its own a node tells what it knows to be so: it may be the only one that the other finds. */
void ctrl_members_push(struct ls_ctrl *c, uint16_t node)
{
    const struct ls_membership *members = c->members_own ? &c->members : &c->settled;
    bool committed = !c->members_own || c->members_committed;
    struct ls_peer_members head = {
        .seq = members->seq, .members = (uint16_t)members->count, .committed = committed ? 1 : 0};

    if (members->seq > 0)
        ctrl_send_members(c, node, LS_PEER_MEMBERS, 0, 0, &head, sizeof(head), members);
}

static void settled_note(struct ls_ctrl *c, const struct ls_membership *members, bool committed)
{
    if (!committed || members->seq <= c->settled.seq)
        return;
    c->settled = *members;
    c->links_judged = false;
}

void ctrl_members_removed(struct ls_ctrl *c, uint64_t seq)
{
    if (seq > c->removed_seq)
        c->removed_seq = seq;
    if (c->phase == LS_CTRL_REMOVED || c->phase == LS_CTRL_REFUSED)
        return;
    ctrl_problem(c, "node %u was removed from the cluster: its dataplane is stopped", c->config.node);
    ctrl_election_reset(c);
    ctrl_joining_reset(c);
    c->phase = LS_CTRL_REMOVED;
    c->again = true;
}

/* Members that are going keep their links for a while, to be told. */
static void linger(struct ls_ctrl *c, const struct ls_membership *before, const struct ls_membership *now)
{
    for (uint32_t i = 0; i < before->count; i++) {
        const struct ls_member *m = &before->member[i];
        if (ls_membership_find(now, m->node) != NULL || ls_membership_find(&c->linger, m->node) != NULL ||
            c->linger.count == LS_MEMBERS_MAX)
            continue;
        c->linger.member[c->linger.count++] = *m;
        c->linger_until_ns = c->now + LINGER_ANSWERS * c->times.answer;
    }
}

static void members_use(struct ls_ctrl *c, const struct ls_membership *members, bool committed, bool own)
{
    struct ls_membership before = c->members;

    if (same(&c->members, members) && c->members_committed == committed && c->members_own == own)
        return;
    settled_note(c, members, committed);
    c->members = *members;
    c->members_committed = committed;
    c->members_own = own;
    c->links_judged = false;
    linger(c, &before, members);
    if (c->linger.count > 0)
        c->linger_until_ns = c->now + LINGER_ANSWERS * c->times.answer;
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++)
        if (c->peer[node].linked)
            ctrl_members_push(c, node);
    c->again = true;
}

/* Of the own log. While that is being fetched it names memberships of long ago; once this node takes part it is right.
 */
void ctrl_members_set(struct ls_ctrl *c, const struct ls_membership *members, bool committed)
{
    c->own_members = *members;
    c->own_committed = committed;
    c->again = true;
}

void ctrl_members_heard(struct ls_ctrl *c, const struct ls_membership *members, bool committed)
{
    bool was = ls_membership_find(&c->members, c->config.node) != NULL && c->disk.promise > 0;

    settled_note(c, members, committed);
    if (members->seq > c->heard.seq) {
        c->heard = *members;
        c->links_judged = false;
    }
    if (members->seq < c->members.seq || (members->seq == c->members.seq && c->members_committed >= committed))
        return;
    if (committed && was && ls_membership_find(members, c->config.node) == NULL) {
        ctrl_members_removed(c, members->seq);
        return;
    }
    /* The log of one that was removed says nothing new, though its dataplane may need a while to be gone: it may have
     * been added again meanwhile, and is told so once. */
    if ((!c->members_own || c->phase == LS_CTRL_REMOVED) && ls_membership_find(members, c->config.node) != NULL)
        members_use(c, members, committed, false);
}

/* The own log's newest membership may be undone, or be that of long ago; what it does not name may lead, or be about
 * to. A vote for such a node is counted by its log, not by this one. */
const struct ls_member *ctrl_members_find(const struct ls_ctrl *c, uint16_t node)
{
    const struct ls_member *m = ls_membership_find(&c->members, node);

    if (m == NULL && !c->members_committed)
        m = ls_membership_find(&c->settled, node);
    if (m == NULL && c->heard.seq > c->members.seq)
        m = ls_membership_find(&c->heard, node);
    return m;
}

static void links_step(struct ls_ctrl *c)
{
    struct ls_membership links = {0};

    if (c->linger.count > 0 && c->now >= c->linger_until_ns) {
        c->linger = (struct ls_membership){0};
        c->links_judged = false;
    }
    if (c->linger.count > 0)
        ctrl_wake(c, c->linger_until_ns);
    if (c->links_judged)
        return;
    c->links_judged = true;
    /* Without this node, ids ascending. */
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX && links.count < LS_MEMBERS_MAX; node++) {
        const struct ls_member *m = ctrl_members_find(c, node);
        if (m == NULL)
            m = ls_membership_find(&c->linger, node);
        if (m != NULL && node != c->config.node)
            links.member[links.count++] = *m;
    }
    if (ls_membership_equal(&links, &c->linked) && c->linked.seq == 1)
        return;
    links.seq = 1; /* told at least once */
    for (uint32_t i = 0; i < c->linked.count; i++)
        if (ls_membership_find(&links, c->linked.member[i].node) == NULL)
            ctrl_link_down(c, c->linked.member[i].node); /* the host says nothing of these */
    c->linked = links;
    c->io.peers(c->io.user, &links);
}

void ctrl_members_step(struct ls_ctrl *c)
{
    if (c->own_members.count > 0 && (c->phase == LS_CTRL_FULL || c->own_members.seq > c->members.seq))
        members_use(c, &c->own_members, c->own_committed, true);
    if (c->phase == LS_CTRL_FULL && c->members_own && c->members_committed &&
        ls_membership_find(&c->members, c->config.node) == NULL)
        ctrl_members_removed(c, c->members.seq);
    /* Lazily: only to find the others by after a start. */
    if (c->members.seq > 0 && !same(&c->next.members, &c->members) &&
        (c->members_committed || c->next.members.seq < c->members.seq))
        c->next.members = c->members;
    /* Added again under its id: its record is whole, so it comes back as any new incarnation. */
    if (c->phase == LS_CTRL_REMOVED && !c->running && c->members.seq > c->removed_seq && c->members_committed &&
        ls_membership_find(&c->members, c->config.node) != NULL) {
        ctrl_say(c, LS_CTRL_INFO, "node %u is a member again", c->config.node);
        c->problem[0] = '\0';
        c->phase = LS_CTRL_WAITING;
        c->restart_ns = c->now;
        c->again = true;
    }
    links_step(c);
}
