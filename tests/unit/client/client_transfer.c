/* SPDX-License-Identifier: BSD-3-Clause */
/* As client_core.c, for large operations, which are pulled, and for reads (dataplane/client/client_read.c). */
#include "rig.h"

/* ---- large operations ---- */

static void fill(uint8_t *bytes, uint32_t length)
{
    for (uint32_t i = 0; i < length; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
}

static void large_requests_are_pulled(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    static uint8_t bytes[100 * 1280];
    static uint8_t got[sizeof(bytes)];
    const uint32_t length = 99 * 1280 + 17; /* 100 fragments */
    fill(bytes, length);
    assert_int_equal(ls_client_core_submit(rig->client, bytes, length, 0, rig_done, rig, rig->now), 0);
    rig_submit(rig, "small one behind it");
    rig_poll(rig);
    assert_string_equal(rig_trace(rig), "1a 2o");
    assert_int_equal(rig_request(rig, 0)->total, length);
    uint32_t most = 0;
    for (uint32_t first = 0; first < 100; first += 64) {
        rig_forget(rig);
        const struct ls_grant_body grant = {.session = 77, .number = 1, .first = first, .missing = UINT64_MAX};
        rig_deliver(rig, 2, LS_FRAME_GRANT, 1, &grant, sizeof(grant)); /* node 2 asked: it gets them */
        uint64_t next;
        do {
            uint32_t before = rig->sent;
            next = rig_poll(rig);
            most = rig->sent - before > most ? rig->sent - before : most;
        } while (next <= rig->now);
        for (uint32_t f = 0; f < rig->sent; f++) {
            const struct ls_fragment_body *fragment = ls_frame_body(rig->frame[f].data);
            assert_int_equal(rig_header(rig, f)->type, LS_FRAME_FRAGMENT);
            assert_int_equal(rig_to(rig, f), 2);
            assert_int_equal(fragment->index, first + f);
            assert_int_equal(fragment->slot, 9);
            memcpy(got + fragment->index * 1280, fragment + 1, fragment->length);
        }
        assert_int_equal(rig->sent, first == 0 ? 64 : 36);
    }
    assert_true(most <= 32); /* bounded per poll */
    assert_memory_equal(got, bytes, length);
    /* one is missing */
    rig_forget(rig);
    const struct ls_grant_body grant = {.session = 77, .number = 1, .first = 70, .missing = 1};
    rig_deliver(rig, 1, LS_FRAME_GRANT, 1, &grant, sizeof(grant));
    rig_poll(rig);
    assert_int_equal(rig->sent, 1);
    rig_ok(rig, 1, 1, 1);
    rig_ok(rig, 1, 1, 2);
    assert_int_equal(rig->dones, 2);
    rig_destroy(rig);
}

static void grants_for_nothing_are_ignored(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    static uint8_t bytes[5000];
    rig_submit(rig, "small");
    ls_client_core_submit(rig->client, bytes, sizeof(bytes), 0, rig_done, rig, rig->now);
    rig_poll(rig);
    rig_forget(rig);
    static const struct ls_grant_body grant[] = {
        {.session = 77, .number = 1, .missing = 1},   {.session = 78, .number = 2, .missing = 1},
        {.session = 77, .number = 3, .missing = 1},   {.session = 77, .number = 66, .missing = 1},
        {.session = 77, .number = 2, .missing = 240}, /* fragments 4..7 of 4 */
    };
    for (int i = 0; i < 5; i++)
        rig_deliver(rig, 1, LS_FRAME_GRANT, 1, &grant[i], sizeof(grant[i]));
    rig_poll(rig);
    assert_int_equal(rig->sent, 0);
    /* a request that is being closed is not fed */
    ls_client_core_query(rig->client, 2, rig->now);
    rig_poll(rig);
    rig_forget(rig);
    const struct ls_grant_body good = {.session = 77, .number = 2, .missing = 1};
    rig_deliver(rig, 1, LS_FRAME_GRANT, 1, &good, sizeof(good));
    rig_poll(rig);
    assert_int_equal(rig->sent, 0);
    rig_destroy(rig);
}

static void large_buffers_are_bounded_and_come_back(void **state)
{
    struct ls_client_config config = rig_config();
    struct rig *rig = rig_open(&config);
    static uint8_t bytes[5000];
    for (int i = 0; i < 4; i++)
        assert_int_equal(ls_client_core_submit(rig->client, bytes, 5000, 0, rig_done, rig, rig->now), 0);
    assert_int_equal(ls_client_core_submit(rig->client, bytes, 5000, 0, rig_done, rig, rig->now), -EAGAIN);
    assert_int_equal(rig_submit(rig, "small"), 0);
    rig_poll(rig);
    rig_ok(rig, 1, 1, 2);
    assert_int_equal(ls_client_core_submit(rig->client, bytes, 5000, 0, rig_done, rig, rig->now), 0);
    rig_destroy(rig);
}

/* ---- reads ---- */

static void reads_share_frames_and_come_back_in_any_order(void **state)
{
    struct ls_client_config config = rig_config();
    config.window = 8;
    struct rig *rig = rig_open(&config);
    for (int i = 0; i < 8; i++)
        assert_int_equal(ls_client_core_read(rig->client, "read", 4, LS_READ_LEAST, 42, rig_done, rig, rig->now), 0);
    assert_int_equal(ls_client_core_read(rig->client, "read", 4, 0, 0, rig_done, rig, rig->now), -EAGAIN);
    rig_poll(rig);
    assert_int_equal(rig->sent, 1);
    const struct ls_read_record *read = rig_read(rig, 5);
    assert_int_equal(read->least, 42);
    assert_int_equal(read->consistency, LS_READ_LEAST);
    struct answer answer = {.session = read->session, .number = read->number, .seq = 50, .flags = LS_REPLY_READ};
    answer.bytes = "value";
    rig_reply(rig, 1, 1, &answer);
    rig_reply(rig, 1, 1, &answer);
    answer.session++;
    rig_reply(rig, 1, 1, &answer);
    assert_int_equal(rig->dones, 1);
    assert_string_equal((char *)rig->done[0].bytes, "value");
    assert_int_equal(rig->done[0].result.seq, 50);
    /* its slot is used again under another number: a late answer to the old one finds nothing */
    assert_int_equal(ls_client_core_read(rig->client, "next", 4, 0, 0, rig_done, rig, rig->now), 0);
    rig_poll(rig);
    answer.session--;
    rig_reply(rig, 1, 1, &answer);
    assert_int_equal(rig->dones, 1);
    assert_int_equal(ls_client_core_in_flight(rig->client), 8);
    rig_destroy(rig);
}

static void reads_are_repeated_one_by_one(void **state)
{
    struct ls_client_config config = rig_config();
    config.give_up_ns = 40 * MS;
    struct rig *rig = rig_open(&config);
    ls_client_core_read(rig->client, "r1", 2, 0, 0, rig_done, rig, rig->now);
    ls_client_core_read(rig->client, "r2", 2, 0, 0, rig_done, rig, rig->now);
    rig_poll(rig);
    const struct ls_read_record *first = rig_read(rig, 0);
    const struct ls_read_record *second = rig_read(rig, 1);
    uint64_t number = second->number;
    rig_reply(rig, 1, 1, &(struct answer){.session = first->session, .number = first->number, .flags = LS_REPLY_READ});
    rig_busy(rig, 1, second->session, number, LS_STATUS_BUSY_READS, LS_BUSY_READ, 3 * MS);
    rig_forget(rig);
    rig_run_until(rig, rig->now + 3 * MS);
    assert_int_equal(rig_read(rig, 0)->number, number);
    assert_null(rig_read(rig, 1));
    rig_run_until(rig, rig->now + 60 * MS);
    assert_int_equal(rig->dones, 2);
    assert_int_equal(rig->done[1].result.outcome, LS_CLIENT_UNKNOWN);
    assert_int_equal(rig->done[1].result.status, LS_STATUS_BUSY_READS);
    assert_true(rig->done[1].result.retries > 0);
    rig_destroy(rig);
}

static void reads_go_to_their_node(void **state)
{
    for (int pinned = 0; pinned < 2; pinned++) {
        struct ls_client_config config = rig_config();
        config.read_node = 3;
        config.read_pinned = pinned;
        struct rig *rig = rig_open(&config);
        ls_client_core_read(rig->client, "r", 1, 0, 0, rig_done, rig, rig->now);
        rig_submit(rig, "w");
        rig_poll(rig);
        assert_int_equal(rig->sent, 2);
        assert_int_equal(rig_to(rig, 0), 1);
        assert_int_equal(rig_to(rig, 1), 3);
        rig_view(rig, 2, LS_FRAME_VIEW, 2, 2, 4); /* moves requests only */
        rig_forget(rig);
        rig_poll(rig);
        assert_int_equal(rig->sent, 1);
        rig_ok(rig, 2, 2, 1);
        rig_forget(rig);
        rig_run_until(rig, rig->now + 200 * MS);
        bool elsewhere = false;
        for (uint32_t f = 0; f < rig->sent; f++)
            elsewhere |= rig_to(rig, f) != 3;
        assert_int_equal(elsewhere, !pinned);
        rig_destroy(rig);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(large_requests_are_pulled),
        cmocka_unit_test(grants_for_nothing_are_ignored),
        cmocka_unit_test(large_buffers_are_bounded_and_come_back),
        cmocka_unit_test(reads_share_frames_and_come_back_in_any_order),
        cmocka_unit_test(reads_are_repeated_one_by_one),
        cmocka_unit_test(reads_go_to_their_node),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
