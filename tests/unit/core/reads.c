/* SPDX-License-Identifier: BSD-3-Clause */
/* Reads: probes at the sequencer, questions at followers, least and stale ones. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

static const struct rig_from FOLLOWER = {.node = 2, .incarnation = 22, .epoch = 1};

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

static void ask(struct rig *rig, uint64_t number, uint16_t consistency, uint64_t least)
{
    rig_read(rig,
             (struct ls_read_record){
                 .session = 5, .number = number, .consistency = consistency, .least = least, .length = 3},
             "key");
}

static const struct ls_reply_record *answer(struct rig *rig)
{
    return (const struct ls_reply_record *)(rig_body(rig, ls_reply_body, LS_FRAME_REPLY) + 1);
}

static void echo(struct rig *rig, uint64_t probe)
{
    rig_ack(rig, FOLLOWER,
            (struct ls_ack_body){
                .position = rig->log.end, .limit = RIG_LOG_SIZE, .probe = probe, .flags = LS_ACK_VERIFIED});
}

static void the_sequencer_answers_after_a_later_probe(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    uint64_t before = rig->replica->probe;
    ask(rig, 1, LS_READ_LINEARIZABLE, 0);
    echo(rig, before); /* left before the read came */
    rig_turn(rig, 1000);
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 0);
    uint64_t probe = rig_body(rig, ls_heartbeat_body, LS_FRAME_HEARTBEAT)->probe;
    assert_true(probe > before);
    echo(rig, probe);
    rig_turn(rig, 1000);
    assert_int_equal(answer(rig)->number, 1);
    assert_int_equal(answer(rig)->session, 5);
    assert_int_equal(answer(rig)->flags, LS_REPLY_READ);
    assert_memory_equal(answer(rig) + 1, "key", 3);
    assert_int_equal(rig_count(rig, LS_COUNT_reads_answered), 1);
}

static void one_probe_serves_all_reads_of_a_burst(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    for (uint64_t i = 1; i <= 20; i++)
        ask(rig, i, LS_READ_LINEARIZABLE, 0);
    rig_turn(rig, 1000);
    assert_int_equal(rig_sent(rig, LS_FRAME_HEARTBEAT), 2);
    echo(rig, rig->replica->probe);
    rig_turn(rig, 1000);
    assert_int_equal(rig_count(rig, LS_COUNT_reads_in), 20);
    assert_int_equal(rig_count(rig, LS_COUNT_reads_answered), 20);
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 1); /* they share a frame */
}

static void an_answer_waits_for_its_index_to_be_applied(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    rig_entry(&rig->log, LS_ENTRY_OPERATION, 1, 1, "write");
    echo(rig, 0);
    rig->replica->acks_changed = true;
    rig_turn(rig, 0);
    assert_int_equal(atomic_load(&rig->seam.commit), rig->log.end);
    ask(rig, 1, LS_READ_LINEARIZABLE, 0);
    rig_turn(rig, 0);
    echo(rig, rig->replica->probe);
    rig_turn(rig, 0);
    assert_int_equal(rig_sent(rig, LS_FRAME_REPLY), 0);
    rig_apply(rig);
    rig_turn(rig, 0);
    assert_int_equal(answer(rig)->seq, rig->log.last_seq);
}

static void a_follower_asks_for_the_index(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    ask(rig, 1, LS_READ_LINEARIZABLE, 0);
    ask(rig, 2, LS_READ_LINEARIZABLE, 0);
    rig_turn(rig, 1000);
    const struct ls_ack_body *ack = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    assert_int_equal(ack->flags, LS_ACK_VERIFIED | LS_ACK_READ);
    uint64_t question = ack->question;
    assert_int_equal(rig_count(rig, LS_COUNT_read_questions_out), 1);
    ask(rig, 3, LS_READ_LINEARIZABLE, 0); /* comes after the question left: needs the next one */
    struct ls_answer_record index = {
        .incarnation = 11, .number = question, .position = 0, .node = 1, .kind = LS_ANSWER_READ};
    rig_clear(rig);
    rig_heartbeat(rig, FOLLOWER, (struct ls_heartbeat_body){0}, &index);
    rig_turn(rig, 1000);
    assert_int_equal(rig_count(rig, LS_COUNT_reads_answered), 2);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->question, question + 1);
    rig_heartbeat(rig, FOLLOWER, (struct ls_heartbeat_body){0}, &index); /* taken already */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_answer), 1);
    rig_turn(rig, 1000);
    assert_int_equal(rig_count(rig, LS_COUNT_reads_answered), 2);
    index.number = question + 1;
    rig_heartbeat(rig, FOLLOWER, (struct ls_heartbeat_body){0}, &index);
    rig_turn(rig, 1000);
    assert_int_equal(rig_count(rig, LS_COUNT_reads_answered), 3);
}

static void a_lost_question_is_asked_again(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    ask(rig, 1, LS_READ_LINEARIZABLE, 0);
    rig_turn(rig, 1000);
    rig_clear(rig);
    rig_turn(rig, 1000000);
    assert_int_equal(rig_sent(rig, LS_FRAME_ACK), 0);
    rig_turn(rig, 2000000);
    rig_turn(rig, 1000);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->question, 2);
}

static void the_sequencer_answers_a_question_after_its_probe(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    struct ls_ack_body ack = {.position = rig->log.end,
                              .limit = RIG_LOG_SIZE,
                              .probe = rig->replica->probe,
                              .question = 1,
                              .flags = LS_ACK_VERIFIED | LS_ACK_READ};
    struct rig_from asker = {.node = 3, .incarnation = 33, .epoch = 1};
    rig_ack(rig, asker, (struct ls_ack_body){.question = 1}); /* verification comes first */
    rig_turn(rig, 0);
    rig_ack(rig, asker, ack);
    assert_int_equal(rig_count(rig, LS_COUNT_read_questions_in), 1);
    rig_clear(rig);
    rig_turn(rig, 0);
    for (uint32_t i = 0; i < rig->sent; i++)
        assert_int_equal(((const struct ls_heartbeat_body *)ls_frame_body(rig->out[i].data))->answers, 0);
    echo(rig, rig->replica->probe);
    rig_clear(rig);
    rig_turn(rig, 0);
    const struct ls_heartbeat_body *beat = rig_body(rig, ls_heartbeat_body, LS_FRAME_HEARTBEAT);
    const struct ls_answer_record *index = (const struct ls_answer_record *)(beat + 1);
    assert_int_equal(beat->answers, 1);
    assert_int_equal(index->kind, LS_ANSWER_READ);
    assert_int_equal(index->node, 3);
    assert_int_equal(index->incarnation, 33);
    assert_int_equal(index->number, 1);
    assert_int_equal(index->position, atomic_load(&rig->seam.commit));
}

/* Commit of an opening sequencer lags behind what older epochs have acknowledged: its first entry is the least index.
 */
static void a_question_to_an_opening_sequencer_waits_for_the_epoch(void **state)
{
    struct rig *rig = *state;
    struct rig_from asker = {.node = 3, .incarnation = 33, .epoch = 1};
    rig_seal(rig, 1);
    assert_int_equal(rig_install(rig, 1), 0);
    rig->replica->from_nothing = false; /* not the very first epoch: a majority opens it */
    rig_ack(rig, asker, (struct ls_ack_body){.question = 1});
    rig_turn(rig, 1000);
    rig_ack(rig, asker,
            (struct ls_ack_body){.limit = RIG_LOG_SIZE, .question = 1, .flags = LS_ACK_VERIFIED | LS_ACK_READ});
    rig_turn(rig, 1000);
    assert_int_equal(rig_role(rig), LS_ROLE_OPENING);
    rig_ack(
        rig, asker,
        (struct ls_ack_body){
            .position = rig->log.end, .limit = RIG_LOG_SIZE, .probe = rig->replica->probe, .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 1000);
    rig_clear(rig);
    rig_apply(rig);
    rig_turn(rig, 1000);
    const struct ls_heartbeat_body *beat = rig_body(rig, ls_heartbeat_body, LS_FRAME_HEARTBEAT);
    const struct ls_answer_record *index = (const struct ls_answer_record *)(beat + 1);
    assert_int_equal(beat->answers, 1);
    assert_int_equal(index->kind, LS_ANSWER_READ);
    assert_true(index->position >= rig->replica->epoch_end);
}

static void a_seal_refuses_what_waits(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    ask(rig, 1, LS_READ_LINEARIZABLE, 0);
    rig_seal(rig, 2);
    const struct ls_busy_body *busy = rig_body(rig, ls_busy_body, LS_FRAME_BUSY);
    assert_int_equal(busy->status, LS_STATUS_NO_SEQUENCER);
    assert_int_equal(busy->flags, LS_BUSY_READ);
    ask(rig, 2, LS_READ_LINEARIZABLE, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_no_sequencer), 1);
}

static void a_read_that_waits_too_long_is_sent_elsewhere(void **state)
{
    struct rig *rig = *state;
    rig_follow(rig, 1);
    ask(rig, 1, LS_READ_LINEARIZABLE, 0);
    ask(rig, 2, LS_READ_LEAST, 100);
    rig_turn(rig, 200000000);
    assert_int_equal(rig_sent(rig, LS_FRAME_BUSY), 2);
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_BUSY_BEHIND);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_behind), 2);
}

static void waiting_reads_are_bounded(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    for (uint64_t i = 1; i <= LS_READS_PENDING_MAX + 1; i++)
        ask(rig, i, LS_READ_LINEARIZABLE, 0);
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_BUSY_READS);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_reads), 1);
}

static void least_waits_for_its_seq_only(void **state)
{
    struct rig *rig = *state;
    rig_lead(rig, 1);
    ask(rig, 1, LS_READ_LEAST, 4);
    ask(rig, 2, LS_READ_LEAST, 3); /* the epoch, the limits, the founders */
    rig_turn(rig, 1000);
    assert_int_equal(answer(rig)->number, 2);
    assert_int_equal(rig_count(rig, LS_COUNT_reads_answered), 1);
    atomic_store(&rig->seam.applied_seq, 4);
    rig_turn(rig, 1000);
    assert_int_equal(answer(rig)->number, 1);
}

static void stale_answers_at_once_with_its_age(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 1);
    ask(rig, 1, LS_READ_STALE, 0);
    assert_int_equal(answer(rig)->age, UINT64_MAX);
    rig_follow(rig, 1);
    rig_heartbeat(rig, FOLLOWER, (struct ls_heartbeat_body){.time = 900, .confirmed = 300}, NULL);
    rig_turn(rig, 0);
    rig->now += 5000000;
    ask(rig, 2, LS_READ_STALE, 0);
    assert_true(answer(rig)->age >= 5000000 && answer(rig)->age < 6000000);
}

static void alone_a_node_is_its_own_majority(void **state)
{
    struct rig *rig = *state;
    rig_stop(rig);
    rig_start(rig, 1);
    rig_lead(rig, 1);
    ask(rig, 1, LS_READ_LINEARIZABLE, 0);
    rig_turn(rig, 0);
    assert_int_equal(answer(rig)->number, 1);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(the_sequencer_answers_after_a_later_probe),
        TEST(one_probe_serves_all_reads_of_a_burst),
        TEST(an_answer_waits_for_its_index_to_be_applied),
        TEST(a_follower_asks_for_the_index),
        TEST(a_lost_question_is_asked_again),
        TEST(the_sequencer_answers_a_question_after_its_probe),
        TEST(a_question_to_an_opening_sequencer_waits_for_the_epoch),
        TEST(a_seal_refuses_what_waits),
        TEST(a_read_that_waits_too_long_is_sent_elsewhere),
        TEST(waiting_reads_are_bounded),
        TEST(least_waits_for_its_seq_only),
        TEST(stale_answers_at_once_with_its_age),
        TEST(alone_a_node_is_its_own_majority),
    };
    return cmocka_run_group_tests_name("reads", tests, NULL, NULL);
}
