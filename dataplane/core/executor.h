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

#include "cut.h"
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
    enum ls_durability durability; /* what a commit stands for, as the replica has it; replies say it [MEMORY] */
    uint64_t digest_every;         /* entries between two digests in the page; power of two; 0: 4096 */
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

/* ---- checkpoints: how a cut leaves and how an image comes, over the seam (seam.h) ----
 * bulk sets seam->cut and WANTED; apply, between two bursts, opens the machine's checkpoint and the sessions' image,
 * fills the cut and says OPEN (or REFUSED: -EBUSY while the one before is still being given back, -ENODATA before the
 * first applied entry, -ENOTSUP where the machine has no checkpoints). Then bulk runs type->checkpoint_next() until it
 * is complete, waits for seam->cut_sessions, writes ls_executor_sessions_image(), and says ENDING. seam->image: apply,
 * unless a cut is open (then after it), forgets a burst that waits for memory, swaps machine and sessions with the
 * image's, takes applied, seq, limits, tables from its cut, republishes the session seats, then stores NULL (release).
 */

/* bulk, while the cut is OPEN and cut_sessions is true: the sessions' packed bytes. */
const uint8_t *ls_executor_sessions_image(const struct ls_executor *executor, size_t *size);

/* bulk, off the workers: a session table from such bytes, for an image; `seats` are only written once it is swapped in.
 * NULL and errno: EBADMSG damaged, ENOSPC more sessions than `capacity`, ENOMEM. */
struct ls_sessions *ls_executor_sessions_restore(const uint8_t *bytes, size_t size, uint32_t capacity);

/* Digest that an executor over this image would have; compare with image->cut.digest. */
uint64_t ls_image_digest(const struct ls_state_machine *type, const struct ls_image *image);

/* Called for each entry right after it was executed; for the simulator's checkers. NULL: none. */
typedef void (*ls_executor_watch)(void *user, const struct ls_entry *entry, const struct ls_result *result);
void ls_executor_set_watch(struct ls_executor *executor, ls_executor_watch watch, void *user);

#endif
