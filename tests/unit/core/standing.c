/* SPDX-License-Identifier: BSD-3-Clause */
/* Founding, joining, counting, and the table of members that follows the log. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

static const struct rig_from LEADER = {.node = 2, .incarnation = 22, .epoch = 1};

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof(struct rig));
    rig_start_outside(rig);
    *state = rig;
    return 0;
}

static int teardown(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

static uint32_t found(struct rig *rig, struct ls_membership members)
{
    return rig_order_give(rig, (struct ls_order){.kind = LS_ORDER_FOUND, .members = members}).code;
}

static struct ls_order join_order(uint64_t epoch, uint64_t reach)
{
    return (struct ls_order){.kind = LS_ORDER_JOIN,
                             .epoch = epoch,
                             .incarnation = 11,
                             .position = reach,
                             .other = 22,
                             .node = 2,
                             .members = rig_members(3)};
}

static uint32_t join(struct rig *rig, uint64_t epoch, uint64_t reach)
{
    return rig_order_give(rig, join_order(epoch, reach)).code;
}

static uint32_t count(struct rig *rig, uint64_t incarnation)
{
    return rig_order_give(rig, (struct ls_order){.kind = LS_ORDER_COUNT, .incarnation = incarnation}).code;
}

/* Node 2 is heard, asked, and answers that the logs part at this log's end. */
static void verify(struct rig *rig, struct rig_from from)
{
    rig_heartbeat(rig, from, (struct ls_heartbeat_body){0}, NULL);
    const struct ls_ack_body *question = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    rig_heartbeat(rig, from, (struct ls_heartbeat_body){0},
                  &(struct ls_answer_record){.incarnation = 11,
                                             .number = question->question,
                                             .position = rig->log.end,
                                             .node = 1,
                                             .kind = LS_ANSWER_PARTING});
    rig_turn(rig, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
}

static bool counts(struct rig *rig)
{
    struct ls_replica_view view;
    ls_replica_view(rig->replica, &view);
    assert_int_equal(atomic_load(&rig->page.counts), view.counts);
    return view.counts;
}

/* Another sequencer's log: its epoch, its members (1..voters), one operation. */
static void leader_log(struct ls_log *log, uint64_t epoch, uint32_t voters)
{
    struct ls_membership members = rig_members(voters);
    uint8_t bytes[LS_MEMBERS_BYTES];
    struct ls_entry header = {.kind = LS_ENTRY_MEMBERS, .time = 1};
    if (log->ring == NULL)
        assert_int_equal(ls_log_init(log, RIG_LOG_SIZE), 0);
    rig_entry(log, LS_ENTRY_EPOCH, epoch, 0, NULL);
    header.time = log->last_time;
    ls_log_append(log, &header, bytes, ls_change_pack(&members, bytes));
    rig_entry(log, LS_ENTRY_OPERATION, epoch, 1, "x");
}

static void order_all(struct rig *rig, struct rig_from from, const struct ls_log *log, uint64_t commit)
{
    uint64_t at = rig->log.end;
    rig_order(rig, from, at, ls_log_at(log, at), (uint32_t)(log->end - at), commit);
    rig_turn(rig, 0);
}

static void a_founder_counts_from_an_empty_log_on(void **state)
{
    struct rig *rig = *state;
    assert_false(counts(rig));
    assert_int_equal(found(rig, rig_members(3)), 0);
    assert_true(counts(rig));
    assert_int_equal(rig_role(rig), LS_ROLE_SEALED);
    struct ls_event sealed = rig_seal(rig, 1);
    assert_int_equal(sealed.code, 1);
    assert_int_equal(sealed.members.count, 3);
    assert_int_equal(sealed.members.seq, 0);
    assert_int_equal(rig_install(rig, 1), 0);
    /* the first sequencer writes them into the log */
    assert_int_equal(rig->log.last_seq, 3);
    assert_int_equal(ls_log_members(&rig->log)->seq, 3);
    assert_int_equal(ls_log_members(&rig->log)->count, 3);
}

static void founding_is_refused_where_it_could_deny_something(void **state)
{
    struct rig *rig = *state;
    struct ls_membership strangers = rig_members(3);
    strangers.member[0].node = 2;
    strangers.member[1].node = 3;
    strangers.member[2].node = 4;
    assert_int_equal(found(rig, strangers), EINVAL); /* not of them */
    struct ls_membership malformed = rig_members(3);
    malformed.member[2].addr.ip = 0;
    assert_int_equal(found(rig, malformed), EINVAL);
    assert_int_equal(found(rig, rig_members(0)), EINVAL);
    rig_entry(&rig->log, LS_ENTRY_EPOCH, 1, 0, NULL);
    assert_int_equal(found(rig, rig_members(3)), ENOTEMPTY);
    ls_log_reset(&rig->log);
    assert_false(counts(rig));
    assert_int_equal(found(rig, rig_members(3)), 0);
    assert_int_equal(found(rig, rig_members(3)), EBUSY);
}

static void joining_is_refused_unless_everything_fits(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(join(rig, 0, 100), ESTALE); /* no epoch is promised */
    rig_seal(rig, 2);
    assert_int_equal(join(rig, 1, 100), ESTALE);
    assert_int_equal(join(rig, 3, 100), ESTALE);
    struct ls_order order = join_order(2, 100);
    order.incarnation = 10;
    assert_int_equal(rig_order_give(rig, order).code, ESTALE);
    order = join_order(2, 100);
    order.node = 1; /* itself */
    assert_int_equal(rig_order_give(rig, order).code, EINVAL);
    order.node = 9; /* not of the members */
    assert_int_equal(rig_order_give(rig, order).code, EINVAL);
    order = join_order(2, 100);
    order.other = 0;
    assert_int_equal(rig_order_give(rig, order).code, EINVAL);
    order = join_order(2, 100);
    order.members.count = 0;
    assert_int_equal(rig_order_give(rig, order).code, EINVAL);
    assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE);
    assert_int_equal(join(rig, 2, 100), 0);
    assert_int_equal(join(rig, 2, 200), 0); /* asked again */
    order = join_order(2, 100);
    order.other = 23;
    assert_int_equal(rig_order_give(rig, order).code, ESTALE); /* a second sequencer of that epoch */
    ls_replica_halt(rig->replica, LS_HALT_LOG_DAMAGED, rig->now);
    assert_int_equal(join(rig, 2, 100), EIO);
    assert_int_equal(count(rig, 11), EIO);
}

static void who_counts_does_not_join(void **state)
{
    struct rig *rig = *state;
    assert_int_equal(found(rig, rig_members(3)), 0);
    rig_seal(rig, 1);
    assert_int_equal(join(rig, 1, 100), EALREADY);
    assert_int_equal(count(rig, 11), 0); /* it does already */
    assert_int_equal(count(rig, 12), ESTALE);
}

/* C5: it is served, says in every frame that it does not count, and answers no read. */
static void a_joiner_is_served_and_counts_when_it_is_told(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader = {0};
    struct ls_event event;
    leader_log(&leader, 1, 3);
    rig_seal(rig, 1);
    assert_int_equal(join(rig, 1, leader.end), 0);
    assert_int_equal(rig_role(rig), LS_ROLE_UNVERIFIED);
    assert_int_equal(rig_install(rig, 1), 2);
    verify(rig, LEADER);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->flags, LS_ACK_VERIFIED | LS_ACK_JOINING);
    assert_int_equal(count(rig, 11), EAGAIN);
    rig_order(rig, LEADER, 0, ls_log_at(&leader, 0), (uint32_t)leader.end - 8, 0);
    rig_turn(rig, 0);
    assert_false(rig_event(rig, LS_EVENT_REACHED, &event));
    order_all(rig, LEADER, &leader, leader.end);
    assert_true(rig_event(rig, LS_EVENT_REACHED, &event));
    assert_int_equal(event.epoch, 1);
    assert_false(counts(rig));
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->flags, LS_ACK_VERIFIED | LS_ACK_JOINING);
    rig_read(rig, (struct ls_read_record){.session = 5, .consistency = LS_READ_STALE, .length = 3}, "key");
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_NO_SEQUENCER);
    rig_request(rig, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = 16}, "0123456789abcdef");
    assert_int_equal(rig_body(rig, ls_view_body, LS_FRAME_REDIRECT)->sequencer, 2); /* that much it knows */
    assert_int_equal(count(rig, 12), ESTALE);
    assert_int_equal(count(rig, 11), 0);
    assert_true(counts(rig));
    rig_turn(rig, 0);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->flags, LS_ACK_VERIFIED);
    rig_read(rig, (struct ls_read_record){.session = 5, .consistency = LS_READ_STALE, .length = 3}, "key");
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 1);
    ls_log_free(&leader);
}

static void admission_starts_over_where_the_epoch_ends_before_it_is_reached(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader = {0};
    struct ls_event event;
    leader_log(&leader, 1, 3);
    rig_seal(rig, 1);
    assert_int_equal(join(rig, 1, leader.end + 64), 0);
    verify(rig, LEADER);
    order_all(rig, LEADER, &leader, 0);
    uint64_t held = rig->log.end;
    struct ls_event sealed = rig_seal(rig, 2);
    assert_int_equal(sealed.code, 0);
    assert_int_equal(sealed.last, held); /* the log is kept */
    assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE);
    assert_int_equal(count(rig, 11), EAGAIN);
    assert_int_equal(rig_install(rig, 2), 2);
    rig_clear(rig);
    struct rig_from next = {.node = 2, .incarnation = 22, .epoch = 2};
    rig_heartbeat(rig, next, (struct ls_heartbeat_body){0}, NULL);
    rig_turn(rig, 10000000);
    assert_int_equal(rig->sent, 0); /* silent again */
    assert_int_equal(join(rig, 2, held), 0);
    verify(rig, next);
    assert_true(rig_event(rig, LS_EVENT_REACHED, &event));
    assert_int_equal(event.epoch, 2);
    assert_int_equal(count(rig, 11), 0);
    ls_log_free(&leader);
}

static void what_was_reached_stays_reached(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader = {0};
    struct ls_event event;
    leader_log(&leader, 1, 3);
    rig_seal(rig, 1);
    assert_int_equal(join(rig, 1, leader.end), 0);
    verify(rig, LEADER);
    order_all(rig, LEADER, &leader, 0);
    assert_true(rig_event(rig, LS_EVENT_REACHED, &event));
    rig_seal(rig, 2);
    assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE); /* it is not told to count yet */
    /* control may have lost the first one: with each JOIN it is said again */
    assert_true(ls_spsc_push(&rig->seam.orders, &(struct ls_order){.id = 5, .kind = LS_ORDER_SEAL, .epoch = 3}));
    struct ls_order again = join_order(3, leader.end + 1000);
    assert_true(ls_spsc_push(&rig->seam.orders, &again));
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_REACHED, &event));
    assert_int_equal(event.epoch, 3);
    rig_seal(rig, 4);
    assert_int_equal(count(rig, 11), 0);
    assert_int_equal(rig_role(rig), LS_ROLE_SEALED);
    assert_true(counts(rig));
    rig_clear(rig);
    verify(rig, (struct rig_from){.node = 3, .incarnation = 33, .epoch = 4});
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->flags, LS_ACK_VERIFIED);
    rig_seal(rig, 5);
    assert_int_equal(rig_install(rig, 5), 0);
    ls_log_free(&leader);
}

static void control_is_told_of_each_membership_and_of_its_commit(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader = {0};
    struct ls_event event;
    leader_log(&leader, 1, 3);
    assert_int_equal(found(rig, rig_members(2)), 0);
    rig_seal(rig, 1);
    verify(rig, LEADER);
    while (ls_spsc_pop(&rig->seam.events, &event))
        continue;
    order_all(rig, LEADER, &leader, 0);
    assert_true(rig_event(rig, LS_EVENT_MEMBERS, &event));
    assert_int_equal(event.members.seq, 2);
    assert_int_equal(event.members.count, 3);
    assert_int_equal(event.code, 0);
    assert_int_equal(atomic_load(&rig->page.members_seq), 2);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){.commit = leader.end, .last = leader.end}, NULL);
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_MEMBERS, &event));
    assert_int_equal(event.code, 1);
    rig_turn(rig, 0);
    assert_false(rig_event(rig, LS_EVENT_MEMBERS, &event));
    ls_log_free(&leader);
}

/* The deposed sequencer's change was never committed: the table goes back with the log. */
static void a_membership_is_undone_with_its_tail(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader = {0};
    struct ls_event event;
    leader_log(&leader, 1, 3);
    uint64_t common = leader.end;
    assert_int_equal(found(rig, rig_members(3)), 0);
    rig_seal(rig, 1);
    verify(rig, LEADER);
    order_all(rig, LEADER, &leader, common);
    struct ls_membership four = rig_members(4);
    uint8_t bytes[LS_MEMBERS_BYTES];
    struct ls_entry header = {.kind = LS_ENTRY_MEMBERS, .time = leader.last_time};
    ls_log_append(&leader, &header, bytes, ls_change_pack(&four, bytes));
    order_all(rig, LEADER, &leader, common);
    assert_int_equal(rig->replica->peers, 3);
    assert_int_equal(rig->told, 3); /* and the port keeps them reachable */
    assert_int_equal(rig->replica->voters, 4);
    assert_int_equal(rig_seal(rig, 2).members.count, 4); /* who elects: the newest, committed or not */
    struct rig_from next = {.node = 3, .incarnation = 33, .epoch = 2};
    rig_clear(rig);
    rig_heartbeat(rig, next, (struct ls_heartbeat_body){0}, NULL);
    rig_heartbeat(rig, next, (struct ls_heartbeat_body){0},
                  &(struct ls_answer_record){.incarnation = 11,
                                             .number = rig_body(rig, ls_ack_body, LS_FRAME_ACK)->question,
                                             .position = common,
                                             .node = 1,
                                             .kind = LS_ANSWER_PARTING});
    assert_int_equal(rig->log.end, common);
    assert_int_equal(rig->replica->peers, 2);
    assert_int_equal(rig->told, 2);
    assert_int_equal(rig->replica->voters, 3);
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_MEMBERS, &event));
    assert_int_equal(event.members.count, 3);
    assert_int_equal(event.code, 1);
    ls_log_free(&leader);
}

/* M5, M6 */
static void who_is_no_voter_does_not_lead_and_who_is_no_member_does_not_serve(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader = {0};
    assert_int_equal(ls_log_init(&leader, RIG_LOG_SIZE), 0);
    assert_int_equal(found(rig, rig_members(3)), 0);
    rig_entry(&leader, LS_ENTRY_EPOCH, 1, 0, NULL);
    struct ls_membership others = rig_members(3);
    others.member[0].role = LS_MEMBER_LEARNER;
    uint8_t bytes[LS_MEMBERS_BYTES];
    struct ls_entry header = {.kind = LS_ENTRY_MEMBERS, .time = leader.last_time};
    ls_log_append(&leader, &header, bytes, ls_change_pack(&others, bytes));
    rig_seal(rig, 1);
    verify(rig, LEADER);
    order_all(rig, LEADER, &leader, leader.end);
    rig_read(rig, (struct ls_read_record){.session = 5, .consistency = LS_READ_STALE, .length = 3}, "key");
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 1); /* a learner serves */
    others.count = 2;
    others.member[0] = rig_members(3).member[1];
    others.member[1] = rig_members(3).member[2];
    ls_log_append(&leader, &header, bytes, ls_change_pack(&others, bytes));
    order_all(rig, LEADER, &leader, leader.end);
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
    rig_clear(rig);
    rig_read(rig, (struct ls_read_record){.session = 5, .consistency = LS_READ_STALE, .length = 3}, "key");
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 0);
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_NO_SEQUENCER);
    rig_seal(rig, 2);
    assert_int_equal(rig_install(rig, 2), 3);
    ls_log_free(&leader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_founder_counts_from_an_empty_log_on),
        TEST(founding_is_refused_where_it_could_deny_something),
        TEST(joining_is_refused_unless_everything_fits),
        TEST(who_counts_does_not_join),
        TEST(a_joiner_is_served_and_counts_when_it_is_told),
        TEST(admission_starts_over_where_the_epoch_ends_before_it_is_reached),
        TEST(what_was_reached_stays_reached),
        TEST(control_is_told_of_each_membership_and_of_its_commit),
        TEST(a_membership_is_undone_with_its_tail),
        TEST(who_is_no_voter_does_not_lead_and_who_is_no_member_does_not_serve),
    };
    return cmocka_run_group_tests_name("standing", tests, NULL, NULL);
}
