/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * How the client core finds a new sequencer: traces of whom it asks and when, while the nodes that are left know better
 * or worse; when it goes back to a node; how long it waits before it repeats.
 */
#include "rig.h"

/* What came out since the last call, as "ms>node" with one decimal, times from `begin`. */
static const char *hops(struct rig *rig, uint64_t begin)
{
    static char text[2048];
    size_t used = 0;
    text[0] = 0;
    for (uint32_t f = 0; f < rig->sent; f++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%.1f>%u", used ? " " : "",
                                 (double)(rig->now - begin) / 1e6, rig_to(rig, f));
    rig_forget(rig);
    return text;
}

/* Turn by turn until `end`: `answer` says what a node does with a frame. */
static void failover(struct rig *rig, uint64_t begin, uint64_t end, void (*answer)(struct rig *, uint32_t to),
                     char *trace, size_t room)
{
    size_t used = 0;
    trace[0] = 0;
    while (rig->now <= begin + end && rig->dones == 0) {
        uint64_t next = rig_poll(rig);
        uint32_t to = rig->sent ? rig_to(rig, 0) : 0;
        if (rig->sent) {
            assert_int_equal(rig->sent, 1); /* whatever is open shares one frame */
            used += (size_t)snprintf(trace + used, room - used, "%s%s", used ? " " : "", hops(rig, begin));
            rig->now += 50000;
            answer(rig, to);
            continue;
        }
        rig->now = next > rig->now ? next : rig->now;
    }
}

static uint64_t opens_ns; /* when node 3 is the sequencer */

static void others_name_the_dead(struct rig *rig, uint32_t to)
{
    if (rig->now >= opens_ns && to == 3)
        rig_ok(rig, 3, 2, 1);
    else if (rig->now >= opens_ns && to == 2)
        rig_view(rig, 2, LS_FRAME_REDIRECT, 2, 3, 0);
    else if (to != 1)
        rig_view(rig, to, LS_FRAME_REDIRECT, 1, 1, 0);
}

static void others_know_nobody(struct rig *rig, uint32_t to)
{
    if (rig->now >= opens_ns && to == 3)
        rig_ok(rig, 3, 2, 1);
    else if (to != 1)
        rig_busy(rig, to, 77, 1, LS_STATUS_NO_SEQUENCER, 0, 1 * MS);
}

static void nobody_answers(struct rig *rig, uint32_t to)
{
    if (rig->now >= opens_ns && to == 3)
        rig_ok(rig, 3, 2, 1);
}

/* Numbers of the requests in a frame, as bits. */
static uint64_t requests_of(const struct rig *rig, uint32_t frame)
{
    const uint8_t *at = ls_frame_body(rig->frame[frame].data), *end = rig->frame[frame].data + rig->frame[frame].length;
    uint64_t numbers = 0;
    while (at + sizeof(struct ls_request_record) <= end) {
        const struct ls_request_record *record = (const void *)at;
        if (record->number == 0)
            break;
        numbers |= 1ull << record->number;
        at += sizeof(*record) + ls_pad8(record->length);
    }
    return numbers;
}

/* Two requests of different moments, and a node that is silent: whichever notices, both go on to the next one together,
 * for that one answers nothing without the first of them. */
static void what_is_open_moves_together(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    bool moved = false;
    uint32_t last = 1;
    rig_submit(rig, "a");
    (void)rig_poll(rig);
    rig->now += MS / 2 + MS / 8;
    rig_submit(rig, "b");
    (void)rig_poll(rig);
    rig_forget(rig);
    for (uint64_t end = rig->now + 200 * MS; rig->now < end;) {
        uint64_t next = rig_poll(rig);
        for (uint32_t f = 0; f < rig->sent; f++) {
            if (rig_to(rig, f) != last) {
                assert_int_equal(requests_of(rig, f), 1ull << 1 | 1ull << 2);
                moved = true;
            }
            last = rig_to(rig, f);
        }
        rig_forget(rig);
        rig->now = next > rig->now ? next : rig->now + 1;
    }
    assert_true(moved);
    rig_destroy(rig);
}

/* Node 1 dies; the others go on naming it until the new one opens. It is asked again now and then, no more. */
static void failover_past_hearsay(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    char trace[1024];
    uint64_t begin = rig->now;
    rig_submit(rig, "a");
    opens_ns = begin + 9 * MS;
    failover(rig, begin, 100 * MS, others_name_the_dead, trace, sizeof(trace));
    assert_int_equal(rig->dones, 1);
    assert_true(rig->now <= opens_ns + 3 * MS);
    assert_string_equal(trace, "0.0>1 1.0>1 3.0>2 4.0>3 5.1>2 6.2>3 7.2>2 8.2>3 9.3>2 9.3>3");
    rig_destroy(rig);
}

static void failover_where_nobody_is_known(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    char trace[1024];
    uint64_t begin = rig->now;
    rig_submit(rig, "a");
    opens_ns = begin + 9 * MS;
    failover(rig, begin, 100 * MS, others_know_nobody, trace, sizeof(trace));
    assert_int_equal(rig->dones, 1);
    assert_true(rig->now <= opens_ns + 3 * MS);
    assert_string_equal(trace, "0.0>1 1.0>1 3.0>2 4.0>3 5.1>2 6.2>3 7.2>2 8.2>3 9.3>2 10.3>3");
    rig_destroy(rig);
}

static void failover_in_silence(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    char trace[1024];
    uint64_t begin = rig->now;
    rig_submit(rig, "a");
    opens_ns = begin + 60 * MS;
    failover(rig, begin, 200 * MS, nobody_answers, trace, sizeof(trace));
    assert_int_equal(rig->dones, 1);
    assert_string_equal(trace, "0.0>1 1.0>1 3.0>2 7.0>3 15.0>1 25.0>2 35.0>3 45.0>1 55.0>2 65.0>3");
    rig_destroy(rig);
}

/* The new sequencer says so unasked: what is open is there at once, in one frame, and an older view changes nothing. */
static void failover_by_view(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    for (int i = 0; i < 8; i++)
        rig_submit(rig, "a");
    rig_poll(rig);
    rig_forget(rig);
    rig->now += MS / 2;
    rig_view(rig, 3, LS_FRAME_VIEW, 2, 3, 0);
    rig_view(rig, 2, LS_FRAME_VIEW, 1, 1, 0);
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1o 2o 3o 4o 5o 6o 7o 8o");
    assert_int_equal(rig->sent, 1);
    assert_int_equal(rig_to(rig, 0), 3);
    rig_destroy(rig);
}

/* A node that was left for its silence is taken at its own word, and at that of a newer epoch. */
static void silence_is_forgiven(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_run_until(rig, rig->now + 4 * MS);
    assert_int_equal(rig_to(rig, rig->sent - 1), 2);
    rig_forget(rig);
    rig_view(rig, 2, LS_FRAME_REDIRECT, 1, 1, 0); /* hearsay: no frame to node 1 at once */
    rig_poll(rig);
    assert_int_equal(rig->sent, 0);
    rig_view(rig, 1, LS_FRAME_VIEW, 1, 1, 0);
    rig_poll(rig);
    assert_int_equal(rig->sent, 1);
    assert_int_equal(rig_to(rig, 0), 1);
    rig_destroy(rig);
}

/* Sent on twice within a time-out: the second node that is named gets what is due, though nothing went there yet and
 * the client has searched before. It left again unasked when the silence of the node before counted against it. */
static void named_node_is_asked(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_run_until(rig, rig->now + 4 * MS); /* node 1 is silent: the search begins */
    assert_int_equal(rig_to(rig, rig->sent - 1), 2);
    rig_forget(rig);
    rig_view(rig, 2, LS_FRAME_REDIRECT, 2, 1, 0); /* a newer epoch: at once */
    rig_poll(rig);
    assert_int_equal(rig_to(rig, rig->sent - 1), 1);
    rig_view(rig, 1, LS_FRAME_REDIRECT, 2, 2, 0); /* the first in this epoch: at once, too */
    rig_poll(rig);
    assert_int_equal(rig_to(rig, rig->sent - 1), 2);
    rig_forget(rig);
    rig_view(rig, 2, LS_FRAME_REDIRECT, 2, 3, 0); /* and on again: when it is due */
    rig_poll(rig);
    assert_int_equal(rig->sent, 0);
    rig_run_until(rig, rig->now + 2 * MS);
    assert_int_equal(rig_to(rig, 0), 3);
    rig_destroy(rig);
}

/* No repeat before four round trips and the deviation, nor below the configured minimum. */
static void repeats_wait_for_several_round_trips(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    for (uint64_t number = 1; number <= 100; number++) {
        rig_submit(rig, "a");
        rig_poll(rig);
        rig->now += 2 * MS;
        rig_ok(rig, 1, 1, number);
    }
    rig_forget(rig);
    rig_submit(rig, "a");
    uint64_t begin = rig->now;
    rig_run_until(rig, begin + 79 * MS / 10);
    assert_int_equal(rig->sent, 1);
    rig_run_until(rig, begin + 9 * MS);
    assert_int_equal(rig->sent, 2);
    rig_destroy(rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_open_moves_together),
        cmocka_unit_test(failover_past_hearsay),
        cmocka_unit_test(failover_where_nobody_is_known),
        cmocka_unit_test(failover_in_silence),
        cmocka_unit_test(failover_by_view),
        cmocka_unit_test(silence_is_forgiven),
        cmocka_unit_test(named_node_is_asked),
        cmocka_unit_test(repeats_wait_for_several_round_trips),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
