/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A simulated dataplane: the real replica and executor over the real seam, turned as two actors with delays of their
 * own, and grace periods that end between turns. Everything an actor does is followed by the checkers.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "reader.h"
#include "sim.h"

#define POISON 0xdb

static void watch(void *user, const struct ls_entry *entry, const struct ls_result *result)
{
    struct sim_node *node = user;
    sim_check_executed(node->net_io.sim, node, entry, result);
}

/* Logs are kept over schedules by size, and begin each with bytes that are nobody's. */
static struct ls_log *log_take(struct sim *sim, uint32_t index)
{
    uint64_t size = sim->config.log_size;
    uint32_t kind = size <= 65536 ? 0 : size <= 131072 ? 1 : size <= 262144 ? 2 : 3;
    struct ls_log *log = &sim->log[index][kind];
    if (log->ring == NULL && ls_log_init(log, size) != 0) {
        perror("cannot map a log");
        exit(2);
    }
    ls_log_reset(log);
    memset(log->ring, POISON, log->size);
    memset(log->index, POISON, (log->index_mask + 1) * sizeof(*log->index));
    return log;
}

static void replica_config(const struct sim *sim, const struct sim_node *node, uint64_t promise,
                           struct ls_replica_config *to)
{
    const struct sim_config *c = &sim->config;
    memset(to, 0, sizeof(*to));
    to->cluster = SIM_CLUSTER;
    to->generation = 1;
    to->node = node->id;
    to->incarnation = node->incarnation;
    to->promise = promise;
    to->keys_max = c->keys_max;
    to->bytes_max = c->bytes_max;
    to->session_idle_ns = c->session_idle_ns;
    to->sessions_max = c->sessions_max;
    to->window = c->window;
    to->op_max = c->op_max;
    to->heartbeat_ns = c->heartbeat_ns;
    to->suspend_ns = c->suspend_ns;
    to->tick_ns = c->tick_ns;
    to->reorder_min_ns = c->reorder_min_ns;
    to->reorder_max_ns = c->reorder_max_ns;
    to->question_ns = c->question_ns;
    to->pull_idle_ns = c->pull_idle_ns;
    to->inflight_max = c->inflight_max;
    to->durability = sim->durability;
}

static void must(bool good, const char *what)
{
    if (!good) {
        perror(what);
        exit(2);
    }
}

/* ---- the journal ---- */

static uint64_t turn_delay(struct sim *sim, const struct sim_node *node)
{
    return 50 + sim_rng_spread(&sim->rng_turns, sim->config.turn_ns) +
           (node->slow_ns > 0 ? sim_rng_below(&sim->rng_turns, node->slow_ns) : 0);
}

/* Net has asked the journal for what the ring has let go, and waits for the answer. */
static bool past_is_open(struct sim *sim, struct sim_node *node)
{
    if (atomic_load(&node->seam.past_asked) == atomic_load(&node->seam.past_taken))
        return false;
    if (node->past_at == 0)
        node->past_at = sim->now + 1 + sim_rng_spread(&sim->rng_rot, 2 * sim->config.disk_ns);
    return true;
}

/* Where a walk may begin: the journal's beginning, and the checkpoints behind it. 0: what is wanted is not held. */
static uint32_t past_places(struct sim_node *node, uint64_t want, uint64_t limit, struct ls_journal_place *place)
{
    struct ls_journal_identity identity = sim_disk_identity(node->index);
    struct ls_journal_state state;
    char error[LS_JOURNAL_ERROR_MAX];
    uint32_t n = 1;
    if (ls_journal_state_load(&node->disk.disk, &identity, &state, error) != LS_JOURNAL_RIGHT ||
        state.base.position > want || state.base.position > limit)
        return 0;
    place[0] = ls_journal_place_first(&state.base);
    for (uint32_t i = 0; i < SIM_CHECKPOINTS && node->disk.checkpoint[i].bytes != NULL; i++) {
        const struct ls_cut *cut = &node->disk.checkpoint[i].cut;
        if (cut->position > place[n - 1].position && cut->position <= limit)
            place[n++] = (struct ls_journal_place){.position = cut->position, .seq = cut->seq, .chain = cut->chain};
    }
    return n;
}

/* As the process' own thread does it. */
static void past_answer(struct sim *sim, struct sim_node *node)
{
    struct ls_seam *seam = &node->seam;
    uint64_t want = seam->past_want, limit = ls_seam_past_limit(seam);
    struct ls_journal_place place[SIM_CHECKPOINTS + 1];
    struct ls_journal_reader reader;
    uint32_t n;
    seam->past_from = seam->past_end = want;
    must(ls_journal_reader_init(&reader, &node->disk.disk, SIM_SEGMENT) == 0, "reader");
    /* Given way to a verified checkpoint, as it were: for good, and all before it. */
    if (sim_rng_below(&sim->rng_rot, 4) == 0 && want >= node->past_gone)
        node->past_gone = want + 1;
    if (want >= node->past_gone && (n = past_places(node, want, limit, place)) > 0 &&
        ls_journal_reader_seek(&reader, place, n, UINT64_MAX, want, limit) == 0)
        (void)ls_journal_window(&reader, limit, seam->past_bytes, sim->config.op_max + 65536, &seam->past_from,
                                &seam->past_end);
    ls_journal_reader_free(&reader);
    sim->stats.windows++;
    sim->stats.windows_empty += seam->past_from == seam->past_end;
    SIM_TRACE(sim, "n%u reads [%lu,%lu) out of its journal, for %lu", node->id, seam->past_from, seam->past_end, want);
    node->past_at = 0;
    atomic_store(&seam->past_taken, atomic_load(&seam->past_asked));
    sim_node_wake_net(sim, node);
}

void sim_node_wake_journal(struct sim *sim, struct sim_node *node)
{
    if (node->writer == NULL || node->paused)
        return;
    uint64_t now = sim_clock(&node->clock, sim->now);
    uint64_t next = ls_journal_next_ns(node->writer, now);
    uint64_t due = ls_disk_fault_next_ns(node->disk_fault), at = node->disk.due_ns < due ? node->disk.due_ns : due;
    if (next != UINT64_MAX && (next > now || at == UINT64_MAX)) {
        uint64_t own = sim_clock_back(&node->clock, next);
        at = own < at ? own : at;
    }
    if (past_is_open(sim, node) && node->past_at < at)
        at = node->past_at;
    if (at == UINT64_MAX)
        return;
    at = at > sim->now ? at : sim->now;
    sim_plan(sim, &node->journal, SIM_EVENT_JOURNAL, (uint16_t)node->index, at + turn_delay(sim, node));
}

void sim_node_journal_turn(struct sim *sim, struct sim_node *node)
{
    uint64_t durable = atomic_load(&node->seam.durable), taken = atomic_load(&node->seam.journal_taken);
    uint32_t error_before = atomic_load(&node->seam.journal_error);
    node->journal.at = UINT64_MAX;
    (void)ls_journal_poll(node->writer, sim_clock(&node->clock, sim->now));
    if (atomic_load(&node->seam.durable) != durable || atomic_load(&node->seam.journal_taken) != taken ||
        atomic_load(&node->seam.journal_error) != error_before)
        sim_node_wake_net(sim, node);
    sim_check_durable(sim, node);
    if (past_is_open(sim, node) && sim->now >= node->past_at)
        past_answer(sim, node);
    sim_node_wake_journal(sim, node);
}

static uint64_t disk_clock(void *sim)
{
    return ((const struct sim *)sim)->now;
}

/* Behind the newest checkpoint that goes with it, as a process does. False: the log begins behind one that is not here.
 */
static bool checkpoint_resume(struct sim *sim, struct sim_node *node, struct ls_journal_state *state, uint64_t promise)
{
    const struct sim_checkpoint *checkpoint = sim_disk_checkpoint(&node->disk, state, promise);
    struct ls_image image;
    if (checkpoint == NULL)
        return state->base.position == 0;
    if (!sim_bulk_image(sim, node, checkpoint, &image))
        sim_violate(sim, "C4", "node %u: its own checkpoint of seq %lu cannot be read", node->id, checkpoint->cut.seq);
    node->machine = image.machine;
    ls_journal_image_take(&image, &ls_kv, state, node->log, &node->seam, node->executor);
    return true;
}

/* What an earlier life has left: 1: all that this node ever acknowledged; 0: something else; -1: it is damaged. */
static int journal_resume(struct sim *sim, struct sim_node *node, uint64_t promise)
{
    struct ls_journal_identity identity = sim_disk_identity(node->index);
    struct ls_journal_state state;
    char error[LS_JOURNAL_ERROR_MAX] = "";
    int replayed = 0, loaded = ls_journal_state_load(&node->disk.disk, &identity, &state, error);
    if (loaded != LS_JOURNAL_RIGHT && loaded != LS_JOURNAL_ABSENT)
        sim_violate(sim, "P15", "node %u: %s", node->id, error);
    bool complete = loaded == LS_JOURNAL_RIGHT && ls_journal_is_complete(&state, sim->host[node->index].counting);
    if (loaded == LS_JOURNAL_ABSENT)
        memset(&state, 0, sizeof(state));
    else if (!checkpoint_resume(sim, node, &state, promise))
        replayed = -EBADMSG;
    else
        replayed =
            ls_journal_replay(&node->disk.disk, &identity, &state, node->log, &node->seam, node->executor, error);
    if ((replayed == -EBADMSG || (replayed == -ENOSPC && !complete)) && node->disk.rotten)
        return -1;
    if (replayed != 0)
        sim_violate(sim, "P15", "node %u: %s", node->id, error);
    if (sim->disk_faults)
        sim_disk_copy(&node->disk);
    node->disk_fault = ls_disk_fault_create(&node->disk.disk, SIM_SEGMENT, disk_clock, sim);
    must(node->disk_fault != NULL, "disk faults");
    if (sim->disk_faults)
        must((node->seam.past_bytes = malloc(sim->config.op_max + 65536)) != NULL, "window");
    node->past_at = node->past_gone = 0;
    struct ls_journal_config config = {.identity = identity,
                                       .incarnation = node->incarnation,
                                       .since = complete ? state.since : node->incarnation,
                                       .behind = sim->durability == LS_DURABLE_ASYNC,
                                       .hold_ns = sim->durability == LS_DURABLE_ASYNC ? 20 * sim->config.disk_ns : 0};
    node->writer = ls_journal_create(&config, &state, ls_disk_fault_disk(node->disk_fault), node->log, &node->seam);
    must(node->writer != NULL, "journal");
    /* The process waits for this before it says that it is ready. */
    while (!ls_journal_is_owned(node->writer)) {
        (void)ls_journal_poll(node->writer, sim_clock(&node->clock, sim->now));
        sim_disk_hurry(&node->disk);
    }
    SIM_TRACE(sim, "n%u finds its journal up to %lu, committed %lu%s", node->id, node->log->end,
              atomic_load(&node->seam.commit), complete ? "" : ", which is not all");
    sim_fault_disk_set(sim, node->index);
    return complete;
}

static void memory_begin(struct sim *sim, struct sim_node *node)
{
    const struct sim_config *c = &sim->config;
    node->log = log_take(sim, node->index);
    memset(&node->seam, 0, sizeof(node->seam));
    must(ls_seam_init(&node->seam, c->sessions_max) == 0, "seam");
    struct ls_machine_limits limits = {.keys = c->keys_max, .bytes = c->bytes_max};
    node->machine = ls_kv.create(&limits, &node->grace);
    must(node->machine != NULL, "state machine");
    struct ls_executor_config ec = {.cluster = SIM_CLUSTER,
                                    .generation = 1,
                                    .node = node->id,
                                    .incarnation = node->incarnation,
                                    .sessions_max = c->sessions_max,
                                    .window = c->window,
                                    .durability = sim->durability,
                                    .digest_every = 16};
    node->executor = ls_executor_create(&ec, node->log, &node->seam, &node->apply_io.port.io, &ls_kv, node->machine,
                                        &node->page, &node->apply_counters);
    must(node->executor != NULL, "executor");
}

static void memory_end(struct sim_node *node)
{
    ls_executor_destroy(node->executor);
    ls_kv.destroy(node->machine);
    free(node->seam.past_bytes);
    ls_seam_free(&node->seam);
    node->executor = NULL;
    node->machine = NULL;
}

void sim_node_start(struct sim *sim, uint32_t index, uint64_t incarnation, uint64_t promise)
{
    struct sim_node *node = &sim->node[index];
    if (incarnation <= node->incarnation)
        sim_violate(sim, "O3", "node %u starts incarnation %lu after %lu", node->id, incarnation, node->incarnation);
    node->incarnation = incarnation;
    node->clock = sim->host[index].clock;
    node->counts = node->doomed = false;
    node->paused = false;
    node->inbox_head = node->inbox_tail = 0;
    node->owned = 0;
    node->net.at = node->apply.at = node->journal.at = UINT64_MAX;
    node->grace_at = sim->now;
    atomic_store(&node->grace.started, 0);
    atomic_store(&node->grace.completed, 0);
    memset(&node->page, 0, sizeof(node->page));
    memset(&node->net_counters, 0, sizeof(node->net_counters));
    memset(&node->apply_counters, 0, sizeof(node->apply_counters));
    sim_io_init(&node->net_io, sim, (uint16_t)index, false);
    sim_io_init(&node->apply_io, sim, (uint16_t)index, true);
    memory_begin(sim, node);
    struct ls_replica_config rc;
    replica_config(sim, node, promise, &rc);
    int resumed = sim->durability != LS_DURABLE_MEMORY ? journal_resume(sim, node, promise) : 0;
    if (resumed < 0) { /* the process ends, what it found is set aside, and the next one begins without it */
        SIM_TRACE(sim, "n%u finds its journal damaged", node->id);
        sim->stats.disks_found++;
        memory_end(node);
        sim_disk_wipe(&node->disk);
        memory_begin(sim, node);
        resumed = journal_resume(sim, node, promise);
    }
    node->resumed = rc.resumed = resumed > 0;
    node->replica = ls_replica_create(&rc, node->log, &node->seam, &node->net_io.port.io, &ls_kv, node->machine,
                                      &node->page, &node->net_counters);
    must(node->replica != NULL, "replica");
    ls_executor_set_watch(node->executor, watch, node);
    node->last_seq = node->end = node->commit = node->commit_seq = node->executed_seq = 0;
    node->applied_seq = node->executions = node->verifications = 0;
    node->installed_epoch = node->base = node->end_was = node->acked_seq = 0;
    node->fetched_at = node->disk_seq = node->disk_end = 0;
    node->machine_next = NULL;
    if (node->log->last_seq > 0)
        sim_check_resumed(sim, node);
    ls_replica_view(node->replica, &node->view);
    if (node->view.epoch < node->promised && sim_minds(sim, "E1"))
        sim_violate(sim, "E1", "node %u starts at epoch %lu after it promised %lu", node->id, node->view.epoch,
                    node->promised);
    SIM_TRACE(sim, "n%u starts, incarnation %lu, sealed at %lu", node->id, node->incarnation, node->view.epoch);
    sim_node_wake_net(sim, node);
}

void sim_node_stop(struct sim *sim, struct sim_node *node)
{
    if (node->replica == NULL)
        return;
    for (uint32_t i = 0; i < LS_COUNTERS; i++) {
        sim->stats.counters[i] += ls_counter_get(&node->net_counters, (enum ls_counter)i);
        sim->stats.counters[i] += ls_counter_get(&node->apply_counters, (enum ls_counter)i);
    }
    struct sim_host *host = &sim->host[node->index];
    if (node->acked_seq > 0)
        host->held[host->helds++ % SIM_HELD] =
            node->path[node->acked_seq < node->last_seq ? node->acked_seq : node->last_seq];
    node->counts = node->doomed = false;
    node->disk.failed = false;
    sim_check_disk(sim, node);
    sim_disk_stop(&node->disk); /* what runs is read from the writer's memory, and the ring */
    ls_journal_destroy(node->writer);
    ls_disk_fault_destroy(node->disk_fault);
    node->writer = NULL;
    node->disk_fault = NULL;
    ls_replica_destroy(node->replica);
    node->replica = NULL;
    memory_end(node);
    node->net.at = node->apply.at = UINT64_MAX;
    node->journal.at = UINT64_MAX;
    node->net.ticket++;
    node->apply.ticket++;
    node->journal.ticket++;
    for (; node->inbox_head != node->inbox_tail; node->inbox_head++)
        sim_packet_free(sim, node->inbox[node->inbox_head % SIM_INBOX]);
    /* What the process had taken is gone with it. */
    for (uint32_t i = 0; i < SIM_PACKETS && node->owned > 0; i++) {
        if (sim->packet[i].state == SIM_PACKET_OWNED && sim->packet[i].end == node->index) {
            sim_packet_free(sim, i);
            node->owned--;
        }
    }
}

void sim_node_wake_net(struct sim *sim, struct sim_node *node)
{
    if (node->replica == NULL || node->paused || node->net.at < sim->now + 50)
        return;
    sim_plan(sim, &node->net, SIM_EVENT_NET, (uint16_t)node->index, sim->now + turn_delay(sim, node));
}

void sim_node_wake_apply(struct sim *sim, struct sim_node *node)
{
    if (node->replica == NULL || node->paused || node->apply.at < sim->now + 50)
        return;
    sim_plan(sim, &node->apply, SIM_EVENT_APPLY, (uint16_t)node->index, sim->now + turn_delay(sim, node));
}

void sim_node_pause(struct sim *sim, struct sim_node *node, bool pause)
{
    node->paused = pause;
    if (!pause)
        node->doomed = false;
    if (pause) {
        node->net.at = node->apply.at = node->journal.at = UINT64_MAX;
        node->net.ticket++;
        node->apply.ticket++;
        node->journal.ticket++;
        return;
    }
    sim_node_wake_journal(sim, node);
    sim_node_wake_net(sim, node);
    sim_node_wake_apply(sim, node);
}

/* A moment between two turns is quiescent for both workers: a grace period may begin or end here. */
static void grace_step(struct sim *sim, struct sim_node *node)
{
    if (sim->now < node->grace_at)
        return;
    if (atomic_load(&node->grace.started) == atomic_load(&node->grace.completed))
        ls_grace_begin(&node->grace);
    else
        ls_grace_end(&node->grace);
    node->grace_at = sim->now + sim_rng_spread(&sim->rng_turns, sim->config.grace_ns);
}

struct fingerprint {
    uint64_t epoch, role, sequencer, verified, commit, end, filled, high, chain, packets;
};

static struct fingerprint fingerprint(const struct sim *sim, const struct sim_node *node)
{
    struct ls_replica_view view;
    ls_replica_view(node->replica, &view);
    return (struct fingerprint){.epoch = view.epoch,
                                .role = view.role,
                                .sequencer = view.sequencer,
                                .verified = view.verified,
                                .commit = view.commit,
                                .end = node->log->end,
                                .filled = node->log->filled,
                                .high = node->log->high,
                                .chain = node->log->chain,
                                .packets = sim->packets_free};
}

/* W1, W2: a damaged frame is refused, counted once, and changes nothing else. */
static void input_damaged(struct sim *sim, struct sim_node *node, const struct ls_frame *frame)
{
    struct ls_counters before = node->net_counters;
    struct fingerprint now = fingerprint(sim, node);
    ls_replica_input(node->replica, frame, sim_clock(&node->clock, sim->now));
    struct fingerprint after = fingerprint(sim, node);
    uint64_t counted = 0;
    for (uint32_t i = LS_COUNT_drop_short; i <= LS_COUNT_drop_body; i++)
        counted +=
            ls_counter_get(&node->net_counters, (enum ls_counter)i) - ls_counter_get(&before, (enum ls_counter)i);
    if (counted != 1)
        sim_violate(sim, "W2", "node %u counted a damaged frame of %u bytes %lu times", node->id, frame->length,
                    counted);
    for (uint32_t i = LS_COUNT_frames_out; i < LS_COUNTERS; i++) {
        if (i == LS_COUNT_bytes_in || (i >= LS_COUNT_drop_short && i <= LS_COUNT_drop_body))
            continue;
        if (ls_counter_get(&node->net_counters, (enum ls_counter)i) != ls_counter_get(&before, (enum ls_counter)i))
            sim_violate(sim, "W1", "node %u: a damaged frame moved counter %s", node->id, ls_counter_name(i));
    }
    if (memcmp(&now, &after, sizeof(now)) != 0)
        sim_violate(sim, "W1", "node %u: a damaged frame changed more than a counter", node->id);
}

static void input(struct sim *sim, struct sim_node *node, uint32_t index)
{
    struct sim_packet *packet = &sim->packet[index];
    struct ls_frame frame = {.data = packet->data, .length = packet->length, .peer = packet->from, .handle = packet};
    if (sim->trace && sim->script == NULL) {
        char text[256];
        sim_decode(text, sizeof(text), packet->data, packet->length);
        sim_trace(sim, "n%u takes  %s%s", node->id, text, packet->damaged ? "  (damaged)" : "");
    }
    if (packet->damaged)
        input_damaged(sim, node, &frame);
    else
        ls_replica_input(node->replica, &frame, sim_clock(&node->clock, sim->now));
    sim_packet_free(sim, index);
}

void sim_node_net_turn(struct sim *sim, struct sim_node *node)
{
    node->net.at = UINT64_MAX;
    node->ranges = 0;
    uint32_t waiting = node->inbox_tail - node->inbox_head;
    uint32_t n = waiting < sim->config.burst_max ? waiting : sim->config.burst_max;
    if (n > 1 && sim_rng_below(&sim->rng_turns, 4) == 0)
        n = 1 + (uint32_t)sim_rng_below(&sim->rng_turns, n);
    for (uint32_t i = 0; i < n; i++)
        input(sim, node, node->inbox[node->inbox_head++ % SIM_INBOX]);
    struct sim_host *host = &sim->host[node->index];
    host->turns[0]++;
    node->end_was = node->end;
    uint32_t work = ls_replica_turn(node->replica, sim_clock(&node->clock, sim->now));
    sim_check_node(sim, node);
    grace_step(sim, node);
    if (work > 0 || node->inbox_head != node->inbox_tail) {
        sim_node_wake_net(sim, node);
    } else {
        uint64_t next = ls_replica_next_ns(node->replica, sim_clock(&node->clock, sim->now));
        if (next != UINT64_MAX)
            next = sim_clock_back(&node->clock, next);
        if (next != UINT64_MAX)
            sim_plan(sim, &node->net, SIM_EVENT_NET, (uint16_t)node->index,
                     (next > sim->now ? next : sim->now) + turn_delay(sim, node));
    }
    if (atomic_load(&node->seam.applied) < atomic_load(&node->seam.commit) || !ls_spsc_is_empty(&node->seam.repeats))
        sim_node_wake_apply(sim, node);
    if (sim->script != NULL && !sim->script->with_ctrl) {
        sim_tell_events(sim, node);
        return;
    }
    sim_host_events(sim, host);
    sim_host_orders_turn(sim, host);
    sim_stray_turn(sim, host);
    if (atomic_load(&node->seam.image) != NULL)
        sim_node_wake_apply(sim, node);
    if (node->writer != NULL && node->journal.at > sim->now + SIM_US)
        sim_node_wake_journal(sim, node);
}

void sim_node_apply_turn(struct sim *sim, struct sim_node *node)
{
    node->apply.at = UINT64_MAX;
    uint64_t applied = atomic_load(&node->seam.applied);
    struct ls_image *image = atomic_load(&node->seam.image);
    sim->host[node->index].turns[1]++;
    uint32_t work = ls_executor_turn(node->executor, sim_clock(&node->clock, sim->now));
    if (image != NULL && atomic_load(&node->seam.image) == NULL) {
        sim_check_applied_image(sim, node, image);
        sim_node_wake_net(sim, node);
    }
    sim_check_digest(sim, node);
    grace_step(sim, node);
    bool behind = atomic_load(&node->seam.applied) < atomic_load(&node->seam.commit);
    if (work > 0 || behind || !ls_spsc_is_empty(&node->seam.repeats)) {
        /* Without work it waits for memory, or for room in the queue to net: not in a tight loop. */
        if (work > 0)
            sim_node_wake_apply(sim, node);
        else
            sim_plan(sim, &node->apply, SIM_EVENT_APPLY, (uint16_t)node->index,
                     sim->now + 20 * SIM_US + turn_delay(sim, node));
    }
    if (atomic_load(&node->seam.applied) != applied || !ls_spsc_is_empty(&node->seam.replies))
        sim_node_wake_net(sim, node);
}
