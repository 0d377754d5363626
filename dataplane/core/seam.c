/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Memory of the seam: one mapping for the session array and the queues, touched page by page as it is used. Called by
 * the main thread before the workers start and after they have ended.
 */
#include <assert.h>
#include <errno.h>
#include <sys/mman.h>

#include <lockstep/limits.h>

#include "seam.h"

/* Each part begins on a cache line of its own. */
static size_t part_size(size_t count, size_t size)
{
    return (count * size + 63) & ~(size_t)63;
}

static size_t mapping_size(uint32_t sessions_max)
{
    return part_size(sessions_max, sizeof(struct ls_session_public)) +
           part_size(LS_REPEATS_QUEUE, sizeof(struct ls_repeat)) +
           part_size(LS_REPLIES_QUEUE, sizeof(struct ls_reply_frame)) +
           part_size(LS_ORDERS_QUEUE, sizeof(struct ls_order)) + part_size(LS_EVENTS_QUEUE, sizeof(struct ls_event));
}

int ls_seam_init(struct ls_seam *seam, uint32_t sessions_max)
{
    assert(sessions_max >= 1 && sessions_max <= LS_SESSIONS_MAX);
    memset(seam, 0, sizeof(*seam));
    uint8_t *at = mmap(NULL, mapping_size(sessions_max), PROT_READ | PROT_WRITE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (at == MAP_FAILED)
        return -ENOMEM;
    seam->sessions = (struct ls_session_public *)at; /* zeros: every slot free */
    seam->sessions_max = sessions_max;
    at += part_size(sessions_max, sizeof(struct ls_session_public));
    ls_spsc_init(&seam->repeats, at, LS_REPEATS_QUEUE, sizeof(struct ls_repeat));
    at += part_size(LS_REPEATS_QUEUE, sizeof(struct ls_repeat));
    ls_spsc_init(&seam->replies, at, LS_REPLIES_QUEUE, sizeof(struct ls_reply_frame));
    at += part_size(LS_REPLIES_QUEUE, sizeof(struct ls_reply_frame));
    ls_spsc_init(&seam->orders, at, LS_ORDERS_QUEUE, sizeof(struct ls_order));
    at += part_size(LS_ORDERS_QUEUE, sizeof(struct ls_order));
    ls_spsc_init(&seam->events, at, LS_EVENTS_QUEUE, sizeof(struct ls_event));
    return 0;
}

void ls_seam_free(struct ls_seam *seam)
{
    if (seam->sessions)
        munmap(seam->sessions, mapping_size(seam->sessions_max));
    memset(seam, 0, sizeof(*seam));
}

/* What is durable of the log that commit speaks of. While a log begins anew net publishes its commit, which may lie in
 * what the journal still has of the old one: behind `asked`, so that who sees the one sees the other. */
uint64_t ls_seam_past_limit(const struct ls_seam *seam)
{
    uint64_t commit = atomic_load_explicit(&seam->commit, memory_order_acquire);
    uint64_t asked = atomic_load_explicit(&seam->journal_asked, memory_order_relaxed);
    if (atomic_load_explicit(&seam->journal_taken, memory_order_acquire) != asked)
        return 0;
    uint64_t durable = atomic_load_explicit(&seam->durable, memory_order_acquire);
    return commit < durable ? commit : durable;
}
