/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * At the sequencer: a new incarnation, or a new member, asks to take part. ctrl's one thread.
 *
 * What must hold here: first the dataplane that opened the epoch forgets what the old incarnation acknowledged and
 * names its log's end (C6, P1, P2); only then a majority of the members' ctrls is asked whether a higher epoch was
 * promised, under a new number each time; only then the joiner is answered. A voter that never promised anything has
 * lost its record and is not let in (P8).
 *
 * The majority is counted by the newest membership known here. The dataplane's log may hold one more, appended a moment
 * ago; that one's predecessor, the one known here, is committed, so whoever is elected counts by one of the two, and
 * majorities of two memberships that differ by one voter have a voter in common (M2).
 */
#include "ctrl_internal.h"

#define ADMISSION_ANSWERS 8 /* x times.answer: the joiner has long asked again */

static void answer(struct ls_ctrl *c, uint16_t node, uint64_t id, uint64_t asker, enum ls_peer_join_refusal refused,
                   uint64_t reach)
{
    struct ls_peer_join_reply reply = {.epoch = c->disk.promise,
                                       .reach = reach,
                                       .sequencer_incarnation = c->disk.incarnation,
                                       .members_seq = c->members.seq,
                                       .refused = refused,
                                       .members = (uint16_t)c->members.count};

    ctrl_send_members(c, node, LS_PEER_JOIN_REPLY, id, asker, &reply, sizeof(reply), &c->members);
}

static enum ls_peer_join_refusal judge(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h,
                                       const struct ls_peer_join *join)
{
    const struct ls_member *m = ls_membership_find(&c->members, node);

    if (!ctrl_is_sequencer(c) || !c->members_own)
        return LS_JOIN_NOT_SEQUENCER;
    if (m == NULL)
        return c->members_committed ? LS_JOIN_NOT_MEMBER : LS_JOIN_NOT_SEQUENCER;
    if (join->joining != h->incarnation)
        return LS_JOIN_INCARNATION;
    if (m->role == LS_MEMBER_VOTER && join->promise == 0 && !ls_ctrl_mutant(WIPED_JOINS))
        return LS_JOIN_RECORD_GONE;
    return join->promise > c->disk.promise ? LS_JOIN_PROMISE : LS_JOIN_TAKEN;
}

static void admit_ask(struct ls_ctrl *c, uint16_t node, struct admission *a)
{
    struct ls_control_admit body = {.epoch = a->epoch,
                                    .incarnation = c->disk.incarnation,
                                    .joining = a->joining,
                                    .promise = a->promise,
                                    .node = node};

    ctrl_ask(c, &a->ask, LS_CONTROL_ADMIT, &body, sizeof(body));
}

void ctrl_join(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const struct ls_peer_join *join)
{
    enum ls_peer_join_refusal refused = judge(c, node, h, join);
    struct admission *a = &c->admission[node];

    if (refused == LS_JOIN_PROMISE)
        ctrl_peer_seen(c, join->promise); /* this epoch can never have it: the sequencer stands above */
    if (refused != LS_JOIN_TAKEN) {
        answer(c, node, h->id, h->incarnation, refused, 0);
        return;
    }
    *a = (struct admission){.stage = ADMISSION_ADMIT,
                            .id = h->id,
                            .joining = join->joining,
                            .promise = join->promise,
                            .epoch = c->disk.promise,
                            .since_ns = c->now};
    admit_ask(c, node, a);
    c->again = true;
}

static void confirm_ask(struct ls_ctrl *c, uint16_t node, struct admission *a)
{
    struct ls_peer_confirm body = {.epoch = a->epoch};

    a->stage = ADMISSION_CONFIRM;
    a->confirm_id = ctrl_id(c);
    a->confirmed = bit(c->config.node) | bit(node); /* its promise came with the question, and is not above */
    for (uint32_t i = 0; i < c->members.count; i++) {
        uint16_t to = c->members.member[i].node;
        if (to != c->config.node && to != node && c->members.member[i].role == LS_MEMBER_VOTER)
            ctrl_send(c, to, LS_PEER_CONFIRM, a->confirm_id, 0, &body, sizeof(body));
    }
}

void ctrl_admitted(struct ls_ctrl *c, uint64_t id, const struct ls_control_admitted *admitted)
{
    static const enum ls_peer_join_refusal as[] = {LS_JOIN_TAKEN, LS_JOIN_NOT_SEQUENCER, LS_JOIN_NOT_SEQUENCER,
                                                   LS_JOIN_INCARNATION, LS_JOIN_PROMISE};
    uint16_t node = admitted->node;
    struct admission *a = node <= LS_NODE_ID_MAX ? &c->admission[node] : NULL;

    if (a == NULL || a->stage != ADMISSION_ADMIT || a->ask.id != id || admitted->joining != a->joining)
        return;
    if (admitted->refused != 0) {
        answer(c, node, a->id, a->joining,
               admitted->refused < sizeof(as) / sizeof(as[0]) ? as[admitted->refused] : LS_JOIN_NOT_SEQUENCER, 0);
        a->stage = ADMISSION_NONE;
        return;
    }
    if (admitted->epoch != a->epoch)
        return;
    a->reach = ls_ctrl_mutant(ADMIT_REACH_CTRL) ? c->sample.last : admitted->reach;
    confirm_ask(c, node, a);
    c->again = true;
}

void ctrl_confirm_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, uint64_t promise)
{
    for (uint16_t joiner = 1; joiner <= LS_NODE_ID_MAX; joiner++) {
        struct admission *a = &c->admission[joiner];

        if (a->stage != ADMISSION_CONFIRM || a->confirm_id != id)
            continue;
        if (promise <= a->epoch) {
            a->confirmed |= bit(node);
        } else {
            if (ls_membership_find(&c->members, node) != NULL)
                ctrl_peer_seen(c, promise);
            a->above |= bit(node); /* the others may be a majority all the same, and this joiner needed to be one */
            if (!ctrl_is_majority(&c->members, ~a->above)) {
                answer(c, joiner, a->id, a->joining, LS_JOIN_PROMISE, 0);
                a->stage = ADMISSION_NONE;
            }
        }
        c->again = true;
    }
}

void ctrl_admission_step(struct ls_ctrl *c)
{
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        struct admission *a = &c->admission[node];

        if (a->stage == ADMISSION_NONE)
            continue;
        if (!ctrl_is_sequencer(c) || c->disk.promise != a->epoch || c->next.promise != a->epoch ||
            c->now >= a->since_ns + ADMISSION_ANSWERS * c->times.answer) {
            a->stage = ADMISSION_NONE; /* the joiner asks again, whoever is sequencer then */
            continue;
        }
        ctrl_wake(c, a->since_ns + ADMISSION_ANSWERS * c->times.answer);
        if (a->stage == ADMISSION_CONFIRM &&
            (ctrl_is_majority(&c->members, a->confirmed) || ls_ctrl_mutant(ADMIT_NO_CONFIRM))) {
            c->admissions++;
            ctrl_say(c, LS_CTRL_INFO, "node %u, incarnation %" PRIu64 ", may join: it has to reach %" PRIu64, node,
                     a->joining, a->reach);
            answer(c, node, a->id, a->joining, LS_JOIN_TAKEN, a->reach);
            a->stage = ADMISSION_NONE;
        }
    }
}
