/* SPDX-License-Identifier: BSD-3-Clause */
/* One turn of the journal worker. See journal.h. */
#include "journal.h"

#include <stddef.h>

static void set(_Atomic uint64_t *word, uint64_t value)
{
    atomic_store_explicit(word, value, memory_order_relaxed);
}

static void raise(_Atomic uint64_t *word, uint64_t value)
{
    if (value > atomic_load_explicit(word, memory_order_relaxed))
        set(word, value);
}

/* How much a power cut could take now: an entry of which a part is durable goes, too. The oldest byte that is not
 * durable came after the last sample whose end is: so the time is never said too short, and at most about twice as long
 * as it is. */
static void lag_measure(struct ls_journal_worker *w, uint64_t durable, uint64_t entry, uint64_t now_ns)
{
    uint64_t end = atomic_load_explicit(&w->log->published_end, memory_order_relaxed);
    uint64_t bytes = end > entry ? end - entry : 0;
    if (durable >= w->sample_end) {
        w->passed_ns = bytes == 0 ? now_ns : w->sample_ns;
        w->sample_end = end;
        w->sample_ns = now_ns;
    }
    uint64_t lag_ns = bytes == 0 ? 0 : now_ns - w->passed_ns;
    set(&w->page->lag_bytes, bytes);
    set(&w->page->lag_ns, lag_ns);
    raise(&w->page->lag_bytes_max, bytes);
    raise(&w->page->lag_ns_max, lag_ns);
}

static void page_write(struct ls_journal_worker *w, uint64_t durable, uint64_t now_ns)
{
    struct ls_journal_stats stats;
    ls_journal_stats(w->journal, &stats);
    lag_measure(w, durable, stats.entry, now_ns);
    bool moves = atomic_load_explicit(&w->seam->journal_asked, memory_order_relaxed) !=
                 atomic_load_explicit(&w->seam->journal_taken, memory_order_relaxed);
    set(&w->page->durable, moves ? 0 : durable); /* of the log that there is now */
    set(&w->page->oldest_ns, stats.oldest_ns);
    set(&w->page->writes, stats.writes);
    set(&w->page->bytes, stats.bytes);
    set(&w->page->states, stats.states);
    set(&w->page->longest_ns, stats.longest_ns);
    set(&w->page->faults, ls_disk_fault_count(w->fault));
    set(&w->page->error, atomic_load_explicit(&w->seam->journal_error, memory_order_relaxed));
}

static void trim(struct ls_journal_worker *w)
{
    uint64_t verified = atomic_load_explicit(&w->verified, memory_order_relaxed);
    if (verified <= w->trimmed + w->keep)
        return;
    w->trimmed = ls_journal_trim(w->journal, verified - w->keep);
}

uint32_t ls_journal_worker_poll(struct ls_journal_worker *w, uint64_t now_ns)
{
    uint32_t work = ls_journal_poll(w->journal, now_ns);
    uint64_t durable = atomic_load_explicit(&w->seam->durable, memory_order_relaxed);
    uint64_t taken = atomic_load_explicit(&w->seam->journal_taken, memory_order_relaxed);
    uint32_t error = atomic_load_explicit(&w->seam->journal_error, memory_order_relaxed);
    page_write(w, durable, now_ns);
    if (work > 0)
        trim(w);
    if (w->net != NULL && (durable != w->durable_seen || taken != w->taken_seen || error != w->error_seen))
        ls_waker_wake(w->net);
    w->durable_seen = durable;
    w->taken_seen = taken;
    w->error_seen = error;
    return work;
}

uint64_t ls_journal_worker_next_ns(const struct ls_journal_worker *w, uint64_t now_ns)
{
    return ls_journal_next_ns(w->journal, now_ns);
}
