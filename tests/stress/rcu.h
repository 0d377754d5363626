/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Quiescent states for the stress tests: liburcu's QSBR flavour, or, under ThreadSanitizer, which reports races inside
 * liburcu that are none, a stand-in in plain C11 of the same shape (LS_RCU_STAND_IN). Readers: online once, quiescent
 * between two read-side sections, offline at the end. One thread waits for grace periods.
 */
#ifndef LOCKSTEP_TESTS_STRESS_RCU_H
#define LOCKSTEP_TESTS_STRESS_RCU_H

#if LS_RCU_STAND_IN

#include <assert.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdint.h>

#define RCU_READERS_MAX 16

static _Atomic uint64_t rcu_period = 1;
static _Atomic uint64_t rcu_seen[RCU_READERS_MAX]; /* period in which the reader was last quiescent; 0: offline */
static _Atomic uint32_t rcu_readers;
static _Thread_local uint32_t rcu_self;

/* Sequentially consistent all through: the reader's store of what it has seen stands before its next loads. */
static inline void rcu_quiescent(void)
{
    atomic_store(&rcu_seen[rcu_self], atomic_load(&rcu_period));
}

static inline void rcu_online(void)
{
    rcu_self = atomic_fetch_add(&rcu_readers, 1);
    assert(rcu_self < RCU_READERS_MAX);
    rcu_quiescent();
}

static inline void rcu_offline(void)
{
    atomic_store(&rcu_seen[rcu_self], 0);
}

static inline void rcu_wait(void)
{
    uint64_t period = atomic_fetch_add(&rcu_period, 1) + 1;
    for (uint32_t i = 0; i < RCU_READERS_MAX; i++) {
        uint64_t seen;
        while ((seen = atomic_load(&rcu_seen[i])) != 0 && seen < period)
            sched_yield();
    }
}

#else

#include <urcu/urcu-qsbr.h>

static inline void rcu_quiescent(void)
{
    urcu_qsbr_quiescent_state();
}

static inline void rcu_online(void)
{
    urcu_qsbr_register_thread();
}

static inline void rcu_offline(void)
{
    urcu_qsbr_unregister_thread();
}

static inline void rcu_wait(void)
{
    urcu_qsbr_synchronize_rcu();
}

#endif

#endif
