/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A membership: who belongs to the cluster, as one entry of the log says it. The log is its only source: what a
 * process keeps elsewhere is a copy with the entry's seq, and the higher seq wins. Plain values; any thread.
 */
#ifndef LOCKSTEP_MEMBERSHIP_H
#define LOCKSTEP_MEMBERSHIP_H

#include <lockstep/types.h>
#include <lockstep/wire.h>

struct ls_membership {
    uint64_t seq;                            /* of its MEMBERS entry; 0: the founders' (in no log yet), or none known */
    uint32_t count;                          /* 0: none known */
    struct ls_member member[LS_MEMBERS_MAX]; /* ids ascending */
};

/* NULL: no such member. */
const struct ls_member *ls_membership_find(const struct ls_membership *m, uint16_t node);
uint32_t ls_membership_voters(const struct ls_membership *m);
/* Voters in a majority: voters / 2 + 1; 0 without voters. */
uint32_t ls_membership_majority(const struct ls_membership *m);
bool ls_membership_is_voter(const struct ls_membership *m, uint16_t node);
/* Equal members, roles and addresses; the seq is not compared. */
bool ls_membership_equal(const struct ls_membership *a, const struct ls_membership *b);

/* The packed form, as it stands in the log, in checkpoints and in messages. write: m->count records. read: checks
 * everything (count, ids ascending and in range, roles, voters 1..LS_VOTERS_MAX, addresses not zero); false: malformed,
 * nothing written. seq is the caller's to set. */
void ls_membership_write(const struct ls_membership *m, struct ls_member_record *records);
bool ls_membership_read(struct ls_membership *m, const struct ls_member_record *records, uint32_t count);

/* May `to` follow `from`? 0; or as struct ls_control_changed.refused: 4 more than one voter differs, 5 no voter left or
 * too many members. Neighbouring memberships of which at most one voter differs have majorities that intersect. */
uint32_t ls_membership_step(const struct ls_membership *from, const struct ls_membership *to);

#endif
