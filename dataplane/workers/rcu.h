/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * RCU as this process uses it: liburcu's QSBR flavour behind a few functions, so that nobody else needs its headers,
 * and a C11 stand-in takes its place under ThreadSanitizer, which does not understand liburcu 0.13. Readers have no
 * entry or exit: whatever a registered, online thread loads with ls_rcu_load() is valid until it announces a quiescent
 * state or goes offline. Workers announce one each loop turn. Only the gp thread waits for readers; everyone else takes
 * tickets (<lockstep/grace.h>).
 */
#ifndef LOCKSTEP_WORKERS_RCU_H
#define LOCKSTEP_WORKERS_RCU_H

#include <stdatomic.h>

/* Per thread; online afterwards. A registered thread may not end without unregistering. */
void ls_rcu_register(void);
void ls_rcu_unregister(void);

/* Holds nothing now. */
void ls_rcu_quiescent(void);
/* Holds nothing until ls_rcu_online(): before any sleep. A thread that sleeps online stops every grace period. */
void ls_rcu_offline(void);
void ls_rcu_online(void);

/* Returns after every thread that was online has passed a quiescent state. Not from a thread that is online. */
void ls_rcu_synchronize(void);

/* Reader: pairs with ls_rcu_store(); what the pointer points to is seen whole. */
#define ls_rcu_load(pointer) atomic_load_explicit((pointer), memory_order_acquire)
/* The one writer. */
#define ls_rcu_store(pointer, value) atomic_store_explicit((pointer), (value), memory_order_release)

#endif
