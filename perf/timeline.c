/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Completions over time. See timeline.h.
 */
#include "timeline.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

int ls_timeline_init(struct ls_timeline *timeline, double seconds)
{
    memset(timeline, 0, sizeof(*timeline));
    timeline->buckets = (uint32_t)(seconds * 1e9 / (double)LS_TIMELINE_BUCKET_NS) + 1;
    timeline->good = calloc(timeline->buckets, sizeof(uint32_t));
    timeline->failed = calloc(timeline->buckets, sizeof(uint32_t));
    timeline->pause = calloc(LS_TIMELINE_PAUSES, sizeof(*timeline->pause));
    if (timeline->good != NULL && timeline->failed != NULL && timeline->pause != NULL)
        return 0;
    ls_timeline_free(timeline);
    return -ENOMEM;
}

void ls_timeline_free(struct ls_timeline *timeline)
{
    free(timeline->good);
    free(timeline->failed);
    free(timeline->pause);
    memset(timeline, 0, sizeof(*timeline));
}

void ls_timeline_begin(struct ls_timeline *timeline, uint64_t now_ns)
{
    timeline->begin_ns = timeline->last_ns = now_ns;
}

static void pause_note(struct ls_timeline *timeline, uint64_t now_ns)
{
    if (now_ns - timeline->last_ns < LS_TIMELINE_PAUSE_NS)
        return;
    if (timeline->pauses == LS_TIMELINE_PAUSES) {
        timeline->pauses_lost++;
        return;
    }
    timeline->pause[timeline->pauses++] = (struct ls_timeline_pause){.from_ns = timeline->last_ns, .to_ns = now_ns};
}

void ls_timeline_note(struct ls_timeline *timeline, uint64_t now_ns, bool good)
{
    uint64_t at = (now_ns - timeline->begin_ns) / LS_TIMELINE_BUCKET_NS;
    if (at >= timeline->buckets)
        at = timeline->buckets - 1;
    (good ? timeline->good : timeline->failed)[at]++;
    if (!good)
        return; /* a failure does not end a pause */
    pause_note(timeline, now_ns);
    timeline->last_ns = now_ns;
}

void ls_timeline_end(struct ls_timeline *timeline, uint64_t now_ns)
{
    pause_note(timeline, now_ns);
}

static void buckets_write(const struct ls_timeline *const *timelines, uint32_t n, bool good, FILE *to)
{
    for (uint32_t i = 0; i < timelines[0]->buckets; i++) {
        uint64_t sum = 0;
        for (uint32_t k = 0; k < n; k++)
            sum += (good ? timelines[k]->good : timelines[k]->failed)[i];
        fprintf(to, "%s%" PRIu64, i == 0 ? "" : ",", sum);
    }
}

int ls_timeline_write(const struct ls_timeline *const *timelines, uint32_t n, FILE *to)
{
    uint32_t lost = 0;
    fprintf(to, "{\"begin_ns\": %" PRIu64 ", \"bucket_ns\": %" PRIu64 ", \"threads\": %u,\n\"completed\": [",
            timelines[0]->begin_ns, LS_TIMELINE_BUCKET_NS, n);
    buckets_write(timelines, n, true, to);
    fprintf(to, "],\n\"failed\": [");
    buckets_write(timelines, n, false, to);
    fprintf(to, "],\n\"pauses\": [");
    const char *between = "";
    for (uint32_t k = 0; k < n; k++) {
        for (uint32_t i = 0; i < timelines[k]->pauses; i++) {
            const struct ls_timeline_pause *pause = &timelines[k]->pause[i];
            fprintf(to, "%s\n[%u, %" PRIu64 ", %" PRIu64 "]", between, k + 1, pause->from_ns, pause->to_ns);
            between = ",";
        }
        lost += timelines[k]->pauses_lost;
    }
    fprintf(to, "],\n\"pauses_lost\": %u}\n", lost);
    return ferror(to) ? -EIO : 0;
}
