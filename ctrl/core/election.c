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
#define UNFIT_TIMES    4              /* x suspect_max: ... but no longer than this where nobody takes over */
#define LOST_NS        1000000000ull  /* a majority without memory for so long is said aloud */
#define TRIES_MAX      4

void ctrl_election_reset(struct ls_ctrl *c)
{
    uint32_t tries = c->election.tries;

    c->election = (struct election){.tries = tries};
    c->ballot = (struct ballot){0};
    c->suspecting = false;
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

/* The promised epoch has no sequencer here. Whoever raised it is given time to open it, unless it is known to be dead;
 * more of it where this node was late itself and may have missed that. But not for ever: nobody's silence is judged
 * here, and on a machine that is so busy that somebody always was late just now, nobody would get all pre-votes. */
static bool nobody_opens(struct ls_ctrl *c, bool late)
{
    uint64_t due = c->epoch_since_ns + (late ? c->times.suspect_max : c->times.suspect_min);
    uint16_t candidate = c->disk.vote;

    if (candidate == c->config.node && c->elected != c->disk.promise)
        return true; /* this node tried, and was not elected; if it was, its dataplane is about to say so */
    if (candidate != 0 && candidate != c->config.node && c->peer[candidate].has_status &&
        !ctrl_peer_says(c, candidate, LS_PEER_ALIVE))
        return true;
    if (c->now < due)
        ctrl_wake(c, due);
    return c->now >= due;
}

/* As far as this node can tell. It is what makes it stand, and without it nobody gets its pre-vote (stickiness, P6). */
bool ctrl_sequencer_gone(struct ls_ctrl *c)
{
    uint16_t sequencer = c->epoch == c->disk.promise ? c->sequencer : 0;
    bool late;

    if (ctrl_is_sequencer(c))
        return c->stuck || ls_detector_stalled(&c->detector, c->now);
    if (c->disk.promise == 0)
        return true; /* there never was one */
    if (sequencer != 0 && word_of_end(c, sequencer))
        return true;
    late = ls_detector_suspended(&c->detector, c->now);
    if (sequencer == 0)
        return nobody_opens(c, late);
    if (c->now < c->sequencer_since_ns + c->times.suspect_min)
        return false;
    if (late) /* it was late itself, and knows little (P23) */
        return ls_detector_silent(&c->detector, sequencer);
    return !ls_detector_hears(&c->detector, sequencer, c->now);
}

/* ---- who stands when ---- */

/* Voters that should stand before this one: by node id, for all see the same order then; what a STATUS says of a log is
 * too old to compare the last entries by. The pre-vote finds out who holds them. */
static uint32_t place(const struct ls_ctrl *c, uint16_t except)
{
    uint32_t ahead = 0;

    for (uint32_t i = 0; i < c->members.count; i++) {
        const struct ls_member *m = &c->members.member[i];
        const struct ls_peer_status *s = &c->peer[m->node].status;

        if (m->role != LS_MEMBER_VOTER || m->node == c->config.node || m->node == c->sequencer || m->node == except)
            continue;
        if (!ctrl_peer_says(c, m->node, LS_PEER_FULL) || !ctrl_peer_says(c, m->node, LS_PEER_ALIVE))
            continue;
        if (s->role == LS_ROLE_BEHIND || s->role == LS_ROLE_HALTED ||
            (s->flags & (LS_PEER_STALLED | LS_PEER_DAMAGED)) != 0)
            continue;
        ahead +=
            s->last_epoch > c->sample.last_epoch || (s->last_epoch == c->sample.last_epoch && m->node < c->config.node);
    }
    return ahead;
}

/* This attempt is over; the next one comes later, and at another moment than the others'. */
static void give_up(struct ls_ctrl *c, const char *why)
{
    uint32_t tries = c->election.tries < TRIES_MAX ? c->election.tries : TRIES_MAX;
    uint64_t delay = place(c, 0) * c->times.stagger + ctrl_random(c, 2 * c->times.stagger + 1);

    if (tries > 1) /* not just a collision */
        delay += (c->times.answer / 2) << tries;

    if (c->election.stage > STAGE_PREVOTE)
        ctrl_say(c, LS_CTRL_INFO, "not elected in epoch %" PRIu64 ": %s", c->election.epoch, why);
    c->election = (struct election){.tries = c->election.tries + 1, .due_ns = c->now + delay};
    c->again = true;
}

/* A learner by its own log's membership stands only where another node's log names it a voter and is worse: that node
 * can be elected by nobody without it, and this one by the voters that its own log names. It leads as a learner then.
 */
static bool may_lead(const struct ls_ctrl *c, const struct ls_membership *members)
{
    const struct ls_member *m = ls_membership_find(members, c->config.node);

    return m != NULL && (m->role == LS_MEMBER_VOTER || c->now < c->needed_until_ns);
}

static bool may_stand(struct ls_ctrl *c)
{
    return c->phase == LS_CTRL_FULL && c->up && !c->killed && c->has_sample && c->disk.counts == c->disk.incarnation &&
           may_lead(c, &c->members) && c->role != LS_ROLE_HALTED && c->role != LS_ROLE_BEHIND &&
           !ls_detector_stalled(&c->detector, c->now);
}

static uint64_t voters_of(const struct ls_membership *members)
{
    uint64_t bits = 0;

    for (uint32_t i = 0; i < members->count; i++)
        if (members->member[i].role == LS_MEMBER_VOTER || ls_ctrl_mutant(LEARNER_VOTES))
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

    if (ls_ctrl_mutant(NO_PREVOTE)) {
        ctrl_stand(c, false);
        return;
    }
    e->stage = STAGE_PREVOTE;
    e->id = ctrl_id(c);
    e->granted = bit(c->config.node);
    e->denied = 0;
    ask_voters(c, LS_PEER_PREVOTE, &c->members, &vote);
    e->deadline_ns = c->now + ctrl_patience(c, e->tries);
    c->again = true;
}

void ctrl_stand(struct ls_ctrl *c, bool handover)
{
    struct election *e = &c->election;
    uint64_t epoch = (c->seen > c->next.promise ? c->seen : c->next.promise) + 1;

    if (ls_ctrl_mutant(EPOCH_REUSED) && c->next.promise > 0)
        epoch = c->next.promise;

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
    if (c->sealed.epoch != e->epoch || !c->sealed.counts || !may_lead(c, &c->sealed_members)) {
        give_up(c, "its own log does not name it a voter, and nobody needs it");
        return;
    }
    e->members = ls_ctrl_mutant(VOTES_OLD_MEMBERSHIP) ? c->disk.members
                 : ls_ctrl_mutant(VOTES_CONFIGURED)   ? c->config.founders
                                                      : c->sealed_members;
    e->last_epoch = vote.last_epoch = c->sealed.last_epoch;
    e->last = vote.last = c->sealed.last;
    e->stage = STAGE_VOTE;
    e->id = ctrl_id(c);
    e->granted = bit(c->config.node);
    e->denied = 0;
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
    else {
        e->denied = 0;
        ask_voters(c, LS_PEER_VOTE, &e->members, &vote);
    }
}

static void won(struct ls_ctrl *c)
{
    c->elections_won++;
    c->installed_ns = c->epoch_since_ns = c->now;
    c->elected = c->election.epoch;
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
                                      "its log does not name it a member",
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
    else
        e->denied |= bit(node);
    if (!ctrl_is_majority(&c->members, voters_of(&c->members) & ~e->denied))
        give_up(c, ls_denial_text(reply->denied));
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
    else
        e->denied |= bit(node);
    if (e->stage == STAGE_VOTE && !ctrl_is_majority(&e->members, voters_of(&e->members) & ~e->denied))
        give_up(c, ls_denial_text(reply->denied));
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
    if (c->stuck || ls_ctrl_mutant(STUCK_NEVER))
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

/* Is some node the sequencer of a higher epoch, as itself says or anybody who hears it? Who follows one that is dead
 * and finds no majority to replace it waits for this node. */
static bool deposed(const struct ls_ctrl *c)
{
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        const struct peer *p = &c->peer[node];
        uint16_t sequencer = p->status.sequencer;

        if (!p->linked || !p->has_status || sequencer == 0 || p->status.epoch <= c->epoch)
            continue;
        if (sequencer == node ? (p->status.flags & LS_PEER_ALIVE) != 0
                              : sequencer <= LS_NODE_ID_MAX && (p->status.heard & bit(sequencer)) != 0)
            return true;
    }
    return false;
}

/* Do enough voters count? A sequencer that stands and is not elected could no longer admit those who do not yet. */
static bool could_win(const struct ls_ctrl *c)
{
    uint64_t full = bit(c->config.node);

    for (uint32_t i = 0; i < c->members.count; i++)
        if (ctrl_peer_says(c, c->members.member[i].node, LS_PEER_FULL))
            full |= bit(c->members.member[i].node);
    return ctrl_is_majority(&c->members, full);
}

/* Does a majority still acknowledge this sequencer, at this moment? Who sealed for another epoch is not heard in this.
 */
static bool is_acknowledged(const struct ls_ctrl *c)
{
    uint64_t heard = bit(c->config.node);

    for (uint32_t i = 0; i < c->members.count; i++)
        if (ls_detector_fresh(&c->detector, c->members.member[i].node, c->now))
            heard |= bit(c->members.member[i].node);
    return c->role == LS_ROLE_SEQUENCER && ctrl_is_majority(&c->members, heard);
}

/* Somebody promised more than this sequencer's epoch. While a majority acknowledges it, that was an election that came
 * to nothing, and the node that lost it is only heard again above its epoch: it stands at once. Else the election may
 * be running, because this sequencer hangs or is not heard; it is given the time to come to something, for standing
 * above it would depose whoever is just being elected. One whose own dataplane stands still just now knows nothing. An
 * acknowledgement says nothing of a promise and deposes nobody. */
static void above_step(struct ls_ctrl *c)
{
    uint64_t due = c->seen_ns + (is_acknowledged(c) ? 0 : VOTE_ROUNDS * c->times.answer);

    if (c->seen <= c->epoch || c->stuck || c->change.step == CHANGE_STAND || deposed(c) || !could_win(c) ||
        ls_detector_stalled(&c->detector, c->now) || ls_detector_suspended(&c->detector, c->now))
        return;
    if (c->now < due)
        ctrl_wake(c, due);
    else
        ctrl_stand(c, false);
}

/* A sequencer without a majority leaves it to the others, and they may find that they cannot do without its log. Then
 * it asks as any other who misses a sequencer; whoever still hears one denies it. */
static void asked_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;
    uint64_t due = e->due_ns > c->unfit_until_ns ? e->due_ns : c->unfit_until_ns;

    if (e->due_ns == 0 || deposed(c) || !could_win(c) || !may_stand(c))
        return;
    if (c->now < due) {
        ctrl_wake(c, due);
        return;
    }
    e->due_ns = 0;
    prevote_begin(c);
}

/* One that was stuck leaves it to the others, who stand within a time-out if they can. Where none did, they were stuck
 * themselves, or have no memory, and nobody is better. */
static uint64_t unfit_until(const struct ls_ctrl *c)
{
    uint64_t patience_ns = c->suspected_ns + UNFIT_TIMES * c->times.suspect_max;

    return c->unfit_until_ns < patience_ns ? c->unfit_until_ns : patience_ns;
}

static void idle_step(struct ls_ctrl *c)
{
    struct election *e = &c->election;

    if (ctrl_is_sequencer(c)) {
        above_step(c);
        if (c->role == LS_ROLE_SEQUENCER)
            e->tries = 0;
        c->suspecting = false;
        if (c->stuck)
            asked_step(c);
        else
            e->due_ns = 0;
        return;
    }
    if (!may_stand(c) || c->ballot.stage != BALLOT_NONE || !ctrl_sequencer_gone(c)) {
        c->suspecting = false;
        if (c->epoch == c->disk.promise && c->sequencer != 0)
            e->due_ns = 0;
        return;
    }
    if (!c->suspecting) {
        c->suspecting = true;
        c->suspected_ns = c->now;
    }
    if (c->now < unfit_until(c)) {
        ctrl_wake(c, unfit_until(c));
        return;
    }
    if (e->due_ns == 0) {
        e->due_ns = c->now + place(c, 0) * c->times.stagger;
        if (c->disk.promise == 0 && c->config.first_sequencer == c->config.node)
            e->due_ns = c->now;
        else if (c->disk.promise == 0 && c->config.first_sequencer != 0)
            e->due_ns += c->times.suspect_max;
        if (c->damaged) /* only if the others cannot do without its log */
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

/* A pre-vote came from one with a worse log: this node is the one to stand, if it misses the sequencer too. */
void ctrl_stand_first(struct ls_ctrl *c, uint16_t node)
{
    c->needed_until_ns = c->now + VOTE_ROUNDS * c->times.suspect_max;
    if (c->election.stage == STAGE_IDLE && may_stand(c) && ctrl_sequencer_gone(c)) {
        /* One that was stuck leaves it to the others only as long as they can do without its log. */
        if (c->unfit_until_ns > c->now + c->times.suspect_max)
            c->unfit_until_ns = c->now + c->times.suspect_max;
        /* All whose log is better hear the same candidate in the same moment: one after the other. */
        c->election.due_ns = c->now + place(c, node) * c->times.stagger;
        c->again = true;
    }
}

/* To stand as well would cost both of them a round: its promise is on the way to its disk, which may take longer than
 * the places in the queue are apart. */
void ctrl_stand_later(struct ls_ctrl *c)
{
    struct election *e = &c->election;

    if (e->stage > STAGE_PREVOTE)
        return;
    if (e->stage == STAGE_PREVOTE)
        *e = (struct election){.tries = e->tries};
    if (e->due_ns < c->now + c->times.answer)
        e->due_ns = c->now + c->times.answer;
    c->again = true;
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

/* The epoch of a sequencer that lives and could admit others; 0: none. */
static uint64_t admitting_epoch(const struct ls_ctrl *c)
{
    uint64_t epoch = ctrl_is_sequencer(c) ? c->epoch : 0;

    for (uint32_t i = 0; i < c->members.count; i++) {
        uint16_t node = c->members.member[i].node;
        const struct ls_peer_status *s = &c->peer[node].status;
        if (node != c->config.node && ctrl_peer_says(c, node, LS_PEER_ALIVE) && ctrl_role_is_sequencer(s->role) &&
            s->epoch > epoch)
            epoch = s->epoch;
    }
    return epoch;
}

static bool anything_is_committed(const struct ls_ctrl *c)
{
    bool is = c->has_sample && c->sample.commit > 0;

    for (uint16_t node = 1; node <= LS_NODE_ID_MAX && !is; node++)
        is = c->peer[node].linked && c->peer[node].has_status && c->peer[node].status.commit > 0;
    return is;
}

/* Its record was rolled back or made anew: it knows less than it once said, or of no promise, and every voter made one
 * before anything was committed with it. No sequencer can admit it: it never comes back under its id. */
static bool record_is_gone(const struct ls_ctrl *c, uint16_t node)
{
    const struct peer *p = &c->peer[node];

    return p->status.promise < p->promise || (p->status.promise == 0 && anything_is_committed(c));
}

/* Has this voter no memory, as it says itself, and can a sequencer of that epoch not bring it in? Whoever promised more
 * asks for another one. */
static bool voter_is_lost(const struct ls_ctrl *c, uint16_t node, uint64_t admitting)
{
    const struct peer *p = &c->peer[node];

    if (node == c->config.node)
        return !ctrl_resumes(c) && (c->disk.counts != c->disk.incarnation || !c->running) &&
               c->disk.promise > admitting;
    if (p->backwards)
        return true;
    if (!p->linked || !p->has_status || (p->status.flags & (LS_PEER_COUNTS | LS_PEER_RESUMES)) != 0)
        return false;
    return p->status.promise > admitting || record_is_gone(c, node);
}

/* Voters that count no more leave too few to elect anyone; and no sequencer is left that could admit them, for none
 * lives, or they have promised more than its epoch, or their records are gone. Which log is the right one, nobody may
 * guess. */
static bool majority_is_lost(struct ls_ctrl *c)
{
    uint64_t others = 0, lost = 0, admitting = admitting_epoch(c);

    if (c->disk.promise == 0 || c->disk.recovers)
        return false;
    for (uint32_t i = 0; i < c->members.count; i++) {
        const struct ls_member *m = &c->members.member[i];

        if (m->role != LS_MEMBER_VOTER)
            continue;
        if (voter_is_lost(c, m->node, admitting))
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
                 "guessed. See what exists (lockstep checkpoint list on every node), then decide: \"lockstep cluster "
                 "recover\" says how");
}
