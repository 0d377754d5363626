/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The key-value store's data, and what its files offer each other. Private to this folder.
 *
 * Threads: "writer" is the apply worker, the only one that changes anything (but for the hold words, kv_checkpoint.c);
 * "readers" are the threads that call read() inside an RCU read-side section; "walker" is the bulk thread in
 * checkpoint_next(), which is in no such section.
 *
 * All objects live in arrays and are named by index, 0 for none; see kv_memory.c. What readers reach they reach by an
 * acquire load of one of these words, each stored with release by the writer after the object behind it is complete:
 *   bucket.word -> record        record.current -> version        leaf_pages[leaf] -> page (and all that it names)
 * and it stays as it is until a grace period after the last of these words has let go of it.
 */
#ifndef LOCKSTEP_STATE_KV_MACHINE_H
#define LOCKSTEP_STATE_KV_MACHINE_H

#include <assert.h>
#include <stdatomic.h>
#include <stddef.h>

#include <lockstep/error.h>
#include <lockstep/grace.h>
#include <lockstep/kv.h>
#include <lockstep/state_machine.h>

#include "hash.h"

#define LS_KV_CACHE_LINE 64

/* ---- Records: one per key, at a fixed place as long as the key exists. ---- */
#define LS_KV_KEY_INLINE 49

struct ls_kv_key_record {
    _Atomic uint32_t current; /* newest version, 0: free record; writer: release; readers and walker: acquire */
    _Atomic uint32_t home;    /* leaf that has it; writer: release; readers: acquire; a hint for readers */
    /* written before the record is published, then constant but for `deferred` */
    uint32_t block; /* of a key longer than LS_KV_KEY_INLINE; else 0 */
    uint8_t length;
    uint8_t deferred;      /* writer: to be freed once the walker has passed it */
    _Atomic uint8_t lines; /* of the newest version that have something in them; a hint for prefetching, relaxed */
    uint8_t key[LS_KV_KEY_INLINE];
};
static_assert(sizeof(struct ls_kv_key_record) == LS_KV_CACHE_LINE, "one line, or scans slow down");

/* ---- Versions: immutable from publication to the end of their grace period. ---- */
#define LS_KV_INLINE_MAX   224 /* longer values are kept in blocks */
#define LS_KV_BLOCK_SIZE   512
#define LS_KV_REFS_VERSION 56         /* block numbers that fit into a version ... */
#define LS_KV_REFS_BLOCK   128        /* ... and into a block of block numbers */
#define LS_KV_TOMBSTONE    UINT32_MAX /* as length: there is no such key */

struct ls_kv_version {
    uint64_t seq;
    uint64_t expiry;   /* log time, 0: never */
    uint64_t checksum; /* of key, seq, expiry and value; also the key's part of the digest */
    uint32_t previous; /* the version before this one; only followed by readers that this one is too new for */
    uint32_t length;
    union {
        uint8_t bytes[LS_KV_INLINE_MAX];
        uint32_t block[LS_KV_REFS_VERSION]; /* up to 56 blocks of value; above: blocks of block numbers */
    };
};
static_assert(sizeof(struct ls_kv_version) == 4 * LS_KV_CACHE_LINE, "four lines, header and short values in the first");
static_assert((uint64_t)LS_KV_REFS_VERSION * LS_KV_REFS_BLOCK * LS_KV_BLOCK_SIZE >= LS_KV_VALUE_MAX, "two levels do");

/* ---- Hash table: see kv_table.c. ---- */
#define LS_KV_BUCKET_WORDS 7

struct ls_kv_bucket {                          /* writer: stores; readers: loads */
    _Atomic uint64_t word[LS_KV_BUCKET_WORDS]; /* low half of the hash << 32 | slot; 0: free */
    _Atomic uint32_t displaced;                /* keys of this bucket that stand in their second one */
    _Atomic uint32_t unplaced; /* keys of this bucket that stand in neither: only the ordered index has them */
};
static_assert(sizeof(struct ls_kv_bucket) == LS_KV_CACHE_LINE, "one line");

/* ---- Ordered index: see kv_order.c. ---- */
#define LS_KV_PAGE_SLOTS 30
#define LS_KV_LEVELS     8 /* express lanes above the chain of leaves */

struct ls_kv_leaf_page { /* immutable once published */
    uint32_t next;       /* the leaf behind this one */
    uint32_t count;
    uint32_t slot[LS_KV_PAGE_SLOTS]; /* in key order */
};
static_assert(sizeof(struct ls_kv_leaf_page) == 2 * LS_KV_CACHE_LINE, "two lines");

struct ls_kv_leaf { /* its page: leaf_pages[leaf] */
    uint8_t height; /* lanes it stands in */
    uint8_t length; /* of the separator */
    uint16_t zero;
    _Atomic uint32_t lane[LS_KV_LEVELS]; /* next leaf in that lane; writer: release; readers: acquire */
    uint8_t separator[LS_KV_KEY_MAX];    /* keys in this leaf are >= this, keys before it are less; constant */
    uint8_t pad[34];
};
static_assert(sizeof(struct ls_kv_leaf) == 5 * LS_KV_CACHE_LINE, "whole lines");

struct ls_kv_cursor {
    const struct ls_kv_leaf_page *page; /* NULL: behind the last key */
    uint32_t at;
};

/* ---- Expiry: see kv_expiry.c. ---- */
struct ls_kv_due {
    uint64_t expiry;
    uint32_t slot;
    uint32_t zero;
};

/* ---- Pools of equal objects, by index from 1. Writer only. ---- */
struct ls_kv_pool {
    uint32_t *free; /* stack of indexes that came back */
    uint32_t free_count;
    uint32_t fresh; /* first index never handed out */
    uint32_t end;   /* indexes are below this */
};

static inline uint32_t ls_kv_pool_room(const struct ls_kv_pool *pool)
{
    return pool->free_count + (pool->end - pool->fresh);
}

static inline uint32_t ls_kv_pool_take(struct ls_kv_pool *pool)
{
    if (pool->free_count > 0)
        return pool->free[--pool->free_count];
    assert(pool->fresh < pool->end);
    return pool->fresh++;
}

static inline void ls_kv_pool_give(struct ls_kv_pool *pool, uint32_t index)
{
    pool->free[pool->free_count++] = index;
}

/* Index that the take() after `ahead` others would hand out; may be out of range, for prefetching only. */
static inline uint32_t ls_kv_pool_peek(const struct ls_kv_pool *pool, uint32_t ahead)
{
    if (ahead < pool->free_count)
        return pool->free[pool->free_count - 1 - ahead];
    return pool->fresh + (ahead - pool->free_count);
}

/* ---- Retire list: see kv_retire.c. ---- */
enum ls_kv_retired_kind {
    LS_KV_RETIRED_VERSION = 1, /* a: version */
    LS_KV_RETIRED_KEY = 2,     /* a: slot, b: its tombstone; leaves the indexes if that is still current */
    LS_KV_RETIRED_RECORD = 3,  /* a: slot; has left the indexes */
    LS_KV_RETIRED_PAGE = 4,
    LS_KV_RETIRED_LEAF = 5,
};

struct ls_kv_retired {
    uint64_t ticket_kind; /* grace ticket << 8 | kind */
    uint32_t a;
    uint32_t b;
};

/* Places on the retire list that taking one key out of the indexes needs: its record, two pages, a leaf, a leaf's
 * page. Kept free from the moment the key gets its tombstone. */
#define LS_KV_RETIRED_PER_KEY 5

/* Places on it that one written version can take: the version it replaces and, if it is a tombstone, the key, or, if it
 * is a new key's, the page of the index. */
#define LS_KV_RETIRED_PER_WRITE (2 + LS_KV_RETIRED_PER_KEY)

/* ---- One entry's work. ---- */
/* Keys that expire in one entry: this many, and two more for each mutation, so that expiry always keeps up with what
 * mutations add. Part of the state machine's definition: changing it makes replicas differ. */
#define LS_KV_EXPIRE_BASE 8
#define LS_KV_EXPIRE_IDLE 32 /* in an entry without an operation */

/* Places that the largest entry can take: what gives memory back leaves so many free. */
#define LS_KV_RETIRED_PER_ENTRY ((LS_KV_BATCH_MAX + LS_KV_EXPIRE_BASE + 2 * LS_KV_BATCH_MAX) * LS_KV_RETIRED_PER_WRITE)

/* What the values written by one batch may have together. Part of the definition too. */
#define LS_KV_BATCH_BYTES_MAX LS_OP_MAX

struct ls_kv_mutation {
    /* as parsed */
    const uint8_t *key;
    const uint8_t *value;
    uint64_t hash;
    uint64_t argument;
    uint64_t ttl;
    uint32_t value_length;
    uint8_t key_length;
    uint8_t code;
    /* as planned */
    uint16_t status;
    uint32_t slot;   /* the key's record, 0: none */
    uint32_t live;   /* its version if the key exists, 0: it does not (never, deleted or expired) */
    uint32_t length; /* of the value to write */
    uint64_t expiry;
    uint64_t number;
    char digits[24]; /* INCR: the new value */
};

struct ls_kv_plan {
    struct ls_kv_mutation mutation[LS_KV_BATCH_MAX];
    uint32_t count;
    uint32_t failed;  /* which mutation the status is about */
    uint64_t written; /* bytes of values */
    uint16_t status;
    bool batch;
    bool known_hash; /* mutation[0].hash is already that of its key, and its slot a good guess */
};

/* ---- Checkpoint: see kv_checkpoint.c. ---- */
#define LS_KV_CHUNK_TARGET (64 * 1024)
#if LS_POISON
#define LS_KV_CHUNK_SLOTS 64 /* many small steps: more can happen between them */
#else
#define LS_KV_CHUNK_SLOTS 4096 /* walked in one checkpoint_next() at most */
#endif
#define LS_KV_CHUNK_ROOM (LS_KV_CHUNK_TARGET + LS_KV_VALUE_MAX + 4096)

struct ls_kv_checkpoint {
    /* writer; constant for the walker while the checkpoint is open */
    bool open;
    bool draining; /* ended, but what it held is still being freed */
    uint32_t number;
    uint32_t slots_end; /* slots at or above this came later */
    uint64_t seq;
    uint64_t time;
    uint64_t keys;
    uint64_t bytes;
    uint64_t digest;
    struct ls_machine_limits limits;
    /* writer: release; walker: acquire */
    _Atomic bool cancelled;
    /* writer: ring of slots whose hold word has, or may get, something to be freed */
    uint32_t *parked;
    uint32_t parked_mask;
    uint32_t parked_head;
    uint32_t parked_tail;
    uint32_t parked_versions; /* counted against the reserve */
    uint32_t parked_blocks;
    uint32_t reserve_versions;
    uint32_t reserve_blocks;
    uint32_t release_slot; /* where the walker was when the parked slots were last looked through */
    uint32_t release_left; /* parked slots still to be looked at in this round */
    /* walker */
    _Alignas(LS_KV_CACHE_LINE) _Atomic uint32_t slot; /* to be walked next; release; writer: acquire */
    bool begun;
    bool done;
    uint64_t chain; /* checksum of the chunk before */
    uint64_t walked_keys;
    uint64_t walked_bytes;
    uint64_t walked_digest;
    uint8_t *chunk; /* LS_KV_CHUNK_ROOM bytes */
};

/* What readers read by: the state after entry seq, at its time. Seq and time belong together: a ring of pairs. */
#define LS_KV_VIEWS 16

struct ls_kv_view {
    uint64_t seq;
    uint64_t time;
};

struct ls_kv_view_slot {
    _Atomic uint64_t seq;
    _Atomic uint64_t time;
};

struct ls_machine {
    /* constant after create */
    struct ls_kv_bucket *buckets;
    uint64_t bucket_count;
    struct ls_kv_key_record *records;
    struct ls_kv_version *versions;
    uint8_t (*blocks)[LS_KV_BLOCK_SIZE];
    struct ls_kv_leaf *leaves;    /* leaf 1 is the first one, for ever */
    _Atomic uint32_t *leaf_pages; /* by leaf: its page; writer: release; readers: acquire */
    struct ls_kv_leaf_page *pages;
    _Atomic uint64_t *hold; /* by slot: see kv_checkpoint.c */
    uint32_t *due_place;    /* by slot: place in `due`, 0: has no expiry */
    struct ls_kv_due *due;  /* from 1 */
    struct ls_kv_retired *retired;
    struct ls_grace *grace;
    void *arena;
    size_t arena_size;
    struct ls_machine_limits physical; /* what memory was taken for */

    /* writer: release; readers: acquire */
    _Alignas(LS_KV_CACHE_LINE) _Atomic uint64_t views;
    struct ls_kv_view_slot view[LS_KV_VIEWS];
    _Atomic uint64_t due_count; /* writer: relaxed; any thread: relaxed */

    /* writer */
    _Alignas(LS_KV_CACHE_LINE) uint64_t seq;
    uint64_t time;
    uint64_t keys; /* counted against the limits: from the log alone */
    uint64_t bytes;
    uint64_t digest;
    struct ls_machine_limits limits;
    struct ls_kv_pool record_pool;
    struct ls_kv_pool version_pool;
    struct ls_kv_pool block_pool;
    struct ls_kv_pool leaf_pool;
    struct ls_kv_pool page_pool;
    uint64_t retired_head;
    uint64_t retired_sealed; /* items before this have their ticket */
    uint64_t retired_tail;
    uint64_t retired_mask;
    uint64_t retired_keys; /* LS_KV_RETIRED_KEY items on the list */
    bool private_;         /* no reader can know of this machine: free at once (restore) */
    struct ls_kv_checkpoint checkpoint;
    struct ls_kv_plan plan;
};

/* ---- kv_memory.c ---- */
struct ls_machine *ls_kv_create(const struct ls_machine_limits *limits, struct ls_grace *grace);
void ls_kv_destroy(struct ls_machine *m);
/* Most blocks that `count` values of `bytes` bytes together can take. */
static inline uint64_t ls_kv_blocks_bound(uint64_t bytes, uint64_t count)
{
    uint64_t large = bytes / (LS_KV_INLINE_MAX + 1);
    uint64_t data = bytes / LS_KV_BLOCK_SIZE + (large < count ? large : count);
    /* Blocks of block numbers: one per 128, rounded up, only for values of more than 56 blocks. */
    return data + data / LS_KV_REFS_BLOCK + data / LS_KV_REFS_VERSION + 1;
}

#if LS_POISON
#include <sched.h>

/* Test builds: freed memory is no longer what a late reader expects. */
static inline void ls_kv_poison(void *memory, size_t n)
{
    memset(memory, 0xdd, n);
}

/* Test builds: now and then the others run on at the worst moment. */
static inline void ls_kv_pause(void)
{
    static _Thread_local uint32_t passed;
    if (++passed % 32 == 0)
        sched_yield();
}
#else
static inline void ls_kv_pause(void)
{
}

static inline void ls_kv_poison(void *memory, size_t n)
{
    (void)memory;
    (void)n;
}
#endif

/* ---- records (kv_table.c) ---- */
static inline const uint8_t *ls_kv_record_key(const struct ls_machine *m, uint32_t slot)
{
    const struct ls_kv_key_record *record = &m->records[slot];
    return record->length <= LS_KV_KEY_INLINE ? record->key : m->blocks[record->block];
}

static inline uint64_t ls_kv_key_hash(const uint8_t *key, uint32_t length)
{
    return ls_hash64(LS_HASH_2, key, length);
}

/* Bytewise, a prefix first. */
static inline int ls_kv_key_compare(const uint8_t *a, uint32_t a_length, const uint8_t *b, uint32_t b_length)
{
    int order = memcmp(a, b, a_length < b_length ? a_length : b_length);
    if (order != 0)
        return order;
    return a_length < b_length ? -1 : a_length > b_length;
}

/* Keys are short: comparing words in place is faster than calling memcmp(). */
static inline bool ls_kv_key_equal(const uint8_t *a, const uint8_t *b, uint32_t n)
{
    if (n < 8)
        return n < 4 ? memcmp(a, b, n) == 0
                     : ls_hash_load32(a) == ls_hash_load32(b) && ls_hash_load32(a + n - 4) == ls_hash_load32(b + n - 4);
    for (uint32_t i = 0; i + 8 < n; i += 8) {
        if (ls_hash_load64(a + i) != ls_hash_load64(b + i))
            return false;
    }
    return ls_hash_load64(a + n - 8) == ls_hash_load64(b + n - 8);
}

static inline bool ls_kv_record_is(const struct ls_machine *m, uint32_t slot, const uint8_t *key, uint32_t length)
{
    return m->records[slot].length == length && ls_kv_key_equal(ls_kv_record_key(m, slot), key, length);
}

uint32_t ls_kv_record_new(struct ls_machine *m, const uint8_t *key, uint8_t length); /* writer */
void ls_kv_record_free(struct ls_machine *m, uint32_t slot);                         /* writer */

void ls_kv_table_insert(struct ls_machine *m, uint64_t hash, uint32_t slot); /* writer */
void ls_kv_table_remove(struct ls_machine *m, uint64_t hash, uint32_t slot); /* writer */
/* The second half of ls_kv_table_find(). */
uint32_t ls_kv_table_find_elsewhere(const struct ls_machine *m, const struct ls_kv_bucket *bucket, uint64_t hash,
                                    const uint8_t *key, uint32_t length);

static inline const struct ls_kv_bucket *ls_kv_table_bucket(const struct ls_machine *m, uint64_t hash)
{
    return &m->buckets[((hash >> 32) * m->bucket_count) >> 32];
}

/* Slot in this bucket that probably has the key, without a look at the record; 0: none. All words are compared without
 * a branch: which one it is cannot be predicted. */
static inline uint32_t ls_kv_bucket_guess(const struct ls_kv_bucket *bucket, uint64_t hash)
{
    uint32_t matches = 0;
    for (uint32_t i = 0; i < LS_KV_BUCKET_WORDS; i++) {
        uint64_t word = atomic_load_explicit(&bucket->word[i], memory_order_relaxed);
        matches |= (uint32_t)(word >> 32 == (uint32_t)hash) << i;
    }
    if (matches == 0)
        return 0;
    /* Acquire: pairs with the release store of the word in ls_bucket_put(): the record behind it is whole. */
    return (uint32_t)atomic_load_explicit(&bucket->word[__builtin_ctz(matches)], memory_order_acquire);
}

/* Slot of the key's record, 0: none. Writer and readers. */
static inline uint32_t ls_kv_table_find(const struct ls_machine *m, uint64_t hash, const uint8_t *key, uint32_t length)
{
    const struct ls_kv_bucket *bucket = ls_kv_table_bucket(m, hash);
    uint32_t slot = ls_kv_bucket_guess(bucket, hash);

    if (slot != 0 && ls_kv_record_is(m, slot, key, length))
        return slot;
    return ls_kv_table_find_elsewhere(m, bucket, hash, key, length);
}

/* ---- kv_order.c ---- */
void ls_kv_order_init(struct ls_machine *m);
void ls_kv_order_insert(struct ls_machine *m, uint32_t slot); /* writer */
void ls_kv_order_remove(struct ls_machine *m, uint32_t slot); /* writer */
uint32_t ls_kv_order_find(const struct ls_machine *m, const uint8_t *key, uint32_t length);
/* Cursor at the first key >= the given one (length 0: at the first key). True if that is the one right behind a key,
 * as asked for by a client that goes on with a scan. Readers. */
bool ls_kv_order_seek(const struct ls_machine *m, const uint8_t *key, uint32_t length, struct ls_kv_cursor *cursor);
/* Slots from the cursor on, in order, at most n; moves the cursor. 0: the end. Readers. */
uint32_t ls_kv_order_next(const struct ls_machine *m, struct ls_kv_cursor *cursor, uint32_t *slots, uint32_t n);

/* ---- kv_value.c ---- */
uint32_t ls_kv_blocks_needed(uint32_t length);
/* Takes a version with room for `length` bytes (LS_KV_TOMBSTONE: none); the caller knows that there is memory. */
uint32_t ls_kv_version_new(struct ls_machine *m, uint64_t seq, uint64_t expiry, uint32_t length);
void ls_kv_version_free(struct ls_machine *m, uint32_t version);
void ls_kv_value_store(struct ls_machine *m, uint32_t version, uint32_t offset, const uint8_t *bytes, uint32_t n);
void ls_kv_value_load(const struct ls_machine *m, uint32_t version, uint32_t offset, uint8_t *bytes, uint32_t n);
/* Contiguous bytes of the value at `offset`; *n: how many, at most to the end of their block. */
const uint8_t *ls_kv_value_piece(const struct ls_machine *m, uint32_t version, uint32_t offset, uint32_t *n);
uint64_t ls_kv_value_checksum(const struct ls_machine *m, uint32_t version, uint64_t sum); /* of one in blocks */
/* All blocks that the version names are there. Its length is at most LS_KV_VALUE_MAX. */
bool ls_kv_value_blocks_intact(const struct ls_machine *m, uint32_t version);

static inline uint64_t ls_kv_version_checksum(const struct ls_machine *m, uint32_t v, uint64_t key_hash)
{
    const struct ls_kv_version *version = &m->versions[v];
    uint64_t sum = ls_hash_mix(key_hash ^ LS_HASH_0, version->seq ^ LS_HASH_1);

    sum = ls_hash_mix(sum ^ version->length, version->expiry ^ LS_HASH_2);
    if (version->length <= LS_KV_INLINE_MAX)
        return ls_hash64(sum, version->bytes, version->length);
    return version->length == LS_KV_TOMBSTONE ? ls_hash64(sum, version->bytes, 0) : ls_kv_value_checksum(m, v, sum);
}

/* Has what a reader of the newest version needs on its way. The record should be there already. */
static inline void ls_kv_version_prefetch(const struct ls_machine *m, uint32_t slot)
{
    const struct ls_kv_key_record *record = &m->records[slot];
    const uint8_t *at = (const uint8_t *)&m->versions[atomic_load_explicit(&record->current, memory_order_relaxed)];
    uint32_t lines = atomic_load_explicit(&record->lines, memory_order_relaxed);

    __builtin_prefetch(at);
    for (uint32_t i = 1; i < lines; i++)
        __builtin_prefetch(at + (size_t)i * LS_KV_CACHE_LINE);
}

static inline uint8_t ls_kv_version_lines(uint32_t length)
{
    if (length == LS_KV_TOMBSTONE)
        return 1;
    if (length > LS_KV_INLINE_MAX)
        return 2; /* the first block numbers */
    return (uint8_t)((offsetof(struct ls_kv_version, bytes) + length + LS_KV_CACHE_LINE - 1) / LS_KV_CACHE_LINE);
}

/* The key's version in the view, 0: the key does not exist there. Readers; the writer with its own seq and time. */
static inline uint32_t ls_kv_version_at(const struct ls_machine *m, uint32_t slot, const struct ls_kv_view *view)
{
    /* Acquire: pairs with the release store of current in ls_kv_apply.c. `previous` needs none: it was complete when
     * the version that names it was published. */
    uint32_t v = atomic_load_explicit(&m->records[slot].current, memory_order_acquire);
    while (v != 0 && m->versions[v].seq > view->seq)
        v = m->versions[v].previous;
    if (v == 0 || m->versions[v].length == LS_KV_TOMBSTONE)
        return 0;
    if (m->versions[v].expiry != 0 && m->versions[v].expiry <= view->time)
        return 0;
    return v;
}

/* ---- kv_expiry.c; writer ---- */
void ls_kv_expiry_set(struct ls_machine *m, uint32_t slot, uint64_t expiry); /* 0: none */
/* The slot whose key expires first if that is not after `time`, else 0. */
uint32_t ls_kv_expiry_first(const struct ls_machine *m, uint64_t time);

/* ---- kv_retire.c; writer ---- */
void ls_kv_retire(struct ls_machine *m, enum ls_kv_retired_kind kind, uint32_t a, uint32_t b);
/* After what was retired can no longer be found by new readers: gives it its ticket. */
void ls_kv_retire_seal(struct ls_machine *m);
bool ls_kv_retire_has_room(const struct ls_machine *m, uint64_t items);
void ls_kv_reclaim(struct ls_machine *m);

/* ---- kv_parse.c ---- */
/* Checks the form of a mutation or batch; fills plan. plan->known_hash is taken over and used. */
void ls_kv_parse(const uint8_t *operation, uint32_t length, struct ls_kv_plan *plan);

/* ---- kv_apply.c; writer ---- */
uint32_t ls_kv_apply(struct ls_machine *m, const struct ls_command *commands, uint32_t n, struct ls_result *results);
/* Makes `version` the key's newest; slot 0: a new record is made. Accounts for it. Returns the slot. */
uint32_t ls_kv_write(struct ls_machine *m, uint32_t slot, const uint8_t *key, uint8_t key_length, uint64_t hash,
                     uint32_t version);
void ls_kv_publish(struct ls_machine *m);

/* ---- kv_read.c ---- */
void ls_kv_read(struct ls_machine *m, const uint8_t *operation, uint32_t length, struct ls_read_result *result);

/* ---- kv_checkpoint.c, kv_restore.c ---- */
int ls_kv_checkpoint_begin(struct ls_machine *m);
int ls_kv_checkpoint_next(struct ls_machine *m, struct ls_checkpoint_sink *sink);
void ls_kv_checkpoint_end(struct ls_machine *m);
int ls_kv_restore(struct ls_machine *m, struct ls_checkpoint_source *source);
/* Writer, before `old` of this slot is replaced: true if a checkpoint keeps it, so that it must not be retired. */
bool ls_kv_checkpoint_keeps(struct ls_machine *m, uint32_t slot, uint32_t old);
/* Writer: the slot got a new record. */
void ls_kv_checkpoint_created(struct ls_machine *m, uint32_t slot);
/* Writer, before a record is freed: true if a checkpoint still needs it and will see to it. */
bool ls_kv_checkpoint_defers(struct ls_machine *m, uint32_t slot);
/* Writer: frees a bounded number of things that the walker has passed. */
void ls_kv_checkpoint_release(struct ls_machine *m, uint32_t budget);

/* ---- kv_scrub.c ---- */
/* Key and value are what was written under the version's checksum. For versions that cannot be freed meanwhile. */
bool ls_kv_version_intact(const struct ls_machine *m, uint32_t slot, uint32_t version);
int ls_kv_scrub(struct ls_machine *m, uint64_t *cursor, uint32_t n);
bool ls_kv_flip(struct ls_machine *m, uint64_t seed);

/* The image, little-endian. Header, then chunks; each chunk's checksum begins with that of what stands before it. */
#define LS_KV_IMAGE_MAGIC   0x000a766b2d534cull /* "LS-kv\n" */
#define LS_KV_IMAGE_VERSION 1
#define LS_KV_CHUNK_DATA    0x61746164u /* "data" */
#define LS_KV_CHUNK_END     0x21646e65u /* "end!" */

struct ls_kv_image_header {
    uint64_t magic;
    uint32_t version;
    uint32_t size; /* of this header */
    uint64_t seq;
    uint64_t time;
    uint64_t limit_keys;
    uint64_t limit_bytes;
    uint64_t keys;
    uint64_t bytes;
    uint64_t digest;
    uint64_t checksum; /* of everything before */
};
static_assert(sizeof(struct ls_kv_image_header) == 80, "image layout");

struct ls_kv_image_chunk {
    uint32_t kind;
    uint32_t length;  /* of what follows; END: 0 */
    uint32_t records; /* that follow, whole; END: 0 */
    uint32_t zero;
    uint64_t checksum; /* of the fields before and of what follows */
};
static_assert(sizeof(struct ls_kv_image_chunk) == 24, "image layout");

struct ls_kv_image_record { /* then key, value, zeros up to a multiple of 8 */
    uint64_t seq;
    uint64_t expiry;
    uint64_t checksum;
    uint32_t value_length;
    uint8_t key_length;
    uint8_t zero[3];
};
static_assert(sizeof(struct ls_kv_image_record) == 32, "image layout");

uint64_t ls_kv_image_chunk_checksum(uint64_t chain, const struct ls_kv_image_chunk *chunk, const uint8_t *payload);

#endif
