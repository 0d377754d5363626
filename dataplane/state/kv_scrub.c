/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Re-reading what nobody reads: every value against its checksum, record by record as checkpoints walk, beside the
 * writer. And the fault that this is to find. Bulk thread, inside an RCU read-side section.
 *
 * Walking by slot number does not find records the way readers do, so a record may be on its way out, or its memory
 * already another key's. But a version that is current and no tombstone, seen inside the section, is safe to the
 * section's end, and so is its record: what comes before either is freed (being replaced, the tombstone) is still to
 * happen, and a grace period later than this section. So the version's length is looked at between two looks at
 * `current`: only a length that was the current version's counts. Pairs with the fence in ls_retired_record(): whoever
 * sees a freed version's new content also sees that it is no longer current. Versions are immutable, so a difference
 * is damage, never the writer's work.
 */
#include <errno.h>

#include "kv_machine.h"

/* These words may be the writer's while they are read; see above for why that does no harm. */
#define LS_RACY __attribute__((no_sanitize("thread")))

LS_RACY static uint32_t ls_scrub_length(const struct ls_machine *m, uint32_t v)
{
    return *(const volatile uint32_t *)&m->versions[v].length;
}

LS_RACY static uint32_t ls_scrub_end(const struct ls_machine *m)
{
    return *(const volatile uint32_t *)&m->record_pool.fresh;
}

/* The slot's version if it holds a value, safe until the section ends; else 0. */
static uint32_t ls_scrub_version(const struct ls_machine *m, uint32_t slot)
{
    /* Acquire: pairs with the release store of current in ls_kv_write(). */
    uint32_t v = atomic_load_explicit(&m->records[slot].current, memory_order_acquire);
    if (v == 0 || v >= m->version_pool.end)
        return 0;
    uint32_t length = ls_scrub_length(m, v);
    atomic_thread_fence(memory_order_acquire);
    if (length == LS_KV_TOMBSTONE || atomic_load_explicit(&m->records[slot].current, memory_order_acquire) != v)
        return 0;
    return v;
}

/* Everything is looked at before it is followed: after a flipped bit it may name anything. */
bool ls_kv_version_intact(const struct ls_machine *m, uint32_t slot, uint32_t v)
{
    const struct ls_kv_key_record *record = &m->records[slot];
    const struct ls_kv_version *version = &m->versions[v];

    if (record->length == 0 || record->length > LS_KV_KEY_MAX ||
        (record->length > LS_KV_KEY_INLINE && (record->block == 0 || record->block >= m->block_pool.end)) ||
        version->length > LS_KV_VALUE_MAX || !ls_kv_value_blocks_intact(m, v))
        return false;
    return ls_kv_version_checksum(m, v, ls_kv_key_hash(ls_kv_record_key(m, slot), record->length)) == version->checksum;
}

int ls_kv_scrub(struct ls_machine *m, uint64_t *cursor, uint32_t n)
{
    uint32_t end = ls_scrub_end(m);
    uint32_t slot = *cursor > 0 && *cursor < end ? (uint32_t)*cursor : 1;

    for (; slot < end && n > 0; slot++, n--) {
        __builtin_prefetch(&m->records[slot + 16]);
        if (slot + 8 < end)
            __builtin_prefetch(&m->versions[atomic_load_explicit(&m->records[slot + 8].current, memory_order_relaxed)]);
        uint32_t v = ls_scrub_version(m, slot);
        if (v != 0 && !ls_kv_version_intact(m, slot, v)) {
            *cursor = slot + 1 < end ? slot + 1 : 0;
            return -EBADMSG;
        }
    }
    *cursor = slot < end ? slot : 0;
    return 0;
}

bool ls_kv_flip(struct ls_machine *m, uint64_t seed)
{
    uint32_t end = ls_scrub_end(m);

    for (uint32_t i = 0; i + 1 < end; i++) {
        uint32_t slot = 1 + (uint32_t)((seed + i) % (end - 1));
        uint32_t v = ls_scrub_version(m, slot), piece;
        if (v == 0 || m->versions[v].length == 0)
            continue;
        uint64_t bit = ls_hash_mix(seed ^ LS_HASH_0, LS_HASH_3) % ((uint64_t)m->versions[v].length * 8);
        uint8_t *at = (uint8_t *)ls_kv_value_piece(m, v, (uint32_t)(bit / 8), &piece);
        *at ^= (uint8_t)(1u << (bit % 8));
        return true;
    }
    return false;
}
