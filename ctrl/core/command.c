/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An operator's command where it was given: to this node if it is sequencer, else forwarded to the one that is. ctrl's
 * one thread. Each command is answered once, whatever becomes of the sequencer meanwhile.
 */
#include <stdio.h>

#include "ctrl_internal.h"

static uint16_t sequencer_known(const struct ls_ctrl *c)
{
    uint64_t epoch = 0;
    uint16_t found = 0;

    if (ctrl_is_sequencer(c))
        return c->config.node;
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        const struct ls_peer_status *s = &c->peer[node].status;
        if (!ctrl_peer_says(c, node, LS_PEER_FULL) || !ctrl_peer_says(c, node, LS_PEER_ALIVE) ||
            !ctrl_role_is_sequencer(s->role) || s->epoch <= epoch)
            continue;
        epoch = s->epoch;
        found = node;
    }
    return found;
}

static void pack(const struct ls_ctrl_command *command, struct ls_peer_command *packed)
{
    *packed =
        (struct ls_peer_command){.kind = (uint16_t)command->kind, .node = command->node, .promote = command->promote};
    if (command->kind == LS_COMMAND_MEMBER_ADD || command->kind == LS_COMMAND_MEMBER_REPLACE) {
        struct ls_membership one = {.count = 1, .member[0] = command->member};
        one.member[0].role = LS_MEMBER_LEARNER;
        ls_membership_write(&one, &packed->member);
    }
}

static bool unpack(const struct ls_peer_command *packed, struct ls_ctrl_command *command)
{
    struct ls_membership one = {0};
    struct ls_member_record record = packed->member;

    *command = (struct ls_ctrl_command){
        .kind = (enum ls_ctrl_command_kind)packed->kind, .node = packed->node, .promote = packed->promote != 0};
    if (command->kind != LS_COMMAND_MEMBER_ADD && command->kind != LS_COMMAND_MEMBER_REPLACE)
        return true;
    record.role = LS_MEMBER_VOTER;
    if (!ls_membership_read(&one, &record, 1))
        return false;
    command->member = one.member[0];
    command->member.role = LS_MEMBER_LEARNER;
    return true;
}

void ctrl_command_take(struct ls_ctrl *c, const struct ls_ctrl_command *command, uint64_t token)
{
    struct ls_peer_command packed;
    struct ls_ctrl_command checked;
    struct command *slot = NULL;
    uint16_t sequencer = sequencer_known(c);

    pack(command, &packed);
    if (!unpack(&packed, &checked) || packed.kind < LS_COMMAND_MEMBER_ADD || packed.kind > LS_COMMAND_SEQUENCER_MOVE) {
        c->io.command_done(c->io.user, token, EINVAL,
                           "the member is not whole: node id 1..63, address and port of dataplane are needed");
        return;
    }
    if (sequencer == 0) {
        c->io.command_done(c->io.user, token, EAGAIN,
                           "no sequencer is known now: look at lockstep status, and try again");
        return;
    }
    if (sequencer == c->config.node) {
        ctrl_change_begin(c, &checked, 0, 0, 0, token);
        return;
    }
    for (int i = 0; i < CTRL_COMMANDS && slot == NULL; i++)
        if (!c->command[i].used)
            slot = &c->command[i];
    if (slot == NULL) {
        c->io.command_done(c->io.user, token, EBUSY, "too many commands are under way on this node: wait for them");
        return;
    }
    *slot = (struct command){.used = true, .to = sequencer, .id = ctrl_id(c), .token = token, .since_ns = c->now};
    ctrl_send(c, sequencer, LS_PEER_COMMAND, slot->id, 0, &packed, sizeof(packed));
}

void ctrl_command_forwarded(struct ls_ctrl *c, uint16_t node, const struct ls_peer_header *h,
                            const struct ls_peer_command *packed)
{
    struct ls_ctrl_command command;

    if (!unpack(packed, &command))
        ctrl_send_text(c, node, h->id, h->incarnation, EINVAL, "the member is not whole");
    else if (!ctrl_is_sequencer(c))
        ctrl_send_text(c, node, h->id, h->incarnation, EAGAIN,
                       "this node is not the sequencer any more: look at lockstep status, and try again");
    else
        ctrl_change_begin(c, &command, node, h->id, h->incarnation, 0);
}

void ctrl_command_reply(struct ls_ctrl *c, uint16_t node, uint64_t id, int error, const char *text)
{
    for (int i = 0; i < CTRL_COMMANDS; i++) {
        if (!c->command[i].used || c->command[i].to != node || c->command[i].id != id)
            continue;
        c->command[i].used = false;
        c->io.command_done(c->io.user, c->command[i].token, error, text);
    }
}

static void cancel(struct ls_ctrl *c, struct command *slot, const char *what)
{
    char text[LS_CTRL_TEXT_MAX];

    snprintf(text, sizeof(text),
             "%s while node %u, then sequencer, worked on it: it may be done, half done, or not done. Look at lockstep "
             "status (members) before it is given again",
             what, slot->to);
    slot->used = false;
    c->io.command_done(c->io.user, slot->token, ECANCELED, text);
}

void ctrl_command_unlinked(struct ls_ctrl *c, uint16_t node)
{
    for (int i = 0; i < CTRL_COMMANDS; i++)
        if (c->command[i].used && c->command[i].to == node)
            cancel(c, &c->command[i], "the link was lost");
}

/* The one it was sent to answers whatever happens to it, as long as its link lives; this is for the case that it became
 * another incarnation, which knows nothing of it. */
void ctrl_command_step(struct ls_ctrl *c)
{
    for (int i = 0; i < CTRL_COMMANDS; i++) {
        struct command *slot = &c->command[i];

        if (!slot->used)
            continue;
        if (slot->incarnation == 0)
            slot->incarnation = c->peer[slot->to].incarnation;
        if (c->peer[slot->to].incarnation != slot->incarnation)
            cancel(c, slot, "the dataplane was started anew");
    }
}
