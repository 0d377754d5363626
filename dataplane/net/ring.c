/* SPDX-License-Identifier: BSD-3-Clause */
/* The in-process network; see ring.h. Called by the threads that own the ports. */
#include "ring.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define BUFFERS_DEFAULT 2048u
#define BUFFERS_MAX     (1u << 20)
#define DEPTH_DEFAULT   1024u
#define DEPTH_MAX       (1u << 16)
#define ADDRESS_SLOTS   256u /* of the hash table: at least twice the ports */
#define HUGE_PAGE       (2u * 1024 * 1024)
/* Buffers on their way before a flush takes back what was given back: few enough that the same cache lines are used
 * again, enough that the other side's cache line is not fetched at each turn. */
#define RECLAIM_AT 16u

/* The head shares its cache line with the first bytes of the frame. Only `finished` changes after create: the sender
 * clears it before it publishes the buffer, the receiver sets it in done(); between those two only the receiver looks.
 */
struct buffer {
    _Alignas(64) uint16_t owner; /* port */
    bool finished;
    uint8_t data[LS_FRAME_MAX] __attribute__((aligned(16)));
};

struct slot {
    struct buffer *buffer;
    uint32_t length;
};

/* From one port to another. The release store of `tail` pairs with the receiver's acquire load: slots and frames are
 * seen whole. The release store of `head` pairs with the sender's acquire load: a buffer is not written again before
 * the receiver was finished with it. */
struct queue {
    /* constant */
    struct slot *slots;
    uint32_t mask;
    /* sender */
    _Alignas(64) _Atomic uint32_t tail; /* published */
    uint32_t filled;                    /* >= tail: published by flush() */
    uint32_t reclaimed;                 /* <= head: buffers before it are back with the sender */
    /* receiver */
    _Alignas(64) _Atomic uint32_t head; /* given back */
    uint32_t taken;                     /* >= head: handed out by receive() */
};

struct ring_port {
    _Alignas(64) struct ls_port port; /* first: the functions cast */
    struct ls_ring_switch *net;
    struct ls_counters *counters;
    struct queue *out; /* to port i: out[i] */
    struct queue *in;  /* from port i: in[i * ports] */
    struct buffer *buffers;
    struct buffer **stack; /* free ones; last in, first out, as the caches like it */
    uint32_t free;
    uint32_t total;
    uint32_t index;
    uint32_t turn;        /* where receive() begins to look */
    uint64_t unpublished; /* bit i: out[i] has filled > tail */
    uint64_t away;        /* bit i: out[i] has filled > reclaimed */
    uint32_t frames_out;  /* since the last flush */
    uint64_t bytes_out;
};

struct ls_ring_switch {
    struct ring_port *ports;
    struct queue *queues; /* from i to j: queues[i * count + j] */
    uint32_t count;
    uint32_t buffers; /* of a port */
    void *memory;     /* one mapping: slots, stacks, buffers */
    size_t memory_size;
    struct ls_addr addr[LS_RING_PORTS_MAX];
    uint8_t address[ADDRESS_SLOTS]; /* port + 1; 0: free */
};

static inline uint32_t address_slot(struct ls_addr addr)
{
    return (addr.ip * 0x9e3779b1u ^ addr.port * 0x85ebca6bu) >> 24;
}
static_assert(ADDRESS_SLOTS == 256 && LS_RING_PORTS_MAX * 2 <= ADDRESS_SLOTS, "address_slot() makes eight bits");

/* Index of the port with that address, or UINT32_MAX. */
static inline uint32_t port_of(const struct ls_ring_switch *net, struct ls_addr addr)
{
    for (uint32_t at = address_slot(addr); net->address[at] != 0; at = (at + 1) % ADDRESS_SLOTS) {
        if (ls_addr_equal(net->addr[net->address[at] - 1], addr))
            return net->address[at] - 1u;
    }
    return UINT32_MAX;
}

static inline void reclaim(struct ring_port *port, uint32_t to)
{
    struct queue *q = &port->out[to];
    uint32_t head = atomic_load_explicit(&q->head, memory_order_acquire);

    while (q->reclaimed != head)
        port->stack[port->free++] = q->slots[q->reclaimed++ & q->mask].buffer;
    if (q->reclaimed == q->filled)
        port->away &= ~(1ull << to);
}

static void reclaim_all(struct ring_port *port)
{
    for (uint64_t left = port->away; left != 0; left &= left - 1)
        reclaim(port, (uint32_t)__builtin_ctzll(left));
}

static bool ring_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct ring_port *port = (struct ring_port *)io;

    if (__builtin_expect(port->free == 0, 0)) {
        reclaim_all(port);
        if (port->free == 0)
            return false;
    }
    struct buffer *buffer = port->stack[--port->free];
    frame->data = buffer->data;
    frame->length = 0;
    frame->handle = buffer;
    return true;
}

static void ring_release(struct ls_io *io, struct ls_frame *frame)
{
    struct ring_port *port = (struct ring_port *)io;
    assert(((struct buffer *)frame->handle)->owner == port->index);
    port->stack[port->free++] = frame->handle;
}

static void ring_send(struct ls_io *io, struct ls_frame *frame)
{
    struct ring_port *port = (struct ring_port *)io;
    uint32_t to = port_of(port->net, frame->peer);

    assert(frame->length <= LS_FRAME_MAX);
    if (__builtin_expect(to == UINT32_MAX, 0)) {
        ls_count(port->counters, arp_unresolved);
        ring_release(io, frame);
        return;
    }
    struct queue *q = &port->out[to];
    if (__builtin_expect(q->filled - q->reclaimed > q->mask, 0)) {
        reclaim(port, to);
        if (q->filled - q->reclaimed > q->mask) {
            ls_count(port->counters, drop_tx_full);
            ring_release(io, frame);
            return;
        }
    }
    struct buffer *buffer = frame->handle;
    buffer->finished = false;
    q->slots[q->filled++ & q->mask] = (struct slot){.buffer = buffer, .length = frame->length};
    port->unpublished |= 1ull << to;
    port->frames_out++;
    port->bytes_out += frame->length;
}

static void ring_flush(struct ls_port *base, uint64_t now_ns)
{
    struct ring_port *port = (struct ring_port *)base;

    if (port->unpublished == 0)
        return;
    for (uint64_t left = port->unpublished; left != 0; left &= left - 1) {
        struct queue *q = &port->out[__builtin_ctzll(left)];
        atomic_store_explicit(&q->tail, q->filled, memory_order_release);
    }
    port->away |= port->unpublished;
    port->unpublished = 0;
    ls_count_add(port->counters, LS_COUNT_frames_out, port->frames_out);
    ls_count_add(port->counters, LS_COUNT_bytes_out, port->bytes_out);
    port->frames_out = 0;
    port->bytes_out = 0;
    if (port->total - port->free >= RECLAIM_AT)
        reclaim_all(port);
}

static inline uint32_t take(struct ring_port *port, struct queue *q, uint32_t from, struct ls_frame *frames, uint32_t n)
{
    struct ls_addr peer = port->net->addr[from];
    uint32_t at = q->taken;

    for (uint32_t i = 0; i < n; i++) {
        const struct slot *slot = &q->slots[at++ & q->mask];
        __builtin_prefetch(slot->buffer);
        frames[i] =
            (struct ls_frame){.data = slot->buffer->data, .length = slot->length, .peer = peer, .handle = slot->buffer};
    }
    q->taken = at;
    return n;
}

static uint32_t ring_receive(struct ls_port *base, struct ls_frame *frames, uint32_t n, uint64_t now_ns)
{
    struct ring_port *port = (struct ring_port *)base;
    uint32_t count = port->net->count, got = 0;
    uint32_t from = port->turn;
    struct queue *q = &port->in[from * count];

    for (uint32_t i = 0; i < count; i++) {
        uint32_t ready = atomic_load_explicit(&q->tail, memory_order_acquire) - q->taken;
        if (ready > 0) {
            got += take(port, q, from, frames + got, ready < n - got ? ready : n - got);
            if (got == n) {
                /* Goes on behind this one, so that a busy port cannot keep the others waiting. */
                port->turn = from + 1 == count ? 0 : from + 1;
                return got;
            }
        }
        from++;
        q += count;
        if (from == count) {
            from = 0;
            q = port->in;
        }
    }
    return got;
}

static void ring_done(struct ls_port *base, struct ls_frame *frames, uint32_t n)
{
    struct ring_port *port = (struct ring_port *)base;

    for (uint32_t i = 0; i < n; i++) {
        struct buffer *buffer = frames[i].handle;
        struct queue *q = &port->in[buffer->owner * port->net->count];
        uint32_t head = atomic_load_explicit(&q->head, memory_order_relaxed);
        buffer->finished = true;
        while (head != q->taken && q->slots[head & q->mask].buffer->finished)
            head++;
        atomic_store_explicit(&q->head, head, memory_order_release);
    }
}

struct ls_port *ls_ring_port_open(struct ls_ring_switch *net, uint32_t index, struct ls_counters *counters)
{
    assert(index < net->count && counters != NULL);
    struct ring_port *port = &net->ports[index];
    port->counters = counters;
    return &port->port;
}

void ls_ring_port_buffers(struct ls_port *base, uint32_t *free_buffers, uint32_t *total)
{
    struct ring_port *port = (struct ring_port *)base;
    reclaim_all(port);
    *free_buffers = port->free;
    *total = port->total;
}

static bool addresses_set(struct ls_ring_switch *net, const struct ls_addr *addr)
{
    for (uint32_t i = 0; i < net->count; i++) {
        if (port_of(net, addr[i]) != UINT32_MAX)
            return false;
        uint32_t at = address_slot(addr[i]);
        while (net->address[at] != 0)
            at = (at + 1) % ADDRESS_SLOTS;
        net->addr[i] = addr[i];
        net->address[at] = (uint8_t)(i + 1);
    }
    return true;
}

/* Buffers first: they want the alignment. */
static bool memory_take(struct ls_ring_switch *net, uint32_t depth)
{
    size_t n = net->count, buffers = n * net->buffers * sizeof(struct buffer);
    size_t slots = n * n * depth * sizeof(struct slot), stacks = n * net->buffers * sizeof(struct buffer *);

    net->memory_size = (buffers + slots + stacks + HUGE_PAGE - 1) / HUGE_PAGE * HUGE_PAGE;
    net->memory = mmap(NULL, net->memory_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (net->memory == MAP_FAILED) {
        net->memory = NULL;
        return false;
    }
    /* Fewer TLB misses where the kernel has huge pages; without them it works just as well. */
    (void)madvise(net->memory, net->memory_size, MADV_HUGEPAGE);

    struct buffer *buffer = net->memory;
    struct slot *slot = (struct slot *)((uint8_t *)net->memory + buffers);
    struct buffer **stack = (struct buffer **)((uint8_t *)slot + slots);
    for (uint32_t i = 0; i < n * n; i++) {
        net->queues[i].slots = slot + (size_t)i * depth;
        net->queues[i].mask = depth - 1;
    }
    for (uint32_t i = 0; i < n; i++) {
        struct ring_port *port = &net->ports[i];
        port->port = (struct ls_port){.io = {.alloc = ring_alloc, .send = ring_send, .release = ring_release},
                                      .receive = ring_receive,
                                      .done = ring_done,
                                      .flush = ring_flush};
        port->net = net;
        port->index = i;
        port->out = &net->queues[i * n];
        port->in = &net->queues[i];
        port->buffers = buffer + (size_t)i * net->buffers;
        port->stack = stack + (size_t)i * net->buffers;
        port->free = port->total = net->buffers;
        for (uint32_t b = 0; b < net->buffers; b++) {
            port->buffers[b].owner = (uint16_t)i;
            port->stack[net->buffers - 1 - b] = &port->buffers[b];
        }
    }
    return true;
}

static void *zalloc_aligned(size_t size)
{
    void *memory = aligned_alloc(64, size);
    if (memory != NULL)
        memset(memory, 0, size);
    return memory;
}

struct ls_ring_switch *ls_ring_switch_create(const struct ls_ring_config *config)
{
    uint32_t depth = 1, wanted = config->depth != 0 ? config->depth : DEPTH_DEFAULT;
    uint32_t buffers = config->buffers != 0 ? config->buffers : BUFFERS_DEFAULT;

    if (config->ports < 1 || config->ports > LS_RING_PORTS_MAX || buffers > BUFFERS_MAX || wanted > DEPTH_MAX) {
        errno = EINVAL;
        return NULL;
    }
    while (depth < wanted)
        depth *= 2;
    struct ls_ring_switch *net = calloc(1, sizeof(*net));
    if (net == NULL)
        return NULL;
    net->count = config->ports;
    net->buffers = buffers;
    if (!addresses_set(net, config->addr)) {
        free(net);
        errno = EINVAL;
        return NULL;
    }
    size_t queues_size = (size_t)net->count * net->count * sizeof(struct queue);
    net->ports = zalloc_aligned(net->count * sizeof(*net->ports));
    net->queues = zalloc_aligned(queues_size);
    if (net->ports == NULL || net->queues == NULL || !memory_take(net, depth)) {
        ls_ring_switch_destroy(net);
        errno = ENOMEM;
        return NULL;
    }
    return net;
}

void ls_ring_switch_destroy(struct ls_ring_switch *net)
{
    if (net == NULL)
        return;
    if (net->memory != NULL)
        munmap(net->memory, net->memory_size);
    free(net->queues);
    free(net->ports);
    free(net);
}
