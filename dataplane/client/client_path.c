/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When the client core tries again, and where: round trips as measured, what is due, silence, BUSY, and the views that
 * say who the sequencer is. Called by client_core.c and client_read.c; one thread.
 */
#include "client_internal.h"

#define SENT_ALREADY(c) ((c)->requests.used & ~(c)->requests.want)

/* ---- time-outs ---- */

void ls_client_estimate(struct ls_client_core *c, struct estimate *estimate, uint64_t sample_ns)
{
    if (estimate->srtt == 0) {
        estimate->srtt = max_u64(sample_ns, 1);
        estimate->var = sample_ns / 2;
    } else {
        uint64_t off = sample_ns > estimate->srtt ? sample_ns - estimate->srtt : estimate->srtt - sample_ns;
        estimate->var = estimate->var - estimate->var / 4 + off / 4;
        estimate->srtt = max_u64(estimate->srtt - estimate->srtt / 8 + sample_ns / 8, 1);
    }
    /* Under load a round trip is mostly waiting in queues, which varies more than its recent past says, and a repeat
     * adds to the load: four of them, or more where they vary much. */
    uint64_t rto = max_u64(4 * estimate->srtt + estimate->var, estimate->srtt + 4 * estimate->var);
    estimate->rto = min_u64(max_u64(rto, c->retry_min_ns), c->retry_max_ns);
}

/* An answer to something that was sent more than once says nothing of the round trip but an upper bound. Still it may
 * be that each try is repeated too early, so the time-out grows until an answer comes in time (Karn). */
void ls_client_estimate_repeated(struct ls_client_core *c, struct estimate *estimate, uint64_t most_ns)
{
    uint64_t rto = min_u64(2 * estimate->rto, 2 * most_ns);
    estimate->rto = min_u64(max_u64(estimate->rto, rto), c->retry_max_ns);
}

/* ---- which node ---- */

static void lane_wait(struct lane *lane, uint64_t due_ns)
{
    for (uint64_t left = lane->used & ~lane->want; left; left &= left - 1) {
        struct slot *slot = &lane->slot[__builtin_ctzll(left)];
        slot->flags |= SLOT_BUSY;
        slot->due_ns = min_u64(slot->due_ns, due_ns);
        lane->timer_ns = min_u64(lane->timer_ns, slot->due_ns);
    }
}

/* The node answers but knows no better: what is out goes out again after one time-out, at the next node. */
static void requests_wait(struct ls_client_core *c, uint64_t now_ns)
{
    uint64_t due_ns = now_ns + min_u64(c->requests.estimate.rto, SEARCH_NS);
    c->requests_to.rounds = ROUNDS_MAX;
    lane_wait(&c->requests, due_ns);
    if (!c->read_apart)
        lane_wait(&c->reads, due_ns);
    c->open_due_ns = min_u64(c->open_due_ns, due_ns);
    c->open_busy = true;
}

static void lane_send_again(struct lane *lane)
{
    for (uint64_t left = lane->used & ~lane->want; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        lane->slot[i].backoff = 0;
    }
    lane->want = lane->used;
}

/* Requests go to another node from now on, at once also those that are out. */
static void requests_move(struct ls_client_core *c, uint32_t at, bool at_once, uint64_t now_ns)
{
    c->requests_to.at = at;
    c->requests_to.rounds = 0;
    c->requests_to.fresh = !at_once;
    if (!at_once)
        return;
    lane_send_again(&c->requests);
    if (!c->read_apart)
        lane_send_again(&c->reads);
    c->open_due_ns = min_u64(c->open_due_ns, now_ns);
    c->open_backoff = 0;
    c->open_busy = true; /* the next try is no sign of silence */
}

static bool is_silent(const struct ls_client_core *c, uint32_t at, uint64_t now_ns)
{
    return c->peer[at].silent_until_ns > now_ns;
}

/* The next node in order; those that were silent lately only where all others were too. */
static uint32_t path_next(const struct ls_client_core *c, uint32_t at, uint64_t now_ns)
{
    uint32_t next = at;
    for (uint32_t i = 0; i < c->peers; i++) {
        next = next + 1 < c->peers ? next + 1 : 0;
        if (next != at && !is_silent(c, next, now_ns))
            return next;
    }
    return at + 1 < c->peers ? at + 1 : 0;
}

void ls_client_path_count(struct ls_client_core *c, struct path *path, bool silent, uint64_t now_ns)
{
    /* What is due now was sent elsewhere; it goes there first. A client that left again at once, because the node
     * before was silent, went round for ever and never came to the one that all others named. */
    if (path->fresh) {
        path->fresh = false;
        return;
    }
    if (silent) {
        path->quiet += path->quiet < UINT32_MAX;
        /* Who searches already does not wait twice at each node. */
        path->rounds = path->rotations > 0 ? ROUNDS_MAX : min_u32(path->rounds + 1, ROUNDS_MAX);
    }
    if (path->rounds < ROUNDS_MAX || (path == &c->reads_to && c->read_pinned))
        return;
    if (silent)
        c->peer[path->at].silent_until_ns = now_ns + SILENT_NS;
    path->at = path_next(c, path->at, now_ns);
    path->rounds = 0;
    if (path->rotations < BACKOFF_MAX)
        path->rotations++;
}

/* Marks everything that is due for sending, a little early where that shares a frame; finds the next time. */
void ls_client_lane_due(struct ls_client_core *c, struct lane *lane, struct path *path, uint64_t now_ns)
{
    uint64_t due = 0;
    uint64_t soon = 0;
    bool silent = false;
    uint64_t timer_ns = NEVER;
    uint64_t soon_ns = NEVER;
    uint64_t slack_ns = c->retry_min_ns / 4;
    for (uint64_t left = lane->used; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctzll(left);
        struct slot *slot = &lane->slot[i];
        if (!(slot->flags & SLOT_ABANDONED))
            timer_ns = min_u64(timer_ns, slot->submit_ns + c->give_up_ns);
        if (lane->want >> i & 1)
            continue;
        if (slot->due_ns <= now_ns) {
            due |= 1ull << i;
            silent |= !(slot->flags & SLOT_BUSY);
        } else if (slot->due_ns <= now_ns + slack_ns) {
            soon |= 1ull << i;
            soon_ns = min_u64(soon_ns, slot->due_ns);
        } else {
            timer_ns = min_u64(timer_ns, slot->due_ns);
        }
    }
    lane->timer_ns = timer_ns;
    if (!due) {
        lane->timer_ns = min_u64(timer_ns, soon_ns);
        return;
    }
    for (uint64_t left = due | soon; left; left &= left - 1) {
        struct slot *slot = &lane->slot[__builtin_ctzll(left)];
        if (!(slot->flags & SLOT_BUSY) && slot->backoff < BACKOFF_MAX)
            slot->backoff++;
    }
    lane->want |= due | soon;
    uint32_t at = path->at;
    ls_client_path_count(c, path, silent, now_ns);
    /* All that is open goes to the next node together: it answers no request whose predecessors it has not got, so
     * those that go round at different times would each find it silent. */
    if (path->at != at)
        lane->want |= lane->used;
}

uint32_t ls_client_peer_find(const struct ls_client_core *c, struct ls_addr addr)
{
    if (ls_addr_equal(c->peer[c->requests_to.at].addr, addr))
        return c->requests_to.at;
    for (uint32_t i = 0; i < c->peers; i++)
        if (ls_addr_equal(c->peer[i].addr, addr))
            return i;
    return PEERS_MAX;
}

/* The members of a view stand behind the configured nodes, those that are both only once. Paths keep their node. */
static void peers_set(struct ls_client_core *c, const struct ls_member_record *member, uint32_t members)
{
    struct ls_addr requests_at = c->peer[c->requests_to.at].addr;
    struct ls_addr reads_at = c->peer[c->reads_to.at].addr;
    c->peers = c->configured;
    c->requests_to.at = c->reads_to.at = 0;
    for (uint32_t i = 0; i < members; i++) {
        struct ls_addr addr = {.ip = member[i].ip, .port = member[i].port};
        uint32_t at = 0;
        while (at < c->peers && !ls_addr_equal(c->peer[at].addr, addr))
            at++;
        if (at == c->peers)
            c->peer[c->peers++] = (struct peer){.addr = addr};
    }
    for (uint32_t i = 0; i < c->peers; i++) {
        if (ls_addr_equal(c->peer[i].addr, requests_at))
            c->requests_to.at = i;
        if (ls_addr_equal(c->peer[i].addr, reads_at))
            c->reads_to.at = i;
    }
}

void ls_client_view(struct ls_client_core *c, const struct ls_frame *frame, bool redirect, uint64_t now_ns)
{
    const struct ls_view_body *view = ls_frame_body(frame->data);
    bool from_target = ls_addr_equal(c->peer[c->requests_to.at].addr, frame->peer);
    if (view->sequencer == 0) {
        if (redirect && from_target)
            requests_wait(c, now_ns);
        return;
    }
    if (view->epoch < c->view_epoch) {
        /* It was left behind, or removed and not told: its answers are no reason to stay with it. */
        if (redirect && from_target)
            requests_wait(c, now_ns);
        return;
    }
    const struct ls_member_record *member = (const void *)(view + 1);
    const struct ls_member_record *sequencer = NULL;
    for (uint32_t i = 0; i < view->members; i++)
        if (member[i].node == view->sequencer)
            sequencer = &member[i];
    if (!sequencer)
        return;
    struct ls_addr addr = {.ip = sequencer->ip, .port = sequencer->port};

    bool newer = view->epoch > c->view_epoch;
    if (newer || view->time >= c->view_time || ls_client_peer_find(c, addr) == PEERS_MAX) {
        peers_set(c, member, view->members);
        c->view_time = view->time;
    }
    c->view_epoch = view->epoch;
    uint32_t at = ls_client_peer_find(c, addr);
    if (newer) {
        c->peer[at].silent_until_ns = 0;
        /* What it already has goes out again: the old sequencer may have died with it. */
        if (at != c->requests_to.at || SENT_ALREADY(c))
            requests_move(c, at, true, now_ns);
    } else if (at != c->requests_to.at && is_silent(c, at, now_ns)) {
        /* It has not noticed yet that this one is gone; who leads next is learnt by asking round. */
        if (from_target)
            requests_wait(c, now_ns);
    } else if (at != c->requests_to.at) {
        /* Two nodes that send us to and fro, or one that is silent though it is named: once per time-out. */
        bool at_once = elapsed_ns(now_ns, c->redirect_ns) >= c->requests.estimate.rto;
        if (at_once)
            c->redirect_ns = now_ns;
        requests_move(c, at, at_once, now_ns);
    }
}

void ls_client_slot_busy(struct ls_client_core *c, struct lane *lane, struct path *path, uint32_t i,
                         const struct ls_busy_body *busy, uint64_t now_ns)
{
    struct slot *slot = &lane->slot[i];
    uint64_t wait_ns = busy->retry_after ? busy->retry_after : lane->estimate.rto;
    wait_ns = min_u64(max_u64(wait_ns, c->retry_min_ns), c->retry_max_ns);
    slot->flags |= SLOT_BUSY;
    if (slot->told == 0 || slot->told >= LS_STATUS_BUSY_LOG)
        slot->told = busy->status;
    slot->due_ns = now_ns + wait_ns;
    lane->timer_ns = min_u64(lane->timer_ns, slot->due_ns);
    /* It will not get better by waiting for this node alone. */
    if (busy->status == LS_STATUS_NO_SEQUENCER || busy->status == LS_STATUS_HALTED ||
        busy->status == LS_STATUS_BUSY_SUSPENDED)
        path->rounds = ROUNDS_MAX;
}
