/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * A node's checkpoints: has the dataplane write them, when asked and now and then by itself, verifies and prunes them,
 * fetches one from another node where this one fell behind, and has the dataplane restore it. Puts together
 * checkpoints, transfer and the dataplane's answers. ctrl's one thread.
 */
#ifndef LOCKSTEP_CTRL_IO_KEEPER_H
#define LOCKSTEP_CTRL_IO_KEEPER_H

#include <lockstep/control_message.h>

#include "checkpoints.h"
#include "transfer.h"

#define LS_KEEPER_WAITERS_MAX 8 /* who wait for one checkpoint to be made */

struct ls_node;
struct ls_keeper;

/* Given exactly once: error 0 or an errno, and a text for people (a name, where one was made or verified). */
typedef void (*ls_keeper_done)(void *user, int error, const char *text);

/* NULL: a line in `error` (LS_CHECKPOINTS_ERROR bytes). */
struct ls_keeper *ls_keeper_create(struct ls_node *node, char *error);
/* Whoever waits is told. */
void ls_keeper_free(struct ls_keeper *keeper);

/* 0: done() follows, from the loop. -errno: refused, nothing follows. Several who want one made get the same one. */
int ls_keeper_make(struct ls_keeper *keeper, ls_keeper_done done, void *user);
int ls_keeper_verify(struct ls_keeper *keeper, const char *name, ls_keeper_done done, void *user);
/* The dataplane takes it in place of its log and state; it refuses unless it is behind, joining or outside. */
int ls_keeper_restore(struct ls_keeper *keeper, const char *name, ls_keeper_done done, void *user);

/* The brain's order: one not older than `position`, from here or from one of these nodes, restored. The brain hears of
 * it by ls_ctrl_checkpoint_done(). */
void ls_keeper_get(struct ls_keeper *keeper, uint64_t from, uint64_t position);

/* The brain's order: what an operator chose to begin this generation with is restored. As above. */
void ls_keeper_recover(struct ls_keeper *keeper);

/* Another node's bulk connection; the dataplane's word on a job; once a second. */
void ls_keeper_accept(struct ls_keeper *keeper, struct bufferevent *connection, uint16_t node);
void ls_keeper_progress(struct ls_keeper *keeper, const struct ls_control_checkpoint *progress);
void ls_keeper_second(struct ls_keeper *keeper, uint64_t now_ns);

struct ls_checkpoints *ls_keeper_checkpoints(struct ls_keeper *keeper);

/* What is being done now. */
struct ls_keeper_view {
    bool running;
    const char *what;         /* static: "writing", "fetching", "restoring"; "" */
    uint16_t from;            /* node that it is fetched from; 0: none */
    uint64_t bytes, expected; /* expected 0: not known */
    uint64_t made, failed;    /* checkpoints written here, and not */
    uint64_t restored;
};
void ls_keeper_view(const struct ls_keeper *keeper, struct ls_keeper_view *view);

#endif
