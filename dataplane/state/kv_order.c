/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The ordered index: a skip list (Pugh, 1990) whose elements are leaves of up to 30 keys instead of single keys, so
 * that a scan has the records of its next keys named in two lines of memory and can fetch them all at once. One
 * writer, RCU readers.
 *
 * A leaf stands at a fixed place and names its page: an immutable array of slots together with the number of the next
 * leaf. Whatever changes in a leaf's range is one new page and one store of its number (the idea of a B-link tree,
 * Lehman and Yao 1981): a split moves the upper half into a new leaf, which the new page names as next; a merge takes
 * the next leaf's keys and its next. A reader that still has the old page goes on where the old page says, through
 * leaves that stay readable until it is done, and meets every key once: what it misses came after its seq.
 *
 * Lanes: each leaf stands in some of 8 express lanes, a quarter of them in each next one. The height comes from the
 * hash of its separator and from the seq and time of the entry that made it: deterministic, and not to be foreseen by a
 * client that would like all leaves low.
 */
#include "kv_machine.h"

#define LS_LEAF_FIRST      1u
#define LS_PAGE_MERGED_MAX (LS_KV_PAGE_SLOTS / 2) /* two leaves become one if they have so few keys */
#define LS_PAGE_LOW        7                      /* a leaf so low looks at the leaf before it, too */

void ls_kv_order_init(struct ls_machine *m)
{
    uint32_t leaf = ls_kv_pool_take(&m->leaf_pool), page = ls_kv_pool_take(&m->page_pool);
    assert(leaf == LS_LEAF_FIRST);
    m->leaves[leaf].height = LS_KV_LEVELS;
    atomic_store_explicit(&m->leaf_pages[leaf], page, memory_order_relaxed);
}

/* Acquire: pairs with the release store in ls_leaf_set(). */
static const struct ls_kv_leaf_page *ls_leaf_page(const struct ls_machine *m, uint32_t leaf)
{
    return &m->pages[atomic_load_explicit(&m->leaf_pages[leaf], memory_order_acquire)];
}

/* Writer. Publishes a new page of the leaf; the old one is retired. */
static void ls_leaf_set(struct ls_machine *m, uint32_t leaf, uint32_t page)
{
    uint32_t old = atomic_load_explicit(&m->leaf_pages[leaf], memory_order_relaxed);
    /* Release: pairs with ls_leaf_page(). */
    atomic_store_explicit(&m->leaf_pages[leaf], page, memory_order_release);
    ls_kv_retire(m, LS_KV_RETIRED_PAGE, old, 0);
}

/* Acquire: pairs with the release store in ls_lane_link(). */
static uint32_t ls_lane_next(const struct ls_machine *m, uint32_t leaf, uint32_t lane)
{
    return atomic_load_explicit(&m->leaves[leaf].lane[lane], memory_order_acquire);
}

static void ls_lane_link(struct ls_machine *m, uint32_t leaf, uint32_t lane, uint32_t next)
{
    atomic_store_explicit(&m->leaves[leaf].lane[lane], next, memory_order_release);
}

/* Does the leaf begin at or before the key (strictly: before it)? */
static bool ls_leaf_is_before(const struct ls_machine *m, uint32_t leaf, const uint8_t *key, uint32_t length,
                              bool strictly)
{
    int order = ls_kv_key_compare(m->leaves[leaf].separator, m->leaves[leaf].length, key, length);
    return strictly ? order < 0 : order <= 0;
}

/* All that may be looked at next from this leaf: its neighbours in lanes up to the one it was reached by. */
static void ls_lane_prefetch(const struct ls_machine *m, uint32_t leaf, uint32_t lanes)
{
    for (uint32_t lane = 0; lane < lanes; lane++)
        __builtin_prefetch(&m->leaves[atomic_load_explicit(&m->leaves[leaf].lane[lane], memory_order_relaxed)]);
}

/* The last leaf that begins at or before the key, and its page. path[lane], where asked for: the last such leaf in
 * each lane. */
static uint32_t ls_order_descend(const struct ls_machine *m, const uint8_t *key, uint32_t length, bool strictly,
                                 uint32_t *path, const struct ls_kv_leaf_page **page)
{
    uint32_t leaf = LS_LEAF_FIRST, next, beyond = 0; /* a leaf known to be behind the key */

    for (uint32_t lane = LS_KV_LEVELS; lane-- > 0;) {
        while ((next = ls_lane_next(m, leaf, lane)) != 0 && next != beyond) {
            if (!ls_leaf_is_before(m, next, key, length, strictly)) {
                beyond = next;
                break;
            }
            leaf = next;
            ls_lane_prefetch(m, leaf, lane + 1);
        }
        if (path != NULL)
            path[lane] = leaf;
    }
    *page = ls_leaf_page(m, leaf);
    while ((next = (*page)->next) != 0 && next != beyond && ls_leaf_is_before(m, next, key, length, strictly)) {
        leaf = next;
        *page = ls_leaf_page(m, leaf);
    }
    return leaf;
}

static void ls_page_prefetch_records(const struct ls_machine *m, const struct ls_kv_leaf_page *page)
{
    for (uint32_t i = 0; i < page->count; i++)
        __builtin_prefetch(&m->records[page->slot[i]]);
}

/* Place of the first key >= the given one; count if there is none. */
static uint32_t ls_page_lower_bound(const struct ls_machine *m, const struct ls_kv_leaf_page *page, const uint8_t *key,
                                    uint32_t length)
{
    uint32_t low = 0, high = page->count;

    while (low < high) {
        uint32_t middle = (low + high) / 2, slot = page->slot[middle];
        if (ls_kv_key_compare(ls_kv_record_key(m, slot), m->records[slot].length, key, length) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static uint32_t ls_page_place(const struct ls_kv_leaf_page *page, uint32_t slot)
{
    uint32_t i = 0;
    while (i < page->count && page->slot[i] != slot)
        i++;
    return i;
}

static uint32_t ls_leaf_height(const struct ls_machine *m, const uint8_t *separator, uint32_t length)
{
    uint64_t bits = ls_hash64(ls_hash_mix(m->seq ^ LS_HASH_0, m->time ^ LS_HASH_3), separator, length);
    uint32_t height = 0;

    while (height < LS_KV_LEVELS && (bits & 3) == 0) {
        height++;
        bits >>= 2;
    }
    return height;
}

/* Writer. The page's keys are at home in this leaf from now on. Release: a reader that takes the hint finds the leaf
 * whole; pairs with the acquire load in ls_order_seek_slot(). */
static void ls_order_settle(struct ls_machine *m, uint32_t leaf, const uint32_t *slots, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        atomic_store_explicit(&m->records[slots[i]].home, leaf, memory_order_release);
}

/* Writer. A new leaf for the upper part of a full one: `slots` are its keys, `before` is the key in front of them. Not
 * yet linked anywhere. */
static uint32_t ls_leaf_new(struct ls_machine *m, const uint32_t *slots, uint32_t n, uint32_t before, uint32_t next)
{
    uint32_t leaf = ls_kv_pool_take(&m->leaf_pool), page = ls_kv_pool_take(&m->page_pool);
    const uint8_t *first = ls_kv_record_key(m, slots[0]), *last = ls_kv_record_key(m, before);
    uint32_t common = 0, last_length = m->records[before].length;

    /* The shortest beginning of its first key that is greater than the key before. */
    while (common < last_length && first[common] == last[common])
        common++;
    m->leaves[leaf].length = (uint8_t)(common + 1);
    memcpy(m->leaves[leaf].separator, first, common + 1);
    m->leaves[leaf].height = (uint8_t)ls_leaf_height(m, first, common + 1);

    m->pages[page].next = next;
    m->pages[page].count = n;
    memcpy(m->pages[page].slot, slots, n * sizeof(*slots));
    atomic_store_explicit(&m->leaf_pages[leaf], page, memory_order_relaxed); /* published with the leaf itself */
    return leaf;
}

static void ls_leaf_link(struct ls_machine *m, uint32_t leaf, const uint32_t *path)
{
    for (uint32_t lane = 0; lane < m->leaves[leaf].height; lane++) {
        ls_lane_link(m, leaf, lane, ls_lane_next(m, path[lane], lane));
        ls_lane_link(m, path[lane], lane, leaf);
    }
}

/* Writer. The page is full: one more key makes two leaves of it. A key behind all others opens a leaf of its own, so
 * that keys that come in order leave full leaves behind. */
static void ls_order_split(struct ls_machine *m, uint32_t leaf, const struct ls_kv_leaf_page *old, uint32_t at,
                           uint32_t slot, const uint32_t *path)
{
    uint32_t all[LS_KV_PAGE_SLOTS + 1], low = (LS_KV_PAGE_SLOTS + 1) / 2, upper, page;

    memcpy(all, old->slot, at * sizeof(all[0]));
    all[at] = slot;
    memcpy(all + at + 1, old->slot + at, (LS_KV_PAGE_SLOTS - at) * sizeof(all[0]));
    if (at == LS_KV_PAGE_SLOTS && old->next == 0)
        low = LS_KV_PAGE_SLOTS;

    upper = ls_leaf_new(m, all + low, LS_KV_PAGE_SLOTS + 1 - low, all[low - 1], old->next);
    page = ls_kv_pool_take(&m->page_pool);
    m->pages[page].next = upper;
    m->pages[page].count = low;
    memcpy(m->pages[page].slot, all, low * sizeof(all[0]));
    atomic_store_explicit(&m->records[slot].home, leaf, memory_order_release);
    ls_order_settle(m, upper, all + low, LS_KV_PAGE_SLOTS + 1 - low);
    ls_leaf_set(m, leaf, page);
    ls_leaf_link(m, upper, path);
}

void ls_kv_order_insert(struct ls_machine *m, uint32_t slot)
{
    const uint8_t *key = ls_kv_record_key(m, slot);
    uint32_t length = m->records[slot].length, path[LS_KV_LEVELS], at, page;
    const struct ls_kv_leaf_page *old;
    uint32_t leaf = ls_order_descend(m, key, length, false, path, &old);

    ls_page_prefetch_records(m, old);
    at = ls_page_lower_bound(m, old, key, length);
    if (old->count == LS_KV_PAGE_SLOTS) {
        ls_order_split(m, leaf, old, at, slot, path);
        return;
    }
    page = ls_kv_pool_take(&m->page_pool);
    struct ls_kv_leaf_page *new = &m->pages[page];
    new->next = old->next;
    new->count = old->count + 1;
    memcpy(new->slot, old->slot, at * sizeof(new->slot[0]));
    new->slot[at] = slot;
    memcpy(new->slot + at + 1, old->slot + at, (old->count - at) * sizeof(new->slot[0]));
    atomic_store_explicit(&m->records[slot].home, leaf, memory_order_release);
    ls_leaf_set(m, leaf, page);
}

/* Writer. Leaf `right`, which follows `left`, gives its keys to it and goes. */
static void ls_order_merge(struct ls_machine *m, uint32_t left, uint32_t right)
{
    const struct ls_kv_leaf_page *a = ls_leaf_page(m, left), *b = ls_leaf_page(m, right), *unused;
    uint32_t page = ls_kv_pool_take(&m->page_pool), path[LS_KV_LEVELS];

    m->pages[page].next = b->next;
    m->pages[page].count = a->count + b->count;
    memcpy(m->pages[page].slot, a->slot, a->count * sizeof(a->slot[0]));
    memcpy(m->pages[page].slot + a->count, b->slot, b->count * sizeof(b->slot[0]));
    ls_order_settle(m, left, b->slot, b->count);
    ls_leaf_set(m, left, page);
    (void)ls_order_descend(m, m->leaves[right].separator, m->leaves[right].length, true, path, &unused);
    for (uint32_t lane = 0; lane < m->leaves[right].height; lane++) {
        assert(ls_lane_next(m, path[lane], lane) == right);
        ls_lane_link(m, path[lane], lane, ls_lane_next(m, right, lane));
    }
    ls_kv_retire(m, LS_KV_RETIRED_PAGE, atomic_load_explicit(&m->leaf_pages[right], memory_order_relaxed), 0);
    ls_kv_retire(m, LS_KV_RETIRED_LEAF, right, 0);
}

void ls_kv_order_remove(struct ls_machine *m, uint32_t slot)
{
    uint32_t leaf = atomic_load_explicit(&m->records[slot].home, memory_order_relaxed), before;
    const struct ls_kv_leaf_page *old = ls_leaf_page(m, leaf), *page;
    uint32_t at = ls_page_place(old, slot), new = ls_kv_pool_take(&m->page_pool), count;

    assert(at < old->count);
    count = old->count - 1;
    m->pages[new].next = old->next;
    m->pages[new].count = count;
    memcpy(m->pages[new].slot, old->slot, at * sizeof(old->slot[0]));
    memcpy(m->pages[new].slot + at, old->slot + at + 1, (count - at) * sizeof(old->slot[0]));
    ls_leaf_set(m, leaf, new);

    page = &m->pages[new];
    if (page->next != 0 && count + ls_leaf_page(m, page->next)->count <= LS_PAGE_MERGED_MAX) {
        ls_order_merge(m, leaf, page->next);
    } else if (leaf != LS_LEAF_FIRST && count <= LS_PAGE_LOW) {
        before = ls_order_descend(m, m->leaves[leaf].separator, m->leaves[leaf].length, true, NULL, &page);
        if (page->count + count <= LS_PAGE_MERGED_MAX)
            ls_order_merge(m, before, leaf);
    }
}

uint32_t ls_kv_order_find(const struct ls_machine *m, const uint8_t *key, uint32_t length)
{
    const struct ls_kv_leaf_page *page;
    uint32_t at;

    (void)ls_order_descend(m, key, length, false, NULL, &page);
    at = ls_page_lower_bound(m, page, key, length);
    if (at < page->count && ls_kv_record_is(m, page->slot[at], key, length))
        return page->slot[at];
    return 0;
}

/* Reader. The cursor at a key whose record is known: its leaf is, too. False: the hint was of just before a split or
 * merge. */
static bool ls_order_seek_slot(const struct ls_machine *m, uint32_t slot, struct ls_kv_cursor *cursor)
{
    /* Acquire: pairs with the release stores of home. */
    uint32_t leaf = atomic_load_explicit(&m->records[slot].home, memory_order_acquire);

    assert(leaf != 0); /* set before the table had the record */
    cursor->page = ls_leaf_page(m, leaf);
    cursor->at = ls_page_place(cursor->page, slot);
    return cursor->at < cursor->page->count;
}

bool ls_kv_order_seek(const struct ls_machine *m, const uint8_t *key, uint32_t length, struct ls_kv_cursor *cursor)
{
    /* The table is faster than the lanes, and its cost does not grow with the number of keys. A scan that goes on
     * behind a key asks for that key and a zero byte, which is the very next key that could exist: if the key itself
     * is known, its place is, whether or not the longer one exists. */
    bool behind = length > 1 && key[length - 1] == 0;
    uint32_t known = length - behind, slot = 0;

    if (known > 0 && known <= LS_KV_KEY_MAX)
        slot = ls_kv_table_find(m, ls_kv_key_hash(key, known), key, known);
    if (slot != 0 && ls_order_seek_slot(m, slot, cursor)) {
        cursor->at += behind;
        return behind;
    }
    (void)ls_order_descend(m, key, length, false, NULL, &cursor->page);
    ls_page_prefetch_records(m, cursor->page);
    cursor->at = ls_page_lower_bound(m, cursor->page, key, length);
    return false;
}

/* To the next leaf, with the one behind that on its way. */
static void ls_order_turn_page(const struct ls_machine *m, struct ls_kv_cursor *cursor)
{
    const struct ls_kv_leaf_page *page = NULL;

    if (cursor->page->next != 0) {
        page = ls_leaf_page(m, cursor->page->next);
        if (page->next != 0) {
            const uint8_t *after = (const uint8_t *)ls_leaf_page(m, page->next);
            __builtin_prefetch(after);
            __builtin_prefetch(after + LS_KV_CACHE_LINE);
        }
    }
    cursor->page = page;
    cursor->at = 0;
}

uint32_t ls_kv_order_next(const struct ls_machine *m, struct ls_kv_cursor *cursor, uint32_t *slots, uint32_t n)
{
    uint32_t taken = 0;

    while (cursor->page != NULL && taken < n) {
        const struct ls_kv_leaf_page *page = cursor->page;
        if (cursor->at < page->count) {
            slots[taken] = page->slot[cursor->at++];
            __builtin_prefetch(&m->records[slots[taken]]);
            taken++;
        } else {
            ls_order_turn_page(m, cursor);
        }
    }
    return taken;
}
