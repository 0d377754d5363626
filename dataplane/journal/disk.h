/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What stands between the journal's pure parts and a disk: a table of functions, so that the simulator, the tests and a
 * decorator that makes disks fail can stand in for the real one (uring.h).
 *
 * The journal's bytes are the log's: segment k holds the positions [k * segment_size, (k + 1) * segment_size). A
 * segment that exists is whole: of full length, and zeros where nothing was written yet.
 */
#ifndef LOCKSTEP_JOURNAL_DISK_H
#define LOCKSTEP_JOURNAL_DISK_H

#include <stdbool.h>
#include <stdint.h>

#include <lockstep/limits.h>

#define LS_JOURNAL_BLOCK LS_DISK_BLOCK /* unit of writing; a multiple of every sector size */
#define LS_JOURNAL_STATE UINT64_MAX    /* in place of a segment's number: the state, two blocks */

struct ls_journal_done {
    uint64_t cookie;
    int error; /* 0 or -errno; a short write is -EIO */
};

struct ls_journal_disk {
    /* Begins a write that is durable when it completes. `offset` (of the segment's bytes, or of the state), `length`
     * and the memory are multiples of a block. The memory stays mapped until it completes; bytes of it that change
     * meanwhile land in either form. 0; -EAGAIN: too many run, try later; else -errno: the disk has failed. */
    int (*write)(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, const void *bytes, uint32_t length,
                 uint64_t cookie);
    /* Gets what write() was given on its way, takes at most `max` completions. Never waits. */
    uint32_t (*turn)(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max);
    /* 1: the segment is there; 0: it is being made, beside the caller, and the next one too; -errno: it cannot be. */
    int (*segment)(struct ls_journal_disk *disk, uint64_t number);
    /* Segments below this one are not needed any more; deleted beside the caller. */
    void (*trim)(struct ls_journal_disk *disk, uint64_t number);
    /* At start alone, waits: bytes of a segment, or of the state. How many were there (0: no such segment, or behind
     * its end), or -errno; -EBADMSG: a segment that is not this journal's, or damaged, as `problem` says. */
    int (*read)(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length);
    bool wakes;        /* whoever runs the worker is woken where a write has completed: it may sleep meanwhile */
    char problem[256]; /* what failed last, one line, where there is more to say than the errno; or empty */
};

#endif
