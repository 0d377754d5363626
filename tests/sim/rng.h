/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The simulator's only source of chance: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64, one stream for
 * each purpose, so that drawing more in one place leaves the others as they were. No floating point: the same numbers
 * in every build.
 */
#ifndef SIM_RNG_H
#define SIM_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct sim_rng {
    uint64_t s[4];
};

static inline uint64_t sim_splitmix(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static inline void sim_rng_seed(struct sim_rng *rng, uint64_t seed, uint64_t stream)
{
    uint64_t state = seed * 0xd1342543de82ef95ull + stream;
    for (int i = 0; i < 4; i++)
        rng->s[i] = sim_splitmix(&state);
}

static inline uint64_t sim_rng_next(struct sim_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t r = s[1] * 5;
    r = ((r << 7) | (r >> 57)) * 9;
    uint64_t t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = (s[3] << 45) | (s[3] >> 19);
    return r;
}

/* 0 <= result < n; n > 0. */
static inline uint64_t sim_rng_below(struct sim_rng *rng, uint64_t n)
{
    return (uint64_t)(((unsigned __int128)sim_rng_next(rng) * n) >> 64);
}

static inline uint64_t sim_rng_between(struct sim_rng *rng, uint64_t low, uint64_t high)
{
    return low + sim_rng_below(rng, high - low + 1);
}

/* Per million. */
static inline bool sim_rng_chance(struct sim_rng *rng, uint32_t ppm)
{
    return ppm != 0 && sim_rng_below(rng, 1000000) < ppm;
}

/* Mostly small, sometimes large: about mean, at most 8 * mean. */
static inline uint64_t sim_rng_spread(struct sim_rng *rng, uint64_t mean)
{
    uint64_t bits = sim_rng_next(rng);
    uint64_t scale = 1;
    for (int i = 0; i < 3 && (bits & 3) == 0; i++, bits >>= 2)
        scale *= 2;
    return sim_rng_below(rng, mean * scale + 1);
}

#endif
