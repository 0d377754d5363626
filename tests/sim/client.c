/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Simulated clients: the real client core over the simulated network, fed with a random load, each completion checked
 * as it comes. Some die in mid-request, and another takes their place.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "sim.h"

static uint64_t between(struct sim *sim, uint64_t mean)
{
    return mean > 0 ? sim_rng_spread(&sim->rng_load, mean) : 0;
}

/* Where a client begins: the founders, as its operator once wrote them down; where none of them is a member any more
 * the present members, for nobody could find a cluster by machines that left it. */
static void nodes_list(const struct sim *sim, struct ls_addr *node)
{
    uint32_t founders = sim->config.founders, members = sim_members(sim);
    bool left = members != 0 && (members & ((1u << founders) - 1)) == 0;
    for (uint32_t i = 0, member = 0; i < founders; i++) {
        while (left && !(members >> member % sim->config.nodes & 1))
            member++;
        node[i] = sim->node[left ? member++ % sim->config.nodes : i].addr;
    }
}

void sim_client_start(struct sim *sim, uint32_t index)
{
    const struct sim_config *c = &sim->config;
    struct sim_ledger *l = &sim->ledger;
    struct sim_client *client = &sim->client[index];
    client->index = index;
    client->actor.at = UINT64_MAX;
    client->in_flight = 0;
    client->least = 0;
    client->lost = false;
    client->think_until = sim->now + between(sim, c->think_ns);
    for (uint32_t i = 0; i < 2 * SIM_OPS_MAX; i++)
        client->op[i].used = false;
    if (l->lives == SIM_LIVES_MAX) {
        client->alive = false;
        return;
    }
    client->life = (uint16_t)l->lives++;
    client->alive = true;
    client->addr = (struct ls_addr){.ip = 0x0a010000u + index, .port = (uint16_t)(20000 + client->life)};
    client->die_at = sim_rng_chance(&sim->rng_load, c->die_ppm) ? 1 + sim_rng_below(&sim->rng_load, 40) : UINT64_MAX;
    struct sim_life *life = &l->life[client->life];
    *life = (struct sim_life){.client = (uint16_t)index, .alive = true, .addr = client->addr};
    for (uint32_t i = 0; i < LS_NONCE_SIZE; i += 8) {
        uint64_t word = sim_rng_next(&sim->rng_clients);
        memcpy(life->nonce + i, &word, 8);
    }
    sim_io_init(&client->io, sim, (uint16_t)(SIM_NODES_MAX + index), false);
    struct ls_client_config config = {.cluster = SIM_CLUSTER,
                                      .generation = 1,
                                      .nodes = c->founders,
                                      .first = (uint32_t)sim_rng_below(&sim->rng_clients, c->founders),
                                      .window = c->client_window,
                                      .op_max = c->op_max + 4096,
                                      .retry_max_ns = c->client_retry_ns,
                                      .give_up_ns = c->give_up_ns};
    memcpy(config.nonce, life->nonce, LS_NONCE_SIZE);
    nodes_list(sim, config.node);
    if (sim->script != NULL) {
        config.first = 0;
        config.open_late = true;
        config.read_node = sim->script->read_node;
    } else if (c->reads_spread) {
        config.read_node = 1 + (uint32_t)sim_rng_below(&sim->rng_clients, c->founders);
        config.read_pinned = false;
    }
    sim_clock_draw(&client->clock, &sim->rng_clients, sim->script != NULL);
    client->core = ls_client_core_create(&config, &client->io.port.io, sim_clock(&client->clock, sim->now));
    assert(client->core != NULL);
    if (sim->script == NULL)
        SIM_TRACE(sim, "c%u begins life %u", index, client->life);
    sim_plan(sim, &client->actor, SIM_EVENT_CLIENT, (uint16_t)index, sim->now + 1);
}

void sim_client_stop(struct sim *sim, struct sim_client *client)
{
    if (!client->alive)
        return;
    client->alive = false;
    client->actor.at = UINT64_MAX;
    client->actor.ticket++;
    sim->ledger.life[client->life].alive = false;
    ls_client_core_destroy(client->core);
    client->core = NULL;
}

static struct sim_op *op_take(struct sim_client *client, bool read)
{
    for (uint32_t i = 0; i < SIM_OPS_MAX; i++) {
        struct sim_op *op = &client->op[i + (read ? SIM_OPS_MAX : 0)];
        if (!op->used)
            return op;
    }
    return NULL;
}

static void done(void *user, const struct ls_client_result *result)
{
    struct sim_op *op = user;
    struct sim_client *client = op->owner;
    struct sim *sim = client->io.sim;
    if (!op->used)
        sim_violate(sim, "V1", "client %u: request %lu completed twice", client->index, op->number);
    op->used = false;
    client->in_flight--;
    sim_mix(sim, result->seq ^ ((uint64_t)result->status << 32) ^ ((uint64_t)op->number << 40));
    SIM_TRACE(sim, "c%u: %s %lu %s %s seq %lu, %u bytes", client->index, op->read ? "read" : "op", op->number,
              result->outcome == LS_CLIENT_DONE ? "done" : "unknown", ls_status_name(result->status), result->seq,
              result->length);
    if (result->outcome == LS_CLIENT_DONE && op->durable && result->seq != 0 && result->durability < LS_DURABLE_JOURNAL)
        sim_violate(sim, "P14", "client %u: request %lu asked for disks, and got durability %u", client->index,
                    op->number, result->durability);
    if (result->outcome == LS_CLIENT_DONE) {
        sim_check_returned(sim, op, result);
        if (result->seq > client->least)
            client->least = result->seq;
    } else {
        sim->stats.unknown++;
    }
    if (sim->script == NULL && between(sim, 4) == 0)
        client->think_until = sim->now + between(sim, sim->config.think_ns);
}

/* Remembered before the core sees it: what is in a log must be found here. */
static void submission_note(struct sim *sim, const struct sim_client *client, uint64_t number, const void *operation,
                            uint32_t length)
{
    struct sim_ledger *l = &sim->ledger;
    uint32_t index = l->submission_count++;
    assert(index < SIM_RECORDS_MAX);
    l->submission[index] = (struct sim_submission){.hash = sim_bytes_hash(operation, length), .length = length};
    sim_map_set(&l->submissions, client->life, number, index);
}

bool sim_client_put(struct sim *sim, struct sim_client *client, const void *operation, uint32_t length,
                    uint64_t deadline)
{
    struct sim_op *op = op_take(client, false);
    if (op == NULL)
        return false;
    op->owner = client;
    op->client = (uint16_t)client->index;
    op->life = client->life;
    op->read = op->queried = false;
    op->number = ls_client_core_next_number(client->core);
    op->invoked_ns = sim->now;
    op->floor = sim->ledger.floor;
    op->length = length;
    op->code = *(const uint8_t *)operation;
    submission_note(sim, client, op->number, operation, length);
    op->used = true;
    client->in_flight++;
    op->durable = sim->durability == LS_DURABLE_ASYNC && sim_rng_below(&sim->rng_disk, 3) == 0;
    ls_client_core_durability(client->core, op->durable ? LS_DURABLE_JOURNAL : LS_DURABLE_NONE);
    int error =
        ls_client_core_submit(client->core, operation, length, deadline, done, op, sim_clock(&client->clock, sim->now));
    if (error != 0) {
        op->used = false;
        client->in_flight--;
        client->lost = error == -ENOTCONN;
        sim->ledger.submission_count--; /* its number was not used: whoever uses it notes it anew */
        return false;
    }
    SIM_TRACE(sim, "c%u submits %lu: code %u, %u bytes", client->index, op->number, op->code, length);
    sim->stats.operations++;
    if (sim->script != NULL)
        sim_plan(sim, &client->actor, SIM_EVENT_CLIENT, (uint16_t)client->index, sim->now + 1);
    return true;
}

bool sim_client_get(struct sim *sim, struct sim_client *client, const void *operation, uint32_t length,
                    enum ls_consistency consistency)
{
    struct sim_op *op = op_take(client, true);
    if (op == NULL)
        return false;
    op->owner = client;
    op->client = (uint16_t)client->index;
    op->life = client->life;
    op->read = true;
    op->number = 0;
    op->consistency = (uint8_t)consistency;
    op->invoked_ns = sim->now;
    op->floor = sim->ledger.floor;
    op->least = consistency == LS_READ_LEAST ? client->least : 0;
    op->length = length;
    op->code = *(const uint8_t *)operation;
    memcpy(op->bytes, operation, length);
    op->used = true;
    client->in_flight++;
    if (ls_client_core_read(client->core, operation, length, consistency, op->least, done, op,
                            sim_clock(&client->clock, sim->now)) != 0) {
        op->used = false;
        client->in_flight--;
        return false;
    }
    sim->stats.reads++;
    if (sim->script != NULL)
        sim_plan(sim, &client->actor, SIM_EVENT_CLIENT, (uint16_t)client->index, sim->now + 1);
    return true;
}

/* Any read consistency, by weight. */
static enum ls_consistency consistency_draw(struct sim *sim)
{
    const uint32_t *weight = sim->config.read_weight;
    uint64_t draw = sim_rng_below(&sim->rng_load, weight[0] + weight[1] + weight[2]);
    return draw < weight[0] ? LS_READ_LINEARIZABLE : draw < weight[0] + weight[1] ? LS_READ_LEAST : LS_READ_STALE;
}

static bool submit_one(struct sim *sim, struct sim_client *client)
{
    const struct sim_config *c = &sim->config;
    if (sim_rng_chance(&sim->rng_load, c->read_ppm)) {
        uint32_t length = sim_load_read(sim, sim->op_buffer, LS_READ_OP_MAX);
        return sim_client_get(sim, client, sim->op_buffer, length, consistency_draw(sim));
    }
    uint32_t length = sim_load_mutation(sim, sim->op_buffer, c->op_max + 4096);
    uint64_t deadline = 0;
    if (sim_rng_chance(&sim->rng_load, c->deadline_ppm))
        deadline = 1 + sim_rng_spread(&sim->rng_load, 300 * SIM_US);
    return sim_client_put(sim, client, sim->op_buffer, length, deadline);
}

static void query_some(struct sim *sim, struct sim_client *client)
{
    for (uint32_t i = 0; i < SIM_OPS_MAX; i++) {
        struct sim_op *op = &client->op[i];
        if (op->used && !op->queried && sim_rng_chance(&sim->rng_load, sim->config.query_ppm)) {
            op->queried = true;
            (void)ls_client_core_query(client->core, op->number, sim_clock(&client->clock, sim->now));
        }
    }
}

void sim_client_turn(struct sim *sim, struct sim_client *client)
{
    const struct sim_config *c = &sim->config;
    client->actor.at = UINT64_MAX;
    if (sim->script == NULL) {
        if (ls_client_core_next_number(client->core) >= client->die_at && !sim->stopping) {
            SIM_TRACE(sim, "c%u dies with %u requests in flight", client->index, client->in_flight);
            sim_client_stop(sim, client);
            sim_client_start(sim, client->index);
            return;
        }
        while (!sim->stopping && sim->operations_left > 0 && sim->now >= client->think_until &&
               client->in_flight < c->depth) {
            if (!submit_one(sim, client))
                break;
            sim->operations_left--;
        }
        if (c->query_ppm > 0)
            query_some(sim, client);
        if (client->lost) {
            SIM_TRACE(sim, "c%u lost its session", client->index);
            sim_client_stop(sim, client);
            sim_client_start(sim, client->index);
            return;
        }
    }
    uint64_t next =
        sim_clock_back(&client->clock, ls_client_core_poll(client->core, sim_clock(&client->clock, sim->now)));
    if (next < sim->now + SIM_US)
        next = sim->now + SIM_US;
    if (!sim->stopping && sim->operations_left > 0 && client->in_flight < c->depth && sim->script == NULL) {
        uint64_t think = client->think_until > sim->now ? client->think_until : sim->now + 100 * SIM_US;
        next = think < next ? think : next;
    }
    if (next != UINT64_MAX)
        sim_plan(sim, &client->actor, SIM_EVENT_CLIENT, (uint16_t)client->index, next);
}

void sim_client_input(struct sim *sim, struct sim_client *client, struct sim_packet *packet)
{
    struct ls_frame frame = {.data = packet->data, .length = packet->length, .peer = packet->from, .handle = packet};
    if (sim->trace && sim->script == NULL) {
        char text[256];
        sim_decode(text, sizeof(text), packet->data, packet->length);
        sim_trace(sim, "c%u takes  %s%s", client->index, text, packet->damaged ? "  (damaged)" : "");
    }
    uint32_t before = client->in_flight;
    ls_client_core_input(client->core, &frame, sim_clock(&client->clock, sim->now));
    if (packet->damaged && client->in_flight != before)
        sim_violate(sim, "W2", "client %u took a damaged frame for an answer", client->index);
    sim_plan(sim, &client->actor, SIM_EVENT_CLIENT, (uint16_t)client->index,
             sim->now + 100 + sim_rng_spread(&sim->rng_turns, SIM_US));
}

bool sim_clients_busy(const struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        if (sim->client[i].alive && sim->client[i].in_flight > 0)
            return true;
    }
    return false;
}
