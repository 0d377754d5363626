/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * At start: the log comes back from the journal into the ring, and what is known to be committed into the state. The
 * log's own chain of checksums says where it ends: a write that was torn or lost by a power cut ends it like any other
 * end. That it ends below the mark, which is only written for what is durable, is damage.
 *
 * Pure but for the disk's read(), which waits. Called before the workers run, on the thread that makes them.
 */
#ifndef LOCKSTEP_JOURNAL_RESUME_H
#define LOCKSTEP_JOURNAL_RESUME_H

#include "executor.h"
#include "format.h"
#include "log.h"
#include "seam.h"

#define LS_JOURNAL_ERROR_MAX 512

/* What the state says, checked. RIGHT, ABSENT (a journal that was never begun), or what is wrong, with one line in
 * `error` (LS_JOURNAL_ERROR_MAX) that names it. -errno: it cannot be read, likewise. */
int ls_journal_state_load(struct ls_journal_disk *disk, const struct ls_journal_identity *identity,
                          struct ls_journal_state *state, char *error);

/* Does a log that this state belongs to hold all that the node ever acknowledged, if it is found whole? `counts` is the
 * incarnation that may count by the durable record. */
bool ls_journal_is_complete(const struct ls_journal_state *state, uint64_t counts);

/* May this log go on behind a checkpoint up to `position`? Not below where it begins; and not between what is known to
 * be committed here and what is known to be durable: the tail there may be one that the others dropped, and what the
 * checkpoint holds is of theirs. Beyond the mark the log begins anew there, and goes on as far as it follows. */
bool ls_journal_goes_behind(const struct ls_journal_state *state, uint64_t position);

/* Before the replay, where such a checkpoint of this log's generation, or the one that its generation began with, is at
 * hand: as a running replica takes an image, but nobody runs yet. The image's machine is the executor's then, and the
 * one that it had is destroyed; where the checkpoint reaches beyond what the journal holds, `state` begins anew behind
 * it. */
void ls_journal_image_take(struct ls_image *image, const struct ls_state_machine *type, struct ls_journal_state *state,
                           struct ls_log *log, struct ls_seam *seam, struct ls_executor *executor);

/* Takes what lies behind the log's end (its base: nothing, or the cut of the checkpoint that the executor holds) into
 * the log, and executes what the state knows to be committed. 0; -EBADMSG:
 * damage, named in `error`; -ENOSPC: the journal reaches further than this ring (it was smaller before: named); other
 * -errno of the disk. After an error log and state are good for nothing. */
int ls_journal_replay(struct ls_journal_disk *disk, const struct ls_journal_identity *identity,
                      const struct ls_journal_state *state, struct ls_log *log, struct ls_seam *seam,
                      struct ls_executor *executor, char *error);

#endif
