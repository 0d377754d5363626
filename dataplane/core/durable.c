/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What this replica may answer for: its log, as far as it is held in memory or, under durability `journal`, as far as
 * its disk has it. Follows the journal worker over the seam, and tells it where the log became another. Net thread.
 *
 * What must hold here: under `journal` nothing is answered for, in an acknowledgement or by the sequencer's own copy,
 * that a power cut could take away (L4, P14); bytes that are not on the disk, or not behind a commit that a restart
 * knows of, are not overwritten in the ring (L7), so that a restart finds the journal to reach the ring's beginning.
 */
#include "replica_internal.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

bool ls_durable_is_asked(const struct ls_replica *r)
{
    return r->config.durability == LS_DURABLE_JOURNAL;
}

static bool has_journal(const struct ls_replica *r)
{
    return r->config.durability == LS_DURABLE_JOURNAL || r->config.durability == LS_DURABLE_ASYNC;
}

/* A write that runs while a tail becomes another would bring some of the new one to the disk, below a mark that speaks
 * of the old one: nothing is written to the ring until the journal has taken the change. */
bool ls_durable_has_room(const struct ls_replica *r, uint64_t position, uint64_t length)
{
    return !r->journal_waits && ls_log_has_room(r->log, position, length, r->floor);
}

uint64_t ls_durable_own(const struct ls_replica *r)
{
    return r->durable < r->log->end ? r->durable : r->log->end;
}

uint64_t ls_durable_end(const struct ls_replica *r)
{
    return !ls_durable_is_asked(r) || ls_mutant(ACK_BEFORE_DISK) ? r->log->end : ls_durable_own(r);
}

/* One change at a time: its fields are the journal's until it has taken them. What was written from `from` on is not
 * answered for any more. */
static void journal_ask(struct ls_replica *r, uint64_t from)
{
    assert(!r->journal_waits);
    if (r->durable > from)
        r->durable = from;
    if (r->floor > from)
        r->floor = from;
    r->journal_waits = true;
    atomic_store_explicit(&r->seam->journal_from, from, memory_order_relaxed);
    /* Release: pairs with the journal's acquire of `asked`; it sees the fields. */
    atomic_store_explicit(&r->seam->journal_asked, ++r->journal_asked, memory_order_release);
}

bool ls_durable_waits(const struct ls_replica *r)
{
    return r->journal_waits;
}

int ls_durable_truncate(struct ls_replica *r, uint64_t position)
{
    bool changes = has_journal(r) && position < r->log->end;
    if (changes && r->journal_waits)
        return -EAGAIN;
    /* The end falls before the journal hears of it: until it has, it finds nothing to write. */
    int error = ls_log_truncate(r->log, position);
    if (error == 0 && changes)
        journal_ask(r, position);
    return error;
}

void ls_durable_rebase(struct ls_replica *r, const struct ls_cut *cut)
{
    struct ls_seam *seam = r->seam;
    if (!has_journal(r))
        return;
    /* The end falls to where both logs agree, and only then the journal hears of the new one: it may have taken that
     * before the new end is published, and would take the old log's bytes behind the cut for the new one's. */
    int error = ls_log_truncate(r->log, r->commit);
    assert(error == 0); /* nothing at or above commit was ever overwritten here, in the ring or in the index */
    (void)error;
    atomic_store_explicit(&seam->journal_base, cut->position, memory_order_relaxed);
    atomic_store_explicit(&seam->journal_base_seq, cut->seq, memory_order_relaxed);
    atomic_store_explicit(&seam->journal_base_time, cut->time, memory_order_relaxed);
    atomic_store_explicit(&seam->journal_base_chain, cut->chain, memory_order_relaxed);
    journal_ask(r, cut->position);
    r->durable = 0; /* until the disk knows where the log begins now */
}

uint32_t ls_durable_turn(struct ls_replica *r, uint64_t now_ns)
{
    struct ls_seam *seam = r->seam;
    if (!has_journal(r)) {
        r->floor = r->applied;
        return 0;
    }
    if (atomic_load_explicit(&seam->journal_error, memory_order_relaxed) != 0 && r->role != LS_ROLE_HALTED)
        ls_replica_halt(r, LS_HALT_DISK, now_ns);
    /* Acquire, in this order: what `taken` was stored behind is in `durable`, or newer. */
    if (atomic_load_explicit(&seam->journal_taken, memory_order_acquire) != r->journal_asked)
        return 0;
    r->journal_waits = false;
    uint64_t durable = atomic_load_explicit(&seam->durable, memory_order_acquire);
    uint64_t marked = atomic_load_explicit(&seam->marked, memory_order_acquire);
    uint64_t floor = r->applied < durable ? r->applied : durable;
    floor = floor < marked ? floor : marked;
    if (ls_mutant(RING_BEFORE_DISK))
        floor = r->applied;
    r->floor = floor & ~(uint64_t)(LS_DISK_BLOCK - 1); /* whole blocks are written, from the ring */
    if (durable == r->durable)
        return 0;
    r->durable = durable;
    r->acks_changed = true; /* the sequencer's own copy */
    if (r->role == LS_ROLE_FOLLOWER)
        r->ack_due = true;
    return 1;
}

bool ls_durable_moved(const struct ls_replica *r)
{
    const struct ls_seam *seam = r->seam;
    return has_journal(r) && atomic_load_explicit(&seam->journal_taken, memory_order_acquire) == r->journal_asked &&
           (atomic_load_explicit(&seam->durable, memory_order_relaxed) != r->durable || r->journal_waits);
}

/* ---- answers that wait for disks ---- */

int ls_durable_init(struct ls_replica *r)
{
    r->held = calloc(LS_HELD_MAX, sizeof(*r->held));
    return r->held == NULL ? -ENOMEM : 0;
}

void ls_durable_free(struct ls_replica *r)
{
    if (r->held != NULL)
        ls_durable_forget(r);
    free(r->held);
}

void ls_durable_forget(struct ls_replica *r)
{
    for (; r->held_head != r->held_tail; r->held_head++) {
        ls_count(r->counters, drop_held);
        r->io->release(r->io, &r->held[r->held_head % LS_HELD_MAX].frame);
    }
    r->disks = 0;
}

void ls_durable_reply(struct ls_replica *r, struct ls_reply_frame *reply)
{
    if (reply->hold <= r->disks || ls_mutant(ANSWER_BEFORE_DISKS)) {
        r->io->send(r->io, &reply->frame);
        return;
    }
    /* Not the sequencer any more, or more than there is room for: the client asks again. */
    if (!ls_replica_is_sequencer(r) || r->held_tail - r->held_head == LS_HELD_MAX) {
        ls_count(r->counters, drop_held);
        r->io->release(r->io, &reply->frame);
        return;
    }
    r->held[r->held_tail++ % LS_HELD_MAX] = *reply;
}

uint32_t ls_durable_disks(struct ls_replica *r, uint64_t position)
{
    uint32_t sent = 0;
    if (position > r->disks)
        r->disks = position;
    for (; r->held_head != r->held_tail && r->held[r->held_head % LS_HELD_MAX].hold <= r->disks; sent++)
        r->io->send(r->io, &r->held[r->held_head++ % LS_HELD_MAX].frame);
    return sent;
}
