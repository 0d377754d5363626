/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Writes the log behind net to the disk, straight out of the ring: what is there is written at once, whole blocks in
 * several writes at a time, the last partial block when no write overlaps it (two that do might land in either order).
 * So a group is what came while the writes before it ran: nothing waits for more to come. Beside the log it keeps the
 * state (format.h): a mark of how far the log is durable and committed, for the restart, and where the log begins.
 *
 * What must hold here: `durable` in the seam is a prefix of the log that a restart finds again; a tail that net dropped
 * lowers it in the state on the disk before anything else is written over it, so that a log that ends below the mark is
 * always damage; a new base is on the disk before anything above it is called durable. After an error nothing is
 * written and nothing becomes durable any more (P14).
 *
 * Pure: the disk comes as a table of functions, the time as an argument; no allocation after create. Owned and called
 * by the journal worker alone; with net it shares the seam and the ring.
 */
#ifndef LOCKSTEP_JOURNAL_WRITER_H
#define LOCKSTEP_JOURNAL_WRITER_H

#include "format.h"
#include "log.h"
#include "seam.h"

#define LS_JOURNAL_WRITES_MAX 16

struct ls_journal_config {
    struct ls_journal_identity identity;
    uint64_t incarnation;
    uint64_t since;      /* as the state has it */
    bool behind;         /* nobody waits for the disk before he answers: all that was acknowledged is in the journal
                            only where it ended in good order, so the state has a `since` only then */
    uint32_t writes_max; /* that run at a time, 1..LS_JOURNAL_WRITES_MAX; 0: 8 */
    uint32_t write_max;  /* bytes of one; 0: 1 MiB */
    uint64_t hold_ns; /* at most so long bytes are held back while every turn brings more; 0: as long as a write takes,
                         at most 500 us; behind: always, 5 ms */
    uint64_t mark_bytes;   /* between two marks; 0: 4 MiB, or an eighth of the ring */
    uint64_t mark_idle_ns; /* ... and so long after the last byte became durable; 0: 5 ms */
};

/* How it goes; the journal worker's to read. */
struct ls_journal_stats {
    uint64_t writes, bytes, states;
    uint64_t longest_ns; /* of a write, so far */
    uint64_t oldest_ns;  /* when the oldest write that still runs began; 0: none runs */
    uint32_t running;
    uint64_t entry; /* an entry's end that is durable: where a power cut now would leave the log, or further */
};

struct ls_journal;

/* `state` is what resume (resume.h) found, or zero for a journal that begins; log and seam as they stand then: the log
 * is durable up to its end. All pointers stay the caller's and outlive the journal. NULL and errno. */
struct ls_journal *ls_journal_create(const struct ls_journal_config *config, const struct ls_journal_state *state,
                                     struct ls_journal_disk *disk, const struct ls_log *log, struct ls_seam *seam);
void ls_journal_destroy(struct ls_journal *journal);

/* One loop turn. Returns a work count. */
uint32_t ls_journal_poll(struct ls_journal *journal, uint64_t now_ns);
/* When it wants to be polled again without anything new: now_ns while a write runs; UINT64_MAX: never. */
uint64_t ls_journal_next_ns(const struct ls_journal *journal, uint64_t now_ns);

/* The disk knows that this incarnation writes the journal. Before that nobody may be told that it has resumed: it could
 * be made to count, and the next one would find a journal of somebody who did not count last. */
bool ls_journal_is_owned(const struct ls_journal *journal);

/* No more comes from net, and poll goes on until this is true: all is durable, and the state says that the end was in
 * good order, or it cannot be. */
bool ls_journal_finish(struct ls_journal *journal, uint64_t now_ns);

/* ... and it could: the next start finds the end without a doubt. */
bool ls_journal_is_clean(const struct ls_journal *journal);

/* A verified checkpoint covers the log up to here: segments below it, as far as the state on the disk reaches it, are
 * not needed any more. Returns how far they are let go: less than asked for is asked again later. */
uint64_t ls_journal_trim(struct ls_journal *journal, uint64_t position);

void ls_journal_stats(const struct ls_journal *journal, struct ls_journal_stats *stats);

#endif
