/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Tests dataplane/client/client_core.c and client_path.c against nodes played by the test, frame by frame. Large
 * operations and reads: client_transfer.c.
 */
#include "rig.h"

/* ---- session ---- */

static void opens_and_repeats_the_opening(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_create(&config);
    uint64_t next = rig_poll(rig);
    assert_string_equal(rig_trace(rig), "0O");
    assert_int_equal(rig_to(rig, 0), 1);
    assert_memory_equal(rig_request(rig, 0) + 1, config.nonce, LS_NONCE_SIZE);
    assert_int_equal(rig_header(rig, 0)->sender, 0);
    assert_true(next > rig->now);
    rig->now = next - 1;
    rig_poll(rig);
    assert_int_equal(rig->sent, 1);
    rig->now = next;
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "0O 0O");
    /* the third try goes to the next node */
    rig->now = rig_poll(rig);
    rig_poll(rig);
    assert_int_equal(rig_to(rig, 2), 2);
    rig_destroy(rig);
}

static void takes_only_the_answer_to_its_own_opening(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_create(&config);
    rig_opened(rig, 1); /* nothing was asked yet */
    rig_poll(rig);
    rig_reply(rig, 1, 1, &(struct answer){.session = 5, .seq = 5, .bytes = "another's nonce!"});
    assert_int_equal(ls_client_core_session(rig->client), 0);
    rig_reply(rig, 1, 1, &(struct answer){.session = 5, .seq = 5});
    rig_opened(rig, 8); /* no node of ours */
    assert_int_equal(ls_client_core_session(rig->client), 0);
    rig_opened(rig, 2);
    assert_int_equal(ls_client_core_session(rig->client), 77);
    rig_reply(rig, 2, 1,
              &(struct answer){.session = 78, .seq = 78, .bytes = NONCE}); /* a repeat that opened once more */
    assert_int_equal(ls_client_core_session(rig->client), 77);
    rig_destroy(rig);
}

static void opening_waits_where_no_session_is_free(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_create(&config);
    rig_poll(rig);
    rig_reply(rig, 1, 1, &(struct answer){.status = LS_STATUS_NO_SESSION_FREE, .seq = 5, .bytes = NONCE});
    uint64_t next = rig_poll(rig);
    assert_int_equal(rig->sent, 1);
    rig->now = next;
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "0O 0O");
    assert_int_equal(rig_to(rig, 1), 1);
    rig_busy(rig, 1, 0, 0, LS_STATUS_BUSY_OPENING, 0, 7 * MS);
    assert_int_equal(rig_poll(rig), rig->now + 7 * MS);
    rig->now += 7 * MS;
    rig_poll(rig);
    assert_int_equal(rig->sent, 3);
    assert_int_equal(rig_to(rig, 2), 1);
    rig_destroy(rig);
}

static void opens_late_if_asked_to(void **state)
{
    struct ls_client_config config = rig_config();
    config.open_late = true;
    struct rig *rig = rig_create(&config);
    assert_true(rig_poll(rig) == UINT64_MAX);
    assert_int_equal(rig->sent, 0);
    rig_submit(rig, "a");
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "0O");
    rig_opened(rig, 1);
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "0O 1o");
    rig_destroy(rig);
}

/* ---- requests ---- */

static void requests_share_frames_and_go_in_order(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    for (int i = 0; i < 20; i++)
        assert_int_equal(rig_submit(rig, "sixteen bytes.."), 0);
    assert_int_equal(rig->sent, 0);
    rig_poll(rig);
    assert_int_equal(rig->sent, 1); /* 20 * 64 <= 1400 */
    assert_string_equal(rig_trace(rig), "1o 2o 3o 4o 5o 6o 7o 8o 9o 10o 11o 12o 13o 14o 15o 16o 17o 18o 19o 20o");
    const struct ls_request_record *record = rig_request(rig, 19);
    assert_int_equal(record->session, 77);
    assert_int_equal(record->slot, 9);
    assert_int_equal(record->awaited, 1);
    assert_memory_equal(record + 1, "sixteen bytes..", 15);
    assert_int_equal(ls_client_core_in_flight(rig->client), 20);
    /* replies in any order, each once */
    for (uint64_t number = 20; number > 0; number--) {
        rig_ok(rig, 1, 1, number);
        rig_ok(rig, 1, 1, number);
    }
    assert_int_equal(rig->dones, 20);
    assert_int_equal(rig->done[0].result.number, 20);
    assert_int_equal(rig->done[0].result.seq, 1020);
    assert_int_equal(rig->done[0].result.durability, LS_DURABLE_MEMORY);
    assert_int_equal(ls_client_core_in_flight(rig->client), 0);
    assert_int_equal(ls_client_core_last_seq(rig->client), 1020);
    rig_forget(rig);
    rig_submit(rig, "x");
    rig_poll(rig);
    assert_int_equal(rig_request(rig, 0)->awaited, 21);
    rig_destroy(rig);
}

static void window_counts_from_the_lowest_open_number(void **state)
{
    struct ls_client_config config = rig_config();
    config.window = 4;
    struct rig *rig = rig_open(&config);
    for (int i = 0; i < 4; i++)
        assert_int_equal(rig_submit(rig, "a"), 0);
    assert_int_equal(rig_submit(rig, "a"), -EAGAIN);
    rig_poll(rig);
    rig_ok(rig, 1, 1, 3);
    assert_int_equal(rig_submit(rig, "a"), -EAGAIN);
    rig_ok(rig, 1, 1, 1);
    assert_int_equal(rig_submit(rig, "a"), 0);
    assert_int_equal(rig_submit(rig, "a"), -EAGAIN); /* 2 is open still: 2..5 */
    rig_ok(rig, 1, 1, 2);
    assert_int_equal(rig_submit(rig, "a"), 0);
    assert_int_equal(ls_client_core_next_number(rig->client), 7);
    rig_destroy(rig);
}

static void submit_refuses_what_is_too_large(void **state)
{
    struct ls_client_config config = rig_config();
    static uint8_t bytes[LS_OP_MAX];
    struct rig *rig = rig_open(&config);
    assert_int_equal(ls_client_core_submit(rig->client, bytes, config.op_max + 1, 0, rig_done, rig, rig->now),
                     -EMSGSIZE);
    assert_int_equal(ls_client_core_read(rig->client, bytes, LS_READ_OP_MAX + 1, 0, 0, rig_done, rig, rig->now),
                     -EMSGSIZE);
    assert_int_equal(ls_client_core_submit(rig->client, bytes, LS_OP_SMALL_MAX, 0, rig_done, rig, rig->now), 0);
    assert_int_equal(ls_client_core_submit(rig->client, NULL, 0, 0, rig_done, rig, rig->now), 0);
    rig_poll(rig);
    assert_int_equal(rig_request(rig, 0)->length, LS_OP_SMALL_MAX);
    assert_int_equal(rig_request(rig, 1)->length, 0);
    rig_destroy(rig);
}

static void lost_requests_go_out_again_with_backoff(void **state)
{
    struct ls_client_config config = rig_config();
    config.nodes = 1;
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_poll(rig);
    uint64_t begin = rig->now;
    uint64_t at[120];
    for (uint32_t i = 0; i < 120; i++) {
        rig->now = rig_poll(rig);
        rig_poll(rig);
        assert_int_equal(rig->sent, i + 2);
        at[i] = rig->now - begin;
    }
    assert_int_equal(at[0], 1 * MS);         /* bounded below */
    assert_true(at[40] - at[39] == 10 * MS); /* a search goes on quickly for a while */
    for (uint32_t i = 1; i < 120; i++) {
        uint64_t gap = at[i] - at[i - 1];
        assert_true(gap >= 2 * MS && gap <= 100 * MS);
        if (i > 1)
            assert_true(gap >= at[i - 1] - at[i - 2]);
    }
    assert_int_equal(at[119] - at[118], 100 * MS); /* bounded above */
    rig_ok(rig, 1, 1, 1);
    assert_int_equal(rig->dones, 1);
    assert_int_equal(rig->done[0].result.retries, 120);
    rig_destroy(rig);
}

static void time_out_follows_the_round_trip(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    for (uint64_t number = 1; number <= 100; number++) {
        rig_submit(rig, "a");
        rig_poll(rig);
        rig->now += 20 * MS; /* far above the first guess: some are repeated */
        rig_poll(rig);
        rig_ok(rig, 1, 1, number);
        rig_forget(rig);
    }
    rig_submit(rig, "a");
    rig_run_until(rig, rig->now + 70 * MS);
    assert_int_equal(rig->sent, 1);
    rig_run_until(rig, rig->now + 31 * MS);
    assert_true(rig->sent > 1);
    rig_destroy(rig);
}

static void only_what_is_open_is_repeated(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    for (int i = 0; i < 5; i++)
        rig_submit(rig, "a");
    rig_poll(rig);
    rig_ok(rig, 1, 1, 1);
    rig_ok(rig, 1, 1, 3);
    rig_forget(rig);
    rig->now = rig_poll(rig);
    rig_submit(rig, "new");
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "2o 4o 5o 6o");
    assert_int_equal(rig_request(rig, 3)->awaited, 2);
    rig_destroy(rig);
}

static void ignores_answers_to_nothing(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_ok(rig, 1, 1, 1); /* not sent yet */
    rig_poll(rig);
    rig_ok(rig, 1, 1, 2);
    rig_ok(rig, 1, 1, 65);
    rig_ok(rig, 9, 1, 1); /* no node */
    rig_reply(rig, 1, 1, &(struct answer){.session = 76, .number = 1, .seq = 1});
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 1, .seq = 1, .flags = LS_REPLY_READ});
    rig_busy(rig, 1, 77, 2, LS_STATUS_BUSY_LOG, 0, 0);
    rig_busy(rig, 1, 77, 1, LS_STATUS_BUSY_LOG, LS_BUSY_READ, 0);
    struct ls_frame frame = {.data = rig->scratch, .length = 60, .peer = NODE_ADDR(1)};
    memset(rig->scratch, 0x55, sizeof(rig->scratch));
    ls_client_core_input(rig->client, &frame, rig->now);
    /* a frame that a client has no use for */
    const struct ls_heartbeat_body heartbeat = {.time = 1};
    rig_deliver(rig, 1, LS_FRAME_HEARTBEAT, 1, &heartbeat, sizeof(heartbeat));
    assert_int_equal(rig->dones, 0);
    rig_ok(rig, 3, 1, 1); /* any node may answer */
    assert_int_equal(rig->dones, 1);
    rig_destroy(rig);
}

static void waits_for_buffers(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    ls_client_core_read(rig->client, "r", 1, LS_READ_LINEARIZABLE, 0, rig_done, rig, rig->now);
    rig->no_buffers = true;
    uint64_t next = rig_poll(rig);
    assert_true(next > rig->now && next <= rig->now + MS);
    rig->no_buffers = false;
    rig->now = next;
    rig_poll(rig);
    assert_int_equal(rig->sent, 2);
    assert_non_null(rig_request(rig, 0));
    assert_non_null(rig_read(rig, 0));
    rig_destroy(rig);
}

/* ---- BUSY, REDIRECT, VIEW, silence ---- */

static void busy_waits_as_told(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_submit(rig, "b");
    rig_poll(rig);
    rig_forget(rig);
    rig_busy(rig, 1, 77, 1, LS_STATUS_BUSY_LOG, 0, 5 * MS);
    rig_busy(rig, 1, 77, 2, LS_STATUS_BUSY_STASH, 0, 5 * MS);
    uint64_t next = rig_poll(rig);
    uint64_t due = rig->now + 5 * MS;
    while (next < due) { /* an earlier timer finds nothing to do */
        rig->now = next;
        next = rig_poll(rig);
        assert_int_equal(rig->sent, 0);
    }
    rig->now = next;
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1o 2o");
    assert_int_equal(rig_to(rig, 0), 1);
    /* an absurd hint is bounded */
    rig_busy(rig, 1, 77, 1, LS_STATUS_BUSY_LOG, 0, UINT64_MAX);
    rig_busy(rig, 1, 77, 2, LS_STATUS_BUSY_LOG, 0, UINT64_MAX);
    rig_forget(rig);
    rig_run_until(rig, rig->now + 101 * MS);
    assert_true(rig->sent >= 1);
    rig_destroy(rig);
}

static void busy_of_a_node_that_was_left_means_nothing(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_poll(rig);
    rig_view(rig, 2, LS_FRAME_VIEW, 2, 2, 0);
    rig_poll(rig);
    rig_forget(rig);
    rig_busy(rig, 1, 77, 1, LS_STATUS_BUSY_SUSPENDED, 0, 90 * MS);
    uint64_t begin = rig->now;
    rig->now = rig_poll(rig);
    rig_poll(rig);
    assert_true(rig->now <= begin + 10 * MS);
    assert_string_equal(rig_trace(rig), "1o");
    assert_int_equal(rig_to(rig, 0), 2);
    rig_destroy(rig);
}

static void leaves_a_node_that_cannot_help(void **state)
{
    static const uint16_t useless[] = {LS_STATUS_NO_SEQUENCER, LS_STATUS_HALTED, LS_STATUS_BUSY_SUSPENDED};
    for (int i = 0; i < 3; i++) {
        struct ls_client_config config = rig_config();
        struct rig *rig = rig_open(&config);
        rig_submit(rig, "a");
        rig_poll(rig);
        rig_busy(rig, 1, 77, 1, useless[i], 0, 2 * MS);
        rig_forget(rig);
        rig_run_until(rig, rig->now + 2 * MS);
        assert_int_equal(rig->sent, 1);
        assert_int_equal(rig_to(rig, 0), 2);
        rig_destroy(rig);
    }
}

static void redirect_moves_at_once_with_all_that_is_open(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_submit(rig, "b");
    rig_submit(rig, "c");
    rig_poll(rig);
    rig_ok(rig, 1, 1, 2);
    rig_forget(rig);
    rig_view(rig, 1, LS_FRAME_REDIRECT, 2, 3, 0);
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1o 3o");
    assert_int_equal(rig_to(rig, 0), 3);
    assert_int_equal(rig_header(rig, 0)->epoch, 2);
    /* the same told again, and an older story: nothing */
    rig_forget(rig);
    rig_view(rig, 2, LS_FRAME_REDIRECT, 2, 3, 0);
    rig_view(rig, 1, LS_FRAME_REDIRECT, 1, 1, 0);
    rig_poll(rig);
    assert_int_equal(rig->sent, 0);
    rig_ok(rig, 3, 2, 1);
    rig_ok(rig, 3, 2, 3);
    assert_int_equal(rig->dones, 3);
    rig_destroy(rig);
}

static void view_moves_an_idle_client(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_view(rig, 4, LS_FRAME_VIEW, 2, 4, 4); /* of a stranger: ignored */
    rig_view(rig, 2, LS_FRAME_VIEW, 2, 4, 4);
    assert_int_equal(rig->sent, 0);
    rig_submit(rig, "a");
    rig_poll(rig);
    assert_int_equal(rig_to(rig, 0), 4);
    rig_ok(rig, 4, 2, 1);
    assert_int_equal(rig->dones, 1);
    rig_destroy(rig);
}

static void redirect_loops_are_damped(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_poll(rig);
    uint64_t begin = rig->now;
    uint32_t answered = 0;
    /* Two nodes that name each other, each within 10 us, in one epoch. */
    while (rig->now < begin + 200 * MS) {
        while (answered < rig->sent) {
            uint32_t to = rig_to(rig, answered++);
            rig->now += 10000;
            rig_view(rig, to, LS_FRAME_REDIRECT, 1, to == 1 ? 2 : 1, 0);
        }
        uint64_t next = rig_poll(rig);
        if (answered == rig->sent)
            rig->now = next > rig->now ? next : rig->now;
    }
    assert_true(rig->sent > 5);   /* it goes on */
    assert_true(rig->sent < 450); /* at most two frames a millisecond, the lowest time-out */
    rig_ok(rig, 2, 1, 1);
    assert_int_equal(rig->dones, 1);
    rig_destroy(rig);
}

static void redirect_to_nowhere_goes_round(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_poll(rig);
    rig_forget(rig);
    rig_view(rig, 1, LS_FRAME_REDIRECT, 5, 0, 0);
    rig_run_until(rig, rig->now + 2 * MS);
    assert_int_equal(rig->sent, 1);
    assert_int_equal(rig_to(rig, 0), 2);
    /* a sequencer of an epoch before the one that nobody leads is still good */
    rig_view(rig, 2, LS_FRAME_REDIRECT, 1, 3, 0);
    rig_poll(rig);
    assert_int_equal(rig_to(rig, rig->sent - 1), 3);
    rig_destroy(rig);
}

/* One that was removed and not told, or was left behind, answers for ever with an epoch that is over: the others are
 * asked all the same. */
static void redirect_of_an_older_epoch_goes_round(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_view(rig, 3, LS_FRAME_VIEW, 2, 1, 0);
    rig_submit(rig, "a");
    rig_poll(rig);
    uint32_t seen = 0, stale = 0, others = 0;
    for (uint64_t end = rig->now + 600 * MS; rig->now < end;) {
        rig_run_until(rig, rig->now + MS);
        for (; seen < rig->sent; seen++) {
            if (rig_to(rig, seen) == 1) {
                stale++;
                rig_view(rig, 1, LS_FRAME_REDIRECT, 1, 1, 0);
            } else {
                others += stale > 0;
            }
        }
    }
    assert_true(stale > 0);
    assert_true(others > 0);
    rig_destroy(rig);
}

static void silence_goes_round_all_nodes(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_run_until(rig, rig->now + 600 * MS);
    bool tried[4] = {false};
    for (uint32_t f = 0; f < rig->sent; f++)
        tried[rig_to(rig, f)] = true;
    assert_true(tried[1] && tried[2] && tried[3]);
    assert_true(rig->sent < 65); /* one frame each 10 ms */
    rig_destroy(rig);
}

static void finds_a_new_sequencer_soon_while_others_answer(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    uint64_t end = rig->now + 500 * MS;
    uint32_t answered = 0;
    uint64_t last = rig->now;
    /* node 1 is dead, the others name it until somebody else is elected */
    while (rig->now < end) {
        uint64_t next = rig_poll(rig);
        while (answered < rig->sent) {
            uint32_t to = rig_to(rig, answered++);
            assert_true(rig->now - last <= 20 * MS);
            last = rig->now;
            if (to != 1)
                rig_view(rig, to, LS_FRAME_REDIRECT, 1, 1, 0);
            next = rig->now;
        }
        rig->now = next > rig->now ? next : rig->now;
    }
    assert_true(rig->sent < 500);
    rig_destroy(rig);
}

/* ---- ends ---- */

static void session_loss_ends_all_that_is_open(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_submit(rig, "b");
    rig_poll(rig);
    rig_submit(rig, "never sent");
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 2, .status = LS_STATUS_SESSION_UNKNOWN});
    assert_int_equal(rig->dones, 3);
    assert_int_equal(rig->done[0].result.outcome, LS_CLIENT_UNKNOWN);
    assert_int_equal(rig->done[1].result.outcome, LS_CLIENT_UNKNOWN);
    assert_int_equal(rig->done[1].result.status, LS_STATUS_SESSION_UNKNOWN);
    assert_int_equal(rig->done[2].result.outcome, LS_CLIENT_DONE);
    assert_int_equal(rig->done[2].result.status, LS_STATUS_SESSION_UNKNOWN);
    assert_int_equal(rig_submit(rig, "x"), -ENOTCONN);
    assert_int_equal(ls_client_core_in_flight(rig->client), 0);
    rig_forget(rig);
    rig_ok(rig, 1, 1, 1);
    rig_run_until(rig, rig->now + 500 * MS);
    assert_int_equal(rig->sent, 0);
    assert_int_equal(rig->dones, 3);
    /* reads need no session */
    ls_client_core_read(rig->client, "r", 1, LS_READ_STALE, 0, rig_done, rig, rig->now);
    rig_poll(rig);
    assert_int_equal(rig->sent, 1);
    rig_destroy(rig);
}

static void query_ends_a_request(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_submit(rig, "b");
    rig_poll(rig);
    rig_forget(rig);
    assert_int_equal(ls_client_core_query(rig->client, 0, rig->now), -ENOENT);
    assert_int_equal(ls_client_core_query(rig->client, 3, rig->now), -ENOENT);
    assert_int_equal(ls_client_core_query(rig->client, 1, rig->now), 0);
    assert_int_equal(ls_client_core_query(rig->client, 2, rig->now), 0);
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1q 2q");
    assert_int_equal(ls_client_core_query(rig->client, 2, rig->now), 0); /* no news */
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1q 2q");
    rig_run_until(rig, rig->now + 2 * MS); /* repeated like a request */
    assert_string_equal(rig_trace(rig), "1q 2q 1q 2q");
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 1, .status = LS_STATUS_CLOSED, .seq = 90});
    rig_ok(rig, 1, 1, 2);
    assert_int_equal(rig->done[0].result.status, LS_STATUS_CLOSED);
    assert_int_equal(rig->done[1].result.status, LS_STATUS_OK);
    assert_int_equal(ls_client_core_query(rig->client, 1, rig->now), -ENOENT);
    rig_destroy(rig);
}

static void given_up_requests_are_closed_in_the_background(void **state)
{
    struct ls_client_config config = rig_config();
    config.give_up_ns = 50 * MS;
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_run_until(rig, rig->now + 49 * MS);
    assert_int_equal(rig->dones, 0);
    rig_forget(rig);
    rig_submit(rig, "b");
    rig_run_until(rig, rig->now + 40 * MS);
    assert_int_equal(rig->dones, 1);
    assert_int_equal(rig->done[0].result.outcome, LS_CLIENT_UNKNOWN);
    assert_int_equal(ls_client_core_in_flight(rig->client), 1);
    rig_forget(rig);
    rig_view(rig, 2, LS_FRAME_VIEW, 2, 2, 0);
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1q 2o");
    assert_int_equal(rig_request(rig, 1)->awaited, 1);
    assert_int_equal(ls_client_core_query(rig->client, 1, rig->now), -ENOENT);
    rig_ok(rig, 2, 2, 1); /* it was executed, which nobody waits for */
    rig_ok(rig, 2, 2, 2);
    assert_int_equal(rig->dones, 2);
    assert_int_equal(rig->done[1].result.number, 2);
    assert_int_equal(rig->done[1].result.status, LS_STATUS_OK);
    rig_forget(rig);
    rig_submit(rig, "c");
    rig_poll(rig);
    assert_int_equal(rig_request(rig, 0)->awaited, 3);
    rig_destroy(rig);
}

static void given_up_numbers_keep_their_place_in_the_window(void **state)
{
    struct ls_client_config config = rig_config();
    config.give_up_ns = 20 * MS;
    config.window = 2;
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_submit(rig, "b");
    rig_run_until(rig, rig->now + 21 * MS);
    assert_int_equal(rig->dones, 2);
    assert_int_equal(ls_client_core_in_flight(rig->client), 0);
    assert_int_equal(rig_submit(rig, "c"), -EAGAIN);
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 1, .status = LS_STATUS_CLOSED, .seq = 90});
    assert_int_equal(rig_submit(rig, "c"), 0);
    rig_destroy(rig);
}

static void a_request_that_never_left_is_certainly_not_done(void **state)
{
    struct ls_client_config config = rig_config();
    config.give_up_ns = 30 * MS;
    struct rig *rig = rig_create(&config);
    rig_submit(rig, "a");
    rig_run_until(rig, rig->now + 40 * MS);
    assert_int_equal(rig->dones, 1);
    assert_int_equal(rig->done[0].result.outcome, LS_CLIENT_DONE);
    assert_int_equal(rig->done[0].result.status, LS_STATUS_CLOSED);
    /* and never leaves */
    rig_opened(rig, 1);
    rig_forget(rig);
    rig_submit(rig, "b");
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1q 2o");
    rig_destroy(rig);
}

static void refusals_close_their_number_first(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_submit(rig, "b");
    rig_poll(rig);
    rig_forget(rig);
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 1, .status = LS_STATUS_TOO_LARGE});
    assert_int_equal(rig->dones, 0);
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1q");
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 1, .status = LS_STATUS_TOO_LARGE}); /* late */
    assert_int_equal(rig->dones, 0);
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 1, .status = LS_STATUS_CLOSED, .seq = 8});
    assert_int_equal(rig->dones, 1);
    assert_int_equal(rig->done[0].result.status, LS_STATUS_TOO_LARGE);
    /* the state machine's own verdict is final */
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 2, .status = LS_STATUS_TOO_LARGE, .seq = 9});
    assert_int_equal(rig->dones, 2);
    rig_destroy(rig);
}

static void out_of_order_is_no_end(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "a");
    rig_submit(rig, "b");
    rig_poll(rig);
    rig_forget(rig);
    rig_reply(rig, 1, 1, &(struct answer){.session = 77, .number = 2, .status = LS_STATUS_OUT_OF_ORDER, .seq = 8});
    assert_int_equal(rig->dones, 0);
    rig_run_until(rig, rig->now + 2 * MS);
    assert_string_equal(rig_trace(rig), "1o 2o");
    rig_destroy(rig);
}

static void deadlines_are_in_sequencer_time(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config); /* sequencer time is 5 s ahead */
    uint64_t opened = rig->now;
    ls_client_core_submit(rig->client, "a", 1, 3 * MS, rig_done, rig, rig->now);
    rig_submit(rig, "b");
    rig_poll(rig);
    assert_int_equal(rig_request(rig, 0)->deadline, opened + 5003 * MS);
    assert_int_equal(rig_request(rig, 1)->deadline, 0);
    rig->now += 10 * MS;
    rig_forget(rig);
    rig_poll(rig);
    assert_int_equal(rig_request(rig, 0)->deadline, opened + 5003 * MS); /* the same in the repeat */
    rig_destroy(rig);
}

static void time_may_be_a_little_old(void **state)
{
    struct ls_client_config config = rig_config();
    config.give_up_ns = 50 * MS;
    struct rig *rig = rig_open(&config);
    rig_submit(rig, "first"); /* whose timer is over when the others are looked at */
    ls_client_core_read(rig->client, "first", 5, 0, 0, rig_done, rig, rig->now);
    rig_poll(rig);
    rig->now += 5 * MS;
    rig_submit(rig, "a");
    ls_client_core_read(rig->client, "r", 1, 0, 0, rig_done, rig, rig->now);
    rig->now -= 2 * MS;
    rig_poll(rig);
    assert_int_equal(rig->dones, 0);
    rig->now -= MS;
    rig_ok(rig, 1, 1, 1);
    rig_ok(rig, 1, 1, 2);
    assert_int_equal(rig->dones, 2);
    assert_int_equal(rig->done[1].result.status, LS_STATUS_OK);
    rig_destroy(rig);
}

struct chain {
    struct rig *rig;
    uint32_t left;
};

static void submit_next(void *user, const struct ls_client_result *result)
{
    struct chain *chain = user;
    rig_done(chain->rig, result);
    if (chain->left-- > 0)
        ls_client_core_submit(chain->rig->client, "n", 1, 0, submit_next, chain, chain->rig->now);
}

static void completions_may_submit(void **state)
{
    struct ls_client_config config = rig_config();
    config.window = 1;
    struct rig *rig = rig_open(&config);
    struct chain chain = {rig, 200};
    ls_client_core_submit(rig->client, "n", 1, 0, submit_next, &chain, rig->now);
    for (uint64_t number = 1; number <= 200; number++) {
        rig_forget(rig);
        rig_poll(rig);
        assert_int_equal(rig_request(rig, 0)->number, number);
        rig_ok(rig, 1, 1, number);
    }
    assert_int_equal(rig->dones, 200);
    rig_destroy(rig);
}

/* ---- configuration ---- */

static void configuration_is_checked(void **state)
{
    struct ls_io io = {.alloc = rig_alloc, .send = rig_send, .release = rig_release};
    for (int i = 0; i < 9; i++) {
        struct ls_client_config config = rig_config();
        switch (i) {
        case 0:
            config.nodes = 0;
            break;
        case 1:
            config.nodes = LS_MEMBERS_MAX + 1;
            break;
        case 2:
            config.first = 3;
            break;
        case 3:
            config.window = 0;
            break;
        case 4:
            config.window = LS_WINDOW_MAX + 1;
            break;
        case 5:
            config.op_max = LS_OP_MAX + 1;
            break;
        case 6:
            config.read_node = 4;
            break;
        case 7:
            config.node[1].port = 0;
            break;
        case 8:
            config.read_pinned = true;
            break;
        }
        errno = 0;
        assert_null(ls_client_core_create(&config, &io, 0));
        assert_int_equal(errno, EINVAL);
    }
    ls_client_core_destroy(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_and_repeats_the_opening),
        cmocka_unit_test(takes_only_the_answer_to_its_own_opening),
        cmocka_unit_test(opening_waits_where_no_session_is_free),
        cmocka_unit_test(opens_late_if_asked_to),
        cmocka_unit_test(requests_share_frames_and_go_in_order),
        cmocka_unit_test(window_counts_from_the_lowest_open_number),
        cmocka_unit_test(submit_refuses_what_is_too_large),
        cmocka_unit_test(lost_requests_go_out_again_with_backoff),
        cmocka_unit_test(time_out_follows_the_round_trip),
        cmocka_unit_test(only_what_is_open_is_repeated),
        cmocka_unit_test(ignores_answers_to_nothing),
        cmocka_unit_test(waits_for_buffers),
        cmocka_unit_test(busy_waits_as_told),
        cmocka_unit_test(busy_of_a_node_that_was_left_means_nothing),
        cmocka_unit_test(leaves_a_node_that_cannot_help),
        cmocka_unit_test(redirect_moves_at_once_with_all_that_is_open),
        cmocka_unit_test(view_moves_an_idle_client),
        cmocka_unit_test(redirect_loops_are_damped),
        cmocka_unit_test(redirect_to_nowhere_goes_round),
        cmocka_unit_test(redirect_of_an_older_epoch_goes_round),
        cmocka_unit_test(silence_goes_round_all_nodes),
        cmocka_unit_test(finds_a_new_sequencer_soon_while_others_answer),
        cmocka_unit_test(session_loss_ends_all_that_is_open),
        cmocka_unit_test(query_ends_a_request),
        cmocka_unit_test(given_up_requests_are_closed_in_the_background),
        cmocka_unit_test(given_up_numbers_keep_their_place_in_the_window),
        cmocka_unit_test(a_request_that_never_left_is_certainly_not_done),
        cmocka_unit_test(refusals_close_their_number_first),
        cmocka_unit_test(out_of_order_is_no_end),
        cmocka_unit_test(deadlines_are_in_sequencer_time),
        cmocka_unit_test(time_may_be_a_little_old),
        cmocka_unit_test(completions_may_submit),
        cmocka_unit_test(configuration_is_checked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
