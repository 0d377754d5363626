/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * What a replicated service is to Lockstep. Deterministic: the same entries in the same order give the same state and
 * the same results on every replica; no clock, no randomness, no addresses.
 *
 * Threads: apply() on the apply worker alone (the one writer); read() on any worker, beside apply, inside an RCU
 * read-side section that lasts one loop turn (if concurrent_reads; else on the apply worker); digest(),
 * checkpoint_*() and restore() as said below. Nothing here blocks or allocates after create().
 */
#ifndef LOCKSTEP_STATE_MACHINE_H
#define LOCKSTEP_STATE_MACHINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <lockstep/limits.h>

/* One entry for apply(). operation == NULL: nothing to execute (a tick, a repeat, ...), but seq and time advance. */
struct ls_command {
    uint64_t seq;
    uint64_t time;            /* log time, ns */
    const uint8_t *operation; /* in the log's ring; valid during the call */
    uint32_t length;
};

/* Written by apply(): at most LS_RESULT_MAX bytes at `bytes` (the caller's memory). */
struct ls_result {
    uint16_t status; /* enum ls_status */
    uint16_t length;
    uint8_t *bytes;
};

/* Written by read(): at most `room` bytes at `bytes` (the caller's memory, often a frame's). */
struct ls_read_result {
    uint16_t status;
    uint32_t length;
    uint32_t room;
    uint64_t seq; /* the state as of this entry was read */
    uint8_t *bytes;
};

struct ls_machine_limits {
    uint64_t keys;
    uint64_t bytes; /* of keys and values together */
};

struct ls_grace; /* <lockstep/grace.h>: when memory that readers may still see is free again */

/* Where a checkpoint's bytes go to or come from. write() and read() return 0 or -errno; read() gives exactly n bytes.
 */
struct ls_checkpoint_sink {
    int (*write)(struct ls_checkpoint_sink *sink, const void *bytes, size_t n);
};
struct ls_checkpoint_source {
    int (*read)(struct ls_checkpoint_source *source, void *bytes, size_t n);
};

struct ls_machine; /* each state machine defines its own */

struct ls_state_machine {
    const char *name;
    uint32_t version;
    bool concurrent_reads;

    /* Takes all its memory, for the given limits plus headroom. NULL and errno where there is none. */
    struct ls_machine *(*create)(const struct ls_machine_limits *limits, struct ls_grace *grace);
    void (*destroy)(struct ls_machine *machine);

    /* Executes n <= LS_BURST commands in order; their effects become visible to readers together, at the end of the
     * call. Returns how many it executed: less than n where that is enough work
     * for one call (at least one then), 0 where physical memory has not come back yet; the caller offers the rest again
     * later. */
    uint32_t (*apply)(struct ls_machine *machine, const struct ls_command *commands, uint32_t n,
                      struct ls_result *results);

    /* The limits change at this point of the log. False, and nothing changed, where they are beyond the memory that
     * create() took: the caller stops before this entry, for going on would make replicas differ. Apply worker. */
    bool (*set_limits)(struct ls_machine *machine, const struct ls_machine_limits *limits);

    /* Answers one operation from the state as of some seq >= everything published before the call began. */
    void (*read)(struct ls_machine *machine, const uint8_t *operation, uint32_t length, struct ls_read_result *result);

    /* True while time alone will change the state (keys with an expiry): the sequencer then orders ticks. Any thread.
     */
    bool (*time_pending)(struct ls_machine *machine);

    /* Rolling digest of the state after the last applied entry: equal state, equal digest, whatever the history.
     * Apply worker. */
    uint64_t (*digest)(struct ls_machine *machine);

    /* Takes back memory whose grace period is over; a bounded amount per call. Apply worker, every loop turn. */
    void (*reclaim)(struct ls_machine *machine);

    /* A consistent image of the state after the last applied entry, read while apply goes on.
     * begin: apply worker, between two apply() calls; -EBUSY while one is open, else 0.
     * next: bulk thread; 1 more to come, 0 complete, -errno; -ECANCELED where the reserve ran out: end it and retry.
     * end: apply worker, after the last next(); also to give up. */
    int (*checkpoint_begin)(struct ls_machine *machine);
    int (*checkpoint_next)(struct ls_machine *machine, struct ls_checkpoint_sink *sink);
    void (*checkpoint_end)(struct ls_machine *machine);

    /* Into a machine fresh from create(), before anyone else knows of it. 0 or -errno (-EBADMSG: damaged,
     * -EPROTO: another machine or a newer format, -ENOSPC: larger than the limits). */
    int (*restore)(struct ls_machine *machine, struct ls_checkpoint_source *source);

    /* Re-reads at most `n` records from *cursor on (0: the beginning) and compares them with their checksums, beside
     * apply. 0 and *cursor moved; *cursor 0 again: one round is complete; -EBADMSG: a damaged one, *cursor behind it.
     * Bulk thread, inside an RCU read-side section of its own. NULL: the machine has nothing to scrub. */
    int (*scrub)(struct ls_machine *machine, uint64_t *cursor, uint32_t n);

    /* A fault on purpose: flips one bit of a stored value, chosen by `seed`, without touching its checksum. False: no
     * value is stored. Bulk thread, inside an RCU read-side section as well. NULL: not offered. */
    bool (*flip)(struct ls_machine *machine, uint64_t seed);
};

extern const struct ls_state_machine ls_kv;
extern const struct ls_state_machine ls_echo;

#endif
