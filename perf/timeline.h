/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * When operations were completed: their number in each stretch of 10 ms, and every pause of one thread in which nothing
 * was completed for longer than 3 ms. For seeing what a fault cost. One thread writes; read after it has ended.
 */
#ifndef LOCKSTEP_PERF_TIMELINE_H
#define LOCKSTEP_PERF_TIMELINE_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define LS_TIMELINE_BUCKET_NS UINT64_C(10000000)
#define LS_TIMELINE_PAUSE_NS  UINT64_C(3000000)
#define LS_TIMELINE_PAUSES    65536

struct ls_timeline_pause {
    uint64_t from_ns; /* the last completion before it, monotonic */
    uint64_t to_ns;   /* the first one after it, or the end */
};

struct ls_timeline {
    uint64_t begin_ns;
    uint64_t last_ns; /* last completion */
    uint32_t buckets;
    uint32_t pauses;
    uint32_t pauses_lost; /* beyond LS_TIMELINE_PAUSES */
    uint32_t *good;
    uint32_t *failed;
    struct ls_timeline_pause *pause;
};

/* Room for `seconds`; later completions count in the last stretch. 0 or -ENOMEM. */
int ls_timeline_init(struct ls_timeline *timeline, double seconds);
void ls_timeline_free(struct ls_timeline *timeline);
void ls_timeline_begin(struct ls_timeline *timeline, uint64_t now_ns);
void ls_timeline_note(struct ls_timeline *timeline, uint64_t now_ns, bool good);
/* No more is awaited: a pause that lasts until now is closed. */
void ls_timeline_end(struct ls_timeline *timeline, uint64_t now_ns);

/* All threads' together, as one JSON object. Times are of the monotonic clock, which all processes of a machine share.
 * 0 or -errno. */
int ls_timeline_write(const struct ls_timeline *const *timelines, uint32_t n, FILE *to);

#endif
