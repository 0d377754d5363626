/* SPDX-License-Identifier: BSD-3-Clause */
/* Gaps: what is remembered, when and from whom it is fetched, what is served. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

static const struct rig_from LEADER = {.node = 2, .incarnation = 22, .epoch = 1};
static const struct rig_from OTHER = {.node = 3, .incarnation = 33, .epoch = 1};

static void ranges_merge_and_join(void **state)
{
    (void)state;
    struct ls_repair repair = {0};
    ls_repair_reset(&repair, 1000);
    assert_true(ls_repair_add(&repair, 100, 200));
    assert_true(ls_repair_add(&repair, 300, 400));
    assert_true(ls_repair_add(&repair, 50, 60));
    assert_int_equal(repair.ranges, 3);
    assert_true(ls_repair_add(&repair, 200, 300)); /* touches both neighbours */
    assert_int_equal(repair.ranges, 2);
    assert_int_equal(repair.range[1].begin, 100);
    assert_int_equal(repair.range[1].end, 400);
    assert_int_equal(ls_repair_join(&repair, 40), 40);
    assert_int_equal(ls_repair_join(&repair, 55), 60);
    assert_int_equal(ls_repair_join(&repair, 150), 400);
    assert_int_equal(repair.ranges, 0);
}

static void ranges_are_bounded(void **state)
{
    (void)state;
    struct ls_repair repair = {0};
    for (uint64_t i = 1; i <= LS_RANGES_MAX; i++)
        assert_true(ls_repair_add(&repair, i * 100, i * 100 + 10));
    assert_false(ls_repair_add(&repair, 50, 60));
    assert_true(ls_repair_add(&repair, 110, 120)); /* only lengthens one */
    assert_int_equal(repair.ranges, LS_RANGES_MAX);
}

/* The reference: a bitmap of which bytes are there. */
static void ranges_agree_with_a_bitmap(void **state)
{
    (void)state;
    srand(7);
    for (int round = 0; round < 2000; round++) {
        struct ls_repair repair = {0};
        bool have[256] = {false};
        for (int step = 0; step < 12; step++) {
            uint64_t begin = 1 + (uint64_t)(rand() % 200);
            uint64_t end = begin + 1 + (uint64_t)(rand() % 20);
            if (!ls_repair_add(&repair, begin, end))
                continue;
            memset(&have[begin], 1, end - begin);
        }
        bool claimed[256] = {false};
        for (uint32_t i = 0; i < repair.ranges; i++) {
            assert_true(i == 0 || repair.range[i].begin > repair.range[i - 1].end);
            memset(&claimed[repair.range[i].begin], 1, repair.range[i].end - repair.range[i].begin);
        }
        assert_memory_equal(have, claimed, sizeof(have));
        uint64_t filled = (uint64_t)(rand() % 100), expected = filled;
        while (have[expected])
            expected++;
        assert_int_equal(ls_repair_join(&repair, filled), expected);
    }
}

/* A follower whose log misses [first entry's end, second entry's end). */
static void with_gap(struct rig *rig, struct ls_log *leader, uint64_t end[4])
{
    assert_int_equal(ls_log_init(leader, RIG_LOG_SIZE), 0);
    end[0] = rig_entry(leader, LS_ENTRY_EPOCH, 1, 0, NULL);
    end[1] = rig_entry(leader, LS_ENTRY_OPERATION, 1, 1, "lost");
    end[2] = rig_entry(leader, LS_ENTRY_OPERATION, 1, 2, "early");
    rig_start(rig, 3);
    rig_follow(rig, 1);
    rig_order(rig, LEADER, 0, ls_log_at(leader, 0), (uint32_t)end[0], 0);
    rig_order(rig, LEADER, end[1], ls_log_at(leader, end[1]), (uint32_t)(end[2] - end[1]), 0);
}

static void a_gap_is_fetched_after_the_reorder_delay(void **state)
{
    (void)state;
    struct rig *rig = malloc(sizeof(*rig));
    struct ls_log leader;
    uint64_t end[4];
    with_gap(rig, &leader, end);
    rig_turn(rig, 0);
    assert_int_equal(rig_sent(rig, LS_FRAME_FETCH), 0);
    const struct ls_ack_body *ack = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    assert_int_equal(ack->position, end[0]); /* not beyond the gap */
    rig_turn(rig, 100000);
    const struct ls_fetch_body *fetch = rig_body(rig, ls_fetch_body, LS_FRAME_FETCH);
    const struct ls_fetch_range *range = (const struct ls_fetch_range *)(fetch + 1);
    assert_int_equal(fetch->ranges, 1);
    assert_int_equal(range->begin, end[0]);
    assert_int_equal(range->end, end[1]);
    assert_int_equal(rig->out[rig->sent - 1].peer.ip, rig_address(2).ip);
    /* No answer: the next member is asked. */
    rig_clear(rig);
    rig_turn(rig, 30000000);
    (void)rig_last(rig, LS_FRAME_FETCH);
    assert_int_equal(rig->out[rig->sent - 1].peer.ip, rig_address(3).ip);
    /* The bytes come from there; both entries are taken in. */
    uint8_t *body = rig_frame(rig, LS_FRAME_RANGE, OTHER);
    struct ls_range_body at = {.position = end[0]};
    memcpy(body, &at, sizeof(at));
    memcpy(body + sizeof(at), ls_log_at(&leader, end[0]), end[1] - end[0]);
    rig_frame_send(rig, body + sizeof(at) + (end[1] - end[0]), rig_address(3));
    assert_int_equal(rig->log.end, end[2]);
    assert_int_equal(rig->log.last_seq, 3);
    assert_int_equal(rig_count(rig, LS_COUNT_fetches_out), 2);
    assert_int_equal(rig_count(rig, LS_COUNT_ranges_in), 1);
    rig_stop(rig);
    ls_log_free(&leader);
    free(rig);
}

static void a_late_frame_needs_no_fetch_and_raises_patience(void **state)
{
    (void)state;
    struct rig *rig = malloc(sizeof(*rig));
    struct ls_log leader;
    uint64_t end[4];
    with_gap(rig, &leader, end);
    rig_turn(rig, 0);
    rig_turn(rig, 30000);
    uint64_t patience = rig->replica->repair.delay_ns;
    rig_order(rig, LEADER, end[0], ls_log_at(&leader, end[0]), (uint32_t)(end[1] - end[0]), 0);
    rig_turn(rig, 1000);
    assert_int_equal(rig_sent(rig, LS_FRAME_FETCH), 0);
    assert_int_equal(rig->log.end, end[2]);
    assert_true(rig->replica->repair.delay_ns > patience);
    assert_int_equal(rig_count(rig, LS_COUNT_order_early), 1);
    rig_stop(rig);
    ls_log_free(&leader);
    free(rig);
}

static void a_heartbeat_shows_a_lost_tail(void **state)
{
    (void)state;
    struct rig *rig = malloc(sizeof(*rig));
    rig_start(rig, 3);
    rig_follow(rig, 1);
    rig_heartbeat(rig, LEADER, (struct ls_heartbeat_body){.last = 500, .sent = 300}, NULL);
    rig_turn(rig, 0);
    rig_turn(rig, 100000);
    const struct ls_fetch_body *fetch = rig_body(rig, ls_fetch_body, LS_FRAME_FETCH);
    assert_int_equal(((const struct ls_fetch_range *)(fetch + 1))->end, 300);
    rig_stop(rig);
    free(rig);
}

static void fetch_from(struct rig *rig, struct rig_from from, uint64_t begin, uint64_t end)
{
    uint8_t *body = rig_frame(rig, LS_FRAME_FETCH, from);
    struct ls_fetch_body fetch = {.ranges = 1};
    struct ls_fetch_range range = {.begin = begin, .end = end};
    memcpy(body, &fetch, sizeof(fetch));
    memcpy(body + sizeof(fetch), &range, sizeof(range));
    rig_frame_send(rig, body + sizeof(fetch) + sizeof(range), rig_address(from.node));
}

static void what_is_verified_is_served(void **state)
{
    (void)state;
    struct rig *rig = malloc(sizeof(*rig));
    struct ls_log leader;
    uint64_t end[4];
    with_gap(rig, &leader, end);
    rig_turn(rig, 0);
    rig_clear(rig);
    fetch_from(rig, OTHER, 8, end[2]);
    const uint8_t *frame = rig_last(rig, LS_FRAME_RANGE);
    const struct ls_range_body *range = ls_frame_body(frame);
    assert_int_equal(range->position, 8);
    assert_int_equal(ls_frame_header(frame)->length, LS_FRAME_HEADER_SIZE + sizeof(*range) + end[0] - 8);
    assert_memory_equal(range + 1, ls_log_at(&leader, 8), end[0] - 8);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_fetch_gone), 1); /* the rest is not held */
    rig_stop(rig);
    ls_log_free(&leader);
    free(rig);
}

static void an_unverified_replica_serves_nothing(void **state)
{
    (void)state;
    struct rig *rig = malloc(sizeof(*rig));
    rig_start(rig, 3);
    rig_lead(rig, 1);
    rig_seal(rig, 2);
    fetch_from(rig, (struct rig_from){.node = 3, .incarnation = 33, .epoch = 2}, 0, 64);
    assert_int_equal(rig_sent(rig, LS_FRAME_RANGE), 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_fetch_gone), 1);
    rig_stop(rig);
    free(rig);
}

static void served_bytes_are_bounded_in_a_turn(void **state)
{
    (void)state;
    struct rig *rig = malloc(sizeof(*rig));
    rig_start(rig, 3);
    rig_lead(rig, 1);
    struct rig_from client = OTHER;
    rig->replica->bulk = 3;
    while (rig->log.end < 30000)
        rig_entry(&rig->log, LS_ENTRY_OPERATION, 1, 1, "filler filler filler");
    fetch_from(rig, client, 0, 30000);
    assert_int_equal(rig_sent(rig, LS_FRAME_RANGE), 3);
    assert_int_equal(rig_count(rig, LS_COUNT_ranges_out), 3);
    assert_int_equal(rig_count(rig, LS_COUNT_fetches_in), 1);
    rig_stop(rig);
    free(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ranges_merge_and_join),
        cmocka_unit_test(ranges_are_bounded),
        cmocka_unit_test(ranges_agree_with_a_bitmap),
        cmocka_unit_test(a_gap_is_fetched_after_the_reorder_delay),
        cmocka_unit_test(a_late_frame_needs_no_fetch_and_raises_patience),
        cmocka_unit_test(a_heartbeat_shows_a_lost_tail),
        cmocka_unit_test(what_is_verified_is_served),
        cmocka_unit_test(an_unverified_replica_serves_nothing),
        cmocka_unit_test(served_bytes_are_bounded_in_a_turn),
    };
    return cmocka_run_group_tests_name("repair", tests, NULL, NULL);
}
