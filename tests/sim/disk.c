/* SPDX-License-Identifier: BSD-3-Clause */
/* See disk.h. */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define SECTOR 512u

struct sim_disk_copy {
    uint32_t segments;
    uint8_t state[2 * LS_JOURNAL_BLOCK];
    bool state_there;
    uint8_t *segment[];
};

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

static void copy_free(struct sim_disk *d)
{
    for (uint32_t i = 0; d->copy != NULL && i < d->copy->segments; i++)
        free(d->copy->segment[i]);
    free(d->copy);
    d->copy = NULL;
}

void sim_disk_keep(struct sim_disk *d, const void *bytes, size_t size, const struct ls_cut *cut)
{
    uint32_t n = 0;
    while (n < SIM_CHECKPOINTS && d->checkpoint[n].bytes != NULL)
        n++;
    if (n == SIM_CHECKPOINTS) {
        free(d->checkpoint[0].bytes);
        memmove(d->checkpoint, d->checkpoint + 1, (SIM_CHECKPOINTS - 1) * sizeof(d->checkpoint[0]));
        n--;
    }
    struct sim_checkpoint *last = &d->checkpoint[n];
    *last = (struct sim_checkpoint){.bytes = malloc(size), .size = size, .cut = *cut};
    assert(last->bytes != NULL);
    memcpy(last->bytes, bytes, size);
}

const struct sim_checkpoint *sim_disk_checkpoint(const struct sim_disk *d, const struct ls_journal_state *state,
                                                 uint64_t promise)
{
    const struct sim_checkpoint *newest = NULL;
    for (uint32_t i = 0; i < SIM_CHECKPOINTS && d->checkpoint[i].bytes != NULL; i++) {
        const struct ls_cut *cut = &d->checkpoint[i].cut;
        if (ls_journal_goes_behind(state, cut->position) && cut->position > 0 && cut->epochs > 0 &&
            cut->epoch[cut->epochs - 1].epoch <= promise && (newest == NULL || cut->seq > newest->cut.seq))
            newest = &d->checkpoint[i];
    }
    return newest;
}

void sim_disk_wipe(struct sim_disk *d)
{
    segments_free(d, SIM_SEGMENTS);
    for (uint32_t i = 0; i < SIM_CHECKPOINTS; i++) {
        free(d->checkpoint[i].bytes);
        d->checkpoint[i] = (struct sim_checkpoint){0};
    }
    copy_free(d);
    d->rotten = false;
    d->segments = 0;
    memset(d->state, 0, sizeof(d->state));
    d->state_there = false;
}

struct ls_journal_identity sim_disk_identity(uint32_t index)
{
    return (struct ls_journal_identity){
        .cluster = SIM_CLUSTER, .generation = 1, .node = (uint16_t)(index + 1), .segment_size = SIM_SEGMENT};
}

bool sim_disk_rot(struct sim_disk *d, uint32_t index)
{
    struct ls_journal_identity identity = sim_disk_identity(index);
    struct sim_rng *rng = &d->sim->rng_rot;
    struct ls_journal_state state;
    char error[LS_JOURNAL_ERROR_MAX];
    if (ls_journal_state_load(&d->disk, &identity, &state, error) != LS_JOURNAL_RIGHT ||
        state.durable <= state.base.position)
        return false;
    uint64_t at = state.base.position + sim_rng_below(rng, state.durable - state.base.position);
    if (d->segment[at / SIM_SEGMENT] == NULL)
        return false;
    d->segment[at / SIM_SEGMENT][at % SIM_SEGMENT] ^= (uint8_t)(1u << sim_rng_below(rng, 8));
    d->rotten = true;
    return true;
}

void sim_disk_copy(struct sim_disk *d)
{
    copy_free(d);
    d->copy = calloc(1, sizeof(*d->copy) + d->segments * sizeof(d->copy->segment[0]));
    assert(d->copy != NULL);
    d->copy->segments = d->segments;
    d->copy->state_there = d->state_there;
    memcpy(d->copy->state, d->state, sizeof(d->state));
    for (uint32_t i = 0; i < d->segments; i++) {
        if (d->segment[i] == NULL)
            continue;
        d->copy->segment[i] = malloc(SIM_SEGMENT);
        assert(d->copy->segment[i] != NULL);
        memcpy(d->copy->segment[i], d->segment[i], SIM_SEGMENT);
    }
}

bool sim_disk_roll_back(struct sim_disk *d)
{
    struct sim_disk_copy *copy = d->copy;
    if (copy == NULL)
        return false;
    memcpy(d->state, copy->state, sizeof(d->state));
    d->state_there = copy->state_there;
    if (sim_rng_below(&d->sim->rng_rot, 2) == 0) {
        segments_free(d, SIM_SEGMENTS);
        d->segments = copy->segments;
        memcpy(d->segment, copy->segment, copy->segments * sizeof(copy->segment[0]));
        copy->segments = 0; /* they have another owner now */
    }
    copy_free(d);
    d->rotten = true; /* what it speaks of may be gone */
    return true;
}

bool sim_disk_is_complete(struct sim_disk *d, uint32_t index, uint64_t counts, uint64_t promise)
{
    struct ls_journal_identity identity = sim_disk_identity(index);
    struct ls_journal_state state;
    char error[LS_JOURNAL_ERROR_MAX];
    return !d->rotten && ls_journal_state_load(&d->disk, &identity, &state, error) == LS_JOURNAL_RIGHT &&
           (state.base.position == 0 || sim_disk_checkpoint(d, &state, promise) != NULL) &&
           ls_journal_is_complete(&state, counts);
}
