/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The endless loop of one core: a list of workers in turn, quiescent states, the meter, and what to do when there is
 * nothing to do. Knows no DPDK; control starts it on an lcore.
 */
#ifndef LOCKSTEP_WORKERS_LCORE_H
#define LOCKSTEP_WORKERS_LCORE_H

#include <lockstep/counters.h>

#include "idle.h"
#include "meter.h"
#include "slow.h"

struct ls_worker {
    uint32_t (*poll)(void *self, uint64_t now_ns);
    uint64_t (*next_ns)(void *self, uint64_t now_ns);
    void *self;
    struct ls_worker_page *page;
    struct ls_slow slow;   /* control sets */
    struct ls_meter meter; /* the loop's */
};

struct ls_lcore {
    /* set by the owner */
    struct ls_worker worker[LS_WORKERS];
    uint32_t workers;
    uint32_t cpu; /* for the page */
    enum ls_idle_policy idle;
    int port_fd;              /* readable when frames wait; -1: none */
    uint64_t sleep_max_ns;    /* LS_IDLE_SLEEP_MAX_NS; or LS_IDLE_NAP_NS where frames may come that wake nobody */
    const _Atomic bool *stop; /* another thread's, which also wakes */
    /* shared: any thread wakes */
    struct ls_waker waker;
    /* the loop's */
    uint64_t idle_since_ns; /* 0: the last turn had work */
};

/* Until *stop; on the thread that is to run the workers. Registers it with RCU for so long. */
void ls_lcore_run(struct ls_lcore *lcore);

#endif
