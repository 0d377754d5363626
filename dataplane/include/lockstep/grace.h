/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Grace periods as two counters. The gp thread alone writes them: it raises `started`, waits until every registered
 * worker has passed a quiescent state (liburcu's synchronize_rcu; in the simulator: between two turns), then raises
 * `completed`. A writer that has unlinked something takes a ticket and may reuse the memory once it is over. Nobody
 * in a worker ever waits. The counters cannot wrap in the life of a process (64 bits).
 */
#ifndef LOCKSTEP_GRACE_H
#define LOCKSTEP_GRACE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

struct ls_grace {
    _Atomic uint64_t started;
    _Atomic uint64_t completed;
};

/* Writer, after the stores that unlink. The fence keeps those stores before the load: if the load does not see grace
 * period k, then k begins after the unlinking, so every reader that could hold the memory is waited for by k. Pairs
 * with the fence in ls_grace_begin(). */
static inline uint64_t ls_grace_ticket(struct ls_grace *grace)
{
    atomic_thread_fence(memory_order_seq_cst);
    return atomic_load_explicit(&grace->started, memory_order_relaxed) + 1;
}

/* Writer. Acquire: what readers did before the end of the grace period is over before the memory is written again. */
static inline bool ls_grace_over(struct ls_grace *grace, uint64_t ticket)
{
    return atomic_load_explicit(&grace->completed, memory_order_acquire) >= ticket;
}

/* gp thread only: begin, wait for every worker, end. */
static inline void ls_grace_begin(struct ls_grace *grace)
{
    uint64_t k = atomic_load_explicit(&grace->started, memory_order_relaxed) + 1;
    atomic_store_explicit(&grace->started, k, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

static inline void ls_grace_end(struct ls_grace *grace)
{
    uint64_t k = atomic_load_explicit(&grace->started, memory_order_relaxed);
    atomic_store_explicit(&grace->completed, k, memory_order_release);
}

#endif
