/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which key expires next: a heap by (expiry, key), four children to a node. The order is total, so it does not depend
 * on how the heap came about: replicas, and those restored from a checkpoint, take the same keys in the same order.
 * Writer only; any thread may read due_count.
 */
#include "kv_machine.h"

#define LS_DUE_FIRST    1u
#define LS_DUE_CHILDREN 4u

static uint32_t ls_due_parent(uint32_t place)
{
    return (place - 2) / LS_DUE_CHILDREN + 1;
}

static uint32_t ls_due_child(uint32_t place)
{
    return (place - 1) * LS_DUE_CHILDREN + 2;
}

static bool ls_due_is_before(const struct ls_machine *m, const struct ls_kv_due *a, const struct ls_kv_due *b)
{
    if (a->expiry != b->expiry)
        return a->expiry < b->expiry;
    return ls_kv_key_compare(ls_kv_record_key(m, a->slot), m->records[a->slot].length, ls_kv_record_key(m, b->slot),
                             m->records[b->slot].length) < 0;
}

static void ls_due_put(struct ls_machine *m, uint32_t place, struct ls_kv_due due)
{
    m->due[place] = due;
    m->due_place[due.slot] = place;
}

static void ls_due_rise(struct ls_machine *m, uint32_t place, struct ls_kv_due due)
{
    while (place > LS_DUE_FIRST && ls_due_is_before(m, &due, &m->due[ls_due_parent(place)])) {
        ls_due_put(m, place, m->due[ls_due_parent(place)]);
        place = ls_due_parent(place);
    }
    ls_due_put(m, place, due);
}

static void ls_due_sink(struct ls_machine *m, uint32_t place, struct ls_kv_due due, uint32_t count)
{
    for (;;) {
        uint32_t child = ls_due_child(place), first = 0;
        for (uint32_t i = child; i < child + LS_DUE_CHILDREN && i <= count; i++) {
            if (first == 0 || ls_due_is_before(m, &m->due[i], &m->due[first]))
                first = i;
        }
        if (first == 0 || !ls_due_is_before(m, &m->due[first], &due))
            break;
        ls_due_put(m, place, m->due[first]);
        place = first;
    }
    ls_due_put(m, place, due);
}

/* `due` belongs at `place` or above or below it. */
static void ls_due_settle(struct ls_machine *m, uint32_t place, struct ls_kv_due due, uint32_t count)
{
    if (place > LS_DUE_FIRST && ls_due_is_before(m, &due, &m->due[ls_due_parent(place)]))
        ls_due_rise(m, place, due);
    else
        ls_due_sink(m, place, due, count);
}

void ls_kv_expiry_set(struct ls_machine *m, uint32_t slot, uint64_t expiry)
{
    uint32_t place = m->due_place[slot];
    uint32_t count = (uint32_t)atomic_load_explicit(&m->due_count, memory_order_relaxed);
    struct ls_kv_due due = {.expiry = expiry, .slot = slot};

    if (expiry != 0 && place != 0) {
        ls_due_settle(m, place, due, count);
    } else if (expiry != 0) {
        ls_due_rise(m, count + 1, due);
        count++;
    } else if (place != 0) {
        struct ls_kv_due last = m->due[count];
        m->due_place[slot] = 0;
        count--;
        if (last.slot != slot)
            ls_due_settle(m, place, last, count);
    }
    /* Relaxed: for ls_kv_time_pending(), which orders nothing by it. */
    atomic_store_explicit(&m->due_count, count, memory_order_relaxed);
}

uint32_t ls_kv_expiry_first(const struct ls_machine *m, uint64_t time)
{
    if (atomic_load_explicit(&m->due_count, memory_order_relaxed) == 0 || m->due[LS_DUE_FIRST].expiry > time)
        return 0;
    return m->due[LS_DUE_FIRST].slot;
}
