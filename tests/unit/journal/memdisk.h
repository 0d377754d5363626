/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A disk in memory for the journal's tests: writes complete in any order, and when power fails each of those that run
 * is there wholly, not at all, or in any of its sectors. Bytes are taken when a write completes or power fails, from
 * the memory as it is then: what changes while a write runs lands in either form.
 */
#ifndef TESTS_JOURNAL_MEMDISK_H
#define TESTS_JOURNAL_MEMDISK_H

#include "disk.h"

#define MEMDISK_SEGMENTS 4096
#define MEMDISK_QUEUE    32

struct memdisk_write {
    bool used;
    uint64_t segment, offset, cookie;
    const uint8_t *bytes;
    uint32_t length;
};

struct memdisk {
    struct ls_journal_disk disk; /* first */
    uint64_t segment_size;
    uint64_t random;
    uint8_t *segment[MEMDISK_SEGMENTS];
    bool state_there;
    uint8_t state[2 * LS_JOURNAL_BLOCK];
    struct memdisk_write queue[MEMDISK_QUEUE];
    uint32_t running;
    uint64_t trimmed; /* segments below are gone */
    uint32_t slow;    /* of 256 completions that could be taken, so many are left for later */
    int fail;         /* what the next completion, and all after it, say */
    bool overlaps;    /* writes of one block at a time are no mistake: they were misplaced */
    bool make_late;   /* a segment is there at the second asking */
};

void memdisk_init(struct memdisk *disk, uint64_t segment_size, uint64_t seed);
void memdisk_free(struct memdisk *disk);
/* Power fails: what ran is torn; nothing runs any more. */
void memdisk_cut(struct memdisk *disk);
uint64_t memdisk_random(struct memdisk *disk);

#endif
