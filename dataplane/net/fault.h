/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Faults on purpose: a decorator over any port that drops, duplicates, delays, reorders and corrupts frames, cuts nodes
 * off one way, and limits bandwidth. The same one serves production (`lockstep fault`), simulator, tests and perf.
 * Pure: time is an argument, the dice are seeded, nothing is allocated after create; with equal seed, settings, frames
 * and times it does the same again. While no fault is set it adds one predictable branch to each call.
 *
 * Which side a fault acts on. A frame between two nodes passes two decorators, the sender's and the receiver's, so that
 * "1 % dropped" set everywhere must act on one of them only:
 *   drop, corrupt, duplicate, delay, reorder   on what is received, from anybody; and on what is sent to those who are
 *                                              not in the node table (clients, which have no decorator of their own)
 *   bandwidth                                  on each side: a node's link has that rate in each direction
 *   cut_in, cut_out                            as their names say; bit 0 stands for all who are not in the node table
 * So every link has the set rate in each direction, once; set on one node alone, they act on what that node hears (and
 * on what it tells clients).
 *
 * Order: cut, drop, duplicate, then for each copy corrupt, bandwidth, delay and jitter, or reorder. A frame that is
 * held, doubled or damaged is a copy in a buffer of the decorator's own; when these are used up, the frame is dropped,
 * and counted as an overflow too. A reordered frame waits until 1 to `reorder_span` later frames of its direction have
 * come, and at most LS_FAULT_REORDER_MAX_NS.
 *
 * Counters: fault_dropped (cut ones and overflows too), fault_duplicated, fault_reordered (held back for any reason),
 * fault_corrupted.
 */
#ifndef LOCKSTEP_NET_FAULT_H
#define LOCKSTEP_NET_FAULT_H

#include <lockstep/control_message.h>
#include <lockstep/limits.h>
#include <lockstep/counters.h>
#include <lockstep/types.h>

#include "../core/io.h"

#define LS_FAULT_REORDER_MAX_NS (10ull * 1000 * 1000)
#define LS_FAULT_DELAY_MAX_NS   (60ull * 1000 * 1000 * 1000) /* of delay and of jitter */
#define LS_FAULT_SPAN_MAX       1024                         /* of reorder_span */

struct ls_fault;

/* A decorator over `inner`, with faults off and an empty node table. `buffers` (0: 1024) frames can be held at once.
 * `inner` and `counters` outlive it. NULL and errno: ENOMEM, EINVAL. */
struct ls_fault *ls_fault_create(struct ls_port *inner, uint32_t buffers, struct ls_counters *counters);
/* Frames still held are gone; those that were received must have been given back. */
void ls_fault_destroy(struct ls_fault *fault);

/* What the worker polls instead of `inner`. */
struct ls_port *ls_fault_port(struct ls_fault *fault);

/* Node 1..LS_NODE_ID_MAX has a decorator too and is reached at `addr` (zero address: no longer). The port's thread, or
 * any before it starts. */
void ls_fault_set_node(struct ls_fault *fault, uint16_t node, struct ls_addr addr);

/* 0, or -EINVAL with the reason in `error` (which may be NULL with size 0). Any thread. */
int ls_fault_check(const struct ls_control_fault *settings, char *error, size_t error_size);

/* Replaces the settings and starts the dice from the seed; frames that are held keep their time. The port's thread.
 * 0, or -EINVAL as ls_fault_check() (then nothing changed). */
int ls_fault_set(struct ls_fault *fault, const struct ls_control_fault *settings);

/* The same from one other thread: taken at the next receive(). -EAGAIN: the previous ones have not been taken yet. */
int ls_fault_post(struct ls_fault *fault, const struct ls_control_fault *settings);

/* Addresses of nodes, as ls_fault_set_node(), from that same other thread and in the same way: they join the table,
 * what it has of other nodes stays. -EAGAIN as above. */
int ls_fault_post_nodes(struct ls_fault *fault, const struct ls_member *members, uint32_t n);

/* When a held frame is due; UINT64_MAX: none is held. For workers that sleep. The port's thread. */
uint64_t ls_fault_next_ns(const struct ls_fault *fault);

struct ls_fault_status {
    bool active;    /* faults are set, or frames are still held */
    uint32_t total; /* buffers */
    uint32_t free;
    uint32_t held;      /* waiting for their time */
    uint64_t overflows; /* frames dropped because no buffer was free */
};
/* The port's thread. */
void ls_fault_status(const struct ls_fault *fault, struct ls_fault_status *status);

#endif
