/* SPDX-License-Identifier: BSD-3-Clause */
/* Requests at the sequencer: order by number, repeats, windows, every refusal by its name. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

#define SESSION 77
#define SLOT    3

static int setup(void **state)
{
    struct rig *rig = malloc(sizeof(*rig));
    *state = rig;
    rig_start(rig, 3);
    rig_lead(rig, 1);
    rig_session(rig, SLOT, SESSION, 1);
    return 0;
}

static int teardown(void **state)
{
    rig_stop(*state);
    free(*state);
    return 0;
}

static void put(struct rig *rig, uint64_t number)
{
    rig_request(rig,
                (struct ls_request_record){.session = SESSION,
                                           .number = number,
                                           .awaited = 1,
                                           .slot = SLOT,
                                           .kind = LS_REQUEST_OPERATION,
                                           .length = 5},
                "hello");
}

static uint16_t busy_status(struct rig *rig)
{
    return rig_body(rig, ls_busy_body, LS_FRAME_BUSY)->status;
}

static uint16_t reply_status(struct rig *rig)
{
    const struct ls_reply_body *body = rig_body(rig, ls_reply_body, LS_FRAME_REPLY);
    return ((const struct ls_reply_record *)(body + 1))->status;
}

static const struct ls_entry *entry_at(struct rig *rig, uint64_t seq)
{
    return (const struct ls_entry *)ls_log_at(&rig->log, ls_log_position(&rig->log, seq));
}

static void a_request_becomes_an_entry(void **state)
{
    struct rig *rig = *state;
    uint64_t last = rig->log.last_seq;
    put(rig, 1);
    assert_int_equal(rig->log.last_seq, last + 1);
    const struct ls_entry *entry = entry_at(rig, last + 1);
    assert_int_equal(entry->kind, LS_ENTRY_OPERATION);
    assert_int_equal(entry->session, SESSION);
    assert_int_equal(entry->number, 1);
    assert_int_equal(entry->slot, SLOT);
    assert_int_equal(entry->ip, RIG_CLIENT.ip);
    assert_int_equal(entry->port, RIG_CLIENT.port);
    assert_memory_equal(entry + 1, "hello", 5);
    assert_int_equal(rig_count(rig, LS_COUNT_requests_in), 1);
    assert_int_equal(rig_count(rig, LS_COUNT_requests_ordered), 1);
    uint64_t orders = rig_count(rig, LS_COUNT_orders_out);
    rig_turn(rig, 0);
    assert_int_equal(rig_count(rig, LS_COUNT_orders_out), orders + 1);
}

static void requests_are_ordered_by_number(void **state)
{
    struct rig *rig = *state;
    uint64_t last = rig->log.last_seq;
    put(rig, 3);
    put(rig, 2);
    put(rig, 2);
    assert_int_equal(rig->log.last_seq, last);
    assert_int_equal(rig_count(rig, LS_COUNT_requests_stashed), 2);
    put(rig, 1);
    assert_int_equal(rig->log.last_seq, last + 3);
    for (uint64_t i = 1; i <= 3; i++)
        assert_int_equal(entry_at(rig, last + i)->number, i);
}

static void a_repeat_is_handed_to_apply_and_not_ordered(void **state)
{
    struct rig *rig = *state;
    put(rig, 1);
    uint64_t last = rig->log.last_seq;
    put(rig, 1);
    assert_int_equal(rig->log.last_seq, last);
    struct ls_repeat repeat;
    assert_true(ls_spsc_pop(&rig->seam.repeats, &repeat));
    assert_int_equal(repeat.session, SESSION);
    assert_int_equal(repeat.number, 1);
    assert_int_equal(rig_count(rig, LS_COUNT_requests_repeated), 1);
}

static void repeats_beyond_the_queue_are_counted(void **state)
{
    struct rig *rig = *state;
    put(rig, 1);
    for (int i = 0; i <= LS_REPEATS_QUEUE; i++)
        put(rig, 1);
    assert_int_equal(rig_count(rig, LS_COUNT_drop_reply_ask), 1);
}

static void the_window_starts_from_the_session_table_in_each_epoch(void **state)
{
    struct rig *rig = *state;
    put(rig, 1);
    rig_session(rig, SLOT, SESSION, 1); /* apply has not executed it: the epoch ends before */
    rig_seal(rig, 2);
    assert_int_equal(rig_install(rig, 2), 0);
    put(rig, 2);
    assert_int_equal(busy_status(rig), LS_STATUS_BUSY_OPENING);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_opening), 1);
}

static void a_query_is_ordered_even_for_a_number_that_is_done(void **state)
{
    struct rig *rig = *state;
    put(rig, 1);
    struct ls_request_record query = {
        .session = SESSION, .number = 1, .awaited = 1, .slot = SLOT, .kind = LS_REQUEST_QUERY};
    rig_request(rig, query, NULL);
    assert_int_equal(entry_at(rig, rig->log.last_seq)->kind, LS_ENTRY_QUERY);
    query.number = 2; /* closes it: the number is used up */
    rig_request(rig, query, NULL);
    put(rig, 2);
    assert_int_equal(rig_count(rig, LS_COUNT_requests_repeated), 1);
    put(rig, 3);
    assert_int_equal(entry_at(rig, rig->log.last_seq)->number, 3);
}

static void an_unknown_session_is_refused(void **state)
{
    struct rig *rig = *state;
    atomic_store(&rig->seam.applied_seq, 1000); /* beyond both: neither can still be on its way */
    rig_turn(rig, 0);
    struct ls_request_record record = {
        .session = SESSION + 1, .number = 1, .awaited = 1, .slot = SLOT, .kind = LS_REQUEST_OPERATION, .length = 5};
    rig_request(rig, record, "hello");
    assert_int_equal(reply_status(rig), LS_STATUS_SESSION_UNKNOWN);
    record.slot = 16; /* beyond the table */
    rig_request(rig, record, "hello");
    assert_int_equal(rig_count(rig, LS_COUNT_refused_session), 2);
}

static void a_slot_s_new_session_replaces_the_old_one(void **state)
{
    struct rig *rig = *state;
    put(rig, 1);
    put(rig, 3); /* stays in the stash of the old session */
    rig_session(rig, SLOT, SESSION + 5, 1);
    rig_request(
        rig,
        (struct ls_request_record){
            .session = SESSION + 5, .number = 1, .awaited = 1, .slot = SLOT, .kind = LS_REQUEST_OPERATION, .length = 3},
        "new");
    assert_int_equal(entry_at(rig, rig->log.last_seq)->session, SESSION + 5);
    assert_int_equal(rig->replica->admission[SLOT].stash, 0);
}

static void a_number_beyond_the_window_is_busy(void **state)
{
    struct rig *rig = *state;
    put(rig, 9); /* window 8 */
    assert_int_equal(busy_status(rig), LS_STATUS_BUSY_WINDOW);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_window), 1);
}

static void a_full_stash_is_busy(void **state)
{
    struct rig *rig = *state;
    rig->replica->config.window = LS_WINDOW_MAX;
    uint32_t kept = 0;
    for (uint32_t slot = 4; slot < 16; slot++)
        rig_session(rig, slot, 100 + slot, 1);
    for (uint64_t number = 2; kept < LS_STASH_MAX; number++) {
        for (uint32_t slot = 4; slot < 16 && kept < LS_STASH_MAX; slot++, kept++)
            rig_request(
                rig,
                (struct ls_request_record){
                    .session = 100 + slot, .number = number, .awaited = 1, .slot = slot, .kind = LS_REQUEST_OPERATION},
                NULL);
    }
    put(rig, 2);
    assert_int_equal(busy_status(rig), LS_STATUS_BUSY_STASH);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_stash), 1);
}

static void a_full_log_is_busy_and_nothing_is_lost(void **state)
{
    struct rig *rig = *state;
    uint64_t number = 1;
    char operation[LS_OP_SMALL_MAX] = {0};
    while (rig_sent(rig, LS_FRAME_BUSY) == 0) {
        struct ls_request_record record = {.session = SESSION,
                                           .number = number,
                                           .awaited = number,
                                           .slot = SLOT,
                                           .kind = LS_REQUEST_OPERATION,
                                           .length = LS_OP_SMALL_MAX};
        rig_request(rig, record, operation);
        number++;
        assert_true(number < 100);
    }
    assert_int_equal(busy_status(rig), LS_STATUS_BUSY_LOG);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_log), 1);
    assert_true(rig->log.end <= rig->log.size); /* nothing that is not applied was overwritten */
    struct ls_request_record open = {.kind = LS_REQUEST_OPEN, .length = 16};
    rig->log.filled = rig->log.end;
    while (rig_count(rig, LS_COUNT_busy_log) == 1)
        rig_request(rig, open, "0123456789abcdef");
    assert_int_equal(busy_status(rig), LS_STATUS_BUSY_LOG);
}

static void too_large_is_refused(void **state)
{
    struct rig *rig = *state;
    rig_request(rig,
                (struct ls_request_record){.session = SESSION,
                                           .number = 1,
                                           .awaited = 1,
                                           .slot = SLOT,
                                           .kind = LS_REQUEST_ANNOUNCE,
                                           .total = 17 * 1024},
                NULL);
    assert_int_equal(reply_status(rig), LS_STATUS_TOO_LARGE);
    assert_int_equal(rig_count(rig, LS_COUNT_refused_too_large), 1);
}

static void others_redirect_or_know_of_nobody(void **state)
{
    struct rig *rig = *state;
    rig_seal(rig, 2);
    put(rig, 1);
    assert_int_equal(busy_status(rig), LS_STATUS_NO_SEQUENCER);
    assert_int_equal(rig_count(rig, LS_COUNT_busy_no_sequencer), 1);
    rig_heartbeat(rig, (struct rig_from){.node = 2, .incarnation = 22, .epoch = 2}, (struct ls_heartbeat_body){0},
                  NULL);
    put(rig, 1);
    const struct ls_view_body *view = rig_body(rig, ls_view_body, LS_FRAME_REDIRECT);
    assert_int_equal(view->sequencer, 2);
    assert_int_equal(view->epoch, 2);
    assert_int_equal(view->members, 3);
    assert_int_equal(((const struct ls_member_record *)(view + 1))[1].ip, rig_address(2).ip);
    assert_int_equal(rig_count(rig, LS_COUNT_requests_redirected), 1);
}

static void slow_live_followers_hold_clients_back(void **state)
{
    struct rig *rig = *state;
    struct ls_replica *r = rig->replica;
    uint64_t end = r->log->size;
    assert_true(ls_sequencer_has_room(r, 100, rig->now));
    r->applied = r->floor = end; /* room enough here */
    r->log->end = end;
    assert_false(ls_sequencer_has_room(r, 100, rig->now));             /* node 2 is far behind, and alive */
    assert_true(ls_sequencer_has_room(r, 100, rig->now + 1000000000)); /* or dead: it no longer counts */
    r->log->end = r->log->filled;
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_request_becomes_an_entry),
        TEST(requests_are_ordered_by_number),
        TEST(a_repeat_is_handed_to_apply_and_not_ordered),
        TEST(repeats_beyond_the_queue_are_counted),
        TEST(the_window_starts_from_the_session_table_in_each_epoch),
        TEST(a_query_is_ordered_even_for_a_number_that_is_done),
        TEST(an_unknown_session_is_refused),
        TEST(a_slot_s_new_session_replaces_the_old_one),
        TEST(a_number_beyond_the_window_is_busy),
        TEST(a_full_stash_is_busy),
        TEST(a_full_log_is_busy_and_nothing_is_lost),
        TEST(too_large_is_refused),
        TEST(others_redirect_or_know_of_nobody),
        TEST(slow_live_followers_hold_clients_back),
    };
    return cmocka_run_group_tests_name("admission", tests, NULL, NULL);
}
