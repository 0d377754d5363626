/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Reads the log out of a journal, entry by entry, while it is written or not. A walk begins at a place that is known
 * from elsewhere (the log's beginning, or the cut of a checkpoint): the bytes have no framing, and what a client wrote
 * may look like entries. From there on each entry is checked against the one before it.
 *
 * Pure but for the disk's read(), which waits. One thread.
 */
#ifndef LOCKSTEP_JOURNAL_READER_H
#define LOCKSTEP_JOURNAL_READER_H

#include <lockstep/entry.h>

#include "format.h"

#define LS_JOURNAL_READER_ERROR 512

/* Between two entries: the end of one, its seq and its checksum. */
struct ls_journal_place {
    uint64_t position;
    uint64_t seq; /* of the entry before; 0: none */
    uint32_t chain;
};

struct ls_journal_reader {
    struct ls_journal_disk *disk;
    uint64_t segment_size;
    struct ls_journal_place place, before; /* before the next entry, and before the one that was read last */
    bool stands;                           /* at a place, and what it read last was right */
    /* its own */
    uint8_t *chunk;
    uint64_t chunk_at;
    uint32_t chunk_length;
    char error[LS_JOURNAL_READER_ERROR]; /* one line, after a negative result */
};

/* 0 or -ENOMEM: it takes somewhat more than the largest entry. The disk outlives it. */
int ls_journal_reader_init(struct ls_journal_reader *reader, struct ls_journal_disk *disk, uint64_t segment_size);
void ls_journal_reader_free(struct ls_journal_reader *reader);

/* Begins there. */
void ls_journal_reader_begin(struct ls_journal_reader *reader, const struct ls_journal_place *place);

/* Where a walk through a log begins that has its base in the journal. */
struct ls_journal_place ls_journal_place_first(const struct ls_journal_base *base);

/* Stands before the entry that holds `position` then, or before entry `seq`, whichever comes first (UINT64_MAX: the
 * other one), or at the end of what there is below `limit`. Walks there from the newest of `n` known places (at least
 * one, ascending, the first not behind what is wanted) or from where it stands, if that is nearer. 0, or as
 * ls_journal_reader_next() says. */
int ls_journal_reader_seek(struct ls_journal_reader *reader, const struct ls_journal_place *place, uint32_t n,
                           uint64_t seq, uint64_t position, uint64_t limit);

/* The next entry that ends at or below `limit`, which is durable and committed: 1, *entry is valid until the next call,
 * and the place is behind it; 0: there is none; -ENOENT: its segment is gone; -EBADMSG: damage; other -errno. After an
 * error the place is where it was. */
int ls_journal_reader_next(struct ls_journal_reader *reader, uint64_t limit, const struct ls_entry **entry);

/* The entry that was read last is the next one again. */
void ls_journal_reader_unread(struct ls_journal_reader *reader);

/* Copies as many whole entries as have room, from the next one on: [*from, *end) is in `to` then. 0, or as above with
 * the two equal; what stands before an error is given. */
int ls_journal_window(struct ls_journal_reader *reader, uint64_t limit, uint8_t *to, uint32_t room, uint64_t *from,
                      uint64_t *end);

/* Bytes of the log from `position` on, over the border of segments too, as many as are there. Or -errno. */
int ls_journal_bytes(struct ls_journal_disk *disk, uint64_t segment_size, uint64_t position, void *to, uint32_t length);

#endif
