/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Suspicion, pre-vote, candidacy, and when to stand at once. ctrl's one thread.
 *
 * What must hold here: a candidate's promise and its vote for itself are one durable write, before its seal, before
 * anyone is asked (E1, E4; no epoch is used twice, for the next one is above whatever was written); votes are counted
 * by the membership that stands in the candidate's own log as the seal of that epoch found it (E5, P18); the install
 * names epoch and incarnation, so that a dataplane which was not sealed for it refuses (E2).
 */
#include <stdio.h>

#include "ctrl_internal.h"

#define VOTE_ROUNDS    4              /* a candidate asks again so often, then gives up */
#define STUCK_TIMES    5              /* x suspect_max: without a majority for so long, somebody else should try */
#define STUCK_DOUBLING 5              /* ... twice as long each time, so often */
#define UNFIT_NS       10000000000ull /* one that was stuck leaves it to the others for so long */
#define LOST_NS        1000000000ull  /* a majority without memory for so long is said aloud */
#define TRIES_DOUBLING 3

void ctrl_election_reset(struct ls_ctrl *c)
{
    uint32_t tries = c->election.tries;

    c->election = (struct election){.tries = tries};
    c->ballot = (struct ballot){0};
    c->suspecting = false;
}

/* This attempt is over; the next one comes later, and at another moment than the others'. */
static void give_up(struct ls_ctrl *c, const char *why)
{
    uint32_t doublings = c->election.tries < TRIES_DOUBLING ? c->election.tries : TRIES_DOUBLING;
    uint64_t delay = (c->times.answer << doublings) / 2 + ctrl_random(c, 4 * c->times.stagger + 1);

    if (c->election.stage > STAGE_PREVOTE)
        ctrl_say(c, LS_CTRL_INFO, "not elected in epoch %" PRIu64 ": %s", c->election.epoch, why);
    c->election = (struct election){.tries = c->election.tries + 1, .due_ns = c->now + delay};
    c->again = true;
}

/* ---- is the sequencer gone? ---- */

/* Its own ctrl's word: dead, restarted, hung, or without a majority for too long. */
static bool word_of_end(struct ls_ctrl *c, uint16_t node)
{
    struct peer *p = &c->peer[node];

    if (!p->linked || !p->has_status)
        return false;
    if (!(p->status.flags & LS_PEER_ALIVE) || (p->status.flags & LS_PEER_STALLED))
        return true;
    if (c->sequencer_incarnation != 0 && p->incarnation != c->sequencer_incarnation)
        return true;
    if ((p->status.flags & LS_PEER_STUCK) && p->status.epoch == c->epoch)
        return true;
    return p->status.epoch == c->epoch && (p->status.role == LS_ROLE_HALTED || p->status.role == LS_ROLE_OUTSIDE);
}

/* As far as this node can tell. It is what makes it stand, and without it nobody gets its pre-vote (stickiness, P6). */
bool ctrl_sequencer_gone(struct ls_ctrl *c)
{
    uint16_t sequencer = c->epoch == c->disk.promise ? c->sequencer : 0;

    if (ctrl_is_sequencer(c))
        return c->stuck || ls_detector_stalled(&c->detector, c->now);
    if (c->disk.promise == 0)
        return true; /* there never was one */
    if (sequencer != 0 && word_of_end(c, sequencer))
        return true;
    if (ls_detector_suspended(&c->detector, c->now))
        return false; /* it was late itself, and knows nothing (P23) */
    if (sequencer == 0) {
        /* Whoever raised the epoch is given time to open it, unless it is known to be dead. */
        if (c->disk.vote != 0 && c->disk.vote != c->config.node && c->peer[c->disk.vote].has_status &&
            !ctrl_peer_says(c, c->disk.vote, LS_PEER_ALIVE))
            return true;
        ctrl_wake(c, c->epoch_since_ns + c->times.suspect_min);
        return c->now >= c->epoch_since_ns + c->times.suspect_min;
    }
    if (c->now < c->sequencer_since_ns + c->times.suspect_min)
        return false;
    return !ls_detector_hears(&c->detector, sequencer, c->now);
}

/* ---- who stands when ---- */

static bool better(uint64_t epoch_a, uint64_t last_a, uint64_t epoch_b, uint64_t last_b)
{
    return epoch_a != epoch_b ? epoch_a > epoch_b : last_a > last_b;
}

/* Voters that would be the better candidate, as far as is known: all see about the same order. */
static uint32_t place(const struct ls_ctrl *c)
{
    uint32_t ahead = 0;

    for (uint32_t i = 0; i < c->members.count; i++) {
        const struct ls_member *m = &c->members.member[i];
        const struct ls_peer_status *s = &c->peer[m->node].status;

        if (m->role != LS_MEMBER_VOTER || m->node == c->config.node || m->node == c->sequencer)
            continue;
        if (!ctrl_peer_says(c, m->node, LS_PEER_FULL) || !ctrl_peer_says(c, m->node, LS_PEER_ALIVE))
            continue;
        if (better(s->last_epoch, s->last, c->sample.last_epoch, c->sample.last))
            ahead++;
        else if (!better(c->sample.last_epoch, c->sample.last, s->last_epoch, s->last) && m->node < c->config.node)
            ahead++;
    }
    return ahead;
}

static bool may_stand(struct ls_ctrl *c)
{
    return c->phase == LS_CTRL_FULL && c->up && !c->killed && !c->damaged && c->has_sample &&
           c->disk.counts == c->disk.incarnation && ls_membership_is_voter(&c->members, c->config.node) &&
           c->role != LS_ROLE_HALTED && c->role != LS_ROLE_BEHIND && !ls_detector_stalled(&c->detector, c->now);
}

static uint64_t voters_of(const struct ls_membership *members)
{
    uint64_t bits = 0;

    for (uint32_t i = 0; i < members->count; i++)
        if (members->member[i].role == LS_MEMBER_VOTER)
            bits |= bit(members->member[i].node);
    return bits;
}

static void ask_voters(struct ls_ctrl *c, enum ls_peer_type type, const struct ls_membership *members,
                       const struct ls_peer_vote *vote)
{
    uint64_t ask = voters_of(members) & ~c->election.granted & ~bit(c->config.node);

    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++)
        if (ask & bit(node))
            ctrl_send(c, node, type, c->election.id, 0, vote, sizeof(*vote));
    c->election.deadline_ns = c->now + c->times.answer;
}

static void prevote_begin(struct ls_ctrl *c)
{
    struct election *e = &c->election;
    struct ls_peer_vote vote = {.epoch = c->disk.promise, .last_epoch = c->sample.last_epoch, .last = c->sample.last};

    e->stage = STAGE_PREVOTE;
    e->id = ctrl_id(c);
    e->granted = bit(c->config.node);
    ask_voters(c, LS_PEER_PREVOTE, &c->members, &vote);
    c->again = true;
}

void ctrl_stand(struct ls_ctrl *c, bool handover)
{
    struct election *e = &c->election;
    uint64_t epoch = (c->seen > c->next.promise ? c->seen : c->next.promise) + 1;

    if (!may_stand(c) || e->stage > STAGE_PREVOTE)
        return;
    if (!ctrl_sane_epoch(c, epoch))
        return;
    c->ballot = (struct ballot){0};
    *e = (struct election){.stage = STAGE_PROMISE,
                           .epoch = epoch,
                           .handover = handover,
                           .tries = e->tries,
                           .deadline_ns = c->now + VOTE_ROUNDS * c->times.answer};
    ctrl_promise(c, epoch, c->config.node);
    c->elections++;
    if (!c->suspecting)
        c->suspected_ns = c->now;
    ctrl_say(c, LS_CTRL_INFO, "stands for epoch %" PRIu64, epoch);
}

/* ---- the candidate's steps ---- */

static void promise_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;

    if (c->disk.promise != e->epoch || c->disk.vote != c->config.node)
        return;
    e->stage = STAGE_SEAL;
    ctrl_ask_seal(c, &e->ask);
    e->deadline_ns = c->now + VOTE_ROUNDS * c->times.answer;
}

static void seal_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;
    struct ls_peer_vote vote = {.epoch = e->epoch, .handover = e->handover};

    if (c->sealed_id < e->ask.id) {
        if (ctrl_ask_late(c, &e->ask))
            ctrl_ask_seal(c, &e->ask);
        return;
    }
    if (c->sealed.epoch != e->epoch || !c->sealed.counts ||
        !ls_membership_is_voter(&c->sealed_members, c->config.node)) {
        give_up(c, "its own log does not name it a voter");
        return;
    }
    e->members = c->sealed_members;
    e->last_epoch = vote.last_epoch = c->sealed.last_epoch;
    e->last = vote.last = c->sealed.last;
    e->stage = STAGE_VOTE;
    e->id = ctrl_id(c);
    e->granted = bit(c->config.node);
    ask_voters(c, LS_PEER_VOTE, &e->members, &vote);
    c->again = true;
}

static void install_ask(struct ls_ctrl *c)
{
    struct ls_control_epoch body = {.epoch = c->election.epoch, .incarnation = c->disk.incarnation};

    ctrl_ask(c, &c->election.ask, LS_CONTROL_INSTALL, &body, sizeof(body));
}

static void vote_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;
    struct ls_peer_vote vote = {
        .epoch = e->epoch, .last_epoch = e->last_epoch, .last = e->last, .handover = e->handover};

    if (ctrl_is_majority(&e->members, e->granted)) {
        c->decided_ns = c->now;
        e->stage = STAGE_INSTALL;
        e->deadline_ns = c->now + VOTE_ROUNDS * c->times.answer;
        install_ask(c);
        return;
    }
    if (c->now < e->deadline_ns)
        return;
    if (++e->rounds >= VOTE_ROUNDS)
        give_up(c, "no majority answered");
    else
        ask_voters(c, LS_PEER_VOTE, &e->members, &vote);
}

static void won(struct ls_ctrl *c)
{
    c->elections_won++;
    c->installed_ns = c->now;
    ctrl_say(c, LS_CTRL_INFO, "is the sequencer of epoch %" PRIu64, c->election.epoch);
    c->election = (struct election){0};
    c->suspecting = false;
    c->again = true;
}

void ctrl_installed(struct ls_ctrl *c, uint64_t id, const struct ls_control_installed *installed)
{
    static const char *const why[] = {"",
                                      "its dataplane is not sealed at that epoch",
                                      "its dataplane is another incarnation, or not admitted",
                                      "its log does not name it a voter",
                                      "its dataplane has halted",
                                      "its log has no room for the epoch's first entry"};
    struct election *e = &c->election;

    if (e->stage != STAGE_INSTALL || e->ask.id != id || installed->epoch != e->epoch)
        return;
    if (installed->refused == 0)
        won(c);
    else
        give_up(c, installed->refused < sizeof(why) / sizeof(why[0]) ? why[installed->refused] : "?");
}

static void install_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;

    if (ctrl_is_sequencer(c) && c->epoch == e->epoch)
        won(c); /* the answer itself was lost */
    else if (c->now >= e->deadline_ns)
        give_up(c, "its dataplane does not answer");
    else if (ctrl_ask_late(c, &e->ask))
        install_ask(c);
}

/* ---- answers ---- */

static void reply_learn(struct ls_ctrl *c, const struct ls_peer_vote_reply *reply)
{
    if (reply->denied != LS_DENIAL_NOT_COUNTING && reply->denied != LS_DENIAL_NOT_MEMBER)
        ctrl_peer_seen(c, reply->promise);
}

void ctrl_prevote_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, const struct ls_peer_vote_reply *reply)
{
    struct election *e = &c->election;

    if (e->stage != STAGE_PREVOTE || id != e->id || ls_membership_find(&c->members, node) == NULL)
        return;
    reply_learn(c, reply);
    if (reply->denied == LS_DENIAL_NONE)
        e->granted |= bit(node);
}

void ctrl_vote_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, const struct ls_peer_vote_reply *reply)
{
    struct election *e = &c->election;

    if (e->stage != STAGE_VOTE || id != e->id || ls_membership_find(&e->members, node) == NULL)
        return;
    reply_learn(c, reply);
    if (reply->denied == LS_DENIAL_NONE && reply->epoch == e->epoch)
        e->granted |= bit(node);
    else if (reply->denied == LS_DENIAL_BETTER)
        give_up(c, "another voter's log is better, and it stands itself");
    else if (reply->denied == LS_DENIAL_OLD_EPOCH && reply->promise > e->epoch)
        give_up(c, "a voter promised a higher epoch");
}

/* ---- the step ---- */

/* A sequencer that hears nobody leaves it to the others after a while; otherwise a node that is cut off one way would
 * be elected again and again (P6). */
static void stuck_step(struct ls_ctrl *c)
{
    uint32_t doublings = c->election.tries < STUCK_DOUBLING ? c->election.tries : STUCK_DOUBLING;
    uint64_t patience = (STUCK_TIMES * c->times.suspect_max) << doublings;

    if (!ctrl_is_sequencer(c) || c->role == LS_ROLE_SEQUENCER ||
        (c->role == LS_ROLE_OPENING && c->sample.commit == 0)) {
        c->stuck = false; /* the first epoch waits for all founders, as long as it takes */
        return;
    }
    if (c->stuck)
        return;
    if (c->now < c->role_since_ns + patience) {
        ctrl_wake(c, c->role_since_ns + patience);
        return;
    }
    c->stuck = true;
    c->unfit_until_ns = c->now + UNFIT_NS;
    ctrl_say(c, LS_CTRL_WARN, "sequencer without a majority for %" PRIu64 " ms: another one may try",
             patience / 1000000);
    c->again = true;
}

static void idle_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;

    if (ctrl_is_sequencer(c)) {
        /* Somebody promised more than this epoch, in an election that came to nothing: that node is only heard again
         * above it. An acknowledgement says nothing of the kind and deposes nobody. */
        if (c->seen > c->epoch && !c->stuck && !ls_detector_stalled(&c->detector, c->now))
            ctrl_stand(c, false);
        if (c->role == LS_ROLE_SEQUENCER)
            e->tries = 0;
        c->suspecting = false;
        e->due_ns = 0;
        return;
    }
    if (!may_stand(c) || c->ballot.stage != BALLOT_NONE || !ctrl_sequencer_gone(c)) {
        c->suspecting = false;
        if (c->epoch == c->disk.promise && c->sequencer != 0)
            e->due_ns = 0;
        return;
    }
    if (c->now < c->unfit_until_ns) {
        ctrl_wake(c, c->unfit_until_ns);
        return;
    }
    if (!c->suspecting) {
        c->suspecting = true;
        c->suspected_ns = c->now;
    }
    if (e->due_ns == 0) {
        e->due_ns = c->now + place(c) * c->times.stagger;
        if (c->disk.promise == 0 && c->config.first_sequencer == c->config.node)
            e->due_ns = c->now;
        else if (c->disk.promise == 0 && c->config.first_sequencer != 0)
            e->due_ns += c->times.suspect_max;
    }
    if (c->now < e->due_ns)
        ctrl_wake(c, e->due_ns);
    else
        prevote_begin(c);
}

static void prevote_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;

    if (!may_stand(c) || c->ballot.stage != BALLOT_NONE || !ctrl_sequencer_gone(c)) {
        *e = (struct election){.tries = e->tries};
        c->again = true;
    } else if (ctrl_is_majority(&c->members, e->granted)) {
        ctrl_stand(c, false);
    } else if (c->now >= e->deadline_ns) {
        give_up(c, "no majority misses the sequencer");
    }
}

void ctrl_election_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;

    if (c->phase != LS_CTRL_FULL || !c->up)
        return;
    stuck_step(c);
    if (e->stage > STAGE_PREVOTE && (c->next.promise > e->epoch || !may_stand(c)))
        give_up(c, "a higher epoch has begun");
    if (e->stage > STAGE_PREVOTE && e->stage < STAGE_VOTE && c->now >= e->deadline_ns)
        give_up(c, "record or dataplane do not answer");
    switch (e->stage) {
    case STAGE_IDLE:
        idle_step(c);
        break;
    case STAGE_PREVOTE:
        prevote_step(c);
        break;
    case STAGE_PROMISE:
        promise_step(c);
        break;
    case STAGE_SEAL:
        seal_step(c);
        break;
    case STAGE_VOTE:
        vote_step(c);
        break;
    case STAGE_INSTALL:
        install_step(c);
        break;
    }
    if (e->stage != STAGE_IDLE)
        ctrl_wake(c, e->deadline_ns);
}

/* ---- a majority lost its memory ---- */

/* Voters that count no more, as they say themselves, leave too few to elect anyone; and no sequencer is left that could
 * admit them. Which log is the right one, nobody may guess. */
static bool majority_is_lost(struct ls_ctrl *c)
{
    uint64_t others = 0, lost = 0;

    if (c->disk.promise == 0 || ctrl_is_sequencer(c) || c->members.count == 0)
        return false;
    for (uint32_t i = 0; i < c->members.count; i++) {
        const struct ls_member *m = &c->members.member[i];
        const struct peer *p = &c->peer[m->node];
        bool own = m->node == c->config.node;

        if (!own && p->linked && p->has_status && ctrl_role_is_sequencer(p->status.role) &&
            (p->status.flags & LS_PEER_ALIVE))
            return false;
        if (m->role != LS_MEMBER_VOTER)
            continue;
        if (own ? c->disk.counts != c->disk.incarnation || !c->running
                : p->linked && p->has_status && !(p->status.flags & LS_PEER_COUNTS))
            lost |= bit(m->node);
        else
            others |= bit(m->node);
    }
    return lost != 0 && !ctrl_is_majority(&c->members, others);
}

void ctrl_majority_step(struct ls_ctrl *c)
{
    if (!majority_is_lost(c)) {
        if (c->majority_lost) {
            c->problem[0] = '\0';
            ctrl_say(c, LS_CTRL_INFO, "a majority of the voters has its memory again");
        }
        c->majority_lost = false;
        c->majority_lost_since_ns = 0;
        return;
    }
    if (c->majority_lost)
        return;
    if (c->majority_lost_since_ns == 0)
        c->majority_lost_since_ns = c->now;
    if (c->now < c->majority_lost_since_ns + LOST_NS) {
        ctrl_wake(c, c->majority_lost_since_ns + LOST_NS);
        return;
    }
    c->majority_lost = true;
    ctrl_problem(c,
                 "A MAJORITY OF THE VOTERS HAS LOST ITS MEMORY: what was acknowledged last may be gone, so nothing is "
                 "guessed. See what exists (lockstep checkpoint list on every node), then decide: lockstep cluster "
                 "recover --accept-loss");
}
