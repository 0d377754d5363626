/* SPDX-License-Identifier: BSD-3-Clause */
/* Wasting time on purpose. See slow.h. The worker's thread. */
#include "slow.h"

#include <stddef.h>
#include <time.h>

#include "clock.h"

#define LOOK_NS (5ull * 1000 * 1000) /* at `stop`, while it stands still */

void ls_slow_waste(struct ls_slow *slow, const _Atomic bool *stop)
{
    uint64_t begin = ls_now_ns();
    uint64_t turn = atomic_load_explicit(&slow->turn_ns, memory_order_relaxed);
    uint64_t pause = atomic_exchange_explicit(&slow->pause_ns, 0, memory_order_relaxed);

    for (uint64_t spent = 0; spent < pause && !atomic_load_explicit(stop, memory_order_acquire);
         spent = ls_now_ns() - begin) {
        uint64_t left = pause - spent;
        struct timespec nap = {.tv_nsec = (long)(left < LOOK_NS ? left : LOOK_NS)};

        (void)nanosleep(&nap, NULL); /* a signal ends it early: the loop looks at the clock */
    }
    begin = ls_now_ns();
    while (ls_now_ns() - begin < turn) /* busy, as a slow worker is */
        ;
}
