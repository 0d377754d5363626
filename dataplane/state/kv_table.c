/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Records, and the hash table that finds them. One writer; readers at any time.
 *
 * The table has a fixed number of buckets of one cache line: seven words (32 bits of hash, slot), and two counts. At
 * the key limit three of seven words are in use. A key stands in its bucket; where that is full, in a second bucket
 * that its hash names; where that is full too, in none, and the ordered index finds it. The counts in the first bucket
 * say whether the second one and the index need to be asked. So there is nothing to grow, a word never moves, and
 * whoever sends keys that all hash alike makes their access logarithmic, not linear.
 */
#include "kv_machine.h"

static struct ls_kv_bucket *ls_kv_table_second(const struct ls_machine *m, uint64_t hash)
{
    uint64_t other = (uint32_t)(ls_hash_mix(hash, LS_HASH_3) >> 16);
    return &m->buckets[(other * m->bucket_count) >> 32];
}

static uint64_t ls_kv_table_word(uint64_t hash, uint32_t slot)
{
    return hash << 32 | slot;
}

/* Every word: two keys may agree in 32 bits of hash. */
static uint32_t ls_bucket_find(const struct ls_machine *m, const struct ls_kv_bucket *bucket, uint64_t hash,
                               const uint8_t *key, uint32_t length)
{
    for (uint32_t i = 0; i < LS_KV_BUCKET_WORDS; i++) {
        /* Acquire: pairs with the release store of the word in ls_bucket_put(): the record behind it is whole. */
        uint64_t word = atomic_load_explicit(&bucket->word[i], memory_order_acquire);
        if (word >> 32 == (uint32_t)hash && (uint32_t)word != 0 && ls_kv_record_is(m, (uint32_t)word, key, length))
            return (uint32_t)word;
    }
    return 0;
}

uint32_t ls_kv_table_find_elsewhere(const struct ls_machine *m, const struct ls_kv_bucket *bucket, uint64_t hash,
                                    const uint8_t *key, uint32_t length)
{
    uint32_t slot = ls_bucket_find(m, bucket, hash, key, length);

    if (slot != 0)
        return slot;
    /* Relaxed: a key that the reader must find was placed before its seq was published, which the reader acquired. */
    if (atomic_load_explicit(&bucket->displaced, memory_order_relaxed) != 0)
        slot = ls_bucket_find(m, ls_kv_table_second(m, hash), hash, key, length);
    if (slot == 0 && atomic_load_explicit(&bucket->unplaced, memory_order_relaxed) != 0)
        slot = ls_kv_order_find(m, key, length);
    return slot;
}

static bool ls_bucket_put(struct ls_kv_bucket *bucket, uint64_t word)
{
    for (uint32_t i = 0; i < LS_KV_BUCKET_WORDS; i++) {
        if (atomic_load_explicit(&bucket->word[i], memory_order_relaxed) == 0) {
            /* Release: pairs with the acquire loads of whoever looks for a key. */
            atomic_store_explicit(&bucket->word[i], word, memory_order_release);
            return true;
        }
    }
    return false;
}

static bool ls_bucket_clear(struct ls_kv_bucket *bucket, uint64_t word)
{
    for (uint32_t i = 0; i < LS_KV_BUCKET_WORDS; i++) {
        if (atomic_load_explicit(&bucket->word[i], memory_order_relaxed) == word) {
            atomic_store_explicit(&bucket->word[i], 0, memory_order_release);
            return true;
        }
    }
    return false;
}

/* A count that readers look at: one writer, so no read-modify-write is needed. */
static void ls_count_add(_Atomic uint32_t *count, uint32_t n)
{
    atomic_store_explicit(count, atomic_load_explicit(count, memory_order_relaxed) + n, memory_order_relaxed);
}

void ls_kv_table_insert(struct ls_machine *m, uint64_t hash, uint32_t slot)
{
    struct ls_kv_bucket *bucket = (struct ls_kv_bucket *)ls_kv_table_bucket(m, hash);
    uint64_t word = ls_kv_table_word(hash, slot);

    if (ls_bucket_put(bucket, word))
        return;
    if (ls_bucket_put(ls_kv_table_second(m, hash), word))
        ls_count_add(&bucket->displaced, 1);
    else
        ls_count_add(&bucket->unplaced, 1);
}

void ls_kv_table_remove(struct ls_machine *m, uint64_t hash, uint32_t slot)
{
    struct ls_kv_bucket *bucket = (struct ls_kv_bucket *)ls_kv_table_bucket(m, hash);
    uint64_t word = ls_kv_table_word(hash, slot);

    if (ls_bucket_clear(bucket, word))
        return;
    if (ls_bucket_clear(ls_kv_table_second(m, hash), word)) {
        ls_count_add(&bucket->displaced, UINT32_MAX);
        return;
    }
    assert(atomic_load_explicit(&bucket->unplaced, memory_order_relaxed) > 0);
    ls_count_add(&bucket->unplaced, UINT32_MAX);
}

uint32_t ls_kv_record_new(struct ls_machine *m, const uint8_t *key, uint8_t length)
{
    uint32_t slot = ls_kv_pool_take(&m->record_pool);
    struct ls_kv_key_record *record = &m->records[slot];
    uint8_t *to = record->key;

    record->block = 0;
    if (length > LS_KV_KEY_INLINE) {
        record->block = ls_kv_pool_take(&m->block_pool);
        to = m->blocks[record->block];
    }
    memcpy(to, key, length);
    record->length = length;
    record->deferred = 0;
    return slot;
}

void ls_kv_record_free(struct ls_machine *m, uint32_t slot)
{
    struct ls_kv_key_record *record = &m->records[slot];
    if (record->block != 0) {
        ls_kv_poison(m->blocks[record->block], LS_KV_BLOCK_SIZE);
        ls_kv_pool_give(&m->block_pool, record->block);
    }
    /* Not what the walker may look at even now. */
    ls_kv_poison(record->key, sizeof(record->key));
    record->block = 0;
    record->length = 0;
    ls_kv_pool_give(&m->record_pool, slot);
}
