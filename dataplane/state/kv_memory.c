/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * All memory of a key-value store: one anonymous mapping, cut into arrays; nothing is taken later. The kernel gives a
 * page when it is first touched, so that a small store is cheap however generous its headroom is (a process that wants
 * no page faults later uses mlockall()). Called before and after everything else.
 *
 * How much: the limits count keys and bytes from the log alone. On top of them come
 *   - what is retired but may still be seen by readers: at most as many things as the retire list has places;
 *   - what a checkpoint holds: its own reserve, half of the limits;
 *   - one largest entry.
 * So memory for what the limits allow is there as soon as grace periods end, and apply() never has to refuse.
 */
#include <errno.h>
#include <sys/mman.h>

#include "kv_machine.h"

#define LS_KV_PAGE_BYTES  4096ull
#define LS_KV_HUGE_BYTES  (2ull * 1024 * 1024)
#define LS_KV_HUGE_KEYS   65536 /* from so many keys on memory is asked for in huge pages */
#define LS_KV_KEYS_LIMIT  (1ull << 30)
#define LS_KV_BYTES_LIMIT (1ull << 40)

struct layout {
    uint64_t align;
    uint64_t size;
    uint8_t *base; /* NULL: only counting */
};

/* The next array. Elements from index 0 on; where 0 means none, it is simply never used. */
static void *ls_layout_array(struct layout *layout, uint64_t count, uint64_t size)
{
    void *at = layout->base != NULL ? layout->base + layout->size : NULL;
    layout->size += (count * size + layout->align - 1) / layout->align * layout->align;
    return at;
}

struct sizes {
    uint64_t retired;
    uint64_t reserve_versions;
    uint64_t reserve_blocks;
    uint64_t records;
    uint64_t versions;
    uint64_t blocks;
    uint64_t leaves;
    uint64_t pages;
    uint64_t buckets;
    uint64_t parked;
};

static uint64_t ls_power_of_two(uint64_t at_least, uint64_t from)
{
    while (from < at_least)
        from *= 2;
    return from;
}

static void ls_sizes_compute(const struct ls_machine_limits *limits, struct sizes *sizes)
{
    uint64_t keys = limits->keys, retired = keys / 4 < 65536 ? keys / 4 : 65536;
    uint64_t live_blocks = ls_kv_blocks_bound(limits->bytes, keys);
    uint64_t long_keys = limits->bytes / (LS_KV_KEY_INLINE + 1);

    sizes->retired = ls_power_of_two(retired, 16384);
    sizes->reserve_versions = keys / 2 + 1024;
    sizes->reserve_blocks = live_blocks / 2 + 4096;
    /* 256: indexes that mean nothing, and one entry's own needs before it retires anything. */
    sizes->records = keys + sizes->retired + sizes->reserve_versions + 256;
    /* Twice the reserve: a key deleted while its old version is held keeps its tombstone, too. */
    sizes->versions = keys + sizes->retired + 2 * sizes->reserve_versions + 512;
    sizes->blocks = live_blocks + live_blocks / 8 + ls_kv_blocks_bound(LS_KV_BATCH_BYTES_MAX, LS_KV_BATCH_MAX) +
                    sizes->reserve_blocks + (long_keys < keys ? long_keys : keys) + sizes->retired +
                    sizes->reserve_versions + 256;
    /* Of two neighbouring leaves one has at least 8 keys (kv_order.c); retired ones have a place on the list each. */
    sizes->leaves = sizes->records / 4 + sizes->retired + 256;
    sizes->pages = sizes->leaves + sizes->retired;
    sizes->buckets = keys / 3 + 16;
    sizes->parked = ls_power_of_two(sizes->reserve_versions + 16, 1024);
}

static void ls_kv_lay_out(struct ls_machine *m, struct layout *layout, const struct sizes *sizes)
{
    m->buckets = ls_layout_array(layout, sizes->buckets, sizeof(*m->buckets));
    m->records = ls_layout_array(layout, sizes->records, sizeof(*m->records));
    m->versions = ls_layout_array(layout, sizes->versions, sizeof(*m->versions));
    m->blocks = ls_layout_array(layout, sizes->blocks, LS_KV_BLOCK_SIZE);
    m->leaves = ls_layout_array(layout, sizes->leaves, sizeof(*m->leaves));
    m->leaf_pages = ls_layout_array(layout, sizes->leaves, sizeof(*m->leaf_pages));
    m->pages = ls_layout_array(layout, sizes->pages, sizeof(*m->pages));
    m->hold = ls_layout_array(layout, sizes->records, sizeof(*m->hold));
    m->due_place = ls_layout_array(layout, sizes->records, sizeof(*m->due_place));
    m->due = ls_layout_array(layout, sizes->records, sizeof(*m->due));
    m->retired = ls_layout_array(layout, sizes->retired, sizeof(*m->retired));
    m->record_pool.free = ls_layout_array(layout, sizes->records, sizeof(uint32_t));
    m->version_pool.free = ls_layout_array(layout, sizes->versions, sizeof(uint32_t));
    m->block_pool.free = ls_layout_array(layout, sizes->blocks, sizeof(uint32_t));
    m->leaf_pool.free = ls_layout_array(layout, sizes->leaves, sizeof(uint32_t));
    m->page_pool.free = ls_layout_array(layout, sizes->pages, sizeof(uint32_t));
    m->checkpoint.parked = ls_layout_array(layout, sizes->parked, sizeof(uint32_t));
    m->checkpoint.chunk = ls_layout_array(layout, LS_KV_CHUNK_ROOM, 1);
}

static void ls_pool_init(struct ls_kv_pool *pool, uint64_t count)
{
    pool->fresh = 1;
    pool->end = (uint32_t)count;
}

struct ls_machine *ls_kv_create(const struct ls_machine_limits *limits, struct ls_grace *grace)
{
    struct ls_machine counted; /* only its pointers, which nobody uses */
    struct layout layout = {.align = LS_KV_PAGE_BYTES};
    struct sizes sizes;
    struct ls_machine *m;
    uint64_t slack;

    assert(grace != NULL);
    if (limits->keys == 0 || limits->bytes == 0 || limits->keys > LS_KV_KEYS_LIMIT ||
        limits->bytes > LS_KV_BYTES_LIMIT) {
        errno = EINVAL;
        return NULL;
    }
    if (limits->keys >= LS_KV_HUGE_KEYS)
        layout.align = LS_KV_HUGE_BYTES;
    ls_sizes_compute(limits, &sizes);
    (void)ls_layout_array(&layout, 1, sizeof(*m));
    ls_kv_lay_out(&counted, &layout, &sizes);
    if (sizes.blocks > UINT32_MAX) {
        errno = EINVAL;
        return NULL;
    }

    slack = layout.align - LS_KV_PAGE_BYTES; /* mmap() aligns to pages only */
    uint8_t *arena =
        mmap(NULL, layout.size + slack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (arena == MAP_FAILED)
        return NULL;
    if (layout.align == LS_KV_HUGE_BYTES)
        (void)madvise(arena, layout.size + slack, MADV_HUGEPAGE); /* slower without, not wrong */

    layout.base = (uint8_t *)(((uintptr_t)arena + layout.align - 1) / layout.align * layout.align);
    layout.size = 0;
    m = ls_layout_array(&layout, 1, sizeof(*m));
    ls_kv_lay_out(m, &layout, &sizes);
    m->arena = arena;
    m->arena_size = layout.size + slack;
    m->grace = grace;
    m->physical = *limits;
    m->limits = *limits;
    m->bucket_count = sizes.buckets;
    m->retired_mask = sizes.retired - 1;
    ls_pool_init(&m->record_pool, sizes.records);
    ls_pool_init(&m->version_pool, sizes.versions);
    ls_pool_init(&m->block_pool, sizes.blocks);
    ls_pool_init(&m->leaf_pool, sizes.leaves);
    ls_pool_init(&m->page_pool, sizes.pages);
    m->checkpoint.parked_mask = (uint32_t)sizes.parked - 1;
    m->checkpoint.reserve_versions = (uint32_t)sizes.reserve_versions;
    m->checkpoint.reserve_blocks = (uint32_t)sizes.reserve_blocks;
    ls_kv_order_init(m);
    return m;
}

void ls_kv_destroy(struct ls_machine *m)
{
    if (m != NULL)
        (void)munmap(m->arena, m->arena_size);
}
