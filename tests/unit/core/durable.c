/* SPDX-License-Identifier: BSD-3-Clause */
/* What a replica answers for where there is a journal: the test plays the journal at the seam. */
#include "rig.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

static const struct rig_from LEADER = {.node = 2, .incarnation = 22, .epoch = 1};

static struct rig *begin(enum ls_durability durability)
{
    struct rig *rig = malloc(sizeof(*rig));
    assert_non_null(rig);
    rig_start_durable(rig, durability, false);
    rig_found(rig, 3);
    return rig;
}

static void end(struct rig *rig)
{
    rig_stop(rig);
    free(rig);
}

/* The journal has written up to here, and has taken what net asked for. */
static void written(struct rig *rig, uint64_t position)
{
    atomic_store(&rig->seam.durable, position);
    atomic_store(&rig->seam.marked, position);
    atomic_store(&rig->seam.journal_taken, atomic_load(&rig->seam.journal_asked));
    rig_turn(rig, 0);
}

static void ack(struct rig *rig, uint16_t node, uint64_t held, uint64_t durable, uint16_t flags)
{
    struct rig_from from = {.node = node, .incarnation = node * 11u, .epoch = 1};
    rig_ack(
        rig, from,
        (struct ls_ack_body){
            .position = held, .durable = durable, .limit = RIG_LOG_SIZE, .flags = (uint16_t)(LS_ACK_VERIFIED | flags)});
    rig_turn(rig, 0);
}

static uint64_t commit_of(struct rig *rig)
{
    return atomic_load(&rig->seam.commit);
}

static void lead(struct rig *rig)
{
    rig_seal(rig, 1);
    assert_int_equal(rig_install(rig, 1), 0);
    for (uint16_t node = 2; node <= 3; node++) {
        struct rig_from from = {.node = node, .incarnation = node * 11u, .epoch = 1};
        rig_ack(rig, from, (struct ls_ack_body){.question = 1, .flags = LS_ACK_DURABLE});
        rig_turn(rig, 0);
        ack(rig, node, 0, 0, LS_ACK_DURABLE);
    }
}

/* Under `journal` only what disks hold is counted: the sequencer's, and the followers'. */
static void a_majority_of_disks_commits(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_JOURNAL);
    lead(rig);
    uint64_t opened = rig->log.end;
    ack(rig, 2, opened, opened, LS_ACK_DURABLE);
    ack(rig, 3, opened, opened, LS_ACK_DURABLE);
    assert_int_equal(commit_of(rig), 0); /* its own is missing, and the first commit needs all */
    written(rig, opened);
    assert_int_equal(commit_of(rig), opened);
    rig_apply(rig);
    rig_turn(rig, 0);
    uint64_t next = rig_entry(&rig->log, LS_ENTRY_OPERATION, 1, 1, "on two disks");
    ack(rig, 2, next, opened, LS_ACK_DURABLE); /* it holds it, and its disk does not yet */
    ack(rig, 3, next, opened, LS_ACK_DURABLE);
    assert_int_equal(commit_of(rig), opened);
    ack(rig, 2, next, next, LS_ACK_DURABLE);
    assert_int_equal(commit_of(rig), opened);
    ack(rig, 3, next, next, LS_ACK_DURABLE); /* the sequencer's own disk is not needed */
    assert_int_equal(commit_of(rig), next);
    end(rig);
}

/* A follower that holds things in memory alone answers for nothing where disks are asked for. */
static void memory_is_not_counted_for_a_disk(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_JOURNAL);
    lead(rig);
    uint64_t opened = rig->log.end;
    written(rig, opened);
    ack(rig, 2, opened, 0, 0);
    ack(rig, 3, opened, 0, 0);
    assert_int_equal(commit_of(rig), 0);
    end(rig);
}

/* And the other way round: who answers for its disk alone is not taken at its memory's word. */
static void a_disk_is_not_counted_for_memory(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_MEMORY);
    lead(rig);
    uint64_t opened = rig->log.end;
    ack(rig, 2, opened, 0, LS_ACK_DURABLE);
    ack(rig, 3, opened, 0, LS_ACK_DURABLE);
    assert_int_equal(commit_of(rig), 0);
    ack(rig, 2, opened, opened, LS_ACK_DURABLE);
    ack(rig, 3, opened, opened, LS_ACK_DURABLE);
    assert_int_equal(commit_of(rig), opened);
    end(rig);
}

static void follow(struct rig *rig, uint64_t epoch, uint64_t parting)
{
    struct rig_from from = LEADER;
    from.epoch = epoch;
    rig_seal(rig, epoch);
    rig_heartbeat(rig, from, (struct ls_heartbeat_body){0}, NULL);
    const struct ls_ack_body *question = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    assert_int_equal(question->flags, rig->config.durability == LS_DURABLE_JOURNAL ? LS_ACK_DURABLE : 0);
    rig_heartbeat(rig, from, (struct ls_heartbeat_body){0},
                  &(struct ls_answer_record){.incarnation = 11,
                                             .number = question->question,
                                             .position = parting,
                                             .node = 1,
                                             .kind = LS_ANSWER_PARTING});
    rig_turn(rig, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
}

static uint64_t leader_log(struct ls_log *log, uint64_t epoch, uint32_t entries)
{
    assert_int_equal(ls_log_init(log, RIG_LOG_SIZE), 0);
    struct ls_membership members = rig_members(3);
    ls_log_found(log, &members);
    uint64_t end = rig_entry(log, LS_ENTRY_EPOCH, epoch, 0, NULL);
    for (uint32_t i = 1; i <= entries; i++)
        end = rig_entry(log, LS_ENTRY_OPERATION, epoch, i, "an operation");
    return end;
}

static void a_follower_answers_for_its_disk(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_JOURNAL);
    struct ls_log other;
    uint64_t last = leader_log(&other, 1, 3);
    uint64_t some = other.index[3].position;
    follow(rig, 1, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&other, 0), (uint32_t)last, 0);
    rig_clear(rig);
    rig_turn(rig, 0);
    const struct ls_ack_body *ack = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    assert_int_equal(ack->position, last);
    assert_int_equal(ack->durable, 0);
    assert_int_equal(ack->flags, LS_ACK_VERIFIED | LS_ACK_DURABLE);
    rig_clear(rig);
    written(rig, some); /* it says so at once */
    ack = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    assert_int_equal(ack->position, last);
    assert_int_equal(ack->durable, some);
    ls_log_free(&other);
    end(rig);
}

/* A tail is dropped that was on the disk already: from there on the disk holds something else, until the journal says
 * that it has taken that. What was written before is not answered for meanwhile. */
static void a_dropped_tail_is_not_answered_for(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_JOURNAL);
    struct ls_log other, next;
    uint64_t last = leader_log(&other, 1, 3), parting = other.index[3].position;
    follow(rig, 1, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&other, 0), (uint32_t)last, 0);
    written(rig, last);
    uint64_t asked = atomic_load(&rig->seam.journal_asked);
    follow(rig, 2, parting);
    assert_int_equal(atomic_load(&rig->seam.journal_asked), asked + 1);
    assert_int_equal(atomic_load(&rig->seam.journal_from), parting);
    /* Another tail of the same length takes its place; the journal knows nothing of all that yet. */
    assert_int_equal(ls_log_init(&next, RIG_LOG_SIZE), 0);
    ls_log_place(&next, 0, ls_log_at(&other, 0), (uint32_t)parting);
    assert_int_equal(ls_log_fill(&next, parting), 0);
    uint64_t end_of_next = rig_entry(&next, LS_ENTRY_EPOCH, 2, 0, NULL);
    struct rig_from from = LEADER;
    from.epoch = 2;
    for (int taken = 0; taken <= 1; taken++) {
        rig_clear(rig);
        rig_order(rig, from, parting, ls_log_at(&next, parting), (uint32_t)(end_of_next - parting), 0);
        rig_turn(rig, 0);
        const struct ls_ack_body *ack = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
        assert_int_equal(ack->position, taken ? end_of_next : parting); /* a write may still run */
        assert_int_equal(ack->durable, parting);
        if (!taken)
            written(rig, parting);
    }
    assert_int_equal(rig_count(rig, LS_COUNT_drop_beyond_room), 1);
    written(rig, end_of_next);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->durable, end_of_next);
    /* A second one is not taken before the journal has taken the first: its fields are the journal's. */
    follow(rig, 3, parting);
    assert_int_equal(atomic_load(&rig->seam.journal_asked), asked + 2);
    from.epoch = 4;
    rig_seal(rig, 4);
    for (int taken = 0; taken <= 1; taken++) {
        rig_clear(rig);
        rig_heartbeat(rig, from, (struct ls_heartbeat_body){0}, NULL);
        rig_turn(rig, 100000000);
        struct ls_answer_record answer = {.incarnation = 11,
                                          .number = rig_body(rig, ls_ack_body, LS_FRAME_ACK)->question,
                                          .node = 1,
                                          .kind = LS_ANSWER_PARTING};
        rig_heartbeat(rig, from, (struct ls_heartbeat_body){0}, &answer);
        rig_turn(rig, 0);
        assert_int_equal(atomic_load(&rig->seam.journal_asked), asked + 2 + (uint64_t)taken);
        assert_int_equal(atomic_load(&rig->seam.journal_from), taken ? 0 : parting);
        assert_int_equal(rig_role(rig), taken ? LS_ROLE_FOLLOWER : LS_ROLE_UNVERIFIED);
        if (!taken)
            written(rig, parting);
    }
    ls_log_free(&other);
    ls_log_free(&next);
    end(rig);
}

/* What is not on the disk, or not behind a commit that a restart will know of, is not overwritten: the room that a
 * follower offers ends there. */
static void the_ring_waits_for_the_disk(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_ASYNC);
    struct ls_log other;
    uint64_t last = leader_log(&other, 1, 3);
    follow(rig, 1, 0);
    rig_order(rig, LEADER, 0, ls_log_at(&other, 0), (uint32_t)last, last);
    assert_int_equal(commit_of(rig), last); /* `async` does not wait */
    rig_apply(rig);
    rig_turn(rig, 0);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->flags, LS_ACK_VERIFIED);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->limit, RIG_LOG_SIZE);
    atomic_store(&rig->seam.durable, last);
    rig_turn(rig, 0);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->limit, RIG_LOG_SIZE);
    written(rig, last);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){0}, NULL);
    rig_turn(rig, 0);
    assert_int_equal(rig_body(rig, ls_ack_body, LS_FRAME_ACK)->limit, (last & ~4095ull) + RIG_LOG_SIZE);
    ls_log_free(&other);
    end(rig);
}

static void a_disk_that_fails_halts(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_ASYNC);
    atomic_store(&rig->seam.journal_error, 5);
    rig_turn(rig, 0);
    assert_int_equal(rig_role(rig), LS_ROLE_HALTED);
    assert_int_equal(atomic_load(&rig->page.halt_reason), LS_HALT_DISK);
    end(rig);
}

/* It came back with all that it ever acknowledged: it counts when it is told to, without having been admitted. */
static void one_that_resumed_may_count(void **state)
{
    (void)state;
    for (int resumed = 0; resumed <= 1; resumed++) {
        struct rig *rig = malloc(sizeof(*rig));
        assert_non_null(rig);
        rig_start_durable(rig, LS_DURABLE_JOURNAL, resumed);
        assert_int_equal(rig_role(rig), LS_ROLE_OUTSIDE);
        struct ls_event done = rig_order_give(rig, (struct ls_order){.kind = LS_ORDER_COUNT, .incarnation = 11});
        assert_int_equal(done.code, resumed ? 0 : EAGAIN);
        assert_int_equal(rig_role(rig), resumed ? LS_ROLE_SEALED : LS_ROLE_OUTSIDE);
        end(rig);
    }
}

static void answered(struct rig *rig, uint64_t hold)
{
    struct ls_reply_frame reply = {.hold = hold};
    assert_true(rig->io.alloc(&rig->io, &reply.frame));
    struct ls_frame_header *header = (struct ls_frame_header *)reply.frame.data;
    memset(header, 0, sizeof(*header));
    header->type = LS_FRAME_REPLY;
    reply.frame.length = sizeof(*header);
    reply.frame.peer = rig_address(9);
    assert_true(ls_spsc_push(&rig->seam.replies, &reply));
}

static uint32_t replies_out(struct rig *rig)
{
    uint32_t n = rig_sent(rig, LS_FRAME_REPLY);
    rig_clear(rig);
    return n;
}

/* Under `async` memory commits, and an answer that says `journal` waits until a majority's disks have its entry; the
 * others do not. */
static void answers_wait_for_disks(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_ASYNC);
    lead(rig);
    uint64_t opened = rig->log.end;
    ack(rig, 2, opened, 0, 0);
    ack(rig, 3, opened, 0, 0);
    assert_int_equal(commit_of(rig), opened);
    rig_apply(rig);
    (void)replies_out(rig);
    answered(rig, 0);
    answered(rig, opened);
    rig_turn(rig, 0);
    assert_int_equal(replies_out(rig), 1);
    written(rig, opened); /* the sequencer's own disk alone */
    assert_int_equal(replies_out(rig), 0);
    ack(rig, 2, opened, opened - 8, 0);
    assert_int_equal(replies_out(rig), 0);
    ack(rig, 2, opened, opened, 0);
    assert_int_equal(replies_out(rig), 1);
    answered(rig, opened); /* known to be there by now */
    rig_turn(rig, 0);
    assert_int_equal(replies_out(rig), 1);
    /* The epoch ends: what still waits is forgotten, the client asks again. */
    answered(rig, opened + 1000);
    rig_turn(rig, 0);
    rig_seal(rig, 2);
    rig_turn(rig, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_held), 1);
    assert_int_equal(replies_out(rig), 0);
    end(rig);
}

/* More than there is room for: the newest are dropped, under their own name. */
static void answers_that_wait_have_a_bound(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_ASYNC);
    lead(rig);
    uint64_t opened = rig->log.end;
    ack(rig, 2, opened, 0, 0);
    ack(rig, 3, opened, 0, 0);
    rig_apply(rig);
    for (uint32_t i = 0; i < LS_HELD_MAX + 10; i++) {
        answered(rig, opened);
        rig_turn(rig, 0);
        rig_clear(rig);
    }
    assert_int_equal(rig_count(rig, LS_COUNT_drop_held), 10);
    rig_seal(rig, 2);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_held), 10 + LS_HELD_MAX);
    end(rig);
}

/* Who the members are, control hears of a log that came back as of any other. */
static void members_of_a_log_that_came_back_are_told(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_JOURNAL);
    struct ls_event event = {0};
    lead(rig);
    rig_again(rig, true);
    rig_turn(rig, 0);
    assert_true(rig_event(rig, LS_EVENT_MEMBERS, &event));
    assert_int_equal(event.members.count, 3);
    end(rig);
}

/* A new incarnation that counts and began with all that the node acknowledged takes the place of the one before it,
 * whose word is forgotten and heard no more. Of one that does not, nothing is taken: it would have to be admitted. */
static void a_resumed_follower_is_taken(void **state)
{
    (void)state;
    struct rig *rig = begin(LS_DURABLE_JOURNAL);
    lead(rig);
    uint64_t opened = rig->log.end;
    written(rig, opened);
    ack(rig, 2, opened, opened, LS_ACK_DURABLE);
    assert_int_equal(atomic_load(&rig->page.acked[2]), opened);
    struct rig_from again = {.node = 2, .incarnation = 23, .epoch = 1};
    rig_ack(rig, again, (struct ls_ack_body){.question = 1, .flags = LS_ACK_DURABLE});
    rig_turn(rig, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 1);
    assert_int_equal(atomic_load(&rig->page.acked[2]), opened);
    rig_ack(rig, again, (struct ls_ack_body){.question = 1, .flags = LS_ACK_DURABLE | LS_ACK_RESUMED});
    rig_turn(rig, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 1);
    assert_int_equal(atomic_load(&rig->page.acked[2]), 0);
    ack(rig, 2, opened, opened, LS_ACK_DURABLE); /* late, from the one before */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_incarnation), 2);
    ack(rig, 3, opened, opened, LS_ACK_DURABLE);
    assert_int_equal(commit_of(rig), 0);
    rig_ack(
        rig, again,
        (struct ls_ack_body){
            .position = opened, .durable = opened, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED | LS_ACK_DURABLE});
    rig_turn(rig, 0);
    assert_int_equal(commit_of(rig), opened);
    end(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_majority_of_disks_commits),
        cmocka_unit_test(memory_is_not_counted_for_a_disk),
        cmocka_unit_test(a_disk_is_not_counted_for_memory),
        cmocka_unit_test(a_follower_answers_for_its_disk),
        cmocka_unit_test(a_dropped_tail_is_not_answered_for),
        cmocka_unit_test(the_ring_waits_for_the_disk),
        cmocka_unit_test(a_disk_that_fails_halts),
        cmocka_unit_test(one_that_resumed_may_count),
        cmocka_unit_test(answers_wait_for_disks),
        cmocka_unit_test(answers_that_wait_have_a_bound),
        cmocka_unit_test(members_of_a_log_that_came_back_are_told),
        cmocka_unit_test(a_resumed_follower_is_taken),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
