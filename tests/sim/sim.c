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
#define EPOCHS_AFTER      12              /* more epochs than this after healing are no progress */

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

bool sim_minds(const struct sim *sim, const char *rule)
{
    return sim->overlooked == NULL || strstr(sim->overlooked, rule) == NULL;
}

/* One for the process, and never given back. */
struct sim *sim_world;

struct sim *sim_create(void)
{
    struct sim *sim = sim_world = calloc(1, sizeof(*sim));
    assert(sim != NULL);
    sim->packet = calloc(SIM_PACKETS, sizeof(*sim->packet));
    sim->message = calloc(SIM_MESSAGES, sizeof(*sim->message));
    sim->op_buffer = malloc(SIM_OP_BYTES_MAX + 8192);
    sim->read_buffer = malloc(SIM_OP_BYTES_MAX);
    assert(sim->packet != NULL && sim->message != NULL && sim->op_buffer != NULL && sim->read_buffer != NULL);
    for (uint32_t i = 0; i < SIM_NODES_MAX; i++) {
        sim->node[i].path = calloc(SIM_SEQS_MAX, sizeof(uint32_t));
        assert(sim->node[i].path != NULL);
    }
    sim->trace_to = stdout;
    sim_durability_set(sim, LS_DURABLE_MEMORY);
    sim_ledger_init(&sim->ledger);
    return sim;
}

void sim_durability_set(struct sim *sim, enum ls_durability durability)
{
    sim->durability = durability;
    sim->journal = durability == LS_DURABLE_JOURNAL;
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
    c->learners = sim_rng_below(rng, 5) == 0 ? 1 + (uint32_t)sim_rng_below(rng, 2) : 0;
    c->founders = voters + c->learners;
    if (c->founders > SIM_NODES_MAX) {
        c->founders = SIM_NODES_MAX;
        c->learners = c->founders > voters ? c->founders - voters : 0;
    }
    c->nodes = c->founders + (uint32_t)sim_rng_below(rng, 4);
    if (c->nodes > SIM_NODES_MAX)
        c->nodes = SIM_NODES_MAX;
    c->first_sequencer = (uint16_t)(1 + sim_rng_below(rng, voters));
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
    c->client_retry_ns = (2 + sim_rng_below(rng, 20)) * SIM_MS;
    c->give_up_ns = sim_rng_below(rng, 6) == 0 ? (2 + sim_rng_below(rng, 30)) * SIM_MS : 0;
}

/* As the profiles have them, scaled to schedules that last some tenths of a second. */
static void draw_ctrl(struct sim_config *c, struct sim_rng *rng)
{
    bool aggressive = sim_rng_below(rng, 2) == 0;
    uint64_t unit = aggressive ? 200 * SIM_US : SIM_MS;
    c->ctrl_ns = 1 + sim_rng_spread(rng, sim_rng_below(rng, 4) == 0 ? 300 * SIM_US : 30 * SIM_US);
    c->link_ns = 50 * SIM_US;
    c->disk_ns = 100 * SIM_US;
    c->spawn_ns = (1 + sim_rng_below(rng, 10)) * SIM_MS;
    c->disk_fail_ppm = ppm(rng, 20, 20000);
    c->times = (struct ls_ctrl_times){.poll = unit,
                                      .suspect_min = 5 * unit + sim_rng_below(rng, 5) * SIM_MS,
                                      .suspect_max = 40 * unit,
                                      .stall = 8 * unit + 2 * SIM_MS,
                                      .stall_kill = 60 * SIM_MS,
                                      .late = 4 * unit + SIM_MS,
                                      .status = 4 * unit + SIM_MS,
                                      .answer = 6 * unit + 3 * SIM_MS,
                                      .stagger = SIM_MS,
                                      .restart_min = SIM_MS,
                                      .restart_max = 20 * SIM_MS,
                                      .handover = 30 * SIM_MS,
                                      .promote_lag = 1000,
                                      .promote_patience = 200 * SIM_MS};
    c->heartbeat_ns = aggressive ? 300 * SIM_US : SIM_MS;
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
    for (uint32_t i = 0; i < SIM_FAULT_DISK; i++)
        c->fault_weight[i] = sim_rng_below(rng, 2) ? 1 + (uint32_t)sim_rng_below(rng, 8) : 0;
    if (sim_rng_below(rng, 4) != 0)
        c->fault_weight[SIM_FAULT_RECORD] = 0;
    c->command_every_ns = sim_rng_below(rng, 3) == 0 ? (3 + sim_rng_below(rng, 40)) * SIM_MS : 0;
    c->disturb = (uint32_t)sim_rng_below(rng, 8); /* 1: wholly, 2: it is not heard, 3: it does not hear; else not */
    if (c->disturb > 3)
        c->disturb = 0;
    c->disaster = sim_rng_below(rng, 40) == 0;
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
    draw_ctrl(config, &rng);
    draw_faults(config, &rng);
    draw_load(config, &rng);
}

/* ---- one schedule ---- */

/* The founders come up within some milliseconds, each as its operator bootstraps and starts it. */
static void nodes_begin(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.founders; i++) {
        struct sim_node *node = &sim->node[i];
        if (sim_is_run_by_ctrl(sim)) {
            sim_host_bootstrap(sim, &sim->host[i]);
            sim_host_boot(sim, &sim->host[i], sim->script != NULL ? 0 : sim_rng_spread(&sim->rng_ctrl, 2 * SIM_MS));
            continue;
        }
        sim->host[i].on = true;
        sim->host[i].disk.promise = UINT64_MAX;
        sim_node_start(sim, i, 1 + sim_rng_below(&sim->rng_ctrl, 5), 0);
        node->counts = true;
        struct ls_order found = {.kind = LS_ORDER_FOUND};
        sim_founders(sim, &found.members);
        (void)ls_spsc_push(&node->seam.orders, &found);
    }
    sim_operator_start(sim);
}

static void world_begin(struct sim *sim, uint64_t seed)
{
    sim->seed = seed;
    sim->now = 0;
    sim->hash = seed;
    sim->queue.count = sim->queue.sequence = 0;
    sim->healed = sim->stopping = false;
    sim->lost = false;
    sim->wall_base = 0;
    sim->operations_left = sim->config.operations;
    sim->fault_at = 0;
    sim->violation.found = false;
    sim_rng_seed(&sim->rng_net, seed, 2);
    sim_rng_seed(&sim->rng_turns, seed, 3);
    sim_rng_seed(&sim->rng_ctrl, seed, 4);
    sim_rng_seed(&sim->rng_faults, seed, 5);
    sim_rng_seed(&sim->rng_disk, seed, 9);
    sim_rng_seed(&sim->rng_rot, seed, 10);
    sim->config.fault_weight[SIM_FAULT_DISK] = sim->disk_faults ? 8 : 0;
    sim_rng_seed(&sim->rng_clients, seed, 6);
    sim_rng_seed(&sim->rng_load, seed, 7);
    sim_rng_seed(&sim->rng_operator, seed, 8);
    sim_net_reset(sim);
    sim_messages_reset(sim);
    sim_ledger_reset(sim);
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        struct sim_node *node = &sim->node[i];
        node->index = i;
        node->id = (uint16_t)(i + 1);
        node->addr = (struct ls_addr){.ip = 0x0a000001u + i, .port = LS_PORT_DEFAULT};
        node->incarnation = 0;
        node->promised = 0;
        node->counts = false;
        node->replica = NULL;
        memset(&node->view, 0, sizeof(node->view));
        sim_host_start(sim, i);
    }
    nodes_begin(sim);
    for (uint32_t i = 0; i < sim->config.clients; i++)
        sim_client_start(sim, i);
    sim_fault_start(sim);
}

static void world_end(struct sim *sim)
{
    for (uint32_t i = 0; i < sim->config.clients; i++)
        sim_client_stop(sim, &sim->client[i]);
    for (uint32_t i = 0; i < sim->config.nodes; i++)
        sim_host_stop(sim, &sim->host[i]);
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
    case SIM_EVENT_JOURNAL: {
        struct sim_node *node = &sim->node[event->target];
        if (event->ticket != node->journal.ticket)
            return false;
        sim_node_journal_turn(sim, node);
        return true;
    }
    case SIM_EVENT_CLIENT: {
        struct sim_client *client = &sim->client[event->target];
        if (event->ticket != client->actor.ticket || !client->alive)
            return false;
        sim_client_turn(sim, client);
        return true;
    }
    case SIM_EVENT_CTRL: {
        struct sim_host *host = &sim->host[event->target];
        if (event->ticket != host->actor.ticket)
            return false;
        sim_host_turn(sim, host);
        return true;
    }
    case SIM_EVENT_BULK: {
        struct sim_host *host = &sim->host[event->target];
        if (event->ticket != host->bulk.actor.ticket)
            return false;
        sim_bulk_turn(sim, host);
        return true;
    }
    case SIM_EVENT_MESSAGE:
        sim_host_message(sim, event->argument);
        return true;
    case SIM_EVENT_OPERATOR:
        sim_operator_turn(sim);
        return true;
    case SIM_EVENT_FAULT:
        sim_fault_turn(sim);
        return true;
    case SIM_EVENT_ORDER:
        sim_tell_arrives(sim, event->argument);
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
    bool ran = event_run(sim, &event);
    sim_lines_update(sim);
    if (ran) {
        sim->stats.events++;
        sim_mix(sim, event.time ^ ((uint64_t)event.type << 56) ^ ((uint64_t)event.target << 48));
    }
    return true;
}

/* Every member holds everything, takes part, and knows it. */
static bool converged(struct sim *sim)
{
    const struct sim_ledger *l = &sim->ledger;
    uint32_t sequencer = sim_sequencer(sim);
    if (sequencer == SIM_NONE || sim->node[sequencer].view.role != LS_ROLE_SEQUENCER)
        return false;
    if (sim->node[sequencer].last_seq != l->canon_seq)
        return false;
    uint32_t members = sim_members(sim);
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        const struct sim_node *node = &sim->node[i];
        struct sim_host *host = &sim->host[i];
        if (!(members >> i & 1) || host->forged)
            continue;
        if (!node->counts || !node->view.counts || node->applied_seq != l->canon_seq || host->ctrl == NULL ||
            (i != sequencer && node->view.role != LS_ROLE_FOLLOWER))
            return false;
        struct ls_ctrl_view view;
        ls_ctrl_view(host->ctrl, &view, sim_host_now(sim, host));
        if (view.phase != LS_CTRL_FULL)
            return false;
    }
    return true;
}

static void pending_describe(struct sim *sim, char *text, size_t room)
{
    int n = snprintf(text, room, " members %x voters %x;", sim_members(sim), sim_voters(sim));
    for (uint32_t i = 0; i < sim->config.nodes && n >= 0 && (size_t)n < room; i++) {
        const struct sim_node *node = &sim->node[i];
        struct sim_host *host = &sim->host[i];
        struct ls_ctrl_view view = {0};
        if (!host->on)
            continue;
        if (host->ctrl != NULL)
            ls_ctrl_view(host->ctrl, &view, sim_host_now(sim, host));
        n += snprintf(text + n, room - (size_t)n, " n%u %s%s %s e%lu seq %lu applied %lu %.60s;", node->id,
                      host->ctrl != NULL ? ls_ctrl_phase_name(view.phase) : "no ctrl",
                      node->counts ? "" : " (not counting)",
                      node->replica != NULL ? ls_role_name(node->view.role) : "dead", node->view.epoch, node->last_seq,
                      node->applied_seq, view.problem);
    }
}

/* Too much memory is gone: whatever heals, nothing may be decided any more, and somebody has to say so. */
static void lost_run(struct sim *sim)
{
    uint64_t until = sim->now + 1500 * SIM_MS; /* it is said aloud after one second */
    while (sim->lost && sim->now < until && step(sim))
        ;
    if (!sim->lost)
        return; /* enough of them had it after all */
    sim->stopping = true;
    if (sim->ledger.canon_seq != sim->lost_canon)
        sim_violate(sim, "C6", "%lu entries were committed after a majority had lost its memory, with %lu",
                    sim->ledger.canon_seq, sim->lost_canon);
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        struct ls_ctrl_view view = {0};
        if (sim->host[i].ctrl != NULL)
            ls_ctrl_view(sim->host[i].ctrl, &view, sim_host_now(sim, &sim->host[i]));
        if (view.majority_lost || sim->node[i].view.halt == LS_HALT_DISK)
            return; /* one that halted says so; its memory is there, for whoever looks at it */
    }
    char text[600] = "";
    pending_describe(sim, text, sizeof(text));
    sim_violate(sim, "V7", "a majority has lost its memory and no ctrl says so;%s", text);
}

/* V6: one voter is cut off for a while, once everything is well, and comes back. */
static void disturb_run(struct sim *sim)
{
    uint32_t voters = sim_voters(sim);
    uint32_t node = (uint32_t)sim_rng_below(&sim->rng_faults, sim->config.nodes);
    if (sim->config.disturb == 0 || !(voters >> node & 1) || __builtin_popcount(voters) < 3)
        return;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (sim->host[i].forged)
            return;
    }
    uint64_t epoch = sim->ledger.epoch_high;
    struct sim_fault *fault = &sim->fault[0];
    memset(fault, 0, sizeof(*fault));
    fault->until = UINT64_MAX;
    fault->kind = SIM_FAULT_ISOLATE;
    fault->node = node;
    for (uint32_t i = 0; i < sim->config.nodes; i++) {
        if (i == node)
            continue;
        if (sim->config.disturb != 2)
            fault->cut[i] = 1u << node;
        if (sim->config.disturb != 3)
            fault->cut[node] |= 1u << i;
        if (sim->config.disturb == 1) {
            fault->ctrl_cut[i] = 1u << node;
            fault->ctrl_cut[node] |= 1u << i;
        }
    }
    SIM_TRACE(sim, "n%u is cut off once more (%u)", node + 1, sim->config.disturb);
    sim_net_cuts_update(sim);
    uint64_t until = sim->now + 5 * sim->config.times.suspect_max;
    while (sim->now < until && step(sim))
        ;
    SIM_TRACE(sim, "n%u is back", node + 1);
    fault->until = 0;
    sim_net_cuts_update(sim);
    until = sim->now + PROGRESS_PATIENCE;
    while (sim->now < until && !converged(sim) && step(sim))
        ;
    char text[600] = "";
    pending_describe(sim, text, sizeof(text));
    if (!converged(sim))
        sim_violate(sim, "V2", "no convergence after node %u was cut off (%u);%s", node + 1, sim->config.disturb, text);
    /* Half cut off it still hears, or is heard by, the ctrls, and as sequencer may stand above its successor once. A
     * number for which votes were split is bounded as any other waste; who lost with it promised it all the same, and
     * is only heard again above it: whoever won stands above it once. */
    uint64_t numbers = sim->ledger.epoch_high - epoch, changes = 0;
    for (uint64_t e = epoch + 1; e <= sim->ledger.epoch_high; e++)
        changes += sim->ledger.epoch[e].opened;
    uint64_t split = numbers - changes;
    if (changes > (sim->config.disturb == 1 ? 1 : 3) + split || numbers > EPOCHS_AFTER)
        sim_violate(sim, "V6", "node %u was cut off (%u): %lu changes of epoch, %lu numbers used;%s", node + 1,
                    sim->config.disturb, changes, numbers, text);
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
    if (sim->lost)
        lost_run(sim);
    if (sim->lost)
        return;
    sim->healed_epoch = sim->ledger.epoch_high;
    uint64_t more = sim->operations_left < 100 ? sim->operations_left : 100;
    sim->operations_left = (uint32_t)(more > 20 ? more : 20);
    uint64_t deadline = sim->now + PROGRESS_PATIENCE;
    while (sim->now < deadline &&
           ((sim->operations_left > 0 && !sim->stopping) || sim_clients_busy(sim) || !converged(sim))) {
        if (!step(sim))
            break;
        if (sim->operations_left == 0 || sim->now > deadline - PROGRESS_PATIENCE * 3 / 4)
            sim->stopping = true;
    }
    sim->stopping = true;
    char text[600] = "";
    pending_describe(sim, text, sizeof(text));
    for (uint32_t i = 0; i < sim->config.clients; i++) {
        if (sim->client[i].alive && sim->client[i].in_flight > 0)
            sim_violate(sim, "V1", "client %u: %u requests never ended;%s", i, sim->client[i].in_flight, text);
    }
    if (!converged(sim))
        sim_violate(sim, "V2", "no convergence to seq %lu;%s", sim->ledger.canon_seq, text);
    uint64_t epochs = sim->ledger.epoch_high - sim->healed_epoch;
    sim->stats.epochs_after += epochs;
    if (epochs > EPOCHS_AFTER)
        sim_violate(sim, "V3", "%lu epochs after all faults ended;%s", epochs, text);
    disturb_run(sim);
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
        world_begin(sim, script->seed != 0 ? script->seed : 1);
        sim_queue_push(&sim->queue, (struct sim_event){.time = 1, .type = SIM_EVENT_SCRIPT, .argument = 0});
        while (sim->now < until && !sim->stopping && step(sim))
            ;
    }
    world_end(sim);
    return !sim->violation.found;
}
