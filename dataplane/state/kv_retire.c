/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The retire list: what readers may still see, in the order in which it was replaced. Writer only (the apply worker:
 * in apply() and, every loop turn, in reclaim()).
 *
 * An item goes on the list when it is replaced and gets its grace ticket when no new reader can find it any more: what
 * entry e replaced after e is published, what left the indexes at once. Items are taken off strictly in that order, so
 * "this tombstone is still current" cannot be said of another tombstone at the same place: a replaced tombstone stands
 * behind the item that names it.
 */
#include "kv_machine.h"

#define LS_KV_RECLAIM_BUDGET 512 /* per call; an item costs 1, and 1 more per 4 blocks */

static struct ls_kv_retired *ls_retired_at(const struct ls_machine *m, uint64_t i)
{
    return &m->retired[i & m->retired_mask];
}

bool ls_kv_retire_has_room(const struct ls_machine *m, uint64_t items)
{
    uint64_t taken = m->retired_tail - m->retired_head + m->retired_keys * LS_KV_RETIRED_PER_KEY;
    return taken + items <= m->retired_mask + 1;
}

/* Takes a key out of the indexes, unless it was written again in the meantime. */
static void ls_retired_key(struct ls_machine *m, uint32_t slot, uint32_t tombstone)
{
    m->retired_keys--;
    if (atomic_load_explicit(&m->records[slot].current, memory_order_relaxed) != tombstone)
        return;
    ls_kv_table_remove(m, ls_kv_key_hash(ls_kv_record_key(m, slot), m->records[slot].length), slot);
    ls_kv_order_remove(m, slot);
    ls_kv_retire(m, LS_KV_RETIRED_RECORD, slot, 0);
}

static void ls_retired_record(struct ls_machine *m, uint32_t slot)
{
    if (ls_kv_checkpoint_defers(m, slot))
        return;
    uint32_t tombstone = atomic_load_explicit(&m->records[slot].current, memory_order_relaxed);
    atomic_store_explicit(&m->records[slot].current, 0, memory_order_relaxed);
    /* Release: what the memory becomes next is not seen before this; pairs with the fence in ls_scrub_version(). */
    atomic_thread_fence(memory_order_release);
    ls_kv_version_free(m, tombstone);
    ls_kv_record_free(m, slot);
}

static void ls_retired_free(struct ls_machine *m, uint64_t kind, uint32_t a, uint32_t b)
{
    switch (kind) {
    case LS_KV_RETIRED_VERSION:
        ls_kv_version_free(m, a);
        break;
    case LS_KV_RETIRED_KEY:
        ls_retired_key(m, a, b);
        break;
    case LS_KV_RETIRED_RECORD:
        ls_retired_record(m, a);
        break;
    case LS_KV_RETIRED_PAGE:
        ls_kv_poison(&m->pages[a], sizeof(m->pages[a]));
        ls_kv_pool_give(&m->page_pool, a);
        break;
    default:
        assert(kind == LS_KV_RETIRED_LEAF);
        ls_kv_poison(&m->leaves[a], sizeof(m->leaves[a]));
        ls_kv_pool_give(&m->leaf_pool, a);
        break;
    }
}

void ls_kv_retire(struct ls_machine *m, enum ls_kv_retired_kind kind, uint32_t a, uint32_t b)
{
    if (m->private_) {
        ls_retired_free(m, kind, a, b);
        return;
    }
    assert(m->retired_tail - m->retired_head <= m->retired_mask);
    *ls_retired_at(m, m->retired_tail++) = (struct ls_kv_retired){.ticket_kind = kind, .a = a, .b = b};
    if (kind == LS_KV_RETIRED_KEY)
        m->retired_keys++;
}

void ls_kv_retire_seal(struct ls_machine *m)
{
    if (m->retired_sealed == m->retired_tail)
        return;
    uint64_t ticket = ls_grace_ticket(m->grace);
    for (; m->retired_sealed != m->retired_tail; m->retired_sealed++)
        ls_retired_at(m, m->retired_sealed)->ticket_kind |= ticket << 8;
}

void ls_kv_reclaim(struct ls_machine *m)
{
    uint32_t budget = LS_KV_RECLAIM_BUDGET;
    uint64_t over = 0; /* tickets up to this one are known to be */

    if (m->checkpoint.parked_head != m->checkpoint.parked_tail)
        ls_kv_checkpoint_release(m, 64);
    while (m->retired_head != m->retired_sealed && budget > 0) {
        struct ls_kv_retired item = *ls_retired_at(m, m->retired_head);
        uint64_t ticket = item.ticket_kind >> 8, kind = item.ticket_kind & 0xff;
        uint32_t cost = 1;

        if (ticket > over) {
            if (!ls_grace_over(m->grace, ticket))
                break;
            over = ticket;
        }
        if (kind == LS_KV_RETIRED_VERSION) {
            __builtin_prefetch(&m->retired[(m->retired_head + 8) & m->retired_mask]);
            cost += ls_kv_blocks_needed(m->versions[item.a].length) / 4;
        }
        m->retired_head++;
        ls_retired_free(m, kind, item.a, item.b);
        budget -= cost < budget ? cost : budget;
    }
    if (m->retired_head == m->retired_tail) /* stay in the part of the list that is in the cache */
        m->retired_head = m->retired_sealed = m->retired_tail = 0;
    ls_kv_retire_seal(m);
}
