/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Checkpoints from one node to another, all in memory: the source's bulk thread cuts and writes, as a coroutine that
 * stands still after each block while net and apply go on; the bytes travel, now and then damaged; the receiver's bulk
 * thread makes a state of them and has net and apply take it. Either end may go at any moment.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "session.h"
#include "sim.h"

#define STACK_SIZE (256 * 1024)
#define BYTES_MAX  (64u << 20)

static void again(struct sim *sim, struct sim_host *host, uint64_t delay)
{
    sim_plan(sim, &host->bulk.actor, SIM_EVENT_BULK, (uint16_t)host->index,
             sim->now + 1 + sim_rng_spread(&sim->rng_turns, delay));
}

static struct ls_checkpoint_job job_of(void)
{
    return (struct ls_checkpoint_job){.type = &ls_kv, .cluster = SIM_CLUSTER, .generation = 1};
}

/* ---- the answer to who asked ---- */

static void transfer_end(struct sim *sim, struct sim_host *host, int error)
{
    struct sim_transfer *t = &host->transfer;
    if (!t->busy)
        return;
    free(t->bytes);
    t->bytes = NULL;
    t->busy = false;
    t->life++;
    SIM_TRACE(sim, "n%u: the checkpoint is %s", host->index + 1, error == 0 ? "taken" : strerror(error));
    if (host->ctrl == NULL || t->stray)
        return;
    struct sim_message *message = sim_message_take(sim, SIM_MESSAGE_RESTORED, host->index, host->index, host->life);
    message->argument = (uint64_t)error;
    sim_message_send(sim, message, sim->now + 10 * SIM_US);
}

void sim_bulk_answer(struct sim *sim, struct sim_host *host, const struct sim_message *message)
{
    if (message->argument == UINT64_MAX) { /* the bytes have arrived */
        if (message->life != host->transfer.life || !host->transfer.busy)
            return;
        if (host->process != SIM_PROCESS_RUNNING || host->bulk.step != SIM_BULK_IDLE) {
            transfer_end(sim, host, EBUSY);
            return;
        }
        host->bulk.step = SIM_BULK_READING;
        again(sim, host, 100 * SIM_US);
        return;
    }
    if (host->ctrl == NULL || message->life != host->life)
        return;
    int error = (int)message->argument;
    ls_ctrl_checkpoint_done(host->ctrl, error, error != 0 ? strerror(error) : "", sim_host_now(sim, host));
    sim_host_after(sim, host);
}

/* ---- the source ---- */

/* Between two blocks the thread may stand still for any time. */
static int sink_write(struct ls_checkpoint_sink *sink, const void *bytes, size_t n)
{
    struct sim_bulk *bulk = (struct sim_bulk *)((char *)sink - offsetof(struct sim_bulk, sink));
    if (!bulk->cancelled)
        swapcontext(&bulk->there, &bulk->here);
    if (bulk->cancelled)
        return -ECANCELED;
    if (bulk->size + n > BYTES_MAX)
        return -ENOSPC;
    size_t room = (bulk->size + 65535) / 65536 * 65536;
    if (bulk->size + n > room || bulk->bytes == NULL) {
        uint8_t *more = realloc(bulk->bytes, (bulk->size + n + 65535) / 65536 * 65536);
        if (more == NULL)
            return -ENOMEM;
        bulk->bytes = more;
    }
    memcpy(bulk->bytes + bulk->size, bytes, n);
    bulk->size += n;
    return 0;
}

static struct sim_host *coroutine_host; /* an argument for the function below: makecontext() hands down no pointer */

static void coroutine(void)
{
    struct sim_host *host = coroutine_host;
    struct sim_bulk *bulk = &host->bulk;
    struct sim_node *node = &sim_world->node[host->index];
    const struct ls_checkpoint_job job = job_of();
    size_t size = 0;
    const uint8_t *sessions = ls_executor_sessions_image(node->executor, &size);
    bulk->result = ls_checkpoint_write(&job, &bulk->cut, sessions, size, node->machine, &bulk->sink);
    bulk->finished = true;
    swapcontext(&bulk->there, &bulk->here);
}

static void coroutine_run(struct sim_host *host)
{
    coroutine_host = host;
    swapcontext(&host->bulk.here, &host->bulk.there);
}

static void coroutine_begin(struct sim_host *host)
{
    struct sim_bulk *bulk = &host->bulk;
    if (bulk->stack == NULL)
        bulk->stack = malloc(STACK_SIZE);
    assert(bulk->stack != NULL);
    getcontext(&bulk->there);
    bulk->there.uc_stack.ss_sp = bulk->stack;
    bulk->there.uc_stack.ss_size = STACK_SIZE;
    bulk->there.uc_link = NULL;
    makecontext(&bulk->there, coroutine, 0);
    bulk->sink.write = sink_write;
    bulk->cancelled = bulk->finished = false;
    free(bulk->bytes);
    bulk->bytes = NULL;
    bulk->size = 0;
    bulk->step = SIM_BULK_WRITING;
}

static void source_failed(struct sim *sim, struct sim_host *host, int error)
{
    struct sim_bulk *bulk = &host->bulk;
    struct sim_host *to = bulk->for_node >= 0 ? &sim->host[bulk->for_node] : NULL;
    bulk->for_node = -1;
    if (to != NULL && to->transfer.busy && to->transfer.life == bulk->for_life)
        transfer_end(sim, to, error);
}

static void source_sends(struct sim *sim, struct sim_host *host)
{
    struct sim_bulk *bulk = &host->bulk;
    struct sim_host *to = &sim->host[bulk->for_node];
    struct sim_transfer *t = &to->transfer;
    bulk->for_node = -1;
    if (!t->busy || t->life != bulk->for_life)
        return;
    t->bytes = bulk->bytes;
    t->size = bulk->size;
    bulk->bytes = NULL;
    if (!sim->healed && sim_rng_below(&sim->rng_ctrl, 8) == 0) {
        uint64_t bit = sim_rng_below(&sim->rng_ctrl, t->size * 8);
        t->damaged = true;
        if (sim_rng_below(&sim->rng_ctrl, 4) == 0)
            t->size = bit / 8;
        else
            t->bytes[bit / 8] ^= (uint8_t)(1u << (bit % 8));
    }
    struct sim_message *message = sim_message_take(sim, SIM_MESSAGE_RESTORED, host->index, to->index, t->life);
    message->argument = UINT64_MAX;
    sim_message_send(sim, message, sim->now + 10 * sim->config.link_ns + t->size * 10);
}

static void source_turn(struct sim *sim, struct sim_host *host)
{
    struct sim_bulk *bulk = &host->bulk;
    struct sim_node *node = &sim->node[host->index];
    uint32_t state = atomic_load(&node->seam.cut_state);
    switch (bulk->step) {
    case SIM_BULK_CUT:
        if (state == LS_CUT_REFUSED) {
            atomic_store(&node->seam.cut_state, LS_CUT_NONE);
            bulk->step = SIM_BULK_IDLE;
            source_failed(sim, host, -node->seam.cut_error);
        } else if (state == LS_CUT_OPEN && atomic_load(&node->seam.cut_sessions)) {
            sim_check_cut(sim, node, &bulk->cut);
            coroutine_begin(host);
            again(sim, host, 20 * SIM_US);
        } else {
            sim_node_wake_apply(sim, node);
            again(sim, host, 50 * SIM_US);
        }
        break;
    case SIM_BULK_WRITING:
        coroutine_run(host);
        if (bulk->finished) {
            SIM_TRACE(sim, "n%u writes a checkpoint of seq %lu: %d, %zu bytes", node->id, bulk->cut.seq, bulk->result,
                      bulk->size);
            if (bulk->result == 0)
                source_sends(sim, host);
            else
                source_failed(sim, host, -bulk->result);
            atomic_store(&node->seam.cut_state, LS_CUT_ENDING);
            bulk->step = SIM_BULK_ENDING;
        }
        again(sim, host, 30 * SIM_US);
        break;
    default:
        if (state == LS_CUT_NONE) {
            bulk->step = SIM_BULK_IDLE;
        } else {
            sim_node_wake_apply(sim, node);
            again(sim, host, 50 * SIM_US);
        }
    }
}

/* ---- the receiver ---- */

static int source_read(struct ls_checkpoint_source *source, void *bytes, size_t n)
{
    struct sim_bulk *bulk = (struct sim_bulk *)((char *)source - offsetof(struct sim_bulk, source));
    if (n > bulk->from_size - bulk->from_at)
        return -EBADMSG;
    memcpy(bytes, bulk->from + bulk->from_at, n);
    bulk->from_at += n;
    return 0;
}

static void image_drop(struct sim_bulk *bulk)
{
    if (!bulk->has_image)
        return;
    if (bulk->image.machine != NULL)
        ls_kv.destroy(bulk->image.machine);
    if (bulk->image.sessions != NULL)
        ls_sessions_destroy(bulk->image.sessions);
    memset(&bulk->image, 0, sizeof(bulk->image));
    bulk->has_image = false;
}

static int checkpoint_read(struct sim *sim, struct sim_node *node, struct sim_bulk *bulk, const uint8_t *bytes,
                           size_t size)
{
    const struct sim_config *c = &sim->config;
    const struct ls_checkpoint_job job = job_of();
    struct ls_machine_limits limits = {.keys = c->keys_max, .bytes = c->bytes_max};
    memset(&bulk->image, 0, sizeof(bulk->image));
    bulk->image.machine = ls_kv.create(&limits, &node->grace);
    bulk->source.read = source_read;
    bulk->from = bytes;
    bulk->from_size = size;
    bulk->from_at = 0;
    return ls_checkpoint_read(&job, &bulk->source, c->sessions_max, &bulk->image);
}

bool sim_bulk_image(struct sim *sim, struct sim_node *node, const struct sim_checkpoint *checkpoint,
                    struct ls_image *image)
{
    struct sim_bulk *bulk = &sim->host[node->index].bulk;
    bool good = checkpoint_read(sim, node, bulk, checkpoint->bytes, checkpoint->size) == 0;
    *image = bulk->image;
    memset(&bulk->image, 0, sizeof(bulk->image));
    return good;
}

static void image_read(struct sim *sim, struct sim_host *host)
{
    struct sim_bulk *bulk = &host->bulk;
    struct sim_node *node = &sim->node[host->index];
    bulk->has_image = true;
    int error = checkpoint_read(sim, node, bulk, host->transfer.bytes, host->transfer.size);
    bool damaged = host->transfer.damaged;
    if ((error == 0) == damaged)
        sim_violate(sim, "C4", "node %u: a checkpoint that was %s is %s (%s)", node->id,
                    damaged ? "damaged" : "not damaged", error == 0 ? "taken" : "refused", strerror(-error));
    sim->stats.images_damaged += damaged;
    if (error != 0) {
        image_drop(bulk);
        bulk->step = SIM_BULK_IDLE;
        transfer_end(sim, host, -error);
        return;
    }
    sim_check_image(sim, node, &bulk->image);
    if (sim->durability != LS_DURABLE_MEMORY)
        sim_disk_keep(&node->disk, host->transfer.bytes, host->transfer.size, &bulk->image.cut);
    /* Nobody asked for it: it is there to be refused, as one that is older than the log. */
    if (host->transfer.stray && bulk->image.cut.position >= node->log->end) {
        image_drop(bulk);
        bulk->step = SIM_BULK_IDLE;
        transfer_end(sim, host, ECANCELED);
        return;
    }
    struct ls_order order = {.id = UINT64_MAX, .kind = LS_ORDER_REBASE, .image = &bulk->image};
    if (ls_spsc_room(&node->seam.orders) == 0 || !ls_spsc_push(&node->seam.orders, &order)) {
        again(sim, host, 100 * SIM_US);
        image_drop(bulk);
        return;
    }
    node->machine_next = bulk->image.machine;
    bulk->step = SIM_BULK_REBASING;
    sim_node_wake_net(sim, node);
}

void sim_bulk_rebased(struct sim *sim, struct sim_host *host, const struct ls_event *event)
{
    struct sim_bulk *bulk = &host->bulk;
    struct sim_node *node = &sim->node[host->index];
    if (bulk->step != SIM_BULK_REBASING || event->id != UINT64_MAX)
        sim_violate(sim, "C2", "node %u: REBASED %lu, which nobody waits for", node->id, event->id);
    SIM_TRACE(sim, "n%u rebased: %u", node->id, event->code);
    sim->stats.rebased += event->code == 0;
    sim->stats.rebase_refused += event->code != 0;
    if (event->code == 0) {
        struct ls_machine *old = bulk->image.machine;
        if (old != node->machine)
            sim_violate(sim, "C2", "node %u: after REBASED the image holds another machine than the old one", node->id);
        node->machine = node->machine_next;
        node->machine_next = NULL;
    } else {
        node->machine_next = NULL;
    }
    transfer_end(sim, host, (int)event->code);
    bulk->ticket = ls_grace_ticket(&node->grace);
    bulk->step = SIM_BULK_GRACE;
    again(sim, host, 100 * SIM_US);
}

void sim_bulk_turn(struct sim *sim, struct sim_host *host)
{
    struct sim_bulk *bulk = &host->bulk;
    struct sim_node *node = &sim->node[host->index];
    bulk->actor.at = UINT64_MAX;
    if (node->replica == NULL)
        return;
    if (node->paused) {
        again(sim, host, SIM_MS);
        return;
    }
    switch (bulk->step) {
    case SIM_BULK_CUT:
    case SIM_BULK_WRITING:
    case SIM_BULK_ENDING:
        source_turn(sim, host);
        break;
    case SIM_BULK_READING:
        if (host->transfer.busy)
            image_read(sim, host);
        else
            bulk->step = SIM_BULK_IDLE;
        break;
    case SIM_BULK_GRACE:
        if (ls_grace_over(&node->grace, bulk->ticket)) {
            image_drop(bulk);
            bulk->step = SIM_BULK_IDLE;
        } else {
            sim_node_wake_net(sim, node);
            again(sim, host, 100 * SIM_US);
        }
        break;
    default:
        break;
    }
}

/* ---- asking, and ends ---- */

void sim_bulk_get(struct sim *sim, struct sim_host *host, uint64_t from, uint64_t position)
{
    struct sim_transfer *t = &host->transfer;
    if (t->busy && !t->stray)
        sim_violate(sim, "C2", "node %u: ctrl asks for a second checkpoint", host->index + 1);
    if (t->busy) { /* the stray one has the bulk thread, or is dropped as it comes */
        free(t->bytes);
        t->bytes = NULL;
    }
    bool taken = t->busy && host->bulk.step >= SIM_BULK_READING;
    uint32_t life = t->life;
    *t = (struct sim_transfer){.busy = true, .life = life + 1, .source = -1, .wanted = position};
    if (taken) {
        transfer_end(sim, host, EBUSY);
        return;
    }
    uint32_t first = (uint32_t)sim_rng_below(&sim->rng_ctrl, sim->config.nodes);
    bool any = !sim->healed && sim_rng_below(&sim->rng_ctrl, 4) == 0; /* an old one: it must be refused */
    for (uint32_t k = 0; k < sim->config.nodes; k++) {
        uint32_t i = (first + k) % sim->config.nodes;
        struct sim_host *source = &sim->host[i];
        if (i == host->index || !(from >> (i + 1) & 1) || source->process != SIM_PROCESS_RUNNING ||
            source->bulk.step != SIM_BULK_IDLE || sim->node[i].paused || (sim->ctrl_cut[i] >> host->index & 1) ||
            (atomic_load(&sim->node[i].seam.applied) < position && !any))
            continue;
        t->source = (int)i;
        SIM_TRACE(sim, "n%u asks n%u for a checkpoint from %lu on", host->index + 1, i + 1, position);
        source->bulk.step = SIM_BULK_CUT;
        source->bulk.for_node = (int)host->index;
        source->bulk.for_life = t->life;
        memset(&source->bulk.cut, 0, sizeof(source->bulk.cut));
        sim->node[i].seam.cut = &source->bulk.cut;
        atomic_store(&sim->node[i].seam.cut_sessions, false);
        atomic_store(&sim->node[i].seam.cut_state, LS_CUT_WANTED);
        again(sim, source, 2 * sim->config.link_ns);
        sim_node_wake_apply(sim, &sim->node[i]);
        return;
    }
    transfer_end(sim, host, EAGAIN);
}

void sim_bulk_stray(struct sim *sim, struct sim_host *host)
{
    if (host->transfer.busy || host->bulk.step != SIM_BULK_IDLE)
        return;
    sim_bulk_get(sim, host, UINT64_MAX, 0);
    host->transfer.stray = true;
}

/* The dataplane goes, before its parts are destroyed. */
void sim_bulk_stop(struct sim *sim, struct sim_host *host)
{
    struct sim_bulk *bulk = &host->bulk;
    struct sim_node *node = &sim->node[host->index];
    if (bulk->step == SIM_BULK_WRITING && !bulk->finished) {
        bulk->cancelled = true;
        coroutine_run(host);
        assert(bulk->finished);
    }
    bool source = bulk->step == SIM_BULK_CUT || bulk->step == SIM_BULK_WRITING;
    if (source && !sim->violation.found)
        source_failed(sim, host, ECONNRESET);
    if (bulk->step == SIM_BULK_READING || bulk->step == SIM_BULK_REBASING)
        transfer_end(sim, host, ECONNRESET);
    /* Between the two swaps apply may hold the new state and net the old one: each object is destroyed once. */
    if (bulk->step == SIM_BULK_REBASING && bulk->has_image && bulk->image.machine == node->machine) {
        node->machine = node->machine_next;
    }
    node->machine_next = NULL;
    image_drop(bulk);
    free(bulk->bytes);
    bulk->bytes = NULL;
    bulk->step = SIM_BULK_IDLE;
    bulk->actor.at = UINT64_MAX;
    bulk->actor.ticket++;
}

/* The ctrl that asked is gone: nobody wants the answer. */
void sim_bulk_forget(struct sim *sim, struct sim_host *host)
{
    struct sim_transfer *t = &host->transfer;
    (void)sim;
    if (host->bulk.step == SIM_BULK_REBASING)
        return; /* it goes on in the dataplane; its end is for nobody */
    free(t->bytes);
    t->bytes = NULL;
    t->busy = false;
    t->life++;
}
