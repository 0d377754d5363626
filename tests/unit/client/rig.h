/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the tests of the client core share: a network of captured frames, a clock, a log of completions, and builders
 * for what nodes send. The client's frames are checked as a node would check them. One thread.
 */
#ifndef TESTS_CLIENT_RIG_H
#define TESTS_CLIENT_RIG_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include <lockstep/error.h>

#include "client_core.h"
#include "wire.h"

#define MS           1000000ull
#define CLUSTER      0x1122334455667788ull
#define NONCE        "0123456789abcdef"
#define SENT_MAX     512
#define DONE_MAX     4096
#define NODE_ADDR(n) ((struct ls_addr){.ip = 0x0a000000u + (n), .port = 7400})

struct done {
    struct ls_client_result result;
    uint8_t bytes[64];
    int calls;
};

struct rig {
    struct ls_io io; /* first: found again from it */
    struct ls_client_core *client;
    uint64_t now;
    uint32_t owned; /* buffers that the client has taken and neither sent nor given back */
    bool no_buffers;
    uint32_t sent; /* frames since rig_forget() */
    struct ls_frame frame[SENT_MAX];
    uint8_t data[SENT_MAX][LS_FRAME_MAX];
    uint8_t scratch[LS_FRAME_MAX];
    uint32_t dones;
    struct done done[DONE_MAX];
};

static bool rig_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct rig *rig = (struct rig *)io;
    if (rig->no_buffers)
        return false;
    assert_int_equal(rig->owned, 0); /* one open frame at a time */
    rig->owned++;
    assert_true(rig->sent < SENT_MAX);
    *frame = (struct ls_frame){.data = rig->data[rig->sent]};
    return true;
}

static void rig_send(struct ls_io *io, struct ls_frame *frame)
{
    static const struct ls_wire_identity node = {.cluster = CLUSTER, .generation = 3, .node = 1, .incarnation = 1};
    struct rig *rig = (struct rig *)io;
    rig->owned--;
    assert_int_equal(ls_frame_check(&node, frame->data, frame->length), 0);
    rig->frame[rig->sent++] = *frame;
}

static void rig_release(struct ls_io *io, struct ls_frame *frame)
{
    ((struct rig *)io)->owned--;
}

static inline void rig_done(void *user, const struct ls_client_result *result)
{
    struct rig *rig = user;
    assert_true(rig->dones < DONE_MAX);
    struct done *done = &rig->done[rig->dones++];
    done->result = *result;
    done->result.bytes = NULL;
    if (result->length > 0)
        memcpy(done->bytes, result->bytes, result->length < sizeof(done->bytes) ? result->length : sizeof(done->bytes));
}

static inline struct ls_client_config rig_config(void)
{
    struct ls_client_config config = {
        .cluster = CLUSTER,
        .generation = 3,
        .nodes = 3,
        .node = {NODE_ADDR(1), NODE_ADDR(2), NODE_ADDR(3)},
        .nonce = {'0', '1', '2', '3', '4', '5', '6', '7', '8', '9', 'a', 'b', 'c', 'd', 'e', 'f'},
        .window = 64,
        .op_max = 100 * 1280,
        .retry_min_ns = 1 * MS,
        .retry_max_ns = 100 * MS,
    };
    return config;
}

static inline struct rig *rig_create(const struct ls_client_config *config)
{
    struct rig *rig = calloc(1, sizeof(*rig));
    assert_non_null(rig);
    rig->io = (struct ls_io){.alloc = rig_alloc, .send = rig_send, .release = rig_release};
    rig->now = 1000 * MS;
    rig->client = ls_client_core_create(config, &rig->io, rig->now);
    assert_non_null(rig->client);
    return rig;
}

static inline void rig_destroy(struct rig *rig)
{
    assert_int_equal(rig->owned, 0);
    ls_client_core_destroy(rig->client);
    free(rig);
}

static inline void rig_forget(struct rig *rig)
{
    rig->sent = 0;
}

static inline uint64_t rig_poll(struct rig *rig)
{
    return ls_client_core_poll(rig->client, rig->now);
}

/* Lets the time pass as the client asks for it, until `end`. */
static inline void rig_run_until(struct rig *rig, uint64_t end)
{
    for (int turns = 0;; turns++) {
        assert_true(turns < 100000);
        uint64_t next = rig_poll(rig);
        if (next > end)
            break;
        if (next > rig->now)
            rig->now = next;
    }
    rig->now = end;
}

/* ---- what nodes send ---- */

static inline void rig_deliver(struct rig *rig, uint32_t from, uint8_t type, uint64_t epoch, const void *body,
                               uint32_t length)
{
    const struct ls_wire_identity node = {
        .cluster = CLUSTER, .generation = 3, .node = (uint16_t)from, .incarnation = 7};
    uint8_t *at = ls_frame_begin(&node, rig->scratch, type, epoch);
    memcpy(at, body, length);
    struct ls_frame frame = {.data = rig->scratch, .peer = NODE_ADDR(from)};
    frame.length = ls_frame_end(rig->scratch, at + length);
    ls_client_core_input(rig->client, &frame, rig->now);
}

struct answer {
    uint64_t session, number, seq;
    uint16_t status;
    uint8_t flags;
    const char *bytes;
};

static inline void rig_reply(struct rig *rig, uint32_t from, uint64_t epoch, const struct answer *answer)
{
    struct {
        struct ls_reply_body body;
        struct ls_reply_record record;
        uint8_t bytes[LS_RESULT_MAX];
    } LS_PACKED reply = {.body.time = rig->now + 5000 * MS};
    uint32_t length = answer->bytes ? (uint32_t)strlen(answer->bytes) : 0;
    reply.record = (struct ls_reply_record){
        .session = answer->session,
        .number = answer->number,
        .seq = answer->seq,
        .slot = 9,
        .status = answer->status,
        .flags = answer->flags,
        .durability = answer->seq && !(answer->flags & LS_REPLY_READ) ? LS_DURABLE_MEMORY : LS_DURABLE_NONE,
        .length = length,
    };
    if (length)
        memcpy(reply.bytes, answer->bytes, length);
    rig_deliver(rig, from, LS_FRAME_REPLY, epoch, &reply,
                (uint32_t)(sizeof(reply.body) + sizeof(reply.record) + ls_pad8(length)));
}

static inline void rig_ok(struct rig *rig, uint32_t from, uint64_t epoch, uint64_t number)
{
    rig_reply(rig, from, epoch, &(struct answer){.session = 77, .number = number, .seq = 1000 + number});
}

static inline void rig_opened(struct rig *rig, uint32_t from)
{
    rig_reply(rig, from, 1, &(struct answer){.session = 77, .seq = 77, .bytes = NONCE});
}

static inline void rig_busy(struct rig *rig, uint32_t from, uint64_t session, uint64_t number, uint16_t status,
                            uint16_t flags, uint64_t retry_after)
{
    const struct ls_busy_body busy = {
        .session = session, .number = number, .status = status, .flags = flags, .retry_after = retry_after};
    rig_deliver(rig, from, LS_FRAME_BUSY, 1, &busy, sizeof(busy));
}

/* Members are nodes 1..3, and also `extra` where it is not 0. */
static inline void rig_view(struct rig *rig, uint32_t from, uint8_t type, uint64_t epoch, uint16_t sequencer,
                            uint16_t extra)
{
    struct {
        struct ls_view_body view;
        struct ls_member_record member[4];
    } LS_PACKED body = {.view = {.time = rig->now, .epoch = epoch, .sequencer = sequencer, .members = 3}};
    for (uint16_t i = 0; i < 4; i++) {
        uint16_t node = i < 3 ? (uint16_t)(i + 1) : extra;
        body.member[i] =
            (struct ls_member_record){.node = node, .role = LS_MEMBER_VOTER, .ip = NODE_ADDR(node).ip, .port = 7400};
    }
    if (extra)
        body.view.members = 4;
    rig_deliver(rig, from, type, epoch, &body,
                (uint32_t)(sizeof(body.view) + body.view.members * sizeof(struct ls_member_record)));
}

/* Client with session 77 in slot 9 at node 1, epoch 1; nothing captured, round trip measured as 0.2 ms. */
static inline struct rig *rig_open(const struct ls_client_config *config)
{
    struct rig *rig = rig_create(config);
    rig_poll(rig);
    rig->now += MS / 5;
    rig_opened(rig, 1);
    assert_int_equal(ls_client_core_session(rig->client), 77);
    rig_poll(rig);
    rig_forget(rig);
    return rig;
}

/* ---- what the client sent ---- */

static inline const struct ls_frame_header *rig_header(struct rig *rig, uint32_t frame)
{
    assert_true(frame < rig->sent);
    return ls_frame_header(rig->frame[frame].data);
}

static inline uint32_t rig_to(struct rig *rig, uint32_t frame)
{
    assert_true(frame < rig->sent);
    return rig->frame[frame].peer.ip & 0xff;
}

/* The k-th REQUEST record of all captured frames; NULL: there are fewer. */
static inline const struct ls_request_record *rig_request(struct rig *rig, uint32_t k)
{
    for (uint32_t f = 0; f < rig->sent; f++) {
        const uint8_t *at = NULL;
        const struct ls_request_record *record;
        if (rig_header(rig, f)->type != LS_FRAME_REQUEST)
            continue;
        while ((record = ls_request_next(rig->frame[f].data, &at)) != NULL)
            if (k-- == 0)
                return record;
    }
    return NULL;
}

static inline const struct ls_read_record *rig_read(struct rig *rig, uint32_t k)
{
    for (uint32_t f = 0; f < rig->sent; f++) {
        const uint8_t *at = NULL;
        const struct ls_read_record *record;
        if (rig_header(rig, f)->type != LS_FRAME_READ)
            continue;
        while ((record = ls_read_next(rig->frame[f].data, &at)) != NULL)
            if (k-- == 0)
                return record;
    }
    return NULL;
}

static inline uint32_t rig_requests(struct rig *rig)
{
    uint32_t n = 0;
    while (rig_request(rig, n))
        n++;
    return n;
}

/* As text: "1o 2o 3q" (o operation, q query, a announce, O open), for expectations that read well. */
static inline const char *rig_trace(struct rig *rig)
{
    static char text[4096];
    size_t used = 0;
    text[0] = 0;
    const struct ls_request_record *record;
    for (uint32_t k = 0; (record = rig_request(rig, k)) != NULL; k++)
        used += (size_t)snprintf(text + used, sizeof(text) - used, "%s%lu%c", k ? " " : "",
                                 (unsigned long)record->number, "?oOqa"[record->kind]);
    return text;
}

static inline int rig_submit(struct rig *rig, const char *operation)
{
    return ls_client_core_submit(rig->client, operation, (uint32_t)strlen(operation), 0, rig_done, rig, rig->now);
}

#endif
