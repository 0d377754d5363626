/* SPDX-License-Identifier: BSD-3-Clause */
/* Beginning and end of a worker's page; the part of every turn is inline in meter.h. The worker's thread. */
#include "meter.h"

void ls_meter_start(struct ls_meter *meter, struct ls_worker_page *page, uint32_t cpu, uint64_t now_ns)
{
    *meter = (struct ls_meter){.page = page, .start_ns = now_ns};
    atomic_store_explicit(&page->heartbeat_ns, now_ns, memory_order_relaxed);
    atomic_store_explicit(&page->cpu, cpu, memory_order_relaxed);
}

void ls_meter_stop(struct ls_meter *meter)
{
    atomic_store_explicit(&meter->page->cpu, UINT64_MAX, memory_order_relaxed);
}
