/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One valid frame for each type and shape that the wire format has, for the tests of frame checking: they damage them.
 * Included by one file of each test program.
 */
#ifndef LOCKSTEP_TESTS_SAMPLES_H
#define LOCKSTEP_TESTS_SAMPLES_H

#include <string.h>

#include <lockstep/error.h>
#include <lockstep/types.h>

#include "wire.h"

enum sample {
    SAMPLE_OPEN,
    SAMPLE_REQUESTS, /* three operations of 5, 8 and 0 bytes, and a query */
    SAMPLE_ANNOUNCE,
    SAMPLE_LARGEST_REQUEST,
    SAMPLE_ORDER,
    SAMPLE_ACK,
    SAMPLE_ACK_JOINING,
    SAMPLE_ACK_READ,
    SAMPLE_ACK_TABLE,
    SAMPLE_FETCH,
    SAMPLE_RANGE,
    SAMPLE_HEARTBEAT,
    SAMPLE_REPLY, /* two results of requests */
    SAMPLE_READ_REPLY,
    SAMPLE_READ,
    SAMPLE_GRANT,
    SAMPLE_FRAGMENT,
    SAMPLE_LAST_FRAGMENT,
    SAMPLE_REDIRECT,
    SAMPLE_VIEW,
    SAMPLE_BUSY,
    SAMPLES
};

static const struct ls_wire_identity sample_node = {
    .cluster = 0x1122334455667788, .generation = 3, .group = 1, .node = 2, .incarnation = 7};
static const struct ls_wire_identity sample_client = {.cluster = 0x1122334455667788, .generation = 3, .group = 1};

static inline void *sample_request(void *at, struct ls_request_record record)
{
    memcpy(at, &record, sizeof(record));
    uint8_t *operation = (uint8_t *)at + sizeof(record);
    memset(operation, 0, ls_pad8(record.length));
    memset(operation, 'o', record.length);
    return operation + ls_pad8(record.length);
}

static inline void *sample_reply(void *at, struct ls_reply_record record)
{
    memcpy(at, &record, sizeof(record));
    uint8_t *result = (uint8_t *)at + sizeof(record);
    memset(result, 0, ls_pad8(record.length));
    memset(result, 'r', record.length);
    return result + ls_pad8(record.length);
}

static inline void *sample_fragment(void *at, uint32_t index, uint32_t total)
{
    uint32_t left = total - index * LS_FRAGMENT_SIZE;
    struct ls_fragment_body body = {.session = 40,
                                    .number = 9,
                                    .slot = 1,
                                    .index = index,
                                    .total = total,
                                    .length = left < LS_FRAGMENT_SIZE ? left : LS_FRAGMENT_SIZE};
    memcpy(at, &body, sizeof(body));
    memset((uint8_t *)at + sizeof(body), 'f', body.length);
    return (uint8_t *)at + sizeof(body) + body.length;
}

static inline void *sample_view(void *at)
{
    struct ls_view_body *body = at;
    *body = (struct ls_view_body){.time = 1, .epoch = 5, .sequencer = 2, .members = 3};
    struct ls_member_record *member = (void *)(body + 1);
    for (uint16_t i = 0; i < 3; i++)
        member[i] = (struct ls_member_record){.node = (uint16_t)(i + 1),
                                              .role = i < 2 ? LS_MEMBER_VOTER : LS_MEMBER_LEARNER,
                                              .ip = 0x0a000001u + i,
                                              .port = LS_PORT_DEFAULT};
    return member + 3;
}

static inline void *sample_client_body(uint8_t *data, enum sample which)
{
    uint8_t type = which == SAMPLE_READ                                        ? LS_FRAME_READ
                   : which == SAMPLE_FRAGMENT || which == SAMPLE_LAST_FRAGMENT ? LS_FRAME_FRAGMENT
                                                                               : LS_FRAME_REQUEST;
    void *at = ls_frame_begin(&sample_client, data, type, 5);
    switch (which) {
    case SAMPLE_OPEN:
        return sample_request(at, (struct ls_request_record){.kind = LS_REQUEST_OPEN, .length = LS_NONCE_SIZE});
    case SAMPLE_REQUESTS:
        for (uint32_t i = 0; i < 4; i++)
            at = sample_request(at, (struct ls_request_record){.session = 40,
                                                               .number = 7 + i,
                                                               .awaited = 6,
                                                               .deadline = i,
                                                               .slot = 1,
                                                               .kind = i < 3 ? LS_REQUEST_OPERATION : LS_REQUEST_QUERY,
                                                               .length = (uint32_t[]){5, 8, 0, 0}[i]});
        return at;
    case SAMPLE_ANNOUNCE:
        return sample_request(
            at, (struct ls_request_record){
                    .session = 40, .number = 9, .awaited = 9, .slot = 1, .kind = LS_REQUEST_ANNOUNCE, .total = 10000});
    case SAMPLE_LARGEST_REQUEST:
        return sample_request(
            at, (struct ls_request_record){
                    .session = 40, .number = 1, .awaited = 1, .kind = LS_REQUEST_OPERATION, .length = LS_OP_SMALL_MAX});
    case SAMPLE_READ: {
        struct ls_read_record *record = at;
        *record =
            (struct ls_read_record){.session = 40, .number = 3, .least = 2, .consistency = LS_READ_LEAST, .length = 3};
        memcpy(record + 1, "get\0\0\0\0", 8);
        return (uint8_t *)(record + 1) + 8;
    }
    case SAMPLE_FRAGMENT:
        return sample_fragment(at, 0, 10000);
    case SAMPLE_LAST_FRAGMENT:
        return sample_fragment(at, 7, 10000);
    default:
        return NULL;
    }
}

static inline void *sample_node_body(uint8_t *data, enum sample which)
{
    static const uint8_t type_of[SAMPLES] = {
        [SAMPLE_ORDER] = LS_FRAME_ORDER,     [SAMPLE_ACK] = LS_FRAME_ACK,
        [SAMPLE_ACK_JOINING] = LS_FRAME_ACK, [SAMPLE_ACK_READ] = LS_FRAME_ACK,
        [SAMPLE_ACK_TABLE] = LS_FRAME_ACK,   [SAMPLE_FETCH] = LS_FRAME_FETCH,
        [SAMPLE_RANGE] = LS_FRAME_RANGE,     [SAMPLE_HEARTBEAT] = LS_FRAME_HEARTBEAT,
        [SAMPLE_REPLY] = LS_FRAME_REPLY,     [SAMPLE_READ_REPLY] = LS_FRAME_REPLY,
        [SAMPLE_GRANT] = LS_FRAME_GRANT,     [SAMPLE_REDIRECT] = LS_FRAME_REDIRECT,
        [SAMPLE_VIEW] = LS_FRAME_VIEW,       [SAMPLE_BUSY] = LS_FRAME_BUSY,
    };
    uint8_t *at = ls_frame_begin(&sample_node, data, type_of[which], 5);
    switch (which) {
    case SAMPLE_ORDER:
        *(struct ls_order_body *)at =
            (struct ls_order_body){.position = 1000, .commit = 960, .last = 2000, .time = 9, .probe = 4};
        memset(at + sizeof(struct ls_order_body), 'l', 72);
        return at + sizeof(struct ls_order_body) + 72;
    case SAMPLE_ACK:
    case SAMPLE_ACK_JOINING:
    case SAMPLE_ACK_READ:
        *(struct ls_ack_body *)at =
            (struct ls_ack_body){.position = 1000,
                                 .durable = 900,
                                 .limit = 9000,
                                 .applied_seq = 8,
                                 .probe = 4,
                                 .question = which == SAMPLE_ACK_READ ? 3 : 0,
                                 .flags = (uint16_t)(LS_ACK_VERIFIED | (which == SAMPLE_ACK_READ      ? LS_ACK_READ
                                                                        : which == SAMPLE_ACK_JOINING ? LS_ACK_JOINING
                                                                                                      : 0))};
        return at + sizeof(struct ls_ack_body);
    case SAMPLE_ACK_TABLE: {
        struct ls_ack_body *body = (void *)at;
        *body = (struct ls_ack_body){.position = 1000, .limit = 9000, .question = 2, .rows = 3};
        struct ls_epoch_row *row = (void *)(body + 1);
        for (uint32_t i = 0; i < 3; i++)
            row[i] = (struct ls_epoch_row){.epoch = 2 + i, .position = 96 * i, .seq = 1 + 10 * i};
        return row + 3;
    }
    case SAMPLE_FETCH: {
        struct ls_fetch_body *body = (void *)at;
        *body = (struct ls_fetch_body){.ranges = 2};
        struct ls_fetch_range *range = (void *)(body + 1);
        range[0] = (struct ls_fetch_range){.begin = 100, .end = 200};
        range[1] = (struct ls_fetch_range){.begin = 300, .end = 301};
        return range + 2;
    }
    case SAMPLE_RANGE:
        *(struct ls_range_body *)at = (struct ls_range_body){.position = 1001};
        memset(at + sizeof(struct ls_range_body), 'l', 33);
        return at + sizeof(struct ls_range_body) + 33;
    case SAMPLE_HEARTBEAT: {
        struct ls_heartbeat_body *body = (void *)at;
        *body =
            (struct ls_heartbeat_body){.commit = 900, .last = 1000, .sent = 1000, .time = 9, .probe = 4, .answers = 2};
        struct ls_answer_record *answer = (void *)(body + 1);
        for (uint16_t i = 0; i < 2; i++)
            answer[i] = (struct ls_answer_record){.incarnation = 8,
                                                  .number = 2,
                                                  .position = 640,
                                                  .node = 3,
                                                  .kind = i == 0 ? LS_ANSWER_PARTING : LS_ANSWER_READ};
        return answer + 2;
    }
    case SAMPLE_REPLY: {
        struct ls_reply_body *body = (void *)at;
        *body = (struct ls_reply_body){.time = 9};
        void *next = sample_reply(
            body + 1,
            (struct ls_reply_record){
                .session = 40, .number = 7, .seq = 77, .slot = 1, .durability = LS_DURABLE_MEMORY, .length = 24});
        return sample_reply(next, (struct ls_reply_record){.session = 40,
                                                           .number = 8,
                                                           .seq = 78,
                                                           .slot = 1,
                                                           .status = LS_STATUS_CONDITION,
                                                           .durability = LS_DURABLE_MEMORY,
                                                           .flags = LS_REPLY_REPEAT,
                                                           .length = 3});
    }
    case SAMPLE_READ_REPLY: {
        struct ls_reply_body *body = (void *)at;
        *body = (struct ls_reply_body){.time = 9};
        return sample_reply(body + 1, (struct ls_reply_record){.session = 40,
                                                               .number = 3,
                                                               .seq = 78,
                                                               .flags = LS_REPLY_READ,
                                                               .status = LS_STATUS_LARGE_VALUE,
                                                               .length = LS_READ_RESULT_MAX});
    }
    case SAMPLE_GRANT:
        *(struct ls_grant_body *)at = (struct ls_grant_body){.session = 40, .number = 9, .first = 2, .missing = 5};
        return at + sizeof(struct ls_grant_body);
    case SAMPLE_REDIRECT:
    case SAMPLE_VIEW:
        return sample_view(at);
    case SAMPLE_BUSY:
        *(struct ls_busy_body *)at = (struct ls_busy_body){
            .time = 9, .session = 40, .number = 9, .retry_after = 1000, .status = LS_STATUS_BUSY_WINDOW};
        return at + sizeof(struct ls_busy_body);
    default:
        return NULL;
    }
}

/* Writes the frame into `data`, LS_FRAME_MAX bytes; returns its length. */
static inline uint32_t sample_frame(uint8_t *data, enum sample which)
{
    void *end = sample_client_body(data, which);
    if (end == NULL)
        end = sample_node_body(data, which);
    return ls_frame_end(data, end);
}

/* Length and checksum again, after the frame was changed. */
static inline void sample_seal(uint8_t *data, uint32_t length)
{
    ls_frame_end(data, data + length);
}

#endif
