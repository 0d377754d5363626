/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A voter: answers pre-votes and votes. ctrl's one thread.
 *
 * What must hold here: in this order, promise and vote durable, dataplane sealed, logs compared, granted; a repeated
 * request goes through all of it again (E3, E4). Both are one write, for fail-over waits for it: a vote that is on the
 * disk and then not granted, for the log here is better, only means that nobody else gets it in that epoch. Who does
 * not count neither votes nor raises its promise (C5).
 */
#include "ctrl_internal.h"

#define BALLOT_ANSWERS 10 /* x times.answer: the candidate has long given up */

static void reply_send(struct ls_ctrl *c, uint16_t node, enum ls_peer_type type, uint64_t id, uint64_t asker,
                       uint64_t epoch, enum ls_peer_denial denied)
{
    struct ls_peer_vote_reply reply = {.epoch = epoch, .promise = c->disk.promise, .denied = denied};

    if (c->has_sample) {
        reply.last_epoch = c->sample.last_epoch;
        reply.last = c->sample.last;
    }
    ctrl_send(c, node, type, id, asker, &reply, sizeof(reply));
}

/* A damaged state is no damaged log: it votes until the others can spare it, and may be what they need for that. */
static bool counts(const struct ls_ctrl *c)
{
    if (ls_ctrl_mutant(VOTE_UNADMITTED))
        return c->up;
    if (ls_ctrl_mutant(VOTE_BY_NODE))
        return c->up && c->disk.counts != 0;
    return c->phase == LS_CTRL_FULL && c->up && !c->killed && c->role != LS_ROLE_HALTED &&
           c->disk.counts == c->disk.incarnation;
}

static bool behind(const struct ls_peer_vote *vote, uint64_t last_epoch, uint64_t last)
{
    if (ls_ctrl_mutant(GRANT_WORSE_LOG))
        return false;
    return vote->last_epoch != last_epoch ? vote->last_epoch < last_epoch : vote->last < last;
}

/* This node stands too, and the other's log is only as good as its own: who stands already goes first, then the lower
 * id. */
static bool goes_first(const struct ls_ctrl *c, uint16_t node, const struct ls_peer_vote *vote)
{
    if (c->election.stage == STAGE_IDLE || vote->last_epoch != c->sample.last_epoch || vote->last != c->sample.last)
        return false;
    return c->election.stage > STAGE_PREVOTE || c->config.node < node;
}

static enum ls_peer_denial prevote_judge(struct ls_ctrl *c, uint16_t node, const struct ls_peer_vote *vote)
{
    if (!counts(c))
        return LS_DENIAL_NOT_COUNTING;
    if (ctrl_members_find(c, node) == NULL)
        return LS_DENIAL_NOT_MEMBER;
    if (!ctrl_sequencer_gone(c) && !(c->disk.vote == node && c->epoch != c->disk.promise))
        return LS_DENIAL_HEARS;
    if (c->has_sample && behind(vote, c->sample.last_epoch, c->sample.last))
        return LS_DENIAL_BETTER;
    return goes_first(c, node, vote) ? LS_DENIAL_STANDS : LS_DENIAL_NONE;
}

void ctrl_prevote(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const struct ls_peer_vote *vote)
{
    enum ls_peer_denial denied = ls_ctrl_mutant(NO_PREVOTE) ? LS_DENIAL_NONE : prevote_judge(c, node, vote);

    reply_send(c, node, LS_PEER_PREVOTE_REPLY, h->id, h->incarnation, vote->epoch, denied);
    if (denied == LS_DENIAL_BETTER)
        ctrl_stand_first(c, node);
    else if (denied == LS_DENIAL_NONE)
        ctrl_stand_later(c);
}

/* Does this node follow a live sequencer other than the candidate? Then the candidate is the one that is cut off. */
static bool sticks(struct ls_ctrl *c, uint16_t node)
{
    if (c->epoch != c->disk.promise || c->sequencer == 0 || c->sequencer == node || ls_ctrl_mutant(NO_PREVOTE))
        return false;
    return !ctrl_sequencer_gone(c);
}

static enum ls_peer_denial vote_judge(struct ls_ctrl *c, uint16_t node, const struct ls_peer_vote *vote)
{
    if (!counts(c))
        return LS_DENIAL_NOT_COUNTING;
    if (ctrl_members_find(c, node) == NULL)
        return LS_DENIAL_NOT_MEMBER;
    if (vote->epoch < c->next.promise)
        return LS_DENIAL_OLD_EPOCH;
    if (!ctrl_sane_epoch(c, vote->epoch))
        return LS_DENIAL_AHEAD;
    if (vote->epoch == c->next.promise && c->next.vote != 0 && c->next.vote != node)
        return LS_DENIAL_VOTED;
    if (vote->epoch > c->disk.promise && !vote->handover && sticks(c, node))
        return LS_DENIAL_HEARS;
    return LS_DENIAL_NONE;
}

void ctrl_vote(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h, const struct ls_peer_vote *vote)
{
    enum ls_peer_denial denied = vote_judge(c, node, vote);

    if (denied == LS_DENIAL_AHEAD)
        ctrl_problem(c,
                     "node %u stands for epoch %" PRIu64 ", %" PRIu64
                     " is promised: no cluster gets so far ahead; nothing is promised",
                     node, (uint64_t)vote->epoch, c->next.promise);
    /* A counting member that is above this epoch is lost for it: the sequencer has to hear of it, and stands above. */
    if (denied == LS_DENIAL_HEARS)
        ctrl_peer_seen(c, vote->epoch);
    if (denied != LS_DENIAL_NONE) {
        reply_send(c, node, LS_PEER_VOTE_REPLY, h->id, h->incarnation, vote->epoch, denied);
        return;
    }
    c->ballot = (struct ballot){
        .stage = BALLOT_WRITE, .node = node, .id = h->id, .asker = h->incarnation, .vote = *vote, .since_ns = c->now};
    if (vote->epoch > c->next.promise)
        ctrl_promise(c, vote->epoch, ls_ctrl_mutant(VOTE_NOT_DURABLE) ? 0 : node);
    else if (!ls_ctrl_mutant(VOTE_NOT_DURABLE))
        c->next.vote = node;
    c->again = true;
}

static void finish(struct ls_ctrl *c, enum ls_peer_denial denied)
{
    struct ballot b = c->ballot;
    struct ls_peer_vote_reply reply = {.epoch = b.vote.epoch,
                                       .promise = c->disk.promise,
                                       .last_epoch = c->sealed.last_epoch,
                                       .last = c->sealed.last,
                                       .denied = denied};

    c->ballot = (struct ballot){0};
    ctrl_send(c, b.node, LS_PEER_VOTE_REPLY, b.id, b.asker, &reply, sizeof(reply));
    c->again = true;
}

/* Somebody has opened the epoch already, and this node follows: the request is a repeated one that came late, or a
 * loser's. That the log here is better now is the epoch's own doing, and no reason to end it. */
static bool is_open(const struct ls_ctrl *c, uint64_t epoch)
{
    return c->sealed.last_epoch >= epoch || (c->epoch == epoch && c->sequencer != 0);
}

static void compare(struct ls_ctrl *c)
{
    struct ballot *b = &c->ballot;

    if (c->sealed.epoch != b->vote.epoch) {
        finish(c, LS_DENIAL_OLD_EPOCH);
    } else if (!c->sealed.counts && !ls_ctrl_mutant(VOTE_UNADMITTED) && !ls_ctrl_mutant(VOTE_BY_NODE)) {
        finish(c, LS_DENIAL_NOT_COUNTING);
    } else if (behind(&b->vote, c->sealed.last_epoch, c->sealed.last)) {
        bool voter = ls_membership_is_voter(&c->sealed_members, c->config.node), open = is_open(c, b->vote.epoch);
        uint16_t node = b->node;

        finish(c, LS_DENIAL_BETTER);
        if (voter && !open)
            ctrl_stand(c, false); /* a majority already misses the sequencer: no need to ask again */
        else if (!open)
            ctrl_stand_first(c, node);
    } else {
        c->epoch_since_ns = c->now; /* from here on it is the candidate's turn */
        finish(c, LS_DENIAL_NONE);
    }
}

void ctrl_ballot_step(struct ls_ctrl *c)
{
    struct ballot *b = &c->ballot;

    if (b->stage == BALLOT_NONE)
        return;
    if (!counts(c) || c->now >= b->since_ns + BALLOT_ANSWERS * c->times.answer) {
        *b = (struct ballot){0};
        return;
    }
    ctrl_wake(c, b->since_ns + BALLOT_ANSWERS * c->times.answer);
    if (c->next.promise > b->vote.epoch || (c->next.vote != 0 && c->next.vote != b->node)) {
        finish(c, c->next.promise > b->vote.epoch ? LS_DENIAL_OLD_EPOCH : LS_DENIAL_VOTED);
        return;
    }
    if (b->stage == BALLOT_WRITE && c->disk.promise == b->vote.epoch &&
        (c->disk.vote == b->node || ls_ctrl_mutant(VOTE_NOT_DURABLE))) {
        b->stage = BALLOT_SEAL;
        ctrl_ask_seal(c, &b->ask);
        if (ls_ctrl_mutant(GRANT_BEFORE_SEAL)) {
            finish(c, LS_DENIAL_NONE);
            return;
        }
    }
    if (b->stage == BALLOT_SEAL) {
        if (c->sealed_id >= b->ask.id)
            compare(c);
        else if (ctrl_ask_late(c, &b->ask))
            ctrl_ask_seal(c, &b->ask);
    }
}
