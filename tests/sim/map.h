/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * An open-addressing map from two 64-bit words to a number, of fixed size, emptied in constant time between schedules.
 * Used by the checkers.
 */
#ifndef SIM_MAP_H
#define SIM_MAP_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

struct sim_map_place {
    uint64_t a, b;
    uint32_t value;
    uint32_t age;
};

struct sim_map {
    struct sim_map_place *place;
    uint32_t mask;
    uint32_t age;
    uint32_t used;
};

static inline void sim_map_init(struct sim_map *map, uint32_t capacity)
{
    map->place = calloc(capacity, sizeof(*map->place));
    assert(map->place != NULL);
    map->mask = capacity - 1;
    map->age = 1;
    map->used = 0;
}

static inline void sim_map_clear(struct sim_map *map)
{
    map->age++;
    map->used = 0;
}

static inline struct sim_map_place *sim_map_find(const struct sim_map *map, uint64_t a, uint64_t b)
{
    uint64_t h = (a * 0x9e3779b97f4a7c15ull) ^ (b * 0xc2b2ae3d27d4eb4full);
    h ^= h >> 29;
    for (uint32_t i = (uint32_t)h & map->mask;; i = (i + 1) & map->mask) {
        struct sim_map_place *place = &map->place[i];
        if (place->age != map->age || (place->a == a && place->b == b))
            return place;
    }
}

/* UINT32_MAX: not there. */
static inline uint32_t sim_map_get(const struct sim_map *map, uint64_t a, uint64_t b)
{
    const struct sim_map_place *place = sim_map_find(map, a, b);
    return place->age == map->age ? place->value : UINT32_MAX;
}

static inline void sim_map_set(struct sim_map *map, uint64_t a, uint64_t b, uint32_t value)
{
    struct sim_map_place *place = sim_map_find(map, a, b);
    if (place->age != map->age) {
        assert(map->used < map->mask / 4 * 3);
        map->used++;
        place->age = map->age;
        place->a = a;
        place->b = b;
    }
    place->value = value;
}

#endif
