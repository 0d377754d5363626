/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a worker says of itself in the counters page: that it goes round (heartbeat), how busy it is, its longest turn.
 * Written by the worker's thread alone; a "turn" here is one call of its poll function, so a long one is either long
 * work or a core that was taken away.
 */
#ifndef LOCKSTEP_WORKERS_METER_H
#define LOCKSTEP_WORKERS_METER_H

#include <lockstep/counters.h>

struct ls_meter {
    struct ls_worker_page *page;
    uint64_t start_ns;
    uint64_t heartbeat, busy_ns, longest_ns; /* the page's words again, so that its lines are only written */
};

void ls_meter_start(struct ls_meter *meter, struct ls_worker_page *page, uint32_t cpu, uint64_t now_ns);
void ls_meter_stop(struct ls_meter *meter);

static inline void ls_meter_turn(struct ls_meter *meter, uint64_t begin_ns, uint64_t end_ns, uint32_t work)
{
    struct ls_worker_page *page = meter->page;
    uint64_t spent = end_ns - begin_ns;

    atomic_store_explicit(&page->heartbeat, ++meter->heartbeat, memory_order_relaxed);
    atomic_store_explicit(&page->heartbeat_ns, end_ns, memory_order_relaxed);
    atomic_store_explicit(&page->total_ns, end_ns - meter->start_ns, memory_order_relaxed);
    if (work > 0) {
        meter->busy_ns += spent;
        atomic_store_explicit(&page->busy_ns, meter->busy_ns, memory_order_relaxed);
    }
    if (spent > meter->longest_ns) {
        meter->longest_ns = spent;
        atomic_store_explicit(&page->longest_turn_ns, spent, memory_order_relaxed);
    }
}

#endif
