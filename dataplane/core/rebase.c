/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Log and state are replaced by a checkpoint's, in place. net and apply each swap what is theirs: net hands the image
 * to apply over the seam, waits without blocking its turn until apply has swapped machine and sessions, then lets the
 * log begin anew behind the cut. Between the two nothing is written to the log, nothing is read from the state and no
 * order is taken. Net thread.
 *
 * What must hold here: commit and applied never fall (C2, L3); a replica that counts loses nothing that it acknowledged
 * and that is still needed (C6): a cut is committed, so what its log holds beyond commit and below the cut's end either
 * stands in the cut too or can never be committed; what was acknowledged in an epoch is held to that epoch's end.
 */
#include "replica_internal.h"

#include <errno.h>

#define POLL_NS 20000ull /* apply is on its way; nobody else wakes net for it */

bool ls_rebase_runs(const struct ls_replica *r)
{
    return r->image != NULL;
}

/* A cut beside which this replica can go on: without members there is nobody to go on with. */
static bool cut_is_usable(const struct ls_cut *cut)
{
    return ls_cut_is_sane(cut) && cut->members.seq != 0 && ls_standing_is_well_formed(&cut->members);
}

/* Beside a log of this generation, or in an epoch that others joined, it would be another history. */
static bool older_is_right(const struct ls_replica *r)
{
    return r->role == LS_ROLE_OUTSIDE && !r->counts && (r->log->last_seq == 0 || r->log->disowned);
}

static uint32_t rebase_check(const struct ls_replica *r, const struct ls_order *order)
{
    if (order->image == NULL || order->image->machine == NULL || order->image->sessions == NULL)
        return EINVAL;
    /* A sequencer and a verified follower that counts miss nothing. */
    if (ls_replica_is_sequencer(r) || r->role == LS_ROLE_HALTED || (r->role == LS_ROLE_FOLLOWER && r->counts))
        return EBUSY;
    const struct ls_cut *cut = &order->image->cut;
    if (!cut_is_usable(cut))
        return EBADMSG;
    if (order->image->older && !older_is_right(r))
        return EPERM;
    if (cut->epoch[cut->epochs - 1].epoch > r->epoch)
        return EAGAIN; /* it must be sealed at that epoch first */
    /* What was reached is already being counted on, though COUNT may still be on its way; and what was acknowledged in
     * this epoch can be heard late, behind the question that follows, and be counted on with COUNT. */
    uint64_t floor = r->counts || r->config.resumed || r->reached || r->acknowledged ? r->log->end : r->commit;
    return cut->position < floor && !ls_mutant(REBASE_OLDER) ? ESTALE : 0;
}

static void rebased(struct ls_replica *r, uint64_t id, uint32_t code)
{
    (void)ls_replica_event(
        r,
        &(struct ls_event){.kind = LS_EVENT_REBASED, .id = id, .epoch = r->epoch, .last = r->log->end, .code = code});
}

void ls_rebase_begin(struct ls_replica *r, const struct ls_order *order, uint64_t now_ns)
{
    uint32_t refused = rebase_check(r, order);
    if (refused != 0) {
        rebased(r, order->id, refused);
        return;
    }
    ls_reads_refuse(r, LS_STATUS_NO_SEQUENCER, now_ns);
    ls_log_drop_partial(r->log);
    ls_repair_reset(&r->repair, r->repair.delay_ns);
    r->question_open = false;
    r->ack_due = false;
    if (r->sequencer != 0)
        ls_replica_set_role(r, LS_ROLE_UNVERIFIED);
    r->image = order->image;
    r->image_id = order->id;
    r->image_machine = order->image->machine; /* apply exchanges it, so it is taken before */
    /* Release: pairs with apply's acquire; it sees the whole image. */
    atomic_store_explicit(&r->seam->image, order->image, memory_order_release);
}

uint32_t ls_rebase_turn(struct ls_replica *r, uint64_t now_ns)
{
    /* Acquire: pairs with apply's release of NULL behind its swap. */
    if (r->image == NULL || atomic_load_explicit(&r->seam->image, memory_order_acquire) != NULL || ls_durable_waits(r))
        return 0;
    const struct ls_cut *cut = &r->image->cut;
    ls_durable_rebase(r, cut);
    ls_log_rebase(r->log, cut);
    if (r->image->older)
        ls_log_disown(r->log);
    r->machine = r->image_machine;
    r->commit = r->applied = cut->position;
    r->commit_seq = r->applied_seq = cut->seq;
    atomic_store_explicit(&r->seam->commit, cut->position, memory_order_release);
    if (ls_replica_log_time(r, now_ns) < cut->time) {
        r->clock_base = cut->time;
        r->clock_base_ns = now_ns;
    }
    r->fresh_since_ns = 0;
    ls_pull_reset(r);
    ls_admission_reset(r);
    ls_standing_follow(r);
    r->image = NULL;
    ls_count(r->counters, rebases);
    rebased(r, r->image_id, 0);
    return 1;
}

uint64_t ls_rebase_next_ns(const struct ls_replica *r, uint64_t now_ns)
{
    bool swapped = atomic_load_explicit(&r->seam->image, memory_order_acquire) == NULL;
    return swapped && !ls_durable_waits(r) ? now_ns : now_ns + POLL_NS;
}
