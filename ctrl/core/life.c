/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The dataplane's life as ctrl leads it: started under a new durable incarnation, or taken over; sealed at whatever the
 * record promises; killed when it stalls, halts or holds a damaged copy; started again after a while. ctrl's one
 * thread.
 *
 * What must hold here: no incarnation is given out twice (durable before spawn, never below the time of day; O3), none
 * is started before the one before it had ended (M4), and a dataplane that knows more than the record ends this node.
 */
#include <stdarg.h>
#include <stdio.h>

#include "ctrl_internal.h"

#define SPLIT_NS     2000000000ull  /* digests differ, and who could judge has not reported for so long */
#define LIFE_LONG_NS 30000000000ull /* one that lived so long died for another reason than the one before */

void ctrl_refuse(struct ls_ctrl *c, const char *format, ...)
{
    char text[LS_CTRL_TEXT_MAX];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    if (c->phase != LS_CTRL_REFUSED) {
        ctrl_problem(c, "%s", text);
        c->phase = LS_CTRL_REFUSED;
        c->spawn_due = false;
        ctrl_election_reset(c);
        ctrl_joining_reset(c);
    }
    c->again = true;
}

void ctrl_kill(struct ls_ctrl *c)
{
    if (!c->running || c->killed)
        return;
    c->killed = true;
    c->io.kill(c->io.user);
}

void ctrl_ask(struct ls_ctrl *c, struct ask *ask, enum ls_control_type type, const void *body, size_t size)
{
    *ask = (struct ask){.id = ctrl_id(c), .sent_ns = c->now};
    c->io.dataplane_send(c->io.user, type, ask->id, body, size);
    ctrl_wake(c, c->now + c->times.answer);
}

/* Not asked, or not answered in time; where it is still to be waited for, it wakes. */
bool ctrl_ask_late(struct ls_ctrl *c, const struct ask *ask)
{
    if (ask->id == 0 || c->now >= ask->sent_ns + c->times.answer)
        return true;
    ctrl_wake(c, ask->sent_ns + c->times.answer);
    return false;
}

void ctrl_ask_seal(struct ls_ctrl *c, struct ask *ask)
{
    struct ls_control_epoch body = {.epoch = c->disk.promise};

    ctrl_ask(c, ask, LS_CONTROL_SEAL, &body, sizeof(body));
    c->seal_ask = *ask;
}

bool ctrl_role_is_sequencer(unsigned role)
{
    return role == LS_ROLE_OPENING || role == LS_ROLE_SEQUENCER || role == LS_ROLE_SUSPENDED;
}

bool ctrl_is_sequencer(const struct ls_ctrl *c)
{
    return c->up && !c->killed && c->phase == LS_CTRL_FULL && ctrl_role_is_sequencer(c->role) &&
           c->epoch == c->disk.promise;
}

void ctrl_role(struct ls_ctrl *c, uint64_t epoch, uint16_t role, uint16_t sequencer, uint16_t halt)
{
    if (ctrl_role_is_sequencer(role))
        sequencer = c->config.node;
    if (c->epoch != epoch || c->sequencer != sequencer) {
        c->sequencer_since_ns = c->now;
        c->sequencer_incarnation = 0;
    } else if (c->role == role) {
        return;
    }
    ctrl_say(c, LS_CTRL_INFO, "epoch %" PRIu64 ", %s, sequencer %u", epoch, ls_role_name(role), sequencer);
    if (c->role != role || c->epoch != epoch)
        c->role_since_ns = c->now;
    if (role == LS_ROLE_SEQUENCER && c->phase == LS_CTRL_FULL)
        c->problem[0] = '\0';
    c->epoch = epoch;
    c->role = role;
    c->sequencer = sequencer;
    c->halt = halt;
    c->again = true;
}

/* ---- start and end ---- */

static void incarnation_raise(struct ls_ctrl *c)
{
    c->next.incarnation += !ls_ctrl_mutant(INCARNATION_REUSED) || c->next.incarnation == 0;
    if (c->next.incarnation < c->config.clock_ns && !ls_ctrl_mutant(INCARNATION_REUSED))
        c->next.incarnation = c->config.clock_ns;
    if (!c->writing || c->flight.counts != c->next.counts)
        c->next.counts = c->disk.counts; /* one that was to count, and died before the record said so, never did */
    c->phase = LS_CTRL_STARTING;
    c->spawn_due = true;
    c->again = true;
}

void ctrl_life_begin(struct ls_ctrl *c, bool alive)
{
    c->phase = LS_CTRL_STARTING;
    c->take_over = alive;
    c->running = alive;
    if (!alive)
        incarnation_raise(c);
}

/* Nothing of a dataplane that is gone, or of another link, is believed any longer. */
static void life_forget(struct ls_ctrl *c)
{
    c->sealed_id = 0;
    c->sealed = (struct ls_control_sealed){0};
    c->sealed_members = (struct ls_membership){0};
    c->seal_ask = (struct ask){0};
    c->role_known = false;
    c->has_sample = false;
}

void ctrl_life_up(struct ls_ctrl *c, const struct ls_control_ready *ready)
{
    bool again = c->up; /* the link was made anew */

    if (c->phase == LS_CTRL_REFUSED || c->phase == LS_CTRL_REMOVED)
        return;
    if (ready->incarnation != c->disk.incarnation) {
        ctrl_refuse(c,
                    "the dataplane that answers is incarnation %" PRIu64 ", the record names %" PRIu64
                    ": look for a second lockstep-dataplane of this node and stop it",
                    (uint64_t)ready->incarnation, c->disk.incarnation);
        return;
    }
    if (ready->promise > c->disk.promise) {
        ctrl_refuse(c,
                    "the dataplane has promised epoch %" PRIu64 ", the durable record knows of %" PRIu64
                    ": the record was rolled back. Replace this node by a new member",
                    (uint64_t)ready->promise, c->disk.promise);
        return;
    }
    life_forget(c);
    c->up = true;
    c->running = true;
    c->resumed = ready->resumed != 0;
    ctrl_election_reset(c);
    ctrl_joining_reset(c);
    if (again)
        return;
    c->up_ns = c->now;
    c->epoch = 0;
    c->role = LS_ROLE_OUTSIDE;
    c->sequencer = 0;
    c->halt = LS_HALT_NONE;
    c->halt_said = false;
    c->damaged = c->damage_said = false;
    c->damaged_ns = 0;
    ls_detector_init(&c->detector, &c->times, c->now);
    if (!c->take_over)
        c->phase = LS_CTRL_OUTSIDE;
}

void ctrl_life_down(struct ls_ctrl *c, const char *how)
{
    uint64_t delay = c->times.restart_min;

    if (!c->running)
        return;
    c->running = c->up = c->killed = c->take_over = c->resumed = false;
    life_forget(c);
    c->stuck = false;
    c->sequencer = 0;
    c->role = LS_ROLE_OUTSIDE;
    ctrl_election_reset(c);
    ctrl_joining_reset(c);
    memset(c->admission, 0, sizeof(c->admission));
    ls_drift_forget(&c->drift, c->config.node);
    c->own_members = (struct ls_membership){0};
    c->members_own = false;
    if (c->phase == LS_CTRL_REFUSED || c->phase == LS_CTRL_REMOVED)
        return;
    if (c->up_ns != 0 && c->now - c->up_ns >= LIFE_LONG_NS)
        c->deaths = 0;
    for (uint32_t i = 0; i < c->deaths && delay < c->times.restart_max; i++)
        delay *= 2;
    if (delay > c->times.restart_max)
        delay = c->times.restart_max;
    c->deaths++;
    c->up_ns = 0;
    c->phase = LS_CTRL_WAITING;
    c->restart_ns = c->now + delay;
    ctrl_say(c, LS_CTRL_WARN, "the dataplane has ended (%s): it is started again in %" PRIu64 " ms", how,
             delay / 1000000);
    c->again = true;
}

/* Taken over: what it is, it says itself; ctrl only sees to it that the promise holds. */
static void settle(struct ls_ctrl *c)
{
    bool counts;

    if (!c->role_known || (c->disk.promise > 0 && (c->sealed_id == 0 || c->sealed.epoch < c->disk.promise)))
        return;
    counts = c->disk.promise > 0 ? c->sealed.counts != 0 : c->role != LS_ROLE_OUTSIDE;
    if (counts && c->disk.counts != c->disk.incarnation) {
        ctrl_refuse(c,
                    "the dataplane counts as incarnation %" PRIu64 ", the durable record does not know of it: the "
                    "record was rolled back. Replace this node by a new member",
                    c->disk.incarnation);
        return;
    }
    c->take_over = false;
    c->phase = counts ? LS_CTRL_FULL : LS_CTRL_OUTSIDE;
    c->again = true;
    ctrl_say(c, LS_CTRL_INFO, "took over the running dataplane, incarnation %" PRIu64, c->disk.incarnation);
}

/* ---- what ends a dataplane ---- */

static void halt_step(struct ls_ctrl *c)
{
    if (c->role != LS_ROLE_HALTED || c->halt_said)
        return;
    c->halt_said = true;
    if (c->halt == LS_HALT_MEMORY_LOST || c->halt == LS_HALT_PARTING_BELOW_COMMIT) {
        /* Committed entries are denied somewhere: more of the same could lose them. It stays as it is, to be read. */
        ctrl_refuse(c,
                    "the dataplane has halted: %s. Nothing is done by itself: compare the logs of all nodes "
                    "(lockstep log dump) before this node is replaced",
                    ls_halt_text(c->halt));
        return;
    }
    if (c->halt == LS_HALT_DISK && c->config.durability == LS_DURABLE_JOURNAL) {
        /* What it answered for the disk has: nobody has to be spared, and all may have a full disk at once. */
        ctrl_problem(c, "the dataplane has halted: %s. It is started again, with what its disk has",
                     ls_halt_text(c->halt));
        ctrl_kill(c);
        return;
    }
    ctrl_problem(c,
                 "the dataplane has halted: %s. It is rebuilt from the others as soon as they are a majority without "
                 "it",
                 ls_halt_text(c->halt));
    c->damaged = c->damage_said = true;
}

/* Is this node's memory there, and will it be? What damages one copy may damage several at once, and all of them learn
 * in the same moment that they can be spared: so each says it first and then waits for news of the others, and they go
 * one after the other, by node id. */
static bool holds_on(const struct ls_ctrl *c, uint16_t node)
{
    if (!ctrl_peer_says(c, node, LS_PEER_FULL) || !ctrl_peer_says(c, node, LS_PEER_ALIVE) ||
        ctrl_peer_says(c, node, LS_PEER_STALLED))
        return false;
    return !c->damaged || (c->peer[node].status_ns >= c->damaged_ns + c->times.answer &&
                           (node > c->config.node || !ctrl_peer_says(c, node, LS_PEER_DAMAGED)));
}

/* Would the voters that count be a majority without this node? Else its memory is the last of some entry, perhaps. */
static bool spared(const struct ls_ctrl *c)
{
    uint64_t others = 0;

    for (uint32_t i = 0; i < c->members.count; i++) {
        uint16_t node = c->members.member[i].node;
        if (node != c->config.node && holds_on(c, node))
            others |= bit(node);
    }
    return ctrl_is_majority(&c->members, others);
}

static void damage_step(struct ls_ctrl *c)
{
    uint64_t odd = ls_ctrl_mutant(DRIFT_IGNORED) ? 0 : ls_drift_odd(&c->drift, &c->members, c->config.node);

    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        bool is = (odd & bit(node)) != 0;
        if (node == c->config.node) {
            c->damaged = c->damaged || (is && c->phase == LS_CTRL_FULL);
        } else if (is && !c->peer[node].odd_said) {
            ctrl_say(c, LS_CTRL_ALARM, "the state of node %u differs from that of a majority: it has to be rebuilt",
                     node);
            c->peer[node].odd_said = true;
        } else if (!is) {
            c->peer[node].odd_said = false;
        }
    }
    if (ls_drift_split(&c->drift, &c->members, c->config.node)) {
        if (c->split_since_ns == 0)
            c->split_since_ns = c->now;
        if (c->now < c->split_since_ns + SPLIT_NS) {
            ctrl_wake(c, c->split_since_ns + SPLIT_NS);
        } else if (!c->split_said) {
            c->split_said = true;
            ctrl_problem(c, "the states of the members differ, and no majority of them agrees: nothing is done by "
                            "itself. Compare checkpoints of all nodes (lockstep checkpoint create, list)");
        }
    } else {
        c->split_said = false;
        c->split_since_ns = 0;
    }
    if (!c->damaged || !c->up || c->killed)
        return;
    if (!c->damage_said)
        ctrl_problem(c, "this node's state is damaged or differs from that of the others: it is rebuilt from them as "
                        "soon as they are a majority without it");
    c->damage_said = true;
    if (c->damaged_ns == 0)
        c->damaged_ns = c->now;
    if (c->phase == LS_CTRL_FULL && !spared(c))
        return;
    ctrl_kill(c);
}

static void seal_step(struct ls_ctrl *c)
{
    struct ask ask;

    if (c->phase != LS_CTRL_FULL && !(c->phase == LS_CTRL_STARTING && c->take_over))
        return;
    if (c->disk.promise == 0 || (c->sealed_id != 0 && c->sealed.epoch >= c->disk.promise))
        return;
    if (ctrl_ask_late(c, &c->seal_ask))
        ctrl_ask_seal(c, &ask);
}

void ctrl_life_step(struct ls_ctrl *c)
{
    if (c->phase == LS_CTRL_REFUSED || c->phase == LS_CTRL_REMOVED) {
        if (c->role != LS_ROLE_HALTED || c->phase == LS_CTRL_REMOVED)
            ctrl_kill(c);
        return;
    }
    if (c->phase == LS_CTRL_WAITING) {
        if (c->now < c->restart_ns) {
            ctrl_wake(c, c->restart_ns);
            return;
        }
        c->restarts++;
        incarnation_raise(c);
        return;
    }
    if (c->spawn_due && c->disk.incarnation == c->next.incarnation) {
        c->spawn_due = false;
        c->running = true;
        c->killed = false;
        c->io.spawn(c->io.user, c->disk.incarnation, c->disk.promise, c->disk.counts);
    }
    if (!c->up)
        return;
    seal_step(c);
    if (c->phase == LS_CTRL_STARTING)
        settle(c);
    halt_step(c);
    damage_step(c);
    /* Where all of them stand still, as on a host that is too busy, killing them would lose what only waits. */
    if (!c->killed && ls_detector_stalled_ns(&c->detector, c->now) > c->times.stall_kill &&
        (c->phase != LS_CTRL_FULL || spared(c))) {
        ctrl_problem(c, "a worker of the dataplane has made no progress for %" PRIu64 " ms: it is killed",
                     ls_detector_stalled_ns(&c->detector, c->now) / 1000000);
        ctrl_kill(c);
    }
}

/* ---- a checkpoint for one that fell behind ---- */

/* May have one: whole, alive, and not behind this node's own log, which may hold what was acknowledged. */
static bool may_have_checkpoint(const struct ls_ctrl *c, uint16_t node)
{
    const struct ls_peer_status *s = &c->peer[node].status;
    uint64_t least = c->phase == LS_CTRL_FULL ? c->sample.last : c->sample.commit;

    return node != c->config.node && ctrl_peer_says(c, node, LS_PEER_FULL) && ctrl_peer_says(c, node, LS_PEER_ALIVE) &&
           s->commit >= least && (s->role == LS_ROLE_FOLLOWER || ctrl_role_is_sequencer(s->role));
}

/* Those who may, but for stragglers; and a position that each of them has passed. The sequencer's alone would have
 * followers write one that is a few entries short of it, and be refused. */
static uint64_t checkpoint_sources(const struct ls_ctrl *c, uint64_t *position)
{
    uint64_t from = 0, newest = 0;

    for (uint32_t i = 0; i < c->members.count; i++) {
        uint16_t node = c->members.member[i].node;

        if (may_have_checkpoint(c, node) && c->peer[node].status.applied_seq > newest)
            newest = c->peer[node].status.applied_seq;
    }
    *position = UINT64_MAX;
    for (uint32_t i = 0; i < c->members.count; i++) {
        uint16_t node = c->members.member[i].node;
        const struct ls_peer_status *s = &c->peer[node].status;

        if (!may_have_checkpoint(c, node) || newest - s->applied_seq > c->times.promote_lag)
            continue;
        from |= bit(node);
        if (s->commit < *position)
            *position = s->commit;
    }
    return from;
}

/* Restored a moment ago, and behind again: while it was on its way the others' logs went on by more than they hold. It
 * may go on so for ever, and nobody is slowed down for it: one node must not hold up a healthy majority. Who can help
 * is told. */
static void outrun_say(struct ls_ctrl *c)
{
    uint64_t took = c->checkpoint_took_ns;

    c->checkpoint_took_ns = 0;
    if (took == 0 || c->now > c->checkpoint_due_ns + took)
        return;
    ctrl_problem(c,
                 "the last checkpoint was restored after %" PRIu64
                 " ms, and by then the other nodes' logs began behind it: "
                 "raise limits.log_size, on every node, to what is written in twice that time, or give them less to "
                 "do, or this node may never catch up",
                 took / 1000000);
}

void ctrl_checkpoint_step(struct ls_ctrl *c)
{
    uint64_t from, position;

    if (!c->up || c->role != LS_ROLE_BEHIND || !c->has_sample || c->checkpoint_busy ||
        (c->phase != LS_CTRL_FULL && c->phase != LS_CTRL_JOINING))
        return;
    if (c->now < c->checkpoint_due_ns) {
        ctrl_wake(c, c->checkpoint_due_ns);
        return;
    }
    from = checkpoint_sources(c, &position);
    if (from == 0)
        return; /* the next STATUS or sample may bring one */
    outrun_say(c);
    c->checkpoint_busy = true;
    c->checkpoint_asked_ns = c->now;
    ctrl_say(c, LS_CTRL_INFO,
             "this node is behind what the others' logs hold: it takes a checkpoint at %" PRIu64 " or later", position);
    c->io.checkpoint_get(c->io.user, from, position);
}

void ctrl_checkpoint_end(struct ls_ctrl *c, int error, const char *text)
{
    uint64_t delay = 10 * c->times.answer;

    if (!c->checkpoint_busy)
        return;
    c->checkpoint_busy = false;
    ctrl_joining_restored(c, error, text);
    if (error == 0) {
        c->checkpoint_tries = 0;
        c->checkpoint_took_ns = c->now - c->checkpoint_asked_ns + 1;
        c->checkpoint_due_ns = c->now + c->times.answer; /* its role follows by itself */
        return;
    }
    for (uint32_t i = 0; i < c->checkpoint_tries && delay < c->times.restart_max; i++)
        delay *= 2;
    c->checkpoint_tries++;
    c->checkpoint_due_ns = c->now + delay;
    ctrl_say(c, LS_CTRL_WARN, "no checkpoint could be taken (%s): tried again in %" PRIu64 " ms", text,
             delay / 1000000);
}
