/* SPDX-License-Identifier: BSD-3-Clause */
/* One table of types and sizes, then the fields that have a range of their own. See peer_message.h. */
#include "peer_message.h"

#include <string.h>

#include "ctrl.h"

struct shape {
    size_t size;
    bool open_end; /* more may follow */
    bool question; /* has a number */
    bool answer;   /* has a number, and who asked */
};
static const struct shape shapes[] = {
    [LS_PEER_HELLO] = {sizeof(struct ls_peer_hello), false, false, false},
    [LS_PEER_STATUS] = {sizeof(struct ls_peer_status), false, false, false},
    [LS_PEER_PREVOTE] = {sizeof(struct ls_peer_vote), false, true, false},
    [LS_PEER_PREVOTE_REPLY] = {sizeof(struct ls_peer_vote_reply), false, true, true},
    [LS_PEER_VOTE] = {sizeof(struct ls_peer_vote), false, true, false},
    [LS_PEER_VOTE_REPLY] = {sizeof(struct ls_peer_vote_reply), false, true, true},
    [LS_PEER_JOIN] = {sizeof(struct ls_peer_join), false, true, false},
    [LS_PEER_JOIN_REPLY] = {sizeof(struct ls_peer_join_reply), true, true, true},
    [LS_PEER_CONFIRM] = {sizeof(struct ls_peer_confirm), false, true, false},
    [LS_PEER_CONFIRM_REPLY] = {sizeof(struct ls_peer_confirm), false, true, true},
    [LS_PEER_STAND] = {sizeof(struct ls_peer_confirm), false, false, false},
    [LS_PEER_MEMBERS] = {sizeof(struct ls_peer_members), true, false, false},
    [LS_PEER_COMMAND] = {sizeof(struct ls_peer_command), false, true, false},
    [LS_PEER_COMMAND_REPLY] = {sizeof(struct ls_peer_command_reply), true, true, true},
};

static_assert(sizeof(struct ls_peer_header) + sizeof(struct ls_peer_status) <= LS_CTRL_MESSAGE_MAX, "a STATUS fits");
static_assert(sizeof(struct ls_peer_header) + sizeof(struct ls_peer_join_reply) +
                      LS_MEMBERS_MAX * sizeof(struct ls_member_record) <=
                  LS_CTRL_MESSAGE_MAX,
              "a membership fits");

const char *ls_denial_text(unsigned denial)
{
    static const char *const text[LS_DENIALS] = {
        [LS_DENIAL_NONE] = "granted",
        [LS_DENIAL_HEARS] = "it hears the sequencer",
        [LS_DENIAL_BETTER] = "its log is better",
        [LS_DENIAL_NOT_COUNTING] = "it has not been admitted",
        [LS_DENIAL_NOT_MEMBER] = "the candidate is no member",
        [LS_DENIAL_OLD_EPOCH] = "it promised a higher epoch",
        [LS_DENIAL_VOTED] = "it voted for another one",
        [LS_DENIAL_AHEAD] = "the epoch is absurdly far ahead",
        [LS_DENIAL_STANDS] = "it stands itself",
    };
    return denial < LS_DENIALS ? text[denial] : "?";
}

static const char *members_check(const uint8_t *records, size_t size, uint32_t count)
{
    struct ls_member_record record[LS_MEMBERS_MAX];
    struct ls_membership members;

    if (count > LS_MEMBERS_MAX || size != count * sizeof(record[0]))
        return "a peer's message with another number of members than it says";
    memcpy(record, records, size);
    if (count > 0 && !ls_membership_read(&members, record, count))
        return "a peer's message with a malformed membership";
    return NULL;
}

static const char *status_check(const uint8_t *body)
{
    struct ls_peer_status status;

    memcpy(&status, body, sizeof(status));
    if ((status.flags & ~LS_PEER_FLAGS) != 0 || status.role > LS_ROLE_BEHIND || status.sequencer > LS_NODE_ID_MAX)
        return "a peer's status with a flag, role or node that does not exist";
    return NULL;
}

static const char *command_check(const uint8_t *body)
{
    struct ls_peer_command command;
    struct ls_membership members;
    struct ls_member_record record;

    memcpy(&command, body, sizeof(command));
    if (command.kind < LS_COMMAND_MEMBER_ADD || command.kind > LS_COMMAND_SEQUENCER_MOVE || command.promote > 1 ||
        command.zero != 0 || command.node > LS_NODE_ID_MAX)
        return "a peer's command that does not exist";
    if (command.kind != LS_COMMAND_MEMBER_ADD && command.kind != LS_COMMAND_MEMBER_REPLACE)
        return NULL;
    record = command.member;
    record.role = LS_MEMBER_VOTER;
    return ls_membership_read(&members, &record, 1) ? NULL : "a peer's command with a malformed member";
}

static const char *body_check(uint16_t type, const uint8_t *body, size_t size)
{
    struct ls_peer_vote vote;
    struct ls_peer_vote_reply reply;
    struct ls_peer_join_reply join;
    struct ls_peer_members members;
    struct ls_peer_command_reply command;

    switch (type) {
    case LS_PEER_STATUS:
        return status_check(body);
    case LS_PEER_PREVOTE:
    case LS_PEER_VOTE:
        memcpy(&vote, body, sizeof(vote));
        return vote.handover > 1 || vote.zero != 0 ? "a peer's vote request with an unknown mark" : NULL;
    case LS_PEER_PREVOTE_REPLY:
    case LS_PEER_VOTE_REPLY:
        memcpy(&reply, body, sizeof(reply));
        return reply.denied >= LS_DENIALS || reply.zero != 0 ? "a peer's vote with an unknown reason" : NULL;
    case LS_PEER_JOIN_REPLY:
        memcpy(&join, body, sizeof(join));
        if (join.refused >= LS_JOIN_REFUSALS || join.zero != 0)
            return "a peer's answer to a join with an unknown reason";
        return members_check(body + sizeof(join), size - sizeof(join), join.members);
    case LS_PEER_MEMBERS:
        memcpy(&members, body, sizeof(members));
        if (members.committed > 1 || members.zero != 0)
            return "a peer's membership with an unknown mark";
        return members_check(body + sizeof(members), size - sizeof(members), members.members);
    case LS_PEER_COMMAND:
        return command_check(body);
    case LS_PEER_COMMAND_REPLY:
        memcpy(&command, body, sizeof(command));
        return command.length != size - sizeof(command) || command.length > LS_PEER_TEXT_MAX
                   ? "a peer's answer to a command with another text than it says"
                   : NULL;
    default:
        return NULL;
    }
}

const char *ls_peer_check(const struct ls_peer_identity *self, uint16_t from, const uint8_t *bytes, size_t size)
{
    struct ls_peer_header header;
    const struct shape *shape;

    if (size < sizeof(header))
        return "a peer's message shorter than its header";
    memcpy(&header, bytes, sizeof(header));
    if (header.magic != LS_PEER_MAGIC)
        return "a message that is not of a Lockstep ctrl";
    if (header.version != LS_PEER_VERSION)
        return "a ctrl of another version: install the same one on every node";
    if (header.cluster != self->cluster)
        return "a node of another cluster: look at cluster id and ctrl addresses in the cluster files";
    if (header.generation != self->generation)
        return header.generation < self->generation
                   ? "a node of an older generation of this cluster: it may only come back wiped: stop it, remove "
                     "everything in its data_dir, lockstep-ctrl join there, with the new generation in the cluster file"
                   : "a node of a newer generation of this cluster, begun by lockstep-ctrl recover: this node may only "
                     "come back wiped: stop it, remove everything in its data_dir, set cluster.generation, "
                     "lockstep-ctrl join";
    if (header.from != from || header.to != self->node)
        return "a node under another id than its link's: look for two nodes with one id or a copied data_dir";
    if (header.type == 0 || header.type >= sizeof(shapes) / sizeof(shapes[0]))
        return "a peer's message of unknown type";
    shape = &shapes[header.type];
    if (header.size != size || header.zero != 0 || size > LS_CTRL_MESSAGE_MAX)
        return "a peer's message of another size than it says, or with a reserved field that is not zero";
    size -= sizeof(header);
    if (shape->open_end ? size < shape->size : size != shape->size)
        return "a peer's message whose body is not of its type's size";
    /* A command may be asked before the asker ever had a dataplane; its answer is taken by its number alone. */
    if (shape->question != (header.id != 0) ||
        (shape->answer != (header.asker != 0) && header.type != LS_PEER_COMMAND_REPLY))
        return "a peer's message with a number or an asker where there is none, or without one";
    return body_check(header.type, bytes + sizeof(header), size);
}

/* FNV-1a over the packed records. */
uint64_t ls_peer_founders(const struct ls_membership *founders)
{
    struct ls_member_record record[LS_MEMBERS_MAX];
    const uint8_t *byte = (const uint8_t *)record;
    uint64_t hash = 0xcbf29ce484222325u;

    ls_membership_write(founders, record);
    for (size_t i = 0; i < founders->count * sizeof(record[0]); i++)
        hash = (hash ^ byte[i]) * 0x100000001b3u;
    return hash != 0 ? hash : 1;
}
