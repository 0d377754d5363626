/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The apply worker's part: walks the committed log, decides by the session table what is executed, runs the state
 * machine in bursts, keeps results, answers clients where this node is the sequencer. Pure, like the replica. Owned and
 * called by the apply worker alone.
 */
#ifndef LOCKSTEP_CORE_EXECUTOR_H
#define LOCKSTEP_CORE_EXECUTOR_H

#include <lockstep/counters.h>
#include <lockstep/state_machine.h>

#include "io.h"
#include "log.h"
#include "seam.h"

struct ls_executor_config {
    uint64_t cluster;
    uint32_t generation;
    uint16_t group;
    uint16_t node;
    uint64_t incarnation;
    uint32_t sessions_max; /* room. The log's limit rules alone: where a LIMITS entry asks for more sessions than this,
                              apply stops before it and counts stalls. Before the first one no session can be opened */
    uint32_t window;       /* 1..LS_WINDOW_MAX, checked; every window that the log may ask for has room */
    uint64_t digest_every; /* entries between two digests in the page; power of two; 0: 4096 */
};

struct ls_executor;

/* `replies` is only allocated from: complete frames go to seam->replies and are sent by net. The rest as for
 * ls_replica_create(). */
struct ls_executor *ls_executor_create(const struct ls_executor_config *config, const struct ls_log *log,
                                       struct ls_seam *seam, struct ls_io *replies, const struct ls_state_machine *type,
                                       struct ls_machine *machine, struct ls_replica_page *page,
                                       struct ls_counters *counters);
void ls_executor_destroy(struct ls_executor *executor);

/* One loop turn: at most one burst of entries, and a bounded number of repeats. Returns the work count. */
uint32_t ls_executor_turn(struct ls_executor *executor, uint64_t now_ns);

/* Digest of state and sessions after the last applied entry; apply thread (simulator: any time). */
uint64_t ls_executor_digest(struct ls_executor *executor);

/* Called for each entry right after it was executed; for the simulator's checkers. NULL: none. */
typedef void (*ls_executor_watch)(void *user, const struct ls_entry *entry, const struct ls_result *result);
void ls_executor_set_watch(struct ls_executor *executor, ls_executor_watch watch, void *user);

#endif
