/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A replica's roles and epochs, the dispatch of frames to the parts that handle them, and the loop turn. Net thread.
 *
 * What must hold here: a frame is judged by its epoch first; nothing of an epoch other than the promised one is written
 * or acknowledged; a seal forgets everything that is not a complete entry of the log.
 */
#include "replica_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define EPOCH_TELL_NS  10000000ull /* an epoch that control knows of is told again at most this often */
#define EVENTS_POLL_NS 1000000ull  /* control, which does not get on, wakes nobody when it does */

static int config_complete(struct ls_replica_config *c)
{
    if (c->node == 0 || c->node > LS_NODE_ID_MAX || c->incarnation == 0)
        return -EINVAL;
    if (c->window == 0 || c->window > LS_WINDOW_MAX)
        return -EINVAL;
    if (c->sessions_max == 0 || c->sessions_max > LS_SESSIONS_MAX || c->op_max < LS_OP_SMALL_MAX ||
        c->op_max > LS_OP_MAX)
        return -EINVAL;
#define DEFAULT(field, value)                                                                                          \
    if (c->field == 0)                                                                                                 \
    c->field = (value)
    DEFAULT(heartbeat_ns, 1000000);
    DEFAULT(suspend_ns, 100000000);
    DEFAULT(tick_ns, 10000000);
    DEFAULT(reorder_min_ns, 20000);
    DEFAULT(reorder_max_ns, 2000000);
    DEFAULT(question_ns, 2000000);
    DEFAULT(pull_idle_ns, 500000000);
    DEFAULT(inflight_max, 1024 * 1024);
#undef DEFAULT
    return 0;
}

struct ls_replica *ls_replica_create(const struct ls_replica_config *config, struct ls_log *log, struct ls_seam *seam,
                                     struct ls_io *io, const struct ls_state_machine *type, struct ls_machine *machine,
                                     struct ls_replica_page *page, struct ls_counters *counters)
{
    struct ls_replica *r = calloc(1, sizeof(*r));
    if (r == NULL)
        return NULL;
    r->config = *config;
    r->log = log;
    r->seam = seam;
    r->io = io;
    r->type = type;
    r->machine = machine;
    r->page = page;
    r->counters = counters;
    r->identity = (struct ls_wire_identity){.cluster = config->cluster,
                                            .generation = config->generation,
                                            .group = config->group,
                                            .node = config->node,
                                            .incarnation = config->incarnation};
    int error = config_complete(&r->config);
    if (error == 0 && r->config.sessions_max > seam->sessions_max)
        error = -EINVAL;
    /* The largest entry must fit with room to spare, or it could wait for ever. */
    if (error == 0 && ls_entry_size(r->config.op_max) > log->size / 2)
        error = -EINVAL;
    if (error == 0)
        error = ls_admission_init(r);
    if (error == 0)
        error = ls_durable_init(r);
    if (error == 0)
        error = ls_pull_init(r);
    if (error == 0)
        error = ls_reads_init(r);
    if (error != 0) {
        ls_replica_destroy(r);
        errno = -error;
        return NULL;
    }
    r->epoch = config->promise;
    r->role = LS_ROLE_OUTSIDE;
    r->commit = atomic_load_explicit(&seam->commit, memory_order_relaxed);
    if (r->commit < log->base)
        r->commit = log->base;
    r->commit_seq = ls_log_seq_at(log, r->commit) - 1;
    r->durable = atomic_load_explicit(&seam->durable, memory_order_relaxed);
    r->told_change = log->memberships_changes - (log->memberships > 0); /* what was read back is told like any other */
    ls_standing_follow(r);
    ls_repair_reset(&r->repair, r->config.reorder_min_ns * 2);
    atomic_store_explicit(&seam->epoch, r->epoch, memory_order_relaxed);
    return r;
}

void ls_replica_destroy(struct ls_replica *r)
{
    if (r == NULL)
        return;
    ls_admission_free(r);
    ls_durable_free(r);
    ls_pull_free(r);
    ls_reads_free(r);
    free(r);
}

bool ls_replica_is_sequencer(const struct ls_replica *r)
{
    return r->role == LS_ROLE_OPENING || r->role == LS_ROLE_SEQUENCER || r->role == LS_ROLE_SUSPENDED;
}

bool ls_replica_event(struct ls_replica *r, const struct ls_event *event)
{
    return ls_spsc_push(&r->seam->events, event);
}

void ls_replica_done(struct ls_replica *r, uint64_t id, uint32_t code)
{
    (void)ls_replica_event(r, &(struct ls_event){.kind = LS_EVENT_DONE, .id = id, .epoch = r->epoch, .code = code});
}

void ls_replica_set_role(struct ls_replica *r, enum ls_role role)
{
    if (r->role == role)
        return;
    r->role = role;
    atomic_store_explicit(&r->seam->serving, ls_replica_is_sequencer(r), memory_order_release);
    r->role_due = true;
    ls_replica_role_tell(r);
}

void ls_replica_role_tell(struct ls_replica *r)
{
    if (!r->role_due || ls_spsc_room(&r->seam->events) <= LS_EVENTS_ANSWERS)
        return;
    r->role_due = false;
    (void)ls_replica_event(r, &(struct ls_event){.kind = LS_EVENT_ROLE,
                                                 .epoch = r->epoch,
                                                 .role = (uint16_t)r->role,
                                                 .node = r->sequencer,
                                                 .code = r->halt});
}

void ls_replica_halt(struct ls_replica *r, enum ls_halt reason, uint64_t now_ns)
{
    r->halt = reason;
    ls_replica_set_role(r, LS_ROLE_HALTED);
    ls_change_clear(r);
    ls_reads_refuse(r, LS_STATUS_HALTED, now_ns);
}

uint64_t ls_replica_log_time(const struct ls_replica *r, uint64_t now_ns)
{
    return r->clock_base + (now_ns > r->clock_base_ns ? now_ns - r->clock_base_ns : 0);
}

bool ls_replica_alloc(struct ls_replica *r, struct ls_frame *frame, struct ls_addr peer)
{
    if (!r->io->alloc(r->io, frame)) {
        ls_count(r->counters, drop_no_buffer);
        return false;
    }
    frame->peer = peer;
    return true;
}

void *ls_replica_begin(struct ls_replica *r, struct ls_frame *frame, uint8_t type)
{
    return ls_frame_begin(&r->identity, frame->data, type, r->epoch);
}

void ls_replica_send(struct ls_replica *r, struct ls_frame *frame, const void *end)
{
    frame->length = ls_frame_end(frame->data, end);
    r->io->send(r->io, frame);
}

void ls_replica_commit(struct ls_replica *r, uint64_t commit)
{
    assert(commit >= r->commit && commit <= r->log->end);
    r->commit = commit;
    /* Release: apply, which acquires it, sees the bytes below. */
    atomic_store_explicit(&r->seam->commit, commit, memory_order_release);
    if (ls_mutant(MEMBERS_LAG))
        ls_standing_follow(r);
}

void ls_replica_epoch_clear(struct ls_replica *r, uint64_t now_ns)
{
    for (uint32_t i = 0; i < r->peers; i++) {
        struct ls_peer *peer = &r->peer[i];
        struct ls_peer fresh = {
            .node = peer->node, .voter = peer->voter, .addr = peer->addr, .incarnation = peer->incarnation};
        *peer = fresh;
        atomic_store_explicit(&r->page->acked[peer->node], 0, memory_order_relaxed);
    }
    for (uint32_t n = 0; n <= LS_NODE_ID_MAX; n++)
        r->left[n] = (struct ls_peer){.node = r->left[n].node, .incarnation = r->left[n].incarnation};
    r->sequencer = 0;
    r->sequencer_incarnation = 0;
    r->joining = false;
    r->ack_due = false;
    r->acknowledged = false;
    r->probe_seen = 0;
    r->question_open = false;
    r->question_tries = 0;
    r->epoch_end = 0;
    r->probe = r->probe_echoed = 0;
    r->probe_wanted = false;
    r->probe_ns = 0;
    r->view_due = r->view_opened = false;
    ls_change_clear(r);
    r->fresh_since_ns = 0;
    r->fresh_time = 0;
    if (!ls_mutant(RANGES_KEPT))
        ls_repair_reset(&r->repair, r->repair.delay_ns);
    if (!ls_mutant(PARTIAL_KEPT))
        ls_log_drop_partial(r->log);
    if (!ls_mutant(READ_KEPT))
        ls_reads_refuse(r, LS_STATUS_NO_SEQUENCER, now_ns);
    ls_pull_reset(r);
    ls_durable_forget(r);
    ls_admission_reset(r);
}

static void seal(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns)
{
    uint64_t last_epoch = ls_log_last_epoch(r->log);
    if (ls_mutant(LAST_EPOCH_OWN) && last_epoch != 0)
        last_epoch = r->epoch;
    if (order->epoch > r->epoch) {
        ls_replica_epoch_clear(r, now_ns);
        r->epoch = order->epoch;
        atomic_store_explicit(&r->seam->epoch, r->epoch, memory_order_relaxed);
        /* Who was joining starts over: the next sequencer has not named what it must hold. */
        if (r->role != LS_ROLE_HALTED)
            ls_replica_set_role(r, ls_standing_rest(r));
    }
    (void)ls_replica_event(r, &(struct ls_event){.kind = LS_EVENT_SEALED,
                                                 .id = order->id,
                                                 .epoch = r->epoch,
                                                 .last_epoch = last_epoch,
                                                 .last = r->log->end,
                                                 .last_seq = r->log->last_seq,
                                                 .code = r->counts,
                                                 .members = *ls_standing_members(r)});
}

static uint32_t install_check(const struct ls_replica *r, const struct ls_order *order)
{
    if (r->role == LS_ROLE_HALTED)
        return 4;
    bool any = ls_mutant(INSTALL_ANY_INCARNATION);
    if ((order->incarnation != r->config.incarnation || !r->counts) && !any)
        return 2;
    bool sealed = r->role == LS_ROLE_SEALED || (any && r->role == LS_ROLE_OUTSIDE);
    if (ls_mutant(INSTALL_UNSEALED) && !ls_replica_is_sequencer(r))
        sealed = true;
    if (!sealed || (r->epoch != order->epoch && !ls_mutant(INSTALL_UNSEALED)) || order->epoch == 0)
        return 1;
    if (!r->member)
        return 3; /* a learner that voters elected may lead: its own copy counts for no commit */
    if (!ls_durable_has_room(r, r->log->end, 1024))
        return 5;
    return 0;
}

static void install(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns)
{
    uint32_t refused = install_check(r, order);
    if (refused == 0 && r->epoch != order->epoch) { /* of a deliberately broken variant alone */
        ls_replica_epoch_clear(r, now_ns);
        r->epoch = order->epoch;
        atomic_store_explicit(&r->seam->epoch, r->epoch, memory_order_relaxed);
    }
    if (refused == 0)
        ls_sequencer_open(r, now_ns);
    (void)ls_replica_event(
        r, &(struct ls_event){.kind = LS_EVENT_INSTALLED, .id = order->id, .epoch = r->epoch, .code = refused});
}

static void epoch_seen(struct ls_replica *r, uint64_t epoch, uint16_t node, uint64_t now_ns)
{
    ls_count(r->counters, drop_epoch_new);
    if (epoch <= r->epoch_told && now_ns - r->epoch_told_ns < EPOCH_TELL_NS)
        return;
    r->epoch_told = epoch;
    r->epoch_told_ns = now_ns;
    if (ls_spsc_room(&r->seam->events) > 16) /* the others are said once, this again and again */
        (void)ls_replica_event(r, &(struct ls_event){.kind = LS_EVENT_EPOCH_SEEN, .epoch = epoch, .node = node});
}

/* A frame that only the promised epoch's sequencer sends. It was elected, whether this log names it a voter yet or not:
 * a difference of membership is no reason to drop it, for it may be what brings the membership that names it. */
static bool sequencer_accept(struct ls_replica *r, const struct ls_frame *frame, const struct ls_frame_header *header)
{
    if (r->role == LS_ROLE_SEALED || (ls_mutant(OUTSIDE_ACKS) && r->role == LS_ROLE_OUTSIDE)) {
        r->sequencer = header->sender;
        r->sequencer_incarnation = header->incarnation;
        r->sequencer_addr = frame->peer;
        ls_replica_set_role(r, LS_ROLE_UNVERIFIED);
        return true;
    }
    if (ls_replica_is_sequencer(r) || r->sequencer != header->sender ||
        r->sequencer_incarnation != header->incarnation) {
        ls_count(r->counters, drop_second_sequencer);
        return false;
    }
    r->sequencer_addr = frame->peer; /* as the log has it by now, where JOIN had an older one */
    return true;
}

static bool is_a_members(const struct ls_replica *r, struct ls_addr addr)
{
    for (uint32_t i = 0; i < r->peers; i++) {
        if (ls_addr_equal(r->peer[i].addr, addr))
            return true;
    }
    return false;
}

/* The sender is a member at its address; or one that this log does not know, or not there, who says what only the
 * epoch's sequencer says: it may be what brings the membership that names it so. */
static bool sender_is_known(const struct ls_replica *r, const struct ls_frame *frame,
                            const struct ls_frame_header *header, const struct ls_peer *peer)
{
    if (peer != NULL && ls_addr_equal(frame->peer, peer->addr))
        return true;
    if (header->sender == r->config.node || (peer != NULL && is_a_members(r, frame->peer)))
        return false;
    if (r->sequencer == header->sender && !ls_addr_equal(frame->peer, r->sequencer_addr))
        return false;
    return header->type == LS_FRAME_ORDER || header->type == LS_FRAME_HEARTBEAT ||
           (header->type == LS_FRAME_RANGE && r->sequencer == header->sender);
}

static void input_member(struct ls_replica *r, const struct ls_frame *frame, const struct ls_frame_header *header,
                         uint64_t now_ns)
{
    uint32_t index = r->peer_of[header->sender]; /* the frame check has seen that it is no higher */
    struct ls_peer *peer = index == 0 ? NULL : &r->peer[index - 1];
    if (!sender_is_known(r, frame, header, peer)) {
        ls_count(r->counters, drop_sender);
        return;
    }
    if (peer != NULL && header->incarnation < peer->incarnation && !ls_mutant(INCARNATION_IGNORED)) {
        ls_count(r->counters, drop_incarnation);
        return;
    }
    bool from_sequencer = header->type == LS_FRAME_ORDER || header->type == LS_FRAME_HEARTBEAT;
    bool silent = r->role == LS_ROLE_OUTSIDE && !ls_mutant(OUTSIDE_ACKS);
    if (header->epoch > r->epoch) {
        if (from_sequencer && !silent)
            epoch_seen(r, header->epoch, peer != NULL && ls_addr_equal(frame->peer, peer->addr) ? header->sender : 0,
                       now_ns);
        else
            ls_count(r->counters, drop_epoch_new);
        return;
    }
    if (header->epoch < r->epoch && !(ls_mutant(EPOCH_OLD_ACCEPTED) && from_sequencer && r->sequencer == 0)) {
        ls_count(r->counters, drop_epoch_old);
        return;
    }
    /* Of this epoch: replayed frames of older ones make no dead node look alive. */
    atomic_store_explicit(&r->page->heard_ns[header->sender], now_ns, memory_order_relaxed);
    if (r->role == LS_ROLE_HALTED || silent || ls_rebase_runs(r)) {
        ls_count(r->counters, drop_role);
        return;
    }
    if (from_sequencer) {
        if (!sequencer_accept(r, frame, header))
            return;
        if (header->type == LS_FRAME_ORDER)
            ls_follower_order(r, frame->data, now_ns);
        else
            ls_follower_heartbeat(r, frame->data, now_ns);
        return;
    }
    switch (header->type) {
    case LS_FRAME_ACK:
        if (ls_replica_is_sequencer(r))
            ls_sequencer_ack(r, peer, frame->data, now_ns);
        else
            ls_count(r->counters, drop_role);
        break;
    case LS_FRAME_FETCH:
        ls_repair_serve(r, peer, frame->data);
        break;
    case LS_FRAME_RANGE:
        ls_follower_range(r, frame->data, now_ns);
        break;
    default:
        ls_count(r->counters, drop_direction);
    }
}

void ls_replica_input(struct ls_replica *r, const struct ls_frame *frame, uint64_t now_ns)
{
    ls_count(r->counters, frames_in);
    ls_count_add(r->counters, LS_COUNT_bytes_in, frame->length);
    enum ls_counter reason = ls_frame_check(&r->identity, frame->data, frame->length);
    if (reason != 0) {
        ls_count_add(r->counters, reason, 1);
        return;
    }
    const struct ls_frame_header *header = ls_frame_header(frame->data);
    if (header->sender != 0) {
        input_member(r, frame, header, now_ns);
        return;
    }
    switch (header->type) {
    case LS_FRAME_REQUEST:
        ls_admission_request(r, frame, now_ns);
        break;
    case LS_FRAME_READ:
        ls_reads_input(r, frame, now_ns);
        break;
    case LS_FRAME_FRAGMENT:
        ls_pull_fragment(r, frame, now_ns);
        break;
    default:
        ls_count(r->counters, drop_direction);
    }
}

static void order_take(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns)
{
    switch (order->kind) {
    case LS_ORDER_SEAL:
        seal(r, order, now_ns);
        break;
    case LS_ORDER_INSTALL:
        install(r, order, now_ns);
        break;
    case LS_ORDER_FOUND:
        ls_standing_found(r, order);
        break;
    case LS_ORDER_JOIN:
        ls_standing_join(r, order);
        break;
    case LS_ORDER_COUNT:
        ls_standing_count(r, order);
        break;
    case LS_ORDER_ADMIT:
        ls_change_admit(r, order);
        break;
    case LS_ORDER_CHANGE:
        ls_change_members(r, order, now_ns);
        break;
    case LS_ORDER_HANDOVER:
        ls_change_handover(r, order, now_ns);
        break;
    case LS_ORDER_REBASE:
        ls_rebase_begin(r, order, now_ns);
        break;
    default:
        assert(false); /* control gives no others */
    }
}

static bool answers_have_room(const struct ls_replica *r)
{
    return ls_spsc_room(&r->seam->events) >= LS_EVENTS_ANSWERS;
}

static uint32_t orders_take(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_order order;
    uint32_t work = 0;
    while (!ls_rebase_runs(r) && answers_have_room(r) && ls_spsc_pop(&r->seam->orders, &order)) {
        order_take(r, &order, now_ns);
        work++;
    }
    return work;
}

static uint32_t replies_send(struct ls_replica *r)
{
    struct ls_reply_frame reply;
    uint32_t work = 0;
    while (work < 2 * LS_BURST && ls_spsc_pop(&r->seam->replies, &reply)) {
        if (reply.hold == 0)
            r->io->send(r->io, &reply.frame);
        else
            ls_durable_reply(r, &reply);
        work++;
    }
    return work;
}

static void page_update(struct ls_replica *r)
{
    struct ls_replica_page *page = r->page;
#define STORE(field, value) atomic_store_explicit(&page->field, (value), memory_order_relaxed)
    STORE(epoch, r->epoch);
    STORE(role, r->role);
    STORE(halt_reason, r->halt);
    STORE(sequencer, ls_replica_is_sequencer(r) ? r->config.node : r->sequencer);
    STORE(counts, r->counts);
    STORE(members_seq, ls_standing_members(r)->seq);
    STORE(last_epoch, ls_log_last_epoch(r->log));
    STORE(last, r->log->end);
    STORE(last_seq, r->log->last_seq);
    STORE(commit, r->commit);
#undef STORE
}

uint32_t ls_replica_turn(struct ls_replica *r, uint64_t now_ns)
{
    /* Acquire: what apply made visible before. applied_seq is loaded after it, so it is at least as new. */
    r->applied = atomic_load_explicit(&r->seam->applied, memory_order_acquire);
    r->applied_seq = atomic_load_explicit(&r->seam->applied_seq, memory_order_acquire);
    uint32_t work = ls_rebase_turn(r, now_ns);
    work += ls_durable_turn(r, now_ns);
    work += orders_take(r, now_ns);
    r->bulk = LS_BULK_FRAMES_PER_TURN;
    if (ls_replica_is_sequencer(r))
        work += ls_sequencer_turn(r, now_ns);
    else if (r->role == LS_ROLE_UNVERIFIED || r->role == LS_ROLE_FOLLOWER)
        work += ls_follower_turn(r, now_ns);
    if (!ls_rebase_runs(r))
        work += ls_reads_turn(r, now_ns);
    work += replies_send(r);
    work += ls_standing_turn(r);
    atomic_store_explicit(&r->seam->time, ls_replica_log_time(r, now_ns), memory_order_relaxed);
    page_update(r);
    return work;
}

uint64_t ls_replica_next_ns(const struct ls_replica *r, uint64_t now_ns)
{
    if (ls_rebase_runs(r))
        return ls_spsc_is_empty(&r->seam->replies) ? ls_rebase_next_ns(r, now_ns) : now_ns;
    /* What the other threads have put into the seam since the last turn. */
    if ((!ls_spsc_is_empty(&r->seam->orders) && answers_have_room(r)) || !ls_spsc_is_empty(&r->seam->replies) ||
        atomic_load_explicit(&r->seam->applied, memory_order_acquire) != r->applied ||
        atomic_load_explicit(&r->seam->applied_seq, memory_order_acquire) != r->applied_seq || ls_durable_moved(r))
        return now_ns;
    uint64_t next = ls_reads_next_ns(r);
    uint64_t role = UINT64_MAX;
    if (r->role_due || !ls_spsc_is_empty(&r->seam->orders))
        next = next < now_ns + EVENTS_POLL_NS ? next : now_ns + EVENTS_POLL_NS;
    if (ls_replica_is_sequencer(r))
        role = ls_sequencer_next_ns(r, now_ns);
    else if (r->role == LS_ROLE_UNVERIFIED || r->role == LS_ROLE_FOLLOWER)
        role = ls_follower_next_ns(r, now_ns);
    return next < role ? next : role;
}

void ls_replica_view(const struct ls_replica *r, struct ls_replica_view *view)
{
    bool sequencer = ls_replica_is_sequencer(r);
    *view = (struct ls_replica_view){
        .epoch = r->epoch,
        .role = r->role,
        .halt = r->halt,
        .sequencer = sequencer ? r->config.node : r->sequencer,
        .sequencer_incarnation = sequencer ? r->config.incarnation : r->sequencer_incarnation,
        .verified = sequencer                     ? r->log->end
                    : r->role == LS_ROLE_FOLLOWER ? r->log->filled
                                                  : 0,
        .commit = r->commit,
        .counts = r->counts,
        .held = r->held_tail - r->held_head,
    };
}
