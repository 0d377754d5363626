/* SPDX-License-Identifier: BSD-3-Clause */
/* Virtual time: the event queue, actors that plan their next turn in it, and the clocks of machines. */
#ifndef SIM_EVENT_H
#define SIM_EVENT_H

#include <stdbool.h>
#include <stdint.h>

#include "rng.h"

#define SIM_NODES_MAX   8
#define SIM_CLIENTS_MAX 12
#define SIM_ENDS_MAX    (SIM_NODES_MAX + SIM_CLIENTS_MAX) /* ends of links: nodes, then clients */
#define SIM_PACKETS     8192
#define SIM_EVENTS_MAX  (2 * SIM_PACKETS)
#define SIM_NONE        UINT32_MAX
#define SIM_CLUSTER     0x51b15eed0badcafeull

#define SIM_US 1000ull
#define SIM_MS 1000000ull

/* ---- events ---- */

enum sim_event_type {
    SIM_EVENT_DELIVER = 1, /* argument: packet */
    SIM_EVENT_NET,         /* target: node */
    SIM_EVENT_APPLY,       /* target: node */
    SIM_EVENT_JOURNAL,     /* target: node */
    SIM_EVENT_CLIENT,      /* target: client */
    SIM_EVENT_CTRL,        /* target: node */
    SIM_EVENT_BULK,        /* target: node */
    SIM_EVENT_MESSAGE,     /* argument: message to, from or about a ctrl */
    SIM_EVENT_FAULT,
    SIM_EVENT_OPERATOR,
    SIM_EVENT_ORDER, /* argument: a script's order on its way to a node */
    SIM_EVENT_SCRIPT,
};

struct sim_event {
    uint64_t time;
    uint32_t sequence; /* breaks ties: first come, first served */
    uint32_t argument;
    uint32_t ticket; /* of actors: stale if it is not the actor's present one */
    uint16_t type;
    uint16_t target;
};

struct sim_queue {
    struct sim_event heap[SIM_EVENTS_MAX];
    uint32_t count;
    uint32_t sequence;
};

void sim_queue_push(struct sim_queue *queue, struct sim_event event);
bool sim_queue_pop(struct sim_queue *queue, struct sim_event *event);

/* An actor has at most one turn planned. */
struct sim_actor {
    uint64_t at; /* UINT64_MAX: none */
    uint32_t ticket;
};

/* Each machine has its own monotonic clock: it began at another time and goes a little fast or slow. */
struct sim_clock {
    uint64_t base;
    int64_t drift; /* per million */
};

static inline void sim_clock_draw(struct sim_clock *clock, struct sim_rng *rng, bool exact)
{
    clock->base = 1000 * SIM_MS + (exact ? 0 : sim_rng_below(rng, 1000000 * SIM_MS));
    clock->drift = exact ? 0 : (int64_t)sim_rng_below(rng, 401) - 200;
}

static inline uint64_t sim_clock(const struct sim_clock *clock, uint64_t now)
{
    return clock->base + now + (uint64_t)((int64_t)now * clock->drift / 1000000);
}

/* When that clock will show `time`, or a little later; UINT64_MAX: never in this schedule. */
static inline uint64_t sim_clock_back(const struct sim_clock *clock, uint64_t time)
{
    if (time <= clock->base)
        return 0;
    time -= clock->base;
    if (time > 1ull << 48)
        return UINT64_MAX;
    return clock->drift == 0
               ? time
               : (uint64_t)((int64_t)time - (int64_t)time * clock->drift / 1000000 + (int64_t)time / 20000000 + 1);
}

#endif
