/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * At the sequencer: one change of membership, or one handover, at a time. ctrl's one thread.
 *
 * What must hold here: one step differs from the newest membership by one member, and the next is only asked for when
 * the one before is committed (M1; the dataplane checks both again); learners first (P7); nothing is removed that
 * leaves no majority; the sequencer itself moves before it goes.
 */
#include <stdio.h>

#include "ctrl_internal.h"

#define COMMIT_ANSWERS 200 /* x times.answer: an entry not committed in this time is given up, by name */

/* ---- the end of a command ---- */

static void done(struct ls_ctrl *c, int error, const char *text)
{
    struct change ch = c->change;

    c->change = (struct change){0};
    c->again = true;
    ctrl_say(c, error == 0 ? LS_CTRL_INFO : LS_CTRL_WARN, "command: %s", text);
    if (ch.from == 0)
        c->io.command_done(c->io.user, ch.token, error, text);
    else
        ctrl_send_text(c, ch.from, ch.id, ch.asker, error, text);
}

static void refuse(struct ls_ctrl *c, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
static void refuse(struct ls_ctrl *c, int error, const char *format, ...)
{
    char text[LS_CTRL_TEXT_MAX];
    va_list list;

    va_start(list, format);
    vsnprintf(text, sizeof(text), format, list);
    va_end(list);
    done(c, error, text);
}

/* The node that the present step is about. */
static uint16_t subject(const struct ls_ctrl *c)
{
    const struct ls_ctrl_command *cmd = &c->change.command;

    if (cmd->kind == LS_COMMAND_MEMBER_ADD ||
        (cmd->kind == LS_COMMAND_MEMBER_REPLACE && c->change.step != CHANGE_REMOVE))
        return cmd->member.node;
    return cmd->node;
}

/* ---- checks ---- */

static uint64_t lag_of(const struct ls_ctrl *c, uint16_t node)
{
    uint64_t own = c->has_sample ? c->sample.last_seq : 0;
    uint64_t seq = c->peer[node].status.applied_seq;

    return own > seq ? own - seq : 0;
}

/* NULL: it could vote now. Else why not. */
static const char *unready(struct ls_ctrl *c, uint16_t node)
{
    if (!c->peer[node].linked || !c->peer[node].has_status)
        return "its lockstep-ctrl is not linked: start it, and look at its ctrl address";
    if (!ctrl_peer_says(c, node, LS_PEER_ALIVE))
        return "its dataplane does not run";
    if (!ctrl_peer_says(c, node, LS_PEER_FULL))
        return "it has not caught up yet";
    if (ctrl_peer_says(c, node, LS_PEER_STALLED))
        return "its dataplane makes no progress";
    if (!ls_detector_hears(&c->detector, node, c->now))
        return "its dataplane is not heard on the data network";
    return NULL;
}

/* Would the voters of `members` that live and count be a majority of them? */
static bool majority_lives(struct ls_ctrl *c, const struct ls_membership *members)
{
    uint64_t alive = bit(c->config.node);

    for (uint32_t i = 0; i < members->count; i++) {
        uint16_t node = members->member[i].node;
        if (node != c->config.node && ctrl_peer_says(c, node, LS_PEER_FULL) && ctrl_peer_says(c, node, LS_PEER_ALIVE))
            alive |= bit(node);
    }
    return ctrl_is_majority(members, alive);
}

/* The membership that the present step asks for; false: nothing to do. */
static bool wanted(struct ls_ctrl *c, struct ls_membership *to)
{
    uint16_t node = subject(c);
    uint32_t n = 0;
    bool changed = false;

    *to = (struct ls_membership){.seq = c->members.seq};
    if (c->change.step == CHANGE_ADD && ls_membership_find(&c->members, node) != NULL)
        return false;
    for (uint32_t i = 0; i < c->members.count; i++) {
        struct ls_member m = c->members.member[i];
        if (c->change.step == CHANGE_ADD && m.node > node && !changed && n < LS_MEMBERS_MAX) {
            to->member[n++] = c->change.command.member;
            changed = true;
        }
        if (m.node == node && c->change.step == CHANGE_REMOVE) {
            changed = true;
            continue;
        }
        if (m.node == node && c->change.step == CHANGE_PROMOTE && m.role != LS_MEMBER_VOTER) {
            m.role = LS_MEMBER_VOTER;
            changed = true;
        }
        if (n < LS_MEMBERS_MAX)
            to->member[n++] = m;
    }
    if (c->change.step == CHANGE_ADD && !changed && n < LS_MEMBERS_MAX) {
        to->member[n++] = c->change.command.member;
        changed = true;
    }
    to->count = n;
    return changed;
}

static void step_to(struct ls_ctrl *c, enum change_step step)
{
    c->change.step = step;
    c->change.since_ns = c->now;
    c->change.again_ns = 0;
    c->change.seq = 0;
    c->change.ask = (struct ask){0};
    c->again = true;
}

/* False: refused, and answered. */
static bool removal_allowed(struct ls_ctrl *c, uint16_t node)
{
    struct ls_membership to;
    const struct ls_member *m = ls_membership_find(&c->members, node);

    if (m == NULL) {
        refuse(c, ENOENT, "node %u is no member", node);
    } else if (node == c->config.node) {
        refuse(c, EBUSY, "node %u is the sequencer: move it first (lockstep sequencer move)", node);
    } else {
        enum change_step step = c->change.step;
        c->change.step = CHANGE_REMOVE;
        (void)wanted(c, &to);
        c->change.step = step;
        if (m->role != LS_MEMBER_VOTER || majority_lives(c, &to))
            return true;
        refuse(c, EBUSY,
               "without node %u, the voters that live and count would be no majority of the %u left: bring the "
               "others back, or add and promote a new one first",
               node, ls_membership_voters(&to));
    }
    return false;
}

/* Another member at one of these addresses; 0: none. */
static uint16_t at_address(const struct ls_ctrl *c, const struct ls_member *m)
{
    for (uint32_t i = 0; i < c->members.count; i++) {
        const struct ls_member *other = &c->members.member[i];
        if (ls_addr_equal(other->addr, m->addr) || (m->ctrl.ip != 0 && ls_addr_equal(other->ctrl, m->ctrl)))
            return other->node;
    }
    return 0;
}

/* A command whose sequencer went meanwhile may be half done: given again, it goes on from there. */
static bool goes_on(const struct ls_ctrl *c, const struct ls_member *m, const struct ls_member *is)
{
    if (!ls_addr_equal(is->addr, m->addr) || (m->ctrl.ip != 0 && !ls_addr_equal(is->ctrl, m->ctrl)))
        return false;
    return is->role == LS_MEMBER_LEARNER || c->change.command.kind == LS_COMMAND_MEMBER_REPLACE;
}

static bool has_room_for_voter(const struct ls_ctrl *c)
{
    return ls_membership_voters(&c->members) < LS_VOTERS_MAX;
}

static bool addition_allowed(struct ls_ctrl *c, const struct ls_member *m)
{
    bool votes = c->change.command.kind == LS_COMMAND_MEMBER_REPLACE || c->change.command.promote;
    const struct ls_member *is = ls_membership_find(&c->members, m->node);
    uint16_t other = at_address(c, m);

    if (votes && !has_room_for_voter(c) && (is == NULL || is->role != LS_MEMBER_VOTER)) {
        refuse(c, ENOSPC,
               "there are %u voters already, which is as many as can be: remove one first, or add it as a "
               "learner",
               LS_VOTERS_MAX);
        return false;
    }
    if (is != NULL && goes_on(c, m, is))
        return true;
    if (is != NULL)
        refuse(c, EEXIST, "node %u is a %s already%s", m->node, is->role == LS_MEMBER_VOTER ? "voter" : "learner",
               other == m->node ? "" : ", at other addresses: remove it first, or name it by its own");
    else if (c->members.count >= LS_MEMBERS_MAX)
        refuse(c, ENOSPC, "there are %u members already, which is as many as can be: remove one", c->members.count);
    else if (other != 0)
        refuse(c, EADDRINUSE, "node %u has the address of node %u: look at addr and ctrl of both", m->node, other);
    else
        return true;
    return false;
}

static bool promotion_allowed(struct ls_ctrl *c, uint16_t node)
{
    const struct ls_member *m = ls_membership_find(&c->members, node);
    const char *why;

    if (m == NULL)
        refuse(c, ENOENT, "node %u is no member: add it first", node);
    else if (m->role == LS_MEMBER_VOTER)
        refuse(c, EEXIST, "node %u is a voter already", node);
    else if ((why = unready(c, node)) != NULL)
        refuse(c, EAGAIN, "node %u cannot be promoted: %s", node, why);
    else if (lag_of(c, node) > c->times.promote_lag)
        refuse(c, EAGAIN, "node %u is %" PRIu64 " entries behind, %" PRIu64 " are allowed: wait until it has caught up",
               node, lag_of(c, node), c->times.promote_lag);
    else if (!has_room_for_voter(c))
        refuse(c, ENOSPC, "there are %u voters already, which is as many as can be: remove one", LS_VOTERS_MAX);
    else
        return true;
    return false;
}

static bool move_allowed(struct ls_ctrl *c, uint16_t node)
{
    const char *why;

    if (node == c->config.node)
        refuse(c, 0, "node %u is the sequencer already", node);
    else if (!ls_membership_is_voter(&c->members, node))
        refuse(c, EINVAL, "node %u is no voter: name one that is (lockstep status)", node);
    else if ((why = unready(c, node)) != NULL)
        refuse(c, EAGAIN, "node %u cannot be the sequencer: %s", node, why);
    else if (lag_of(c, node) > c->times.promote_lag)
        refuse(c, EAGAIN, "node %u is %" PRIu64 " entries behind, %" PRIu64 " are allowed: wait until it has caught up",
               node, lag_of(c, node), c->times.promote_lag);
    else if (c->role != LS_ROLE_SEQUENCER)
        refuse(c, EAGAIN, "the sequencer does not serve now (%s): wait until it does", ls_role_name(c->role));
    else
        return true;
    return false;
}

void ctrl_change_begin(struct ls_ctrl *c, const struct ls_ctrl_command *command, uint16_t from, uint64_t id,
                       uint64_t asker, uint64_t token)
{
    struct change under_way = c->change;

    c->change = (struct change){.command = *command,
                                .from = from,
                                .id = id,
                                .asker = asker,
                                .token = token,
                                .epoch = c->epoch,
                                .incarnation = c->disk.incarnation};
    if (under_way.step != CHANGE_NONE) {
        done(c, EBUSY, "another change is under way (lockstep status): one at a time, wait for it");
        c->change = under_way;
        return;
    }
    if (!c->members_own) {
        done(c, EAGAIN, "the sequencer's log has no membership yet: wait until the epoch is open");
        return;
    }
    switch (command->kind) {
    case LS_COMMAND_MEMBER_ADD:
        if (addition_allowed(c, &command->member))
            step_to(c, CHANGE_ADD);
        break;
    case LS_COMMAND_MEMBER_REPLACE:
        c->change.step = CHANGE_REMOVE; /* looked at first, so that nothing is half done */
        if (command->node == c->config.node)
            refuse(c, EBUSY, "node %u is the sequencer: move it first (lockstep sequencer move)", command->node);
        else if (ls_membership_find(&c->members, command->node) == NULL)
            refuse(c, ENOENT, "node %u is no member", command->node);
        else if (addition_allowed(c, &command->member))
            step_to(c, CHANGE_ADD);
        break;
    case LS_COMMAND_MEMBER_REMOVE:
        if (removal_allowed(c, command->node))
            step_to(c, CHANGE_REMOVE);
        break;
    case LS_COMMAND_MEMBER_PROMOTE:
        if (promotion_allowed(c, command->node))
            step_to(c, CHANGE_PROMOTE);
        break;
    case LS_COMMAND_SEQUENCER_MOVE:
        if (move_allowed(c, command->node))
            step_to(c, CHANGE_HANDOVER);
        break;
    }
}

/* ---- steps of a membership ---- */

static void change_ask(struct ls_ctrl *c)
{
    struct {
        struct ls_control_members head;
        struct ls_member_record record[LS_MEMBERS_MAX];
    } LS_PACKED body = {.head = {.seq = c->members.seq, .epoch = c->epoch}};
    struct ls_member_record record[LS_MEMBERS_MAX];
    struct ls_membership to;

    if (!wanted(c, &to)) {
        c->change.seq = c->members.seq; /* it is so already: an answer was lost */
        return;
    }
    body.head.members = (uint16_t)to.count;
    ls_membership_write(&to, record);
    memcpy(body.record, record, to.count * sizeof(record[0]));
    ctrl_ask(c, &c->change.ask, LS_CONTROL_CHANGE, &body, sizeof(body.head) + to.count * sizeof(record[0]));
}

void ctrl_changed(struct ls_ctrl *c, uint64_t id, const struct ls_control_changed *changed)
{
    struct change *ch = &c->change;
    bool again = changed->refused == 1 || changed->refused == 2 || changed->refused == 3 || changed->refused == 7;

    if (ch->step == CHANGE_NONE || ch->ask.id == 0 || ch->ask.id != id)
        return;
    c->again = true;
    if (changed->refused == 0) {
        ch->seq = changed->seq;
        return;
    }
    ch->ask = (struct ask){0};
    ch->again_ns = c->now + c->times.answer / 4;
    if (again)
        return; /* opening, uncommitted, or no room at this moment: tried again until its time is over */
    if (changed->refused == 6)
        refuse(c, EBUSY, "this would remove the sequencer: move it first (lockstep sequencer move)");
    else if (changed->refused == 5)
        refuse(c, ENOSPC, "no voter would be left, or there would be more than %u voters or %u members", LS_VOTERS_MAX,
               LS_MEMBERS_MAX);
    else
        refuse(c, EINVAL, "the dataplane refused the change (%u): give it again", changed->refused);
}

static void committed(struct ls_ctrl *c)
{
    struct change *ch = &c->change;
    uint16_t node = subject(c);

    switch (ch->step) {
    case CHANGE_ADD:
        if (ch->command.kind == LS_COMMAND_MEMBER_REPLACE || ch->command.promote)
            step_to(c, CHANGE_CATCH_UP);
        else
            refuse(c, 0, "node %u is a learner now", node);
        break;
    case CHANGE_PROMOTE:
        if (ch->command.kind != LS_COMMAND_MEMBER_REPLACE)
            refuse(c, 0, "node %u is a voter now", node);
        else if (removal_allowed(c, ch->command.node))
            step_to(c, CHANGE_REMOVE);
        break;
    default:
        if (ch->command.kind == LS_COMMAND_MEMBER_REPLACE)
            refuse(c, 0, "node %u took the place of node %u", ch->command.member.node, ch->command.node);
        else
            refuse(c, 0, "node %u is removed", node);
    }
}

static void membership_step(struct ls_ctrl *c)
{
    struct change *ch = &c->change;
    uint64_t patience = COMMIT_ANSWERS * c->times.answer;

    if (ch->seq != 0 && c->members_own && c->members.seq >= ch->seq && c->members_committed) {
        committed(c);
        return;
    }
    if (c->now >= ch->since_ns + patience) {
        refuse(c, ETIMEDOUT, "the change of node %u was %s within %" PRIu64 " s: look at lockstep status (members)",
               subject(c), ch->seq != 0 ? "ordered and not committed" : "not ordered", patience / 1000000000);
        return;
    }
    ctrl_wake(c, ch->since_ns + patience);
    if (ch->seq != 0)
        return;
    if (c->now < ch->again_ns) {
        ctrl_wake(c, ch->again_ns);
        return;
    }
    if (ctrl_ask_late(c, &ch->ask) && c->members_committed)
        change_ask(c);
}

static void catch_up_step(struct ls_ctrl *c)
{
    struct change *ch = &c->change;
    uint16_t node = subject(c);
    const char *why = unready(c, node);

    if (why == NULL && lag_of(c, node) <= c->times.promote_lag) {
        step_to(c, CHANGE_PROMOTE);
        return;
    }
    if (c->now < ch->since_ns + c->times.promote_patience) {
        ctrl_wake(c, ch->since_ns + c->times.promote_patience);
        return;
    }
    if (why != NULL)
        refuse(c, ETIMEDOUT, "node %u stays a learner: within %" PRIu64 " s it did not get ready: %s", node,
               c->times.promote_patience / 1000000000, why);
    else
        refuse(c, ETIMEDOUT, "node %u stays a learner: after %" PRIu64 " s it is still %" PRIu64 " entries behind",
               node, c->times.promote_patience / 1000000000, lag_of(c, node));
}

/* ---- handover ---- */

static void handover_ask(struct ls_ctrl *c)
{
    struct ls_control_handover body = {
        .epoch = c->epoch, .patience = c->times.handover, .node = c->change.command.node};

    ctrl_ask(c, &c->change.ask, LS_CONTROL_HANDOVER, &body, sizeof(body));
}

void ctrl_handed(struct ls_ctrl *c, uint64_t id, const struct ls_control_epoch *handed)
{
    struct change *ch = &c->change;
    struct ls_peer_confirm stand = {.epoch = handed->epoch};

    if (ch->step != CHANGE_HANDOVER || ch->ask.id != id || handed->node != ch->command.node ||
        handed->epoch != ch->epoch)
        return;
    step_to(c, CHANGE_STAND);
    ctrl_send(c, ch->command.node, LS_PEER_STAND, 0, 0, &stand, sizeof(stand));
}

void ctrl_change_done(struct ls_ctrl *c, uint64_t id, int error, const char *text)
{
    struct change *ch = &c->change;

    if (ch->step != CHANGE_HANDOVER || ch->ask.id == 0 || ch->ask.id != id || error == 0)
        return;
    refuse(c, error, "the sequencer stays at node %u: %s", c->config.node, text[0] != '\0' ? text : "refused");
}

/* Does it lead, by its own word or as this node's dataplane follows it? */
static bool target_leads(const struct ls_ctrl *c, uint16_t node)
{
    const struct ls_peer_status *s = &c->peer[node].status;

    return (ctrl_peer_says(c, node, LS_PEER_FULL) && ctrl_role_is_sequencer(s->role) && s->epoch > c->change.epoch) ||
           (c->epoch > c->change.epoch && c->sequencer == node);
}

static void handover_step(struct ls_ctrl *c)
{
    struct change *ch = &c->change;
    uint16_t node = ch->command.node;
    uint64_t patience = c->times.handover + 4 * c->times.answer;

    if (target_leads(c, node)) {
        refuse(c, 0, "node %u is the sequencer now", node);
        return;
    }
    if (ctrl_is_sequencer(c) && c->epoch > ch->epoch) {
        refuse(c, ECANCELED, "node %u stood and was not elected: node %u is the sequencer again", node, c->config.node);
        return;
    }
    if (c->now >= ch->since_ns + patience) {
        if (ctrl_is_sequencer(c))
            refuse(c, ETIMEDOUT, "node %u %s in time: node %u goes on as sequencer", node,
                   ch->step == CHANGE_HANDOVER ? "did not catch up" : "was not elected", c->config.node);
        else
            refuse(c, ECANCELED, "node %u was not elected in time, another node may be: look at lockstep status", node);
        return;
    }
    ctrl_wake(c, ch->since_ns + patience);
    if (ch->step == CHANGE_HANDOVER && ch->ask.id == 0)
        handover_ask(c);
}

/* ---- */

void ctrl_change_step(struct ls_ctrl *c)
{
    struct change *ch = &c->change;

    if (ch->step == CHANGE_NONE)
        return;
    if (c->disk.incarnation != ch->incarnation || !c->running) {
        refuse(c, ECANCELED,
               "the sequencer's dataplane ended meanwhile: look at lockstep status (members) before the "
               "command is given again");
        return;
    }
    if (ch->step == CHANGE_HANDOVER || ch->step == CHANGE_STAND) {
        handover_step(c);
        return;
    }
    if (!ctrl_is_sequencer(c) || c->epoch != ch->epoch) {
        refuse(c, ECANCELED,
               "the sequencer changed meanwhile, %s: look at lockstep status (members) before the command is "
               "given again",
               ch->seq != 0 ? "the change was ordered and may be committed or not" : "nothing more was ordered");
        return;
    }
    if (ch->step == CHANGE_CATCH_UP)
        catch_up_step(c);
    else
        membership_step(c);
}

void ctrl_change_text(const struct ls_ctrl *c, char *text, size_t room)
{
    const struct change *ch = &c->change;
    uint16_t node = ch->step == CHANGE_NONE ? 0 : subject(c);

    text[0] = '\0';
    switch (ch->step) {
    case CHANGE_NONE:
        break;
    case CHANGE_ADD:
        snprintf(text, room, "adding node %u as learner", node);
        break;
    case CHANGE_CATCH_UP:
        snprintf(text, room, "node %u catches up: %" PRIu64 " entries behind", node, lag_of(c, node));
        break;
    case CHANGE_PROMOTE:
        snprintf(text, room, "making node %u a voter", node);
        break;
    case CHANGE_REMOVE:
        snprintf(text, room, "removing node %u", node);
        break;
    case CHANGE_HANDOVER:
        snprintf(text, room, "handing over to node %u: it catches up", node);
        break;
    case CHANGE_STAND:
        snprintf(text, room, "handing over to node %u: it stands", node);
        break;
    }
}
