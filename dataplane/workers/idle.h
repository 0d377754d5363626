/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a thread does while there is nothing to do, and how others wake it without losing a wake-up.
 *
 * The sleeper                                  The waker
 *   asleep = 1                                   publishes work (a push, a release store)
 *   fence (seq_cst)                              fence (seq_cst)
 *   looks for work once more, everywhere         reads asleep; if 1: asleep = 0, writes the eventfd
 *   none: sleeps on {port, eventfd} until `next`
 *   asleep = 0
 *
 * The two fences are a pair (Dekker): either the sleeper's last look sees the work, or the waker sees asleep = 1. What
 * may not move: the sleeper's look above its store, the waker's load above its publication. The eventfd keeps its
 * count, so a write between the last look and the sleep ends that sleep at once. Frames need no waker: the port's
 * descriptor is level-triggered. A write that comes late (the sleeper was up already) ends one later sleep early.
 */
#ifndef LOCKSTEP_WORKERS_IDLE_H
#define LOCKSTEP_WORKERS_IDLE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LS_IDLE_SPELL_NS     (100ull * 1000)       /* empty turns for so long before the first sleep */
#define LS_IDLE_SLEEP_MIN_NS (20ull * 1000)        /* a shorter sleep costs more than it saves */
#define LS_IDLE_SLEEP_MAX_NS (20ull * 1000 * 1000) /* so that heartbeats go on */
#define LS_IDLE_NAP_NS       (250ull * 1000)       /* longest sleep where the port has nothing to wait for */

/* What a worker's core does when a turn found nothing. */
enum ls_idle_policy {
    LS_IDLE_YIELD, /* gives itself away and comes back at once: for shared cores; the default */
    LS_IDLE_POLL,  /* goes on: lowest latency on dedicated cores */
    LS_IDLE_SLEEP, /* sleeps after a spell of empty turns until something arrives */
};

struct ls_waker {
    _Alignas(64) _Atomic uint32_t asleep; /* sleeper 1 and 0, wakers 0 */
    int fd;                               /* eventfd, non-blocking; constant */
};

/* 0 or -errno. */
int ls_waker_init(struct ls_waker *waker);
void ls_waker_free(struct ls_waker *waker);

/* The slow half of ls_waker_wake(): somebody sleeps. One system call. Any thread. */
void ls_waker_signal(struct ls_waker *waker);

/* After work was published. Any thread. Costs a fence and a load while nobody sleeps. */
static inline void ls_waker_wake(struct ls_waker *waker)
{
    atomic_thread_fence(memory_order_seq_cst);
    if (atomic_load_explicit(&waker->asleep, memory_order_relaxed) != 0)
        ls_waker_signal(waker);
}

/* Sleeper: from here on wakers see it. Then it looks for work once more, then waits or cancels. */
static inline void ls_waker_announce(struct ls_waker *waker)
{
    atomic_store_explicit(&waker->asleep, 1, memory_order_relaxed);
    atomic_thread_fence(memory_order_seq_cst);
}

/* Sleeper: there was work after all. */
static inline void ls_waker_cancel(struct ls_waker *waker)
{
    atomic_store_explicit(&waker->asleep, 0, memory_order_relaxed);
}

/* Sleeper, announced: until a waker signals, `fd` (-1: none) is readable, or `timeout_ns` have passed. Returns true
 * where `fd` is readable or broken; one that stays broken is waited for LS_IDLE_NAP_NS at most. */
bool ls_waker_wait(struct ls_waker *waker, int fd, uint64_t timeout_ns);

#endif
