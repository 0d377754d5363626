/* SPDX-License-Identifier: BSD-3-Clause */
/* The loop of one core. See lcore.h and, for sleeping, idle.h. */
#include "lcore.h"

#include <sched.h>

#include "clock.h"
#include "rcu.h"

/* One turn of every worker. Each starts where the one before it ended, so that one clock reading serves both. */
static uint32_t turn(struct ls_lcore *lcore, uint64_t *now_ns)
{
    uint64_t begin = ls_now_ns(), end;
    uint32_t all = 0;

    for (uint32_t i = 0; i < lcore->workers; i++) {
        struct ls_worker *worker = &lcore->worker[i];
        uint32_t work;

        if (__builtin_expect(ls_slow_is_set(&worker->slow), 0))
            ls_slow_waste(&worker->slow, lcore->stop);
        work = worker->poll(worker->self, begin);
        end = ls_now_ns();
        ls_meter_turn(&worker->meter, begin, end, work);
        begin = end;
        all += work;
    }
    *now_ns = begin;
    ls_rcu_quiescent();
    return all;
}

static bool stopped(const struct ls_lcore *lcore)
{
    return atomic_load_explicit(lcore->stop, memory_order_acquire);
}

/* Offline meanwhile: on shared cores it may last a scheduler's slice, and grace periods need not wait for that. */
static void yield(void)
{
    ls_rcu_offline();
    sched_yield();
    ls_rcu_online();
}

static uint64_t next_ns(struct ls_lcore *lcore, uint64_t now_ns)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < lcore->workers; i++) {
        uint64_t wanted = lcore->worker[i].next_ns(lcore->worker[i].self, now_ns);

        if (wanted < next)
            next = wanted;
    }
    return next;
}

/* Sleeps unless the last look finds something. */
static void nap(struct ls_lcore *lcore)
{
    uint64_t limit = lcore->sleep_max_ns, now, next;

    ls_waker_announce(&lcore->waker);
    if (turn(lcore, &now) > 0 || stopped(lcore)) {
        ls_waker_cancel(&lcore->waker);
        lcore->idle_since_ns = 0;
        return;
    }
    next = next_ns(lcore, now);
    if (next < now + LS_IDLE_SLEEP_MIN_NS) {
        ls_waker_cancel(&lcore->waker);
        yield();
        return;
    }
    for (uint32_t i = 0; i < lcore->workers; i++) {
        _Atomic uint64_t *sleeps = &lcore->worker[i].page->sleeps;

        atomic_store_explicit(sleeps, atomic_load_explicit(sleeps, memory_order_relaxed) + 1, memory_order_relaxed);
    }
    ls_rcu_offline();
    (void)ls_waker_wait(&lcore->waker, lcore->port_fd, next - now < limit ? next - now : limit);
    ls_rcu_online();
}

static void idle(struct ls_lcore *lcore, uint64_t now_ns)
{
    if (lcore->idle == LS_IDLE_POLL)
        return;
    if (lcore->idle_since_ns == 0)
        lcore->idle_since_ns = now_ns;
    if (lcore->idle == LS_IDLE_YIELD || now_ns - lcore->idle_since_ns < LS_IDLE_SPELL_NS)
        yield();
    else
        nap(lcore);
}

void ls_lcore_run(struct ls_lcore *lcore)
{
    uint64_t now = ls_now_ns();

    ls_rcu_register();
    for (uint32_t i = 0; i < lcore->workers; i++)
        ls_meter_start(&lcore->worker[i].meter, lcore->worker[i].page, lcore->cpu, now);
    while (!stopped(lcore)) {
        if (turn(lcore, &now) > 0)
            lcore->idle_since_ns = 0;
        else
            idle(lcore, now);
    }
    for (uint32_t i = 0; i < lcore->workers; i++)
        ls_meter_stop(&lcore->worker[i].meter);
    ls_rcu_unregister();
}
