/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Seeded dice for faults on purpose: splitmix64 (Steele, Lea, Flood 2014). The same seed, the same throws. A value; no
 * state of its own.
 */
#ifndef LOCKSTEP_CORE_DICE_H
#define LOCKSTEP_CORE_DICE_H

#include <stdbool.h>
#include <stdint.h>

#define LS_MILLION 1000000u

static inline uint64_t ls_dice_roll(uint64_t *dice)
{
    uint64_t z = *dice += 0x9e3779b97f4a7c15ull;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

/* 0 .. n-1 */
static inline uint64_t ls_dice_below(uint64_t *dice, uint64_t n)
{
    return (uint64_t)((unsigned __int128)ls_dice_roll(dice) * n >> 64);
}

static inline bool ls_dice_happens(uint64_t *dice, uint32_t per_million)
{
    return per_million != 0 && ls_dice_below(dice, LS_MILLION) < per_million;
}

#endif
