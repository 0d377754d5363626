/* SPDX-License-Identifier: BSD-3-Clause */
/* See reader.h. */
#include "reader.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"

#define CHUNK (LS_OP_MAX + 64u * 1024) /* no entry is larger */
#define AHEAD (256u * 1024)            /* read at once, where entries are small */

int ls_journal_bytes(struct ls_journal_disk *disk, uint64_t segment_size, uint64_t position, void *to, uint32_t length)
{
    uint32_t got = 0;
    while (got < length) {
        uint64_t at = position + got, left = segment_size - at % segment_size;
        uint32_t part = left < length - got ? (uint32_t)left : length - got;
        int n = disk->read(disk, at / segment_size, at % segment_size, (uint8_t *)to + got, part);
        if (n < 0)
            return n;
        got += (uint32_t)n;
        if ((uint32_t)n < part)
            break;
    }
    return (int)got;
}

int ls_journal_reader_init(struct ls_journal_reader *r, struct ls_journal_disk *disk, uint64_t segment_size)
{
    *r = (struct ls_journal_reader){.disk = disk, .segment_size = segment_size, .chunk = malloc(CHUNK)};
    return r->chunk != NULL ? 0 : -ENOMEM;
}

void ls_journal_reader_free(struct ls_journal_reader *r)
{
    free(r->chunk);
    r->chunk = NULL;
}

void ls_journal_reader_begin(struct ls_journal_reader *r, const struct ls_journal_place *place)
{
    r->place = r->before = *place;
    r->chunk_length = 0;
    r->stands = true;
}

struct ls_journal_place ls_journal_place_first(const struct ls_journal_base *base)
{
    return (struct ls_journal_place){
        .position = base->position, .seq = base->seq, .chain = base->position == 0 ? LS_LOG_CHAIN_FIRST : base->chain};
}

/* The chunk holds `length` bytes from the place on, none beyond `limit`. 1; 0: they are not there; -errno. */
static int chunk_have(struct ls_journal_reader *r, uint64_t length, uint64_t limit)
{
    uint64_t at = r->place.position;
    if (at + length > limit)
        return 0;
    if (r->chunk_length > 0 && at >= r->chunk_at && at + length <= r->chunk_at + r->chunk_length)
        return 1;
    uint64_t want = length < AHEAD ? AHEAD : length;
    want = want < limit - at ? want : limit - at;
    int got = ls_journal_bytes(r->disk, r->segment_size, at, r->chunk, (uint32_t)want);
    r->chunk_at = at;
    r->chunk_length = got > 0 ? (uint32_t)got : 0;
    return got < 0 ? got : (uint64_t)got >= length;
}

static int fail(struct ls_journal_reader *r, int code, const char *what)
{
    uint64_t at = r->place.position;
    snprintf(r->error, sizeof(r->error),
             "entry %" PRIu64 " of the log, at position %" PRIu64 " (segment %" PRIu64 ", byte %" PRIu64 "), %s%s%s",
             r->place.seq + 1, at, at / r->segment_size, at % r->segment_size + LS_JOURNAL_BLOCK, what,
             r->disk->problem[0] != '\0' ? ": " : "", r->disk->problem);
    r->chunk_length = 0; /* read again the next time */
    r->stands = false;
    return code;
}

int ls_journal_reader_next(struct ls_journal_reader *r, uint64_t limit, const struct ls_entry **entry)
{
    r->error[0] = '\0';
    if (r->place.position >= limit)
        return 0;
    int there = chunk_have(r, sizeof(struct ls_entry), limit);
    if (there < 0)
        return fail(r, there, "cannot be read");
    if (there == 0)
        return fail(r, -ENOENT, "is not in the journal any more");
    const struct ls_entry *next = (const struct ls_entry *)(r->chunk + (r->place.position - r->chunk_at));
    if (!ls_entry_is_sane(next, CHUNK) || next->seq != r->place.seq + 1)
        return fail(r, -EBADMSG, "is damaged");
    uint64_t size = ls_entry_size(next->length);
    there = chunk_have(r, size, limit);
    if (there < 0)
        return fail(r, there, "cannot be read");
    if (there == 0)
        return fail(r, -EBADMSG, "is damaged, or ends beyond what is durable");
    next = (const struct ls_entry *)(r->chunk + (r->place.position - r->chunk_at));
    if (next->checksum != ls_entry_checksum(next, r->place.chain))
        return fail(r, -EBADMSG, "is damaged");
    r->before = r->place;
    r->place =
        (struct ls_journal_place){.position = r->place.position + size, .seq = next->seq, .chain = next->checksum};
    *entry = next;
    return 1;
}

void ls_journal_reader_unread(struct ls_journal_reader *r)
{
    r->place = r->before;
}

int ls_journal_reader_seek(struct ls_journal_reader *r, const struct ls_journal_place *place, uint32_t n, uint64_t seq,
                           uint64_t position, uint64_t limit)
{
    const struct ls_journal_place *from = place, *at = &r->place;
    const struct ls_entry *entry;
    int result = 1;
    for (uint32_t i = 1; i < n && place[i].seq < seq && place[i].position <= position; i++)
        from = &place[i];
    if (!r->stands || at->seq >= seq || at->position > position || at->seq < from->seq)
        ls_journal_reader_begin(r, from);
    while (result == 1 && at->seq + 1 < seq && at->position < position)
        result = ls_journal_reader_next(r, limit, &entry);
    if (result == 1 && at->position > position)
        ls_journal_reader_unread(r); /* that one holds it */
    return result < 0 ? result : 0;
}

int ls_journal_window(struct ls_journal_reader *r, uint64_t limit, uint8_t *to, uint32_t room, uint64_t *from,
                      uint64_t *end)
{
    const struct ls_entry *entry;
    int result;
    *from = *end = r->place.position;
    while ((result = ls_journal_reader_next(r, limit, &entry)) == 1) {
        uint64_t size = ls_entry_size(entry->length);
        if (size > room - (*end - *from)) {
            ls_journal_reader_unread(r);
            break;
        }
        memcpy(to + (*end - *from), entry, size);
        *end += size;
    }
    return result < 0 && *end == *from ? result : 0;
}
