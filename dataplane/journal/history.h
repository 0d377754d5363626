/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log of a node as its journal still has it, to be read from any entry on, by whoever wants older entries than the
 * ring holds: the dataplane's own thread for followers far behind, ctrl for `lockstep log`. Read only, beside whoever
 * writes. It reaches back to the oldest place that is known: the log's beginning, or a checkpoint that is kept. Waits
 * for the disk; one thread at a time.
 */
#ifndef LOCKSTEP_JOURNAL_HISTORY_H
#define LOCKSTEP_JOURNAL_HISTORY_H

#include "format.h"
#include "reader.h"

#define LS_HISTORY_ERROR_MAX 700

struct ls_history;

/* `data_dir` holds journal/ and checkpoints/. NULL: a line in `error` (LS_HISTORY_ERROR_MAX). */
struct ls_history *ls_history_open(const char *data_dir, const struct ls_journal_identity *identity, char *error);
void ls_history_close(struct ls_history *history);

/* Stands before entry `seq` then, or, where that is not held any more, before the oldest one: *oldest is that one's
 * seq. 0; -ENOENT: nothing is held below `limit` (position: durable and committed); -EBADMSG and others as the reader
 * says, named in ls_history_error(). */
int ls_history_seek(struct ls_history *history, uint64_t seq, uint64_t limit, uint64_t *oldest);
/* As many whole entries as have room, from the one that holds `position` on: [*from, *end) is in `to` then. 0; -ENOENT:
 * it is not held; others as above. After an error the two are equal. */
int ls_history_window(struct ls_history *history, uint64_t position, uint64_t limit, uint8_t *to, uint32_t room,
                      uint64_t *from, uint64_t *end);

/* As ls_journal_reader_next(). */
int ls_history_next(struct ls_history *history, uint64_t limit, const struct ls_entry **entry);
/* The last one is the next one again. */
void ls_history_unread(struct ls_history *history);
/* Where it stands. */
const struct ls_journal_place *ls_history_place(const struct ls_history *history);
const char *ls_history_error(const struct ls_history *history);

#endif
