/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A bounded queue of fixed-size elements between one producer thread and one consumer thread. No locks; each side
 * keeps its own copy of the other's index and refreshes it only when the queue looks full (or empty).
 *
 * Ordering: the producer's release store of `tail` pairs with the consumer's acquire load of it, so an element is seen
 * whole; the consumer's release store of `head` pairs with the producer's acquire load, so a place is not written again
 * before it was read. Lamport's queue (1983) with cached indexes.
 */
#ifndef LOCKSTEP_CORE_SPSC_H
#define LOCKSTEP_CORE_SPSC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

struct ls_spsc {
    /* constant */
    uint8_t *elements; /* owned by whoever initialised the queue */
    uint32_t mask;     /* capacity - 1; capacity is a power of two */
    uint32_t size;     /* of an element */
    /* producer */
    _Alignas(64) _Atomic uint32_t tail;
    uint32_t head_seen;
    /* consumer */
    _Alignas(64) _Atomic uint32_t head;
    uint32_t tail_seen;
};

/* `memory` has capacity * size bytes and outlives the queue; capacity is a power of two. */
static inline void ls_spsc_init(struct ls_spsc *q, void *memory, uint32_t capacity, uint32_t size)
{
    memset(q, 0, sizeof(*q));
    q->elements = memory;
    q->mask = capacity - 1;
    q->size = size;
}

/* Producer. False: full. */
static inline bool ls_spsc_push(struct ls_spsc *q, const void *element)
{
    uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    if (tail - q->head_seen > q->mask) {
        q->head_seen = atomic_load_explicit(&q->head, memory_order_acquire);
        if (tail - q->head_seen > q->mask)
            return false;
    }
    memcpy(q->elements + (size_t)(tail & q->mask) * q->size, element, q->size);
    atomic_store_explicit(&q->tail, tail + 1, memory_order_release);
    return true;
}

/* Producer. How many pushes are sure to succeed now. */
static inline uint32_t ls_spsc_room(struct ls_spsc *q)
{
    uint32_t tail = atomic_load_explicit(&q->tail, memory_order_relaxed);
    q->head_seen = atomic_load_explicit(&q->head, memory_order_acquire);
    return q->mask + 1 - (tail - q->head_seen);
}

/* Consumer. False: empty. */
static inline bool ls_spsc_pop(struct ls_spsc *q, void *element)
{
    uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
    if (head == q->tail_seen) {
        q->tail_seen = atomic_load_explicit(&q->tail, memory_order_acquire);
        if (head == q->tail_seen)
            return false;
    }
    memcpy(element, q->elements + (size_t)(head & q->mask) * q->size, q->size);
    atomic_store_explicit(&q->head, head + 1, memory_order_release);
    return true;
}

/* Either side: nothing in it just now. */
static inline bool ls_spsc_is_empty(struct ls_spsc *q)
{
    return atomic_load_explicit(&q->head, memory_order_acquire) == atomic_load_explicit(&q->tail, memory_order_acquire);
}

#endif
