/* SPDX-License-Identifier: BSD-3-Clause */
/* See disk.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define SECTOR 512u

static uint8_t *place(struct sim_disk *d, uint64_t segment, uint64_t offset)
{
    return segment == LS_JOURNAL_STATE ? d->state + offset : d->segment[segment] + offset;
}

static void due_find(struct sim_disk *d)
{
    d->due_ns = UINT64_MAX;
    for (uint32_t i = 0; i < SIM_DISK_WRITES; i++)
        if (d->write[i].used && d->write[i].at < d->due_ns)
            d->due_ns = d->write[i].at;
}

static int disk_write(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, const void *bytes,
                      uint32_t length, uint64_t cookie)
{
    struct sim_disk *d = (struct sim_disk *)disk;
    struct sim *sim = d->sim;
    uint64_t time = sim->config.disk_ns / 2 + sim_rng_spread(&sim->rng_disk, sim->config.disk_ns);
    if (!sim->healed && sim_rng_below(&sim->rng_disk, 64) == 0)
        time += sim_rng_spread(&sim->rng_disk, 20 * sim->config.disk_ns);
    for (uint32_t i = 0; i < SIM_DISK_WRITES; i++) {
        if (d->write[i].used)
            continue;
        d->write[i].used = true;
        d->write[i].at = sim->now + time;
        d->write[i].segment = segment;
        d->write[i].offset = offset;
        d->write[i].cookie = cookie;
        d->write[i].bytes = bytes;
        d->write[i].length = length;
        d->state_there |= segment == LS_JOURNAL_STATE;
        due_find(d);
        return 0;
    }
    return -EAGAIN;
}

static uint32_t disk_turn(struct ls_journal_disk *disk, struct ls_journal_done *done, uint32_t max)
{
    struct sim_disk *d = (struct sim_disk *)disk;
    uint32_t n = 0;
    for (uint32_t i = 0; i < SIM_DISK_WRITES && n < max; i++) {
        if (!d->write[i].used || d->write[i].at > d->sim->now)
            continue;
        memcpy(place(d, d->write[i].segment, d->write[i].offset), d->write[i].bytes, d->write[i].length);
        d->write[i].used = false;
        done[n++] = (struct ls_journal_done){.cookie = d->write[i].cookie};
    }
    due_find(d);
    return n;
}

static int disk_segment(struct ls_journal_disk *disk, uint64_t number)
{
    struct sim_disk *d = (struct sim_disk *)disk;
    if (number >= SIM_SEGMENTS)
        return -ENOSPC;
    if (d->segment[number] != NULL)
        return 1;
    d->segment[number] = calloc(1, SIM_SEGMENT);
    assert(d->segment[number] != NULL);
    if (number >= d->segments)
        d->segments = (uint32_t)number + 1;
    return sim_rng_below(&d->sim->rng_disk, 2) == 0; /* there at once, or the next time */
}

static void segments_free(struct sim_disk *d, uint64_t below)
{
    for (uint64_t i = 0; i < below && i < d->segments; i++) {
        free(d->segment[i]);
        d->segment[i] = NULL;
    }
}

static void disk_trim(struct ls_journal_disk *disk, uint64_t number)
{
    segments_free((struct sim_disk *)disk, number);
}

static int disk_read(struct ls_journal_disk *disk, uint64_t segment, uint64_t offset, void *bytes, uint32_t length)
{
    struct sim_disk *d = (struct sim_disk *)disk;
    uint64_t size = SIM_SEGMENT;
    if (segment == LS_JOURNAL_STATE)
        size = d->state_there ? sizeof(d->state) : 0;
    else if (segment >= SIM_SEGMENTS || d->segment[segment] == NULL)
        return 0;
    if (offset >= size)
        return 0;
    length = length < size - offset ? length : (uint32_t)(size - offset);
    memcpy(bytes, place(d, segment, offset), length);
    return (int)length;
}

void sim_disk_init(struct sim_disk *d, struct sim *sim)
{
    memset(d, 0, sizeof(*d));
    d->disk = (struct ls_journal_disk){
        .write = disk_write, .turn = disk_turn, .segment = disk_segment, .trim = disk_trim, .read = disk_read};
    d->sim = sim;
    d->due_ns = UINT64_MAX;
}

void sim_disk_hurry(struct sim_disk *d)
{
    for (uint32_t i = 0; i < SIM_DISK_WRITES; i++)
        d->write[i].at = d->sim->now;
    due_find(d);
}

void sim_disk_stop(struct sim_disk *d)
{
    struct sim_rng *rng = &d->sim->rng_disk;
    for (uint32_t i = 0; i < SIM_DISK_WRITES; i++) {
        if (!d->write[i].used)
            continue;
        uint64_t how = d->power ? sim_rng_below(rng, 4) : 1;
        for (uint32_t at = 0; at < d->write[i].length; at += SECTOR)
            if (how == 1 || (how >= 2 && sim_rng_below(rng, 2) == 0))
                memcpy(place(d, d->write[i].segment, d->write[i].offset + at), d->write[i].bytes + at, SECTOR);
        d->write[i].used = false;
    }
    d->due_ns = UINT64_MAX;
}

void sim_disk_wipe(struct sim_disk *d)
{
    segments_free(d, SIM_SEGMENTS);
    d->segments = 0;
    memset(d->state, 0, sizeof(d->state));
    d->state_there = false;
}

struct ls_journal_identity sim_disk_identity(uint32_t index)
{
    return (struct ls_journal_identity){
        .cluster = SIM_CLUSTER, .generation = 1, .node = (uint16_t)(index + 1), .segment_size = SIM_SEGMENT};
}

bool sim_disk_is_complete(struct sim_disk *d, uint32_t index, uint64_t counts)
{
    struct ls_journal_identity identity = sim_disk_identity(index);
    struct ls_journal_state state;
    char error[LS_JOURNAL_ERROR_MAX];
    return ls_journal_state_load(&d->disk, &identity, &state, error) == LS_JOURNAL_RIGHT && state.base.position == 0 &&
           ls_journal_is_complete(&state, counts);
}
