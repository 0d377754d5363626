/* SPDX-License-Identifier: BSD-3-Clause */
/* Every message between ctrls is checked before it is used: each refusal by what provokes it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include <ctrl.h>
#include <peer_message.h>

static const struct ls_peer_identity self = {.cluster = 7, .generation = 2, .node = 1};
static uint8_t bytes[2 * LS_CTRL_MESSAGE_MAX];
static struct ls_peer_header header;

static size_t make(uint16_t type, uint64_t id, uint64_t asker, const void *body, size_t size)
{
    header = (struct ls_peer_header){.magic = LS_PEER_MAGIC,
                                     .version = LS_PEER_VERSION,
                                     .type = type,
                                     .size = (uint32_t)(sizeof(header) + size),
                                     .generation = 2,
                                     .cluster = 7,
                                     .id = id,
                                     .incarnation = 5,
                                     .asker = asker,
                                     .from = 2,
                                     .to = 1};
    memcpy(bytes, &header, sizeof(header));
    if (size > 0)
        memcpy(bytes + sizeof(header), body, size);
    return header.size;
}

static void refused(size_t size, const char *part)
{
    const char *why = ls_peer_check(&self, 2, bytes, size);

    assert_non_null(why);
    assert_non_null(strstr(why, part));
}

static void test_header(void **state)
{
    struct ls_peer_confirm body = {.epoch = 3};
    size_t size = make(LS_PEER_CONFIRM, 1, 0, &body, sizeof(body));

    (void)state;
    assert_null(ls_peer_check(&self, 2, bytes, size));
    refused(10, "shorter than its header");
    refused(size - 1, "another size");
    assert_non_null(ls_peer_check(&self, 3, bytes, size)); /* another link's */
#define WRONG(field, value, part)                                                                                      \
    do {                                                                                                               \
        make(LS_PEER_CONFIRM, 1, 0, &body, sizeof(body));                                                              \
        header.field = (value);                                                                                        \
        memcpy(bytes, &header, sizeof(header));                                                                        \
        refused(size, part);                                                                                           \
    } while (0)
    WRONG(magic, 1, "not of a Lockstep ctrl");
    WRONG(version, 2, "another version");
    WRONG(cluster, 8, "another cluster");
    WRONG(generation, 1, "older generation");
    WRONG(generation, 3, "newer generation");
    WRONG(from, 3, "another id");
    WRONG(to, 3, "another id");
    WRONG(type, 0, "unknown type");
    WRONG(type, LS_PEER_COMMAND_REPLY + 1, "unknown type");
    WRONG(zero, 1, "reserved");
    WRONG(id, 0, "a number");
    WRONG(asker, 9, "an asker");
    WRONG(type, LS_PEER_HELLO, "not of its type's size");
}

static void test_votes(void **state)
{
    struct ls_peer_vote vote = {.epoch = 2, .handover = 1};
    struct ls_peer_vote_reply reply = {.epoch = 2, .denied = LS_DENIALS - 1};

    (void)state;
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_VOTE, 1, 0, &vote, sizeof(vote))));
    vote.handover = 2;
    refused(make(LS_PEER_PREVOTE, 1, 0, &vote, sizeof(vote)), "unknown mark");
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_VOTE_REPLY, 1, 4, &reply, sizeof(reply))));
    refused(make(LS_PEER_VOTE_REPLY, 1, 0, &reply, sizeof(reply)), "an asker");
    reply.denied = LS_DENIALS;
    refused(make(LS_PEER_PREVOTE_REPLY, 1, 4, &reply, sizeof(reply)), "unknown reason");
    for (unsigned i = 0; i < LS_DENIALS; i++)
        assert_string_not_equal(ls_denial_text(i), "?");
    assert_string_equal(ls_denial_text(LS_DENIALS), "?");
}

static void test_status(void **state)
{
    struct ls_peer_status status = {.flags = LS_PEER_FLAGS, .role = LS_ROLE_BEHIND, .sequencer = LS_NODE_ID_MAX};

    (void)state;
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_STATUS, 0, 0, &status, sizeof(status))));
    status.flags = LS_PEER_FLAGS + 1;
    refused(make(LS_PEER_STATUS, 0, 0, &status, sizeof(status)), "does not exist");
    status.flags = 0;
    status.role = LS_ROLE_BEHIND + 1;
    refused(make(LS_PEER_STATUS, 0, 0, &status, sizeof(status)), "does not exist");
    status.role = 0;
    status.sequencer = LS_NODE_ID_MAX + 1;
    refused(make(LS_PEER_STATUS, 0, 0, &status, sizeof(status)), "does not exist");
}

static void test_members(void **state)
{
    struct ls_member_record record[LS_MEMBERS_MAX + 1] = {{.node = 1, .role = LS_MEMBER_VOTER, .ip = 1, .port = 1},
                                                          {.node = 2, .role = LS_MEMBER_LEARNER, .ip = 2, .port = 1}};
    uint8_t body[sizeof(struct ls_peer_join_reply) + sizeof(record)];
    struct ls_peer_members head = {.seq = 3, .members = 2, .committed = 1};
    struct ls_peer_join_reply join = {.members = 2, .refused = LS_JOIN_REFUSALS - 1};
    size_t size = sizeof(head) + 2 * sizeof(record[0]);

    (void)state;
    memcpy(body, &head, sizeof(head));
    memcpy(body + sizeof(head), record, sizeof(record));
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_MEMBERS, 0, 0, body, size)));
    refused(make(LS_PEER_MEMBERS, 0, 0, body, size + 16), "number of members");
    head.committed = 2;
    memcpy(body, &head, sizeof(head));
    refused(make(LS_PEER_MEMBERS, 0, 0, body, size), "unknown mark");
    head.committed = 0;
    head.members = LS_MEMBERS_MAX + 1;
    memcpy(body, &head, sizeof(head));
    refused(make(LS_PEER_MEMBERS, 0, 0, body, sizeof(head) + sizeof(record)), "number of members");
    head.members = 2;
    record[0].role = 9;
    memcpy(body, &head, sizeof(head));
    memcpy(body + sizeof(head), record, sizeof(record));
    refused(make(LS_PEER_MEMBERS, 0, 0, body, size), "malformed membership");
    record[0].role = LS_MEMBER_VOTER;

    size = sizeof(join) + 2 * sizeof(record[0]);
    memcpy(body, &join, sizeof(join));
    memcpy(body + sizeof(join), record, sizeof(record));
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_JOIN_REPLY, 1, 4, body, size)));
    join.refused = LS_JOIN_REFUSALS;
    memcpy(body, &join, sizeof(join));
    refused(make(LS_PEER_JOIN_REPLY, 1, 4, body, size), "unknown reason");
}

static void test_commands(void **state)
{
    struct ls_peer_command command = {.kind = LS_COMMAND_MEMBER_ADD,
                                      .promote = 1,
                                      .member = {.node = 4, .role = LS_MEMBER_LEARNER, .ip = 4, .port = 1}};
    struct {
        struct ls_peer_command_reply head;
        char text[LS_PEER_TEXT_MAX + 1];
    } LS_PACKED reply = {.head = {.length = 3}, .text = "yes"};

    (void)state;
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_COMMAND, 1, 0, &command, sizeof(command))));
    command.member.ip = 0;
    refused(make(LS_PEER_COMMAND, 1, 0, &command, sizeof(command)), "malformed member");
    command.kind = LS_COMMAND_SEQUENCER_MOVE + 1;
    refused(make(LS_PEER_COMMAND, 1, 0, &command, sizeof(command)), "does not exist");
    command.kind = LS_COMMAND_MEMBER_REMOVE;
    command.promote = 2;
    refused(make(LS_PEER_COMMAND, 1, 0, &command, sizeof(command)), "does not exist");
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_COMMAND_REPLY, 1, 4, &reply, sizeof(reply.head) + 3)));
    assert_null(ls_peer_check(&self, 2, bytes, make(LS_PEER_COMMAND_REPLY, 1, 0, &reply, sizeof(reply.head) + 3)));
    refused(make(LS_PEER_COMMAND_REPLY, 1, 4, &reply, sizeof(reply.head) + 4), "another text");
    reply.head.length = LS_PEER_TEXT_MAX + 1;
    refused(make(LS_PEER_COMMAND_REPLY, 1, 4, &reply, sizeof(reply)), "another text");
}

/* Whatever the bytes: an answer, never a fault. */
static void test_garbage(void **state)
{
    uint64_t x = 88172645463325252ull;

    (void)state;
    for (int i = 0; i < 20000; i++) {
        size_t size = make((uint16_t)(i % (LS_PEER_COMMAND_REPLY + 2)), 1, i & 1 ? 4 : 0, NULL, 0);
        size += i % 700;
        for (size_t k = sizeof(header); k < size; k++) {
            x ^= x << 13, x ^= x >> 7, x ^= x << 17;
            bytes[k] = (uint8_t)(i % 3 == 0 ? 0 : x);
        }
        header.size = (uint32_t)size;
        memcpy(bytes, &header, sizeof(header));
        (void)ls_peer_check(&self, 2, bytes, size);
    }
}

static void test_founders(void **state)
{
    struct ls_membership a = {.count = 2,
                              .member = {{.node = 1, .role = LS_MEMBER_VOTER, .addr = {1, 1}},
                                         {.node = 2, .role = LS_MEMBER_VOTER, .addr = {2, 1}}}};
    struct ls_membership b = a;

    (void)state;
    b.seq = 9;
    assert_int_equal(ls_peer_founders(&a), ls_peer_founders(&b));
    b.member[1].addr.port = 2;
    assert_int_not_equal(ls_peer_founders(&a), ls_peer_founders(&b));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_header),   cmocka_unit_test(test_votes),    cmocka_unit_test(test_status),
        cmocka_unit_test(test_members),  cmocka_unit_test(test_commands), cmocka_unit_test(test_garbage),
        cmocka_unit_test(test_founders),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
