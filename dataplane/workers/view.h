/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The cluster as this node sees it, for threads that only want to look: published by the control thread as one
 * immutable structure behind an RCU pointer, so that a reader has members, epoch and sequencer of one instant.
 */
#ifndef LOCKSTEP_WORKERS_VIEW_H
#define LOCKSTEP_WORKERS_VIEW_H

#include <lockstep/grace.h>
#include <lockstep/limits.h>
#include <lockstep/types.h>

#include "rcu.h"

#define LS_VIEWS 8 /* published and retired ones together */

struct ls_view {
    uint64_t version; /* 1 for the first one published */
    uint64_t epoch;
    uint16_t node;      /* this one */
    uint16_t sequencer; /* 0: not known */
    uint16_t role;      /* enum ls_role */
    uint16_t halt;      /* enum ls_halt */
    uint32_t members;
    struct ls_member member[LS_MEMBERS_MAX];
};

struct ls_view_holder {
    struct ls_view *_Atomic current; /* control; read by any thread that is registered with RCU */
    /* control */
    struct ls_grace *grace;
    struct ls_view slot[LS_VIEWS];
    uint64_t ticket[LS_VIEWS]; /* of a retired slot; 0: never used */
};

void ls_view_init(struct ls_view_holder *holder, struct ls_grace *grace, const struct ls_view *first);

/* Control thread: replaces the view by a copy of `view`, whose version is set here. 0; or -EAGAIN where every retired
 * one may still be read: try again after a grace period. */
int ls_view_publish(struct ls_view_holder *holder, const struct ls_view *view);

/* Reader; valid until its next quiescent state. Never NULL after init. */
#define ls_view_get(holder) ((const struct ls_view *)ls_rcu_load(&(holder)->current))

#endif
