/* SPDX-License-Identifier: BSD-3-Clause */
/* Roles, epochs, verification, commit: what a replica does with each frame, and which counter names what it drops. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

static const struct rig_from LEADER = {.node = 2, .incarnation = 22, .epoch = 1};

static int setup(void **state)
{
    *state = malloc(sizeof(struct rig));
    rig_start(*state, 3);
    return 0;
}

static int teardown(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

static void starts_sealed_and_silent(void **state)
{
    struct rig *rig = *state;
    rig_turn(rig, 1000000000);
    assert_int_equal(rig_role(rig), LS_ROLE_SEALED);
    assert_int_equal(rig->sent, 0);
}

static void a_seal_answers_with_the_last_complete_entry(void **state)
{
    struct rig *rig = *state;
    struct ls_event sealed = rig_seal(rig, 5);
    assert_int_equal(sealed.kind, LS_EVENT_SEALED);
    assert_int_equal(sealed.epoch, 5);
    assert_int_equal(sealed.last_epoch, 0);
    sealed = rig_seal(rig, 3); /* lower: the promise stays */
    assert_int_equal(sealed.epoch, 5);
}

static void install_is_refused_unless_sealed_at_that_epoch(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 5);
    assert_int_equal(rig_install(rig, 4), 1);
    rig->config.incarnation = 99;
    assert_int_equal(rig_install(rig, 5), 2);
    rig->config.incarnation = 11;
    assert_int_equal(rig_install(rig, 5), 0);
    assert_int_equal(rig_role(rig), LS_ROLE_OPENING);
    assert_int_equal(rig_install(rig, 5), 1); /* it is no longer sealed */
}

static void verify(struct rig *rig, uint16_t node, uint64_t position)
{
    struct rig_from from = {.node = node, .incarnation = node * 11u, .epoch = 1};
    rig_ack(rig, from, (struct ls_ack_body){.question = 1});
    rig_turn(rig, 0);
    rig_ack(rig, from, (struct ls_ack_body){.position = 0, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 0);
    rig_ack(rig, from, (struct ls_ack_body){.position = position, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 0);
}

static void an_empty_log_is_opened_by_all_voters_together(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    rig_install(rig, 1);
    rig_turn(rig, 2000000);
    assert_int_equal(rig_role(rig), LS_ROLE_OPENING);
    verify(rig, 2, rig->log.end);
    assert_true(rig_sent(rig, LS_FRAME_ORDER) > 0);
    assert_int_equal(atomic_load(&rig->seam.commit), 0); /* node 3 may know better */
    verify(rig, 3, rig->log.end);
    assert_int_equal(atomic_load(&rig->seam.commit), rig->log.end);
    assert_int_equal(rig_role(rig), LS_ROLE_OPENING); /* committed, not yet applied */
    rig_apply(rig);
    rig_turn(rig, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
    uint64_t next = rig_entry(&rig->log, LS_ENTRY_OPERATION, 1, 1, "from here on a majority suffices");
    verify(rig, 2, next);
    assert_int_equal(atomic_load(&rig->seam.commit), next);
}

static enum ls_halt halt_of(struct rig *rig)
{
    struct ls_replica_view view;
    ls_replica_view(rig->replica, &view);
    return view.halt;
}

static void an_acknowledgement_that_nobody_here_caused_halts(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    rig_install(rig, 1);
    /* Node 2 has verified in epoch 1 with a predecessor of this incarnation, of which this one knows nothing. */
    rig_ack(rig, LEADER,
            (struct ls_ack_body){.position = rig->log.end, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 0);
    assert_int_equal(atomic_load(&rig->seam.commit), 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_ack_position), 1);
    assert_int_equal(halt_of(rig), LS_HALT_MEMORY_LOST);
}

static void an_acknowledgement_beyond_the_log_halts(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    uint64_t commit = atomic_load(&rig->seam.commit);
    rig_ack(rig, LEADER,
            (struct ls_ack_body){.position = rig->log.end + 8, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_ack_position), 1);
    assert_int_equal(atomic_load(&rig->seam.commit), commit);
    assert_int_equal(halt_of(rig), LS_HALT_MEMORY_LOST);
}

static void another_incarnation_does_not_count(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_entry(&rig->log, LS_ENTRY_OPERATION, 1, 1, "x");
    uint64_t commit = atomic_load(&rig->seam.commit);
    for (uint64_t incarnation = 21; incarnation <= 23; incarnation += 2) {
        struct rig_from other = {.node = 2, .incarnation = incarnation, .epoch = 1};
        rig_ack(rig, other,
                (struct ls_ack_body){.position = rig->log.end, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
        rig_turn(rig, 0);
    }
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 2);
    assert_int_equal(atomic_load(&rig->seam.commit), commit);
}

static void entries_of_an_older_epoch_wait_for_the_own_first_one(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    uint64_t commit = atomic_load(&rig->seam.commit);
    uint64_t old_end = rig_entry(&rig->log, LS_ENTRY_OPERATION, 1, 1, "not committed in epoch 1");
    rig_seal(rig, 2);
    rig_install(rig, 2);
    struct rig_from follower = {.node = 2, .incarnation = 22, .epoch = 2};
    struct ls_epoch_row row = {.epoch = 1, .position = 0, .seq = 1};
    uint8_t *body = rig_frame(rig, LS_FRAME_ACK, follower);
    struct ls_ack_body question = {.position = old_end, .question = 2, .rows = 1};
    memcpy(body, &question, sizeof(question));
    memcpy(body + sizeof(question), &row, sizeof(row));
    rig_frame_send(rig, body + sizeof(question) + sizeof(row), rig_address(2));
    rig_turn(rig, 0);
    rig_ack(rig, follower, (struct ls_ack_body){.position = old_end, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 0);
    assert_int_equal(atomic_load(&rig->seam.commit), commit); /* a majority holds it, and yet */
    rig_ack(rig, follower,
            (struct ls_ack_body){.position = rig->log.end, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 0);
    assert_int_equal(atomic_load(&rig->seam.commit), rig->log.end);
}

static void a_follower_asks_once_and_takes_the_answer_once(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){.commit = 0}, NULL);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){.commit = 0}, NULL);
    assert_int_equal(rig_sent(rig, LS_FRAME_ACK), 1);
    const struct ls_ack_body *question = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    assert_int_equal(question->flags, 0);
    struct ls_answer_record answer = {
        .incarnation = 11, .number = question->question, .node = 1, .kind = LS_ANSWER_PARTING};
    struct ls_answer_record wrong = answer;
    wrong.number++;
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, &wrong);
    wrong = answer;
    wrong.incarnation = 10;
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, &wrong);
    wrong = answer;
    wrong.position = 64; /* beyond this log's end */
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, &wrong);
    assert_int_equal(rig_role(rig), LS_ROLE_UNVERIFIED);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_answer), 3);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, &answer);
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, &answer);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_answer), 4);
    assert_int_equal(rig_count(rig, LS_COUNT_verifications), 1);
}

static void an_unanswered_question_is_repeated(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, NULL);
    rig_turn(rig, 1000);
    assert_int_equal(rig_sent(rig, LS_FRAME_ACK), 1);
    rig_turn(rig, 3000000);
    assert_int_equal(rig_sent(rig, LS_FRAME_ACK), 2);
    rig_turn(rig, 3000000); /* patience doubles */
    assert_int_equal(rig_sent(rig, LS_FRAME_ACK), 2);
    rig_turn(rig, 3000000);
    assert_int_equal(rig_sent(rig, LS_FRAME_ACK), 3);
}

static void nothing_is_written_before_verification(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    uint8_t bytes[64] = {0};
    rig_order(rig, LEADER, 0, bytes, sizeof(bytes), 64);
    rig_turn(rig, 0);
    assert_int_equal(rig->log.filled, 0);
    assert_int_equal(atomic_load(&rig->seam.commit), 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_unverified), 1);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->flags, 0); /* it asks, it does not acknowledge */
}

static void commit_is_clamped_to_what_is_held(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader;
    assert_int_equal(ls_log_init(&leader, RIG_LOG_SIZE), 0);
    uint64_t first = rig_entry(&leader, LS_ENTRY_EPOCH, 1, 0, NULL);
    uint64_t second = rig_entry(&leader, LS_ENTRY_OPERATION, 1, 1, "abc");
    rig_follow(rig, 1);
    rig_order(rig, LEADER, 0, ls_log_at(&leader, 0), (uint32_t)first + 10, second);
    assert_int_equal(atomic_load(&rig->seam.commit), first);
    rig_order(rig, LEADER, first + 10, ls_log_at(&leader, first + 10), (uint32_t)(second - first - 10), second);
    assert_int_equal(atomic_load(&rig->seam.commit), second);
    ls_log_free(&leader);
}

static void a_tail_is_dropped_at_verification_but_never_below_commit(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    uint64_t commit = atomic_load(&rig->seam.commit);
    rig_entry(&rig->log, LS_ENTRY_OPERATION, 1, 1, "not committed");
    rig_seal(rig, 2);
    assert_true(rig->log.end > commit); /* a seal drops no complete entry */
    struct rig_from leader = {.node = 2, .incarnation = 22, .epoch = 2};
    rig_heartbeat(rig, leader, (struct ls_heartbeat_body){0}, NULL);
    struct ls_answer_record answer = {.incarnation = 11,
                                      .number = rig_body(rig, ls_ack_body, LS_FRAME_ACK)->question,
                                      .position = commit,
                                      .node = 1,
                                      .kind = LS_ANSWER_PARTING};
    rig_heartbeat(rig, leader, (struct ls_heartbeat_body){0}, &answer);
    assert_int_equal(rig->log.end, commit);
    assert_int_equal(rig_count(rig, LS_COUNT_truncations), 1);
    rig_seal(rig, 3);
    leader.epoch = 3;
    rig_heartbeat(rig, leader, (struct ls_heartbeat_body){0}, NULL);
    answer.number = rig_body(rig, ls_ack_body, LS_FRAME_ACK)->question;
    answer.position = 0;
    rig_heartbeat(rig, leader, (struct ls_heartbeat_body){0}, &answer);
    assert_int_equal(rig_role(rig), LS_ROLE_HALTED);
    assert_int_equal(rig->log.end, commit);
    struct ls_replica_view view;
    ls_replica_view(rig->replica, &view);
    assert_int_equal(view.halt, LS_HALT_PARTING_BELOW_COMMIT);
    rig_heartbeat(rig, leader, (struct ls_heartbeat_body){0}, NULL);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_role), 1);
    rig_clear(rig);
    rig_request(rig, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = 16}, "0123456789abcdef");
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_HALTED);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_halted), 1);
    assert_int_equal(rig_install(rig, 3), 4);
}

static void what_comes_and_goes_is_counted_by_type(void **state)
{
    struct rig *rig = *state;
    struct ls_log leader;
    assert_int_equal(ls_log_init(&leader, RIG_LOG_SIZE), 0);
    uint64_t first = rig_entry(&leader, LS_ENTRY_EPOCH, 1, 0, NULL);
    rig_follow(rig, 1);
    uint64_t acks = rig_count(rig, LS_COUNT_acks_out);
    assert_int_equal(rig_count(rig, LS_COUNT_heartbeats_in), 2); /* that is how it was verified */
    rig_order(rig, LEADER, 0, ls_log_at(&leader, 0), (uint32_t)first, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&leader, 0), (uint32_t)first, 0);
    rig_turn(rig, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_orders_in), 2);
    assert_int_equal(rig_count(rig, LS_COUNT_order_duplicate), 1);
    assert_int_equal(rig_count(rig, LS_COUNT_acks_out), acks + 1); /* one for the burst */
    ls_log_free(&leader);
    rig_seal(rig, 2);
    assert_int_equal(rig_install(rig, 2), 0);
    rig_turn(rig, 2000000);
    assert_int_equal(rig_count(rig, LS_COUNT_heartbeats_out), 2 * 2); /* as it opens, and again: to two members each */
    rig_ack(rig, (struct rig_from){.node = 2, .incarnation = 22, .epoch = 2}, (struct ls_ack_body){.question = 9});
    assert_int_equal(rig_count(rig, LS_COUNT_acks_in), 1);
}

static uint32_t orders_to(const struct rig *rig, uint16_t node)
{
    uint32_t orders = 0;
    for (uint32_t i = 0; i < rig->sent; i++)
        orders += ls_frame_header(rig->out[i].data)->type == LS_FRAME_ORDER &&
                  ls_addr_equal(rig->out[i].peer, rig_address(node));
    return orders;
}

/* What it misses goes out in small shares, behind what is new. */
static void one_that_comes_back_does_not_keep_new_entries_from_others(void **state)
{
    struct rig *rig = *state;
    struct rig_from two = {.node = 2, .incarnation = 22, .epoch = 1};
    struct rig_from three = {.node = 3, .incarnation = 33, .epoch = 1};
    struct ls_ack_body ack = {.limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED};
    static const char value[1000];
    rig_lead(rig, 1);
    for (uint32_t i = 0; i < 48; i++)
        ls_sequencer_append(rig->replica, &(struct ls_entry){.kind = LS_ENTRY_TICK}, value, sizeof(value), rig->now);
    rig_turn(rig, 1000);
    ack.position = rig->log.end;
    rig_ack(rig, two, ack);
    rig_turn(rig, 1000);
    rig_apply(rig);
    rig_ack(rig, three, (struct ls_ack_body){.question = 1});
    rig_turn(rig, 1000);
    ls_sequencer_append(rig->replica, &(struct ls_entry){.kind = LS_ENTRY_TICK}, value, sizeof(value), rig->now);
    ack.position = 0;
    rig_clear(rig);
    rig_ack(rig, three, ack);
    rig_turn(rig, 1000);
    assert_int_equal(orders_to(rig, 2), 1);
    assert_int_equal(orders_to(rig, 3), 16);
    assert_true(ls_addr_equal(rig->out[0].peer, rig_address(2)));
    for (uint32_t turns = 0; turns < 3; turns++)
        rig_turn(rig, 1000);
    assert_int_equal(rig->replica->peer[1].next, rig->log.end); /* all of it */
    assert_int_equal(orders_to(rig, 2), 1);
}

static void damaged_log_bytes_halt_the_replica(void **state)
{
    struct rig *rig = *state;
    uint8_t bytes[64] = {0};
    rig_follow(rig, 1);
    rig_order(rig, LEADER, 0, bytes, sizeof(bytes), 0);
    struct ls_replica_view view;
    ls_replica_view(rig->replica, &view);
    assert_int_equal(view.halt, LS_HALT_LOG_DAMAGED);
}

static void a_replica_too_far_behind_says_so(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0},
                  &(struct ls_answer_record){.incarnation = 11,
                                             .number = rig->replica->question,
                                             .position = rig->log.filled + 1,
                                             .node = 1,
                                             .kind = LS_ANSWER_TOO_OLD});
    assert_int_equal(rig_role(rig), LS_ROLE_BEHIND);
    /* it asks no more, acknowledges nothing, and keeps its vote */
    rig_clear(rig);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, NULL);
    rig_order(rig, LEADER, 0, "12345678", 8, 0);
    rig_turn(rig, 100000000);
    assert_int_equal(rig->sent, 0);
    rig_read(rig, (struct ls_read_record){.session = 5, .number = 1, .length = 3}, "key");
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_NO_SEQUENCER);
    rig_read(rig, (struct ls_read_record){.session = 5, .consistency = LS_READ_LEAST, .least = 9, .length = 3}, "key");
    assert_int_equal(rig_count(rig, LS_COUNT_busy_no_sequencer), 2);
    assert_int_equal(rig_seal(rig, 2).code, 1);
    assert_int_equal(rig_role(rig), LS_ROLE_SEALED);
}

/* Only its acknowledgements were lost: it holds what the sequencer thinks it misses, and says so. */
static void a_replica_that_holds_enough_is_not_too_far_behind(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    rig_turn(rig, 1000);
    rig_clear(rig);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0},
                  &(struct ls_answer_record){.incarnation = 11,
                                             .number = rig->replica->question,
                                             .position = rig->log.filled,
                                             .node = 1,
                                             .kind = LS_ANSWER_TOO_OLD});
    rig_turn(rig, 1000);
    struct ls_replica_view view;
    ls_replica_view(rig->replica, &view);
    assert_int_equal(view.halt, LS_HALT_NONE);
    assert_true(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->flags & LS_ACK_VERIFIED);
}

static void frames_are_judged_by_their_epoch_first(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 5);
    struct rig_from old = {.node = 2, .incarnation = 22, .epoch = 4};
    rig_heartbeat(rig, old, (struct ls_heartbeat_body){0}, NULL);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_epoch_old), 1);
    struct rig_from new = {.node = 2, .incarnation = 22, .epoch = 6};
    rig_heartbeat(rig, new, (struct ls_heartbeat_body){0}, NULL);
    rig_ack(rig, new, (struct ls_ack_body){.question = 1});
    assert_int_equal(rig_count(rig, LS_COUNT_drop_epoch_new), 2);
    assert_int_equal(rig_role(rig), LS_ROLE_SEALED);
    struct ls_event event;
    uint32_t told = 0;
    while (ls_spsc_pop(&rig->seam.events, &event))
        told += event.kind == LS_EVENT_EPOCH_SEEN && event.epoch == 6 && event.node == 2;
    assert_int_equal(told, 1); /* the heartbeat asks ctrl, the acknowledgement does not */
}

/* What is said again and again does not take the queue's last places from what is said once. */
static void a_higher_epoch_leaves_room_for_other_events(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 5);
    for (uint64_t epoch = 6; epoch < 6 + 2 * LS_EVENTS_QUEUE; epoch++)
        rig_heartbeat(rig, (struct rig_from){.node = 2, .incarnation = 22, .epoch = epoch},
                      (struct ls_heartbeat_body){0}, NULL);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_epoch_new), 2 * LS_EVENTS_QUEUE);
    assert_int_equal(ls_spsc_room(&rig->seam.events), 16);
}

/* control asked something and then does not get on: it is answered when it does, and told the newest role. */
static void a_full_queue_delays_answers_and_roles(void **state)
{
    struct rig *rig = *state;
    struct ls_event event;
    struct ls_order order = {.id = 5, .kind = LS_ORDER_SEAL, .epoch = 5};
    rig_seal(rig, 4);
    rig_events_fill(rig);
    assert_true(ls_spsc_push(&rig->seam.orders, &order));
    rig_turn(rig, 1000);
    assert_true(ls_replica_next_ns(rig->replica, rig->now) > rig->now); /* it does not burn a core meanwhile */
    rig_events_empty(rig);
    rig_turn(rig, 1000);
    assert_true(rig_event(rig, LS_EVENT_SEALED, &event));
    assert_int_equal(event.id, 5);
    rig_events_fill(rig);
    rig_heartbeat(rig, (struct rig_from){.node = 2, .incarnation = 22, .epoch = 5}, (struct ls_heartbeat_body){0},
                  NULL);
    assert_int_equal(rig_role(rig), LS_ROLE_UNVERIFIED);
    rig_turn(rig, 1000);
    rig_events_empty(rig);
    rig_turn(rig, 1000);
    assert_true(rig_event(rig, LS_EVENT_ROLE, &event));
    assert_int_equal(event.role, LS_ROLE_UNVERIFIED);
    assert_int_equal(event.node, 2);
    rig_turn(rig, 1000);
    assert_false(rig_event(rig, LS_EVENT_ROLE, &event)); /* once */
}

/* Roles that change again and again leave the last places to what is said once. */
static void roles_leave_room_for_answers(void **state)
{
    struct rig *rig = *state;
    struct ls_event event;
    rig_lead(rig, 1);
    for (int i = 0; i < 2 * LS_EVENTS_QUEUE; i++) {
        rig_turn(rig, 200000000);
        assert_int_equal(rig_role(rig), LS_ROLE_SUSPENDED);
        rig_ack(rig, LEADER,
                (struct ls_ack_body){.position = rig->log.end, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
        rig_turn(rig, 1000);
        assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
    }
    struct ls_order order = {.id = 5, .kind = LS_ORDER_SEAL, .epoch = 5};
    assert_true(ls_spsc_push(&rig->seam.orders, &order));
    rig_turn(rig, 1000);
    assert_true(rig_event(rig, LS_EVENT_SEALED, &event));
    rig_turn(rig, 1000);
    assert_true(rig_event(rig, LS_EVENT_ROLE, &event));
    assert_int_equal(event.role, LS_ROLE_SEALED);
    assert_int_equal(event.epoch, 5);
}

static void a_second_sequencer_in_one_epoch_is_not_followed(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    struct rig_from other = {.node = 3, .incarnation = 33, .epoch = 1};
    rig_heartbeat(rig, other, (struct ls_heartbeat_body){0}, NULL);
    struct rig_from again = {.node = 2, .incarnation = 23, .epoch = 1};
    rig_heartbeat(rig, again, (struct ls_heartbeat_body){0}, NULL);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_second_sequencer), 2);
}

static void strangers_are_dropped(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    struct rig_from stranger = {.node = 9, .incarnation = 1, .epoch = 1};
    rig_ack(rig, stranger, (struct ls_ack_body){.question = 1});
    struct rig_from self = {.node = 1, .incarnation = 11, .epoch = 1};
    rig_heartbeat(rig, self, (struct ls_heartbeat_body){0}, NULL); /* this node's own name */
    uint8_t *body = rig_frame(rig, LS_FRAME_HEARTBEAT, LEADER);
    struct ls_heartbeat_body beat = {0};
    memcpy(body, &beat, sizeof(beat));
    rig_frame_send(rig, body + sizeof(beat), rig_address(3)); /* a member's name at another's address */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_sender), 3);
    assert_int_equal(rig_role(rig), LS_ROLE_SEALED);
}

/* It became a voter by entries that this log does not hold yet, and was elected: only its frames can bring them. */
static void the_epoch_s_sequencer_is_followed_though_this_log_does_not_name_it(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    struct rig_from stranger = {.node = 9, .incarnation = 1, .epoch = 1};
    rig_heartbeat(rig, stranger, (struct ls_heartbeat_body){0}, NULL);
    assert_int_equal(rig_role(rig), LS_ROLE_UNVERIFIED);
    assert_true(ls_addr_equal(rig->out[rig->sent - 1].peer, rig_address(9)));
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, NULL);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_second_sequencer), 1);
    rig_seal(rig, 2);
    assert_int_equal(rig_role(rig), LS_ROLE_SEALED);
}

static void frames_of_the_wrong_direction_are_dropped(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    uint8_t *body = rig_frame(rig, LS_FRAME_GRANT, LEADER); /* sequencers send it to clients */
    struct ls_grant_body grant = {.session = 1, .number = 1, .missing = 1};
    memcpy(body, &grant, sizeof(grant));
    rig_frame_send(rig, body + sizeof(grant), rig_address(2));
    assert_int_equal(rig_count(rig, LS_COUNT_drop_direction), 1);
    rig_ack(rig, LEADER, (struct ls_ack_body){.question = 1}); /* acknowledgements are for sequencers */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_role), 1);
}

static void log_bytes_beyond_the_room_or_the_gaps_are_dropped(void **state)
{
    struct rig *rig = *state;
    uint8_t bytes[8] = {0};
    rig_follow(rig, 1);
    rig_order(rig, LEADER, RIG_LOG_SIZE, bytes, 8, 0);
    rig_order(rig, LEADER, UINT64_MAX - 8, bytes, 8, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_beyond_room), 2);
    rig_order(rig, LEADER, UINT64_MAX - 4, bytes, 8, 0); /* its end wraps: malformed */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_body), 1);
    for (uint64_t i = 0; i <= LS_RANGES_MAX; i++)
        rig_order(rig, LEADER, 100 + i * 100, bytes, 8, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_ranges_full), 1);
    assert_int_equal(rig->log.filled, 0);
}

static void without_buffers_nothing_is_sent_and_that_is_counted(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig->starved = true;
    rig_turn(rig, 2000000);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_no_buffer), 2); /* two heartbeats */
    rig->starved = false;
    rig_turn(rig, 2000000);
    assert_int_equal(rig_sent(rig, LS_FRAME_HEARTBEAT), 2);
}

static void a_sequencer_without_a_majority_suspends_and_resumes(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_turn(rig, 150000000);
    assert_int_equal(rig_role(rig), LS_ROLE_SUSPENDED);
    rig_request(rig, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = 16}, "0123456789abcdef");
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_BUSY_SUSPENDED);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_suspended), 1);
    rig_ack(rig, LEADER,
            (struct ls_ack_body){.position = rig->log.end, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 1000);
    assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
}

static void a_node_that_lost_its_memory_takes_no_part(void **state)
{
    struct rig *rig = *state;
    rig_stop(rig);
    rig_start_outside(rig);
    struct ls_event sealed = rig_seal(rig, 1);
    assert_int_equal(sealed.code, 0);
    assert_int_equal(sealed.members.count, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE);
    assert_int_equal(rig_install(rig, 1), 2);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, NULL);
    struct rig_from newer = {.node = 2, .incarnation = 22, .epoch = 2};
    rig_heartbeat(rig, newer, (struct ls_heartbeat_body){0}, NULL);
    rig_turn(rig, 10000000);
    assert_int_equal(rig->sent, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_role), 1);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_epoch_new), 1);
    assert_true(ls_spsc_is_empty(&rig->seam.events));
    /* clients are told that there is no sequencer that it knows of */
    rig_request(rig, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = 16}, "0123456789abcdef");
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_NO_SEQUENCER);
    for (uint16_t c = LS_READ_LINEARIZABLE; c <= LS_READ_STALE; c++)
        rig_read(rig, (struct ls_read_record){.session = 5, .number = 1, .consistency = c, .length = 3}, "key");
    assert_int_equal(rig_count(rig, LS_COUNT_busy_no_sequencer), 4);
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 0);
}

static void ticks_are_ordered_while_time_is_pending(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    uint64_t last = rig->log.last_seq;
    rig_turn(rig, 11000000);
    assert_int_equal(rig->log.last_seq, last);
    rig->time_pending = true;
    rig_turn(rig, 11000000);
    assert_int_equal(rig->log.last_seq, last + 1);
    rig_turn(rig, 1000000);
    assert_int_equal(rig->log.last_seq, last + 1);
    assert_int_equal(rig_count(rig, LS_COUNT_ticks_ordered), 1);
}

static void a_configuration_without_sense_is_refused(void **state)
{
    struct rig *rig = *state;
    struct ls_replica_config good = rig->config, bad;
#define REFUSED(change)                                                                                                \
    bad = good;                                                                                                        \
    change;                                                                                                            \
    assert_null(ls_replica_create(&bad, &rig->log, &rig->seam, &rig->io, NULL, NULL, &rig->page, &rig->counters))
    REFUSED(bad.node = 0);
    REFUSED(bad.incarnation = 0);
    REFUSED(bad.window = LS_WINDOW_MAX + 1);
    REFUSED(bad.sessions_max = 0);
    REFUSED(bad.op_max = RIG_LOG_SIZE);
#undef REFUSED
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(starts_sealed_and_silent),
        TEST(a_seal_answers_with_the_last_complete_entry),
        TEST(install_is_refused_unless_sealed_at_that_epoch),
        TEST(an_empty_log_is_opened_by_all_voters_together),
        TEST(an_acknowledgement_that_nobody_here_caused_halts),
        TEST(an_acknowledgement_beyond_the_log_halts),
        TEST(another_incarnation_does_not_count),
        TEST(entries_of_an_older_epoch_wait_for_the_own_first_one),
        TEST(a_follower_asks_once_and_takes_the_answer_once),
        TEST(an_unanswered_question_is_repeated),
        TEST(nothing_is_written_before_verification),
        TEST(commit_is_clamped_to_what_is_held),
        TEST(a_tail_is_dropped_at_verification_but_never_below_commit),
        TEST(what_comes_and_goes_is_counted_by_type),
        TEST(one_that_comes_back_does_not_keep_new_entries_from_others),
        TEST(damaged_log_bytes_halt_the_replica),
        TEST(a_replica_too_far_behind_says_so),
        TEST(a_replica_that_holds_enough_is_not_too_far_behind),
        TEST(frames_are_judged_by_their_epoch_first),
        TEST(a_higher_epoch_leaves_room_for_other_events),
        TEST(a_full_queue_delays_answers_and_roles),
        TEST(roles_leave_room_for_answers),
        TEST(a_second_sequencer_in_one_epoch_is_not_followed),
        TEST(strangers_are_dropped),
        TEST(the_epoch_s_sequencer_is_followed_though_this_log_does_not_name_it),
        TEST(frames_of_the_wrong_direction_are_dropped),
        TEST(log_bytes_beyond_the_room_or_the_gaps_are_dropped),
        TEST(without_buffers_nothing_is_sent_and_that_is_counted),
        TEST(a_sequencer_without_a_majority_suspends_and_resumes),
        TEST(a_node_that_lost_its_memory_takes_no_part),
        TEST(ticks_are_ordered_while_time_is_pending),
        TEST(a_configuration_without_sense_is_refused),
    };
    return cmocka_run_group_tests_name("replica", tests, NULL, NULL);
}
