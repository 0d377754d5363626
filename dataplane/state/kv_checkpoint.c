/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A checkpoint at entry N without a pause. The walker (bulk thread, not an RCU reader) goes over the records by slot
 * number, while the writer goes on. Per slot they agree by one word, hold[slot]:
 *
 *     checkpoint number << 35 | state << 32 | version
 *
 *     untouched   (another number)  nobody has been here
 *     READING     walker   it reads the version that is current; the writer must not retire that
 *     HELD        writer   it has replaced the version as of N and parked it here for the walker
 *     RELEASED    walker   it is done with the parked version, which the writer may retire
 *     DONE        either   nothing of this slot is wanted (any more)
 *
 * Writer, before it replaces a version of seq <= N:  untouched, READING -> HELD;  DONE: retires it as always.
 * Walker:  untouched -> READING, reads current, looks at the word again:
 *          still READING: what it read is as of N, as the writer parks before it replaces;
 *          HELD: the version as of N is the parked one;   DONE: the record is newer than N.
 *          When it has copied the version:  READING -> DONE,  HELD -> RELEASED.
 * Every change is a compare-and-swap with acquire and release, and pairs with the other side's next look at the word.
 *
 * At most one version per slot is held, and the record itself with it. Held versions have memory of their own (the
 * reserve); when that is used up, the checkpoint is cancelled and the writer holds nothing more. What is held is freed
 * bit by bit as the walker passes, or after the end.
 */
#include <errno.h>

#include "kv_machine.h"

enum ls_hold_state { LS_HOLD_READING = 1, LS_HOLD_HELD = 2, LS_HOLD_RELEASED = 3, LS_HOLD_DONE = 4 };

#define LS_HOLD_NUMBER_MAX ((1u << 29) - 1)
#define LS_RELEASE_AT_END  4096

static uint64_t ls_hold_word(uint32_t number, enum ls_hold_state state, uint32_t version)
{
    return (uint64_t)number << 35 | (uint64_t)state << 32 | version;
}

/* 0: untouched by this checkpoint. */
static enum ls_hold_state ls_hold_state(const struct ls_kv_checkpoint *cp, uint64_t word)
{
    return word >> 35 == cp->number ? (enum ls_hold_state)(word >> 32 & 7) : 0;
}

static uint64_t ls_hold_load(const struct ls_machine *m, uint32_t slot)
{
    return atomic_load_explicit(&m->hold[slot], memory_order_acquire);
}

/* On failure *word is what stands there instead. */
static bool ls_hold_change(struct ls_machine *m, uint32_t slot, uint64_t *word, enum ls_hold_state state,
                           uint32_t version)
{
    return atomic_compare_exchange_strong_explicit(&m->hold[slot], word,
                                                   ls_hold_word(m->checkpoint.number, state, version),
                                                   memory_order_acq_rel, memory_order_acquire);
}

/* ---- Writer ---- */

static void ls_parked_push(struct ls_kv_checkpoint *cp, uint32_t slot)
{
    assert(cp->parked_tail - cp->parked_head <= cp->parked_mask);
    cp->parked[cp->parked_tail++ & cp->parked_mask] = slot;
}

/* Is there reserve to hold this version? If not, the checkpoint is over. */
static bool ls_reserve_has_room(struct ls_kv_checkpoint *cp, uint32_t blocks)
{
    if (atomic_load_explicit(&cp->cancelled, memory_order_relaxed))
        return false;
    if (cp->parked_versions < cp->reserve_versions && cp->parked_blocks + blocks <= cp->reserve_blocks)
        return true;
    /* Release: pairs with the acquire load in ls_kv_checkpoint_next(). */
    atomic_store_explicit(&cp->cancelled, true, memory_order_release);
    return false;
}

bool ls_kv_checkpoint_keeps(struct ls_machine *m, uint32_t slot, uint32_t old)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    uint32_t blocks;
    uint64_t word;

    if (!cp->open || m->versions[old].seq > cp->seq)
        return false;
    blocks = ls_kv_blocks_needed(m->versions[old].length);
    word = ls_hold_load(m, slot);
    for (;;) {
        enum ls_hold_state state = ls_hold_state(cp, word);
        if (state == LS_HOLD_DONE)
            return false;
        assert(state == 0 || state == LS_HOLD_READING); /* only one version as of N can be replaced */
        /* A version that the walker is reading right now is held in any case: it is the only one. Where that is over
         * the reserve the checkpoint ends, so that it happens once. */
        if (state == LS_HOLD_READING)
            (void)ls_reserve_has_room(cp, blocks);
        if (state == 0 &&
            (slot >= cp->slots_end || m->versions[old].length == LS_KV_TOMBSTONE || !ls_reserve_has_room(cp, blocks))) {
            if (ls_hold_change(m, slot, &word, LS_HOLD_DONE, 0))
                return false;
        } else if (ls_hold_change(m, slot, &word, LS_HOLD_HELD, old)) {
            break;
        }
    }
    cp->parked_versions++;
    cp->parked_blocks += blocks;
    ls_parked_push(cp, slot);
    return true;
}

void ls_kv_checkpoint_created(struct ls_machine *m, uint32_t slot)
{
    /* Before the first version is published, so that the walker, if it sees that, sees this. Release: pairs with the
     * walker's loads of the word. */
    if (m->checkpoint.open)
        atomic_store_explicit(&m->hold[slot], ls_hold_word(m->checkpoint.number, LS_HOLD_DONE, 0),
                              memory_order_release);
}

bool ls_kv_checkpoint_defers(struct ls_machine *m, uint32_t slot)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    uint64_t word;

    if (!cp->open && !cp->draining)
        return false;
    word = ls_hold_load(m, slot);
    while (ls_hold_state(cp, word) == 0) {
        /* Its tombstone is of before N, or the record is newer: nothing to be read here. */
        if (ls_hold_change(m, slot, &word, LS_HOLD_DONE, 0))
            return false;
    }
    switch (ls_hold_state(cp, word)) {
    case LS_HOLD_DONE:
        return false;
    case LS_HOLD_READING:
        ls_parked_push(cp, slot); /* held by nobody's park, but looked at all the same */
        break;
    default: /* HELD, RELEASED: it is parked already */
        break;
    }
    m->records[slot].deferred = 1;
    return true;
}

/* One parked slot. True: it is dealt with. */
static bool ls_parked_release(struct ls_machine *m, uint32_t slot)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    uint64_t word = ls_hold_load(m, slot);
    uint32_t version = (uint32_t)word;

    switch (ls_hold_state(cp, word)) {
    case LS_HOLD_HELD:
        if (cp->open)
            return false;
        /* The walker will not come any more. */
        /* fall through */
    case LS_HOLD_RELEASED:
        cp->parked_versions--;
        cp->parked_blocks -= ls_kv_blocks_needed(m->versions[version].length);
        atomic_store_explicit(&m->hold[slot], ls_hold_word(cp->number, LS_HOLD_DONE, 0), memory_order_release);
        ls_kv_retire(m, LS_KV_RETIRED_VERSION, version, 0);
        break;
    case LS_HOLD_DONE:
        break;
    default: /* READING */
        return false;
    }
    if (m->records[slot].deferred != 0) {
        m->records[slot].deferred = 0;
        ls_kv_retire(m, LS_KV_RETIRED_RECORD, slot, 0);
    }
    return true;
}

void ls_kv_checkpoint_release(struct ls_machine *m, uint32_t budget)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    /* Acquire: pairs with the walker's release store: it is done with all slots below. */
    uint32_t walked = cp->open ? atomic_load_explicit(&cp->slot, memory_order_acquire) : UINT32_MAX;

    if (walked != cp->release_slot) { /* there may be something new: once through all that is parked */
        cp->release_slot = walked;
        cp->release_left = cp->parked_tail - cp->parked_head;
    }
    for (; cp->release_left > 0 && budget > 0; cp->release_left--, budget--) {
        uint32_t slot = cp->parked[cp->parked_head & cp->parked_mask];
        if (!ls_kv_retire_has_room(m, 2 * LS_KV_RETIRED_PER_KEY + LS_KV_RETIRED_PER_ENTRY))
            return; /* the rest is apply's */
        cp->parked_head++;
        if (slot >= walked || !ls_parked_release(m, slot))
            ls_parked_push(cp, slot);
    }
    if (cp->parked_head == cp->parked_tail && !cp->open)
        cp->draining = false;
}

int ls_kv_checkpoint_begin(struct ls_machine *m)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;

    if (cp->open)
        return -EBUSY;
    if (cp->draining) {
        ls_kv_checkpoint_release(m, LS_RELEASE_AT_END);
        ls_kv_retire_seal(m);
        if (cp->draining)
            return -EBUSY; /* what the last one held is still being given back: a few turns of reclaim() */
    }
    assert(cp->number < LS_HOLD_NUMBER_MAX);
    cp->number++;
    cp->seq = m->seq;
    cp->time = m->time;
    cp->keys = m->keys;
    cp->bytes = m->bytes;
    cp->digest = m->digest;
    cp->limits = m->limits;
    cp->slots_end = m->record_pool.fresh;
    cp->release_slot = 0;
    cp->release_left = 0;
    atomic_store_explicit(&cp->slot, 1, memory_order_relaxed); /* begin happens before the walker's first step */
    cp->begun = false;
    cp->done = false;
    cp->chain = 0;
    cp->walked_keys = 0;
    cp->walked_bytes = 0;
    cp->walked_digest = 0;
    atomic_store_explicit(&cp->cancelled, false,
                          memory_order_relaxed); /* begin happens before the walker's first step */
    cp->open = true;
    return 0;
}

void ls_kv_checkpoint_end(struct ls_machine *m)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;

    if (!cp->open)
        return;
    cp->open = false;
    cp->draining = true;
    ls_kv_checkpoint_release(m, LS_RELEASE_AT_END);
    ls_kv_retire_seal(m);
}

/* ---- Walker ---- */

/* Appends the version to the chunk. 0, or -EBADMSG: its bytes are not what was written. */
static int ls_walk_copy(struct ls_machine *m, uint32_t slot, uint32_t v, uint32_t *filled, uint32_t *records)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    const struct ls_kv_version *version = &m->versions[v];
    const uint8_t *key = ls_kv_record_key(m, slot);
    struct ls_kv_image_record record = {.seq = version->seq,
                                        .expiry = version->expiry,
                                        .checksum = version->checksum,
                                        .value_length = version->length,
                                        .key_length = m->records[slot].length};
    uint32_t size = (uint32_t)sizeof(record) + record.key_length + record.value_length;
    uint8_t *to = cp->chunk + *filled;

    if (!ls_kv_version_intact(m, slot, v))
        return -EBADMSG;
    ls_kv_pause();
    memcpy(to, &record, sizeof(record));
    memcpy(to + sizeof(record), key, record.key_length);
    ls_kv_value_load(m, v, 0, to + sizeof(record) + record.key_length, record.value_length);
    memset(to + size, 0, ls_pad8(size) - size);
    *filled += ls_pad8(size);
    *records += 1;
    cp->walked_keys++;
    cp->walked_bytes += (uint64_t)record.key_length + record.value_length;
    cp->walked_digest += record.checksum;
    return 0;
}

static int ls_walk_slot(struct ls_machine *m, uint32_t slot, uint32_t *filled, uint32_t *records)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    uint64_t word = ls_hold_load(m, slot);
    uint32_t v = 0;
    int error = 0;

    if (ls_hold_state(cp, word) == 0 && ls_hold_change(m, slot, &word, LS_HOLD_READING, 0)) {
        /* Acquire: pairs with the release store of current in ls_kv_write(). If this is a version that came after N,
         * then the load of the word behind it sees what the writer did to the word before. */
        ls_kv_pause();
        v = atomic_load_explicit(&m->records[slot].current, memory_order_acquire);
        ls_kv_pause();
        word = ls_hold_load(m, slot);
        ls_kv_pause();
    }
    if (ls_hold_state(cp, word) == LS_HOLD_DONE)
        return 0;
    if (ls_hold_state(cp, word) == LS_HOLD_HELD)
        v = (uint32_t)word;
    if (v != 0 && m->versions[v].length != LS_KV_TOMBSTONE)
        error = ls_walk_copy(m, slot, v, filled, records);
    while (ls_hold_state(cp, word) == LS_HOLD_READING && !ls_hold_change(m, slot, &word, LS_HOLD_DONE, 0))
        ;
    /* A parked version is the writer's again; nobody else changes HELD while the checkpoint is open. */
    if (ls_hold_state(cp, word) == LS_HOLD_HELD)
        atomic_store_explicit(&m->hold[slot], ls_hold_word(cp->number, LS_HOLD_RELEASED, (uint32_t)word),
                              memory_order_release);
    return error;
}

uint64_t ls_kv_image_chunk_checksum(uint64_t chain, const struct ls_kv_image_chunk *chunk, const uint8_t *payload)
{
    uint64_t sum = ls_hash64(chain, chunk, offsetof(struct ls_kv_image_chunk, checksum));
    return ls_hash64(sum, payload, chunk->length);
}

static int ls_walk_header(struct ls_machine *m, struct ls_checkpoint_sink *sink)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    struct ls_kv_image_header header = {
        .magic = LS_KV_IMAGE_MAGIC,
        .version = LS_KV_IMAGE_VERSION,
        .size = sizeof(header),
        .seq = cp->seq,
        .time = cp->time,
        .limit_keys = cp->limits.keys,
        .limit_bytes = cp->limits.bytes,
        .keys = cp->keys,
        .bytes = cp->bytes,
        .digest = cp->digest,
    };

    header.checksum = ls_hash64(LS_KV_IMAGE_MAGIC, &header, offsetof(struct ls_kv_image_header, checksum));
    cp->chain = header.checksum;
    cp->begun = true;
    return sink->write(sink, &header, sizeof(header));
}

static int ls_walk_emit(struct ls_kv_checkpoint *cp, uint32_t kind, uint32_t length, uint32_t records,
                        struct ls_checkpoint_sink *sink)
{
    struct ls_kv_image_chunk chunk = {.kind = kind, .length = length, .records = records};
    int error;

    chunk.checksum = ls_kv_image_chunk_checksum(cp->chain, &chunk, cp->chunk);
    cp->chain = chunk.checksum;
    error = sink->write(sink, &chunk, sizeof(chunk));
    if (error == 0 && length > 0)
        error = sink->write(sink, cp->chunk, length);
    return error;
}

/* Walks from cp->slot on until the chunk is full enough. */
static int ls_walk_slots(struct ls_machine *m, uint32_t *filled, uint32_t *records)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    uint32_t slot = atomic_load_explicit(&cp->slot, memory_order_relaxed), walked = 0;
    int error = 0;

    while (error == 0 && slot < cp->slots_end && *filled < LS_KV_CHUNK_TARGET && walked < LS_KV_CHUNK_SLOTS) {
        __builtin_prefetch(&m->records[slot + 16]);
        if (slot + 8 < cp->slots_end)
            ls_kv_version_prefetch(m, slot + 8);
        error = ls_walk_slot(m, slot, filled, records);
        slot++;
        walked++;
        /* Release: pairs with the writer's acquire load in ls_kv_checkpoint_release(). */
        atomic_store_explicit(&cp->slot, slot, memory_order_release);
        /* Acquire: pairs with the release store in ls_reserve_has_room(). */
        if (atomic_load_explicit(&cp->cancelled, memory_order_acquire))
            return -ECANCELED;
    }
    return error;
}

int ls_kv_checkpoint_next(struct ls_machine *m, struct ls_checkpoint_sink *sink)
{
    struct ls_kv_checkpoint *cp = &m->checkpoint;
    uint32_t filled = 0, records = 0;
    int error = 0;

    if (cp->done)
        return 0;
    if (!cp->begun)
        error = ls_walk_header(m, sink);
    if (error == 0)
        error = ls_walk_slots(m, &filled, &records);
    if (error == 0 && records > 0)
        error = ls_walk_emit(cp, LS_KV_CHUNK_DATA, filled, records, sink);
    if (error != 0)
        return error;
    if (atomic_load_explicit(&cp->slot, memory_order_relaxed) < cp->slots_end)
        return 1;
    /* The digest of what was copied, from its bytes, is that of entry N, or memory has gone bad. */
    if (cp->walked_digest != cp->digest || cp->walked_keys != cp->keys || cp->walked_bytes != cp->bytes)
        return -EBADMSG;
    error = ls_walk_emit(cp, LS_KV_CHUNK_END, 0, 0, sink);
    cp->done = error == 0;
    return error;
}
