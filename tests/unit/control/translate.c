/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Messages to orders and events to messages: every type once with all its fields, every event as a message that the
 * checker lets pass, and answers only to the link that asked.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include <lockstep/counters.h>

#include "../core/control_check.h"
#include "translate.h"

static struct ls_translate translate;
static uint8_t message[LS_CONTROL_MESSAGE_MAX];
#define BODY (message + sizeof(struct ls_control_header))

static const struct ls_membership three = {
    .count = 3,
    .member = {{.node = 1, .role = LS_MEMBER_VOTER, .addr = {.ip = 1, .port = 7}, .ctrl = {.ip = 9, .port = 8}},
               {.node = 2, .role = LS_MEMBER_VOTER, .addr = {.ip = 2, .port = 7}},
               {.node = 5, .role = LS_MEMBER_LEARNER, .addr = {.ip = 5, .port = 7}}}};

static int setup(void **state)
{
    (void)state;
    ls_translate_init(&translate, 2, 55);
    return 0;
}

/* A message of `type` with `size` bytes of body and the members behind it; checked. */
static struct ls_control_header put(uint32_t type, uint64_t id, const void *body, size_t size,
                                    const struct ls_membership *members)
{
    size_t records = members != NULL ? members->count * sizeof(struct ls_member_record) : 0;
    struct ls_control_header header = {
        .version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)(size + records)};
    struct ls_member_record record[LS_MEMBERS_MAX];
    const char *wrong;

    memcpy(message, &header, sizeof(header));
    if (size > 0)
        memcpy(BODY, body, size);
    if (members != NULL) {
        ls_membership_write(members, record);
        memcpy(BODY + size, record, records);
    }
    wrong = ls_control_check(LS_CONTROL_TO_DATAPLANE, message, sizeof(header) + size + records);
    if (wrong != NULL)
        fail_msg("type %u: %s", type, wrong);
    return header;
}

static struct ls_order order_of(const struct ls_control_header *header)
{
    struct ls_order order;

    assert_true(ls_translate_order(&translate, header, BODY, &order));
    assert_int_not_equal(order.id, 0);
    return order;
}

/* The message that an event becomes; checked. */
static struct ls_control_header say(const struct ls_event *event)
{
    struct ls_control_header header;
    size_t size = ls_translate_event(&translate, event, message);
    const char *wrong;

    assert_in_range(size, sizeof(header), LS_TRANSLATE_MAX);
    memcpy(&header, message, sizeof(header));
    wrong = ls_control_check(LS_CONTROL_TO_CTRL, message, size);
    if (wrong != NULL)
        fail_msg("type %u: %s", header.type, wrong);
    return header;
}

static void test_orders(void **state)
{
    struct ls_control_epoch epoch = {.epoch = 7};
    struct ls_control_members members = {.members = 3};
    struct ls_control_join join = {
        .epoch = 7, .incarnation = 55, .reach = 640, .sequencer_incarnation = 44, .sequencer = 1, .members = 3};
    struct ls_control_admit admit = {.epoch = 7, .incarnation = 55, .joining = 66, .promise = 6, .node = 3};
    struct ls_control_handover handover = {.epoch = 7, .patience = 1000, .node = 3};
    struct ls_control_header header;
    struct ls_order order;

    (void)state;
    header = put(LS_CONTROL_SEAL, 1, &epoch, sizeof(epoch), NULL);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_SEAL);
    assert_int_equal(order.epoch, 7);
    epoch.incarnation = 55;
    header = put(LS_CONTROL_INSTALL, 1, &epoch, sizeof(epoch), NULL);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_INSTALL);
    assert_int_equal(order.incarnation, 55);
    header = put(LS_CONTROL_COUNT, 1, &epoch, sizeof(epoch), NULL);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_COUNT);
    assert_int_equal(order.incarnation, 55);
    header = put(LS_CONTROL_FOUND, 1, &members, sizeof(members), &three);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_FOUND);
    assert_true(ls_membership_equal(&order.members, &three));
    assert_int_equal(order.members.seq, 0);
    header = put(LS_CONTROL_JOIN, 1, &join, sizeof(join), &three);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_JOIN);
    assert_int_equal(order.epoch, 7);
    assert_int_equal(order.incarnation, 55);
    assert_int_equal(order.position, 640);
    assert_int_equal(order.node, 1);
    assert_int_equal(order.other, 44);
    assert_int_equal(order.members.count, 3);
    header = put(LS_CONTROL_ADMIT, 1, &admit, sizeof(admit), NULL);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_ADMIT);
    assert_int_equal(order.incarnation, 55);
    assert_int_equal(order.node, 3);
    assert_int_equal(order.other, 66);
    assert_int_equal(order.position, 6);
    members.epoch = 7;
    members.seq = 3;
    header = put(LS_CONTROL_CHANGE, 1, &members, sizeof(members), &three);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_CHANGE);
    assert_int_equal(order.epoch, 7);
    assert_int_equal(order.position, 3);
    assert_int_equal(order.members.count, 3);
    header = put(LS_CONTROL_HANDOVER, 1, &handover, sizeof(handover), NULL);
    order = order_of(&header);
    assert_int_equal(order.kind, LS_ORDER_HANDOVER);
    assert_int_equal(order.position, 1000);
    assert_int_equal(order.node, 3);
    /* the rest is not net's */
    header = put(LS_CONTROL_PING, 1, NULL, 0, NULL);
    assert_false(ls_translate_order(&translate, &header, BODY, &order));
}

/* Asks anything, so that the event that answers it has a number. */
static uint64_t ask(uint32_t type, uint64_t id)
{
    struct ls_control_epoch epoch = {.epoch = 7, .incarnation = type == LS_CONTROL_SEAL ? 0 : 55};
    struct ls_control_header header = put(type, id, &epoch, sizeof(epoch), NULL);

    return order_of(&header).id;
}

static void test_answers(void **state)
{
    struct ls_event event = {
        .kind = LS_EVENT_SEALED, .epoch = 7, .last_epoch = 6, .last = 640, .last_seq = 4, .code = 1, .members = three};
    struct ls_control_sealed sealed;
    struct ls_control_installed installed;
    struct ls_control_admitted admitted;
    struct ls_control_changed changed;
    struct ls_control_epoch handed;
    struct ls_control_done done;
    struct ls_membership got;
    struct ls_member_record record[LS_MEMBERS_MAX];
    struct ls_control_header header;

    (void)state;
    event.members.seq = 3;
    event.id = ask(LS_CONTROL_SEAL, 1001);
    header = say(&event);
    assert_int_equal(header.type, LS_CONTROL_SEALED);
    assert_int_equal(header.id, 1001);
    memcpy(&sealed, BODY, sizeof(sealed));
    assert_int_equal(sealed.epoch, 7);
    assert_int_equal(sealed.incarnation, 55);
    assert_int_equal(sealed.last_epoch, 6);
    assert_int_equal(sealed.last, 640);
    assert_int_equal(sealed.last_seq, 4);
    assert_int_equal(sealed.members_seq, 3);
    assert_int_equal(sealed.counts, 1);
    assert_int_equal(sealed.members, 3);
    memcpy(record, BODY + sizeof(sealed), 3 * sizeof(record[0]));
    assert_true(ls_membership_read(&got, record, 3));
    assert_true(ls_membership_equal(&got, &three));

    event = (struct ls_event){.kind = LS_EVENT_INSTALLED, .id = ask(LS_CONTROL_INSTALL, 1002), .epoch = 7, .code = 2};
    assert_int_equal(say(&event).id, 1002);
    memcpy(&installed, BODY, sizeof(installed));
    assert_int_equal(installed.refused, 2);

    event = (struct ls_event){
        .kind = LS_EVENT_ADMITTED, .id = ask(LS_CONTROL_SEAL, 1003), .epoch = 7, .last = 99, .node = 3, .last_seq = 66};
    assert_int_equal(say(&event).id, 1003);
    memcpy(&admitted, BODY, sizeof(admitted));
    assert_int_equal(admitted.reach, 99);
    assert_int_equal(admitted.joining, 66);
    assert_int_equal(admitted.node, 3);

    event = (struct ls_event){.kind = LS_EVENT_CHANGED, .id = ask(LS_CONTROL_SEAL, 1004), .epoch = 7, .code = 4};
    assert_int_equal(say(&event).id, 1004);
    memcpy(&changed, BODY, sizeof(changed));
    assert_int_equal(changed.refused, 4);

    event = (struct ls_event){.kind = LS_EVENT_HANDED, .id = ask(LS_CONTROL_SEAL, 1005), .epoch = 7, .node = 3};
    assert_int_equal(say(&event).type, LS_CONTROL_HANDED);
    memcpy(&handed, BODY, sizeof(handed));
    assert_int_equal(handed.node, 3);

    event = (struct ls_event){.kind = LS_EVENT_DONE, .id = ask(LS_CONTROL_COUNT, 1006), .code = EAGAIN};
    header = say(&event);
    assert_int_equal(header.id, 1006);
    memcpy(&done, BODY, sizeof(done));
    assert_int_equal(done.error, EAGAIN);
    assert_memory_equal(BODY + sizeof(done), "does not count", 14); /* a refusal has a text */
    event = (struct ls_event){.kind = LS_EVENT_DONE, .id = ask(LS_CONTROL_COUNT, 1007)};
    assert_int_equal(say(&event).size, sizeof(done));
}

static void test_events(void **state)
{
    struct ls_event event = {.kind = LS_EVENT_EPOCH_SEEN, .epoch = 9, .node = 3};
    struct ls_control_epoch epoch;
    struct ls_control_role role;
    struct ls_control_members members;

    (void)state;
    assert_int_equal(say(&event).id, 0);
    memcpy(&epoch, BODY, sizeof(epoch));
    assert_int_equal(epoch.epoch, 9);
    assert_int_equal(epoch.node, 3);
    event = (struct ls_event){.kind = LS_EVENT_REACHED, .epoch = 9};
    assert_int_equal(say(&event).type, LS_CONTROL_REACHED);
    memcpy(&epoch, BODY, sizeof(epoch));
    assert_int_equal(epoch.incarnation, 55);
    event = (struct ls_event){.kind = LS_EVENT_ROLE, .epoch = 9, .role = LS_ROLE_FOLLOWER, .node = 3};
    say(&event);
    memcpy(&role, BODY, sizeof(role));
    assert_int_equal(role.sequencer, 3);
    event.role = LS_ROLE_SUSPENDED;
    say(&event);
    memcpy(&role, BODY, sizeof(role));
    assert_int_equal(role.sequencer, 2); /* itself */
    event = (struct ls_event){.kind = LS_EVENT_MEMBERS, .code = 1, .members = three};
    event.members.seq = 12;
    assert_int_equal(say(&event).type, LS_CONTROL_MEMBERS);
    memcpy(&members, BODY, sizeof(members));
    assert_int_equal(members.seq, 12);
    assert_int_equal(members.committed, 1);
    assert_int_equal(members.members, 3);
    event = (struct ls_event){.kind = LS_EVENT_REBASED};
    assert_int_equal(ls_translate_event(&translate, &event, message), 0);
}

/* Two ctrls use the same numbers: the second never gets what the first asked for. */
static void test_relink(void **state)
{
    struct ls_event first = {.kind = LS_EVENT_SEALED, .id = ask(LS_CONTROL_SEAL, 1), .epoch = 7};
    struct ls_event second = {.kind = LS_EVENT_SEALED, .epoch = 8};

    (void)state;
    ls_translate_relink(&translate);
    second.id = ask(LS_CONTROL_SEAL, 1);
    assert_int_equal(ls_translate_event(&translate, &first, message), 0);
    assert_int_equal(say(&second).id, 1);
    assert_int_equal(ls_translate_event(&translate, &second, message), 0); /* taken once */
}

static void test_room(void **state)
{
    uint64_t ids[LS_TRANSLATE_ASKED];
    struct ls_event event = {.kind = LS_EVENT_SEALED, .epoch = 7};

    (void)state;
    for (int i = 0; i < LS_TRANSLATE_ASKED; i++) {
        assert_true(ls_translate_has_room(&translate));
        ids[i] = ask(LS_CONTROL_SEAL, 100 + (uint64_t)i);
    }
    assert_false(ls_translate_has_room(&translate));
    for (int i = LS_TRANSLATE_ASKED - 1; i >= 0; i--) {
        event.id = ids[i];
        assert_int_equal(say(&event).id, 100 + i);
        assert_true(ls_translate_has_room(&translate));
    }
}

int main(void)
{
#define WITH(test) cmocka_unit_test_setup(test, setup)
    const struct CMUnitTest tests[] = {WITH(test_orders), WITH(test_answers), WITH(test_events), WITH(test_relink),
                                       WITH(test_room)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
