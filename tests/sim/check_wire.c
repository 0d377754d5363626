/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkers at the moment when a frame leaves or an operation returns: acknowledgements, replies, reads, and the order
 * of all operations of all clients (T1, the log as witness).
 *
 * T1 needs no sorting here: an operation that begins after another returned must stand behind it, and "returned" is one
 * number, the highest seq told to any client so far.
 */
#include <string.h>

#include "sim.h"

void sim_floor_raise(struct sim *sim, uint64_t seq)
{
    struct sim_ledger *l = &sim->ledger;
    if (seq <= l->floor)
        return;
    l->floor = seq;
    if (l->floor_count < SIM_SEQS_MAX)
        l->floors[l->floor_count++] = (struct sim_floor){.time = sim->now, .seq = seq};
}

/* What had been told to clients up to that time. */
static uint64_t floor_at(const struct sim_ledger *l, uint64_t time)
{
    uint32_t low = 0, high = l->floor_count;
    while (low < high) {
        uint32_t middle = low + (high - low) / 2;
        if (l->floors[middle].time <= time)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? l->floors[low - 1].seq : 0;
}

/* ---- clients' frames ---- */

static void client_sent(struct sim *sim, const struct sim_client *client, const struct sim_packet *packet)
{
    struct sim_ledger *l = &sim->ledger;
    if (ls_frame_header(packet->data)->type != LS_FRAME_REQUEST)
        return;
    const uint8_t *at = NULL;
    const struct ls_request_record *record;
    while ((record = ls_request_next(packet->data, &at)) != NULL) {
        uint32_t index = sim_map_get(&l->submissions, client->life, record->number);
        if (index == SIM_NONE)
            continue; /* OPEN */
        struct sim_submission *s = &l->submission[index];
        if (record->kind == LS_REQUEST_QUERY) {
            s->queried = true;
            continue;
        }
        if (s->deadline_known && s->deadline != record->deadline)
            sim_violate(sim, "L8", "client %u sends request %lu again with deadline %lu instead of %lu", client->index,
                        record->number, record->deadline, s->deadline);
        s->deadline = record->deadline;
        s->deadline_known = true;
    }
}

/* ---- replies ---- */

static void reply_open(struct sim *sim, const struct ls_reply_record *record)
{
    const struct sim_ledger *l = &sim->ledger;
    uint64_t seq = record->seq;
    if (record->status == LS_STATUS_OK && record->session != seq)
        sim_violate(sim, "X3", "session %lu is said to be opened by entry %lu", record->session, seq);
    if (seq == 0 || seq > l->canon_seq)
        sim_violate(sim, "L4", "an opening is answered by entry %lu, committed are %lu", seq, l->canon_seq);
    const struct sim_record *entry = &l->record[l->canon[seq]];
    uint16_t expected = l->expected[seq].status;
    bool good = entry->kind == LS_ENTRY_OPEN && expected == record->status;
    if (good && record->length == LS_NONCE_SIZE)
        good = memcmp(record + 1, l->life[entry->life].nonce, LS_NONCE_SIZE) == 0;
    if (!good)
        sim_violate(sim, "X3", "an opening is answered %s by entry %lu (kind %u), the model says %s",
                    ls_status_name(record->status), seq, entry->kind, ls_status_name(expected));
}

static void reply_done(struct sim *sim, uint64_t session, uint64_t number, uint64_t seq, uint16_t status,
                       const uint8_t *bytes, uint32_t length)
{
    const struct sim_ledger *l = &sim->ledger;
    struct sim_outcome outcome;
    if (!sim_model_outcome(l->model, session, number, &outcome))
        sim_violate(sim, "L4", "request %lu/%lu is answered %s (seq %lu) and is not done; committed are %lu", session,
                    number, ls_status_name(status), seq, l->canon_seq);
    if (outcome.seq != seq || outcome.status != status)
        sim_violate(sim, status == LS_STATUS_CLOSED || status == LS_STATUS_EXPIRED ? "X6" : "X3",
                    "request %lu/%lu is answered %s (seq %lu), the model says %s (seq %lu)", session, number,
                    ls_status_name(status), seq, ls_status_name(outcome.status), outcome.seq);
    if (outcome.length != length || outcome.hash != sim_bytes_hash(bytes, length))
        sim_violate(sim, "X3", "request %lu/%lu (seq %lu, %s) is answered with %u other bytes than the model's %u",
                    session, number, seq, ls_status_name(status), length, outcome.length);
}

/* What may be told about a request: nothing that the canonical log does not say. */
static void reply_check(struct sim *sim, const struct ls_reply_record *record)
{
    const struct sim_ledger *l = &sim->ledger;
    uint64_t floor = 0;
    bool gone;
    if (record->seq > l->canon_seq)
        sim_violate(sim, "L4", "request %lu/%lu is answered by entry %lu, committed are %lu", record->session,
                    record->number, record->seq, l->canon_seq);
    switch (record->status) {
    case LS_STATUS_SESSION_UNKNOWN:
        if (!sim_model_session_gone(l->model, record->session, &floor))
            sim_violate(sim, "X6", "session %lu is said to be unknown, and is open", record->session);
        break;
    case LS_STATUS_RESULT_GONE:
        gone = sim_model_session_gone(l->model, record->session, &floor);
        if (!gone && record->number >= floor)
            sim_violate(sim, "X6", "the result of %lu/%lu is said to be gone, kept are those from %lu on",
                        record->session, record->number, floor);
        break;
    case LS_STATUS_OUT_OF_ORDER:
        if (record->seq == 0 || l->expected[record->seq].status != LS_STATUS_OUT_OF_ORDER)
            sim_violate(sim, "X6", "request %lu/%lu is said to be out of order at %lu", record->session, record->number,
                        record->seq);
        break;
    case LS_STATUS_TOO_LARGE:
    case LS_STATUS_BAD_OPERATION:
        if (record->seq == 0)
            break; /* refused before it was ordered */
        reply_done(sim, record->session, record->number, record->seq, record->status, (const uint8_t *)(record + 1),
                   record->length);
        break;
    default:
        reply_done(sim, record->session, record->number, record->seq, record->status, (const uint8_t *)(record + 1),
                   record->length);
    }
}

/* A replica counts age from the arrival of a frame, not from its sending: what a slow network or a stopped process adds
 * is not in it. How often, and by how much, is counted. */
static void age_count(struct sim *sim, const struct ls_reply_record *record)
{
    const struct sim_ledger *l = &sim->ledger;
    uint32_t i = 0;
    while (l->floors[i].seq <= record->seq)
        i++;
    uint64_t age = sim->now - l->floors[i].time;
    sim->stats.age_understated++;
    if (age - record->age > sim->stats.age_error_max)
        sim->stats.age_error_max = age - record->age;
}

/*
 * P14: one that says so is on the disks of a majority. Where every answer waits for disks this is what committed means,
 * which L4 holds against the disks, under the membership that was in force when it was committed.
 */
static void disks_check(struct sim *sim, const struct sim_node *node, const struct ls_reply_record *record)
{
    const struct ls_membership *members = ls_log_members(node->log); /* one that this turn has appended, too */
    uint32_t voters = 0;
    if (record->durability != LS_DURABLE_JOURNAL || record->seq == 0)
        return;
    sim->stats.durable_answers++;
    if (sim->journal)
        return;
    for (uint32_t i = 0; i < members->count; i++)
        voters |= (uint32_t)(members->member[i].role == LS_MEMBER_VOTER) << (members->member[i].node - 1);
    if (!sim_is_on_disks(sim, voters, record->seq))
        sim_violate(sim, "P14", "request %lu/%lu, entry %lu, is said to be on the disks of a majority", record->session,
                    record->number, record->seq);
}

static void reply_sent(struct sim *sim, const struct sim_node *node, const struct sim_packet *packet)
{
    struct sim_ledger *l = &sim->ledger;
    const uint8_t *at = NULL;
    const struct ls_reply_record *record;
    while ((record = ls_reply_next(packet->data, &at)) != NULL) {
        if (record->flags & LS_REPLY_READ) {
            if (!node->counts)
                sim_violate(sim, "C5", "node %u answers a read and does not count", node->id);
            if (record->seq > l->canon_seq)
                sim_violate(sim, "R1", "node %u answers a read as of seq %lu, committed are %lu", node->id, record->seq,
                            l->canon_seq);
            if (record->age != 0 && record->age <= sim->now && floor_at(l, sim->now - record->age) > record->seq)
                age_count(sim, record);
        } else if (record->number == 0) {
            reply_open(sim, record);
        } else {
            reply_check(sim, record);
            disks_check(sim, node, record);
        }
    }
}

/* ---- frames between nodes ---- */

static void ack_sent(struct sim *sim, struct sim_node *node, const struct ls_frame_header *header,
                     const struct ls_replica_view *view)
{
    const struct ls_ack_body *body = (const void *)((const uint8_t *)header + LS_FRAME_HEADER_SIZE);
    if (!(body->flags & LS_ACK_VERIFIED))
        return;
    if (view->role != LS_ROLE_FOLLOWER)
        sim_violate(sim, "O4", "node %u acknowledges as %s", node->id, ls_role_name(view->role));
    if (body->flags & LS_ACK_JOINING)
        sim_check_log(sim, node);
    else
        sim_check_acked(sim, node, header->epoch, body->flags & LS_ACK_DURABLE ? body->durable : body->position);
    if (sim->journal != ((body->flags & LS_ACK_DURABLE) != 0))
        sim_violate(sim, "P14", "node %u answers for %s", node->id, sim->journal ? "its memory" : "a disk");
}

/* Gaps are given time to close by themselves, and questions time to be answered. */
static void fetch_sent(struct sim *sim, struct sim_node *node)
{
    const uint64_t least = 10 * SIM_US; /* half of the shortest patience: clocks differ */
    if (node->fetched_at != 0 && sim->now - node->fetched_at < least)
        sim_violate(sim, "P12", "node %u asks for log bytes again after %lu ns", node->id, sim->now - node->fetched_at);
    node->fetched_at = sim->now;
}

static void range_sent(struct sim *sim, struct sim_node *node, const struct sim_packet *packet,
                       const struct ls_replica_view *view)
{
    if (++node->ranges > LS_BULK_FRAMES_PER_TURN)
        sim_violate(sim, "P12", "node %u serves more than %u frames of log bytes in one turn", node->id,
                    LS_BULK_FRAMES_PER_TURN);
    const struct ls_range_body *body = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
    uint64_t end = body->position + packet->length - LS_FRAME_HEADER_SIZE - sizeof(*body);
    if (end > view->verified)
        sim_violate(sim, "L1", "node %u serves log bytes up to %lu, verified are %lu", node->id, end, view->verified);
}

static void node_sent(struct sim *sim, struct sim_node *node, const struct sim_packet *packet)
{
    const struct ls_frame_header *header = ls_frame_header(packet->data);
    struct ls_replica_view view;
    ls_replica_view(node->replica, &view);
    if (header->sender != node->id || header->incarnation != node->incarnation)
        sim_violate(sim, "W4", "node %u.%lu sends as %u.%lu", node->id, node->incarnation, header->sender,
                    header->incarnation);
    switch (header->type) {
    case LS_FRAME_ORDER:
    case LS_FRAME_HEARTBEAT:
        if (view.role != LS_ROLE_OPENING && view.role != LS_ROLE_SEQUENCER && view.role != LS_ROLE_SUSPENDED)
            sim_violate(sim, "O3", "node %u orders as %s", node->id, ls_role_name(view.role));
        break;
    case LS_FRAME_ACK:
        ack_sent(sim, node, header, &view);
        break;
    case LS_FRAME_RANGE:
        range_sent(sim, node, packet, &view);
        break;
    case LS_FRAME_FETCH:
        fetch_sent(sim, node);
        break;
    case LS_FRAME_REPLY:
        reply_sent(sim, node, packet);
        return;
    case LS_FRAME_BUSY: {
        const struct ls_busy_body *busy = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
        sim->stats.busy[busy->status < 64 ? busy->status : 63]++;
        return;
    }
    default:
        return;
    }
    if (header->epoch != view.epoch)
        sim_violate(sim, "O4", "node %u sends a frame (type %u) of epoch %lu in epoch %lu", node->id, header->type,
                    header->epoch, view.epoch);
}

void sim_check_sent(struct sim *sim, uint32_t end, const struct sim_packet *packet)
{
    static const struct ls_wire_identity anyone = {.cluster = SIM_CLUSTER, .generation = 1};
    enum ls_counter reason = ls_frame_check(&anyone, packet->data, packet->length);
    if (reason != 0)
        sim_violate(sim, "W1", "%s %u sends a bad frame: %s", end < SIM_NODES_MAX ? "node" : "client",
                    end < SIM_NODES_MAX ? end + 1 : end - SIM_NODES_MAX, ls_counter_text(reason));
    if (end < SIM_NODES_MAX)
        node_sent(sim, &sim->node[end], packet);
    else
        client_sent(sim, &sim->client[end - SIM_NODES_MAX], packet);
}

/* ---- operations that return ---- */

static void read_returned(struct sim *sim, const struct sim_op *op, const struct ls_client_result *result)
{
    struct sim_ledger *l = &sim->ledger;
    if (result->seq > l->canon_seq)
        sim_violate(sim, "R1", "a read returned as of seq %lu, committed are %lu", result->seq, l->canon_seq);
    const char *problem = sim_model_check_read(l->model, op->bytes, op->length, result->seq, result->status,
                                               result->bytes, result->length);
    if (problem != NULL)
        sim_violate(sim, "X3", "client %u: read (code %u) as of seq %lu gave %s: %s", op->client, op->code, result->seq,
                    ls_status_name(result->status), problem);
    if (op->consistency == LS_READ_LINEARIZABLE) {
        if (result->seq < op->floor)
            sim_violate(sim, "R1", "client %u: a read begun at %lu ns sees seq %lu; seq %lu had been told before",
                        op->client, op->invoked_ns, result->seq, op->floor);
        sim_floor_raise(sim, result->seq);
    } else if (op->consistency == LS_READ_LEAST && result->seq < op->least) {
        sim_violate(sim, "R4", "client %u: a read that wants seq %lu at least sees %lu", op->client, op->least,
                    result->seq);
    }
}

void sim_check_returned(struct sim *sim, const struct sim_op *op, const struct ls_client_result *result)
{
    sim->stats.status[result->status < 64 ? result->status : 63]++;
    if (ls_status_is_retryable(result->status) && result->status >= LS_STATUS_BUSY_LOG)
        sim_violate(sim, "V1", "client %u: %s reached the caller", op->client, ls_status_name(result->status));
    if (op->read) {
        read_returned(sim, op, result);
        return;
    }
    if (result->number != op->number)
        sim_violate(sim, "X3", "client %u: request %lu completed as %lu", op->client, op->number, result->number);
    switch (result->status) {
    case LS_STATUS_SESSION_UNKNOWN:
    case LS_STATUS_RESULT_GONE:
    case LS_STATUS_OUT_OF_ORDER:
        return;
    default:
        if (result->seq == 0)
            return; /* refused before it was ordered: looked at as it left */
    }
    /* One that is refused for its size is closed by its client, and completes with the reason. */
    bool closed = result->status == LS_STATUS_TOO_LARGE && op->length > sim->config.op_max;
    uint16_t status = closed ? (uint16_t)LS_STATUS_CLOSED : result->status;
    reply_done(sim, result->session, result->number, result->seq, status, result->bytes, result->length);
    if (result->seq <= op->floor)
        sim_violate(sim, "T1", "client %u: request %lu begun at %lu ns has seq %lu; seq %lu had been told before",
                    op->client, op->number, op->invoked_ns, result->seq, op->floor);
    sim_floor_raise(sim, result->seq);
}
