/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What the ring has let go and the journal still has, for members that are far behind: a window of it, asked for over
 * the seam. Net thread.
 *
 * What must hold here: only committed bytes come this way, so they are those of every log that goes as far; and while
 * somebody else fills the window it is not looked at.
 */
#include "replica_internal.h"

static bool is_ours(const struct ls_replica *r)
{
    return r->seam->past_bytes != NULL &&
           atomic_load_explicit(&r->seam->past_taken, memory_order_acquire) == r->past_asked;
}

/* A window that came back empty: what lies there is gone, and with it everything before. */
static void reach_follow(struct ls_replica *r)
{
    const struct ls_seam *seam = r->seam;
    if (r->past_asked != 0 && seam->past_from == seam->past_end && r->past_reach <= seam->past_want &&
        !ls_mutant(PAST_HELD_FOR_EVER))
        r->past_reach = seam->past_want + 1;
}

uint64_t ls_past_reach(struct ls_replica *r)
{
    uint64_t oldest = ls_log_oldest(r->log);
    if (r->seam->past_bytes == NULL)
        return oldest;
    if (is_ours(r))
        reach_follow(r);
    return r->past_reach < oldest ? r->past_reach : oldest;
}

const uint8_t *ls_past_at(const struct ls_replica *r, uint64_t position, uint64_t *length)
{
    const struct ls_seam *seam = r->seam;
    if (position >= ls_log_oldest(r->log)) {
        *length = UINT64_MAX; /* the caller knows how far it goes */
        return ls_log_at(r->log, position);
    }
    if (!is_ours(r) || position < seam->past_from || position >= seam->past_end)
        return NULL;
    *length = seam->past_end - position;
    return seam->past_bytes + (position - seam->past_from);
}

void ls_past_want(struct ls_replica *r, uint64_t position)
{
    if (!is_ours(r) || position < r->past_reach)
        return;
    r->seam->past_want = position;
    atomic_store_explicit(&r->seam->past_asked, ++r->past_asked, memory_order_release);
    ls_count(r->counters, past_windows);
}
