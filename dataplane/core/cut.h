/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The state behind one entry of the log, cut for a checkpoint or brought by one: everything beside the state machine
 * and the sessions that a replica needs to go on from there. Filled by apply from the committed entries it has passed.
 */
#ifndef LOCKSTEP_CORE_CUT_H
#define LOCKSTEP_CORE_CUT_H

#include <lockstep/entry.h>
#include <lockstep/membership.h>

struct ls_cut {
    uint64_t seq;      /* of the last entry in it */
    uint64_t position; /* its end */
    uint64_t time;     /* its stamp */
    uint64_t digest;   /* of state and sessions, as ls_executor_digest() */
    uint32_t chain;    /* its checksum */
    uint32_t epochs;   /* rows, oldest first */
    struct ls_epoch_row epoch[LS_EPOCHS_KEPT];
    struct ls_membership members; /* count 0: the log has none yet */
    struct ls_entry_limits limits;
};

/* The cut before the first entry. */
void ls_cut_start(struct ls_cut *cut);
/* Behind one more committed entry, whose form the log has checked; `digest` is not touched. */
void ls_cut_pass(struct ls_cut *cut, const struct ls_entry *entry);
/* Could a log have this behind its last entry? For cuts that come from outside. */
bool ls_cut_is_sane(const struct ls_cut *cut);

struct ls_machine;
struct ls_sessions;

/* A whole state that stands ready to replace a replica's. Made by bulk; net and apply swap their pointers with it, so
 * that afterwards it holds the old ones, for bulk to destroy. */
struct ls_image {
    struct ls_cut cut;
    struct ls_machine *machine;
    struct ls_sessions *sessions;
    bool older; /* of an older generation of the cluster: its members are nobody's, and a new generation begins with it
                 */
};

#endif
