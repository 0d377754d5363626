/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The fault decorator; see fault.h. On the thread of the port that it decorates, but for ls_fault_post() and
 * ls_fault_post_nodes().
 *
 * A held frame lies in one of the decorator's buffers and in the queue of its direction, a binary heap ordered by
 * (due time, number of arrival), so that equal times keep their order. Reordered frames stand in a short list until
 * enough others have come, then join the heap.
 */
#include "fault.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../core/dice.h"

#define BUFFERS_DEFAULT 1024u
#define BUFFERS_MAX     (1u << 20)
#define BURST           64 /* asked of the inner port at once while faults are on */
#define WAITING_MAX     64 /* reordered frames of a direction */
#define QUIET_NEVER     UINT64_MAX

struct held {
    uint64_t due_ns;  /* in the heap; in the waiting list: the latest time to leave it */
    uint64_t number;  /* breaks ties */
    uint64_t behind;  /* waiting list: leaves it when the direction has seen so many frames ... */
    uint64_t wait_ns; /* ... and is due this much later */
    struct ls_addr peer;
    uint32_t length;
    uint8_t data[LS_FRAME_MAX] __attribute__((aligned(16)));
};

struct direction {
    uint32_t *heap; /* indexes of buffers */
    uint32_t count;
    uint32_t waiting_count;
    uint32_t waiting[WAITING_MAX];
    uint64_t seen;    /* frames that came this way and were not dropped */
    uint64_t free_ns; /* bandwidth: the link is idle from here on */
};

struct ls_fault {
    struct ls_port port; /* first: the functions cast */
    struct ls_port *inner;
    struct ls_counters *counters;
    /* The mailbox: the poster fills `mail`, then raises `posted` (release); the port's thread takes it (acquire) and
     * then raises `taken` (release), which the poster loads (acquire) before it writes again. */
    struct ls_control_fault mail;
    struct ls_member mail_node[LS_MEMBERS_MAX];
    uint32_t mail_nodes; /* not 0: the mail is of these, and not of settings */
    _Atomic uint64_t posted;
    _Atomic uint64_t taken;
    /* the port's thread */
    uint64_t quiet_at; /* no faults while posted has this value; QUIET_NEVER while there are any */
    bool active;
    bool is_set; /* settings other than "off" */
    struct ls_control_fault settings;
    uint64_t dice;
    uint64_t now_ns;
    uint64_t arrivals;
    uint64_t overflows;
    struct direction in;
    struct direction out;
    struct held *buffers;
    uint32_t *stack; /* free buffers */
    uint32_t free;
    uint32_t total;
    uint32_t lent; /* buffers with the one who received */
    struct ls_addr node[LS_NODE_ID_MAX + 1];
};

/* ---- held frames ---- */

static inline bool is_before(const struct ls_fault *f, uint32_t a, uint32_t b)
{
    const struct held *x = &f->buffers[a], *y = &f->buffers[b];
    return x->due_ns != y->due_ns ? x->due_ns < y->due_ns : x->number < y->number;
}

static void heap_push(struct ls_fault *f, struct direction *d, uint32_t buffer)
{
    uint32_t at = d->count++;
    while (at > 0 && is_before(f, buffer, d->heap[(at - 1) / 2])) {
        d->heap[at] = d->heap[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    d->heap[at] = buffer;
}

static uint32_t heap_pop(struct ls_fault *f, struct direction *d)
{
    uint32_t top = d->heap[0], last = d->heap[--d->count], at = 0, child;
    while ((child = 2 * at + 1) < d->count) {
        if (child + 1 < d->count && is_before(f, d->heap[child + 1], d->heap[child]))
            child++;
        if (!is_before(f, d->heap[child], last))
            break;
        d->heap[at] = d->heap[child];
        at = child;
    }
    d->heap[at] = last;
    return top;
}

static inline bool has_due(const struct ls_fault *f, const struct direction *d)
{
    return d->count > 0 && f->buffers[d->heap[0]].due_ns <= f->now_ns;
}

/* Reordered frames that have waited long enough go on behind those that came after them. */
static void waiting_wake(struct ls_fault *f, struct direction *d)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < d->waiting_count; i++) {
        struct held *held = &f->buffers[d->waiting[i]];
        if (held->behind > d->seen && held->due_ns > f->now_ns) {
            d->waiting[kept++] = d->waiting[i];
        } else {
            held->due_ns = f->now_ns + held->wait_ns;
            held->number = f->arrivals++;
            heap_push(f, d, d->waiting[i]);
        }
    }
    d->waiting_count = kept;
}

static inline uint32_t held_count(const struct ls_fault *f)
{
    return f->in.count + f->in.waiting_count + f->out.count + f->out.waiting_count;
}

/* ---- one frame ---- */

static uint16_t node_of(const struct ls_fault *f, struct ls_addr addr)
{
    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++) {
        if (f->node[node].ip != 0 && ls_addr_equal(f->node[node], addr))
            return node;
    }
    return 0;
}

static void drop(struct ls_fault *f, bool overflow)
{
    f->overflows += overflow;
    ls_count(f->counters, fault_dropped);
}

/* How long the bandwidth and the delays keep a frame; `link_ns` becomes the time when the link is idle again. */
static uint64_t wait_of(struct ls_fault *f, const struct direction *d, uint32_t length, bool random, uint64_t *link_ns)
{
    const struct ls_control_fault *s = &f->settings;
    uint64_t wait = 0;

    *link_ns = d->free_ns;
    if (s->bytes_per_second != 0) {
        if (*link_ns < f->now_ns)
            *link_ns = f->now_ns;
        *link_ns += length * 1000000000ull / s->bytes_per_second;
        wait = *link_ns - f->now_ns;
    }
    if (random) {
        wait += s->delay;
        if (s->jitter != 0)
            wait += ls_dice_below(&f->dice, s->jitter + 1);
    }
    return wait;
}

/* Decides on one copy of a frame. True: nothing happens to it, and the caller may pass the frame on as it is; a copy
 * was made instead if `copy_anyway`. */
static bool take_copy(struct ls_fault *f, struct direction *d, const struct ls_frame *frame, bool random,
                      bool copy_anyway)
{
    const struct ls_control_fault *s = &f->settings;
    uint64_t link_ns;
    bool corrupt = random && ls_dice_happens(&f->dice, s->corrupt) && frame->length > 0;
    bool reorder = random && ls_dice_happens(&f->dice, s->reorder) && d->waiting_count < WAITING_MAX;
    uint64_t wait_ns = wait_of(f, d, frame->length, random, &link_ns);

    if (!corrupt && !reorder && wait_ns == 0 && !copy_anyway)
        return true;
    if (f->free == 0) {
        drop(f, true);
        return false;
    }
    d->free_ns = link_ns;
    uint32_t buffer = f->stack[--f->free];
    struct held *held = &f->buffers[buffer];
    memcpy(held->data, frame->data, frame->length);
    held->length = frame->length;
    held->peer = frame->peer;
    held->number = f->arrivals++;
    if (corrupt) {
        for (uint64_t flips = 1 + ls_dice_below(&f->dice, 3), done = 0; done < flips; done++) {
            uint64_t bit = ls_dice_below(&f->dice, frame->length * 8ull);
            held->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        /* Two flips of one bit would leave the frame whole. */
        if (memcmp(held->data, frame->data, frame->length) == 0)
            held->data[0] ^= 1;
        ls_count(f->counters, fault_corrupted);
    }
    if (reorder || wait_ns > 0)
        ls_count(f->counters, fault_reordered);
    if (reorder) {
        held->due_ns = f->now_ns + LS_FAULT_REORDER_MAX_NS;
        held->behind = d->seen + 1 + ls_dice_below(&f->dice, s->reorder_span);
        held->wait_ns = wait_ns;
        d->waiting[d->waiting_count++] = buffer;
    } else {
        held->due_ns = f->now_ns + wait_ns;
        heap_push(f, d, buffer);
    }
    return false;
}

/* All faults on one frame. True: the caller passes it on; false: it gives its buffer back. */
static bool take(struct ls_fault *f, struct direction *d, const struct ls_frame *frame, uint64_t cut)
{
    const struct ls_control_fault *s = &f->settings;
    /* Looking the node up is worth it only where the answer matters. */
    uint16_t node = d == &f->out || cut != 0 ? node_of(f, frame->peer) : 0;
    bool random = d == &f->in || node == 0;

    if ((cut >> node & 1) != 0 || (random && ls_dice_happens(&f->dice, s->drop))) {
        drop(f, false);
        return false;
    }
    if (frame->length > LS_FRAME_MAX)
        return true; /* nothing of ours, and no room for it here: the core refuses it */
    d->seen++;
    bool twice = random && ls_dice_happens(&f->dice, s->duplicate);
    bool passes = take_copy(f, d, frame, random, false);
    if (twice) {
        ls_count(f->counters, fault_duplicated);
        take_copy(f, d, frame, random, true);
    }
    waiting_wake(f, d);
    return passes;
}

/* ---- the port ---- */

static void set_quiet(struct ls_fault *f)
{
    f->active = f->is_set || held_count(f) > 0;
    f->quiet_at = f->active ? QUIET_NEVER : atomic_load_explicit(&f->taken, memory_order_relaxed);
}

static void lend_due(struct ls_fault *f, struct ls_frame *frames, uint32_t *got, uint32_t room)
{
    while (*got < room && has_due(f, &f->in)) {
        struct held *held = &f->buffers[heap_pop(f, &f->in)];
        f->lent++;
        frames[(*got)++] =
            (struct ls_frame){.data = held->data, .length = held->length, .peer = held->peer, .handle = held};
    }
}

static void mail_take(struct ls_fault *f)
{
    for (uint32_t i = 0; i < f->mail_nodes; i++)
        ls_fault_set_node(f, f->mail_node[i].node, f->mail_node[i].addr);
    if (f->mail_nodes == 0) {
        int rc = ls_fault_set(f, &f->mail);
        assert(rc == 0); /* checked when it was posted */
    }
}

static uint32_t receive_active(struct ls_fault *f, struct ls_frame *frames, uint32_t n)
{
    struct ls_frame burst[BURST];
    uint32_t got = 0;

    uint64_t posted = atomic_load_explicit(&f->posted, memory_order_acquire);
    if (posted != atomic_load_explicit(&f->taken, memory_order_relaxed)) {
        mail_take(f);
        atomic_store_explicit(&f->taken, posted, memory_order_release);
        set_quiet(f);
    }
    waiting_wake(f, &f->in);
    lend_due(f, frames, &got, n);
    uint32_t room = n - got < BURST ? n - got : BURST;
    uint32_t came = room > 0 ? f->inner->receive(f->inner, burst, room, f->now_ns) : 0;
    for (uint32_t i = 0; i < came; i++) {
        if (take(f, &f->in, &burst[i], f->settings.cut_in))
            frames[got++] = burst[i];
        else
            f->inner->done(f->inner, &burst[i], 1);
        /* What is due now follows at once, but leaves room for what was received already. */
        lend_due(f, frames, &got, n - (came - 1 - i));
    }
    set_quiet(f);
    return got;
}

static uint32_t fault_receive(struct ls_port *port, struct ls_frame *frames, uint32_t n, uint64_t now_ns)
{
    struct ls_fault *f = (struct ls_fault *)port;

    f->now_ns = now_ns;
    if (__builtin_expect(atomic_load_explicit(&f->posted, memory_order_acquire) == f->quiet_at, 1))
        return f->inner->receive(f->inner, frames, n, now_ns);
    return receive_active(f, frames, n);
}

static inline bool is_own(const struct ls_fault *f, const struct ls_frame *frame)
{
    return (uintptr_t)frame->handle - (uintptr_t)f->buffers < f->total * sizeof(*f->buffers);
}

static void fault_done(struct ls_port *port, struct ls_frame *frames, uint32_t n)
{
    struct ls_fault *f = (struct ls_fault *)port;
    uint32_t from = 0;

    for (uint32_t i = 0; i < n && f->lent > 0; i++) {
        if (!is_own(f, &frames[i]))
            continue;
        if (i > from)
            f->inner->done(f->inner, frames + from, i - from);
        from = i + 1;
        f->stack[f->free++] = (uint32_t)((struct held *)frames[i].handle - f->buffers);
        f->lent--;
    }
    if (n > from)
        f->inner->done(f->inner, frames + from, n - from);
}

static void send_due(struct ls_fault *f)
{
    struct ls_io *io = &f->inner->io;
    struct ls_frame frame;

    while (has_due(f, &f->out)) {
        uint32_t buffer = heap_pop(f, &f->out);
        const struct held *held = &f->buffers[buffer];
        if (io->alloc(io, &frame)) {
            memcpy(frame.data, held->data, held->length);
            frame.length = held->length;
            frame.peer = held->peer;
            io->send(io, &frame);
        } else {
            ls_count(f->counters, drop_no_buffer);
        }
        f->stack[f->free++] = buffer;
    }
}

static bool fault_alloc(struct ls_io *io, struct ls_frame *frame)
{
    struct ls_fault *f = (struct ls_fault *)io;
    return f->inner->io.alloc(&f->inner->io, frame);
}

static void fault_release(struct ls_io *io, struct ls_frame *frame)
{
    struct ls_fault *f = (struct ls_fault *)io;
    f->inner->io.release(&f->inner->io, frame);
}

static void fault_send(struct ls_io *io, struct ls_frame *frame)
{
    struct ls_fault *f = (struct ls_fault *)io;

    if (__builtin_expect(!f->active, 1)) {
        f->inner->io.send(&f->inner->io, frame);
        return;
    }
    if (take(f, &f->out, frame, f->settings.cut_out))
        f->inner->io.send(&f->inner->io, frame);
    else
        f->inner->io.release(&f->inner->io, frame);
    send_due(f);
}

static void fault_peers(struct ls_io *io, const struct ls_addr *peer, uint32_t n)
{
    struct ls_io *inner = &((struct ls_fault *)io)->inner->io;

    if (inner->peers != NULL)
        inner->peers(inner, peer, n);
}

static void fault_flush(struct ls_port *port, uint64_t now_ns)
{
    struct ls_fault *f = (struct ls_fault *)port;

    f->now_ns = now_ns;
    if (__builtin_expect(f->active, 0)) {
        waiting_wake(f, &f->out);
        send_due(f);
        set_quiet(f);
    }
    f->inner->flush(f->inner, now_ns);
}

/* ---- settings ---- */

int ls_fault_check(const struct ls_control_fault *settings, char *error, size_t error_size)
{
    const struct {
        const char *name;
        uint64_t value, max;
    } bounds[] = {
        {"drop (per million)", settings->drop, LS_MILLION},
        {"duplicate (per million)", settings->duplicate, LS_MILLION},
        {"reorder (per million)", settings->reorder, LS_MILLION},
        {"reorder span (frames)", settings->reorder_span, LS_FAULT_SPAN_MAX},
        {"corrupt (per million)", settings->corrupt, LS_MILLION},
        {"delay (ns)", settings->delay, LS_FAULT_DELAY_MAX_NS},
        {"jitter (ns)", settings->jitter, LS_FAULT_DELAY_MAX_NS},
        {"reserved field", settings->zero, 0},
    };

    for (size_t i = 0; i < sizeof(bounds) / sizeof(bounds[0]); i++) {
        if (bounds[i].value > bounds[i].max) {
            snprintf(error, error_size, "fault: %s is %" PRIu64 ": allowed are 0 to %" PRIu64, bounds[i].name,
                     bounds[i].value, bounds[i].max);
            return -EINVAL;
        }
    }
    if (settings->reorder != 0 && settings->reorder_span == 0) {
        snprintf(error, error_size, "fault: reorder is set but reorder span is 0: allowed are 1 to %d frames",
                 LS_FAULT_SPAN_MAX);
        return -EINVAL;
    }
    return 0;
}

int ls_fault_set(struct ls_fault *fault, const struct ls_control_fault *settings)
{
    int rc = ls_fault_check(settings, NULL, 0);
    if (rc != 0)
        return rc;
    fault->settings = *settings;
    fault->dice = settings->seed;
    fault->in.free_ns = 0;
    fault->out.free_ns = 0;
    fault->is_set = (settings->drop | settings->duplicate | settings->reorder | settings->corrupt) != 0 ||
                    (settings->delay | settings->jitter | settings->cut_in | settings->cut_out) != 0 ||
                    settings->bytes_per_second != 0;
    set_quiet(fault);
    return 0;
}

static bool mail_is_free(struct ls_fault *f)
{
    return atomic_load_explicit(&f->taken, memory_order_acquire) ==
           atomic_load_explicit(&f->posted, memory_order_relaxed);
}

static void mail_send(struct ls_fault *f)
{
    atomic_store_explicit(&f->posted, atomic_load_explicit(&f->posted, memory_order_relaxed) + 1, memory_order_release);
}

int ls_fault_post(struct ls_fault *fault, const struct ls_control_fault *settings)
{
    int rc = ls_fault_check(settings, NULL, 0);
    if (rc != 0)
        return rc;
    if (!mail_is_free(fault))
        return -EAGAIN;
    fault->mail = *settings;
    fault->mail_nodes = 0;
    mail_send(fault);
    return 0;
}

int ls_fault_post_nodes(struct ls_fault *fault, const struct ls_member *members, uint32_t n)
{
    assert(n >= 1 && n <= LS_MEMBERS_MAX);
    if (!mail_is_free(fault))
        return -EAGAIN;
    memcpy(fault->mail_node, members, n * sizeof(members[0]));
    fault->mail_nodes = n;
    mail_send(fault);
    return 0;
}

void ls_fault_set_node(struct ls_fault *fault, uint16_t node, struct ls_addr addr)
{
    assert(node >= 1 && node <= LS_NODE_ID_MAX);
    fault->node[node] = addr;
}

static uint64_t direction_next(const struct ls_fault *f, const struct direction *d)
{
    uint64_t next = d->count > 0 ? f->buffers[d->heap[0]].due_ns : UINT64_MAX;
    for (uint32_t i = 0; i < d->waiting_count; i++) {
        if (f->buffers[d->waiting[i]].due_ns < next)
            next = f->buffers[d->waiting[i]].due_ns;
    }
    return next;
}

uint64_t ls_fault_next_ns(const struct ls_fault *fault)
{
    uint64_t in = direction_next(fault, &fault->in), out = direction_next(fault, &fault->out);
    return in < out ? in : out;
}

void ls_fault_status(const struct ls_fault *fault, struct ls_fault_status *status)
{
    *status = (struct ls_fault_status){.active = fault->active,
                                       .total = fault->total,
                                       .free = fault->free,
                                       .held = held_count(fault),
                                       .overflows = fault->overflows};
}

struct ls_port *ls_fault_port(struct ls_fault *fault)
{
    return &fault->port;
}

struct ls_fault *ls_fault_create(struct ls_port *inner, uint32_t buffers, struct ls_counters *counters)
{
    uint32_t total = buffers != 0 ? buffers : BUFFERS_DEFAULT;

    if (inner == NULL || counters == NULL || total > BUFFERS_MAX) {
        errno = EINVAL;
        return NULL;
    }
    struct ls_fault *f = calloc(1, sizeof(*f));
    if (f == NULL)
        return NULL;
    f->port = (struct ls_port){.io = {fault_alloc, fault_send, fault_release, fault_peers},
                               .receive = fault_receive,
                               .done = fault_done,
                               .flush = fault_flush};
    f->inner = inner;
    f->counters = counters;
    f->total = f->free = total;
    f->buffers = calloc(total, sizeof(*f->buffers));
    f->stack = calloc(total, sizeof(*f->stack));
    f->in.heap = calloc(total, sizeof(*f->in.heap));
    f->out.heap = calloc(total, sizeof(*f->out.heap));
    if (f->buffers == NULL || f->stack == NULL || f->in.heap == NULL || f->out.heap == NULL) {
        ls_fault_destroy(f);
        errno = ENOMEM;
        return NULL;
    }
    for (uint32_t i = 0; i < total; i++)
        f->stack[i] = total - 1 - i;
    return f;
}

void ls_fault_destroy(struct ls_fault *fault)
{
    if (fault == NULL)
        return;
    assert(fault->lent == 0);
    free(fault->buffers);
    free(fault->stack);
    free(fault->in.heap);
    free(fault->out.heap);
    free(fault);
}
