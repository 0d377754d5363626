/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Do the replicas hold the same state? Digests of the state after the same entry are compared; where a majority of
 * those who reported one agree, the others are named. All are compared with all, once for each change of what was
 * reported: it may be asked at every reading of the page. Pure; ctrl's thread.
 */
#ifndef LOCKSTEP_CTRL_CORE_DRIFT_H
#define LOCKSTEP_CTRL_CORE_DRIFT_H

#include "ctrl.h"

struct ls_drift_reports {
    uint64_t seq[LS_DIGESTS_KEPT]; /* 0: none */
    uint64_t digest[LS_DIGESTS_KEPT];
};

/* All zero: nothing reported. */
struct ls_drift {
    struct ls_drift_reports own;
    struct ls_drift_reports peer[LS_NODE_ID_MAX + 1];
    /* What came of it; taken anew where a report changed, or other members are asked about. */
    bool judged;
    uint16_t self;
    uint64_t members, odd; /* bit n: node n */
    bool split;
};

/* Each report replaces the one before it of the same node: that of a rebuilt dataplane no longer holds the old one's.
 */
void ls_drift_own(struct ls_drift *drift, const struct ls_ctrl_sample *sample);
/* n <= LS_DIGESTS_KEPT; more are left out. An unknown node is left out, too. 0 of a seq: none. */
void ls_drift_peer(struct ls_drift *drift, uint16_t node, const uint64_t *seqs, const uint64_t *digests, size_t n);
void ls_drift_forget(struct ls_drift *drift, uint16_t node);

/* Members (bit n: node n; `self` too) that differ from a majority of those that reported the same seq. */
uint64_t ls_drift_odd(struct ls_drift *drift, const struct ls_membership *members, uint16_t self);

/* Members differ and no majority can say who is wrong; the odd ones are not looked at again. */
bool ls_drift_split(struct ls_drift *drift, const struct ls_membership *members, uint16_t self);

#endif
