/* SPDX-License-Identifier: BSD-3-Clause */
/* The rig's fake network, ctrl and apply; see rig.h. */
#include "rig.h"

#include <stdlib.h>
#include <string.h>

#include "replica_internal.h"

static uint8_t frame_data[LS_FRAME_MAX];

static bool rig_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct rig *rig = (struct rig *)io;
    if (rig->starved || rig->sent == RIG_FRAMES)
        return false;
    memset(frame, 0, sizeof(*frame));
    frame->data = rig->buffer[rig->taken++ % RIG_FRAMES];
    return true;
}

static void rig_catch(struct ls_io *io, struct ls_frame *frame)
{
    struct rig *rig = (struct rig *)io;
    rig->out[rig->sent] = *frame;
    rig->sent++;
    rig->returned++;
}

static void rig_release(struct ls_io *io, struct ls_frame *frame)
{
    (void)frame;
    ((struct rig *)io)->returned++;
}

/* A state machine that answers every read with its own bytes. */
static struct rig *machine_rig;

static void machine_read(struct ls_machine *machine, const uint8_t *operation, uint32_t length,
                         struct ls_read_result *result)
{
    (void)machine;
    result->status = LS_STATUS_OK;
    result->length = length < result->room ? length : result->room;
    result->seq = atomic_load(&machine_rig->seam.applied_seq);
    memcpy(result->bytes, operation, result->length);
}

static bool machine_time_pending(struct ls_machine *machine)
{
    (void)machine;
    return machine_rig->time_pending;
}

static const struct ls_state_machine rig_machine = {
    .name = "rig", .version = 1, .concurrent_reads = true, .read = machine_read, .time_pending = machine_time_pending};

struct ls_addr rig_address(uint16_t node)
{
    return (struct ls_addr){0x0a000000u + node, LS_PORT_DEFAULT};
}

static void rig_peers(struct ls_io *io, const struct ls_addr *peer, uint32_t n)
{
    struct rig *rig = (struct rig *)io;
    for (uint32_t i = 0; i < n; i++)
        assert_true(ls_addr_equal(peer[i], rig_address((uint16_t)(i + 2))));
    rig->told = n;
}

void rig_start_outside(struct rig *rig)
{
    rig_start_durable(rig, LS_DURABLE_MEMORY, false);
}

static void replica_make(struct rig *rig)
{
    rig->replica = ls_replica_create(&rig->config, &rig->log, &rig->seam, &rig->io, &rig_machine, NULL, &rig->page,
                                     &rig->counters);
    assert_non_null(rig->replica);
}

void rig_start_durable(struct rig *rig, enum ls_durability durability, bool resumed)
{
    memset(rig, 0, sizeof(*rig));
    machine_rig = rig;
    rig->io = (struct ls_io){.alloc = rig_alloc, .send = rig_catch, .release = rig_release, .peers = rig_peers};
    rig->now = 1000000000;
    assert_int_equal(ls_log_init(&rig->log, RIG_LOG_SIZE), 0);
    assert_int_equal(ls_seam_init(&rig->seam, 16), 0);
    rig->config = (struct ls_replica_config){.cluster = RIG_CLUSTER,
                                             .generation = 1,
                                             .node = 1,
                                             .incarnation = 11,
                                             .durability = durability,
                                             .resumed = resumed,
                                             .keys_max = 100,
                                             .bytes_max = 10000,
                                             .session_idle_ns = LS_SESSION_IDLE_DEFAULT,
                                             .sessions_max = 16,
                                             .window = 8,
                                             .op_max = 16 * 1024};
    replica_make(rig);
}

void rig_again(struct rig *rig, bool resumed)
{
    ls_replica_destroy(rig->replica);
    rig_events_empty(rig);
    rig->config.resumed = resumed;
    rig->config.incarnation++;
    replica_make(rig);
}

struct ls_membership rig_members(uint32_t nodes)
{
    struct ls_membership members = {.count = nodes};
    for (uint16_t i = 0; i < nodes; i++)
        members.member[i] = (struct ls_member){.node = i + 1u, .role = LS_MEMBER_VOTER, .addr = rig_address(i + 1u)};
    return members;
}

void rig_start(struct rig *rig, uint32_t nodes)
{
    rig_start_outside(rig);
    rig_found(rig, nodes);
}

void rig_found(struct rig *rig, uint32_t nodes)
{
    rig->nodes = nodes;
    struct ls_order found = {.kind = LS_ORDER_FOUND, .members = rig_members(nodes)};
    assert_int_equal(rig_order_give(rig, found).code, 0);
    struct ls_event event;
    while (ls_spsc_pop(&rig->seam.events, &event))
        continue;
}

void rig_stop(struct rig *rig)
{
    assert_int_equal(rig->taken, rig->returned);
    ls_replica_destroy(rig->replica);
    ls_seam_free(&rig->seam);
    ls_log_free(&rig->log);
}

void rig_clear(struct rig *rig)
{
    rig->sent = 0;
}

void rig_turn(struct rig *rig, uint64_t advance_ns)
{
    rig->now += advance_ns;
    ls_replica_turn(rig->replica, rig->now);
}

void rig_apply(struct rig *rig)
{
    uint64_t commit = atomic_load(&rig->seam.commit);
    uint64_t seq = ls_log_seq_at(&rig->log, commit);
    assert_int_not_equal(seq, 0);
    atomic_store(&rig->seam.applied_seq, seq - 1);
    atomic_store(&rig->seam.applied, commit);
}

uint64_t rig_count(const struct rig *rig, enum ls_counter which)
{
    return ls_counter_get(&rig->counters, which);
}

enum ls_role rig_role(const struct rig *rig)
{
    struct ls_replica_view view;
    ls_replica_view(rig->replica, &view);
    return view.role;
}

static struct ls_event event_of(struct rig *rig, uint64_t id)
{
    struct ls_event event;
    while (ls_spsc_pop(&rig->seam.events, &event)) {
        if (event.id == id)
            return event;
    }
    fail_msg("no answer to control's question %llu", (unsigned long long)id);
    return event;
}

bool rig_event(struct rig *rig, enum ls_event_kind kind, struct ls_event *event)
{
    while (ls_spsc_pop(&rig->seam.events, event)) {
        if (event->kind == kind)
            return true;
    }
    return false;
}

struct ls_event rig_order_give(struct rig *rig, struct ls_order order)
{
    order.id = 70;
    assert_true(ls_spsc_push(&rig->seam.orders, &order));
    rig_turn(rig, 0);
    return event_of(rig, 70);
}

struct ls_event rig_seal(struct rig *rig, uint64_t epoch)
{
    struct ls_order order = {.id = 71, .epoch = epoch, .kind = LS_ORDER_SEAL};
    assert_true(ls_spsc_push(&rig->seam.orders, &order));
    rig_turn(rig, 0);
    return event_of(rig, 71);
}

uint32_t rig_install(struct rig *rig, uint64_t epoch)
{
    struct ls_order order = {
        .id = 72, .epoch = epoch, .incarnation = rig->config.incarnation, .kind = LS_ORDER_INSTALL};
    assert_true(ls_spsc_push(&rig->seam.orders, &order));
    rig_turn(rig, 0);
    return event_of(rig, 72).code;
}

void rig_events_fill(struct rig *rig)
{
    while (ls_spsc_push(&rig->seam.events, &(struct ls_event){.kind = LS_EVENT_EPOCH_SEEN}))
        continue;
}

void rig_events_empty(struct rig *rig)
{
    struct ls_event event;
    while (ls_spsc_pop(&rig->seam.events, &event))
        continue;
}

void rig_lead(struct rig *rig, uint64_t epoch)
{
    rig_seal(rig, epoch);
    assert_int_equal(rig_install(rig, epoch), 0);
    rig->replica->from_nothing = false; /* as if there had been an epoch before: node 3 stays out of it */
    struct rig_from from = {.node = 2, .incarnation = 22, .epoch = epoch};
    if (rig->nodes > 1) {
        rig_ack(rig, from, (struct ls_ack_body){.question = 1});
        rig_turn(rig, 1000);
        rig_ack(rig, from,
                (struct ls_ack_body){.position = rig->log.end, .limit = RIG_LOG_SIZE, .flags = LS_ACK_VERIFIED});
    }
    rig_turn(rig, 1000);
    rig_apply(rig);
    rig_turn(rig, 1000);
    assert_int_equal(rig_role(rig), LS_ROLE_SEQUENCER);
    rig_clear(rig);
}

void rig_follow(struct rig *rig, uint64_t epoch)
{
    struct rig_from from = {.node = 2, .incarnation = 22, .epoch = epoch};
    rig_seal(rig, epoch);
    rig_heartbeat(rig, from, (struct ls_heartbeat_body){.commit = 0}, NULL);
    rig_turn(rig, 1000);
    const struct ls_ack_body *question = rig_body(rig, ls_ack_body, LS_FRAME_ACK);
    rig_heartbeat(rig, from, (struct ls_heartbeat_body){.answers = 1},
                  &(struct ls_answer_record){.incarnation = 11,
                                             .number = question->question,
                                             .position = rig->log.end,
                                             .node = 1,
                                             .kind = LS_ANSWER_PARTING});
    rig_turn(rig, 1000);
    assert_int_equal(rig_role(rig), LS_ROLE_FOLLOWER);
    rig_clear(rig);
}

void rig_deliver(struct rig *rig, const uint8_t *data, uint32_t length, struct ls_addr from)
{
    static uint8_t copy[LS_FRAME_MAX + 64]; /* not the sender's memory, as on a network */
    assert_true(length <= sizeof(copy));
    memcpy(copy, data, length);
    struct ls_frame frame = {.data = copy, .length = length, .peer = from};
    ls_replica_input(rig->replica, &frame, rig->now);
}

uint8_t *rig_frame(struct rig *rig, uint8_t type, struct rig_from from)
{
    struct ls_wire_identity identity = {
        .cluster = RIG_CLUSTER, .generation = 1, .node = from.node, .incarnation = from.incarnation};
    (void)rig;
    memset(frame_data, 0, sizeof(frame_data));
    return ls_frame_begin(&identity, frame_data, type, from.epoch);
}

void rig_frame_send(struct rig *rig, const void *end, struct ls_addr from)
{
    uint32_t length = ls_frame_end(frame_data, end);
    rig_deliver(rig, frame_data, length, from);
}

void rig_ack(struct rig *rig, struct rig_from from, struct ls_ack_body ack)
{
    uint8_t *body = rig_frame(rig, LS_FRAME_ACK, from);
    memcpy(body, &ack, sizeof(ack));
    rig_frame_send(rig, body + sizeof(ack), rig_address(from.node));
}

void rig_order(struct rig *rig, struct rig_from from, uint64_t position, const void *bytes, uint32_t length,
               uint64_t commit)
{
    uint8_t *body = rig_frame(rig, LS_FRAME_ORDER, from);
    uint64_t last = position + length > commit ? position + length : commit;
    struct ls_order_body order = {.position = position, .commit = commit, .last = last, .time = rig->now};
    memcpy(body, &order, sizeof(order));
    memcpy(body + sizeof(order), bytes, length);
    rig_frame_send(rig, body + sizeof(order) + length, rig_address(from.node));
}

void rig_heartbeat(struct rig *rig, struct rig_from from, struct ls_heartbeat_body beat,
                   const struct ls_answer_record *answer)
{
    uint8_t *body = rig_frame(rig, LS_FRAME_HEARTBEAT, from);
    beat.answers = answer != NULL;
    memcpy(body, &beat, sizeof(beat));
    uint8_t *end = body + sizeof(beat);
    if (answer != NULL) {
        memcpy(end, answer, sizeof(*answer));
        end += sizeof(*answer);
    }
    rig_frame_send(rig, end, rig_address(from.node));
}

void rig_request(struct rig *rig, struct ls_request_record record, const void *operation)
{
    uint8_t *body = rig_frame(rig, LS_FRAME_REQUEST, (struct rig_from){0});
    memcpy(body, &record, sizeof(record));
    if (record.length > 0)
        memcpy(body + sizeof(record), operation, record.length);
    rig_frame_send(rig, body + sizeof(record) + ls_pad8(record.length), RIG_CLIENT);
}

void rig_read(struct rig *rig, struct ls_read_record record, const void *operation)
{
    uint8_t *body = rig_frame(rig, LS_FRAME_READ, (struct rig_from){0});
    memcpy(body, &record, sizeof(record));
    memcpy(body + sizeof(record), operation, record.length);
    rig_frame_send(rig, body + sizeof(record) + ls_pad8(record.length), RIG_CLIENT);
}

void rig_session(struct rig *rig, uint32_t slot, uint64_t session, uint64_t next)
{
    atomic_store(&rig->seam.sessions[slot].next, next);
    atomic_store(&rig->seam.sessions[slot].session, session);
}

const uint8_t *rig_last(const struct rig *rig, uint8_t type)
{
    for (uint32_t i = rig->sent; i-- > 0;) {
        if (ls_frame_header(rig->out[i].data)->type == type)
            return rig->out[i].data;
    }
    fail_msg("no frame of type %u was sent", type);
    return NULL;
}

uint32_t rig_sent(const struct rig *rig, uint8_t type)
{
    uint32_t n = 0;
    for (uint32_t i = 0; i < rig->sent; i++)
        n += ls_frame_header(rig->out[i].data)->type == type;
    return n;
}

uint64_t rig_entry(struct ls_log *log, uint16_t kind, uint64_t epoch, uint64_t number, const char *operation)
{
    struct ls_entry header = {.kind = kind, .session = 7, .number = number, .time = log->last_time + 1};
    struct ls_entry_epoch opening = {.epoch = epoch, .incarnation = 22, .sequencer = 2};
    if (kind == LS_ENTRY_EPOCH)
        return ls_log_append(log, &header, &opening, sizeof(opening));
    return ls_log_append(log, &header, operation, operation == NULL ? 0 : (uint32_t)strlen(operation));
}
