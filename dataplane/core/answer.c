/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Small frames to clients: not now (BUSY), not here (REDIRECT), not at all (a REPLY with an error), and, unasked, who
 * orders now (VIEW, a few in a loop turn). One frame each: they are rare, or the client has asked for them. Net thread.
 */
#include "replica_internal.h"

#define RETRY_AFTER_NS       1000000ull
#define VIEW_LATELY_NS       10000000000ull /* a client that was silent for longer asks when it comes back */
#define VIEW_FRAMES_PER_TURN 8
#define VIEW_SLOTS_PER_TURN  256 /* looked at: most slots may be free */

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

static void view_send(struct ls_replica *r, struct ls_addr client, uint8_t type, uint64_t now_ns)
{
    struct ls_frame frame;
    const struct ls_membership *members = ls_standing_members(r);
    if (members->count == 0 || !ls_replica_alloc(r, &frame, client))
        return;
    struct ls_view_body *body = ls_replica_begin(r, &frame, type);
    *body = (struct ls_view_body){.time = ls_replica_log_time(r, now_ns),
                                  .epoch = r->epoch,
                                  .sequencer = ls_replica_is_sequencer(r) ? r->config.node : r->sequencer,
                                  .members = (uint16_t)members->count};
    struct ls_member_record *record = (struct ls_member_record *)(body + 1);
    for (uint32_t i = 0; i < members->count; i++) {
        const struct ls_member *m = &members->member[i];
        record[i] = (struct ls_member_record){.node = m->node, .role = m->role, .ip = m->addr.ip, .port = m->addr.port};
    }
    ls_replica_send(r, &frame, record + members->count);
}

void ls_answer_redirect(struct ls_replica *r, struct ls_addr client, uint64_t now_ns)
{
    view_send(r, client, LS_FRAME_REDIRECT, now_ns);
}

/* Where the client of a session slot was lately; false: nobody is to be told. */
static bool view_wanted(const struct ls_replica *r, uint32_t slot, uint64_t log_time, struct ls_addr *client)
{
    const struct ls_session_public *seat = &r->seam->sessions[slot];
    if (atomic_load_explicit(&seat->session, memory_order_relaxed) == 0)
        return false;
    uint64_t where = atomic_load_explicit(&seat->client, memory_order_relaxed);
    uint64_t active = atomic_load_explicit(&seat->active, memory_order_relaxed);
    *client = (struct ls_addr){.ip = (uint32_t)(where >> 16), .port = (uint16_t)where};
    return client->ip != 0 && client->port != 0 && active + VIEW_LATELY_NS >= log_time;
}

uint32_t ls_answer_views(struct ls_replica *r, uint64_t now_ns)
{
    if (!r->view_due || r->role != LS_ROLE_SEQUENCER)
        return 0;
    uint64_t log_time = ls_replica_log_time(r, now_ns);
    uint32_t sent = 0;
    for (uint32_t i = 0; i < VIEW_SLOTS_PER_TURN && r->view_next < r->seam->sessions_max; i++) {
        struct ls_addr client;
        if (view_wanted(r, r->view_next++, log_time, &client)) {
            view_send(r, client, LS_FRAME_VIEW, now_ns);
            ls_count(r->counters, views_out);
            if (++sent == VIEW_FRAMES_PER_TURN)
                break;
        }
    }
    r->view_due = r->view_next < r->seam->sessions_max;
    return 1;
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
