/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Re-reads the whole state once in a period, a little at a time, so that a flipped bit in a cold key is found. Pace
 * only: the state machine reads and compares. Bulk thread, inside an RCU read-side section of its caller's.
 */
#ifndef LOCKSTEP_CONTROL_SCRUB_H
#define LOCKSTEP_CONTROL_SCRUB_H

#include <lockstep/state_machine.h>

#define LS_SCRUB_RECORDS_MAX 64 /* read in one section */

struct ls_scrub {
    const struct ls_state_machine *type;
    uint64_t period_ns; /* of one walk; 0: never */
    uint32_t records;   /* of one slice */
    uint64_t interval_ns;
    uint64_t cursor;
    uint64_t due_ns;
    uint64_t begin_ns;       /* of this walk */
    uint64_t damaged_before; /* when this walk began */
    uint64_t rounds;         /* walks that found nothing wrong */
    uint64_t damaged;        /* records found damaged */
};

/* `records`: how many there can be. */
void ls_scrub_init(struct ls_scrub *scrub, const struct ls_state_machine *type, uint64_t records, uint64_t period_ns,
                   uint64_t now_ns);

/* When there is something to do; UINT64_MAX: never. */
uint64_t ls_scrub_next_ns(const struct ls_scrub *scrub);

/* One slice, if it is due. True: damage was found in it. */
bool ls_scrub_turn(struct ls_scrub *scrub, struct ls_machine *machine, uint64_t now_ns);

/* Another state took its place: begins anew. */
void ls_scrub_restart(struct ls_scrub *scrub, uint64_t now_ns);

#endif
