/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Schedules that no single frame shows: full rings, long absences, clients that die in the middle, frames from the past
 * and sessions from the future. Each was once a way to stop a healthy cluster.
 */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

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

static struct rig_from node(uint16_t n, uint64_t epoch)
{
    return (struct rig_from){.node = n, .incarnation = n * 11u, .epoch = epoch};
}

/* An honest acknowledgement of a follower that has applied `applied`. */
static void ack(struct rig *rig, uint16_t n, uint64_t epoch, uint64_t position, uint64_t applied)
{
    rig_ack(rig, node(n, epoch),
            (struct ls_ack_body){.position = position, .limit = applied + RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
}

/* Clients' entries, appended exactly as admission does: while there is room. */
static uint32_t fill(struct rig *rig, uint32_t length, uint32_t most)
{
    static uint8_t bytes[16 * 1024];
    uint32_t n = 0;
    for (; n < most && ls_sequencer_has_room(rig->replica, length, rig->now); n++) {
        struct ls_entry header = {.kind = length == 0 ? LS_ENTRY_QUERY : LS_ENTRY_OPERATION, .session = 7, .number = n};
        ls_sequencer_append(rig->replica, &header, bytes, length, rig->now);
    }
    return n;
}

/* The turn, apply, the turn; sent frames are forgotten. */
static void settle(struct rig *rig)
{
    rig_clear(rig);
    rig_turn(rig, 1000);
    rig_apply(rig);
    rig_clear(rig);
    rig_turn(rig, 1000);
    rig_clear(rig);
}

/* Node 3 is away while the ring turns over, and comes back. */
static void a_follower_behind_the_ring_is_told_and_does_not_block_clients(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_ack(rig, node(3, 1), (struct ls_ack_body){.question = 1});
    settle(rig);
    uint64_t held3 = rig->log.end;
    uint64_t applied3 = held3;
    ack(rig, 3, 1, held3, applied3); /* verified; then the cable is pulled */
    settle(rig);
    rig_turn(rig, 150000000); /* longer than suspend_ns; node 2 goes on */
    for (int i = 0; i < 100; i++) {
        fill(rig, 1000, 2);
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        settle(rig);
    }
    assert_true(ls_log_oldest(&rig->log) > held3); /* what it misses is gone */
    /* the cable is back: heartbeats reach it, it acknowledges what it has */
    bool told = false;
    for (int i = 0; i < 2000; i++) {
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        ack(rig, 3, 1, held3, applied3);
        rig_clear(rig);
        rig_turn(rig, 1000000);
        for (uint32_t k = 0; k < rig->sent; k++) {
            const struct ls_heartbeat_body *beat = ls_frame_body(rig->out[k].data);
            const struct ls_answer_record *answer = (const void *)(beat + 1);
            if (ls_frame_header(rig->out[k].data)->type == LS_FRAME_HEARTBEAT && beat->answers > 0 &&
                answer->node == 3 && answer->kind == LS_ANSWER_TOO_OLD)
                told = true;
        }
    }
    assert_true(ls_sequencer_has_room(rig->replica, 8, rig->now)); /* two seconds of a healthy network later */
    assert_true(told);
    /* It was only its acknowledgements that were cut off: with one that the ring reaches it counts again at once. */
    ack(rig, 3, 1, rig->log.end, rig->log.end);
    fill(rig, 8, 2);
    rig_clear(rig);
    rig_turn(rig, 1000000);
    bool ordered = false;
    for (uint32_t k = 0; k < rig->sent; k++)
        ordered |= ls_frame_header(rig->out[k].data)->type == LS_FRAME_ORDER &&
                   ls_addr_equal(rig->out[k].peer, rig_address(3));
    assert_true(ordered);
}

/* The ring is full of an unfinished epoch's entries; their holder opens the next epoch. */
static void a_full_log_can_be_opened(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    uint64_t common = rig->log.end; /* committed, applied everywhere */
    rig_turn(rig, 150000000);       /* cut off */
    fill(rig, 1000, 1000);
    fill(rig, 8, 1000);
    rig_seal(rig, 2);
    assert_int_equal(rig_install(rig, 2), 0); /* it has the best (last_epoch, last) */
    struct ls_ack_body question = {.position = common, .limit = common + RIG_LOG_SIZE, .question = 2, .rows = 1};
    uint8_t *body = rig_frame(rig, LS_FRAME_ACK, node(2, 2));
    memcpy(body, &question, sizeof(question));
    struct ls_epoch_row row = {.epoch = 1, .position = 0, .seq = 1};
    memcpy(body + sizeof(question), &row, sizeof(row));
    rig_frame_send(rig, body + sizeof(question) + sizeof(row), rig_address(2));
    rig_turn(rig, 1000);
    uint64_t held = common;
    for (int i = 0; i < 500; i++) {
        ack(rig, 2, 2, held, common); /* its commit, so its applied, cannot move before the epoch's first entry */
        rig_clear(rig);
        rig_turn(rig, 1000000);
        for (uint32_t k = 0; k < rig->sent; k++) {
            const struct ls_frame_header *h = ls_frame_header(rig->out[k].data);
            const struct ls_order_body *order = ls_frame_body(rig->out[k].data);
            if (h->type == LS_FRAME_ORDER && rig->out[k].peer.ip == rig_address(2).ip && order->position <= held)
                held = order->position + h->length - LS_FRAME_HEADER_SIZE - sizeof(*order);
        }
    }
    assert_int_equal(held, rig->log.end);
}

/* A tail that reaches a ring's length beyond commit is dropped; the last committed entry was a large one. */
static void a_long_tail_behind_a_large_entry_can_be_dropped(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    fill(rig, 8 * 1024, 1);
    ack(rig, 2, 1, rig->log.end, rig->log.end);
    settle(rig);
    uint64_t common = rig->log.end;
    assert_int_equal(atomic_load(&rig->seam.applied), common);
    rig_turn(rig, 150000000);
    fill(rig, 1000, 1000);
    rig_follow(rig, 2); /* parts at the end: only for the events */
    rig_seal(rig, 3);
    rig_heartbeat(rig, node(2, 3), (struct ls_heartbeat_body){.commit = 0}, NULL);
    rig_turn(rig, 1000);
    const struct ls_ack_body *question = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    rig_heartbeat(
        rig, node(2, 3), (struct ls_heartbeat_body){.answers = 1},
        &(struct ls_answer_record){
            .incarnation = 11, .number = question->question, .position = common, .node = 1, .kind = LS_ANSWER_PARTING});
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
}

/* After a long tail of small entries was dropped, the node becomes sequencer. */
static void the_index_survives_a_dropped_tail(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    while (rig->log.last_seq < 1200) {
        fill(rig, 0, 100);
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        settle(rig);
    }
    uint64_t common = rig->log.end;
    assert_int_equal(rig->replica->commit, common);
    rig_turn(rig, 150000000);
    fill(rig, 0, 5000);
    rig_seal(rig, 2);
    rig_clear(rig);
    rig_heartbeat(rig, node(2, 2), (struct ls_heartbeat_body){.commit = 0}, NULL);
    rig_turn(rig, 1000);
    const struct ls_ack_body *question = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    rig_heartbeat(
        rig, node(2, 2), (struct ls_heartbeat_body){.answers = 1},
        &(struct ls_answer_record){
            .incarnation = 11, .number = question->question, .position = common, .node = 1, .kind = LS_ANSWER_PARTING});
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
    rig_clear(rig);
    rig_seal(rig, 3);
    assert_int_equal(rig_install(rig, 3), 0);
    rig_ack(rig, node(2, 3), (struct ls_ack_body){.question = 9, .position = 0});
    rig->replica->peer[0].parting_too_old = false; /* the rows of its table are of no matter here */
    ack(rig, 2, 3, rig->log.end, common);
    rig_clear(rig);
    rig_turn(rig, 1000);
    assert_int_equal(rig->replica->commit, rig->log.end);
}

static void announce(struct rig *rig, uint64_t number)
{
    rig_request(
        rig,
        (struct ls_request_record){
            .session = 77, .number = number, .awaited = 1, .slot = 3, .kind = LS_REQUEST_ANNOUNCE, .total = 2000},
        NULL);
}

static void fragment(struct rig *rig, uint64_t number, uint32_t index)
{
    struct ls_fragment_body head = {
        .session = 77, .number = number, .slot = 3, .index = index, .total = 2000, .length = index == 0 ? 1280 : 720};
    uint8_t *body = rig_frame(rig, LS_FRAME_FRAGMENT, (struct rig_from){0});
    memcpy(body, &head, sizeof(head));
    rig_frame_send(rig, body + sizeof(head) + head.length, RIG_CLIENT);
}

/* A pipeline of nine large requests of which the first announcement is lost. */
static void a_lost_first_announcement_does_not_stop_a_pipeline(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig->replica->config.window = 64;
    rig_session(rig, 3, 77, 1);
    for (uint64_t n = 2; n <= 9; n++) {
        announce(rig, n);
        fragment(rig, n, 0);
        fragment(rig, n, 1);
    }
    uint64_t last = rig->log.last_seq;
    for (int i = 0; i < 100; i++) { /* the client repeats all that is unanswered, every 100 ms */
        for (uint64_t n = 1; n <= 9; n++) {
            announce(rig, n);
            fragment(rig, n, 0);
            fragment(rig, n, 1);
        }
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        rig_clear(rig);
        rig_turn(rig, 100000000 / 2);
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        rig_clear(rig);
        rig_turn(rig, 100000000 / 2);
    }
    assert_int_equal(rig->log.last_seq, last + 9);
}

static void operation(struct rig *rig, uint32_t slot, uint64_t session, uint64_t number)
{
    rig_request(rig,
                (struct ls_request_record){
                    .session = session, .number = number, .awaited = 1, .slot = slot, .kind = LS_REQUEST_OPERATION},
                NULL);
}

/* Five clients die in the middle of a pipeline whose first frame was lost. */
static void dead_clients_do_not_keep_the_stash(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig->replica->config.window = 64;
    for (uint32_t s = 0; s < 6; s++)
        rig_session(rig, s, 100 + s, 1);
    atomic_store(&rig->seam.applied_seq, 1000);
    for (uint32_t s = 0; s < 5; s++)
        for (uint64_t n = 2; n <= 60; n++)
            operation(rig, s, 100 + s, n);
    for (int i = 0; i < 600; i++) { /* a minute */
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        rig_clear(rig);
        rig_turn(rig, 100000000 / 2);
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        rig_clear(rig);
        rig_turn(rig, 100000000 / 2);
    }
    uint64_t before = rig_count(rig, LS_COUNT_busy_stash);
    operation(rig, 5, 105, 2); /* a live client, reordered by the network */
    assert_int_equal(rig_count(rig, LS_COUNT_busy_stash), before);
}

/* A deposed sequencer that has not noticed yet; the client's session was opened in the next epoch. */
static void a_session_from_the_future_is_not_called_unknown(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_clear(rig);
    operation(rig, 4, 500000, 1); /* opened as seq 500000 elsewhere */
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 0);
}

/* What ls_replica_next_ns() forgets. */
static void next_ns_sees_what_apply_has_done(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    rig_read(rig,
             (struct ls_read_record){.session = 5, .number = 1, .consistency = LS_READ_LEAST, .least = 3, .length = 3},
             "key");
    rig_turn(rig, 1000);
    atomic_store(&rig->seam.applied_seq, 3); /* apply moves after net's turn */
    uint64_t next = ls_replica_next_ns(rig->replica, rig->now);
    assert_true(next <= rig->now);
}

static void next_ns_sees_waiting_replies(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    struct ls_reply_frame reply = {0};
    rig->io.alloc(&rig->io, &reply.frame);
    ls_spsc_push(&rig->seam.replies, &reply);
    uint64_t next = ls_replica_next_ns(rig->replica, rig->now);
    rig_turn(rig, 1000);
    assert_true(next <= rig->now);
}

/* A heartbeat of long ago is replayed to a follower that hears nobody. */
static void a_replayed_heartbeat_makes_no_copy_fresh(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    struct ls_heartbeat_body beat = {.commit = 0, .time = 1000};
    rig_heartbeat(rig, node(2, 1), beat, NULL);
    rig_turn(rig, 1000);
    rig_turn(rig, 10000000000); /* ten seconds of silence */
    rig_heartbeat(rig, node(2, 1), beat, NULL);
    rig_turn(rig, 1000);
    rig_clear(rig);
    rig_read(rig, (struct ls_read_record){.session = 5, .number = 1, .consistency = LS_READ_STALE, .length = 3}, "key");
    const struct ls_reply_record *reply = (const void *)(rig_body(rig, ls_reply_body, LS_FRAME_REPLY) + 1);
    assert_true(reply->age >= 9000000000);
}

/* Node 3's net worker lives, its apply worker stands still (pool, LIMITS beyond its room, hung core). */
static void a_follower_that_does_not_apply_does_not_stop_the_others_for_ever(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_ack(rig, node(3, 1), (struct ls_ack_body){.question = 1});
    settle(rig);
    uint64_t applied3 = rig->log.end;
    uint64_t limit3 = applied3 + RIG_LOG_SIZE;
    uint64_t held3 = applied3;
    for (int i = 0; i < 2000; i++) { /* 20 s */
        fill(rig, 1000, 2);
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        held3 = rig->log.end < limit3 ? rig->log.end : limit3;
        ack(rig, 3, 1, held3, applied3);
        settle(rig);
        rig_turn(rig, 10000000);
        rig_clear(rig);
    }
    assert_true(ls_sequencer_has_room(rig->replica, 1000, rig->now));
}

/* Told that it is behind while it holds just enough, it comes too late: it must be told where the ring is by then. */
static void a_follower_left_behind_is_told_where_the_ring_is_now(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_ack(rig, node(3, 1), (struct ls_ack_body){.question = 1});
    settle(rig);
    uint64_t told[2];
    ack(rig, 3, 1, rig->log.end, rig->log.end);
    for (int round = 0; round < 2; round++) {
        uint64_t until = rig->log.end + 2 * rig->log.size;
        while (rig->log.end < until) {
            rig_turn(rig, 150000000); /* node 3 is silent, node 2 goes on */
            fill(rig, 1000, 2);
            ack(rig, 2, 1, rig->log.end, rig->log.end);
            settle(rig);
        }
        ack(rig, 2, 1, rig->log.end, rig->log.end);
        ack(rig, 3, 1, 200, 200);
        rig_turn(rig, 1000);
        told[round] = 0;
        for (uint32_t k = 0; k < rig->sent; k++) {
            const struct ls_heartbeat_body *beat = ls_frame_body(rig->out[k].data);
            const struct ls_answer_record *answer = (const void *)(beat + 1);
            if (ls_frame_header(rig->out[k].data)->type == LS_FRAME_HEARTBEAT && beat->answers > 0 && answer->node == 3)
                told[round] = answer->position;
        }
        assert_int_equal(told[round], ls_log_oldest(&rig->log));
        rig_clear(rig);
    }
    assert_true(told[1] > told[0]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_follower_behind_the_ring_is_told_and_does_not_block_clients),
        TEST(a_follower_left_behind_is_told_where_the_ring_is_now),
        TEST(a_full_log_can_be_opened),
        TEST(a_long_tail_behind_a_large_entry_can_be_dropped),
        TEST(the_index_survives_a_dropped_tail),
        TEST(a_lost_first_announcement_does_not_stop_a_pipeline),
        TEST(dead_clients_do_not_keep_the_stash),
        TEST(a_session_from_the_future_is_not_called_unknown),
        TEST(next_ns_sees_what_apply_has_done),
        TEST(next_ns_sees_waiting_replies),
        TEST(a_follower_that_does_not_apply_does_not_stop_the_others_for_ever),
        TEST(a_replayed_heartbeat_makes_no_copy_fresh),
    };
    return cmocka_run_group_tests_name("schedules", tests, NULL, NULL);
}
