/* SPDX-License-Identifier: BSD-3-Clause */
/* liburcu's QSBR, or its stand-in for ThreadSanitizer builds. See rcu.h. */
#include "rcu.h"

#if defined(__SANITIZE_THREAD__)
#define LS_RCU_STAND_IN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define LS_RCU_STAND_IN 1
#endif
#endif

#ifndef LS_RCU_STAND_IN

#include <urcu-qsbr.h>

void ls_rcu_register(void)
{
    urcu_qsbr_register_thread();
}

void ls_rcu_unregister(void)
{
    urcu_qsbr_unregister_thread();
}

void ls_rcu_quiescent(void)
{
    urcu_qsbr_quiescent_state();
}

void ls_rcu_offline(void)
{
    urcu_qsbr_thread_offline();
}

void ls_rcu_online(void)
{
    urcu_qsbr_thread_online();
}

void ls_rcu_synchronize(void)
{
    urcu_qsbr_synchronize_rcu();
}

#else

#include <assert.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <stdint.h>

/* The same idea, plainly: a global count of grace periods; each thread copies it when it holds nothing, 0 is offline.
 */
struct reader {
    _Atomic uint64_t seen;
    struct reader *next;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER; /* the list, and one grace period at a time */
static struct reader *readers;
static _Atomic uint64_t period = 1;
static _Thread_local struct reader self;

/* The release side of a quiescent state pairs with synchronize's acquire: what was read is read before it returns. The
 * acquire side pairs with its raise of the count: what was unlinked before it is not found again. */
void ls_rcu_quiescent(void)
{
    atomic_store_explicit(&self.seen, atomic_load_explicit(&period, memory_order_seq_cst), memory_order_seq_cst);
}

void ls_rcu_online(void)
{
    ls_rcu_quiescent();
}

void ls_rcu_offline(void)
{
    atomic_store_explicit(&self.seen, 0, memory_order_seq_cst);
}

void ls_rcu_register(void)
{
    pthread_mutex_lock(&mutex);
    self.next = readers;
    readers = &self;
    pthread_mutex_unlock(&mutex);
    ls_rcu_online();
}

void ls_rcu_unregister(void)
{
    struct reader **at;

    ls_rcu_offline();
    pthread_mutex_lock(&mutex);
    for (at = &readers; *at != NULL && *at != &self; at = &(*at)->next)
        ;
    assert(*at == &self);
    *at = self.next;
    pthread_mutex_unlock(&mutex);
}

void ls_rcu_synchronize(void)
{
    struct reader *reader;
    uint64_t now, seen;

    pthread_mutex_lock(&mutex);
    now = atomic_fetch_add_explicit(&period, 1, memory_order_seq_cst) + 1;
    for (reader = readers; reader != NULL; reader = reader->next)
        while ((seen = atomic_load_explicit(&reader->seen, memory_order_seq_cst)) != 0 && seen < now)
            sched_yield();
    pthread_mutex_unlock(&mutex);
}

#endif
