/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Between two readings many heartbeats may have come and only the last is seen, so gaps between heartbeats cannot be
 * measured. What can be is how long a silence was when it ended. Of each block of time the longest one is kept, and the
 * time-out is their mean and four deviations, as TCP does for round trips (Jacobson, 1988): rare long silences count,
 * however many short ones lie between them.
 */
#include "detector.h"

#include <assert.h>
#include <string.h>

#define MS         1000000ull
#define BLOCK_NS   (100 * MS)
#define DEVIATIONS 4

static uint64_t or_default(uint64_t value, uint64_t usual)
{
    return value == 0 ? usual : value;
}

void ls_detector_init(struct ls_detector *d, const struct ls_ctrl_times *times, uint64_t now_ns)
{
    memset(d, 0, sizeof(*d));
    d->times = *times;
    d->times.poll = or_default(times->poll, 1 * MS);
    d->times.suspect_min = or_default(times->suspect_min, 20 * MS);
    d->times.suspect_max = or_default(times->suspect_max, 200 * MS);
    d->times.stall = or_default(times->stall, 40 * MS);
    d->times.late = or_default(times->late, 10 * MS);
    if (d->times.suspect_max < d->times.suspect_min)
        d->times.suspect_max = d->times.suspect_min;
    d->sampled_ns = now_ns;
    d->suspended_until_ns = now_ns + d->times.suspect_min;
}

uint64_t ls_detector_timeout(const struct ls_detector *d, uint16_t node)
{
    const struct ls_detector_node *n = &d->node[node];
    uint64_t timeout = n->mean_ns + DEVIATIONS * n->deviation_ns;

    assert(node <= LS_NODE_ID_MAX);
    if (timeout < d->times.suspect_min)
        return d->times.suspect_min;
    return timeout > d->times.suspect_max ? d->times.suspect_max : timeout;
}

/* The most that may lie between two readings without the detector being late. */
static uint64_t on_time_ns(const struct ls_detector *d)
{
    return d->times.poll + d->times.late;
}

/* Of the time since the last reading, what counts as watched. */
static uint64_t watched_ns(const struct ls_detector *d, uint64_t now_ns)
{
    uint64_t interval = now_ns > d->sampled_ns ? now_ns - d->sampled_ns : 0;

    return interval > on_time_ns(d) ? on_time_ns(d) : interval;
}

static bool hears_at(const struct ls_detector *d, uint16_t node, uint64_t now_ns)
{
    const struct ls_detector_node *n = &d->node[node];

    return n->ever && (now_ns <= n->since_ns || now_ns - n->since_ns <= ls_detector_timeout(d, node));
}

bool ls_detector_hears(const struct ls_detector *d, uint16_t node, uint64_t now_ns)
{
    assert(node <= LS_NODE_ID_MAX);
    return hears_at(d, node, now_ns);
}

bool ls_detector_fresh(const struct ls_detector *d, uint16_t node, uint64_t now_ns)
{
    const struct ls_detector_node *n = &d->node[node];

    assert(node <= LS_NODE_ID_MAX);
    return n->ever && (now_ns <= n->since_ns || now_ns - n->since_ns < d->times.suspect_min / 2);
}

bool ls_detector_silent(const struct ls_detector *d, uint16_t node)
{
    assert(node <= LS_NODE_ID_MAX);
    return d->node[node].silent_ns > d->times.suspect_max;
}

static void block_end(struct ls_detector_node *n, uint64_t now_ns)
{
    int64_t error = (int64_t)n->longest_ns - (int64_t)n->mean_ns;
    int64_t off = error < 0 ? -error : error;

    n->mean_ns = (uint64_t)((int64_t)n->mean_ns + error / 8);
    n->deviation_ns = (uint64_t)((int64_t)n->deviation_ns + (off - (int64_t)n->deviation_ns) / 4);
    n->longest_ns = 0;
    n->block_ns = now_ns;
}

/* News ends a silence. One beyond the ceiling was a node that had gone: there is nothing in it to adapt to. */
static void silence_end(struct ls_detector *d, struct ls_detector_node *n, uint64_t now_ns)
{
    if (!n->ever || n->silent_ns > d->times.suspect_max) {
        n->longest_ns = n->mean_ns = n->deviation_ns = 0;
        n->block_ns = now_ns;
    } else if (n->silent_ns > n->longest_ns) {
        n->longest_ns = n->silent_ns;
    }
    n->ever = true;
    n->since_ns = now_ns;
    n->silent_ns = 0;
    if (now_ns - n->block_ns >= BLOCK_NS)
        block_end(n, now_ns);
}

/* Returns whether the net worker listened since the last reading. */
static bool workers_sample(struct ls_detector *d, const struct ls_ctrl_sample *sample, uint64_t now_ns)
{
    for (int i = 0; i < LS_WORKERS; i++) {
        struct ls_detector_worker *w = &d->worker[i];

        w->judged = sample->turns[i] != UINT64_MAX && !sample->asleep[i];
        if (!w->judged || !d->begun || sample->turns[i] != w->turns)
            w->idle_ns = 0;
        else
            w->idle_ns += watched_ns(d, now_ns);
        w->turns = sample->turns[i];
    }
    return d->worker[LS_WORKER_NET].idle_ns <= d->times.late;
}

/* `blind`: nothing could be seen lately, because of this detector or (`deaf`) of this node's own net worker. A silence
 * then starts anew, but not again and again: a node that was watched in silence for the ceiling in all is gone. */
static bool node_sample(struct ls_detector *d, uint16_t node, uint64_t heard, bool blind, bool deaf, uint64_t now_ns)
{
    struct ls_detector_node *n = &d->node[node];
    bool news = d->begun && heard != 0 && heard != n->heard;

    n->heard = heard;
    if (!deaf)
        n->silent_ns += watched_ns(d, now_ns);
    if (news) {
        if (blind)
            n->silent_ns = 0; /* how long it lasted was not seen */
        silence_end(d, n, now_ns);
        return true;
    }
    if (blind && n->silent_ns <= d->times.suspect_max && hears_at(d, node, d->sampled_ns))
        n->since_ns = now_ns;
    return false;
}

void ls_detector_sample(struct ls_detector *d, const struct ls_ctrl_sample *sample, uint64_t now_ns)
{
    bool late = now_ns > d->sampled_ns && now_ns - d->sampled_ns > on_time_ns(d);
    bool deaf = !workers_sample(d, sample, now_ns);
    bool blind = late || deaf || d->deaf;
    bool news = false;

    for (uint16_t node = 1; node <= LS_NODE_ID_MAX; node++)
        news = node_sample(d, node, sample->heard_ns[node], blind, deaf, now_ns) || news;
    if (blind)
        d->suspended_until_ns = now_ns + d->times.suspect_min;
    else if (news)
        d->suspended_until_ns = 0;
    d->deaf = deaf;
    d->begun = true;
    d->sampled_ns = now_ns;
}

bool ls_detector_suspended(const struct ls_detector *d, uint64_t now_ns)
{
    if (now_ns > d->sampled_ns && now_ns - d->sampled_ns > on_time_ns(d))
        return true;
    return d->deaf || now_ns < d->suspended_until_ns;
}

uint64_t ls_detector_stalled_ns(const struct ls_detector *d, uint64_t now_ns)
{
    uint64_t longest = 0;

    for (int i = 0; i < LS_WORKERS; i++)
        if (d->worker[i].judged && d->worker[i].idle_ns > longest)
            longest = d->worker[i].idle_ns;
    return longest == 0 ? 0 : longest + watched_ns(d, now_ns);
}

bool ls_detector_stalled(const struct ls_detector *d, uint64_t now_ns)
{
    return ls_detector_stalled_ns(d, now_ns) > d->times.stall;
}

void ls_detector_forget(struct ls_detector *d, uint16_t node)
{
    uint64_t heard;

    assert(node <= LS_NODE_ID_MAX);
    heard = d->node[node].heard;
    d->node[node] = (struct ls_detector_node){.heard = heard};
}
