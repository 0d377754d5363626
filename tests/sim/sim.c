/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The world's clock and loop, one schedule from seed to verdict, and what a schedule is like.
 */
#include <assert.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define PROGRESS_PATIENCE (4000 * SIM_MS) /* after healing, everything pending must end within this */

uint64_t sim_bytes_hash(const void *bytes, size_t n)
{
    /* Multiply and fold, eight bytes at a time. It only has to tell apart what was once the same. */
    const uint8_t *at = bytes;
    uint64_t h = n * 0x9e3779b97f4a7c15ull + 1, word;
    for (; n >= 8; n -= 8, at += 8) {
        memcpy(&word, at, 8);
        unsigned __int128 product = (unsigned __int128)(h ^ word) * 0xd6e8feb86659fd93ull;
        h = (uint64_t)product ^ (uint64_t)(product >> 64) ^ word;
    }
    if (n > 0) {
        word = 0;
        memcpy(&word, at, n);
        h = (h ^ word) * 0xd6e8feb86659fd93ull;
    }
    return h ^ (h >> 32);
}

void sim_mix(struct sim *sim, uint64_t value)
{
    uint64_t h = (sim->hash ^ value) * 0x9e3779b97f4a7c15ull;
    sim->hash = h ^ (h >> 29);
}

void sim_trace(struct sim *sim, const char *format, ...)
{
    va_list args;
    if (sim->now < sim->trace_from)
        return;
    va_start(args, format);
    fprintf(sim->trace_to, "%8lu.%03lu ", sim->now / 1000, sim->now % 1000);
    vfprintf(sim->trace_to, format, args);
    fputc('\n', sim->trace_to);
    va_end(args);
}

void sim_violate(struct sim *sim, const char *invariant, const char *format, ...)
{
    struct sim_violation *v = &sim->violation;
    va_list args;
    va_start(args, format);
    v->found = true;
    v->seed = sim->seed;
    v->time = sim->now;
    snprintf(v->name, sizeof(v->name), "%s", invariant);
    vsnprintf(v->text, sizeof(v->text), format, args);
    va_end(args);
    SIM_TRACE(sim, "VIOLATION %s: %s", v->name, v->text);
    longjmp(sim->stop, 1);
}

/* One for the process, and never given back. */
struct sim *sim_world;

struct sim *sim_create(void)
{
    struct sim *sim = sim_world = calloc(1, sizeof(*sim));
    assert(sim != NULL);
    sim->packet = calloc(SIM_PACKETS, sizeof(*sim->packet));
    sim->op_buffer = malloc(SIM_OP_BYTES_MAX + 8192);
    sim->read_buffer = malloc(SIM_OP_BYTES_MAX);
    assert(sim->packet != NULL && sim->op_buffer != NULL && sim->read_buffer != NULL);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        sim->node[i].path = calloc(SIM_SEQS_MAX, sizeof(uint32_t));
        assert(sim->node[i].path != NULL);
    }
    sim->trace_to = stdout;
    sim_ledger_init(&sim->ledger);
    return sim;
}

/* ---- what a schedule is like ---- */

static uint32_t ppm(struct sim_rng *rng, uint32_t chance, uint32_t most)
{
    if (sim_rng_below(rng, 100) >= chance)
        return 0;
    return (uint32_t)(1 + sim_rng_below(rng, sim_rng_below(rng, 3) == 0 ? most : most / 8));
}

static void draw_size(struct sim_config *c, struct sim_rng *rng, uint32_t nodes)
{
    static const uint32_t usual[] = {3, 3, 3, 3, 5, 5, 5, 4, 1, 2};
    uint32_t voters = nodes != 0 ? nodes : usual[sim_rng_below(rng, 10)];
    c->learners = sim_rng_below(rng, 4) == 0 ? 1 + (uint32_t)sim_rng_below(rng, 2) : 0;
    c->nodes = voters + c->learners;
    if (c->nodes > SIM_NODES_MAX) {
        c->nodes = SIM_NODES_MAX;
        c->learners = c->nodes > voters ? c->nodes - voters : 0;
    }
    static const uint64_t sizes[] = {65536, 65536, 131072, 262144};
    c->log_size = sizes[sim_rng_below(rng, 4)];
    c->op_max = (uint32_t)(c->log_size / 2 - 64 < 65536 ? c->log_size / 2 - 64 : 65536);
    if (sim_rng_below(rng, 64) == 0) {
        c->log_size = 4 * 1024 * 1024;
        c->op_max = 1024 * 1024 + 512;
    }
    c->window = sim_rng_below(rng, 2) ? LS_WINDOW_MAX : 1 + (uint32_t)sim_rng_below(rng, 16);
    c->client_window = sim_rng_below(rng, 8) == 0 ? LS_WINDOW_MAX : c->window;
    c->clients = 1 + (uint32_t)sim_rng_below(rng, SIM_CLIENTS_MAX);
    c->sessions_max = sim_rng_below(rng, 4) ? 64 : c->clients + 1;
    c->session_idle_ns = sim_rng_below(rng, 3) ? 2000 * SIM_MS : (2 + sim_rng_below(rng, 20)) * SIM_MS;
    c->keys_max = sim_rng_below(rng, 3) ? 512 : 24;
    c->bytes_max = sim_rng_below(rng, 3) ? 512 * 1024 : 16 * 1024;
    if (c->op_max > 65536)
        c->bytes_max = 8 * 1024 * 1024;
}

static void draw_times(struct sim_config *c, struct sim_rng *rng)
{
    c->heartbeat_ns = SIM_MS;
    c->suspend_ns = (5 + sim_rng_below(rng, 40)) * SIM_MS;
    c->tick_ns = (1 + sim_rng_below(rng, 10)) * SIM_MS;
    c->question_ns = (200 + sim_rng_below(rng, 2000)) * SIM_US;
    c->pull_idle_ns = (20 + sim_rng_below(rng, 100)) * SIM_MS;
    c->inflight_max = sim_rng_below(rng, 2) ? 1024 * 1024 : 4096 + sim_rng_below(rng, 32768);
    c->turn_ns = 200 + sim_rng_spread(rng, 3000);
    c->burst_max = sim_rng_below(rng, 2) ? LS_BURST : 1 + (uint32_t)sim_rng_below(rng, LS_BURST);
    c->grace_ns = 1 + sim_rng_spread(rng, sim_rng_below(rng, 6) == 0 ? 30 * SIM_MS : 300 * SIM_US);
    c->inbox = sim_rng_below(rng, 4) ? SIM_INBOX : 16;
    c->latency_ns = 1000 + sim_rng_below(rng, 20000);
    c->jitter_ns = sim_rng_below(rng, 2) ? sim_rng_below(rng, 5000) : 0;
    c->fifo = sim_rng_below(rng, 3) != 0;
    c->ctrl_ns = sim_rng_spread(rng, 500 * SIM_US);
    c->detect_ns = (1 + sim_rng_below(rng, 15)) * SIM_MS;
    c->client_retry_ns = (2 + sim_rng_below(rng, 20)) * SIM_MS;
    c->give_up_ns = sim_rng_below(rng, 6) == 0 ? (2 + sim_rng_below(rng, 30)) * SIM_MS : 0;
}

static void draw_faults(struct sim_config *c, struct sim_rng *rng)
{
    bool calm = sim_rng_below(rng, 10) == 0;
    c->heal_ns = (30 + sim_rng_below(rng, 250)) * SIM_MS;
    if (calm)
        return;
    c->drop_ppm = ppm(rng, 50, 100000);
    c->duplicate_ppm = ppm(rng, 40, 100000);
    c->reorder_ppm = ppm(rng, 40, 200000);
    c->reorder_ns = 1 + sim_rng_spread(rng, 200 * SIM_US);
    c->corrupt_ppm = ppm(rng, 30, 20000);
    c->truncate_ppm = ppm(rng, 20, 10000);
    c->replay_ppm = ppm(rng, 40, 50000);
    c->astray_ppm = ppm(rng, 30, 50000);
    c->garbage_ppm = ppm(rng, 20, 10000);
    c->alloc_fail_ppm = ppm(rng, 15, 50000);
    c->fault_every_ns = sim_rng_below(rng, 4) == 0 ? 0 : (1 + sim_rng_below(rng, 20)) * SIM_MS;
    c->fault_ns = (1 + sim_rng_below(rng, 30)) * SIM_MS;
    for (uint32_t i = 0; i < 8; i++)
        c->fault_weight[i] = sim_rng_below(rng, 2) ? 1 + (uint32_t)sim_rng_below(rng, 8) : 0;
    c->elect_every_ns = sim_rng_below(rng, 2) ? (1 + sim_rng_below(rng, 40)) * SIM_MS : 0;
    c->losses_max = sim_rng_below(rng, 6) == 0 ? 1 + (uint32_t)sim_rng_below(rng, 2) : 0;
    c->careless = sim_rng_below(rng, 24) == 0;
    if (c->careless) {
        /* One sequencer alone, and a node that comes back empty without knowing it. */
        memset(c->fault_weight, 0, sizeof(c->fault_weight));
        c->fault_weight[SIM_FAULT_LOSSY] = 1;
        c->fault_weight[SIM_FAULT_RESTART] = 2;
        c->fault_every_ns = 4 * SIM_MS;
        c->elect_every_ns = 8 * SIM_MS;
        c->losses_max = 1;
    } else if (c->losses_max == 0) {
        c->fault_weight[SIM_FAULT_RESTART] = 0;
    }
}

static void draw_load(struct sim_config *c, struct sim_rng *rng)
{
    static const uint32_t counts[] = {60, 120, 120, 250, 250, 500, 1000, 2000};
    c->operations = counts[sim_rng_below(rng, 8)];
    c->depth = sim_rng_below(rng, 3) == 0 ? 1 : 1 + (uint32_t)sim_rng_below(rng, 80);
    c->think_ns = sim_rng_spread(rng, sim_rng_below(rng, 8) == 0 ? 20 * SIM_MS : 2 * SIM_MS);
    c->keys = 4 + (uint32_t)sim_rng_below(rng, sim_rng_below(rng, 2) ? 40 : 500);
    c->value_max = sim_rng_below(rng, 2) ? 100 : 1100;
    c->large_ppm = ppm(rng, 30, 60000);
    c->large_max = c->op_max > 65536 ? 1024 * 1024 : 20 * 1024 < c->op_max ? 20 * 1024 : c->op_max - 512;
    if (sim_rng_below(rng, 8) == 0)
        c->large_max = c->op_max + 2048; /* some are too large */
    c->deadline_ppm = ppm(rng, 40, 400000);
    c->query_ppm = ppm(rng, 25, 50000);
    c->read_ppm = sim_rng_below(rng, 3) == 0 ? 0 : (uint32_t)sim_rng_below(rng, 900000);
    c->batch_ppm = ppm(rng, 50, 300000);
    c->ttl_ppm = ppm(rng, 40, 500000);
    c->die_ppm = ppm(rng, 30, 600000);
    c->bad_ppm = ppm(rng, 25, 50000);
    c->read_weight[LS_READ_LINEARIZABLE] = 2 + (uint32_t)sim_rng_below(rng, 8);
    c->read_weight[LS_READ_LEAST] = (uint32_t)sim_rng_below(rng, 4);
    c->read_weight[LS_READ_STALE] = (uint32_t)sim_rng_below(rng, 4);
    c->reads_spread = sim_rng_below(rng, 3) != 0;
    if (c->log_size > 1024 * 1024) {
        c->large_ppm = 50000;
        c->operations = 120;
    }
}

void sim_config_draw(struct sim_config *config, uint64_t seed, uint32_t nodes)
{
    struct sim_rng rng;
    sim_rng_seed(&rng, seed, 1);
    memset(config, 0, sizeof(*config));
    draw_size(config, &rng, nodes);
    draw_times(config, &rng);
    draw_faults(config, &rng);
    draw_load(config, &rng);
}

/* ---- one schedule ---- */

static void world_begin(struct sim *sim, uint64_t seed)
{
    sim->seed = seed;
    sim->now = 0;
    sim->hash = seed;
    sim->queue.count = sim->queue.sequence = 0;
    sim->healed = sim->stopping = false;
    sim->careless = sim->config.careless;
    sim->operations_left = sim->config.operations;
    sim->fault_at = 0;
    sim->violation.found = false;
    sim_rng_seed(&sim->rng_net, seed, 2);
    sim_rng_seed(&sim->rng_turns, seed, 3);
    sim_rng_seed(&sim->rng_ctrl, seed, 4);
    sim_rng_seed(&sim->rng_faults, seed, 5);
    sim_rng_seed(&sim->rng_clients, seed, 6);
    sim_rng_seed(&sim->rng_load, seed, 7);
    sim_net_reset(sim);
    sim_ledger_reset(sim);
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        struct sim_node *node = &sim->node[i];
        node->index = i;
        node->id = (uint16_t)(i + 1);
        node->addr = (struct ls_addr){.ip = 0x0a000001u + i, .port = LS_PORT_DEFAULT};
        node->voter = i < sim->config.nodes - sim->config.learners;
        node->incarnation = sim_rng_below(&sim->rng_ctrl, 5);
        node->losses = 0;
        node->promised = 0;
        node->replica = NULL;
        memset(&node->view, 0, sizeof(node->view));
    }
    sim_ctrl_start(sim);
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        sim_node_start(sim, i, false, false);
    for (uint32_t i = 0; i < sim->config.clients; i++)
        sim_client_start(sim, i);
    sim_fault_start(sim);
}

static void world_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.clients; i++)
        sim_client_stop(sim, &sim->client[i]);
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        sim_node_stop(sim, &sim->node[i]);
    sim->stats.schedules++;
    sim->stats.virtual_ns += sim->now;
}

static bool event_run(struct sim *sim, const struct sim_event *event)
{
    switch ((enum sim_event_type)event->type) {
    case SIM_EVENT_DELIVER:
        sim_net_deliver(sim, event->argument);
        return true;
    case SIM_EVENT_NET: {
        struct sim_node *node = &sim->node[event->target];
        if (event->ticket != node->net.ticket)
            return false;
        sim_node_net_turn(sim, node);
        return true;
    }
    case SIM_EVENT_APPLY: {
        struct sim_node *node = &sim->node[event->target];
        if (event->ticket != node->apply.ticket)
            return false;
        sim_node_apply_turn(sim, node);
        return true;
    }
    case SIM_EVENT_CLIENT: {
        struct sim_client *client = &sim->client[event->target];
        if (event->ticket != client->actor.ticket || !client->alive)
            return false;
        sim_client_turn(sim, client);
        return true;
    }
    case SIM_EVENT_CTRL:
        if (event->ticket != sim->ctrl.actor.ticket)
            return false;
        sim_ctrl_turn(sim);
        return true;
    case SIM_EVENT_FAULT:
        sim_fault_turn(sim);
        return true;
    case SIM_EVENT_ORDER:
        sim_ctrl_order_arrives(sim, event->argument);
        return true;
    case SIM_EVENT_SCRIPT:
        sim->script->step(sim, event->argument);
        return true;
    }
    return false;
}

static bool step(struct sim *sim)
{
    struct sim_event event;
    if (!sim_queue_pop(&sim->queue, &event))
        return false;
    sim->now = event.time;
    if (event_run(sim, &event)) {
        sim->stats.events++;
        sim_mix(sim, event.time ^ ((uint64_t)event.type << 56) ^ ((uint64_t)event.target << 48));
    }
    return true;
}

/* What it misses has been overwritten in every ring: only a checkpoint could help it. */
bool sim_is_stranded(const struct sim *sim, const struct sim_node *node)
{
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (i != node->index && sim->node[i].end > node->end && ls_log_oldest(sim->node[i].log) <= node->end)
            return false;
    }
    return node->end < sim->ledger.canon_end;
}

static bool converged(struct sim *sim)
{
    const struct sim_ledger *l = &sim->ledger;
    uint32_t sequencer = sim_sequencer(sim);
    if (sequencer == SIM_NONE || sim->node[sequencer].view.role != LS_ROLE_SEQUENCER || sim->ctrl.electing)
        return false;
    if (sim->node[sequencer].last_seq != l->canon_seq)
        return false;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        if (node->counts && !sim_gave_up(node) && node->applied_seq != l->canon_seq &&
            !sim_is_stranded(sim, node))
            return false;
    }
    return true;
}

/* Without checkpoints a node that every ring has passed is as lost as one without memory. With too many of them nothing
 * can be demanded. */
static bool majority_is_left(const struct sim *sim)
{
    uint32_t left = 0;
    bool begun = false; /* an empty log is opened by all voters together */
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        begun |= node->view.commit > 0;
        left += node->voter && node->counts && !sim_gave_up(node) && !sim_is_stranded(sim, node);
    }
    uint32_t voters = sim->config.nodes - sim->config.learners;
    return begun ? left > voters / 2 : left == voters;
}

static void pending_describe(struct sim *sim, char *text, size_t room)
{
    int n = 0;
    for (uint32_t i = 0; i < sim->config.nodes && n >= 0 && (size_t)n < room; i++) {
        const struct sim_node *node = &sim->node[i];
        n += snprintf(text + n, room - (size_t)n, " node %u %s e%lu seq %lu applied %lu;", node->id,
                      ls_role_name(node->view.role), node->view.epoch, node->last_seq, node->applied_seq);
    }
}

static void schedule_run(struct sim *sim)
{
    /* First trouble and load together; then the network heals while the load goes on; then only what is pending. */
    uint64_t heal = sim->config.heal_ns;
    while (sim->now < heal && sim->ledger.records < SIM_RECORDS_MAX - 8192 &&
           sim->ledger.canon_seq < SIM_SEQS_MAX - 8192 && !sim_model_is_full(sim->ledger.model)) {
        if (!step(sim) || (sim->operations_left == 0 && sim->now > heal / 2 && !sim_clients_busy(sim)))
            break;
    }
    sim_heal(sim);
    uint64_t more = sim->operations_left < 100 ? sim->operations_left : 100;
    sim->operations_left = (uint32_t)(more > 20 ? more : 20);
    uint64_t deadline = sim->now + PROGRESS_PATIENCE;
    while (sim->now < deadline && majority_is_left(sim) &&
           ((sim->operations_left > 0 && !sim->stopping) || sim_clients_busy(sim) || !converged(sim))) {
        if (!step(sim))
            break;
        if (sim->operations_left == 0 || sim->now > deadline - PROGRESS_PATIENCE * 3 / 4)
            sim->stopping = true;
    }
    sim->stopping = true;
    if (!majority_is_left(sim)) {
        sim->stats.majority_lost++;
        return;
    }
    char text[300] = "";
    pending_describe(sim, text, sizeof(text));
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        if (sim->client[i].alive && sim->client[i].in_flight > 0)
            sim_violate(sim, "V1", "client %u: %u requests never ended;%s", i, sim->client[i].in_flight, text);
    }
    if (!converged(sim))
        sim_violate(sim, "V2", "no convergence to seq %lu;%s", sim->ledger.canon_seq, text);
    /* What was sent is delivered and the queues between the workers run dry, so that buffers can be counted. */
    sim_check_end(sim);
}

bool sim_run(struct sim *sim, uint64_t seed, uint32_t nodes)
{
    sim->script = NULL;
    sim_config_draw(&sim->config, seed, nodes);
    if (setjmp(sim->stop) == 0) {
        world_begin(sim, seed);
        schedule_run(sim);
    }
    world_end(sim);
    sim_mix(sim, sim->now);
    return !sim->violation.found;
}

bool sim_run_script(struct sim *sim, const struct sim_config *config, struct sim_script *script, uint64_t until)
{
    sim->script = sim->script_state = script;
    sim->config = *config;
    if (setjmp(sim->stop) == 0) {
        world_begin(sim, 1);
        sim_queue_push(&sim->queue, (struct sim_event){.time = 1, .type = SIM_EVENT_SCRIPT, .argument = 0});
        while (sim->now < until && step(sim))
            ;
    }
    world_end(sim);
    return !sim->violation.found;
}
