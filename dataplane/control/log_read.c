/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Finds entries by net's index from seq to position. The index is read while net writes it: each word is read whole,
 * may be another seq's by then, and is believed only after the entry's own header, copied out of the ring under its
 * own check, says the seq that was looked for. Control thread.
 */
#include "log_read.h"

#include <assert.h>
#include <string.h>

#include <lockstep/entry.h>

/* Of what is held: seqs (oldest..last], positions from `floor` on. */
struct span {
    const struct ls_log *log;
    uint64_t commit;
    uint64_t floor;
    uint64_t first; /* lowest seq that the index can know */
    uint64_t last;
};

static uint64_t index_at(const struct ls_log *log, uint64_t seq)
{
    return atomic_load_explicit(&log->index[seq & log->index_mask].position, memory_order_relaxed);
}

static void span_take(struct span *span, const struct ls_log *log, uint64_t commit)
{
    uint64_t high = atomic_load_explicit(&log->high, memory_order_acquire);
    uint64_t last = atomic_load_explicit(&log->published_seq, memory_order_acquire);
    uint64_t first = last > log->index_mask ? last - log->index_mask : 1;

    span->log = log;
    span->commit = commit;
    span->floor = high > log->size ? high - log->size : 0;
    span->floor = span->floor > log->base ? span->floor : log->base;
    span->first = first > log->base_seq + 1 ? first : log->base_seq + 1;
    span->last = last;
}

/* Lowest seq in [first, last + 1] whose position is at or above `position`; positions rise with seqs. */
static uint64_t seq_from(const struct span *span, uint64_t position)
{
    uint64_t low = span->first, high = span->last + 1;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;

        if (index_at(span->log, middle) < position)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The header of entry `seq`, and where it stands. */
static bool header_read(const struct span *span, uint64_t seq, struct ls_entry *header, uint64_t *position)
{
    *position = index_at(span->log, seq);
    return ls_log_copy_out(span->log, *position, header, sizeof(*header)) && header->seq == seq &&
           ls_entry_is_sane(header, UINT64_MAX - *position);
}

uint32_t ls_log_read(const struct ls_log *log, uint64_t commit, const struct ls_control_log *ask, uint8_t *to,
                     uint32_t room)
{
    struct ls_control_log_bytes head = {0};
    struct ls_entry entry;
    struct span span;
    uint64_t position, seq;
    uint32_t wanted = ask->bytes < room - sizeof(head) ? ask->bytes : room - (uint32_t)sizeof(head);

    assert(room >= LS_LOG_READ_MIN);
    span_take(&span, log, commit);
    head.oldest_seq = seq_from(&span, span.floor);
    head.commit_seq = seq_from(&span, commit) - 1; /* the entry that begins at commit is the first uncommitted one */
    seq = ask->seq > head.oldest_seq ? ask->seq : head.oldest_seq;
    for (; seq <= head.commit_seq; seq++) {
        if (!header_read(&span, seq, &entry, &position)) {
            if (head.bytes > 0)
                break;
            head.oldest_seq = seq + 1; /* overwritten since: net is fast, begin behind it */
            continue;
        }
        uint64_t size = ls_entry_size(entry.length);
        if (head.bytes > 0 && head.bytes + size > wanted)
            break;
        if (size > room - sizeof(head)) {
            memcpy(to + sizeof(head), &entry, sizeof(entry));
            head.bytes = sizeof(entry);
            head.skipped = 1;
            seq++;
            break;
        }
        if (!ls_log_copy_out(log, position, to + sizeof(head) + head.bytes, (uint32_t)size))
            break;
        head.bytes += (uint32_t)size;
    }
    head.next_seq = seq;
    memcpy(to, &head, sizeof(head));
    return (uint32_t)sizeof(head) + head.bytes;
}
