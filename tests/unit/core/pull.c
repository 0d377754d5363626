/* SPDX-License-Identifier: BSD-3-Clause */
/* Large requests, fragment by fragment. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

#define SESSION 77
#define SLOT    3
#define TOTAL   (5 * LS_FRAGMENT_SIZE + 100)

static uint8_t value[16 * 1024];

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    *state = rig;
    rig_start(rig, 3);
    rig_lead(rig, 1);
    rig_session(rig, SLOT, SESSION, 1);
    for (size_t i = 0; i < sizeof(value); i++)
        value[i] = (uint8_t)(i * 7 + i / 256);
    return 0;
}

static int teardown(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

static void announce_to(struct rig *rig, uint32_t slot, uint64_t session, uint64_t number, uint32_t total)
{
    rig_request(rig,
                (struct ls_request_record){.session = session,
                                           .number = number,
                                           .awaited = 1,
                                           .slot = slot,
                                           .kind = LS_REQUEST_ANNOUNCE,
                                           .total = total},
                NULL);
}

static void announce(struct rig *rig, uint64_t number, uint32_t total)
{
    announce_to(rig, SLOT, SESSION, number, total);
}

static void fragment(struct rig *rig, uint64_t number, uint32_t index)
{
    uint32_t offset = index * LS_FRAGMENT_SIZE;
    uint32_t length = TOTAL - offset < LS_FRAGMENT_SIZE ? TOTAL - offset : LS_FRAGMENT_SIZE;
    struct ls_fragment_body head = {
        .session = SESSION, .number = number, .slot = SLOT, .index = index, .total = TOTAL, .length = length};
    uint8_t *body = rig_frame(rig, LS_FRAME_FRAGMENT, (struct rig_from){0});
    memcpy(body, &head, sizeof(head));
    memcpy(body + sizeof(head), value + offset, length);
    rig_frame_send(rig, body + sizeof(head) + length, RIG_CLIENT);
}

static void a_large_request_is_pulled_and_ordered_whole(void **state)
{
    struct rig *rig = *state;
    uint64_t last = rig->log.last_seq;
    announce(rig, 1, TOTAL);
    const struct ls_grant_body *grant = rig_body(rig, ls_grant_body, LS_FRAME_GRANT);
    assert_int_equal(grant->first, 0);
    assert_int_equal(grant->missing, 0x3f);
    static const uint32_t order[] = {5, 0, 2, 2, 1, 4, 3};
    for (size_t i = 0; i < sizeof(order) / sizeof(order[0]); i++) {
        assert_int_equal(rig->log.last_seq, last);
        fragment(rig, 1, order[i]);
    }
    assert_int_equal(rig->log.last_seq, last + 1);
    const struct ls_entry *entry = (const struct ls_entry *)ls_log_at(&rig->log, ls_log_position(&rig->log, last + 1));
    assert_int_equal(entry->length, TOTAL);
    assert_memory_equal(entry + 1, value, TOTAL);
    assert_int_equal(rig_count(rig, LS_COUNT_requests_pulled), 1);
    assert_int_equal(rig->replica->pulls, 0);
}

static void lost_fragments_are_granted_again(void **state)
{
    struct rig *rig = *state;
    announce(rig, 1, TOTAL);
    fragment(rig, 1, 1);
    rig_clear(rig);
    rig_turn(rig, 1000000);
    assert_int_equal(rig_sent(rig, LS_FRAME_GRANT), 0);
    rig_turn(rig, 2000000);
    assert_int_equal(rig_body(rig, ls_grant_body, LS_FRAME_GRANT)->missing, 0x3d);
}

static void a_pull_waits_for_its_predecessor(void **state)
{
    struct rig *rig = *state;
    uint64_t last = rig->log.last_seq;
    announce(rig, 2, TOTAL);
    for (uint32_t i = 0; i < 6; i++)
        fragment(rig, 2, i);
    assert_int_equal(rig->log.last_seq, last);
    rig_request(
        rig,
        (struct ls_request_record){
            .session = SESSION, .number = 1, .awaited = 1, .slot = SLOT, .kind = LS_REQUEST_OPERATION, .length = 1},
        "x");
    assert_int_equal(rig->log.last_seq, last + 2);
}

static void fragments_that_nobody_asked_for_are_dropped(void **state)
{
    struct rig *rig = *state;
    fragment(rig, 1, 0);
    announce(rig, 1, TOTAL);
    fragment(rig, 2, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_fragment), 2);
    announce(rig, 1, TOTAL + 8); /* another length under the same number */
    assert_int_equal(rig_count(rig, LS_COUNT_drop_malformed_operation), 1);
}

static void pulls_are_bounded(void **state)
{
    struct rig *rig = *state;
    for (uint32_t i = 0; i <= LS_PULLS_MAX; i++) {
        rig_session(rig, i, 100 + i, 1);
        announce_to(rig, i, 100 + i, 1, TOTAL);
    }
    assert_int_equal(rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status, LS_STATUS_BUSY_PULL);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_pull), 1);
}

static void a_silent_pull_is_given_up(void **state)
{
    struct rig *rig = *state;
    announce(rig, 1, TOTAL);
    fragment(rig, 1, 0);
    rig_turn(rig, 499000000);
    assert_int_equal(rig->replica->pulls, 1);
    rig_turn(rig, 2000000);
    /* Without acknowledgements the sequencer is suspended by now; it cleans up all the same. */
    assert_int_equal(rig->replica->pulls, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_pulls_timed_out), 1);
}

static void a_seal_ends_all_pulls(void **state)
{
    struct rig *rig = *state;
    announce(rig, 1, TOTAL);
    rig_seal(rig, 2);
    assert_int_equal(rig->replica->pulls, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_large_request_is_pulled_and_ordered_whole),
        TEST(lost_fragments_are_granted_again),
        TEST(a_pull_waits_for_its_predecessor),
        TEST(fragments_that_nobody_asked_for_are_dropped),
        TEST(pulls_are_bounded),
        TEST(a_silent_pull_is_given_up),
        TEST(a_seal_ends_all_pulls),
    };
    return cmocka_run_group_tests_name("pull", tests, NULL, NULL);
}
