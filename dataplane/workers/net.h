/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The net worker: receives, runs the replica, sends. Pure but for what its port does: the same poll function runs in
 * production, in the simulator and in benchmarks. One thread.
 */
#ifndef LOCKSTEP_WORKERS_NET_H
#define LOCKSTEP_WORKERS_NET_H

#include "../core/replica.h"
#include "idle.h"

struct ls_net_worker {
    /* set by the owner; all pointers outlive the worker */
    struct ls_replica *replica;
    struct ls_port *port;
    struct ls_seam *seam;
    struct ls_waker *apply;   /* of the thread that runs apply; NULL: it runs on this one, or never sleeps */
    struct ls_waker *control; /* of the thread that takes the events; NULL: it never sleeps */
    uint64_t (*port_next_ns)(void *user); /* when the port wants flush() without any input; NULL: never */
    void *port_user;
    /* net */
    uint64_t commit_seen;
};

/* One loop turn. Returns the work count; 0: there was nothing to do. */
uint32_t ls_net_poll(struct ls_net_worker *worker, uint64_t now_ns);

/* When it wants to be polled again without any input; UINT64_MAX: never. */
uint64_t ls_net_next_ns(struct ls_net_worker *worker, uint64_t now_ns);

#endif
