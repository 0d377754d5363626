/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Disk faults on purpose: a decorator over any disk of a journal (struct ls_control_disk_fault says which). The same
 * one serves production (`lockstep fault add disk`), the simulator and the tests. Pure but for the clock that it is
 * given: the dice are seeded, nothing is allocated after create. While no fault is set it adds one predictable branch
 * to each call.
 *
 * Of two kinds. Honest ones hold the disk's contract, and nothing acknowledged may be lost by them: error and cut end
 * the journal by name; full, hang, delay; torn and delayed writes that a death of the process leaves undone were never
 * called durable. Lies break it: rot and misplaced are found by the next start's checksums, below the mark; lost (a
 * file rolled back) is found where the state names an older incarnation, else by nobody at this node.
 *
 * Of each write one fate is drawn: error, else cut, lost, misplaced, rot, torn, in this order. Reads are left alone.
 */
#ifndef LOCKSTEP_JOURNAL_DISK_FAULT_H
#define LOCKSTEP_JOURNAL_DISK_FAULT_H

#include <stddef.h>

#include <lockstep/control_message.h>

#include "disk.h"

#define LS_DISK_FAULT_DELAY_MAX_NS (60ull * 1000 * 1000 * 1000) /* of delay and of jitter */

struct ls_disk_fault;

/* A decorator over `inner`, with faults off. `clock_ns` is asked while faults are on; `inner` outlives it. NULL and
 * errno: ENOMEM. */
struct ls_disk_fault *ls_disk_fault_create(struct ls_journal_disk *inner, uint64_t segment_size,
                                           uint64_t (*clock_ns)(void *user), void *user);
/* What is held back never happens. */
void ls_disk_fault_destroy(struct ls_disk_fault *fault);

/* What the writer is given instead of `inner`. */
struct ls_journal_disk *ls_disk_fault_disk(struct ls_disk_fault *fault);

/* 0, or -EINVAL with the reason in `error` (which may be NULL with size 0). Any thread. */
int ls_disk_fault_check(const struct ls_control_disk_fault *settings, char *error, size_t error_size);
/* Replaces the settings and starts the dice from the seed; what is held back keeps its fate, and its time. The writer's
 * thread. 0, or -EINVAL as above, and nothing changed. */
int ls_disk_fault_set(struct ls_disk_fault *fault, const struct ls_control_disk_fault *settings);
/* The same from one other thread: taken in the writer's next turn. -EAGAIN: the previous ones were not taken yet. */
int ls_disk_fault_post(struct ls_disk_fault *fault, const struct ls_control_disk_fault *settings);

/* The writer's thread: when something that is held back is due; UINT64_MAX: nothing, or it hangs. */
uint64_t ls_disk_fault_next_ns(const struct ls_disk_fault *fault);
/* The same: writes that a fault has acted on since create. */
uint64_t ls_disk_fault_count(const struct ls_disk_fault *fault);

#endif
