/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulated network: packets from one bounded pool, links with latency, and everything that a network may do to a
 * datagram. Implements the core's struct ls_io for nodes and clients.
 */
#include <assert.h>
#include <string.h>

#include "sim.h"

/* What a frame holds after its owner gave it back: whoever still reads it reads this. */
#define POISON 0xdb

void sim_net_reset(struct sim *sim)
{
    sim->packets_free = SIM_PACKETS;
    for (uint32_t i = 0; i < SIM_PACKETS; i++) {
        sim->packet[i].state = SIM_PACKET_FREE;
        sim->packet_free[i] = SIM_PACKETS - 1 - i;
    }
    memset(sim->link_at, 0, sizeof(sim->link_at));
    memset(sim->cut, 0, sizeof(sim->cut));
    memset(sim->ctrl_cut, 0, sizeof(sim->ctrl_cut));
    memset(sim->fault, 0, sizeof(sim->fault));
    sim->lossy_ppm = 0;
    sim->replays = 0;
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++)
        sim->last_ack[i].length = 0;
}

static uint32_t packet_take(struct sim *sim)
{
    if (sim->packets_free == 0)
        return SIM_NONE;
    uint32_t index = sim->packet_free[--sim->packets_free];
    assert(sim->packet[index].state == SIM_PACKET_FREE);
    sim->packet[index].damaged = false;
    sim->packet[index].replayed = false;
    return index;
}

void sim_packet_free(struct sim *sim, uint32_t index)
{
    struct sim_packet *packet = &sim->packet[index];
    assert(packet->state != SIM_PACKET_FREE);
    packet->state = SIM_PACKET_FREE;
    memset(packet->data, POISON, packet->length <= LS_FRAME_MAX ? packet->length : LS_FRAME_MAX);
    sim->packet_free[sim->packets_free++] = index;
}

uint32_t sim_end_of(const struct sim *sim, struct ls_addr addr)
{
    uint32_t kind = addr.ip >> 16, low = addr.ip & 0xffff;
    if (kind == 0x0a00 && low >= 1 && low <= sim->config.nodes && addr.port == LS_PORT_DEFAULT)
        return low - 1;
    if (kind == 0x0a01 && low < sim->config.clients && sim->client[low].alive &&
        addr.port == sim->client[low].addr.port)
        return SIM_NODES_MAX + low;
    return SIM_NONE;
}

static uint32_t *owned_of(struct sim *sim, uint16_t end)
{
    return end < SIM_NODES_MAX ? &sim->node[end].owned : NULL;
}

static bool io_alloc(struct ls_io *base, struct ls_frame *frame)
{
    struct sim_io *io = (struct sim_io *)base;
    struct sim *sim = io->sim;
    if (sim_rng_chance(&sim->rng_net, sim->config.alloc_fail_ppm) && !sim->healed)
        return false;
    uint32_t index = packet_take(sim);
    if (index == SIM_NONE)
        return false;
    struct sim_packet *packet = &sim->packet[index];
    packet->state = SIM_PACKET_OWNED;
    packet->end = io->end;
    packet->length = LS_FRAME_MAX;
    uint32_t *owned = owned_of(sim, io->end);
    if (owned != NULL)
        (*owned)++;
    *frame = (struct ls_frame){.data = packet->data, .length = 0, .handle = packet};
    return true;
}

static uint32_t index_of(const struct sim *sim, const struct sim_packet *packet)
{
    return (uint32_t)(packet - sim->packet);
}

static void disown(struct sim *sim, struct sim_packet *packet)
{
    if (packet->state != SIM_PACKET_OWNED)
        sim_violate(sim, "Q1", "a buffer was sent or given back that is not owned (state %u)", packet->state);
    uint32_t *owned = owned_of(sim, packet->end);
    if (owned != NULL)
        (*owned)--;
}

static void io_release(struct ls_io *base, struct ls_frame *frame)
{
    struct sim_io *io = (struct sim_io *)base;
    struct sim_packet *packet = frame->handle;
    disown(io->sim, packet);
    sim_packet_free(io->sim, index_of(io->sim, packet));
}

static uint64_t latency(struct sim *sim, uint32_t from, uint32_t to)
{
    const struct sim_config *c = &sim->config;
    uint64_t at = sim->now + c->latency_ns + (c->jitter_ns > 0 ? sim_rng_spread(&sim->rng_net, c->jitter_ns) : 0);
    if (!sim->healed && sim_rng_chance(&sim->rng_net, c->reorder_ppm))
        return at + sim_rng_spread(&sim->rng_net, c->reorder_ns);
    if (c->fifo) {
        if (at <= sim->link_at[from][to])
            at = sim->link_at[from][to] + 1;
        sim->link_at[from][to] = at;
    }
    return at;
}

static void launch(struct sim *sim, uint32_t index, uint32_t from, uint32_t to)
{
    struct sim_packet *packet = &sim->packet[index];
    packet->state = SIM_PACKET_FLIGHT;
    packet->end = (uint16_t)to;
    sim_queue_push(&sim->queue, (struct sim_event){.time = latency(sim, from, to),
                                                   .type = SIM_EVENT_DELIVER,
                                                   .target = (uint16_t)to,
                                                   .argument = index});
}

/* A frame whose checksum is good and which is not for anyone here: of another cluster, version, kind. */
static void forge(struct sim *sim, struct sim_packet *packet)
{
    struct ls_frame_header *header = (struct ls_frame_header *)packet->data;
    switch (sim_rng_below(&sim->rng_net, 8)) {
    case 0:
        header->cluster ^= 1;
        break;
    case 1:
        header->generation++;
        break;
    case 2:
        header->group = 1;
        break;
    case 3:
        header->version++;
        break;
    case 4:
        header->type = LS_FRAME_TYPES;
        break;
    case 5:
        header->flags = 0x8000;
        break;
    case 6:
        header->zero = 1;
        break;
    default:
        header->type = 0;
        break;
    }
    (void)ls_frame_end(packet->data, packet->data + packet->length);
    packet->damaged = true;
}

static void launch_copy(struct sim *sim, const struct sim_packet *packet, uint32_t from, uint32_t to, bool forged)
{
    /* Copies are the network's own: they must not take the last buffers from the nodes. */
    if (sim->packets_free < SIM_PACKETS / 4)
        return;
    uint32_t index = packet_take(sim);
    struct sim_packet *copy = &sim->packet[index];
    memcpy(copy->data, packet->data, packet->length);
    copy->length = packet->length;
    copy->from = packet->from;
    copy->to = packet->to;
    copy->damaged = packet->damaged;
    copy->replayed = packet->replayed;
    if (forged)
        forge(sim, copy);
    launch(sim, index, from, to);
}

/* Bits flipped, cut off, or made longer: whatever it was, the receiver must notice. */
static void damage(struct sim *sim, struct sim_packet *packet, bool truncate)
{
    struct sim_rng *rng = &sim->rng_net;
    packet->damaged = true;
    sim->stats.damaged++;
    if (truncate) {
        packet->length = (uint32_t)sim_rng_below(rng, packet->length);
        return;
    }
    if (sim_rng_below(rng, 8) == 0 && packet->length + 8 <= LS_FRAME_MAX) {
        memset(packet->data + packet->length, 0, 8);
        packet->length += 8;
        return;
    }
    /* One to three bits: the checksum finds each of these for certain. */
    uint32_t flips = 1 + (uint32_t)sim_rng_below(rng, 3);
    uint32_t first = (uint32_t)sim_rng_below(rng, packet->length * 8);
    for (uint32_t i = 0; i < flips; i++) {
        uint32_t bit = (first + i * 97) % (packet->length * 8);
        packet->data[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
}

static void remember(struct sim *sim, const struct sim_packet *packet, uint32_t from, uint32_t to)
{
    if (!sim_rng_chance(&sim->rng_net, 50000) || sim->packets_free < SIM_PACKETS / 2)
        return;
    uint32_t slot = (uint32_t)sim_rng_below(&sim->rng_net, SIM_REPLAYS);
    if (slot >= sim->replays) {
        uint32_t index = packet_take(sim);
        slot = sim->replays++;
        sim->replay[slot] = index;
    }
    struct sim_packet *kept = &sim->packet[sim->replay[slot]];
    memcpy(kept->data, packet->data, packet->length);
    kept->length = packet->length;
    kept->from = packet->from;
    kept->to = packet->to;
    kept->state = SIM_PACKET_INBOX;
    kept->replayed = true;
    kept->end = (uint16_t)((from << 8) | to);
}

/* What chance does beside the packet itself: old frames again, frames at the wrong door, garbage. */
static void mischief(struct sim *sim, const struct sim_packet *packet, uint32_t from, uint32_t to)
{
    const struct sim_config *c = &sim->config;
    struct sim_rng *rng = &sim->rng_net;
    if (c->replay_ppm > 0) {
        const struct ls_ack_body *ack = (const void *)(packet->data + LS_FRAME_HEADER_SIZE);
        if (ls_frame_header(packet->data)->type == LS_FRAME_ACK && to < SIM_NODES_MAX &&
            (ack->flags & (LS_ACK_VERIFIED | LS_ACK_JOINING)) == LS_ACK_VERIFIED) {
            memcpy(sim->last_ack[from].data, packet->data, packet->length);
            sim->last_ack[from].length = packet->length;
            sim->last_ack[from].from = packet->from;
            sim->last_ack[from].to = packet->to;
            sim->last_ack[from].end = (uint16_t)to;
            sim->last_ack[from].replayed = true;
        }
        remember(sim, packet, from, to);
        if (sim->replays > 0 && sim_rng_chance(rng, c->replay_ppm)) {
            const struct sim_packet *old = &sim->packet[sim->replay[sim_rng_below(rng, sim->replays)]];
            launch_copy(sim, old, old->end >> 8, old->end & 0xff, false);
            sim->stats.replayed++;
        }
    }
    /* Questions for log bytes most of all: who is asked must know by itself whether its own are right. */
    bool asks = ls_frame_header(packet->data)->type == LS_FRAME_FETCH && c->astray_ppm > 0;
    if (sim_rng_chance(rng, asks ? 500000 : c->astray_ppm))
        launch_copy(sim, packet, from, (uint32_t)sim_rng_below(rng, sim->config.nodes), false);
    if (sim_rng_chance(rng, c->garbage_ppm))
        launch_copy(sim, packet, from, to, true);
    if (sim_rng_chance(rng, c->garbage_ppm) && sim->packets_free > SIM_PACKETS / 4) {
        uint32_t index = packet_take(sim);
        struct sim_packet *made = &sim->packet[index];
        made->length = (uint32_t)sim_rng_below(rng, LS_FRAME_MAX + 1);
        for (uint32_t i = 0; i < made->length; i++)
            made->data[i] = (uint8_t)sim_rng_next(rng);
        made->from = packet->from;
        made->to = packet->to;
        made->damaged = true;
        launch(sim, index, from, to);
    }
}

/* A node comes back, and what its older incarnation acknowledged arrives only now. */
void sim_net_ack_again(struct sim *sim, uint32_t node)
{
    const struct sim_packet *old = &sim->last_ack[node];
    if (old->length == 0 || sim->healed || sim->script != NULL || sim->config.replay_ppm == 0)
        return;
    launch_copy(sim, old, node, old->end, false);
    sim->stats.replayed++;
}

void sim_net_inject(struct sim *sim, const struct sim_packet *packet, uint32_t to)
{
    launch_copy(sim, packet, sim_end_of(sim, packet->from), to, false);
}

const char *sim_end_name(uint32_t end, char *room)
{
    if (end < SIM_NODES_MAX)
        snprintf(room, 8, "n%u", end + 1);
    else if (end < SIM_ENDS_MAX)
        snprintf(room, 8, "c%u", end - SIM_NODES_MAX);
    else
        snprintf(room, 8, "?");
    return room;
}

static void io_send(struct ls_io *base, struct ls_frame *frame)
{
    struct sim_io *io = (struct sim_io *)base;
    struct sim *sim = io->sim;
    const struct sim_config *c = &sim->config;
    struct sim_packet *packet = frame->handle;
    uint32_t index = index_of(sim, packet);
    disown(sim, packet);
    if (frame->length < LS_FRAME_HEADER_SIZE || frame->length > LS_FRAME_MAX)
        sim_violate(sim, "Q2", "a frame of %u bytes was sent", frame->length);
    packet->length = frame->length;
    packet->to = frame->peer;
    packet->from = io->end < SIM_NODES_MAX ? sim->node[io->end].addr : sim->client[io->end - SIM_NODES_MAX].addr;
    sim_mix(sim, ((uint64_t)io->end << 48) ^ ((uint64_t)packet->length << 32) ^ ls_frame_header(packet->data)->crc);
    uint32_t to = sim_end_of(sim, packet->to);
    struct sim_rng *rng = &sim->rng_net;
    bool lost = to == SIM_NONE || (sim->cut[io->end] >> to & 1);
    if (sim->script != NULL && sim->script->lose != NULL && !lost)
        lost = sim->script->lose(sim, packet);
    if (!sim->healed && !lost)
        lost = sim_rng_chance(rng, c->drop_ppm + sim->lossy_ppm);
    if (sim->trace && (sim->script == NULL || !sim->script->hide_frames)) {
        char text[256];
        sim_decode(text, sizeof(text), packet->data, packet->length);
        sim_trace(sim, "%s > %s  %s%s", SIM_END_NAME(io->end), SIM_END_NAME(to), text, lost ? "  (lost)" : "");
    }
    sim_check_sent(sim, io->end, packet);
    if (lost) {
        sim->stats.dropped++;
        packet->state = SIM_PACKET_FLIGHT;
        sim_packet_free(sim, index);
        return;
    }
    if (!sim->healed) {
        mischief(sim, packet, io->end, to);
        if (sim_rng_chance(rng, c->duplicate_ppm))
            launch_copy(sim, packet, io->end, to, false);
    }
    if (!sim->healed && sim_rng_chance(rng, c->corrupt_ppm))
        damage(sim, packet, false);
    else if (!sim->healed && sim_rng_chance(rng, c->truncate_ppm))
        damage(sim, packet, true);
    launch(sim, index, io->end, to);
}

void sim_net_deliver(struct sim *sim, uint32_t index)
{
    struct sim_packet *packet = &sim->packet[index];
    uint32_t to = packet->end;
    if (to >= SIM_NODES_MAX) {
        struct sim_client *client = &sim->client[to - SIM_NODES_MAX];
        if (client->alive)
            sim_client_input(sim, client, packet);
        sim_packet_free(sim, index);
        return;
    }
    struct sim_node *node = &sim->node[to];
    if (node->replica == NULL || node->inbox_tail - node->inbox_head >= sim->config.inbox) {
        sim->stats.inbox_full += node->replica != NULL;
        sim_packet_free(sim, index);
        return;
    }
    packet->state = SIM_PACKET_INBOX;
    node->inbox[node->inbox_tail++ % SIM_INBOX] = index;
    sim_node_wake_net(sim, node);
}

void sim_io_init(struct sim_io *io, struct sim *sim, uint16_t end, bool apply)
{
    memset(io, 0, sizeof(*io));
    io->port.io = (struct ls_io){.alloc = io_alloc, .send = io_send, .release = io_release};
    io->sim = sim;
    io->end = end;
    io->apply = apply;
}

void sim_net_cuts_update(struct sim *sim)
{
    memset(sim->cut, 0, sizeof(sim->cut));
    memset(sim->ctrl_cut, 0, sizeof(sim->ctrl_cut));
    sim->lines_changed = true;
    sim->lossy_ppm = 0;
    for (uint32_t i = 0; i < SIM_FAULTS_MAX; i++) {
        const struct sim_fault *fault = &sim->fault[i];
        if (fault->until == 0)
            continue;
        for (uint32_t end = 0; end < SIM_ENDS_MAX; end++)
            sim->cut[end] |= fault->cut[end];
        for (uint32_t end = 0; end < SIM_NODES_MAX; end++)
            sim->ctrl_cut[end] |= fault->ctrl_cut[end];
        if (fault->kind == SIM_FAULT_LOSSY)
            sim->lossy_ppm += 100000;
    }
}
