/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small frames to clients that need no state: not now (BUSY), not here (REDIRECT), not at all (a REPLY with an error).
 * One frame each: they are rare, or the client has asked for them. Net thread.
 */
#include "replica_internal.h"

#define RETRY_AFTER_NS 1000000ull

void ls_answer_busy(struct ls_replica *r, struct ls_addr client, uint64_t session, uint64_t number, uint16_t status,
                    bool read, uint64_t now_ns)
{
    struct ls_frame frame;
    if (!ls_replica_alloc(r, &frame, client))
        return;
    struct ls_busy_body *body = ls_replica_begin(r, &frame, LS_FRAME_BUSY);
    *body = (struct ls_busy_body){.time = ls_replica_log_time(r, now_ns),
                                  .session = session,
                                  .number = number,
                                  .retry_after = RETRY_AFTER_NS,
                                  .status = status,
                                  .flags = read ? LS_BUSY_READ : 0};
    ls_replica_send(r, &frame, body + 1);
}

void ls_answer_redirect(struct ls_replica *r, struct ls_addr client, uint64_t now_ns)
{
    struct ls_frame frame;
    if (!ls_replica_alloc(r, &frame, client))
        return;
    struct ls_view_body *body = ls_replica_begin(r, &frame, LS_FRAME_REDIRECT);
    *body = (struct ls_view_body){.time = ls_replica_log_time(r, now_ns),
                                  .epoch = r->epoch,
                                  .sequencer = ls_replica_is_sequencer(r) ? r->config.node : r->sequencer,
                                  .members = (uint16_t)r->config.members};
    struct ls_member_record *member = (struct ls_member_record *)(body + 1);
    for (uint32_t i = 0; i < r->config.members; i++) {
        const struct ls_member *m = &r->config.member[i];
        member[i] = (struct ls_member_record){.node = m->node, .role = m->role, .ip = m->addr.ip, .port = m->addr.port};
    }
    ls_replica_send(r, &frame, member + r->config.members);
}

void ls_answer_refusal(struct ls_replica *r, struct ls_addr client, const struct ls_request_record *record,
                       uint16_t status, uint64_t now_ns)
{
    struct ls_frame frame;
    if (!ls_replica_alloc(r, &frame, client))
        return;
    struct ls_reply_body *body = ls_replica_begin(r, &frame, LS_FRAME_REPLY);
    *body = (struct ls_reply_body){.time = ls_replica_log_time(r, now_ns)};
    struct ls_reply_record *reply = (struct ls_reply_record *)(body + 1);
    *reply = (struct ls_reply_record){
        .session = record->session, .number = record->number, .slot = record->slot, .status = status};
    ls_replica_send(r, &frame, reply + 1);
}
