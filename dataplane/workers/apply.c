/* SPDX-License-Identifier: BSD-3-Clause */
/* One turn of the apply worker; net is woken where there is something to send or to answer. */
#include "apply.h"

#include <stddef.h>

#define STALL_RETRY_NS (100ull * 1000) /* memory comes back by grace periods of a millisecond */

uint32_t ls_apply_poll(struct ls_apply_worker *worker, uint64_t now_ns)
{
    bool swaps = atomic_load_explicit(&worker->seam->image, memory_order_relaxed) != NULL;
    uint32_t work = ls_executor_turn(worker->executor, now_ns);

    if (worker->net != NULL) {
        uint64_t applied = atomic_load_explicit(&worker->seam->applied, memory_order_relaxed);

        if (applied != worker->applied_seen || swaps || !ls_spsc_is_empty(&worker->seam->replies)) {
            worker->applied_seen = applied;
            ls_waker_wake(worker->net);
        }
    }
    return work;
}

uint64_t ls_apply_next_ns(struct ls_apply_worker *worker, uint64_t now_ns)
{
    uint64_t commit = atomic_load_explicit(&worker->seam->commit, memory_order_acquire);

    /* Entries wait although the last turn did nothing: it waits for memory. */
    if (atomic_load_explicit(&worker->seam->applied, memory_order_relaxed) < commit)
        return now_ns + STALL_RETRY_NS;
    return UINT64_MAX;
}
