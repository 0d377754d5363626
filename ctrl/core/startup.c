/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The start of a node. Why an earlier promise means refusal: a dataplane that promised an epoch may have acknowledged
 * entries in it, which its successor would deny (pitfalls P1, P2); bringing it back needs admission by the sequencer.
 * One that never promised anything has acknowledged nothing, and may simply be started again.
 */
#include "startup.h"

#include <assert.h>
#include <stddef.h>
#include <string.h>

#define FIRST_EPOCH 1

static void refuse(struct ls_startup *startup, enum ls_startup_refusal refusal)
{
    startup->phase = LS_STARTUP_REFUSED;
    startup->refusal = refusal;
}

void ls_startup_begin(struct ls_startup *startup, const struct ls_durable *durable, bool first_sequencer,
                      uint64_t clock_ns)
{
    memset(startup, 0, sizeof(*startup));
    startup->durable = *durable;
    startup->first_sequencer = first_sequencer;
    startup->clock_ns = clock_ns;
    startup->wanted = FIRST_EPOCH;
    if (durable->promise > 0)
        refuse(startup, LS_REFUSAL_MEMORY_LOST);
}

static struct ls_startup_action action_of(const struct ls_startup *startup, enum ls_startup_action_kind kind,
                                          uint64_t epoch)
{
    return (struct ls_startup_action){.kind = kind, .durable = startup->durable, .epoch = epoch};
}

static struct ls_startup_action running_next(struct ls_startup *startup)
{
    uint64_t promise = startup->durable.promise;

    if (startup->wanted > promise) {
        startup->durable.promise = startup->wanted;
        return action_of(startup, LS_ACTION_PERSIST, 0);
    }
    if (startup->seal_asked < promise) {
        startup->seal_asked = promise;
        return action_of(startup, LS_ACTION_SEAL, promise);
    }
    /* The first epoch alone is opened without a vote: by the one node that the cluster file names, whose record shows
     * that it never promised anything before this start. */
    if (startup->first_sequencer && !startup->install_asked && promise == FIRST_EPOCH &&
        startup->sealed == FIRST_EPOCH) {
        startup->install_asked = true;
        return action_of(startup, LS_ACTION_INSTALL, FIRST_EPOCH);
    }
    return action_of(startup, LS_ACTION_NONE, 0);
}

struct ls_startup_action ls_startup_next(struct ls_startup *startup)
{
    switch (startup->phase) {
    case LS_STARTUP_BEGIN:
        assert(startup->durable.incarnation < UINT64_MAX);
        startup->durable.incarnation++;
        if (startup->durable.incarnation < startup->clock_ns)
            startup->durable.incarnation = startup->clock_ns;
        startup->phase = LS_STARTUP_SPAWN;
        return action_of(startup, LS_ACTION_PERSIST, 0);
    case LS_STARTUP_SPAWN:
        startup->phase = LS_STARTUP_STARTING;
        return action_of(startup, LS_ACTION_SPAWN, 0);
    case LS_STARTUP_RUNNING:
        return running_next(startup);
    default:
        return action_of(startup, LS_ACTION_NONE, 0);
    }
}

void ls_startup_persist_failed(struct ls_startup *startup)
{
    refuse(startup, LS_REFUSAL_RECORD);
}

void ls_startup_ready(struct ls_startup *startup, uint64_t incarnation, uint64_t promise)
{
    if (startup->phase != LS_STARTUP_STARTING)
        return;
    if (incarnation != startup->durable.incarnation) {
        refuse(startup, LS_REFUSAL_INCARNATION);
    } else if (promise > startup->durable.promise) {
        refuse(startup, LS_REFUSAL_BEYOND_RECORD);
    } else {
        startup->phase = LS_STARTUP_RUNNING;
    }
}

void ls_startup_sealed(struct ls_startup *startup, uint64_t incarnation, uint64_t epoch)
{
    if (startup->phase != LS_STARTUP_RUNNING)
        return;
    if (incarnation != startup->durable.incarnation)
        refuse(startup, LS_REFUSAL_INCARNATION);
    else if (epoch > startup->durable.promise)
        refuse(startup, LS_REFUSAL_BEYOND_RECORD);
    else if (epoch > startup->sealed)
        startup->sealed = epoch;
}

void ls_startup_installed(struct ls_startup *startup, uint64_t epoch, uint32_t refused)
{
    if (epoch != FIRST_EPOCH || !startup->install_asked)
        return;
    if (startup->install_answered && startup->install_refused == 0)
        return; /* asked twice because the first answer came late */
    startup->install_answered = true;
    startup->install_refused = refused;
}

bool ls_startup_epoch_seen(struct ls_startup *startup, uint64_t epoch)
{
    if (startup->phase != LS_STARTUP_RUNNING || epoch <= startup->wanted)
        return true;
    /* A forged epoch near the end of the numbers would be kept for ever, and leave none to go on with. */
    if (epoch - startup->durable.promise > LS_STARTUP_EPOCHS_AHEAD)
        return false;
    startup->wanted = epoch;
    return true;
}

void ls_startup_unanswered(struct ls_startup *startup)
{
    startup->seal_asked = startup->sealed;
    startup->install_asked = startup->install_answered;
}

void ls_startup_again(struct ls_startup *startup)
{
    if (startup->phase == LS_STARTUP_STARTING)
        startup->phase = LS_STARTUP_BEGIN;
}

void ls_startup_died(struct ls_startup *startup)
{
    if (startup->phase != LS_STARTUP_REFUSED)
        startup->phase = LS_STARTUP_DEAD;
}

const char *ls_startup_phase_name(enum ls_startup_phase phase)
{
    switch (phase) {
    case LS_STARTUP_BEGIN:
    case LS_STARTUP_SPAWN:
    case LS_STARTUP_STARTING:
        return "starting";
    case LS_STARTUP_RUNNING:
        return "running";
    case LS_STARTUP_REFUSED:
        return "refused";
    case LS_STARTUP_DEAD:
        return "dead";
    }
    return "?";
}

const char *ls_startup_refusal_text(enum ls_startup_refusal refusal)
{
    switch (refusal) {
    case LS_REFUSAL_NONE:
        return "";
    case LS_REFUSAL_MEMORY_LOST:
        return "this node's dataplane has taken part in the cluster before and its memory is gone: it may have "
               "acknowledged requests that it would now deny. Bringing such a node back (rejoin) does not exist in "
               "this version. The other nodes go on as long as a majority runs. To begin again with an empty "
               "cluster: stop every node, remove the file \"record\" in every data_dir, give the cluster a new id in "
               "the cluster file, and run lockstep-ctrl bootstrap on every node";
    case LS_REFUSAL_INCARNATION:
        return "the dataplane that answers is not the one that was started: look for a second lockstep-dataplane of "
               "this node and stop it";
    case LS_REFUSAL_BEYOND_RECORD:
        return "the dataplane has promised a higher epoch than the durable record knows of: the record was rolled "
               "back. Do not start this node again under its id: replace it by a new member";
    case LS_REFUSAL_RECORD:
        return "the durable record cannot be written, so nothing may be promised: look at the disk of data_dir "
               "(df, dmesg), then replace this node";
    }
    return "?";
}
