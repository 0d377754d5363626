/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * For threads that decide and do little work: lockstep-ctrl, and the dataplane's thread that takes its orders. On cores
 * that pollers share, a thread of the usual kind is woken some 5 ms late when it waits for a disk or a socket, and a
 * fail-over is a dozen such waits. Such a thread must never spin.
 */
#ifndef LOCKSTEP_WORKERS_URGENT_H
#define LOCKSTEP_WORKERS_URGENT_H

#include <sched.h>
#include <stdbool.h>

/* The calling thread goes before all ordinary ones from now on; what it starts does not. False: not permitted
 * (CAP_SYS_NICE), nothing changed. */
static inline bool ls_thread_urgent(void)
{
    const struct sched_param first = {.sched_priority = 1};

    return sched_setscheduler(0, SCHED_RR | SCHED_RESET_ON_FORK, &first) == 0;
}

/* An ordinary one again: before it waits for others, for some such waits (EAL's for its workers, the kernel's when a
 * process is reaped) spin, and nobody else gets that core for as long as the kernel lets it, 950 ms in each second. */
static inline void ls_thread_ordinary(void)
{
    const struct sched_param none = {.sched_priority = 0};

    (void)sched_setscheduler(0, SCHED_OTHER, &none);
}

#endif
