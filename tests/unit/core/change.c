/* SPDX-License-Identifier: BSD-3-Clause */
/* What control asks of the sequencer: admitting incarnations, changing the membership, handing over; and VIEW frames.
 */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

#define JOINING (LS_ACK_VERIFIED | LS_ACK_JOINING)

static int setup_of(void **state, uint32_t nodes)
{
    *state = malloc(sizeof(struct rig));
    rig_start(*state, nodes);
    return 0;
}

static int setup(void **state)
{
    return setup_of(state, 3);
}

static int setup_two(void **state)
{
    return setup_of(state, 2);
}

static int setup_alone(void **state)
{
    return setup_of(state, 1);
}

static int teardown(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

static struct rig_from node(uint16_t n, uint64_t incarnation)
{
    return (struct rig_from){.node = n, .incarnation = incarnation, .epoch = 1};
}

static struct ls_order admit_order(uint16_t n, uint64_t joining)
{
    return (struct ls_order){
        .kind = LS_ORDER_ADMIT, .epoch = 1, .incarnation = 11, .position = 1, .other = joining, .node = n};
}

static struct ls_event admit(struct rig *rig, uint16_t n, uint64_t joining)
{
    return rig_order_give(rig, admit_order(n, joining));
}

static struct ls_event change(struct rig *rig, struct ls_membership members)
{
    return rig_order_give(
        rig, (struct ls_order){
                 .kind = LS_ORDER_CHANGE, .epoch = 1, .position = ls_log_members(&rig->log)->seq, .members = members});
}

static uint32_t handover(struct rig *rig, uint16_t n, uint64_t patience)
{
    struct ls_order order = {.id = 80, .kind = LS_ORDER_HANDOVER, .epoch = 1, .position = patience, .node = n};
    struct ls_event event;
    assert_true(ls_spsc_push(&rig->seam.orders, &order));
    rig_turn(rig, 0);
    return rig_event(rig, LS_EVENT_DONE, &event) ? event.code : 0;
}

static struct ls_membership with_learner(uint32_t voters)
{
    struct ls_membership members = rig_members(voters + 1);
    members.member[voters].role = LS_MEMBER_LEARNER;
    return members;
}

static void ack(struct rig *rig, struct rig_from from, uint64_t position, uint16_t flags)
{
    rig_ack(rig, from,
            (struct ls_ack_body){
                .position = position, .limit = RIG_LOG_SIZE, .probe = rig->replica->probe, .flags = flags});
    rig_turn(rig, 1000);
    rig_clear(rig);
}

/* Asks where the logs part, as one that knows epoch 1 up to the log's end, and acknowledges that. */
static void verify(struct rig *rig, struct rig_from from, uint16_t flags)
{
    uint8_t *body = rig_frame(rig, LS_FRAME_ACK, from);
    struct ls_ack_body question = {
        .position = rig->log.end, .question = 1, .flags = (uint16_t)(flags & LS_ACK_JOINING), .rows = 1};
    memcpy(body, &question, sizeof(question));
    memcpy(body + sizeof(question), &rig->log.epoch[0], sizeof(struct ls_epoch_row));
    rig_frame_send(rig, body + sizeof(question) + sizeof(struct ls_epoch_row), rig_address(from.node));
    rig_turn(rig, 1000);
    ack(rig, from, rig->log.end, flags);
}

static uint64_t commit(const struct rig *rig)
{
    return atomic_load(&rig->seam.commit);
}

static void entry(struct rig *rig)
{
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .session = 7, .number = 1};
    ls_sequencer_append(rig->replica, &header, "abc", 3, rig->now);
}

/* ---- admitting ---- */

static void admitting_is_refused_by_number(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    assert_int_equal(admit(rig, 2, 23).code, 1); /* not the sequencer */
    rig_lead(rig, 1);
    struct ls_order order = admit_order(2, 23);
    order.epoch = 2;
    assert_int_equal(rig_order_give(rig, order).code, 1);
    order = admit_order(2, 23);
    order.incarnation = 10;
    assert_int_equal(rig_order_give(rig, order).code, 1);
    assert_int_equal(admit(rig, 9, 23).code, 2);
    assert_int_equal(admit(rig, 1, 23).code, 2); /* itself */
    assert_int_equal(admit(rig, LS_NODE_ID_MAX + 1, 23).code, 2);
    assert_int_equal(admit(rig, 2, 21).code, 3);
    assert_int_equal(admit(rig, 2, 0).code, 3);
    order = admit_order(2, 23);
    order.position = 2;
    struct ls_event event = rig_order_give(rig, order);
    assert_int_equal(event.code, 4);
    assert_int_equal(event.last, 0);
    assert_int_equal(event.last_seq, 23);
    assert_int_equal(event.node, 2);
    assert_true(rig->replica->peer[0].verified); /* nothing is forgotten for a refused one */
}

/* M4 */
static void admitting_forgets_what_the_old_incarnation_said(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    entry(rig);
    struct ls_event event = admit(rig, 2, 23);
    assert_int_equal(event.code, 0);
    assert_int_equal(event.last, rig->log.end); /* the log's end, not its commit */
    assert_true(event.last > commit(rig));
    uint64_t before = commit(rig);
    ack(rig, node(2, 22), rig->log.end, LS_ACK_VERIFIED); /* late, from the dead one */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 1);
    assert_int_equal(commit(rig), before);
    assert_int_equal(atomic_load(&rig->page.acked[2]), 0);
}

static void a_joining_incarnation_needs_to_be_admitted(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_ack(rig, node(3, 34), (struct ls_ack_body){.question = 1, .flags = LS_ACK_JOINING});
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 1);
    assert_int_equal(admit(rig, 3, 34).code, 0);
    rig_ack(rig, node(3, 34), (struct ls_ack_body){.question = 1, .flags = LS_ACK_JOINING});
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 1);
}

static void what_joiners_say_counts_for_nothing(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    assert_int_equal(admit(rig, 2, 23).code, 0);
    verify(rig, node(2, 23), JOINING);
    assert_int_equal(rig->replica->peer[0].acked, rig->log.end); /* served */
    uint64_t before = commit(rig), echoed = rig->replica->probe_echoed;
    entry(rig);
    for (int i = 0; i < 100; i++) {
        rig_turn(rig, 2000000);
        ack(rig, node(2, 23), rig->log.end, JOINING);
    }
    assert_int_equal(commit(rig), before);
    assert_int_equal(rig->replica->probe_echoed, echoed);
    assert_int_equal(rig_role(rig), LS_ROLE_SUSPENDED); /* nobody who counts is heard */
    /* also a suspended sequencer admits; the same incarnation again changes nothing but what it has to reach */
    struct ls_event event = admit(rig, 2, 23);
    assert_int_equal(event.code, 0);
    assert_int_equal(event.last, rig->log.end);
    assert_true(rig->replica->peer[0].verified);
    ack(rig, node(2, 23), rig->log.end, LS_ACK_VERIFIED); /* now it counts */
    assert_int_equal(commit(rig), rig->log.end);
    assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
    entry(rig);
    ack(rig, node(2, 23), rig->log.end, JOINING); /* late: it is held all the same */
    assert_int_equal(commit(rig), rig->log.end);
    assert_int_equal(admit(rig, 2, 23).last, rig->log.end);
    assert_true(rig->replica->peer[0].counts);
}

static void an_empty_log_is_not_opened_with_joiners(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    assert_int_equal(rig_install(rig, 1), 0);
    assert_int_equal(admit(rig, 2, 23).code, 0);
    assert_int_equal(admit(rig, 3, 34).code, 0);
    for (uint16_t n = 2; n <= 3; n++) {
        uint64_t incarnation = n == 2 ? 23 : 34;
        rig_ack(rig, node(n, incarnation), (struct ls_ack_body){.question = 1, .flags = LS_ACK_JOINING});
        rig_turn(rig, 0);
        ack(rig, node(n, incarnation), rig->log.end, JOINING);
    }
    assert_int_equal(commit(rig), 0);
    assert_int_equal(rig_role(rig), LS_ROLE_OPENING);
}

static void two_voters_wait_for_the_one_that_joins(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    entry(rig);
    assert_int_equal(admit(rig, 2, 23).code, 0);
    uint64_t before = commit(rig);
    verify(rig, node(2, 23), JOINING);
    assert_int_equal(commit(rig), before);
    ack(rig, node(2, 23), rig->log.end, LS_ACK_VERIFIED);
    assert_int_equal(commit(rig), rig->log.end);
}

static void one_voter_goes_on_while_a_learner_joins(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    struct ls_event event = change(rig, with_learner(1));
    assert_int_equal(event.code, 0);
    assert_int_equal(event.last_seq, rig->log.last_seq);
    rig_turn(rig, 0);
    assert_int_equal(commit(rig), rig->log.end); /* a learner is in no majority */
    assert_int_equal(admit(rig, 2, 23).code, 0);
    verify(rig, node(2, 23), JOINING);
    entry(rig);
    rig_turn(rig, 0);
    assert_int_equal(commit(rig), rig->log.end);
    rig_apply(rig);
    /* promoted, it is needed from the entry on that says so */
    assert_int_equal(change(rig, rig_members(2)).code, 0);
    rig_turn(rig, 0);
    assert_true(commit(rig) < rig->log.end);
    ack(rig, node(2, 23), rig->log.end, JOINING);
    assert_true(commit(rig) < rig->log.end);
    ack(rig, node(2, 23), rig->log.end, LS_ACK_VERIFIED);
    assert_int_equal(commit(rig), rig->log.end);
}

/* Admitted in an older epoch by another sequencer, it counts: the first frame of the new epoch names it. */
static void a_new_epoch_takes_the_incarnation_that_speaks_first(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_seal(rig, 2);
    assert_int_equal(rig_install(rig, 2), 0);
    struct rig_from newer = {.node = 2, .incarnation = 23, .epoch = 2};
    rig_ack(rig, newer, (struct ls_ack_body){.question = 5});
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 0);
    struct rig_from newest = {.node = 2, .incarnation = 24, .epoch = 2};
    rig_ack(rig, newest, (struct ls_ack_body){.question = 5});
    struct rig_from old = {.node = 2, .incarnation = 22, .epoch = 2};
    rig_ack(rig, old, (struct ls_ack_body){.question = 5});
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 2);
}

/* ---- changing the membership ---- */

static void changing_is_refused_by_number(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    assert_int_equal(change(rig, rig_members(4)).code, 1); /* not the sequencer */
    assert_int_equal(rig_install(rig, 1), 0);
    assert_int_equal(change(rig, rig_members(4)).code, 1); /* still opening */
    rig_seal(rig, 1);
    struct ls_order order = {.kind = LS_ORDER_CHANGE, .epoch = 2, .members = rig_members(4)};
    for (uint16_t n = 2; n <= 3; n++) {
        rig_ack(rig, node(n, n * 11u), (struct ls_ack_body){.question = 1});
        rig_turn(rig, 0);
        ack(rig, node(n, n * 11u), rig->log.end, LS_ACK_VERIFIED);
    }
    rig_apply(rig);
    rig_turn(rig, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
    order.position = ls_log_members(&rig->log)->seq;
    assert_int_equal(rig_order_give(rig, order).code, 1); /* of another epoch */
    order.epoch = 1;
    order.position++;
    assert_int_equal(rig_order_give(rig, order).code, 3);
    assert_int_equal(change(rig, rig_members(5)).code, 4);
    assert_int_equal(change(rig, rig_members(1)).code, 4);
    assert_int_equal(change(rig, rig_members(0)).code, 5);
    struct ls_membership members = rig_members(3);
    members.count = LS_MEMBERS_MAX + 1;
    assert_int_equal(change(rig, members).code, 5);
    members = rig_members(3);
    members.member[0].role = LS_MEMBER_LEARNER;
    assert_int_equal(change(rig, members).code, 6);
    members = rig_members(4);
    members.member[3].addr.port = 0;
    struct ls_event event = change(rig, members);
    assert_int_equal(event.code, 8);
    assert_int_equal(event.last_seq, 0);
    uint64_t seq = rig->log.last_seq;
    assert_int_equal(change(rig, rig_members(4)).code, 0);
    assert_int_equal(rig->log.last_seq, seq + 1);
    assert_int_equal(change(rig, rig_members(3)).code, 2); /* that one is not committed yet */
}

static void changing_waits_for_room(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    while (ls_sequencer_has_room(rig->replica, LS_MEMBERS_BYTES, rig->now))
        entry(rig);
    assert_int_equal(change(rig, rig_members(4)).code, 7);
}

static void a_change_counts_from_its_entry_on(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    assert_int_equal(change(rig, rig_members(4)).code, 0);
    assert_int_equal(rig->replica->voters, 4);
    uint64_t before = commit(rig);
    ack(rig, node(2, 22), rig->log.end, LS_ACK_VERIFIED); /* two of four */
    assert_int_equal(commit(rig), before);
    assert_int_equal(admit(rig, 4, 44).code, 0);
    verify(rig, node(4, 44), JOINING);
    ack(rig, node(4, 44), rig->log.end, LS_ACK_VERIFIED);
    assert_int_equal(commit(rig), rig->log.end);
    /* removed, and back: this sequencer verified it in this epoch, and goes on from there */
    assert_int_equal(change(rig, rig_members(3)).code, 0);
    ack(rig, node(4, 44), rig->log.end, LS_ACK_VERIFIED);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_sender), 1);
    ack(rig, node(2, 22), rig->log.end, LS_ACK_VERIFIED); /* two of three */
    assert_int_equal(commit(rig), rig->log.end);
    assert_int_equal(change(rig, rig_members(4)).code, 0);
    ack(rig, node(4, 43), rig->log.end, LS_ACK_VERIFIED); /* late, from the incarnation before */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 1);
    ack(rig, node(4, 44), rig->log.end, LS_ACK_VERIFIED);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_ack_position), 0);
    assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
    assert_true(commit(rig) < rig->log.end); /* two of four */
    ack(rig, node(2, 22), rig->log.end, LS_ACK_VERIFIED);
    assert_int_equal(commit(rig), rig->log.end);
}

/* ---- handing over ---- */

static void handing_over_is_refused_with_a_reason(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    assert_int_equal(handover(rig, 2, 1000000), ESTALE);
    rig_lead(rig, 1);
    struct ls_order other = {.kind = LS_ORDER_HANDOVER, .epoch = 2, .node = 2};
    assert_int_equal(rig_order_give(rig, other).code, ESTALE);
    assert_int_equal(handover(rig, 1, 1000000), ENOENT);
    assert_int_equal(handover(rig, 9, 1000000), ENOENT);
    assert_int_equal(handover(rig, 3, 1000000), EAGAIN); /* never heard in this epoch */
    assert_int_equal(handover(rig, 2, 1000000), 0);
    assert_int_equal(handover(rig, 2, 1000000), EBUSY);
    assert_int_equal(change(rig, rig_members(4)).code, 1); /* not while it hands over */
}

static void the_target_holds_everything_before_it_is_said(void **state)
{
    struct rig *rig = *state;
    struct ls_event event;
    rig_lead(rig, 1);
    entry(rig);
    assert_int_equal(handover(rig, 2, 50000000), 0);
    uint64_t last = rig->log.last_seq;
    rig_request(rig, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = 16}, "0123456789abcdef");
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_BUSY_OPENING);
    rig->time_pending = true;
    rig_turn(rig, 20000000);
    assert_int_equal(rig->log.last_seq, last); /* nor does it tick */
    assert_false(rig_event(rig, LS_EVENT_HANDED, &event));
    ack(rig, node(2, 22), rig->log.end, LS_ACK_VERIFIED);
    assert_true(rig_event(rig, LS_EVENT_HANDED, &event));
    assert_int_equal(event.id, 80);
    assert_int_equal(event.node, 2);
    assert_int_equal(event.epoch, 1);
    rig_turn(rig, 1000);
    assert_false(rig_event(rig, LS_EVENT_HANDED, &event));
    rig_request(rig, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = 16}, "0123456789abcdef");
    assert_int_equal(rig->log.last_seq, last);
    /* no new epoch came: it resumes by itself, and says nothing more */
    assert_true(ls_replica_next_ns(rig->replica, rig->now) <= rig->now + 50000000);
    rig->time_pending = false;
    rig_turn(rig, 50000000);
    rig_request(rig, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = 16}, "0123456789abcdef");
    assert_int_equal(rig->log.last_seq, last + 1);
    assert_false(rig_event(rig, LS_EVENT_DONE, &event));
}

static void a_target_that_does_not_catch_up_is_given_up(void **state)
{
    struct rig *rig = *state;
    struct ls_event event;
    rig_lead(rig, 1);
    entry(rig);
    assert_int_equal(handover(rig, 2, 5000000), 0);
    rig_turn(rig, 6000000);
    assert_true(rig_event(rig, LS_EVENT_DONE, &event));
    assert_int_equal(event.code, ETIMEDOUT);
    assert_true(ls_sequencer_has_room(rig->replica, 8, rig->now));
    assert_int_equal(handover(rig, 2, 5000000), 0);
    struct ls_order seal = {.id = 1, .kind = LS_ORDER_SEAL, .epoch = 2};
    assert_true(ls_spsc_push(&rig->seam.orders, &seal));
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_DONE, &event));
    assert_int_equal(event.code, ECANCELED);
}

static void a_sequencer_that_halts_hands_nothing_over(void **state)
{
    struct rig *rig = *state;
    struct ls_event event;
    rig_lead(rig, 1);
    entry(rig);
    assert_int_equal(handover(rig, 2, 50000000), 0);
    ack(rig, node(2, 22), rig->log.end + 8, LS_ACK_VERIFIED);
    assert_int_equal(rig_role(rig), LS_ROLE_HALTED);
    assert_true(rig_event(rig, LS_EVENT_DONE, &event));
    assert_int_equal(event.id, 80);
    assert_int_equal(event.code, ECANCELED);
}

/* ---- VIEW frames ---- */

static void seat(struct rig *rig, uint32_t slot, uint64_t active)
{
    rig_session(rig, slot, 100 + slot, 1);
    atomic_store(&rig->seam.sessions[slot].client, (uint64_t)RIG_CLIENT.ip << 16 | (40000 + slot));
    atomic_store(&rig->seam.sessions[slot].active, active);
}

static void clients_active_lately_are_told_a_few_at_a_time(void **state)
{
    struct rig *rig = *state;
    for (uint32_t slot = 0; slot < 12; slot++)
        seat(rig, slot, 20000000000);
    seat(rig, 3, 0);                                  /* long ago */
    atomic_store(&rig->seam.sessions[4].client, 0);   /* nobody knows where */
    rig_session(rig, 5, 0, 1);                        /* closed */
    rig_entry(&rig->log, LS_ENTRY_EPOCH, 1, 0, NULL); /* this log's time is 20 s */
    rig->log.last_time = 20000000000;
    rig->log.membership[0].end = 0;
    rig_lead(rig, 2);
    uint64_t told = rig_count(rig, LS_COUNT_views_out); /* the turn that opened it told the first ones */
    assert_int_equal(told, 8);
    rig_turn(rig, 1000);
    assert_int_equal(rig_count(rig, LS_COUNT_views_out), 9);
    const struct ls_view_body *view = rig_body(rig, ls_view_body, LS_FRAME_VIEW);
    assert_int_equal(view->epoch, 2);
    assert_int_equal(view->sequencer, 1);
    assert_int_equal(view->members, 3);
    rig_turn(rig, 100000);
    assert_int_equal(rig_count(rig, LS_COUNT_views_out), 9); /* once */
    struct ls_order order = {
        .kind = LS_ORDER_CHANGE, .epoch = 2, .position = ls_log_members(&rig->log)->seq, .members = rig_members(4)};
    assert_int_equal(rig_order_give(rig, order).code, 0);
    rig_turn(rig, 1000);
    assert_int_equal(rig_count(rig, LS_COUNT_views_out), 18); /* and again, of the change */
    assert_int_equal(rig_body(rig, ls_view_body, LS_FRAME_VIEW)->members, 4);
}

int main(void)
{
#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_ALONE(name) cmocka_unit_test_setup_teardown(name, setup_alone, teardown)
    const struct CMUnitTest tests[] = {
        TEST(admitting_is_refused_by_number),
        TEST(admitting_forgets_what_the_old_incarnation_said),
        TEST(a_joining_incarnation_needs_to_be_admitted),
        TEST(what_joiners_say_counts_for_nothing),
        TEST(an_empty_log_is_not_opened_with_joiners),
        cmocka_unit_test_setup_teardown(two_voters_wait_for_the_one_that_joins, setup_two, teardown),
        TEST_ALONE(one_voter_goes_on_while_a_learner_joins),
        TEST(a_new_epoch_takes_the_incarnation_that_speaks_first),
        TEST(changing_is_refused_by_number),
        TEST(changing_waits_for_room),
        TEST(a_change_counts_from_its_entry_on),
        TEST(handing_over_is_refused_with_a_reason),
        TEST(the_target_holds_everything_before_it_is_said),
        TEST(a_target_that_does_not_catch_up_is_given_up),
        TEST(a_sequencer_that_halts_hands_nothing_over),
        TEST(clients_active_lately_are_told_a_few_at_a_time),
    };
    return cmocka_run_group_tests_name("change", tests, NULL, NULL);
}
