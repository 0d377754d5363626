/* SPDX-License-Identifier: BSD-3-Clause */
/* Frame checking: every shape of a frame is accepted, every way to be wrong is refused with the counter that names it.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "../../fuzz/samples.h"

static uint8_t data[LS_FRAME_MAX + 64];

static void assert_verdict(uint32_t length, enum ls_counter expected, const char *what)
{
    enum ls_counter reason = ls_frame_check(&sample_node, data, length);
    if (reason != expected)
        fail_msg("%s: %s, expected %s", what, reason ? ls_counter_name(reason) : "accepted",
                 expected ? ls_counter_name(expected) : "accepted");
}

static void test_samples_are_accepted(void **state)
{
    for (int which = 0; which < SAMPLES; which++) {
        memset(data, 0xee, sizeof(data));
        uint32_t length = sample_frame(data, which);
        char name[32];
        snprintf(name, sizeof(name), "sample %d", which);
        assert_verdict(length, 0, name);
    }
}

/* A frame may stand at any address. */
static void test_any_alignment(void **state)
{
    static uint8_t room[LS_FRAME_MAX + 8];
    for (int which = 0; which < SAMPLES; which++)
        for (unsigned shift = 0; shift < 8; shift++) {
            uint32_t length = sample_frame(room + shift, which);
            assert_int_equal(ls_frame_check(&sample_node, room + shift, length), 0);
        }
}

static void test_every_flipped_bit_is_found(void **state)
{
    for (int which = 0; which < SAMPLES; which++) {
        uint32_t length = sample_frame(data, which);
        for (uint32_t bit = 0; bit < length * 8; bit++) {
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
            if (ls_frame_check(&sample_node, data, length) == 0)
                fail_msg("sample %d: bit %u flipped and accepted", which, bit);
            data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
    }
}

static void test_every_truncation_is_found(void **state)
{
    for (int which = 0; which < SAMPLES; which++) {
        uint32_t length = sample_frame(data, which);
        for (uint32_t shorter = 0; shorter < length; shorter++)
            assert_int_not_equal(ls_frame_check(&sample_node, data, shorter), 0);
    }
}

/* One field of a valid frame is changed and the frame sealed again, as a faulty or hostile sender would. */
struct damage {
    const char *what;
    enum sample sample;
    uint32_t offset; /* in the frame */
    uint32_t size;
    uint64_t value;
    enum ls_counter expected;
};

#define HEADER(field)      offsetof(struct ls_frame_header, field), sizeof(((struct ls_frame_header *)0)->field)
#define AT(skip, s, field) LS_FRAME_HEADER_SIZE + (skip) + offsetof(struct s, field), sizeof(((struct s *)0)->field)
#define REQUEST(field)     AT(0, ls_request_record, field)
#define ORDER(field)       AT(0, ls_order_body, field)
#define ACK(field)         AT(0, ls_ack_body, field)
#define ROW(i, field)      AT(sizeof(struct ls_ack_body) + (i) * sizeof(struct ls_epoch_row), ls_epoch_row, field)
#define FETCH(field)       AT(0, ls_fetch_body, field)
#define FETCHED(i, field)  AT(sizeof(struct ls_fetch_body) + (i) * sizeof(struct ls_fetch_range), ls_fetch_range, field)
#define RANGE(field)       AT(0, ls_range_body, field)
#define HEARTBEAT(field)   AT(0, ls_heartbeat_body, field)
#define ANSWER(i, field)                                                                                               \
    AT(sizeof(struct ls_heartbeat_body) + (i) * sizeof(struct ls_answer_record), ls_answer_record, field)
#define REPLY(field)    AT(sizeof(struct ls_reply_body), ls_reply_record, field)
#define READ(field)     AT(0, ls_read_record, field)
#define GRANT(field)    AT(0, ls_grant_body, field)
#define FRAGMENT(field) AT(0, ls_fragment_body, field)
#define VIEW(field)     AT(0, ls_view_body, field)
#define MEMBER(i, field)                                                                                               \
    AT(sizeof(struct ls_view_body) + (i) * sizeof(struct ls_member_record), ls_member_record, field)
#define BUSY(field)  AT(0, ls_busy_body, field)
#define DROP(reason) LS_COUNT_drop_##reason

static const struct damage damages[] = {
    {"header: magic", SAMPLE_ACK, HEADER(magic), 1, DROP(magic)},
    {"header: version", SAMPLE_ACK, HEADER(version), 2, DROP(version)},
    {"header: type 0", SAMPLE_ACK, HEADER(type), 0, DROP(type)},
    {"header: type unknown", SAMPLE_ACK, HEADER(type), LS_FRAME_TYPES, DROP(type)},
    {"header: authenticated", SAMPLE_ACK, HEADER(flags), LS_FRAME_AUTHENTICATED, DROP(authentication)},
    {"header: flags unknown", SAMPLE_ACK, HEADER(flags), 0x8000, DROP(flags)},
    {"header: reserved field", SAMPLE_ACK, HEADER(zero), 1, DROP(flags)},
    {"header: cluster", SAMPLE_ACK, HEADER(cluster), 1, DROP(cluster)},
    {"header: generation older", SAMPLE_ACK, HEADER(generation), 2, DROP(generation)},
    {"header: generation newer", SAMPLE_ACK, HEADER(generation), 4, DROP(generation)},
    {"header: group", SAMPLE_ACK, HEADER(group), 0, DROP(group)},
    {"node's frame from a client", SAMPLE_ACK, HEADER(sender), 0, DROP(direction)},
    {"node id beyond the last", SAMPLE_ACK, HEADER(sender), LS_NODE_ID_MAX + 1, DROP(sender)},
    {"node without incarnation", SAMPLE_ACK, HEADER(incarnation), 0, DROP(incarnation)},
    {"client's frame from a node", SAMPLE_REQUESTS, HEADER(sender), 2, DROP(direction)},
    {"client's read from a node", SAMPLE_READ, HEADER(sender), 2, DROP(direction)},
    {"client's fragment from a node", SAMPLE_FRAGMENT, HEADER(sender), 2, DROP(direction)},
    {"client with incarnation", SAMPLE_REQUESTS, HEADER(incarnation), 7, DROP(incarnation)},
    {"reply from a client", SAMPLE_REPLY, HEADER(sender), 0, DROP(direction)},
    {"busy from a client", SAMPLE_BUSY, HEADER(sender), 0, DROP(direction)},
    {"redirect from a client", SAMPLE_REDIRECT, HEADER(sender), 0, DROP(direction)},
    {"view from a client", SAMPLE_VIEW, HEADER(sender), 0, DROP(direction)},
    {"grant from a client", SAMPLE_GRANT, HEADER(sender), 0, DROP(direction)},

    {"request: no session", SAMPLE_REQUESTS, REQUEST(session), 0, DROP(malformed_operation)},
    {"request: number 0", SAMPLE_LARGEST_REQUEST, REQUEST(number), 0, DROP(malformed_operation)},
    {"request: awaited beyond number", SAMPLE_REQUESTS, REQUEST(awaited), 8, DROP(malformed_operation)},
    {"request: awaited too far behind", SAMPLE_REQUESTS, REQUEST(number), 6 + 65536, DROP(malformed_operation)},
    {"request: kind 0", SAMPLE_REQUESTS, REQUEST(kind), 0, DROP(malformed_operation)},
    {"request: kind unknown", SAMPLE_REQUESTS, REQUEST(kind), 5, DROP(malformed_operation)},
    {"request: durability unknown", SAMPLE_REQUESTS, REQUEST(durability), LS_DURABLE_JOURNAL + 1,
     DROP(malformed_operation)},
    {"request: length beyond the frame", SAMPLE_REQUESTS, REQUEST(length), 1400, DROP(malformed_operation)},
    {"request: length that wraps", SAMPLE_REQUESTS, REQUEST(length), UINT32_MAX, DROP(malformed_operation)},
    {"request: length leaves half a record", SAMPLE_REQUESTS, REQUEST(length), 193, DROP(malformed_operation)},
    {"request: shorter, so its end is no padding", SAMPLE_REQUESTS, REQUEST(length), 4, DROP(malformed_operation)},
    {"request: a total without announcement", SAMPLE_REQUESTS, REQUEST(total), 1281, DROP(malformed_operation)},
    {"open: session", SAMPLE_OPEN, REQUEST(session), 1, DROP(malformed_operation)},
    {"open: number", SAMPLE_OPEN, REQUEST(number), 1, DROP(malformed_operation)},
    {"open: slot", SAMPLE_OPEN, REQUEST(slot), 1, DROP(malformed_operation)},
    {"open: nonce of 15 bytes", SAMPLE_OPEN, REQUEST(length), 15, DROP(malformed_operation)},
    {"open: total", SAMPLE_OPEN, REQUEST(total), 1, DROP(malformed_operation)},
    {"query with an operation", SAMPLE_LARGEST_REQUEST, REQUEST(kind), LS_REQUEST_QUERY, DROP(malformed_operation)},
    {"announcement with bytes", SAMPLE_LARGEST_REQUEST, REQUEST(kind), LS_REQUEST_ANNOUNCE, DROP(malformed_operation)},
    {"announcement of a small operation", SAMPLE_ANNOUNCE, REQUEST(total), LS_OP_SMALL_MAX, DROP(malformed_operation)},
    {"announcement of too large an operation", SAMPLE_ANNOUNCE, REQUEST(total), LS_OP_MAX + 1,
     DROP(malformed_operation)},

    {"order: epoch 0", SAMPLE_ORDER, HEADER(epoch), 0, DROP(epoch_old)},
    {"order: commit beyond the log", SAMPLE_ORDER, ORDER(commit), 2001, DROP(body)},
    {"order: bytes beyond the log", SAMPLE_ORDER, ORDER(position), 2000 - 71, DROP(body)},
    {"order: position that wraps", SAMPLE_ORDER, ORDER(position), UINT64_MAX - 8, DROP(body)},
    {"order: log shorter than the bytes", SAMPLE_ORDER, ORDER(last), 71, DROP(body)},

    {"ack: epoch 0", SAMPLE_ACK, HEADER(epoch), 0, DROP(epoch_old)},
    {"ack: flags unknown", SAMPLE_ACK, ACK(flags), 33, DROP(body)},
    {"ack: a read asked by one that is joining", SAMPLE_ACK, ACK(flags), 7, DROP(body)},
    {"ack: reserved field", SAMPLE_ACK, ACK(zero), 1, DROP(body)},
    {"ack: durable beyond position", SAMPLE_ACK, ACK(durable), 1001, DROP(body)},
    {"ack: rows that are not there", SAMPLE_ACK, ACK(rows), 1, DROP(body)},
    {"ack: verified with a table", SAMPLE_ACK_TABLE, ACK(flags), LS_ACK_VERIFIED, DROP(body)},
    {"ack: a read question before verification", SAMPLE_ACK_TABLE, ACK(flags), LS_ACK_READ, DROP(body)},
    {"ack: durable before verification", SAMPLE_ACK_TABLE, ACK(durable), 1, DROP(body)},
    {"table: fewer rows than bytes", SAMPLE_ACK_TABLE, ACK(rows), 2, DROP(body)},
    {"table: more rows than bytes", SAMPLE_ACK_TABLE, ACK(rows), 4, DROP(body)},
    {"table: epoch 0", SAMPLE_ACK_TABLE, ROW(0, epoch), 0, DROP(body)},
    {"table: epoch beyond the sender's", SAMPLE_ACK_TABLE, ROW(2, epoch), 6, DROP(body)},
    {"table: epochs not ascending", SAMPLE_ACK_TABLE, ROW(1, epoch), 2, DROP(body)},
    {"table: positions not ascending", SAMPLE_ACK_TABLE, ROW(1, position), 0, DROP(body)},
    {"table: position at the log's end", SAMPLE_ACK_TABLE, ROW(2, position), 1000, DROP(body)},
    {"table: seqs not ascending", SAMPLE_ACK_TABLE, ROW(2, seq), 11, DROP(body)},
    {"table: seq 0", SAMPLE_ACK_TABLE, ROW(0, seq), 0, DROP(body)},

    {"fetch: epoch 0", SAMPLE_FETCH, HEADER(epoch), 0, DROP(epoch_old)},
    {"fetch: nothing", SAMPLE_FETCH, FETCH(ranges), 0, DROP(body)},
    {"fetch: more ranges than bytes", SAMPLE_FETCH, FETCH(ranges), 3, DROP(body)},
    {"fetch: reserved field, 16 bits", SAMPLE_FETCH, FETCH(zero16), 1, DROP(body)},
    {"fetch: reserved field, 32 bits", SAMPLE_FETCH, FETCH(zero32), 1, DROP(body)},
    {"fetch: empty range", SAMPLE_FETCH, FETCHED(1, end), 300, DROP(body)},
    {"fetch: range backwards", SAMPLE_FETCH, FETCHED(0, begin), 201, DROP(body)},

    {"range: epoch 0", SAMPLE_RANGE, HEADER(epoch), 0, DROP(epoch_old)},
    {"range: position that wraps", SAMPLE_RANGE, RANGE(position), UINT64_MAX - 8, DROP(body)},

    {"heartbeat: epoch 0", SAMPLE_HEARTBEAT, HEADER(epoch), 0, DROP(epoch_old)},
    {"heartbeat: commit beyond the log", SAMPLE_HEARTBEAT, HEARTBEAT(commit), 1001, DROP(body)},
    {"heartbeat: sent beyond the log", SAMPLE_HEARTBEAT, HEARTBEAT(sent), 1001, DROP(body)},
    {"heartbeat: fewer answers than bytes", SAMPLE_HEARTBEAT, HEARTBEAT(answers), 1, DROP(body)},
    {"heartbeat: more answers than bytes", SAMPLE_HEARTBEAT, HEARTBEAT(answers), 3, DROP(body)},
    {"heartbeat: reserved field, 16 bits", SAMPLE_HEARTBEAT, HEARTBEAT(zero16), 1, DROP(body)},
    {"heartbeat: reserved field, 32 bits", SAMPLE_HEARTBEAT, HEARTBEAT(zero32), 1, DROP(body)},
    {"answer: to no incarnation", SAMPLE_HEARTBEAT, ANSWER(0, incarnation), 0, DROP(body)},
    {"answer: to node 0", SAMPLE_HEARTBEAT, ANSWER(0, node), 0, DROP(body)},
    {"answer: to a node beyond the last", SAMPLE_HEARTBEAT, ANSWER(1, node), LS_NODE_ID_MAX + 1, DROP(body)},
    {"answer: kind 0", SAMPLE_HEARTBEAT, ANSWER(0, kind), 0, DROP(body)},
    {"answer: kind unknown", SAMPLE_HEARTBEAT, ANSWER(0, kind), LS_ANSWER_TOO_OLD + 1, DROP(body)},
    {"answer: reserved field", SAMPLE_HEARTBEAT, ANSWER(1, zero), 1, DROP(body)},

    {"reply: length beyond the frame", SAMPLE_REPLY, REPLY(length), 256, DROP(body)},
    {"reply: length that wraps", SAMPLE_REPLY, REPLY(length), UINT32_MAX - 3, DROP(body)},
    {"reply: shorter, so its end is no padding", SAMPLE_REPLY, REPLY(length), 23, DROP(body)},
    {"reply: a result larger than any of a mutation", SAMPLE_READ_REPLY, REPLY(flags), 0, DROP(body)},
    {"reply: flags unknown", SAMPLE_REPLY, REPLY(flags), 4, DROP(body)},
    {"reply: a read from the kept results", SAMPLE_READ_REPLY, REPLY(flags), LS_REPLY_READ | LS_REPLY_REPEAT,
     DROP(body)},
    {"reply: status unknown, between", SAMPLE_REPLY, REPLY(status), 31, DROP(body)},
    {"reply: status unknown, beyond", SAMPLE_REPLY, REPLY(status), 64 + 1, DROP(body)},
    {"reply: durability unknown", SAMPLE_REPLY, REPLY(durability), LS_DURABLE_JOURNAL + 1, DROP(body)},
    {"reply: reserved field", SAMPLE_REPLY, REPLY(zero), 1, DROP(body)},

    {"read: length beyond the frame", SAMPLE_READ, READ(length), 9, DROP(body)},
    {"read: shorter, so its end is no padding", SAMPLE_READ, READ(length), 2, DROP(body)},
    {"read: consistency unknown", SAMPLE_READ, READ(consistency), LS_READ_STALE + 1, DROP(body)},
    {"read: reserved field", SAMPLE_READ, READ(zero), 1, DROP(body)},

    {"grant: no session", SAMPLE_GRANT, GRANT(session), 0, DROP(body)},
    {"grant: number 0", SAMPLE_GRANT, GRANT(number), 0, DROP(body)},
    {"grant: nothing", SAMPLE_GRANT, GRANT(missing), 0, DROP(body)},
    {"grant: beyond the largest operation", SAMPLE_GRANT, GRANT(first), LS_OP_MAX / LS_FRAGMENT_SIZE + 1, DROP(body)},
    {"grant: reserved field", SAMPLE_GRANT, GRANT(zero), 1, DROP(body)},

    {"fragment: no session", SAMPLE_FRAGMENT, FRAGMENT(session), 0, DROP(body)},
    {"fragment: number 0", SAMPLE_FRAGMENT, FRAGMENT(number), 0, DROP(body)},
    {"fragment: length is not the frame's", SAMPLE_FRAGMENT, FRAGMENT(length), 1279, DROP(body)},
    {"fragment: of a small operation", SAMPLE_FRAGMENT, FRAGMENT(total), LS_OP_SMALL_MAX, DROP(body)},
    {"fragment: of too large an operation", SAMPLE_FRAGMENT, FRAGMENT(total), LS_OP_MAX + 1, DROP(body)},
    {"fragment: behind the operation", SAMPLE_FRAGMENT, FRAGMENT(index), 8, DROP(body)},
    {"fragment: index that wraps", SAMPLE_FRAGMENT, FRAGMENT(index), UINT32_MAX, DROP(body)},
    {"fragment: the last one, too long", SAMPLE_FRAGMENT, FRAGMENT(index), 7, DROP(body)},
    {"fragment: not the last one, too short", SAMPLE_LAST_FRAGMENT, FRAGMENT(index), 6, DROP(body)},

    {"view: no members", SAMPLE_VIEW, VIEW(members), 0, DROP(body)},
    {"view: fewer members than bytes", SAMPLE_VIEW, VIEW(members), 2, DROP(body)},
    {"view: more members than bytes", SAMPLE_VIEW, VIEW(members), 4, DROP(body)},
    {"view: sequencer beyond the last node", SAMPLE_VIEW, VIEW(sequencer), LS_NODE_ID_MAX + 1, DROP(body)},
    {"view: reserved field", SAMPLE_VIEW, VIEW(zero), 1, DROP(body)},
    {"member: node 0", SAMPLE_VIEW, MEMBER(0, node), 0, DROP(body)},
    {"member: node beyond the last", SAMPLE_REDIRECT, MEMBER(2, node), LS_NODE_ID_MAX + 1, DROP(body)},
    {"member: twice", SAMPLE_REDIRECT, MEMBER(2, node), 1, DROP(body)},
    {"member: role 0", SAMPLE_VIEW, MEMBER(1, role), 0, DROP(body)},
    {"member: role unknown", SAMPLE_VIEW, MEMBER(1, role), 3, DROP(body)},
    {"member: no address", SAMPLE_VIEW, MEMBER(1, ip), 0, DROP(body)},
    {"member: no port", SAMPLE_VIEW, MEMBER(1, port), 0, DROP(body)},
    {"member: port of its ctrl", SAMPLE_VIEW, MEMBER(0, ctrl_port), 1, DROP(body)},
    {"member: address of its ctrl", SAMPLE_VIEW, MEMBER(0, ctrl_ip), 1, DROP(body)},

    {"busy: a status of executed requests", SAMPLE_BUSY, BUSY(status), LS_STATUS_OK, DROP(body)},
    {"busy: status unknown", SAMPLE_BUSY, BUSY(status), 43, DROP(body)},
    {"busy: flags unknown", SAMPLE_BUSY, BUSY(flags), 2, DROP(body)},
    {"busy: reserved field", SAMPLE_BUSY, BUSY(zero), 1, DROP(body)},
};

static void test_every_damage_has_its_counter(void **state)
{
    for (size_t i = 0; i < sizeof(damages) / sizeof(damages[0]); i++) {
        const struct damage *d = &damages[i];
        uint32_t length = sample_frame(data, d->sample);
        memcpy(data + d->offset, &d->value, d->size);
        sample_seal(data, length);
        assert_verdict(length, d->expected, d->what);
    }
}

static void test_padding_must_be_zero(void **state)
{
    uint32_t length = sample_frame(data, SAMPLE_REQUESTS);
    for (uint32_t i = 5; i < 8; i++) {
        uint8_t *byte = data + LS_FRAME_HEADER_SIZE + sizeof(struct ls_request_record) + i;
        assert_int_equal(*byte, 0);
        *byte = 0x80;
        sample_seal(data, length);
        assert_verdict(length, LS_COUNT_drop_malformed_operation, "padding");
        *byte = 0;
    }
    sample_seal(data, length);
    assert_verdict(length, 0, "as it was");
}

static void test_checksum(void **state)
{
    uint32_t length = sample_frame(data, SAMPLE_ACK);
    data[4] ^= 1;
    assert_verdict(length, LS_COUNT_drop_crc, "checksum");
    sample_frame(data, SAMPLE_ACK);
    data[offsetof(struct ls_frame_header, cluster)] ^= 1;
    assert_verdict(length, LS_COUNT_drop_crc, "damage is not taken for another cluster");
}

/* Header alone, or body cut, each sealed with its own length. */
static void test_short_frames(void **state)
{
    for (int which = 0; which < SAMPLES; which++) {
        sample_frame(data, which);
        sample_seal(data, LS_FRAME_HEADER_SIZE);
        assert_verdict(LS_FRAME_HEADER_SIZE, LS_COUNT_drop_short, "no body");
        uint32_t length = sample_frame(data, which);
        for (uint32_t cut = LS_FRAME_HEADER_SIZE + 1; cut < length; cut++) {
            sample_frame(data, which);
            sample_seal(data, cut);
            enum ls_counter reason = ls_frame_check(&sample_node, data, cut);
            /* fewer log bytes, or fewer whole records, are a frame as well */
            if (which != SAMPLE_ORDER && which != SAMPLE_RANGE && which != SAMPLE_REQUESTS && which != SAMPLE_REPLY)
                assert_int_not_equal(reason, 0);
        }
    }
}

static void test_longer_frames(void **state)
{
    for (int which = 0; which < SAMPLES; which++) {
        uint32_t length = sample_frame(data, which);
        assert_verdict(length + 8, LS_COUNT_drop_length, "datagram longer than the frame");
        if (which == SAMPLE_ORDER || which == SAMPLE_RANGE || length + 8 > LS_FRAME_HEADER_SIZE + LS_FRAME_BODY_MAX)
            continue;
        memset(data + length, 0, 8);
        sample_seal(data, length + 8);
        assert_int_not_equal(ls_frame_check(&sample_node, data, length + 8), 0);
    }
}

static void test_frame_too_long(void **state)
{
    sample_frame(data, SAMPLE_RANGE);
    struct ls_frame_header *header = (void *)data;
    header->length = LS_FRAME_HEADER_SIZE + LS_FRAME_BODY_MAX + 1;
    assert_verdict(header->length, LS_COUNT_drop_length, "one byte more than a frame may have");
    sample_seal(data, LS_FRAME_HEADER_SIZE + LS_FRAME_BODY_MAX);
    assert_verdict(LS_FRAME_HEADER_SIZE + LS_FRAME_BODY_MAX, 0, "the longest frame");
}

static void test_too_many_rows(void **state)
{
    struct ls_ack_body *body = ls_frame_begin(&sample_node, data, LS_FRAME_ACK, 100);
    struct ls_epoch_row *row = (void *)(body + 1);
    for (uint16_t rows = LS_EPOCHS_SENT; rows <= LS_EPOCHS_SENT + 1; rows++) {
        *body = (struct ls_ack_body){.position = 100000, .rows = rows};
        for (uint32_t i = 0; i < rows; i++)
            row[i] = (struct ls_epoch_row){.epoch = i + 1, .position = i * 96, .seq = i + 1};
        assert_verdict(ls_frame_end(data, row + rows), rows == LS_EPOCHS_SENT ? 0 : LS_COUNT_drop_body, "rows");
    }
}

static void test_too_many_ranges(void **state)
{
    struct ls_fetch_body *body = ls_frame_begin(&sample_node, data, LS_FRAME_FETCH, 5);
    struct ls_fetch_range *range = (void *)(body + 1);
    for (uint16_t ranges = LS_FETCH_RANGES_MAX; ranges <= LS_FETCH_RANGES_MAX + 1; ranges++) {
        *body = (struct ls_fetch_body){.ranges = ranges};
        for (uint32_t i = 0; i < ranges; i++)
            range[i] = (struct ls_fetch_range){.begin = i * 10, .end = i * 10 + 1};
        assert_verdict(ls_frame_end(data, range + ranges), ranges == LS_FETCH_RANGES_MAX ? 0 : LS_COUNT_drop_body,
                       "ranges");
    }
}

static void test_records_are_walked(void **state)
{
    const uint8_t *at = NULL;
    const struct ls_request_record *request;
    sample_frame(data, SAMPLE_REQUESTS);
    for (uint32_t i = 0; i < 4; i++) {
        request = ls_request_next(data, &at);
        assert_non_null(request);
        assert_int_equal(request->number, 7 + i);
    }
    assert_null(ls_request_next(data, &at));

    const struct ls_reply_record *reply;
    at = NULL;
    sample_frame(data, SAMPLE_REPLY);
    reply = ls_reply_next(data, &at);
    assert_int_equal(reply->seq, 77);
    reply = ls_reply_next(data, &at);
    assert_int_equal(reply->seq, 78);
    assert_memory_equal(reply + 1, "rrr\0\0\0\0", 8);
    assert_null(ls_reply_next(data, &at));

    at = NULL;
    sample_frame(data, SAMPLE_READ);
    const struct ls_read_record *read = ls_read_next(data, &at);
    assert_int_equal(read->number, 3);
    assert_memory_equal(read + 1, "get", 3);
    assert_null(ls_read_next(data, &at));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_samples_are_accepted),
        cmocka_unit_test(test_any_alignment),
        cmocka_unit_test(test_every_flipped_bit_is_found),
        cmocka_unit_test(test_every_truncation_is_found),
        cmocka_unit_test(test_every_damage_has_its_counter),
        cmocka_unit_test(test_padding_must_be_zero),
        cmocka_unit_test(test_checksum),
        cmocka_unit_test(test_short_frames),
        cmocka_unit_test(test_longer_frames),
        cmocka_unit_test(test_frame_too_long),
        cmocka_unit_test(test_too_many_rows),
        cmocka_unit_test(test_too_many_ranges),
        cmocka_unit_test(test_records_are_walked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
