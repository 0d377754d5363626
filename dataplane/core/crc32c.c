/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * CRC32C (Castagnoli polynomial 0x1edc6f41, reflected), for frames and log entries. Pure, any thread.
 *
 * Three ways to the same value: the portable one by table, eight bytes a step (Kounavis and Berry, "slicing by 8"); the
 * SSE4.2 instruction in one chain (3 cycles latency for 8 bytes); and, from LS_CRC_LANES_MIN bytes on, the instruction
 * in three independent chains over thirds of the bytes, which are then joined by a carry-less multiplication (Gopal et
 * al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011). A chain's value is moved over
 * n following words by multiplying it with x^(64 n) modulo the polynomial.
 */
#include <string.h>

#include "wire.h"

#if defined(__SSE4_2__)
#include <immintrin.h>

/* Measured (Zen 4): below this the joining costs more than the two other chains save. */
#define LS_CRC_LANES_MIN 160
#define LS_CRC_LANE_MAX  63 /* words a lane; the table below serves two lanes */

/* join_constant[n] = x^(64 n + 31) mod P, reflected: [0] is the bit for x^31, each next one is one more word of zeros
 * behind it. 31 and not 64: the product of two reflected 32-bit values is off by one bit, and the last word of the
 * data goes through the instruction together with the product. */
static const uint32_t join_constant[2 * LS_CRC_LANE_MAX + 2] = {
    0x00000001u, 0x493c7d27u, 0xf20c0dfeu, 0xba4fc28eu, 0x3da6d0cbu, 0xddc0152bu, 0x1c291d04u, 0x9e4addf8u, 0x740eef02u,
    0x39d3b296u, 0x083a6eecu, 0x0715ce53u, 0xc49f4f67u, 0x47db8317u, 0x2ad91c30u, 0x0d3b6092u, 0x6992cea2u, 0xc96cfdc0u,
    0x7e908048u, 0x878a92a7u, 0x1b3d8f29u, 0xdaece73eu, 0xf1d0f55eu, 0xab7aff2au, 0xa87ab8a8u, 0x2162d385u, 0x8462d800u,
    0x83348832u, 0x71d111a8u, 0x299847d5u, 0xffd852c6u, 0xb9e02b86u, 0xdcb17aa4u, 0x18b33a4eu, 0xf37c5aeeu, 0xb6dd949bu,
    0x6051d5a2u, 0x78d9ccb7u, 0x18b0d4ffu, 0xbac2fd7bu, 0x21f3d99cu, 0xa60ce07bu, 0x8f158014u, 0xce7f39f4u, 0xa00457f7u,
    0x61d82e56u, 0x8d6d2c43u, 0xd270f1a2u, 0x00ac29cfu, 0xc619809du, 0xe9adf796u, 0x2b3cac5du, 0x96638b34u, 0x65863b64u,
    0xe0e9f351u, 0x1b03397fu, 0x9af01f2du, 0xebb883bdu, 0x2cff42cfu, 0xb3e32c28u, 0x88f25a3au, 0x064f7f26u, 0x4e36f0b0u,
    0xdd7e3b0cu, 0xbd6f81f8u, 0xf285651cu, 0x91c9bd4bu, 0x10746f3cu, 0x885f087bu, 0xc7a68855u, 0x4c144932u, 0x271d9844u,
    0x52148f02u, 0x8e766a0cu, 0xa3c6f37au, 0x93a5f730u, 0xd7c0557fu, 0x6cb08e5cu, 0x63ded06au, 0x6b749fb2u, 0x4d56973cu,
    0x1393e203u, 0x9669c9dfu, 0xcec3662eu, 0xe417f38au, 0x96c515bbu, 0x4b9e0f71u, 0xe6fc4e6au, 0xd104b8fcu, 0x8227bb8au,
    0x5b397730u, 0xb0cd4768u, 0xe78eb416u, 0x39c7ff35u, 0x61ff0e01u, 0xd7a4825cu, 0x8d96551cu, 0x0ab3844bu, 0x0bf80dd2u,
    0x0167d312u, 0x8821abedu, 0xf6076544u, 0x6a45d2b2u, 0x26f6a60au, 0xd8d26619u, 0xa741c1bfu, 0xde87806cu, 0x98d8d9cbu,
    0x14338754u, 0x49c3cc9cu, 0x5bd2011fu, 0x68bce87au, 0xdd07448eu, 0x57a3d037u, 0xdde8f5b9u, 0x6956fc3bu, 0xa3e3e02cu,
    0x42d98888u, 0xd73c7beau, 0x3771e98fu, 0x80ff0093u, 0xb42ae3d9u, 0x8fe4c34du, 0x2178513au, 0xdf99fc11u, 0xe0ac139eu,
    0x6c23e841u, 0x170076fau,
};

static inline uint64_t load64(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof(word));
    return word;
}

/* `crc` is the bare register, without the inversions at both ends. */
static inline uint32_t crc_chain(uint32_t crc, const uint8_t *at, size_t n)
{
    uint64_t wide = crc;
    for (; n >= 32; n -= 32, at += 32) {
        wide = _mm_crc32_u64(wide, load64(at));
        wide = _mm_crc32_u64(wide, load64(at + 8));
        wide = _mm_crc32_u64(wide, load64(at + 16));
        wide = _mm_crc32_u64(wide, load64(at + 24));
    }
    for (; n >= 8; n -= 8, at += 8)
        wide = _mm_crc32_u64(wide, load64(at));
    crc = (uint32_t)wide;
    if (n & 4) {
        uint32_t word;
        memcpy(&word, at, sizeof(word));
        crc = _mm_crc32_u32(crc, word);
        at += 4;
    }
    if (n & 2) {
        uint16_t word;
        memcpy(&word, at, sizeof(word));
        crc = _mm_crc32_u16(crc, word);
        at += 2;
    }
    if (n & 1)
        crc = _mm_crc32_u8(crc, *at);
    return crc;
}

__attribute__((target("pclmul,sse4.2"))) static uint32_t crc_lanes(uint32_t crc, const uint8_t *at, size_t n)
{
    while (n >= LS_CRC_LANES_MIN) {
        /* three lanes of `words`, and one word behind them in which they are joined */
        size_t words = (n - 8) / 24;
        if (words > LS_CRC_LANE_MAX)
            words = LS_CRC_LANE_MAX;
        const uint8_t *b = at + words * 8;
        const uint8_t *c = b + words * 8;
        uint64_t first = crc, second = 0, third = 0;
        for (size_t i = 0; i < words; i++) {
            first = _mm_crc32_u64(first, load64(at + i * 8));
            second = _mm_crc32_u64(second, load64(b + i * 8));
            third = _mm_crc32_u64(third, load64(c + i * 8));
        }
        __m128i moved = _mm_xor_si128(
            _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)first), _mm_cvtsi32_si128((int)join_constant[2 * words]), 0),
            _mm_clmulepi64_si128(_mm_cvtsi32_si128((int)second), _mm_cvtsi32_si128((int)join_constant[words]), 0));
        uint64_t last = load64(c + words * 8) ^ (uint64_t)_mm_cvtsi128_si64(moved);
        crc = (uint32_t)_mm_crc32_u64(third, last);
        at += words * 24 + 8;
        n -= words * 24 + 8;
    }
    return crc_chain(crc, at, n);
}

uint32_t ls_crc32c(uint32_t crc, const void *bytes, size_t n)
{
    if (n >= LS_CRC_LANES_MIN && __builtin_cpu_supports("pclmul"))
        return ~crc_lanes(~crc, bytes, n);
    return ~crc_chain(~crc, bytes, n);
}

#else

/* slice[k][b]: the register after byte b and k bytes of zeros. Filled before main() by the constructor below. */
static uint32_t slice[8][256];

__attribute__((constructor)) static void crc_fill_slices(void)
{
    for (uint32_t b = 0; b < 256; b++) {
        uint32_t value = b;
        for (int bit = 0; bit < 8; bit++)
            value = (value >> 1) ^ (0x82f63b78u & (0u - (value & 1u)));
        slice[0][b] = value;
    }
    for (uint32_t b = 0; b < 256; b++)
        for (int k = 1; k < 8; k++)
            slice[k][b] = (slice[k - 1][b] >> 8) ^ slice[0][slice[k - 1][b] & 0xff];
}

uint32_t ls_crc32c(uint32_t crc, const void *bytes, size_t n)
{
    const uint8_t *at = bytes;
    crc = ~crc;
    for (; n >= 8; n -= 8, at += 8) {
        uint32_t low, high;
        memcpy(&low, at, sizeof(low));
        memcpy(&high, at + 4, sizeof(high));
        low ^= crc;
        crc = slice[7][low & 0xff] ^ slice[6][(low >> 8) & 0xff] ^ slice[5][(low >> 16) & 0xff] ^ slice[4][low >> 24] ^
              slice[3][high & 0xff] ^ slice[2][(high >> 8) & 0xff] ^ slice[1][(high >> 16) & 0xff] ^
              slice[0][high >> 24];
    }
    for (; n > 0; n--, at++)
        crc = (crc >> 8) ^ slice[0][(crc ^ *at) & 0xff];
    return ~crc;
}

#endif
