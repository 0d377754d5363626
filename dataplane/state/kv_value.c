/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Versions and the blocks of large values. Written by the writer before publication, read by anyone afterwards.
 *
 * A value of up to 224 bytes lies in its version. A longer one lies in blocks of 512 bytes whose numbers lie in the
 * version; above 56 blocks the version has the numbers of blocks full of block numbers. So any offset is found in two
 * steps, and what a value takes is a matter of its length alone.
 */
#include "kv_machine.h"

uint32_t ls_kv_blocks_needed(uint32_t length)
{
    uint32_t data;

    if (length <= LS_KV_INLINE_MAX || length == LS_KV_TOMBSTONE)
        return 0;
    data = (length + LS_KV_BLOCK_SIZE - 1) / LS_KV_BLOCK_SIZE;
    return data <= LS_KV_REFS_VERSION ? data : data + (data + LS_KV_REFS_BLOCK - 1) / LS_KV_REFS_BLOCK;
}

static uint32_t ls_value_block(const struct ls_machine *m, const struct ls_kv_version *version, uint32_t i)
{
    if (version->length <= LS_KV_REFS_VERSION * LS_KV_BLOCK_SIZE)
        return version->block[i];
    uint32_t ref;
    memcpy(&ref, m->blocks[version->block[i / LS_KV_REFS_BLOCK]] + (size_t)(i % LS_KV_REFS_BLOCK) * 4, 4);
    return ref;
}

static void ls_value_reserve(struct ls_machine *m, struct ls_kv_version *version, uint32_t length)
{
    uint32_t data = (length + LS_KV_BLOCK_SIZE - 1) / LS_KV_BLOCK_SIZE;

    if (data <= LS_KV_REFS_VERSION) {
        for (uint32_t i = 0; i < data; i++)
            version->block[i] = ls_kv_pool_take(&m->block_pool);
        return;
    }
    for (uint32_t i = 0; i < data; i++) {
        if (i % LS_KV_REFS_BLOCK == 0)
            version->block[i / LS_KV_REFS_BLOCK] = ls_kv_pool_take(&m->block_pool);
        uint32_t ref = ls_kv_pool_take(&m->block_pool);
        memcpy(m->blocks[version->block[i / LS_KV_REFS_BLOCK]] + (size_t)(i % LS_KV_REFS_BLOCK) * 4, &ref, 4);
    }
}

uint32_t ls_kv_version_new(struct ls_machine *m, uint64_t seq, uint64_t expiry, uint32_t length)
{
    uint32_t v = ls_kv_pool_take(&m->version_pool);
    struct ls_kv_version *version = &m->versions[v];

    version->seq = seq;
    version->expiry = expiry;
    version->checksum = 0;
    version->previous = 0;
    version->length = length;
    if (length != LS_KV_TOMBSTONE && length > LS_KV_INLINE_MAX)
        ls_value_reserve(m, version, length);
    return v;
}

static void ls_block_free(struct ls_machine *m, uint32_t block)
{
    ls_kv_poison(m->blocks[block], LS_KV_BLOCK_SIZE);
    ls_kv_pool_give(&m->block_pool, block);
}

static void ls_value_free_blocks(struct ls_machine *m, const struct ls_kv_version *version)
{
    uint32_t data = (version->length + LS_KV_BLOCK_SIZE - 1) / LS_KV_BLOCK_SIZE;

    for (uint32_t i = 0; i < data; i++)
        ls_block_free(m, ls_value_block(m, version, i));
    if (data > LS_KV_REFS_VERSION) {
        for (uint32_t i = 0; i < (data + LS_KV_REFS_BLOCK - 1) / LS_KV_REFS_BLOCK; i++)
            ls_block_free(m, version->block[i]);
    }
}

void ls_kv_version_free(struct ls_machine *m, uint32_t v)
{
    struct ls_kv_version *version = &m->versions[v];
    if (version->length != LS_KV_TOMBSTONE && version->length > LS_KV_INLINE_MAX)
        ls_value_free_blocks(m, version);
    ls_kv_poison(version, sizeof(*version));
    ls_kv_pool_give(&m->version_pool, v);
}

const uint8_t *ls_kv_value_piece(const struct ls_machine *m, uint32_t v, uint32_t offset, uint32_t *n)
{
    const struct ls_kv_version *version = &m->versions[v];
    uint32_t left = version->length - offset;

    assert(offset <= version->length && version->length != LS_KV_TOMBSTONE);
    if (version->length <= LS_KV_INLINE_MAX) {
        *n = left;
        return version->bytes + offset;
    }
    uint32_t in_block = LS_KV_BLOCK_SIZE - offset % LS_KV_BLOCK_SIZE;
    *n = left < in_block ? left : in_block;
    if (left == 0)
        return version->bytes; /* behind the last block: nothing to look up */
    return m->blocks[ls_value_block(m, version, offset / LS_KV_BLOCK_SIZE)] + offset % LS_KV_BLOCK_SIZE;
}

void ls_kv_value_store(struct ls_machine *m, uint32_t v, uint32_t offset, const uint8_t *bytes, uint32_t n)
{
    while (n > 0) {
        uint32_t piece;
        uint8_t *to = (uint8_t *)ls_kv_value_piece(m, v, offset, &piece);
        piece = piece < n ? piece : n;
        assert(piece > 0);
        memcpy(to, bytes, piece);
        bytes += piece;
        offset += piece;
        n -= piece;
    }
}

void ls_kv_value_load(const struct ls_machine *m, uint32_t v, uint32_t offset, uint8_t *bytes, uint32_t n)
{
    while (n > 0) {
        uint32_t piece;
        const uint8_t *from = ls_kv_value_piece(m, v, offset, &piece);
        piece = piece < n ? piece : n;
        assert(piece > 0);
        memcpy(bytes, from, piece);
        bytes += piece;
        offset += piece;
        n -= piece;
    }
}

uint64_t ls_kv_value_checksum(const struct ls_machine *m, uint32_t v, uint64_t sum)
{
    for (uint32_t offset = 0, n; offset < m->versions[v].length; offset += n) {
        const uint8_t *piece = ls_kv_value_piece(m, v, offset, &n);
        sum = ls_hash64(sum, piece, n);
    }
    return sum;
}

bool ls_kv_value_blocks_intact(const struct ls_machine *m, uint32_t v)
{
    const struct ls_kv_version *version = &m->versions[v];
    uint32_t data = (version->length + LS_KV_BLOCK_SIZE - 1) / LS_KV_BLOCK_SIZE;
    uint32_t refs = data <= LS_KV_REFS_VERSION ? 0 : (data + LS_KV_REFS_BLOCK - 1) / LS_KV_REFS_BLOCK;

    if (version->length <= LS_KV_INLINE_MAX)
        return true;
    for (uint32_t i = 0; i < refs; i++) {
        if (version->block[i] == 0 || version->block[i] >= m->block_pool.end)
            return false;
    }
    for (uint32_t i = 0; i < data; i++) {
        uint32_t block = ls_value_block(m, version, i);
        if (block == 0 || block >= m->block_pool.end)
            return false;
    }
    return true;
}
