/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The apply worker: executes what is committed. Pure: the same poll function runs in production, in the simulator and
 * in benchmarks. One thread.
 */
#ifndef LOCKSTEP_WORKERS_APPLY_H
#define LOCKSTEP_WORKERS_APPLY_H

#include "../core/executor.h"
#include "idle.h"

struct ls_apply_worker {
    /* set by the owner; all pointers outlive the worker */
    struct ls_executor *executor;
    struct ls_seam *seam;
    struct ls_waker *net; /* of the thread that runs net; NULL: it runs on this one, or never sleeps */
    /* apply */
    uint64_t applied_seen;
};

/* One loop turn. Returns the work count; 0: there was nothing to do. */
uint32_t ls_apply_poll(struct ls_apply_worker *worker, uint64_t now_ns);

/* When it wants to be polled again without anything new; UINT64_MAX: never. */
uint64_t ls_apply_next_ns(struct ls_apply_worker *worker, uint64_t now_ns);

#endif
