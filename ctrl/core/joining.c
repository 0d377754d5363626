/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * At a dataplane that does not count: it founds the cluster, or a new generation of it, or is brought in by the epoch's
 * sequencer. ctrl's one thread.
 *
 * What must hold here: only a founder that never promised anything begins with an empty log, and only after every other
 * founder was heard and none knows better (P8); the record says that an incarnation counts before its dataplane is told
 * so (C5, C6); the sequencer's epoch is durable here before its dataplane is joined.
 */
#include <stdio.h>

#include "ctrl_internal.h"

#define STILL_ANSWERS 40 /* x times.answer without a new byte: admission is asked for again */

void ctrl_joining_reset(struct ls_ctrl *c)
{
    c->joining = (struct joining){0};
    if (c->phase == LS_CTRL_JOINING)
        c->phase = LS_CTRL_OUTSIDE;
}

static void again(struct ls_ctrl *c)
{
    ctrl_joining_reset(c);
    c->joining.since_ns = c->now;
    c->again = true;
}

static void full(struct ls_ctrl *c)
{
    c->joining = (struct joining){0};
    c->phase = LS_CTRL_FULL;
    c->problem[0] = '\0';
    c->again = true;
    ctrl_say(c, LS_CTRL_INFO, "takes part as incarnation %" PRIu64, c->disk.incarnation);
}

/* ---- founding ---- */

static bool founders_greeted(const struct ls_ctrl *c)
{
    bool promised = false, remembered = false;

    for (uint32_t i = 0; i < c->members.count; i++) {
        const struct ls_member *m = &c->members.member[i];
        const struct peer *p = &c->peer[m->node];

        if (m->role != LS_MEMBER_VOTER || m->node == c->config.node)
            continue;
        /* One that promised something may hold a committed log, which it only knows when it has looked. */
        if (!p->greeted || (p->promise > 0 && !ctrl_peer_says(c, m->node, LS_PEER_SAMPLED)))
            return false;
        promised = promised || p->promise > 0;
        remembered = remembered || (p->promise > 0 && ctrl_peer_says(c, m->node, LS_PEER_COUNTS));
    }
    /* Where all who promised something have lost their memory, nobody can say that nothing was committed. */
    return !promised || remembered;
}

static void found_step(struct ls_ctrl *c)
{
    struct {
        struct ls_control_members head;
        struct ls_member_record record[LS_MEMBERS_MAX];
    } LS_PACKED body = {.head = {.members = (uint16_t)c->members.count}};
    struct ls_member_record record[LS_MEMBERS_MAX];

    if (!founders_greeted(c) && !ls_ctrl_mutant(WIPED_FOUNDS))
        return; /* an empty log is opened by all founders: nothing is lost by waiting for them */
    c->next.counts = c->disk.incarnation;
    if (c->disk.counts != c->disk.incarnation)
        return;
    if (c->joining.stage == JOINING_FOUND && c->joining.ask.id != 0 && c->role_known && c->role != LS_ROLE_OUTSIDE) {
        full(c); /* the answer itself was lost */
        return;
    }
    if (c->joining.stage == JOINING_FOUND && !ctrl_ask_late(c, &c->joining.ask))
        return;
    c->joining.stage = JOINING_FOUND;
    ls_membership_write(&c->members, record);
    memcpy(body.record, record, c->members.count * sizeof(record[0]));
    ctrl_ask(c, &c->joining.ask, LS_CONTROL_FOUND, &body,
             sizeof(body.head) + c->members.count * sizeof(body.record[0]));
}

/* ---- beginning a new generation ---- */

/* The record has one voter, this node: there is nobody to ask. With every start of the dataplane all of it is done
 * again, until an epoch is promised; from then on clients may have been answered. */
static void recover_step(struct ls_ctrl *c)
{
    struct joining *j = &c->joining;

    if (j->stage == JOINING_FOUND) {
        found_step(c);
    } else if (j->stage != JOINING_RESTORE && !c->checkpoint_busy) {
        if (c->now < c->checkpoint_due_ns) {
            ctrl_wake(c, c->checkpoint_due_ns);
            return;
        }
        ctrl_say(c, LS_CTRL_INFO, "generation %" PRIu32 " of the cluster begins with this node alone",
                 c->disk.generation);
        j->stage = JOINING_RESTORE;
        c->checkpoint_busy = true;
        c->io.recover(c->io.user);
    }
}

void ctrl_joining_restored(struct ls_ctrl *c, int error, const char *text)
{
    struct joining *j = &c->joining;

    if (j->stage != JOINING_RESTORE)
        return; /* of a dataplane or a link that is no more: asked again */
    *j = (struct joining){.stage = error == 0 ? JOINING_FOUND : JOINING_NONE};
    c->again = true;
    if (error != 0)
        ctrl_problem(
            c,
            "the checkpoint that this generation is to begin with is not restored: %s. Nothing is served; stop "
            "this node and choose again: lockstep-ctrl recover",
            text);
}

/* ---- asking to be admitted ---- */

/* The sequencer of the highest epoch that anybody claims to be; 0: none. */
static uint16_t sequencer_find(const struct ls_ctrl *c)
{
    uint64_t epoch = 0;
    uint16_t found = 0;

    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        const struct peer *p = &c->peer[node];

        if (!ctrl_peer_says(c, node, LS_PEER_ALIVE) || !ctrl_role_is_sequencer(p->status.role) ||
            !(p->status.flags & LS_PEER_FULL) || p->status.epoch <= epoch)
            continue;
        epoch = p->status.epoch;
        found = node;
    }
    return found;
}

static void ask_step(struct ls_ctrl *c)
{
    struct joining *j = &c->joining;
    uint16_t sequencer = sequencer_find(c);
    struct ls_peer_join body = {.joining = c->disk.incarnation, .promise = c->disk.promise};
    uint64_t patience = ctrl_patience(c, j->asked);
    uint32_t asked = j->stage == JOINING_ASK && sequencer == j->sequencer ? j->asked + 1 : 0;

    if (j->stage == JOINING_ASK && c->now < j->since_ns + patience && sequencer == j->sequencer) {
        ctrl_wake(c, j->since_ns + patience);
        return;
    }
    if (sequencer == 0) {
        j->stage = JOINING_NONE;
        return; /* a STATUS will tell */
    }
    if (j->stage == JOINING_NONE && j->sequencer == sequencer && c->now < j->since_ns + c->times.answer / 2) {
        ctrl_wake(c, j->since_ns + c->times.answer / 2);
        return; /* refused a moment ago */
    }
    *j = (struct joining){
        .stage = JOINING_ASK, .sequencer = sequencer, .id = ctrl_id(c), .asked = asked, .since_ns = c->now};
    ctrl_send(c, sequencer, LS_PEER_JOIN, j->id, 0, &body, sizeof(body));
    ctrl_wake(c, j->since_ns + ctrl_patience(c, asked));
}

static void refusal_take(struct ls_ctrl *c, uint16_t node, enum ls_peer_join_refusal refused, uint64_t members_seq)
{
    struct joining *j = &c->joining;

    switch (refused) {
    case LS_JOIN_NOT_MEMBER:
        if (c->disk.promise == 0) {
            ctrl_problem(c, "node %u is no member yet: lockstep member add on any member", c->config.node);
            break;
        }
        ctrl_members_removed(c, members_seq);
        return;
    case LS_JOIN_INCARNATION:
        ctrl_refuse(c,
                    "the sequencer knows a newer incarnation of this node than %" PRIu64
                    ": two nodes have one id, or the record was rolled back. Replace this node by a new member",
                    c->disk.incarnation);
        return;
    case LS_JOIN_RECORD_GONE:
        ctrl_refuse(c,
                    "this node is a voter, and its record has never promised anything: the record was made anew. A "
                    "node that lost its record does not come back under its id: replace it by a new member (lockstep "
                    "member replace)");
        return;
    default:
        break;
    }
    *j = (struct joining){.sequencer = node, .since_ns = c->now};
    c->again = true;
}

void ctrl_join_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, const struct ls_peer_join_reply *reply,
                     const struct ls_membership *members)
{
    struct joining *j = &c->joining;

    if (j->stage != JOINING_ASK || id != j->id || node != j->sequencer)
        return;
    if (reply->refused != LS_JOIN_TAKEN) {
        refusal_take(c, node, (enum ls_peer_join_refusal)reply->refused, reply->members_seq);
        return;
    }
    if (reply->epoch < c->next.promise || reply->epoch == 0 || members->count == 0 ||
        !ctrl_sane_epoch(c, reply->epoch)) {
        again(c);
        return;
    }
    j->stage = JOINING_PROMISE;
    j->epoch = reply->epoch;
    j->reach = reply->reach;
    j->sequencer_incarnation = reply->sequencer_incarnation;
    j->members = *members;
    j->since_ns = c->now;
    j->ask = (struct ask){0};
    if (reply->epoch > c->next.promise)
        ctrl_promise(c, reply->epoch, 0);
    ctrl_members_heard(c, members, false);
    c->again = true;
}

/* ---- joining ---- */

static void promise_step(struct ls_ctrl *c)
{
    struct joining *j = &c->joining;

    if (c->disk.promise != j->epoch)
        return;
    if (j->ask.id == 0 || c->sealed_id < j->ask.id) {
        if (ctrl_ask_late(c, &j->ask))
            ctrl_ask_seal(c, &j->ask);
        return;
    }
    if (c->sealed.epoch != j->epoch) {
        again(c);
        return;
    }
    j->stage = JOINING_ORDER;
    j->ask = (struct ask){0};
    c->again = true;
}

static void order_step(struct ls_ctrl *c)
{
    struct joining *j = &c->joining;
    struct {
        struct ls_control_join head;
        struct ls_member_record record[LS_MEMBERS_MAX];
    } LS_PACKED body = {.head = {.epoch = j->epoch,
                                 .incarnation = c->disk.incarnation,
                                 .reach = j->reach,
                                 .sequencer_incarnation = j->sequencer_incarnation,
                                 .sequencer = j->sequencer,
                                 .members = (uint16_t)j->members.count}};
    struct ls_member_record record[LS_MEMBERS_MAX];

    if (!ctrl_ask_late(c, &j->ask))
        return;
    ls_membership_write(&j->members, record);
    memcpy(body.record, record, j->members.count * sizeof(record[0]));
    ctrl_ask(c, &j->ask, LS_CONTROL_JOIN, &body, sizeof(body.head) + j->members.count * sizeof(body.record[0]));
}

/* Does the sequencer that this node joined still lead, in the same epoch and incarnation? As far as is known. */
static bool sequencer_stands(const struct ls_ctrl *c)
{
    const struct joining *j = &c->joining;
    const struct peer *p = &c->peer[j->sequencer];

    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        const struct peer *other = &c->peer[node];
        if (ctrl_peer_says(c, node, LS_PEER_FULL) && ctrl_role_is_sequencer(other->status.role) &&
            other->status.epoch > j->epoch)
            return false;
    }
    if (!p->linked || !p->has_status)
        return true; /* only its ctrl is not heard */
    return p->incarnation == j->sequencer_incarnation && (p->status.flags & LS_PEER_ALIVE) != 0 &&
           p->status.epoch <= j->epoch;
}

static void catch_up_step(struct ls_ctrl *c)
{
    struct joining *j = &c->joining;
    uint64_t patience = STILL_ANSWERS * c->times.answer;

    if (!sequencer_stands(c)) {
        ctrl_say(c, LS_CTRL_INFO, "epoch %" PRIu64 " has ended before this node had caught up: it asks again",
                 j->epoch);
        again(c);
        return;
    }
    if (c->has_sample && (c->sample.last != j->moved_last || c->checkpoint_busy || c->role == LS_ROLE_BEHIND)) {
        j->moved_last = c->sample.last;
        j->moved_ns = c->now;
    }
    if (c->now >= j->moved_ns + patience)
        again(c);
    else
        ctrl_wake(c, j->moved_ns + patience);
}

void ctrl_joining_done(struct ls_ctrl *c, uint64_t id, int error, const char *text)
{
    struct joining *j = &c->joining;

    if (j->ask.id == 0 || id != j->ask.id)
        return;
    if (j->stage == JOINING_FOUND) {
        if (error == 0 || c->role != LS_ROLE_OUTSIDE)
            full(c);
        else
            ctrl_refuse(c, "the dataplane does not found a cluster: %s", text);
    } else if (j->stage == JOINING_ORDER) {
        if (error != 0) {
            ctrl_say(c, LS_CTRL_WARN, "the dataplane does not join epoch %" PRIu64 ": %s", j->epoch, text);
            again(c);
            return;
        }
        j->stage = JOINING_CATCH_UP;
        j->moved_ns = c->now;
        c->phase = LS_CTRL_JOINING;
        c->again = true;
    } else if (j->stage == JOINING_COUNT) {
        if (error == 0) {
            full(c);
            return;
        }
        ctrl_problem(c, "the dataplane does not count although it was admitted: %s. It is started anew", text);
        ctrl_kill(c);
    }
}

void ctrl_reached(struct ls_ctrl *c, const struct ls_control_epoch *reached)
{
    struct joining *j = &c->joining;

    /* JOIN's own answer may still be under way; from here on the epoch no longer matters to this incarnation. */
    if (reached->incarnation != c->disk.incarnation || c->phase == LS_CTRL_FULL ||
        (j->stage != JOINING_ORDER && j->stage != JOINING_CATCH_UP))
        return;
    c->phase = LS_CTRL_JOINING;
    j->stage = JOINING_COUNT;
    j->ask = (struct ask){0};
    c->next.counts = c->disk.incarnation;
    c->again = true;
}

static void count_step(struct ls_ctrl *c)
{
    struct joining *j = &c->joining;
    struct ls_control_epoch body = {.epoch = c->disk.promise, .incarnation = c->disk.incarnation};

    if (c->disk.counts == c->disk.incarnation && ctrl_ask_late(c, &j->ask))
        ctrl_ask(c, &j->ask, LS_CONTROL_COUNT, &body, sizeof(body));
}

/* ---- with the log that it had ---- */

bool ctrl_resumes(const struct ls_ctrl *c)
{
    if (c->disk.counts == 0 || c->disk.recovers)
        return false;
    if (c->phase == LS_CTRL_WAITING || (c->phase == LS_CTRL_STARTING && !c->take_over))
        return c->config.durability >= LS_DURABLE_ASYNC; /* it may well */
    return c->resumed && c->phase == LS_CTRL_OUTSIDE && c->disk.counts != c->disk.incarnation;
}

/* Record and journal may both be copies of older ones: while a majority of the voters has not been heard, nobody could
 * know better (P8). Whoever does has ended this node by then. */
static void resume_step(struct ls_ctrl *c)
{
    uint64_t greeted = bit(c->config.node);

    for (uint32_t i = 0; i < c->members.count; i++)
        if (c->peer[c->members.member[i].node].greeted)
            greeted |= bit(c->members.member[i].node);
    if (!ctrl_is_majority(&c->members, greeted))
        return;
    c->next.counts = c->disk.incarnation;
}

void ctrl_joining_step(struct ls_ctrl *c)
{
    struct joining *j = &c->joining;

    if ((c->phase != LS_CTRL_OUTSIDE && c->phase != LS_CTRL_JOINING) || !c->up || c->killed)
        return;
    if (c->disk.recovers) {
        recover_step(c);
        return;
    }
    /* The founding voters open the log together. A learner that was founded with them is brought in like any other: the
     * sequencer may have admitted an earlier incarnation of it, and listens to no later one that it has not. */
    if (c->disk.founder && c->disk.promise == 0 && ls_membership_is_voter(&c->config.founders, c->config.node)) {
        found_step(c);
        return;
    }
    if (ctrl_resumes(c)) {
        resume_step(c);
        return;
    }
    /* The record says that it counts and its dataplane does not know: taken over in between. */
    if (c->disk.counts == c->disk.incarnation && j->stage != JOINING_COUNT)
        *j = (struct joining){.stage = JOINING_COUNT};
    switch (j->stage) {
    case JOINING_NONE:
    case JOINING_RESTORE:
    case JOINING_FOUND:
    case JOINING_ASK:
        ask_step(c);
        break;
    case JOINING_PROMISE:
        promise_step(c);
        break;
    case JOINING_ORDER:
        order_step(c);
        break;
    case JOINING_CATCH_UP:
        catch_up_step(c);
        break;
    case JOINING_COUNT:
        count_step(c);
        break;
    }
}
