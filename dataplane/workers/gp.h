/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The gp thread: nothing but grace periods. It runs one at most every LS_GP_INTERVAL_NS while there is demand, which it
 * sees in a counter that moves whenever something may have been retired (applied_seq), or is told of by
 * ls_gp_want(); without demand it looks ever more rarely and costs nothing.
 */
#ifndef LOCKSTEP_WORKERS_GP_H
#define LOCKSTEP_WORKERS_GP_H

#include <pthread.h>

#include <lockstep/grace.h>

#include "idle.h"

#define LS_GP_INTERVAL_NS (1000ull * 1000)
#define LS_GP_IDLE_MAX_NS (10ull * 1000 * 1000) /* between two looks without demand */
#define LS_GP_OWED        3 /* periods run after the last sign of demand: a deleted record needs two of them */

struct ls_gp {
    struct ls_grace grace; /* gp; read by everyone who holds tickets */
    struct ls_waker waker;
    const _Atomic uint64_t *activity; /* another thread's; NULL: none */
    _Atomic uint64_t wanted;          /* ls_gp_want() calls so far */
    _Atomic bool stop;
    pthread_t thread;
};

/* Starts the thread. 0 or -errno. */
int ls_gp_start(struct ls_gp *gp, const _Atomic uint64_t *activity);
/* Ends it; what was retired stays unreclaimed. Not by a thread that is online: it waits for the grace period under way.
 */
void ls_gp_stop(struct ls_gp *gp);
/* Something was retired that the activity counter does not show. Ordinary threads: may cost a system call. */
void ls_gp_want(struct ls_gp *gp);

#endif
