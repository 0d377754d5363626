/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The 64-bit hash of the state machines: places keys in the table, guards every version, builds the digest. Pure, any
 * thread. The same bytes give the same number on every machine and in every build: it is part of the checkpoint format
 * and of what replicas compare.
 *
 * Construction: multiply 64 x 64 -> 128 and fold, after wyhash final 4 (Wang Yi, public domain), in its protected form:
 * the factors are folded in again, so that a factor of zero does not wipe out what came before it. Not cryptographic:
 * it finds flipped bits, it does not stop a forger.
 */
#ifndef LOCKSTEP_STATE_HASH_H
#define LOCKSTEP_STATE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words are loaded as they lie in memory");

#define LS_HASH_0 0xa0761d6478bd642full
#define LS_HASH_1 0xe7037ed1a0b428dbull
#define LS_HASH_2 0x8ebc6af09c88c6e3ull
#define LS_HASH_3 0x589965cc75374cc3ull

static inline uint64_t ls_hash_load64(const uint8_t *p)
{
    uint64_t v;
    memcpy(&v, p, 8);
    return v;
}

static inline uint64_t ls_hash_load32(const uint8_t *p)
{
    uint32_t v;
    memcpy(&v, p, 4);
    return v;
}

/* Folds two words into one; good in every bit of both. */
static inline uint64_t ls_hash_mix(uint64_t a, uint64_t b)
{
    unsigned __int128 product = (unsigned __int128)a * b;
    return a ^ b ^ (uint64_t)product ^ (uint64_t)(product >> 64);
}

static inline uint64_t ls_hash64(uint64_t seed, const void *bytes, size_t n)
{
    const uint8_t *p = bytes;
    uint64_t a, b;

    seed ^= ls_hash_mix(seed ^ LS_HASH_0, LS_HASH_1);
    if (n <= 16) {
        if (n >= 4) {
            size_t middle = (n >> 3) << 2;
            a = ls_hash_load32(p) << 32 | ls_hash_load32(p + middle);
            b = ls_hash_load32(p + n - 4) << 32 | ls_hash_load32(p + n - 4 - middle);
        } else if (n > 0) {
            a = (uint64_t)p[0] << 16 | (uint64_t)p[n >> 1] << 8 | p[n - 1];
            b = 0;
        } else {
            a = 0;
            b = 0;
        }
    } else {
        size_t left = n;
        if (left > 48) {
            uint64_t second = seed, third = seed; /* three lanes: three multiplications in flight */
            do {
                seed = ls_hash_mix(ls_hash_load64(p) ^ LS_HASH_1, ls_hash_load64(p + 8) ^ seed);
                second = ls_hash_mix(ls_hash_load64(p + 16) ^ LS_HASH_2, ls_hash_load64(p + 24) ^ second);
                third = ls_hash_mix(ls_hash_load64(p + 32) ^ LS_HASH_3, ls_hash_load64(p + 40) ^ third);
                p += 48;
                left -= 48;
            } while (left > 48);
            seed ^= second ^ third;
        }
        while (left > 16) {
            seed = ls_hash_mix(ls_hash_load64(p) ^ LS_HASH_1, ls_hash_load64(p + 8) ^ seed);
            p += 16;
            left -= 16;
        }
        a = ls_hash_load64(p + left - 16);
        b = ls_hash_load64(p + left - 8);
    }
    a ^= LS_HASH_1;
    b ^= seed;
    return ls_hash_mix(ls_hash_mix(a, b) ^ LS_HASH_0 ^ n, LS_HASH_1 ^ b);
}

#endif
