/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames: the one place where received bytes become trusted structures, and the writing of headers. Pure and without
 * state; called by net for every received datagram, by apply for replies, by clients and the simulator.
 *
 * ls_frame_check() judges what can be judged from the frame alone, in one pass. Everything behind it relies on that, so
 * what is refused here is listed per type at its function. What depends on state (epochs, members, positions held) is
 * the receiver's to judge.
 */
#include <string.h>

#include <lockstep/error.h>
#include <lockstep/types.h>

#include "mutant.h"
#include "wire.h"

#define HEADER_SIZE LS_FRAME_HEADER_SIZE
/* Without a trailer, which only an authenticated frame has. */
#define FRAME_LENGTH_MAX (HEADER_SIZE + LS_FRAME_BODY_MAX)

/* CRC32C of the first 8 bytes of every frame: the magic number, and the field of the CRC itself as zero. */
#define CRC_OF_FIRST_WORD 0x9cee9f42u

#define FRAGMENTS_MAX ((LS_OP_MAX + LS_FRAGMENT_SIZE - 1) / LS_FRAGMENT_SIZE)

#define ACK_FLAGS   (LS_ACK_VERIFIED | LS_ACK_READ | LS_ACK_JOINING | LS_ACK_DURABLE | LS_ACK_RESUMED)
#define REPLY_FLAGS (LS_REPLY_READ | LS_REPLY_REPEAT)

static_assert(sizeof(struct ls_reply_body) + sizeof(struct ls_reply_record) + LS_READ_RESULT_MAX <= LS_FRAME_BODY_MAX,
              "a read's result fits a frame");
static_assert(sizeof(struct ls_request_record) + LS_OP_SMALL_MAX <= LS_FRAME_BODY_MAX, "an operation fits a frame");
static_assert(sizeof(struct ls_fragment_body) + LS_FRAGMENT_SIZE <= LS_FRAME_BODY_MAX, "a fragment fits a frame");
static_assert(sizeof(struct ls_read_record) + LS_READ_OP_MAX <= LS_FRAME_BODY_MAX, "a read fits a frame");
static_assert(sizeof(struct ls_ack_body) + LS_EPOCHS_SENT * sizeof(struct ls_epoch_row) <= LS_FRAME_BODY_MAX,
              "an epoch table fits a frame");

/* One bit for each status there is. */
#define X(name, number, text, hint, retry) | 1ull << number
static const uint64_t statuses = 0 LS_STATUS_LIST(X);
#undef X

static bool status_is_known(uint16_t status)
{
    return status < 64 && (statuses >> status & 1);
}

static bool node_is_sane(uint16_t node)
{
    return node >= 1 && node <= LS_NODE_ID_MAX;
}

/* True if a record of `head` bytes and `length` bytes behind it, padded with zeros to 8, fits `room`. A record's head
 * is at least 8 bytes, so the word that ends with the padding lies within the record. */
static bool record_is_whole(const uint8_t *record, size_t head, uint32_t length, size_t room)
{
    if (length > LS_FRAME_MAX || head + ls_pad8(length) > room)
        return false;
    uint64_t word;
    memcpy(&word, record + head + ls_pad8(length) - sizeof(word), sizeof(word));
    uint32_t used = length & 7;
    return used == 0 || word >> (used * 8) == 0;
}

static enum ls_counter check_request(const uint8_t *body, size_t room)
{
    if (room < sizeof(struct ls_request_record))
        return LS_COUNT_drop_short;
    while (room > 0) {
        const struct ls_request_record *record = (const void *)body;
        if (room < sizeof(*record) || !record_is_whole(body, sizeof(*record), record->length, room))
            return LS_COUNT_drop_malformed_operation;
        /* the log keeps number - awaited in 16 bits */
        if (record->durability > LS_DURABLE_JOURNAL || record->awaited > record->number ||
            record->number - record->awaited > UINT16_MAX)
            return LS_COUNT_drop_malformed_operation;
        bool in_session = record->session != 0 && record->number != 0;
        bool sane = false;
        switch (record->kind) {
        case LS_REQUEST_OPERATION:
            sane = in_session && record->length <= LS_OP_SMALL_MAX && record->total == 0;
            break;
        case LS_REQUEST_OPEN:
            sane = record->session == 0 && record->number == 0 && record->slot == 0 &&
                   record->length == LS_NONCE_SIZE && record->total == 0;
            break;
        case LS_REQUEST_QUERY:
            sane = in_session && record->length == 0 && record->total == 0;
            break;
        case LS_REQUEST_ANNOUNCE:
            sane = in_session && record->length == 0 && record->total > LS_OP_SMALL_MAX && record->total <= LS_OP_MAX;
            break;
        }
        if (!sane)
            return LS_COUNT_drop_malformed_operation;
        size_t size = sizeof(*record) + ls_pad8(record->length);
        body += size;
        room -= size;
    }
    return 0;
}

static enum ls_counter check_order(const uint8_t *body, size_t room)
{
    const struct ls_order_body *order = (const void *)body;
    if (room <= sizeof(*order))
        return LS_COUNT_drop_short;
    uint64_t bytes = room - sizeof(*order);
    if (order->commit > order->last || bytes > order->last || order->position > order->last - bytes)
        return LS_COUNT_drop_body;
    return 0;
}

static enum ls_counter check_ack(const struct ls_frame_header *header, const uint8_t *body, size_t room)
{
    const struct ls_ack_body *ack = (const void *)body;
    if (room < sizeof(*ack))
        return LS_COUNT_drop_short;
    if (ack->zero != 0 || (ack->flags & ~ACK_FLAGS) || room != sizeof(*ack) + ack->rows * sizeof(struct ls_epoch_row))
        return LS_COUNT_drop_body;
    if ((ack->flags & LS_ACK_JOINING) && (ack->flags & LS_ACK_READ))
        return LS_COUNT_drop_body; /* who is not admitted serves no reads */
    if (ack->flags & LS_ACK_VERIFIED)
        return ack->rows == 0 && ack->durable <= ack->position ? 0 : LS_COUNT_drop_body;
    if ((ack->flags & LS_ACK_READ) || ack->durable != 0 || ack->rows > LS_EPOCHS_SENT)
        return LS_COUNT_drop_body;
    const struct ls_epoch_row *row = (const void *)(ack + 1);
    for (uint32_t i = 0; i < ack->rows; i++) {
        if (row[i].epoch == 0 || row[i].epoch > header->epoch || row[i].seq == 0 || row[i].position >= ack->position)
            return LS_COUNT_drop_body;
        if (i > 0 && (row[i].epoch <= row[i - 1].epoch || row[i].position <= row[i - 1].position ||
                      row[i].seq <= row[i - 1].seq))
            return LS_COUNT_drop_body;
    }
    return 0;
}

static enum ls_counter check_fetch(const uint8_t *body, size_t room)
{
    const struct ls_fetch_body *fetch = (const void *)body;
    if (room < sizeof(*fetch))
        return LS_COUNT_drop_short;
    if (fetch->zero16 != 0 || fetch->zero32 != 0 || fetch->ranges == 0 || fetch->ranges > LS_FETCH_RANGES_MAX ||
        room != sizeof(*fetch) + fetch->ranges * sizeof(struct ls_fetch_range))
        return LS_COUNT_drop_body;
    const struct ls_fetch_range *range = (const void *)(fetch + 1);
    for (uint32_t i = 0; i < fetch->ranges; i++)
        if (range[i].begin >= range[i].end)
            return LS_COUNT_drop_body;
    return 0;
}

static enum ls_counter check_range(const uint8_t *body, size_t room)
{
    const struct ls_range_body *range = (const void *)body;
    if (room <= sizeof(*range))
        return LS_COUNT_drop_short;
    /* positions cannot wrap */
    return range->position <= UINT64_MAX - room ? 0 : LS_COUNT_drop_body;
}

static enum ls_counter check_heartbeat(const uint8_t *body, size_t room)
{
    const struct ls_heartbeat_body *heartbeat = (const void *)body;
    if (room < sizeof(*heartbeat))
        return LS_COUNT_drop_short;
    if (heartbeat->zero16 != 0 || heartbeat->zero32 != 0 || heartbeat->commit > heartbeat->last ||
        heartbeat->sent > heartbeat->last || heartbeat->confirmed > heartbeat->time ||
        room != sizeof(*heartbeat) + heartbeat->answers * sizeof(struct ls_answer_record))
        return LS_COUNT_drop_body;
    const struct ls_answer_record *answer = (const void *)(heartbeat + 1);
    for (uint32_t i = 0; i < heartbeat->answers; i++)
        if (answer[i].zero != 0 || answer[i].incarnation == 0 || !node_is_sane(answer[i].node) ||
            answer[i].kind < LS_ANSWER_PARTING || answer[i].kind > LS_ANSWER_TOO_OLD)
            return LS_COUNT_drop_body;
    return 0;
}

static enum ls_counter check_reply(const uint8_t *body, size_t room)
{
    if (room < sizeof(struct ls_reply_body) + sizeof(struct ls_reply_record))
        return LS_COUNT_drop_short;
    body += sizeof(struct ls_reply_body);
    room -= sizeof(struct ls_reply_body);
    while (room > 0) {
        const struct ls_reply_record *record = (const void *)body;
        if (room < sizeof(*record) || !record_is_whole(body, sizeof(*record), record->length, room))
            return LS_COUNT_drop_body;
        bool read = (record->flags & LS_REPLY_READ) != 0;
        if (record->zero != 0 || (record->flags & ~REPLY_FLAGS) || (read && (record->flags & LS_REPLY_REPEAT)) ||
            record->durability > LS_DURABLE_JOURNAL || !status_is_known(record->status) ||
            record->length > (read ? LS_READ_RESULT_MAX : LS_RESULT_MAX))
            return LS_COUNT_drop_body;
        size_t size = sizeof(*record) + ls_pad8(record->length);
        body += size;
        room -= size;
    }
    return 0;
}

static enum ls_counter check_read(const uint8_t *body, size_t room)
{
    if (room < sizeof(struct ls_read_record))
        return LS_COUNT_drop_short;
    while (room > 0) {
        const struct ls_read_record *record = (const void *)body;
        if (room < sizeof(*record) || !record_is_whole(body, sizeof(*record), record->length, room) ||
            record->zero != 0 || record->consistency > LS_READ_STALE || record->length > LS_READ_OP_MAX)
            return LS_COUNT_drop_body;
        size_t size = sizeof(*record) + ls_pad8(record->length);
        body += size;
        room -= size;
    }
    return 0;
}

static enum ls_counter check_grant(const uint8_t *body, size_t room)
{
    const struct ls_grant_body *grant = (const void *)body;
    if (room < sizeof(*grant))
        return LS_COUNT_drop_short;
    if (room != sizeof(*grant) || grant->zero != 0 || grant->session == 0 || grant->number == 0 ||
        grant->missing == 0 || grant->first >= FRAGMENTS_MAX)
        return LS_COUNT_drop_body;
    return 0;
}

static enum ls_counter check_fragment(const uint8_t *body, size_t room)
{
    const struct ls_fragment_body *fragment = (const void *)body;
    if (room <= sizeof(*fragment))
        return LS_COUNT_drop_short;
    if (room != sizeof(*fragment) + (uint64_t)fragment->length || fragment->session == 0 || fragment->number == 0 ||
        fragment->total <= LS_OP_SMALL_MAX || fragment->total > LS_OP_MAX || fragment->index >= FRAGMENTS_MAX)
        return LS_COUNT_drop_body;
    uint32_t offset = fragment->index * LS_FRAGMENT_SIZE;
    if (offset >= fragment->total)
        return LS_COUNT_drop_body;
    uint32_t left = fragment->total - offset;
    return fragment->length == (left < LS_FRAGMENT_SIZE ? left : LS_FRAGMENT_SIZE) ? 0 : LS_COUNT_drop_body;
}

static enum ls_counter check_view(const uint8_t *body, size_t room)
{
    const struct ls_view_body *view = (const void *)body;
    if (room < sizeof(*view))
        return LS_COUNT_drop_short;
    if (view->zero != 0 || view->sequencer > LS_NODE_ID_MAX || view->members == 0 || view->members > LS_MEMBERS_MAX ||
        room != sizeof(*view) + view->members * sizeof(struct ls_member_record))
        return LS_COUNT_drop_body;
    const struct ls_member_record *member = (const void *)(view + 1);
    uint64_t seen = 0;
    for (uint32_t i = 0; i < view->members; i++) {
        if (!node_is_sane(member[i].node) || (seen >> member[i].node & 1) || member[i].ctrl_port != 0 ||
            member[i].ctrl_ip != 0 || member[i].ip == 0 || member[i].port == 0 ||
            (member[i].role != LS_MEMBER_VOTER && member[i].role != LS_MEMBER_LEARNER))
            return LS_COUNT_drop_body;
        seen |= 1ull << member[i].node;
    }
    return 0;
}

static enum ls_counter check_busy(const uint8_t *body, size_t room)
{
    const struct ls_busy_body *busy = (const void *)body;
    if (room < sizeof(*busy))
        return LS_COUNT_drop_short;
    if (room != sizeof(*busy) || busy->zero != 0 || (busy->flags & ~LS_BUSY_READ) ||
        busy->status < LS_STATUS_BUSY_LOG || !status_is_known(busy->status))
        return LS_COUNT_drop_body;
    return 0;
}

/* Who may send a frame of this type at all, as far as the header tells. */
static enum ls_counter check_sender(const struct ls_frame_header *header)
{
    switch (header->type) {
    case LS_FRAME_REQUEST:
    case LS_FRAME_READ:
    case LS_FRAME_FRAGMENT:
        if (header->sender != 0)
            return LS_COUNT_drop_direction;
        return header->incarnation == 0 ? 0 : LS_COUNT_drop_incarnation;
    default:
        break;
    }
    if (header->sender == 0)
        return LS_COUNT_drop_direction;
    if (header->sender > LS_NODE_ID_MAX)
        return LS_COUNT_drop_sender;
    if (header->incarnation == 0)
        return LS_COUNT_drop_incarnation;
    /* Between replicas everything belongs to an epoch, and they begin with 1; clients are also told that there is none.
     */
    bool between_replicas = header->type >= LS_FRAME_ORDER && header->type <= LS_FRAME_HEARTBEAT;
    return between_replicas && header->epoch == 0 ? LS_COUNT_drop_epoch_old : 0;
}

static enum ls_counter check_body(const struct ls_frame_header *header, const uint8_t *body, size_t room)
{
    switch (header->type) {
    case LS_FRAME_REQUEST:
        return check_request(body, room);
    case LS_FRAME_ORDER:
        return check_order(body, room);
    case LS_FRAME_ACK:
        return check_ack(header, body, room);
    case LS_FRAME_FETCH:
        return check_fetch(body, room);
    case LS_FRAME_RANGE:
        return check_range(body, room);
    case LS_FRAME_HEARTBEAT:
        return check_heartbeat(body, room);
    case LS_FRAME_REPLY:
        return check_reply(body, room);
    case LS_FRAME_READ:
        return check_read(body, room);
    case LS_FRAME_GRANT:
        return check_grant(body, room);
    case LS_FRAME_FRAGMENT:
        return check_fragment(body, room);
    case LS_FRAME_BUSY:
        return check_busy(body, room);
    default: /* REDIRECT, VIEW */
        return check_view(body, room);
    }
}

enum ls_counter ls_frame_check(const struct ls_wire_identity *identity, const uint8_t *data, uint32_t length)
{
    /* What must hold before the CRC can be computed at all; then the CRC, so that damage is counted as damage and not
     * as whatever field it hit. */
    const struct ls_frame_header *header = (const void *)data;
    if (length < HEADER_SIZE)
        return LS_COUNT_drop_short;
    if (header->magic != LS_WIRE_MAGIC)
        return LS_COUNT_drop_magic;
    if (header->version != LS_WIRE_VERSION)
        return LS_COUNT_drop_version;
    if (header->length != length || length > FRAME_LENGTH_MAX)
        return LS_COUNT_drop_length;
    if (header->flags & LS_FRAME_AUTHENTICATED)
        return LS_COUNT_drop_authentication;
    if (header->crc != ls_crc32c(CRC_OF_FIRST_WORD, data + 8, length - 8) && !ls_mutant(FRAME_UNCHECKED))
        return LS_COUNT_drop_crc;

    if (header->type == 0 || header->type >= LS_FRAME_TYPES)
        return LS_COUNT_drop_type;
    if ((header->flags & ~LS_FRAME_FLAGS_KNOWN) || header->zero != 0)
        return LS_COUNT_drop_flags;
    if (header->cluster != identity->cluster)
        return LS_COUNT_drop_cluster;
    if (header->generation != identity->generation)
        return LS_COUNT_drop_generation;
    if (header->group != identity->group)
        return LS_COUNT_drop_group;
    enum ls_counter reason = check_sender(header);
    if (reason != 0)
        return reason;
    return check_body(header, data + HEADER_SIZE, length - HEADER_SIZE);
}

void *ls_frame_begin(const struct ls_wire_identity *identity, uint8_t *data, uint8_t type, uint64_t epoch)
{
    const struct ls_frame_header header = {
        .magic = LS_WIRE_MAGIC,
        .version = LS_WIRE_VERSION,
        .type = type,
        .group = identity->group,
        .cluster = identity->cluster,
        .generation = identity->generation,
        .sender = identity->node,
        .incarnation = identity->incarnation,
        .epoch = epoch,
    };
    memcpy(data, &header, sizeof(header));
    return data + HEADER_SIZE;
}

uint32_t ls_frame_end(uint8_t *data, const void *end)
{
    struct ls_frame_header *header = (void *)data;
    uint32_t length = (uint32_t)((const uint8_t *)end - data);
    assert(length >= HEADER_SIZE && length <= FRAME_LENGTH_MAX);
    header->length = (uint16_t)length;
    header->crc = ls_crc32c(CRC_OF_FIRST_WORD, data + 8, length - 8);
    return length;
}

/* The next record's place: behind the one that begins at *at, or `first` bytes behind the header. NULL: no more. */
static const uint8_t *next_record(const uint8_t *data, size_t first, const uint8_t **at, size_t size_before)
{
    const uint8_t *next = *at ? *at + size_before : data + HEADER_SIZE + first;
    if (next >= data + ls_frame_header(data)->length)
        return NULL;
    *at = next;
    return next;
}

const struct ls_request_record *ls_request_next(const uint8_t *data, const uint8_t **at)
{
    const struct ls_request_record *before = (const void *)*at;
    return (const void *)next_record(data, 0, at, before ? sizeof(*before) + ls_pad8(before->length) : 0);
}

const struct ls_read_record *ls_read_next(const uint8_t *data, const uint8_t **at)
{
    const struct ls_read_record *before = (const void *)*at;
    return (const void *)next_record(data, 0, at, before ? sizeof(*before) + ls_pad8(before->length) : 0);
}

const struct ls_reply_record *ls_reply_next(const uint8_t *data, const uint8_t **at)
{
    const struct ls_reply_record *before = (const void *)*at;
    return (const void *)next_record(data, sizeof(struct ls_reply_body), at,
                                     before ? sizeof(*before) + ls_pad8(before->length) : 0);
}
