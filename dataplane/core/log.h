/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The log: an endless stream of bytes of which the newest `size` are held in a ring that is mapped twice in a row, so
 * that every entry is contiguous in memory and nobody handles wrap-around. Beside it the epoch table and an index from
 * seq to position, both computed from the log's own bytes.
 *
 * One writer, the net worker: all fields but `ring`, `size`. Other threads read ring bytes through ls_log_at(): apply
 * those in [applied, commit), which are never overwritten before applied has passed them; any other reader copies
 * with ls_log_copy_out(), which notices overwriting.
 */
#ifndef LOCKSTEP_CORE_LOG_H
#define LOCKSTEP_CORE_LOG_H

#include <stdatomic.h>

#include <lockstep/entry.h>
#include <lockstep/types.h>

#include "cut.h"

#define LS_MEMBERSHIPS_KEPT 8

/* What the log knows of an entry without looking into the ring, where a dropped tail may have overwritten it. */
struct ls_log_entry_place {
    _Atomic uint64_t position; /* net stores, control looks (relaxed both): it believes only what the entry confirms */
    uint64_t time;
    uint32_t checksum;
    uint32_t zero;
};

struct ls_log {
    /* constant */
    uint8_t *ring;
    uint64_t size; /* of the ring: power of two, multiple of the page size */
    uint64_t mask;
    struct ls_log_entry_place *index; /* of entry seq: index[seq & index_mask] */
    uint64_t index_mask;
    /* net */
    uint64_t base;     /* where this log begins: 0, or the position of the checkpoint it follows */
    uint64_t base_seq; /* seq of the last entry before base */
    uint64_t end;      /* end of the last complete entry */
    uint64_t last_seq; /* its seq; base_seq while there is none */
    uint64_t last_time;
    uint32_t chain; /* its checksum */
    uint32_t base_chain;
    uint64_t base_time;
    uint64_t index_first; /* the index holds entries from this seq on; what a dropped tail has overwritten stays lost */
    uint64_t filled;      /* contiguous end: >= end; more where an entry is not whole yet */
    _Atomic uint64_t high; /* highest end of bytes ever written, early ranges too; bytes below high - size are gone.
                              net stores (release) before it writes; copy_out loads (acquire) after it read. Behind a
                              checkpoint it begins one ring's size higher: nothing below `base` is held */
    _Atomic uint64_t published_end; /* = end, for other threads; and so the two below */
    _Atomic uint64_t published_seq;
    _Atomic uint64_t hurry; /* end of the newest entry whose answer waits for disks; net stores, journal looks (relaxed
                               both): it only says when to write, not what */
    uint64_t frame_epoch;   /* for a deliberately broken variant (mutant.h) alone */
    uint32_t epochs;        /* rows in the table, oldest first */
    struct ls_epoch_row epoch[LS_EPOCHS_KEPT];
    /* Memberships that the log holds, oldest first: [0] is the one before the oldest held entry that changes it. At
     * most one is not committed in any log of an epoch's sequencer, so the last few are always enough. */
    uint32_t memberships;
    uint32_t memberships_changes; /* rises whenever the newest one becomes another */
    bool disowned;                /* begins behind a checkpoint of an older generation, and is not founded yet */
    struct {
        uint64_t end; /* of its entry, or of the checkpoint that brought it; 0: the founders' */
        struct ls_membership members;
    } membership[LS_MEMBERSHIPS_KEPT];
};

/* `size` is rounded up to a power of two >= LS_LOG_SIZE_MIN. Takes all memory. 0 or -errno. */
int ls_log_init(struct ls_log *log, uint64_t size);
void ls_log_free(struct ls_log *log);
/* As after init, without giving the memory back. */
void ls_log_reset(struct ls_log *log);

/* Founders: the membership of a log without entries, until its first MEMBERS entry. */
void ls_log_found(struct ls_log *log, const struct ls_membership *members);

/* Begins anew behind a checkpoint: an empty log at cut->position whose tables, time and chain are the cut's. The index
 * and the ring hold nothing. */
void ls_log_rebase(struct ls_log *log, const struct ls_cut *cut);

/* As behind a checkpoint of an older generation: it has no members, until it is founded anew. */
void ls_log_disown(struct ls_log *log);

/* The newest membership in the log; count 0: none. Valid until the log changes. net. */
const struct ls_membership *ls_log_members(const struct ls_log *log);

/* Contiguous for any entry that is held. */
static inline uint8_t *ls_log_at(const struct ls_log *log, uint64_t position)
{
    return log->ring + (position & log->mask);
}

/* Oldest position whose bytes are still held. net. */
static inline uint64_t ls_log_oldest(const struct ls_log *log)
{
    uint64_t high = atomic_load_explicit(&log->high, memory_order_relaxed);
    uint64_t floor = high > log->size ? high - log->size : 0;
    return floor > log->base ? floor : log->base;
}

/* True if [position, position + length) may be written without overwriting what is not applied yet. */
static inline bool ls_log_has_room(const struct ls_log *log, uint64_t position, uint64_t length, uint64_t applied)
{
    return position + length <= applied + log->size;
}

/* Sequencer: appends one entry with everything but checksum and seq given; returns its end. The caller has checked the
 * room. `operation` may be NULL with length 0. */
uint64_t ls_log_append(struct ls_log *log, const struct ls_entry *header, const void *operation, uint32_t length);

/* Follower: places bytes at their position (room checked by the caller); does not move `filled`. */
void ls_log_place(struct ls_log *log, uint64_t position, const uint8_t *bytes, uint32_t length);

/* Follower: the contiguous end is now `filled`; takes in every entry that became whole. 0, or -EBADMSG where the bytes
 * at `end` are not a valid next entry (then nothing behind it was taken in). */
int ls_log_fill(struct ls_log *log, uint64_t filled);

/* Drops an incomplete entry at the tail: filled = end. */
void ls_log_drop_partial(struct ls_log *log);

/* Drops everything behind `position`, an entry's end in [base, end] that is still held. 0, or -ESTALE: not held or not
 * an entry's end (nothing changed). */
int ls_log_truncate(struct ls_log *log, uint64_t position);

/* Position of entry seq, or UINT64_MAX where it is not held. net. */
uint64_t ls_log_position(const struct ls_log *log, uint64_t seq);

/* Seq of the entry that begins at `position`, last_seq + 1 for the end; 0 where none is known to begin there. net. */
uint64_t ls_log_seq_at(const struct ls_log *log, uint64_t position);

/* Epoch of the last complete entry; 0: none. */
uint64_t ls_log_last_epoch(const struct ls_log *log);

/* Where two logs part: the highest position up to which `mine` and the other log, given by the newest `n` rows of its
 * table and its end, are known to hold the same bytes. An entry's end in both. Both tables begin at an epoch whose
 * earlier ones are equal or dropped; returns UINT64_MAX where the rows do not reach back to a common epoch. */
uint64_t ls_log_parting(const struct ls_log *mine, const struct ls_epoch_row *rows, uint32_t n, uint64_t end);

/* Any thread: copies [position, position + length) out of the ring; false where it was not held throughout. */
bool ls_log_copy_out(const struct ls_log *log, uint64_t position, void *to, uint32_t length);

/* Checksum that the entry at `entry` must have, given the one before it. */
uint32_t ls_entry_checksum(const struct ls_entry *entry, uint32_t previous);

/* Structure of an entry of a log that ends at `at_most` bytes: length, kind, reserved field. The checksum is not
 * looked at. */
bool ls_entry_is_sane(const struct ls_entry *entry, uint64_t at_most);

#endif
