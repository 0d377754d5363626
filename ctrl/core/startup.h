/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Which step of a node's start comes next, and what to do when a higher epoch is seen: a small state machine. Pure:
 * what happened comes in, one action at a time comes out. The host does each action completely before it asks for the
 * next, so that the record is durable before anything that depends on it is said. One thread.
 */
#ifndef LOCKSTEP_CTRL_CORE_STARTUP_H
#define LOCKSTEP_CTRL_CORE_STARTUP_H

#include <stdbool.h>

#include "durable.h"

#define LS_STARTUP_EPOCHS_AHEAD (1ull << 20) /* one election a second for twelve days */

enum ls_startup_phase {
    LS_STARTUP_BEGIN,    /* the incarnation is to be raised */
    LS_STARTUP_SPAWN,    /* the dataplane is to be started */
    LS_STARTUP_STARTING, /* it has been, and has not said READY yet */
    LS_STARTUP_RUNNING,
    LS_STARTUP_REFUSED, /* the node may not start, or not go on: see refusal */
    LS_STARTUP_DEAD,    /* the dataplane ended */
};

enum ls_startup_refusal {
    LS_REFUSAL_NONE,
    LS_REFUSAL_MEMORY_LOST,   /* an earlier dataplane promised an epoch and is gone with its memory */
    LS_REFUSAL_INCARNATION,   /* the dataplane says it is another one than was started */
    LS_REFUSAL_BEYOND_RECORD, /* the dataplane has promised more than the record: the record was rolled back */
    LS_REFUSAL_RECORD,        /* the record cannot be written */
};

enum ls_startup_action_kind { LS_ACTION_NONE, LS_ACTION_PERSIST, LS_ACTION_SPAWN, LS_ACTION_SEAL, LS_ACTION_INSTALL };

struct ls_startup_action {
    enum ls_startup_action_kind kind;
    struct ls_durable durable; /* PERSIST: to be written; others: as it is */
    uint64_t epoch;            /* SEAL, INSTALL */
};

struct ls_startup {
    enum ls_startup_phase phase;
    enum ls_startup_refusal refusal;
    struct ls_durable durable; /* on the disk */
    bool first_sequencer;      /* this node opens the cluster's first epoch */
    uint64_t clock_ns;         /* when it began: no incarnation is below */
    uint64_t wanted;           /* epoch to be promised */
    uint64_t seal_asked;       /* highest one asked of this dataplane */
    uint64_t sealed;           /* what it answered */
    bool install_asked;
    bool install_answered;
    uint32_t install_refused; /* as in struct ls_control_installed */
};

/* Begins with the record as it was found on the disk. `clock_ns` is the time of day: an incarnation is never below it,
 * so that a record which was rolled back unseen does not give one out a second time. */
void ls_startup_begin(struct ls_startup *startup, const struct ls_durable *durable, bool first_sequencer,
                      uint64_t clock_ns);

/* The next thing to do; NONE: wait for something to happen. A PERSIST or SPAWN that was handed out is taken for done
 * when next() is called again; where it failed, say so instead. */
struct ls_startup_action ls_startup_next(struct ls_startup *startup);

/* What happened. */
void ls_startup_persist_failed(struct ls_startup *startup);
void ls_startup_ready(struct ls_startup *startup, uint64_t incarnation, uint64_t promise);
void ls_startup_sealed(struct ls_startup *startup, uint64_t incarnation, uint64_t epoch);
void ls_startup_installed(struct ls_startup *startup, uint64_t epoch, uint32_t refused);
/* False: so far beyond what was promised that no cluster can have got there: nothing is promised. */
bool ls_startup_epoch_seen(struct ls_startup *startup, uint64_t epoch);
/* A seal or an install was not taken, or not answered in time: next() hands out again what is not answered. */
void ls_startup_unanswered(struct ls_startup *startup);
void ls_startup_died(struct ls_startup *startup);
/* It ended before it said READY, so nothing was promised to anyone: once more, as another incarnation. */
void ls_startup_again(struct ls_startup *startup);

/* Static texts; the refusal's says what to do. */
const char *ls_startup_phase_name(enum ls_startup_phase phase);
const char *ls_startup_refusal_text(enum ls_startup_refusal refusal);

#endif
