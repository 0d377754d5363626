/* SPDX-License-Identifier: BSD-3-Clause */
/* See memdisk.h. */
#include "memdisk.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define SECTOR 512u

uint64_t memdisk_random(struct memdisk *d)
{
    d->random ^= d->random << 13;
    d->random ^= d->random >> 7;
    d->random ^= d->random << 17;
    return d->random;
}

static uint8_t *place(struct memdisk *d, uint64_t segment, uint64_t offset)
{
    if (segment == LS_JOURNAL_STATE)
        return d->state + offset;
    assert(segment < MEMDISK_SEGMENTS && d->segment[segment] != NULL);
    return d->segment[segment] + offset;
}

static int memdisk_write(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, const void *bytes,
                         uint32_t length, uint64_t cookie)
{
    struct memdisk *d = (struct memdisk *)disk;
    uint64_t size = segment == LS_JOURNAL_STATE ? sizeof(d->state) : d->segment_size;
    assert(offset % LS_JOURNAL_BLOCK == 0 && length % LS_JOURNAL_BLOCK == 0 && length > 0 && offset + length <= size);
    assert((uintptr_t)bytes % LS_JOURNAL_BLOCK == 0);
    for (uint32_t i = 0; i < MEMDISK_QUEUE; i++) {
        struct memdisk_write *w = &d->queue[i];
        /* two writes of one block could land in either order */
        assert(d->overlaps || !w->used || w->segment != segment || offset + length <= w->offset ||
               w->offset + w->length <= offset);
    }
    for (uint32_t i = 0; i < MEMDISK_QUEUE; i++) {
        if (d->queue[i].used)
            continue;
        d->queue[i] = (struct memdisk_write){
            .used = true, .segment = segment, .offset = offset, .bytes = bytes, .length = length, .cookie = cookie};
        d->running++;
        d->state_there |= segment == LS_JOURNAL_STATE;
        return 0;
    }
    return -EAGAIN;
}

static uint32_t memdisk_turn(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max)
{
    struct memdisk *d = (struct memdisk *)disk;
    uint32_t n = 0;
    uint32_t first = (uint32_t)memdisk_random(d);
    for (uint32_t k = 0; k < MEMDISK_QUEUE && n < max; k++) {
        struct memdisk_write *w = &d->queue[(first + k) % MEMDISK_QUEUE];
        if (!w->used || memdisk_random(d) % 256 < d->slow)
            continue;
        if (d->fail == 0)
            memcpy(place(d, w->segment, w->offset), w->bytes, w->length);
        done[n++] = (struct ls_journal_done){.cookie = w->cookie, .error = d->fail};
        w->used = false;
        d->running--;
    }
    return n;
}

static int memdisk_segment(struct ls_journal_disk *disk, uint64_t number)
{
    struct memdisk *d = (struct memdisk *)disk;
    assert(number < MEMDISK_SEGMENTS);
    if (d->segment[number] != NULL)
        return 1;
    d->segment[number] = calloc(1, d->segment_size);
    assert(d->segment[number] != NULL);
    return d->make_late ? 0 : 1;
}

static void memdisk_trim(struct ls_journal_disk *disk, uint64_t number)
{
    struct memdisk *d = (struct memdisk *)disk;
    for (; d->trimmed < number; d->trimmed++) {
        free(d->segment[d->trimmed]);
        d->segment[d->trimmed] = NULL;
    }
}

static int memdisk_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    struct memdisk *d = (struct memdisk *)disk;
    uint64_t size = segment == LS_JOURNAL_STATE ? (d->state_there ? sizeof(d->state) : 0) : d->segment_size;
    if (segment != LS_JOURNAL_STATE && (segment >= MEMDISK_SEGMENTS || d->segment[segment] == NULL))
        return 0;
    if (offset >= size)
        return 0;
    length = length < size - offset ? length : (uint32_t)(size - offset);
    memcpy(bytes, place(d, segment, offset), length);
    return (int)length;
}

void memdisk_init(struct memdisk *d, uint64_t segment_size, uint64_t seed)
{
    memset(d, 0, sizeof(*d));
    d->disk = (struct ls_journal_disk){.write = memdisk_write,
                                       .turn = memdisk_turn,
                                       .segment = memdisk_segment,
                                       .trim = memdisk_trim,
                                       .read = memdisk_read};
    d->segment_size = segment_size;
    d->random = seed * 0x9e3779b97f4a7c15ull + 1;
}

void memdisk_free(struct memdisk *d)
{
    for (uint32_t i = 0; i < MEMDISK_SEGMENTS; i++)
        free(d->segment[i]);
}

void memdisk_cut(struct memdisk *d)
{
    for (uint32_t i = 0; i < MEMDISK_QUEUE; i++) {
        struct memdisk_write *w = &d->queue[i];
        uint64_t how = memdisk_random(d) % 4;
        for (uint32_t at = 0; w->used && at < w->length; at += SECTOR)
            if (how == 1 || (how >= 2 && memdisk_random(d) % 2 == 0))
                memcpy(place(d, w->segment, w->offset + at), w->bytes + at, SECTOR);
        w->used = false;
    }
    d->running = 0;
}
