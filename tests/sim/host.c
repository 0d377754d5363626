/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The machine around one ctrl: keeps its record, starts and ends its dataplane, carries messages to and from it, takes
 * a reading of the counters page. Everything takes its time, and may fail where it may fail in life.
 */
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "control_check.h"
#include "sim.h"

static uint64_t host_now(const struct sim *sim, const struct sim_host *host)
{
    return sim_clock(&host->clock, sim->now);
}

/* ---- messages ---- */

struct sim_message *sim_message_take(struct sim *sim, enum sim_message_kind kind, uint32_t from, uint32_t to,
                                     uint32_t life)
{
    if (sim->messages_free == 0) {
        fprintf(stderr, "the simulator has no message left\n");
        abort();
    }
    struct sim_message *message = &sim->message[sim->message_free[--sim->messages_free]];
    assert(!message->used);
    message->used = true;
    message->kind = (uint8_t)kind;
    message->from = (uint8_t)from;
    message->to = (uint8_t)to;
    message->life = life;
    message->size = 0;
    message->argument = 0;
    return message;
}

void sim_message_send(struct sim *sim, struct sim_message *message, uint64_t at)
{
    sim_queue_push(&sim->queue, (struct sim_event){.time = at,
                                                   .type = SIM_EVENT_MESSAGE,
                                                   .target = message->to,
                                                   .argument = (uint32_t)(message - sim->message)});
}

void sim_message_free(struct sim *sim, struct sim_message *message)
{
    assert(message->used);
    message->used = false;
    sim->message_free[sim->messages_free++] = (uint32_t)(message - sim->message);
}

static void note(struct sim *sim, struct sim_host *host, enum sim_message_kind kind, uint32_t life, uint64_t argument,
                 uint64_t delay)
{
    struct sim_message *message = sim_message_take(sim, kind, host->index, host->index, life);
    message->argument = argument;
    sim_message_send(sim, message, sim->now + 1 + delay);
}

static uint64_t spread(struct sim *sim, uint64_t mean)
{
    return sim_rng_spread(&sim->rng_ctrl, mean);
}

/* ---- the actor ---- */

static void plan(struct sim *sim, struct sim_host *host)
{
    if (host->ctrl == NULL)
        return;
    uint64_t next = ls_ctrl_next_ns(host->ctrl);
    if (host->observe_at < next)
        next = host->observe_at;
    uint64_t at = sim_clock_back(&host->clock, next);
    if (host->later_head != host->later_tail)
        at = sim->now;
    if (at == UINT64_MAX)
        return;
    if (at < sim->now)
        at = sim->now;
    if (at < host->paused_until)
        at = host->paused_until;
    sim_plan(sim, &host->actor, SIM_EVENT_CTRL, (uint16_t)host->index, at + 1 + spread(sim, 2 * SIM_US));
}

static void after(struct sim *sim, struct sim_host *host)
{
    sim_check_host(sim, host);
    plan(sim, host);
}

static void sample_take(const struct sim *sim, const struct sim_host *host, struct ls_ctrl_sample *sample)
{
    const struct sim_node *node = &sim->node[host->index];
    const struct ls_replica_page *page = &node->page;
    memset(sample, 0, sizeof(*sample));
    sample->turns[LS_WORKER_NET] = host->turns[0];
    sample->turns[LS_WORKER_APPLY] = host->turns[1];
    sample->turns[LS_WORKER_JOURNAL] = UINT64_MAX;
    /* A worker that waits for a timer sleeps; one whose turn is overdue, or that has work and no turn, does not. */
    sample->asleep[LS_WORKER_NET] = !node->paused && node->net.at > sim->now && node->inbox_head == node->inbox_tail;
    sample->asleep[LS_WORKER_APPLY] = !node->paused && node->apply.at > sim->now;
    for (uint32_t i = 0; i <= LS_NODE_ID_MAX; i++) {
        sample->heard_ns[i] = atomic_load_explicit(&page->heard_ns[i], memory_order_relaxed);
        sample->acked_seq[i] = atomic_load_explicit(&page->acked_seq[i], memory_order_relaxed);
    }
    sample->epoch = atomic_load(&page->epoch);
    sample->last_epoch = atomic_load(&page->last_epoch);
    sample->last = atomic_load(&page->last);
    sample->last_seq = atomic_load(&page->last_seq);
    sample->commit = atomic_load(&page->commit);
    sample->applied_seq = atomic_load(&page->applied_seq);
    sample->members_seq = atomic_load(&page->members_seq);
    sample->role = (uint16_t)atomic_load(&page->role);
    sample->halt = (uint16_t)atomic_load(&page->halt_reason);
    sample->sequencer = (uint16_t)atomic_load(&page->sequencer);
    sample->counts = atomic_load(&page->counts) == 1;
    for (uint32_t i = 0; i < LS_DIGESTS_KEPT; i++) {
        sample->digest_seq[i] = atomic_load(&page->digests[i].seq);
        sample->digest[i] = atomic_load(&page->digests[i].digest);
    }
}

static void later_run(struct sim *sim, struct sim_host *host);

void sim_host_turn(struct sim *sim, struct sim_host *host)
{
    host->actor.at = UINT64_MAX;
    if (host->ctrl == NULL)
        return;
    if (sim->now < host->paused_until) {
        plan(sim, host);
        return;
    }
    later_run(sim, host);
    if (host->ctrl == NULL)
        return;
    uint64_t now = host_now(sim, host);
    if (now >= host->observe_at) {
        host->observe_at = now + sim->config.times.poll;
        if (host->process == SIM_PROCESS_RUNNING) {
            struct ls_ctrl_sample sample;
            sample_take(sim, host, &sample);
            ls_ctrl_observe(host->ctrl, &sample, now);
        }
    }
    if (now >= ls_ctrl_next_ns(host->ctrl)) {
        ls_ctrl_turn(host->ctrl, now);
        /* In production it would spin, before all other threads of its core. */
        if (ls_ctrl_next_ns(host->ctrl) <= now)
            sim_violate(sim, "Q2", "node %u: ctrl wants its next turn at once, again and again", host->index + 1);
    }
    after(sim, host);
}

/* ---- stable storage ---- */

static void effect_persist(void *user, const struct ls_durable *durable)
{
    struct sim_host *host = user;
    struct sim *sim = sim_world;
    if (host->writing)
        sim_violate(sim, "E1", "node %u: a second write of the record while one is under way", host->index + 1);
    host->writing = true;
    host->next = *durable;
    uint64_t time = sim->config.disk_ns / 2 + spread(sim, sim->config.disk_ns);
    if (!sim->healed && sim_rng_below(&sim->rng_ctrl, 64) == 0)
        time += spread(sim, 20 * sim->config.disk_ns);
    note(sim, host, SIM_MESSAGE_DISK, host->life, 0, time);
}

static void record_write(struct sim *sim, struct sim_host *host)
{
    sim_check_record(sim, host, &host->next);
    host->disk = host->next;
    SIM_TRACE(sim, "n%u record: incarnation %lu counts %lu promise %lu vote %u%s", host->index + 1,
              host->disk.incarnation, host->disk.counts, host->disk.promise, host->disk.vote,
              host->disk.founder ? " founder" : "");
}

static void disk_done(struct sim *sim, struct sim_host *host, const struct sim_message *message)
{
    if (host->ctrl == NULL || message->life != host->life)
        return;
    host->writing = false;
    bool fails =
        !sim->healed && sim_rng_chance(&sim->rng_ctrl, sim->config.disk_fail_ppm) && sim_may_lose(sim, host->index);
    /* A write that is said to have failed may have reached the disk all the same. */
    if (!fails || sim_rng_below(&sim->rng_ctrl, 2) == 0)
        record_write(sim, host);
    sim->stats.disk_failed += fails;
    if (fails) /* it gives up its dataplane; somebody mends the disk */
        note(sim, host, SIM_MESSAGE_SERVICE, host->life, 0, SIM_MS + spread(sim, 5 * SIM_MS));
    ls_ctrl_persisted(host->ctrl, !fails, host_now(sim, host));
    after(sim, host);
}

/* ---- the dataplane's process ---- */

static void effect_spawn(void *user, uint64_t incarnation, uint64_t promise, uint64_t counts)
{
    struct sim_host *host = user;
    struct sim *sim = sim_world;
    if (host->process != SIM_PROCESS_NONE)
        sim_violate(sim, "O3", "node %u starts incarnation %lu while %lu is not reaped", host->index + 1, incarnation,
                    host->incarnation);
    if (host->disk.incarnation != incarnation || host->disk.promise != promise)
        sim_violate(sim, "E1", "node %u starts incarnation %lu at promise %lu; its record says %lu and %lu",
                    host->index + 1, incarnation, promise, host->disk.incarnation, host->disk.promise);
    host->process = SIM_PROCESS_STARTING;
    host->process_life++;
    host->incarnation = incarnation;
    host->promise = promise;
    host->counting = counts;
    note(sim, host, SIM_MESSAGE_SPAWNED, host->process_life, 0,
         sim->config.spawn_ns / 4 + spread(sim, sim->config.spawn_ns));
}

/* ctrl and a running dataplane are linked (anew): what it says first. */
static void link_up(struct sim *sim, struct sim_host *host)
{
    struct sim_node *node = &sim->node[host->index];
    host->linked = true;
    host->line_life++;
    host->down_at = host->up_at = sim->now;
    for (; host->waiting_head != host->waiting_tail; host->waiting_head++)
        sim_message_free(sim, &sim->message[host->waiting[host->waiting_head % SIM_ORDERS_WAIT]]);
    ls_translate_relink(&host->translate);
    struct ls_control_ready ready = {.incarnation = host->incarnation,
                                     .promise = node->view.epoch,
                                     .pid = host->process_life,
                                     .resumed = node->resumed};
    sim_host_say(sim, host, LS_CONTROL_READY, &ready, sizeof(ready));
    struct ls_event role = {.kind = LS_EVENT_ROLE,
                            .epoch = node->view.epoch,
                            .role = (uint16_t)node->view.role,
                            .node = node->view.sequencer,
                            .code = node->view.halt};
    sim_host_tell(sim, host, &role);
    const struct ls_membership *members = ls_log_members(node->log);
    if (members->count > 0 && members->seq > 0) {
        struct ls_event event = {
            .kind = LS_EVENT_MEMBERS, .members = *members, .code = members->seq <= node->commit_seq};
        sim_host_tell(sim, host, &event);
    }
}

static void process_start(struct sim *sim, struct sim_host *host)
{
    if (host->process != SIM_PROCESS_STARTING)
        return;
    if (!sim->healed && sim_rng_below(&sim->rng_ctrl, 40) == 0) {
        SIM_TRACE(sim, "n%u: the dataplane does not start", host->index + 1);
        sim_host_dataplane_ends(sim, host, "it did not start");
        return;
    }
    host->process = SIM_PROCESS_RUNNING;
    host->turns[0] = host->turns[1] = 0;
    host->joins = 0;
    sim_node_start(sim, host->index, host->incarnation, host->promise);
    ls_translate_init(&host->translate, (uint16_t)(host->index + 1), host->incarnation);
    if (host->ctrl != NULL)
        link_up(sim, host);
}

/* It ended, by itself, by ctrl's hand or by a fault. */
void sim_host_dataplane_ends(struct sim *sim, struct sim_host *host, const char *how)
{
    if (host->process == SIM_PROCESS_NONE)
        return;
    SIM_TRACE(sim, "n%u: the dataplane ends: %s", host->index + 1, how);
    sim_bulk_stop(sim, host);
    if (host->process == SIM_PROCESS_RUNNING)
        sim_node_stop(sim, &sim->node[host->index]);
    host->process = SIM_PROCESS_NONE;
    host->process_life++;
    host->linked = false;
    host->line_life++;
    for (; host->waiting_head != host->waiting_tail; host->waiting_head++)
        sim_message_free(sim, &sim->message[host->waiting[host->waiting_head % SIM_ORDERS_WAIT]]);
    if (host->ctrl != NULL)
        note(sim, host, SIM_MESSAGE_DEATH, host->life, 0, 10 * SIM_US + spread(sim, 50 * SIM_US));
}

static void effect_kill(void *user)
{
    struct sim_host *host = user;
    sim_host_dataplane_ends(sim_world, host, "ctrl killed it");
}

/* ---- ctrl to dataplane ---- */

static void effect_dataplane_send(void *user, enum ls_control_type type, uint64_t id, const void *body, size_t size)
{
    struct sim_host *host = user;
    struct sim *sim = sim_world;
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .id = id, .size = (uint32_t)size};
    if (!host->linked)
        return;
    struct sim_message *message = sim_message_take(sim, SIM_MESSAGE_DOWN, host->index, host->index, host->line_life);
    assert(sizeof(header) + size <= SIM_MESSAGE_MAX);
    memcpy(message->bytes, &header, sizeof(header));
    if (size > 0)
        memcpy(message->bytes + sizeof(header), body, size);
    message->size = (uint16_t)(sizeof(header) + size);
    const char *wrong = ls_control_check(LS_CONTROL_TO_DATAPLANE, message->bytes, message->size);
    if (wrong != NULL)
        sim_violate(sim, "W1", "node %u: ctrl sends %s (type %u)", host->index + 1, wrong, type);
    sim_check_order(sim, host, type, body);
    uint64_t at = sim->now + 1 + spread(sim, sim->config.ctrl_ns);
    if (at <= host->down_at)
        at = host->down_at + 1;
    host->down_at = at;
    sim_message_send(sim, message, at);
}

/* True: it was taken (or is for nobody). */
static bool order_push(struct sim *sim, struct sim_host *host, const struct sim_message *message)
{
    struct sim_node *node = &sim->node[host->index];
    struct ls_control_header header;
    struct ls_order order;
    if (message->life != host->line_life || node->replica == NULL)
        return true;
    if (node->paused || ls_spsc_room(&node->seam.orders) == 0 || !ls_translate_has_room(&host->translate))
        return false;
    memcpy(&header, message->bytes, sizeof(header));
    if (ls_translate_order(&host->translate, &header, message->bytes + sizeof(header), &order)) {
        SIM_TRACE(sim, "n%u takes the order %u: epoch %lu incarnation %lu position %lu node %u.%lu", node->id,
                  order.kind, order.epoch, order.incarnation, order.position, order.node, order.other);
        bool pushed = ls_spsc_push(&node->seam.orders, &order);
        assert(pushed);
        sim_stray_behind(sim, host, &order);
        sim_node_wake_net(sim, node);
    } else if (header.type == LS_CONTROL_STOP) {
        sim_host_dataplane_ends(sim, host, "ctrl stopped it");
    }
    return true;
}

void sim_host_orders_turn(struct sim *sim, struct sim_host *host)
{
    while (host->waiting_head != host->waiting_tail) {
        struct sim_message *message = &sim->message[host->waiting[host->waiting_head % SIM_ORDERS_WAIT]];
        if (!order_push(sim, host, message))
            return;
        host->waiting_head++;
        sim_message_free(sim, message);
    }
}

/* True: the message is kept. */
static bool down_arrives(struct sim *sim, struct sim_host *host, struct sim_message *message)
{
    if (message->life != host->line_life)
        return false;
    sim_host_orders_turn(sim, host);
    if (message->life != host->line_life ||
        (host->waiting_head == host->waiting_tail && order_push(sim, host, message)))
        return false;
    if (host->waiting_tail - host->waiting_head == SIM_ORDERS_WAIT)
        sim_violate(sim, "Q2", "node %u: ctrl sent %u orders to a dataplane that stands still", host->index + 1,
                    SIM_ORDERS_WAIT);
    host->waiting[host->waiting_tail++ % SIM_ORDERS_WAIT] = (uint32_t)(message - sim->message);
    return true;
}

/* ---- dataplane to ctrl ---- */

static void up_send(struct sim *sim, struct sim_host *host, struct sim_message *message)
{
    const char *wrong = ls_control_check(LS_CONTROL_TO_CTRL, message->bytes, message->size);
    if (wrong != NULL)
        sim_violate(sim, "W1", "node %u: its dataplane says %s", host->index + 1, wrong);
    uint64_t at = sim->now + 1 + spread(sim, sim->config.ctrl_ns);
    if (at <= host->up_at)
        at = host->up_at + 1;
    host->up_at = at;
    sim_message_send(sim, message, at);
}

void sim_host_say(struct sim *sim, struct sim_host *host, enum ls_control_type type, const void *body, size_t size)
{
    struct ls_control_header header = {.version = LS_CONTROL_VERSION, .type = type, .size = (uint32_t)size};
    if (!host->linked)
        return;
    struct sim_message *message = sim_message_take(sim, SIM_MESSAGE_UP, host->index, host->index, host->line_life);
    memcpy(message->bytes, &header, sizeof(header));
    memcpy(message->bytes + sizeof(header), body, size);
    message->size = (uint16_t)(sizeof(header) + size);
    up_send(sim, host, message);
}

void sim_host_tell(struct sim *sim, struct sim_host *host, const struct ls_event *event)
{
    static uint8_t bytes[LS_TRANSLATE_MAX];
    size_t size = ls_translate_event(&host->translate, event, bytes);
    if (size == 0 || !host->linked)
        return;
    assert(size <= SIM_MESSAGE_MAX);
    struct sim_message *message = sim_message_take(sim, SIM_MESSAGE_UP, host->index, host->index, host->line_life);
    memcpy(message->bytes, bytes, size);
    message->size = (uint16_t)size;
    up_send(sim, host, message);
}

/* The control thread's part behind a turn of net. */
void sim_host_events(struct sim *sim, struct sim_host *host)
{
    struct sim_node *node = &sim->node[host->index];
    struct ls_event event;
    while (node->replica != NULL && ls_spsc_pop(&node->seam.events, &event)) {
        sim_check_event(sim, node, &event);
        if (event.kind == LS_EVENT_REBASED)
            sim_bulk_rebased(sim, host, &event);
        else
            sim_host_tell(sim, host, &event);
    }
}

static void up_arrives(struct sim *sim, struct sim_host *host, const struct sim_message *message)
{
    struct ls_control_header header;
    if (message->life != host->line_life || host->ctrl == NULL)
        return;
    const uint8_t *body = message->bytes + sizeof(header);
    memcpy(&header, message->bytes, sizeof(header));
    if (sim->script == NULL)
        SIM_TRACE(sim, "n%u ctrl hears message %u", host->index + 1, header.type);
    if (header.type == LS_CONTROL_READY) {
        struct ls_control_ready ready;
        memcpy(&ready, body, sizeof(ready));
        ls_ctrl_dataplane_up(host->ctrl, &ready, host_now(sim, host));
    } else {
        ls_ctrl_dataplane_message(host->ctrl, &header, body, host_now(sim, host));
    }
    after(sim, host);
}

/* ---- peers and the rest ---- */

static void effect_peer_send(void *user, uint16_t node, const void *bytes, size_t size)
{
    struct sim_host *host = user;
    sim_check_peer_message(sim_world, host, node, bytes, size);
    sim_line_send(sim_world, host, node, bytes, size);
}

static void effect_peers(void *user, const struct ls_membership *members)
{
    struct sim_host *host = user;
    uint32_t wanted = 0;
    for (uint32_t i = 0; i < members->count; i++) {
        uint32_t index = (uint32_t)members->member[i].node - 1;
        if (index < SIM_NODES_MAX && index != host->index)
            wanted |= 1u << index;
    }
    host->let_go |= host->wanted & ~wanted;
    host->wanted = wanted;
    sim_world->lines_changed = true;
}

static void effect_checkpoint_get(void *user, uint64_t from, uint64_t position)
{
    sim_bulk_get(sim_world, user, from, position);
}

static void effect_command_done(void *user, uint64_t token, int error, const char *text)
{
    sim_operator_answered(sim_world, user, token, error, text);
}

static void effect_say(void *user, enum ls_ctrl_level level, const char *text)
{
    static const char *const name[] = {"says", "warns", "ALARMS"};
    struct sim_host *host = user;
    struct sim *sim = sim_world;
    (void)name;
    SIM_TRACE(sim, "n%u ctrl %s: %s", host->index + 1, name[level], text);
}

/* ---- a ctrl process ---- */

static void boot(struct sim *sim, struct sim_host *host)
{
    if (host->ctrl != NULL || !host->on || !host->has_record)
        return;
    host->life++;
    host->writing = false;
    host->observe_at = 0;
    host->actor.at = UINT64_MAX;
    host->wanted = host->let_go = 0;
    host->config.clock_ns = sim->now / SIM_US + sim->wall_base;
    host->config.seed = sim_rng_next(&sim->rng_ctrl);
    host->ctrl = ls_ctrl_create(&host->config, &host->io);
    assert(host->ctrl != NULL);
    /* What was still being started when the last one ended was its child, not yet in its own hands. */
    if (host->process == SIM_PROCESS_STARTING) {
        host->process = SIM_PROCESS_NONE;
        host->process_life++;
    }
    bool alive = host->process == SIM_PROCESS_RUNNING;
    SIM_TRACE(sim, "n%u ctrl begins life %u%s", host->index + 1, host->life, alive ? ", takes the dataplane over" : "");
    ls_ctrl_start(host->ctrl, &host->disk, alive, host_now(sim, host));
    if (alive)
        link_up(sim, host);
    sim->lines_changed = true;
    after(sim, host);
}

void sim_host_ctrl_ends(struct sim *sim, struct sim_host *host, uint64_t away)
{
    if (host->ctrl == NULL)
        return;
    SIM_TRACE(sim, "n%u ctrl ends", host->index + 1);
    if (host->writing && sim_rng_below(&sim->rng_ctrl, 2) == 0)
        record_write(sim, host); /* two slots: the old record or the new one */
    host->writing = false;
    ls_ctrl_destroy(host->ctrl);
    host->ctrl = NULL;
    host->life++;
    host->linked = false;
    host->line_life += sim_rng_below(&sim->rng_ctrl, 2) == 0; /* what it had sent still comes, or does not */
    host->actor.at = UINT64_MAX;
    host->actor.ticket++;
    host->paused_until = 0;
    sim_bulk_forget(sim, host);
    sim->lines_changed = true;
    if (away != UINT64_MAX)
        note(sim, host, SIM_MESSAGE_BOOT, host->life, 0, away);
}

void sim_host_boot(struct sim *sim, struct sim_host *host, uint64_t delay)
{
    note(sim, host, SIM_MESSAGE_BOOT, host->life, 0, delay);
}

/* Machine, ctrl and dataplane go down together; it comes back after `away`. */
void sim_host_crash(struct sim *sim, struct sim_host *host, uint64_t away)
{
    sim->node[host->index].disk.power = true;
    sim_host_dataplane_ends(sim, host, "the machine crashed");
    sim->node[host->index].disk.power = false;
    sim_host_ctrl_ends(sim, host, away);
    sim_clock_draw(&host->clock, &sim->rng_turns, sim->script != NULL);
}

/* ---- what arrives ---- */

static bool is_for_ctrl(uint8_t kind)
{
    return kind == SIM_MESSAGE_UP || kind == SIM_MESSAGE_DEATH || kind == SIM_MESSAGE_DISK ||
           kind == SIM_MESSAGE_PEER || kind == SIM_MESSAGE_PEER_UP || kind == SIM_MESSAGE_PEER_DOWN ||
           kind == SIM_MESSAGE_RESTORED;
}

static void message_run(struct sim *sim, struct sim_host *host, struct sim_message *message);

/* A ctrl that stood still finds everything in the order in which it came. */
static void later_run(struct sim *sim, struct sim_host *host)
{
    while (host->later_head != host->later_tail && sim->now >= host->paused_until)
        message_run(sim, host, &sim->message[host->later[host->later_head++ % SIM_MESSAGES]]);
}

void sim_host_message(struct sim *sim, uint32_t index)
{
    struct sim_message *message = &sim->message[index];
    struct sim_host *host = &sim->host[message->to];
    if (is_for_ctrl(message->kind)) {
        later_run(sim, host);
        if (host->ctrl != NULL && sim->now < host->paused_until) {
            host->later[host->later_tail++ % SIM_MESSAGES] = index;
            plan(sim, host);
            return;
        }
    }
    message_run(sim, host, message);
}

static void message_run(struct sim *sim, struct sim_host *host, struct sim_message *message)
{
    bool kept = false;
    switch ((enum sim_message_kind)message->kind) {
    case SIM_MESSAGE_DOWN:
        kept = down_arrives(sim, host, message);
        break;
    case SIM_MESSAGE_UP:
        up_arrives(sim, host, message);
        break;
    case SIM_MESSAGE_DEATH:
        if (host->ctrl != NULL && message->life == host->life) {
            ls_ctrl_dataplane_down(host->ctrl, "killed by signal 9", host_now(sim, host));
            after(sim, host);
        }
        break;
    case SIM_MESSAGE_SPAWNED:
        if (message->life == host->process_life)
            process_start(sim, host);
        break;
    case SIM_MESSAGE_DISK:
        disk_done(sim, host, message);
        break;
    case SIM_MESSAGE_BOOT:
        if (message->life == host->life)
            boot(sim, host);
        break;
    case SIM_MESSAGE_PEER:
    case SIM_MESSAGE_LINE:
    case SIM_MESSAGE_PEER_UP:
    case SIM_MESSAGE_PEER_DOWN:
        sim_line_message(sim, host, message);
        break;
    case SIM_MESSAGE_RESTORED:
        sim_bulk_answer(sim, host, message);
        break;
    case SIM_MESSAGE_SERVICE:
        if (message->life == host->life && host->ctrl != NULL)
            sim_host_crash(sim, host, SIM_MS);
        break;
    }
    if (!kept)
        sim_message_free(sim, message);
}

void sim_host_after(struct sim *sim, struct sim_host *host)
{
    after(sim, host);
}

uint64_t sim_host_now(const struct sim *sim, const struct sim_host *host)
{
    return host_now(sim, host);
}

/* ---- the beginning ---- */

void sim_founders(const struct sim *sim, struct ls_membership *members)
{
    memset(members, 0, sizeof(*members));
    for (uint32_t i = 0; i < sim->config.founders; i++)
        members->member[members->count++] =
            sim_member(sim, i, i < sim->config.founders - sim->config.learners ? LS_MEMBER_VOTER : LS_MEMBER_LEARNER);
}

struct ls_member sim_member(const struct sim *sim, uint32_t index, enum ls_member_role role)
{
    return (struct ls_member){.node = (uint16_t)(index + 1),
                              .role = (uint16_t)role,
                              .addr = sim->node[index].addr,
                              .ctrl = {.ip = 0x0a020001u + index, .port = 7401}};
}

/* An operator's bootstrap makes the record, once in the life of a node. */
void sim_host_bootstrap(struct sim *sim, struct sim_host *host)
{
    host->disk = (struct ls_durable){.cluster = SIM_CLUSTER,
                                     .generation = 1,
                                     .node = (uint16_t)(host->index + 1),
                                     .founder = host->index < sim->config.founders};
    sim_founders(sim, &host->disk.members);
    host->has_record = true;
    host->on = true;
}

void sim_host_start(struct sim *sim, uint32_t index)
{
    struct sim_host *host = &sim->host[index];
    struct sim_config *c = &sim->config;
    uint8_t *stack = host->bulk.stack;
    memset(host, 0, sizeof(*host));
    host->bulk.stack = stack;
    host->life = 1; /* what earlier schedules have left in the queues is gone */
    host->index = index;
    host->actor.at = host->bulk.actor.at = UINT64_MAX;
    sim_clock_draw(&host->clock, &sim->rng_turns, sim->script != NULL);
    host->config = (struct ls_ctrl_config){.cluster = SIM_CLUSTER,
                                           .generation = 1,
                                           .node = (uint16_t)(index + 1),
                                           .first_sequencer = c->first_sequencer,
                                           .times = c->times};
    host->config.durability = sim->durability;
    sim_disk_wipe(&sim->node[index].disk);
    sim->node[index].disk_once = 0;
    sim_disk_init(&sim->node[index].disk, sim);
    sim_founders(sim, &host->config.founders);
    host->io = (struct ls_ctrl_io){.user = host,
                                   .persist = effect_persist,
                                   .spawn = effect_spawn,
                                   .kill = effect_kill,
                                   .dataplane_send = effect_dataplane_send,
                                   .peer_send = effect_peer_send,
                                   .peers = effect_peers,
                                   .checkpoint_get = effect_checkpoint_get,
                                   .command_done = effect_command_done,
                                   .say = effect_say};
}

void sim_host_stop(struct sim *sim, struct sim_host *host)
{
    sim_bulk_stop(sim, host);
    sim_node_stop(sim, &sim->node[host->index]);
    sim_disk_wipe(&sim->node[host->index].disk);
    if (host->ctrl != NULL)
        ls_ctrl_destroy(host->ctrl);
    host->ctrl = NULL;
    free(host->transfer.bytes);
    host->transfer.bytes = NULL;
}

void sim_messages_reset(struct sim *sim)
{
    sim->messages_free = SIM_MESSAGES;
    for (uint32_t i = 0; i < SIM_MESSAGES; i++) {
        sim->message[i].used = false;
        sim->message_free[i] = SIM_MESSAGES - 1 - i;
    }
    memset(sim->line, 0, sizeof(sim->line));
    sim->lines_changed = false;
}
