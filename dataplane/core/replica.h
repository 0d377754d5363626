/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * One node's part in ordering one log: sequencer, follower or sealed. It starts OUTSIDE: sealed at its promise, without
 * a log, silent, until FOUND (a founder of the cluster, whose empty log is right) or JOIN (a new incarnation or a new
 * member, admitted by the epoch's sequencer). A joining replica is served like a follower and never counts; when it
 * holds what was named to it, it says REACHED, and COUNT makes it whole. Pure: frames and the time come in, frames go
 * out through `io`; no clock, no socket, no allocation after create. Owned and called by the net worker alone; what it
 * shares with apply and control is in the seam.
 *
 * A loop turn is: ls_replica_input() for each received frame, then ls_replica_turn() once.
 */
#ifndef LOCKSTEP_CORE_REPLICA_H
#define LOCKSTEP_CORE_REPLICA_H

#include <lockstep/counters.h>
#include <lockstep/state_machine.h>
#include <lockstep/types.h>

#include "io.h"
#include "log.h"
#include "seam.h"

struct ls_replica_config {
    uint64_t cluster;
    uint32_t generation;
    uint16_t group;
    uint16_t node;
    uint64_t incarnation; /* of this node, > 0 */
    uint64_t promise;     /* starts sealed at this epoch */
    /* What an acknowledgement answers for: [MEMORY]; ASYNC: memory, and a journal is written behind; JOURNAL: this
     * node's disk. Where there is a journal its worker serves the seam. */
    enum ls_durability durability;
    bool resumed; /* the log, which is not empty, holds all that this node ever acknowledged: it may count at once */
    /* cluster limits, written into the log by the first sequencer */
    uint64_t keys_max;
    uint64_t bytes_max;
    uint64_t session_idle_ns;
    uint32_t sessions_max;
    uint32_t window; /* 1..LS_WINDOW_MAX */
    uint32_t op_max;
    /* times; 0 takes the default in brackets */
    uint64_t heartbeat_ns;   /* idle sequencer's heartbeats [1 ms] */
    uint64_t suspend_ns;     /* sequencer without a majority for this long suspends [100 ms] */
    uint64_t tick_ns;        /* empty entries while time is pending [10 ms] */
    uint64_t reorder_min_ns; /* bounds of the adaptive reorder delay before FETCH [20 us] */
    uint64_t reorder_max_ns; /* [2 ms] */
    uint64_t question_ns;    /* first repeat of an unanswered question, doubles up to 16 times [2 ms] */
    uint64_t pull_idle_ns;   /* a large request without fragments for this long is given up [500 ms] */
    uint64_t inflight_max;   /* bytes sent to a follower and not acknowledged [1 MiB] */
};

struct ls_replica;

/* All pointers stay the caller's and outlive the replica. A log that a journal brought back may be there already, and
 * the executor may have applied it up to the seam's commit: the replica goes on from there. `machine` is read here if
 * it allows concurrent reads (reads are refused UNSUPPORTED otherwise). NULL and errno: no memory, or a configuration
 * that makes no sense (EINVAL). */
struct ls_replica *ls_replica_create(const struct ls_replica_config *config, struct ls_log *log, struct ls_seam *seam,
                                     struct ls_io *io, const struct ls_state_machine *type, struct ls_machine *machine,
                                     struct ls_replica_page *page, struct ls_counters *counters);
void ls_replica_destroy(struct ls_replica *replica);

/* A received datagram; valid during the call only. */
void ls_replica_input(struct ls_replica *replica, const struct ls_frame *frame, uint64_t now_ns);

/* Everything else of a loop turn: orders from control, commit, ORDER and ACK frames for what the inputs brought,
 * reads whose time has come, timers, replies from apply. Returns a work count, 0 when there was nothing to do. */
uint32_t ls_replica_turn(struct ls_replica *replica, uint64_t now_ns);

/* When ls_replica_turn() wants to be called again without any input; for sleeping workers and the simulator. */
uint64_t ls_replica_next_ns(const struct ls_replica *replica, uint64_t now_ns);

/* For checkers and status; net thread. */
struct ls_replica_view {
    uint64_t epoch; /* promised */
    enum ls_role role;
    enum ls_halt halt;
    uint16_t sequencer;
    uint64_t sequencer_incarnation;
    uint64_t verified; /* contiguous verified end in this epoch; 0 unverified */
    uint64_t commit;
    bool counts;   /* founder or admitted */
    uint32_t held; /* answers that wait for disks */
};
void ls_replica_view(const struct ls_replica *replica, struct ls_replica_view *view);

#endif
