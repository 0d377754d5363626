/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The event queue: a 4-ary heap ordered by time, then by the order of pushing, so that the same pushes give the same
 * pops in every build.
 */
#include <assert.h>

#include "sim.h"

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->time != b->time ? a->time < b->time : a->sequence < b->sequence;
}

void sim_queue_push(struct sim_queue *queue, struct sim_event event)
{
    assert(queue->count < SIM_EVENTS_MAX);
    event.sequence = queue->sequence++;
    uint32_t at = queue->count++;
    while (at > 0) {
        uint32_t up = (at - 1) / 4;
        if (!before(&event, &queue->heap[up]))
            break;
        queue->heap[at] = queue->heap[up];
        at = up;
    }
    queue->heap[at] = event;
}

bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event)
{
    if (queue->count == 0)
        return false;
    *event = queue->heap[0];
    struct sim_event last = queue->heap[--queue->count];
    uint32_t at = 0;
    for (;;) {
        uint32_t first = 4 * at + 1;
        if (first >= queue->count)
            break;
        uint32_t end = first + 4 < queue->count ? first + 4 : queue->count;
        uint32_t least = first;
        for (uint32_t i = first + 1; i < end; i++) {
            if (before(&queue->heap[i], &queue->heap[least]))
                least = i;
        }
        if (!before(&queue->heap[least], &last))
            break;
        queue->heap[at] = queue->heap[least];
        at = least;
    }
    queue->heap[at] = last;
    return true;
}

void sim_plan(struct sim *sim, struct sim_actor *actor, uint16_t type, uint16_t target, uint64_t at)
{
    if (at >= actor->at)
        return;
    actor->at = at;
    actor->ticket++;
    sim_queue_push(&sim->queue,
                   (struct sim_event){.time = at, .type = type, .target = target, .ticket = actor->ticket});
}
