/* SPDX-License-Identifier: BSD-3-Clause */
/* A follower that misses what the ring has let go: the test plays whoever reads the journal. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

#define SUSPEND_NS 10000000000ull

static struct rig *rig;
static uint8_t all[8 * RIG_LOG_SIZE]; /* the log as the journal has it */
static uint8_t window[RIG_LOG_SIZE];

static void ack(uint16_t node, uint64_t held)
{
    struct rig_from from = {.node = node, .incarnation = node * 11u, .epoch = 1};
    rig_ack(rig, from, (struct ls_ack_body){.position = held, .limit = sizeof(all), .flags = LS_ACK_VERIFIED});
    rig_turn(rig, 0);
}

/* One entry more that everybody but node 3 holds. */
static void append(void)
{
    static const uint8_t bytes[1000];
    struct ls_entry header = {.kind = LS_ENTRY_OPERATION, .session = 1};
    uint64_t at = rig->log.end;
    ls_sequencer_append(rig->replica, &header, bytes, sizeof(bytes), rig->now);
    memcpy(all + at, ls_log_at(&rig->log, at), rig->log.end - at);
    ack(2, rig->log.end);
    rig_apply(rig);
    rig_turn(rig, 0);
    rig_clear(rig);
}

/* Node 3 stands at the beginning, and the ring has gone round. Where it stood. */
static uint64_t begin(void)
{
    rig = malloc(sizeof(*rig));
    assert_non_null(rig);
    rig_start(rig, 3);
    rig_lead(rig, 1);
    rig->seam.past_bytes = window;
    uint64_t stood = rig->log.end;
    rig_ack(rig, (struct rig_from){.node = 3, .incarnation = 33, .epoch = 1}, (struct ls_ack_body){.question = 1});
    rig_turn(rig, 0);
    memcpy(all, ls_log_at(&rig->log, 0), stood);
    ack(3, stood);
    ack(2, stood);
    rig_apply(rig);
    rig_turn(rig, SUSPEND_NS); /* it has stood still for long: nobody waits for it */
    while (ls_log_oldest(&rig->log) < stood + 2000)
        append();
    return stood;
}

static void end(void)
{
    rig->seam.past_bytes = NULL;
    rig_stop(rig);
    free(rig);
}

/* Node 3 misses these. */
static void fetch(uint64_t begin, uint64_t end)
{
    struct rig_from from = {.node = 3, .incarnation = 33, .epoch = 1};
    struct ls_fetch_body *body = (struct ls_fetch_body *)rig_frame(rig, LS_FRAME_FETCH, from);
    *body = (struct ls_fetch_body){.ranges = 1};
    struct ls_fetch_range *range = (struct ls_fetch_range *)(body + 1);
    *range = (struct ls_fetch_range){.begin = begin, .end = end};
    rig_frame_send(rig, range + 1, rig_address(3));
    rig_turn(rig, 0);
}

static void answer(uint64_t from, uint64_t to)
{
    memcpy(window, all + from, to - from);
    rig->seam.past_from = from;
    rig->seam.past_end = to;
    atomic_store(&rig->seam.past_taken, atomic_load(&rig->seam.past_asked));
}

static const struct ls_order_body *order(void)
{
    return ls_frame_body(rig_last(rig, LS_FRAME_ORDER));
}

/* The window is asked for once, and not looked at before it is there; then it goes out, and behind it the ring. */
static void what_is_gone_comes_from_the_window(void **state)
{
    (void)state;
    uint64_t stood = begin();
    ack(3, stood);
    fetch(stood, stood + 100);
    assert_int_equal(rig_count(rig, LS_COUNT_past_windows), 1);
    assert_int_equal(rig->seam.past_want, stood);
    rig_clear(rig);
    rig_turn(rig, 1000000);
    assert_int_equal(rig_sent(rig, LS_FRAME_ORDER), 0);
    assert_int_equal(rig_count(rig, LS_COUNT_past_windows), 1);
    uint64_t oldest = ls_log_oldest(&rig->log);
    answer(0, oldest + 100); /* from the entry before it on, and further than need be */
    rig_turn(rig, 0);
    assert_true(rig_sent(rig, LS_FRAME_ORDER) >= 2);
    assert_true(order()->position + 100 > oldest);
    for (uint32_t i = 0; i < 300 && rig->replica->peer[1].next < rig->log.end; i++)
        ack(3, rig->replica->peer[1].next);
    assert_int_equal(rig->replica->peer[1].next, rig->log.end);
    assert_int_equal(rig_count(rig, LS_COUNT_past_windows), 1);
    end();
}

/* A frame of it was lost: it comes again, out of the window, or of another one where that has moved on. */
static void a_lost_part_is_sent_again(void **state)
{
    (void)state;
    uint64_t stood = begin();
    ack(3, stood);
    fetch(stood, stood + 100);
    answer(stood, stood + 1500);
    rig_turn(rig, 0);
    assert_int_equal(rig->seam.past_want, stood + 1500); /* the next one */
    fetch(stood + 500, stood + 900);
    assert_int_equal(rig_count(rig, LS_COUNT_ranges_out), 0); /* somebody else fills it now */
    answer(stood + 1500, stood + 2000);
    rig_turn(rig, 0);
    assert_int_equal(rig->seam.past_want, stood + 500);
    answer(stood, stood + 1500);
    rig_clear(rig);
    rig_turn(rig, 0);
    assert_true(rig_sent(rig, LS_FRAME_ORDER) > 0);
    assert_true(order()->position >= stood + 500);
    end();
}

/* The journal does not have it either: the follower is told, and one that stands further on is not. */
static void what_nobody_has_is_told(void **state)
{
    (void)state;
    uint64_t stood = begin();
    ack(3, stood);
    fetch(stood, stood + 100);
    answer(stood, stood);
    rig_clear(rig);
    rig_turn(rig, 1000000);
    assert_int_equal(ls_past_reach(rig->replica), stood + 1);
    const struct ls_heartbeat_body *beat = ls_frame_body(rig_last(rig, LS_FRAME_HEARTBEAT));
    const struct ls_answer_record *told = (const struct ls_answer_record *)(beat + 1);
    assert_int_equal(beat->answers, 1);
    assert_int_equal(told->kind, LS_ANSWER_TOO_OLD);
    assert_int_equal(told->position, stood + 1);
    end();
}

/* Whoever is fed out of the journal holds nobody back. */
static void it_holds_nobody_back(void **state)
{
    (void)state;
    uint64_t stood = begin();
    ack(3, stood);
    fetch(stood, stood + 100);
    answer(stood, stood + 1000);
    ack(3, stood + 500); /* it moves, and is heard */
    assert_true(ls_sequencer_has_room(rig->replica, 1000, rig->now));
    end();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_gone_comes_from_the_window),
        cmocka_unit_test(a_lost_part_is_sent_again),
        cmocka_unit_test(what_nobody_has_is_told),
        cmocka_unit_test(it_holds_nobody_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
