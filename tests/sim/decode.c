/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Frames as one line of text, for traces and golden files: who, what, and the fields that matter.
 */
#include <stdarg.h>
#include <string.h>

#include "sim.h"

struct text {
    char *at;
    size_t room;
};

static void add(struct text *text, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct text *text, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(text->at, text->room, format, args);
    va_end(args);
    if (n < 0)
        return;
    size_t used = (size_t)n < text->room ? (size_t)n : text->room - 1;
    text->at += used;
    text->room -= used;
}

static const char *type_name(uint8_t type)
{
    static const char *const name[LS_FRAME_TYPES] = {"?",        "REQUEST",   "ORDER", "ACK",  "FETCH",
                                                     "RANGE",    "HEARTBEAT", "REPLY", "READ", "GRANT",
                                                     "FRAGMENT", "REDIRECT",  "VIEW",  "BUSY"};
    return type < LS_FRAME_TYPES ? name[type] : "?";
}

static void decode_request(struct text *text, const uint8_t *data)
{
    static const char *const kind[] = {"?", "op", "open", "query", "announce"};
    const uint8_t *at = NULL;
    const struct ls_request_record *record;
    while ((record = ls_request_next(data, &at)) != NULL) {
        add(text, " %s %lu/%lu", record->kind <= 4 ? kind[record->kind] : "?", record->session, record->number);
        if (record->kind == LS_REQUEST_ANNOUNCE)
            add(text, " total %u", record->total);
        else if (record->length > 0)
            add(text, " %u bytes", record->length);
        if (record->deadline != 0)
            add(text, " deadline %lu", record->deadline);
    }
}

static void decode_reply(struct text *text, const uint8_t *data)
{
    const uint8_t *at = NULL;
    const struct ls_reply_record *record;
    while ((record = ls_reply_next(data, &at)) != NULL) {
        add(text, " %s%s %lu/%lu seq %lu %s", record->flags & LS_REPLY_READ ? "read" : "op",
            record->flags & LS_REPLY_REPEAT ? " (kept)" : "", record->session, record->number, record->seq,
            ls_status_name(record->status));
        if (record->length > 0)
            add(text, " %u bytes", record->length);
    }
}

static void decode_heartbeat(struct text *text, const struct ls_heartbeat_body *body)
{
    add(text, " commit %lu last %lu sent %lu probe %lu", body->commit, body->last, body->sent, body->probe);
    const struct ls_answer_record *answer = (const struct ls_answer_record *)(body + 1);
    for (uint32_t i = 0; i < body->answers; i++, answer++)
        add(text, " %s #%lu to %u.%lu: %lu",
            answer->kind == LS_ANSWER_PARTING ? "parting"
            : answer->kind == LS_ANSWER_READ  ? "read-index"
                                              : "too-old",
            answer->number, answer->node, answer->incarnation, answer->position);
}

static void decode_ack(struct text *text, const struct ls_ack_body *body)
{
    if (body->flags & LS_ACK_VERIFIED) {
        add(text, " verified %lu applied %lu probe %lu", body->position, body->applied_seq, body->probe);
        if (body->flags & LS_ACK_READ)
            add(text, " read-question #%lu", body->question);
        return;
    }
    add(text, " question #%lu end %lu table", body->question, body->position);
    const struct ls_epoch_row *row = (const struct ls_epoch_row *)(body + 1);
    for (uint32_t i = 0; i < body->rows; i++)
        add(text, " %lu@%lu", row[i].epoch, row[i].position);
}

static void decode_body(struct text *text, const uint8_t *data, uint32_t length)
{
    const void *body = data + LS_FRAME_HEADER_SIZE;
    switch (ls_frame_header(data)->type) {
    case LS_FRAME_REQUEST:
        decode_request(text, data);
        break;
    case LS_FRAME_ORDER: {
        const struct ls_order_body *order = body;
        uint64_t bytes = length - LS_FRAME_HEADER_SIZE - sizeof(*order);
        add(text, " [%lu,%lu) commit %lu last %lu probe %lu", order->position, order->position + bytes, order->commit,
            order->last, order->probe);
        break;
    }
    case LS_FRAME_ACK:
        decode_ack(text, body);
        break;
    case LS_FRAME_FETCH: {
        const struct ls_fetch_body *fetch = body;
        const struct ls_fetch_range *range = (const struct ls_fetch_range *)(fetch + 1);
        for (uint32_t i = 0; i < fetch->ranges; i++)
            add(text, " [%lu,%lu)", range[i].begin, range[i].end);
        break;
    }
    case LS_FRAME_RANGE: {
        const struct ls_range_body *range = body;
        add(text, " [%lu,%lu)", range->position, range->position + length - LS_FRAME_HEADER_SIZE - sizeof(*range));
        break;
    }
    case LS_FRAME_HEARTBEAT:
        decode_heartbeat(text, body);
        break;
    case LS_FRAME_REPLY:
        decode_reply(text, data);
        break;
    case LS_FRAME_READ: {
        static const char *const consistency[] = {"linearizable", "least", "stale"};
        const uint8_t *at = NULL;
        const struct ls_read_record *record;
        while ((record = ls_read_next(data, &at)) != NULL)
            add(text, " %s %lu/%lu least %lu", record->consistency < 3 ? consistency[record->consistency] : "?",
                record->session, record->number, record->least);
        break;
    }
    case LS_FRAME_GRANT: {
        const struct ls_grant_body *grant = body;
        add(text, " %lu/%lu from %u missing %lx", grant->session, grant->number, grant->first, grant->missing);
        break;
    }
    case LS_FRAME_FRAGMENT: {
        const struct ls_fragment_body *fragment = body;
        add(text, " %lu/%lu #%u %u of %u bytes", fragment->session, fragment->number, fragment->index, fragment->length,
            fragment->total);
        break;
    }
    case LS_FRAME_REDIRECT:
    case LS_FRAME_VIEW: {
        const struct ls_view_body *view = body;
        add(text, " epoch %lu sequencer %u members %u", view->epoch, view->sequencer, view->members);
        break;
    }
    case LS_FRAME_BUSY: {
        const struct ls_busy_body *busy = body;
        add(text, " %lu/%lu %s%s", busy->session, busy->number, ls_status_name(busy->status),
            busy->flags & LS_BUSY_READ ? " (read)" : "");
        break;
    }
    default:
        break;
    }
}

/* Good frames alone are taken apart: what chance has damaged is only named. */
void sim_decode(char *to, size_t room, const uint8_t *data, uint32_t length)
{
    struct text text = {.at = to, .room = room};
    to[0] = '\0';
    struct ls_wire_identity anyone = {.cluster = SIM_CLUSTER, .generation = 1};
    if (ls_frame_check(&anyone, data, length) != 0) {
        add(&text, "a bad frame of %u bytes", length);
        return;
    }
    const struct ls_frame_header *header = ls_frame_header(data);
    add(&text, "%s e%lu", type_name(header->type), header->epoch);
    decode_body(&text, data, length);
}
