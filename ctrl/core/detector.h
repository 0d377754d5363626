/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Who is heard, and does this node's own dataplane get on? Judged from readings of the counters page alone. Remote
 * time-outs adapt to the silences that were seen, within a floor and a ceiling. A detector that was itself late, or
 * whose dataplane did not listen, has seen nothing and judges nothing: it starts each silence anew. Pure; ctrl's
 * thread.
 */
#ifndef LOCKSTEP_CTRL_CORE_DETECTOR_H
#define LOCKSTEP_CTRL_CORE_DETECTOR_H

#include "ctrl.h"

/* One node on the data network. */
struct ls_detector_node {
    uint64_t heard;        /* the page's word, compared only: its clock need not be ours */
    bool ever;             /* heard since the beginning, or since it was forgotten */
    uint64_t since_ns;     /* its silence is counted from here */
    uint64_t silent_ns;    /* of it, what was watched on time */
    uint64_t longest_ns;   /* silence that ended by news, in the present block */
    uint64_t block_ns;     /* when the block began */
    uint64_t mean_ns;      /* of the blocks' longest silences */
    uint64_t deviation_ns; /* their mean deviation */
};

struct ls_detector_worker {
    uint64_t turns;
    bool judged;      /* it runs and does not sleep */
    uint64_t idle_ns; /* watched without a turn */
};

struct ls_detector {
    struct ls_ctrl_times times; /* with the defaults filled in */
    uint64_t sampled_ns;
    uint64_t suspended_until_ns;
    bool begun; /* a first reading was taken: changes can be told */
    bool deaf;  /* the net worker stands still: nothing can be heard */
    struct ls_detector_node node[LS_NODE_ID_MAX + 1];
    struct ls_detector_worker worker[LS_WORKERS];
};

/* Judgement is suspended until the first news, or for suspect_min. */
void ls_detector_init(struct ls_detector *d, const struct ls_ctrl_times *times, uint64_t now_ns);

/* A reading, taken at now_ns; due every times.poll. */
void ls_detector_sample(struct ls_detector *d, const struct ls_ctrl_sample *sample, uint64_t now_ns);

/* `node` was heard, and is not silent for longer than its time-out. False: never heard, forgotten or silent. A node
 * that was heard before a time in which this detector could not see is still heard until a whole time-out has passed
 * again. */
bool ls_detector_hears(const struct ls_detector *d, uint16_t node, uint64_t now_ns);
uint64_t ls_detector_timeout(const struct ls_detector *d, uint16_t node);

/* `node` was heard less than half a floor ago: no silence that anybody could suspect it for. */
bool ls_detector_fresh(const struct ls_detector *d, uint16_t node, uint64_t now_ns);

/* `node` was watched in silence for longer than the ceiling, be it in pieces: what is left to say for one who was late
 * between them, again and again. Time in which its own dataplane did not listen is not counted. */
bool ls_detector_silent(const struct ls_detector *d, uint16_t node);

/* This detector was late, is late now, or has a dataplane that does not listen: what it did not hear just now says
 * nothing. */
bool ls_detector_suspended(const struct ls_detector *d, uint64_t now_ns);

/* A worker that should run has not turned for longer than times.stall; for how long (0: all turn). Time in which this
 * detector did not look is not counted. */
bool ls_detector_stalled(const struct ls_detector *d, uint64_t now_ns);
uint64_t ls_detector_stalled_ns(const struct ls_detector *d, uint64_t now_ns);

/* It is known to be gone, or another incarnation took its place: not heard until it is heard anew. */
void ls_detector_forget(struct ls_detector *d, uint16_t node);

#endif
