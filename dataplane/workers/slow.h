/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A fault on purpose: a worker that wastes time in every turn, or stands still for a while as a hung one does (it holds
 * up grace periods too). Off: one predictable branch per turn. Control sets it, the worker's thread obeys.
 */
#ifndef LOCKSTEP_WORKERS_SLOW_H
#define LOCKSTEP_WORKERS_SLOW_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LS_SLOW_TURN_MAX_NS  (100ull * 1000 * 1000)
#define LS_SLOW_PAUSE_MAX_NS (60ull * 1000 * 1000 * 1000)

struct ls_slow {
    _Atomic uint64_t turn_ns;  /* control; wasted in each turn */
    _Atomic uint64_t pause_ns; /* control sets, the worker takes it and sets 0 */
};

static inline bool ls_slow_is_set(const struct ls_slow *slow)
{
    return (atomic_load_explicit(&slow->turn_ns, memory_order_relaxed) |
            atomic_load_explicit(&slow->pause_ns, memory_order_relaxed)) != 0;
}

/* Wastes what is set; returns early once *stop. */
void ls_slow_waste(struct ls_slow *slow, const _Atomic bool *stop);

#endif
