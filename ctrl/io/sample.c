/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the page word by word: each is whole, all together need not be of one moment, and nothing here depends on
 * that. A comparison point is taken only where its seq stood still around its digest. ctrl's one thread.
 */
#include "sample.h"

#include <string.h>

#include "../../dataplane/workers/idle.h"

#define WAKE_UP_NS (10ull * 1000 * 1000) /* after a sleep's end, on cores that others use too */

static uint64_t word(const _Atomic uint64_t *value)
{
    return atomic_load_explicit(value, memory_order_relaxed);
}

static void workers_read(struct ls_ctrl_sample *sample, const struct ls_counters_page *page, bool may_sleep,
                         uint64_t now_ns)
{
    for (int i = 0; i < LS_WORKERS; i++) {
        const struct ls_worker_page *worker = &page->worker[i];
        uint64_t beat_ns = word(&worker->heartbeat_ns);
        bool runs = word(&worker->cpu) != UINT64_MAX && beat_ns != 0;

        sample->turns[i] = runs ? word(&worker->heartbeat) : UINT64_MAX;
        /* A sleep is bounded: within its bound silence is meant, beyond it is not. */
        sample->asleep[i] =
            runs && may_sleep && word(&worker->sleeps) > 0 && now_ns < beat_ns + LS_IDLE_SLEEP_MAX_NS + WAKE_UP_NS;
    }
}

/* However often its worker turns: while a write hangs the journal makes no progress. */
static void disk_read(struct ls_ctrl_sample *sample, const struct ls_counters_page *page, uint64_t now_ns)
{
    uint64_t oldest_ns = word(&page->journal.oldest_ns);

    if (sample->turns[LS_WORKER_JOURNAL] == UINT64_MAX || oldest_ns == 0 || now_ns < oldest_ns + LS_SAMPLE_DISK_NS)
        return;
    sample->turns[LS_WORKER_JOURNAL] = oldest_ns; /* the same until that write completes */
    sample->asleep[LS_WORKER_JOURNAL] = false;
}

static void digests_read(struct ls_ctrl_sample *sample, const struct ls_replica_page *replica)
{
    for (int i = 0; i < LS_DIGESTS_KEPT; i++) {
        uint64_t seq = atomic_load_explicit(&replica->digests[i].seq, memory_order_acquire);
        uint64_t digest = atomic_load_explicit(&replica->digests[i].digest, memory_order_acquire);

        if (seq != atomic_load_explicit(&replica->digests[i].seq, memory_order_acquire))
            seq = digest = 0; /* being replaced: the next reading has it */
        sample->digest_seq[i] = seq;
        sample->digest[i] = digest;
    }
}

void ls_sample_read(struct ls_ctrl_sample *sample, const struct ls_counters_page *page, bool may_sleep, uint64_t now_ns)
{
    const struct ls_replica_page *replica = &page->replica;

    workers_read(sample, page, may_sleep, now_ns);
    disk_read(sample, page, now_ns);
    for (int node = 0; node <= LS_NODE_ID_MAX; node++) {
        sample->heard_ns[node] = word(&replica->heard_ns[node]);
        sample->acked_seq[node] = word(&replica->acked_seq[node]);
    }
    sample->epoch = word(&replica->epoch);
    sample->last_epoch = word(&replica->last_epoch);
    sample->last = word(&replica->last);
    sample->last_seq = word(&replica->last_seq);
    sample->commit = word(&replica->commit);
    sample->applied_seq = word(&replica->applied_seq);
    sample->members_seq = word(&replica->members_seq);
    sample->role = (uint16_t)word(&replica->role);
    sample->halt = (uint16_t)word(&replica->halt_reason);
    sample->sequencer = (uint16_t)word(&replica->sequencer);
    sample->counts = word(&replica->counts) != 0;
    sample->scrub_damaged = word(&replica->scrub_damaged);
    digests_read(sample, replica);
}
